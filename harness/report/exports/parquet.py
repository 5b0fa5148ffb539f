"""Rows as a Parquet file. Text stays as it is: nothing that reads Parquet executes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def parquet_of_rows(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows with the same columns; None is missing."""
    import pyarrow

    return parquet_of_table(pyarrow.Table.from_pylist(list(rows)))


def parquet_of_table(table: Any) -> bytes:
    """An Arrow table."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written
