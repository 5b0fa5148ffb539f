"""The receipt and the table of a run, as rows of printed figures.

Every figure is formatted here, once; terminal, Markdown and HTML only lay the rows out, so they cannot differ.
The typical query is the mean one: its phases add up to its total, which no median does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.measured import phase_names
from harness.records import Estimate, FindingCode, ModeSummary, QueryRecord, Summary, TwoPhase
from harness.report.beside import beside_lines
from harness.report.compared import invalid_words, listed, reasons, whole
from harness.report.numbers import (
    UNKNOWN,
    Unit,
    decimals_of,
    digits,
    duration,
    ends_of,
    half_width,
    parts_of,
    times,
    unit_for,
    value_of,
)
from harness.report.rows import Kind, Row, Section, wide
from harness.report.serving.sections import serving_sections, weights_words
from harness.report.study import columns_of, study_tables
from harness.report.study_sections import (
    answer_rows,
    comparison_sections,
    stopping_section,
    two_phase_invalid_words,
    two_phase_sections,
)
from harness.report.table import Table, scored_only, table_of
from harness.report.task.failed import failed_inputs, task_doubts
from harness.report.task.sections import task_headline, task_lines, task_sections
from harness.report.task.words import column_name, random_weights
from harness.report.wording import Doubt, doubts, energy_source, estimated_words, joules_label, n_asked, subject
from harness.units import J_PER_KWH, J_PER_WH

CLOSURE = 1e-3
"""Items are listed only where they add up to their total within this fraction."""
N_QUERIES_PRICED = 1000
"""One query costs too little to print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Everything that is said of one cell at one site, ready to lay out.

    `study` has a table per question (what it costs, why, what it buys, is it real) and a column per comparison; with
    one comparison its sections say it all.
    `notices` are what must be read before any figure: a comparison, a mode or a two-phase figure that does not hold.
    """

    run_id: str
    title: str
    headline: str
    lines: tuple[str, ...]
    modes: tuple[str, ...]
    sections: tuple[Section, ...]
    table: Table
    study: tuple[Table, ...]
    study_caption: str
    notices: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    estimated: bool


def receipt_of(summary: Summary, queries: Iterable[QueryRecord] = ()) -> Receipt:
    """The receipt of a summary. Joules are gross, in the run's headline boundary.

    Of a two-phase run only the two-phase figures are on it: the few queries that were measured one by one were chosen
    for their lengths, and their mean is of nothing.

    Args:
        summary: Of the cell.
        queries: Of a task, to name the inputs that were not measured; read only if there are any.
    """
    modes = tuple(column_name(summary.cell, mode.mode) for mode in summary.modes)
    if summary.two_phase is not None:
        sections = list(two_phase_sections(summary.two_phase, modes))
    else:
        sections = [*_seconds(summary), _joules(summary)] if summary.estimated else _measured_joules(summary)
        sections += serving_sections(summary)
        if summary.cell.task is not None:
            sections += task_sections(summary)
        else:
            sections += [_tokens(summary), *comparison_sections(summary), *_answers(summary)]
    sections += [stopping_section(summary.stopping)] if summary.stopping is not None else []
    sections += _beside(summary)
    several = len(summary.comparisons) > 1 and summary.two_phase is None
    title = "Energy receipt"
    return Receipt(
        run_id=summary.run_id,
        title=f"{title}: J ({estimated_words(summary)})" if summary.estimated else title,
        headline=headline_of(summary),
        lines=_lines(summary),
        modes=modes,
        sections=tuple(sections),
        table=table_of(summary),
        study=study_tables(columns_of(summary)) if several else (),
        study_caption=study_caption(summary),
        notices=notices_of(summary),
        doubts=_doubts(summary, queries),
        estimated=summary.estimated,
    )


def _doubts(summary: Summary, queries: Iterable[QueryRecord]) -> tuple[Doubt, ...]:
    """What to know before it is quoted; of a task the inputs that could not be measured by name."""
    if summary.cell.task is None:
        return doubts(summary.findings)
    any_failed = any(mode.n_failed for mode in summary.modes)
    return task_doubts(summary, failed_inputs(queries) if any_failed else ())


def _lines(summary: Summary) -> tuple[str, ...]:
    n_modes = len(summary.modes)
    n_measured = min((mode.n_queries for mode in summary.modes), default=0)
    n_planned = summary.n_prompts_planned
    count = f"{n_measured:,} of {n_planned:,}" if n_measured < n_planned else f"{n_planned:,}"
    prompts = f"{count} {'prompts' if summary.cell.task is None else 'inputs'} of {summary.cell.prompt_set}"
    typical = "for a typical query: the mean of those answered"
    if summary.cell.overlaps:
        typical = "for a typical query: the mean share of those answered, ramp and drain included"
    if summary.two_phase is not None:
        prompts = f"two-phase: {summary.two_phase.n_prompts:,} prompts of {summary.cell.prompt_set}"
        typical = "for a typical query: its token count, times an energy law"
    return (
        *((subject(summary),) if summary.cell.task is None else task_lines(summary, subject(summary))),
        f"{prompts}, each in {n_modes} modes" if n_modes > 1 else prompts,
        *([n_asked(summary.two_phase)] if summary.two_phase is not None and n_asked(summary.two_phase) else []),
        *_protocol(summary),
        energy_source(summary),
        *_weights(summary),
        *([] if summary.two_phase is not None and not summary.two_phase.valid else [typical]),
    )


def _weights(summary: Summary) -> list[str]:
    """What a prompt token weighs where queries share by tokens; of static batches it changes nothing."""
    if not summary.cell.overlaps or summary.cell.batch_size > 1:
        return []
    words = weights_words([each for serving in summary.serving for each in serving.weights])
    return [words] if words else []


def _protocol(summary: Summary) -> list[str]:
    """Whose protocol this is, where it is not this program's own."""
    cell = summary.cell
    if not any(finding.code is FindingCode.OTHERS_PROTOCOL for finding in summary.findings):
        return []
    caps = [f"{mode} {cell.cap(mode):,}" for mode in cell.modes]
    return [f"protocol {cell.protocol}, faults included; capped at {listed(caps)} tokens"]


