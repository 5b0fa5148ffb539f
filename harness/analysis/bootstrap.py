"""Intervals over prompts: what another sample of prompts from the same source would have given.

The unit of resampling is the whole prompt with all its modes, because the answers to one prompt are alike in
every mode. Every statistic here is a function of column sums, so that one draw of prompts serves it whole.

Which interval, and why (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993; T. J. DiCiccio and
B. Efron, Bootstrap Confidence Intervals, Statistical Science 11(3), 1996):

- Positive ratios, products of ratios and means: studentized (bootstrap-t, Efron & Tibshirani section 12.5) on the
  log, which is where their distribution is nearest to symmetric. With log-normal joules (log sd 0.3 to 0.9)
  and 50 to 200 prompts it covered 91 to 96 % in simulation, BCa 88 to 95 %.
- Ratios of joules, beside it: BCa (bias-corrected and accelerated, Efron & Tibshirani section 14.3). Two methods
  that disagree show that the prompts are too few or too unequal for either.
- Signed means: studentized on the plain scale.
- Below 20 prompts the resampled t has tails that no longer mean anything (an interval can span 10 orders of
  magnitude), so Student's own quantile takes its place.
- Joules per correct answer, and the ratio of two modes' of them: percentile, because a draw without a correct
  answer has an honest place in the order (above all others) and no standard error.
- Below five prompts: no interval.
- From 20,000 prompts on: the normal limit of all of these, on the same scale, and for joules per correct answer the
  percentiles over 10,000 random groups of prompts. So nothing here grows faster than the number of prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.records import Finding, FindingCode

FloatArray = npt.NDArray[np.float64]

N_RESAMPLES = 4000
RESAMPLE_SEED = 20260101
"""Fixed, so that the same run always gives the same figures."""
N_LEAST = 5
N_LEAST_STUDENTIZED = 20
TAIL = 0.025
Z = NormalDist().inv_cdf(1 - TAIL)
Z_POWER = NormalDist().inv_cdf(0.8)
N_LIMIT = 20_000
"""Prompts from which on intervals are those of the normal limit, without resamples.

What parts a studentized interval of a mean from the normal one is the skewness g of the prompts: its ends lie
g (2 z^2 + 1) / (6 sqrt(n)) standard errors further up (P. Hall, The Bootstrap and Edgeworth Expansion, 1992, section
3.10.6). With log-normal joules of log sd 0.9 (g = 4.7) and 20,000 prompts that is 0.05 of 1.96 standard errors, as much
as 4,000 resamples leave open themselves; in 2,000 simulated studies the normal one held 95 % (docs/large-runs.md).
"""
N_GROUPS = N_LIMIT // 2
"""Random groups of prompts that stand for the prompts from `N_LIMIT` on. A sum over groups drawn with replacement has
the variance and the skewness of one over prompts, in expectation over the groups."""
COUNTS_AT_ONCE = 2_000_000
"""Resampling counts held as floating-point numbers at a time; 16 MB."""

STUDENT_T = (
    *(12.7062, 4.3027, 3.1824),
    *(2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010),
    *(2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009),
)
"""The 97.5 % quantile of Student's t for 1 to 18 degrees of freedom, that is for 2 to 19 draws."""

T_MOST = 12.0
"""Resampled t beyond this come from draws without any spread of their own. Log-normal joules (log sd 0.9)
of 20 prompts stayed within 11."""

ROUNDING = 1e-9
"""Relative standard errors below this are the arithmetic's, not the prompts'."""

RATIO = (1, -1)
"""The powers of a ratio of two sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The two ends of a 95 % interval in the statistic's unit; a missing end has its reason beside it."""

    low: float | None = None
    high: float | None = None
    findings: tuple[Finding, ...] = ()


TOO_FEW = Interval(findings=(Finding(code=FindingCode.TOO_FEW_QUERIES),))


