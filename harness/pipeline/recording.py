"""A session's time and energy on their way to disk, whatever is asked in it.

A session is tiled without holes: start_up, load, warm_up, idle_before, then queries with a gap before each (or the
blocks of a load, each a tile `serving` with queries inside), idle_after, shut_down. The energies of the tiles add up to
the sensor's last reading minus its first. What is computed from raw readings is written after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.attribution import exclusive
from harness.attribution.baseline import IDLE_NAMES, pieces
from harness.clock import ClockOffsets, clock_offsets, utc_now
from harness.meter.meter import SessionMeter
from harness.meter.sampler_stats import late_findings
from harness.protocols import Clock, EnergyCurve, RunStore
from harness.records import (
    Edge,
    Finding,
    FindingCode,
    IntervalRecord,
    Segment,
    SessionEnd,
)

SETTLE_S = 0.5
"""Power lingers for up to 300 ms after work ends; the baseline begins after that."""
FINAL_WAIT_S, FINAL_WAIT_TICKS, FINAL_WAIT_MORE_S = 1.0, 4.0, 0.5
"""So long, or so many ticks of the slowest sensor and a little more, the last readings are waited for in the end."""
SEGMENT_PERIOD_S = 2.0
"""Between two queries, raw readings older than this are put on disk."""


@dataclass(slots=True)
class Recording:
    """The tiles and the raw readings of one session."""

    number: int
    meter: SessionMeter
    clock: Clock
    store: RunStore
    _tile_start_s: float | None = None
    _next_segment_s: float = 0.0
    _unwritten: list[Segment] = field(default_factory=list)
    _offsets: ClockOffsets | None = None
    _pending_tiles: list[tuple[str, float | None, float]] = field(default_factory=list)

    def start(self) -> None:
        """Let the sensors begin.

        Raises:
            NoSensor: One gave no reading.
        """
        self.meter.start(self.clock.origin_monotonic_s)
        self._offsets = clock_offsets()

    def tile(self, name: str, time_end_s: float, edge: Edge = Edge.UNKNOWN) -> None:
        """Close the stretch since the last tile or query. The first begins where the sensors' readings do."""
        self.meter.mark(time_end_s, edge=edge)
        self._pending_tiles.append((name, self._tile_start_s, time_end_s))
        self._tile_start_s = time_end_s

    def query_ended(self, time_end_s: float) -> None:
        """What followed the last tile was a query, up to here."""
        self._tile_start_s = time_end_s
        self.meter.mark(time_end_s, edge=Edge.WORK_ENDS)

    def settle(self) -> None:
        """Let power fall after work."""
        self.clock.sleep_until(self.clock.now_s() + SETTLE_S)
        self.tile("gap", self.clock.now_s())

    def idle(self, name: str, duration_s: float) -> None:
        """Do nothing, to see what that draws."""
        self.clock.sleep_until(self.clock.now_s() + duration_s)
        self.tile(name, self.clock.now_s())

    @property
    def is_segment_due(self) -> bool:
        """Whether raw readings have waited for long enough."""
        return self.clock.now_s() >= self._next_segment_s

    def collect(self) -> None:
        """Put the readings since the last call on disk; the curves now include them."""
        self._write_readings(self.meter.collect())
        self._next_segment_s = self.clock.now_s() + SEGMENT_PERIOD_S

    def write_tiles(self, *, last: bool = False) -> None:
        """Append the stretches that cannot change any more, or simply all of them."""
        last = last or bool(self.meter.lost)
        curves = self.meter.curves()
        while self._pending_tiles and (last or self._pending_tiles[0][2] <= self.meter.final_until_s):
            self.store.append_interval(self._interval(curves, *self._pending_tiles[0]))
            del self._pending_tiles[0]

    def await_final(self, ends_s: Iterable[float], write: Callable[[], None]) -> None:
        """Wait until the curves reach the end of the last tile: a sensor stopped earlier leaves it without energy.

        Args:
            ends_s: Further ends that have to be reached.
            write: Called again and again meanwhile, to put on disk what is final.
        """
        curves = self.meter.curves()
        if not curves:
            return
        slowest_s = max(curve.duration_period_s or 0.0 for curve in curves)
        deadline_s = self.clock.now_s() + max(FINAL_WAIT_S, FINAL_WAIT_TICKS * slowest_s + FINAL_WAIT_MORE_S)
        until_s = max([*(end_s for _, _, end_s in self._pending_tiles), *ends_s], default=0.0)
        while self.meter.final_until_s < until_s and not self.meter.lost:
            if self.clock.now_s() >= deadline_s:
                return
            self.clock.sleep_until(self.clock.now_s() + max(0.05, slowest_s / 4))
            write()

    def finish(
        self, status: str, write_known: Callable[[], None], conclude: Callable[[], Sequence[Finding]] | None
    ) -> None:
        """Stop the meter and write what is left.

        Args:
            status: How the session ended.
            write_known: Puts down the queries that are left, now that no more readings will come.
            conclude: What the readings on disk give to doubt about the session.
        """
        stats, segment = self.meter.stop()
        self._write_readings(segment)
        write_known()
        self._shut_down()
        drifts = (finding for curve in self.meter.curves() for finding in curve.session_findings)
        findings = [*self.meter.lost, *drifts]
        if conclude is not None and status != "failed":
            try:
                findings += conclude()
            except Exception as error:  # noqa: BLE001 - a session that is measured has ended, whatever is made of it
                detail = f"what the session says of its sensors is not known: {type(error).__name__}: {error}"
                findings.append(Finding(code=FindingCode.LIBRARY_WARNING, detail=detail))
        findings += late_findings(stats)
        stepped_s = self._offsets.stepped_by_s(clock_offsets()) if self._offsets else None
        if stepped_s is not None:
            findings.append(Finding(code=FindingCode.CLOCK_STEP, detail=f"by {stepped_s:+.3f} s"))
        self.store.write_end(
            SessionEnd(session=self.number, ended_utc=utc_now(), status=status, sampler=stats, findings=tuple(findings))
        )

    def _write_readings(self, segment: Segment) -> None:
        """Put raw readings on disk, and first those that could not be written before: later ones build on them."""
        self._unwritten.append(segment)
        while self._unwritten:
            self.store.write_segment(self.number, self._unwritten[0])
            del self._unwritten[0]

    def _interval(
        self, curves: Sequence[EnergyCurve], name: str, start_s: float | None, end_s: float
    ) -> IntervalRecord:
        begins = [first(curve.time_first_s, end_s) if start_s is None else start_s for curve in curves]
        is_idle = name in IDLE_NAMES
        readings = [
            exclusive.read(curve, begin_s, end_s, pieces(begin_s, end_s) if is_idle else ())
            for curve, begin_s in zip(curves, begins, strict=True)
        ]
        begun_s = min(begins, default=end_s)
        return IntervalRecord(
            session=self.number, name=name, time_start_s=begun_s, time_end_s=end_s, readings=tuple(readings)
        )

    def _shut_down(self) -> None:
        """The last tile ends, for each device, at its last reading."""
        start_s = self._tile_start_s
        curves = [curve for curve in self.meter.curves() if start_s is not None and curve.covers(start_s, start_s)]
        if not curves or start_s is None:
            return
        readings = tuple(exclusive.read(curve, start_s, first(curve.time_last_s, start_s)) for curve in curves)
        self.store.append_interval(
            IntervalRecord(
                session=self.number,
                name="shut_down",
                time_start_s=start_s,
                time_end_s=max(reading.time_end_s for reading in readings),
                readings=readings,
            )
        )


def first(time_s: float | None, otherwise_s: float) -> float:
    """An instant, or another one where it is not known."""
    return otherwise_s if time_s is None else time_s
