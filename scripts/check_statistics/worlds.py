"""Prompts with log-normal answers, an 8 B model's energy law, and both phases of many studies of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.analysis.energy_law import least_squares, terms
from harness.analysis.relative_fit import student_quantile
from harness.analysis.two_phase import LengthFigures, held_out_test, law_prompts

from .machine import LAW_J, LAW_S, PACKED_TOKENS_PER_S, batch_size, batched_s, repacked_s
from .studies import CORRELATION, FloatArray, Intervals, studentized

MODES = ("on", "off")
CAP = 8192
OFF_TOKENS = 300.0
PROMPT_TOKENS, PROMPT_LOG_SD = 120.0, 0.6
SCATTER = 0.02
"""Relative, of a single query's joules about its model's law: sensor, clocks, temperature."""
SHARE_OF_DRAW = 0.3
"""Of the variance of log lengths: what another draw of the answer to the same prompt changes."""
N_TRUTH = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Prompts whose answers have log-normal lengths, cut at the cap, and an energy law that may differ by mode."""

    on_tokens: float
    log_sd: float
    dearer_on: float = 0.0
    scatter: float = SCATTER
    scatter_off: float | None = None
    """Of the off mode, where it is another."""

    def prompts(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Prompt tokens, shape (n,), and each prompt's own part of the log lengths, shape (n, 2)."""
        p = np.round(PROMPT_TOKENS * np.exp(PROMPT_LOG_SD * rng.standard_normal(n) - PROMPT_LOG_SD**2 / 2)) + 10
        return p, self._pairs(n, rng)

    def lengths(self, own: FloatArray, rng: np.random.Generator) -> FloatArray:
        """One draw of output tokens in the two modes, shape (n, 2)."""
        parts = np.sqrt(1 - SHARE_OF_DRAW) * own + np.sqrt(SHARE_OF_DRAW) * self._pairs(len(own), rng)
        mean = np.array([self.on_tokens, OFF_TOKENS])
        return np.asarray(np.clip(np.round(mean * np.exp(self.log_sd * parts - self.log_sd**2 / 2)), 1, CAP))

    def energy_j(self, p: FloatArray, o: FloatArray) -> FloatArray:
        """Expected joules of queries in the two modes, both shapes (n, 2)."""
        joules = np.column_stack([terms(p, o[:, column]) @ LAW_J for column in range(2)])
        return np.asarray(joules * np.array([1 + self.dearer_on, 1.0]))

    def truth(self) -> float:
        """The ratio of expected joules, from a very large sample."""
        rng = np.random.default_rng(1)
        p, own = self.prompts(N_TRUTH, rng)
        means = self.energy_j(p, self.lengths(own, rng)).mean(axis=0)
        return float(means[0] / means[1])

    def _pairs(self, n: int, rng: np.random.Generator) -> FloatArray:
        first, second = rng.standard_normal((2, n))
        return np.column_stack((first, CORRELATION * first + np.sqrt(1 - CORRELATION**2) * second))


@dataclass(frozen=True, slots=True)
class Study:
    """One study's data: tokens of all prompts, and joules of those measured alone, by mode in the columns."""

    p: FloatArray
    counted: FloatArray
    fitted: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    again: FloatArray
    """Output tokens of the measured prompts, fitted and then held out: another draw of their answers."""
    measured_j: FloatArray
    counted_j: FloatArray
    """Expected joules of all prompts at their counted lengths."""

    @staticmethod
    def drawn(world: World, n_prompts: int, rng: np.random.Generator) -> Study:
        p, own = world.prompts(n_prompts, rng)
        counted = world.lengths(own, rng)
        chosen = law_prompts(length_figures(p, counted), modes=MODES, seed=1)
        fitted, held_out = (np.array([int(i) for i in ids]) for ids in (chosen.fitted, chosen.held_out))
        both = np.concatenate((fitted, held_out))
        again = world.lengths(own[both], rng)
        scatter = np.array([world.scatter, world.scatter if world.scatter_off is None else world.scatter_off])
        measured_j = world.energy_j(p[both], again) * (1 + scatter * rng.standard_normal(again.shape))
        return Study(p, counted, fitted, held_out, again, measured_j, world.energy_j(p, counted))


@dataclass(slots=True)
class Studies:
    """What many studies of one setting gave."""

    x_j: list[FloatArray] = field(default_factory=list)
    y_j: list[FloatArray] = field(default_factory=list)
    law_width: list[float] = field(default_factory=list)
    law_error: list[float] = field(default_factory=list)
    """Of the log of the ratio over the very prompts of a study: the law's part alone."""
    passed: list[bool] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    static_s: list[float] = field(default_factory=list)
    """The first phase if every batch ran until its longest answer ended."""
    second_s: list[float] = field(default_factory=list)
    everything_s: list[float] = field(default_factory=list)
    packed_s: list[float] = field(default_factory=list)

    def add(self, study: Study, held_out_dearer: float, *, factors: bool = True) -> None:
        """Both phases' figures of one study; `held_out_dearer` and `factors` as in `simulate`."""
        p, counted, again, held_out = study.p, study.counted, study.again, study.held_out
        n, n_prompts = len(study.fitted), len(study.p)
        both = np.concatenate((study.fitted, held_out))
        # The off mode, the second column, is the base.
        modes = np.repeat((0, 1), n)
        places = (1, 0) if factors else (0, 0)
        fit = least_squares(
            study.measured_j[:n].T.ravel(), np.tile(p[study.fitted], 2), again[:n].T.ravel(), np.array(places)[modes]
        )
        tested_j = study.measured_j[n:] * np.array([1 + held_out_dearer, 1.0])
        tests = [
            held_out_test(fit, modes == m, tested_j[:, m], p[held_out], again[n:, m], place=places[m], n_modes=2)
            for m in range(2)
        ]
        x, y = (fit.predict(terms(p, counted[:, m]), places[m]) for m in range(2))
        above, under = (
            fit.gradient(np.full(n_prompts, 1 / each.sum()), terms(p, counted[:, m]), places[m])
            for m, each in enumerate((x, y))
        )
        law_sd = fit.sd(above - under)
        self.x_j.append(x)
        self.y_j.append(y)
        self.law_width.append(student_quantile(fit.n_degrees) * law_sd)
        x_true, y_true = study.counted_j.sum(axis=0)
        self.law_error.append(math.log(float((x.sum() / y.sum()) / (x_true / y_true))))
        self.passed.append(all(test.passed for test in tests))
        sizes = [batch_size(CAP), batch_size(float(counted[:, 1].max()))]
        # As the pipeline does it: what was long in the mode that came first, off, comes first in the other.
        orders = [np.argsort(-counted[:, 1], kind="stable"), np.arange(n_prompts)]
        ordered = [(p[order], counted[order, m], sizes[m]) for m, order in enumerate(orders)]
        self.first_s.append(sum(repacked_s(*each, cap=CAP) for each in ordered))
        self.static_s.append(sum(batched_s(*each) for each in ordered))
        self.packed_s.append(float(counted.sum()) / PACKED_TOKENS_PER_S)
        self.second_s.append(sum(float((terms(p[both], again[:, m]) @ LAW_S).sum()) for m in range(2)))
        self.everything_s.append(sum(float((terms(p, counted[:, m]) @ LAW_S).sum()) for m in range(2)))

    def intervals(self) -> Intervals:
        """Both parts of the error, as `two_phase` joins them."""
        prompts = studentized(np.stack(self.x_j), np.stack(self.y_j))
        width = np.array(self.law_width)
        low = prompts.value * np.exp(-np.hypot(np.log(prompts.value / prompts.low), width))
        high = prompts.value * np.exp(np.hypot(np.log(prompts.high / prompts.value), width))
        return Intervals(prompts.value, low, high)

    def law_holds(self) -> npt.NDArray[np.bool_]:
        """Where the law's part alone holds the ratio over the very prompts of a study."""
        return np.abs(self.law_error) <= np.array(self.law_width)

    def accepted(self) -> npt.NDArray[np.bool_]:
        return np.array(self.passed)


def simulate(
    world: World, n_prompts: int, n_studies: int, seed: int, *, held_out_dearer: float = 0.0, factors: bool = True
) -> Studies:
    """Both phases of many studies.

    Args:
        world: Where the prompts come from.
        n_prompts: Of each study.
        n_studies: How many.
        seed: Of everything random.
        held_out_dearer: Relative, of the on mode's held-out queries: a law that is off by just this in one mode.
        factors: Whether each mode has its own, as the analysis does it; otherwise one law predicts both.
    """
    rng = np.random.default_rng([seed, n_prompts, round(world.log_sd * 10), int(world.on_tokens)])
    studies = Studies()
    for _ in range(n_studies):
        studies.add(Study.drawn(world, n_prompts, rng), held_out_dearer, factors=factors)
    return studies


def length_figures(p: FloatArray, counted: FloatArray) -> list[LengthFigures]:
    """What the first phase tells the analysis; a prompt's id is its row."""
    return [
        LengthFigures(
            prompt_id=f"{index:05d}",
            mode=mode,
            n_prompt_tokens=int(p[index]),
            n_output_tokens=int(counted[index, column]),
            correct=None,
            cut=False,
        )
        for index in range(len(p))
        for column, mode in enumerate(MODES)
    ]