def notices_of(summary: Summary) -> tuple[str, ...]:
    """What does not hold, in words: comparisons whose switch did nothing, a two-phase figure off its law.

    And modes that are not what they are called, as far as that is not said yet; and weights that are random.
    """
    notices = [words for each in summary.comparisons if (words := invalid_words(each))]
    said = [finding for each in summary.comparisons for finding in each.invalid]
    if summary.two_phase is not None and not summary.two_phase.valid:
        notices.append(two_phase_invalid_words(summary.two_phase))
        said += summary.two_phase.findings
    for mode in summary.modes:
        new = [finding for finding in mode.invalid if finding not in said]
        if new:
            notices.append(f"The mode {mode.mode} is not what it is called. {reasons(new)}")
            said += new
    notices += [
        f"The modes {listed(fault.modes)} are not what they are called. {reasons([fault.finding])}"
        for fault in summary.faults
        if fault.finding not in said
    ]
    untrained = random_weights(summary)
    notices += [] if untrained is None else [reasons([untrained])]
    return tuple(notices)


def study_caption(summary: Summary) -> str:
    """Which modes stand over which."""
    if not summary.comparisons:
        return ""
    return f"Each mode over {summary.comparisons[0].denominator}, over the same prompts."


def _joules(summary: Summary) -> Section:
    modes = summary.modes
    values = [mode.energy_j.value for mode in modes]
    unit = unit_for(values, "J")
    phases = phase_names([mode.phases_j for mode in modes])
    columns = [
        _column(unit.estimate(mode.energy_j), {k: unit.of(v) for k, v in mode.phases_j.items()}, phases)
        for mode in modes
    ]
    rows = [*_itemised(modes, phases, columns, ("phases", "energy_j")), *_in_other_units(summary)]
    return Section(title=f"One query, in {joules_label(summary, unit.name)}", rows=tuple(rows))


