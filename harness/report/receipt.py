"""The receipt and the table of a run, as rows of printed figures.

Every figure is formatted here, once; terminal, Markdown and HTML only lay the rows out, so they cannot differ.
The typical query is the mean one: its phases add up to its total, which no median does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.records import Estimate, Summary
from harness.report.beside import beside_lines
from harness.report.numbers import (
    UNKNOWN,
    Unit,
    decimals_of,
    digits,
    ends_of,
    half_width,
    parts_of,
    unit_for,
    value_of,
)
from harness.report.table import Table, scored_only, table_of
from harness.report.wording import Doubt, doubts, energy_source, estimated_words, joules_label, subject
from harness.units import J_PER_KWH, J_PER_WH

PHASE_ORDER = ("prefill", "thinking", "answer")
CLOSURE = 1e-3
"""Items are listed only where they add up to their total within this fraction."""
N_QUERIES_PRICED = 1000
"""One query costs too little to print."""


class Kind(StrEnum):
    """How a row is laid out. Wide rows have one cell for all modes."""

    ITEM = "item"
    TOTAL = "total"
    DETAIL = "detail"
    WIDE = "wide"
    WIDE_TOTAL = "wide_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A label and a printed figure per mode, or one for all."""

    label: str
    cells: tuple[str, ...]
    kind: Kind = Kind.ITEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows under a heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Everything that is said of one cell at one site, ready to lay out."""

    run_id: str
    title: str
    headline: str
    lines: tuple[str, ...]
    modes: tuple[str, ...]
    sections: tuple[Section, ...]
    table: Table
    doubts: tuple[Doubt, ...]
    estimated: bool


def receipt_of(summary: Summary) -> Receipt:
    """The receipt of a summary. Joules are gross, in the run's headline boundary."""
    sections = [*_seconds(summary), _joules(summary)] if summary.estimated else _measured_joules(summary)
    sections += [_tokens(summary), *_ratio(summary), *_answers(summary), *_beside(summary)]
    title = "Energy receipt"
    return Receipt(
        run_id=summary.run_id,
        title=f"{title}: J ({estimated_words(summary)})" if summary.estimated else title,
        headline=headline_of(summary),
        lines=_lines(summary),
        modes=tuple(mode.mode for mode in summary.modes),
        sections=tuple(sections),
        table=table_of(summary),
        doubts=doubts(summary.findings),
        estimated=summary.estimated,
    )


def _lines(summary: Summary) -> tuple[str, ...]:
    n_modes = len(summary.modes)
    n_measured = min((mode.n_queries for mode in summary.modes), default=0)
    n_planned = summary.n_prompts_planned
    count = f"{n_measured:,} of {n_planned:,}" if n_measured < n_planned else f"{n_planned:,}"
    prompts = f"{count} prompts of {summary.cell.prompt_set}"
    return (
        subject(summary),
        f"{prompts}, each in {n_modes} modes" if n_modes > 1 else prompts,
        energy_source(summary),
        "for a typical query: the mean of those answered",
    )


def _joules(summary: Summary) -> Section:
    modes = summary.modes
    values = [mode.energy_j.value for mode in modes]
    unit = unit_for(values, "J")
    phases = _phase_names([mode.phases_j for mode in modes])
    columns = [
        _column(unit.estimate(mode.energy_j), {k: unit.of(v) for k, v in mode.phases_j.items()}, phases)
        for mode in modes
    ]
    rows = [*_itemised(phases, columns), *_in_other_units(summary)]
    return Section(title=f"One query, in {joules_label(summary, unit.name)}", rows=tuple(rows))


def _measured_joules(summary: Summary) -> list[Section]:
    unit = unit_for([mode.energy_j.value for mode in summary.modes], "J")
    estimates = [unit.estimate(mode.energy_j) for mode in summary.modes]
    rows = (
        _other_prompts(estimates),
        Row(label="sensor reading", cells=tuple(half_width(each.half_width_reading) for each in estimates)),
        _run_to_run(estimates),
        Row(label="sensor gain", cells=tuple(half_width(each.half_width_gain) for each in estimates)),
    )
    return [_joules(summary), Section(title=f"95 % interval of the total, {unit.name}", rows=rows)]


