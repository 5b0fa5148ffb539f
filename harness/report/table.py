"""The table of a run: a row per quantity, a column per mode, the interval over prompts with each figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.records import Estimate, ModeSummary, Summary
from harness.report.numbers import UNKNOWN, Unit, digits, ends_of, unit_for, value_of
from harness.report.task.law import shown_laws
from harness.report.task.quality import metric_words
from harness.report.task.words import column_name, random_weights
from harness.report.wording import joules_label, tokens_label

PERCENT = Unit(name="%", size=0.01)
CHOSEN = (
    "Only of the queries that were measured one by one, which were chosen for their lengths: no sample of the prompts."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A printed value and its printed interval; the interval is empty where there is none."""

    value: str
    interval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One quantity in every mode."""

    label: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns are modes."""

    caption: str
    modes: tuple[str, ...]
    rows: tuple[TableRow, ...]


def table_of(summary: Summary) -> Table:
    """The table of a summary; where joules are estimated, seconds lead."""
    if summary.cell.task is not None:
        return _of_task(summary)
    energy = [
        _estimates(summary, "per query", "J", lambda mode: mode.energy_j),
        _estimates(summary, "per output token", "J", lambda mode: mode.energy_per_output_token_j),
        _estimates(summary, "per 1,000 queries", "Wh", lambda mode: mode.energy_wh_per_1000),
        _per_correct(summary),
    ]
    time = [
        _seconds_per_query(summary),
        _seconds_per_token(summary),
    ]
    counts = [
        _row(summary, "queries", _queries),
        _row(summary, "correct", _correct),
        _row(summary, tokens_label(summary.cell, "thinking"), lambda mode: _figure(mode.thinking_tokens)),
        _row(summary, tokens_label(summary.cell, "answer"), lambda mode: _figure(mode.answer_tokens)),
    ]
    if any(mode.n_cut for mode in summary.modes):
        counts.append(_row(summary, "cut by the token cap", _cut))
    if any(mode.n_forced for mode in summary.modes):
        counts.append(_row(summary, "thinking ended by force", _forced))
    power = _row(summary, f"{joules_label(summary, 'W')} while answering", _power)
    powers = [power] if any(mode.power_w is not None for mode in summary.modes) else []
    ordered = [*time, *counts, *energy] if summary.estimated else [*counts, *energy, *time, *powers]
    caption = "Each figure is a mean or a total over its mode"
    if summary.two_phase is None:
        caption += "; below it, the 95 % interval over prompts."
    else:
        caption = f"{CHOSEN} {caption}."
    return Table(
        caption=caption,
        modes=tuple(mode.mode for mode in summary.modes),
        rows=tuple(ordered),
    )


def _of_task(summary: Summary) -> Table:
    """The table of a task: what a query takes, what its size costs, how good the answers are."""
    energy = [
        _estimates(summary, "per query", "J", lambda mode: mode.energy_j),
        _estimates(summary, "per 1,000 queries", "Wh", lambda mode: mode.energy_wh_per_1000),
    ]
    time = [_seconds_per_query(summary)]
    for mode in summary.modes[:1]:
        for shown in shown_laws(mode.size_laws, estimated=summary.estimated):
            unit = unit_for([shown.per_unit.value], shown.base)
            row = TableRow(label=f"{unit.name} per {shown.law.unit}", figures=(_figure(unit.estimate(shown.per_unit)),))
            (time if summary.estimated else energy).append(row)
    counts = [_row(summary, "queries", _queries)]
    if random_weights(summary) is None:
        counts += [
            TableRow(label=metric_words(each.metric), figures=(_figure(each.figure),))
            for mode in summary.modes[:1]
            for each in mode.quality
            if each.figure.value is not None
        ]
    if any(mode.n_cut for mode in summary.modes):
        counts.append(_row(summary, "cut by the token cap", _cut))
    power = _row(summary, f"{joules_label(summary, 'W')} while answering", _power)
    powers = [power] if any(mode.power_w is not None for mode in summary.modes) else []
    ordered = [*time, *counts, *energy] if summary.estimated else [*counts, *energy, *time, *powers]
    return Table(
        caption="Each figure is a mean or a total over all queries; below it, the 95 % interval over prompts.",
        modes=tuple(column_name(summary.cell, mode.mode) for mode in summary.modes),
        rows=tuple(ordered),
    )


