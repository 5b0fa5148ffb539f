"""How late power rises when work begins, and how long it lingers after work ends.

Each repeat is some work and then a longer pause, at a random phase of the tick. Between a tick in the middle of the
work and a tick in the idle time after it, the counter's energy is

    level x (end - tick before) + idle x (tick after - end) + (level - idle) x lingering

so each repeat gives `lingering`: for how long the work's power would have to go on to leave as much behind. It needs
no assumption of the tail's form, no averaging window, and no lag of a power reading; it does need a counter that
integrates.
The delay at the start is found the same way, from an idle tick to one in the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bench import Bench
from .streams import FloatArray, IntArray, Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, Verdict, below, mean_with_half_width

ENDS = Claim("power_ends_with_work", "Power falls with the end of work: what lingers is worth less than 10 ms of it.")
BEGINS = Claim(
    "power_begins_with_work", "Power rises with the start of work: what is missing is worth less than 10 ms of it."
)
NEEDS_INTEGRATION = "It rests on a counter that integrates, and this one does not."
WORK_S, IDLE_S = 0.5, 1.0
N_TICKS_WORK, N_TICKS_IDLE = 5, 10
N_REPEATS = 12
LIMIT_S = 0.01
SETTLED_S = 0.15
"""After the start of work power may still rise for so long."""
SETTLED_IDLE = 0.55
"""Share of the pause after which power is taken as idle."""
TICKS_AWAITED_S, TICK_UNKNOWN_S = 2.0, 0.1
BIN_S = 0.02
FALLEN = 0.05


def run(bench: Bench, duration_s: float) -> None:
    """Repeats of work and pause."""
    begun_s = bench.now_s()
    while (comb := bench.recording.so_far().comb()) is None and bench.now_s() - begun_s < TICKS_AWAITED_S:
        bench.pause(0.1)  # a board without a counter has none; its power alone still shows the tail
    tick_s = comb.period_s if comb else TICK_UNKNOWN_S
    work_s, idle_s = max(WORK_S, N_TICKS_WORK * tick_s), max(IDLE_S, N_TICKS_IDLE * tick_s)
    n_repeats = max(2, min(N_REPEATS, int(duration_s / (work_s + idle_s + tick_s))))
    work = bench.work()
    bench.pause(idle_s / 2)
    for _ in range(n_repeats):
        bench.pause(float(bench.random.random()) * tick_s)
        start_s = bench.now_s()
        bench.busy_until_s(work, start_s + work_s)
        end_s = bench.now_s()
        bench.pause(idle_s)
        bench.did("work", start_s, end_s, idle_s=idle_s)


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:
    """Lingering and delay by the counter; the profile, and when it has fallen, by instantaneous power."""
    lingering, delays = [], []
    for work in schedule:
        found = lingering_s(stream, work)
        if found is not None:
            lingering.append(found)
        found = delay_s(stream, work)
        if found is not None:
            delays.append(found)
    fallen = [found for work in schedule if (found := fallen_after_s(stream, work)) is not None]
    fallen_s, fallen_half_width_s = mean_with_half_width(fallen) if fallen else (None, None)
    tail = Figure(name="duration_until_within_5_percent", value=fallen_s, unit="s", half_width=fallen_half_width_s)
    offsets_s, profile_w = aligned(stream, schedule)
    table = Table(
        name="tails",
        title="Instantaneous power around the end of work (mean over the repeats of what the reading showed)",
        columns=("after the end, s", "power, W"),
        rows=tuple((float(offset_s), float(power_w)) for offset_s, power_w in zip(offsets_s, profile_w, strict=True)),
    )
    return Judgement((_ruled(ENDS, "lingering", lingering, tail), _ruled(BEGINS, "delay", delays)), (table,))


def in_context(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """All verdicts of a run, those of this experiment undecided where the counter was found not to integrate."""
    part_time = any(each.claim == "counter_integrates" and each.verdict is Ruling.REFUTED for each in verdicts)
    return [
        each.model_copy(update={"verdict": Ruling.UNDECIDED, "sentence": f"{each.sentence} {NEEDS_INTEGRATION}"})
        if part_time and each.claim in (ENDS.name, BEGINS.name) and each.verdict is not Ruling.SKIPPED
        else each
        for each in verdicts
    ]


def _ruled(claim: Claim, name: str, values: Sequence[float], *more: Figure) -> Verdict:
    if not values:
        return claim.ruled(
            "tails", Ruling.UNDECIDED, "In no repeat do the ticks show more power in the work than in the pause.", *more
        )
    mean_s, half_width_s = mean_with_half_width(values)
    interval = "interval unknown with one repeat" if half_width_s is None else f"±{half_width_s * 1e3:.1f}"
    sentence = f"{mean_s * 1e3:.1f} ms ({interval}) of the work's power above idle, over {len(values)} repeats."
    for figure in more:
        if figure.value is not None:
            sentence += f" Readings of power are within 5 % of idle {figure.value * 1e3:.0f} ms after the end."
    figure = Figure(name=f"duration_{name}", value=mean_s, unit="s", half_width=half_width_s)
    return claim.ruled("tails", below(abs(mean_s), half_width_s, LIMIT_S), sentence, figure, *more)


def lingering_s(stream: Stream, work: Stretch) -> float | None:
    """Seconds of the work's power above idle that came after its end; None: too few ticks."""
    idle_s = work.number("idle_s")
    busy = stream.between_ticks(work.time_start_s + SETTLED_S, work.time_end_s)
    idle = stream.between_ticks(work.time_end_s + SETTLED_IDLE * idle_s, work.time_end_s + idle_s)
    if busy is None or idle is None:
        return None
    level_w, idle_w = busy[2] / (busy[1] - busy[0]), idle[2] / (idle[1] - idle[0])
    across = stream.between_ticks(busy[1], idle[0])
    if across is None or level_w <= idle_w:
        return None
    expected_j = level_w * (work.time_end_s - across[0]) + idle_w * (across[1] - work.time_end_s)
    return (across[2] - expected_j) / (level_w - idle_w)


