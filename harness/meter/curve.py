"""E(t): the cumulative energy of one device, built once from its readings and the session's marked edges.

A counter gives exact anchors: the energy between two caught ticks is known to its resolution, and only where in
between it was spent is not; `shape.py` answers that for the ticks in which an edge was marked. Power readings become
ticks of their own (constant around each reading), with an error that gathers along the way.

It knows readings and edges. It must not know queries, files, or which sensor spoke.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.shape import Shape, Tick, shapes, straight
from harness.records import MARK_CHANNEL, Channel, Method, Quantity, Segment

if TYPE_CHECKING:
    from harness.records import FloatArray

LONGEST_CLUSTER = 32
"""Ticks that are shaped together at most; longer stretches of edges are cut here, the same way each time."""

POWER_FLOOR = 0.02
"""Relative change of power between two readings that is charged even where they agree."""


class CurveBuilder:
    """Turns readings of one channel into a curve, in order, as they come.

    Feeding the same readings in other portions gives the same curve: a stretch is solved when it is
    complete, and what is solved never changes.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._marks: list[float] = []
        self._pending: list[Tick] = []
        self._before: Tick | None = None
        self._level_before_w: float | None = None
        self._last: tuple[float, float, float] | None = None  # time, half bracket, value
        self._power_edge_s: float | None = None
        self._closed = False
        # Typed arrays, because a curve is made of them every few seconds and an hour holds a million knots.
        self._times = array("d", [0.0])
        self._energies = array("d", [0.0])
        self._widths = array("d", [0.0])
        self._variances = array("d", [0.0])
        self._samples = array("d")
        self._started = False

    @property
    def final_until_s(self) -> float:
        """Up to here the curve will not change; minus infinity before the first tick."""
        return self._times[-1] if self._started else -np.inf

    def extend(self, segment: Segment, channel_index: int) -> None:
        """Take the next readings and edges."""
        marks = segment.time_after_s[segment.channel == MARK_CHANNEL]
        self._marks = sorted([*self._marks, *marks.tolist()])
        chosen = segment.channel == channel_index
        rows = zip(
            segment.time_before_s[chosen].tolist(),
            segment.time_after_s[chosen].tolist(),
            segment.value[chosen].tolist(),
            strict=True,
        )
        for time_before_s, time_after_s, value in rows:
            self._take((time_before_s + time_after_s) / 2, (time_after_s - time_before_s) / 2, value)
        self._solve_complete()

    def close(self) -> None:
        """No more readings will come: what is left is solved without a right neighbour."""
        if not self._closed and self._pending:
            self._solve(self._pending, None)
            self._pending = []
        self._closed = True

    def curve(self) -> Curve:
        """The curve as far as it is final."""
        samples = np.array(self._samples)
        return Curve(
            channel=self.channel,
            time_s=np.array(self._times[: self._n_knots]),
            energy_total_j=np.array(self._energies[: self._n_knots]),
            half_width_at_j=np.array(self._widths[: self._n_knots]),
            variance_total_j2=np.array(self._variances[: self._n_knots]),
            sample_time_s=samples,
            duration_period_s=float(np.median(np.diff(samples))) if len(samples) > 1 else None,
        )

    def _take(self, time_s: float, bracket_s: float, value: float) -> None:
        self._samples.append(time_s)
        if self._last is None:
            self._last = (time_s, bracket_s, value)
            if self.channel.quantity is Quantity.ENERGY_J or self._backward:
                self._start(time_s)
            return
        last_time_s, last_bracket_s, last_value = self._last
        if time_s <= last_time_s:
            return
        if self.channel.quantity is Quantity.ENERGY_J:
            self._pending.append(Tick(last_time_s, time_s, value - last_value, last_bracket_s, bracket_s))
        elif self._backward:
            self._pending.append(Tick(last_time_s, time_s, value * (time_s - last_time_s), 0.0, 0.0))
        else:
            # A reading stands for the time around it: up to half-way to its neighbours, its window's lag off.
            edge_s = (last_time_s + time_s) / 2 - (self.channel.duration_window_s or 0.0) / 2
            if self._power_edge_s is None:
                self._start(edge_s)
            else:
                length_s = edge_s - self._power_edge_s
                self._pending.append(Tick(self._power_edge_s, edge_s, last_value * length_s, 0.0, 0.0))
            self._power_edge_s = edge_s
        self._last = (time_s, bracket_s, value)

    @property
    def _backward(self) -> bool:
        """An estimate's power is the mean since its previous one."""
        return self.channel.method is Method.ESTIMATED

    @property
    def _shaped(self) -> bool:
        return self.channel.quantity is Quantity.ENERGY_J

    def _start(self, time_s: float) -> None:
        self._times[0], self._started = time_s, True

    @property
    def _n_knots(self) -> int:
        return len(self._times) if self._started else 0

    def _solve_complete(self) -> None:
        """Solve every stretch whose right neighbour is known."""
        begin = 0
        ticks = self._pending
        while begin < len(ticks) - 1:
            end = begin
            while end < len(ticks) - 1 and end - begin < LONGEST_CLUSTER and self._has_edges(ticks[end]):
                end += 1
            if end == begin:
                end = begin + 1
            elif self._has_edges(ticks[end]) and end - begin < LONGEST_CLUSTER:
                break  # the last known tick still belongs to this stretch
            self._solve(ticks[begin:end], ticks[end])
            begin = end
        self._pending = ticks[begin:]

    def _has_edges(self, tick: Tick) -> bool:
        if not self._shaped:
            return False
        first = bisect.bisect_right(self._marks, tick.time_start_s)
        return first < len(self._marks) and self._marks[first] < tick.time_end_s

    def _edges(self, tick: Tick) -> list[float]:
        first = bisect.bisect_right(self._marks, tick.time_start_s)
        last = bisect.bisect_left(self._marks, tick.time_end_s)
        return sorted(set(self._marks[first:last]))

    def _solve(self, ticks: Sequence[Tick], after: Tick | None) -> None:
        edges = [self._edges(tick) if self._shaped else [] for tick in ticks]
        found = shapes(ticks, edges, self._level_before_w, after) if any(edges) else [straight(tick) for tick in ticks]
        for index, (tick, shape) in enumerate(zip(ticks, found, strict=True)):
            left = ticks[index - 1] if index else self._before
            right = ticks[index + 1] if index + 1 < len(ticks) else after
            self._append(tick, shape, left, right)
            self._level_before_w = float(shape.levels_w[-1])
            self._before = tick
        # Edges are kept only as long as a later tick may still hold them.
        self._marks = self._marks[bisect.bisect_left(self._marks, ticks[-1].time_end_s) :]

    def _append(self, tick: Tick, shape: Shape, left: Tick | None, right: Tick | None) -> None:
        """Add the tick's knots: its cuts, and the middle of each piece, where the line is least certain."""
        powers = [tick.power_w, *(other.power_w for other in (left, right) if other is not None)]
        spread_w = max(powers) - min(powers)
        start_j, variance_j2 = self._energies[-1], self._variances[-1]
        if left is None:
            self._widths[-1] = tick.bracket_start_s * float(shape.levels_w[0])
        lengths = np.diff(shape.cuts_s)
        ends_j = np.cumsum(shape.levels_w * lengths)
        ends_j[-1] = tick.energy_j
        begin_j, begin_width_j = 0.0, self._widths[-1]
        # Integrated readings of power gather error on the way; a counter's anchors do not.
        gathered_j = 0.0 if self._shaped else spread_w * tick.duration_s / 4
        for index, length_s in enumerate(lengths):
            end_j, end_s = float(ends_j[index]), float(shape.cuts_s[index + 1])
            if index + 1 < len(lengths):
                step_w = abs(shape.levels_w[index + 1] - shape.levels_w[index])
                # Both ends' instants enter: one as the time before the edge, the other as the time after it.
                width_j = shape.delay_s * step_w
                width_j += (tick.bracket_start_s + tick.bracket_end_s) * float(np.max(shape.levels_w))
                width_j += shape.doubt * abs(end_j - tick.power_w * (end_s - tick.time_start_s))
                width_j += shape.unresolved * (tick.power_w + spread_w) * max(lengths[index : index + 2])
            else:
                width_j = tick.bracket_end_s * max(shape.levels_w[-1], right.power_w if right else 0.0)
            if not self._shaped:
                # A reading of power says nothing of the time between it and the next one.
                width_j = max(spread_w, POWER_FLOOR * tick.power_w) * tick.duration_s / 2
            bend_j = shape.doubt * spread_w * length_s / 4 if self._shaped else 0.0
            for time_s, energy_j, at_j in (
                (end_s - length_s / 2, (begin_j + end_j) / 2, (begin_width_j + width_j) / 2 + bend_j),
                (end_s, end_j, width_j),
            ):
                share = (time_s - tick.time_start_s) / tick.duration_s
                self._times.append(float(time_s))
                self._energies.append(start_j + energy_j)
                self._widths.append(float(at_j))
                self._variances.append(variance_j2 + gathered_j**2 * float(share))
            begin_j, begin_width_j = end_j, float(width_j)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A finished curve: knots with cumulative energy and its uncertainty, as arrays of one length.

    `sample_time_s` are the readings' instants, `duration_period_s` their median distance.
    """

    channel: Channel
    time_s: FloatArray
    energy_total_j: FloatArray
    half_width_at_j: FloatArray
    variance_total_j2: FloatArray
    sample_time_s: FloatArray
    duration_period_s: float | None

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

    def energy_j(self, time_start_s: float, time_end_s: float) -> float:
        """E(end) - E(start) in joules."""
        start_j, end_j = np.interp([time_start_s, time_end_s], self.time_s, self.energy_total_j)
        return float(end_j - start_j)

    def half_width_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """Half-width of the 95 % interval of `energy_j`; the two ends err independently."""
        if self.channel.method is Method.ESTIMATED:
            return None
        ends = np.interp([time_start_s, time_end_s], self.time_s, self.half_width_at_j)
        gathered = np.interp([time_start_s, time_end_s], self.time_s, self.variance_total_j2)
        return float(np.sqrt(np.sum(ends**2) + gathered[1] - gathered[0]))

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
