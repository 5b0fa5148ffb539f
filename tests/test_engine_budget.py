"""A thinking budget held by force: alone, on the embedded model, and on marks that are ordinary text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.clock import SessionClock
from harness.engine.budget import Budget
from harness.engine.transformers import TransformersEngine
from harness.errors import UsageError
from harness.reasoning.switch import FamilyReasoning
from harness.records import Generation, ModeSwitch, Prompt, ReasoningSpec, Sampling
from tests.tiny_model import make_tokenizer, save_tiny_model

EMBEDDED = Path(harness.__file__).parent / "assets" / "tiny-reasoner"
END = "\n</think>\n\n"
Alone = Callable[[Prompt, str, int], Generation]
TINY = {
    "off": ModeSwitch(template={"enable_thinking": False}),
    "on": ModeSwitch(template={"enable_thinking": True}),
}
CHAINS = [
    Prompt(prompt_id=f"chain-{index}", text=text)
    for index, text in enumerate(("2+5+5*2+7-4*8-7=", "7+3=", "0*0*4+3*4*4-5+0*6+5-8=", "2+1+1*6-4="))
]
PROMPT_IDS, N, END_IDS = [90, 91], 3, (7, 8)


def written_under(budget: Budget, wanted: list[list[int]]) -> list[list[int]]:
    """What rows that want to write these tokens write under a budget, greedily."""
    ids = torch.tensor([PROMPT_IDS] * len(wanted))
    budget.begin(range(len(wanted)), [[]] * len(wanted), len(PROMPT_IDS))
    for step in range(len(wanted[0])):
        scores = torch.nn.functional.one_hot(torch.tensor([row[step] for row in wanted]), 100).float()
        ids = torch.cat([ids, budget(ids, scores).argmax(dim=1, keepdim=True)], dim=1)
    written: list[list[int]] = ids[:, len(PROMPT_IDS) :].tolist()
    return written


def budget(is_open: Callable[[int, list[int]], bool]) -> Budget:
    return Budget(n_tokens=N, end_ids=END_IDS, is_open=is_open)


@given(
    rows=st.lists(st.lists(st.integers(10, 20), min_size=8, max_size=8), min_size=1, max_size=4),
    thinking=st.sets(st.integers(0, 3)),
)
def test_only_rows_that_think_at_the_limit_are_ended_and_only_there(rows: list[list[int]], thinking: set[int]) -> None:
    asked: list[tuple[int, list[int]]] = []

    def is_open(row: int, ids: list[int]) -> bool:
        asked.append((row, ids))
        return row in thinking

    holding = budget(is_open)
    written = written_under(holding, rows)
    assert asked == [(row, wanted[:N]) for row, wanted in enumerate(rows)]
    assert holding.forced == {row for row in range(len(rows)) if row in thinking}
    for row, wanted in enumerate(rows):
        expected = [*wanted[:N], *END_IDS, *wanted[N + len(END_IDS) :]] if row in thinking else wanted
        assert written[row] == expected


def test_a_row_that_is_ended_may_write_nothing_else_not_even_the_end() -> None:
    holding = budget(lambda row, _: row == 0)
    holding.begin((0, 1), ([], []), len(PROMPT_IDS))
    scores = torch.full((2, 100), 5.0)
    ids = torch.tensor([[*PROMPT_IDS, 1, 1, 1]] * 2)
    left = holding(ids, scores)
    assert torch.isfinite(left[0]).nonzero().tolist() == [[END_IDS[0]]]
    assert torch.equal(left[1], scores[1])


@given(n_before=st.integers(0, N + len(END_IDS) + 2))
def test_an_answer_that_goes_on_in_another_call_keeps_its_count(n_before: int) -> None:
    """Prompt 4 is alone first, then in the second row, behind one that has just begun and does not think."""
    holding, wanted = budget(lambda prompt, _: prompt == 4), list(range(10, 20))
    output: list[int] = []
    for n_tokens, prompts in ((n_before, (4,)), (10 - n_before, (3, 4))):
        own = len(prompts) - 1
        holding.begin(prompts, [[]] * own + [output], n_input_tokens=20)
        ids = torch.tensor([[99] * (20 - len(output) * (row == own)) + output * (row == own) for row in range(own + 1)])
        for step in range(n_tokens):
            scores = torch.nn.functional.one_hot(torch.tensor([wanted[len(output) + step]] * (own + 1)), 100).float()
            chosen = holding(ids, scores).argmax(dim=1, keepdim=True)
            assert own == 0 or int(chosen[0]) == wanted[len(output) + step]
            ids = torch.cat([ids, chosen], dim=1)
        output = output + ids[own, 20:].tolist()
    assert output == [*wanted[:N], *END_IDS, *wanted[N + len(END_IDS) :]]
    assert holding.forced == {4}


# ------------------------------------------------------------------------------------- on real models


@pytest.fixture(scope="module")
def greedy() -> Iterator[TransformersEngine]:
    """The embedded model without chance."""
    engine = embedded(Sampling(do_sample=False))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def alone(greedy: TransformersEngine) -> Alone:
    return asked_once(greedy)


def asked_once(engine: TransformersEngine) -> Alone:
    """What it answers to a prompt alone, in a mode up to a cap: without chance it is always the same."""
    return cache(lambda prompt, mode, max_new_tokens: engine.generate(prompt, mode, max_new_tokens, 1))


def embedded(sampling: Sampling, budget_mode: str = "on", **options: Any) -> TransformersEngine:
    spec = ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes=TINY, budget_mode=budget_mode)
    engine = TransformersEngine(
        source=str(EMBEDDED),
        revision=None,
        reasoning=FamilyReasoning(spec),
        clock=SessionClock(),
        device="cpu",
        n_threads=1,
        sampling=sampling,
        **options,
    )
    engine.load()
    return engine


def test_the_thinking_is_the_models_own_up_to_the_budget(alone: Alone) -> None:
    free = alone(CHAINS[0], "on", 96)
    held = alone(CHAINS[0], "budget:8", 96)
    begun = free.text[: len("<think>\n1 2 3 ")]  # one token per letter, and one for the mark
    assert held.text.startswith(f"{begun}{END}")
    assert held.forced_end
    assert not free.forced_end
    assert held.sizes["thinking_tokens"] == 8 + 2  # a line break and the mark; the blank line is in the answer
    assert held.finish_reason == "stop"
    assert [phase.name for phase in held.phases] == ["prefill", "thinking", "answer"]
    assert held.rendered_prompt == free.rendered_prompt


def test_a_budget_that_is_not_reached_changes_nothing(alone: Alone) -> None:
    free, held = (alone(CHAINS[1], mode, 96) for mode in ("on", "budget:64"))
    assert (held.text, held.sizes, held.forced_end) == (free.text, free.sizes, False)


def test_a_model_that_answers_directly_is_not_interrupted() -> None:
    engine = embedded(Sampling(do_sample=False), budget_mode="off")
    held, free = (engine.generate(CHAINS[0], mode, 16, 1) for mode in ("budget:1", "off"))
    engine.close()
    assert (held.text, held.forced_end) == (free.text, False)


@pytest.mark.parametrize("mode", ["off", "on", "budget:8"])
@pytest.mark.parametrize("batch_size", [3])
def test_a_greedy_batch_writes_what_each_prompt_alone_would(
    greedy: TransformersEngine, alone: Alone, mode: str, batch_size: int
) -> None:
    batch = greedy.generate_batch(CHAINS, mode, 96, 1, batch_size=batch_size)
    for one, prompt in zip(batch, CHAINS, strict=True):
        other = alone(prompt, mode, 96)
        assert (one.text, one.sizes, one.forced_end) == (other.text, other.sizes, other.forced_end)
        assert (one.finish_reason, one.thinking, one.answer) == (other.finish_reason, other.thinking, other.answer)
    if mode == "budget:8":
        assert {generation.forced_end for generation in batch} == {True, False}
    if mode == "on":
        assert len({generation.sizes["output_tokens"] for generation in batch}) > 1


def test_a_cut_batch_says_which_rows_were_cut(greedy: TransformersEngine, alone: Alone) -> None:
    batch = greedy.generate_batch(CHAINS, "on", 12, 1, batch_size=3)
    singly = [alone(prompt, "on", 12) for prompt in CHAINS]
    assert [generation.finish_reason for generation in batch] == [generation.finish_reason for generation in singly]
    assert {generation.finish_reason for generation in batch} == {"stop", "length"}


def test_more_thinking_gives_more_right_answers(greedy: TransformersEngine) -> None:
    """Sums of up to ten steps need as many thoughts, each two tokens long."""
    right = {}
    for mode in ("budget:8", "budget:16", "on"):
        answers = greedy.generate_batch(SUMS, mode, 96, 5, batch_size=len(SUMS))
        right[mode] = sum(each.answer == last_digit(prompt) for each, prompt in zip(answers, SUMS, strict=True))
    assert right["budget:8"] < right["budget:16"] < right["on"]


def last_digit(prompt: Prompt) -> str:
    """The chain's sense: from left to right, the last digit of each step."""
    value, *steps = prompt.text.rstrip("=").replace("+", " +").replace("-", " -").replace("*", " *").split()
    total = int(value)
    for step in steps:
        digit = int(step[1:])
        total = {"+": total + digit, "-": total - digit, "*": total * digit}[step[0]] % 10
    return str(total)


