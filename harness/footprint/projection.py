"""From joules per query to a fleet's MW and TWh a year, by Monte Carlo over everything that has a range.

Every part of the measured interval and every stated range is drawn independently, log-normal with its value as the
median; a range whose ends lie unequally far from the value is drawn with each side's own width. A factor that cannot be
below 1 is not drawn below 1. What has no range is taken as exact, and what nobody knows is named and left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.footprint.batch import serving
from harness.footprint.energy import Carried
from harness.footprint.facility import FACILITY
from harness.footprint.spread import Spread, Z
from harness.footprint.steps import Step
from harness.footprint.year import energy_twh, power_mw
from harness.records import Record

if TYPE_CHECKING:
    from harness.records import FloatArray

CENTRAL = (2.5, 97.5)
QUERIES = "queries a day"


class VarianceShare(Record):
    """How much of the result's variance, on the log scale, one step or part contributes. All of them add up to 1."""

    name: str
    share: float


class Projection(Record):
    """What one mode's queries would draw as a fleet. Interval: 95 %, None where none is known."""

    mode: str
    estimated: bool
    energy_per_query_j: Spread
    steps: tuple[Step, ...]
    energy_per_query_carried_j: Spread
    power_mw: Spread
    energy_twh: Spread
    energy_it_twh: Spread
    """Of the IT equipment, as far as it is known: without the facility's step."""
    shares: tuple[VarianceShare, ...]
    unknown: tuple[str, ...]
    power_alone_mw: Spread | None = None
    """Where a busy server's factor was applied: without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """One independent factor around 1, as drawn."""

    name: str
    logs: FloatArray


def project(
    mode: Carried, queries_per_day: Spread, *, batch_factor: Spread | None, draws: int, seed: int
) -> Projection:
    """One mode as a fleet.

    Args:
        mode: Its joules, carried to whatever boundary was stated.
        queries_per_day: Of the fleet.
        batch_factor: To divide by; None: each query is alone on its boards, as it was measured.
        draws: Of the Monte Carlo.
        seed: Of its random numbers; every mode of a run gets the same draws of what they share.
    """
    subject = mode.subject
    busy = () if batch_factor is None else (serving(batch_factor),)
    asked = Step(
        name=QUERIES,
        factor=queries_per_day,
        measured=False,
        source="stated by the user",
    )
    steps = (*mode.steps, *busy, asked)
    value_j = subject.energy_j * math.prod(step.acting.value for step in (*mode.steps, *busy))
    terms = [] if subject.estimated else _terms(subject.parts, steps, draws, seed)
    per_query = [term for term in terms if term.name != QUERIES]
    alone = [term for term in terms if term.name not in [step.name for step in busy]]
    n = queries_per_day.value
    value_it_j = subject.energy_j * math.prod(
        step.acting.value for step in (*mode.steps, *busy) if step.name != FACILITY
    )
    value_alone_j = value_j * (1.0 if batch_factor is None else batch_factor.value)
    return Projection(
        mode=subject.mode,
        estimated=subject.estimated,
        energy_per_query_j=Spread(value=subject.energy_j) if subject.estimated else subject.energy,
        steps=steps,
        energy_per_query_carried_j=_drawn(value_j, per_query),
        power_mw=_drawn(power_mw(value_j, n), terms),
        energy_twh=_drawn(energy_twh(value_j, n), terms),
        energy_it_twh=_drawn(energy_twh(value_it_j, n), [term for term in terms if term.name != FACILITY]),
        shares=_shares(terms),
        unknown=subject.unknown,
        power_alone_mw=None if batch_factor is None else _drawn(power_mw(value_alone_j, n), alone),
    )


def _terms(parts: Sequence[tuple[str, Spread]], steps: Sequence[Step], draws: int, seed: int) -> list[_Term]:
    """The drawn factors. Each has random numbers of its own name, so that another step beside it changes none."""
    terms = [_Term(name=name, logs=_logs(part, draws, seed, name)) for name, part in parts]
    for step in steps:
        logs = _logs(step.factor, draws, seed, step.name)
        if step.at_least > 0 and step.factor.value > 0:
            logs = np.maximum(logs, math.log(step.at_least / step.factor.value))
        terms.append(_Term(name=step.name, logs=-logs if step.sign == "÷" else logs))
    return [term for term in terms if term.logs.any()]


def _logs(spread: Spread, draws: int, seed: int, name: str) -> FloatArray:
    """Natural logs of the drawn figure over its value."""
    below, above = spread.log_deviations
    if below == 0 and above == 0:
        return np.zeros(draws)
    normal = np.random.default_rng([seed, *name.encode()]).standard_normal(draws)
    return np.where(normal < 0, normal * (below / Z), normal * (above / Z))


def _drawn(value: float, terms: Sequence[_Term]) -> Spread:
    """The figure with the central 95 % of its draws."""
    if not terms or value == 0:
        return Spread(value=value)
    logs = np.sum([term.logs for term in terms], axis=0)
    low, high = (value * math.exp(float(each)) for each in np.percentile(logs, CENTRAL))
    return Spread(value=value, low=min(low, value), high=max(high, value))


def _shares(terms: Sequence[_Term]) -> tuple[VarianceShare, ...]:
    """Independent terms add their variances; the largest first."""
    variances = {term.name: float(np.var(term.logs)) for term in terms}
    total = sum(variances.values())
    if total == 0:
        return ()
    ordered = sorted(variances.items(), key=lambda item: -item[1])
    return tuple(VarianceShare(name=name, share=variance / total) for name, variance in ordered)
