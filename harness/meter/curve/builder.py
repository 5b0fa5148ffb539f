"""Builds a device's curve from its readings and the session's marked edges, in order, as they come.

Ticks give exact anchors: the energy between two of them is known, and only where in between it was spent is not;
`shape.py` answers that for the ticks in which an edge was marked. Integrated power gathers an error along the way.

It knows readings and edges. It must not know queries, files, or which sensor spoke.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from harness.meter.curve.accounts import N_MANNERS
from harness.meter.curve.column import Column
from harness.meter.curve.curve import Curve
from harness.meter.curve.habit import Habit
from harness.meter.curve.neighbourhood import PowerPolls, observed_around
from harness.meter.curve.shape import Z_95, Shape, shaped
from harness.meter.curve.status import Happening, Status
from harness.meter.curve.ticks import CounterTicks, Tick, power_ticks
from harness.meter.curve.unfollowed import unfollowed_j
from harness.records import MARK_CHANNEL, Channel, Edge, Finding, FindingCode, Quantity, Segment

AROUND_S = 0.31
"""So far after a tick is looked at to say how its energy was spent: power lingers for up to 300 ms."""
FEWEST_AROUND, MOST_AROUND = 2, 5
"""Ticks on either side that are looked at."""
MOST_EDGES = 64
"""More edges than this around a tick are too many for power to follow each: fewer ticks are looked at then, and if
there are too many even beside its two neighbours (a span per token), none is followed."""
MOST_TARGETS = 64
"""Instants in a tick whose energy is asked for one by one."""
POWER_FLOOR = 0.02
"""Relative change of power between two readings that is charged even where they agree."""
BLIND = 0.65
"""Of the neighbours' difference and the time unseen: what a part-time counter may have missed in a tick; a step
between two of its looks is charged in the two or three ticks around it."""
UNSEEN = 0.8
"""The same for readings of power without a counter."""
BLURRED = 0.2
"""Of the difference within a window, times its length: what an average puts on the wrong side of an instant."""
N_PERIOD = 256
"""The first so many updates tell the sensor's period."""
LATE_S = 0.002
"""A tick whose ends are less certain than this was polled late."""
SHORT_S = 0.02
"""A straight tick this short needs no knot in its middle."""


