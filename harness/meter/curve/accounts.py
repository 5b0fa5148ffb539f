"""Accounts of the power around one tick: what may have happened there, each a sum of a few simple functions of time.

- the power drifts slowly and nothing else happens;
- it steps once or twice, anywhere;
- it follows the marked edges: each piece of work has its own level, or all have one; work begins up to 25 ms after its
  edge, and after its end the power stays or decays for up to 300 ms, as on real boards; an edge may be marked up to
  8 ms late;
- one step more than in the most likely of these.

Pure: it knows instants and kinds of edges.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.curve.habit import Habit
from harness.records import Edge

if TYPE_CHECKING:
    from harness.records import FloatArray

JUMP_SD = 0.6
"""Prior of a step's height, in units of the highest power seen."""
APART_SD, APART_DECAY_S = 0.06, 0.05
"""Prior of how far pieces of work that have one level in common may lie apart, and what lingers after them, in the same
unit; and the time constant of what lingers."""
SHIFT_SD = 0.3
"""Prior of a step's place within its cell, as the height of a pulse over the cell, in the same unit."""
CELLS = 12
"""Places for a step in the tick, and in each of its neighbours."""
STEPS_PER_S = 2.0
"""Prior rate of steps that no edge announces."""
WILD_STEPS_PER_S = 1.0
"""The same, where they may be more than an account has."""
GROWN = 0.15
"""Prior weight of one step more, beside an account without it."""
BEGIN_DELAYS_S = ((0.0, 0.0), (0.0, 0.005), (0.0, 0.012), (0.0, 0.025), (-0.002, 0.0), (-0.008, 0.0))
END_DELAYS_S = (
    (0.0, 0.0),
    (0.0, 0.012),
    (0.0, 0.03),
    (-0.002, 0.0),
    (-0.008, 0.0),
    *pairwise((0.0, 0.004, 0.01, 0.02, 0.035, 0.055, 0.08, 0.11, 0.15, 0.2, 0.25, 0.3)),
)
"""Cells for how much later than its edge a step lies; below zero where the edge was marked late."""
END_DECAYS_S = (0.012, 0.025, 0.05, 0.1, 0.18, 0.3)
"""Time constants of what lingers."""
N_ENDINGS = len(END_DELAYS_S) + len(END_DECAYS_S)
N_MANNERS = len(BEGIN_DELAYS_S) * N_ENDINGS
LINGERS_S = 0.3
MOST_SPANS = 8
"""More pieces of work than this around a tick are given one level in common."""


class Kind(IntEnum):
    """Simple functions of time, zero before they begin."""

    STEP = 0
    PULSE = 1
    DECAY = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One simple function: `length_s` is a pulse's length or a decay's time constant."""

    kind: Kind
    begin_s: float
    length_s: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of the atoms that it adds to the drift, its prior log weight, and in which manner it follows the edges.

    `manner` is a position among all combinations of a late begin and an ending; None: it does not follow them.
    """

    atoms: tuple[int, ...]
    log_weight: float
    manner: int | None


@dataclass(slots=True)
class Accounts:
    """Every account of one tick. An atom is a sum of parts with one unknown height in common."""

    atoms: list[tuple[Part, ...]] = field(default_factory=list)
    sd: list[float] = field(default_factory=list)
    known: list[Account] = field(default_factory=list)
    free: list[tuple[int, ...]] = field(default_factory=list)

    def atom(self, *parts: Part, sd: float = JUMP_SD) -> int:
        """Add an atom and return its number."""
        self.atoms.append(parts)
        self.sd.append(sd)
        return len(self.atoms) - 1

    def grown(self, accounts: Sequence[Account]) -> list[Account]:
        """The same accounts with one free step more, in every cell."""
        log_weight = math.log(GROWN / max(len(self.free), 1))
        return [
            Account((*account.atoms, *step), account.log_weight + log_weight, account.manner)
            for account in accounts
            for step in self.free
            if step[0] not in account.atoms
        ]


