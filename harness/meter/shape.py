"""Where within a counter's tick its energy was spent.

The energy of a tick is exact, and kept. A tick without a marked edge is a straight line: nobody asks where in it. A
tick with edges (a query begins, its prefill ends, ...) is shaped by the first of these that explains it:

1. Power steps at the edges and only there. The levels follow from the neighbouring ticks and the tick's energy:

       minimise   sum over tick boundaries (p_left - p_right)^2  +  RIDGE sum over pieces (L / d_j)^2 (p_j - m)^2
       subject to sum over the tick's pieces p_j d_j = E_tick,  p_j >= 0

   with d_j a piece's length, L the tick's and m its mean power. The ridge keeps a piece under about 8 ms from
   taking up what belongs to its neighbours. The edges explain the tick if its levels then meet the neighbours'.
2. Power steps once, from the left neighbour's level to the right one's, at the place that gives the tick its energy.
   Between neighbours without edges this comes first where their levels are far apart, or where the one edge is close
   to that place: work begins a few milliseconds after its edge, and some loads do not care about edges at all.
3. A straight line.

Pure: it knows ticks and edges, not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray

RIDGE = 2e-5
MISMATCH = 0.1
"""Relative difference of levels across a tick boundary up to which edges explain a tick."""
SMALLEST_STEP = 0.05
"""Relative; a smaller difference between neighbouring ticks does not place a step."""
UNRESOLVED = 0.5
"""Relative half-width of a piece's power where there are more pieces than ticks could tell apart."""
EDGE_DELAY_S = 0.005
"""How far from an edge the real step may lie unseen (launch delay, synchronization). Provisional."""
RESOLVABLE_S = 0.015
LARGE_STEP = 0.2
"""Relative; between neighbours this far apart one step is likelier than several at the edges."""
FEW_PIECES = 3
"""More pieces than this fit a tick by chance too often to be trusted."""
LINGER_S = 0.02
"""The same where edges follow each other tick after tick: power that lingers after one query then looks like the
level of the gap before the next. It lingers for 20 to 300 ms on real boards."""
TRUSTED, HALF_TRUSTED, DOUBTED = 0.2, 0.6, 1.0
"""Share of the difference to a straight line, and of the neighbours' spread, charged as half-width. Provisional:
set so that the intervals cover simulated loads; real boards may differ."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The energy between two instants, with the uncertainty of the instants (half of their brackets)."""

    time_start_s: float
    time_end_s: float
    energy_j: float
    bracket_start_s: float
    bracket_end_s: float

    @property
    def duration_s(self) -> float:
        """Length."""
        return self.time_end_s - self.time_start_s

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.duration_s


@dataclass(frozen=True, slots=True)
class Shape:
    """A tick's pieces: n + 1 cuts in seconds and n levels in watts. `doubt` is the share charged as half-width.

    `unresolved` is the relative half-width of the levels, `delay_s` how far a step may lie from its cut.
    """

    cuts_s: FloatArray
    levels_w: FloatArray
    doubt: float
    unresolved: float = 0.0
    delay_s: float = 0.0


def straight(tick: Tick) -> Shape:
    """The tick as one piece."""
    return Shape(np.array([tick.time_start_s, tick.time_end_s]), np.array([tick.power_w]), DOUBTED)


def shapes(
    ticks: Sequence[Tick], edges_s: Sequence[Sequence[float]], before_w: float | None, after: Tick | None
) -> list[Shape]:
    """Shapes of consecutive ticks that all hold edges.

    Args:
        ticks: Consecutive ticks.
        edges_s: For each, the edges strictly inside it, ascending.
        before_w: Power at the end of the tick before the first; None: there is none.
        after: The tick after the last; None: there is none.
    """
    after_w = after.power_w if after else None
    if len(ticks) == 1 and not _is_resolvable(edges_s[0]):
        step = _step(ticks[0], before_w, after_w, edges_s[0])
        if step is not None and (_is_large(before_w, after_w) or (step.doubt == TRUSTED and len(edges_s[0]) == 1)):
            return [step]
    cuts = [np.array([tick.time_start_s, *inner, tick.time_end_s]) for tick, inner in zip(ticks, edges_s, strict=True)]
    levels = _levels(ticks, cuts, before_w, after_w)
    # A piece that crosses from one tick into the next has one level; every tick and every known side tells one.
    n_levels = sum(len(cut) - 1 for cut in cuts) - (len(ticks) - 1)
    n_known = len(ticks) + (before_w is not None) + (after is not None)
    unresolved = UNRESOLVED if n_levels > n_known else 0.0
    found = []
    for index, tick in enumerate(ticks):
        left_w = levels[index - 1][-1] if index else before_w
        right_w = levels[index + 1][0] if index + 1 < len(ticks) else after_w
        if unresolved or _meets(levels[index], left_w, right_w):
            doubt = TRUSTED if len(levels[index]) <= FEW_PIECES else HALF_TRUSTED
            delay_s = LINGER_S if len(ticks) > 1 else EDGE_DELAY_S
            found.append(Shape(cuts[index], levels[index], doubt, unresolved, delay_s))
            continue
        left_w = ticks[index - 1].power_w if index else before_w
        right_w = ticks[index + 1].power_w if index + 1 < len(ticks) else after_w
        found.append(_step(tick, left_w, right_w, edges_s[index]) or straight(tick))
    return found


