"""What the order of the queries does to a ratio while the board's power drifts.

Two modes, 300 tokens off and 1,000 on, at the rates of `check_statistics/machine.py`; lengths are log-normal. Power is
that of the work times a factor of time. The bias is the drifted ratio over the ratio of the same queries without
drift, so no sampling error is in it. Orders come from `harness.schedule`: `stored` is mode after mode, `halves` is how
a served load is asked (off on, on off), `blocks` is the `paired` protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.records import Cell, EngineOptions, Prompt
from harness.schedule import Round, Schedule, n_prompts_for_block
from harness.units import S_PER_H
from scripts.check_statistics.machine import STEP_S
from scripts.check_statistics.studies import CORRELATION, FloatArray
from scripts.check_statistics.tables import Table

MODES = ("off", "on")
TOKENS = {"off": 300.0, "on": 1000.0}
LOG_SD = 0.6
PAUSE_S = 0.2
TICK_S = 0.1
N_PROMPTS = (20, 50, 200)
Order = Literal["stored", "halves", "blocks"]
ORDERS: tuple[Order, ...] = ("stored", "halves", "blocks")


@dataclass(frozen=True, slots=True)
class Drift:
    """A factor on the power, by its integral over time in seconds."""

    words: str
    integral_s: Callable[[float], float]

    def factor_s(self, start_s: float, end_s: float) -> float:
        """Seconds times the factor: joules, for a watt."""
        return self.integral_s(end_s) - self.integral_s(start_s)


def linear(per_hour: float) -> Drift:
    """Power rises steadily."""
    words = f"{100 * per_hour:+.0f} % an hour"
    return Drift(words, lambda time_s: time_s + per_hour * time_s**2 / (2 * S_PER_H))


def warming(share: float, time_constant_s: float) -> Drift:
    """Power begins lower by `share` and comes up to its full height exponentially."""
    words = f"{100 * share:.0f} % up, in {time_constant_s / 60:.0f} min"
    return Drift(words, lambda time_s: time_s + share * time_constant_s * math.exp(-time_s / time_constant_s))


DRIFTS = (linear(0.02), warming(0.05, 600.0), warming(0.05, 60.0))


def biases(n_studies: int, seed: int, n_prompts: Sequence[int] = N_PROMPTS) -> Table:
    """Mean and worst bias of the ratio over studies whose lengths are drawn anew."""
    rows = []
    for drift in DRIFTS:
        for n in n_prompts:
            found: dict[Order, list[float]] = {order: [] for order in ORDERS}
            for study in range(n_studies):
                durations_s = _durations_s(n, np.random.default_rng([seed, n, study]))
                for order in ORDERS:
                    found[order].append(bias(queries(n, order, study, durations_s), durations_s, drift))
            hours = sum(float(each.sum()) + n * PAUSE_S for each in durations_s.values()) / S_PER_H
            cells = [
                f"{_signed(math.fsum(values) / len(values))} ({_signed(max(values, key=abs))})"
                for values in found.values()
            ]
            rows.append([drift.words, str(n), f"{hours:.1f} h", *cells])
    return Table(
        f"Bias of on/off, mean (worst of {n_studies} studies)",
        ("power drifts", "prompts", "lasts", "mode after mode", "halves: off on, on off", "paired: blocks in turn"),
        rows,
    )


def queries(n: int, order: Order, seed: int, durations_s: dict[str, FloatArray]) -> Iterator[tuple[int, str]]:
    """Prompt and mode of each query, in the order in which a session asks them."""
    schedule = Schedule(
        cell=_cell(order, seed),
        prompts=[Prompt(prompt_id=f"p{index}", text="?") for index in range(n)],
        finished=set(),
        n_pilot=0,
        pilot_only=False,
        idle_duration_s=3.0,
        n_warm_up=2,
        store_text="none",
    )
    per_block = n_prompts_for_block(float(durations_s["off"].mean()), TICK_S)
    rounds: Iterator[Round] = schedule.load_rounds() if order == "halves" else schedule.rounds(lambda: per_block)
    for round_ in rounds:
        for block in round_.blocks:
            yield from ((index, block.mode) for index, _ in block.prompts)


def bias(asked: Iterator[tuple[int, str]], durations_s: dict[str, FloatArray], drift: Drift) -> float:
    """The ratio of joules under the drift over the ratio without, minus one."""
    drifted, steady, time_s = dict.fromkeys(MODES, 0.0), dict.fromkeys(MODES, 0.0), 0.0
    for index, mode in asked:
        end_s = time_s + float(durations_s[mode][index])
        drifted[mode] += drift.factor_s(time_s, end_s)
        steady[mode] += end_s - time_s
        time_s = end_s + PAUSE_S
    return (drifted["on"] / drifted["off"]) / (steady["on"] / steady["off"]) - 1


def _durations_s(n: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    first = rng.standard_normal(n)
    second = CORRELATION * first + math.sqrt(1 - CORRELATION**2) * rng.standard_normal(n)
    return {
        mode: STEP_S * TOKENS[mode] * np.exp(LOG_SD * normal - LOG_SD**2 / 2)
        for mode, normal in zip(MODES, (first, second), strict=True)
    }


def _cell(order: Order, seed: int) -> Cell:
    return Cell(
        model="simulated",
        source="embedded:simulated",
        revision="0" * 40,
        engine=EngineOptions(device="cuda"),
        dtype="auto",
        quantization="none",
        prompt_set="simulated",
        prompt_set_sha256="0" * 64,
        protocol="paired-1",
        modes=MODES,
        max_new_tokens=8192,
        order="stored" if order == "stored" else "blocks",
        seed=seed,
    )


def _signed(value: float) -> str:
    return f"{100 * value:+z.2f} %"
