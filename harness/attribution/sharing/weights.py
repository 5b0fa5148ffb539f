"""What a prompt token weighs against an output token: fitted to a warm-up under load.

The energy of each of many windows is explained by the time, the prompt tokens computed and the output tokens that came
in it. Where these move together, or the windows are few, the ratio is not known, and nothing is said.

Pure: curves and timelines in, weights out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.attribution.sharing.load import Load
from harness.attribution.sharing.stretches import Stretches
from harness.protocols import EnergyCurve
from harness.records import Timeline, TokenWeights

if TYPE_CHECKING:
    from harness.records import FloatArray

WINDOW_S, WINDOW_TICKS = 1.0, 10
"""A window is as long as either of them: within ten ticks, what their bounds leave open hardly matters."""
FEWEST_WINDOWS = 8
BUSY = 0.95
"""A window in which somebody was in flight for less than this part of it says little of work."""
UNCERTAIN = 1.0
"""A half-width above so many times the ratio itself: it is not determined."""
COLLINEAR = 1e-6
"""Smallest singular value of the scaled columns, relative to the largest, that can still be told from 0."""
Z_95 = 1.959964


def fit_weights(
    curves: Sequence[EnergyCurve],
    timelines: Sequence[Timeline],
    time_start_s: float,
    time_end_s: float,
    *,
    session: int,
) -> TokenWeights | None:
    """Joules a prompt token and an output token, from a stretch of time under load.

    Args:
        curves: Of the devices whose energy is shared; it is summed.
        timelines: Every query that was in flight in that time.
        time_start_s: Its start.
        time_end_s: Its end.
        session: Whose weights these are.

    Returns:
        None where the ratio is not determined: windows are too few or too much alike, a device's energy is not known, a
        weight is not above 0, or the ratio's half-width is above the ratio.
    """
    periods_s = [curve.duration_period_s or 0.0 for curve in curves]
    window_s = max(WINDOW_S, WINDOW_TICKS * max(periods_s, default=0.0))
    n_windows = math.floor((time_end_s - time_start_s) / window_s)
    if n_windows < FEWEST_WINDOWS or not curves or not timelines:
        return None
    until_s = time_start_s + n_windows * window_s
    if not all(curve.covers(time_start_s, until_s) and curve.is_known(time_start_s, until_s) for curve in curves):
        return None
    bounds_s = np.linspace(time_start_s, until_s, n_windows + 1)
    load = Load.of(timelines)
    busy_s = window_s - _idle_s(load, bounds_s)
    energy_j = np.sum([np.diff(curve.cumulative_j(bounds_s)) for curve in curves], axis=0)
    prompt = _came(load, bounds_s, TokenWeights(session=session, prompt=1.0, output=0.0, source="given"))
    output = _came(load, bounds_s, TokenWeights(session=session, prompt=0.0, output=1.0, source="given"))
    used = busy_s >= BUSY * window_s
    if np.count_nonzero(used) < FEWEST_WINDOWS:
        return None
    return _fitted(np.column_stack([prompt, output, busy_s])[used], energy_j[used], session)


def _fitted(explained_by: FloatArray, energy_j: FloatArray, session: int) -> TokenWeights | None:
    """Least squares in which no coefficient is below 0."""
    scale = np.sqrt(np.sum(explained_by**2, axis=0))
    if np.any(scale[:2] == 0):
        return None
    best: tuple[float, list[int], FloatArray] | None = None
    for columns in ([0, 1, 2], [0, 1]):
        scaled = explained_by[:, columns] / scale[columns]
        singular = np.linalg.svd(scaled, compute_uv=False)
        if singular[-1] <= COLLINEAR * singular[0]:
            return None
        found = np.linalg.lstsq(scaled, energy_j, rcond=None)[0]
        if found[-1] >= 0 or len(columns) == 2:
            best = float(np.sum((energy_j - scaled @ found) ** 2)), columns, found
            break
    assert best is not None
    rest_j2, columns, found = best
    if found[0] <= 0 or found[1] <= 0:
        return None
    scaled = explained_by[:, columns] / scale[columns]
    n_free = len(energy_j) - len(columns)
    covariance = rest_j2 / n_free * np.linalg.inv(scaled.T @ scaled)
    prompt_j, output_j = found[0] / scale[0], found[1] / scale[1]
    ratio = prompt_j / output_j
    slope = np.array([1.0 / found[0], -1.0 / found[1]])
    half_width = _t_95(n_free) * ratio * math.sqrt(max(float(slope @ covariance[:2, :2] @ slope), 0.0))
    if half_width > UNCERTAIN * ratio:
        return None
    return TokenWeights(
        session=session,
        prompt=float(prompt_j),
        output=float(output_j),
        source="fitted",
        ratio_half_width=float(half_width),
        n_windows=len(energy_j),
    )


def _came(load: Load, bounds_s: FloatArray, weights: TokenWeights) -> FloatArray:
    """Tokens that came between each two bounds, those of a stretch evenly over it."""
    stretches = Stretches.by_chunk(load, weights)
    point = np.arange(len(stretches.rate)) + stretches.owner
    works = np.flatnonzero(stretches.rate > 0)
    start_s, end_s = stretches.time_s[point[works]], stretches.time_s[point[works] + 1]
    rate = stretches.rate[works]
    times_s = np.concatenate([start_s, end_s])
    order = np.argsort(times_s, kind="stable")
    times_s = times_s[order]
    rates = np.cumsum(np.concatenate([rate, -rate])[order])
    total = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(times_s))]) if len(times_s) else np.zeros(1)
    return np.diff(np.interp(bounds_s, times_s, total)) if len(times_s) else np.zeros(len(bounds_s) - 1)


def _idle_s(load: Load, bounds_s: FloatArray) -> FloatArray:
    """Seconds of each window in which nobody was in flight."""
    starts_s, ends_s = load.idle_s(float(bounds_s[0]), float(bounds_s[-1]))
    lengths_s = np.concatenate([[0.0], np.cumsum(ends_s - starts_s)])
    edges_s = np.column_stack([starts_s, ends_s]).ravel()
    total_s = np.repeat(lengths_s, 2)[1:-1]
    return np.diff(np.interp(bounds_s, edges_s, total_s)) if len(edges_s) else np.zeros(len(bounds_s) - 1)


def _t_95(n_free: int) -> float:
    """Student's quantile for a 95 % interval, by its expansion about the normal one."""
    z = Z_95
    return z + (z**3 + z) / (4 * n_free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n_free**2)
