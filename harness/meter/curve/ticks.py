"""From a channel's readings to ticks: stretches of time whose energy is known.

A counter's tick lies between two caught changes of its value. Where a counter fails (it falls, stands still, or jumps
by more than any board draws) the board's power readings stand in, and the tick says so; where there are none either,
its energy is unknown. Readings of power, where there is no counter, make a tick each.
"""

from __future__ import annotations

import bisect
import math
import statistics
from array import array
from collections import deque
from dataclasses import dataclass

import numpy as np

from harness.records import Channel, FindingCode, Method, Quantity

HIGHEST_W = 3000.0
"""No board draws more; a counter that says so has jumped."""
FROZEN_S = 5.0
"""An idle board moves its counter too: one that stands still for so long, while power is read, is frozen."""
LONGEST_PERIOD_S = 0.1
"""A power reading that has not changed for so long is taken for a new one that came out alike."""
N_LEARNT = 4
"""Changes of a power reading that tell its period."""
FILL_GAP_S = 1.0
"""Power readings further apart than this cannot stand in for a counter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The energy between two instants. `half_bracket_*_s` are the uncertainties of the instants.

    `energy_j` is None where nothing is known. `code` says why this tick is not the counter's own. `spread_w` is how
    far its power may lie from its mean in between, where that is known from readings inside it.
    """

    time_start_s: float
    time_end_s: float
    energy_j: float | None
    half_bracket_start_s: float = 0.0
    half_bracket_end_s: float = 0.0
    code: FindingCode | None = None
    spread_w: float | None = None

    @property
    def duration_s(self) -> float:
        """Length."""
        return self.time_end_s - self.time_start_s

    @property
    def power_w(self) -> float:
        """Mean power; 0 where nothing is known."""
        return (self.energy_j or 0.0) / self.duration_s


class PowerReadings:
    """Readings of power as they came, and what they integrate to."""

    def __init__(self) -> None:
        self.polled_s = array("d")
        self.value_w = array("d")

    def take(self, time_s: float, value_w: float) -> None:
        """One more, in order."""
        if not self.polled_s or time_s > self.polled_s[-1]:
            self.polled_s.append(time_s)
            self.value_w.append(value_w)

    def forget_before(self, time_s: float) -> None:
        """Drop what nobody will ask for any more."""
        first = bisect.bisect_left(self.polled_s, time_s) - 2
        if first > 1024:
            del self.polled_s[:first]
            del self.value_w[:first]

    def integral(self, time_start_s: float, time_end_s: float) -> tuple[float, float] | None:
        """Energy in joules between two instants, each reading held until the next, and the spread of power in watts.

        None where the readings leave a hole.
        """
        first = bisect.bisect_right(self.polled_s, time_start_s) - 1
        last = bisect.bisect_left(self.polled_s, time_end_s)
        if first < 0:
            first = 0
            if not self.polled_s or self.polled_s[0] - time_start_s > FILL_GAP_S:
                return None
        energy_j, values = 0.0, []
        at_s = time_start_s
        for index in range(first, last):
            until_s = min(self.polled_s[index + 1], time_end_s) if index + 1 < len(self.polled_s) else time_end_s
            if until_s - at_s > FILL_GAP_S:
                return None
            energy_j += self.value_w[index] * max(until_s - at_s, 0.0)
            at_s = max(until_s, at_s)
            values.append(self.value_w[index])
        if not values or time_end_s - at_s > 1e-9:
            return None
        return energy_j, max(values) - min(values)


