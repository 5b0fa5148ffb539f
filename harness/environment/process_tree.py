"""Processes and what they started, as far as this user may see them. It ends none."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from harness.environment.cpu_time import PROC

CUDA_NODES = ("nvidia-uvm", "dxg")
"""Under /dev: what a process that uses CUDA holds open, and a mere reader of NVML does not; the second is WSL's."""

_NOT_A_SERVERS = frozenset(
    {
        *("bash", "dash", "fish", "ksh", "sh", "zsh", "tmux", "tmux: server", "screen", "login", "sshd", "su", "sudo"),
        *(
            "systemd",
            "init",
            "tini",
            "dumb-init",
            "docker-init",
            "containerd-shim",
            "containerd-shim-runc-v2",
            "conmon",
        ),
        *("supervisord", "slurmstepd", "cron", "make", "jupyter-lab", "jupyter-notebook"),
    }
)
"""Names of what starts servers and is no part of one."""


def tree(roots: Iterable[int]) -> frozenset[int]:
    """These processes that still run, and all that they started."""
    found: set[int] = set()
    for pid in set(roots):
        try:
            process = psutil.Process(pid)
            found |= {pid, *(child.pid for child in process.children(recursive=True))}
        except psutil.Error:
            continue  # it has ended
    return frozenset(found)


def runs(pid: int) -> bool:
    """Whether a process is there and is not a mere entry that its parent has yet to collect."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def starter(pid: int) -> int | None:
    """The process that started this one, where it can be a part of the same program.

    None where it is a shell or a supervisor, another user's, or one that this process descends from.
    """
    try:
        process = psutil.Process(pid)
        parent = process.parent()
        if parent is None or parent.pid <= 1 or parent.name() in _NOT_A_SERVERS:
            return None
        if parent.uids().real != process.uids().real:
            return None
        above_us = {os.getpid(), *(ancestor.pid for ancestor in psutil.Process().parents())}
    except psutil.Error:
        return None
    return None if parent.pid in above_us else parent.pid


def use_cuda(pids: Collection[int], proc: Path = PROC) -> bool | None:
    """Whether one of these processes uses CUDA; None: what some of them hold open may not be seen."""
    hidden = False
    for pid in pids:
        try:
            held = [link.readlink().name for link in (proc / str(pid) / "fd").iterdir()]
        except FileNotFoundError:
            continue  # it has ended, or closed a file meanwhile
        except OSError:
            hidden = True
            continue
        if any(name in CUDA_NODES for name in held):
            return True
    return None if hidden else False


def command_line(pid: int) -> tuple[str, ...]:
    """What a process was started with; empty where that cannot be seen. It may hold secrets: not to be written."""
    try:
        return tuple(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ()


def working_dir(pid: int) -> Path | None:
    """Where a process's relative paths begin; None where that cannot be seen."""
    try:
        return Path(psutil.Process(pid).cwd())
    except psutil.Error:
        return None