def _seconds(summary: Summary) -> list[Section]:
    """What an estimated receipt leads with: the seconds were measured."""
    unit = unit_for([mode.duration_s.value for mode in summary.modes], "s")
    estimates = [unit.estimate(mode.duration_s) for mode in summary.modes]
    phases = _phase_names([mode.phases_s for mode in summary.modes])
    columns = [
        _column(estimate, {name: unit.of(value) for name, value in mode.phases_s.items()}, phases)
        for estimate, mode in zip(estimates, summary.modes, strict=True)
    ]
    rows = (_other_prompts(estimates), _run_to_run(estimates))
    return [
        Section(title=f"One query, in {unit.name} (time is measured)", rows=tuple(_itemised(phases, columns))),
        Section(title=f"95 % interval of the total, {unit.name}", rows=rows),
    ]


def _other_prompts(estimates: Sequence[Estimate]) -> Row:
    return Row(label="other prompts", cells=tuple(ends_of(each) or UNKNOWN for each in estimates))


def _run_to_run(estimates: Sequence[Estimate]) -> Row:
    return Row(label="run to run", cells=tuple(half_width(each.half_width_runs) for each in estimates))


def _phase_names(phases: Sequence[Mapping[str, float]]) -> list[str]:
    """Every phase once, in the order of a query; a mode without thinking must not move thinking to the end."""
    return sorted(
        dict.fromkeys(name for each in phases for name in each),
        key=lambda name: PHASE_ORDER.index(name) if name in PHASE_ORDER else len(PHASE_ORDER),
    )


def _column(total: Estimate, phases: dict[str, float], names: Sequence[str]) -> list[str]:
    """One mode's items and their total. Where its phases are unknown only the total is known."""
    parts = [phases.get(name, 0.0) for name in names]
    if total.value is None or not math.isclose(math.fsum(parts), total.value, rel_tol=CLOSURE):
        return [*(UNKNOWN for _ in names), value_of(total)]
    items, printed = parts_of(parts, total.value, _decimals(total))
    return [*("–" if part == 0 else item for part, item in zip(parts, items, strict=True)), printed]


def _decimals(total: Estimate) -> int:
    """Decimals for a column of items: as many as the total's interval justifies, at least one digit of it."""
    value = total.value or 0.0
    decimals = decimals_of(total)
    return decimals if round(value, decimals) else decimals_of(Estimate(value=value))


def _itemised(phases: Sequence[str], columns: Sequence[Sequence[str]]) -> list[Row]:
    by_row = list(zip(*columns, strict=True))
    rows = [Row(label=name, cells=cells) for name, cells in zip(phases, by_row, strict=False)]
    return [*rows, Row(label="total", cells=by_row[-1], kind=Kind.TOTAL)] if by_row else rows


def _in_other_units(summary: Summary) -> list[Row]:
    modes = summary.modes
    word = ", estimated" if summary.estimated else ""
    net = [mode.energy_net_j for mode in modes]
    rows = []
    if any(each.value is not None for each in net) and not summary.estimated:
        unit = unit_for([mode.energy_j.value for mode in modes], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in net)
        rows.append(Row(label=f"{unit.name} above idle", cells=cells, kind=Kind.DETAIL))
    tails = [Estimate(value=mode.energy_tail_j) for mode in modes]
    if any(each.value is not None for each in tails) and not summary.estimated:
        unit = unit_for([mode.energy_j.value for mode in modes], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in tails)
        rows.append(Row(label=f"{unit.name} after the end, not included", cells=cells, kind=Kind.DETAIL))
    wh = [_scaled(mode.energy_j, 1 / J_PER_WH) for mode in modes]
    unit = unit_for([each.value for each in wh], "Wh")
    cells = tuple(value_of(unit.estimate(each)) for each in wh)
    rows.append(Row(label=f"{unit.name}{word}", cells=cells, kind=Kind.DETAIL))
    if summary.tariff_per_kwh is not None:
        price = summary.tariff_per_kwh * N_QUERIES_PRICED / J_PER_KWH
        cells = tuple(value_of(_scaled(mode.energy_j, price)) for mode in modes)
        label = f"{N_QUERIES_PRICED:,} at {summary.tariff_per_kwh:g} per kWh{word}"
        rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL))
    return rows


