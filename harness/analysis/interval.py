"""The parts of an interval on the log scale, each with its reach at any level, and how they are put together.

A part's reach is how far the truth may lie below and above the value, each at one-sided alpha. Independent parts are
combined by MOVER: the root of the sum of squared reaches, each side for itself (G. Y. Zou and A. Donner, Statistics in
Medicine 27, 2008).

Knows distributions and what shrinks with more queries or repeats. Must not know budgets or runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.bootstrap import (
    N_LEAST,
    N_LEAST_STUDENTIZED,
    N_LIMIT,
    N_RESAMPLES,
    ROUNDING,
    T_MOST,
    TAIL,
    Draws,
    FloatArray,
    Z,
    grouped,
    log_deviation,
    studentized_draws,
)
from harness.analysis.student import NORMAL, t_upper, z_upper

ALPHA_LEAST = 1e-9
"""No p-value is said to be smaller."""
N_STEPS = 24
"""Halvings of a level's normal point, of 6: to 4e-7."""
ALPHA_DRAWN = 10 / N_RESAMPLES
"""A quantile beyond the last ten resamples is not read from them: they go on as the normal does."""
Z_DRAWN = z_upper(ALPHA_DRAWN)


@dataclass(frozen=True, slots=True)
class Reach:
    """Logs, at least 0; infinite where nothing bounds that side."""

    low: float
    high: float


