"""A load locked to the counter's tick, at several phases: does the counter see all of the time?

The board is busy for half of every tick and idle for the other half. A counter that integrates reads the same mean
power wherever in the tick the busy half lies. A counter that sees only a part of each tick reads the busy half at one
phase and the idle half at another. Each instant of the tick is busy at half of the phases, so the mean over the phases
is the true mean for either kind, and what a phase reads against it shows how wide the seen part is and where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import student_t

from .bench import Bench
from .load import Work
from .streams import Comb, Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, Verdict, below

COUNTER = Claim(
    "counter_integrates",
    "The energy counter sees all of the time: it reads a load locked to its tick the same at every phase.",
)
POWER = Claim(
    "instant_power_sees_all",
    "Instantaneous power, integrated, reads a load locked to the counter's tick the same at every phase.",
)
QUARTERS = (0.0, 0.25, 0.5, 0.75)
EIGHTHS = (*QUARTERS, 0.125, 0.375, 0.625, 0.875)
"""Where there is time: quarters alone do not tell how much a sensor sees that sees under half of a tick."""
DUTY = 0.5
EXPLAINED = 0.05
"""A width explains what was read where it misses by less than this, root mean square, of the mean above idle."""
SWING_LIMIT = 0.1
"""Of the mean above idle. A counter that integrates swings by its noise; one that sees half of each tick, by 2."""
N_TICKS_LEARNT = 12
N_PERIODS_MOST = 24
N_PERIODS_LEAST = 5
N_PERIODS_BETWEEN = 3
"""From the end of a wave to the start of the next, at most."""
N_ROUNDS_MOST = 3
IDLE_S = 1.0
COMB_RESIDUAL_MOST = 0.1
"""Ticks that scatter by more than this share of their period cannot be locked to."""
LEARNING_MOST_S = 12.0


class NoTicks(ValueError):
    """The counter gives nothing to lock to."""


def run(bench: Bench, duration_s: float) -> None:
    """Rounds over the phases, every second round backwards, so that warming up favours no phase."""
    work = bench.work()
    start_s = bench.now_s()
    comb = learnt(bench, start_s)
    bench.did("idle", max(start_s, bench.now_s() - IDLE_S), bench.now_s(), tick_s=comb.period_s)
    left_s = duration_s - (bench.now_s() - start_s)
    shortest_s = comb.period_s * (N_PERIODS_LEAST + N_PERIODS_BETWEEN)
    shifts = EIGHTHS if left_s > 2 * len(EIGHTHS) * shortest_s else QUARTERS
    n_rounds = max(1, min(N_ROUNDS_MOST, int(left_s / (len(shifts) * shortest_s))))
    n_periods = int(left_s / (len(shifts) * comb.period_s * n_rounds)) - N_PERIODS_BETWEEN
    n_periods = max(N_PERIODS_LEAST, min(N_PERIODS_MOST, n_periods))
    for number in range(n_rounds):
        for shift in shifts if number % 2 == 0 else shifts[::-1]:
            # Taken anew from the last ticks: a period that is off by 0.1 % would move a phase by itself.
            comb = bench.recording.so_far().comb(bench.now_s() - 60 * comb.period_s) or comb
            _wave(bench, comb, shift, n_periods, number, work)
            bench.pause(comb.period_s)


def learnt(bench: Bench, time_from_s: float) -> Comb:
    """The counter's ticks, once enough were seen.

    Raises:
        NoTicks: There is no counter, or it ticks too slowly or too irregularly.
    """
    while bench.now_s() - time_from_s < LEARNING_MOST_S:
        bench.pause(0.1)
        stream = bench.recording.so_far()
        comb = stream.comb(time_from_s)
        if comb is not None and len(stream.tick_s) >= N_TICKS_LEARNT:
            if comb.residual_s > COMB_RESIDUAL_MOST * comb.period_s:
                raise NoTicks(
                    f"Ticks scatter by {comb.residual_s * 1e3:.1f} ms around a period of {comb.period_s * 1e3:.1f} ms: "
                    "there is nothing to lock a load to."
                )
            if bench.now_s() - time_from_s > IDLE_S:
                return comb
    raise NoTicks(f"The counter ticked fewer than {N_TICKS_LEARNT} times in {LEARNING_MOST_S:.0f} s, or there is none.")


def _wave(bench: Bench, comb: Comb, shift: float, n_periods: int, number: int, work: Work) -> None:
    first_s = comb.next_after_s(bench.now_s() + 0.005) + shift * comb.period_s
    busy_s = late_s = 0.0
    for period in range(n_periods):
        begin_s = first_s + period * comb.period_s
        bench.wait_until_s(begin_s)
        began_s = bench.now_s()
        bench.busy_until_s(work, begin_s + DUTY * comb.period_s)
        busy_s += bench.now_s() - began_s
        late_s = max(late_s, began_s - begin_s)
    bench.wait_until_s(first_s + n_periods * comb.period_s)
    bench.did(
        "wave",
        first_s,
        first_s + n_periods * comb.period_s,
        shift=shift,
        round=float(number),
        tick_s=comb.period_s,
        residual_s=comb.residual_s,
        busy_share=busy_s / (n_periods * comb.period_s),
        late_most_s=late_s,
    )


@dataclass(frozen=True, slots=True)
class Phases:
    """What one sensor read at each phase, above idle and relative to the mean over the phases (which is 1)."""

    mean_w: tuple[float, ...]
    relative: tuple[float, ...]
    swing: float
    swing_half_width: float | None


def phases(waves: Sequence[Stretch], idle_w: float, read_w: Callable[[float, float], float | None]) -> Phases | None:
    """Mean power at each phase, put right for how long the board was really busy.

    Args:
        waves: Their stretches, with shift, round and busy share.
        idle_w: By the same sensor.
        read_w: Mean power by a sensor between two instants.

    Returns:
        None where a phase has no reading, or nothing above idle was read.
    """
    by_shift: dict[float, list[float]] = {shift: [] for shift in shifts_of(waves)}
    for wave in waves:
        # The first period is left out: the board's clocks rise, and an instantaneous reading still shows the pause.
        power_w = read_w(wave.time_start_s + wave.number("tick_s"), wave.time_end_s)
        if power_w is not None:
            by_shift[wave.number("shift")].append((power_w - idle_w) * DUTY / wave.number("busy_share"))
    if not by_shift or not all(by_shift.values()):
        return None
    means = [float(np.mean(values)) for values in by_shift.values()]
    level_w = float(np.mean(means))
    if level_w <= 0.0:
        return None
    n_rounds = min(len(values) for values in by_shift.values())
    half_width = None
    if n_rounds > 1:
        variance = float(np.mean([np.var(values, ddof=1) for values in by_shift.values()]))
        n_free = len(by_shift) * (n_rounds - 1)
        half_width = student_t(n_free + 1) * (2.0 * variance / n_rounds) ** 0.5 / level_w
    return Phases(
        mean_w=tuple(mean + idle_w for mean in means),
        relative=tuple(mean / level_w for mean in means),
        swing=(max(means) - min(means)) / level_w,
        swing_half_width=half_width,
    )


def shifts_of(waves: Sequence[Stretch]) -> tuple[float, ...]:
    """The phases at which there were waves, each with the one half a tick later; others tell no mean."""
    shifts = {wave.number("shift") for wave in waves}
    return tuple(sorted(shift for shift in shifts if (shift + DUTY) % 1.0 in shifts))


def seen_part(shifts: Sequence[float], relative: Sequence[float]) -> tuple[float, float]:
    """The narrowest and the widest part of a tick that explain what each phase read, in ticks.

    The busy half is taken as rectangular, so a board whose power rises slowly looks as if its sensor saw a little more.

    Args:
        shifts: Phases, in ticks after the tick.
        relative: What each read above idle, as a multiple of the mean over the phases.
    """
    errors: dict[float, float] = {}
    for width in np.arange(0.02, 1.001, 0.02):
        misfits = [
            [
                share_busy(float(width), float(lag), shift) / DUTY - read
                for shift, read in zip(shifts, relative, strict=True)
            ]
            for lag in np.arange(0.0, 1.0, 0.02)
        ]
        errors[float(width)] = float(np.sqrt(np.mean(np.square(misfits), axis=1).min()))
    worst = max(min(errors.values()) * 1.5, EXPLAINED)
    explained = [width for width, error in errors.items() if error <= worst]
    return min(explained), max(explained)


def share_busy(width: float, lag: float, shift: float) -> float:
    """How much of the seen part of a tick is busy, when the busy half begins `shift` after the tick. All in ticks."""
    end = 1.0 - lag
    start = end - width
    overlap = 0.0
    for period in (-2, -1, 0, 1):
        begin = period + shift
        overlap += max(0.0, min(end, begin + DUTY) - max(start, begin))
    return overlap / width


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:
    """Both sensors' readings over the phases."""
    waves = [stretch for stretch in schedule if stretch.name == "wave"]
    idle = next(stretch for stretch in schedule if stretch.name == "idle")
    verdicts, columns = [], []
    for claim, read_w in ((COUNTER, stream.counter_mean_w), (POWER, stream.power_mean_w)):
        idle_w = read_w(idle.time_start_s, idle.time_end_s)
        found = None if idle_w is None else phases(waves, idle_w, read_w)
        columns.append(found)
        verdicts.append(_ruled(claim, found, shifts_of(waves), idle.number("tick_s")))
    rows = tuple(
        (shift, *(None if found is None else found.mean_w[n] for found in columns),
         *(None if found is None else found.relative[n] for found in columns))
        for n, shift in enumerate(shifts_of(waves))
    )  # fmt: skip
    table = Table(
        name="square_wave",
        title="Mean power over a load locked to the counter's tick, busy for half of it",
        columns=(
            "busy half begins, ticks after the tick",
            "counter, W",
            "instantaneous power, W",
            "counter above idle, of its mean",
            "power above idle, of its mean",
        ),
        rows=rows,
    )
    return Judgement(tuple(verdicts), (table,))


def _ruled(claim: Claim, found: Phases | None, shifts: Sequence[float], tick_s: float) -> Verdict:
    if found is None:
        return claim.ruled("square_wave", Ruling.UNDECIDED, "A phase has no reading, or nothing above idle was read.")
    ruling = below(found.swing, found.swing_half_width, SWING_LIMIT)
    figures = [
        Figure(name="swing", value=found.swing, unit="1", half_width=found.swing_half_width),
        Figure(name="duration_tick", value=tick_s, unit="s"),
    ]
    interval = "interval unknown with one round" if found.swing_half_width is None else f"±{found.swing_half_width:.1%}"
    sentence = f"Over the phases it swings by {found.swing:.1%} of its mean above idle ({interval})."
    if ruling is Ruling.REFUTED:
        least, most = seen_part(shifts, found.relative)
        figures += [
            Figure(name="duration_seen_least", value=least * tick_s, unit="s"),
            Figure(name="duration_seen_most", value=most * tick_s, unit="s"),
        ]
        width = f"{least * tick_s * 1e3:.0f} to {most * tick_s * 1e3:.0f}"
        sentence += f" It is explained by seeing {width} of every {tick_s * 1e3:.0f} ms."
    return claim.ruled("square_wave", ruling, sentence, *figures)
