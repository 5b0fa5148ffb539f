"""What is on disk, ready to be looked at: net energies filled in, sessions and sites kept apart.

from harness import load_results
frame = load_results("results/latest-run", "results/another")    # a pandas frame, one row per query
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.attribution.baseline import Baseline, baselines, baselines_by_load, with_net, with_tail
from harness.records import (
    Cell,
    CrossCheck,
    ExternalMeter,
    Finding,
    FindingCode,
    IntervalRecord,
    LengthRecord,
    QueryRecord,
    RunManifest,
    SamplerStats,
)
from harness.store.run_directory import RunDirectory, cells, run_path

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResults:
    """One session as it is on disk. `manifest` is None where it was killed before it had one."""

    number: int
    manifest: RunManifest | None
    intervals: Sequence[IntervalRecord]
    baselines: dict[str, Baseline]
    baselines_by_load: Sequence[tuple[float, dict[str, Baseline]]]
    """When each load of a model was done, and what it drew idle. Mostly one."""
    findings: tuple[Finding, ...]
    status: str | None
    sampler: SamplerStats | None = None
    external: ExternalMeter | None = None
    cross_check: CrossCheck | None = None

    def baselines_at(self, time_s: float) -> dict[str, Baseline]:
        """Idle power of the model that was loaded at this instant."""
        place = bisect.bisect_right(self.baselines_by_load, time_s, key=lambda load: load[0])
        return self.baselines_by_load[place - 1][1] if place else self.baselines

    def gap_from(self, time_s: float) -> IntervalRecord | None:
        """The stretch between two queries that begins at this instant."""
        place = bisect.bisect_left(self.intervals, time_s, key=lambda interval: interval.time_start_s)
        found = self.intervals[place] if place < len(self.intervals) else None
        return found if found is not None and found.name == "gap" and found.time_start_s == time_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResults:
    """One cell at one site: its queries with net energies, and its sessions."""

    directory: RunDirectory
    cell: Cell
    site_id: str
    queries: Sequence[QueryRecord]
    lengths: Sequence[LengthRecord]
    """Of a two-phase run: what the answers to all prompts took in tokens."""
    sessions: Sequence[SessionResults]

    @property
    def manifest(self) -> RunManifest | None:
        """The newest session's manifest."""
        return next((session.manifest for session in reversed(self.sessions) if session.manifest), None)

    @property
    def sampler(self) -> SamplerStats | None:
        """What reading the sensors took in the newest session that ended in good order."""
        return next((session.sampler for session in reversed(self.sessions) if session.sampler), None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is doubtful about the sessions as such, each once."""
        found = [finding for session in self.sessions for finding in session.findings]
        return tuple(dict.fromkeys(found))


def load_cell(directory: RunDirectory) -> CellResults:
    """Read one cell at one site and fill in what is derived.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    sessions = [_session(directory, number) for number in directory.sessions()]
    by_number = {session.number: session for session in sessions}
    return CellResults(
        directory=directory,
        cell=directory.cell(),
        site_id=directory.site_id,
        queries=[_filled(query, by_number.get(query.session)) for query in _valid(directory.queries())],
        lengths=directory.lengths(),
        sessions=sessions,
    )


def load_run(path: Path) -> list[CellResults]:
    """Every cell of a run at every site.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    return [load_cell(directory) for directory in cells(path)]


def load_results(*runs: str | Path, output_dir: str | Path = "results") -> pd.DataFrame:
    """Runs as one pandas frame, one row per query; energies in joules, unknown is missing.

    Args:
        runs: Paths, run ids under `output_dir`, or `latest`.
        output_dir: Where run ids are looked up.

    Raises:
        UsageError: No such run.
        SchemaError: Damaged, or written by a newer version.
    """
    from harness.store.frame import frame

    rows = []
    for run in runs:
        path = run_path(str(run), Path(output_dir), measured=True)
        for results in load_run(path):
            rows += [(path.name, results.cell, results.site_id, query) for query in results.queries]
    return frame(rows)


def _session(directory: RunDirectory, number: int) -> SessionResults:
    manifest, end = directory.manifest(number), directory.end(number)
    intervals = directory.intervals(number)
    idle, by_load = baselines(intervals), baselines_by_load(intervals)
    findings = [*(manifest.findings if manifest else ()), *(end.findings if end else ())]
    findings += [
        Finding(code=FindingCode.IDLE_DRIFT, detail=baseline.device)
        for known in ([each for _, each in by_load] or [idle])
        for baseline in known.values()
        if baseline.drifted
    ]
    external = directory.external(number)
    findings += external.findings if external else ()
    return SessionResults(
        number=number,
        manifest=manifest,
        intervals=intervals,
        baselines=idle,
        baselines_by_load=by_load,
        findings=tuple(findings),
        status=end.status if end else None,
        sampler=end.sampler if end else None,
        external=external,
        cross_check=directory.cross_check(number),
    )


def _valid(queries: Sequence[QueryRecord]) -> list[QueryRecord]:
    """Queries without those that a lost sensor missed and that were measured again."""
    newest = {(query.prompt_id, query.mode): query.session for query in queries}
    return [query for query in queries if newest[query.prompt_id, query.mode] == query.session]


def _filled(query: QueryRecord, session: SessionResults | None) -> QueryRecord:
    """Net energy, and what followed the query above idle."""
    if session is None:
        return query
    gap = session.gap_from(query.time_end_s)
    after = {reading.device: reading for reading in gap.readings} if gap else {}
    known = session.baselines_at(query.time_start_s)
    readings = []
    for reading in query.readings:
        idle = known.get(reading.device)
        readings.append(with_tail(with_net(reading, idle), after.get(reading.device), idle))
    return query.model_copy(update={"readings": tuple(readings)})
