"""Where the phases of one query end, on the session clock; the device is done when a phase is."""

from __future__ import annotations

from collections.abc import Callable

from harness.protocols import Clock
from harness.records import Phase


class Stopwatch:
    """Splits one query into phases that touch."""

    def __init__(self, clock: Clock, synchronize: Callable[[], None]) -> None:
        """Begin now.

        Args:
            clock: The session's.
            synchronize: Waits until the device has finished what was queued.
        """
        self.clock = clock
        self._synchronize = synchronize
        self._time_start_s = self.now_s()
        self._edges: list[tuple[str, float]] = []

    def now_s(self) -> float:
        """The instant at which the device has finished what was queued."""
        self._synchronize()
        return self.clock.now_s()

    def split(self, name: str) -> None:
        """The phase `name` ends here, once the device has finished it."""
        self._edges.append((name, self.now_s()))

    def split_at(self, name: str, time_s: float) -> None:
        """The phase `name` ended at an instant that was noted meanwhile."""
        self._edges.append((name, time_s))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """In order of their ends."""
        phases, start_s = [], self._time_start_s
        for name, time_s in self._edges:
            phases.append(Phase(name=name, time_start_s=start_s, time_end_s=time_s))
            start_s = time_s
        return tuple(phases)
