"""Two modes over the same prompts: what thinking costs, why, and what it buys.

Estimand: total energy of one mode over total energy of the other, over the same prompts; that is also the ratio of
the modes' means. It is what a user's bill is multiplied by. The mean of the prompts' own ratios is another quantity:
there a prompt that costs little weighs as much as one that costs much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.analysis.accuracy import accuracy_difference
from harness.analysis.bootstrap import bca_ratio_interval
from harness.analysis.decomposition import difference, log_share_tokens, parts
from harness.analysis.estimates import ESTIMATED, Gains, heavy_tail, left_out
from harness.analysis.figures import Queries, paired
from harness.analysis.ratios import (
    detectable,
    duration_ratio,
    energy_per_correct_ratio,
    energy_per_token_ratio,
    energy_ratio,
    log_ratio_sd,
    token_ratio,
)
from harness.records import Comparison, Estimate, Finding

EFFORT = {"off": 0, "minimal": 2, "low": 3, "medium": 4, "high": 5, "on": 6}
"""How much a mode thinks, for choosing which stands above the line."""
BUDGET = "budget:"
BUDGET_EFFORT = 1
IN_JOULES = ("energy", "energy_per_token", "difference_j", "energy_per_correct")

Invalid = Callable[[str, str], tuple[Finding, ...]]
"""Why the comparison of two modes, numerator first, says nothing; empty where it does."""


def effort(mode: str) -> tuple[int, int] | None:
    """How much a mode thinks, as a key to sort by: `off`, budgets by their tokens, efforts, `on`; None: unknown."""
    if mode in EFFORT:
        return EFFORT[mode], 0
    tokens = mode.removeprefix(BUDGET)
    return (BUDGET_EFFORT, int(tokens)) if mode.startswith(BUDGET) and tokens.isdecimal() else None


def mode_pairs(modes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Which modes are compared: each over the one that thinks least, the one that thinks most first.

    Where a name does not say how much it thinks, `off` is below the line, otherwise the second mode as they come.
    """
    if len(modes) < 2:
        return ()
    known = {mode: key for mode in modes if (key := effort(mode)) is not None}
    if len(known) == len(modes):
        base = min(modes, key=lambda mode: known[mode])
    else:
        base = "off" if "off" in modes else modes[1]
    others = [mode for mode in modes if mode != base]
    return tuple((mode, base) for mode in sorted(others, key=lambda mode: known.get(mode, (0, 0)), reverse=True))


def compared_modes(modes: Sequence[str]) -> tuple[str, str] | None:
    """The headline: the mode that thinks most over the one that thinks least; None with fewer than two modes."""
    return next(iter(mode_pairs(modes)), None)


def comparisons_of(
    by_mode: Mapping[str, Queries],
    gains: Gains,
    *,
    estimated: bool,
    invalid: Invalid | None = None,
) -> tuple[Comparison, ...]:
    """Every mode that has answers over the one that thinks least.

    Args:
        by_mode: Answered queries of each mode, modes in the cell's order.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's.
        invalid: Says why two modes, numerator first, are no comparison.

    Returns:
        The headline first.
    """
    return tuple(
        compare(
            by_mode[above],
            by_mode[below],
            gains,
            modes=(above, below),
            estimated=estimated,
            invalid=() if invalid is None else invalid(above, below),
        )
        for above, below in mode_pairs([mode for mode, queries in by_mode.items() if len(queries)])
    )


def compare(
    numerator: Queries,
    denominator: Queries,
    gains: Gains,
    *,
    modes: tuple[str, str],
    estimated: bool,
    invalid: tuple[Finding, ...] = (),
) -> Comparison:
    """Two modes over the prompts that were answered in both; joules, tokens and seconds where both energies are known.

    Args:
        numerator: Answered queries of the mode above the line.
        denominator: Answered queries of the mode below it.
        gains: Of the devices.
        modes: Their names, numerator first.
        estimated: Whether the joules are a hardware model's; then only seconds are compared.
        invalid: Why this is no comparison; then every figure is null.

    Returns:
        Ratios of totals with their parts. Which prompts are right is compared over all that are scored in both.
    """
    answered = paired(numerator, denominator)
    known = answered[0].measured & answered[1].measured
    above, under = (side.at(known) for side in answered) if known.any() else answered
    if invalid:
        return _null(modes, len(above), invalid)
    tokens, duration = token_ratio(above, under), duration_ratio(above, under)
    comparison = _null(modes, len(above), ()).model_copy(
        update={
            "duration": duration,
            "tokens": tokens,
            "duration_per_token": duration.value / tokens.value if duration.value and tokens.value else None,
            "accuracy": accuracy_difference(answered[0].correct, answered[1].correct),
        }
    )
    missing = left_out(*answered)
    if estimated or not known.any():
        unknown = Estimate(value=None, findings=(*missing, ESTIMATED) if estimated else missing)
        return comparison.model_copy(update=dict.fromkeys(IN_JOULES, unknown))
    energy, other = energy_ratio(above, under, gains), bca_ratio_interval(above.energy_j, under.energy_j)
    doubts = (*missing, *heavy_tail(above.energy_j, under.energy_j), *energy.findings)
    return comparison.model_copy(
        update={
            "energy": energy.model_copy(update={"findings": doubts}),
            "energy_bca_low": other.low,
            "energy_bca_high": other.high,
            "energy_per_token": energy_per_token_ratio(above, under, gains),
            "log_share_tokens": log_share_tokens(tokens, energy),
            "difference_j": difference(above, under, gains),
            "parts": parts(above, under, gains),
            "energy_per_correct": energy_per_correct_ratio(above, under, gains, modes=modes),
            "log_sd": log_ratio_sd(above, under),
            "smallest_detectable": detectable(above, under),
        }
    )


def _null(modes: tuple[str, str], n_pairs: int, findings: tuple[Finding, ...]) -> Comparison:
    """A comparison of which nothing is known, for these reasons."""
    unknown = Estimate(value=None, findings=findings)
    return Comparison(
        numerator=modes[0],
        denominator=modes[1],
        n_pairs=n_pairs,
        energy=unknown,
        duration=unknown,
        tokens=unknown,
        energy_per_token=unknown,
        duration_per_token=None,
        difference_j=unknown,
        energy_per_correct=unknown,
        invalid=findings,
    )
