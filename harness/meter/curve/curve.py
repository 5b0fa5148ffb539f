"""E(t): the cumulative energy of one device, and what may be asked of it. Made by `builder.py`."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.curve.shape import Z_95, Shape
from harness.meter.curve.status import Happening
from harness.records import Channel, Finding, Method, Quantity

if TYPE_CHECKING:
    from harness.records import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A finished curve: knots with cumulative energy and its uncertainty, as arrays of one length.

    `sample_time_s` are the readings' instants, `duration_period_s` the median distance of updates. `shapes` are the
    ticks in which edges were marked, in order; `holes` the stretches whose energy is unknown.
    """

    channel: Channel
    time_s: FloatArray
    energy_total_j: FloatArray
    half_width_at_j: FloatArray
    variance_total_j2: FloatArray
    variance_blind_j2: FloatArray
    sample_time_s: FloatArray
    duration_period_s: float | None
    shapes: tuple[Shape, ...] = ()
    holes: tuple[tuple[float, float], ...] = ()
    happenings: tuple[Happening, ...] = ()
    session_findings: tuple[Finding, ...] = ()

    @property
    def time_first_s(self) -> float | None:
        """Where the curve begins."""
        return float(self.time_s[0]) if len(self.time_s) else None

    @property
    def time_last_s(self) -> float | None:
        """Where the curve ends."""
        return float(self.time_s[-1]) if len(self.time_s) else None

    def covers(self, time_start_s: float, time_end_s: float) -> bool:
        """Whether the readings reach from before the start to after the end."""
        return len(self.time_s) > 0 and self.time_s[0] <= time_start_s and time_end_s <= self.time_s[-1]

    def is_known(self, time_start_s: float, time_end_s: float) -> bool:
        """Whether the sensor, or readings that stand in for it, gave an energy all the time."""
        return not any(start_s < time_end_s and end_s > time_start_s for start_s, end_s in self.holes)

    def energy_j(self, time_start_s: float, time_end_s: float) -> float:
        """E(end) - E(start) in joules."""
        start_j, end_j = np.interp([time_start_s, time_end_s], self.time_s, self.energy_total_j)
        return float(end_j - start_j)

    def cumulative_j(self, times_s: FloatArray) -> FloatArray:
        """E at many instants, in joules from the curve's beginning; flat before it and after its end."""
        start_j = float(self.energy_total_j[0])
        return np.interp(times_s, self.time_s, self.energy_total_j) - start_j

    def instant_half_width_j(self, times_s: FloatArray) -> FloatArray:
        """Half-width of the 95 % interval of where within its tick the energy of each instant lies."""
        return np.interp(times_s, self.time_s, self.half_width_at_j)

    def gathered_j2(self, times_s: FloatArray) -> FloatArray:
        """95 % half-width squared that has gathered from the curve's beginning to each instant, blind time included."""
        return np.interp(times_s, self.time_s, self.variance_total_j2 + self.variance_blind_j2)

    def half_width_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """Half-width of the 95 % interval of `energy_j`, blind time included.

        Two ends in different ticks err independently, and in one tick as its shape has it.
        """
        if self.channel.method is Method.ESTIMATED:
            return None
        variance_j2 = self._ends_j2(time_start_s, time_end_s)
        ends = [time_start_s, time_end_s]
        gathered = np.interp(ends, self.time_s, self.variance_total_j2)
        blind = np.interp(ends, self.time_s, self.variance_blind_j2)
        return float(np.sqrt(variance_j2 + gathered[1] - gathered[0] + blind[1] - blind[0]))

    def blind_half_width_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """The part of `half_width_j` that comes from what a part-time counter did not see; None: it sees everything."""
        if self.channel.quantity is not Quantity.ENERGY_J or self.channel.duration_window_s is None:
            return None
        blind = np.interp([time_start_s, time_end_s], self.time_s, self.variance_blind_j2)
        return float(np.sqrt(blind[1] - blind[0]))

    def findings(self, time_start_s: float, time_end_s: float) -> tuple[Finding, ...]:
        """What happened to the device and its sensor meanwhile, each once."""
        return tuple(
            dict.fromkeys(
                happening.finding
                for happening in self.happenings
                if happening.time_start_s < time_end_s and happening.time_end_s > time_start_s
            )
        )

    def n_samples(self, time_start_s: float, time_end_s: float) -> int:
        """Readings that fall into the interval."""
        first, last = np.searchsorted(self.sample_time_s, [time_start_s, time_end_s])
        return int(last - first)

    def duration_gap_largest_s(self, time_start_s: float, time_end_s: float) -> float:
        """The longest stretch between two readings that overlaps the interval."""
        first = max(int(np.searchsorted(self.sample_time_s, time_start_s, side="right")) - 1, 0)
        last = int(np.searchsorted(self.sample_time_s, time_end_s, side="left")) + 1
        around = self.sample_time_s[first:last]
        return float(np.max(np.diff(around))) if len(around) > 1 else time_end_s - time_start_s

    def _ends_j2(self, time_start_s: float, time_end_s: float) -> float:
        """Square of the 95 % half-width that the two ends leave."""
        shape = self._shape_with(time_start_s, time_end_s)
        if shape is None:
            return float(np.sum(np.interp([time_start_s, time_end_s], self.time_s, self.half_width_at_j) ** 2))
        weights = shape.weights(time_end_s) - shape.weights(time_start_s)
        variance_j2 = float(weights @ shape.covariance_j2 @ weights)
        return Z_95**2 * max(variance_j2, 0.0)

    def _shape_with(self, time_start_s: float, time_end_s: float) -> Shape | None:
        place = bisect.bisect_right(self.shapes, time_start_s, key=lambda shape: shape.start_s) - 1
        if place < 0 or time_end_s > self.shapes[place].end_s:
            return None
        return self.shapes[place]
