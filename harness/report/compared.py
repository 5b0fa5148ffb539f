"""Two modes, or two runs, in words: what it costs, why, what it buys, and whether the difference is real.

A difference is called real where 1 lies outside the interval over prompts, and still does after the errors of the
sensor and of a repeat, as far as they are known, are added to it. Modes of one run alternate, so what drifts cancels;
two runs lie apart, and without repeats of both their difference is never called real. All four parts of the error stay
visible in the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.records import Comparison, Estimate, Finding, Summary, TwoPhase
from harness.report.numbers import (
    Unit,
    digits,
    ends_of,
    percent,
    probability,
    signed_ends_of,
    signed_value_of,
    times,
    unit_for,
)

POINTS = Unit(name="points", size=0.01)
CHANGES_LITTLE = 0.1
"""Below this log of a ratio its share of tokens says nothing: both factors are near 1."""


class Verdict(StrEnum):
    """Whether a ratio is told from 1."""

    INVALID = "no comparison"
    UNKNOWN = "unknown"
    REAL = "yes"
    UNCERTAIN = "not certain"
    SAME = "not told apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question of the study, and one or two sentences."""

    question: str
    text: str


COSTS, WHY, BUYS, REAL = "What it costs", "Why", "What it buys", "Is it real"


def whole(comparison: Comparison, *, estimated: bool) -> Estimate:
    """The ratio that leads: of joules, or of seconds where joules are estimated."""
    return comparison.duration if estimated else comparison.energy


def verdict(comparison: Comparison, *, estimated: bool, apart: bool = False) -> Verdict:
    """Whether the leading ratio is told from 1 (see the head of this module).

    Args:
        comparison: Of two modes or two runs.
        estimated: Whether the joules are a hardware model's.
        apart: Whether the two were measured in different runs or cells, one after the other.
    """
    if comparison.invalid:
        return Verdict.INVALID
    ratio = whole(comparison, estimated=estimated)
    if ratio.low is None or ratio.high is None:
        return Verdict.UNKNOWN
    if ratio.low <= 1 <= ratio.high:
        return Verdict.SAME
    if apart and ratio.half_width_runs is None:
        return Verdict.UNCERTAIN
    known = (ratio.half_width_reading, ratio.half_width_runs, ratio.half_width_gain)
    more = math.hypot(*(part or 0.0 for part in known))
    return Verdict.REAL if ratio.low - more > 1 or ratio.high + more < 1 else Verdict.UNCERTAIN


def invalid_words(comparison: Comparison) -> str:
    """Why there is no comparison, and what to do; empty where there is one."""
    if not comparison.invalid:
        return ""
    return f"No comparison of {comparison.numerator} with {comparison.denominator}. {reasons(comparison.invalid)}"


def reasons(findings: Sequence[Finding]) -> str:
    """Findings in words, each with what to do."""
    return " ".join(
        f"{finding.code.sentence} {f'({finding.detail}) ' if finding.detail else ''}→ {finding.code.next_step}"
        for finding in findings
    )


def not_as_called(summary: Summary) -> dict[str, tuple[Finding, ...]]:
    """The modes that may not be what they are called, with the reasons.

    Of two modes that gave the same, neither of them at fault by itself, it is not known which one is wrong: both.
    """
    found = {mode.mode: mode.invalid for mode in summary.modes if mode.invalid}
    alike: dict[str, tuple[Finding, ...]] = {}
    for comparison in summary.comparisons:
        pair = (comparison.numerator, comparison.denominator)
        if comparison.invalid and not found.keys() & set(pair):
            for mode in pair:
                alike[mode] = (*alike.get(mode, ()), *comparison.invalid)
    for fault in summary.faults:  # of two modes that no comparison sets side by side, too
        if not found.keys() & set(fault.modes):
            for mode in fault.modes:
                alike[mode] = tuple(dict.fromkeys((*alike.get(mode, ()), fault.finding)))
    return found | alike


def answers(comparison: Comparison, *, estimated: bool) -> tuple[Answer, ...]:
    """The four questions of the study about one comparison.

    Args:
        comparison: Two modes over the same prompts.
        estimated: Whether the joules are a hardware model's; then seconds speak.
    """
    if comparison.invalid:
        return (Answer(question=COSTS, text=invalid_words(comparison)),)
    above, below = f"Reasoning {comparison.numerator}", f"reasoning {comparison.denominator}"
    cost = cost_words(comparison, above, below, estimated=estimated)
    ratio = whole(comparison, estimated=estimated)
    if ratio.value is None:
        return (Answer(question=COSTS, text=cost),)
    found = [
        Answer(question=COSTS, text=cost),
        Answer(question=WHY, text=_why(comparison, ratio, estimated)),
        Answer(question=BUYS, text=_buys(comparison, above, below, estimated=estimated)),
        Answer(question=REAL, text=_real(comparison, ratio, estimated)),
    ]
    return tuple(answer for answer in found if answer.text)


