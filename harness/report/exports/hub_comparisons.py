"""A row per comparison of two modes with every figure of it, its interval parts, and the unit in each column's name.

Joules of an estimate are in no ratio and no difference, so there are no columns for them: they are null here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import Comparison, Estimate
from harness.report.exports.cell import ExportCell
from harness.report.exports.rows import INTERVAL, PARTS, Value, of_cell

RATIOS = (
    ("energy_ratio", "energy", PARTS),
    ("duration_ratio", "duration", (*INTERVAL, "half_width_runs")),
    ("output_tokens_ratio", "tokens", INTERVAL),
    ("energy_per_output_token_ratio", "energy_per_token", PARTS),
    ("energy_per_correct_ratio", "energy_per_correct", PARTS),
)
"""(quantity, field of a comparison, the parts that the interval of such a figure has)."""
PHASES = ("prefill", "thinking", "answer")


def comparison_rows(cells: Sequence[ExportCell], mode: str | None = None) -> list[dict[str, Value]]:
    """One row per cell and comparison, all with the same columns; None is unknown, or not of this kind.

    Args:
        cells: Of one run.
        mode: Only comparisons with this one above or below the line; None: all.
    """
    return [
        dict(_row(cell, each))
        for cell in cells
        for each in cell.summary.comparisons
        if mode is None or mode in (each.numerator, each.denominator)
    ]


def _row(cell: ExportCell, comparison: Comparison) -> Iterator[tuple[str, Value]]:
    what = cell.summary.cell
    yield from of_cell(cell)
    yield "numerator", comparison.numerator
    yield "denominator", comparison.denominator
    yield "model_numerator", what.model_of(comparison.numerator)
    yield "model_denominator", what.model_of(comparison.denominator)
    yield "n_pairs", comparison.n_pairs
    for quantity, field, parts in RATIOS:
        yield from _estimate(quantity, "", getattr(comparison, field), parts)
    yield "energy_ratio_bca_low", comparison.energy_bca_low
    yield "energy_ratio_bca_high", comparison.energy_bca_high
    yield "duration_per_output_token_ratio", comparison.duration_per_token
    yield "log_share_output_tokens", comparison.log_share_tokens
    yield from _estimate("energy_difference_per_query", "_j", comparison.difference_j, PARTS)
    by_phase = {part.name: part.difference_j for part in comparison.parts}
    for phase in PHASES:
        difference = by_phase.get(phase, Estimate(value=None))
        yield from _estimate(f"energy_difference_{phase}_per_query", "_j", difference, PARTS)
    accuracy = comparison.accuracy
    yield "n_scored_in_both", None if accuracy is None else accuracy.n
    yield "n_right_in_both", None if accuracy is None else accuracy.n_both
    yield "n_right_only_numerator", None if accuracy is None else accuracy.n_only_numerator
    yield "n_right_only_denominator", None if accuracy is None else accuracy.n_only_denominator
    difference = Estimate(value=None) if accuracy is None else accuracy.difference
    yield from _estimate("accuracy_difference", "", difference, INTERVAL)
    yield "p_value", None if accuracy is None else accuracy.p_value
    yield "log_sd", comparison.log_sd
    yield "smallest_detectable", comparison.smallest_detectable
    yield "invalid", ", ".join(dict.fromkeys(finding.code.value for finding in comparison.invalid))


def _estimate(quantity: str, unit: str, estimate: Estimate, parts: Sequence[str]) -> Iterator[tuple[str, Value]]:
    yield f"{quantity}{unit}", estimate.value
    for part in parts:
        yield f"{quantity}_{part}{unit}", getattr(estimate, part)
