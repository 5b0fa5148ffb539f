"""Batches that are packed anew: the turns that are taken, and on tiny models that nobody's answer depends on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from harness.clock import SessionClock
from harness.engine.lengths import LeastTokens
from harness.engine.repacking import HalfDone, take_turns, turn_seed
from harness.engine.transformers import TransformersEngine
from harness.errors import OutOfMemory
from harness.reasoning.switch import FamilyReasoning
from harness.records import Generation, ModeSwitch, Prompt, ReasoningSpec, Sampling
from tests.test_engine_budget import Alone, asked_once, embedded
from tests.tiny_model import save_tiny_model

END, PAD = 1, 0

# ---------------------------------------------------------------------------------------------- turns


class Wanted:
    """Plays `generate` with `HalfDone` over prompts that want to write so many tokens, the end as the last one."""

    def __init__(self, lengths: list[int]) -> None:
        self.outputs = [[10 + place for place in range(n - 1)] + [END] for n in lengths]
        self.turns: list[tuple[int, ...]] = []
        self.longest = 0

    def __call__(self, number: int, active: list[int], written: list[list[int]], n_most: int) -> list[list[int]]:
        assert number == len(self.turns)
        assert all(self.outputs[prompt][: len(ids)] == ids for prompt, ids in zip(active, written, strict=True))
        self.turns.append(tuple(active))
        half, ids = HalfDone([END]), torch.full((len(active), 1), 9)
        for step in range(n_most):
            rest = [self.outputs[prompt][len(so_far) + step :] for prompt, so_far in zip(active, written, strict=True)]
            ids = torch.cat([ids, torch.tensor([[(left or [PAD])[0]] for left in rest])], dim=1)
            self.longest = max(self.longest, step + 1 + max(len(so_far) for so_far in written))
            if bool(half(ids, None).all()):
                break
        new: list[list[int]] = ids[:, 1:].tolist()
        return new


@given(
    lengths=st.lists(st.integers(1, 40), max_size=20),
    batch_size=st.integers(1, 6),
    cap=st.integers(1, 30),
)
def test_everybody_is_answered_whole_in_place_and_never_too_many_at_once(
    lengths: list[int], batch_size: int, cap: int
) -> None:
    wanted = Wanted(lengths)
    outputs = take_turns(len(lengths), wanted, batch_size=batch_size, max_new_tokens=cap, end_ids={END})
    assert outputs == [whole[:cap] for whole in wanted.outputs]
    assert all(len(active) <= batch_size for active in wanted.turns)
    assert wanted.longest <= cap
    begun = [prompt for active in wanted.turns for prompt in active]
    assert list(dict.fromkeys(begun)) == list(range(len(lengths)))


def test_a_turn_ends_when_half_have_ended_and_those_who_wait_come_in() -> None:
    wanted = Wanted([3, 20, 5, 30, 4, 4])
    take_turns(6, wanted, batch_size=4, max_new_tokens=100, end_ids={END})
    # After 5 tokens 0 and 2 have ended, 4 more later both that came in; then 1, then 3.
    assert wanted.turns == [(0, 1, 2, 3), (1, 3, 4, 5), (1, 3), (3,)]


def test_one_that_gets_no_token_is_not_asked_for_ever() -> None:
    outputs = take_turns(2, lambda *_: [[], [7]], batch_size=2, max_new_tokens=1, end_ids={END})
    assert outputs == [[], [7]]


def test_half_done_counts_rows_that_ended_long_ago() -> None:
    half = HalfDone([END, 2])
    columns = [[END, 5, 5, 5], [PAD, 5, 5, 5], [PAD, 5, 2, 5]]
    said = [half(torch.tensor(column)[:, None], None).tolist() for column in columns]
    assert said == [[False] * 4, [False] * 4, [True] * 4]


def test_every_row_has_its_own_fewest_tokens() -> None:
    least = LeastTokens([3, 1, -2], n_input_tokens=5, end_ids={1, 2})
    for n_new, early in ((0, [0, 1]), (1, [0]), (2, [0]), (3, [])):
        left = least(torch.zeros(3, 5 + n_new, dtype=torch.long), torch.zeros(3, 4))
        assert torch.isinf(left).tolist() == [[False, row in early, row in early, False] for row in range(3)]


def test_turns_do_not_share_their_chance() -> None:
    assert len({turn_seed(seed, number) for seed in range(50) for number in range(50)}) == 2500


# --------------------------------------------------------------------------------------- real models

LENGTHS = (1, 9, 2, 4, 10, 3, 7, 1, 8, 5)
CHAINS = [
    Prompt(prompt_id=f"chain-{n_steps}", text="4" + "+3*7-4+8*9-2+6*3-5+1"[: 2 * n_steps] + "=") for n_steps in LENGTHS
]


@pytest.fixture(scope="module")
def greedy() -> Iterator[TransformersEngine]:
    """The embedded model without chance."""
    torch.set_num_threads(1)
    engine = embedded(Sampling(do_sample=False))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def alone(greedy: TransformersEngine) -> Alone:
    return asked_once(greedy)


@pytest.fixture(scope="module")
def packed(greedy: TransformersEngine) -> tuple[Generation, ...]:
    """Thoughts about the chains, four at a time; most are cut, and some end before."""
    return greedy.generate_batch(CHAINS, "on", 24, 1, batch_size=4)


class Calls:
    """Listens to the calls of `generate`: input shapes, and chunks of the prefill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.chunks: list[int | None] = []
        generate = transformers.Qwen3ForCausalLM.generate

        def listening(model: Any, inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:
            self.shapes.append((inputs.shape[0], inputs.shape[1]))
            self.chunks.append(keywords.get("prefill_chunk_size"))
            return generate(model, inputs, **keywords)

        monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", listening)


@pytest.mark.parametrize(
    ("mode", "max_new_tokens"), [("off", 96), ("on", 96), ("on", 14), ("budget:8", 96), ("budget:8", 14)]
)
def test_packing_anew_changes_no_greedy_answer(
    greedy: TransformersEngine, alone: Alone, monkeypatch: pytest.MonkeyPatch, mode: str, max_new_tokens: int
) -> None:
    calls = Calls(monkeypatch)
    batch = greedy.generate_batch(CHAINS, mode, max_new_tokens, 1, batch_size=4)
    assert len(calls.shapes) > len(CHAINS) / 4
    assert max(rows for rows, _ in calls.shapes) == 4
    for prompt, one in zip(CHAINS, batch, strict=True):
        other = alone(prompt, mode, max_new_tokens)
        names = ("text", "thinking", "answer", "sizes", "finish_reason", "forced_end", "rendered_prompt")
        assert {name: getattr(one, name) for name in names} == {name: getattr(other, name) for name in names}
    assert len({generation.phases for generation in batch}) == 1
    if mode == "budget:8":
        assert {generation.forced_end for generation in batch} == {True, False}
    if mode == "on":
        lengths = [generation.sizes["output_tokens"] for generation in batch]
        assert max(lengths) > 1.5 * min(lengths)


def test_the_fewest_tokens_are_counted_over_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = embedded(Sampling(do_sample=False), min_new_tokens={"on": 20})
    calls = Calls(monkeypatch)
    batch = engine.generate_batch(CHAINS[:6], "on", 40, 1, batch_size=3)
    assert len(calls.shapes) > 2
    singly = [engine.generate(prompt, "on", 40, 1) for prompt in CHAINS[:6]]
    engine.close()
    assert [(each.text, each.sizes) for each in batch] == [(each.text, each.sizes) for each in singly]
    assert min(each.sizes["output_tokens"] for each in batch) >= 20


def test_a_long_input_is_read_in_pieces_and_the_answers_stay(
    greedy: TransformersEngine, packed: tuple[Generation, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engine.transformers.PREFILL_TOKENS", 40)
    calls = Calls(monkeypatch)
    pieces = greedy.generate_batch(CHAINS, "on", 24, 1, batch_size=4)
    assert {chunk for (rows, _), chunk in zip(calls.shapes, calls.chunks, strict=True) if rows == 4} == {10}
    assert [each.text for each in pieces] == [each.text for each in packed]


WITHOUT_MARKS = FamilyReasoning(
    ReasoningSpec(
        thinking_start="[THINK]",
        thinking_end="[/THINK]",
        budget_mode="told",
        modes={"told": ModeSwitch(assistant_prefix="[THINK]")},
    )
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def random_weights(directory: Path, sampling: Sampling | None = None, n_least: int = 0) -> TransformersEngine:
    """Its answers end anywhere, with one chance in 264 per token or so, and its marks are letters."""
    engine = TransformersEngine(
        source=str(directory),
        revision=None,
        reasoning=WITHOUT_MARKS,
        clock=SessionClock(),
        device="cpu",
        n_threads=1,
        sampling=sampling,
        min_new_tokens={"told": n_least, "budget:6": n_least},
    )
    engine.load()
    return engine


def test_sampled_answers_of_all_lengths_come_whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calls = random_weights(directory), Calls(monkeypatch)
    batch = engine.generate_batch(CHAINS * 2, "told", 100, 5, batch_size=8)
    again = engine.generate_batch(CHAINS * 2, "told", 100, 5, batch_size=8)
    other = engine.generate_batch(CHAINS, "told", 100, 6, batch_size=8)
    engine.close()
    assert [each.text for each in batch] == [each.text for each in again]
    assert not {each.text for each in batch} & {each.text for each in other}
    assert len(calls.shapes) > 8
    assert Counter(each.finish_reason for each in batch).keys() == {"stop", "length"}
    for each in batch:
        assert (each.sizes["output_tokens"] == 100) or each.finish_reason == "stop"
    assert len({each.sizes["output_tokens"] for each in batch}) > 3


def test_the_fewest_tokens_are_each_rows_own(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calls = random_weights(directory, n_least=20), Calls(monkeypatch)
    batch = engine.generate_batch(CHAINS * 2, "told", 90, 3, batch_size=4)
    held = engine.generate_batch(CHAINS * 2, "budget:6", 90, 3, batch_size=4)
    engine.close()
    assert len(calls.shapes) > 2 * 5
    for generations in (batch, held):
        lengths = [generation.sizes["output_tokens"] for generation in generations]
        assert min(lengths) >= 20
        assert len(set(lengths)) > 3
    assert all(generation.forced_end for generation in held)
    assert {generation.sizes["thinking_tokens"] for generation in held} == {6 + len("\n[/THINK]")}


def test_running_out_of_memory_in_a_later_turn_leaves_the_engine_usable(
    greedy: TransformersEngine, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, n_calls = transformers.Qwen3ForCausalLM.generate, 0

    def fail_later(model: Any, inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(model, inputs, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "generate", fail_later)
        with pytest.raises(OutOfMemory, match="on 4 prompts"):
            greedy.generate_batch(CHAINS, "on", 24, 1, batch_size=4)
    after = greedy.generate_batch(CHAINS[:3], "on", 14, 1, batch_size=2)
    assert [each.text for each in after] == [alone(prompt, "on", 14).text for prompt in CHAINS[:3]]
