"""Idle power of each device in a session, and net energy above it.

The baseline is measured with the model loaded, before the queries and after them. Its error is common to every
query of the session: it does not shrink with their number. Where checkpoints take turns, each load has its own.

Pure: readings in, readings out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from harness.records import Boundary, IntervalRecord, Method, Phase, PhaseReading, Reading

if TYPE_CHECKING:
    from harness.records import FloatArray

Amount = TypeVar("Amount", float, "FloatArray")

LOAD_NAME = "load"
IDLE_NAMES = ("idle_before", "idle_after")
DRIFT_LIMIT = 0.1
N_PIECES = 6
"""Equal parts in which an idle stretch is read besides: how idle power wanders shows in them."""
PIECES_A_BLOCK = (1, 2, 3)
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; for more, the last is on the safe side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Idle power of one device in one session, in watts. `half_width_w` is None for an estimate."""

    device: str
    boundary: Boundary
    power_idle_w: float
    half_width_w: float | None
    drifted: bool


def baselines(intervals: Iterable[IntervalRecord]) -> dict[str, Baseline]:
    """The baseline of each device of one session that was idle at least once with its energy known."""
    by_device: dict[str, list[Reading]] = {}
    for interval in intervals:
        if interval.name in IDLE_NAMES:
            for reading in interval.readings:
                if reading.energy_gross_j is not None and reading.duration_s > 0:
                    by_device.setdefault(reading.device, []).append(reading)
    return {device: _baseline(device, readings) for device, readings in by_device.items()}


def baselines_by_load(intervals: Sequence[IntervalRecord]) -> list[tuple[float, dict[str, Baseline]]]:
    """The baselines of each load of a session, with the second at which that load was done, in order of time.

    Args:
        intervals: Of one session, in order.

    Returns:
        Empty where no model was loaded. A load that was never idle, as one that was only looked at, is left out; one
        whose idle power is not known has no baselines, and takes none from another.
    """
    loads = [place for place, interval in enumerate(intervals) if interval.name == LOAD_NAME]
    found = []
    for place, end in pairwise([*loads, len(intervals)]):
        since = intervals[place:end]
        if any(interval.name in IDLE_NAMES for interval in since):
            found.append((intervals[place].time_end_s, baselines(since)))
    return found


def with_net(reading: Reading, baseline: Baseline | None) -> Reading:
    """The reading with its net fields filled; unchanged where energy or baseline is unknown.

    Of a shared reading, idle power is taken off its share of the time only: all shares together carry it once.
    """
    if baseline is None or reading.energy_gross_j is None:
        return reading
    duration_s = reading.duration_s if reading.duration_share_s is None else reading.duration_share_s
    net_j = above_idle_j(reading.energy_gross_j, duration_s, baseline.power_idle_w)
    half_width_j = None
    if reading.energy_gross_half_width_j is not None and baseline.half_width_w is not None:
        half_width_j = math.hypot(reading.energy_gross_half_width_j, baseline.half_width_w * duration_s)
    return reading.model_copy(
        update={
            "power_idle_w": baseline.power_idle_w,
            "energy_net_j": net_j,
            "energy_net_half_width_j": half_width_j,
        }
    )


def above_idle_j(energy_j: Amount, duration_s: Amount, power_idle_w: float) -> Amount:
    """What of an energy is not the idle power's; of one interval, or of an array of them."""
    return energy_j - power_idle_w * duration_s


def pieces(time_start_s: float, time_end_s: float) -> list[Phase]:
    """The equal parts in which an idle stretch is read."""
    step_s = (time_end_s - time_start_s) / N_PIECES
    edges_s = [time_start_s + step_s * number for number in range(N_PIECES)] + [time_end_s]
    return [
        Phase(name=f"piece_{number}", time_start_s=begin_s, time_end_s=end_s)
        for number, (begin_s, end_s) in enumerate(pairwise(edges_s), start=1)
    ]


def _baseline(device: str, readings: Sequence[Reading]) -> Baseline:
    powers = [_energy_j(reading) / reading.duration_s for reading in readings]
    power_w = sum(powers) / len(powers)
    spread_w = (max(powers) - min(powers)) / 2
    # One idle stretch cannot show drift; as much as would be called drift may be hidden in it.
    drift_w = max(spread_w if len(powers) > 1 else DRIFT_LIMIT / 2 * power_w, _wander_w(readings))
    half_width_w = None
    if readings[0].method is not Method.ESTIMATED:
        each = [(reading.energy_gross_half_width_j or 0.0) / reading.duration_s for reading in readings]
        half_width_w = math.hypot(drift_w, math.hypot(*each) / len(each))
    return Baseline(
        device=device,
        boundary=readings[0].boundary,
        power_idle_w=power_w,
        half_width_w=half_width_w,
        drifted=2 * spread_w > DRIFT_LIMIT * power_w,
    )


def _wander_w(readings: Sequence[Reading]) -> float:
    """95 % half-width of the mean idle power from how it wanders within the stretches; 0 where no pieces were read.

    Neighbouring pieces are alike where power wanders slowly, and their spread alone would promise too much. So they are
    also taken together, two and three at a time, and the largest answer counts (blocking: Flyvbjerg and Petersen,
    J. Chem. Phys. 91, 461, 1989), each with its own few degrees of freedom.
    """
    stretches = [[_power_w(phase) for phase in reading.phases] for reading in readings]
    known = [[power for power in stretch if power is not None] for stretch in stretches]
    if any(len(stretch) < N_PIECES for stretch in known) or not known:
        return 0.0
    return max(_of_blocks_w(known, size) for size in PIECES_A_BLOCK)


def _of_blocks_w(stretches: Sequence[Sequence[float]], size: int) -> float:
    blocks = [
        [math.fsum(stretch[first : first + size]) / size for first in range(0, N_PIECES, size)] for stretch in stretches
    ]
    n_free = sum(len(block) - 1 for block in blocks)
    means = [math.fsum(block) / len(block) for block in blocks]
    squares = math.fsum((each - mean) ** 2 for block, mean in zip(blocks, means, strict=True) for each in block)
    error_w = math.sqrt(squares / n_free / sum(map(len, blocks)))
    return STUDENT_95[min(n_free, len(STUDENT_95)) - 1] * error_w


def _power_w(phase: PhaseReading) -> float | None:
    duration_s = phase.time_end_s - phase.time_start_s
    return None if phase.energy_gross_j is None or duration_s <= 0 else phase.energy_gross_j / duration_s


def _energy_j(reading: Reading) -> float:
    assert reading.energy_gross_j is not None
    return reading.energy_gross_j
