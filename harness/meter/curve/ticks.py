"""From a channel's readings to ticks: stretches of time whose energy is known.

A counter's tick lies between two caught changes of its value. Where a counter fails (it falls, stands still, or jumps
by more than any board draws) the board's power readings stand in, and the tick says so; where there are none either,
its energy is unknown. Readings of power make a tick each.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

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
FILL_WINDOW_LONGEST_S = 0.5
"""Nor can readings that average over more than this."""
KEPT_S = 30.0
N_RHYTHM, FEWEST_RHYTHM = 16, 6
"""Caught changes of a counter that tell its rhythm."""
MOST_PERIODS = 3
"""From the last prompt change: beyond, what the rhythm says is no better than the bracket."""
LATE = 4.0
"""A change caught in so many times the usual bracket was polled late; the rhythm says where in it the change was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The energy between two instants. `half_bracket_*_s` are the uncertainties of the instants.

    `energy_j` is None where nothing is known. `code` says why this tick is not the counter's own.
    """

    time_start_s: float
    time_end_s: float
    energy_j: float | None
    half_bracket_start_s: float = 0.0
    half_bracket_end_s: float = 0.0
    code: FindingCode | None = None

    @property
    def duration_s(self) -> float:
        """Length."""
        return self.time_end_s - self.time_start_s

    @property
    def power_w(self) -> float:
        """Mean power; 0 where nothing is known."""
        return (self.energy_j or 0.0) / self.duration_s


class PowerTicks:
    """A tick per update of a power reading: it stands for the time around its window, half-way to its neighbours'."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lag_s = (channel.duration_window_s or 0.0) / 2
        self._polled_s: float | None = None
        self._latched: tuple[float, float] | None = None  # instant, value
        self._edge_s: float | None = None
        self._changed_s: float | None = None
        self._periods_s: deque[float] = deque(maxlen=16)

    @property
    def power_w(self) -> float | None:
        """The newest reading."""
        return None if self._latched is None else self._latched[1]

    @property
    def duration_period_s(self) -> float | None:
        """Between updates, as seen; None: too few of them."""
        return self._period_s if self._periods_s else None

    def take(self, time_before_s: float, time_after_s: float, value_w: float) -> Tick | None:
        """One poll, in order."""
        polled_s = (time_before_s + time_after_s) / 2
        last_polled_s, self._polled_s = self._polled_s, polled_s
        if self._latched is None or last_polled_s is None:
            self._latched = (polled_s, value_w)
            return None
        latched_s, latched_w = self._latched
        if value_w == latched_w:
            # The same update read again, unless it is due for another one that came out alike.
            if polled_s - latched_s < self._period_s:
                return None
            now_s = polled_s
        else:
            now_s = (last_polled_s + polled_s) / 2
            if self._changed_s is not None:
                self._periods_s.append(min(now_s - self._changed_s, LONGEST_PERIOD_S))
            self._changed_s = now_s
        self._latched = (now_s, value_w)
        edge_s = (latched_s + now_s) / 2 - self._lag_s
        begun_s, self._edge_s = self._edge_s, edge_s
        if begun_s is None:
            return None
        return Tick(time_start_s=begun_s, time_end_s=edge_s, energy_j=latched_w * (edge_s - begun_s))

    @property
    def _period_s(self) -> float:
        if self._channel.duration_period_s is not None:
            return self._channel.duration_period_s
        return statistics.median(self._periods_s) if len(self._periods_s) >= N_LEARNT else LONGEST_PERIOD_S


class EstimateTicks:
    """An estimate's power is the mean since the previous one."""

    duration_period_s = None

    def __init__(self) -> None:
        self._last_s: float | None = None

    def take(self, time_before_s: float, time_after_s: float, value_w: float) -> Tick | None:  # noqa: ARG002
        """One estimate, in order."""
        last_s, self._last_s = self._last_s, time_after_s
        if last_s is None:
            return None
        return Tick(time_start_s=last_s, time_end_s=time_after_s, energy_j=value_w * (time_after_s - last_s))


