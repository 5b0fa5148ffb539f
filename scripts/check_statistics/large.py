"""Studies of so many prompts that intervals are those of the normal limit: how often they hold the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.bootstrap import N_LIMIT, Interval, mean_interval, ratio_interval

from .studies import LOG_SDS, RATIO, joules
from .tables import Table, percent


def coverage(n_studies: int, seed: int, n_prompts: Sequence[int] = (N_LIMIT,)) -> Table:
    """Of the ratio, of a mode's mean, which end of it misses, and of the modes' difference."""
    rows = []
    for log_sd in LOG_SDS:
        for n in n_prompts:
            rng = np.random.default_rng([seed, n, round(log_sd * 10)])
            held = np.zeros((n_studies, 5), dtype=np.bool_)
            for study in range(n_studies):
                x, y = (each[0] for each in joules(1, n, log_sd, rng))
                mean, ones = RATIO, np.ones(n)
                of_mean = _sides(ratio_interval(x, ones), mean)
                held[study, :2] = _holds(ratio_interval(x, y), RATIO), not any(of_mean)
                held[study, 2:4] = of_mean
                held[study, 4] = _holds(mean_interval(x - y), RATIO - 1)
            rows.append([f"{log_sd}", str(n), *(percent(share) for share in held.mean(axis=0).tolist())])
    return Table(
        "The normal limit: how often the 95 % interval holds the truth",
        ("log sd", "prompts", "ratio", "mean", "mean below it", "mean above it", "difference"),
        rows,
    )


def _holds(interval: Interval, truth: float) -> bool:
    return not any(_sides(interval, truth))


def _sides(interval: Interval, truth: float) -> tuple[bool, bool]:
    """Whether the truth is below the interval, or above it."""
    assert interval.low is not None
    assert interval.high is not None
    return truth < interval.low, truth > interval.high