SUMS = [
    Prompt(prompt_id=f"sum-{n_steps}-{first}", text=f"{first}" + "+3*7-4+8*9-2+6*3-5+1"[: 2 * n_steps] + "=")
    for n_steps in (4, 6, 10)
    for first in range(6)
]


def with_text_marks(**spec: Any) -> ReasoningSpec:
    """Marks that no tokenizer knows, so that they are letters."""
    marks = {"thinking_start": "[THINK]", "thinking_end": "[/THINK]", "budget_mode": "told"}
    return ReasoningSpec(**{**marks, "modes": {"told": ModeSwitch(assistant_prefix="[THINK]")}, **spec})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def on_random_weights(directory: Path, spec: ReasoningSpec) -> TransformersEngine:
    engine = TransformersEngine(
        source=str(directory),
        revision=None,
        reasoning=FamilyReasoning(spec),
        clock=SessionClock(),
        device="cpu",
        n_threads=1,
        min_new_tokens={"budget:6": 30},
    )
    engine.load()
    return engine


def test_a_mark_of_several_ordinary_tokens_is_forced_whole(directory: Path) -> None:
    engine = on_random_weights(directory, with_text_marks())
    generation = engine.generate(CHAINS[0], "budget:6", 30, 3)
    engine.close()
    n_mark = len(make_tokenizer()("\n[/THINK]", add_special_tokens=False)["input_ids"])
    assert generation.forced_end
    assert "\n[/THINK]\n\n" in generation.text
    assert generation.sizes == {**generation.sizes, "thinking_tokens": 6 + n_mark, "output_tokens": 30}
    assert "[/THINK]" not in generation.thinking + generation.answer


