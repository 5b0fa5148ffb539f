#!/usr/bin/env python3
"""Thousands of simulated repetitions whose truth is known: how often they are said to differ, and what they tell.

    python scripts/check_repetition.py [nothing] [power] [seen] [--quick] [--markdown]

Without a name, all of them. Every repetition is judged by `harness.analysis.repetition.repetition_of`, from figures as
runs would give them: two modes, log-normal joules of 100 prompts (log sd 0.6; on over off 5), run effects, queries that
scatter by 2 % about their prompt, the sensor's common error of 0.5 % (95 %), and boards' gains that are drawn from
their stated interval of 5 % (95 %) in each study.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: the processes are the threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from check_statistics.tables import Table, percent  # noqa: E402

from harness.analysis.figures import Figures  # noqa: E402
from harness.analysis.paired_ratio import RepeatedFigures  # noqa: E402
from harness.analysis.repeated_figure import Kind, Verdict  # noqa: E402
from harness.analysis.repetition import Obstacles, Repetition, repetition_of  # noqa: E402
from harness.records import Method, TextColumn  # noqa: E402

SEED = 20261129
MODES = {"off": 40.0, "on": 200.0}
"""Mean joules per query."""
LOG_SD = 0.6
SCATTER_SD = 0.02
READING_HALF_WIDTH = 0.005
GAIN_HALF_WIDTH = 0.05
CORRELATION = 0.5
"""Of a run's effects on its two modes, and of a prompt's log joules on two sides whose answers differ."""
Z = 1.959964
RUN_SDS = (0.005, 0.01, 0.02)
RATIOS = (1.03, 1.05, 1.10, 1.20)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where studies come from. In truth the repetition takes `ratio` times the joules of the base, in both modes."""

    n: int = 100
    run_sd: float
    n_repeats: int
    two_boards: bool
    same_answers: bool
    ratio: float = 1.0

    def study(self, rng: np.random.Generator) -> Repetition:
        """One repetition, judged."""
        boards = ("GPU-1", "GPU-2" if self.two_boards else "GPU-1")
        gains = {board: 1 + rng.standard_normal() * GAIN_HALF_WIDTH / Z for board in dict.fromkeys(boards)}
        prompts = {mode: rng.standard_normal(self.n) for mode in MODES}
        base, repetition = (
            self._side(board, gains[board], level, prompts, rng)
            for board, level in zip(boards, (1.0, self.ratio), strict=True)
        )
        return repetition_of(base, repetition, Obstacles(), estimated=False)

    def _side(
        self, board: str, gain: float, level: float, prompts: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> RepeatedFigures:
        common = gain * level * (1 + rng.standard_normal() * READING_HALF_WIDTH / Z)
        logs = dict(prompts)
        if not self.same_answers:
            own, left = np.sqrt(CORRELATION), np.sqrt(1 - CORRELATION)
            logs = {mode: own * each + left * rng.standard_normal(self.n) for mode, each in prompts.items()}
        runs: dict[str, list[Figures]] = {mode: [] for mode in MODES}
        for _ in range(self.n_repeats):
            shared = rng.standard_normal()
            for mode, mean_j in MODES.items():
                effect = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * rng.standard_normal()
                scatter = SCATTER_SD * rng.standard_normal(self.n)
                exponents = LOG_SD * logs[mode] - LOG_SD**2 / 2 + self.run_sd * effect + scatter
                runs[mode].append(_figures(mode, common * mean_j * np.exp(exponents), board))
        return RepeatedFigures(
            by_mode=runs,
            gains={(board, Method.NVML_COUNTER): GAIN_HALF_WIDTH},
            n_planned=dict.fromkeys(MODES, self.n),
        )


def _figures(mode: str, energy_j: np.ndarray, board: str) -> Figures:
    n = len(energy_j)
    zeros, nothing, no = np.zeros(n), np.full(n, -1), np.zeros(n, dtype=np.bool_)
    return Figures(
        prompt=TextColumn(codes=np.arange(n), names=[str(index) for index in range(n)]),
        mode=TextColumn(codes=np.zeros(n, dtype=np.int64), names=[mode]),
        session=np.zeros(n, dtype=np.int64),
        duration_s=energy_j,
        energy_j=energy_j,
        energy_half_width_j=READING_HALF_WIDTH * energy_j,
        by_device_j={(board, Method.NVML_COUNTER): energy_j},
        net_j=zeros,
        net_half_width_own_j=zeros,
        net_half_width_baseline_j={},
        energy_tail_j=zeros,
        phases_known=no,
        phases_j={},
        has_phase={},
        phases_s={},
        n_prompt_tokens=zeros,
        n_thinking_tokens=zeros,
        n_answer_tokens=zeros,
        n_output_tokens=np.ones(n),
        correct=nothing,
        cut=no,
        forced=no,
        why_no_energy=nothing,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of a world's studies, and the mean of the smallest difference that they say they would have seen."""

    differs: float
    undecided: float
    ratio_differs: float
    seen: float


def rates(world: World, n_studies: int, seed: int) -> Rates:
    """Of one world."""
    found = [world.study(np.random.default_rng([seed, index])) for index in range(n_studies)]
    verdicts = [each.verdict for each in found]
    of_ratio = [figure.verdict for each in found for figure in each.figures if figure.kind is Kind.RATIO]
    return Rates(
        differs=verdicts.count(Verdict.DIFFERS) / n_studies,
        undecided=verdicts.count(Verdict.UNDECIDED) / n_studies,
        ratio_differs=of_ratio.count(Verdict.DIFFERS) / n_studies,
        seen=float(np.mean([each.smallest_seen for each in found if each.smallest_seen is not None])),
    )


def _kinds() -> Iterator[tuple[list[str], World]]:
    for two_boards in (False, True):
        for same_answers in (True, False):
            for n_repeats in (1, 3):
                words = ["two" if two_boards else "one", "the same" if same_answers else "their own", str(n_repeats)]
                yield (
                    words,
                    World(run_sd=0.01, n_repeats=n_repeats, two_boards=two_boards, same_answers=same_answers),
                )


HEADER = ("boards", "answers", "repeats")


def nothing(n_studies: int, seed: int, pool: Executor) -> Table:
    """Nothing differs: how often it is said to, and how often it is left open."""
    kinds = list(_kinds())
    worlds = [replace(world, run_sd=run_sd) for _, world in kinds for run_sd in RUN_SDS]
    found = iter(_found(worlds, n_studies, seed, pool))
    cells = []
    for words, _ in kinds:
        own = [next(found) for _ in RUN_SDS]
        cells.append([*words, *(f"{percent(each.differs)} / {percent(each.undecided)}" for each in own)])
        cells[-1].append(percent(max(each.ratio_differs for each in own)))
    header = (*HEADER, *(f"run sd {percent(run_sd)}" for run_sd in RUN_SDS), "ratio differs (most)")
    return Table(f"Nothing differs: differs / undecided ({n_studies:,} each)", header, cells)


def power(n_studies: int, seed: int, pool: Executor) -> Table:
    """A true difference in both modes: how often it is told."""
    kinds = list(_kinds())
    worlds = [replace(world, ratio=ratio) for _, world in kinds for ratio in RATIOS]
    found = iter(_found(worlds, n_studies, seed, pool))
    cells = []
    for words, _ in kinds:
        own = [next(found) for _ in RATIOS]
        cells.append([*words, *(f"{percent(each.differs, 0)} / {percent(each.undecided, 0)}" for each in own)])
    header = (*HEADER, *(f"+{percent(ratio - 1, 0)}" for ratio in RATIOS))
    return Table(f"A true difference, run sd 1 %: differs / undecided ({n_studies:,} each)", header, cells)


def seen(n_studies: int, seed: int, pool: Executor) -> Table:
    """The smallest difference that is stated as one that would have been seen: how often it is."""
    kinds = list(_kinds())
    stated = _found([world for _, world in kinds], max(n_studies // 4, 1), seed + 1, pool)
    worlds = [replace(world, ratio=1 + each.seen) for (_, world), each in zip(kinds, stated, strict=True)]
    found = _found(worlds, n_studies, seed, pool)
    cells = [
        [*words, percent(each.seen), percent(told.differs, 0)]
        for (words, _), each, told in zip(kinds, stated, found, strict=True)
    ]
    return Table(
        f"The difference that would have been seen, run sd 1 % ({n_studies:,} each)", (*HEADER, "stated", "told"), cells
    )


def _found(worlds: Sequence[World], n_studies: int, seed: int, pool: Executor) -> list[Rates]:
    return list(pool.map(rates, worlds, [n_studies] * len(worlds), [seed] * len(worlds)))


MAKERS: dict[str, Callable[[int, int, Executor], Table]] = {"nothing": nothing, "power": power, "seen": seen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(MAKERS)} (default: all)")
    parser.add_argument("--studies", type=int, default=1000, help="repetitions of each kind (default: 1000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - MAKERS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    if options.studies < 1:
        parser.error("--studies must be at least 1")
    n = max(options.studies // 10, 1) if options.quick else options.studies
    with ProcessPoolExecutor(options.processes) as pool:
        for make in (MAKERS[part] for part in options.parts or MAKERS):
            started_s = time.monotonic()
            table = make(n, SEED, pool)
            print(table.markdown() if options.markdown else table.text(), flush=True)
            print(f"({time.monotonic() - started_s:.0f} s)\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
