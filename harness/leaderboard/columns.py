"""The columns of the index: one row per cell, site and mode. Energies are gross joules in the row's boundary.

A figure has six columns, the parts of an `Estimate`: its value, both ends over prompts, and three half-widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from harness.records import Estimate

VERSION = "1"
"""Of the index. Another one is read again from the runs."""

OF_A_MODE = (
    *("energy_j", "energy_per_output_token_j", "energy_per_correct_j", "accuracy", "thinking_tokens", "duration_s"),
)
FIGURES = (*OF_A_MODE, "quality", "energy_per_size_j")
"""The last two are of tasks other than text generation: the main figure of quality, and joules per unit of size."""
PARTS = {
    "": "value",
    "_low": "low",
    "_high": "high",
    "_reading": "half_width_reading",
    "_runs": "half_width_runs",
    "_gain": "half_width_gain",
}
TEXTS = (
    *(
        "path",
        "signature",
        "problem",
        "run",
        "run_id",
        "page",
        "cell_id",
        "repeat_of",
        "site_id",
        "started_utc",
        "harness_version",
    ),
    *("model", "revision", "prompts", "prompts_sha256", "protocol", "sampling", "mode", "hardware", "power_limit"),
    *("boards", "driver", "cpu", "boundary", "method", "metered", "engine", "engine_version", "precision"),
    *("precision_rule", "scorer", "faults", "findings"),
    *("task", "task_options", "quality_metric", "size_unit"),
)
"""A row without a task is of text generation, with or without thinking."""
COUNTS = (
    *("repeat", "seed", "token_cap", "fewest_tokens", "batch_size", "number_of_gpus", "n_parameters", "n_planned"),
    *("n_queries", "n_failed", "n_without_energy", "n_scored", "n_correct", "n_cut"),
)
FLAGS = ("estimated", "two_phase", "stopped_early", "stale", "quality_higher_is_better")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.int64()) for name in COUNTS),
        *((name, pa.bool_()) for name in FLAGS),
        ("output_tokens", pa.float64()),
        *((f"{figure}{part}", pa.float64()) for figure in FIGURES for part in PARTS),
    ],
    metadata={"leaderboard_index": VERSION},
)
"""`problem` is set where a cell could not be read: such a row has a path and nothing else. `repeat_of` is equal in all
repeats of a cell."""


def parts_of(figure: str, estimate: Estimate) -> dict[str, float | None]:
    """One figure's columns."""
    return {f"{figure}{part}": getattr(estimate, name) for part, name in PARTS.items()}


def estimate_of(row: Mapping[str, Any], figure: str, factor: float = 1.0) -> Estimate:
    """A figure out of its columns, in another unit."""
    values = {name: row[f"{figure}{part}"] for part, name in PARTS.items()}
    return Estimate(**{name: None if value is None else factor * value for name, value in values.items()})


def table_of(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a table of the schema; what a row does not have is null."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