class CurveBuilder:
    """Turns the rows of one device into a curve.

    Feeding the same rows in other portions gives the same curve: a tick is solved when what follows it is known, and
    what is solved never changes.
    """

    def __init__(self, channel: Channel, index: int = 0, others: Mapping[int, Channel] | None = None) -> None:
        """A curve of what `channel` reads.

        Args:
            channel: The channel that makes the energy.
            index: Its number in the segments.
            others: Further channels of the same device, by number: power beside a counter, and how it was meanwhile.
        """
        self.channel = channel
        self._index = index
        self._others = dict(others or {})
        self._power = next((each for each in self._others.values() if each.quantity is Quantity.POWER_W), None)
        self._counter = CounterTicks(self._power) if channel.quantity is Quantity.ENERGY_J else None
        self._readings = None if self._counter else power_ticks(channel)
        self._polls = PowerPolls()
        self._status = Status(channel.device)
        self._marks: list[float] = []
        self._edges: list[Edge] = []
        self._ticks: deque[Tick] = deque()
        self._n_done = 0  # of `_ticks`: kept as neighbours of those that are not solved yet
        self._reach_s = 0.0 if self._counter else channel.duration_window_s or 0.0
        self._failures: list[Happening] = []
        self._holes: list[tuple[float, float]] = []
        self._habit = Habit.unknown(N_MANNERS)
        self._shapes: list[Shape] = []
        self._closed = False
        self._samples = Column()
        self._times, self._energies, self._widths = Column(), Column(), Column()
        self._variances, self._blind = Column(), Column()
        self._base = (0.0, 0.0, 0.0)  # energy and variances at the last tick's end

    @property
    def final_until_s(self) -> float:
        """Up to here the curve will not change; minus infinity before the first tick."""
        return self._times.last if len(self._times) else -np.inf

    def extend(self, segment: Segment) -> None:
        """Take the next readings and edges."""
        is_mark = segment.channel == MARK_CHANNEL
        for time_s, value in zip(segment.time_after_s[is_mark].tolist(), segment.value[is_mark].tolist(), strict=True):
            place = bisect.bisect_right(self._marks, time_s)
            self._marks.insert(place, time_s)
            self._edges.insert(place, Edge(int(value)))
            self._status.take_edge(time_s, Edge(int(value)))
        rows = zip(
            segment.channel.tolist(),
            segment.time_before_s.tolist(),
            segment.time_after_s.tolist(),
            segment.value.tolist(),
            strict=True,
        )
        for index, before_s, after_s, value in rows:
            if index == self._index:
                self._take(before_s, after_s, value)
            elif index in self._others:
                quantity = self._others[index].quantity
                if quantity is not Quantity.POWER_W:
                    self._status.take(quantity, before_s, after_s, value)
                elif self._counter is not None:
                    self._polls.take((before_s + after_s) / 2, value)
                    self._add(self._counter.take_power(before_s, after_s, value))

    def close(self) -> None:
        """No more readings will come: what is left is solved without what would have followed."""
        if self._closed:
            return
        if self._counter is not None:
            self._add(self._counter.close())
        while self._n_done < len(self._ticks):
            self._solve_next()
        self._closed = True

    def curve(self) -> Curve:
        """The curve as far as it is final."""
        return Curve(
            channel=self.channel,
            time_s=self._times.view(),
            energy_total_j=self._energies.view(),
            half_width_at_j=self._widths.view(),
            variance_total_j2=self._variances.view(),
            variance_blind_j2=self._blind.view(),
            sample_time_s=self._samples.view(),
            duration_period_s=self._period_s(),
            shapes=tuple(self._shapes),
            holes=tuple(self._holes),
            happenings=(*self._failures, *self._status.happenings()),
            session_findings=self._status.drift(),
        )

    def _take(self, before_s: float, after_s: float, value: float) -> None:
        time_s = (before_s + after_s) / 2
        if len(self._samples) and time_s <= self._samples.last:
            return
        self._samples.append(time_s)
        if self._counter is not None:
            self._add(self._counter.take(before_s, after_s, value))
        elif self._readings is not None:
            tick = self._readings.take(before_s, after_s, value)
            self._add([] if tick is None else [tick])

    def _period_s(self) -> float | None:
        if self._readings is not None and self._readings.duration_period_s is not None:
            return self._readings.duration_period_s
        lengths_s = np.diff(self._samples.view()[: N_PERIOD + 1])
        return float(np.median(lengths_s)) if len(lengths_s) else None

    def _add(self, ticks: Iterable[Tick]) -> None:
        for tick in ticks:
            if not len(self._times):
                width_j = tick.half_bracket_start_s * tick.power_w
                for column, value in (
                    (self._times, tick.time_start_s),
                    (self._energies, 0.0),
                    (self._widths, width_j),
                    (self._variances, 0.0),
                    (self._blind, 0.0),
                ):
                    column.append(value)
            self._ticks.append(tick)
            while self._is_surrounded():
                self._solve_next()

    def _is_surrounded(self) -> bool:
        """Whether enough is known of what follows the next tick to be solved."""
        n_after = len(self._ticks) - self._n_done - 1
        if n_after < 1:
            return False
        after_s = self._ticks[-1].time_end_s - self._ticks[self._n_done].time_end_s
        if self._counter is None:
            return after_s >= self._reach_s
        return n_after >= MOST_AROUND or (n_after >= FEWEST_AROUND and after_s >= AROUND_S)

    def _solve_next(self) -> None:
        tick = self._ticks[self._n_done]
        if tick.code is not None:
            self._failures.append(Happening(tick.time_start_s, tick.time_end_s, Finding(code=tick.code)))
            if tick.energy_j is None:
                self._holes.append((tick.time_start_s, tick.time_end_s))
            else:
                filled = Finding(code=FindingCode.POWER_FILLED)
                self._failures.append(Happening(tick.time_start_s, tick.time_end_s, filled))
        inside = self._inside(tick)
        if self._counter is not None and tick.code is None and inside:
            self._append_shaped(tick, inside)
        else:
            self._append_straight(tick)
        self._n_done += 1
        while self._n_done > MOST_AROUND and self._ticks[1].time_start_s < tick.time_start_s - self._reach_s:
            self._ticks.popleft()
            self._n_done -= 1
        self._forget(self._ticks[0].time_start_s)

    def _inside(self, tick: Tick) -> list[float]:
        first = bisect.bisect_right(self._marks, tick.time_start_s)
        last = bisect.bisect_left(self._marks, tick.time_end_s)
        return sorted(set(self._marks[first:last]))

    def _forget(self, time_s: float) -> None:
        """Drop edges and polls that no tick will look at any more."""
        first = bisect.bisect_left(self._marks, time_s)
        del self._marks[:first]
        del self._edges[:first]
        self._polls.forget_before(time_s)

    def _beside(self, reach_s: float = 0.0) -> list[Tick]:
        """The tick to be solved, its neighbours, and all within `reach_s`."""
        centre = self._ticks[self._n_done]
        return [
            tick
            for position, tick in enumerate(self._ticks)
            if abs(position - self._n_done) <= 1
            or (tick.time_end_s > centre.time_start_s - reach_s and tick.time_start_s < centre.time_end_s + reach_s)
        ]

    def _append_shaped(self, tick: Tick, inside: list[float]) -> None:
        assert tick.energy_j is not None
        around, edges = self._surroundings()
        quarters = [tick.time_start_s + share * tick.duration_s for share in (0.25, 0.5, 0.75)]
        # More than so many are thinned: what lies between two of them is a straight line.
        targets = sorted({*inside[:: len(inside) // MOST_TARGETS + 1], *quarters})
        shape, self._habit = shaped(
            (tick.time_start_s, tick.time_end_s),
            tick.energy_j,
            targets,
            observed_around(around, self.channel, self._power, self._polls),
            edges or [],
            self._habit,
        )
        if edges is None:
            own = self._edges_between(tick.time_start_s, tick.time_end_s)
            more_j = unfollowed_j((tick.time_start_s, tick.time_end_s), tick.energy_j, shape.time_s, own) / Z_95
            shape = replace(shape, covariance_j2=shape.covariance_j2 + np.outer(more_j, more_j))
        late_s = max(tick.half_bracket_start_s, tick.half_bracket_end_s)
        if late_s > LATE_S:
            # Energy of a neighbour may be in this tick, and no account of the power can know where it belongs.
            unknown_j2 = (late_s * tick.power_w / Z_95) ** 2
            shape = replace(shape, covariance_j2=shape.covariance_j2 + unknown_j2 * np.eye(len(shape.covariance_j2)))
        self._shapes.append(shape)
        blind_j = 0.0 if self.channel.duration_window_s is None else shape.blind_j
        widths_j = Z_95 * np.sqrt(np.maximum(np.diag(shape.covariance_j2), 0.0))
        knots = zip(shape.time_s.tolist(), shape.energy_j.tolist(), widths_j.tolist(), strict=True)
        for time_s, energy_j, width_j in knots:
            share = (time_s - tick.time_start_s) / tick.duration_s
            # Beside a boundary, the true one may lie on the other side of this instant.
            crossed_s = max(
                tick.half_bracket_start_s - (time_s - tick.time_start_s),
                tick.half_bracket_end_s - (tick.time_end_s - time_s),
                0.0,
            )
            self._knot(time_s, energy_j, math.hypot(width_j, crossed_s * tick.power_w), blind_j2=blind_j**2 * share)
        self._end(tick, self._end_width_j(tick), blind_j2=blind_j**2)

    def _append_straight(self, tick: Tick) -> None:
        """A straight line, and how far from it the energy may have been in the middle."""
        powers = [other.power_w for other in self._beside()]
        spread_w = max(powers) - min(powers)
        window_s = self.channel.duration_window_s
        if self._counter is not None and tick.code is None:
            unseen_s = 0.0 if window_s is None else max(tick.duration_s - window_s, 0.0)
            blind_j, gathered_j = BLIND * spread_w * unseen_s, 0.0
            end_j, bend_j = self._end_width_j(tick), spread_w * tick.duration_s / 8
        else:
            # A reading of power says nothing of the time between it and the next one; its error gathers on the way.
            unseen_s = max(tick.duration_s - (window_s or 0.0), 0.0)
            blind_j = 0.0
            gathered_j = UNSEEN * spread_w * unseen_s + POWER_FLOOR * tick.power_w * tick.duration_s
            end_j = max(spread_w, POWER_FLOOR * tick.power_w) * tick.duration_s / 2
            if self._reach_s > tick.duration_s:
                within = [other.power_w for other in self._beside(self._reach_s)]
                end_j = max(end_j, BLURRED * (max(within) - min(within)) * self._reach_s)
            bend_j = gathered_j / 2
        if tick.duration_s > SHORT_S or blind_j or gathered_j:
            middle_s = (tick.time_start_s + tick.time_end_s) / 2
            middle_j = (self._widths.last + end_j) / 2 + bend_j
            energy_j = (tick.energy_j or 0.0) / 2
            self._knot(middle_s, energy_j, middle_j, gathered_j2=gathered_j**2 / 2, blind_j2=blind_j**2 / 2)
        self._end(tick, end_j, gathered_j2=gathered_j**2, blind_j2=blind_j**2)

    def _end_width_j(self, tick: Tick) -> float:
        """What the uncertain instant of a tick's end leaves open there."""
        right = self._ticks[self._n_done + 1] if self._n_done + 1 < len(self._ticks) else tick
        return tick.half_bracket_end_s * max(tick.power_w, right.power_w)

    def _knot(
        self, time_s: float, energy_j: float, width_j: float, *, gathered_j2: float = 0.0, blind_j2: float = 0.0
    ) -> None:
        """A knot that lies `energy_j` above the tick's start."""
        self._times.append(time_s)
        self._energies.append(self._base[0] + energy_j)
        self._widths.append(width_j)
        self._variances.append(self._base[1] + gathered_j2)
        self._blind.append(self._base[2] + blind_j2)

    def _end(self, tick: Tick, width_j: float, *, gathered_j2: float = 0.0, blind_j2: float = 0.0) -> None:
        self._knot(tick.time_end_s, tick.energy_j or 0.0, width_j, gathered_j2=gathered_j2, blind_j2=blind_j2)
        self._base = (self._energies.last, self._variances.last, self._blind.last)

    def _surroundings(self) -> tuple[list[Tick], list[tuple[float, Edge]] | None]:
        """The ticks that are looked at to solve one, and the edges among them; None where power cannot follow them."""
        within = [self._around(), self._own_beside(FEWEST_AROUND), self._own_beside(1)]
        for around in within:
            edges = self._edges_between(around[0].time_start_s, around[-1].time_end_s)
            if len(edges) <= MOST_EDGES:
                return around, edges
        return within[0], None

    def _own_beside(self, n: int) -> list[Tick]:
        """The tick to be solved, and so many on either side, those that are not the counter's own left out."""
        first, last = self._n_done - n, self._n_done + n
        return [tick for place, tick in enumerate(self._ticks) if first <= place <= last and tick.code is None]

    def _around(self) -> list[Tick]:
        """Ticks around the one to be solved, those that are not the counter's own left out."""
        centre = self._ticks[self._n_done]
        chosen = []
        for position, tick in enumerate(self._ticks):
            distance = position - self._n_done
            apart_s = tick.time_start_s - centre.time_end_s if distance > 0 else centre.time_start_s - tick.time_end_s
            near = abs(distance) <= FEWEST_AROUND or (apart_s < AROUND_S and abs(distance) <= MOST_AROUND)
            if tick.code is None and near:
                chosen.append(tick)
        return chosen

    def _edges_between(self, time_start_s: float, time_end_s: float) -> list[tuple[float, Edge]]:
        """Marked edges inside of a stretch, each once."""
        first = bisect.bisect_right(self._marks, time_start_s)
        last = bisect.bisect_left(self._marks, time_end_s)
        return list(dict.fromkeys(zip(self._marks[first:last], self._edges[first:last], strict=True)))
