"""Joins the log of an external meter with a run: what the whole machine drew, and its gain against the boards'.

The machine is a boundary of its own (`node`); nothing of it enters the headline. Results go beside the session's raw
readings, with a copy of the log. A log may come long after the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.beside.alignment import REACH_S, Alignment, Load, align
from harness.meter.beside.external import ExternalLog, read_log
from harness.meter.beside.stretches import Stretches
from harness.meter.curve.curve import Curve
from harness.meter.meter import rebuilt
from harness.records import (
    Attribution,
    Boundary,
    ExternalMeter,
    Finding,
    FindingCode,
    Method,
    NodeMode,
    NodeQuery,
    QueryRecord,
    Reading,
    RunManifest,
)
from harness.results import CellResults, SessionResults, load_run

if TYPE_CHECKING:
    from harness.records import FloatArray

RESOLVED_PERIODS = 3.0
"""A query shorter than so many of the log's periods, or of its meter's time constants, is not told by it."""
IDLE_NAMES = ("idle_before", "idle_after")
WORK_NAMES = ("load", "warm_up")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """The load of a session, and what it is made of."""

    load: Load
    name: str


def apply(run: Path, path: Path) -> list[ExternalMeter]:
    """Align a log with every session of a run that it may cover, and store what it says.

    Args:
        run: The run's directory.
        path: The log, a CSV file.

    Returns:
        One record per session, also where the log could not be aligned: its energies are null then.

    Raises:
        UsageError: The log cannot be read.
        SchemaError: The run is damaged, or written by a newer version.
        StorageFull: The results cannot be written.
    """
    log, content = read_log(path), path.read_bytes()
    found = []
    for results in load_run(run):
        sessions = [session for session in results.sessions if session.manifest is not None]
        near = [session for session in sessions if any(_shifts(log, results, session))]
        for session in near or sessions[-1:]:
            external = _external(log, results, session)
            if external != results.directory.external(session.number):
                results.directory.write_external(external, content)
            found.append(external)
    return found


def _external(log: ExternalLog, results: CellResults, session: SessionResults) -> ExternalMeter:
    reference = _reference(results, session)
    external = ExternalMeter(
        session=session.number,
        log=log.name,
        log_sha256=log.sha256,
        column=log.column,
        n_readings=log.n_readings,
        duration_period_s=log.stretches.duration_period_s,
        reference=reference.name if reference else "nothing",
        notes=log.notes,
    )
    if reference is None:
        return _refused(external, "nothing was measured in the session, and it has no queries")
    reason = _apart(log, session.manifest)
    for shift_s, zone in _shifts(log, results, session):
        first_s, last_s = _ends(reference.load)
        stretches = log.stretches.shifted(shift_s).between(first_s - 2 * REACH_S, last_s + 2 * REACH_S)
        aligned = align(stretches, reference.load)
        if isinstance(aligned, Alignment):
            notes = (*log.notes, *([f"its times have no zone and were read as {zone}"] if zone else []))
            external = external.model_copy(update={"notes": notes})
            return _filled(external, aligned, stretches, reference.load, results, session)
        reason = aligned.reason
    return _refused(external, reason)


def _refused(external: ExternalMeter, reason: str) -> ExternalMeter:
    finding = Finding(code=FindingCode.EXTERNAL_NOT_ALIGNED, detail=f"{external.log}: {reason}")
    return external.model_copy(update={"findings": (finding,)})


def _ends(load: Load) -> tuple[float, float]:
    return float(load.time_s[0]), float(load.time_s[-1])


def _filled(
    external: ExternalMeter,
    aligned: Alignment,
    stretches: Stretches,
    load: Load,
    results: CellResults,
    session: SessionResults,
) -> ExternalMeter:
    node = stretches.shifted(aligned.duration_offset_s + aligned.duration_lag_s)
    shortest_s = RESOLVED_PERIODS * max(node.duration_period_s, aligned.duration_lag_s)
    # At a query's edge a reading stands for both sides, by up to half of its stretch for the wrong one.
    edge_s = float(np.hypot(aligned.duration_offset_half_width_s, aligned.duration_lag_s)) + node.duration_period_s / 2

    def read(time_start_s: float, time_end_s: float) -> Reading:
        energy_j: float | None = None
        findings: tuple[Finding, ...] = ()
        if time_end_s - time_start_s < shortest_s:
            detail = f"the external log resolves {shortest_s:.3g} s"
            findings = (Finding(code=FindingCode.SHORTER_THAN_TWO_TICKS, detail=detail),)
        else:
            energy_j = node.energy_j(time_start_s, time_end_s)
            findings = () if energy_j is not None else (Finding(code=FindingCode.NO_READINGS, detail=external.log),)
        half_width_j = None
        if energy_j is not None:
            half_width_j = node.half_width_j(time_start_s, time_end_s, edge_s)
            half_width_j += aligned.unseen_j(load, time_start_s, time_end_s)
        return Reading(
            device=f"external:{external.log}",
            boundary=Boundary.NODE,
            method=Method.EXTERNAL_METER,
            attribution=Attribution.WHOLE_BOARD,
            time_start_s=time_start_s,
            time_end_s=time_end_s,
            energy_gross_j=energy_j,
            energy_gross_half_width_j=half_width_j,
            n_samples=node.n_readings(time_start_s, time_end_s),
            findings=findings,
        )

    asked = [query for query in results.queries if query.session == session.number]
    queries = [(query, read(query.time_start_s, query.time_end_s)) for query in asked]
    return external.model_copy(
        update={
            "duration_offset_s": aligned.duration_offset_s,
            "duration_offset_half_width_s": aligned.duration_offset_half_width_s,
            "duration_lag_s": aligned.duration_lag_s,
            "correlation": aligned.correlation,
            "gain": aligned.gain,
            "total": read(*_ends(load)),
            "modes": tuple(_mode(mode, queries) for mode in dict.fromkeys(query.mode for query in asked)),
            "queries": tuple(
                NodeQuery(prompt_id=query.prompt_id, mode=query.mode, reading=reading) for query, reading in queries
            ),
        }
    )


def _mode(mode: str, queries: Sequence[tuple[QueryRecord, Reading]]) -> NodeMode:
    own = [(query, reading) for query, reading in queries if query.mode == mode]
    resolved = [(query, reading) for query, reading in own if reading.energy_gross_j is not None]
    return NodeMode(
        mode=mode,
        n_queries=len(own),
        n_resolved=len(resolved),
        energy_node_j=_sum([reading.energy_gross_j for _, reading in resolved]),
        # Clocks and lag are off the same way for every query.
        energy_node_half_width_j=_sum([reading.energy_gross_half_width_j for _, reading in resolved]),
        energy_board_j=_sum(
            [
                reading.energy_gross_j
                for query, _ in resolved
                for reading in query.readings
                if reading.boundary is Boundary.GPU_BOARD
            ]
        ),
    )


def _sum(energies: Sequence[float | None]) -> float | None:
    known = [energy_j for energy_j in energies if energy_j is not None]
    return float(sum(known)) if known and len(known) == len(energies) else None


def _reference(results: CellResults, session: SessionResults) -> _Reference | None:
    """The measured load of a session: its boards', and its host's; where nothing was measured, when it was busy."""
    assert session.manifest is not None
    curves = rebuilt(session.manifest.channels, results.directory.segments(session.number), shaped=False)
    measured = [curve for curve in curves if curve.channel.method is not Method.ESTIMATED and len(curve.time_s) > 1]
    parts = {
        boundary: [curve for curve in measured if curve.channel.boundary is boundary]
        for boundary in (Boundary.GPU_BOARD, Boundary.HOST)
    }
    kept = [each for each in parts.values() if each]
    if not kept:
        return _pattern(results, session)
    times = np.unique(np.concatenate([curve.time_s for each in kept for curve in each]))
    first_s = max(float(curve.time_s[0]) for each in kept for curve in each)
    last_s = min(float(curve.time_s[-1]) for each in kept for curve in each)
    times = times[(times >= first_s) & (times <= last_s)]
    if len(times) < 2:
        return _pattern(results, session)
    return _Reference(
        load=Load(time_s=times, energies=tuple(_energy_j(each, times) for each in kept)),
        name="+".join(boundary.value for boundary, each in parts.items() if each),
    )


def _energy_j(curves: Sequence[Curve], times: FloatArray) -> FloatArray:
    total_j: FloatArray = np.sum([np.interp(times, curve.time_s, curve.energy_total_j) for curve in curves], axis=0)
    return total_j


def _pattern(results: CellResults, session: SessionResults) -> _Reference | None:
    """Seconds of work as a load: from loading to the last idle stretch, what is no work is idle."""
    own = [query for query in results.queries if query.session == session.number]
    spans = [(query.time_start_s, query.time_end_s) for query in own]
    spans += [(each.time_start_s, each.time_end_s) for each in session.intervals if each.name in WORK_NAMES]
    spans.sort()
    if not spans:
        return None
    tiles = [each for each in session.intervals if each.name in IDLE_NAMES]
    first_s = min([spans[0][0], *(each.time_start_s for each in tiles)])
    last_s = max([spans[-1][1], *(each.time_end_s for each in tiles)])
    knots = np.unique([first_s, last_s, *(time_s for span in spans for time_s in span)])
    middles = (knots[1:] + knots[:-1]) / 2
    is_busy = np.any([(middles > start_s) & (middles < end_s) for start_s, end_s in spans], axis=0)
    busy_s = np.concatenate([[0.0], np.cumsum(np.diff(knots) * is_busy)])
    return _Reference(load=Load(time_s=knots, energies=(busy_s,), is_pattern=True), name="spans of work")


def _shifts(log: ExternalLog, results: CellResults, session: SessionResults) -> Iterator[tuple[float, str]]:
    """(the log's clock at the session's origin in Unix seconds, zone that was assumed) wherever it may cover it.

    Without a zone the log may be in this machine's, in UTC, or in that of whoever set the meter's clock.
    """
    assert session.manifest is not None
    origin_s, (first_s, last_s) = session.manifest.origin_unix_s, _span(results, session)
    zones: dict[float, str] = {0.0: ""}
    if not log.has_zone:
        here = datetime.fromtimestamp(origin_s, tz=UTC).astimezone().utcoffset() or timedelta()
        hours = [here.total_seconds() / 3600, 0.0, *(each / 2 for each in range(-24, 29))]
        zones = {hour * 3600: f"UTC{hour:+g} h" for hour in hours}
    begins_s, ends_s = float(log.stretches.time_start_s[0]), float(log.stretches.time_end_s[-1])
    for zone_s, zone in zones.items():
        shift_s = origin_s + zone_s
        overlap_s = min(last_s + REACH_S, ends_s - shift_s) - max(first_s - REACH_S, begins_s - shift_s)
        if overlap_s >= 0.9 * (last_s - first_s):
            yield shift_s, zone


def _span(results: CellResults, session: SessionResults) -> tuple[float, float]:
    """When a session began and ended, as far as anything of it is stored."""
    stored = [(each.time_start_s, each.time_end_s) for each in session.intervals]
    stored += [(each.time_start_s, each.time_end_s) for each in results.queries if each.session == session.number]
    return min((start for start, _ in stored), default=0.0), max((end for _, end in stored), default=0.0)


def _apart(log: ExternalLog, manifest: RunManifest | None) -> str:
    begins, ends = (
        datetime.fromtimestamp(float(time_s), tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
        for time_s in (log.stretches.time_start_s[0], log.stretches.time_end_s[-1])
    )
    began = "" if manifest is None else f", and the session began at {manifest.started_utc}"
    return f"it covers {begins} to {ends}{' UTC' if log.has_zone else ''}{began}"
