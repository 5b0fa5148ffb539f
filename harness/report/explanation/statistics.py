"""Explanations of one cell's figures: their names, and what stands behind each.

    MODE.FIGURE         on.energy_j, off.accuracy, on.phases.thinking
    MODE.serving.FIGURE off.serving.energy_steady_j: of a cell under load
    MODE/MODE.FIGURE    on/off.energy, on/off.tokens, on/off.parts.thinking
    idle                what the idle device drew
    MODE/PROMPT_ID      one query; `explained_query.py`

Everything follows from the summary and the queries' own figures; nothing is measured or estimated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from harness.analysis.measured import QueryFigures
from harness.records import Estimate, FindingCode, IntervalRecord, ModeSummary, Summary
from harness.report.explanation.comparisons import comparison_figures
from harness.report.explanation.parts import (
    about,
    dearest_and_typical,
    exact,
    gain_part,
    no_interval,
    printed,
    prompts_part,
    reading_part,
    runs_part,
    some_of,
)
from harness.report.explanation.record import Explanation, Group, IntervalPart, Make
from harness.report.explanation.task import about_task, task_figures, with_task_statistics
from harness.report.explanation.two_phase import two_phase_figures
from harness.report.explanation.words import Statistic, statistics_of, sums
from harness.report.numbers import digits, half_width
from harness.report.serving.explained import serving_figures
from harness.report.task.words import heading_of, of_mode
from harness.report.wording import doubts, estimated_words

IDLE = "idle"
IDLE_NAMES = ("idle_before", "idle_after")
CHOSEN = "In this run the queries measured one by one were chosen for their lengths: they are no sample of the prompts."
MEAN_SHARES = {"energy_j", "energy_wh_per_1000"}
WITHOUT_OWN_DOUBT = {FindingCode.ONE_RUN, FindingCode.ESTIMATED_ENERGY, FindingCode.TWO_PHASE}
"""Said beside the figure already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a cell's explanations are made of. `figures` are its answered queries."""

    summary: Summary
    figures: Sequence[QueryFigures]
    intervals: Sequence[IntervalRecord] = ()


def explanations_of(evidence: Evidence) -> dict[str, Make]:
    """Every figure of a cell by its name, in the order of the receipt; each is explained when it is asked for."""
    summary, found = evidence.summary, dict[str, Make]()
    if summary.two_phase is not None:
        found |= two_phase_figures(summary.two_phase, evidence.figures)
    for mode in summary.modes:
        own = [query for query in evidence.figures if query.mode == mode.mode]
        statistics = statistics_of(summary, mode)
        for statistic in statistics if summary.cell.task is None else with_task_statistics(statistics, mode):
            estimate = statistic.estimate(mode)
            if estimate.value is not None or estimate.low is not None:
                found[f"{mode.mode}.{statistic.name}"] = partial(_of_mode, summary, mode, statistic, own)
        found |= task_figures(mode, own)
    found |= serving_figures(summary)
    for comparison in summary.comparisons:
        found |= comparison_figures(summary, comparison, evidence.figures)
    if summary.power_idle_w.value is not None:
        found[IDLE] = partial(_idle, evidence)
    return found


def _of_mode(summary: Summary, mode: ModeSummary, statistic: Statistic, queries: Sequence[QueryFigures]) -> Explanation:
    own, estimate = statistic.queries(queries), statistic.estimate(mode)
    label = f" ({estimated_words(summary)})" if summary.estimated and statistic.in_joules else ""
    chosen = any(finding.code is FindingCode.TWO_PHASE for finding in summary.findings)
    out = [f"{mode.n_failed:,} failed"] if mode.n_failed else []
    out += [f"{len(queries) - len(own):,} without what it is made of"] if len(own) < len(queries) else []
    return Explanation(
        name=f"{mode.mode}.{statistic.name}",
        title=f"{heading_of(summary.cell, mode.mode)}{statistic.title}{label}",
        value=printed(estimate, statistic.unit),
        words=f"{statistic.words} {CHOSEN}" if chosen else statistic.words,
        formula=_formula(statistic, own, estimate),
        parts=() if chosen else _parts(summary, statistic, estimate, len(own)),
        rests_on=f"It rests on {_queries(len(own))}{of_mode(summary.cell, mode.mode)}{_left_out(out)}.",
        groups=_groups(statistic, own, about if summary.cell.task is None else about_task),
        doubts=doubts([finding for finding in estimate.findings if finding.code not in WITHOUT_OWN_DOUBT]),
    )


def _queries(n: int) -> str:
    return f"{n:,} answered quer{'y' if n == 1 else 'ies'}"


