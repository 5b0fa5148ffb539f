"""Energy of queries that are in flight together, shared by the progress that each makes.

At every instant the device's energy goes to those in flight, in proportion to the weighted tokens a second by which
they progress then; where nobody progresses, to all alike; where nobody is in flight, to nobody. So the shares add up to
the energy, whoever else was there, and a query that was alone gets what it would have got by itself.

Pure: curves and timelines in, arrays or readings out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from harness.attribution import exclusive
from harness.attribution.sharing.load import Load
from harness.attribution.sharing.ranges import RangeSums
from harness.attribution.sharing.slices import Slices
from harness.attribution.sharing.stretches import Stretches
from harness.attribution.sharing.widths import Widths
from harness.protocols import EnergyCurve
from harness.records import Attribution, Method, Phase, Reading, Timeline, TokenWeights

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The time of a load, cut into slices: what all its devices have in common."""

    load: Load
    by_chunk: Slices
    by_phase: Slices
    equal: Slices

    @classmethod
    def of(cls, load: Load, weights: TokenWeights) -> Self:
        """Of one load under one pair of weights."""
        return cls(
            load=load,
            by_chunk=Slices.of(Stretches.by_chunk(load, weights)),
            by_phase=Slices.of(Stretches.by_phase(load, weights)),
            equal=Slices.of(Stretches.equal(load)),
        )

    def lone(self) -> BoolArray:
        """Rows that nobody else was in flight with at any time."""
        company = RangeSums.of((self.equal.alike < 1.0).astype(np.float64))
        alone: BoolArray = company.between(self.equal.first, self.equal.last)[:, 0] == 0
        return alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Of one device's energy, by row of the load. Whether the curve knows it all along is not asked here."""

    curve: EnergyCurve
    split: Split
    energy_j: FloatArray
    half_width_j: FloatArray
    """95 %; NaN for an estimate."""
    energy_equal_j: FloatArray
    """If all in flight got the same of every instant."""
    duration_share_s: FloatArray
    """The row's share of the time: its part of every instant, summed."""
    _drawn: RangeSums = field(repr=False)
    _stretch_j: RangeSums = field(repr=False)
    _widths: Widths | None = field(repr=False)

    def between(self, row: IntArray, time_start_s: FloatArray, time_end_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What rows got between two instants of their spans, in joules, and its half-width.

        Args:
            row: Of the load, in any order, as often as wanted.
            time_start_s: For each of them; before its own start counts as at it.
            time_end_s: For each of them; after its own end counts as at it.

        Returns:
            Touching intervals of a row add up to it. The half-widths are NaN for an estimate.
        """
        load = self.split.load
        start_s = np.clip(time_start_s, load.time_start_s[row], load.time_end_s[row])
        end_s = np.clip(time_end_s, start_s, load.time_end_s[row])
        energy_j = np.maximum(self._until_j(row, end_s) - self._until_j(row, start_s), 0.0)
        return energy_j, self._half_width_j(row, start_s, end_s)

    def _until_j(self, row: IntArray, time_s: FloatArray) -> FloatArray:
        """What rows got from their start to an instant of their span."""
        slices = self.split.by_chunk
        stretches = slices.stretches
        first, after = stretches.first[row], stretches.first[row + 1]
        stretch = _last_at(stretches.time_s, first + row, after + row, time_s) - row
        whole_j = self._stretch_j.between(first, np.minimum(stretch, after))[:, 0]
        inside = np.flatnonzero(stretch < after)
        stretch, at_s = stretch[inside], time_s[inside]
        piece = np.clip(np.searchsorted(slices.time_s, at_s, side="right") - 1, slices.first[stretch], None)
        drawn = self._drawn.between(slices.first[stretch], piece)
        last_j = np.maximum(self.curve.cumulative_j(at_s) - self.curve.cumulative_j(slices.time_s[piece]), 0.0)
        part = slices.rate[stretch] * slices.by_rate[piece] + slices.alike[piece]
        whole_j[inside] += _of_both(slices.rate[stretch], drawn) + part * last_j
        return whole_j

    def _half_width_j(self, row: IntArray, time_start_s: FloatArray, time_end_s: FloatArray) -> FloatArray:
        if self._widths is None:
            return np.full(len(row), np.nan)
        return np.sqrt(self._widths.between_j2(row, time_start_s, time_end_s))


def shares(curve: EnergyCurve, load: Load, weights: TokenWeights, *, is_marked: bool = False) -> Shares:
    """The shares of all queries of a load.

    Args:
        curve: The device's curve.
        load: Every query that was in flight at any instant of those that are wanted.
        weights: What a prompt token weighs against an output token.
        is_marked: Whether the curve was made with every start, first token and end as a marked edge. Without,
            half-widths are wider, since power steps at them.
    """
    return shares_of(curve, Split.of(load, weights), is_marked=is_marked)


def shares_of(curve: EnergyCurve, split: Split, *, is_marked: bool = False) -> Shares:
    """The same, of a load that was cut already: for its second device."""
    slices = split.by_chunk
    drawn_j = _drawn_j(curve, slices)
    drawn = RangeSums.of(slices.shared(drawn_j))
    stretch_j = RangeSums.of(_of_both(slices.rate, drawn.between(slices.first, slices.last)))
    lengths = RangeSums.of(slices.shared(np.diff(slices.time_s)))
    stretch_s = RangeSums.of(_of_both(slices.rate, lengths.between(slices.first, slices.last)))
    first, after = slices.stretches.first[:-1], slices.stretches.first[1:]
    equal = RangeSums.of(split.equal.alike * _drawn_j(curve, split.equal))
    load = split.load
    widths = None if curve.channel.method is Method.ESTIMATED else Widths.of(curve, split.by_phase, is_marked=is_marked)
    half_width_j = np.full(len(load), np.nan)
    if widths is not None:
        half_width_j = np.sqrt(widths.between_j2(np.arange(len(load)), load.time_start_s, load.time_end_s))
    return Shares(
        curve=curve,
        split=split,
        energy_j=stretch_j.between(first, after)[:, 0],
        half_width_j=half_width_j,
        energy_equal_j=equal.between(split.equal.first, split.equal.last)[:, 0],
        duration_share_s=stretch_s.between(first, after)[:, 0],
        _drawn=drawn,
        _stretch_j=stretch_j,
        _widths=widths,
    )


def read_shared(
    curve: EnergyCurve,
    timelines: Sequence[Timeline],
    weights: TokenWeights,
    phases: Mapping[int, Sequence[Phase]],
    *,
    is_marked: bool = False,
) -> dict[int, Reading]:
    """The energy of one device that some queries have a share of.

    Args:
        curve: The device's curve.
        timelines: Of one session: every query that was in flight at any instant of those that are wanted, and these.
        weights: What a prompt token weighs against an output token.
        phases: By number, of the queries that are wanted: touching parts of their spans, or none.
        is_marked: Whether the curve was made with every start, first token and end as a marked edge.

    Returns:
        By number; energies are null, with the same findings, where `exclusive.read` has them null. A query that was
        never in company has its reading by itself.

    Raises:
        KeyError: A query is wanted that has no timeline.
    """
    load = Load.of(timelines)
    split = Split.of(load, weights)
    found, lone = shares_of(curve, split, is_marked=is_marked), split.lone()
    row_of = {int(number): row for row, number in enumerate(load.number)}
    readings = {}
    for number, parts in phases.items():
        row = row_of[number]
        span_s = float(load.time_start_s[row]), float(load.time_end_s[row])
        alone = exclusive.read(curve, *span_s, parts, Attribution.SHARED_TOKENS)
        readings[number] = alone if lone[row] else _shared(alone, found, row)
        update: dict[str, float | None] = {"duration_share_s": float(found.duration_share_s[row])}
        if alone.energy_gross_j is not None:
            equal_j = alone.energy_gross_j if lone[row] else float(found.energy_equal_j[row])
            update["energy_shared_equal_j"] = equal_j
        readings[number] = readings[number].model_copy(update=update)
    return readings


def unattributed_j(curve: EnergyCurve, load: Load, time_start_s: float, time_end_s: float) -> float:
    """What was drawn in an interval while nobody was in flight, in joules."""
    starts_s, ends_s = load.idle_s(time_start_s, time_end_s)
    return float(np.sum(curve.cumulative_j(ends_s) - curve.cumulative_j(starts_s)))


def _shared(alone: Reading, found: Shares, row: int) -> Reading:
    """A reading of all the energy in a query's span, with its share instead. What is null there stays null."""
    if alone.energy_gross_j is None:
        return alone
    bounds = [(part.time_start_s, part.time_end_s) for part in alone.phases]
    start_s, end_s = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    energy_j, half_width_j = found.between(np.full(len(bounds), row), start_s, end_s)
    return alone.model_copy(
        update={
            "energy_gross_j": float(found.energy_j[row]),
            "energy_gross_half_width_j": _known(found.half_width_j[row]),
            "energy_blind_half_width_j": None,
            "phases": tuple(
                part
                if part.energy_gross_j is None
                else part.model_copy(
                    update={
                        "energy_gross_j": float(energy_j[place]),
                        "energy_gross_half_width_j": _known(half_width_j[place]),
                    }
                )
                for place, part in enumerate(alone.phases)
            ),
        }
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _drawn_j(curve: EnergyCurve, slices: Slices) -> FloatArray:
    """Of each slice; never below 0, and together exactly what lies between the first instant and the last."""
    return np.diff(np.maximum.accumulate(curve.cumulative_j(slices.time_s)))


def _of_both(rate: FloatArray, sums: FloatArray) -> FloatArray:
    """What rates have of the sums of `Slices.shared`."""
    shared: FloatArray = rate * sums[:, 0]
    return shared + sums[:, 1] if sums.shape[1] > 1 else shared


def _last_at(values: FloatArray, first: IntArray, last: IntArray, wanted: FloatArray) -> IntArray:
    """The last place from `first` to `last`, both included, whose value is not above the one wanted; at least `first`.

    The values of each range ascend; those of different ranges have nothing to do with each other.
    """
    low, high = first.copy(), last.copy()
    while np.any(low < high):
        middle = (low + high + 1) // 2
        below = values[middle] <= wanted
        low = np.where(below, middle, low)
        high = np.where(below, high, middle - 1)
    return low
