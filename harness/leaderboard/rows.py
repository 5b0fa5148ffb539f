"""Rows as numpy columns, repeats of a cell made one row: the mean over them, and how far they lie apart."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import student_t
from harness.leaderboard.columns import FIGURES, PARTS
from harness.records import FindingCode

ALIKE_IN_REPEATS = (
    *("repeat_of", "site_id", "mode", "estimated", "method", "boundary", "hardware", "power_limit", "boards"),
    *("precision", "metered"),
)
"""Repeats of one run that differ in any of these are rows of their own: one was resumed on another card, say."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Columns of equal length. Numbers are float64, NaN where unknown; texts and flags are objects, None likewise.

    `n_runs` says how many repeats a row is the mean of, `n_left_out` how many answered fewer prompts than those.
    `n_scored`, `n_correct` and `n_cut` are sums over the repeats; `n_queries` is of each of them.
    """

    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["path"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def row(self, place: int) -> dict[str, Any]:
        """One row; unknown is None."""
        return {name: _plain(column[place]) for name, column in self.columns.items()}

    def texts(self, name: str) -> list[str]:
        """A column of texts; empty where unknown."""
        return [value or "" for value in self.columns[name]]


def rows_of(table: Any) -> Rows:
    """The rows of an index, those that could be read, repeats of one cell at one site in one run made one.

    Args:
        table: An index's, without the rows that have a `problem`.
    """
    columns: dict[str, npt.NDArray[Any]] = {}
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if str(field.type) in ("string", "bool"):
            columns[field.name] = np.array(column.to_pylist(), dtype=object)
        else:
            columns[field.name] = column.cast("float64").to_numpy(zero_copy_only=False)
    return _without_copies(_merged(columns))


def codes(columns: Sequence[npt.NDArray[Any]]) -> IntArray:
    """A number per row, the same for rows that are equal in every column."""
    if not columns or not len(columns[0]):
        return np.zeros(0, np.int64)
    whole = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        own = _numbered(column)
        _, whole = np.unique(whole * (int(own.max()) + 1) + own, return_inverse=True)
        whole = whole.astype(np.int64)
    return whole


def grouped(group: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Each number of a group with the places of its rows, in order."""
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    for number, places in zip(numbers, np.split(order, starts[1:]) if len(order) else [], strict=True):
        yield int(number), places


def _numbered(column: npt.NDArray[Any]) -> IntArray:
    """A number per value of one column."""
    if column.dtype == object:
        known: dict[object, int] = {}
        return np.fromiter((known.setdefault(value, len(known)) for value in column), np.int64, len(column))
    _, numbers = np.unique(column, return_inverse=True)  # NaN equals NaN here
    return np.asarray(numbers, np.int64)


def _merged(columns: Mapping[str, npt.NDArray[Any]]) -> Rows:
    n = len(columns["path"])
    runs = np.array([posixpath.normpath(f"{path}/../..") for path in columns["path"]], dtype=object)
    group = codes([runs, *(columns[name] for name in ALIKE_IN_REPEATS)])
    n_groups = int(group.max()) + 1 if n else 0
    answered = columns["n_queries"] - columns["n_failed"] - columns["n_without_energy"]
    most = np.full(n_groups, -1.0)
    np.maximum.at(most, group, answered)
    kept = answered == most[group]
    n_runs = np.bincount(group[kept], minlength=n_groups)
    n_left_out = np.bincount(group, minlength=n_groups) - n_runs
    first = np.full(n_groups, n, np.int64)
    np.minimum.at(first, group[kept], np.flatnonzero(kept))
    merged = {name: column[first] for name, column in columns.items()}
    for figure in FIGURES:
        for part in PARTS:
            name = f"{figure}{part}"
            sums = np.bincount(group[kept], weights=columns[name][kept], minlength=n_groups)
            merged[name] = sums / np.maximum(n_runs, 1)
        spread = _spread(columns[figure][kept], group[kept], n_runs, merged[figure])
        several = n_runs > 1
        merged[f"{figure}_runs"] = np.where(several, spread, merged[f"{figure}_runs"])
    sums = np.bincount(group[kept], weights=columns["output_tokens"][kept], minlength=n_groups)
    merged["output_tokens"] = sums / np.maximum(n_runs, 1)
    for count in ("n_scored", "n_correct", "n_cut"):
        merged[count] = np.bincount(group[kept], weights=columns[count][kept], minlength=n_groups)
    for name in ("findings", "faults"):
        merged[name] = _united(columns[name][kept], group[kept], n_runs)
    for flag, joined in (("stale", np.logical_or), ("stopped_early", np.logical_and)):
        held = np.full(n_groups, joined.identity)
        joined.at(held, group[kept], [bool(value) for value in columns[flag][kept]])
        merged[flag] = held.astype(object)
    return Rows(columns={**merged, "n_runs": n_runs.astype(float), "n_left_out": n_left_out.astype(float)})


def _without_copies(rows: Rows) -> Rows:
    """A run that was copied to another folder is one run: the first of what is equal in all of this."""
    what = ("run_id", "repeat_of", "site_id", "mode", "boards", "started_utc", "n_queries", "n_runs", "energy_j")
    _, first = np.unique(codes([rows[name] for name in what]), return_index=True)
    first.sort()
    return Rows(columns={name: column[first] for name, column in rows.columns.items()})


def _united(values: npt.NDArray[Any], group: IntArray, n_runs: IntArray) -> npt.NDArray[Any]:
    """Codes of any repeat are the row's, each once; with several runs none of them is the only one."""
    found: list[dict[str, None]] = [{} for _ in n_runs]
    for value, number in zip(values, group, strict=True):
        found[number] |= dict.fromkeys((value or "").split(","))
    for place in np.flatnonzero(n_runs > 1):
        found[place].pop(FindingCode.ONE_RUN.value, None)
    return np.array([",".join(filter(None, each)) for each in found], dtype=object)


def _spread(values: FloatArray, group: IntArray, n_runs: IntArray, means: FloatArray) -> FloatArray:
    """Half-width of what one more run may differ from the mean of n by (`analysis.repeats`); NaN with one run."""
    squares = np.bincount(group, weights=(values - means[group]) ** 2, minlength=len(n_runs))
    factors = {int(n): student_t(int(n)) for n in np.unique(n_runs) if n > 1}
    t = np.array([factors.get(int(n), np.nan) for n in n_runs])
    return np.asarray(t * np.sqrt(squares / np.maximum(n_runs - 1, 1)) * np.sqrt(1 + 1 / np.maximum(n_runs, 1)))


def _plain(value: Any) -> Any:
    if isinstance(value, np.floating | float):
        return None if np.isnan(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value
