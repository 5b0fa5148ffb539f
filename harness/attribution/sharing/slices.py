"""The time of a session, cut wherever anybody's rate changes: in each slice everybody's part of it is constant.

The rates are rounded to whole numbers first (two words of some 50 bits each), so that their running sum over time is
exactly the sum of those in flight, however many came and went before, and 0 where nobody makes progress.

Pure: arrays in, arrays out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from harness.attribution.sharing.stretches import Stretches

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

WORD_BITS = 61


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """m + 1 instants that differ, and m slices between them.

    The part that a stretch has of a slice inside of it is its `rate` times `by_rate`, plus `alike`: one of both is 0.
    """

    stretches: Stretches
    rate: FloatArray
    """Of each stretch as it was rounded, in a unit of its own."""
    time_s: FloatArray
    first: IntArray
    """The slice that each stretch begins with."""
    last: IntArray
    """The slice after its last one."""
    by_rate: FloatArray
    """One over the sum of rates; 0 where nobody makes progress."""
    alike: FloatArray
    """Where nobody makes progress: one over the number of those in flight; 0 where there are none."""

    @classmethod
    def of(cls, stretches: Stretches) -> Self:
        """Of any stretches, of rows in any order."""
        point_first, n_points = stretches.point_first, len(stretches.time_s)
        order = np.argsort(stretches.time_s)
        in_order_s = stretches.time_s[order]
        begins = np.ones(n_points, dtype=np.bool_)
        begins[1:] = in_order_s[1:] != in_order_s[:-1]
        place = np.empty(n_points, dtype=np.int64)
        place[order] = np.cumsum(begins) - 1
        ends = np.flatnonzero(np.append(begins[1:], True)) if n_points else np.zeros(0, dtype=np.int64)
        points = np.ones(n_points, dtype=np.bool_)
        points[point_first[1:] - 1] = False  # the last of a row begins no stretch
        starts = np.flatnonzero(points)
        step = np.zeros(n_points, dtype=np.int64)
        step[point_first[:-1]] = 1
        step[point_first[1:] - 1] = -1
        in_flight = np.cumsum(step[order])[ends]
        high, low, n_bits = _whole(stretches.rate, int(in_flight.max(initial=0)))
        sums = []
        for word in (high, low):
            step = np.zeros(n_points, dtype=np.int64)
            step[starts] = word
            step[starts + 1] -= word
            sums.append(np.cumsum(step[order])[ends])
        total = np.ldexp(sums[1].astype(np.float64), -n_bits) + sums[0]
        total, in_flight = total[:-1], in_flight[:-1]
        nobody = total <= 0
        return cls(
            stretches=stretches,
            rate=np.ldexp(low.astype(np.float64), -n_bits) + high,
            time_s=in_order_s[begins],
            first=place[starts],
            last=place[starts + 1],
            by_rate=np.divide(1.0, total, out=np.zeros_like(total), where=~nobody),
            alike=np.divide(1.0, in_flight, out=np.zeros_like(total), where=nobody & (in_flight > 0)),
        )

    def shared(self, amounts: FloatArray) -> FloatArray:
        """Amounts of each slice in one column a unit of rate, and in another one a head where nobody makes progress.

        The second is left out where it would be 0 throughout.
        """
        if not self.alike.any():
            return (self.by_rate * amounts)[:, None]
        return np.column_stack([self.by_rate * amounts, self.alike * amounts])


def _whole(rate: FloatArray, most: int) -> tuple[IntArray, IntArray, int]:
    """Rates as whole numbers: a high word, a low word, and by how many bits the low one is finer.

    So many bits that the sum of the highest rate over the `most` at a time still fits. What is above 0 stays above 0.
    """
    n_bits = WORD_BITS - math.ceil(math.log2(most + 2))
    highest = float(rate.max(initial=0.0))
    exponent = math.frexp(highest)[1]  # highest < 2 ** exponent
    scaled = np.ldexp(rate, n_bits - exponent)
    high = np.floor(scaled)
    low = np.floor(np.ldexp(scaled - high, n_bits))
    low[(rate > 0) & (high == 0) & (low == 0)] = 1.0
    return high.astype(np.int64), low.astype(np.int64), n_bits