def _measured_joules(summary: Summary) -> list[Section]:
    unit = unit_for([mode.energy_j.value for mode in summary.modes], "J")
    estimates = [unit.estimate(mode.energy_j) for mode in summary.modes]
    rows = (
        _part("other prompts", summary, "energy_j", [ends_of(each) or UNKNOWN for each in estimates]),
        _part("sensor reading", summary, "energy_j", [half_width(each.half_width_reading) for each in estimates]),
        _part("run to run", summary, "energy_j", [half_width(each.half_width_runs) for each in estimates]),
        _part("sensor gain", summary, "energy_j", [half_width(each.half_width_gain) for each in estimates]),
    )
    return [_joules(summary), Section(title=f"95 % interval of the total, {unit.name}", rows=rows)]


def _seconds(summary: Summary) -> list[Section]:
    """What an estimated receipt leads with: the seconds were measured."""
    unit = unit_for([mode.duration_s.value for mode in summary.modes], "s")
    estimates = [unit.estimate(mode.duration_s) for mode in summary.modes]
    phases = phase_names([mode.phases_s for mode in summary.modes])
    columns = [
        _column(estimate, {name: unit.of(value) for name, value in mode.phases_s.items()}, phases)
        for estimate, mode in zip(estimates, summary.modes, strict=True)
    ]
    rows = (
        _part("other prompts", summary, "duration_s", [ends_of(each) or UNKNOWN for each in estimates]),
        _part("run to run", summary, "duration_s", [half_width(each.half_width_runs) for each in estimates]),
    )
    items = _itemised(summary.modes, phases, columns, ("phases_s", "duration_s"))
    return [
        Section(title=f"One query, in {unit.name} (time is measured)", rows=tuple(items)),
        Section(title=f"95 % interval of the total, {unit.name}", rows=rows),
    ]


def _part(label: str, summary: Summary, figure: str, cells: Sequence[str]) -> Row:
    """One part of the interval of a figure of every mode."""
    return Row(label=label, cells=tuple(cells), behind=behind(summary.modes, figure), part=label)


def behind(modes: Sequence[ModeSummary], figure: str) -> tuple[str, ...]:
    """The names of one figure of every mode."""
    return tuple(f"{mode.mode}.{figure}" for mode in modes)


def _column(total: Estimate, phases: dict[str, float], names: Sequence[str]) -> list[str]:
    """One mode's items and their total. Where its phases are unknown only the total is known."""
    parts = [phases.get(name, 0.0) for name in names]
    if total.value is None or not math.isclose(math.fsum(parts), total.value, rel_tol=CLOSURE):
        return [*(UNKNOWN for _ in names), value_of(total)]
    items, printed = parts_of(parts, total.value, decimals_of_total(total))
    return [*("–" if part == 0 else item for part, item in zip(parts, items, strict=True)), printed]


def decimals_of_total(total: Estimate) -> int:
    """Decimals for a column of items: as many as the total's interval justifies, at least one digit of it."""
    value = total.value or 0.0
    decimals = decimals_of(total)
    return decimals if round(value, decimals) else decimals_of(Estimate(value=value))


def _itemised(
    modes: Sequence[ModeSummary], phases: Sequence[str], columns: Sequence[Sequence[str]], names: tuple[str, str]
) -> list[Row]:
    """Items and their total; `names` are what the figures of a phase and of the total are called."""
    by_row = list(zip(*columns, strict=True))
    rows = [
        Row(label=name, cells=cells, behind=behind(modes, f"{names[0]}.{name}"))
        for name, cells in zip(phases, by_row, strict=False)
    ]
    total = [Row(label="total", cells=by_row[-1], kind=Kind.TOTAL, behind=behind(modes, names[1]))] if by_row else []
    return [*rows, *total]


