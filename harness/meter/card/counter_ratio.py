"""A counter's energy over the integral of the same board's power readings, with the interval that its scatter gives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import update_period_s

if TYPE_CHECKING:
    from harness.records import FloatArray

BLOCK_S = 3.0
FEWEST_BLOCKS = 4
STEADY_BLOCK = 0.05
LOADED = 1.2
"""Times the idle power: less than that is no load."""
FEWEST_READINGS = 20
GAP_MOST_S = 0.25
"""Power readings further apart than this make no integral."""


def counter_over_power(
    trace: BoardTrace, tick_s: float, power_idle_w: float | None, window_s: float
) -> tuple[float, float] | None:
    """The counter's energy over the power readings' integral, and the half-width of its 95 % interval.

    Over stretches of 3 s under load; steady ones if there are enough of them, otherwise all. Their scatter makes the
    half-width. What a load that is locked to the sensor hides from every reading alike, it cannot hold.
    """
    if len(trace.read_after_s) < FEWEST_READINGS:
        return None
    read_s = (trace.read_before_s + trace.read_after_s) / 2
    distances_s = np.diff(read_s)
    drawn_j = np.concatenate([[0.0], np.cumsum(distances_s * (trace.power_w[1:] + trace.power_w[:-1]) / 2)])
    # A reading is the mean over its window, and was latched half an update ago on average.
    shift_s = window_s / 2 + (update_period_s(trace.power_changes) or 0.0) / 2
    lengths_s = np.diff(trace.tick_s)
    whole = (trace.tick_j > 0.0) & (np.abs(lengths_s / tick_s - 1.0) < 0.25)
    levels_w = np.divide(trace.tick_j, lengths_s, out=np.zeros_like(lengths_s), where=lengths_s > 0.0)
    if not whole.any():
        return None
    idle_w = power_idle_w or float(np.quantile(levels_w[whole], 0.05))
    counted, integrated, steady = [], [], []
    first = 0
    while first < len(levels_w):
        last = int(np.searchsorted(trace.tick_s, trace.tick_s[first] + BLOCK_S - tick_s / 4))
        if last >= len(trace.tick_s):
            break
        bounds_s = trace.tick_s[[first, last]] + shift_s
        covered = read_s[0] <= bounds_s[0] and bounds_s[1] <= read_s[-1]
        around = slice(
            max(int(np.searchsorted(read_s, bounds_s[0])) - 1, 0), int(np.searchsorted(read_s, bounds_s[1])) + 1
        )
        gap_s = float(np.max(np.diff(read_s[around]), initial=0.0))
        mean_w = float(np.sum(trace.tick_j[first:last]) / np.sum(lengths_s[first:last]))
        if covered and gap_s <= GAP_MOST_S and whole[first:last].all() and mean_w > LOADED * idle_w:
            counted.append(float(np.sum(trace.tick_j[first:last])))
            integrated.append(float(np.diff(np.interp(bounds_s, read_s, drawn_j))[0]))
            steady.append(bool(np.std(levels_w[first:last]) < STEADY_BLOCK * mean_w))
        first = last
    chosen = np.array(steady, dtype=bool)
    if np.count_nonzero(chosen) < FEWEST_BLOCKS:
        chosen = np.ones(len(counted), dtype=bool)
    return _ratio(np.array(counted)[chosen], np.array(integrated)[chosen])


def _ratio(counted_j: FloatArray, integrated_j: FloatArray) -> tuple[float, float] | None:
    """Total over total, with the half-width of a ratio of sums (its residuals' scatter, Student's t)."""
    n_blocks = len(counted_j)
    if n_blocks < FEWEST_BLOCKS or np.sum(integrated_j) <= 0.0:
        return None
    ratio = float(np.sum(counted_j) / np.sum(integrated_j))
    residuals_j = counted_j - ratio * integrated_j
    variance = n_blocks / (n_blocks - 1) * float(np.sum(residuals_j**2)) / float(np.sum(integrated_j)) ** 2
    return ratio, _student(n_blocks - 1) * math.sqrt(variance)


def _student(n_free: int) -> float:
    """The 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5); within 1 % from three degrees of freedom on."""
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(n_free) ** (power + 1) for power, term in enumerate(terms))
