"""What several queries have in common because they ran together: equal shares, unattributed energy, wider intervals.

How wide an interval over prompts must be. The energy of a query under load depends on its company: beside a dear
query one is dear too, and who runs alone at the end pays for the whole device. Neighbours are no independent sample.
In 160 simulated studies each (continuous batches in closed loop, log-normal prompt and output lengths, power that
depends on how full the batch is; shares by tokens), the 95 % interval of the mean over the queries that ended in the
steady window held the mean of all studies in

    in flight   queries   over single queries   over groups of as many as in flight
            4       100                  96 %                                  98 %
           16       160                  89 %                                  96 %
           16       400                  91 %                                  96 %
           32       320                  89 %                                 100 %
           64       640                  87 %                                 100 %

so consecutive queries, in the order of their ends, are put into groups of as many as were in flight together, and the
groups take the place of prompts ("batch means" in texts on simulation output). Rather too wide than too narrow; below
five groups there is none. The mean over all queries, ramp and drain included, keeps the interval over single prompts:
in the same studies that held 92 to 99 %. Neither holds what one run cannot show: another hour, a drift of the board
that is slower than the run, another start of the server. With a strong drift (125 W up and down, within seconds) even
the groups held only 81 %.

Pure: columns and curves in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.bootstrap import N_LEAST, Interval, ratio_interval
from harness.analysis.serving.flights import Flights
from harness.protocols import EnergyCurve
from harness.records import Finding, FindingCode

if TYPE_CHECKING:
    from harness.records import FloatArray


def company_interval(energy_j: FloatArray, denominators: FloatArray, *, size: int) -> Interval:
    """The interval of a ratio of sums over queries that ran together.

    Args:
        energy_j: In the order of the queries' ends.
        denominators: One per query.
        size: How many were in flight together.

    Returns:
        Ends in the unit of the ratio; none below five groups.
    """
    n_groups = len(energy_j) // max(1, size)
    if n_groups < N_LEAST:
        detail = f"they make {n_groups} groups of {size} that ran together" if size > 1 else ""
        return Interval(findings=(Finding(code=FindingCode.TOO_FEW_QUERIES, detail=detail),))
    groups = [np.array_split(column, n_groups) for column in (energy_j, denominators)]
    above, below = (np.array([group.sum() for group in column]) for column in groups)
    return ratio_interval(above, below)


def equal_shares_j(flights: Flights, curves: Sequence[EnergyCurve]) -> FloatArray:
    """What each query would get if every instant were shared equally among those in flight, over all curves."""
    instants_s, n_open = flights.steps()
    shares_j = np.zeros(len(flights))
    for curve in curves:
        drawn_j = np.diff(curve.cumulative_j(instants_s))
        each_j = np.where(n_open[:-1] > 0, drawn_j / np.maximum(n_open[:-1], 1), 0.0)
        gathered_j = np.concatenate(([0.0], np.cumsum(each_j)))
        first = np.searchsorted(instants_s, flights.time_start_s)
        last = np.searchsorted(instants_s, flights.time_end_s)
        shares_j += gathered_j[last] - gathered_j[first]
    return shares_j


def drawn_j(curves: Sequence[EnergyCurve], time_start_s: float, time_end_s: float) -> float | None:
    """Everything drawn between two instants; None where a curve does not know it all."""
    if not curves or not all(is_known(curve, time_start_s, time_end_s) for curve in curves):
        return None
    return sum(curve.energy_j(time_start_s, time_end_s) for curve in curves)


def is_known(curve: EnergyCurve, time_start_s: float, time_end_s: float) -> bool:
    """Whether a curve has an energy for the whole stretch."""
    return curve.covers(time_start_s, time_end_s) and curve.is_known(time_start_s, time_end_s)
