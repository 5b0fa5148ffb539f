"""Over how long a power reading averages, and how late it is shown: a fit of readings around steps of the load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import update_period_s
from harness.meter.card.counter_sight import FEWEST_STEPS, Step

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

WINDOWS_S = tuple(
    0.001 * ms
    for ms in (5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80, 90, 100, 110, 120, 150, 200, 300, 500, 700, 850, 1000, 1200)
)
LAGS_S = (*(0.005 * index for index in range(-12, 21)), 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3)
"""Below zero, because a counter may lag behind power; no lag is reported negative."""
FIT_BEFORE_S, FIT_AFTER_S = 0.25, 1.6
TAIL_MOST = 0.02
"""Of the step, in the tick after its own."""
FIT_RESIDUAL_MOST = 0.15
"""Of the typical step: a worse fit says that something else is going on."""
CURVE_DOUBT = 0.02
"""Of the step: what brackets and the curve itself leave open."""
FIT_LOG_RATIO = 6.0
"""Twice the fall of the log likelihood up to which two parameters are equally good (95 %)."""
FEWEST_READINGS = 20
NEIGHBOURS = 20


def power_window_s(trace: BoardTrace, found: Sequence[Step], period_s: float | None) -> tuple[float, float] | None:
    """Averaging window and lag of the power readings, in seconds; None where the load does not tell them.

    Every first showing of a reading around a step is compared with means of the counter's curve, in which each step
    stands where its tick's energy puts it. Windows and lags are tried on a grid.
    """
    if len(found) < FEWEST_STEPS or np.median([abs(step.seen.share_missing) for step in found]) > TAIL_MOST:
        return None  # power that settles slowly looks like a reading that averages for long
    curve_s, curve_j = _stepped_curve(trace, found)
    shown_s, width_s, moved = _showings(trace, period_s or update_period_s(trace.power_changes))
    steps_s = np.sort([step.time_s for step in found])
    # The earliest step that a showing is not too late for must not be too far ahead of it.
    earliest = np.searchsorted(steps_s, shown_s - FIT_AFTER_S, side="right")
    near = np.append(steps_s, np.inf)[earliest] < shown_s + FIT_BEFORE_S
    near &= (shown_s - max(LAGS_S) - max(WINDOWS_S) > curve_s[0]) & (shown_s < curve_s[-1])
    shown_s, width_s, power_w = shown_s[near], width_s[near], trace.power_w[moved][near]
    if len(shown_s) < FEWEST_READINGS:
        return None
    size_w = float(np.median([abs(step.level_after_w - step.level_before_w) for step in found]))
    errors = np.empty((len(WINDOWS_S), len(LAGS_S)))
    for column, lag_s in enumerate(LAGS_S):
        until_j = np.interp(shown_s - lag_s, curve_s, curve_j)
        for row, window_s in enumerate(WINDOWS_S):
            expected_w = (until_j - np.interp(shown_s - lag_s - window_s, curve_s, curve_j)) / window_s
            gain = float(np.dot(expected_w, power_w) / np.dot(expected_w, expected_w))
            # A stray reading or two (another step close by) must not decide.
            errors[row, column] = float(np.mean(np.minimum(np.abs(power_w - gain * expected_w), size_w) ** 2))
    least = float(np.min(errors))
    if math.sqrt(least) > FIT_RESIDUAL_MOST * size_w:
        return None
    floor = (CURVE_DOUBT * size_w) ** 2
    good = len(shown_s) * np.log((errors + floor) / (least + floor)) < FIT_LOG_RATIO
    windows_s, lags_s = np.array(WINDOWS_S)[good.any(axis=1)], np.array(LAGS_S)[good.any(axis=0)]
    row, column = divmod(int(np.argmin(errors)), len(LAGS_S))
    if np.ptp(windows_s) > max(0.015, 0.4 * WINDOWS_S[row]) or np.ptp(lags_s) > max(0.03, 0.3 * WINDOWS_S[row]):
        return None
    if column == 0 or np.median(width_s) > WINDOWS_S[row] / 2:
        return None  # when a reading appeared is not known well enough
    return WINDOWS_S[row], max(LAGS_S[column], 0.0)


def _stepped_curve(trace: BoardTrace, found: Sequence[Step]) -> tuple[FloatArray, FloatArray]:
    """The counter's ticks, with a knot where each step must lie to give its tick the energy that it has."""
    inner_s = np.array(
        [s.tick_end_s - np.clip(s.seen.share, 0.01, 0.99) * (s.tick_end_s - s.tick_start_s) for s in found]
    )
    starts_j = np.interp([step.tick_start_s for step in found], trace.tick_s, trace.energy_j)
    inner_j = starts_j + [s.level_before_w * (at_s - s.tick_start_s) for s, at_s in zip(found, inner_s, strict=True)]
    times_s, energies_j = np.concatenate([trace.tick_s, inner_s]), np.concatenate([trace.energy_j, inner_j])
    order = np.argsort(times_s, kind="stable")
    return times_s[order], energies_j[order]


def _showings(trace: BoardTrace, period_s: float | None) -> tuple[FloatArray, FloatArray, IntArray]:
    """When each new reading appeared, the width of what is known of it (s), and its row.

    Where readings keep a beat, the brackets of neighbours narrow each other down.
    """
    moved = np.flatnonzero(np.diff(trace.power_w) != 0.0) + 1
    low_s, high_s = trace.read_before_s[moved - 1], trace.read_after_s[moved]
    middle_s, width_s = (low_s + high_s) / 2, high_s - low_s
    if period_s is None:
        return middle_s, width_s, moved
    tight_low_s, tight_high_s = low_s.copy(), high_s.copy()
    for shift in range(1, min(NEIGHBOURS, len(moved) - 1) + 1):
        beats_s = np.rint((middle_s[shift:] - middle_s[:-shift]) / period_s) * period_s
        tight_low_s[shift:] = np.maximum(tight_low_s[shift:], low_s[:-shift] + beats_s)
        tight_high_s[shift:] = np.minimum(tight_high_s[shift:], high_s[:-shift] + beats_s)
        tight_low_s[:-shift] = np.maximum(tight_low_s[:-shift], low_s[shift:] - beats_s)
        tight_high_s[:-shift] = np.minimum(tight_high_s[:-shift], high_s[shift:] - beats_s)
    agree = tight_low_s <= tight_high_s
    return (
        np.where(agree, (tight_low_s + tight_high_s) / 2, middle_s),
        np.where(agree, tight_high_s - tight_low_s, width_s),
        moved,
    )