def column(values: Sequence[float] | FloatArray) -> FloatArray:
    """Numbers, one per prompt, as an array."""
    return np.asarray(values, dtype=np.float64)


def resampled_sums(columns: FloatArray, *, n_resamples: int = N_RESAMPLES, seed: int = RESAMPLE_SEED) -> FloatArray:
    """Column sums of samples of prompts drawn with replacement.

    Args:
        columns: One row per prompt, shape (n, k).
        n_resamples: How many samples of n prompts to draw.
        seed: Of the generator.

    Returns:
        Sums, shape (n_resamples, k).
    """
    counts = drawn_counts(columns.shape[0], n_resamples, seed)
    n_at_once = max(1, COUNTS_AT_ONCE // columns.shape[0])
    blocks = [
        counts[first : first + n_at_once].astype(np.float64) @ columns for first in range(0, n_resamples, n_at_once)
    ]
    return np.concatenate(blocks)


def grouped(columns: FloatArray) -> FloatArray:
    """Sums over random groups of prompts where there are many prompts; otherwise the prompts as they are.

    Args:
        columns: One row per prompt, shape (n, k).

    Returns:
        One row per group, `N_GROUPS` of them, their sizes equal or one apart.
    """
    n = len(columns)
    if n < N_LIMIT:
        return columns
    group = np.random.default_rng(RESAMPLE_SEED).permutation(n) % N_GROUPS
    return np.column_stack([np.bincount(group, weights=values, minlength=N_GROUPS) for values in columns.T])


@lru_cache(maxsize=4)
def drawn_counts(n: int, n_resamples: int, seed: int) -> npt.NDArray[np.uint8]:
    """How often each prompt is in each sample, shape (n_resamples, n). Kept: all figures of a run ask for the same.

    A byte is enough: one prompt 256 times in a sample has a chance below 1e-500.
    """
    rng = np.random.default_rng(seed)
    n_at_once = max(1, COUNTS_AT_ONCE // n)
    blocks = []
    for first in range(0, n_resamples, n_at_once):
        n_block = min(n_at_once, n_resamples - first)
        drawn = rng.integers(0, n, size=(n_block, n)) + np.arange(n_block)[:, None] * n
        blocks.append(np.bincount(drawn.ravel(), minlength=n_block * n).reshape(n_block, n).astype(np.uint8))
    return np.concatenate(blocks)


def ratio_interval(numerators: FloatArray, denominators: FloatArray) -> Interval:
    """Interval of a positive ratio of sums over the same prompts; a mean has ones below.

    With R = sum x / sum y the standard error of log R is the root of sum (x_i/X - y_i/Y)^2 n/(n-1), by the delta
    method; the pairing is in the difference.

    Args:
        numerators: x, one per prompt, at least zero.
        denominators: y, one per prompt, at least zero.

    Returns:
        Ends in the unit of the ratio; none where a sum is zero.
    """
    return product_interval(np.column_stack((numerators, denominators)), RATIO)


def product_interval(columns: FloatArray, powers: tuple[int, ...]) -> Interval:
    """Interval of a product of powers of sums over the same prompts: of (X / T) / (Y / U) with 1, -1, -1, 1.

    Args:
        columns: One row per prompt, at least zero, shape (n, k).
        powers: One per column; they add up to zero, so that it does not grow with the number of prompts.

    Returns:
        Ends in the unit of the product; none where a sum is zero.
    """
    n = len(columns)
    totals = columns.sum(axis=0)
    if n < N_LEAST:
        return TOO_FEW
    if (totals <= 0).any():
        return Interval()
    deviation = log_deviation(columns, powers)
    value = float(np.prod(totals ** np.array(powers, dtype=np.float64)))
    if deviation < ROUNDING:
        return Interval(low=value, high=value)
    if n < N_LEAST_STUDENTIZED or n >= N_LIMIT:
        t_low = -student_t(n)
        t_high = -t_low
    else:
        shares = columns / totals
        rows, others = np.triu_indices(len(powers))
        sums = resampled_sums(np.column_stack((shares, shares[:, rows] * shares[:, others])))
        t_low, t_high = _t_quantiles(*_log_ratio_draws(sums, n, powers), deviation)
    return Interval(low=_exponential(value, -t_high * deviation), high=_exponential(value, -t_low * deviation))


def log_deviation(columns: FloatArray, powers: tuple[int, ...]) -> float:
    """Standard error over prompts of the log of a product of powers of sums, by the delta method.

    Args:
        columns: One row per prompt, every sum above zero, shape (n, k), at least two rows.
        powers: One per column; they add up to zero.
    """
    n = len(columns)
    influences = (columns / columns.sum(axis=0)) @ np.array(powers, dtype=np.float64)
    return float(np.sqrt((influences**2).sum() * n / (n - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The resamples of a product of powers of sums: quantiles at any level come from them. Both arrays are sorted.

    `t` is each resample's log, relative to the sample's, over its own standard error; `log_low` and `log_high` are the
    logs alone, infinite where a sum is zero, and at both extremes where that leaves the log without any place.
    """

    t: FloatArray
    log_low: FloatArray
    log_high: FloatArray


def studentized_draws(columns: FloatArray, powers: tuple[int, ...]) -> tuple[Draws, float]:
    """What `product_interval` takes its ends from, for an interval at any level.

    Args:
        columns: One row per prompt, every sum above zero, shape (n, k), at least two rows.
        powers: One per column; they add up to zero.

    Returns:
        The resamples, and the standard error of the sample's log.
    """
    shares = columns / columns.sum(axis=0)
    rows, others = np.triu_indices(len(powers))
    sums = resampled_sums(np.column_stack((shares, shares[:, rows] * shares[:, others])))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs, deviations = _log_ratio_draws(sums, len(columns), powers)
        t = np.where(np.isinf(logs), logs, np.nan_to_num(logs / deviations, nan=0.0, posinf=np.inf, neginf=-np.inf))
    undecided = np.isnan(logs)
    log_low = np.sort(np.where(undecided, -np.inf, logs))
    log_high = np.sort(np.where(undecided, np.inf, logs)) if undecided.any() else log_low
    return Draws(t=np.sort(t), log_low=log_low, log_high=log_high), log_deviation(columns, powers)


def smallest_detectable(deviation: float) -> float | None:
    """Relative difference that is told from none, at two-sided 5 %, in 80 % of studies.

    Args:
        deviation: Standard error of the log ratio, which is taken to be normal.

    Returns:
        A true ratio of 1 + this; None where it is beyond a million.
    """
    ratio = _exponential(1.0, (Z + Z_POWER) * deviation)
    return None if ratio is None else ratio - 1


def bca_ratio_interval(numerators: FloatArray, denominators: FloatArray) -> Interval:
    """The interval of `ratio_interval` by another method: bias-corrected and accelerated percentiles.

    The acceleration is the skewness of the jackknife's values, here of the log ratio, over six.

    Args:
        numerators: x, one per prompt, at least zero.
        denominators: y, one per prompt, at least zero.

    Returns:
        Ends in the unit of the ratio; none below 20 prompts, where percentiles of resamples are too narrow, and where
        one prompt holds a whole sum.
    """
    n = len(numerators)
    total_x, total_y = float(numerators.sum()), float(denominators.sum())
    if n < N_LEAST_STUDENTIZED or total_x <= 0 or total_y <= 0:
        return Interval()
    ratio = total_x / total_y
    x, y = numerators / total_x, denominators / total_y
    if log_deviation(np.column_stack((x, y)), RATIO) < ROUNDING:
        return Interval(low=ratio, high=ratio)
    if max(x.max(), y.max()) >= 1.0:
        return Interval()
    if n >= N_LIMIT:
        return ratio_interval(numerators, denominators)
    left_out = np.log1p(-x) - np.log1p(-y)
    influences = left_out.mean() - left_out
    acceleration = float((influences**3).sum() / (6 * (influences**2).sum() ** 1.5))
    sums = resampled_sums(np.column_stack((x, y)))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.nan_to_num(np.log(sums[:, 0]) - np.log(sums[:, 1]), nan=0.0, posinf=np.inf, neginf=-np.inf)
    below = float((drawn < 0).mean() + (drawn == 0).mean() / 2)
    if not 0 < below < 1:
        return Interval()
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    levels = [normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-Z, Z)]
    low, high = np.quantile(drawn, levels, method="nearest")
    return Interval(low=_exponential(ratio, float(low)), high=_exponential(ratio, float(high)))


def mean_interval(values: FloatArray) -> Interval:
    """Interval of a mean that may have either sign, studentized on its own scale.

    Args:
        values: One per prompt, any unit.

    Returns:
        Ends in the same unit.
    """
    n = len(values)
    if n < N_LEAST:
        return TOO_FEW
    mean = float(values.mean())
    centred = values - mean
    deviation = float(centred.std(ddof=1)) / math.sqrt(n)
    if deviation <= ROUNDING * abs(mean):
        return Interval(low=mean, high=mean)
    if n < N_LEAST_STUDENTIZED or n >= N_LIMIT:
        t_low = -student_t(n)
        t_high = -t_low
    else:
        sums = resampled_sums(np.column_stack((centred, centred * centred)))
        drawn = sums[:, 0] / n
        variance = np.clip(sums[:, 1] / n - drawn**2, 0.0, None) / (n - 1)
        t_low, t_high = _t_quantiles(drawn, np.sqrt(variance), deviation)
    low, high = mean - t_high * deviation, mean - t_low * deviation
    return Interval(low=low if math.isfinite(low) else None, high=high if math.isfinite(high) else None)


def per_success_interval(amounts: FloatArray, successes: FloatArray) -> Interval:
    """Percentile interval of sum(amounts) / sum(successes), prompts drawn with both.

    A draw without a success is infinitely dear; where more than 2.5 % of the draws are, there is no upper end.
    Without any success there is a lower end only: the lower end of the mean amount, over the largest share of
    successes that n failures in a row leave open. Each of the two errs in one study of 40, so together in at most one
    of 20.

    Args:
        amounts: Any unit, one per prompt.
        successes: 1 or 0, one per prompt.

    Returns:
        Ends in the unit of the amounts.
    """
    n = len(amounts)
    if n < N_LEAST:
        return TOO_FEW
    if successes.sum() == 0:
        mean = ratio_interval(amounts, np.ones(n))
        low = None if mean.low is None else mean.low / success_share_most(n)
        return Interval(low=low, findings=(Finding(code=FindingCode.NOTHING_CORRECT),))
    sums = resampled_sums(grouped(np.column_stack((amounts, successes))))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.inf)
    return _percentiles(drawn, drawn)


def success_share_most(n: int) -> float:
    """The largest share of successes that n failures in a row leave open, 1 - 0.025^(1/n).

    The one-sided 97.5 % limit of C. J. Clopper and E. S. Pearson, Biometrika 26, 1934.
    """
    return float(1 - TAIL ** (1 / n))


def per_success_ratio_interval(
    numerators: tuple[FloatArray, FloatArray], denominators: tuple[FloatArray, FloatArray]
) -> Interval:
    """Percentile interval of a ratio of amounts per success, prompts drawn with everything.

    A draw without a success above the line is above all others, one without a success below it is below all
    others; one without either has no place, and counts against both ends.

    Args:
        numerators: Amounts and successes (1 or 0) above the line, one per prompt.
        denominators: The same prompts' below it.

    Returns:
        The ends of a ratio; an end is missing where more than 2.5 % of the draws leave it open, and where nothing at
        all succeeded on one side.
    """
    if len(numerators[0]) < N_LEAST:
        return TOO_FEW
    sums = resampled_sums(grouped(np.column_stack((*numerators, *denominators))))
    amounts_x, successes_x, amounts_y, successes_y = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (amounts_x * successes_y) / (amounts_y * successes_x)
    undecided = (successes_x == 0) & (successes_y == 0)
    return _percentiles(np.where(undecided, 0.0, drawn), np.where(undecided, np.inf, drawn))


def wilson_interval(n_successes: int, n: int) -> Interval:
    """Interval of a proportion (E. B. Wilson, JASA 22, 1927; the score interval).

    Args:
        n_successes: Of n.
        n: Independent trials.

    Returns:
        Ends between 0 and 1.
    """
    if n < N_LEAST:
        return TOO_FEW
    share = n_successes / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1; the formula gets there only within rounding.
    low = max(0.0, centre - half) if n_successes > 0 else 0.0
    high = min(1.0, centre + half) if n_successes < n else 1.0
    return Interval(low=low, high=high)


def _log_ratio_draws(sums: FloatArray, n: int, powers: tuple[int, ...] = RATIO) -> tuple[FloatArray, FloatArray]:
    """Each draw's log ratio, relative to the sample's, and its own standard error.

    Args:
        sums: Of the columns' shares, then of the products of every two of them (xx, xy, yy), one row per draw.
        n: Prompts.
        powers: One per column.
    """
    k = len(powers)
    rows, others = np.triu_indices(k)
    totals, products = sums[:, :k], sums[:, k:]
    exponents = np.array(powers, dtype=np.float64)
    weights = exponents[rows] * exponents[others] * np.where(rows == others, 1.0, 2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (products / (totals[:, rows] * totals[:, others])) @ weights
        return np.log(totals) @ exponents, np.sqrt(np.clip(variance, 0.0, None) * n / (n - 1))


def _percentiles(for_low: FloatArray, for_high: FloatArray) -> Interval:
    """The 2.5 and 97.5 % order statistics of positive draws; an end that is 0 or infinite is open.

    Order statistics, not interpolations: between a number and infinity there is nothing to interpolate.
    """
    low = float(np.quantile(for_low, TAIL, method="lower"))
    high = float(np.quantile(for_high, 1 - TAIL, method="higher"))
    bounded_below, bounded_above = 0 < low < math.inf, high < math.inf
    return Interval(
        low=low if bounded_below else None,
        high=high if bounded_above else None,
        findings=() if bounded_below and bounded_above else (Finding(code=FindingCode.DRAWS_WITHOUT_CORRECT),),
    )


def student_t(n: int) -> float:
    """The 97.5 % quantile of Student's t for the mean of `n` draws, at least 2; the normal one from 20 draws on."""
    return STUDENT_T[n - 2] if n < N_LEAST_STUDENTIZED else Z


def _t_quantiles(differences: FloatArray, deviations: FloatArray, deviation: float) -> tuple[float, float]:
    """The 2.5 and 97.5 % points of the resampled t. A draw of equal prompts has t = 0 or infinity.

    Where nearly all prompts are equal, many draws hold none of the others, their standard errors are next to nothing
    and t has no bounds. The draws themselves (percentiles) then take the place of their t.

    Args:
        differences: Of each draw's statistic from the sample's.
        deviations: Each draw's own standard error.
        deviation: The sample's.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(differences / deviations, nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = np.quantile(t, [TAIL, 1 - TAIL], method="nearest")
    if max(-low, high) > T_MOST:
        high, low = -np.quantile(differences, [TAIL, 1 - TAIL], method="nearest") / deviation
    return float(low), float(high)


def _exponential(ratio: float, log_step: float) -> float | None:
    """`ratio` moved by a step of its log; None where the step is not a number that means anything."""
    return ratio * math.exp(log_step) if abs(log_step) < math.log(1e6) else None
