"""The table of a run: a row per quantity, a column per mode, the interval over prompts with each figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.records import Estimate, ModeSummary, Summary
from harness.report.numbers import UNKNOWN, Unit, digits, ends_of, unit_for, value_of
from harness.report.wording import joules_label

PERCENT = Unit(name="%", size=0.01)


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
        _row(summary, "thinking tokens", lambda mode: _figure(mode.thinking_tokens)),
        _row(summary, "answer tokens", lambda mode: _figure(mode.answer_tokens)),
    ]
    if any(mode.n_cut for mode in summary.modes):
        counts.append(_row(summary, "cut by the token cap", lambda mode: Figure(value=f"{mode.n_cut:,}")))
    power = _row(summary, f"{joules_label(summary, 'W')} while answering", _power)
    ordered = [*time, *counts, *energy] if summary.estimated else [*counts, *energy, *time, power]
    return Table(
        caption="Each figure is a mean or a total over its mode; below it, the 95 % interval over prompts.",
        modes=tuple(mode.mode for mode in summary.modes),
        rows=tuple(ordered),
    )


def _row(summary: Summary, label: str, figure: Callable[[ModeSummary], Figure]) -> TableRow:
    return TableRow(label=label, figures=tuple(figure(mode) for mode in summary.modes))


def _estimates(summary: Summary, per: str, base: str, of: Callable[[ModeSummary], Estimate]) -> TableRow:
    unit = unit_for([of(mode).value for mode in summary.modes], base)
    label = f"{joules_label(summary, unit.name)} {per}"
    return _row(summary, label, lambda mode: _figure(unit.estimate(of(mode))))


def _per_correct(summary: Summary) -> TableRow:
    row = _estimates(summary, "per correct answer", "J", lambda mode: mode.energy_per_correct_j)
    figures = tuple(
        Figure(value="undefined: not scored" if mode.n_scored == 0 else "undefined: none correct")
        if mode.energy_per_correct_j.value is None and mode.n_correct == 0
        else figure
        for mode, figure in zip(summary.modes, row.figures, strict=True)
    )
    return TableRow(label=f"{row.label}{scored_only(summary)}", figures=figures)


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


def _figure(estimate: Estimate) -> Figure:
    return Figure(value=value_of(estimate), interval=ends_of(estimate))
