"""The part of an interval that is over prompts, widened where a sample cannot know its own tail.

Knows columns of figures. Must not know which side or metric they are of.
"""

from __future__ import annotations

import math

import numpy as np

from harness.analysis.bootstrap import N_LEAST_STUDENTIZED, FloatArray
from harness.analysis.interval import PromptsPart

TAIL_WEIGHT_TRUSTED = 0.2
WIDENING_HEAVY = 1.2
WIDENING_HEAVY_FEW = 1.8
"""By what an interval over few, unequal prompts is widened, below 20 prompts by the second, and from which weight on.

Exactly at the limit, without it, up to 8 % of gates passed where the log sd was 0.9 (tail weight 0.3 to 2), up to
6.6 % at 0.6 (0.27 to 0.44), and 5.3 % below 0.2; of those with 6 to 19 prompts, with the first, up to 9 %
(`scripts/check_gate.py`).
"""
RIGHT_WEIGHT = 2.0
"""Of the rarity of right answers, over their number, beside the tail of the joules. Without it, 6 to 7.5 % of gates on
joules per right answer passed at the limit where ten answers were right, or the log sd was 0.9."""
LOG_SD_MOST = 10.0
"""Beyond, the tail has no bounds that a float holds."""


def prompts_part(
    columns: FloatArray, powers: tuple[int, ...], *, percentiles: bool, widening: float, note: str | None = None
) -> PromptsPart:
    """Over prompts, of a product of powers of sums; see `PromptsPart.of`.

    Args:
        columns: One row per prompt, every sum above zero.
        powers: One per column; they add up to zero.
        percentiles: Whether a sum of a resample may be zero. Such resamples know a tail of their own.
        widening: Of a run that could stop early.
        note: In words.
    """
    n = len(columns)
    if n < 2:
        return PromptsPart(n=n, deviation=0.0, draws=None, note=note)
    counted = [percentiles and bool(each.min() <= 0 and each.max() <= 1) for each in columns.T]
    counts, amounts = columns.T[counted], columns.T[np.logical_not(counted)]
    widest = max(map(_log_sd, amounts), default=0.0)
    weight = tail_weight(n, widest) if widest > 0 else 0.0
    fewest = min((float(count.sum()) for count in counts), default=math.inf)
    if weight + RIGHT_WEIGHT / fewest > TAIL_WEIGHT_TRUSTED:
        factor = WIDENING_HEAVY if n >= N_LEAST_STUDENTIZED else WIDENING_HEAVY_FEW
        widening *= factor
        spread = f"with a log sd of {widest:.2f}" if math.isfinite(widest) else "of which some have nothing"
        right = f" and {fewest:.0f} right answers" if any(counted) else ""
        doubt = f"widened by {100 * (factor - 1):.0f} %, as {n} prompts {spread}{right} need it"
        note = f"{note}; {doubt}" if note else doubt
    return PromptsPart.of(columns, powers, percentiles=percentiles, widening=widening, note=note)


def tail_weight(n: int, log_sd: float) -> float:
    """How much the rarest prompts may be missing from a sample: the kurtosis of log-normal joules over their number.

    It sets the first error that a studentized interval leaves (P. Hall, The Bootstrap and Edgeworth Expansion, 1992).

    Args:
        n: Prompts.
        log_sd: Standard deviation of the logs of their joules.
    """
    w = math.exp(log_sd**2) if log_sd < LOG_SD_MOST else math.inf
    return (w**4 + 2 * w**3 + 3 * w**2 - 3) / n


def _log_sd(amounts: FloatArray) -> float:
    """Of their logs; infinite where a prompt has nothing of it."""
    return float(np.log(amounts).std(ddof=1)) if amounts.min() > 0 else math.inf
