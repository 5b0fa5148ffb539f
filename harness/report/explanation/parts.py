"""What explanations have in common: how their numbers, shares of queries and parts of an interval are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.analysis.measured import QueryFigures
from harness.records import Estimate
from harness.report.explanation.record import Group, IntervalPart, Share
from harness.report.numbers import Unit, digits, ends_of, half_width, percent, unit_for, value_of

N_DEAREST, N_TYPICAL = 4, 2
"""Queries listed behind a figure: those that put most into it, and those around the middle."""
SCALED = ("J", "s", "Wh")
"""Units that take the prefix that suits the figure."""
PERCENT = Unit(name="%", size=0.01)
N_DIGITS_EXACT = 6
WHOLE_MOST = 1e15
"""From here on a floating-point number is whole by itself."""

Amount = tuple[QueryFigures, float]


def query_name(mode: str, prompt_id: str) -> str:
    """What one query is called."""
    return f"{mode}/{prompt_id}"


def exact(value: float) -> str:
    """A number of a formula: six digits, so that what is printed can be checked on a calculator."""
    whole = value == round(value) and abs(value) < WHOLE_MOST
    return f"{value:,.0f}".replace("-", "−") if whole else digits(value, N_DIGITS_EXACT)


def scale_of(estimate: Estimate, unit: str) -> Unit:
    """The unit in which a figure and the parts of its interval are printed."""
    if unit == PERCENT.name:
        return PERCENT
    if unit not in SCALED:
        return Unit(name=unit, size=1.0)
    return unit_for([estimate.low if estimate.value is None else estimate.value], unit)


def printed(estimate: Estimate, unit: str) -> str:
    """A statistic with its interval over prompts."""
    scale = scale_of(estimate, unit)
    ends = ends_of(scale.estimate(estimate))
    if estimate.value is None:
        return f"{ends} {scale.name}".strip() if ends else "unknown"
    value = f"{value_of(scale.estimate(estimate))} {scale.name}".strip()
    return f"{value} (95 %: {ends})" if ends else value


def prompts_part(estimate: Estimate, unit: str, made: str) -> IntervalPart:
    """How far another sample of prompts would move it; `made` says by which method."""
    scale = scale_of(estimate, unit)
    ends = ends_of(scale.estimate(estimate))
    if not ends and estimate.low is not None:
        made = "it does not vary over these prompts"
    return IntervalPart(label="other prompts", text=f"{ends} {scale.name}".strip() if ends else "none", source=made)


def reading_part(estimate: Estimate, unit: str, made: str) -> IntervalPart:
    """What the sensor's readings leave open."""
    return IntervalPart(label="sensor reading", text=_width(estimate, unit, estimate.half_width_reading), source=made)


def runs_part(estimate: Estimate, unit: str) -> IntervalPart:
    """How far a repeat may lie from another."""
    source = "how far one more run may lie from the repeats' mean: Student's t over their values"
    if estimate.half_width_runs is None:
        source = "one run does not tell; measure with `--repeats 3`"
    return IntervalPart(label="run to run", text=_width(estimate, unit, estimate.half_width_runs), source=source)


def gain_part(estimate: Estimate, unit: str, made: str = "") -> IntervalPart:
    """What the boards' systematic gain may have moved it by."""
    width = estimate.half_width_gain
    share = f", here {percent(width / abs(estimate.value))} of it" if width and estimate.value else ""
    source = made or f"the board's own, systematic{share}; more queries do not shrink it"
    return IntervalPart(label="sensor gain", text=_width(estimate, unit, width), source=source)


def no_interval() -> tuple[IntervalPart, ...]:
    """Of an estimate."""
    words = "an estimate has none: how wrong the hardware model is, is not known"
    return (IntervalPart(label="95 % interval", text="none", source=words),)


def dearest_and_typical(
    amounts: Sequence[Amount], *, unit: str, notes: Callable[[QueryFigures], str]
) -> tuple[Group, ...]:
    """The queries that put most into a figure, and a few from the middle, each with its share of the sum.

    Args:
        amounts: Of every query of the figure, in `unit`.
        unit: J, s or what is counted.
        notes: What to say beside a query.
    """
    if not any(amount for _, amount in amounts):
        return ()
    # Of a sum in which some have another sign a share says nothing.
    mixed = min(amount for _, amount in amounts) < 0 < max(amount for _, amount in amounts)
    total = 0.0 if mixed else sum(amount for _, amount in amounts)
    ordered = sorted(amounts, key=lambda each: -abs(each[1]))
    middle = max(N_DEAREST, (len(ordered) - N_TYPICAL) // 2)
    dearest, typical = ordered[:N_DEAREST], ordered[middle : middle + N_TYPICAL]
    scale = (
        unit_for([amount for _, amount in (*dearest, *typical)], unit) if unit in SCALED else Unit(name=unit, size=1)
    )
    part = sum(amount for _, amount in dearest)
    share = (
        f", {percent(part / total)} of it together" if total and len(ordered) > N_DEAREST and part / total < 1 else ""
    )
    named = ((f"Those that put most into it{share}", dearest), ("From the middle", typical))
    return tuple(
        Group(
            title=title,
            shares=tuple(
                Share(
                    name=query_name(query.mode, query.prompt_id),
                    prompt_id=query.prompt_id,
                    mode=query.mode,
                    amount=f"{digits(scale.of(amount)) if unit in SCALED else exact(amount)} {scale.name}".strip(),
                    share=percent(amount / total) if total else "",
                    note=notes(query),
                )
                for query, amount in some
            ),
        )
        for title, some in named
        if some
    )


def some_of(title: str, queries: Sequence[QueryFigures], notes: Callable[[QueryFigures], str]) -> tuple[Group, ...]:
    """The first few of some queries that all count alike; nothing where there are none."""
    if not queries:
        return ()
    more = f", the first {N_DEAREST}" if len(queries) > N_DEAREST else ""
    shares = tuple(
        Share(
            name=query_name(query.mode, query.prompt_id),
            prompt_id=query.prompt_id,
            mode=query.mode,
            amount="",
            note=notes(query),
        )
        for query in queries[:N_DEAREST]
    )
    return (Group(title=f"{title}: {len(queries):,}{more}", shares=shares),)


def about(query: QueryFigures) -> str:
    """A query's length and whether its answer is right."""
    words = [] if query.n_output_tokens is None else [f"{query.n_output_tokens:,} tokens"]
    words += [] if query.correct is None else ["right" if query.correct else "wrong"]
    return ", ".join([*words, "cut"] if query.cut else words)


def _width(estimate: Estimate, unit: str, width: float | None) -> str:
    if width is None:
        return "unknown"
    scale = scale_of(estimate, unit)
    return f"{half_width(scale.of(width))} {scale.name}".strip()
