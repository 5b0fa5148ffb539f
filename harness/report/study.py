"""The study's table: a column per comparison, its rows under the questions that a study answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis.measured import phase_names
from harness.records import Comparison, EnergyLaw, Estimate, Summary, TwoPhase
from harness.report.compared import BUYS, COSTS, POINTS, REAL, WHY, Verdict, per_token, verdict, whole
from harness.report.numbers import (
    Unit,
    decimals_of,
    digits,
    ends_of,
    energy,
    half_width,
    parts_of,
    percent,
    probability,
    signed,
    signed_ends_of,
    signed_value_of,
    times,
    unit_for,
    value_of,
)
from harness.report.table import Figure, Table, TableRow

NOTHING = Figure(value="–")
N_PARTS_LEAST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A comparison and the heading of its column."""

    column: str
    comparison: Comparison
    estimated: bool
    apart: bool = False
    """Whether the two were measured in different runs or cells."""


def columns_of(summary: Summary) -> tuple[Compared, ...]:
    """The comparisons of one cell."""
    return tuple(
        Compared(column=each.numerator, comparison=each, estimated=summary.estimated) for each in summary.comparisons
    )


def study_tables(columns: Sequence[Compared]) -> tuple[Table, ...]:
    """One table per question, all with the same columns; empty where nothing was compared."""
    if not columns:
        return ()
    what = "seconds" if all(each.estimated for each in columns) else "joules"
    parts = (
        (COSTS, _costs(columns)),
        (_why_title(columns), _why(columns, what)),
        (BUYS, _buys(columns)),
        (REAL, _real(columns)),
    )
    modes = tuple(each.column for each in columns)
    tables = [Table(caption=title, modes=modes, rows=tuple(filter(_says, rows))) for title, rows in parts]
    return tuple(table for table in tables if table.rows)


def _why_title(columns: Sequence[Compared]) -> str:
    """Tokens explain nothing where a task writes none: then only its phases do."""
    counted = any(each.comparison.tokens.value is not None or each.comparison.invalid for each in columns)
    return f"{WHY}: more tokens, or dearer tokens" if counted else WHY


