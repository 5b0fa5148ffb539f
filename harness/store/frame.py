"""Queries as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.records import Boundary, Cell, Method, QueryColumns, TextColumn

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray


def frame(cells: Iterable[tuple[str, Cell, str, QueryColumns]]) -> pd.DataFrame:
    """One row per query of (run id, cell, site id, queries of the cell at the site).

    Energies are sums over the devices of a boundary, missing where one of them is unknown. Estimates stand in columns
    of their own (`host_energy_gross_estimated_j`). Columns carry their units; those of a score's values begin with
    `score_`. `task` is there where any cell has one, and missing where text was generated.
    """
    frames = [_frame(*each) for each in cells]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _frame(run_id: str, cell: Cell, site_id: str, queries: QueryColumns) -> pd.DataFrame:
    models = TextColumn(codes=queries.mode.codes, names=[cell.model_of(name) for name in queries.mode.names])
    correct = np.where(queries.correct < 0, None, queries.correct == 1) if (queries.correct < 0).any() else None
    columns: dict[str, Any] = {
        "run_id": run_id,
        "cell_id": cell.cell_id,
        "site_id": site_id,
        "model": _texts(models),
        "mode": _texts(queries.mode),
        "repeat": cell.repeat,
        "prompt_set": cell.prompt_set,
        "prompt_id": _texts(queries.prompt),
        "session": queries.session,
        "duration_s": queries.time_end_s - queries.time_start_s,
        "finish_reason": _texts(queries.finish_reason),
        "correct": queries.correct == 1 if correct is None else correct,
    }
    if cell.task is not None:
        columns["task"] = cell.task
    for name, counts in queries.sizes.items():
        if not np.isnan(counts).all():
            is_whole = bool((counts == np.round(counts)).all()) and not name.endswith("_s")
            columns[name] = counts.astype(np.int64) if is_whole else counts
    for name, values in queries.values.items():
        columns[f"score_{name}"] = values
    for boundary in (Boundary.GPU_BOARD, Boundary.HOST):
        columns |= _energies(queries, boundary)
    columns["findings"] = _findings(queries)
    return pd.DataFrame(columns)


def _energies(queries: QueryColumns, boundary: Boundary) -> dict[str, Any]:
    """Sums over the devices of a boundary; measured ones apart from estimates."""
    readings = queries.readings
    rows = np.flatnonzero(_is(readings.boundary, boundary.value))
    if not len(rows):
        return {}
    owner, n = readings.owner[rows], len(queries)
    method = np.full(n, -1, dtype=np.int64)
    method[owner[::-1]] = readings.method.codes[rows][::-1]
    found: dict[str, Any] = {f"{boundary}_method": _texts(TextColumn(codes=method, names=readings.method.names))}
    estimated = np.zeros(n, dtype=np.bool_)
    estimated[owner[_is(readings.method, Method.ESTIMATED.value)[rows]]] = True
    metered = np.zeros(n, dtype=np.bool_)
    metered[owner] = True
    for unit, wanted in (("j", metered & ~estimated), ("estimated_j", metered & estimated)):
        if not wanted.any():
            continue
        for name in ("gross", "net"):
            found[f"{boundary}_energy_{name}_{unit}"] = _sums(
                owner, getattr(readings, f"energy_{name}_j")[rows], wanted
            )
        if unit == "j":
            squares = _sums(owner, readings.energy_gross_half_width_j[rows] ** 2, wanted)
            found[f"{boundary}_energy_gross_half_width_j"] = np.sqrt(squares)  # devices err independently
            found[f"{boundary}_energy_tail_j"] = _sums(owner, readings.energy_tail_j[rows], wanted)
    return found


def _findings(queries: QueryColumns) -> list[str]:
    """Each query's codes, each once, by name."""
    codes: list[set[str]] = [set() for _ in range(len(queries))]
    names = queries.findings.code.names
    for owner, code in zip(queries.findings.owner.tolist(), queries.findings.code.codes.tolist(), strict=True):
        codes[owner].add(names[code])
    return [", ".join(sorted(each)) for each in codes]


def _texts(column: TextColumn) -> list[str | None]:
    names = [*column.names, None]  # the last place is that of no text
    return [names[code] for code in column.codes.tolist()]


def _is(column: TextColumn, name: str) -> BoolArray:
    own: BoolArray = column.codes == (list(column.names).index(name) if name in column.names else -2)
    return own


def _sums(owner: IntArray, values: FloatArray, wanted: BoolArray) -> FloatArray:
    """Sum of each owner's values, of those wanted; missing where one of them is unknown."""
    return np.where(wanted, np.bincount(owner, weights=values, minlength=len(wanted)), np.nan)
