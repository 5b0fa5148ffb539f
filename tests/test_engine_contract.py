"""What every engine promises, checked on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from harness.clock import ManualClock, SessionClock
from harness.engine.paired import PairedEngine
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
            "told": ModeSwitch(assistant_prefix="<think>\n"),
        },
        budget_mode="told",
    )
)
PROMPT = Prompt(prompt_id="chain-1", text="1+2=")
SEVERAL = [PROMPT, Prompt(prompt_id="chain-2", text="3+4*5-6+7="), Prompt(prompt_id="chain-3", text="8=")]
LONGEST_END = len("\n</think>\n\n")
"""Tokens that a forced end has at most: one per byte."""


class LoadedEngine:
    """An engine with its clock and what it said on loading."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine, self.clock = engine, clock
        self.facts: EngineFacts = engine.load()

    def generate(self, mode: str = "on", max_new_tokens: int = 24, seed: int = 1) -> Generation:
        self.hold(mode)
        return self.engine.generate(PROMPT, mode, max_new_tokens, seed)

    def generate_batch(self, mode: str = "on", max_new_tokens: int = 24, seed: int = 1) -> tuple[Generation, ...]:
        self.hold(mode)
        return self.engine.generate_batch(SEVERAL, mode, max_new_tokens, seed, batch_size=2)

    def render(self, mode: str) -> str:
        self.hold(mode)
        return self.engine.render(PROMPT, mode)

    def hold(self, mode: str) -> None:
        """As the pipeline does: of a pair, change over."""
        if not self.engine.ready(mode):
            self.engine.load(mode)


def play(clock: Clock) -> ScriptedEngine:
    script = steady(
        Turn(n_thinking_tokens=20, thinking="3 1 4 1 5 9 2 6", n_answer_tokens=4), without=Turn(n_answer_tokens=4)
    )
    return ScriptedEngine(clock=clock, reasoning=REASONING, script=script, context_length=CONTEXT_LENGTH)


def scripted(_directory: Path) -> LoadedEngine:
    clock = ManualClock(time_s=100.0)
    return LoadedEngine(play(clock), clock)


def paired(_directory: Path) -> LoadedEngine:
    clock = ManualClock(time_s=100.0)
    return LoadedEngine(PairedEngine(play(clock), play(clock), ("on", "budget:5")), clock)


def with_transformers(directory: Path) -> LoadedEngine:
    clock = SessionClock()
    source = save_tiny_model(directory)
    engine = TransformersEngine(
        source=str(source), revision=None, reasoning=REASONING, clock=clock, device="cpu", n_threads=1
    )
    return LoadedEngine(engine, clock)


@pytest.fixture(scope="module", params=[scripted, paired, with_transformers])
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


@pytest.mark.parametrize("mode", ["off", "on"])
@pytest.mark.parametrize("n_tokens", [1, 7, 40])
def test_a_forced_length_is_held_whatever_the_cap_and_is_no_cut(loaded: LoadedEngine, mode: str, n_tokens: int) -> None:
    loaded.hold(mode)
    for seed in (1, 2):
        generation = loaded.engine.generate(PROMPT, mode, 24, seed, n_forced_tokens=n_tokens)
        assert generation.sizes["output_tokens"] == n_tokens
        assert generation.sizes["thinking_tokens"] + generation.sizes["answer_tokens"] == n_tokens
        assert generation.finish_reason == "forced"


def test_the_same_seed_gives_the_same_text(loaded: LoadedEngine) -> None:
    first = loaded.generate(seed=7)
    loaded.generate(seed=8)  # whatever ran in between
    again = loaded.generate(seed=7)
    assert (first.text, first.sizes, first.finish_reason) == (again.text, again.sizes, again.finish_reason)


def test_modes_are_asked_for_differently_and_what_was_rendered_is_kept(loaded: LoadedEngine) -> None:
    off, on = loaded.render("off"), loaded.render("on")
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


def test_a_budget_ends_the_thinking_and_says_so(loaded: LoadedEngine) -> None:
    generations = [loaded.generate("budget:5", seed=seed) for seed in (1, 2, 3)]
    forced = [generation for generation in generations if generation.forced_end]
    assert forced
    for generation in forced:
        assert 5 < generation.sizes["thinking_tokens"] <= 5 + LONGEST_END
        assert generation.sizes["thinking_tokens"] + generation.sizes["answer_tokens"] <= 24
        assert "</think>" in generation.text


def test_a_cap_below_the_budget_decides(loaded: LoadedEngine) -> None:
    generation = loaded.generate("budget:5", max_new_tokens=4)
    assert generation.sizes["output_tokens"] <= 4
    assert not generation.forced_end


def test_a_batch_answers_every_prompt_in_one_phase(loaded: LoadedEngine) -> None:
    loaded.hold("on")
    before_s = loaded.clock.now_s()
    generations = loaded.generate_batch("on", 12)
    after_s = loaded.clock.now_s()
    assert len(generations) == len(SEVERAL)
    assert len({generation.phases for generation in generations}) == 1
    (phase,) = generations[0].phases
    assert phase.name == "batch"
    assert before_s <= phase.time_start_s < phase.time_end_s <= after_s
    for prompt, generation in zip(SEVERAL, generations, strict=True):
        sizes = generation.sizes
        assert prompt.text in generation.rendered_prompt
        assert sizes["thinking_tokens"] + sizes["answer_tokens"] == sizes["output_tokens"]
        assert 1 <= sizes["output_tokens"] <= 12
        assert generation.finish_reason == "stop" or sizes["output_tokens"] == 12


def test_a_batch_with_the_same_seed_gives_the_same_texts(loaded: LoadedEngine) -> None:
    first, again = loaded.generate_batch(seed=7), loaded.generate_batch(seed=7)
    assert [generation.text for generation in first] == [generation.text for generation in again]


def test_a_batch_counts_the_prompt_tokens_of_each_without_padding(loaded: LoadedEngine) -> None:
    batch = loaded.generate_batch("off", 2)
    alone = [loaded.engine.generate(prompt, "off", 2, 1) for prompt in SEVERAL]
    assert [each.sizes["prompt_tokens"] for each in batch] == [each.sizes["prompt_tokens"] for each in alone]


def test_an_empty_batch_has_no_answers(loaded: LoadedEngine) -> None:
    loaded.hold("on")
    assert loaded.engine.generate_batch([], "on", 8, 1, batch_size=2) == ()


def test_a_batch_with_a_prompt_that_does_not_fit_is_refused(loaded: LoadedEngine) -> None:
    with pytest.raises(UsageError, match=f"context of {CONTEXT_LENGTH} tokens"):
        loaded.generate_batch(max_new_tokens=CONTEXT_LENGTH)


def test_the_facts_are_complete_and_can_be_written(loaded: LoadedEngine) -> None:
    facts = loaded.facts
    assert facts.context_length == CONTEXT_LENGTH
    assert facts.n_parameters is not None
    assert facts.n_parameters > 0
    assert EngineFacts.model_validate_json(facts.model_dump_json()) == facts


def test_warnings_are_given_once(loaded: LoadedEngine) -> None:
    loaded.engine.warnings()
    assert loaded.engine.warnings() == ()


def test_loading_again_is_possible(loaded: LoadedEngine) -> None:
    loaded.engine.close()
    loaded.engine.close()
    assert not any(loaded.engine.ready(mode) for mode in ("off", "on"))
    assert loaded.engine.load() == loaded.facts
    assert loaded.engine.ready("off")
    assert loaded.generate().sizes["output_tokens"] > 0
