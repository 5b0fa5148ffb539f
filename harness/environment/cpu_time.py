"""How much CPU time this machine has spent, and how much of it this process and its descendants did.

Both are cumulative and read together, so that two readings tell what others did meanwhile. Where powercap is visible
/proc/stat counts the whole machine's processors, also from inside a container. It judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from harness.records import CpuUse

PROC = Path("/proc")


class CpuTime:
    """Reads the kernel's accounts; about 0.1 ms, so between two queries."""

    def __init__(self, proc: Path = PROC, served_by: Callable[[], Collection[int]] = tuple) -> None:
        """Read nothing yet.

        Args:
            proc: The kernel's directory.
            served_by: Processes of others whose work is this one's all the same, with what they started: a server's.
        """
        self._proc = proc
        self._served_by = served_by
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")

    @property
    def is_readable(self) -> bool:
        """Whether this kernel keeps such accounts (Linux)."""
        try:
            self.read()
        except (OSError, ValueError, IndexError):
            return False
        return True

    def read(self) -> CpuUse:
        """The accounts now.

        Raises:
            OSError: There is no /proc/stat.
        """
        with (self._proc / "stat").open("rb") as file:
            user, nice, system = (int(field) for field in file.readline().split()[1:4])
        own = os.times()
        own_s = own.user + own.system + own.children_user + own.children_system
        own_s += sum(self._spent_s(pid) for pid in self._counted())
        # Interrupts, waiting and idling are nobody's.
        return CpuUse(duration_busy_s=(user + nice + system) * self._tick_s, duration_own_s=own_s)

    def _counted(self) -> set[int]:
        """Each process once, as a server may have been started from here; without this one."""
        ours = set(self._descendants(os.getpid()))
        for pid in self._served_by():
            if pid not in ours:
                ours |= {pid, *self._descendants(pid)}
        return ours - {os.getpid()}

    def _descendants(self, pid: int) -> Iterable[int]:
        for path in (self._proc / str(pid) / "task").glob("*/children"):
            try:
                children = [int(child) for child in path.read_bytes().split()]
            except OSError:
                continue  # a thread that has just ended
            for child in children:
                yield child
                yield from self._descendants(child)

    def _spent_s(self, pid: int) -> float:
        """Seconds of a process and of those of its children that have ended."""
        try:
            fields = (self._proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return 0.0  # it has just ended, and its parent's account now holds it
        return sum(int(field) for field in fields[11:15]) * self._tick_s
