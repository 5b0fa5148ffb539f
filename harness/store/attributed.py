"""Attributed energies per query as a file: CSV, JSON Lines or Parquet, by the name's ending."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = Sequence[str] | Sequence[int | None] | npt.NDArray[np.generic]

ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path) -> None:
    """Refuse a name whose ending says nothing.

    Raises:
        UsageError: It is none of those known.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"--output {path} ends in none of {', '.join(ENDINGS)}.", "Name it q.csv, for example.")


def write_queries(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns of equal length; what is NaN is empty, or null.

    Raises:
        OSError: It cannot be written.
    """
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
        return
    rows = zip(*(_plain(column) for column in columns.values()), strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        else:
            names = list(columns)
            encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
            file.writelines(f"{encode(dict(zip(names, row, strict=True)))}\n" for row in rows)


def _plain(column: Column) -> list[object]:
    if not isinstance(column, np.ndarray):
        return list(column)
    values: list[object] = column.tolist()
    if column.dtype.kind == "f":
        return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    return values


def _write_parquet(path: Path, columns: Mapping[str, Column]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(column, from_pandas=isinstance(column, np.ndarray)) for name, column in columns.items()}
    with path.open("wb") as file:
        pq.write_table(pa.table(arrays), file, compression="zstd")
