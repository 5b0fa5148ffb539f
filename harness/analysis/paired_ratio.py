"""One figure of a repetition over the same figure of what it repeats, prompt by prompt, with the parts of its error.

Only prompts count whose figure is known in every repeat of both sides; each enters with its mean over a side's repeats.
All is on the log scale, where a ratio is a difference:

- Prompts: what pairs leave of answers and queries that differ; nothing where all prompts moved alike.
- Reading: of the totals in quadrature. It does not shrink with repeats: what the curve assumes of an edge stays.
- Run to run: the spread of the repeats' own totals, pooled over both sides; unknown where neither has repeats.
- Gain: a device's gain moves every total that it is in. What is left is the difference of its shares: nothing where one
  board measured both sides, nor between modes that one board measured on each.

Knows columns of figures. Must not know verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.analysis.bootstrap import N_LEAST, FloatArray
from harness.analysis.estimates import Gains
from harness.analysis.figures import Figures, paired
from harness.analysis.interval import Part, PromptsPart, RunsPart, SystematicPart
from harness.analysis.measured import quadrature
from harness.analysis.prompts_part import prompts_part
from harness.records import Method

CANCELLED = 1e-9
"""A device whose shares differ by less moves nothing, even where its gain is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedFigures:
    """One side: its answered queries of each repeat by mode, how far its devices may read off, what it was to ask."""

    by_mode: Mapping[str, Sequence[Figures]]
    gains: Gains
    n_planned: Mapping[str, int]
    """Prompts that each mode was to be asked; prompts come in one order, so that the fewer are among the more."""
    widening: float = 1.0
    """Of the part over prompts, where the run could stop early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What is added up: a column of the queries, and whether a sensor read it and a repeat may move it."""

    column: Callable[[Figures], FloatArray]
    sensed: bool
    varies: bool


JOULES = Amount(column=lambda figures: figures.energy_j, sensed=True, varies=True)
SECONDS = Amount(column=lambda figures: figures.duration_s, sensed=False, varies=True)
TOKENS = Amount(column=lambda figures: figures.n_output_tokens, sensed=False, varies=False)
"""Answers differ prompt by prompt, which pairs show; nothing of a run moves all of their tokens together."""


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """A repetition's figure over the base's; the figures are means over the prompts, or ratios of such."""

    n_prompts: int
    base: float
    repetition: float
    prompts: PromptsPart
    reading: SystematicPart
    runs: RunsPart
    gain: SystematicPart

    @property
    def ratio(self) -> float:
        """The repetition over the base."""
        return self.repetition / self.base

    @cached_property
    def distance(self) -> float:
        """Log of the ratio: above zero where the repetition is dearer."""
        return math.log(self.ratio)

    def reach(self, parts: Sequence[Part], alpha: float, *, below: bool) -> float:
        """How far below or above the ratio the truth may lie by these parts, as a log; infinite where one is unknown.

        Systematic errors reach equally far to both sides, so that sides that are exchanged are judged alike.

        Args:
            parts: Independent, so that their squares add up.
            alpha: One-sided level.
            below: Whether below it, which is what a ratio above 1 is held against.
        """
        ends = [(part, part.reach(alpha)) for part in parts]
        return math.hypot(*(end.low if below or isinstance(part, SystematicPart) else end.high for part, end in ends))


