"""What would settle an open line, if its value stayed where it is: more queries, more repeats, both, or neither.

The part over prompts shrinks with the root of their number, the part from run to run with that of the repeats and with
the degrees of freedom behind it; what is systematic stays. Knows parts of an interval and limits. Must not know runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from harness.analysis.interval import Part, PromptsPart, RunsPart, SystematicPart, combined, resized
from harness.gate.limits import Limits
from harness.gate.search import least
from harness.gate.verdict import Settlement
from harness.gate.words import listed, percent

N_QUERIES_MOST = 100_000
N_REPEATS_MOST = 100
"""Beyond these nobody measures, and the sentence says so."""
N_REPEATS_TO_KNOW = 3
REPEATS_TRIED = (*range(2, 13), 16, 20, 24, 32, 48, 64, N_REPEATS_MOST)


def settlement(
    parts: Sequence[Part],
    value: float,
    limits: Limits,
    *,
    alpha: float,
    level: float,
    n_queries: int,
    n_runs: tuple[int, ...],
) -> Settlement:
    """How many queries or repeats in all would settle a line.

    Args:
        parts: Of its interval, all known.
        value: In the metric's unit, or a ratio; above zero.
        limits: Of the line.
        alpha: One-sided, of the ends that pass.
        level: What the p-value of being over the limit is held against.
        n_queries: At present.
        n_runs: Of each side.
    """
    log_value = math.log(value)
    above, below = limits.log_high - log_value, log_value - limits.log_low
    passes = above >= 0 and below >= 0

    def settled(resized_parts: Sequence[Part]) -> bool:
        reach = combined(resized_parts, alpha if passes else level)
        if passes:
            return reach.high <= above and reach.low <= below
        return reach.low < -above or reach.high < -below

    if any(math.isinf(part.reach(alpha).high) for part in parts if isinstance(part, PromptsPart)):
        sentence = "Ask more queries: so few answers are right that nothing bounds what each of them costs."
        return Settlement(possible=True, sentence=sentence)

    def with_size(queries: int, repeats: int | None) -> bool:
        factor = max(queries, n_queries) / n_queries
        return settled([resized(part, factor, repeats) for part in parts])

    at = f"If the value stays at {limits.words(value, limits.high)}"
    word = "pass" if passes else "fail"
    if not settled(fixed := [part for part in parts if isinstance(part, SystematicPart)]):
        reach = combined(fixed, alpha if passes else level)
        away = min(abs(above), abs(below))
        return Settlement(possible=False, sentence=_impossible(fixed, max(reach.low, reach.high), away, at, limits))
    queries = least(lambda n: with_size(n, None), n_queries + 1, N_QUERIES_MOST)
    repeats = least(lambda n: with_size(n_queries, n), min(n_runs) + 1, N_REPEATS_MOST)
    ways = []
    if queries is not None:
        ways.append(f"{queries:,} queries in all at {_repeats(n_runs)}")
    if repeats is not None:
        ways.append(f"{repeats} repeats of {n_queries:,} queries")
    if not ways:
        both = [
            (n, tried)
            for tried in REPEATS_TRIED
            if tried > min(n_runs)
            and (n := least(partial(with_size, repeats=tried), n_queries, N_QUERIES_MOST)) is not None
        ]
        if not both:
            sentence = (
                f"{at}, so near to the limit, not even {N_QUERIES_MOST:,} queries in {N_REPEATS_MOST} repeats would "
                "decide it. Move the limit, or change what is measured."
            )
            return Settlement(possible=False, sentence=sentence)
        n, tried = min(both, key=lambda each: each[0] * each[1])
        ways.append(f"{n:,} queries and {tried} repeats together, and neither alone")
    return Settlement(
        n_queries=queries,
        n_repeats=repeats,
        possible=True,
        sentence=f"{at}, {' or '.join(ways)} would make it {word}.",
    )


def to_know_the_spread(n_runs: tuple[int, ...], *, is_relative: bool) -> Settlement:
    """Of a line whose spread from run to run is not known."""
    what = "Repeat both sides" if is_relative else "Repeat the run"
    return Settlement(
        n_repeats=max(N_REPEATS_TO_KNOW, *n_runs),
        possible=True,
        sentence=f"{what}: --repeats {N_REPEATS_TO_KNOW} measures the spread from run to run. Where it is known from "
        "elsewhere, state it in the budget as run_sd (the relative standard deviation of one run).",
    )


def to_have_enough(n_least: int) -> Settlement:
    """Of a line with fewer queries than the budget asks for."""
    return Settlement(n_queries=n_least, possible=True, sentence=f"Ask at least {n_least:,} queries: --num-prompts.")


def _repeats(n_runs: tuple[int, ...]) -> str:
    if set(n_runs) == {1}:
        return "one repeat"
    return f"{n_runs[0]} repeats" if len(set(n_runs)) == 1 else f"{' and '.join(map(str, n_runs))} repeats"


def _impossible(fixed: Sequence[SystematicPart], reach: float, away: float, at: str, limits: Limits) -> str:
    """Why neither helps, and what would."""
    names = listed([f"the {part.name}" for part in fixed if part.half_width])
    alone = "alone reaches" if len([part for part in fixed if part.half_width]) == 1 else "alone reach"
    sentence = (
        f"{at}, no number of queries or repeats decides it: {names} {alone} {percent(math.expm1(reach), 2)}, and the "
        f"limit is {percent(math.expm1(away), 2)} away."
    )
    largest = max(fixed, key=lambda part: part.half_width or 0.0).name
    if largest == "board gain" and not limits.line.is_relative:
        return (
            f"{sentence} A line over a reference measured on the same board is free of the board's gain; "
            "`board_gain: false` judges joules as this board's own sensor reads them."
        )
    if largest == "sensor reading":
        return f"{sentence} Longer queries are read more exactly (--max-new-tokens, a prompt set with longer answers)."
    return f"{sentence} Measure both in one job on one board: harness gate --measure."


def parts_unknown(parts: Sequence[Part]) -> list[Part]:
    """Those without which there is no interval."""
    return [
        part
        for part in parts
        if (isinstance(part, RunsPart) and part.sd is None)
        or (isinstance(part, SystematicPart) and part.half_width is None)
        or (isinstance(part, PromptsPart) and part.is_too_small)
    ]
