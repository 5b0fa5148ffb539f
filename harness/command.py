"""Run one command in the foreground as if nobody stood between it and the terminal.

It has our standard streams, our process group and our environment. What the terminal sends reaches it directly
(Ctrl-C, Ctrl-Z, a new window size); what is sent to us alone is passed on to it. It knows processes and signals, and
nothing of energy.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOT_EXECUTABLE, NOT_FOUND = 126, 127
BY_SIGNAL = 128
"""As shells have it: a command that signal n ended exits with 128 + n."""

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_HELD = {*FORWARDED, signal.SIGCHLD}
_FROM_KERNEL = 0
"""A signal's `si_code` is above this where the kernel sent it, as it does for a key at the terminal."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit status as a shell shows it, and the signal that ended it."""

    status: int
    signal: str | None = None


def missing(command: Sequence[str]) -> Ended | None:
    """Why a command cannot be started, as far as it can be known beforehand; None: it looks well."""
    if shutil.which(command[0]):
        return None
    path = Path(command[0])
    return Ended(NOT_EXECUTABLE if os.sep in command[0] and path.exists() else NOT_FOUND)


@contextmanager
def signals_held() -> Iterator[set[int | signal.Signals]]:
    """Hold back the signals that are passed on; gives the mask that was in force, for the command.

    To be entered before any thread is started: a thread that does not hold them back would receive them.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    # Where SIGCHLD is ignored, the kernel neither tells of an end nor keeps its status.
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield set(mask)
    finally:
        while waiting := signal.sigpending() & _HELD:
            signal.sigwait(waiting)  # for a command that has ended
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def start(command: Sequence[str], mask: set[int | signal.Signals]) -> int | Ended:
    """Start a command, found as a shell would find it, and return its process number.

    Args:
        command: Name and arguments.
        mask: The signals that are blocked in it.

    Returns:
        Where it could not be started, the status that a shell gives for that; where a signal to end came before, the
        status that it would have had.
    """
    for number in FORWARDED:
        if number in signal.sigpending():
            return Ended(BY_SIGNAL + number, number.name)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # Python itself ignores these two, and a program would inherit that.
        return os.posix_spawnp(
            command[0], list(command), os.environ, setsigmask=mask, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ)
        )
    except FileNotFoundError:
        return Ended(NOT_FOUND)
    except OSError:
        return Ended(NOT_EXECUTABLE)


def wait(pid: int) -> Ended:
    """Wait for a command to end, passing signals on meanwhile. Inside `signals_held` only."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return Ended(code) if code >= 0 else Ended(BY_SIGNAL - code, _signal_name(-code))
        number, from_kernel = _next_signal()
        if number in FORWARDED and not from_kernel:
            os.kill(pid, number)


def _next_signal() -> tuple[int, bool]:
    """The next held signal, and whether the kernel sent it, so that the command has it already."""
    if hasattr(signal, "sigwaitinfo"):
        received = signal.sigwaitinfo(_HELD)
        return received.si_signo, received.si_code > _FROM_KERNEL
    number = signal.sigwait(_HELD)  # macOS: nobody says who sent it, so a key is taken to be the likely sender
    return number, number in (signal.SIGINT, signal.SIGQUIT)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal between the named ones
        return f"signal {number}"