def accounts_of(
    tick_s: tuple[float, float], seen_s: tuple[float, float], edges: Sequence[tuple[float, Edge]], habit: Habit
) -> Accounts:
    """Every account of one tick.

    Args:
        tick_s: Start and end of the tick.
        seen_s: Start and end of what was seen around it.
        edges: Marked edges in there, ascending.
        habit: How power followed its edges so far.
    """
    found = Accounts()
    _add_free_steps(found, tick_s, seen_s)
    following = _following(found, tick_s, seen_s, edges)
    prior = habit.prior
    follow = float(prior.sum()) if following else 0.0
    rate = STEPS_PER_S * (seen_s[1] - seen_s[0])
    one, two = found.free, list(combinations(found.free, 2))
    total = 1.0 + rate + rate**2 / 2
    found.known.append(Account((), math.log((1.0 - follow) / total), None))
    log_weight = math.log((1.0 - follow) * rate / total / max(len(one), 1))
    found.known += [Account(step, log_weight, None) for step in one]
    log_weight = math.log((1.0 - follow) * rate**2 / 2 / total / max(len(two), 1))
    found.known += [Account((*first, *second), log_weight, None) for first, second in two]
    count = Counter(manner for _, manner in following)
    whole = float(sum(prior[manner] for manner in count)) or 1.0
    log_weights = {manner: math.log(follow / whole * float(prior[manner]) / n) for manner, n in count.items()}
    found.known += [Account(atoms, log_weights[manner], manner) for atoms, manner in following]
    return found


def more_steps(duration_s: float) -> float:
    """Probability of more unannounced steps than any account has, in so many seconds (Poisson)."""
    rate = WILD_STEPS_PER_S * duration_s
    return 1.0 - math.exp(-rate) * sum(rate**n / math.factorial(n) for n in range(4))


def _add_free_steps(found: Accounts, tick_s: tuple[float, float], seen_s: tuple[float, float]) -> None:
    """A step in each cell of the tick and its neighbours; its place within the cell is free too."""
    width_s = (tick_s[1] - tick_s[0]) / CELLS
    n_before = min(CELLS, int((tick_s[0] - seen_s[0]) / width_s))
    n_after = min(CELLS, int((seen_s[1] - tick_s[1]) / width_s))
    for cell in range(-n_before, CELLS + n_after):
        begin_s = tick_s[0] + cell * width_s
        step = found.atom(Part(Kind.STEP, begin_s + width_s / 2))
        found.free.append((step, found.atom(Part(Kind.PULSE, begin_s, width_s), sd=SHIFT_SD)))


def _following(
    found: Accounts, tick_s: tuple[float, float], seen_s: tuple[float, float], edges: Sequence[tuple[float, Edge]]
) -> list[tuple[tuple[int, ...], int]]:
    """Accounts in which power follows the edges: sets of atoms, and their manner."""
    spans = _spans(edges, seen_s)
    phases = [time_s for time_s, edge in edges if edge is Edge.PHASE]
    unknown = [time_s for time_s, edge in edges if edge is Edge.UNKNOWN]
    if not spans:
        lone = [*unknown, *phases][:MOST_SPANS]
        return [
            ((*_steps(found, lone, delay), *_shifts(found, lone, delay)), manner * N_ENDINGS)
            for manner, delay in enumerate(BEGIN_DELAYS_S)
            if lone
        ]
    others = _steps(found, unknown[:MOST_SPANS], (0.0, 0.0))
    # Where in its cell of delays a step lies matters near the tick only.
    first_s, last_s = 2 * tick_s[0] - tick_s[1], 2 * tick_s[1] - tick_s[0]
    begins = [begin_s for begin_s, _ in spans if first_s < begin_s < last_s][:MOST_SPANS]
    ends = [end_s for _, end_s in spans if first_s - LINGERS_S < end_s < last_s][-MOST_SPANS:]
    apart = [
        found.atom(part, sd=APART_SD)
        for span in [span for span in spans if span[0] < tick_s[1] and span[1] > tick_s[0]][:MOST_SPANS]
        for part in (Part(Kind.PULSE, span[0], span[1] - span[0]), Part(Kind.DECAY, span[1], APART_DECAY_S))
    ]
    late_shifts = {delay: _shifts(found, begins, delay) for delay in BEGIN_DELAYS_S}
    end_shifts = {delay: _shifts(found, ends, delay) for delay in END_DELAYS_S}
    endings: list[tuple[float, list[int], list[int]]] = [
        (sum(delay) / 2, end_shifts[delay], end_shifts[delay]) for delay in END_DELAYS_S
    ]
    for decay_s in END_DECAYS_S:
        own = [found.atom(Part(Kind.DECAY, end_s, decay_s)) for end_s in ends]
        common = [found.atom(*(Part(Kind.DECAY, end_s, decay_s) for _, end_s in spans))]
        endings.append((0.0, own, common))
    accounts: list[tuple[tuple[int, ...], int]] = []
    for late, delay in enumerate(BEGIN_DELAYS_S):
        for ending, (stays_s, own_tails, common_tails) in enumerate(endings):
            manner = late * N_ENDINGS + ending
            works = [_work((begin_s + sum(delay) / 2, end_s + stays_s)) for begin_s, end_s in spans]
            inner = [_phase(time_s, spans, stays_s) for time_s in phases]
            rest = (*late_shifts[delay], *others)
            if len(spans) <= MOST_SPANS:
                own = [found.atom(*parts) for parts in (*works, *inner[:MOST_SPANS])]
                accounts.append(((*own, *own_tails, *rest), manner))
            if len(spans) > 1:
                common = [found.atom(*(part for parts in works for part in parts))]
                if inner:
                    common.append(found.atom(*(part for parts in inner for part in parts)))
                accounts.append(((*common, *apart, *common_tails, *rest), manner))
    return accounts


