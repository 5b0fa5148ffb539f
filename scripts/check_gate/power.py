"""How often a relative line of +3 % is decided, against the true change, the queries and the spread from run to run.

A change of both sides' ratio moves the value and both ends of its interval by the same factor, so one simulated gate
serves every change: its ends are moved instead of its joules.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from check_statistics.tables import Table, percent

from check_gate.errors import LIMIT, LOOKS, RELATIVE
from check_gate.gates import budget, looking, verdict
from check_gate.worlds import World

CHANGES = (-0.05, -0.02, 0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10)
CHANGES_WITH_LOOKS = (-0.02, 0.0, 0.02, 0.03, 0.05, 0.07)
CORRELATIONS = (0.5, 0.98)
N_PROMPTS = (50, 100, 200, 500)
RUN_SDS = (0.005, 0.01, 0.02)
LOG_SD = 0.6


def fixed(n_studies: int, seed: int, pool: Executor) -> Table:
    """Three repeats of each side."""
    worlds = [
        World(n=n, log_sd=LOG_SD, run_sd=run_sd, correlation=correlation)
        for correlation in CORRELATIONS
        for n in N_PROMPTS
        for run_sd in RUN_SDS
    ]
    found = pool.map(_decided, worlds, [n_studies] * len(worlds), [seed] * len(worlds))
    rows = [
        [f"{world.correlation}", str(world.n), percent(world.run_sd), *_shown(shares)]
        for world, shares in zip(worlds, found, strict=True)
    ]
    title = (
        f"A line of at most +3 % over the reference, 3 repeats, log sd {LOG_SD}: % of gates that pass / fail at each "
        f"true change ({n_studies:,} gates a row)"
    )
    return Table(title, ("correlation", "prompts", "run sd", *(f"{100 * change:+.0f} %" for change in CHANGES)), rows)


def with_looks(n_studies: int, seed: int, pool: Executor) -> Table:
    """Up to twelve repeats, with looks on the way."""
    settings = [
        (World(n=100, log_sd=LOG_SD, run_sd=run_sd, correlation=correlation), change)
        for correlation in CORRELATIONS
        for run_sd in RUN_SDS
        for change in CHANGES_WITH_LOOKS
    ]
    n = max(n_studies // 5, 1)
    worlds = [replace(world, ratio=1 + change) for world, change in settings]
    found = list(pool.map(_looking, worlds, [n] * len(worlds), [seed] * len(worlds)))
    per_row = len(CHANGES_WITH_LOOKS)
    rows = [
        [f"{worlds[first].correlation}", percent(worlds[first].run_sd), *found[first : first + per_row]]
        for first in range(0, len(found), per_row)
    ]
    title = (
        f"The same with --until-decided, 100 prompts, 3 to 12 repeats: % pass / fail, and the mean repeats ({n:,} "
        "gates a cell)"
    )
    return Table(title, ("correlation", "run sd", *(f"{100 * change:+.0f} %" for change in CHANGES_WITH_LOOKS)), rows)


def _decided(world: World, n_studies: int, seed: int) -> list[tuple[float, float]]:
    """Shares that pass and fail at each change."""
    rng = np.random.default_rng([seed, world.n, round(10_000 * world.run_sd), round(1000 * world.correlation)])
    what = budget(RELATIVE)
    ends = []
    for _ in range(n_studies):
        line = verdict(what, *world.study(rng)).lines[0]
        assert line.low is not None, "a simulated interval has a lower end"
        assert line.high is not None, "a simulated interval has an upper end"
        ends.append((1 + line.low, 1 + line.high))
    low, high = np.array(ends).T
    return [
        (float(((1 + change) * high <= 1 + LIMIT).mean()), float(((1 + change) * low > 1 + LIMIT).mean()))
        for change in CHANGES
    ]


def _looking(world: World, n_studies: int, seed: int) -> str:
    found, repeats = looking(world, budget(RELATIVE), LOOKS, n_studies, seed)
    return f"{100 * found.passed:.0f} / {100 * found.failed:.0f} ({repeats:.1f})"


def _shown(shares: Sequence[tuple[float, float]]) -> list[str]:
    return [f"{100 * passed:.0f} / {100 * failed:.0f}" for passed, failed in shares]
