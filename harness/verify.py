"""Recomputes every stored energy from the raw readings, and says how many agree.

And of every session that ended in good order: that its queries and the stretches between them add up, for each device,
to the sensor's last reading minus its first; of a load, that the shares of a block add up to what was drawn in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.attribution import exclusive
from harness.attribution.sharing.load import Load
from harness.attribution.sharing.shares import read_shared, shares, unattributed_j
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
    Timeline,
    TokenWeights,
)
from harness.results import CellResults, load_run

RELATIVE_TOLERANCE = 1e-6
"""Another processor's linear algebra rounds otherwise: differences of 2e-9 were seen between four of them."""
ABSOLUTE_TOLERANCE_J = 1e-9
SERVING = "serving"
NOT_CHECKED = "not checked"
"""In place of a figure that cannot be compared."""

Figure = float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A stored figure that the raw readings do not support. None: null."""

    where: str
    figure: str
    stored: Figure
    recomputed: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How many figures were recomputed, and which differ."""

    n_figures: int
    differences: tuple[Difference, ...]
    not_checked: tuple[str, ...] = ()
    """Sums that hold a null, and so say nothing."""

    @property
    def n_agree(self) -> int:
        """Figures that came out the same."""
        return self.n_figures - len(self.differences)


def verify(run: Path) -> Verification:
    """Check every cell of a run.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    n_figures, differences, not_checked = 0, [], []
    for results in load_run(run):
        for where, figure, stored, recomputed in _figures(results):
            if stored is recomputed is NOT_CHECKED:
                not_checked.append(f"{figure}, {where}")
                continue
            n_figures += 1
            if not _same(stored, recomputed):
                differences.append(Difference(where=where, figure=figure, stored=stored, recomputed=recomputed))
    return Verification(n_figures=n_figures, differences=tuple(differences), not_checked=tuple(not_checked))


def _figures(results: CellResults) -> Iterator[tuple[str, str, Figure, Figure]]:
    for session in results.sessions:
        if session.manifest is None:
            continue
        curves = {
            curve.channel.device: curve
            for curve in rebuilt(session.manifest.channels, results.directory.segments(session.number))
        }
        queries = [query for query in results.directory.queries() if query.session == session.number]
        load = _Load.of(results, session.number)
        shared = {device: load.readings(curve, queries) for device, curve in curves.items()}
        stretches = [
            (f"{interval.name} of session {session.number}", interval.readings) for interval in session.intervals
        ]
        for where, readings in stretches:
            for reading in readings:
                yield from _described(where, reading, session.manifest.channels)
                yield from _pairs(where, reading, _read(curves.get(reading.device), reading))
        for query in queries:
            where = f"{query.prompt_id} in mode {query.mode}"
            for reading in query.readings:
                yield from _described(where, reading, session.manifest.channels)
                withheld = any(finding.code is FindingCode.HOST_SHARED for finding in reading.findings)
                if withheld and reading.energy_gross_j is None:
                    continue  # withheld for what others did, which the raw readings do not show
                if query.service is not None and reading.attribution is Attribution.SHARED_TOKENS:
                    again = shared.get(reading.device, {}).get(query.service.number)
                else:
                    again = _read(curves.get(reading.device), reading)
                yield from _pairs(where, reading, again)
        yield from load.spans(queries) if load.timelines else _spans(results, queries, session.number)
        if session.status is not None and session.status != "failed":
            alone = [query.readings for query in queries if query.service is None]
            tiles = [*(readings for _, readings in stretches), *alone]
            yield from _sums(f"session {session.number}", tiles, curves)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """Of one session: what was in flight when, and what it was shared by."""

    timelines: Mapping[int, Timeline]
    weights: TokenWeights | None

    @classmethod
    def of(cls, results: CellResults, session: int) -> _Load:
        """From its files."""
        timelines = results.directory.timelines(session)
        return cls(
            timelines={timeline.number: timeline for timeline in timelines},
            weights=results.directory.weights(session),
        )

    def readings(self, curve: Curve, queries: Sequence[QueryRecord]) -> dict[int, Reading]:
        """Every query's share of one device once more, by its number."""
        if self.weights is None:
            return {}
        phases = {
            query.service.number: [
                Phase(name=phase.name, time_start_s=phase.time_start_s, time_end_s=phase.time_end_s)
                for phase in query.readings[0].phases
            ]
            for query in queries
            if query.service is not None and query.service.number in self.timelines and query.readings
        }
        is_marked = self.weights.edges_marked
        return read_shared(curve, list(self.timelines.values()), self.weights, phases, is_marked=is_marked)

    def spans(self, queries: Sequence[QueryRecord]) -> Iterator[tuple[str, str, Figure, Figure]]:
        """Whether every query, its latency and its readings say what its timeline does."""
        for query in queries:
            if query.service is None:
                continue
            where, service = f"{query.prompt_id} in mode {query.mode}", query.service
            timeline = self.timelines.get(service.number)
            for figure, time_s in (("time_start_s", query.time_start_s), ("time_end_s", query.time_end_s)):
                yield where, figure, time_s, None if timeline is None else getattr(timeline, figure)
                for reading in query.readings:
                    yield where, f"{figure} of {reading.device}", getattr(reading, figure), time_s
            first_s = None if timeline is None else timeline.time_first_token_s
            again = None if first_s is None or timeline is None else first_s - timeline.time_sent_s
            yield where, "duration_first_token_s", service.duration_first_token_s, again

    def sums(
        self, interval: IntervalRecord, queries: Sequence[QueryRecord], curves: Mapping[str, Curve]
    ) -> Iterator[tuple[str, str, Figure, Figure]]:
        """Whether what the queries of a block got, and what nobody did, is all that was drawn in it."""
        start_s, end_s = interval.time_start_s, interval.time_end_s
        inside = {
            number: timeline
            for number, timeline in self.timelines.items()
            if timeline.time_end_s > start_s and timeline.time_start_s < end_s
        }
        stored = {query.service.number: query for query in queries if query.service is not None}
        for reading in interval.readings:
            curve = curves.get(reading.device)
            if curve is None or self.weights is None or reading.energy_gross_j is None:
                continue
            load = Load.of(list(inside.values()))
            again = dict(zip(inside, shares(curve, load, self.weights).energy_j.tolist(), strict=True))
            energies = [
                next((each.energy_gross_j for each in stored[number].readings if each.device == reading.device), None)
                if number in stored
                else again[number]  # cut off, and so without a line of its own
                for number in inside
            ]
            figure = f"shares and the rest of {reading.device}"
            where = f"{interval.name} of session {interval.session} at {start_s:.3f} s"
            known = [energy for energy in energies if energy is not None]
            if len(known) < len(energies):
                yield where, figure, NOT_CHECKED, NOT_CHECKED
                continue
            whole = math.fsum(known) + unattributed_j(curve, load, start_s, end_s)
            yield where, figure, whole, reading.energy_gross_j