def _spans(edges: Sequence[tuple[float, Edge]], seen_s: tuple[float, float]) -> list[tuple[float, float]]:
    """Pieces of work; where only one edge of one is near, the other lies outside."""
    begun: list[float] = []
    spans: list[tuple[float, float]] = []
    for time_s, edge in edges:
        if edge is Edge.WORK_BEGINS:
            begun.append(time_s)
        elif edge is Edge.WORK_ENDS:
            spans.append((begun.pop(0) if begun else seen_s[0] - 1.0, time_s))
    return [*spans, *((time_s, seen_s[1] + 1.0) for time_s in begun)]


def _work(span: tuple[float, float]) -> tuple[Part, ...]:
    """One level from begin to end."""
    return (Part(Kind.STEP, span[0]), Part(Kind.STEP, span[1], factor=-1.0))


def _phase(time_s: float, spans: Sequence[tuple[float, float]], stays_s: float) -> tuple[Part, ...]:
    """Another level from inside a piece of work to its end."""
    end_s = next((end_s for begin_s, end_s in spans if begin_s < time_s <= end_s), None)
    return (Part(Kind.STEP, time_s),) if end_s is None else _work((time_s, end_s + stays_s))


def _steps(found: Accounts, edges_s: Sequence[float], delay: tuple[float, float]) -> list[int]:
    """A step in the middle of each edge's cell of delays."""
    return [found.atom(Part(Kind.STEP, edge_s + sum(delay) / 2)) for edge_s in edges_s]


def _shifts(found: Accounts, edges_s: Sequence[float], delay: tuple[float, float]) -> list[int]:
    """Where in a cell of delays each step lies."""
    width_s = delay[1] - delay[0]
    if width_s <= 0.0:
        return []
    return [found.atom(Part(Kind.PULSE, edge_s + delay[0], width_s), sd=SHIFT_SD) for edge_s in edges_s]


def cumulative(atoms: Sequence[Sequence[Part]], points_s: FloatArray) -> FloatArray:
    """Integral of every atom up to every point, in seconds: points x atoms."""
    parts = [part for atom in atoms for part in atom]
    kind = np.array([part.kind for part in parts])
    length_s = np.array([part.length_s for part in parts])
    after_s = np.maximum(points_s[:, None] - np.array([part.begin_s for part in parts]), 0.0)
    values = np.where(kind == Kind.PULSE, np.minimum(after_s, length_s), after_s)
    decays = kind == Kind.DECAY
    values[:, decays] = length_s[decays] * -np.expm1(-after_s[:, decays] / length_s[decays])
    values *= np.array([part.factor for part in parts])
    starts = np.cumsum([0, *(len(atom) for atom in atoms[:-1])])
    return np.add.reduceat(values, starts, axis=1)
