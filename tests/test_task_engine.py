"""What every task gets from its engine, on a task made up here; and what a run may ask of a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clock import SessionClock
from harness.config import load_run_spec
from harness.engine.findings import failure
from harness.engine.task.catalogue import ORDER, options_of, task_named, tasks
from harness.engine.task.description import StandIn
from harness.engine.task.engine import TaskEngine
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stand_in import RECIPE, stand_in_path
from harness.engine.task.stopwatch import Stopwatch
from harness.errors import (
    CellFailed,
    EnvironmentFault,
    HarnessError,
    ModelUnavailable,
    OutOfMemory,
    UnknownName,
    UnusableInput,
    UsageError,
)
from harness.records import Finding, FindingCode, Prompt
from harness.wiring.jobs import jobs_of
from harness.wiring.subject import with_default_model


class Adder:
    """Two linear layers as a model of two phases."""

    last_phase = "second"

    def __init__(self, place: Place) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)])
        self.opened = Opened(model=self.model, libraries={"adder": "1"}, generation=dict(place.options))

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:
        if not prompt.text:
            raise UnusableInput("The text is empty.", "Fill it in.")
        if prompt.text == "truncated":
            doubts: tuple[Finding, ...] = (Finding(code=FindingCode.INPUT_TRUNCATED, detail="8 of 9"),)
        else:
            doubts = ()
        return Prepared(
            inputs=torch.randn(1, 8), rendered=prompt.text, sizes={"prompt_tokens": 8, "audio_s": 1.5}, findings=doubts
        )

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:
        if self.text_of(prepared) == "broken":
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        if self.text_of(prepared) == "huge":
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert torch.is_inference_mode_enabled()
        hidden = self.model[0](prepared.inputs)
        stopwatch.split("first")
        return self.model[1](hidden + torch.randn(8))

    def text_of(self, prepared: Prepared) -> str:
        return prepared.rendered

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:
        known = prompt.reference != "elsewhere"
        doubts = () if known else (Finding(code=FindingCode.LABEL_UNKNOWN),)
        return Result(text=f"{raw.item():.6f}", sizes={"output_tokens": 1}, findings=doubts, comparable=known)


ADDING = replace(tasks()["text-classification"], name="adding", phases=("first", "second"), open=Adder)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[TaskEngine]:
    torch.set_num_threads(1)
    made = TaskEngine(
        task=ADDING,
        options={"steps": 3},
        source=str(tmp_path),
        revision=RECIPE,
        clock=SessionClock(),
        device="cpu",
        random_weights=True,
    )
    yield made
    made.close()


def asked(text: str, reference: str | None = None) -> Prompt:
    return Prompt(prompt_id="one", text=text, reference=reference)


def test_a_model_that_does_not_fit_is_told_what_a_task_can_do(tmp_path: Path) -> None:
    def refuse(place: Place) -> Adder:
        raise MemoryError(place.device)

    too_large = TaskEngine(
        task=replace(ADDING, open=refuse), options={}, source=str(tmp_path), revision=RECIPE, clock=SessionClock(),
        device="cpu", random_weights=True,
    )  # fmt: skip
    with pytest.raises(OutOfMemory, match="does not fit") as raised:
        too_large.load()
    assert "quantization" not in raised.value.next_step


def test_what_was_loaded_is_said(engine: TaskEngine) -> None:
    assert not engine.ready("default")
    facts = engine.load()
    assert engine.ready("default")
    assert facts.n_parameters == 8 * 8 + 8 + 8 + 1
    assert facts.executed_precision == facts.requested_precision == "float32"
    assert facts.libraries == {"adder": "1"}
    assert facts.generation_config == {"steps": 3}
    assert (facts.revision, facts.attention, facts.context_length) == (RECIPE, None, None)
    assert [finding.code for finding in engine.warnings()] == [FindingCode.RANDOM_WEIGHTS]
    assert engine.warnings() == ()


def test_phases_touch_and_sizes_come_from_before_and_after(engine: TaskEngine) -> None:
    engine.load()
    generation = engine.generate(asked("text"), "default", 0, 1)
    assert [phase.name for phase in generation.phases] == ["first", "second"]
    assert all(one.time_end_s == other.time_start_s for one, other in pairwise(generation.phases))
    assert generation.time_start_s < generation.time_end_s
    assert generation.sizes == {"prompt_tokens": 8, "audio_s": 1.5, "output_tokens": 1}
    assert (generation.answer, generation.thinking, generation.comparable) == (generation.text, "", True)


def test_a_seed_decides_what_is_drawn(engine: TaskEngine) -> None:
    engine.load()
    torch.manual_seed(5)
    one = engine.generate(asked("text"), "default", 0, 1)
    torch.manual_seed(5)
    assert engine.generate(asked("text"), "default", 0, 1).text == one.text
    torch.manual_seed(5)
    assert engine.generate(asked("text"), "default", 0, 2).text != one.text


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("", UnusableInput, FindingCode.INPUT_UNUSABLE),
        ("broken", CellFailed, FindingCode.QUERY_FAILED),
        ("huge", OutOfMemory, FindingCode.OUT_OF_MEMORY),
    ],
)
def test_a_query_that_fails_leaves_the_engine_usable(
    engine: TaskEngine, text: str, error: type[HarnessError], code: FindingCode
) -> None:
    engine.load()
    with pytest.raises(error) as raised:
        engine.generate(asked(text), "default", 0, 1)
    assert failure(raised.value).code is code
    assert engine.generate(asked("text"), "default", 0, 1).text


def test_doubts_of_input_and_answer_come_with_the_query(engine: TaskEngine) -> None:
    engine.load()
    generation = engine.generate(asked("truncated", "elsewhere"), "default", 0, 1)
    assert [finding.code for finding in generation.findings] == [
        FindingCode.INPUT_TRUNCATED,
        FindingCode.LABEL_UNKNOWN,
    ]
    assert not generation.comparable


def test_nothing_can_be_forced_or_batched(engine: TaskEngine) -> None:
    engine.load()
    with pytest.raises(UsageError, match="forced"):
        engine.generate(asked("text"), "default", 0, 1, n_forced_tokens=3)
    with pytest.raises(UsageError, match="one query at a time"):
        engine.generate_batch([asked("text")], "default", 0, 1, batch_size=2)


def test_all_eleven_are_there_in_order_and_whole() -> None:
    assert tuple(tasks()) == ORDER
    for task in tasks().values():
        assert task.is_text_generation or (task.stand_in is not None and task.extra in ("tasks", "diffusion"))
        assert all((task.title, task.takes, task.returns, task.metric, task.sizes, task.phases))
        assert not (task.inputs.media and task.inputs.media_kind is None)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="image-clasification") as raised:
        task_named("image-clasification")
    assert "image-classification" in raised.value.next_step


def test_options_are_the_tasks_own() -> None:
    task = replace(ADDING, options={"steps": 30, "guidance_scale": 7.5, "scheduler": ""})
    assert options_of(task, {}) == {"steps": 30, "guidance_scale": 7.5, "scheduler": ""}
    assert options_of(task, {"steps": 4, "guidance_scale": 0}) == {"steps": 4, "guidance_scale": 0.0, "scheduler": ""}
    with pytest.raises(UnknownName, match="step"):
        options_of(task, {"step": 4})
    for wrong in ({"steps": 1.5}, {"steps": "many"}, {"steps": -1}, {"scheduler": 3}, {"guidance_scale": "high"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            options_of(task, wrong)


def test_a_stand_in_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def write(folder: Path) -> None:
        made.append(folder)
        (folder / "config.json").write_text(str(torch.rand(1).item()))

    task = replace(ADDING, stand_in=StandIn(name="adder", write=write))
    before = torch.random.get_rng_state()
    path = stand_in_path(task, tmp_path / "cache")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert stand_in_path(task, tmp_path / "cache") == path
    assert len(made) == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    again = stand_in_path(task, tmp_path / "other")
    assert (again / "config.json").read_text() == (path / "config.json").read_text()


def test_without_a_stand_in_a_model_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stand-in") as raised:
        stand_in_path(replace(ADDING, stand_in=None), tmp_path)
    assert ADDING.model in raised.value.next_step


@pytest.mark.parametrize(
    "flags",
    [
        {"mode": "off,on"},
        {"reasoning": "qwen3"},
        {"batch_size": 4},
        {"two_phase": True},
        {"quantization": "int8"},
        {"protocol": "aies-v1"},
        {"engine": {"compile": True}},
        {"engine": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "x"},
        {"lengths": "replay:latest"},
    ],
)
def test_what_is_of_text_generation_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is of text generation"):
        load_run_spec(None, {"task": "image-classification", **flags})
    load_run_spec(None, {"task": "reasoning", **({} if "lengths" in flags else flags)})


@pytest.mark.parametrize(
    "flags", [{"concurrency": 2}, {"request_rate": 2.0}, {"serve": "x"}, {"base_url": "http://127.0.0.1:1/v1"}]
)
def test_a_load_is_refused_without_advice_that_is_refused_too(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is of text generation") as raised:
        load_run_spec(None, {"task": "image-classification", **flags})
    assert raised.value.next_step == "Leave it out."


def test_a_task_without_options_says_so() -> None:
    with pytest.raises(UsageError, match="has no options, and 'steps' is given"):
        options_of(task_named("image-classification"), {"steps": 3})


def test_options_need_a_task() -> None:
    with pytest.raises(UsageError, match="task_options"):
        load_run_spec(None, {"task_options": {"steps": 3}})


def test_a_task_brings_its_model_and_a_named_one_wins() -> None:
    for name, task in tasks().items():
        assert with_default_model(load_run_spec(None, {"task": name})).model == (task.model,)
        assert with_default_model(load_run_spec(None, {"task": name, "model": "x/y"})).model == ("x/y",)
    assert with_default_model(load_run_spec(None, {})).model == ("tiny-reasoner",)


def test_a_catalogue_s_prompts_are_of_text_generation() -> None:
    (job,) = jobs_of(load_run_spec(None, {"task": "image-classification", "model": "tiny-reasoner", "device": "cpu"}))
    assert job.prompt_set.name == "drawn"


def test_without_a_network_the_stand_in_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, revision: str) -> str:
        raise ModelUnavailable(f"{name} is not in the local cache.", f"`hf download {name}`")

    monkeypatch.setattr("harness.engine.revision.resolve_revision", refuse)
    for flags, is_offered in (({"task": "image-classification"}, True), ({"model": "o/m"}, False)):
        with pytest.raises(ModelUnavailable, match="not in the local cache") as raised:
            jobs_of(with_default_model(load_run_spec(None, {**flags, "device": "cpu"})))
        assert "hf download" in raised.value.next_step
        assert ("--model random" in raised.value.next_step) is is_offered


def test_text_generation_and_reasoning_are_the_pipeline_that_was_there() -> None:
    cpu = {"device": "cpu"}
    (plain,) = jobs_of(load_run_spec(None, cpu))
    (reasoning,) = jobs_of(with_default_model(load_run_spec(None, {**cpu, "task": "reasoning"})))
    (text,) = jobs_of(with_default_model(load_run_spec(None, {**cpu, "task": "text-generation"})))
    assert reasoning.cell == plain.cell
    assert text.cell == plain.cell.model_copy(update={"modes": ("off",)})
    assert plain.cell.task is None


def test_random_is_of_a_task() -> None:
    with pytest.raises(UsageError, match="random"):
        jobs_of(load_run_spec(None, {"model": "random", "device": "cpu"}))


@pytest.mark.parametrize("name", [name for name, task in tasks().items() if task.imports])
def test_what_is_not_installed_is_told_before_anything_is_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_named(name)
    monkeypatch.setattr("harness.wiring.jobs.find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match=f"{name} needs {task.imports[0]}") as raised:
        jobs_of(load_run_spec(None, {"task": name, "model": "random", "device": "cpu"}))
    assert f"[{task.extra}]" in raised.value.next_step


def test_every_module_that_a_task_names_is_one() -> None:
    assert all(find_spec(module) for task in tasks().values() for module in task.imports)
