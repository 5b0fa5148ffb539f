"""The tables of variants, one column each: what a query takes, and what it takes against the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Comparison, Estimate, ModeSummary
from harness.report.compared import POINTS
from harness.report.numbers import UNKNOWN, digits, ends_of, percent, signed_ends_of, signed_value_of, times, unit_for
from harness.report.numbers import value_of as printed
from harness.report.table import PERCENT, Figure, Table, TableRow
from harness.report.variants.column import VariantColumn
from harness.report.variants.words import standing

Of = Callable[[ModeSummary], Estimate]


def absolute_table(columns: Sequence[VariantColumn], mode: str) -> Table:
    """A mean query in each variant; joules that were only estimated are not in it."""
    columns = [each for each in columns if mode in each.modes]
    estimated = columns[0].summary.estimated
    lengths = "forced lengths" if any(each.forced for each in columns) else "natural lengths"
    joules: list[TableRow] = []
    per_right: list[TableRow] = []
    if not estimated:
        joules = [
            _row(columns, mode, "J", "per query", lambda each: each.energy_j),
            _row(columns, mode, "J", "per output token", lambda each: each.energy_per_output_token_j),
        ]
        per_right = [_row(columns, mode, "J", "per right answer", lambda each: each.energy_per_correct_j)]
    rows = [
        TableRow(label="precision executed", figures=tuple(Figure(value=_executed(each)) for each in columns)),
        *joules,
        _row(columns, mode, "s", "per query", lambda each: each.duration_s),
        TableRow(
            label=f"output tokens, {lengths}",
            figures=tuple(Figure(value=digits(each.modes[mode].output_tokens)) for each in columns),
        ),
        TableRow(label="right answers", figures=tuple(_right(each.modes[mode]) for each in columns)),
        *per_right,
        TableRow(label="GPU idle meanwhile", figures=tuple(_idle(each.modes[mode]) for each in columns)),
    ]
    if all(each.modes[mode].n_scored == 0 for each in columns):
        rows = [row for row in rows if row.label != "right answers" and "right answer" not in row.label]
    if all(each.modes[mode].gpu_busy_share is None for each in columns):
        rows = rows[:-1]
    return Table(
        caption=f"One query in mode {mode}, in each variant",
        modes=tuple(each.name for each in columns),
        rows=tuple(rows),
    )


def relative_table(others: Sequence[VariantColumn], base: VariantColumn, mode: str) -> Table | None:
    """Each other variant over the first; None where nothing is compared in this mode."""
    kept = [(each, each.comparisons[mode]) for each in others if mode in each.comparisons]
    if not kept:
        return None
    estimated = base.summary.estimated
    ratios: list[tuple[str, Callable[[Comparison], Estimate]]] = []
    if not estimated:
        ratios += [
            ("joules per query", lambda each: each.energy),
            ("joules per output token", lambda each: each.energy_per_token),
        ]
    ratios += [("seconds per query", lambda each: each.duration), ("output tokens", lambda each: each.tokens)]
    if not estimated:
        ratios += [("joules per right answer", lambda each: each.energy_per_correct)]
    rows = [
        TableRow(label=label, figures=tuple(_ratio(of(each)) for _, each in kept))
        for label, of in ratios
        if any(of(each).value is not None for _, each in kept)
    ]
    if any(each.accuracy is not None for _, each in kept):
        rows.append(TableRow(label="right answers, points", figures=tuple(_points(each) for _, each in kept)))
    rows.append(
        TableRow(
            label=f"against {base.name}",
            figures=tuple(Figure(value=standing(each, estimated=estimated)) for _, each in kept),
        )
    )
    return Table(
        caption=f"Over {base.name}, the same prompts, mode {mode}",
        modes=tuple(each.name for each, _ in kept),
        rows=tuple(rows),
    )


def _row(columns: Sequence[VariantColumn], mode: str, base: str, per: str, of: Of) -> TableRow:
    estimates = [of(each.modes[mode]) for each in columns]
    unit = unit_for([each.low if each.value is None else each.value for each in estimates], base)
    scaled = map(unit.estimate, estimates)
    figures = tuple(Figure(value=printed(each), interval=ends_of(each)) for each in scaled)
    return TableRow(label=f"{unit.name} {per}", figures=figures)


def _executed(column: VariantColumn) -> str:
    if column.executed is None:
        return UNKNOWN
    return f"{column.executed}, not as asked" if column.fallback else column.executed


def _right(mode: ModeSummary) -> Figure:
    if mode.n_scored == 0:
        return Figure(value="not scored")
    ends = ends_of(PERCENT.estimate(mode.accuracy))
    return Figure(value=f"{mode.n_correct:,} of {mode.n_scored:,}", interval=f"{ends} %" if ends else "")


def _idle(mode: ModeSummary) -> Figure:
    return Figure(value=UNKNOWN if mode.gpu_busy_share is None else percent(1 - mode.gpu_busy_share))


def _ratio(ratio: Estimate) -> Figure:
    return Figure(value=UNKNOWN if ratio.value is None else times(ratio), interval=ends_of(ratio))


def _points(comparison: Comparison) -> Figure:
    if comparison.accuracy is None or comparison.accuracy.difference.value is None:
        return Figure(value=UNKNOWN)
    points = POINTS.estimate(comparison.accuracy.difference)
    text = "± 0" if not points.value else signed_value_of(points)
    return Figure(value=text, interval=signed_ends_of(points))
