"""The site: this machine, its boards, its packages. And the harness's own commit.

Reads /proc, environment variables and installed packages' metadata. Imports none of those packages.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.visibility import holder_of, order_doubt, resolve_visible
from harness.records import Board, Finding, Site

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "nvidia-ml-py",
    "codecarbon",
    "pandas",
    "numpy",
    "pydantic",
)
"""Those whose version can change a figure."""

_CGROUP_MARKS = (("kubepods", "kubernetes"), ("libpod", "podman"), ("docker", "docker"), ("lxc", "lxc"))
_CONTAINER_FILES = (("run/.containerenv", "podman"), (".dockerenv", "docker"))


def site(board_uuids: tuple[str, ...] | None) -> Site:
    """Where this process runs.

    Args:
        board_uuids: The boards that belong to it; None: all that NVML lists.
    """
    nvml = open_nvml()
    found = nvml.boards() if isinstance(nvml, Nvml) else []
    return Site(
        hostname_sha256=hashlib.sha256(socket.gethostname().encode()).hexdigest(),
        platform=platform.platform(),
        cpu=cpu_model(),
        n_cpu_cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        boards=tuple(board for board in found if board_uuids is None or board.uuid in board_uuids),
        driver=nvml.driver if isinstance(nvml, Nvml) else None,
        cuda=nvml.cuda if isinstance(nvml, Nvml) else None,
        python=platform.python_version(),
        packages=package_versions(),
        container=container(Path("/"), os.environ),
    )


def visible_gpus() -> list[Board]:
    """The boards that CUDA shows to this process, in CUDA's order; MIG slices as the board they are on.

    With boards of different models CUDA counts the fastest first unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`, and
    only CUDA knows which it takes for the fastest. Where torch has started CUDA in this process it is asked; else
    numbers are read in PCI order, and `device_order_doubt` says where that is a guess.
    """
    nvml = open_nvml()
    if not isinstance(nvml, Nvml):
        return []
    boards = {board.uuid: board for board in nvml.boards()}
    parents = nvml.mig_parents()
    seen = _seen_by_torch(sys.modules.get("torch"))
    if seen:
        shown = [holder for uuid in seen if (holder := holder_of(uuid, list(boards), parents)) is not None]
    else:
        visible = resolve_visible(os.environ.get("CUDA_VISIBLE_DEVICES"), list(boards), mig_parents=parents)
        shown = [gpu.uuid for gpu in visible]
    return [boards[uuid] for uuid in dict.fromkeys(shown)]


def device_order_doubt() -> Finding | None:
    """Whether it is a guess which boards `visible_gpus` gives, because CUDA numbers them by their speed."""
    nvml = open_nvml()
    if not isinstance(nvml, Nvml) or _seen_by_torch(sys.modules.get("torch")):
        return None
    return order_doubt(os.environ, [board.name for board in nvml.boards()])


def _seen_by_torch(torch: Any) -> tuple[str, ...]:
    """UUIDs of the devices that torch sees, in CUDA's order; none where it has not started CUDA.

    torch is never imported for it, nor made to start CUDA, which would take memory on every board.
    """
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return ()
    properties = [cuda.get_device_properties(index) for index in range(cuda.device_count())]
    if not all(hasattr(each, "uuid") for each in properties):  # an older torch
        return ()
    return tuple(f"GPU-{each.uuid}" for each in properties)


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; the architecture where it has none (most Arm kernels give none)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def is_virtual_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor says that a hypervisor runs beneath; None where it says nothing (Arm)."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = next((line.partition(":")[2] for line in text.splitlines() if line.startswith("flags")), None)
    return None if flags is None else "hypervisor" in flags.split()


def is_wsl() -> bool:
    """Whether this is Linux under Windows (WSL2)."""
    return "microsoft" in platform.release().lower()


def container(root: Path, environ: Mapping[str, str]) -> str | None:
    """The kind of container that this process runs in, with the image where it is told; None: no sign of one.

    Args:
        root: The file system's root.
        environ: The environment variables.
    """
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    image = environ.get("APPTAINER_CONTAINER") or environ.get("SINGULARITY_CONTAINER")
    if image:
        return f"apptainer:{Path(image).name}"
    for name, kind in _CONTAINER_FILES:
        if (root / name).exists():
            return kind
    try:
        cgroup = (root / "proc/1/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((kind for mark, kind in _CGROUP_MARKS if mark in cgroup), None)


def package_versions() -> dict[str, str]:
    """Version by name of the packages that can change a figure, this one included; without absent ones."""
    versions = {"inference-energy-harness": harness.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(directory: Path) -> str | None:
    """The commit that the files in `directory` come from, with `-dirty` where tracked files differ from it.

    None where they are not tracked: an installed package often lies inside somebody else's repository.
    """
    if not _git(directory, "ls-files", "--", "."):
        return None
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return commit if changes == "" else f"{commit}-dirty"


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
