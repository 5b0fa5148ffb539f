"""Queries and gaps as columns: read from JSON lines in blocks, kept beside them as Parquet where there are many.

`queries.jsonl` is the truth. `queries.parquet` says which state of it it was made from, is made again when that is not
the present one, and may be deleted at any time. Where it cannot be written, nothing is lost but the time to read the
lines again.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import SchemaError
from harness.records import (
    SCHEMA_VERSION,
    IntervalColumns,
    QueryColumns,
    Record,
)
from harness.store import schemas
from harness.store.flat import Columns
from harness.store.lines import NotPlain, blocks, line_starts, parsed, whole_bytes
from harness.store.slim import slim_intervals, slim_queries

if TYPE_CHECKING:
    from harness.records import IntArray

LAYOUT = "2"
"""Of the Parquet files; another one is made again."""
KEPT_FROM_BYTES = 8 * 2**20
"""Files below, about 5,000 queries, are read in a fifth of a second: nothing is put beside them."""
TAIL_BYTES = 2**16
N_AT_ONCE = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_queries(path: Path, records: Callable[[], Sequence[Record]]) -> QueryColumns:
    """`queries.jsonl` as columns.

    Args:
        path: The file; one that is not there has no queries.
        records: Reads it line by line; asked only where the columns cannot be certain of it.

    Raises:
        SchemaError: By `records`: damaged, or written by a newer version.
    """
    columns = Columns().of_queries(_pieces(path, schemas.query(), slim_queries, records))
    pa.default_memory_pool().release_unused()
    return columns


def read_intervals(path: Path, records: Callable[[], Sequence[Record]]) -> tuple[IntervalColumns, IntArray]:
    """The gaps of `intervals.jsonl` as columns, and where the lines of all other intervals begin.

    Args:
        path: The file; one that is not there has none.
        records: As for queries.

    Raises:
        SchemaError: By `records`: damaged, or written by a newer version.
    """
    columns = Columns().of_intervals(_pieces(path, schemas.INTERVAL, slim_intervals, records))
    pa.default_memory_pool().release_unused()
    return columns


def _pieces(
    path: Path,
    schema: pa.Schema,
    slim: Callable[[pa.Table, IntArray], pa.Table],
    records: Callable[[], Sequence[Record]],
) -> list[pa.Table] | Iterator[pa.Table]:
    """The lines as tables, one per block: from Parquet where that is of this state of the file."""
    n_bytes = whole_bytes(path) if path.exists() else 0
    if n_bytes == 0:
        return []
    kept = path.with_suffix(".parquet")
    state = _state(path, n_bytes)
    if n_bytes >= KEPT_FROM_BYTES and _is_of(kept, path, state):
        return _kept(kept)
    return _parsed(path, n_bytes, schema, slim, records, kept, state)


def _parsed(
    path: Path,
    n_bytes: int,
    schema: pa.Schema,
    slim: Callable[[pa.Table, IntArray], pa.Table],
    records: Callable[[], Sequence[Record]],
    kept: Path,
    state: dict[str, str],
) -> list[pa.Table]:
    def read(placed: tuple[int, bytes]) -> pa.Table:
        starts = line_starts(*placed)
        return slim(parsed(placed[1], len(starts), schema), starts)

    try:
        tables = list(_side_by_side(read, blocks(path, n_bytes)))
    except NotPlain:
        return [_of_records(path, n_bytes, slim, records())]
    if n_bytes >= KEPT_FROM_BYTES:
        with suppress(OSError):  # read-only, or full: they are in memory all the same
            _keep(kept, tables, state)
    return tables


def _side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The work on each item, in order, on two at a time: one core looks through a block while the other parses one."""
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > N_AT_ONCE:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _of_records(
    path: Path, n_bytes: int, slim: Callable[[pa.Table, IntArray], pa.Table], records: Sequence[Record]
) -> pa.Table:
    """The slow way: through records that were read line by line."""
    fields = [record.model_dump(mode="json") for record in records]
    schema = schemas.INTERVAL
    if slim is slim_queries:
        sizes = _types([each["output"]["sizes"] for each in fields if each["output"] is not None])
        values = _types([each["score"]["values"] for each in fields if each["score"] is not None])
        schema = schemas.query(sizes, values)
    starts = [line_starts(place, block) for place, block in blocks(path, n_bytes)]
    try:
        table = pa.Table.from_pylist(fields, schema=schema).combine_chunks()
    except pa.ArrowException as error:
        what = f"{path} has a value that is one number in some lines and a list in others: {error}"
        raise SchemaError(what, "Restore it from a copy of the run.") from error
    return slim(table, np.concatenate(starts)[: len(fields)])


def _types(found: Sequence[Mapping[str, object]]) -> dict[str, pa.DataType]:
    """The types of what is found by name: a count only where all are whole."""
    kinds: dict[str, set[type]] = {}
    for each in found:
        for name, value in each.items():
            kinds.setdefault(name, set()).add(type(value))
    return {
        name: schemas.NUMBERS if list in own else schemas.COUNT if own == {int} else schemas.NUMBER
        for name, own in kinds.items()
    }


def _state(path: Path, n_bytes: int) -> dict[str, str]:
    """What tells this state of a file from another one."""
    with path.open("rb") as file:
        file.seek(max(0, n_bytes - TAIL_BYTES))
        tail = hashlib.sha256(file.read(min(n_bytes, TAIL_BYTES))).hexdigest()
    return {"layout": LAYOUT, "schema_version": str(SCHEMA_VERSION), "bytes": str(n_bytes), "tail_sha256": tail}


def _is_of(kept: Path, path: Path, state: dict[str, str]) -> bool:
    """Whether the Parquet file is whole, of this state of the lines and not older than they are."""
    try:
        if kept.stat().st_mtime_ns < path.stat().st_mtime_ns:
            return False
        metadata = pq.read_metadata(kept).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return all(metadata.get(key.encode()) == value.encode() for key, value in state.items())


def _keep(kept: Path, tables: Sequence[pa.Table], state: dict[str, str]) -> None:
    """Write the tables, one row group each, so that the file is either whole or not there."""
    schema = pa.unify_schemas([table.schema for table in tables])
    if any(table.schema != schema for table in tables):
        return  # blocks with other sizes than the rest: there is no one shape for all
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
    try:
        with pq.ParquetWriter(partial, schema.with_metadata(state), compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _kept(kept: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(kept) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index).combine_chunks()
