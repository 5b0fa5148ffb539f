"""A sensor's card: what its idle half says, and what follows from a card for a measurement.

Pure: it works on polls that somebody made, and knows no driver. `characterize.py` makes the polls of an idle board,
`underload.py` completes a card from a session's readings, `card_cache.py` keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.records import Finding, FindingCode, SensorCard
from harness.units import J_PER_MJ

if TYPE_CHECKING:
    from harness.records import FloatArray

FEWEST_CHANGES = 4
"""Fewer changes of a value than this tell no period."""
LATE = 3.0
"""A change bracketed this much wider than usual was seen late, and says nothing of the sensor's jitter."""
MAD_TO_SD = 1.4826
"""Of a normal distribution."""
OFF_GRID = 0.15
"""How far a distance may lie from a whole number of periods, in periods."""
ON_GRID_SHARE = 0.8
FEWEST_INCREMENTS = 3
"""Different increments of the counter; under steady power they are all the same and tell no resolution."""
DISAGREEMENT = 0.05
"""Relative; counter and integrated power may differ by this much before it is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """One call made again and again: instants before and after each answer, in seconds, and what it said."""

    time_before_s: FloatArray
    time_after_s: FloatArray
    value: FloatArray

    @classmethod
    def of(cls, rows: Iterable[tuple[float, float, float]]) -> Polls:
        """From (before, after, value) rows."""
        columns = np.array(list(rows), dtype=np.float64).reshape(-1, 3)
        return cls(time_before_s=columns[:, 0], time_after_s=columns[:, 1], value=columns[:, 2])

    @property
    def duration_call_s(self) -> float | None:
        """Median length of a call in seconds; None without any."""
        return float(np.median(self.time_after_s - self.time_before_s)) if len(self.value) else None

    def changes(self) -> Changes:
        """When the value changed, which lies between the poll before and the one that showed it."""
        moved = np.flatnonzero(np.diff(self.value) != 0.0) + 1
        begin_s, end_s = self.time_before_s[moved - 1], self.time_after_s[moved]
        return Changes(time_s=(begin_s + end_s) / 2, bracket_s=end_s - begin_s, step=np.diff(self.value)[moved - 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Instants at which a value changed, how long the brackets around them are (s), and by how much it changed."""

    time_s: FloatArray
    bracket_s: FloatArray
    step: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleFindings:
    """What polling a board that did nothing shows. None: it could not be seen."""

    duration_tick_s: float | None
    duration_tick_jitter_s: float | None
    resolution_j: float | None
    duration_power_period_s: float | None
    power_idle_w: float | None


def idle_findings(counter: Polls, power: Polls) -> IdleFindings:
    """What an idle board's polls say of its sensor.

    Args:
        counter: Of the energy counter, in joules; empty where there is none.
        power: In watts, answers of 0 W included.
    """
    ticks = counter.changes()
    tick_s, jitter_s = tick_and_jitter_s(ticks)
    # A powered board draws something: 0 W is how some boards answer a call that came too early.
    drawn = power.value > 0.0
    kept = Polls(
        time_before_s=power.time_before_s[drawn], time_after_s=power.time_after_s[drawn], value=power.value[drawn]
    )
    power_w = float(np.median(kept.value)) if len(kept.value) else _mean_power_w(counter)
    return IdleFindings(
        duration_tick_s=tick_s,
        duration_tick_jitter_s=jitter_s,
        resolution_j=resolution_j(ticks.step),
        duration_power_period_s=update_period_s(kept.changes()),
        power_idle_w=power_w,
    )


