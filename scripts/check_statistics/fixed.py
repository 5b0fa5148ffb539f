"""Studies with a number of prompts chosen beforehand: how often each interval holds the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.bootstrap import bca_ratio_interval, ratio_interval

from .studies import LOG_SDS, RATIO, agree, bca, heavy_tailed, joules, studentized
from .tables import Table, percent


def coverage(n_studies: int, n_prompts: Sequence[int], seed: int) -> Table:
    """Of the ratio by both methods and of a mode's mean, and how many studies carry the finding `heavy_tail`."""
    rows = []
    for log_sd in LOG_SDS:
        for n in n_prompts:
            rng = np.random.default_rng([seed, n, round(log_sd * 10)])
            x, y = joules(n_studies, n, log_sd, rng)
            ones = np.ones_like(x)
            ratio, other, mean = studentized(x, y), bca(x, y), studentized(x, ones)
            for intervals, single, below in (
                (ratio, ratio_interval, y),
                (other, bca_ratio_interval, y),
                (mean, ratio_interval, ones),
            ):
                if not agree(x, below, intervals, single):
                    raise SystemExit("the simulation does not compute what the analysis computes")
            rows.append(
                [
                    f"{log_sd}",
                    str(n),
                    percent(float(ratio.hold(RATIO).mean())),
                    percent(float(np.median(ratio.half_width))),
                    percent(float(other.hold(RATIO).mean())),
                    percent(float(mean.hold(RATIO).mean())),
                    percent(float(heavy_tailed(x, y).mean()), 0),
                ]
            )
    return Table(
        "A fixed number of prompts: how often the 95 % interval holds the truth",
        ("log sd", "prompts", "ratio", "its half-width", "ratio by BCa", "mean", "heavy_tail"),
        rows,
    )
