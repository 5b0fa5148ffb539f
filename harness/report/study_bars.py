"""The study's bars: why the modes differ, and where the joules go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.measured import phase_names
from harness.records import Cell, Comparison, Estimate, ModeSummary, Summary
from harness.report.compared import listed
from harness.report.measure import Measure
from harness.report.numbers import (
    UNKNOWN,
    digits,
    ends_of,
    parts_of,
    percent,
    signed_ends_of,
    times,
    value_of,
)
from harness.report.panel import Bar, Bars, Grid, Panel, Scale, Span, ends, in_brackets
from harness.report.receipt import CLOSURE, decimals_of_total
from harness.report.study import split
from harness.report.task.words import column_name, in_mode


def factors_panel(summary: Summary, comparisons: Sequence[Comparison], measure: Measure) -> Panel | None:
    """Each ratio as tokens times what a token takes, on a logarithmic axis, where lengths of factors add up."""
    shown = [
        each
        for each in comparisons
        if all(part.value for part in (measure.ratio(each), each.tokens, measure.per_token(each)))
    ]
    if not shown:
        return None
    values = [1.0]
    for each in shown:
        values += ends([measure.ratio(each), each.tokens])
        values += ends([measure.per_token(each)], factor=each.tokens.value or 1.0)
    known = [value for value in values if value > 0]
    scale = Scale(low=min(known) / 1.06, high=max(known) * 1.06, log=True)
    modes = [mode.mode for mode in summary.modes]
    bars = tuple(bar for each in shown for bar in _factor_bars(each, measure, scale, modes))
    return Panel(
        name="factors",
        title="Why: more tokens, or dearer tokens",
        caption=_factor_words(shown[0], measure),
        bars=(Bars(bars=bars, axis="times as much (logarithmic)", ticks=scale.ticks(" ×")),),
        grid=Grid(
            columns=("over the same prompts", "output tokens", f"{measure.noun} per token", measure.noun),
            rows=tuple(
                (
                    f"{each.numerator} over {each.denominator}",
                    *(_times(part) for part in (each.tokens, measure.per_token(each), measure.ratio(each))),
                )
                for each in shown
            ),
            caption="Tokens times what each takes is the whole ratio; the figures are printed rounded.",
        ),
        notes=("Each second bar starts where the first ends, so that the two make up the third.",),
    )


def split_panel(summary: Summary, measure: Measure) -> Panel | None:
    """Each mode's mean query as prefill, thinking and answer; of a task as its phases, where it has several."""
    modes = [mode for mode in summary.modes if measure.mean(mode).value]
    is_whole = summary.cell.task is not None and all(len(measure.phases(mode)) < 2 for mode in modes)
    if not modes or is_whole:
        return None
    scale = Scale(low=0.0, high=1.04 * max(ends([measure.mean(mode) for mode in modes])))
    names = in_order(name for mode in modes for name in measure.phases(mode))
    position = {mode.mode: index for index, mode in enumerate(summary.modes)}
    cell = summary.cell
    bars = tuple(
        replace(split_bar(mode, measure, scale, position[mode.mode]), label=column_name(cell, mode.mode))
        for mode in modes
    )
    columns = [_query_column(mode, measure, column_name(cell, mode.mode)) for mode in modes]
    if not measure.estimated:
        columns += [column for each in summary.comparisons if (column := _difference_column(each)) is not None]
    return Panel(
        name="split",
        title=f"Where the {measure.noun} go",
        caption=_split_words(cell, modes, measure),
        bars=(
            Bars(
                bars=bars,
                axis=f"{measure.axis}, of a mean query",
                ticks=scale.ticks(),
                keys=tuple((name, f"phase {name}") for name in names),
            ),
        ),
        grid=Grid(
            columns=(
                "of a mean query",
                *(column.heading for column in columns),
            ),
            rows=(
                *((name, *(column.parts.get(name, column.otherwise) for column in columns)) for name in names),
                ("total", *(column.total for column in columns)),
            ),
            caption="Columns add up. In brackets: the total's 95 % interval over prompts.",
        ),
    )


def _factor_bars(comparison: Comparison, measure: Measure, scale: Scale, modes: Sequence[str]) -> tuple[Bar, ...]:
    whole, each = measure.ratio(comparison), measure.per_token(comparison)
    tokens, total = comparison.tokens.value or 1.0, whole.value or 1.0
    mode = modes.index(comparison.numerator) if comparison.numerator in modes else None
    return (
        Bar(
            heading=f"{comparison.numerator} over {comparison.denominator}, {comparison.n_pairs:,} prompts",
            label="output tokens",
            figure=times(comparison.tokens),
            interval=ends_of(comparison.tokens),
            spans=(scale.span(1.0, tokens, "tokens"),),
            whisker=scale.whisker(comparison.tokens),
            mode=mode,
        ),
        Bar(
            label=f"× {measure.noun} per token",
            figure=times(each),
            interval=ends_of(each),
            spans=(scale.span(tokens, total, "each"),),
            whisker=scale.whisker(each, tokens),
            mode=mode,
        ),
        Bar(
            label=f"= {measure.noun}",
            figure=times(whole),
            interval=ends_of(whole),
            spans=(scale.span(1.0, total, "phase whole"),),
            whisker=scale.whisker(whole),
            mode=mode,
            strong=True,
        ),
    )


