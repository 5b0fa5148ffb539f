"""How long idle has to be watched: the baseline on a simulated board, by the meter's own curve and arithmetic.

The board draws 70 W idle and 330 W more while it works; its counter ticks every 100 ms. Where it is said so, idle power
wanders by 1.5 W (standard deviation) with a memory of a second, and is higher after the work than before it, since the
board is warm. These are assumptions; what is measured here is what the meter makes of them. A session is work, half a
second of settling, the first idle stretch, work, settling, the second. The truth is the mean of the two levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.attribution import exclusive
from harness.attribution.baseline import Baseline, baselines, pieces
from harness.meter.meter import rebuilt, with_marks
from harness.records import Boundary, Channel, Edge, IntervalRecord, Method, Quantity, Segment
from scripts.check_statistics.studies import FloatArray
from scripts.check_statistics.tables import Table, percent

DURATIONS_S = (0.6, 1.0, 3.0, 10.0, 30.0)
IDLE_W, WORK_W = 70.0, 400.0
MEMORY_S = 1.0
TICK_S, GRID_S = 0.1, 0.01
WORK_S, SETTLE_S = 3.0, 0.5
QUERY_W = (80.0, 100.0, 200.0, 400.0)
HALF_WIDTHS_W = (0.5, 1.0, 2.0, 3.5)
CHANNEL = Channel(
    device="GPU-11111111-2222-3333-4444-555555555555",
    boundary=Boundary.GPU_BOARD,
    method=Method.NVML_COUNTER,
    quantity=Quantity.ENERGY_J,
    gain_half_width=0.05,
)


@dataclass(frozen=True, slots=True)
class Board:
    """How an idle board behaves: the standard deviation of its wandering, and how much warmer it draws after work."""

    words: str
    wander_w: float
    rise_w: float


BOARDS = (
    Board("perfectly still", 0.0, 0.0),
    Board("wanders by 1.5 W", 1.5, 0.0),
    Board("wanders by 1.5 W, 2 W more after work", 1.5, 2.0),
)


@dataclass(frozen=True, slots=True)
class Session:
    """Power on a grid of 10 ms, and where the work and the idle stretches are, in seconds."""

    power_w: FloatArray
    edges: tuple[tuple[float, Edge], ...]
    idle: tuple[tuple[float, float], tuple[float, float]]

    def segment(self, phase_s: float) -> Segment:
        """What the counter shows: its ticks, each caught within a millisecond, and the marked edges."""
        energy_j = np.concatenate([[0.0], np.cumsum(self.power_w) * GRID_S])
        ticks_s = np.arange(phase_s, len(self.power_w) * GRID_S, TICK_S)
        value_j = np.interp(ticks_s, np.arange(len(energy_j)) * GRID_S, energy_j)
        readings = Segment(
            channel=np.zeros(len(ticks_s), dtype=np.int64),
            time_before_s=ticks_s - 0.0005,
            time_after_s=ticks_s + 0.0005,
            value=np.floor(value_j * 1000) / 1000,
        )
        return with_marks(readings, [time_s for time_s, _ in self.edges], [edge for _, edge in self.edges])


def session(duration_s: float, board: Board, rng: np.random.Generator) -> Session:
    """One session whose two idle stretches last `duration_s` each."""
    start_s = 1.0
    works = [(start_s, start_s + WORK_S)]
    first = (works[0][1] + SETTLE_S, works[0][1] + SETTLE_S + duration_s)
    works.append((first[1], first[1] + WORK_S))
    second = (works[1][1] + SETTLE_S, works[1][1] + SETTLE_S + duration_s)
    n = math.ceil((second[1] + 1.0) / GRID_S)
    times_s = np.arange(n) * GRID_S
    power_w = IDLE_W + _wander(n, board.wander_w, rng) + np.where(times_s >= works[1][1], 0.5, -0.5) * board.rise_w
    for begin_s, end_s in works:
        power_w = np.where((times_s >= begin_s) & (times_s < end_s), WORK_W, power_w)
    edges = [
        (each, edge) for work in works for each, edge in zip(work, (Edge.WORK_BEGINS, Edge.WORK_ENDS), strict=True)
    ]
    return Session(power_w, tuple(edges), (first, second))


def measured(one: Session, phase_s: float) -> tuple[Baseline, Baseline]:
    """The baseline as a run finds it, of the first idle stretch alone and of both: the curve, and what lies on it."""
    (curve,) = rebuilt((CHANNEL,), [one.segment(phase_s)])
    records = [
        IntervalRecord(session=1, name=name, time_start_s=start_s, time_end_s=end_s, readings=(reading,))
        for name, (start_s, end_s) in zip(("idle_before", "idle_after"), one.idle, strict=True)
        for reading in (exclusive.read(curve, start_s, end_s, pieces(start_s, end_s)),)
    ]
    (alone,), (both,) = (baselines(some).values() for some in (records[:1], records))
    return alone, both


def baselines_by_length(n_studies: int, seed: int, durations_s: Sequence[float] = DURATIONS_S) -> Table:
    """Half-width and error of the idle power, in watts, by how long each stretch lasts."""
    rows = [
        [board.words, f"{duration_s:g} s", *_row(board, duration_s, n_studies, seed)]
        for board in BOARDS
        for duration_s in durations_s
    ]
    return Table(
        f"Idle power of {IDLE_W:.0f} W, ticks of {1000 * TICK_S:.0f} ms, {n_studies} simulated sessions a row",
        ("idle power", "idle, twice", "one stretch alone, ±", "both, ±", "1.96 × the real error", "holds"),
        rows,
    )


def _row(board: Board, duration_s: float, n_studies: int, seed: int) -> list[str]:
    alone_w, widths_w, errors_w = [], [], []
    for study in range(n_studies):
        rng = np.random.default_rng([seed, round(10 * duration_s), BOARDS.index(board), study])
        alone, both = measured(session(duration_s, board, rng), rng.uniform(0.0, TICK_S))
        assert alone.half_width_w is not None
        assert both.half_width_w is not None
        alone_w.append(alone.half_width_w)
        widths_w.append(both.half_width_w)
        errors_w.append(both.power_idle_w - IDLE_W)
    real_w = 1.96 * math.sqrt(float(np.mean(np.square(errors_w))))
    n_held = int(np.sum(np.abs(errors_w) <= widths_w))
    return [*(f"{each:.2f} W" for each in (np.mean(alone_w), np.mean(widths_w), real_w)), f"{n_held} of {n_studies}"]


def net_errors() -> Table:
    """What an error of the baseline is of a query's net joules: it does not depend on how long the query lasts."""
    rows = [
        [f"{half_width_w:g} W", *(percent(of_net(half_width_w, query_w)) for query_w in QUERY_W)]
        for half_width_w in HALF_WIDTHS_W
    ]
    return Table(
        f"The baseline's half-width as a share of net joules, {IDLE_W:.0f} W idle; of gross joules it is none",
        ("baseline, ±", *(f"board at {query_w:.0f} W" for query_w in QUERY_W)),
        rows,
    )


def of_net(half_width_w: float, query_w: float) -> float:
    """Relative half-width of net joules that the idle power alone gives a query at this power."""
    return half_width_w / (query_w - IDLE_W)


def _wander(n: int, sd_w: float, rng: np.random.Generator) -> FloatArray:
    """Watts about zero: a first-order process with its memory, on the grid."""
    keep = math.exp(-GRID_S / MEMORY_S)
    steps = rng.standard_normal(n) * sd_w * math.sqrt(1 - keep**2)
    steps[0] = rng.standard_normal() * sd_w
    found = np.empty(n)
    level = 0.0
    for index, step in enumerate(steps.tolist()):
        level = keep * level + step
        found[index] = level
    return found
