"""A row per cell and mode with every figure of the summary, its interval parts, and the unit in each column's name.

`X`, `X_low`, `X_high` (over prompts), `X_half_width_reading`, `_runs` and `_gain` belong together; all are of 95 %.
Estimated energy stands in columns of its own, which say `estimated`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.serving.serving import is_under_load, load_words
from harness.records import Attribution, Estimate, ModeSummary, Summary
from harness.report.compared import not_as_called
from harness.report.exports.cell import ExportCell

ENERGIES = (
    ("energy_per_query", "j", "energy_j"),
    ("energy_net_per_query", "j", "energy_net_j"),
    ("energy_per_output_token", "j", "energy_per_output_token_j"),
    ("energy_per_correct", "j", "energy_per_correct_j"),
    ("energy_per_1000_queries", "wh", "energy_wh_per_1000"),
)
"""(quantity, unit, field of a mode's summary)."""
INTERVAL = ("low", "high")
PARTS = (*INTERVAL, "half_width_reading", "half_width_runs", "half_width_gain")
OTHERS = (
    ("duration_per_query", "s", "duration_s", (*INTERVAL, "half_width_runs")),
    ("accuracy", "", "accuracy", INTERVAL),
    ("thinking_tokens_per_query", "", "thinking_tokens", INTERVAL),
    ("answer_tokens_per_query", "", "answer_tokens", INTERVAL),
)
"""The same, and the parts that the interval of such a figure has."""
LAWS = {
    "audio_s": "second_of_audio",
    "output_megapixel_steps": "output_megapixel_step",
    "input_megapixels": "input_megapixel",
    "prompt_tokens": "prompt_token",
}
"""One unit of a size, as a name. Joules per output token are among the energies."""
LINE = (("energy_fixed_beside", "per_query_j"), ("energy_per_further", "per_unit_j"))
COUNTS = ("n_queries", "n_failed", "n_without_energy", "n_scored", "n_correct", "n_cut", "n_forced")

Value = str | int | float | None


def mode_rows(cells: Sequence[ExportCell], mode: str | None = None) -> list[dict[str, Value]]:
    """One row per cell and mode, all with the same columns; None is unknown, or not of this kind.

    Args:
        cells: Of one run.
        mode: Only this one; None: all.
    """
    rows = [
        dict(_row(cell, each)) for cell in cells for each in cell.summary.modes if mode is None or each.mode == mode
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def _row(cell: ExportCell, mode: ModeSummary) -> Iterator[tuple[str, Value]]:
    summary = cell.summary
    yield "model", summary.cell.model_of(mode.mode)
    yield "mode", mode.mode
    yield "max_new_tokens", summary.cell.cap(mode.mode)
    yield from of_cell(cell)
    for name in COUNTS:
        yield name, getattr(mode, name)
    yield "prompt_tokens_per_query", mode.prompt_tokens
    yield "output_tokens_per_query", mode.output_tokens
    for quantity, unit, field in ENERGIES:
        yield from _estimate(quantity, _unit(summary, unit), getattr(mode, field))
    for quantity, unit, field, parts in OTHERS:
        yield from _estimate(quantity, unit, getattr(mode, field), parts)
    yield "duration_per_output_token_s", mode.duration_per_output_token_s
    yield f"energy_tail_per_query_{_unit(summary, 'j')}", mode.energy_tail_j
    yield f"power_{_unit(summary, 'w')}", mode.power_w
    for name, energy_j in mode.phases_j.items():
        yield f"energy_{name}_per_query_{_unit(summary, 'j')}", energy_j
    for name, duration_s in mode.phases_s.items():
        yield f"duration_{name}_per_query_s", duration_s
    yield from _estimate("power_idle", _unit(summary, "w"), summary.power_idle_w, ("half_width_reading",))
    yield from _of_task(summary, mode)
    faults = not_as_called(summary).get(mode.mode, ())
    yield "invalid", ", ".join(dict.fromkeys(finding.code.value for finding in faults))
    yield "findings", ", ".join(sorted({finding.code.value for finding in summary.findings}))


def _of_task(summary: Summary, mode: ModeSummary) -> Iterator[tuple[str, Value]]:
    """What other tasks than text generation have: qualities, sizes, and what a unit of a size costs."""
    for quality in mode.quality:
        yield f"n_quality_{quality.metric}", quality.n
        yield from _estimate(f"quality_{quality.metric}", "", quality.figure, INTERVAL)
    for size, mean in mode.sizes.items():
        quantity = size.removesuffix("_s")
        yield f"{quantity}_per_query{'_s' if quantity != size else ''}", mean
    for law in mode.size_laws:
        if law.size in LAWS:
            unit = LAWS[law.size]
            yield from _estimate(f"energy_per_{unit}", _unit(summary, "j"), law.energy_per_unit_j)
            yield f"duration_per_{unit}_s", law.duration_per_unit_s
            for quantity, field in LINE:
                yield from _estimate(f"{quantity}_{unit}", _unit(summary, "j"), getattr(law, field))


def of_cell(cell: ExportCell) -> Iterator[tuple[str, Value]]:
    """What is the same in every row of a cell."""
    summary, manifest = cell.summary, cell.manifest
    what = summary.cell
    yield "run_id", summary.run_id
    yield "cell_id", what.cell_id
    yield "site_id", summary.site_id
    yield "started_utc", cell.began_utc
    if what.task is not None:
        yield "task", what.task
        yield "task_options", ", ".join(f"{name}={value}" for name, value in what.task_options.items()) or None
    yield "repeat", what.repeat
    yield "protocol", what.protocol
    yield "prompt_set", what.prompt_set
    yield "prompt_set_sha256", what.prompt_set_sha256
    yield "batch_size", what.batch_size
    yield "load", load_words(what) if is_under_load(what) else None
    yield "attribution", (Attribution.SHARED_TOKENS if what.overlaps else Attribution.EXCLUSIVE).value
    yield "engine", what.engine.name
    yield "device", what.engine.device
    yield "dtype", what.dtype
    yield "quantization", what.quantization
    yield "boards", ", ".join(board.name for board in cell.boards) or None
    yield "driver", manifest.site.driver
    yield "cpu", manifest.site.cpu
    yield "energy_boundary", summary.headline.value
    yield "energy_method", summary.method.value
    yield "two_phase", "yes" if what.lengths_batch_size is not None else "no"


def _estimate(
    quantity: str, unit: str, estimate: Estimate, parts: Sequence[str] = PARTS
) -> Iterator[tuple[str, Value]]:
    suffix = f"_{unit}" if unit else ""
    yield f"{quantity}{suffix}", estimate.value
    for part in parts:
        yield f"{quantity}_{part}{suffix}", getattr(estimate, part)


def _unit(summary: Summary, unit: str) -> str:
    return f"estimated_{unit}" if summary.estimated else unit
