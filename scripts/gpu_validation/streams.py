"""One board's readings as arrays, and what was done meanwhile. Pure.

All times are seconds on the session clock. Between two ticks of the counter the energy is taken as a straight line:
the experiments ask only at ticks, or where power is steady.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from harness.records import Channel, Quantity, Record, Segment

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
N_TICKS_LEAST = 6


class Stretch(Record):
    """Something that was done between two instants. `facts`: its settings and what was counted, by name with unit."""

    name: str
    time_start_s: float
    time_end_s: float
    facts: dict[str, float | str | None] = Field(default={})

    def number(self, fact: str) -> float:
        """A fact that must be a number.

        Raises:
            ValueError: It is none.
        """
        value = self.facts[fact]
        if not isinstance(value, int | float):
            raise ValueError(f"{self.name} has no number {fact}: {value!r}.")
        return float(value)


@dataclass(frozen=True, slots=True)
class Comb:
    """When a counter ticks: at `time_first_s + k * period_s`; `residual_s` is the rms distance from that."""

    time_first_s: float
    period_s: float
    residual_s: float

    def next_after_s(self, time_s: float) -> float:
        """The first instant after `time_s`."""
        return self.time_first_s + (math.floor((time_s - self.time_first_s) / self.period_s) + 1) * self.period_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Counter ticks and power readings of one board, each in order; empty where the board has none.

    A tick lies between `tick_before_s` (the last poll that showed the old value) and `tick_after_s`.
    """

    tick_before_s: FloatArray
    tick_after_s: FloatArray
    tick_j: FloatArray
    power_s: FloatArray
    power_w: FloatArray

    @classmethod
    def of(cls, channels: Sequence[Channel], segment: Segment, device: str) -> Stream:
        """One board's rows of a segment."""
        rows = {}
        for quantity in (Quantity.ENERGY_J, Quantity.POWER_W):
            index = next(
                (n for n, channel in enumerate(channels) if channel.device == device and channel.quantity is quantity),
                None,
            )
            rows[quantity] = np.zeros(len(segment.channel), dtype=bool) if index is None else segment.channel == index
        ticks, power = rows[Quantity.ENERGY_J], rows[Quantity.POWER_W]
        return cls(
            tick_before_s=segment.time_before_s[ticks],
            tick_after_s=segment.time_after_s[ticks],
            tick_j=segment.value[ticks],
            power_s=segment.time_after_s[power],
            power_w=segment.value[power],
        )

    @property
    def tick_s(self) -> FloatArray:
        """The middle of each tick's bracket."""
        return (self.tick_before_s + self.tick_after_s) / 2

    def comb(self, time_from_s: float = -np.inf) -> Comb | None:
        """The ticks since `time_from_s` as a comb, by least squares; None: too few of them.

        A missed tick makes a gap of two periods, so each tick is first given its number.
        """
        ticks_s = self.tick_s[self.tick_s >= time_from_s]
        if len(ticks_s) < N_TICKS_LEAST:
            return None
        period_s = float(np.median(np.diff(ticks_s)))
        # Numbered from tick to tick: a rough period times a large number would be off by one in the end.
        numbers = np.concatenate([[0.0], np.cumsum(np.maximum(1.0, np.round(np.diff(ticks_s) / period_s)))])
        slope_s, first_s = np.polyfit(numbers, ticks_s, 1)
        residual_s = float(np.sqrt(np.mean((first_s + slope_s * numbers - ticks_s) ** 2)))
        return Comb(float(first_s), float(slope_s), residual_s)

    def between_ticks(self, time_start_s: float, time_end_s: float) -> tuple[float, float, float] | None:
        """First and last tick inside an interval and the joules between them; None: fewer than two ticks."""
        inside = np.flatnonzero((self.tick_s >= time_start_s) & (self.tick_s <= time_end_s))
        if len(inside) < 2:
            return None
        first, last = int(inside[0]), int(inside[-1])
        ticks_s = self.tick_s
        return float(ticks_s[first]), float(ticks_s[last]), float(self.tick_j[last] - self.tick_j[first])

    def counter_mean_w(self, time_start_s: float, time_end_s: float) -> float | None:
        """Mean power by the counter over the whole ticks inside an interval."""
        found = self.between_ticks(time_start_s, time_end_s)
        return None if found is None else found[2] / (found[1] - found[0])

    def shown_j(self, time_s: float) -> float | None:
        """What a client that reads the counter at an instant sees: the last tick's value."""
        index = int(np.searchsorted(self.tick_after_s, time_s, side="right")) - 1
        return None if index < 0 else float(self.tick_j[index])

    def power_mean_w(self, time_start_s: float, time_end_s: float) -> float | None:
        """Mean of the power readings over an interval, each held until the next; None where they do not cover it."""
        first = int(np.searchsorted(self.power_s, time_start_s, side="right")) - 1
        last = int(np.searchsorted(self.power_s, time_end_s, side="left"))
        if first < 0 or last <= first:
            return None
        edges_s = np.clip(np.append(self.power_s[first:last], time_end_s), time_start_s, time_end_s)
        return float(np.dot(np.diff(edges_s), self.power_w[first:last]) / (time_end_s - time_start_s))


def joined(segments: Sequence[Segment]) -> Segment:
    """Segments one after the other."""
    return Segment(
        channel=np.concatenate([part.channel for part in segments]) if segments else np.zeros(0, dtype=np.int64),
        time_before_s=np.concatenate([part.time_before_s for part in segments]) if segments else np.zeros(0),
        time_after_s=np.concatenate([part.time_after_s for part in segments]) if segments else np.zeros(0),
        value=np.concatenate([part.value for part in segments]) if segments else np.zeros(0),
    )
