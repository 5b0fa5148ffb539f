"""Is a load in step with the sensor's updates? Then the sensor can miss the same part of it every time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import update_period_s
from harness.records import Edge, Finding, FindingCode, SensorCard

FEWEST_SPANS = 8
CHANCE = 1e-3
"""Probability (Rayleigh's test) with which phases at random would look so much alike."""
CONCENTRATED = 0.9
"""Mean resultant length: 1 where all phases are the same, near 0 where they are anywhere."""
HARMONICS = (1, 2, 3)
"""Starts may also alternate between two or three phases: a span-to-span time of a half or third of a period, or of
one and a half."""


def aliased(card: SensorCard, trace: BoardTrace) -> Finding | None:
    """The doubt that work began at the same phase of the sensor each time, where the sensor may be blind in between.

    A counter that is known to see all of the time has no such phase.
    """
    has_ticks = card.counter and len(trace.tick_s) > 1
    if has_ticks and card.integrates:
        return None
    updates_s = trace.tick_s if has_ticks else trace.power_changes.time_s
    period_s = card.duration_tick_s if has_ticks else card.duration_power_period_s
    period_s = period_s or update_period_s(trace.ticks if has_ticks else trace.power_changes)
    if period_s is None:
        return None
    starts_s = [time_s for time_s, edge in zip(trace.mark_s, trace.edges, strict=True) if edge is Edge.WORK_BEGINS]
    return aliased_starts(card.uuid, starts_s, updates_s.tolist(), period_s)


def aliased_starts(
    device: str, starts_s: Sequence[float], updates_s: Sequence[float], duration_period_s: float
) -> Finding | None:
    """The doubt itself, where the sensor is known to be one that can be blind.

    Args:
        device: Its name.
        starts_s: When pieces of work began.
        updates_s: The sensor's updates, in order; some may have been missed.
        duration_period_s: Between two updates.
    """
    turns = tick_counts(starts_s, updates_s, duration_period_s)
    if not locked(turns, 1.0):
        return None
    detail = f"{device}: {len(turns)} queries began at the same phases of its {1e3 * duration_period_s:.0f} ms"
    return Finding(code=FindingCode.ALIASED, detail=detail)


def locked(edges_s: Sequence[float], duration_period_s: float) -> bool:
    """Whether instants fall at the same phases of a period.

    Args:
        edges_s: Where spans start. An error of the period adds up along them: over long sessions take `tick_counts`
            of the edges, and a period of 1.
        duration_period_s: Of the sensor, in the same unit.
    """
    if len(edges_s) < FEWEST_SPANS or not duration_period_s > 0.0:
        return False
    turns = np.asarray(edges_s, dtype=np.float64) / duration_period_s
    for harmonic in HARMONICS:
        resultant = float(np.abs(np.mean(np.exp(2j * math.pi * harmonic * turns))))
        if resultant > CONCENTRATED and math.exp(-len(turns) * resultant**2) < CHANCE:
            return True
    return False


def tick_counts(edges_s: Sequence[float], ticks_s: Sequence[float], duration_period_s: float) -> list[float]:
    """Instants on the sensor's own time: 12.5 is half-way between its 12th and 13th update.

    Args:
        edges_s: Instants; those outside of the updates are left out.
        ticks_s: The updates that were seen, in order; some may have been missed.
        duration_period_s: Between two updates.
    """
    ticks = np.asarray(ticks_s, dtype=np.float64)
    if len(ticks) < 2:
        return []
    counts = np.concatenate([[0.0], np.cumsum(np.maximum(np.rint(np.diff(ticks) / duration_period_s), 1.0))])
    edges = np.asarray(edges_s, dtype=np.float64)
    inside = (edges >= ticks[0]) & (edges <= ticks[-1])
    return [float(count) for count in np.interp(edges[inside], ticks, counts)]
