"""Raw readings as Parquet: four columns, one file per collection, never touched again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import SchemaError
from harness.records import SCHEMA_VERSION, Segment

COLUMNS = ("channel", "time_before_s", "time_after_s", "value")


def write(path: Path, segment: Segment) -> None:
    """Write a segment so that the file is either whole or not there."""
    table = pa.table({name: getattr(segment, name) for name in COLUMNS})
    table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def read(path: Path) -> Segment:
    """Read a segment back, bit for bit.

    Raises:
        SchemaError: The file is damaged or of a newer version.
    """
    try:
        table = pq.read_table(path)
        version = int((table.schema.metadata or {}).get(b"schema_version", b"1"))
        columns = {name: table[name].to_numpy() for name in COLUMNS}
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise SchemaError(f"{path} is damaged: {error}", "Restore it from a copy of the run.") from error
    if version > SCHEMA_VERSION:
        raise SchemaError(f"{path} has schema version {version}.", "Update the harness.")
    return Segment(
        channel=columns["channel"].astype(np.int64),
        time_before_s=columns["time_before_s"],
        time_after_s=columns["time_after_s"],
        value=columns["value"],
    )
