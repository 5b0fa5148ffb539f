"""A gate that measures: what it refuses, in which order it asks, when it looks and stops, and what a kill leaves.

Most gates here have made-up sessions with known joules; those at the end are real, on a fake board.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from harness import publish
from harness.cli.parser import run_verb
from harness.config import load_catalogue
from harness.environment.machine import site
from harness.errors import ExitCode, InvalidMeasurement, NoSensor, SchemaError, StorageFull, UsageError
from harness.gate.verdict import LineVerdict, Outcome, Verdict
from harness.gate_measurement import admission, begin, looking, measuring, resume
from harness.gate_measurement.blocks import order
from harness.gate_measurement.measuring import GateMeasurement
from harness.gate_measurement.plan import gate_path, looks_of, read_plan
from harness.records import (
    Boundary,
    Channel,
    EngineFacts,
    IntervalRecord,
    Method,
    Quantity,
    RunManifest,
    SessionEnd,
    Site,
)
from harness.store.run_directory import RunDirectory, cells
from harness.verify import verify
from harness.wiring import jobs as wiring_jobs
from harness.wiring import session as wiring_session
from harness.wiring.jobs import Job
from harness.wiring.session import store_for
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, constant
from tests.synthetic_runs import query, reading

N_PROMPTS = 12
BUDGET: dict[str, Any] = {
    "min_queries": 10,
    "lines": [{"name": "off", "metric": "energy_per_query_j", "mode": "off", "at_most_over_reference": "+10%"}],
}
ACCOUNTS, PUBLISH = publish.accounts, publish.publish
UUIDS = ("GPU-11111111-2222-3333-4444-555555555555", "GPU-99999999-2222-3333-4444-555555555555")


# ------------------------------------------------------------------------------------------------ a made-up board


@dataclass
class Lab:
    """A folder with run files and a budget, and what its made-up sessions measure.

    `times` is the candidate's energy over the reference's; `board` says which board a block ran on.
    """

    root: Path
    times: float = 1.0
    duration_s: float = 60.0
    board: Callable[[str, int], str] = lambda part, repeat: UUIDS[0]
    killed_after: int | None = None
    lost_in: int | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    console: Console = field(default_factory=lambda: Console(width=200, record=True, file=io.StringIO()))

    def write(self, name: str, **fields: Any) -> str:
        path = self.root / name
        path.write_text(yaml.safe_dump({"num_prompts": N_PROMPTS, "mode": ["off"], "device": "cpu", **fields}))
        return str(path)

    def budget(self, **changes: Any) -> str:
        path = self.root / "budget.yaml"
        path.write_text(yaml.safe_dump({**BUDGET, **changes}))
        return str(path)

    def begin(
        self, candidate: Mapping[str, Any] | None = None, reference: Mapping[str, Any] | None = None, **more: Any
    ) -> GateMeasurement:
        files = (self.write("candidate.yaml", **candidate or {}), self.write("reference.yaml", **reference or {}))
        budget = more.pop("budget", None) or self.budget()
        flags = {"output_dir": str(self.root / "results"), **more.pop("flags", {})}
        return begin(files, budget, flags, (), console=self.console, **more)

    def resume(self, name: str = "latest", **more: Any) -> GateMeasurement:
        return resume(name, self.root / "results", console=self.console, **more)

    @property
    def said(self) -> str:
        return self.console.export_text(clear=False)

    def session(self, console: Console, job: Job, run: Path, *, forecast: bool = True) -> str:
        """In place of `study.run_session`: one session that is over at once, with all that is missing."""
        del console, forecast
        repeat = job.cell.repeat
        self.asked.append((run.name, repeat))
        store = store_for(job, run)
        number, finished = store.begin_session(), store.finished()
        store.write_manifest(_manifest(job, run, number, self.board(run.name, repeat)))
        level = self.times if run.name == "candidate" else 1.0
        level *= 1 + 0.005 * float(np.random.default_rng([repeat, run.name == "candidate"]).normal())
        places = [
            (index, prompt, mode)
            for index, prompt in enumerate(job.prompt_set.prompts[: job.n_prompts])
            for mode in job.cell.modes
            if (prompt.prompt_id, mode) not in finished
        ]
        for n_done, (index, prompt, mode) in enumerate(places):
            if self.killed_after is not None and n_done == self.killed_after and len(self.asked) >= 3:
                self.killed_after = None
                raise KeyboardInterrupt
            lost = self.lost_in == len(self.asked) and n_done == 3
            energy_j = None if lost else 50.0 * (1 + index % 5) * level
            one = reading(energy_j, time_start_s=float(n_done), device=self.board(run.name, repeat))
            record = query(
                index, mode, energy_j, prompt_id=prompt.prompt_id, readings=[one], time_start_s=float(n_done)
            )
            store.append_query(record.model_copy(update={"session": number}))
        store.append_interval(
            IntervalRecord(session=number, name="idle_after", time_start_s=0.0, time_end_s=self.duration_s, readings=())
        )
        status = "stopped" if self.lost_in == len(self.asked) else "finished"
        store.write_end(
            SessionEnd(session=number, ended_utc="2026-01-02T03:04:05Z", status=status, sampler=None, findings=())
        )
        return status


def _manifest(job: Job, run: Path, session: int, board: str) -> RunManifest:
    counter = Channel(
        device=board,
        boundary=Boundary.GPU_BOARD,
        method=Method.NVML_COUNTER,
        quantity=Quantity.ENERGY_J,
        gain_half_width=0.05,
    )
    facts = EngineFacts(
        device_name="a GPU",
        device_uuids=(board,),
        revision=job.cell.revision,
        n_parameters=1,
        bytes_per_parameter=4.0,
        executed_precision="float32",
        requested_precision="float32",
        layer_classes={},
        attention="sdpa",
        context_length=None,
        weights_format="safetensors",
        generation_config={},
    )
    return RunManifest(
        harness_version="0",
        run_id=run.name,
        cell_id=job.cell.cell_id,
        session=session,
        started_utc="2026-01-02T03:04:05Z",
        origin_unix_s=0.0,
        origin_monotonic_s=0.0,
        command=("harness", "gate"),
        git_commit=None,
        site=here(),
        engine=facts,
        channels=(counter,),
        headline=Boundary.GPU_BOARD,
        meter_gpus="auto",
        n_prompts=job.n_prompts,
        store_text="full",
        tariff_per_kwh=None,
        findings=(),
    )


@cache
def here() -> Site:
    """Found out once: reading packages' versions takes longer than any of these gates."""
    return site(())


