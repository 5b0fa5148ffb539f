"""The verdict on a repetition in words: one sentence on top, a table of what stands behind it, what to know of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from harness.analysis.repeated_figure import Kind, RepeatedFigure, Verdict
from harness.analysis.repetition import Repetition
from harness.records import Estimate
from harness.report.compared import Answer, listed
from harness.report.numbers import Unit, digits, ends_of, percent, probability, times, unit_for
from harness.report.page import Lead
from harness.report.table import Figure, Table, TableRow

NOTHING = Figure(value="–")


def repetition_lead(
    labels: tuple[str, str], repetition: Repetition, *, notes: Sequence[str] = (), is_copy: bool = False
) -> Lead:
    """The verdict, ready for a terminal, Markdown and a page. The question is a line that a script can look for.

    Args:
        labels: What is repeated, and what repeats it.
        repetition: The verdict.
        notes: To add.
        is_copy: Whether the two share a session.
    """
    base, other = labels
    copied = f"{other} holds a session of {base}: it is a copy, and repeats nothing. " if is_copy else ""
    return Lead(
        title=f"{other} repeats {base}",
        answers=(Answer(question=verdict_line(repetition), text=copied + sentence(labels, repetition)),),
        tables=tuple(_tables(labels, repetition)),
        notes=(*_notes(labels, repetition), *notes),
    )


def verdict_line(repetition: Repetition) -> str:
    """`Repetition: agrees within gain`, with what differs beside the headline: a line for scripts."""
    words = f"Repetition: {repetition.verdict.value}"
    if repetition.verdict is Verdict.AGREES and repetition.within is not None:
        words += f" within {repetition.within.value}"
    beside = [_name(each) for each in repetition.beside]
    return f"{words}, but {listed(beside)} {'differs' if len(beside) == 1 else 'differ'}" if beside else words


def sentence(labels: tuple[str, str], repetition: Repetition) -> str:
    """The verdict with its figures.

    Args:
        labels: What is repeated, and what repeats it.
        repetition: The verdict.
    """
    leading = [each for each in repetition.figures if each.kind is repetition.headline and each.level is not None]
    if repetition.verdict is Verdict.NOT_COMPARABLE:
        return f"{listed(labels)} cannot be compared: {'; '.join(repetition.reasons) or 'nothing is known of both'}."
    what = _cost(repetition) if repetition.headline is Kind.COST else f"ratio of {_cost(repetition)}"
    told = [each for each in leading if each.verdict is repetition.verdict]
    ratios = listed([f"{_times(each)} in {each.of}" for each in told])
    n_prompts = listed([f"{n:,}" for n in dict.fromkeys(each.n_prompts for each in told)])
    text = f"{labels[1]} over {labels[0]}: {what} {ratios}, over {n_prompts} prompts."
    if repetition.verdict is Verdict.AGREES:
        if repetition.smallest_seen is not None:
            text += f" A difference of {_difference(repetition.smallest_seen)} or more would have been seen."
    else:
        text += f" {_beyond(max(told, key=lambda each: (each.excess or 0.0, each.smallest_seen or 0.0)))}"
    others = [each for each in leading if each.verdict is not repetition.verdict]
    return " ".join([text, *(f"In {each.of}: {_verdict(each).value}, {_times(each)}." for each in others)])


def _beyond(figure: RepeatedFigure) -> str:
    """How far a ratio is from what is known, and what would explain it."""
    if figure.excess is None:
        seen = _difference(figure.smallest_seen or 0.0)
        return f"The runs scatter so much that a difference under {seen} could not be seen: more repeats would tell."
    text = f"That is {_difference(figure.excess)} beyond what {_known(figure)} allow."
    if figure.run_sd_needed is None:
        return text
    return (
        f"{text} Runs that differ among themselves by {percent(figure.run_sd_needed)} (standard deviation) would "
        "explain it; how far they do is unknown: `--repeats 3` on both would tell."
    )


def _difference(relative: float) -> str:
    """Small ones in per cent, large ones as a factor."""
    return percent(relative) if relative < 1 else f"a factor of {digits(1 + relative, 2)}"


def _name(figure: RepeatedFigure) -> str:
    return {
        Kind.COST: f"the cost in {figure.of}",
        Kind.RATIO: f"the ratio {figure.of}",
        Kind.TOKENS: f"output tokens in {figure.of}",
        Kind.RIGHT: f"right answers in {figure.of}",
    }[figure.kind]


def _cost(repetition: Repetition) -> str:
    return "seconds per query (joules are estimated)" if repetition.estimated else "joules per query"


def _known(figure: RepeatedFigure) -> str:
    """The parts that a ratio was held against."""
    parts = ["reading", "prompts"] if figure.half_width_reading else ["prompts"]
    parts += [] if figure.half_width_runs is None else ["run to run"]
    parts += ["gain"] if figure.half_width_gain else []
    return listed(parts)


def _times(figure: RepeatedFigure) -> str:
    return times(_estimate(figure))


def _estimate(figure: RepeatedFigure) -> Estimate:
    return Estimate(value=figure.ratio, low=figure.low, high=figure.high)


def _tables(labels: tuple[str, str], repetition: Repetition) -> Iterator[Table]:
    """What a query takes and its ratio between modes; then what was answered."""
    of_cost = [each for each in repetition.figures if each.kind in (Kind.COST, Kind.RATIO)]
    counts = [[each for each in repetition.figures if each.kind is kind] for kind in (Kind.TOKENS, Kind.RIGHT)]
    unit = unit_for(
        [value for each in of_cost if each.kind is Kind.COST for value in (each.base, each.repetition)],
        "s" if repetition.estimated else "J",
    )
    if of_cost:
        costs = [
            _row(f"{label}, {unit.name} per query", of_cost, _value(place, unit)) for place, label in enumerate(labels)
        ]
        yield Table(
            caption=f"{labels[1]} over {labels[0]}: what a query takes",
            modes=tuple(each.of for each in of_cost),
            rows=(*costs, *_ratio_rows(labels, of_cost), *_part_rows(of_cost)),
        )
    rows: list[TableRow] = []
    for what, found in zip(("output tokens", "right answers"), counts, strict=True):
        if found:
            rows += [_row(f"{label}, {what}", found, _value(place, None)) for place, label in enumerate(labels)]
            rows += _ratio_rows(labels, found) if what == "output tokens" else [_row("verdict", found, _verdict)]
    if rows:
        yield Table(caption="What was answered", modes=tuple(each.of for each in counts[0]), rows=tuple(rows))


def _row(label: str, figures: Sequence[RepeatedFigure], of: Callable[[RepeatedFigure], Figure]) -> TableRow:
    return TableRow(label=label, figures=tuple(map(of, figures)))


def _value(place: int, unit: Unit | None) -> Callable[[RepeatedFigure], Figure]:
    def of(figure: RepeatedFigure) -> Figure:
        value = (figure.base, figure.repetition)[place]
        if value is None:
            return NOTHING
        if figure.kind is Kind.RATIO:
            return Figure(value=f"{digits(value)} ×")
        return Figure(value=f"{value:,.0f}" if unit is None else digits(unit.of(value)))

    return of


def _ratio_rows(labels: tuple[str, str], figures: Sequence[RepeatedFigure]) -> list[TableRow]:
    def ratio(figure: RepeatedFigure) -> Figure:
        return NOTHING if figure.ratio is None else Figure(value=_times(figure), interval=ends_of(_estimate(figure)))

    return [_row(f"{labels[1]} over {labels[0]}", figures, ratio), _row("verdict", figures, _verdict)]


def _verdict(figure: RepeatedFigure) -> Figure:
    within = "" if figure.within is None else f"within {figure.within.value}"
    if figure.p_value is not None and figure.verdict is not Verdict.NOT_COMPARABLE:
        within = probability(figure.p_value)
    return Figure(value=figure.verdict.value, interval=within)


def _part_rows(figures: Sequence[RepeatedFigure]) -> list[TableRow]:
    """The parts of a ratio's error, each by itself."""

    def part(name: str) -> Callable[[RepeatedFigure], Figure]:
        def of(figure: RepeatedFigure) -> Figure:
            if figure.ratio is None:
                return NOTHING
            value: float | None = getattr(figure, name)
            if value is None:
                return Figure(value="unknown")
            if value >= 1:
                return Figure(value=f"× or ÷ {digits(math.exp(value), 2)}")
            return Figure(value=f"± {percent(value)}" if value > 0 else "± 0")

        return of

    def seen(figure: RepeatedFigure) -> Figure:
        return NOTHING if figure.smallest_seen is None else Figure(value=_difference(figure.smallest_seen))

    return [
        _row("sensor reading", figures, part("half_width_reading")),
        _row("prompts", figures, part("half_width_prompts")),
        _row("run to run", figures, part("half_width_runs")),
        _row("gain of the boards", figures, part("half_width_gain")),
        _row("would have been seen", figures, seen),
    ]


def _notes(labels: tuple[str, str], repetition: Repetition) -> Iterator[str]:
    base, other = labels
    if repetition.verdict is not Verdict.NOT_COMPARABLE and repetition.reasons:
        yield f"Not comparable: {'; '.join(repetition.reasons)}."
    if repetition.n_texts:
        yield f"{repetition.n_texts_same:,} of {repetition.n_texts:,} answers are the same word for word."
    n_runs = repetition.n_runs
    if repetition.figures and max(n_runs) < 2:
        yield "One run on each side: how far a repeat would differ is unknown. Add `--repeats 3`."
    elif repetition.figures:
        yield f"{base} is the mean of {n_runs[0]} and {other} of {n_runs[1]} repeats."
    judged = [each for each in repetition.figures if each.kind is repetition.headline and each.level is not None]
    if len(judged) > 1 and judged[0].level is not None:
        yield (
            f"Each of these {len(judged)} is held to {percent(judged[0].level)}, so that where nothing differs at most "
            "one repetition of 20 is said to differ."
        )