def _described(where: str, reading: Reading, channels: Sequence[Channel]) -> Iterator[tuple[str, str, Figure, Figure]]:
    """Whether a reading says of itself what the session's sensors were."""
    known = [f"{channel.boundary} by {channel.method}" for channel in channels if channel.device == reading.device]
    said = f"{reading.boundary} by {reading.method}"
    yield where, f"boundary and method of {reading.device}", said, said if said in known else " or ".join(known) or None


def _spans(
    results: CellResults, queries: Sequence[QueryRecord], session: int
) -> Iterator[tuple[str, str, Figure, Figure]]:
    """Whether every query lies between two edges that were marked when it ran, as its readings and phases do."""
    marks = [rows.time_after_s[rows.channel == MARK_CHANNEL] for rows in results.directory.segments(session)]
    edges_s = set(np.concatenate(marks).tolist()) if marks else set()
    for query in queries:
        where = f"{query.prompt_id} in mode {query.mode}"
        for figure, time_s in (("time_start_s", query.time_start_s), ("time_end_s", query.time_end_s)):
            yield where, figure, time_s, time_s if time_s in edges_s else None
            for reading in query.readings:
                yield where, f"{figure} of {reading.device}", getattr(reading, figure), time_s


def _sums(
    where: str, readings: Sequence[Sequence[Reading]], curves: Mapping[str, Curve]
) -> Iterator[tuple[str, str, Figure, Figure]]:
    by_device: dict[str, list[float | None]] = {}
    for each in readings:
        for reading in each:
            by_device.setdefault(reading.device, []).append(reading.energy_gross_j)
    for device, energies in by_device.items():
        known = [energy for energy in energies if energy is not None]
        curve = curves.get(device)
        if curve is None or len(curve.energy_total_j) == 0:
            continue
        figure = f"sum over everything of {device}"
        if len(known) == len(energies):
            yield where, figure, math.fsum(known), float(curve.energy_total_j[-1] - curve.energy_total_j[0])
        else:  # a null among the tiles is a hole that has been named where it is; a sum over a hole says nothing
            yield where, figure, NOT_CHECKED, NOT_CHECKED


def _pairs(where: str, stored: Reading, again: Reading | None) -> Iterator[tuple[str, str, Figure, Figure]]:
    figures = ["energy_gross_j", "energy_gross_half_width_j"]
    if stored.attribution is Attribution.SHARED_TOKENS:
        figures += ["energy_shared_equal_j", "duration_share_s"]
    for figure in figures:
        yield where, f"{figure} of {stored.device}", getattr(stored, figure), getattr(again, figure, None)
    for index, phase in enumerate(stored.phases):
        recomputed = again.phases[index].energy_gross_j if again else None
        yield where, f"{phase.name} energy_gross_j of {stored.device}", phase.energy_gross_j, recomputed


def _same(stored: Figure, recomputed: Figure) -> bool:
    if not isinstance(stored, float) or not isinstance(recomputed, float):
        return stored == recomputed
    return math.isclose(stored, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE_J)
