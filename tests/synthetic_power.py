"""Power as a known function of time, and what a perfect sensor would say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.records import MARK_CHANNEL, Boundary, Channel, Method, Quantity, Segment

GPU = "GPU-11111111-2222-3333-4444-555555555555"
COUNTER = Channel(
    device=GPU,
    boundary=Boundary.GPU_BOARD,
    method=Method.NVML_COUNTER,
    quantity=Quantity.ENERGY_J,
    gain_half_width=0.05,
)
POWER = COUNTER.model_copy(
    update={"method": Method.NVML_POWER, "quantity": Quantity.POWER_W, "duration_window_s": 0.025}
)
AVERAGED = POWER.model_copy(update={"duration_window_s": 1.0})
PACKAGE = Channel(
    device="cpu-package-0", boundary=Boundary.HOST, method=Method.RAPL, quantity=Quantity.ENERGY_J, gain_half_width=None
)
ESTIMATE = Channel(
    device="codecarbon-host-model",
    boundary=Boundary.HOST,
    method=Method.ESTIMATED,
    quantity=Quantity.POWER_W,
    duration_period_s=0.5,
)


@dataclass(frozen=True, slots=True)
class Power:
    """Piecewise linear watts over (time, watts) knots; two knots at one instant are a step. Constant outside."""

    knots: tuple[tuple[float, float], ...]

    @classmethod
    def constant(cls, power_w: float) -> Power:
        return cls(((0.0, power_w),))

    @classmethod
    def steps(cls, idle_w: float, *levels: tuple[float, float, float]) -> Power:
        """`idle_w`, but for (start, end, watts) stretches in order."""
        knots: list[tuple[float, float]] = [(0.0, idle_w)]
        for start_s, end_s, power_w in levels:
            knots += [(start_s, idle_w), (start_s, power_w), (end_s, power_w), (end_s, idle_w)]
        return cls(tuple(knots))

    def energy_j(self, time_start_s: float, time_end_s: float) -> float:
        """Exact integral."""
        return self._until_j(time_end_s) - self._until_j(time_start_s)

    def mean_w(self, time_start_s: float, time_end_s: float) -> float:
        return self.energy_j(time_start_s, time_end_s) / (time_end_s - time_start_s)

    def _until_j(self, time_s: float) -> float:
        """From the first knot on, by trapezoids."""
        (last_s, last_w), energy_j = self.knots[0], 0.0
        if time_s < last_s:
            return (time_s - last_s) * last_w
        for next_s, next_w in self.knots[1:]:
            if next_s >= time_s:
                if next_s > last_s:
                    at_w = last_w + (next_w - last_w) * (time_s - last_s) / (next_s - last_s)
                    return energy_j + (time_s - last_s) * (last_w + at_w) / 2
                return energy_j
            energy_j += (next_s - last_s) * (last_w + next_w) / 2
            last_s, last_w = next_s, next_w
        return energy_j + (time_s - last_s) * last_w


NO_POWER = Power.constant(0.0)
"""Of a board that draws nothing: no tick has a shape to be found, so a session costs little. Its queries run when they
run on any other board."""


def tick_times(time_start_s: float, time_end_s: float, period_s: float = 0.1, phase_s: float = 0.0371) -> list[float]:
    """Instants at which a counter moves."""
    first = int(np.ceil((time_start_s - phase_s) / period_s))
    last = int(np.floor((time_end_s - phase_s) / period_s))
    return [phase_s + index * period_s for index in range(first, last + 1)]


def counter(
    power: Power,
    ticks_s: Sequence[float],
    *,
    channel: int = 0,
    bracket_s: float = 0.001,
    resolution_j: float = 0.001,
    seed: int = 0,
    offset_j: float = 1_234_567.891,
) -> Segment:
    """A counter's ticks, each caught between two polls `bracket_s` apart that lie around it at random."""
    before_s = np.random.default_rng(seed).uniform(0.0, bracket_s, len(ticks_s))
    energies = np.array([power.energy_j(0.0, tick_s) for tick_s in ticks_s])
    if resolution_j:
        energies = np.floor(energies / resolution_j) * resolution_j
    return Segment(
        channel=np.full(len(ticks_s), channel, dtype=np.int64),
        time_before_s=np.array(ticks_s) - before_s,
        time_after_s=np.array(ticks_s) - before_s + bracket_s,
        value=energies + offset_j,
    )


def power_readings(power: Power, times_s: Sequence[float], window_s: float, *, channel: int = 0) -> Segment:
    """Mean power over the `window_s` before each update, polled just before the next one and at it."""
    values = [power.mean_w(time_s - window_s, time_s) for time_s in times_s]
    polled = [times_s[0], *(time_s + moved_s for time_s in times_s[1:] for moved_s in (-0.001, 0.0))]
    shown = [values[0], *(value for pair in pairwise(values) for value in pair)]
    times = np.array(polled)
    return Segment(
        channel=np.full(len(times), channel, dtype=np.int64),
        time_before_s=times,
        time_after_s=times,
        value=np.array(shown),
    )


def marks(*times_s: float) -> Segment:
    """Marked edges."""
    times = np.array(times_s, dtype=np.float64)
    return Segment(
        channel=np.full(len(times), MARK_CHANNEL, dtype=np.int64),
        time_before_s=times,
        time_after_s=times,
        value=np.zeros(len(times)),
    )


def joined(*segments: Segment) -> Segment:
    """One segment after the other."""
    return Segment(
        channel=np.concatenate([segment.channel for segment in segments]),
        time_before_s=np.concatenate([segment.time_before_s for segment in segments]),
        time_after_s=np.concatenate([segment.time_after_s for segment in segments]),
        value=np.concatenate([segment.value for segment in segments]),
    )


def portion(segment: Segment, start: int, end: int) -> Segment:
    """Rows [start, end)."""
    return Segment(
        channel=segment.channel[start:end],
        time_before_s=segment.time_before_s[start:end],
        time_after_s=segment.time_after_s[start:end],
        value=segment.value[start:end],
    )
