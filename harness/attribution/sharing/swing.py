"""How high a step of power may be that nobody marked, and what it leaves open within a tick.

Pure: a curve in, numbers out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from harness.protocols import EnergyCurve

if TYPE_CHECKING:
    from harness.records import FloatArray

AROUND_S, FEWEST_AROUND = 0.5, 5
"""So far on either side, and so many ticks at least, are looked at."""
STEP = 0.35
"""Of the swing, times a tick: a step in the middle of a tick leaves a quarter of its height open, and one that lasts
for less than a tick shows less than its height."""
UNKNOWN_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """Highest less lowest mean power of the ticks around each of many, evenly spaced."""

    time_s: FloatArray
    power_w: FloatArray
    period_s: float

    @classmethod
    def of(cls, curve: EnergyCurve, time_start_s: float, time_end_s: float) -> Self:
        """Of a curve between two instants, looked at as far around them as it takes."""
        period_s, ahead_s = settled_period_s(curve), duration_ahead_s(curve)
        first_s, last_s = curve.time_first_s or 0.0, curve.time_last_s or 0.0
        n_cells = max(math.ceil((last_s - first_s) / period_s), 1)
        # The cells are the same whichever part of the curve is asked for.
        first = min(max(math.floor((time_start_s - ahead_s - first_s) / period_s), 0), n_cells - 1)
        after = min(max(math.ceil((time_end_s + ahead_s - first_s) / period_s), first + 1), n_cells)
        bounds_s = first_s + period_s * np.arange(first, after + 1, dtype=np.float64)
        bounds_s[-1] = min(bounds_s[-1], max(last_s, first_s))
        lengths_s = np.diff(bounds_s)
        # The last cell may be short, and one of no length has no power.
        power_w = np.diff(curve.cumulative_j(bounds_s)) / np.maximum(lengths_s, period_s / 2)
        reach = _n_around(period_s)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(power_w, reach, mode="edge"), 2 * reach + 1)
        return cls(
            time_s=(bounds_s[:-1] + bounds_s[1:]) / 2,
            power_w=around.max(axis=1) - around.min(axis=1),
            period_s=period_s,
        )

    def half_width_j(self, times_s: FloatArray) -> FloatArray:
        """Of the energy at instants at which power may step."""
        return STEP * self.period_s * np.interp(times_s, self.time_s, self.power_w)


def settled_period_s(curve: EnergyCurve) -> float:
    """The sensor's period in two digits: the third one still moves while the curve grows."""
    return float(f"{curve.duration_period_s or UNKNOWN_PERIOD_S:.2g}")


def duration_ahead_s(curve: EnergyCurve) -> float:
    """So far beyond an instant the curve is looked at: until it is final there, the swing may change."""
    period_s = settled_period_s(curve)
    return (_n_around(period_s) + 2) * period_s


def _n_around(period_s: float) -> int:
    return max(math.ceil(AROUND_S / period_s), FEWEST_AROUND)