def test_thinking_that_goes_on_after_its_end_is_answer_and_what_follows_the_last_mark_is_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some models do: they are stopped, go on, and close it once more themselves."""
    engine = on_random_weights(directory, with_text_marks())
    said = make_tokenizer()("123456\n[/THINK]\n\nhm[/THINK]42", add_special_tokens=False)["input_ids"]

    def generate(inputs: torch.Tensor, *, logits_processor: list[Budget], streamer: Any, **_: Any) -> torch.Tensor:
        output = torch.cat([inputs, torch.tensor([said])], dim=1)
        streamer.put(inputs)
        for n_tokens in range(len(said)):
            logits_processor[0](output[:, : inputs.shape[1] + n_tokens], torch.zeros(1, 300))
            streamer.put(None)
        return output

    monkeypatch.setattr("transformers.Qwen3ForCausalLM.generate", staticmethod(generate))
    generation = engine.generate(CHAINS[0], "budget:6", 60, 1)
    engine.close()
    assert generation.forced_end
    assert generation.sizes["thinking_tokens"] == 6 + len("\n[/THINK]")
    assert generation.sizes["answer_tokens"] == len(said) - generation.sizes["thinking_tokens"]
    assert (generation.thinking, generation.answer) == ("123456", "42")


def test_an_end_that_would_end_the_output_too_is_refused_before_anything_runs(directory: Path) -> None:
    engine = on_random_weights(directory, with_text_marks(budget_end="[/THINK]<|end|>"))
    with pytest.raises(UsageError, match="ends the output too"):
        engine.render(CHAINS[0], "budget:6")
    engine.close()