NONE = Reach(0.0, 0.0)
UNBOUNDED = Reach(math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptsPart:
    """Another sample of prompts: studentized bootstrap over whole prompts.

    Below 20 prompts it is Student's t, from 20,000 on the normal. With `percentiles` the resamples' own logs are asked
    too, and the wider answer counts on each side: a resample without a correct answer has an honest place in their
    order, and none in that of t.
    """

    n: int
    deviation: float
    draws: Draws | None
    is_degenerate: bool = False
    percentiles: bool = False
    widening: float = 1.0
    note: str | None = None
    name: str = "prompts"

    @classmethod
    def of(
        cls,
        columns: FloatArray,
        powers: tuple[int, ...],
        *,
        percentiles: bool = False,
        widening: float = 1.0,
        note: str | None = None,
    ) -> PromptsPart:
        """From the sums whose product of powers is the value.

        Args:
            columns: One row per prompt, every sum above zero, at least two rows.
            powers: One per column; they add up to zero.
            percentiles: Whether a sum of a resample may be zero.
            widening: Of a run that could stop early.
            note: In words.
        """
        n = len(columns)
        deviation = log_deviation(columns, powers)
        least = N_LEAST if percentiles else N_LEAST_STUDENTIZED
        drawn = n >= least and (percentiles or n < N_LIMIT) and deviation >= ROUNDING
        draws = studentized_draws(grouped(columns), powers)[0] if drawn else None
        return cls(
            n=n,
            deviation=deviation,
            draws=draws,
            # As `bootstrap.product_interval` decides it: nearly all prompts are equal, and t has no bounds.
            is_degenerate=draws is not None and max(-lower(draws.t, TAIL), upper(draws.t, TAIL)) > T_MOST,
            percentiles=percentiles,
            widening=widening,
            note=note,
        )

    @property
    def dof(self) -> float | None:
        """Below 20 prompts."""
        return self.n - 1 if N_LEAST <= self.n < N_LEAST_STUDENTIZED else None

    @property
    def is_too_small(self) -> bool:
        """Whether there are too few prompts for any interval."""
        return self.n < N_LEAST

    def reach(self, alpha: float) -> Reach:
        """Below five prompts there is no end."""
        if self.is_too_small:
            return UNBOUNDED
        if self.deviation < ROUNDING:
            return NONE
        own = self._studentized(alpha)
        if self.percentiles and self.draws is not None:
            drawn = self._percentiles(self.draws, alpha)
            own = Reach(max(own.low, drawn.low), max(own.high, drawn.high))
        return Reach(self.widening * own.low, self.widening * own.high)

    def _studentized(self, alpha: float) -> Reach:
        if self.n < N_LEAST_STUDENTIZED or self.draws is None:
            reach = self.deviation * (z_upper(alpha) if self.dof is None else t_upper(alpha, self.n - 1))
            return Reach(reach, reach)
        t = self.draws.t
        if self.is_degenerate:
            return self._percentiles(self.draws, alpha)
        return Reach(self.deviation * max(0.0, upper(t, alpha)), self.deviation * max(0.0, -lower(t, alpha)))

    @staticmethod
    def _percentiles(draws: Draws, alpha: float) -> Reach:
        return Reach(max(0.0, -lower(draws.log_low, alpha)), max(0.0, upper(draws.log_high, alpha)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPart:
    """Another repeat: temperature, clocks, other work. Student's t with a measured spread, the normal with a stated."""

    sd: float | None
    n_runs: tuple[int, ...]
    measured: bool = True
    note: str | None = None
    name: str = "run to run"

    @property
    def dof(self) -> int | None:
        """Pooled over the sides; None: the spread is stated, or not known at all."""
        return sum(n - 1 for n in self.n_runs) if self.measured and self.sd is not None else None

    def reach(self, alpha: float) -> Reach:
        """Unbounded where one run of each is all there is."""
        if self.sd is None:
            return UNBOUNDED
        if self.sd < ROUNDING:
            return NONE
        point = z_upper(alpha) if self.dof is None else t_upper(alpha, self.dof)
        reach = point * self.sd * math.sqrt(sum(1 / n for n in self.n_runs))
        return Reach(reach, reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystematicPart:
    """What more queries and repeats do not shrink: a relative 95 % half-width, taken to be normal; None: not known.

    Upwards its reach is that of a value read too low by it, log(1 / (1 - h)), which is the longer.
    """

    name: str
    half_width: float | None
    note: str | None = None
    dof: float | None = None

    def reach(self, alpha: float) -> Reach:
        """Nothing bounds the value upwards where all of it may be error."""
        if self.half_width is None:
            return UNBOUNDED
        half_width = self.half_width / Z * z_upper(alpha)
        return Reach(half_width, -math.log1p(-half_width) if half_width < 1 else math.inf)


Part = PromptsPart | RunsPart | SystematicPart


def resized(part: Part, queries: float, repeats: int | None) -> Part:
    """A part as it would be with more of what shrinks it; what is systematic stays.

    Args:
        part: As it is.
        queries: Prompts over the present ones; the standard error over prompts shrinks with the root.
        repeats: Of every side; they average more, and know their own spread better. None: as they are.
    """
    if isinstance(part, PromptsPart):
        return replace(part, widening=part.widening / math.sqrt(queries))
    if isinstance(part, RunsPart) and repeats is not None:
        return replace(part, n_runs=tuple(max(n, repeats) for n in part.n_runs))
    return part


def combined(parts: Sequence[Part], alpha: float) -> Reach:
    """Of independent parts."""
    reaches = [part.reach(alpha) for part in parts]
    return Reach(math.hypot(*(each.low for each in reaches)), math.hypot(*(each.high for each in reaches)))


def level_below(parts: Sequence[Part], distance: float) -> float:
    """The level at which the lower end is this far below the value: the p-value of a truth that lies there.

    Args:
        parts: Of the interval.
        distance: A log; below zero the truth would lie above the value, and nothing speaks against it.

    Returns:
        Between 1e-9 and 1.
    """
    return _level(parts, distance) if distance >= 0 else 1 - _level(parts, -distance, above=True)


def level_above(parts: Sequence[Part], distance: float) -> float:
    """The level at which the upper end is this far above the value; see `level_below`."""
    return _level(parts, distance, above=True) if distance >= 0 else 1 - _level(parts, -distance)


def _level(parts: Sequence[Part], distance: float, *, above: bool = False) -> float:
    """By halving the normal's point of the level, between 0.5 and the least: the reach grows with it."""
    near, far = 0.0, z_upper(ALPHA_LEAST)
    for _ in range(N_STEPS):
        middle = (near + far) / 2
        reach = combined(parts, NORMAL.cdf(-middle))
        near, far = (middle, far) if (reach.high if above else reach.low) <= distance else (near, middle)
    return NORMAL.cdf(-far)


def upper(ordered: FloatArray, alpha: float) -> float:
    """The point of sorted resamples with `alpha` above it: an order statistic, beyond the last ten as the normal's.

    It is taken one standard error of its level further out: so many resamples know 5 % to a third of a point.

    Args:
        ordered: Sorted, upwards.
        alpha: Between 0 and 0.5.
    """
    return _outer(float(ordered[round((1 - _drawn(alpha)) * (len(ordered) - 1))]), alpha)


def lower(ordered: FloatArray, alpha: float) -> float:
    """The point of sorted resamples with `alpha` below it; see `upper`."""
    return -_outer(-float(ordered[round(_drawn(alpha) * (len(ordered) - 1))]), alpha)


def _drawn(alpha: float) -> float:
    """The level that is read from the resamples for this one."""
    return max(alpha - math.sqrt(alpha * (1 - alpha) / N_RESAMPLES), ALPHA_DRAWN)


def _outer(point: float, alpha: float) -> float:
    return point * z_upper(alpha) / Z_DRAWN if alpha < ALPHA_DRAWN and point > 0 else point