def _in_other_units(summary: Summary) -> list[Row]:
    modes = summary.modes
    word = ", estimated" if summary.estimated else ""
    net = [mode.energy_net_j for mode in modes]
    rows = []
    if any(each.value is not None for each in net) and not summary.estimated:
        unit = unit_for([mode.energy_j.value for mode in modes], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in net)
        label = f"{unit.name} above idle"
        rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL, behind=behind(modes, "energy_net_j")))
    tails = [Estimate(value=mode.energy_tail_j) for mode in modes]
    if any(each.value is not None for each in tails) and not summary.estimated:
        unit = unit_for([mode.energy_j.value for mode in modes], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in tails)
        label = f"{unit.name} after the end, not included"
        rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL, behind=behind(modes, "energy_tail_j")))
    wh = [_scaled(mode.energy_j, 1 / J_PER_WH) for mode in modes]
    unit = unit_for([each.value for each in wh], "Wh")
    cells = tuple(value_of(unit.estimate(each)) for each in wh)
    label = f"{unit.name}{word}"
    rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL, behind=behind(modes, "energy_wh_per_1000")))
    if summary.tariff_per_kwh is not None:
        price = summary.tariff_per_kwh * N_QUERIES_PRICED / J_PER_KWH
        cells = tuple(value_of(_scaled(mode.energy_j, price)) for mode in modes)
        label = f"{N_QUERIES_PRICED:,} at {summary.tariff_per_kwh:g} per kWh{word}"
        rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL, behind=behind(modes, "cost_per_1000")))
    return rows


def _tokens(summary: Summary) -> Section:
    modes = summary.modes
    counts = (
        ("thinking", [mode.thinking_tokens.value for mode in modes]),
        ("answer", [mode.answer_tokens.value for mode in modes]),
    )
    rows = [
        Row(label=f"{kind} tokens", cells=tuple(map(digits, values)), behind=behind(modes, f"{kind}_tokens"))
        for kind, values in counts
    ]
    if summary.estimated:
        per_token = [mode.duration_per_output_token_s for mode in modes]
        unit = unit_for(per_token, "s")
        cells = tuple(digits(None if each is None else unit.of(each)) for each in per_token)
        named = behind(modes, "duration_per_output_token_s")
        rows.append(Row(label=f"{unit.name} per output token", cells=cells, behind=named))
    else:
        estimates = [mode.energy_per_output_token_j for mode in modes]
        unit = unit_for([each.value for each in estimates], "J")
        cells = tuple(value_of(unit.estimate(each)) for each in estimates)
        named = behind(modes, "energy_per_output_token_j")
        rows.append(Row(label=f"{unit.name} per output token", cells=cells, behind=named))
        if not any(mode.duration_s.value is None for mode in modes):
            unit = unit_for([mode.duration_s.value for mode in modes], "s")
            cells = tuple(value_of(unit.estimate(mode.duration_s)) for mode in modes)
            label = "seconds" if unit.name == "s" else unit.name
            rows.append(Row(label=label, cells=cells, behind=behind(modes, "duration_s")))
    forced = "" if summary.cell.lengths is None else " (forced lengths)"
    return Section(title=f"Tokens of one query{forced}", rows=tuple(rows))


def _answers(summary: Summary) -> list[Section]:
    modes = summary.modes
    if not any(mode.n_scored for mode in modes):
        return []
    per_correct = [mode.energy_per_correct_j for mode in modes]
    unit = unit_for([each.value if each.value is not None else each.low for each in per_correct], "J")
    right = tuple(f"{mode.n_correct} of {mode.n_scored}" for mode in modes)
    joules = tuple(
        "none right" if mode.n_correct == 0 else value_of(unit.estimate(each))
        for mode, each in zip(modes, per_correct, strict=True)
    )
    label = f"{joules_label(summary, unit.name)} per right answer{scored_only(summary)}"
    rows = [Row(label="right answers", cells=right, behind=behind(modes, "accuracy"))]
    if any(mode.n_cut for mode in modes):
        cut = tuple(f"{mode.n_cut} of {mode.n_queries - mode.n_failed}" for mode in modes)
        rows.append(Row(label="cut by the cap", cells=cut, kind=Kind.DETAIL))
    if any(mode.n_forced for mode in modes):
        forced = tuple(f"{mode.n_forced} of {mode.n_queries - mode.n_failed}" for mode in modes)
        rows.append(Row(label="thinking ended by force", cells=forced, kind=Kind.DETAIL))
    named = behind(modes, "energy_per_correct_j")
    rows.append(Row(label=label, cells=joules, kind=Kind.TOTAL, behind=named))
    if not summary.estimated:
        cells = tuple(ends_of(unit.estimate(each)) or UNKNOWN for each in per_correct)
        label = "95 %: other prompts"
        rows.append(Row(label=label, cells=cells, kind=Kind.DETAIL, behind=named, part="other prompts"))
    sections = [Section(title="What it buys", rows=tuple(rows))]
    compared = answer_rows(summary)
    if compared:
        sections.append(Section(title="Right answers over the same prompts", rows=compared))
    return sections


