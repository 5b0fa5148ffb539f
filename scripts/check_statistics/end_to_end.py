"""One study per setting through everything: scripted engine, replayed counter, run directory, summary.

The metered package draws a constant power, so a query's joules are its seconds times that power: the engine takes as
long as the drawn joules need. What the summary then says is held against the analysis of the drawn joules themselves.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.analysis.bootstrap import ratio_interval
from harness.analysis.sequential import looks
from harness.analysis.stopping import stopping_now
from harness.clock import ManualClock
from harness.engine.scripted import ScriptedEngine, Turn
from harness.meter.meter import SessionMeter
from harness.meter.replay import ReplayRecorder
from harness.pipeline.observer import Observer
from harness.pipeline.session import Session
from harness.publish import accounts
from harness.reasoning.switch import FamilyReasoning
from harness.records import (
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    EngineOptions,
    ModeSwitch,
    Prompt,
    ReasoningSpec,
    RunManifest,
    Site,
    Stopping,
    Summary,
)
from harness.schedule import Schedule
from harness.store.run_directory import RunDirectory
from tests.synthetic_power import PACKAGE, Power, counter, tick_times

from .studies import LOG_SDS, RATIO, FloatArray, joules
from .tables import Table

TARGET = 0.1
TICK_S = 0.01
POWER_W = 100.0
OFF_J = 50.0
"""Mean of the off mode: half a second."""
N_THINKING, N_ANSWER = 40, 10
MODES = ("off", "on")
SWITCHES = {mode: ModeSwitch(template={"enable_thinking": mode == "on"}) for mode in MODES}
REASONING = FamilyReasoning(ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes=SWITCHES))
CELL = Cell(
    model="scripted",
    source="embedded:scripted",
    revision="0" * 40,
    engine=EngineOptions(device="cuda"),
    dtype="auto",
    quantization="none",
    prompt_set="simulated",
    prompt_set_sha256="0" * 64,
    protocol="paired-1",
    modes=MODES,
    max_new_tokens=256,
    seed=0,
)
SITE = Site(
    hostname_sha256="0" * 64,
    platform="simulated",
    cpu="none",
    n_cpu_cores=1,
    memory_bytes=1,
    boards=(),
    driver=None,
    cuda=None,
    python="3",
    packages={},
)


def studies(n_prompts: Sequence[int], seed: int) -> Table:
    """A study with a fixed number of prompts for each setting, and for the largest one that may stop at 10 %, too."""
    rows = []
    for log_sd in LOG_SDS:
        for n in n_prompts:
            rng = np.random.default_rng([seed, n, round(log_sd * 10)])
            x, y = (OFF_J * each[0] for each in joules(1, n, log_sd, rng))
            energy, direct = run(x, y, target=None).comparisons[0].energy, ratio_interval(x, y)
            stopping = run(x, y, target=TARGET).stopping if n == max(n_prompts) else None
            rows.append(
                [
                    f"{log_sd}",
                    str(n),
                    number(energy.value),
                    f"{number(energy.low)} to {number(energy.high)}",
                    f"{number(direct.low)} to {number(direct.high)}",
                    "yes" if (energy.low or math.inf) <= RATIO <= (energy.high or 0.0) else "no",
                    "" if stopping is None else str(stopping.n_prompts),
                ]
            )
    return Table(
        f"One study per setting through the scripted engine (true ratio {RATIO:.0f})",
        ("log sd", "prompts", "ratio", "95 %", "of the drawn joules", "holds", "asked until 10 %"),
        rows,
    )


def number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def run(x_j: FloatArray, y_j: FloatArray, *, target: float | None) -> Summary:
    """The summary of one run in virtual time whose queries take these joules, `on` and `off`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        store = RunDirectory.create(path, CELL, SITE.site_id)
        _session(store, path.name, x_j, y_j, target)
        (account,) = accounts(path)
        return account.summary


def _session(store: RunDirectory, run_id: str, x_j: FloatArray, y_j: FloatArray, target: float | None) -> None:
    clock = ManualClock()
    n = len(x_j)
    prompts = [Prompt(prompt_id=f"p{index}", text=f"{index}?", reference=None, scorer=None) for index in range(n)]

    def script(prompt: Prompt, mode: str, _seed: int) -> Turn:
        index = int(prompt.prompt_id[1:])
        duration_s = float((x_j if mode == "on" else y_j)[index]) / POWER_W
        n_thinking = N_THINKING if mode == "on" else 0
        prefill_s = duration_s / 10
        return Turn(
            duration_prefill_s=prefill_s,
            duration_token_s=(duration_s - prefill_s) / (n_thinking + N_ANSWER - 1),
            n_thinking_tokens=n_thinking,
            n_answer_tokens=N_ANSWER,
            thinking="hm" * n_thinking,
            answer=f"{index}",
        )

    duration_s = 2 * float(x_j.sum() + y_j.sum()) / POWER_W + n + 60
    readings = counter(Power.constant(POWER_W), tick_times(0.1, duration_s, TICK_S), channel=0, bracket_s=0.0)

    def look() -> Stopping:
        return stopping_now(store.queries(), modes=MODES, headline=Boundary.HOST, target=target or 0.0, n_most=n)

    def announce(facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]) -> None:
        store.write_manifest(
            RunManifest(
                harness_version="0",
                run_id=run_id,
                cell_id=CELL.cell_id,
                session=session,
                started_utc="2030-01-01T00:00:00Z",
                origin_unix_s=0.0,
                origin_monotonic_s=0.0,
                command=("harness", "run"),
                git_commit=None,
                site=SITE,
                engine=facts[0],
                channels=channels,
                headline=Boundary.HOST,
                meter_gpus="auto",
                n_prompts=n,
                until_ci=target,
                store_text="none",
                tariff_per_kwh=None,
                findings=(),
            )
        )

    session = store.begin_session()
    Session(
        number=session,
        schedule=Schedule(
            cell=CELL,
            prompts=prompts,
            finished=set(),
            n_pilot=2,
            pilot_only=False,
            idle_duration_s=2.0,
            n_warm_up=1,
            store_text="none",
            looks=() if target is None else looks(n),
        ),
        engine=ScriptedEngine(clock=clock, reasoning=REASONING, script=script),
        meter=SessionMeter(ReplayRecorder(clock, (PACKAGE,), [readings])),
        clock=clock,
        store=store,
        scorers={},
        observer=Observer(),
        look=None if target is None else look,
    ).run(announce, lambda _facts: None)
