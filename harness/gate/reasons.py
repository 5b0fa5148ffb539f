"""Why a line passes, fails or stays open, in sentences.

Knows figures and limits. Must not decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.interval import Part, PromptsPart, RunsPart, combined
from harness.gate.limits import Limits
from harness.gate.verdict import Outcome
from harness.gate.words import figure, percent


def decision(outcome: Outcome, limits: Limits, low: float, high: float) -> str:
    """The two ends against the limit.

    Args:
        outcome: Pass, fail or inconclusive, of this line on its own.
        limits: Of the line.
        low: Lower end, in the metric's unit or a ratio; 0: none.
        high: Upper end; infinite: none.
    """
    if limits.low is not None:
        ends = f"{limits.words(low)} to {limits.words(high)}"
        allowed = f"{limits.words(limits.low)} to {limits.words(limits.high)}"
        said = {
            Outcome.PASS: f"The whole interval, {ends}, is within {allowed}.",
            Outcome.FAIL: f"The whole interval, {ends}, is outside {allowed}.",
        }
        return said.get(outcome, f"The interval, {ends}, is neither within {allowed} nor wholly outside.")
    limit, upper, lower = limits.words(limits.high), limits.words(high, limits.high), limits.words(low, limits.high)
    if outcome is Outcome.PASS:
        return f"The upper end, {upper}, is not above the limit of {limit}."
    if outcome is Outcome.FAIL:
        return f"The lower end, {lower}, is above the limit of {limit}."
    up = "There is no upper end" if math.isinf(high) else f"The upper end, {upper}, is above the limit of {limit}"
    if low == 0:
        return f"{up}, and there is no lower end."
    return (
        f"{up}, and the lower end, {lower}, is not above the limit of {limit}."
        if math.isinf(high)
        else (f"{up}, and the lower end, {lower}, is not.")
    )


def attributed(load: str, *, of: str) -> str:
    """That a side's joules are shares."""
    return (
        f"The {of}'s joules are attributed, not measured one by one: queries were in flight together ({load}), "
        "and each has its share by tokens. Neighbours are not independent, so the interval over prompts may hold less."
    )


def holm(p_over: float, level: float, n_lines: int, *, rejected: bool) -> str:
    """What being one of several lines does to a failure."""
    p, held = (figure(each, n_digits) for each, n_digits in ((p_over, 2), (level, 3)))
    if rejected:
        return f"That stands among {n_lines} lines judged together: p = {p}, held against {held} (Holm)."
    if n_lines == 1:
        return f"But an interval so far out on either side is too likely by chance: p = {p}, held against {held}."
    return (
        f"But among {n_lines} lines judged together one would look so by chance too often: p = {p}, held against "
        f"{held} (Holm). So it is not a failure yet."
    )


def widest(parts: Sequence[Part], alpha: float) -> str | None:
    """Which part makes most of an interval; None where nothing does."""
    reaches = {part: part.reach(alpha) for part in parts}
    total = combined(parts, alpha)
    if not 0 < total.high < math.inf:
        return None
    part = max(reaches, key=lambda each: reaches[each].high)
    reach = reaches[part]
    note = f" ({part.note})" if part.note else ""
    return (
        f"Most of the width is {part.name}{note}: alone −{percent(-math.expm1(-reach.low), 2)} to "
        f"+{percent(math.expm1(reach.high), 2)}."
    )


def unknown(part: Part) -> str:
    """Why a part is not known, and with it the interval."""
    if isinstance(part, RunsPart):
        return f"The spread from run to run is not known: {part.note}."
    if isinstance(part, PromptsPart):
        return f"{part.n} queries are too few for an interval over prompts."
    if part.name == "board gain":
        return "The board's gain is not known, so nothing bounds how far its sensor is off."
    return f"The {part.name}'s own error is not known."