catalogue = cache(load_catalogue)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path)
    for module in (admission, measuring, wiring_session):
        monkeypatch.setattr(module, "site", lambda boards: here())
    monkeypatch.setattr(wiring_jobs, "load_catalogue", catalogue)
    monkeypatch.setattr(measuring, "run_session", made.session)
    monkeypatch.setattr(admission, "has_sensor", lambda job: True)
    monkeypatch.setattr(publish, "accounts", lambda run: [])  # pages take longer than all the rest
    monkeypatch.setattr(publish, "publish", lambda run, measured: run)
    return made


def scripted(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[int]:
    """Verdicts of one line, look after look, whatever was measured; returned are the looks' alpha divisors."""
    looks: list[int] = []

    def verdict_of(budget: Any, candidate: Any, references: Any, *, today: date, n_looks: int) -> Verdict:
        del candidate, references
        outcome = outcomes[len(looks)]
        looks.append(n_looks)
        line = LineVerdict(
            line=budget.lines[0],
            name="off",
            subject="a model",
            mode="off",
            prompt_set="chains",
            outcome=outcome,
            low=-0.01,
            high=0.12,
            limit=0.1,
            unit="share",
        )
        return Verdict(
            budget=None,
            alpha=budget.alpha,
            n_looks=n_looks,
            lines=(line,),
            outcome=outcome,
            exit_code=ExitCode.OK if outcome is Outcome.PASS else ExitCode.INCONCLUSIVE,
            candidate=(),
            references={},
            date_utc=today,
        )

    monkeypatch.setattr(looking, "verdict_of", verdict_of)
    monkeypatch.setattr(looking, "evidence_of", lambda candidate, references: (None, {}))
    return looks


OPEN, PASS, FAIL = Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.FAIL


# ------------------------------------------------------------------------------------------- order and looks


def test_sides_take_turns_and_each_repeat_is_a_cell_of_an_ordinary_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = scripted(monkeypatch, PASS)
    measured = lab.begin().run()
    c, r = "candidate", "reference"
    assert lab.asked == [(c, 0), (r, 0), (r, 1), (c, 1), (c, 2), (r, 2)]
    assert (looks, measured.n_repeats) == ([1], 3)
    for part in (c, r):
        stored = [directory.cell().repeat for directory in cells(measured.path / part)]
        assert sorted(stored) == [0, 1, 2]


def test_both_sides_are_ordinary_runs_with_their_pages(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, PASS)
    monkeypatch.setattr(publish, "accounts", ACCOUNTS)
    monkeypatch.setattr(publish, "publish", PUBLISH)
    path = lab.begin(repeats=1, budget=lab.budget(run_sd="1%")).run().path
    for part in ("candidate", "reference"):
        assert {"run.yaml", "report.html"} < {each.name for each in (path / part).iterdir()}
    assert run_verb(["report", str(path / "candidate")]) == ExitCode.OK
    assert "tiny-reasoner" in capsys.readouterr().out


def test_what_drifts_steadily_weighs_on_both_sides_alike() -> None:
    blocks = [part for repeat in range(4) for part in order(repeat)]
    places = {part: sum(place for place, each in enumerate(blocks) if each is part) for part in set(blocks)}
    assert len(set(places.values())) == 1


@pytest.mark.parametrize(
    ("repeats", "until_decided", "looks"),
    [
        (3, False, (3,)),
        (3, True, (3, 4, 6, 8, 12)),
        (2, True, (2, 3, 4, 6, 8, 12)),
        (5, True, (5, 6, 8, 12)),
        (12, True, (12,)),
        (20, True, (20,)),
    ],
)
def test_the_looks_are_known_from_the_start(repeats: int, until_decided: bool, looks: tuple[int, ...]) -> None:
    assert looks_of(repeats, until_decided=until_decided) == looks


def test_until_decided_looks_by_the_plan_and_stops_when_nothing_is_open(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = scripted(monkeypatch, OPEN, OPEN, PASS)
    measured = lab.begin(until_decided=True).run()
    assert looks == [5, 5, 5]  # alpha over all the looks that were planned, not over those that were needed
    assert measured.n_repeats == 6
    assert measured.why_ended == "Every line is decided after 6 repeats of both."
    assert "Look 1 of 5, after 3 repeats of both: 1 inconclusive." in lab.said
    assert "open: off (off): −1 % to +12 %, limit +10 %" in lab.said
    assert "Look 3 of 5, after 6 repeats of both: 1 pass." in lab.said


def test_a_line_that_failed_is_as_decided_as_one_that_passed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, FAIL)
    assert lab.begin(until_decided=True).run().n_repeats == 3


def test_after_the_last_look_it_is_over(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = scripted(monkeypatch, *[OPEN] * 3)
    measured = lab.begin(until_decided=True, repeats=6).run()
    assert looks == [3, 3, 3]
    assert (measured.n_repeats, measured.verdict.outcome) == (12, OPEN)
    assert "All 12 repeats of both that were planned are measured." in lab.said


@pytest.mark.parametrize(
    ("minutes", "n_repeats", "n_looks_taken"),
    [(1.0, 1, 1), (5.0, 2, 1), (7.9, 3, 1), (9.9, 4, 2), (10.1, 5, 3), (100.0, 12, 5)],
)
def test_the_clock_ends_it_before_a_pair_that_would_be_too_much(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, minutes: float, n_repeats: int, n_looks_taken: int
) -> None:
    looks = scripted(monkeypatch, *[OPEN] * 5)
    measured = lab.begin(until_decided=True, max_gpu_minutes=minutes).run()  # a block takes a minute, a pair two
    assert (measured.n_repeats, measured.verdict.outcome) == (n_repeats, OPEN)
    assert looks == [5] * n_looks_taken  # stopping for time changes no figure: alpha is divided as before
    assert ("Stopped for time" in lab.said) == (n_repeats < 12)
    assert len(lab.asked) == 2 * n_repeats


def test_what_was_decided_when_time_ran_out_is_decided(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PASS)
    measured = lab.begin(max_gpu_minutes=6.0).run()
    assert measured.why_ended.startswith("Every line is decided")


# ------------------------------------------------------------------------------------------- kill and resume


def test_an_interrupt_says_how_to_go_on_and_a_resume_measures_only_what_is_missing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = scripted(monkeypatch, PASS)
    lab.killed_after = 5
    with pytest.raises(KeyboardInterrupt):
        lab.begin().run()
    assert "gate --measure --resume" in lab.said
    assert looks == []
    before = {path: path.read_bytes() for path in lab.root.rglob("queries.jsonl")}
    measured = lab.resume().run()
    assert measured.verdict.outcome is PASS
    c, r = "candidate", "reference"
    assert lab.asked == [(c, 0), (r, 0), (r, 1), (r, 1), (c, 1), (c, 2), (r, 2)]
    for path, content in before.items():
        assert path.read_bytes().startswith(content)
    for path in lab.root.rglob("queries.jsonl"):
        asked = Counter((each["prompt_id"], each["mode"]) for each in map(json.loads, path.read_text().splitlines()))
        assert set(asked.values()) == {1}
        assert len(asked) == N_PROMPTS
    n_files = len(list(lab.root.rglob("*")))
    scripted(monkeypatch, PASS)
    assert lab.resume(str(measured.path)).run().verdict.outcome is PASS  # a gate that is over says it again
    assert len(list(lab.root.rglob("*"))) == n_files
    assert len(lab.asked) == 7


def test_a_resume_goes_on_from_the_last_look(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = scripted(monkeypatch, OPEN, OPEN, OPEN, PASS)  # the second once more, at the same figures
    sessions = lab.session

    def interrupted(console: Console, job: Job, run: Path, *, forecast: bool = True) -> str:
        if job.cell.repeat == 4:  # between the looks after 4 and after 6 repeats
            raise KeyboardInterrupt
        return sessions(console, job, run, forecast=forecast)

    monkeypatch.setattr(measuring, "run_session", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.begin(until_decided=True).run()
    assert len(looks) == 2
    monkeypatch.setattr(measuring, "run_session", sessions)
    assert lab.resume().run().n_repeats == 6
    assert looks == [5, 5, 5, 5]


def test_a_resume_keeps_the_clock(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, OPEN, OPEN)
    first = lab.begin(until_decided=True, max_gpu_minutes=5.0).run()
    again = lab.resume().run()
    assert (first.n_repeats, again.n_repeats) == (2, 2)
    assert len(lab.asked) == 4


def test_a_lost_sensor_ends_the_gate_and_a_resume_repeats_what_it_missed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, PASS)
    lab.lost_in = 2
    with pytest.raises(NoSensor, match="lost in repeat 1 of the reference"):
        lab.begin().run()
    assert "gate --measure --resume" in lab.said
    lab.lost_in = None
    assert lab.resume().run().n_repeats == 3
    lines = [json.loads(line) for path in lab.root.rglob("queries.jsonl") for line in path.read_text().splitlines()]
    assert len(lines) == 6 * N_PROMPTS + 1
    assert sum(line["readings"][0]["energy_gross_j"] is None for line in lines) == 1


def test_a_full_disk_says_how_to_complete_the_gate_and_not_a_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> str:
        raise StorageFull("The disk is full.", "Make room, then resume: harness run --resume latest")

    monkeypatch.setattr(measuring, "run_session", full)
    with pytest.raises(StorageFull, match="The disk is full") as caught:
        lab.begin().run()
    assert "gate --measure --resume" in caught.value.next_step
    assert "harness run" not in caught.value.next_step


def test_two_boards_are_invalid(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PASS)
    lab.board = lambda part, repeat: UUIDS[part == "reference"]
    with pytest.raises(InvalidMeasurement, match=f"reference ran on {UUIDS[1]}, and the candidate on {UUIDS[0]}"):
        lab.begin().run()
    assert len(lab.asked) == 2
    assert "--resume" not in lab.said  # it would not mend it


def test_a_board_that_changes_between_repeats_is_invalid(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PASS)
    lab.board = lambda part, repeat: UUIDS[repeat > 0]
    with pytest.raises(InvalidMeasurement):
        lab.begin().run()
    assert len(lab.asked) == 3


def test_a_gate_is_completed_where_it_began(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PASS)
    lab.begin()
    elsewhere = here().model_copy(update={"driver": "600.0"})
    monkeypatch.setattr(measuring, "site", lambda boards: elsewhere)
    with pytest.raises(UsageError, match="begun at the site"):
        lab.resume().run()
    assert lab.asked == []


def test_two_processes_do_not_measure_one_gate(lab: Lab) -> None:
    gate = lab.begin()
    with RunDirectory(gate.path).locked(), pytest.raises(UsageError, match="Another process"):
        lab.resume().run()


def test_the_plan_and_the_budget_are_what_they_were(lab: Lab) -> None:
    gate = lab.begin(until_decided=True, max_gpu_minutes=7.0, allow=("driver",))
    assert read_plan(gate.path) == gate.plan
    assert (gate.path / "budget.yaml").read_bytes() == (lab.root / "budget.yaml").read_bytes()
    lab.budget(alpha=0.1)
    with pytest.raises(UsageError, match="is not the budget that this gate began with"):
        lab.resume(budget_file=str(lab.root / "budget.yaml"))
    lab.resume()  # by its copy
    (gate.path / "budget.yaml").write_text("lines: []")
    with pytest.raises(SchemaError, match="is not the budget"):
        lab.resume()
    (gate.path / "gate.yaml").write_text("looks: [3]")
    with pytest.raises(SchemaError):
        lab.resume()


def test_a_gate_is_found_by_path_name_and_latest(lab: Lab) -> None:
    first, second = lab.begin().path, lab.begin().path
    results = lab.root / "results"
    assert re.fullmatch(r"\d{8}-\d{6}-gate(-\d+)?", first.name)
    assert gate_path("latest", results) == max(first, second)
    assert gate_path(first.name, results) == gate_path(str(first), Path("elsewhere")) == first
    for name in ("nothing", str(first / "candidate")):
        with pytest.raises(UsageError, match="No measured gate"):
            gate_path(name, results)
    with pytest.raises(UsageError, match="There is no measured gate"):
        gate_path("latest", lab.root)


# -------------------------------------------------------------------------------------------------- refusals

LINE: dict[str, Any] = BUDGET["lines"][0]
ABSOLUTE = {"metric": "energy_per_query_j", "at_most": 100}


@pytest.mark.parametrize(
    ("candidate", "reference", "budget", "more", "words"),
    [
        ({"model": ["tiny-reasoner", "tiny-reasoner"]}, {}, {}, {}, "candidate.yaml names 2 models"),
        ({"until_ci": "5%"}, {}, {}, {}, "until_ci"),
        ({}, {"two_phase": True}, {}, {}, "reference.yaml has two_phase"),
        ({}, {"repeats": 5}, {}, {}, "give the gate --repeats"),
        ({"external_meter": "wall.csv"}, {}, {}, {}, "external_meter"),
        ({"prompts": "everyday"}, {}, {}, {}, "different prompts: everyday and chains"),
        ({"seed": 3, "prompts": "{root}/own.csv"}, {"prompts": "{root}/own.csv"}, {}, {}, "12 and 12 prompts of own"),
        ({"num_prompts": 20}, {}, {}, {}, "20 and 12 prompts of chains, 12 of them the same"),
        ({"max_new_tokens": 64}, {}, {}, {}, "cap in mode off is 64 new tokens, the reference's 128"),
        ({"mode": ["on"]}, {}, {}, {}, "of mode off, which tiny-reasoner"),
        ({"mode": ["off", "on"]}, {}, {"lines": [{**LINE, "mode": None}]}, {}, "mode on, which tiny-reasoner"),
        ({}, {"mode": ["off", "on"]}, {"lines": [{**LINE, "mode": None}]}, {}, "candidate.yaml) is not asked in"),
        ({}, {"mode": ["on"]}, {}, {}, "mode off"),
        ({}, {}, {"lines": [{**LINE, "mode": "budget:64"}]}, {}, "mode budget:64"),
        ({}, {}, {"lines": [{**LINE, "prompts": "gsm8k"}]}, {}, "of the prompts gsm8k"),
        ({}, {}, {"lines": [{**LINE, "against": ["golden"]}]}, {}, "golden reference, and none is given"),
        ({}, {}, {"golden": "nowhere"}, {}, "golden reference 'nowhere'"),
        ({}, {}, {"min_queries": 13}, {}, "12 prompts are fewer than the budget's min_queries, 13"),
        ({}, {}, {}, {"repeats": 1}, "One repeat says nothing"),
        ({}, {}, {}, {"repeats": 0}, "--repeats 0"),
        ({}, {}, {}, {"max_gpu_minutes": 0.0}, "--max-gpu-minutes 0"),
        ({}, {}, {}, {"max_gpu_minutes": float("nan")}, "--max-gpu-minutes nan"),
        ({}, {}, {"colour": "red"}, {}, "colour"),
        ({"colour": "red"}, {}, {}, {}, "colour"),
        ({}, {}, {}, {"flags": {"device": "quantum"}}, "quantum"),
    ],
    ids=lambda value: None,
)
def test_what_could_never_be_judged_is_refused_before_anything_is_written(
    lab: Lab,
    candidate: Mapping[str, Any],
    reference: Mapping[str, Any],
    budget: Mapping[str, Any],
    more: Mapping[str, Any],
    words: str,
) -> None:
    (lab.root / "own.csv").write_text("prompt\n" + "".join(f"{number} + 1 = ?\n" for number in range(40)))
    sides = ({key: _placed(value, lab) for key, value in side.items()} for side in (candidate, reference))
    with pytest.raises(UsageError) as caught:
        lab.begin(*sides, budget=lab.budget(**budget), **more)
    assert words in str(caught.value)
    assert len(caught.value.next_step) > 5
    assert not (lab.root / "results").exists()


def _placed(value: object, lab: Lab) -> object:
    return value.replace("{root}", str(lab.root)) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Pinned:
    """A golden run, made by a gate of one repeat."""

    path: Path

    @classmethod
    def make(cls, lab: Lab) -> Pinned:
        gate = lab.begin({"mode": ["off", "on"]}, repeats=1, budget=lab.budget(run_sd="1%", lines=[LINE]))
        for block in gate.blocks(0):
            lab.session(lab.console, block.job, block.run)
        kept = lab.root / "pinned"
        (gate.path / "candidate").rename(kept)
        shutil.rmtree(lab.root / "results")
        return cls(kept)


@pytest.mark.parametrize(
    ("budget", "elsewhere", "more", "words"),
    [
        ({}, {}, {}, None),
        ({"lines": [{**LINE, "mode": "budget:64"}]}, {}, {}, "not measured in mode budget:64"),
        ({"lines": [{**LINE, "mode": None}]}, {}, {}, "has a mode on, in which"),
        ({}, {}, {"flags": {"prompts": "everyday", "max_new_tokens": 128}}, "answered chains"),
        ({}, {}, {"flags": {"max_new_tokens": 64}}, "had the cap in mode off 128 new tokens"),
        ({}, {}, {"flags": {"max_new_tokens": 64}, "allow": ("protocol",)}, None),
        ({}, {"driver": "600.0"}, {}, "had the driver"),
        ({}, {"driver": "600.0"}, {"allow": ("driver",)}, "state session_sd"),
        ({"session_sd": "2%"}, {"driver": "600.0"}, {"allow": ("driver",)}, None),
        ({}, {"cpu": "another"}, {}, "state session_sd"),
    ],
    ids=lambda value: None,
)
def test_a_golden_reference_that_could_never_be_compared_is_refused(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    budget: Mapping[str, Any],
    elsewhere: Mapping[str, Any],
    more: Mapping[str, Any],
    words: str | None,
) -> None:
    golden = Pinned.make(lab).path
    monkeypatch.setattr(admission, "site", lambda boards: here().model_copy(update=dict(elsewhere)))
    named = str(golden)
    if words is None:
        gate = lab.begin(budget=lab.budget(**budget), golden=named, **more)
        assert gate.plan.golden is not None
        assert gate.plan.golden.path == named
        return
    modes = {"mode": ["off", "budget:64"]} if "budget:64" in words else {}
    with pytest.raises(UsageError) as caught:
        lab.begin(modes, modes, budget=lab.budget(**budget), golden=named, **more)
    assert words in str(caught.value)
    assert not (lab.root / "results").exists()


def test_what_may_differ_is_let_through(lab: Lab) -> None:
    lab.begin({"max_new_tokens": 64}, allow=("protocol",))
    lab.begin({"max_new_tokens": 64}, budget=lab.budget(allow=["protocol"]))
    lab.begin({"num_prompts": 20}, allow=("prompts",))
    lab.begin({"mode": ["off", "on"]}, budget=lab.budget(lines=[LINE, {**ABSOLUTE, "mode": "on"}]))
    lab.begin(budget=lab.budget(run_sd="2%"), repeats=1)


def test_without_a_sensor_joules_are_refused_and_tokens_are_not(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "has_sensor", lambda job: False)
    with pytest.raises(NoSensor, match="never judged by an estimate"):
        lab.begin()
    assert not (lab.root / "results").exists()
    tokens = {"metric": "output_tokens_per_query", "mode": "off", "at_most_over_reference": "+3%"}
    lab.begin(budget=lab.budget(lines=[tokens]))


def test_flags_hold_for_both_sides(lab: Lab) -> None:
    gate = lab.begin(flags={"num_prompts": 15, "seed": 4})
    plans = (gate.plan.candidate, gate.plan.reference)
    assert {(plan.spec.num_prompts, plan.cell.seed) for plan in plans} == {(15, 4)}


# ---------------------------------------------------------------------------------------- verdicts of made-up joules


def test_one_model_against_itself_passes(lab: Lab) -> None:
    measured = lab.begin().run()
    (line,) = measured.verdict.lines
    assert (line.outcome, measured.verdict.exit_code) == (PASS, ExitCode.OK)
    assert line.value == pytest.approx(0.0, abs=0.03)  # both sides' repeats scatter by half a per cent


def test_a_dearer_candidate_fails(lab: Lab) -> None:
    lab.times = 1.3
    measured = lab.begin(until_decided=True).run()
    assert (measured.verdict.outcome, measured.verdict.exit_code) == (FAIL, ExitCode.GATE_FAILED)
    assert measured.n_repeats == 3
    assert measured.verdict.lines[0].value == pytest.approx(0.3, abs=0.05)


def test_at_the_limit_it_stays_open_until_the_last_look_or_the_clock(lab: Lab) -> None:
    lab.times = 1.1
    measured = lab.begin(until_decided=True, max_gpu_minutes=9.0).run()
    assert (measured.verdict.outcome, measured.verdict.exit_code) == (OPEN, ExitCode.INCONCLUSIVE)
    assert (measured.n_repeats, measured.verdict.n_looks) == (4, 5)


# --------------------------------------------------------------------------------------------- on a fake board

QUICK = """
import json, os, signal, sys
from transformers import AutoTokenizer, Qwen3ForCausalLM
from harness import gate_measurement, pipeline, publish
from harness.cli.parser import run_verb
from harness.progress import Progress

pipeline.SETTLE_S, pipeline.FINAL_WAIT_S, pipeline.FINAL_WAIT_MORE_S = 0.1, 0.3, 0.1
n_left = -1

def ended(self, index, ended=Progress.ended):
    global n_left
    ended(self, index)
    n_left -= 1
    if n_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Progress.ended = ended
for log, arguments, killed_after in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        n_left = killed_after
        with open(log, "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        sys.exit(run_verb(arguments))
    print(log, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.stdin.readline()
"""
"""`harness` on a machine that nothing has to settle on, one process after the other, each when it is told to.

They are forked because most of a short run is the import of what it needs. One may be killed after so many queries.
"""
N_REAL = 12
KILLED_AFTER = N_REAL + 4
"""Queries: the process is killed in the second of two blocks."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Two processes of one gate, the first killed, and another gate: exit code and output of each."""

    root: Path
    killed: tuple[int, str]
    n_before: int
    resumed: tuple[int, str]
    dearer: tuple[int, str]
    same: Path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, fake_nvml: Path) -> Ended:
    root = tmp_path_factory.mktemp("gate")
    board = replace(H100, load=(constant(230.0),))
    fake.write_config(root / "boards.conf", [board])
    quick: dict[str, Any] = {"num_prompts": N_REAL, "idle_duration_s": 0.2, "warm_up_queries": 1}
    run_files: dict[str, dict[str, Any]] = {
        "one": {"mode": ["off"]},
        "long": {"mode": ["on"], "max_new_tokens": 32},
        "short": {"mode": ["on"], "max_new_tokens": 4},
    }
    for name, fields in run_files.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump({**quick, **fields}))
    enough = {"min_queries": N_REAL, "run_sd": "10%"}  # stated, so that one repeat will do
    energy = {"metric": "energy_per_query_j", "at_most_over_reference": "+900%"}
    tokens = {"metric": "output_tokens_per_query", "at_most_over_reference": "+100%"}
    (root / "generous.yaml").write_text(yaml.safe_dump({**enough, "lines": [energy, tokens]}))
    strict = {**energy, "at_most_over_reference": "+20%"}
    (root / "strict.yaml").write_text(yaml.safe_dump({**enough, "lines": [strict]}))
    shared = ["--repeats", "1", "--device", "cpu", "--meter-gpus", "all"]
    same = ["gate", "--measure", "one.yaml", "one.yaml", "--budget", "generous.yaml", *shared]
    other = ["gate", "--measure", "long.yaml", "short.yaml", "--budget", "strict.yaml", *shared]
    other += ["--allow", "protocol", "--json", "dearer.json"]
    environment = {**fake.environment(fake_nvml.parent, root / "boards.conf"), "COLUMNS": "120"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])

    resume = ["gate", "--measure", "--resume", "latest", "--json", "same.json"]
    plan = [("killed.log", same, KILLED_AFTER), ("resumed.log", resume, -1), ("dearer.log", other, -1)]
    done, n_lines = [], []
    with subprocess.Popen(
        [sys.executable, "-c", QUICK, json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            log, code = line.split()
            done.append((int(code), (root / log).read_text()))
            n_lines.append(len(_lines(root / "results")))
            process.stdin.write("\n")
            process.stdin.flush()
    killed, resumed, dearer = done
    same_path = min((root / "results").glob("*-gate*"))
    return Ended(root=root, killed=killed, n_before=n_lines[0], resumed=resumed, dearer=dearer, same=same_path)


def _lines(results: Path) -> list[tuple[str, str, str]]:
    """(cell, prompt, mode) of every query on disk."""
    found = []
    for path in sorted(results.rglob("queries.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            found.append((str(path.parent.parent), record["prompt_id"], record["mode"]))
    return found


@pytest.mark.timeout(900)
def test_a_killed_gate_is_completed_without_measuring_anything_twice(ended: Ended) -> None:
    code, output = ended.killed
    assert code == -signal.SIGKILL, output
    assert N_REAL <= ended.n_before <= KILLED_AFTER
    asked = Counter(_lines(ended.same))
    assert set(asked.values()) == {1}
    assert len(asked) == 2 * N_REAL
    code, output = ended.resumed
    assert code == ExitCode.OK, output
    assert "candidate tiny-reasoner, repeat 1 of 1" not in output
    assert "reference tiny-reasoner, repeat 1 of 1" in output


@pytest.mark.timeout(900)
def test_one_model_against_itself_on_a_real_sampler(ended: Ended) -> None:
    assert verify(ended.same / "reference").differences == ()  # of two sessions, one of them killed
    for part in ("candidate", "reference"):
        for directory in cells(ended.same / part):
            manifest = directory.manifest(directory.sessions()[-1])
            assert manifest is not None
            assert {channel.device for channel in manifest.channels if channel.makes_energy} == {H100.uuid}
    lines = json.loads((ended.root / "same.json").read_text())["lines"]
    assert {line["outcome"] for line in lines} == {"pass"}
    (tokens,) = (line for line in lines if line["line"]["metric"] == "output_tokens_per_query")
    assert tokens["value"] == pytest.approx(0.0, abs=1e-12)  # the same seeds, so the same words


@pytest.mark.timeout(900)
def test_a_longer_answer_fails_on_a_real_sampler(ended: Ended) -> None:
    code, output = ended.dearer
    assert code == ExitCode.GATE_FAILED, output
    (line,) = json.loads((ended.root / "dearer.json").read_text())["lines"]
    assert line["outcome"] == "fail"
    assert line["value"] > 1.0