def _left_out(out: Sequence[str]) -> str:
    return f"; left out: {', '.join(out)}" if out else ""


def _groups(
    statistic: Statistic, queries: Sequence[QueryFigures], notes: Callable[[QueryFigures], str]
) -> tuple[Group, ...]:
    if statistic.name == "accuracy":
        right, wrong = ([query for query in queries if query.correct is value] for value in (True, False))
        return (*some_of("Right", right, _length), *some_of("Wrong", wrong, _length))
    amounts = [(query, amount) for query in queries if (amount := statistic.amount(query)) is not None]
    return dearest_and_typical(amounts, unit=statistic.amount_unit, notes=notes)


def _length(query: QueryFigures) -> str:
    words = [] if query.n_output_tokens is None else [f"{query.n_output_tokens:,} tokens"]
    return ", ".join([*words, "cut"] if query.cut else words)


def _formula(statistic: Statistic, queries: Sequence[QueryFigures], estimate: Estimate) -> tuple[str, ...]:
    found = sums(statistic, queries)
    if found is None:
        return ()
    above, below = found
    over = f"{exact(above)} {statistic.amount_unit}".rstrip()
    if not below or estimate.value is None:
        return (f"{over} for 0 {statistic.noun}",)
    line = f"{over} / {exact(below)} {statistic.noun}"
    line = f"{line} × {statistic.factor_words}" if statistic.factor_words else line
    unit = "" if statistic.unit == "%" else statistic.unit
    return (f"{line} = {exact(above / below * statistic.factor)} {unit}".rstrip(),)


def _parts(summary: Summary, statistic: Statistic, estimate: Estimate, n: int) -> tuple[IntervalPart, ...]:
    if summary.estimated and statistic.in_joules:
        return no_interval()
    if statistic.interval is None:
        return ()
    made = statistic.interval(n)
    if estimate.value is None:
        made = (
            "none is right: the least that one costs, from the mean query and the share that so many wrong leave open"
        )
    prompts = prompts_part(estimate, statistic.unit, made)
    if not statistic.in_joules:
        return (prompts, runs_part(estimate, statistic.unit)) if statistic.unit == "s" else (prompts,)
    if estimate.value is None:
        return (prompts,)
    alike = "what is assumed of an edge errs alike in all"
    added = f"its queries' own half-widths, added up ({alike}), over {_below(statistic)}"
    if summary.cell.overlaps and statistic.name in MEAN_SHARES:
        added = "what the curves leave open of the blocks, and the queries' own half-widths in quadrature, over their "
        added += "number: an error that only moves joules from one query to another cancels"
    if statistic.name == "energy_net_j":
        added = f"{added}; and that of the idle power, which is common to all of a session"
    return (
        prompts,
        reading_part(estimate, statistic.unit, added),
        runs_part(estimate, statistic.unit),
        gain_part(estimate, statistic.unit),
    )


def _below(statistic: Statistic) -> str:
    return "their number" if statistic.noun == "queries" else f"the {statistic.noun}"


def _idle(evidence: Evidence) -> Explanation:
    summary, power = evidence.summary, evidence.summary.power_idle_w
    word = ", estimated" if summary.estimated else ""
    lines = [
        f"session {interval.session}, {interval.name.replace('_', ' ')}, {reading.device}: "
        f"{exact(reading.energy_gross_j)} J / {digits(reading.duration_s, 4)} s = "
        f"{digits(reading.energy_gross_j / reading.duration_s, 4)} W{word}"
        for interval in evidence.intervals
        if interval.name in IDLE_NAMES
        for reading in interval.readings
        if reading.energy_gross_j is not None and reading.duration_s > 0
    ]
    width = IntervalPart(
        label="half-width",
        text="unknown" if power.half_width_reading is None else f"{half_width(power.half_width_reading)} W",
        source="half of what the stretches differ by (of a single one, 5 % of it), or how far power wanders within "
        "them if that is more; with their own reading errors",
    )
    drift = [finding for finding in summary.findings if finding.code is FindingCode.IDLE_DRIFT]
    net = [f"{mode.mode}.energy_net_j" for mode in summary.modes if mode.energy_net_j.value is not None]
    return Explanation(
        name=IDLE,
        title=f"idle power with the model loaded{word}",
        value=f"{digits(power.value)} W",
        words="What the devices drew with the model loaded and no query running, before the queries and after them: "
        "the mean of these stretches. A query's net joules are its gross joules less this power times its time.",
        formula=tuple(lines),
        parts=no_interval() if summary.estimated else (width,),
        doubts=doubts(drift),
        names_next=tuple(net[:1]),
    )