class CounterTicks:
    """The ticks of a counter, with its power readings in reserve."""

    def __init__(self, power: Channel | None) -> None:
        """A counter.

        Args:
            power: The channel of power beside it; None: there is nothing in reserve.
        """
        usable = power is not None and (power.duration_window_s or 0.0) <= FILL_WINDOW_LONGEST_S
        self._reserve = PowerTicks(power) if power is not None and usable else None
        self._pieces: deque[Tick] = deque()
        self._power_first_s: float | None = None
        self._power_last_s: float | None = None
        self._last: tuple[float, float, float] | None = None  # instant, half bracket, value
        self._filled_until_s: float | None = None
        """Where the power readings have got to, while they stand in for a counter that stands still."""
        self._prompt_s: float | None = None
        """The last change that was not caught late."""
        self._periods_s: deque[float] = deque(maxlen=N_RHYTHM)
        self._halves_s: deque[float] = deque(maxlen=N_RHYTHM)

    def take(self, time_before_s: float, time_after_s: float, value_j: float) -> Iterator[Tick]:
        """A caught tick, in order."""
        time_s, half_s = self._placed(time_before_s, time_after_s)
        last, self._last = self._last, (time_s, half_s, value_j)
        if self._filled_until_s is not None:
            begun_s, self._filled_until_s = self._filled_until_s, None
            if time_s > begun_s:
                yield from self._filled(begun_s, time_s, FindingCode.COUNTER_FROZEN)
            return
        if last is None:
            return
        last_s, last_half_s, last_j = last
        if value_j < last_j:
            self._forget_rhythm()
            yield from self._filled(last_s, time_s, FindingCode.COUNTER_RESET)
        elif value_j - last_j > HIGHEST_W * (time_s - last_s):
            yield from self._filled(last_s, time_s, FindingCode.COUNTER_JUMPED)
        else:
            yield Tick(
                time_start_s=last_s,
                time_end_s=time_s,
                energy_j=value_j - last_j,
                half_bracket_start_s=last_half_s,
                half_bracket_end_s=half_s,
            )

    def _placed(self, time_before_s: float, time_after_s: float) -> tuple[float, float]:
        """When a change was, and half of what that is uncertain by.

        A busy machine polls late, and the middle of a wide bracket may be a tenth of a tick from the change. A counter
        that keeps a rhythm says better where it was: about whole periods after the last prompt one.
        """
        time_s, half_s = (time_before_s + time_after_s) / 2, (time_after_s - time_before_s) / 2
        if self._prompt_s is None or len(self._periods_s) < FEWEST_RHYTHM:
            self._learn(time_s, half_s, 1)
            return time_s, half_s
        period_s, usual_s = statistics.median(self._periods_s), statistics.median(self._halves_s)
        if half_s <= LATE * usual_s:
            self._learn(time_s, half_s, max(1, round((time_s - self._prompt_s) / period_s)))
            return time_s, half_s
        # The value is that of the last change before the poll, however many the machine slept through.
        n_periods = math.floor((time_after_s - self._prompt_s) / period_s)
        due_s = self._prompt_s + n_periods * period_s
        scatter_s = 2 * statistics.pstdev(self._periods_s) * math.sqrt(max(n_periods, 1)) + 2 * usual_s
        certain = due_s + scatter_s <= time_after_s <= due_s + period_s - scatter_s
        low_s, high_s = max(due_s - scatter_s, time_before_s), due_s + scatter_s
        if not 1 <= n_periods <= MOST_PERIODS or not certain or low_s >= high_s:
            return time_s, half_s
        return (low_s + high_s) / 2, (high_s - low_s) / 2

    def _learn(self, time_s: float, half_s: float, n_periods: int) -> None:
        """A change that was caught promptly tells the rhythm."""
        if self._prompt_s is not None and time_s - self._prompt_s < FROZEN_S:
            self._periods_s.append((time_s - self._prompt_s) / n_periods)
        self._halves_s.append(half_s)
        self._prompt_s = time_s

    def _forget_rhythm(self) -> None:
        self._prompt_s = None
        self._periods_s.clear()

    def take_power(self, time_before_s: float, time_after_s: float, value_w: float) -> Iterator[Tick]:
        """A poll of the power beside it, in order."""
        time_s = (time_before_s + time_after_s) / 2
        self._power_first_s = time_s if self._power_first_s is None else self._power_first_s
        self._power_last_s = time_s
        if self._reserve is not None:
            piece = self._reserve.take(time_before_s, time_after_s, value_w)
            if piece is not None:
                self._pieces.append(piece)
            while self._pieces and self._pieces[0].time_end_s < time_s - KEPT_S:
                self._pieces.popleft()
        known_s = self._power_first_s if self._last is None else self._last[0]
        if self._filled_until_s is None and time_s - known_s < FROZEN_S:
            return
        begun_s = known_s if self._filled_until_s is None else self._filled_until_s
        until_s = self._pieces[-1].time_end_s if self._pieces else time_s
        if until_s > begun_s:
            yield from self._filled(begun_s, until_s, FindingCode.COUNTER_FROZEN)
            self._filled_until_s = until_s

    def close(self) -> Iterator[Tick]:
        """What the power readings know beyond a counter that stood still to the end."""
        begun_s, end_s = self._filled_until_s, self._power_last_s
        if begun_s is not None and end_s is not None and end_s > begun_s:
            yield from self._filled(begun_s, end_s, FindingCode.COUNTER_FROZEN)

    def _filled(self, start_s: float, end_s: float, code: FindingCode) -> Iterator[Tick]:
        """Power readings over a stretch, or one tick of unknown energy where they leave a hole."""
        found = [piece for piece in self._pieces if piece.time_start_s < end_s and piece.time_end_s > start_s]
        newest_w = None if self._reserve is None else self._reserve.power_w
        reaches = bool(found) and (
            found[0].time_start_s - start_s < FILL_GAP_S
            and end_s - found[-1].time_end_s < FILL_GAP_S
            and max(piece.duration_s for piece in found) < FILL_GAP_S
        )
        if not reaches or newest_w is None:
            yield Tick(time_start_s=start_s, time_end_s=end_s, energy_j=None, code=code)
            return
        at_s = start_s
        for piece in found:
            until_s = min(piece.time_end_s, end_s)
            if until_s > at_s:
                yield Tick(time_start_s=at_s, time_end_s=until_s, energy_j=piece.power_w * (until_s - at_s), code=code)
                at_s = until_s
        if end_s > at_s:
            yield Tick(time_start_s=at_s, time_end_s=end_s, energy_j=newest_w * (end_s - at_s), code=code)


def power_ticks(channel: Channel) -> PowerTicks | EstimateTicks:
    """What makes ticks of a channel of power."""
    assert channel.quantity is Quantity.POWER_W
    return EstimateTicks() if channel.method is Method.ESTIMATED else PowerTicks(channel)
