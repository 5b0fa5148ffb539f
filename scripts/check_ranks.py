#!/usr/bin/env python3
"""How often the leaderboard tells two models apart that take the same: simulated pairs whose truth is known.

    python scripts/check_ranks.py [--pairs 20000]

Each model has three repeats of 200 prompts with 1 % from run to run; a board's gain is drawn with a standard deviation
of 5 % / 1.96. Joules per prompt are log-normal, 0.58 on the log scale. Either most of that (0.5) is the prompt's and
the same for both models, which leaves 0.3 to each, or the two models have nothing in common. At most 5 % should be told
apart.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.analysis.bootstrap import student_t
from harness.leaderboard.distance import Errors, rank_ranges

N_RUNS, N_PROMPTS = 3, 200
RUN_SD, GAIN_HALF_WIDTH = 0.01, 0.05
PROMPT_SD, COMMON_SD = math.hypot(0.5, 0.3), 0.5
SEED = 8
N_BLOCK = 500


def share_told(n_pairs: int, *, same_board: bool, alike: bool, seed: int = SEED) -> float:
    """The share of pairs of equal models that are told apart."""
    rng = np.random.default_rng(seed)
    done = range(0, n_pairs, N_BLOCK)
    told = sum(_told(rng, min(N_BLOCK, n_pairs - start), same_board=same_board, alike=alike) for start in done)
    return told / n_pairs


def _told(rng: np.random.Generator, n: int, *, same_board: bool, alike: bool) -> int:
    common = rng.normal(0, COMMON_SD if alike else 0.0, (n, 1, N_PROMPTS))
    own_sd = math.sqrt(PROMPT_SD**2 - (COMMON_SD**2 if alike else 0.0))
    costs = np.exp(common + rng.normal(0, own_sd, (n, 2, N_PROMPTS)))
    gains = rng.normal(0, GAIN_HALF_WIDTH / 1.96, (n, 1 if same_board else 2))
    runs = rng.normal(0, RUN_SD, (n, 2, N_RUNS))
    values = costs.mean(axis=2)[:, :, None] * np.exp(runs + gains[:, :, None])
    means = values.mean(axis=2)
    spread = student_t(N_RUNS) * values.std(axis=2, ddof=1) * math.sqrt(1 + 1 / N_RUNS) / means
    prompts = 1.96 * costs.std(axis=2, ddof=1) / math.sqrt(N_PROMPTS) / costs.mean(axis=2)
    up, down = np.log1p(prompts) ** 2 + spread**2, np.log1p(-prompts) ** 2 + spread**2
    n_told = 0
    for pair in range(n):
        best, worst = rank_ranges(
            Errors(
                log_energy=np.log(means[pair]),
                down=down[pair],
                up=up[pair],
                gain=np.full(2, GAIN_HALF_WIDTH**2),
                board=np.array([0, 0 if same_board else 1]),
                one_run=np.zeros(2, bool),
            )
        )
        n_told += bool((best == worst).all())
    return n_told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    options = parser.parse_args()
    print("| what a prompt costs | boards | told apart, % |\n|:---|:---|---:|")
    for alike in (True, False):
        for same_board in (True, False):
            share = share_told(options.pairs, same_board=same_board, alike=alike)
            words = "mostly alike for both models" if alike else "nothing in common"
            print(f"| {words} | {'one' if same_board else 'two'} | {100 * share:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