def in_short(summary: Summary) -> Table:
    """What a comparison of modes starts from: a query, its tokens, its answers. The same figures as in the table."""
    if summary.estimated:
        costs = [_seconds_per_query(summary), _seconds_per_token(summary)]
    else:
        costs = [
            _estimates(summary, "per query", "J", lambda mode: mode.energy_j),
            _estimates(summary, "per output token", "J", lambda mode: mode.energy_per_output_token_j),
        ]
    tokens = [
        _row(summary, tokens_label(summary.cell, "thinking"), lambda mode: _figure(mode.thinking_tokens)),
        _row(summary, tokens_label(summary.cell, "answer"), lambda mode: _figure(mode.answer_tokens)),
    ]
    right = (
        [_row(summary, "correct", _correct), _per_correct(summary)] if any(m.n_scored for m in summary.modes) else []
    )
    cut = [_row(summary, "cut by the token cap", _cut)] if any(mode.n_cut for mode in summary.modes) else []
    return Table(
        caption="One query in each mode",
        modes=tuple(mode.mode for mode in summary.modes),
        rows=(*costs, *tokens, *right, *cut),
    )


def _row(summary: Summary, label: str, figure: Callable[[ModeSummary], Figure]) -> TableRow:
    return TableRow(label=label, figures=tuple(figure(mode) for mode in summary.modes))


def _estimates(summary: Summary, per: str, base: str, of: Callable[[ModeSummary], Estimate]) -> TableRow:
    unit = unit_for([of(mode).value for mode in summary.modes], base)
    label = f"{joules_label(summary, unit.name)} {per}"
    return _row(summary, label, lambda mode: _figure(unit.estimate(of(mode))))


def _per_correct(summary: Summary) -> TableRow:
    estimates = [mode.energy_per_correct_j for mode in summary.modes]
    unit = unit_for([each.low if each.value is None else each.value for each in estimates], "J")
    figures = []
    for mode, each in zip(summary.modes, map(unit.estimate, estimates), strict=True):
        if each.value is None and mode.n_correct == 0:
            words = "undefined: not scored" if mode.n_scored == 0 else "undefined: none correct"
            figures.append(Figure(value=words, interval=ends_of(each)))
        else:
            figures.append(_figure(each))
    label = f"{joules_label(summary, unit.name)} per correct answer{scored_only(summary)}"
    return TableRow(label=label, figures=tuple(figures))


def scored_only(summary: Summary) -> str:
    """What to add to a label where some answers cannot be right or wrong, and their joules are left out."""
    unscored = any(mode.n_scored < mode.n_queries - mode.n_failed for mode in summary.modes)
    return " (prompts with a reference)" if unscored else ""


def _seconds_per_query(summary: Summary) -> TableRow:
    unit = unit_for([mode.duration_s.value for mode in summary.modes], "s")
    return _row(summary, f"{unit.name} per query", lambda mode: _figure(unit.estimate(mode.duration_s)))


def _seconds_per_token(summary: Summary) -> TableRow:
    unit = unit_for([mode.duration_per_output_token_s for mode in summary.modes], "s")
    return _row(summary, f"{unit.name} per output token", lambda mode: _plain(mode.duration_per_output_token_s, unit))


def _plain(value: float | None, unit: Unit) -> Figure:
    return Figure(value=UNKNOWN if value is None else digits(unit.of(value)))


def _power(mode: ModeSummary) -> Figure:
    return Figure(value=digits(mode.power_w))


def _queries(mode: ModeSummary) -> Figure:
    doubts = [f"{mode.n_failed} failed"] if mode.n_failed else []
    doubts += [f"{mode.n_without_energy} without energy"] if mode.n_without_energy else []
    return Figure(value=f"{mode.n_queries:,}", interval=", ".join(doubts))


def _correct(mode: ModeSummary) -> Figure:
    if mode.n_scored == 0:
        return Figure(value="not scored")
    ends = ends_of(PERCENT.estimate(mode.accuracy))
    return Figure(value=f"{mode.n_correct:,} of {mode.n_scored:,}", interval=f"{ends} %" if ends else "")


def _cut(mode: ModeSummary) -> Figure:
    """How many, and how many of those are right all the same: an answer that was cut seldom is."""
    right = f"{mode.n_cut_correct:,} of {mode.n_cut_scored:,} right" if mode.n_cut_scored else ""
    return Figure(value=f"{mode.n_cut:,} of {mode.n_queries - mode.n_failed:,}", interval=right)


def _forced(mode: ModeSummary) -> Figure:
    return Figure(value=f"{mode.n_forced:,} of {mode.n_queries - mode.n_failed:,}")


def _figure(estimate: Estimate) -> Figure:
    return Figure(value=value_of(estimate), interval=ends_of(estimate))