def of_two_phases(two_phase: TwoPhase) -> Comparison | None:
    """What two phases say of two modes, as a comparison; None where they say nothing.

    Tokens and right answers are counted over all prompts. Phases of a query, seconds and right answers' joules are not
    known over all of them.
    """
    energy, tokens = two_phase.energy, two_phase.tokens
    if not two_phase.valid or two_phase.numerator is None or two_phase.denominator is None or energy.value is None:
        return None
    unknown = Estimate(value=None, findings=energy.findings)
    apart = energy.low is not None and energy.high is not None and not energy.low <= 1 <= energy.high
    share = math.log(tokens.value) / math.log(energy.value) if apart and tokens.value else None
    by_name = {mode.mode: mode.energy_j.value for mode in two_phase.modes}
    above_j, below_j = by_name.get(two_phase.numerator), by_name.get(two_phase.denominator)
    return Comparison(
        numerator=two_phase.numerator,
        denominator=two_phase.denominator,
        n_pairs=two_phase.n_prompts,
        energy=energy,
        duration=unknown,
        tokens=tokens,
        energy_per_token=Estimate(value=energy.value / tokens.value if tokens.value else None),
        duration_per_token=None,
        log_share_tokens=share,
        difference_j=Estimate(value=None if above_j is None or below_j is None else above_j - below_j),
        accuracy=two_phase.accuracy,
        energy_per_correct=unknown,
    )


def cost_words(comparison: Comparison, above: str, below: str, *, estimated: bool) -> str:
    """What one costs against the other, in a sentence.

    Args:
        comparison: That is valid.
        above: What stands above the line, as the sentence is to name it.
        below: What stands below it.
        estimated: Whether the joules are a hardware model's; then seconds speak.
    """
    ratio = whole(comparison, estimated=estimated)
    what = "seconds" if estimated else "joules"
    if ratio.value is None:
        return f"Unknown: no prompt has known {what} both for {above} and for {below}."
    text = f"{above} takes {times(ratio)} the {what} of {below}{_within(ends_of(ratio))}"
    difference = comparison.difference_j
    if not estimated and difference.value is not None:
        unit = unit_for([difference.value], "J")
        text += f", {digits(abs(unit.of(difference.value)))} {unit.name} {_more(difference.value)} per query"
    return f"{text}."


def per_token(comparison: Comparison, *, estimated: bool) -> Estimate:
    """The second factor: joules per output token, or seconds where joules are estimated."""
    return Estimate(value=comparison.duration_per_token) if estimated else comparison.energy_per_token


def detectable_words(comparison: Comparison) -> str:
    """The smallest difference that this study could see; empty where that is unknown."""
    if comparison.smallest_detectable is None:
        return ""
    least = percent(comparison.smallest_detectable)
    return f"With these {comparison.n_pairs:,} prompts a difference under {least} could not be seen."


def accuracy_words(comparison: Comparison) -> str:
    """The difference in right answers with its interval and its exact p-value; empty where nothing was scored."""
    accuracy = comparison.accuracy
    if accuracy is None or accuracy.difference.value is None:
        return ""
    points = POINTS.estimate(accuracy.difference)
    text = "± 0 points" if not points.value else f"{signed_value_of(points)} points"
    ends = signed_ends_of(points)
    text += f" ({ends})" if ends else ""
    return text if accuracy.p_value is None else f"{text}, {probability(accuracy.p_value)}"


def _why(comparison: Comparison, ratio: Estimate, estimated: bool) -> str:
    tokens, each = comparison.tokens, per_token(comparison, estimated=estimated)
    if tokens.value is None or each.value is None:
        return "Unknown: the output tokens were not counted."
    what = "seconds" if estimated else "joules"
    text = f"{times(tokens)} the tokens{_within(ends_of(tokens))}, each at {times(each)} the {what}"
    text += _within(ends_of(each))
    share = comparison.log_share_tokens
    if share is None or abs(math.log(ratio.value or 1.0)) < CHANGES_LITTLE:
        return f"{text}."
    if share > 1:
        return f"{text}: more tokens, and cheaper ones." if (ratio.value or 1.0) > 1 else f"{text}: fewer, dearer ones."
    if share < 0:
        return f"{text}: not the number of tokens, but the price of each."
    return f"{text}: {percent(share)} of it (of its logarithm) is the number of tokens."


def _buys(comparison: Comparison, above: str, below: str, *, estimated: bool) -> str:
    accuracy = comparison.accuracy
    if accuracy is None:
        return "Unknown: the answers were not scored."
    n_above = accuracy.n_both + accuracy.n_only_numerator
    n_below = accuracy.n_both + accuracy.n_only_denominator
    text = f"{above} answers {n_above} of {accuracy.n} right, {below} {n_below}"
    words = accuracy_words(comparison)
    text += f": {words}" if words else ""
    ratio = comparison.energy_per_correct
    if estimated or ratio.value is None:
        return f"{text}."
    return f"{text}. A right answer costs {times(ratio)} the joules{_within(ends_of(ratio))}."


def _real(comparison: Comparison, ratio: Estimate, estimated: bool) -> str:
    found = verdict(comparison, estimated=estimated)
    text = {
        Verdict.REAL: "Yes: equal cost (a ratio of 1) lies outside the interval, with the known errors of sensor and "
        "repeats added.",
        Verdict.UNCERTAIN: "Not certain: equal cost (a ratio of 1) lies outside the interval over prompts, but the "
        "errors of sensor or repeats reach it.",
        Verdict.SAME: "Not told apart: equal cost (a ratio of 1) lies inside the interval.",
    }.get(found, "Unknown: there is no interval.")
    if ratio.half_width_runs is None:
        text += " How far a repeat would differ is unknown (one run)."
    detectable = detectable_words(comparison)
    return f"{text} {detectable}".rstrip()


def _within(ends: str) -> str:
    return f" (95 %: {ends})" if ends else ""


def _more(value: float) -> str:
    return "more" if value > 0 else "less"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