def _tokens(summary: Summary) -> Section:
    modes = summary.modes
    rows = [
        Row(label="thinking tokens", cells=tuple(digits(mode.thinking_tokens.value) for mode in modes)),
        Row(label="answer tokens", cells=tuple(digits(mode.answer_tokens.value) for mode in modes)),
    ]
    if summary.estimated:
        per_token = [mode.duration_per_output_token_s for mode in modes]
        unit = unit_for(per_token, "s")
        cells = tuple(digits(None if each is None else unit.of(each)) for each in per_token)
        rows.append(Row(label=f"{unit.name} per output token", cells=cells))
    else:
        estimates = [mode.energy_per_output_token_j for mode in modes]
        unit = unit_for([each.value for each in estimates], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in estimates)
        rows.append(Row(label=f"{unit.name} per output token", cells=cells))
        if not any(mode.duration_s.value is None for mode in modes):
            unit = unit_for([mode.duration_s.value for mode in modes], "s")
            cells = tuple(value_of(unit.estimate(mode.duration_s)) for mode in modes)
            rows.append(Row(label="seconds" if unit.name == "s" else unit.name, cells=cells))
    return Section(title="Tokens of one query", rows=tuple(rows))


def _ratio(summary: Summary) -> list[Section]:
    """The ratio of two modes, as tokens times what one token takes."""
    comparison = summary.comparison
    if comparison is None:
        return []
    whole = comparison.duration if summary.estimated else comparison.energy
    each = comparison.duration_per_token if summary.estimated else comparison.energy_per_token.value
    what = "seconds" if summary.estimated else "joules"
    ends = ends_of(whole)
    interval = f"95 %: {ends}" if ends else "95 %: unknown"
    rows = [
        Row(label=what, cells=(f"{value_of(whole)} ×",), kind=Kind.WIDE_TOTAL),
        Row(label="other prompts", cells=(interval,), kind=Kind.WIDE),
        Row(label="= output tokens", cells=(f"{digits(comparison.tokens.value)} ×",), kind=Kind.WIDE),
        Row(label=f"× {what} per token", cells=(f"{digits(each)} ×",), kind=Kind.WIDE),
    ]
    title = f"{comparison.numerator} over {comparison.denominator}, {comparison.n_pairs} prompts"
    return [Section(title=title, rows=tuple(rows))]


def _answers(summary: Summary) -> list[Section]:
    modes = summary.modes
    if not any(mode.n_scored for mode in modes):
        return []
    per_correct = [mode.energy_per_correct_j for mode in modes]
    unit = unit_for([each.value for each in per_correct], "J")
    right = tuple(f"{mode.n_correct} of {mode.n_scored}" for mode in modes)
    joules = tuple(
        "none right" if mode.n_correct == 0 else value_of(unit.estimate(each))
        for mode, each in zip(modes, per_correct, strict=True)
    )
    label = f"{joules_label(summary, unit.name)} per right answer{scored_only(summary)}"
    rows = [Row(label="right answers", cells=right), Row(label=label, cells=joules, kind=Kind.TOTAL)]
    if not summary.estimated:
        cells = tuple(ends_of(unit.estimate(each)) or UNKNOWN for each in per_correct)
        rows.append(Row(label="95 %: other prompts", cells=cells, kind=Kind.DETAIL))
    return [Section(title="What it buys", rows=tuple(rows))]


def _beside(summary: Summary) -> list[Section]:
    """What others say of the same session."""
    return [
        Section(title=title, rows=tuple(Row(label=label, cells=(cell,), kind=Kind.WIDE) for label, cell in lines))
        for title, lines in beside_lines(summary)
    ]


def headline_of(summary: Summary) -> str:
    """The answer in one or two sentences; empty where nothing was compared."""
    comparison = summary.comparison
    if comparison is None:
        return ""
    whole = comparison.duration if summary.estimated else comparison.energy
    each = comparison.duration_per_token if summary.estimated else comparison.energy_per_token.value
    if whole.value is None:
        return ""
    what = "seconds" if summary.estimated else "joules"
    names = (comparison.numerator, comparison.denominator)
    ends = f" (95 %: {ends_of(whole)})" if ends_of(whole) else ""
    text = f"Reasoning {names[0]} takes {value_of(whole)} × the {what} of reasoning {names[1]}{ends}"
    if comparison.tokens.value is not None and each is not None:
        text += f": {digits(comparison.tokens.value)} × the tokens, each at {digits(each)} × the {what}"
    by_name = {mode.mode: mode for mode in summary.modes}
    above, under = by_name[names[0]], by_name[names[1]]
    if above.n_scored and under.n_scored:
        right = f"{above.n_correct} of {above.n_scored}"
        text += f". It answers {right} right, against {under.n_correct} of {under.n_scored}"
    return f"{text}."


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Unit(name="", size=1 / factor).estimate(estimate)
