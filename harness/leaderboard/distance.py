"""Are two rows told apart, and by which factor do they differ: 95 %, on the log scale, from both intervals' parts.

Independent parts of both sides are combined in quadrature, each on its own side of the interval (MOVER: Zou and Donner,
Statistics in Medicine 27, 2008). Prompts count as if each row had asked other prompts, which is wider than a paired
comparison as long as dear prompts are dear for both. A board's gain is the same in both rows on the same board and
cancels; on two boards both count. Run to run is unknown with one run, and nothing stands in for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.leaderboard.rows import BoolArray, FloatArray, IntArray, Rows, codes

N_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Log energies and how far they may be off, one number per row; squares of relative 95 % half-widths.

    `down` and `up` hold prompts, reading and repeats. Infinite: unknown, so that nothing is told from it. Only what a
    repeat would differ by is left out where it is unknown, and `one_run` says so.
    """

    log_energy: FloatArray
    down: FloatArray
    up: FloatArray
    gain: FloatArray
    board: IntArray
    one_run: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One row's energy over another's. `low` and `high`: 95 %, all known parts of both."""

    value: float
    low: float
    high: float
    same_board: bool
    one_run: bool

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves 1 out. What a repeat would differ by may not be in it: see `one_run`."""
        return not self.low <= 1 <= self.high


def errors_of(rows: Rows, places: IntArray) -> Errors:
    """The errors of some rows, which all have an energy above zero."""
    value, low, high = (rows[f"energy_j{part}"][places] for part in ("", "_low", "_high"))
    reading, runs, gain = (rows[f"energy_j{part}"][places] / value for part in ("_reading", "_runs", "_gain"))
    one_run = np.isnan(runs)
    others = _known(reading) ** 2 + np.where(one_run, 0.0, runs) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        down, up = np.log(value / low), np.log(high / value)
    return Errors(
        log_energy=np.log(value),
        down=_known(down) ** 2 + others,
        up=_known(up) ** 2 + others,
        gain=_known(gain) ** 2,
        board=codes([rows["boards"][places]]),
        one_run=one_run,
    )


def rank_ranges(errors: Errors) -> tuple[IntArray, IntArray]:
    """The best and the worst rank that each row may have: rows told to be lower lie before it, those higher after it.

    Each pair is judged at 95 % by itself.
    """
    n = len(errors.log_energy)
    order = np.argsort(errors.log_energy, kind="stable")
    x, down, up = errors.log_energy[order], errors.down[order], errors.up[order]
    gain, board = errors.gain[order], errors.board[order]
    n_lower, n_higher = np.zeros(n, np.int64), np.zeros(n, np.int64)
    # Beyond this distance a row is told from every other; only what is nearer is looked at pair by pair.
    reach = np.sqrt(up + gain + (down + gain).max(initial=0.0))
    last = np.searchsorted(x, x + reach, side="right")
    for start in range(0, n, N_BLOCK):
        block = slice(start, min(start + N_BLOCK, n))
        end = int(last[block].max())
        near = slice(start, end)
        apart = board[block, None] != board[None, near]
        with np.errstate(invalid="ignore"):
            both = np.where(apart, gain[block, None] + gain[None, near], 0.0)
            limit = up[block, None] + down[None, near] + both
            distance = x[None, near] - x[block, None]
        told = (distance > 0) & (distance**2 > limit)
        n_higher[block] += told.sum(axis=1) + (n - end)
        n_lower[near] += told.sum(axis=0)
        n_lower[end:] += block.stop - block.start
    best, worst = np.empty(n, np.int64), np.empty(n, np.int64)
    best[order], worst[order] = 1 + n_lower, n - n_higher
    return best, worst


def ratio(errors: Errors, above: int, below: int) -> Ratio:
    """One row over another.

    Args:
        errors: Of rows of one unit.
        above: Position of the numerator.
        below: Of the denominator.
    """
    same = bool(errors.board[above] == errors.board[below])
    gain = 0.0 if same else float(errors.gain[above] + errors.gain[below])
    x = float(errors.log_energy[above] - errors.log_energy[below])
    down = math.sqrt(float(errors.down[above] + errors.up[below]) + gain)
    up = math.sqrt(float(errors.up[above] + errors.down[below]) + gain)
    return Ratio(
        value=math.exp(x),
        low=math.exp(x - down),
        high=math.exp(min(x + up, 700.0)) if math.isfinite(up) else math.inf,
        same_board=same,
        one_run=bool(errors.one_run[above] or errors.one_run[below]),
    )


def _known(values: FloatArray) -> FloatArray:
    """Infinite where unknown."""
    return np.where(np.isfinite(values), values, np.inf)
