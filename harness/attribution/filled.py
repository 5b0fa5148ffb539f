"""Net energy of many queries at once, and what followed each above idle.

Pure: columns in, columns out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.attribution.baseline import Baseline, above_idle_j
from harness.records import IntervalColumns, Method, QueryColumns, ReadingColumns

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What is known of one session beside its queries."""

    baselines: Mapping[str, Baseline]
    """By device, for what came before the first load."""
    by_load: Sequence[tuple[float, Mapping[str, Baseline]]]
    """When each load of a model was done, and what it drew idle, in order of time."""
    gaps: IntervalColumns


def with_idle(queries: QueryColumns, sessions: Mapping[int, Idle]) -> QueryColumns:
    """The queries with the net fields of their readings filled; unchanged where energy or baseline is unknown.

    Args:
        queries: Of one cell at one site.
        sessions: By number; queries of others stay as they are.
    """
    readings = queries.readings
    filled = replace(
        readings,
        power_idle_w=readings.power_idle_w.copy(),
        energy_net_j=readings.energy_net_j.copy(),
        energy_net_half_width_j=readings.energy_net_half_width_j.copy(),
        energy_tail_j=readings.energy_tail_j.copy(),
    )
    known = ~np.isnan(readings.energy_gross_j)
    for number, idle in sessions.items():
        loads_s = np.array([time_s for time_s, _ in idle.by_load])
        load = np.searchsorted(loads_s, queries.time_start_s, side="right")
        gap = _gaps(idle.gaps, queries.time_end_s)
        in_session = queries.session == number
        for place, baselines in enumerate((idle.baselines, *(each for _, each in idle.by_load))):
            own = (in_session & (load == place))[readings.owner] & known
            for device, baseline in baselines.items():
                rows = own & _is(readings, device)
                _fill(filled, np.flatnonzero(rows), baseline, idle.gaps, gap)
    return replace(queries, readings=filled)


def _fill(readings: ReadingColumns, rows: IntArray, baseline: Baseline, gaps: IntervalColumns, gap: IntArray) -> None:
    """Write the net fields of some rows: one device's, of one load, their energies known."""
    # A shared reading carries idle power for its share of the time only.
    shares_s = readings.duration_share_s[rows]
    shared = ~np.isnan(shares_s)
    durations_s = np.where(shared, shares_s, readings.time_end_s[rows] - readings.time_start_s[rows])
    half_width_w = np.nan if baseline.half_width_w is None else baseline.half_width_w
    readings.power_idle_w[rows] = baseline.power_idle_w
    readings.energy_net_j[rows] = above_idle_j(readings.energy_gross_j[rows], durations_s, baseline.power_idle_w)
    readings.energy_net_half_width_j[rows] = np.hypot(
        readings.energy_gross_half_width_j[rows], half_width_w * durations_s
    )
    estimated = [name == Method.ESTIMATED.value for name in readings.method.names]
    # A model knows of no tail, and what follows one of several in flight is the others' work.
    measured = rows[~np.array(estimated, dtype=np.bool_)[readings.method.codes[rows]] & ~shared]
    after_j = _energy_above_idle_j(gaps, baseline)[gap[readings.owner[measured]]]
    followed = ~np.isnan(after_j)
    readings.energy_tail_j[measured[followed]] = after_j[followed]


def _gaps(gaps: IntervalColumns, time_end_s: FloatArray) -> IntArray:
    """The gap that begins when each query ends; -1: there is none."""
    if not len(gaps.time_start_s):
        return np.full(len(time_end_s), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(gaps.time_start_s, time_end_s), len(gaps.time_start_s) - 1)
    return np.where(gaps.time_start_s[place] == time_end_s, place, -1)


def _energy_above_idle_j(gaps: IntervalColumns, baseline: Baseline) -> FloatArray:
    """Of one device in each gap; NaN: unknown. A last one stands for no gap at all."""
    readings, above_j = gaps.readings, np.full(len(gaps.time_start_s) + 1, np.nan)
    rows = np.flatnonzero(_is(readings, baseline.device))
    durations_s = readings.time_end_s[rows] - readings.time_start_s[rows]
    above_j[readings.owner[rows]] = above_idle_j(readings.energy_gross_j[rows], durations_s, baseline.power_idle_w)
    return above_j


def _is(readings: ReadingColumns, device: str) -> BoolArray:
    names = list(readings.device.names)
    own: BoolArray = readings.device.codes == (names.index(device) if device in names else -2)
    return own