def _factor_words(comparison: Comparison, measure: Measure) -> str:
    whole, tokens = times(measure.ratio(comparison)), times(comparison.tokens)
    return (
        f"Reasoning {comparison.numerator} takes {whole} the {measure.noun} of reasoning {comparison.denominator}: "
        f"it writes {tokens} the tokens, each {_dearer(measure.per_token(comparison).value or 1.0, measure)}."
    )


def _dearer(ratio: float, measure: Measure) -> str:
    more, less = ("slower", "faster") if measure.estimated else ("dearer", "cheaper")
    if abs(ratio - 1) < 0.005:
        return f"at the same {measure.noun}"
    if ratio > 1.5 or ratio < 0.5:
        return f"at {digits(ratio, 2)} × the {measure.noun}"
    return f"{percent(abs(ratio - 1))} {more if ratio > 1 else less}"


def in_order(names: Iterable[str]) -> list[str]:
    """Phases in the order of a query."""
    return phase_names([dict.fromkeys(names)])


def _closed(mode: ModeSummary, measure: Measure) -> dict[str, float]:
    """The phases where they are the whole query; nothing otherwise."""
    phases = measure.phases(mode)
    whole = measure.mean(mode).value
    closes = whole is not None and math.isclose(math.fsum(phases.values()), whole, rel_tol=CLOSURE)
    return phases if closes else {}


def _printed(mode: ModeSummary, measure: Measure) -> tuple[dict[str, str], str]:
    """The phases as text and their total, rounded so that what is printed adds up; no phases where they are unknown."""
    phases, mean = _closed(mode, measure), measure.mean(mode)
    if not phases or mean.value is None:
        return {}, value_of(mean)
    items, total = parts_of(list(phases.values()), mean.value, decimals_of_total(mean))
    return dict(zip(phases, items, strict=True)), total


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """Phases and their total, as text; what a phase that is not among them prints as."""

    heading: str
    parts: Mapping[str, str]
    total: str
    otherwise: str


def _query_column(mode: ModeSummary, measure: Measure, name: str) -> _Column:
    """One mode's mean query, under its name."""
    printed, total = _printed(mode, measure)
    return _Column(
        heading=", ".join(filter(None, (name, measure.unit.name))),
        parts=printed,
        total=in_brackets(total, ends_of(measure.mean(mode))),
        otherwise="–" if printed else UNKNOWN,
    )


def _difference_column(comparison: Comparison) -> _Column | None:
    """The additive split of one comparison, with the very figures of the terminal; None where it is not known."""
    found = split(comparison)
    if found is None:
        return None
    unit, printed, total = found
    return _Column(
        heading=f"{comparison.numerator} − {comparison.denominator}, {unit.name}",
        parts=dict(printed),
        total=in_brackets(total, signed_ends_of(unit.estimate(comparison.difference_j))),
        otherwise="–",
    )


def split_bar(mode: ModeSummary, measure: Measure, scale: Scale, position: int, heading: str = "") -> Bar:
    """One mode's mean query, phase after phase."""
    mean, (printed, _), phases = measure.mean(mode), _printed(mode, measure), _closed(mode, measure)
    whisker = scale.whisker(mean)
    free = 100.0 if whisker is None else whisker[0]  # a figure under the whisker could not be read
    spans: list[Span] = []
    start = 0.0
    for name in in_order(phases):
        end, figure = start + phases[name], printed.get(name, digits(phases[name]))
        span = scale.span(start, end, f"phase {name}", figure, f"{name} {figure}")
        spans.append(span if span.text_end <= free else replace(span, text=""))
        start = end
    if not spans and mean.value is not None:
        spans.append(scale.span(0.0, mean.value, "phase whole", "", "phases unknown"))
    return Bar(
        label=mode.mode,
        figure=value_of(mean),
        interval=ends_of(mean),
        spans=tuple(spans),
        whisker=whisker,
        mode=position,
        heading=heading,
    )


def _split_words(cell: Cell, modes: Sequence[ModeSummary], measure: Measure) -> str:
    totals = [f"{value_of(measure.mean(mode))} {measure.unit.name}{in_mode(cell, mode.mode)}" for mode in modes]
    words = f"A mean query takes {listed(totals)}"
    most = max(modes, key=lambda mode: measure.mean(mode).value or 0.0)
    phases = _closed(most, measure)
    if not phases:
        return f"{words}."
    name = max(phases, key=lambda each: phases[each])
    where = {"answer": "the answer", "prefill": "reading the prompt"}.get(name, name)
    where = where if cell.task is None else f"the phase {name}"
    share = phases[name] / math.fsum(phases.values())
    return f"{words}; {f'in {most.mode}, ' if len(modes) > 1 else ''}{percent(share)} of it is {where}."


def _times(estimate: Estimate) -> str:
    return in_brackets(times(estimate), ends_of(estimate))
