"""How many prompts: half-widths by the analysis's own intervals, and the number that a half-width takes.

Joules are log-normal over prompts, as lengths of answers are taken to be; the logs of the two modes are correlated by
0.5 (`check_statistics/studies.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.analysis.bootstrap import RATIO as POWERS
from harness.analysis.bootstrap import Z, log_deviation, ratio_interval, smallest_detectable
from scripts.check_statistics.studies import CORRELATION, LOG_SDS, RATIO, agree, joules, studentized
from scripts.check_statistics.tables import Table, percent

N_PROMPTS = (25, 50, 100, 200, 400, 800)
TARGET = 0.05
Z_NINE_IN_TEN = NormalDist().inv_cdf(0.95)


def half_widths(n_studies: int, seed: int, n_prompts: Sequence[int] = N_PROMPTS) -> Table:
    """Of the ratio of two modes and of one mode's mean: median half-width, and how often the interval holds."""
    rows = []
    for log_sd in LOG_SDS:
        for n in n_prompts:
            x, y = joules(n_studies, n, log_sd, np.random.default_rng([seed, n, round(log_sd * 10)]))
            ones = np.ones_like(x)
            ratio, mean = studentized(x, y), studentized(x, ones)
            if not (agree(x, y, ratio, ratio_interval) and agree(x, ones, mean, ratio_interval)):
                raise SystemExit("the simulation does not compute what the analysis computes")
            pairs = zip(x, y, strict=True)
            deviations = [log_deviation(np.column_stack(pair), POWERS) for pair in pairs]
            smallest = smallest_detectable(float(np.median(deviations)))
            assert smallest is not None, "log-normal joules of these spreads always leave something to be seen"
            rows.append(
                [
                    f"{log_sd}",
                    str(n),
                    percent(float(np.median(ratio.half_width))),
                    percent(float(ratio.hold(RATIO).mean())),
                    percent(float(np.median(mean.half_width))),
                    percent(float(mean.hold(RATIO).mean())),
                    percent(smallest, 0),
                ]
            )
    return Table(
        f"By number of prompts, {n_studies:,} simulated studies a row",
        ("log sd", "prompts", "ratio on/off, ±", "holds", "joules per query, ±", "holds", "smallest difference seen"),
        rows,
    )


def needed() -> Table:
    """Prompts for a half-width of 5 %, by the delta method, with the same prompts in both modes and with others."""
    rows = []
    for log_sd in LOG_SDS:
        same, other = n_for(TARGET, log_sd, CORRELATION), n_for(TARGET, log_sd, 0.0)
        factor = math.exp(Z_NINE_IN_TEN * log_sd)
        rows.append([f"{log_sd}", f"1/{factor:.1f} to {factor:.1f}", f"{same:,}", f"{other:,}", f"{other / same:.1f}"])
    return Table(
        "Prompts for a ratio known to ±5 %",
        (
            "log sd",
            "nine in ten prompts, times the median",
            "the same in both modes",
            "others in each",
            "times as many",
        ),
        rows,
    )


def n_for(half_width: float, log_sd: float, correlation: float) -> int:
    """Prompts whose ratio of total joules has this relative 95 % half-width.

    The log of a ratio of sums has the variance (CVx² + CVy² - 2 cov) / n; of log-normal joules with equal log sd s,
    CV² is exp(s²) - 1 and the relative covariance exp(r s²) - 1.
    """
    variance = 2 * (math.exp(log_sd**2) - math.exp(correlation * log_sd**2))
    return math.ceil(variance * (Z / half_width) ** 2)
