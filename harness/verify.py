"""Recomputes every stored energy from the raw readings, and says how many agree.

And of every session that ended in good order: that its queries and the stretches between them add up, for each device,
to the sensor's last reading minus its first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.attribution import exclusive
from harness.meter.curve.curve import Curve
from harness.meter.meter import rebuilt
from harness.records import MARK_CHANNEL, Channel, FindingCode, Phase, Reading
from harness.results import CellResults, load_run

RELATIVE_TOLERANCE = 1e-6
"""Another processor's linear algebra rounds otherwise: differences of 2e-9 were seen between four of them."""
ABSOLUTE_TOLERANCE_J = 1e-9
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
        owners = [
            *((f"{interval.name} of session {session.number}", interval.readings) for interval in session.intervals),
            *(
                (f"{query.prompt_id} in mode {query.mode}", query.readings)
                for query in results.directory.queries()
                if query.session == session.number
            ),
        ]
        for where, readings in owners:
            for reading in readings:
                yield from _described(where, reading, session.manifest.channels)
                curve = curves.get(reading.device)
                phases = [
                    Phase(name=phase.name, time_start_s=phase.time_start_s, time_end_s=phase.time_end_s)
                    for phase in reading.phases
                ]
                shared = any(finding.code is FindingCode.HOST_SHARED for finding in reading.findings)
                if shared and reading.energy_gross_j is None:
                    continue  # withheld for what others did, which the raw readings do not show
                again = exclusive.read(curve, reading.time_start_s, reading.time_end_s, phases) if curve else None
                yield from _pairs(where, reading, again)
        yield from _spans(results, session.number)
        if session.status is not None and session.status != "failed":
            yield from _sums(f"session {session.number}", [readings for _, readings in owners], curves)


def _described(where: str, reading: Reading, channels: Sequence[Channel]) -> Iterator[tuple[str, str, Figure, Figure]]:
    """Whether a reading says of itself what the session's sensors were."""
    known = [f"{channel.boundary} by {channel.method}" for channel in channels if channel.device == reading.device]
    said = f"{reading.boundary} by {reading.method}"
    yield where, f"boundary and method of {reading.device}", said, said if said in known else " or ".join(known) or None


def _spans(results: CellResults, session: int) -> Iterator[tuple[str, str, Figure, Figure]]:
    """Whether every query lies between two edges that were marked when it ran, as its readings and phases do."""
    marks = [rows.time_after_s[rows.channel == MARK_CHANNEL] for rows in results.directory.segments(session)]
    edges_s = set(np.concatenate(marks).tolist()) if marks else set()
    for query in results.directory.queries():
        if query.session != session:
            continue
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
    for figure in ("energy_gross_j", "energy_gross_half_width_j"):
        yield where, f"{figure} of {stored.device}", getattr(stored, figure), getattr(again, figure, None)
    for index, phase in enumerate(stored.phases):
        recomputed = again.phases[index].energy_gross_j if again else None
        yield where, f"{phase.name} energy_gross_j of {stored.device}", phase.energy_gross_j, recomputed


def _same(stored: Figure, recomputed: Figure) -> bool:
    if not isinstance(stored, float) or not isinstance(recomputed, float):
        return stored == recomputed
    return math.isclose(stored, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE_J)
