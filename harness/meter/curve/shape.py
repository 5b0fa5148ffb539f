"""Where within a tick its energy was spent, and how certain that is.

The energy of a tick is known; how it was spread over the tick is not, and matters where an edge falls into it. Every
account of the power around the tick (`accounts.py`) is weighed by how well it explains what was seen: the energies of
the neighbouring ticks and the readings of instantaneous power. The answer is the mean over all accounts, with the
covariance that they leave (`regression.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.curve.accounts import Accounts, accounts_of
from harness.meter.curve.habit import Habit
from harness.meter.curve.regression import Average, Observed, average
from harness.records import Edge

if TYPE_CHECKING:
    from harness.records import FloatArray

Z_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Energy from a tick's start to some instants inside it, and the covariance of these energies.

    `time_s` and `energy_j` have n entries, `covariance_j2` n x n. `blind_j` is the 95 % half-width of what was spent
    in the tick beside what its counter says: 0 for a counter that sees all of it.
    """

    start_s: float
    end_s: float
    time_s: FloatArray
    energy_j: FloatArray
    covariance_j2: FloatArray
    blind_j: float

    def weights(self, time_s: float) -> FloatArray:
        """How the energy at an instant in the tick follows from those at `time_s`: straight lines between them."""
        knots = np.concatenate([[self.start_s], self.time_s, [self.end_s]])
        place = min(max(int(np.searchsorted(knots, time_s, side="right")), 1), len(knots) - 1)
        share = (time_s - knots[place - 1]) / (knots[place] - knots[place - 1])
        weights = np.zeros(len(knots))
        weights[place - 1], weights[place] = 1.0 - share, share
        return weights[1:-1]


def shaped(
    tick_s: tuple[float, float],
    energy_j: float,
    targets_s: Sequence[float],
    observed: Observed,
    edges: Sequence[tuple[float, Edge]],
    habit: Habit,
) -> tuple[Shape, Habit]:
    """How the energy of one tick was spread over it.

    Args:
        tick_s: Start and end of the tick.
        energy_j: What it holds; kept exactly.
        targets_s: Instants inside the tick, ascending, at which the energy is wanted.
        observed: What was seen around the tick, itself included.
        edges: Marked edges around the tick, ascending.
        habit: How power followed its edges so far.

    Returns:
        The shape, and the habit with what this tick shows of it.
    """
    targets = np.array(targets_s)
    share = (targets - tick_s[0]) / (tick_s[1] - tick_s[0])
    n_targets = len(targets)
    found = None
    if observed.highest_w > 0.0 and energy_j > 0.0:
        found = _average(tick_s, targets, observed, accounts_of(tick_s, observed.extent_s, edges, habit))
    if found is None:
        # As uncertain as the tick itself: all of it may have been spent on either side of a target.
        reach = energy_j * np.minimum(share, 1.0 - share)
        inside, covariance, blind_j = energy_j * share, np.outer(reach, reach), 0.0
    else:
        habit = habit if found.manners is None else habit.updated(found.manners)
        whole_j = float(found.mean_j[-1])
        # Whatever an account says of the whole tick, its energy is known: the difference is spread evenly.
        inside = np.clip(found.mean_j[:-1] + share * (energy_j - whole_j), 0.0, energy_j)
        inside = np.maximum.accumulate(inside)
        spread = np.concatenate([np.eye(n_targets), -share[:, None]], axis=1)
        covariance = spread @ found.covariance_j2 @ spread.T
        whole_sd_j = np.sqrt(max(float(found.covariance_j2[-1, -1]), 0.0))
        blind_j = float(np.hypot(whole_j - energy_j, Z_95 * whole_sd_j))
    shape = Shape(
        start_s=tick_s[0],
        end_s=tick_s[1],
        time_s=targets,
        energy_j=inside,
        covariance_j2=covariance,
        blind_j=blind_j,
    )
    return shape, habit


def _average(
    tick_s: tuple[float, float], targets: FloatArray, observed: Observed, accounts: Accounts
) -> Average | None:
    """The average over accounts; None where rounding leaves none, as readings of absurd lengths could make it."""
    try:
        found = average(tick_s, targets, observed, accounts)
    except np.linalg.LinAlgError:
        return None
    known = np.isfinite(found.mean_j).all() and np.isfinite(found.covariance_j2).all()
    return found if known else None