def _meets(levels: FloatArray, left_w: float | None, right_w: float | None) -> bool:
    limit_w = MISMATCH * max(float(np.max(levels)), left_w or 0.0, right_w or 0.0)
    return all(
        side_w is None or abs(level_w - side_w) <= limit_w
        for level_w, side_w in ((levels[0], left_w), (levels[-1], right_w))
    )


def _is_resolvable(edges_s: Sequence[float]) -> bool:
    """Whether the edges enclose one piece long enough to have a level of its own, such as a prefill."""
    return len(edges_s) == 2 and edges_s[1] - edges_s[0] >= RESOLVABLE_S


def _is_large(left_w: float | None, right_w: float | None) -> bool:
    return left_w is not None and right_w is not None and abs(left_w - right_w) > LARGE_STEP * max(left_w, right_w)


def _step(tick: Tick, left_w: float | None, right_w: float | None, edges_s: Sequence[float]) -> Shape | None:
    """One step from the left level to the right one; None: too much alike to tell, or no place fits the energy."""
    if left_w is None or right_w is None:
        return None
    step_w = right_w - left_w
    if abs(step_w) <= SMALLEST_STEP * max(left_w, right_w):  # both may be 0: a RAPL zone that stood still
        return None
    share_left = (right_w - tick.power_w) / step_w
    if not 0.0 < share_left < 1.0:
        return None
    cut_s = tick.time_start_s + share_left * tick.duration_s
    near = min(abs(cut_s - edge_s) for edge_s in edges_s) < 2 * EDGE_DELAY_S
    cuts_s = np.array([tick.time_start_s, cut_s, tick.time_end_s])
    return Shape(cuts_s, np.array([left_w, right_w]), TRUSTED if near else DOUBTED, delay_s=EDGE_DELAY_S)


def _levels(
    ticks: Sequence[Tick], cuts: Sequence[FloatArray], before_w: float | None, after_w: float | None
) -> list[FloatArray]:
    """Power of every piece of every tick, in watts: the constrained least squares of the module's docstring."""
    lengths = [np.diff(cut) for cut in cuts]
    counts = [len(length) for length in lengths]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    n_pieces, n_ticks = int(starts[-1]), len(ticks)
    quadratic = np.zeros((n_pieces, n_pieces))
    linear = np.zeros(n_pieces)
    constraint = np.zeros((n_ticks, n_pieces))
    energies = np.array([tick.energy_j for tick in ticks])
    for index, tick in enumerate(ticks):
        piece = slice(starts[index], starts[index + 1])
        weights = RIDGE * (tick.duration_s / lengths[index]) ** 2
        quadratic[np.arange(n_pieces)[piece], np.arange(n_pieces)[piece]] += weights
        linear[piece] += weights * tick.power_w
        constraint[index, piece] = lengths[index]
    for index in range(1, n_ticks):
        right = int(starts[index])
        quadratic[right - 1 : right + 1, right - 1 : right + 1] += np.array([[1.0, -1.0], [-1.0, 1.0]])
    for position, level_w in ((0, before_w), (n_pieces - 1, after_w)):
        if level_w is not None:
            quadratic[position, position] += 1.0
            linear[position] += level_w
    solution = _solve_nonnegative(quadratic, linear, constraint, energies)
    return [solution[starts[index] : starts[index + 1]] for index in range(n_ticks)]


def _solve_nonnegative(
    quadratic: FloatArray, linear: FloatArray, constraint: FloatArray, energies: FloatArray
) -> FloatArray:
    """Minimise p'Qp/2 - b'p with Ap = e and p >= 0, by pinning what comes out negative at zero."""
    n_pieces, n_ticks = len(linear), len(energies)
    free = np.ones(n_pieces, dtype=bool)
    powers = np.zeros(n_pieces)
    for _ in range(n_pieces):
        n_free = int(free.sum())
        system = np.zeros((n_free + n_ticks, n_free + n_ticks))
        system[:n_free, :n_free] = quadratic[np.ix_(free, free)]
        system[:n_free, n_free:] = constraint[:, free].T
        system[n_free:, :n_free] = constraint[:, free]
        powers = np.zeros(n_pieces)
        powers[free] = np.linalg.solve(system, np.concatenate([linear[free], energies]))[:n_free]
        negative = powers < -1e-9
        # A tick keeps at least one free piece, or its energy would have nowhere to go.
        pinned = free & ~negative
        if not negative.any() or (constraint[:, pinned].sum(axis=1) == 0).any():
            break
        free = pinned
    return np.maximum(powers, 0.0)
