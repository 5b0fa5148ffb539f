"""What is on disk, ready to be looked at: net energies filled in, sessions and sites kept apart.

from harness import load_results
frame = load_results("results/latest-run", "results/another")    # a pandas frame, one row per query
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from harness.analysis.stored import rows_of
from harness.attribution.baseline import Baseline, baselines, baselines_by_load
from harness.attribution.filled import Idle, with_idle
from harness.records import (
    BusyShares,
    Cell,
    CrossCheck,
    ExternalMeter,
    Finding,
    FindingCode,
    IntervalRecord,
    LengthRecord,
    QueryColumns,
    QueryRecord,
    Reading,
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
    stretches: Sequence[IntervalRecord]
    """Its intervals without the gaps between queries."""
    baselines: dict[str, Baseline]
    baselines_by_load: Sequence[tuple[float, dict[str, Baseline]]]
    """When each load of a model was done, and what it drew idle. Mostly one."""
    findings: tuple[Finding, ...]
    status: str | None
    sampler: SamplerStats | None = None
    external: ExternalMeter | None = None
    cross_check: CrossCheck | None = None
    busy: BusyShares | None = None


class StoredIntervals(Sequence[IntervalRecord]):
    """All of a session's intervals, gaps included; read from disk when they are first asked for."""

    def __init__(self, directory: RunDirectory, session: int) -> None:
        self._directory, self._session = directory, session
        self._records: list[IntervalRecord] | None = None

    def _read(self) -> list[IntervalRecord]:
        if self._records is None:
            self._records = self._directory.intervals(self._session)
        return self._records

    def __len__(self) -> int:
        """How many."""
        return len(self._read())

    @overload
    def __getitem__(self, place: int) -> IntervalRecord: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[IntervalRecord]: ...
    def __getitem__(self, place: int | slice) -> IntervalRecord | Sequence[IntervalRecord]:
        """In order."""
        return self._read()[place]


KEPT_MOST = 20_000
"""Queries up to which records stay in memory once they were read, some 200 MB; more are read again each time."""


class StoredQueries(Sequence[QueryRecord]):
    """A cell's queries as records, net energies filled in; read from disk when they are asked for, and not before.

    What can be had from the columns should be: a record costs a hundred times as much.
    """

    def __init__(self, directory: RunDirectory, columns: QueryColumns) -> None:
        self._directory, self._columns = directory, columns
        self._first = np.searchsorted(columns.readings.owner, np.arange(len(columns)))
        self._records: list[QueryRecord] | None = None

    def __len__(self) -> int:
        """How many, without reading one."""
        return len(self._columns)

    def __iter__(self) -> Iterator[QueryRecord]:
        """In the order in which they became final."""
        if self._records is not None:
            return iter(self._records)
        if len(self) > KEPT_MOST:
            return self.at(range(len(self)))
        self._records = list(self.at(range(len(self))))
        return iter(self._records)

    @overload
    def __getitem__(self, place: int) -> QueryRecord: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[QueryRecord]: ...
    def __getitem__(self, place: int | slice) -> QueryRecord | Sequence[QueryRecord]:
        """One, or a list of some; only these are read."""
        rows = range(len(self))[place]
        if isinstance(rows, int):
            return next(self.at([rows]))
        return list(self.at(rows))

    def at(self, rows: Sequence[int]) -> Iterator[QueryRecord]:
        """The queries in these places, in this order."""
        records = self._directory.queries_at(self._columns.offset[list(rows)].tolist())
        for row, record in zip(rows, records, strict=True):
            first = int(self._first[row])
            readings = [self._filled(first + index, reading) for index, reading in enumerate(record.readings)]
            yield record.model_copy(update={"readings": tuple(readings)})

    def _filled(self, row: int, reading: Reading) -> Reading:
        """The reading with the net fields of its row."""
        own = {name: float(getattr(self._columns.readings, name)[row]) for name in NET_FIELDS}
        return reading.model_copy(update={name: None if math.isnan(each) else each for name, each in own.items()})


NET_FIELDS = ("power_idle_w", "energy_net_j", "energy_net_half_width_j", "energy_tail_j")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResults:
    """One cell at one site: its queries with net energies, and its sessions."""

    directory: RunDirectory
    cell: Cell
    site_id: str
    columns: QueryColumns
    """Its queries as columns, in the order in which they became final."""
    queries: Sequence[QueryRecord]
    """The same as records; of a large run they are read from disk whenever they are asked for."""
    lengths: Sequence[LengthRecord]
    """Of a two-phase run: what the answers to all prompts took in tokens."""
    sessions: Sequence[SessionResults]

    def queries_at(self, rows: Sequence[int]) -> list[QueryRecord]:
        """The queries in these rows of `columns`, as records; only these are read."""
        return list(StoredQueries(self.directory, self.columns).at(rows))

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
    loaded = [_session(directory, number) for number in directory.sessions()]
    columns = with_idle(_valid(directory.query_columns()), {session.number: idle for session, idle in loaded})
    return CellResults(
        directory=directory,
        cell=directory.cell(),
        site_id=directory.site_id,
        columns=columns,
        queries=StoredQueries(directory, columns),
        lengths=directory.lengths(),
        sessions=[session for session, _ in loaded],
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

    paths = [run_path(str(run), Path(output_dir), measured=True) for run in runs]
    return frame(
        (path.name, results.cell, results.site_id, results.columns)
        for path in paths
        for results in load_run(path)
        if len(results.columns)
    )


def _session(directory: RunDirectory, number: int) -> tuple[SessionResults, Idle]:
    manifest, end = directory.manifest(number), directory.end(number)
    gaps, stretches = directory.gaps(number)
    idle, by_load = baselines(stretches), baselines_by_load(stretches)
    findings = [*(manifest.findings if manifest else ()), *(end.findings if end else ())]
    findings += [
        Finding(code=FindingCode.IDLE_DRIFT, detail=baseline.device)
        for known in ([each for _, each in by_load] or [idle])
        for baseline in known.values()
        if baseline.drifted
    ]
    external = directory.external(number)
    findings += external.findings if external else ()
    session = SessionResults(
        number=number,
        manifest=manifest,
        intervals=StoredIntervals(directory, number),
        stretches=stretches,
        baselines=idle,
        baselines_by_load=by_load,
        findings=tuple(findings),
        status=end.status if end else None,
        sampler=end.sampler if end else None,
        external=external,
        cross_check=directory.cross_check(number),
        busy=directory.busy(number),
    )
    return session, Idle(baselines=idle, by_load=by_load, gaps=gaps)


def _valid(columns: QueryColumns) -> QueryColumns:
    """Queries without those that a lost sensor missed and that were measured again."""
    key = columns.prompt.codes * len(columns.mode.names) + columns.mode.codes
    newest = np.zeros(len(columns.prompt.names) * len(columns.mode.names), dtype=np.int64)
    newest[key] = columns.session
    rows = np.flatnonzero(newest[key] == columns.session)
    return columns if len(rows) == len(columns) else rows_of(columns, rows)
