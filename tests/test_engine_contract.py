"""What every engine promises, checked on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from harness.clock import ManualClock, SessionClock
from harness.engine.scripted import ScriptedEngine, Turn, steady
from harness.engine.transformers import TransformersEngine
from harness.errors import UnknownName, UsageError
from harness.protocols import Clock, Engine
from harness.reasoning.switch import FamilyReasoning
from harness.records import EngineFacts, Generation, ModeSwitch, Prompt, ReasoningSpec
from tests.tiny_model import CONTEXT_LENGTH, save_tiny_model

REASONING = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "off": ModeSwitch(template={"enable_thinking": False}),
            "on": ModeSwitch(template={"enable_thinking": True}),
        },
    )
)
PROMPT = Prompt(prompt_id="chain-1", text="1+2=")


class LoadedEngine:
    """An engine with its clock and what it said on loading."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine, self.clock = engine, clock
        self.facts: EngineFacts = engine.load()

    def generate(self, mode: str = "on", max_new_tokens: int = 24, seed: int = 1) -> Generation:
        return self.engine.generate(PROMPT, mode, max_new_tokens, seed)


def scripted(_directory: Path) -> LoadedEngine:
    clock = ManualClock(time_s=100.0)
    script = steady(Turn(n_thinking_tokens=20, thinking="3", n_answer_tokens=4), without=Turn(n_answer_tokens=4))
    engine = ScriptedEngine(clock=clock, reasoning=REASONING, script=script, context_length=CONTEXT_LENGTH)
    return LoadedEngine(engine, clock)


def with_transformers(directory: Path) -> LoadedEngine:
    clock = SessionClock()
    source = save_tiny_model(directory)
    engine = TransformersEngine(
        source=str(source), revision=None, reasoning=REASONING, clock=clock, device="cpu", n_threads=1
    )
    return LoadedEngine(engine, clock)


@pytest.fixture(scope="module", params=[scripted, with_transformers], ids=["scripted", "transformers"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedEngine]:
    torch.set_num_threads(1)
    make: Callable[[Path], LoadedEngine] = request.param
    made = make(tmp_path_factory.mktemp("model"))
    yield made
    made.engine.close()


@pytest.mark.parametrize("mode", ["off", "on"])
@pytest.mark.parametrize("max_new_tokens", [1, 2, 24])
def test_phases_are_in_order_touch_and_lie_within_the_call(
    loaded: LoadedEngine, mode: str, max_new_tokens: int
) -> None:
    before_s = loaded.clock.now_s()
    generation = loaded.generate(mode, max_new_tokens)
    after_s = loaded.clock.now_s()
    names = [phase.name for phase in generation.phases]
    assert names[0] == "prefill"
    assert names == [name for name in ("prefill", "thinking", "answer") if name in names]
    assert all(phase.time_start_s <= phase.time_end_s for phase in generation.phases)
    assert all(one.time_end_s == other.time_start_s for one, other in pairwise(generation.phases))
    assert before_s <= generation.time_start_s < generation.time_end_s <= after_s


@pytest.mark.parametrize("mode", ["off", "on"])
def test_sizes_add_up_and_every_phase_has_tokens(loaded: LoadedEngine, mode: str) -> None:
    generation = loaded.generate(mode)
    sizes, names = generation.sizes, {phase.name for phase in generation.phases}
    assert sizes["thinking_tokens"] + sizes["answer_tokens"] == sizes["output_tokens"]
    assert sizes["prompt_tokens"] > 0
    assert ("thinking" in names) == (sizes["thinking_tokens"] > 0)
    assert ("answer" in names) == (sizes["answer_tokens"] > 0)


@pytest.mark.parametrize("max_new_tokens", [1, 3, 10])
def test_the_cap_is_kept_and_said(loaded: LoadedEngine, max_new_tokens: int) -> None:
    generation = loaded.generate(max_new_tokens=max_new_tokens)
    assert 1 <= generation.sizes["output_tokens"] <= max_new_tokens
    assert generation.finish_reason in ("stop", "length")
    if generation.sizes["output_tokens"] < max_new_tokens:
        assert generation.finish_reason == "stop"


def test_the_same_seed_gives_the_same_text(loaded: LoadedEngine) -> None:
    first = loaded.generate(seed=7)
    loaded.generate(seed=8)  # whatever ran in between
    again = loaded.generate(seed=7)
    assert (first.text, first.sizes, first.finish_reason) == (again.text, again.sizes, again.finish_reason)


def test_modes_are_asked_for_differently_and_what_was_rendered_is_kept(loaded: LoadedEngine) -> None:
    off, on = loaded.engine.render(PROMPT, "off"), loaded.engine.render(PROMPT, "on")
    assert off != on
    assert PROMPT.text in off
    assert loaded.generate("off").rendered_prompt == off


def test_an_unknown_mode_is_refused(loaded: LoadedEngine) -> None:
    with pytest.raises(UnknownName):
        loaded.generate("onn")


def test_a_prompt_longer_than_the_context_is_refused_with_the_sizes_and_the_engine_goes_on(
    loaded: LoadedEngine,
) -> None:
    with pytest.raises(UsageError, match=rf"cap of {CONTEXT_LENGTH}\b.*context of {CONTEXT_LENGTH} tokens"):
        loaded.generate(max_new_tokens=CONTEXT_LENGTH)
    assert loaded.generate().sizes["output_tokens"] > 0


def test_the_facts_are_complete_and_can_be_written(loaded: LoadedEngine) -> None:
    facts = loaded.facts
    assert facts.context_length == CONTEXT_LENGTH
    assert facts.n_parameters > 0
    assert EngineFacts.model_validate_json(facts.model_dump_json()) == facts


def test_warnings_are_given_once(loaded: LoadedEngine) -> None:
    loaded.engine.warnings()
    assert loaded.engine.warnings() == ()


def test_loading_again_is_possible(loaded: LoadedEngine) -> None:
    loaded.engine.close()
    loaded.engine.close()
    assert loaded.engine.load() == loaded.facts
    assert loaded.generate().sizes["output_tokens"] > 0