class TickSource:
    """Makes the ticks of one device, in order, from the rows of its channels."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last: tuple[float, float, float] | None = None  # instant, half bracket, value
        self._power_edge_s: float | None = None
        self._filled_until_s: float | None = None
        self._polled_s: float | None = None
        self._changed_s: float | None = None
        self._periods_s: deque[float] = deque(maxlen=16)
        self.readings = PowerReadings()
        self.start_s: float | None = None
        self.sampled_s = array("d")

    def take(self, time_before_s: float, time_after_s: float, value: float) -> list[Tick]:
        """A row of the channel that makes the energy."""
        time_s, half_s = (time_before_s + time_after_s) / 2, (time_after_s - time_before_s) / 2
        newest_s = self.sampled_s[-1] if self.sampled_s else -math.inf
        if time_s <= newest_s:
            return []
        self.sampled_s.append(time_s)
        if self._channel.quantity is Quantity.ENERGY_J:
            return self._count(time_s, half_s, value)
        return self._integrate(time_before_s, time_after_s, value)

    def take_power(self, time_before_s: float, time_after_s: float, value_w: float) -> list[Tick]:
        """A row of the power channel beside a counter."""
        time_s = (time_before_s + time_after_s) / 2
        self.readings.take(time_s, value_w)
        if self._last is None:
            return []
        known_s = self._last[0] if self._filled_until_s is None else self._filled_until_s
        if time_s - known_s < FROZEN_S:
            return []
        self._filled_until_s = time_s
        return [self._filled(known_s, time_s, FindingCode.COUNTER_FROZEN)]

    def _count(self, time_s: float, half_s: float, value_j: float) -> list[Tick]:
        last, self._last = self._last, (time_s, half_s, value_j)
        if last is None:
            self.start_s = time_s
            return []
        last_s, last_half_s, last_j = last
        if self._filled_until_s is not None:
            begun_s, self._filled_until_s = self._filled_until_s, None
            if time_s <= begun_s:
                self._filled_until_s = begun_s
                return []
            return [self._filled(begun_s, time_s, FindingCode.COUNTER_FROZEN)]
        if value_j < last_j:
            return [self._filled(last_s, time_s, FindingCode.COUNTER_RESET)]
        if value_j - last_j > HIGHEST_W * (time_s - last_s):
            return [self._filled(last_s, time_s, FindingCode.COUNTER_JUMPED)]
        return [
            Tick(
                time_start_s=last_s,
                time_end_s=time_s,
                energy_j=value_j - last_j,
                half_bracket_start_s=last_half_s,
                half_bracket_end_s=half_s,
            )
        ]

    def _filled(self, start_s: float, end_s: float, code: FindingCode) -> Tick:
        found = self.readings.integral(start_s, end_s)
        if found is None:
            return Tick(time_start_s=start_s, time_end_s=end_s, energy_j=None, code=code)
        energy_j, spread_w = found
        return Tick(time_start_s=start_s, time_end_s=end_s, energy_j=energy_j, code=code, spread_w=spread_w)

    def _integrate(self, time_before_s: float, time_after_s: float, value_w: float) -> list[Tick]:
        """Readings of power: each stands for the time around its window, up to half-way to its neighbours'."""
        if self._channel.method is Method.ESTIMATED:
            return self._since_last(time_after_s, value_w)
        polled_s = (time_before_s + time_after_s) / 2
        last_polled_s, self._polled_s = self._polled_s, polled_s
        if self._last is None or last_polled_s is None:
            self._last = (polled_s, 0.0, value_w)
            return []
        latched_s, _, latched_w = self._last
        if value_w == latched_w:
            # The same update read again, unless it is due for another one that came out alike.
            if polled_s - latched_s < self._period_s:
                return []
            now_s = polled_s
        else:
            now_s = (last_polled_s + polled_s) / 2
            self._learn(now_s)
        self._last = (now_s, 0.0, value_w)
        edge_s = (latched_s + now_s) / 2 - (self._channel.duration_window_s or 0.0) / 2
        begun_s, self._power_edge_s = self._power_edge_s, edge_s
        if begun_s is None:
            self.start_s = edge_s
            return []
        return [Tick(time_start_s=begun_s, time_end_s=edge_s, energy_j=latched_w * (edge_s - begun_s))]

    def _since_last(self, time_s: float, value_w: float) -> list[Tick]:
        """An estimate's power is the mean since the previous one."""
        last, self._last = self._last, (time_s, 0.0, value_w)
        if last is None:
            self.start_s = time_s
            return []
        return [Tick(time_start_s=last[0], time_end_s=time_s, energy_j=value_w * (time_s - last[0]))]

    def duration_period_s(self) -> float | None:
        """Between the sensor's updates, as seen; None: too few of them."""
        if self._channel.quantity is Quantity.POWER_W and self._channel.method is not Method.ESTIMATED:
            return self._period_s if self._periods_s else None
        lengths_s = np.diff(np.array(self.sampled_s))
        return float(np.median(lengths_s)) if len(lengths_s) else None

    @property
    def _period_s(self) -> float:
        """Between updates of power, as known or seen."""
        if self._channel.duration_period_s is not None:
            return self._channel.duration_period_s
        return statistics.median(self._periods_s) if len(self._periods_s) >= N_LEARNT else LONGEST_PERIOD_S

    def _learn(self, changed_s: float) -> None:
        if self._changed_s is not None:
            self._periods_s.append(min(changed_s - self._changed_s, LONGEST_PERIOD_S))
        self._changed_s = changed_s
