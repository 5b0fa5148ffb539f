"""The tables of variants, one column each: what a query takes, and what it takes against the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Comparison, Estimate, ModeSummary
from harness.report.compared import POINTS
from harness.report.numbers import UNKNOWN, digits, ends_of, percent, signed_ends_of, signed_value_of, times, unit_for
from harness.report.numbers import value_of as printed
from harness.report.table import PERCENT, Figure, Table, TableRow
from harness.report.task.law import shown_law
from harness.report.task.quality import metric_words
from harness.report.task.words import behind_comma, of_mode, random_weights
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
            *(
                []
                if columns[0].summary.cell.task is not None
                else [_row(columns, mode, "J", "per output token", lambda each: each.energy_per_output_token_j)]
            ),
        ]
        per_right = [_row(columns, mode, "J", "per right answer", lambda each: each.energy_per_correct_j)]
    output_tokens = TableRow(
        label=f"output tokens, {lengths}",
        figures=tuple(Figure(value=digits(each.modes[mode].output_tokens)) for each in columns),
    )
    is_task = columns[0].summary.cell.task is not None
    rows = [
        TableRow(label="precision executed", figures=tuple(Figure(value=_executed(each)) for each in columns)),
        *joules,
        _row(columns, mode, "s", "per query", lambda each: each.duration_s),
        *(_of_task(columns, mode, estimated=estimated) if is_task else [output_tokens]),
        TableRow(label="right answers", figures=tuple(_right(each.modes[mode]) for each in columns)),
        *per_right,
        TableRow(label="GPU idle meanwhile", figures=tuple(_idle(each.modes[mode]) for each in columns)),
    ]
    if is_task and all(each.modes[mode].accuracy.value is None for each in columns):
        rows = [row for row in rows if "right answer" not in row.label]
    elif all(each.modes[mode].n_scored == 0 for each in columns):
        rows = [row for row in rows if row.label != "right answers" and "right answer" not in row.label]
    if all(each.modes[mode].gpu_busy_share is None for each in columns):
        rows = rows[:-1]
    return Table(
        caption=f"One query{of_mode(columns[0].summary.cell, mode)}, in each variant",
        modes=tuple(each.name for each in columns),
        rows=tuple(rows),
    )


def _of_task(columns: Sequence[VariantColumn], mode: str, *, estimated: bool) -> list[TableRow]:
    """What a unit of its size takes, and how good the answers are."""
    own = [each.modes[mode] for each in columns]
    laws = {law.size: law.unit for each in own for law in each.size_laws}
    metrics = dict.fromkeys(quality.metric for each in own for quality in each.quality)
    rows = []
    for size, unit_words in laws.items():
        estimates = [_per_unit(each, size, estimated=estimated) for each in own]
        unit = unit_for([each.value for each in estimates], "s" if estimated else "J")
        rows.append(_figures(f"{unit.name} per {unit_words}", [unit.estimate(each) for each in estimates]))
    if not any(random_weights(each.summary) for each in columns):
        rows += [_figures(metric_words(metric), [_metric(each, metric) for each in own]) for metric in metrics]
    return rows


def _per_unit(mode: ModeSummary, size: str, *, estimated: bool) -> Estimate:
    law = next((each for each in mode.size_laws if each.size == size), None)
    return Estimate(value=None) if law is None else shown_law(law, estimated=estimated).per_unit


def _metric(mode: ModeSummary, metric: str) -> Estimate:
    return next((each.figure for each in mode.quality if each.metric == metric), Estimate(value=None))


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
        caption=f"Over {base.name}, the same prompts{behind_comma(base.summary.cell, mode)}",
        modes=tuple(each.name for each, _ in kept),
        rows=tuple(rows),
    )


def _row(columns: Sequence[VariantColumn], mode: str, base: str, per: str, of: Of) -> TableRow:
    estimates = [of(each.modes[mode]) for each in columns]
    unit = unit_for([each.low if each.value is None else each.value for each in estimates], base)
    return _figures(f"{unit.name} {per}", [unit.estimate(each) for each in estimates])


def _figures(label: str, estimates: Sequence[Estimate]) -> TableRow:
    return TableRow(
        label=label, figures=tuple(Figure(value=printed(each), interval=ends_of(each)) for each in estimates)
    )


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
