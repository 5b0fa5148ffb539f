"""Another program's number over the queries of a session, and ours over the same stretch."""

from __future__ import annotations

from collections.abc import Sequence

from harness.attribution import exclusive
from harness.meter.beside.cross_check import CodecarbonTracker, OtherEnergies
from harness.pipeline.observer import Observer
from harness.protocols import EnergyCurve
from harness.records import Attribution, CrossCheck, Prompt, QueryRecord, Reading, Stopping


class CrossCheckedObserver(Observer):
    """Passes everything on, and stops the other program when the last query has ended."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._tracker: CodecarbonTracker | None = None

    def begin(self, tracker: CodecarbonTracker) -> None:
        """Let the other program measure from now on. Returns once it does."""
        tracker.start()
        self._tracker = tracker

    def end(self) -> OtherEnergies | None:
        """What the other program measured; None: it was never begun."""
        return None if self._tracker is None else self._tracker.stop()

    def stage(self, name: str, mode: str | None = None) -> None:
        """The queries are over with `idle_after`."""
        if name == "idle_after":
            self.end()
        self._observer.stage(name, mode)

    def told(self, line: str) -> None:
        """Passed on."""
        self._observer.told(line)

    def served(self, n_done: int, n_queries: int, mode: str, n_failed: int) -> None:
        """Passed on."""
        self._observer.served(n_done, n_queries, mode, n_failed)

    def lengths(self, n_done: int, n_all: int) -> None:
        """Passed on."""
        self._observer.lengths(n_done, n_all)

    def looked(self, n_prompts: int, stopping: Stopping) -> None:
        """Passed on."""
        self._observer.looked(n_prompts, stopping)

    def query(self, record: QueryRecord) -> None:
        """Passed on."""
        self._observer.query(record)

    def started(self, index: int, n_queries: int, prompt: Prompt, mode: str) -> None:
        """Passed on."""
        self._observer.started(index, n_queries, prompt, mode)

    def ended(self, index: int) -> None:
        """Passed on."""
        self._observer.ended(index)


def cross_check(
    other: OtherEnergies, curves: Sequence[EnergyCurve], *, session: int, origin_monotonic_s: float
) -> CrossCheck:
    """Put what the other program says beside our readings over the stretch that it measured.

    Args:
        other: What it says.
        curves: Ours, closed.
        session: Number of the session.
        origin_monotonic_s: Where the session clock begins on CLOCK_MONOTONIC.
    """
    start_s, end_s = (
        None if time_s is None else time_s - origin_monotonic_s
        for time_s in (other.time_start_monotonic_s, other.time_end_monotonic_s)
    )
    own: tuple[Reading, ...] = ()
    if start_s is not None and end_s is not None:
        own = tuple(exclusive.read(curve, start_s, end_s, attribution=Attribution.WHOLE_BOARD) for curve in curves)
    return CrossCheck(
        session=session,
        tool=other.tool,
        version=other.version,
        time_start_s=start_s,
        time_end_s=end_s,
        energy_gpu_j=other.energy_gpu_j,
        energy_cpu_j=other.energy_cpu_j,
        energy_memory_j=other.energy_memory_j,
        own=own,
        notes=other.notes,
    )