def split(comparison: Comparison, unit: Unit | None = None) -> tuple[Unit, list[tuple[str, str]], str] | None:
    """The additive split as it is printed: (unit, names and parts, total); None where a phase is unknown.

    The printed parts add up to the printed total.

    Args:
        comparison: Whose difference it is.
        unit: To print in; None: the one that suits the difference.
    """
    total_j, parts = comparison.difference_j, comparison.parts
    if total_j.value is None or len(parts) < N_PARTS_LEAST:
        return None
    values = [part.difference_j.value for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    unit = unit or unit_for([total_j.value], "J")
    total = unit.estimate(total_j)
    decimals = max(decimals_of(total), decimals_of(Estimate(value=total.value)))  # small parts must not drown in it
    printed, together = parts_of([unit.of(value) for value in known], total.value or 0.0, decimals)
    names = [part.name for part in parts]
    return unit, list(zip(names, map(signed, printed), strict=True)), signed(together)


def two_phase_table(two_phase: TwoPhase) -> Table:
    """A query in each mode, by token counts and the law."""
    modes = two_phase.modes
    unit = unit_for([mode.energy_j.value for mode in modes], "J")
    rows = [
        _of_modes(f"{unit.name} per query", [unit.estimate(mode.energy_j) for mode in modes]),
        TableRow(label="output tokens", figures=tuple(Figure(value=digits(mode.output_tokens)) for mode in modes)),
    ]
    if any(mode.n_scored for mode in modes):
        right = tuple(Figure(value=f"{mode.n_correct:,} of {mode.n_scored:,}") for mode in modes)
        per_right = [unit.estimate(mode.energy_per_correct_j) for mode in modes]
        rows += [TableRow(label="correct", figures=right), _of_modes(f"{unit.name} per correct answer", per_right)]
    return Table(
        caption=f"Two-phase: one query of {two_phase.n_prompts:,} in each mode",
        modes=tuple(mode.mode for mode in modes),
        rows=tuple(rows),
    )


def _of_modes(label: str, estimates: Sequence[Estimate]) -> TableRow:
    return TableRow(
        label=label, figures=tuple(Figure(value=value_of(each), interval=ends_of(each)) for each in estimates)
    )


def law_words(law: EnergyLaw) -> str:
    """The energy law in one sentence."""
    terms = (
        (law.per_query_j, "per query"),
        (law.per_prompt_token_j, "per prompt token"),
        (law.per_output_token_j, "per output token"),
        (law.per_attended_token_j, "per token that an output token attends to"),
    )
    told = ", ".join(f"{energy(each.value)} {name}" for each, name in terms if each.value is not None)
    untold = [name for each, name in terms if each.value is None]
    text = f"Energy law of {law.n_queries:,} queries: {told}"
    if untold:
        text += f"; not told apart: {', '.join(untold)}"
    if law.residual_relative_sd is not None:
        text += f"; a query lies within {percent(law.residual_relative_sd)} of it (standard deviation)"
    return f"{text}."


def law_table(law: EnergyLaw) -> Table:
    """The energy law: what a query costs by its lengths. Each coefficient in the unit that suits it."""
    terms = (
        ("per query", law.per_query_j),
        ("per prompt token", law.per_prompt_token_j),
        ("per output token", law.per_output_token_j),
        ("per token attended to", law.per_attended_token_j),
    )
    rows = [TableRow(label=label, figures=(_coefficient(estimate),)) for label, estimate in terms]
    if law.residual_relative_sd is not None:
        rows.append(TableRow(label="queries' own scatter", figures=(Figure(value=percent(law.residual_relative_sd)),)))
    return Table(caption=f"Energy law of {law.n_queries:,} queries", modes=("joules",), rows=tuple(rows))


def _coefficient(estimate: Estimate) -> Figure:
    if estimate.value is None:
        return Figure(value="not told apart")
    unit = unit_for([estimate.value], "J")
    own = unit.estimate(estimate)
    return Figure(value=f"{value_of(own)} {unit.name}", interval=ends_of(own))


def _unit(columns: Sequence[Compared]) -> Unit:
    """Of the differences of all columns."""
    return unit_for([each.comparison.difference_j.value for each in columns], "J")


def _says(row: TableRow) -> bool:
    return any(figure.value not in (NOTHING.value, "") for figure in row.figures)


def _row(label: str, columns: Sequence[Compared], figure: Callable[[Compared], Figure]) -> TableRow:
    return TableRow(
        label=label, figures=tuple(NOTHING if each.comparison.invalid else figure(each) for each in columns)
    )


def _ratio(estimate: Estimate) -> Figure:
    return NOTHING if estimate.value is None else Figure(value=times(estimate), interval=ends_of(estimate))


def _costs(columns: Sequence[Compared]) -> list[TableRow]:
    unit = _unit(columns)
    return [
        _row("joules", columns, lambda each: _ratio(each.comparison.energy)),
        _row("the same by BCa", columns, lambda each: _bca(each.comparison)),
        _row(f"{unit.name} per query", columns, lambda each: _signed(unit.estimate(each.comparison.difference_j))),
        _row("seconds", columns, lambda each: _ratio(each.comparison.duration)),
    ]


def _why(columns: Sequence[Compared], what: str) -> list[TableRow]:
    return [
        _row("output tokens", columns, lambda each: _ratio(each.comparison.tokens)),
        _row(f"{what} per token", columns, lambda each: _ratio(per_token(each.comparison, estimated=each.estimated))),
        _row("share of tokens in the ratio's log", columns, lambda each: _share(each.comparison)),
        *_parts(columns, _unit(columns)),
    ]


def _parts(columns: Sequence[Compared], unit: Unit) -> list[TableRow]:
    """The additive split; a column whose phases are not known has none."""
    splits = {each.column: split(each.comparison, unit) for each in columns}
    names = phase_names(dict.fromkeys(name for name, _ in found[1]) for found in splits.values() if found is not None)

    def figure(name: str | None) -> Callable[[Compared], Figure]:
        def of(each: Compared) -> Figure:
            found = splits[each.column]
            if found is None:
                return NOTHING
            _, parts, total = found
            return Figure(value=total if name is None else dict(parts).get(name, NOTHING.value))

        return of

    rows = [_row(f"{name}, {unit.name}", columns, figure(name)) for name in names]
    return [*rows, _row(f"together, {unit.name} per query", columns, figure(None))] if rows else []


def _buys(columns: Sequence[Compared]) -> list[TableRow]:
    return [
        _row("right answers", columns, lambda each: _right(each.comparison)),
        _row("points", columns, lambda each: _points(each.comparison)),
        _row("exact test (McNemar)", columns, lambda each: _exact(each.comparison)),
        _row("joules per right answer", columns, lambda each: _ratio(each.comparison.energy_per_correct)),
    ]


def _real(columns: Sequence[Compared]) -> list[TableRow]:
    def parts(name: str) -> Callable[[Compared], Figure]:
        def of(each: Compared) -> Figure:
            if each.estimated and name != "half_width_runs":
                return NOTHING
            leading = whole(each.comparison, estimated=each.estimated)
            return NOTHING if leading.value is None else Figure(value=half_width(getattr(leading, name)))

        return of

    known = [each for each in columns if each.comparison.smallest_detectable is not None]
    rows = [
        TableRow(label="the cost differs", figures=tuple(Figure(value=_verdict(each).value) for each in columns)),
        _row("prompts in both", columns, lambda each: Figure(value=f"{each.comparison.n_pairs:,}")),
        _row("sensor reading", columns, parts("half_width_reading")),
        _row("run to run", columns, parts("half_width_runs")),
        _row("sensor gain", columns, parts("half_width_gain")),
    ]
    if known:
        rows.append(_row("smallest difference seen", columns, lambda each: _detectable(each.comparison)))
    return rows


def _verdict(each: Compared) -> Verdict:
    return verdict(each.comparison, estimated=each.estimated, apart=each.apart)


def _bca(comparison: Comparison) -> Figure:
    low, high = comparison.energy_bca_low, comparison.energy_bca_high
    if low is None or high is None:
        return NOTHING
    return Figure(value=ends_of(comparison.energy.model_copy(update={"low": low, "high": high})))


def _signed(estimate: Estimate) -> Figure:
    if estimate.value is None:
        return NOTHING
    return Figure(value=signed_value_of(estimate), interval=signed_ends_of(estimate))


def _share(comparison: Comparison) -> Figure:
    share = comparison.log_share_tokens
    return NOTHING if share is None else Figure(value=percent(share))


def _right(comparison: Comparison) -> Figure:
    accuracy = comparison.accuracy
    if accuracy is None:
        return NOTHING
    above = accuracy.n_both + accuracy.n_only_numerator
    below = accuracy.n_both + accuracy.n_only_denominator
    return Figure(value=f"{above:,} : {below:,}", interval=f"of {accuracy.n:,}")


def _points(comparison: Comparison) -> Figure:
    return NOTHING if comparison.accuracy is None else _signed(POINTS.estimate(comparison.accuracy.difference))


def _exact(comparison: Comparison) -> Figure:
    accuracy = comparison.accuracy
    if accuracy is None or accuracy.p_value is None:
        return NOTHING
    only = f"{accuracy.n_only_numerator:,} : {accuracy.n_only_denominator:,} alone right"
    return Figure(value=probability(accuracy.p_value), interval=only)


def _detectable(comparison: Comparison) -> Figure:
    least = comparison.smallest_detectable
    return NOTHING if least is None else Figure(value=percent(least))
