"""From a spec to cells: modes, pairs of checkpoints, what a protocol fixes, how many prompts."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness.cli import models as models_command
from harness.config import load_run_spec
from harness.errors import HarnessError, UnknownName, UsageError
from harness.records import ModeSwitch, Sampling
from harness.wiring.jobs import Job, jobs_of

N_PROMPTS = 500
CONTEXT = 16_384
MARKS = {"thinking_start": "<think>", "thinking_end": "</think>"}
SWITCHED = {"off": {"template": {"enable_thinking": False}}, "on": {"template": {"enable_thinking": True}}}


@dataclass(frozen=True, slots=True)
class Place:
    """A catalogue of models that are directories here, and a prompt file."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Place:
        entries: list[dict[str, object]] = [
            {"name": "thinks", "reasoning": "always", "pair": "answers"},
            {"name": "answers", "pair": "thinks"},
            {"name": "qwen3-tiny", "reasoning": "switched"},
            {"name": "granite-tiny", "reasoning": "switched"},
            {"name": "plain"},
        ]
        for entry in entries:
            directory = root / str(entry["name"])
            directory.mkdir()
            config = {"model": entry["name"], "max_position_embeddings": CONTEXT}
            (directory / "config.json").write_text(json.dumps(config))
            entry["source"] = str(directory)
        reasoning = {
            "always": {**MARKS, "starts_inside_thinking": True, "modes": {"on": {}}},
            "switched": {**MARKS, "modes": SWITCHED},
        }
        (root / "models.yaml").write_text(yaml.safe_dump({"reasoning": reasoning, "models": entries}))
        rows = [{"text": f"Prompt {number}", "answer": str(number)} for number in range(N_PROMPTS)]
        (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return cls(root)

    def jobs(self, model: str, **flags: object) -> list[Job]:
        fixed = {"models": str(self.root / "models.yaml"), "device": "cpu", "prompts": str(self.root / "prompts.jsonl")}
        return jobs_of(load_run_spec(None, {**fixed, "model": model, **flags}))

    def job(self, model: str, **flags: object) -> Job:
        (job,) = self.jobs(model, **flags)
        return job


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def test_without_flags_a_cell_is_paired_at_one_cap_with_the_models_own_sampling(place: Place) -> None:
    cell = place.job("qwen3-tiny").cell
    assert (cell.protocol, cell.modes, cell.order, cell.warm_up) == ("paired-1", ("off", "on"), "blocks", True)
    assert (cell.max_new_tokens, cell.caps, cell.min_new_tokens, cell.sampling) == (2048, {}, {}, None)
    assert (cell.pair, cell.scorer, cell.lengths_batch_size) == (None, None, None)


def test_the_same_modes_in_another_order_are_the_same_cell(place: Place) -> None:
    written = place.job("qwen3-tiny", mode="on,budget:64,off,budget:8,on").cell
    assert written.modes == ("off", "budget:8", "budget:64", "on")
    assert written == place.job("qwen3-tiny", mode="off,budget:8,budget:64,on").cell


@pytest.mark.parametrize(("model", "other"), [("thinks", "answers"), ("answers", "thinks")])
def test_two_checkpoints_are_one_subject_when_both_are_asked_for(place: Place, model: str, other: str) -> None:
    job = place.job(model, mode="on,off")
    cell, pair = job.cell, job.cell.pair
    assert cell.modes == ("off", "on")
    assert pair is not None
    assert job.pair_entry is not None
    assert job.pair_reasoning is not None
    assert (cell.model, pair.model, job.pair_entry.name) == (model, other, other)
    assert pair.modes == (("off",) if other == "answers" else ("on",))
    assert len(cell.revision) == len(pair.revision) == 64
    assert cell.revision != pair.revision
    thinking, answering = (
        (job.reasoning, job.pair_reasoning) if model == "thinks" else (job.pair_reasoning, job.reasoning)
    )
    assert (thinking.marks, answering.marks) == (("<think>", "</think>"), None)
    assert answering.switch("off") == ModeSwitch()


def test_budgets_of_a_pair_are_the_thinking_checkpoints(place: Place) -> None:
    job = place.job("answers", mode="off,budget:32,on")
    assert job.cell.pair is not None
    assert job.cell.pair.modes == ("budget:32", "on")
    assert job.pair_reasoning is not None
    assert job.pair_reasoning.switch("budget:32").thinking_budget_tokens == 32


def test_one_half_of_a_pair_runs_alone_unless_asked_and_says_what_could_be(place: Place) -> None:
    alone, plain = place.job("answers"), place.job("plain")
    assert (alone.cell.modes, alone.cell.pair, alone.pair_entry) == (("default",), None, None)
    assert alone.hint is not None
    assert "thinks" in alone.hint
    assert plain.hint is None
    assert place.job("thinks", mode="on").hint is None


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        ("thinks", {"mode": "off"}, "--model answers"),
        ("answers", {"mode": "on,budget:8"}, "--model thinks"),
        ("answers", {"mode": "off"}, "--mode off,on"),
        ("thinks", {"mode": "off,low"}, "thinks has on; answers has off"),
        ("thinks", {"mode": "off,budget:none"}, "budget:256"),
        ("qwen3-tiny", {"mode": "off,low"}, "modes of qwen3-tiny"),
        ("plain", {"mode": "off,on"}, "--reasoning"),
        ("plain", {"mode": "budget:8"}, "modes of plain"),
        ("thinks", {"mode": "off,on", "two_phase": True}, "measure each alone"),
        ("thinks", {"mode": "off,on", "protocol": "aies-v2"}, "modes of thinks under aies-v2"),
        ("thinks", {"protocol": "mlenergy-chat"}, "--protocol paired"),
        ("qwen3-tiny", {"protocol": "mlenergy-gpqa"}, "--protocol paired"),
        ("qwen3-tiny", {"scorer": "numerical"}, "Did you mean 'numeric'?"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_can(
    place: Place, model: str, flags: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        place.jobs(model, **flags)
    assert said in refusal.value.next_step


def test_a_mode_that_a_model_lacks_is_refused_by_name(place: Place) -> None:
    with pytest.raises(UnknownName, match="'medium'"):
        place.jobs("qwen3-tiny", mode="off,medium")


def test_a_pair_whose_other_files_are_missing_is_refused(place: Place) -> None:
    (place.root / "answers" / "config.json").unlink()
    (place.root / "answers").rmdir()
    assert place.job("thinks").cell.modes == ("on",)
    with pytest.raises(HarnessError, match="answers"):
        place.jobs("thinks", mode="off,on")


def test_aies_v2_reaches_the_cell_with_its_unequal_caps(place: Place) -> None:
    copy = f"aies-text-generation={place.root / 'prompts.jsonl'}"
    job = place.job("qwen3-tiny", protocol="aies-v2", prompts=copy)
    cell = job.cell
    assert (cell.protocol, cell.modes, cell.order, cell.warm_up) == ("aies-v2-1", ("off", "on"), "stored", False)
    assert (cell.max_new_tokens, cell.caps) == (8192, {"off": 10, "on": 8192})
    assert (cell.cap("off"), cell.cap("on")) == (10, 8192)
    assert cell.sampling == Sampling(do_sample=True, temperature=0.7, top_p=0.9, top_k=50)
    assert job.reasoning.switch("off").template == {"enable_thinking": True}
    assert job.reasoning.marks == ("<think>", "</think>")
    assert job.n_prompts == 10
    assert [prompt.text for prompt in job.prompt_set.prompts[:3]] == ["Prompt 0", "Prompt 1", "Prompt 2"]
    assert cell == place.job("qwen3-tiny", protocol="aies-v2", prompts=copy, mode="on,off").cell


def test_aies_v2_gives_an_unknown_family_its_template_and_ten_tokens(place: Place) -> None:
    cell = place.job("granite-tiny", protocol="aies-v2").cell
    assert (cell.modes, cell.max_new_tokens, cell.caps) == (("default",), 10, {})


def test_aies_v1_is_ten_tokens_of_greedy_text_in_half_precision(place: Place) -> None:
    job = place.job("qwen3-tiny", protocol="aies-v1")
    cell = job.cell
    assert (cell.modes, cell.max_new_tokens, cell.min_new_tokens, cell.dtype) == (
        ("default",),
        10,
        {"default": 10},
        "float16",
    )
    assert cell.sampling == Sampling(do_sample=False)
    assert not job.reasoning.switch("default").chat_template
    assert job.n_prompts == N_PROMPTS  # all there are, of the 1,000 that it asks


@pytest.mark.parametrize(("model", "mode"), [("qwen3-tiny", "off"), ("answers", "default")])
def test_mlenergys_chat_is_without_thinking(place: Place, model: str, mode: str) -> None:
    cell = place.job(model, protocol="mlenergy-chat").cell
    assert (cell.modes, cell.max_new_tokens, cell.pair) == ((mode,), 4096, None)
    assert cell.sampling == Sampling(do_sample=True, temperature=0.8, top_p=0.95, repetition_penalty=1.1)


@pytest.mark.parametrize(
    ("flags", "n_prompts"),
    [
        ({}, 50),
        ({"num_prompts": 7}, 7),
        ({"num_prompts": 10_000}, N_PROMPTS),
        ({"until_ci": "5%"}, N_PROMPTS),
        ({"until_ci": "5%", "num_prompts": 200}, 200),
        ({"two_phase": True}, 400),
        ({"two_phase": True, "num_prompts": 60}, 60),
        ({"protocol": "aies-v2", "num_prompts": 30}, 30),
        ({"protocol": "mlenergy-chat"}, 50),
    ],
)
def test_how_many_prompts_a_run_takes(place: Place, flags: dict[str, object], n_prompts: int) -> None:
    assert place.job("qwen3-tiny", **flags).n_prompts == n_prompts


def test_a_two_phase_cell_names_the_batch_of_its_token_counts(place: Place) -> None:
    assert place.job("qwen3-tiny", two_phase=True, batch_size=4).cell.lengths_batch_size == 4
    assert (place.job("qwen3-tiny", two_phase=True).cell.lengths_batch_size or 0) > 1


def test_repeats_are_cells_that_differ_in_nothing_else(place: Place) -> None:
    cells = [job.cell for job in place.jobs("thinks", mode="off,on", repeats=3)]
    assert [cell.repeat for cell in cells] == [0, 1, 2]
    assert len({cell.model_copy(update={"repeat": 0}).cell_id for cell in cells}) == 1


def test_the_users_own_scorer_is_part_of_the_cell_and_may_not_change(place: Place) -> None:
    judge = place.root / "judge.py"
    judge.write_text("def right(answer, reference):\n    return reference in answer\n")
    job = place.job("qwen3-tiny", scorer=f"{judge}:right")
    assert job.cell.scorer is not None
    assert job.cell.scorer.startswith("judge.py:right sha256:")
    judge.write_text("def right(answer, reference):\n    return True\n")
    with pytest.raises(UsageError, match=r"judge\.py:right"):
        jobs_of(job.spec, [job.cell])


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        ("qwen3-tiny", {"repeats": 2}),
        ("answers", {"mode": "off,budget:8,on"}),
        ("qwen3-tiny", {"protocol": "aies-v2"}),
        ("qwen3-tiny", {"scorer": "exact", "two_phase": True}),
    ],
)
def test_a_resumed_run_has_the_jobs_that_it_had(place: Place, model: str, flags: dict[str, object]) -> None:
    jobs = place.jobs(model, **flags)
    stored = load_run_spec(None, jobs[0].spec.model_dump(mode="json"))
    again = jobs_of(stored, [job.cell for job in jobs])
    for before, after in zip(jobs, again, strict=True):
        assert after.cell == before.cell
        assert after.prompt_set == before.prompt_set
        assert after.n_prompts == before.n_prompts
        assert after.reasoning.modes == before.reasoning.modes
        assert (after.pair_entry is None) == (before.pair_entry is None)
        if after.pair_entry is not None and before.pair_entry is not None and after.pair_reasoning is not None:
            assert after.pair_entry.source == before.pair_entry.source
            assert after.pair_reasoning.modes == (before.pair_reasoning.modes if before.pair_reasoning else ())


def test_the_list_of_models_shows_pairs_and_budgets(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    parser = argparse.ArgumentParser()
    models_command.add_parser(parser.add_subparsers())
    options = parser.parse_args(["models", "--models", str(place.root / "models.yaml")])
    assert options.main(options) == 0
    said = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "off, on, budget:N (pair)" in said["thinks"]
    assert "off, on, budget:N (pair)" in said["answers"]
    assert "off, on, budget:N -" in said["qwen3-tiny"]
    assert "default -" in said["plain"]
