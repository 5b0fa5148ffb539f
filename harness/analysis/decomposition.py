"""Why one mode costs more than another: more tokens or dearer tokens, and which phase the joules go to.

    X / Y = (T_x / T_y) x ((X / T_x) / (Y / T_y))         the ratio of totals, and its logs add up
    X - Y = sum over phases of (X_phase - Y_phase)        the difference of totals, in joules

Both hold for the totals over the same prompts, exactly; a mean of the prompts' own ratios has neither.
"""

from __future__ import annotations

import math

from harness.analysis.bootstrap import mean_interval
from harness.analysis.estimates import ONE_RUN, Gains, difference_errors_j, divided, total
from harness.analysis.figures import Figures
from harness.analysis.measured import phase_names
from harness.records import Estimate, Part


def log_share_tokens(tokens: Estimate, energy: Estimate) -> float | None:
    """How much of the log ratio of energies is more tokens.

    Returns:
        log(tokens) / log(energy): above 1 where tokens became cheaper, below 0 where they became fewer. None where the
        energies' ratio is not told from 1, so that there is nothing to share out.
    """
    if not tokens.value or not energy.value or energy.value == 1:
        return None
    if energy.low is not None and energy.high is not None and energy.low <= 1 <= energy.high:
        return None
    return math.log(tokens.value) / math.log(energy.value)


def difference(above: Figures, under: Figures, gains: Gains) -> Estimate:
    """Mean joules per query of one mode minus the other's, over the same prompts.

    Args:
        above: Queries of one mode, every energy known.
        under: The same prompts' in the other, in the same order.
        gains: Of the devices.

    Returns:
        Joules, signed. The interval over prompts is of the prompts' own differences, studentized.
    """
    n = len(above)
    x, y = total(above), total(under)
    prompts = mean_interval(above.energy_j - under.energy_j)
    reading_j, gain_j = difference_errors_j(x, y, gains)
    return Estimate(
        value=(x.energy_j - y.energy_j) / n,
        low=prompts.low,
        high=prompts.high,
        half_width_reading=divided(reading_j, n),
        half_width_gain=divided(gain_j, n),
        findings=(*prompts.findings, ONE_RUN),
    )


def parts(above: Figures, under: Figures, gains: Gains) -> tuple[Part, ...]:
    """The difference by phase; a mode without a phase spent nothing in it.

    Args:
        above: Queries of one mode, every energy known.
        under: The same prompts' in the other, in the same order.
        gains: Of the devices.

    Returns:
        In the order of the phases. They add up to `difference`; empty where a query's phases are unknown.
    """
    if not len(above) or not (above.phases_known & under.phases_known).all():
        return ()
    names = phase_names([dict.fromkeys(above.phase_names()), dict.fromkeys(under.phase_names())])
    return tuple(
        Part(name=name, difference_j=difference(above.in_phase(name), under.in_phase(name), gains)) for name in names
    )
