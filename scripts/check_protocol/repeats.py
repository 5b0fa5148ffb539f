"""What repeats bring: how far the next one may lie, and how often two equal models look different.

A repeat's figure lies off the true one by a normal error whose standard deviation is the run-to-run sd: temperature,
clocks, other work, and the sampling of the answers anew. Everything is proportional to that sd.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from harness.analysis.bootstrap import FloatArray, Z, student_t
from scripts.check_statistics.tables import Table, percent

RUN_SD = 0.01
N_REPEATS = (1, 2, 3, 5, 10)
RUN_SDS = (0.005, 0.01, 0.02, 0.05)
DIFFERENCE = 0.03


def next_run(n_studies: int, seed: int) -> Table:
    """The half-width that `harness.analysis.repeats` reports, and how often one more run lies within it."""
    rows = []
    for n in N_REPEATS:
        known = Z * RUN_SD * math.sqrt(1 + 1 / n)
        if n == 1:
            rows.append([str(n), percent(known), "unknown", "–", "–", "–"])
            continue
        runs = 1 + RUN_SD * np.random.default_rng([seed, n]).standard_normal((n_studies, n + 1))
        earlier, later = runs[:, :n], runs[:, n]
        reach = half_widths(earlier)
        low, middle, high = np.quantile(reach, [0.1, 0.5, 0.9])
        held = np.abs(later - earlier.mean(axis=1)) <= reach
        widths = [percent(float(each)) for each in (middle, low, high)]
        rows.append([str(n), percent(known), *widths, percent(float(held.mean()))])
    return Table(
        f"Where one more run lies (run-to-run sd {percent(RUN_SD)}; {n_studies:,} studies a row)",
        (
            "repeats",
            "sd known from before, ±",
            "from the repeats, ± (median)",
            "lowest tenth",
            "highest tenth",
            "holds",
        ),
        rows,
    )


def half_widths(runs: FloatArray) -> FloatArray:
    """What `harness.analysis.repeats` gives each study, shape (studies, repeats)."""
    n = runs.shape[1]
    return np.asarray(student_t(n) * runs.std(axis=1, ddof=1) * math.sqrt(1 + 1 / n))


def false_differences() -> Table:
    """How often the means of two equal models differ by 3 % or more for no other reason than the runs."""
    rows = [
        [percent(sd), *(percent(share_beyond(DIFFERENCE, sd, n)) for n in N_REPEATS if n not in (2, 10))]
        for sd in RUN_SDS
    ]
    return Table(
        f"Two equal models: how often their figures differ by {percent(DIFFERENCE, 0)} or more (same prompts)",
        ("run-to-run sd", "1 run each", "3 runs each", "5 runs each"),
        rows,
    )


def share_beyond(difference: float, run_sd: float, n: int) -> float:
    """Of the differences of two means over n runs each, how many are at least so far from 0."""
    return 2 * (1 - NormalDist().cdf(difference / (run_sd * math.sqrt(2 / n))))