def delay_s(stream: Stream, work: Stretch) -> float | None:
    """Seconds of the work's power above idle that were missing after its start; None: too few ticks."""
    idle = stream.between_ticks(work.time_start_s - (1.0 - SETTLED_IDLE) * work.number("idle_s"), work.time_start_s)
    busy = stream.between_ticks(work.time_start_s + SETTLED_S, work.time_end_s)
    if busy is None or idle is None:
        return None
    level_w, idle_w = busy[2] / (busy[1] - busy[0]), idle[2] / (idle[1] - idle[0])
    across = stream.between_ticks(idle[1], busy[0])
    if across is None or level_w <= idle_w:
        return None
    expected_j = idle_w * (work.time_start_s - across[0]) + level_w * (across[1] - work.time_start_s)
    return (expected_j - across[2]) / (level_w - idle_w)


def aligned(stream: Stream, schedule: Sequence[Stretch]) -> tuple[FloatArray, FloatArray]:
    """What the reading of power showed, by the time after the end of work: bin middles and mean watts."""
    offsets: list[float] = []
    values: list[float] = []
    for work in schedule:
        inside = _inside(stream, work.time_start_s + SETTLED_S, work.time_end_s + work.number("idle_s"))
        offsets += (stream.power_s[inside] - work.time_end_s).tolist()
        values += stream.power_w[inside].tolist()
    bins = np.floor(np.array(offsets) / BIN_S).astype(int)
    numbers = np.unique(bins)
    means = [float(np.mean(np.array(values)[bins == number])) for number in numbers]
    return (numbers + 0.5) * BIN_S, np.array(means)


def fallen_after_s(stream: Stream, work: Stretch) -> float | None:
    """Seconds after the end until power reads within 5 % of idle for good, the reading's own window and lag included.

    None: it has no readings, or shows no more power in the work than in the pause.
    """
    idle_s = work.number("idle_s")
    busy = stream.power_w[_inside(stream, work.time_start_s + SETTLED_S, work.time_end_s)]
    idle = stream.power_w[_inside(stream, work.time_end_s + 0.8 * idle_s, work.time_end_s + idle_s)]
    after = _inside(stream, work.time_end_s, work.time_end_s + idle_s)
    if len(busy) == 0 or len(idle) == 0:
        return None
    level_w, idle_w = float(np.median(busy)), float(np.mean(idle))
    above = np.flatnonzero(stream.power_w[after] - idle_w > FALLEN * (level_w - idle_w))
    if level_w <= idle_w or len(above) == 0 or above[-1] + 1 >= len(after):
        return 0.0 if level_w > idle_w and len(above) == 0 else None
    return float(stream.power_s[after][above[-1] + 1] - work.time_end_s)


def _inside(stream: Stream, time_start_s: float, time_end_s: float) -> IntArray:
    """Positions of the power readings between two instants."""
    return np.flatnonzero((stream.power_s > time_start_s) & (stream.power_s < time_end_s))
