"""Idle power with a CUDA context and nothing running, and how it drifts within seconds."""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench
from .streams import Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, below, mean_with_half_width

STEADY = Claim("idle_is_steady", "With nothing running, the two halves of the idle time differ by less than 10 %.")
DRIFT_LIMIT = 0.1
N_PARTS_MOST, PART_LEAST_S = 8, 0.4
"""Idle time is cut into parts; their scatter gives the interval."""


def run(bench: Bench, duration_s: float) -> None:
    """Wait."""
    start_s = bench.now_s()
    bench.pause(duration_s)
    bench.did("idle", start_s, bench.now_s())


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:
    """The mean, and the second half against the first."""
    idle = schedule[0]
    duration_s = idle.time_end_s - idle.time_start_s
    half = max(2, min(N_PARTS_MOST // 2, int(duration_s / PART_LEAST_S / 2)))
    length_s = duration_s / (2 * half)
    halves: tuple[list[float], list[float]] = ([], [])
    rows = []
    for part in range(2 * half):
        start_s = idle.time_start_s + part * length_s
        counter_w = stream.counter_mean_w(start_s, start_s + length_s)
        instant_w = stream.power_mean_w(start_s, start_s + length_s)
        rows.append((start_s - idle.time_start_s, counter_w, instant_w))
        power_w = instant_w if counter_w is None else counter_w
        if power_w is not None:
            halves[part >= half].append(power_w)
    if min(len(powers) for powers in halves) < 2:
        words = "A half of the idle time has fewer than two parts with a reading."
        return Judgement((STEADY.ruled("idle", Ruling.UNDECIDED, words),))
    power_w, half_width_w = mean_with_half_width([*halves[0], *halves[1]])
    first_w, first_half_width_w = mean_with_half_width(halves[0])
    second_w, second_half_width_w = mean_with_half_width(halves[1])
    drift = (second_w - first_w) / power_w
    drift_half_width = ((first_half_width_w or 0.0) ** 2 + (second_half_width_w or 0.0) ** 2) ** 0.5 / power_w
    verdict = STEADY.ruled(
        "idle",
        below(abs(drift), drift_half_width, DRIFT_LIMIT),
        f"{power_w:.1f} W, second half {drift:+.1%} (±{drift_half_width:.1%}) against the first.",
        Figure(name="power_idle", value=power_w, unit="W", half_width=half_width_w),
        Figure(name="drift", value=drift, unit="1", half_width=drift_half_width),
    )
    table = Table(
        name="idle",
        title="Idle power",
        columns=("from, s", "counter, W", "instantaneous power, W"),
        rows=tuple(rows),
    )
    return Judgement((verdict,), (table,))