def tick_and_jitter_s(ticks: Changes) -> tuple[float | None, float | None]:
    """Median distance of a counter's ticks, and the spread around it (one standard deviation), in seconds.

    The spread holds the polling's own, so it is an upper bound of the sensor's. Backward moves (a counter that was
    reset) and changes that were seen late are left out.
    """
    if len(ticks.time_s) < FEWEST_CHANGES:
        return None, None
    prompt = ticks.bracket_s <= LATE * np.median(ticks.bracket_s)
    kept = prompt & (ticks.step > 0.0)
    neighbours = kept[1:] & kept[:-1]
    distances_s = np.diff(ticks.time_s)[neighbours]
    if len(distances_s) < FEWEST_CHANGES - 1:
        return None, None
    median_s = float(np.median(distances_s))
    return median_s, MAD_TO_SD * float(np.median(np.abs(distances_s - median_s)))


def resolution_j(steps_j: FloatArray) -> float | None:
    """Greatest common divisor of a counter's increments, in joules; None where they are too much alike to tell."""
    steps_mj = np.unique(np.rint(steps_j[steps_j > 0.0] / J_PER_MJ).astype(np.int64))
    if len(steps_mj) < FEWEST_INCREMENTS:
        return None
    return float(np.gcd.reduce(steps_mj)) * J_PER_MJ or None


def update_period_s(changes: Changes) -> float | None:
    """Seconds between a reading's updates, from its changes; None where they are too few or keep no beat.

    A new reading may equal the last one, so distances are whole numbers of periods.
    """
    distances_s = np.diff(changes.time_s)
    if len(distances_s) < FEWEST_CHANGES - 1:
        return None
    looked_s = float(np.median(changes.bracket_s))
    # Where most readings equal the one before, the median distance is a multiple of the period.
    for base_s in (float(np.median(distances_s)), float(np.quantile(distances_s, 0.1))):
        if base_s <= 1.5 * looked_s:
            return None  # it changes at every look, or nearly: the looks were too far apart
        n_periods = np.maximum(np.rint(distances_s / base_s), 1.0)
        off_s = np.abs(distances_s - n_periods * base_s)
        if np.mean(off_s < OFF_GRID * base_s + min(looked_s, OFF_GRID * base_s)) >= ON_GRID_SHARE:
            return float(np.sum(distances_s) / np.sum(n_periods))
    return None


def merged(idle: SensorCard, known: SensorCard | None) -> SensorCard:
    """A fresh look at the idle board, with what an earlier card of it saw under load.

    What this look could not show is taken from the earlier card too; another board's or driver's card is no help.
    """
    if known is None or (known.uuid, known.driver) != (idle.uuid, idle.driver):
        return idle
    fields = {name: value for name, value in known if getattr(idle, name) is None and value is not None}
    if not idle.counter:
        # A counter that is gone has no tick either.
        fields = {name: value for name, value in fields.items() if "tick" not in name and "counter" not in name}
    return idle.model_copy(update=fields)


def card_findings(card: SensorCard) -> tuple[Finding, ...]:
    """What a card gives to doubt about every measurement on its board."""
    found = []
    if card.counter and card.integrates is False:
        window_s = card.duration_counter_window_s
        seen = f": about {1e3 * window_s:.0f} ms of each tick" if window_s else ""
        found.append(Finding(code=FindingCode.PART_TIME_COUNTER, detail=f"{card.uuid}{seen}"))
    ratio, half_width = card.ratio_counter_to_power, card.ratio_counter_to_power_half_width
    if ratio is not None and half_width is not None and abs(ratio - 1.0) - half_width > DISAGREEMENT:
        detail = f"{card.uuid}: counter over power {ratio:.3f} ± {half_width:.3f}"
        found.append(Finding(code=FindingCode.COUNTER_AGAINST_POWER, detail=detail))
    return tuple(found)


def _mean_power_w(counter: Polls) -> float | None:
    """From a counter's own first and last tick, where no power can be read."""
    ticks = counter.changes()
    if len(ticks.time_s) < FEWEST_CHANGES or np.any(ticks.step < 0.0):
        return None
    power_w = float(np.sum(ticks.step[1:]) / (ticks.time_s[-1] - ticks.time_s[0]))
    return power_w if math.isfinite(power_w) else None
