"""Does an energy counter see all of the time, or only a part of each tick?

A counter that integrates gives the tick that holds a step of power the share of the step that its place in the tick
says. One that sums short looks before each tick almost always gives it one of the two levels. Steps of known place are
the marked edges; that power really steps there is not taken for granted: a third account, in which the load does not
care about the marks, must be beaten as well.

Pure: it knows a board's rows, no driver and no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.card.board_trace import BoardTrace
from harness.records import Edge, LoadStep

if TYPE_CHECKING:
    from harness.records import FloatArray

SMALLEST_STEP, SMALLEST_STEP_W = 0.15, 10.0
"""Of the higher level, and in watts: a smaller difference of levels is no step."""
STEADY_BEFORE, SETTLED_AFTER = 0.05, 0.15
"""Of the step: how much its neighbouring ticks may differ among themselves."""
SAME_MARK_S = 0.005
"""Marks this close are one: a query ends and the next begins."""
FEWEST_STEPS = 6
CERTAIN_LOG10 = 2.0
"""Odds of 100:1."""

DELAYS_COMMON_S = (-0.05, -0.04, -0.03, -0.02, -0.01, 0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05)
DELAYS_OWN_S = tuple(0.001 * ms for ms in range(-3, 10))
"""From a mark to its step: a part common to the session (a counter's lag, a queue, marks put late), a part of each
step's own."""
TAILS_S = (0.0, 0.01, 0.02, 0.04, 0.08, 0.15)
"""Time constants with which power reaches its new level."""
WINDOWS_PART_TIME = tuple(0.05 * index for index in range(1, 13))
"""Shares of a tick that a part-time counter may see."""
SCATTER_LEAST = 0.02
"""Of a step: a standard deviation below which nothing is believed."""
NEXT_SCATTER = 0.03
STRAY = 0.05
"""Share of steps that may be anything."""
DENSITY_ANYTHING = 1.0 / 1.4
"""Of a share that lies anywhere between -0.2 and 1.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A mark across which power changed: where, between which levels (W), and what the counter made of it."""

    time_s: float
    tick_start_s: float
    tick_end_s: float
    level_before_w: float
    level_after_w: float
    seen: LoadStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Powers of ten by which each account of the counter beats `the load does not care about the marks`."""

    n_steps: int = 0
    integrates_log10: float = 0.0
    part_time_log10: float = 0.0
    window_share: float | None = None

    @property
    def verdict(self) -> bool | None:
        """Whether it integrates; None until one account beats every other by 100:1 over at least six steps."""
        if self.n_steps < FEWEST_STEPS:
            return None
        if self.integrates_log10 - max(self.part_time_log10, 0.0) > CERTAIN_LOG10:
            return True
        if self.part_time_log10 - max(self.integrates_log10, 0.0) > CERTAIN_LOG10:
            return False
        return None


def steps(trace: BoardTrace, tick_s: float) -> list[Step]:
    """Marks alone in their tick, between ticks that are steady before it and settled after it."""
    begins_s, lengths_s = trace.tick_s[:-1], np.diff(trace.tick_s)
    whole = (trace.tick_j > 0.0) & (np.abs(lengths_s / tick_s - 1.0) < 0.25)
    levels_w = np.divide(trace.tick_j, lengths_s, out=np.zeros_like(lengths_s), where=lengths_s > 0.0)
    found = []
    for time_s, edge, is_alone in _marks_apart(trace, tick_s):
        k = int(np.searchsorted(begins_s, time_s, side="right")) - 1
        if not is_alone or edge is Edge.UNKNOWN or k < 2 or k + 2 >= len(levels_w) or not whole[k - 2 : k + 3].all():
            continue
        earlier_w, before_w, own_w, next_w, after_w = levels_w[k - 2 : k + 3]
        size_w = after_w - before_w
        if abs(size_w) < max(SMALLEST_STEP * max(before_w, after_w), SMALLEST_STEP_W):
            continue
        unsteady, unsettled = abs(before_w - earlier_w) / abs(size_w), abs(next_w - after_w) / abs(size_w)
        if unsteady > STEADY_BEFORE or unsettled > SETTLED_AFTER:
            continue
        bracket_s = float(np.max(trace.tick_bracket_s[k : k + 2]))
        found.append(
            Step(
                time_s=time_s,
                tick_start_s=float(trace.tick_s[k]),
                tick_end_s=float(trace.tick_s[k + 1]),
                level_before_w=float(before_w),
                level_after_w=float(after_w),
                seen=LoadStep(
                    edge=edge,
                    duration_tick_s=float(lengths_s[k]),
                    duration_to_tick_end_s=float(trace.tick_s[k + 1]) - time_s,
                    share=float(np.clip((own_w - before_w) / size_w, -0.2, 1.2)),
                    share_scatter=math.hypot(SCATTER_LEAST, bracket_s / tick_s, unsteady),
                    share_missing=float((after_w - next_w) / size_w),
                ),
            )
        )
    return found


def _marks_apart(trace: BoardTrace, tick_s: float) -> list[tuple[float, Edge, bool]]:
    """Marks, those within a few milliseconds taken together, and whether each is alone for a tick on both sides."""
    groups: list[list[int]] = []
    for index, time_s in enumerate(trace.mark_s):
        if groups and time_s - trace.mark_s[groups[-1][0]] <= SAME_MARK_S:
            groups[-1].append(index)
        else:
            groups.append([index])
    times_s = [float(np.mean(trace.mark_s[group])) for group in groups]
    named = [[trace.edges[i] for i in group if trace.edges[i] is not Edge.UNKNOWN] for group in groups]
    edges = [names[-1] if names else Edge.UNKNOWN for names in named]
    padded = [-math.inf, *times_s, math.inf]
    alone = [min(b - a, c - b) > tick_s for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)]
    return list(zip(times_s, edges, alone, strict=True))


def evidence(found: Sequence[LoadStep]) -> Evidence:
    """How well each account explains the shares that the ticks got.

    Delays and tails are nuisances: they are averaged over, apart for beginnings, ends and phases, alike for both
    accounts.
    """
    if not found:
        return Evidence()
    kinds = {step.edge for step in found}
    by_window = {}
    for window in (1.0, *WINDOWS_PART_TIME):
        by_window[window] = sum(_log10_against_anything([s for s in found if s.edge is kind], window) for kind in kinds)
    part_time = np.array([by_window[window] for window in WINDOWS_PART_TIME])
    highest = float(np.max(part_time))
    return Evidence(
        n_steps=len(found),
        integrates_log10=float(by_window[1.0]),
        part_time_log10=highest + math.log10(float(np.mean(10.0 ** (part_time - highest)))),
        window_share=WINDOWS_PART_TIME[int(np.argmax(part_time))],
    )


def _log10_against_anything(found: Sequence[LoadStep], window: float) -> float:
    """Of a counter that sees the last `window` (a share) of each tick, delays and tails averaged over."""
    since_s = np.array([step.duration_to_tick_end_s for step in found])
    ticks_s = np.array([step.duration_tick_s for step in found])
    shares, scatters = np.array([step.share for step in found]), np.array([step.share_scatter for step in found])
    next_missing = np.array([step.share_missing for step in found])
    next_scatters = np.hypot(scatters, NEXT_SCATTER)
    windows_s = window * ticks_s
    own_s = np.array(DELAYS_OWN_S)[:, None]
    spacing_s = DELAYS_OWN_S[1] - DELAYS_OWN_S[0]
    scatters = np.hypot(scatters, 0.3 * spacing_s / windows_s)
    totals = []
    for common_s in DELAYS_COMMON_S:
        for tail_s in TAILS_S:
            age_s = since_s - common_s - own_s
            settled = np.maximum(_seen(age_s + 2.0 * ticks_s, windows_s, tail_s), 0.1)
            expected = np.clip(_seen(age_s, windows_s, tail_s) / settled, 0.0, 1.2)
            density = np.exp(-0.5 * ((shares - expected) / scatters) ** 2) / (scatters * math.sqrt(2.0 * math.pi))
            # A tail that explains the tick must show in the next one too. Only ever against an account: that
            # power settles says nothing of the marks.
            later = 1.0 - _seen(age_s + ticks_s, windows_s, tail_s) / settled
            density *= np.exp(-0.5 * ((next_missing - later) / next_scatters) ** 2)
            each = (1.0 - STRAY) * np.mean(density, axis=0) + STRAY * DENSITY_ANYTHING
            totals.append(float(np.sum(np.log10(each / DENSITY_ANYTHING))))
    highest = max(totals)
    return highest + math.log10(float(np.mean(10.0 ** (np.array(totals) - highest))))


def _seen(age_s: FloatArray, window_s: FloatArray, tail_s: float) -> FloatArray:
    """Share of a step seen by a mean over `window_s` that ends `age_s` after it."""
    age_s = np.maximum(age_s, 0.0)
    inside_s = np.minimum(age_s, window_s)
    if tail_s == 0.0:
        return inside_s / window_s
    missing_s = tail_s * (np.exp(-(age_s - inside_s) / tail_s) - np.exp(-age_s / tail_s))
    return np.asarray((inside_s - missing_s) / window_s)
