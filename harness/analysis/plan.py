"""Before a run: what a few pilot queries say about the interval to expect, the time and the energy.

Model: a prompt's cost in the mode below the line is y, in the mode above it y r, with log r spread by s and
independent of y. The delta method then gives the ratio of totals over n prompts a relative standard error of
sqrt((exp(s^2) - 1) (1 + c^2) / n), with c the coefficient of variation of y. With one mode, the same for the mean
with c = 0. Of several modes the comparison with the widest interval decides. Five pilots know s only within a factor
of about two, so this is a forecast, not a promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import N_LEAST, Z, smallest_detectable
from harness.analysis.comparison import mode_pairs
from harness.analysis.measured import (
    QueryFigures,
    devices_by_session,
    figures_of,
    headline_readings,
    is_estimated,
)
from harness.analysis.summary import failed
from harness.records import Boundary, QueryRecord
from harness.units import J_PER_WH, S_PER_MIN

TARGET = 0.05
LOG_SD_MOST = 6.0
"""Beyond it the forecast is "hopeless" anyway, and the exponential leaves the floating-point range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to expect of a run. Half-widths are relative, of the 95 % interval over prompts.

    `of` says of what: the ratio of two modes' joules, or of their seconds where joules are only estimated, or
    one mode's mean. `smallest_detectable` is the relative difference of two modes that 80 % of runs of this size tell
    from none; None with one mode. Unknown is None: fewer than two pilots, or no energy.
    """

    of: str
    n_pilots: int
    n_prompts: int
    log_sd: float | None
    half_width_expected: float | None
    smallest_detectable: float | None
    target: float
    n_prompts_for_target: int | None
    duration_per_prompt_s: float | None
    energy_per_prompt_wh: float | None
    estimated: bool

    @property
    def duration_min(self) -> float | None:
        """Minutes for all prompts in all modes, loading and idle baselines not included."""
        per_prompt_s = self.duration_per_prompt_s
        return None if per_prompt_s is None else per_prompt_s * self.n_prompts / S_PER_MIN

    @property
    def energy_wh(self) -> float | None:
        """Watt-hours for all prompts in all modes, in the headline boundary."""
        return None if self.energy_per_prompt_wh is None else self.energy_per_prompt_wh * self.n_prompts


def plan(
    pilots: Sequence[QueryRecord],
    *,
    modes: Sequence[str],
    headline: Boundary,
    n_prompts: int,
    target: float = TARGET,
) -> Plan:
    """Forecast a run from its pilot queries.

    Args:
        pilots: The first few prompts, each in every mode.
        modes: Of the run.
        headline: The boundary of the energies.
        n_prompts: How many the run is to take.
        target: Relative half-width to reach.

    Returns:
        The forecast for `n_prompts`, and how many prompts the target needs.
    """
    devices = devices_by_session(pilots, headline)
    figures = [figures_of(query, headline, devices[query.session]) for query in pilots if not failed(query)]
    readings = [reading for query in pilots for reading in headline_readings(query, headline)]
    seconds = is_estimated(readings) or any(query.energy_j is None for query in figures)
    costs = {
        mode: {
            query.prompt_id: query.duration_s if seconds else query.energy_j or 0.0
            for query in figures
            if query.mode == mode
        }
        for mode in modes
    }
    spreads = [_spread(costs[above], costs[below], f"{above} over {below}") for above, below in mode_pairs(modes)]
    ones = dict.fromkeys(costs[modes[0]], 1.0)
    widest = max(spreads or [_spread(costs[modes[0]], ones, "")], key=lambda each: each.relative or 0.0)
    relative = widest.relative
    unit = "seconds" if seconds else "joules"
    return Plan(
        of=f"{unit}, {widest.of}" if spreads else f"mean {unit}",
        n_pilots=widest.n_pilots,
        n_prompts=n_prompts,
        log_sd=widest.log_sd,
        half_width_expected=None if relative is None else Z * relative / math.sqrt(n_prompts),
        smallest_detectable=None
        if relative is None or not spreads
        else smallest_detectable(relative / math.sqrt(n_prompts)),
        target=target,
        n_prompts_for_target=None if relative is None else max(N_LEAST, math.ceil((Z * relative / target) ** 2)),
        duration_per_prompt_s=_per_prompt([_mean_duration_s(figures, mode) for mode in modes]),
        energy_per_prompt_wh=_per_prompt([_mean_energy_wh(figures, mode) for mode in modes]),
        estimated=is_estimated(readings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """The relative standard error for one prompt, the log sd it comes from, and the pilots behind it."""

    of: str
    relative: float | None
    log_sd: float | None
    n_pilots: int


def _spread(above: Mapping[str, float], under: Mapping[str, float], of: str) -> _Spread:
    shared = [name for name in above if name in under and above[name] > 0 and under[name] > 0]
    if len(shared) < 2:
        return _Spread(of=of, relative=None, log_sd=None, n_pilots=len(shared))
    y = np.array([under[name] for name in shared])
    log_ratios = np.log([above[name] for name in shared]) - np.log(y)
    log_sd = float(log_ratios.std(ddof=1))
    variation = float(y.std(ddof=1) / y.mean())
    relative = math.sqrt(math.expm1(min(log_sd, LOG_SD_MOST) ** 2) * (1 + variation**2))
    return _Spread(of=of, relative=relative, log_sd=log_sd, n_pilots=len(shared))


def _mean_duration_s(figures: Sequence[QueryFigures], mode: str) -> float | None:
    values_s = [query.duration_s for query in figures if query.mode == mode]
    return math.fsum(values_s) / len(values_s) if values_s else None


def _mean_energy_wh(figures: Sequence[QueryFigures], mode: str) -> float | None:
    energies_j = [query.energy_j for query in figures if query.mode == mode]
    known_j = [energy_j for energy_j in energies_j if energy_j is not None]
    return math.fsum(known_j) / len(known_j) / J_PER_WH if known_j else None


def _per_prompt(per_mode: Sequence[float | None]) -> float | None:
    known = [value for value in per_mode if value is not None]
    return math.fsum(known) if len(known) == len(per_mode) else None
