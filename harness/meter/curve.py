"""E(t): the cumulative energy of one device, built once from its readings and the session's marked edges.

A counter gives exact anchors: the energy between two caught ticks is known to its resolution, and only where in
between it was spent is not. Ticks without a marked edge are straight lines. Where a tick holds edges (a query
begins, its prefill ends, ...), power may step there and only there, so the pieces' levels follow from the levels
of the neighbouring ticks and from the tick's own energy, which is kept exactly:

    minimise   sum over tick boundaries (p_left - p_right)^2  +  RIDGE sum over pieces (L / d_j) (p_j - m)^2
    subject to sum over the tick's pieces p_j d_j = E_tick,  p_j >= 0

with d_j a piece's length, L the tick's and m its mean power. The ridge keeps a piece of a few milliseconds from
taking up what belongs to its neighbours. Power readings become ticks of their own (constant around each
reading) and are not reshaped, because their energy is not exact.

It knows readings and edges. It must not know queries, files, or which sensor spoke.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.records import MARK_CHANNEL, Channel, Method, Quantity, Segment

if TYPE_CHECKING:
    from harness.records import FloatArray

RIDGE = 1e-4
LONGEST_CLUSTER = 32
"""Ticks that are solved together at most; longer stretches of edges are cut here, the same way each time."""
EDGE_DELAY_S = 0.005
"""How far from a marked edge the real step in power may lie (launch delay, synchronization). Provisional."""
SHAPE_TRUST = 0.1
"""Share of the difference between the shaped and the straight line that is charged as uncertainty."""


UNRESOLVED = 0.3
"""Relative half-width of a piece's power where there are more pieces than ticks could tell apart."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The energy between two instants, with the uncertainty of the instants (half of their brackets)."""

    time_start_s: float
    time_end_s: float
    energy_j: float
    bracket_start_s: float
    bracket_end_s: float

    @property
    def duration_s(self) -> float:
        """Length."""
        return self.time_end_s - self.time_start_s

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.duration_s


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
        self._times = [0.0]
        self._energies = [0.0]
        self._widths = [0.0]
        self._variances = [0.0]
        self._samples: list[float] = []
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
        return Curve(
            channel=self.channel,
            time_s=np.array(self._times if self._started else []),
            energy_total_j=np.array(self._energies if self._started else []),
            half_width_at_j=np.array(self._widths if self._started else []),
            variance_total_j2=np.array(self._variances if self._started else []),
            sample_time_s=np.array(self._samples),
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
        self._times, self._started = [time_s], True

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
        shaped = self._shaped and any(self._has_edges(tick) for tick in ticks)
        edges = [self._edges(tick) if shaped else [] for tick in ticks]
        cuts = [
            np.array([tick.time_start_s, *inner, tick.time_end_s]) for tick, inner in zip(ticks, edges, strict=True)
        ]
        if shaped:
            levels = _levels(ticks, cuts, self._level_before_w, after.power_w if after else None)
        else:
            levels = [np.array([tick.power_w]) for tick in ticks]
        # A piece that crosses from one tick into the next has one level; every tick and every known side tells one.
        n_levels = sum(len(cut) - 1 for cut in cuts) - (len(ticks) - 1)
        n_known = len(ticks) + (self._level_before_w is not None) + (after is not None)
        unresolved = UNRESOLVED if n_levels > n_known else 0.0
        for index, tick in enumerate(ticks):
            left = ticks[index - 1] if index else self._before
            right = ticks[index + 1] if index + 1 < len(ticks) else after
            self._append(tick, cuts[index], levels[index], unresolved, left, right)
            self._level_before_w = float(levels[index][-1])
            self._before = tick
        # Edges are kept only as long as a later tick may still hold them.
        self._marks = self._marks[bisect.bisect_left(self._marks, ticks[-1].time_end_s) :]

    def _append(
        self,
        tick: Tick,
        cuts: FloatArray,
        levels: FloatArray,
        unresolved: float,
        left: Tick | None,
        right: Tick | None,
    ) -> None:
        powers = [tick.power_w, *(other.power_w for other in (left, right) if other is not None)]
        spread_w = max(powers) - min(powers)
        shaped_j = np.concatenate([[0.0], np.cumsum(levels * np.diff(cuts))])
        shaped_j[-1] = tick.energy_j
        steps_w = np.abs(np.diff(levels))
        start_j, variance_j2 = self._energies[-1], self._variances[-1]
        if left is None:
            self._widths[-1] = tick.bracket_start_s * float(levels[0])
        for index, time_s in enumerate(cuts[1:], start=1):
            inside = index < len(cuts) - 1
            straight_j = tick.power_w * (time_s - tick.time_start_s)
            if inside:
                width_j = (EDGE_DELAY_S + tick.bracket_end_s) * steps_w[index - 1]
                width_j += SHAPE_TRUST * abs(shaped_j[index] - straight_j)
                width_j += unresolved * tick.power_w * max(np.diff(cuts)[index - 1 : index + 1])
            else:
                width_j = tick.bracket_end_s * max(levels[-1], right.power_w if right else 0.0)
            self._times.append(float(time_s))
            self._energies.append(start_j + float(shaped_j[index]))
            self._widths.append(float(width_j))
            # Integrated readings of power gather error on the way; a counter's anchors do not.
            gathered_j = 0.0 if self._shaped else spread_w * tick.duration_s / 4
            share = (time_s - tick.time_start_s) / tick.duration_s
            self._variances.append(variance_j2 + gathered_j**2 * float(share))
        self._bend(spread_w, len(cuts) - 1)

    def _bend(self, spread_w: float, n_pieces: int) -> None:
        """Between two knots of one tick the line may be bent: add a knot in the middle that says how much."""
        if spread_w == 0.0 or not self._shaped:
            return
        first = len(self._times) - 1 - n_pieces
        for index in range(first + n_pieces, first, -1):
            length_s = self._times[index] - self._times[index - 1]
            middle_j = (self._energies[index] + self._energies[index - 1]) / 2
            width_j = (self._widths[index] + self._widths[index - 1]) / 2
            bend_w = spread_w if n_pieces == 1 else SHAPE_TRUST * spread_w
            self._times.insert(index, self._times[index - 1] + length_s / 2)
            self._energies.insert(index, middle_j)
            self._widths.insert(index, width_j + bend_w * length_s / 4)
            self._variances.insert(index, (self._variances[index] + self._variances[index - 1]) / 2)


def _levels(
    ticks: Sequence[Tick], cuts: Sequence[FloatArray], before_w: float | None, after_w: float | None
) -> list[FloatArray]:
    """Power of every piece of every tick, in watts: the constrained least squares of the module's docstring."""
    lengths = [np.diff(cut) for cut in cuts]
    counts = [len(length) for length in lengths]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    n_pieces, n_ticks = int(starts[-1]), len(ticks)
    quadratic = np.zeros((n_pieces, n_pieces))
    linear = np.zeros(n_pieces)
    constraint = np.zeros((n_ticks, n_pieces))
    energies = np.array([tick.energy_j for tick in ticks])
    for index, tick in enumerate(ticks):
        piece = slice(starts[index], starts[index + 1])
        weights = RIDGE * tick.duration_s / lengths[index]
        quadratic[np.arange(n_pieces)[piece], np.arange(n_pieces)[piece]] += weights
        linear[piece] += weights * tick.power_w
        constraint[index, piece] = lengths[index]
    for index in range(1, n_ticks):
        right = int(starts[index])
        quadratic[right - 1 : right + 1, right - 1 : right + 1] += np.array([[1.0, -1.0], [-1.0, 1.0]])
    for position, level_w in ((0, before_w), (n_pieces - 1, after_w)):
        if level_w is not None:
            quadratic[position, position] += 1.0
            linear[position] += level_w
    solution = _solve_nonnegative(quadratic, linear, constraint, energies)
    return [solution[starts[index] : starts[index + 1]] for index in range(n_ticks)]


def _solve_nonnegative(
    quadratic: FloatArray, linear: FloatArray, constraint: FloatArray, energies: FloatArray
) -> FloatArray:
    """Minimise p'Qp/2 - b'p with Ap = e and p >= 0, by pinning what comes out negative at zero."""
    n_pieces, n_ticks = len(linear), len(energies)
    free = np.ones(n_pieces, dtype=bool)
    powers = np.zeros(n_pieces)
    for _ in range(n_pieces):
        n_free = int(free.sum())
        system = np.zeros((n_free + n_ticks, n_free + n_ticks))
        system[:n_free, :n_free] = quadratic[np.ix_(free, free)]
        system[:n_free, n_free:] = constraint[:, free].T
        system[n_free:, :n_free] = constraint[:, free]
        powers = np.zeros(n_pieces)
        powers[free] = np.linalg.solve(system, np.concatenate([linear[free], energies]))[:n_free]
        negative = powers < -1e-9
        # A tick keeps at least one free piece, or its energy would have nowhere to go.
        pinned = free & ~negative
        if not negative.any() or (constraint[:, pinned].sum(axis=1) == 0).any():
            break
        free = pinned
    return np.maximum(powers, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A finished curve: knots with cumulative energy and its uncertainty. Arrays of one length."""

    channel: Channel
    time_s: FloatArray
    energy_total_j: FloatArray
    half_width_at_j: FloatArray
    variance_total_j2: FloatArray
    sample_time_s: FloatArray

    @property
    def time_first_s(self) -> float | None:
        """Where the curve begins."""
        return float(self.time_s[0]) if len(self.time_s) else None

    @property
    def time_last_s(self) -> float | None:
        """Where the curve ends."""
        return float(self.time_s[-1]) if len(self.time_s) else None

    @property
    def duration_period_s(self) -> float | None:
        """Median seconds between readings."""
        return float(np.median(np.diff(self.sample_time_s))) if len(self.sample_time_s) > 1 else None

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
