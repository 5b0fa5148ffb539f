"""E(t): the cumulative energy of one device, built once from its readings and the session's marked edges.

Ticks give exact anchors: the energy between two of them is known, and only where in between it was spent is not;
`shape.py` answers that for the ticks in which an edge was marked. Integrated power gathers an error along the way.

It knows readings and edges. It must not know queries, files, or which sensor spoke.
"""

from __future__ import annotations

import bisect
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.curve.regression import Observed
from harness.meter.curve.shape import Z_95, Shape, shaped
from harness.meter.curve.status import Happening, Status
from harness.meter.curve.ticks import Tick, TickSource
from harness.records import MARK_CHANNEL, Channel, Edge, Finding, FindingCode, Method, Quantity, Segment

if TYPE_CHECKING:
    from harness.records import FloatArray

AROUND_S = 0.31
"""So far after a tick is looked at to say how its energy was spent: power lingers for up to 300 ms."""
FEWEST_AROUND, MOST_AROUND = 2, 5
"""Ticks on either side that are looked at."""
MOST_EDGES = 32
"""More edges than this around a tick (a span per token) are too many for power to follow each."""
MOST_TARGETS = 16
"""Instants in a tick whose energy is asked for one by one."""
POWER_FLOOR = 0.02
"""Relative change of power between two readings that is charged even where they agree."""
LEARNT, MOST_LEARNT, MOST_ODDS = 0.2, 10.0, 6.0
"""How much of what one tick says of power that follows its edges goes to the next one's prior: a part only, because
neighbouring ticks look at the same readings."""
ANCHOR_SD = 1e-4
"""Noise of a tick's mean power beside what its uncertain instants make of it, relative to the highest around."""
READING_SD = 0.005
"""The same of a power reading."""
LAG_S = 0.003
"""A reading may be this much older than it looks."""
BLIND = 0.65
"""Of the neighbours' difference and the time unseen: what a part-time counter may have missed in a tick; a step
between two of its looks is charged in the two or three ticks around it."""
UNSEEN = 0.65
"""The same for readings of power without a counter."""
UNIFORM_SD = 3.0**-0.5
"""Standard deviation of what lies anywhere within +- 1."""


