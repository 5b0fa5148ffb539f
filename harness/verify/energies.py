"""Every stored energy once more, from the raw readings.

And of every session that ended in good order: that its queries and the stretches between them follow each other without
a hole and add up, for each device, to the sensor's last reading minus its first; of a load, that the shares of a block
add up to what was drawn in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np

from harness.attribution import exclusive
from harness.meter.curve.curve import Curve
from harness.meter.meter import rebuilt
from harness.records import (
    MARK_CHANNEL,
    Attribution,
    Channel,
    FindingCode,
    IntervalRecord,
    Phase,
    QueryRecord,
    Reading,
    Segment,
)
from harness.verify.check import Check, Kind
from harness.verify.shares import A_PART_IS_NULL, SharedLoad
from harness.verify.stored import BEYOND_READING, StoredCell, StoredSession, called, said

SERVING = "serving"
Tile = tuple[str, IntervalRecord | QueryRecord]
"""A stretch of a session by its name; what its devices drew in it is its own alone."""

_check = partial(Check, kind=Kind.ENERGIES)


def energies(stored: StoredCell) -> Iterator[Check]:
    """Every session of a cell."""
    by_session: dict[int, list[QueryRecord]] = {}
    for query in stored.queries:
        by_session.setdefault(query.session, []).append(query)
    for session in stored.sessions:
        if session.manifest is None:
            continue
        try:
            yield from _of_session(stored, session, session.manifest.channels, by_session.get(session.number, []))
        except BEYOND_READING as error:
            run = stored.directory.path.parent.parent
            where = stored.session_path(session.number)
            yield _check(where=where, figure="energies", stored="can be computed", again=said(run, error))


def _of_session(
    stored: StoredCell, session: StoredSession, channels: Sequence[Channel], queries: list[QueryRecord]
) -> Iterator[Check]:
    raw = _RawReadings(channels=channels)
    curves = {
        curve.channel.device: curve
        for curve in rebuilt(channels, raw.watched(stored.directory.segments(session.number)))
    }
    yield from raw.order(stored.session_path(session.number))
    load = SharedLoad.of(stored.directory, session.number)
    shared = {device: load.readings(curve, queries) for device, curve in curves.items()}
    stretches = [(f"{interval.name} of session {session.number}", interval) for interval in session.intervals]
    for where, interval in stretches:
        for reading in interval.readings:
            yield from _described(where, reading, channels)
            yield from _pairs(where, reading, _read(curves.get(reading.device), reading))
    for query in queries:
        where = called(query)
        for reading in query.readings:
            yield from _described(where, reading, channels)
            withheld = any(finding.code is FindingCode.HOST_SHARED for finding in reading.findings)
            if withheld and reading.energy_gross_j is None:
                continue  # withheld for what others did, which the raw readings do not show
            if query.service is not None and reading.attribution is Attribution.SHARED_TOKENS:
                again = shared.get(reading.device, {}).get(query.service.number)
            else:
                again = _read(curves.get(reading.device), reading)
            yield from _pairs(where, reading, again)
    yield from load.spans(queries) if load.timelines else raw.spans(queries)
    if session.ended_well:
        alone = [query for query in queries if query.service is None]
        tiles: list[Tile] = [*stretches, *((called(query), query) for query in alone)]
        yield from _holes(tiles)
        yield from _sums(f"session {session.number}", [tile.readings for _, tile in tiles], curves)
        for interval in session.intervals:
            if interval.name == SERVING:
                yield from load.sums(interval, queries, curves)


def _read(curve: Curve | None, reading: Reading) -> Reading | None:
    """The same interval once more, from the curve."""
    if curve is None:
        return None
    phases = [
        Phase(name=phase.name, time_start_s=phase.time_start_s, time_end_s=phase.time_end_s) for phase in reading.phases
    ]
    return exclusive.read(curve, reading.time_start_s, reading.time_end_s, phases)


@dataclass(slots=True, kw_only=True)
class _RawReadings:
    """What a session's segments show while they go by: whether they stand in order, and the edges marked in them."""

    channels: Sequence[Channel]
    edges_s: set[float] = field(default_factory=set)
    n_segments: int = 0
    disorder: list[tuple[int, str]] = field(default_factory=list)
    """Place of a segment, and what is wrong with it."""

    def watched(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The same segments."""
        last_s: dict[int, float] = {}
        for place, segment in enumerate(segments):
            self.n_segments += 1
            self.edges_s.update(segment.time_after_s[segment.channel == MARK_CHANNEL].tolist())
            for number, channel in enumerate(self.channels):
                times_s = segment.time_after_s[segment.channel == number]
                if len(times_s) == 0:
                    continue
                before_s = last_s.get(number, -math.inf)
                if not times_s[0] > before_s:
                    self.disorder.append(
                        (place, f"begins at {times_s[0]:.3f} s, when the one before it had come to {before_s:.3f} s")
                    )
                elif not (np.diff(times_s) > 0).all():
                    self.disorder.append((place, f"readings of {channel.device} in it are out of order"))
                last_s[number] = float(times_s[-1])
            yield segment

    def order(self, where: str) -> Iterator[Check]:
        """Whether every file of readings follows the one before it."""
        wrong = dict(reversed(self.disorder))
        for place in range(self.n_segments):
            yield _check(
                where=f"{where}, power file {place} in order",
                figure="readings",
                stored=wrong.get(place, "follow those before"),
                again="follow those before",
            )

    def spans(self, queries: Sequence[QueryRecord]) -> Iterator[Check]:
        """Whether every query lies between two edges that were marked when it ran, as its readings and phases do."""
        for query in queries:
            where = called(query)
            for figure, time_s in (("time_start_s", query.time_start_s), ("time_end_s", query.time_end_s)):
                yield _check(
                    where=where, figure=figure, stored=time_s, again=time_s if time_s in self.edges_s else None
                )
                for reading in query.readings:
                    yield _check(
                        where=where,
                        figure=f"{figure} of {reading.device}",
                        stored=getattr(reading, figure),
                        again=time_s,
                    )


def _described(where: str, reading: Reading, channels: Sequence[Channel]) -> Iterator[Check]:
    """Whether a reading says of itself what the session's sensors were."""
    known = [f"{channel.boundary} by {channel.method}" for channel in channels if channel.device == reading.device]
    stated = f"{reading.boundary} by {reading.method}"
    again = stated if stated in known else " or ".join(known) or None
    yield _check(where=where, figure=f"boundary and method of {reading.device}", stored=stated, again=again)


def _holes(tiles: Sequence[Tile]) -> Iterator[Check]:
    """Whether queries and the stretches between them follow each other."""
    in_time = sorted(tiles, key=lambda each: (each[1].time_end_s, each[1].time_start_s))
    for (before, first), (after, second) in pairwise(in_time):
        where = f"{after} at {second.time_start_s:.3f} s"
        yield _check(
            where=where,
            figure=f"time_start_s, the end of {before}",
            stored=second.time_start_s,
            again=first.time_end_s,
        )


def _sums(where: str, readings: Sequence[Sequence[Reading]], curves: Mapping[str, Curve]) -> Iterator[Check]:
    by_device: dict[str, list[float | None]] = {}
    for each in readings:
        for reading in each:
            by_device.setdefault(reading.device, []).append(reading.energy_gross_j)
    for device, energies_j in by_device.items():
        known = [energy_j for energy_j in energies_j if energy_j is not None]
        curve = curves.get(device)
        if curve is None or len(curve.energy_total_j) == 0:
            continue
        figure = f"sum over everything of {device}"
        if len(known) == len(energies_j):
            whole_j = float(curve.energy_total_j[-1] - curve.energy_total_j[0])
            yield _check(where=where, figure=figure, stored=math.fsum(known), again=whole_j)
        else:  # a null among the tiles is a hole that has been named where it is; a sum over a hole says nothing
            yield _check(where=where, figure=figure, why_not=A_PART_IS_NULL)


def _pairs(where: str, stored: Reading, again: Reading | None) -> Iterator[Check]:
    figures = ["energy_gross_j", "energy_gross_half_width_j"]
    if stored.attribution is Attribution.SHARED_TOKENS:
        figures += ["energy_shared_equal_j", "duration_share_s"]
    for figure in figures:
        yield _check(
            where=where,
            figure=f"{figure} of {stored.device}",
            stored=getattr(stored, figure),
            again=getattr(again, figure, None),
        )
    for index, phase in enumerate(stored.phases):
        for figure in ("energy_gross_j", "energy_gross_half_width_j"):
            yield _check(
                where=where,
                figure=f"{phase.name} {figure} of {stored.device}",
                stored=getattr(phase, figure),
                again=getattr(again.phases[index], figure) if again else None,
            )
