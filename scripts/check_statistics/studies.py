"""Many studies at once: log-normal joules in two modes, and the intervals that the analysis gives each of them.

`harness.analysis.bootstrap` draws the same resamples for every study of the same size, because its seed is fixed. So
one matrix of how often each prompt was drawn serves all studies of that size in one product. What is computed here
for many studies is what the analysis computes for one: `agree` checks that on some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import N_RESAMPLES, TAIL, Interval, Z, resampled_sums
from harness.analysis.estimates import LOG_SD_TRUSTED, N_TRUSTED

FloatArray = npt.NDArray[np.float64]
Single = Callable[[FloatArray, FloatArray], Interval]

CORRELATION = 0.5
"""Of the logs of a prompt's joules in the two modes: a long answer to one is rather long in the other."""
STUDIES_AT_ONCE = 100
"""Times 4,000 resamples and five sums: 16 MB."""
LOG_SDS = (0.3, 0.6, 0.9)
RATIO = 8.0
"""The true ratio; the coverage does not depend on it."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """One interval per study."""

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def hold(self, truth: float) -> npt.NDArray[np.bool_]:
        return (self.low <= truth) & (truth <= self.high)

    def widened(self, factor: float) -> Intervals:
        """On the log scale, as `sequential.widened` does."""
        low, high = self.value * (self.low / self.value) ** factor, self.value * (self.high / self.value) ** factor
        return Intervals(self.value, low, high)

    @property
    def half_width(self) -> FloatArray:
        """Relative."""
        return (self.high - self.low) / (2 * self.value)


def joules(n_studies: int, n: int, log_sd: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Joules of the two modes, each of shape (studies, prompts); their means are `RATIO` and 1."""
    first = rng.standard_normal((n_studies, n))
    second = CORRELATION * first + np.sqrt(1 - CORRELATION**2) * rng.standard_normal((n_studies, n))
    scale = np.exp(-(log_sd**2) / 2)
    return RATIO * scale * np.exp(log_sd * first), scale * np.exp(log_sd * second)


@lru_cache(maxsize=16)
def counts(n: int) -> FloatArray:
    """How often each prompt is in each resample of the analysis, shape (resamples, prompts)."""
    return resampled_sums(np.eye(n), n_resamples=N_RESAMPLES)


def studentized(x: FloatArray, y: FloatArray) -> Intervals:
    """`bootstrap.ratio_interval` of every study; x and y of shape (studies, prompts)."""
    n = x.shape[1]
    drawn = counts(n)
    lows, highs = [], []
    for first in range(0, len(x), STUDIES_AT_ONCE):
        block = slice(first, first + STUDIES_AT_ONCE)
        u = x[block] / x[block].sum(axis=1, keepdims=True)
        v = y[block] / y[block].sum(axis=1, keepdims=True)
        deviation = np.sqrt(((u - v) ** 2).sum(axis=1) * n / (n - 1))
        sums = drawn @ np.concatenate((u, v, u * u, u * v, v * v)).T
        su, sv, suu, suv, svv = np.split(sums, 5, axis=1)
        error = np.sqrt(np.clip(suu / su**2 - 2 * suv / (su * sv) + svv / sv**2, 0, None) * n / (n - 1))
        t_low, t_high = np.quantile(np.log(su / sv) / error, [TAIL, 1 - TAIL], axis=0, method="nearest")
        lows.append(np.exp(-t_high * deviation))
        highs.append(np.exp(-t_low * deviation))
    value = x.sum(axis=1) / y.sum(axis=1)
    return Intervals(value, value * np.concatenate(lows), value * np.concatenate(highs))


def bca(x: FloatArray, y: FloatArray) -> Intervals:
    """`bootstrap.bca_ratio_interval` of every study; x and y of shape (studies, prompts)."""
    normal = NormalDist()
    lows, highs = [], []
    for first in range(0, len(x), STUDIES_AT_ONCE):
        block = slice(first, first + STUDIES_AT_ONCE)
        u = x[block] / x[block].sum(axis=1, keepdims=True)
        v = y[block] / y[block].sum(axis=1, keepdims=True)
        left_out = np.log1p(-u) - np.log1p(-v)
        influences = left_out.mean(axis=1, keepdims=True) - left_out
        accelerations = (influences**3).sum(axis=1) / (6 * (influences**2).sum(axis=1) ** 1.5)
        su, sv = np.split(counts(x.shape[1]) @ np.concatenate((u, v)).T, 2, axis=1)
        drawn = np.sort(np.log(su / sv), axis=0)
        for column, acceleration in zip(drawn.T, accelerations, strict=True):
            bias = normal.inv_cdf(float(np.searchsorted(column, 0.0)) / len(column))
            levels = [normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-Z, Z)]
            low, high = np.quantile(column, levels, method="nearest")
            lows.append(low)
            highs.append(high)
    value = x.sum(axis=1) / y.sum(axis=1)
    return Intervals(value, value * np.exp(lows), value * np.exp(highs))


def heavy_tailed(x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
    """Which studies carry `estimates.heavy_tail`."""
    widest = np.maximum(np.log(x).std(axis=1, ddof=1), np.log(y).std(axis=1, ddof=1))
    return np.asarray((widest > LOG_SD_TRUSTED) | (x.shape[1] < N_TRUSTED))


def agree(x: FloatArray, y: FloatArray, intervals: Intervals, single: Single, n_checked: int = 3) -> bool:
    """Whether the analysis itself gives the first few studies the same interval."""
    ones = [single(each_x, each_y) for each_x, each_y in zip(x[:n_checked], y[:n_checked], strict=True)]
    return all(
        one.low is not None and one.high is not None and np.allclose((one.low, one.high), ends, rtol=1e-9)
        for one, ends in zip(ones, zip(intervals.low, intervals.high, strict=True), strict=False)
    )
