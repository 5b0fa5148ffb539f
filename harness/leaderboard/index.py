"""The index: what every run says, as columns in one Parquet file that can be deleted and made again.

A cell is read when it is new or has changed, and never otherwise. What cannot be read is a row too: its path, and why.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import HarnessError, SchemaError
from harness.leaderboard.columns import SCHEMA, VERSION, table_of
from harness.leaderboard.entry import entries, read
from harness.leaderboard.folders import SUMMARY, CellFolder, cell_folders, legible, newest_manifest
from harness.records import RunManifest, Summary

N_SUMMARISED_MOST = 20
"""Runs without a summary that are summarised on the way: each takes seconds. Others are listed with what to do."""
N_BATCH = 2000
MARK = b"leaderboard_index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The rows of all cells, and how many of them had to be read."""

    table: Any
    n_cells: int
    n_read: int


def index_of(roots: Sequence[Path], file: Path) -> Index:
    """Read what is new under some folders; take the rest from the index.

    Args:
        roots: Folders of runs.
        file: The index. It is not written here; paths in it are relative to its folder.
    """
    cells = cell_folders(roots, file.parent)
    known = _stored(file)
    keys = pa.array([f"{cell.path}|{cell.signature}" for cell in cells], pa.string())
    if known is not None:
        own = pc.binary_join_element_wise(known["path"], known["signature"], "|")
        known = known.filter(pc.is_in(own, value_set=keys))
        fresh = set(pc.unique(pc.binary_join_element_wise(known["path"], known["signature"], "|")).to_pylist())
    else:
        known, fresh = SCHEMA.empty_table(), set()
    new = [cell for cell, key in zip(cells, keys.to_pylist(), strict=True) if key not in fresh]
    table = pa.concat_tables([known, *(table_of(some) for some in _batches(_rows(new)))])
    return Index(table=_with_pages(table, cells), n_cells=len(cells), n_read=len(new))


def store(index: Index, file: Path) -> bool:
    """Write the index so that it is whole or not there.

    Returns:
        False: its folder cannot be written, or a table that is not an index has its name. Nothing is lost.
    """
    with contextlib.suppress(OSError, pa.ArrowException):
        if MARK not in (pq.read_schema(file).metadata or {}):
            return False
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        pq.write_table(index.table, partial, compression="zstd", write_page_checksum=True)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        return False
    return True


def _stored(file: Path) -> Any:
    """The index on disk; None where there is none, or one that this program did not write."""
    try:
        table = pq.read_table(file, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None
    if (table.schema.metadata or {}).get(MARK) != VERSION.encode() or not table.schema.equals(SCHEMA):
        return None
    return table


def _with_pages(table: Any, cells: Sequence[CellFolder]) -> Any:
    """The table in the order of its paths; a page may have come or gone since a row was read."""
    pages = pa.table(
        {
            "path": pa.array([cell.path for cell in cells], pa.string()),
            "page": pa.array([cell.page for cell in cells], pa.string()),
        }
    )
    place = pc.index_in(table["path"], value_set=pages["path"])
    column = table.schema.get_field_index("page")
    table = table.set_column(column, SCHEMA.field("page"), pc.take(pages["page"], place))
    return table.take(pc.sort_indices(table, sort_keys=[("path", "ascending"), ("mode", "ascending")]))


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Some rows at a time: as columns they take a tenth of the memory."""
    while some := list(itertools.islice(rows, N_BATCH)):
        yield some


def _rows(cells: Sequence[CellFolder]) -> Iterator[dict[str, Any]]:
    """Rows of cells that are read now; those without a summary are summarised, as far as it does not take long."""
    without: dict[Path, list[CellFolder]] = {}
    for cell in cells:
        if cell.has_summary:
            yield from _from_summary(cell)
        elif cell.has_queries:
            without.setdefault(Path(cell.folder).parents[1], []).append(cell)
        else:
            yield _problem(cell, "Nothing was measured yet: it holds no finished query.")
    n_summarised = 0
    for run, waiting in without.items():
        if n_summarised < N_SUMMARISED_MOST:
            rows = _summarised(run, waiting)
            n_summarised += any("problem" not in row for row in rows)  # what fails does so quickly, and every time
            yield from rows
        else:
            yield from (_problem(cell, f"Not summarised. Do it: harness report {run}") for cell in waiting)


def _from_summary(cell: CellFolder) -> list[dict[str, Any]]:
    try:
        summary = read(Summary, f"{cell.folder}/{SUMMARY}")
        newest = newest_manifest(cell.folder)
        manifest = None if newest is None else read(RunManifest, newest)
    except SchemaError as error:
        return [_problem(cell, str(error))]
    return _placed(cell, entries(summary, manifest))


def _summarised(run: Path, waiting: Sequence[CellFolder]) -> list[dict[str, Any]]:
    """Rows of a run that was killed before its report; its own folder is not written."""
    from harness.publish import accounts  # a second of imports, only where it is needed

    try:
        found = {account.results.directory.path.resolve(): account for account in accounts(run)}
    except (HarnessError, OSError, ValueError) as error:
        return [_problem(cell, f"It has no summary, and none could be made: {error}") for cell in waiting]
    rows = []
    for cell in waiting:
        account = found.get(Path(cell.folder).resolve())
        if account is None:
            rows.append(_problem(cell, "It holds no finished query, or none of its sessions has a manifest."))
        else:
            rows += _placed(cell, entries(account.summary, account.results.manifest))
    return rows


def _placed(cell: CellFolder, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not rows:
        return [_problem(cell, "Nothing was measured yet: its summary holds no mode.")]
    own = {
        "path": cell.path,
        "signature": cell.signature,
        "run": cell.run,
        "cell_id": Path(cell.folder).parent.name,
        "stale": cell.is_stale,
    }
    return [{**row, **own} for row in rows]


def _problem(cell: CellFolder, problem: str) -> dict[str, Any]:
    """What could not be read is looked at again the next time: it has no signature."""
    return {"path": cell.path, "signature": "", "run": cell.run, "stale": False, "problem": legible(problem)}