def _beside(summary: Summary) -> list[Section]:
    """What others say of the same session."""
    return [
        Section(title=title, rows=tuple(wide(label, cell) for label, cell in lines))
        for title, lines in beside_lines(summary)
    ]


def headline_of(summary: Summary) -> str:
    """The answer in one or two sentences; empty where nothing was compared. Of a task what a query takes."""
    if summary.cell.task is not None and len(summary.modes) == 1:
        return f"{task_headline(summary)} {_stopped(summary)}".rstrip()
    if summary.two_phase is not None:
        return _two_phase_headline(summary.two_phase)
    comparison = summary.comparison
    if comparison is None:
        return _stopped(summary)
    if comparison.invalid:
        return f"No comparison of {comparison.numerator} with {comparison.denominator}: the switch did not do its work."
    ratio = whole(comparison, estimated=summary.estimated)
    each = comparison.duration_per_token if summary.estimated else comparison.energy_per_token.value
    if ratio.value is None:
        return ""
    what = "seconds" if summary.estimated else "joules"
    names = (comparison.numerator, comparison.denominator)
    ends = f" (95 %: {ends_of(ratio)})" if ends_of(ratio) else ""
    text = f"Reasoning {names[0]} takes {times(ratio)} the {what} of reasoning {names[1]}{ends}"
    if comparison.tokens.value is not None and each is not None:
        text += f": {digits(comparison.tokens.value)} × the tokens, each at {digits(each)} × the {what}"
    by_name = {mode.mode: mode for mode in summary.modes}
    above, under = by_name[names[0]], by_name[names[1]]
    if above.n_scored and under.n_scored:
        right = f"{above.n_correct} of {above.n_scored}"
        text += f". It answers {right} right, against {under.n_correct} of {under.n_scored}"
    return f"{text}. {_stopped(summary)}".rstrip()


def _two_phase_headline(two_phase: TwoPhase) -> str:
    if not two_phase.valid:
        return f"Two-phase: {', '.join(filter(None, ('no figure', n_asked(two_phase))))}."
    if two_phase.energy.value is None:
        return ""
    ends = f" (95 %: {ends_of(two_phase.energy)})" if ends_of(two_phase.energy) else ""
    names = (two_phase.numerator, two_phase.denominator)
    text = f"Two-phase: reasoning {names[0]} takes {times(two_phase.energy)} the joules of reasoning {names[1]}{ends}"
    saved_s = two_phase.duration_saved_s
    saved = f", found in {duration(saved_s)} less" if saved_s is not None and saved_s > 0 else ""
    return f"{text}, by token counts and an energy law of {two_phase.n_law:,} queries{saved}."


def _stopped(summary: Summary) -> str:
    """What `--until-ci` came to."""
    stopping = summary.stopping
    if stopping is None:
        return ""
    asked = f"{stopping.n_prompts:,} of at most {stopping.n_prompts_most:,} prompts"
    if not stopping.settled:
        return f"± {100 * stopping.target:g} % was not reached with {asked}."
    saved = f", which saved {duration(stopping.saved_s)}" if stopping.saved_s else ""
    return f"± {100 * stopping.target:g} % was reached with {asked}{saved}."


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Unit(name="", size=1 / factor).estimate(estimate)