def paired_ratio(
    base: RepeatedFigures, repetition: RepeatedFigures, modes: tuple[str, ...], amount: Amount
) -> PairedRatio | None:
    """The repetition's figure over the base's.

    Args:
        base: What was repeated.
        repetition: The same plan, measured again.
        modes: One: its amount per query. Two: the first one's over the second one's.
        amount: What is added up.

    Returns:
        None where fewer than five prompts are known on both sides, or nothing was spent on them.
    """
    powers = (1, -1)[: len(modes)]
    sides = ((repetition, 1), (base, -1))
    pieces = [
        (sign * power, side.by_mode.get(mode, ()))
        for side, sign in sides
        for mode, power in zip(modes, powers, strict=True)
    ]
    if not all(runs for _, runs in pieces):
        return None
    common = iter(_common([each for _, runs in pieces for each in runs], amount))
    terms = [_Term(power=power, runs=tuple(next(common) for _ in runs), amount=amount) for power, runs in pieces]
    n_prompts = len(terms[0].mean)
    if n_prompts < N_LEAST or not all((term.totals > 0).all() for term in terms):
        return None
    values = [
        math.prod(float(term.mean.mean()) ** power for term, power in _of_side(terms, powers, place))
        for place in (0, 1)
    ]
    columns = np.column_stack([term.mean for term in terms])
    widening = max(base.widening, repetition.widening)
    logs = [
        sum((power * np.log(term.totals) for term, power in _of_side(terms, powers, place)), np.zeros(()))
        for place in (0, 1)
    ]
    nothing = SystematicPart(name="", half_width=0.0)
    return PairedRatio(
        n_prompts=n_prompts,
        repetition=values[0],
        base=values[1],
        prompts=prompts_part(columns, tuple(term.power for term in terms), percentiles=False, widening=widening),
        reading=_reading(terms) if amount.sensed else nothing,
        runs=_runs(logs) if amount.varies else RunsPart(sd=0.0, n_runs=tuple(map(len, logs))),
        gain=_gain(terms, {**base.gains, **repetition.gains}) if amount.sensed else nothing,
    )


@dataclass(frozen=True, kw_only=True)
class _Term:
    """One side in one mode: its repeats over the same prompts, and the power with which their total is in the ratio."""

    power: int
    runs: tuple[Figures, ...]
    amount: Amount

    @cached_property
    def table(self) -> FloatArray:
        """One row per repeat, one column per prompt."""
        return np.array([self.amount.column(run) for run in self.runs])

    @cached_property
    def mean(self) -> FloatArray:
        """Of each prompt, over the repeats."""
        return np.asarray(self.table.mean(axis=0), dtype=np.float64)

    @cached_property
    def totals(self) -> FloatArray:
        """Of each repeat, over the prompts."""
        return np.asarray(self.table.sum(axis=1), dtype=np.float64)

    @property
    def reading(self) -> float | None:
        """Relative half-width of the readings: those of all queries may be wrong in one direction."""
        half_width_j = sum(float(run.energy_half_width_j.sum()) for run in self.runs)
        return None if math.isnan(half_width_j) else half_width_j / float(self.totals.sum())

    @property
    def shares(self) -> dict[tuple[str, Method], float]:
        """Of each device in the joules."""
        shares: dict[tuple[str, Method], float] = {}
        for run in self.runs:
            for device, joules in run.by_device_j.items():
                shares[device] = shares.get(device, 0.0) + float(np.nansum(joules)) / float(self.totals.sum())
        return shares


def _of_side(terms: Sequence[_Term], powers: Sequence[int], place: int) -> list[tuple[_Term, int]]:
    """The terms of the repetition (0) or of the base (1), with their powers in that side's own figure."""
    return list(zip(terms[place * len(powers) :], powers, strict=False))


def _common(runs: Sequence[Figures], amount: Amount) -> list[Figures]:
    """The prompts whose amount is known in all of them, in the first one's order, in each."""
    shared = runs[0]
    for other in runs[1:]:
        shared, _ = paired(shared, other)
    aligned = [paired(shared, run)[1] for run in runs]
    known = np.all([~np.isnan(amount.column(run)) for run in aligned], axis=0)
    return [run.at(known) for run in aligned]


def _reading(terms: Sequence[_Term]) -> SystematicPart:
    return SystematicPart(name="sensor reading", half_width=quadrature(term.reading for term in terms))


def _runs(logs: Sequence[FloatArray]) -> RunsPart:
    n_runs = tuple(map(len, logs))
    dof = sum(n - 1 for n in n_runs)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in logs)
    return RunsPart(sd=math.sqrt(squares / dof) if dof else None, n_runs=n_runs)


def _gain(terms: Sequence[_Term], gains: Gains) -> SystematicPart:
    weights: dict[tuple[str, Method], float] = {}
    for term in terms:
        for device, share in term.shares.items():
            weights[device] = weights.get(device, 0.0) + term.power * share
    moved = [(gains.get(device), weight) for device, weight in weights.items() if abs(weight) > CANCELLED]
    half_width = quadrature(None if gain is None else gain * weight for gain, weight in moved)
    return SystematicPart(name="board gain", half_width=half_width)