class CurveBuilder:
    """Turns readings of one device into a curve, in order, as they come.

    Feeding the same readings in other portions gives the same curve: a tick is solved when what follows it is known,
    and what is solved never changes.
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
        self._source = TickSource(channel)
        self._status = Status(channel.device)
        self._marks: list[float] = []
        self._edges: list[Edge] = []
        self._n_open = 0
        self._ticks: deque[Tick] = deque()
        self._n_done = 0  # of `_ticks`: kept as neighbours of those that are not solved yet
        self._failures: list[Happening] = []
        self._holes: list[tuple[float, float]] = []
        self._closed = False
        # Typed arrays, because a curve is made of them every few seconds and an hour holds many thousand knots.
        self._times = array("d", [0.0])
        self._energies = array("d", [0.0])
        self._widths = array("d", [0.0])
        self._variances = array("d", [0.0])
        self._blind = array("d", [0.0])
        self._base = (0.0, 0.0, 0.0)  # energy and variances at the last tick's end
        self._log_odds = 0.0
        self._shapes: list[Shape] = []
        self._started = False

    @property
    def final_until_s(self) -> float:
        """Up to here the curve will not change; minus infinity before the first tick."""
        return self._times[-1] if self._started else -np.inf

    def extend(self, segment: Segment) -> None:
        """Take the next readings and edges."""
        is_mark = segment.channel == MARK_CHANNEL
        for time_s, value in zip(segment.time_after_s[is_mark].tolist(), segment.value[is_mark].tolist(), strict=True):
            place = bisect.bisect_right(self._marks, time_s)
            self._marks.insert(place, time_s)
            self._edges.insert(place, Edge(int(value)))
        rows = zip(
            segment.channel.tolist(),
            segment.time_before_s.tolist(),
            segment.time_after_s.tolist(),
            segment.value.tolist(),
            strict=True,
        )
        for index, before_s, after_s, value in rows:
            if index == self._index:
                self._add(self._source.take(before_s, after_s, value))
            elif index in self._others:
                quantity = self._others[index].quantity
                if quantity is Quantity.POWER_W and self._shaped:
                    self._add(self._source.take_power(before_s, after_s, value))
                else:
                    self._status.take(quantity, before_s, after_s, value)

    def close(self) -> None:
        """No more readings will come: what is left is solved without what would have followed."""
        if not self._closed:
            while self._n_done < len(self._ticks):
                self._solve_next()
        self._closed = True

    def curve(self) -> Curve:
        """The curve as far as it is final."""
        n_knots = len(self._times) if self._started else 0
        return Curve(
            channel=self.channel,
            time_s=np.array(self._times[:n_knots]),
            energy_total_j=np.array(self._energies[:n_knots]),
            half_width_at_j=np.array(self._widths[:n_knots]),
            variance_total_j2=np.array(self._variances[:n_knots]),
            variance_blind_j2=np.array(self._blind[:n_knots]),
            sample_time_s=np.array(self._source.sampled_s),
            duration_period_s=self._source.duration_period_s(),
            shapes=tuple(self._shapes),
            holes=tuple(self._holes),
            happenings=(*self._failures, *self._status.happenings()),
            session_findings=self._status.drift(),
        )

    @property
    def _shaped(self) -> bool:
        return self.channel.quantity is Quantity.ENERGY_J

    def _add(self, ticks: list[Tick]) -> None:
        if not self._started and self._source.start_s is not None:
            self._times[0], self._started = self._source.start_s, True
        for tick in ticks:
            self._ticks.append(tick)
            while self._is_surrounded():
                self._solve_next()

    def _is_surrounded(self) -> bool:
        """Whether enough is known of what follows the next tick to be solved."""
        n_after = len(self._ticks) - self._n_done - 1
        if not self._shaped:
            return n_after >= 1
        if n_after < FEWEST_AROUND:
            return False
        return n_after >= MOST_AROUND or (self._ticks[-1].time_end_s - self._ticks[self._n_done].time_end_s >= AROUND_S)

    def _solve_next(self) -> None:
        tick = self._ticks[self._n_done]
        left = self._ticks[self._n_done - 1] if self._n_done else None
        right = self._ticks[self._n_done + 1] if self._n_done + 1 < len(self._ticks) else None
        inside = self._inside(tick)
        if tick.code is not None:
            self._failures.append(Happening(tick.time_start_s, tick.time_end_s, Finding(code=tick.code)))
            if tick.energy_j is None:
                self._holes.append((tick.time_start_s, tick.time_end_s))
            else:
                filled = Finding(code=FindingCode.POWER_FILLED)
                self._failures.append(Happening(tick.time_start_s, tick.time_end_s, filled))
        if tick.energy_j is not None and tick.code is None and inside and self._shaped:
            self._append_shaped(tick, left, right, inside)
        else:
            self._append_straight(tick, left, right)
        self._n_done += 1
        if self._n_done > MOST_AROUND:
            self._ticks.popleft()
            self._n_done -= 1
        self._forget(self._ticks[0].time_start_s)

    def _inside(self, tick: Tick) -> list[float]:
        first = bisect.bisect_right(self._marks, tick.time_start_s)
        last = bisect.bisect_left(self._marks, tick.time_end_s)
        return sorted(set(self._marks[first:last]))

    def _forget(self, time_s: float) -> None:
        """Drop edges and readings that no tick will look at any more."""
        first = bisect.bisect_left(self._marks, time_s)
        del self._marks[:first]
        del self._edges[:first]
        self._source.readings.forget_before(time_s)

    def _append_shaped(self, tick: Tick, left: Tick | None, right: Tick | None, inside: list[float]) -> None:
        assert tick.energy_j is not None
        around = self._around()
        quarters = [tick.time_start_s + share * tick.duration_s for share in (0.25, 0.5, 0.75)]
        # More than so many are thinned: what lies between two of them is a straight line.
        targets = sorted({*inside[:: len(inside) // MOST_TARGETS + 1], *quarters})
        edges = self._edges_around(around)
        observed = self._observed(around)
        shape = shaped((tick.time_start_s, tick.time_end_s), tick.energy_j, targets, observed, edges, self._log_odds)
        blind_j = 0.0 if self.channel.duration_window_s is None else shape.blind_j
        if shape.log_odds is not None:
            learnt = float(np.clip(shape.log_odds - self._log_odds, -MOST_LEARNT, MOST_LEARNT))
            self._log_odds = float(np.clip(self._log_odds + LEARNT * learnt, -MOST_ODDS, MOST_ODDS))
        self._shapes.append(shape)
        if left is None:
            self._widths[-1] = tick.half_bracket_start_s * tick.power_w
        # Both ends' instants enter: one as the time before the edge, the other as the time after it.
        sd_j = np.sqrt(np.diag(shape.covariance_j2))
        for time_s, energy_j, width_j in zip(
            shape.time_s.tolist(), shape.energy_j.tolist(), (Z_95 * sd_j).tolist(), strict=True
        ):
            share = (time_s - tick.time_start_s) / tick.duration_s
            self._knot(time_s, energy_j, width_j, 0.0, blind_j**2 * share)
        self._knot(tick.time_end_s, tick.energy_j, self._end_width_j(tick, right), 0.0, blind_j**2, last=True)

    def _append_straight(self, tick: Tick, left: Tick | None, right: Tick | None) -> None:
        """A straight line, and how far from it the energy may have been in the middle."""
        powers = [tick.power_w, *(other.power_w for other in (left, right) if other is not None)]
        spread_w = max(powers) - min(powers) if tick.spread_w is None else tick.spread_w
        energy_j = tick.energy_j or 0.0
        if left is None:
            self._widths[-1] = tick.half_bracket_start_s * tick.power_w
        exact = self._shaped and tick.code is None
        # A reading of power says nothing of the time between it and the next one; its error gathers on the way.
        unseen_s = max(tick.duration_s - (self.channel.duration_window_s or 0.0), 0.0)
        gathered_j = 0.0 if exact else UNSEEN * spread_w * unseen_s + POWER_FLOOR * tick.power_w * tick.duration_s
        blind_j = self._blind_j(tick, spread_w)
        end_j = self._end_width_j(tick, right)
        if not self._shaped:
            end_j = max(spread_w, POWER_FLOOR * tick.power_w) * tick.duration_s / 2
        bend_j = spread_w * tick.duration_s / 8 if exact else gathered_j / 2
        middle_j = (self._widths[-1] + end_j) / 2 + bend_j
        middle_s = (tick.time_start_s + tick.time_end_s) / 2
        self._knot(middle_s, energy_j / 2, middle_j, gathered_j**2 / 2, blind_j**2 / 2)
        self._knot(tick.time_end_s, energy_j, end_j, gathered_j**2, blind_j**2, last=True)

    def _blind_j(self, tick: Tick, spread_w: float) -> float:
        window_s = self.channel.duration_window_s
        if not self._shaped or window_s is None:
            return 0.0
        return BLIND * spread_w * max(tick.duration_s - window_s, 0.0)

    def _end_width_j(self, tick: Tick, right: Tick | None) -> float:
        return tick.half_bracket_end_s * max(tick.power_w, right.power_w if right else 0.0)

    def _knot(
        self, time_s: float, energy_j: float, width_j: float, gathered_j2: float, blind_j2: float, *, last: bool = False
    ) -> None:
        """A knot `energy_j` above the tick's start; with `last` the tick ends here."""
        self._times.append(time_s)
        self._energies.append(self._base[0] + energy_j)
        self._widths.append(width_j)
        self._variances.append(self._base[1] + gathered_j2)
        self._blind.append(self._base[2] + blind_j2)
        if last:
            self._base = (self._energies[-1], self._variances[-1], self._blind[-1])

    def _around(self) -> list[Tick]:
        """Ticks around the one to be solved, the failed ones left out."""
        centre = self._ticks[self._n_done]
        chosen = []
        for position, tick in enumerate(self._ticks):
            distance = position - self._n_done
            near = (
                tick.time_start_s - centre.time_end_s < AROUND_S
                if distance > 0
                else centre.time_start_s - tick.time_end_s < AROUND_S
            )
            if tick.code is None and (abs(distance) <= FEWEST_AROUND or (near and abs(distance) <= MOST_AROUND)):
                chosen.append(tick)
        return chosen

    def _edges_around(self, around: list[Tick]) -> list[tuple[float, Edge]]:
        """Edges among these ticks; none where they are too many for power to follow them."""
        first = bisect.bisect_right(self._marks, around[0].time_start_s)
        last = bisect.bisect_left(self._marks, around[-1].time_end_s)
        pairs = list(dict.fromkeys(zip(self._marks[first:last], self._edges[first:last], strict=True)))
        return pairs if len(pairs) <= MOST_EDGES else []

    def _observed(self, around: list[Tick]) -> Observed:
        """Mean powers over the ticks and over the windows of the readings among them."""
        window_s = self.channel.duration_window_s
        starts, ends, means, deviations = [], [], [], []
        boundaries: list[float] = []
        before: list[int] = []
        highest_w = max(tick.power_w for tick in around)
        for index, tick in enumerate(around):
            left, right = around[max(index - 1, 0)], around[min(index + 1, len(around) - 1)]
            if not index or left.time_end_s != tick.time_start_s:
                boundaries.append(UNIFORM_SD * tick.half_bracket_start_s * (tick.power_w + left.power_w) / 2)
            before.append(len(boundaries) - 1)
            boundaries.append(UNIFORM_SD * tick.half_bracket_end_s * (tick.power_w + right.power_w) / 2)
            starts.append(tick.time_start_s if window_s is None else tick.time_end_s - window_s)
            ends.append(tick.time_end_s)
            means.append(tick.power_w)
            deviations.append(ANCHOR_SD * highest_w)
        for start_s, end_s, mean_w, deviation_w in self._readings_in(around, highest_w):
            starts.append(start_s)
            ends.append(end_s)
            means.append(mean_w)
            deviations.append(deviation_w)
        return Observed(
            start_s=np.array(starts),
            end_s=np.array(ends),
            mean_w=np.array(means),
            sd_w=np.array(deviations),
            boundary_sd_j=np.array(boundaries),
            before=np.array(before, dtype=np.int64),
        )

    def _readings_in(self, around: list[Tick], highest_w: float) -> list[tuple[float, float, float, float]]:
        """Windows of power readings whose update was seen among these ticks: start, end, mean, noise."""
        power = next((each for each in self._others.values() if each.quantity is Quantity.POWER_W), None)
        if power is None or power.duration_window_s is None or power.duration_window_s > 0.5:
            return []
        readings = self._source.readings
        window_s = power.duration_window_s
        first = bisect.bisect_right(readings.polled_s, around[0].time_start_s)
        last = bisect.bisect_left(readings.polled_s, around[-1].time_end_s)
        ticks_w = [tick.power_w for tick in around]
        found = []
        for index in range(max(first, 1), last):
            value_w = float(readings.value_w[index])
            if value_w == readings.value_w[index - 1]:
                continue  # the same update, read again
            half_s = (readings.polled_s[index] - readings.polled_s[index - 1]) / 2
            end_s = readings.polled_s[index] - half_s
            if end_s - window_s <= around[0].time_start_s or half_s > window_s:
                continue
            near = [
                w
                for w, tick in zip(ticks_w, around, strict=True)
                if tick.time_start_s < end_s + window_s and tick.time_end_s > end_s - 2 * window_s
            ]
            spread_w = max(near, default=highest_w) - min(near, default=0.0)
            # Where power changes, the window's uncertain place is an uncertain mean.
            moved_w = UNIFORM_SD * (half_s + LAG_S) / window_s * spread_w
            found.append((end_s - window_s, end_s, value_w, float(np.hypot(READING_SD * highest_w, moved_w))))
        return found


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
