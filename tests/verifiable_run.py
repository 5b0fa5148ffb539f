"""A finished and published run in virtual time, every part of which can be checked.

The first prompts of an embedded set in both modes, answered by a script: right with thinking, mostly wrong without; the
board's power steps at the queries' edges. It is written by the session and the run directory that real runs use.
"""

from __future__ import annotations

from pathlib import Path

import harness
from harness.clock import ManualClock
from harness.engine.scripted import ScriptedEngine, Turn
from harness.meter.meter import SessionMeter
from harness.meter.replay import ReplayRecorder
from harness.pipeline.observer import Observer
from harness.pipeline.session import Session
from harness.prompts.embedded import EmbeddedSource
from harness.publish import accounts, publish
from harness.reasoning.switch import FamilyReasoning
from harness.records import Board, Boundary, Cell, EngineFacts, Prompt, ReasoningSpec, RunManifest
from harness.schedule import Schedule
from harness.scoring.catalogue import scorer
from harness.store.run_directory import RunDirectory
from tests.synthetic_power import GPU, NO_POWER, POWER, Power, power_readings, tick_times
from tests.test_pipeline import SITE, SWITCHES, cell, stepping

N_PROMPTS = 5
RUN_ID = "20300101-000000-scripted"
ENDS_S = 14.0
FAMILY = ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes=SWITCHES)
SITE_WITH_BOARD = SITE.model_copy(update={"boards": (Board(uuid=GPU, name="A board"),), "driver": "570.133.20"})


def write_run(folder: Path, store_text: str = "full") -> Path:
    """The run, published; its directory is called `RUN_ID`."""
    rehearsal = _session(folder / "rehearsal", NO_POWER, store_text)
    run = folder / RUN_ID
    _session(run, stepping(rehearsal.queries()), store_text)
    publish(run, accounts(run))
    return run


def _cell() -> Cell:
    chains = EmbeddedSource("chains").load(None)
    return cell(prompt_set=chains.name, prompt_set_sha256=chains.sha256, reasoning=FAMILY)


def _session(run: Path, power: Power, store_text: str) -> RunDirectory:
    what = _cell()
    store = RunDirectory.create(run, what, SITE_WITH_BOARD.site_id)
    number, clock = store.begin_session(), ManualClock()
    readings = power_readings(power, tick_times(0.1, ENDS_S, 0.025), 0.025)
    session = Session(
        number=number,
        schedule=Schedule(
            cell=what,
            prompts=EmbeddedSource("chains").load(None).prompts[:N_PROMPTS],
            finished=set(),
            n_pilot=2,
            pilot_only=False,
            idle_duration_s=2.0,
            n_warm_up=1,
            store_text=store_text,
        ),
        engine=ScriptedEngine(clock=clock, reasoning=FamilyReasoning(FAMILY), script=_script, duration_load_s=0.7),
        meter=SessionMeter(ReplayRecorder(clock, [POWER], [readings])),
        clock=clock,
        store=store,
        scorers={"numeric": scorer("numeric")},
        observer=Observer(),
    )

    def announce(facts: tuple[EngineFacts, ...], channels: tuple[object, ...]) -> None:
        store.write_manifest(
            RunManifest(
                harness_version=harness.__version__,
                run_id=run.name,
                cell_id=what.cell_id,
                session=number,
                started_utc="2030-01-01T00:00:00Z",
                origin_unix_s=0.0,
                origin_monotonic_s=0.0,
                command=("harness", "run"),
                git_commit=None,
                site=SITE_WITH_BOARD,
                engine=facts[0],
                channels=(POWER,),
                headline=Boundary.GPU_BOARD,
                meter_gpus="auto",
                n_prompts=N_PROMPTS,
                store_text=store_text,
                tariff_per_kwh=None,
                findings=(),
            )
        )

    assert session.run(announce, lambda _facts: None) == "finished"
    return store


def _script(prompt: Prompt, mode: str, seed: int) -> Turn:
    number = int(prompt.prompt_id.rpartition("-")[2])
    n_thinking = 40 + 7 * number if mode == "on" else 0
    is_right = mode == "on" or number % 3 == 0
    return Turn(
        duration_prefill_s=0.031 + 0.0173 * number,
        duration_token_s=0.0107,
        n_thinking_tokens=n_thinking,
        n_answer_tokens=9 + number,
        thinking="7 2 4 " * n_thinking,
        answer=f"The answer is {prompt.reference if is_right else 99}.",
    )
