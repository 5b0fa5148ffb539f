"""A cell's files as records, each read once. What cannot be read is named; the rest is looked at all the same."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness.errors import HarnessError
from harness.records import Cell, IntervalRecord, LengthRecord, QueryRecord, RunManifest, SessionEnd
from harness.store.run_directory import RunDirectory
from harness.verify.check import Check, Kind

Contents = TypeVar("Contents")

BEYOND_READING = (HarnessError, ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What somebody else's files may raise while they are read, or while figures are computed from them."""
N_CHARACTERS_MOST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """One session; what it did not write, or what cannot be read, is None or empty."""

    number: int
    manifest: RunManifest | None
    intervals: list[IntervalRecord]
    end: SessionEnd | None

    @property
    def ended_well(self) -> bool:
        """Whether its stretches are to be whole: it was not killed, and no error ended it."""
        return self.end is not None and self.end.status != "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCell:
    """One cell at one site. `path` is relative to the run."""

    path: str
    directory: RunDirectory
    cell: Cell
    sessions: list[StoredSession]
    queries: list[QueryRecord]
    lengths: list[LengthRecord]

    def session_path(self, number: int) -> str:
        """Of a session, relative to the run."""
        return f"{self.path}/sessions/{number:02d}"


def read_cell(run: Path, directory: RunDirectory) -> Generator[Check, None, StoredCell | None]:
    """Every file of a cell but for its raw readings.

    Args:
        run: The run's directory.
        directory: One of its cells.

    Yields:
        One check per file: whether it can be read.

    Returns:
        None where it is not known what was measured, or which queries.
    """
    path = directory.path.relative_to(run).as_posix()
    cell = yield from _read(run, f"{path}/cell.yaml", directory.cell)
    sessions = []
    for number in directory.sessions():
        name = f"{path}/sessions/{number:02d}"
        manifest = yield from _read(run, f"{name}/manifest.json", partial(directory.manifest, number))
        intervals = yield from _read(run, f"{name}/intervals.jsonl", partial(directory.intervals, number))
        end = yield from _read(run, f"{name}/end.json", partial(directory.end, number))
        sessions.append(StoredSession(number=number, manifest=manifest, intervals=intervals or [], end=end))
    queries = yield from _read(run, f"{path}/queries.jsonl", directory.queries)
    lengths = yield from _read(run, f"{path}/lengths.jsonl", directory.lengths)
    if cell is None or queries is None:
        return None
    return StoredCell(
        path=path, directory=directory, cell=cell, sessions=sessions, queries=queries, lengths=lengths or []
    )


def _read(run: Path, name: str, read: Callable[[], Contents]) -> Generator[Check, None, Contents | None]:
    try:
        contents = read()
    except BEYOND_READING as error:
        yield damaged(run, name, error)
        return None
    if (run / name).exists():
        yield Check(kind=Kind.SCHEMA, where=name, figure="contents", stored="can be read", again="can be read")
    return contents


def called(query: QueryRecord | LengthRecord) -> str:
    """How a query is named."""
    return f"{query.prompt_id} in mode {query.mode}"


def damaged(run: Path, name: str, error: Exception, kind: Kind = Kind.SCHEMA) -> Check:
    """The check of a file that cannot be read, or of figures that cannot be computed from it."""
    return Check(kind=kind, where=name, figure="contents", stored="can be read", again=said(run, error))


def said(run: Path, error: Exception) -> str:
    """What an error says, on one line, with paths as the run has them."""
    words = " ".join(str(error).replace(f"{run}/", "").split()) or type(error).__name__
    return words if len(words) <= N_CHARACTERS_MOST else f"{words[:N_CHARACTERS_MOST]}..."
