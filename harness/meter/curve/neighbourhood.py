"""What was seen around a tick: the ticks beside it, and the readings of instantaneous power among them.

Pure: ticks and polls in, intervals with their mean powers out.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Sequence

import numpy as np

from harness.meter.curve.regression import Observed
from harness.meter.curve.ticks import Tick
from harness.records import Channel

ANCHOR_SD = 1e-4
"""Noise of a tick's mean power beside what its uncertain instants make of it, relative to the highest around."""
READING_SD = 0.005
"""The same of a power reading."""
LAG_S = 0.003
"""A reading may be this much older than it looks."""
WINDOW_LONGEST_S = 0.5
"""Readings that average over more than this say nothing of a tick."""
UNIFORM_SD = 3.0**-0.5
"""Standard deviation of what lies anywhere within +- 1."""
N_KEPT = 1024


class PowerPolls:
    """Polls of the power beside a counter, as they came."""

    def __init__(self) -> None:
        self.time_s = array("d")
        self.value_w = array("d")

    def take(self, time_s: float, value_w: float) -> None:
        """One more, in order."""
        if not self.time_s or time_s > self.time_s[-1]:
            self.time_s.append(time_s)
            self.value_w.append(value_w)

    def forget_before(self, time_s: float) -> None:
        """Drop what nobody will ask for any more, a lot at a time."""
        first = bisect.bisect_left(self.time_s, time_s) - 2
        if first > N_KEPT:
            del self.time_s[:first]
            del self.value_w[:first]


def observed_around(around: Sequence[Tick], counter: Channel, power: Channel | None, polls: PowerPolls) -> Observed:
    """Mean powers over the ticks and over the windows of the readings among them.

    Args:
        around: Consecutive ticks of the counter.
        counter: Its channel; a part-time counter sees only the end of each tick.
        power: The channel of power beside it; None: there is none.
        polls: What that showed.
    """
    highest_w = max(tick.power_w for tick in around)
    starts, ends, means, deviations = [], [], [], []
    boundaries: list[float] = []
    before: list[int] = []
    for index, tick in enumerate(around):
        left, right = around[max(index - 1, 0)], around[min(index + 1, len(around) - 1)]
        if not index or left.time_end_s != tick.time_start_s:
            boundaries.append(UNIFORM_SD * tick.half_bracket_start_s * (tick.power_w + left.power_w) / 2)
        before.append(len(boundaries) - 1)
        boundaries.append(UNIFORM_SD * tick.half_bracket_end_s * (tick.power_w + right.power_w) / 2)
        window_s = counter.duration_window_s
        starts.append(tick.time_start_s if window_s is None else tick.time_end_s - window_s)
        ends.append(tick.time_end_s)
        means.append(tick.power_w)
        deviations.append(ANCHOR_SD * highest_w)
    for start_s, end_s, mean_w, deviation_w in _readings(around, power, polls, highest_w):
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


def _readings(
    around: Sequence[Tick], power: Channel | None, polls: PowerPolls, highest_w: float
) -> list[tuple[float, float, float, float]]:
    """Windows of the readings whose update was seen among these ticks: start, end, mean, noise."""
    window_s = None if power is None else power.duration_window_s
    if window_s is None or window_s > WINDOW_LONGEST_S:
        return []
    first = bisect.bisect_right(polls.time_s, around[0].time_start_s)
    last = bisect.bisect_left(polls.time_s, around[-1].time_end_s)
    found = []
    for index in range(max(first, 1), last):
        value_w = float(polls.value_w[index])
        if value_w == polls.value_w[index - 1]:
            continue  # the same update, read again
        half_s = (polls.time_s[index] - polls.time_s[index - 1]) / 2
        end_s = polls.time_s[index] - half_s
        if end_s - window_s <= around[0].time_start_s or half_s > window_s:
            continue
        near_w = [
            tick.power_w
            for tick in around
            if tick.time_start_s < end_s + window_s and tick.time_end_s > end_s - 2 * window_s
        ]
        spread_w = max(near_w, default=highest_w) - min(near_w, default=0.0)
        # Where power changes, the window's uncertain place is an uncertain mean.
        moved_w = UNIFORM_SD * (half_s + LAG_S) / window_s * spread_w
        found.append((end_s - window_s, end_s, value_w, float(np.hypot(READING_SD * highest_w, moved_w))))
    return found
