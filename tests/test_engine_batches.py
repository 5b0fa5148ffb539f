"""Static batches: who goes together, when each row ends, forced lengths, and what is done when a batch cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import harness
from harness.clock import ManualClock, SessionClock
from harness.engine.batches import BatchEngine, batch_seed
from harness.engine.lengths import MostTokens
from harness.engine.scripted import ScriptedEngine, Turn
from harness.engine.timing import TokenTimes
from harness.engine.transformers import TransformersEngine
from harness.errors import CellFailed, HarnessError, InvalidMeasurement
from harness.protocols import LoadEngine
from harness.reasoning.switch import FamilyReasoning
from harness.records import Asked, FindingCode, ModeSwitch, Prompt, ReasoningSpec, Sampling, Served
from tests.tiny_model import save_tiny_model

EMBEDDED = Path(harness.__file__).parent / "assets" / "tiny-reasoner"
REASONING = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "off": ModeSwitch(template={"enable_thinking": False}),
            "on": ModeSwitch(template={"enable_thinking": True}),
        },
        budget_mode="on",
    )
)
TEXTS = ("2+5+5*2+7-4*8-7=", "7+3=", "0*0*4+3*4*4-5+0*6+5-8=", "2+1+1*6-4=", "9*9=")


def asked(
    mode: str = "on",
    texts: Sequence[str] = TEXTS,
    *,
    max_new_tokens: int = 96,
    forced: Sequence[int | None] | None = None,
    first: int = 0,
) -> list[Asked]:
    return [
        Asked(
            number=first + index,
            index=index,
            prompt=Prompt(prompt_id=f"p{index}", text=text),
            mode=mode,
            max_new_tokens=max_new_tokens,
            seed=100 + index,
            n_forced_tokens=None if forced is None else forced[index],
        )
        for index, text in enumerate(texts)
    ]


def answers(load: LoadEngine, queries: Sequence[Asked], *, alone: bool = False) -> list[tuple[Served, ...]]:
    """All batches of a block."""
    load.begin(queries, alone=alone)
    taken = []
    while load.n_left:
        assert load.time_open_s is None
        taken.append(load.take(0.0))
    assert load.take(0.0) == ()
    return taken


def numbers(taken: list[tuple[Served, ...]]) -> list[list[int]]:
    return [sorted(each.asked.number for each in batch) for batch in taken]


# ------------------------------------------------------------------------- who goes together, by script


class Scripted(ScriptedEngine):
    """Prompt texts say how many tokens their answers have, or whose presence raises an error."""

    def __init__(self, clock: ManualClock, **options: Any) -> None:
        super().__init__(clock=clock, reasoning=FamilyReasoning(None), script=as_told, **options)
        self.batches: list[list[int]] = []
        self.seeds: list[int] = []

    def answer_together(self, asked: Sequence[Asked], seed: int) -> Any:
        self.batches.append([each.number for each in asked])
        self.seeds.append(seed)
        if any(each.prompt.text == "bad" for each in asked):
            raise CellFailed("It was a bad prompt.", "Drop it.")
        return super().answer_together(asked, seed)


def as_told(prompt: Prompt, _mode: str, _seed: int) -> Turn:
    n_tokens = int(prompt.text) if prompt.text.isdigit() else 4
    return Turn(
        n_prompt_tokens=1000 if prompt.text == "long" else 10,
        n_answer_tokens=n_tokens,
        duration_prefill_s=0.5,
        duration_token_s=0.1,
    )


def scripted(batch_size: int, **options: Any) -> tuple[BatchEngine, Scripted]:
    clock = ManualClock(time_s=10.0)
    engine = Scripted(clock, **options)
    load = BatchEngine(engine=engine, clock=clock, session=3, batch_size=batch_size)
    load.load()
    return load, engine


def test_batches_are_filled_in_the_order_asked_and_never_mix_modes() -> None:
    load, engine = scripted(3)
    queries = asked("default", ["4"] * 5)
    queries = [*queries[:4], Asked(**{**fields(queries[4]), "mode": "other"}), *asked("default", ["4"] * 2, first=5)]
    reasoning = FamilyReasoning(ReasoningSpec(modes={"default": ModeSwitch(), "other": ModeSwitch()}))
    engine._reasoning = reasoning
    assert numbers(answers(load, queries)) == [[0, 1, 2], [3], [4], [5, 6]]


def fields(query: Asked) -> dict[str, Any]:
    return {name: getattr(query, name) for name in Asked.__dataclass_fields__}


def test_alone_they_go_one_after_the_other_with_their_own_seeds() -> None:
    load, engine = scripted(3)
    assert numbers(answers(load, asked("default", ["4"] * 3), alone=True)) == [[0], [1], [2]]
    assert engine.seeds == [100, 101, 102]
    assert numbers(answers(load, asked("default", ["4"] * 3))) == [[0, 1, 2]]
    assert engine.seeds[-1] == batch_seed(asked("default", ["4"] * 3)) not in (100, 101, 102)


def test_each_row_leaves_at_its_own_end_and_the_first_to_end_comes_first() -> None:
    load, _ = scripted(3)
    (batch,) = answers(load, asked("default", ["6", "2", "4"]))
    assert [each.asked.number for each in batch] == [1, 2, 0]
    for each, n_tokens in zip(batch, (2, 4, 6), strict=True):
        timeline, service = each.timeline, each.service
        assert (timeline.session, timeline.number, timeline.prompt_id) == (3, each.asked.number, f"p{timeline.number}")
        assert (timeline.time_sent_s, timeline.time_start_s) == (10.0, 10.0)
        assert timeline.time_first_token_s == timeline.time_chunk_s[0] == pytest.approx(10.5)
        assert timeline.time_end_s == pytest.approx(10.5 + 0.1 * (n_tokens - 1))
        assert timeline.n_chunk_tokens == (1,) * n_tokens
        assert each.generation is not None
        assert each.generation.time_end_s == timeline.time_end_s
        assert service.duration_first_token_s == pytest.approx(0.5)
        assert service.duration_per_output_token_s == pytest.approx(0.1)
        assert (service.n_chunks, service.status, service.duration_queued_s) == (n_tokens, None, None)
        assert each.findings == ()


def test_what_does_not_fit_at_once_is_halved_and_stays_so_until_the_next_block() -> None:
    load, engine = scripted(8, largest_batch=3)
    taken = answers(load, asked("default", ["4"] * 10))
    assert engine.batches == [[*range(8)], [0, 1, 2, 3], [0, 1], [2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [8, 9]]
    assert numbers(taken) == [[*range(8)], [8, 9]]
    for each in (*taken[0], *taken[1]):
        assert [finding.code for finding in each.findings] == [FindingCode.BATCH_SPLIT]
        assert each.findings[0].detail == "2 at once"
        assert each.generation is not None
    del engine.batches[:]
    answers(load, asked("default", ["4"] * 8))
    assert engine.batches[0] == [*range(8)]


def test_one_that_does_not_fit_alone_has_failed_and_the_others_go_on() -> None:
    load, _ = scripted(2, largest_batch=0)
    (batch,) = answers(load, asked("default", ["4"] * 2))
    for each in batch:
        assert each.generation is None
        assert [finding.code for finding in each.findings] == [FindingCode.OUT_OF_MEMORY]
        assert (each.timeline.n_prompt_tokens, each.timeline.time_chunk_s, each.service.n_chunks) == (10, (), 0)
        assert each.timeline.time_first_token_s is None


def test_one_bad_row_is_found_by_halving_and_fails_alone() -> None:
    load, _ = scripted(4)
    (batch,) = answers(load, asked("default", ["4", "4", "bad", "4"]))
    failed = [each for each in batch if each.generation is None]
    assert [each.asked.number for each in failed] == [2]
    (finding,) = failed[0].findings
    assert finding.code is FindingCode.QUERY_FAILED
    assert "bad prompt" in finding.detail
    details = {each.asked.number: each.findings[0].detail for each in batch if each.generation is not None}
    assert details[0] == "2 at once, because of an error among 4"
    assert details[3] == "1 at once, because of an error among 2"
    load, engine = scripted(4)
    answers(load, asked("default", ["4", "bad", "4", "4", *["4"] * 4]))
    assert engine.batches[-1] == [4, 5, 6, 7]  # an error says nothing about the memory


def test_one_that_is_too_long_fails_before_the_batch_and_the_others_stay_together() -> None:
    load, engine = scripted(3, context_length=200)
    (batch,) = answers(load, asked("default", ["4", "long", "4"]))
    assert engine.batches == [[0, 2]]
    (failed,) = (each for each in batch if each.generation is None)
    assert (failed.asked.number, failed.findings[0].code) == (1, FindingCode.PROMPT_TOO_LONG)
    assert failed.timeline.n_prompt_tokens is None


def test_forced_lengths_are_held_by_the_script_and_one_that_is_not_is_said() -> None:
    load, engine = scripted(2)
    (batch,) = answers(load, asked("default", ["4", "4"], forced=[9, 2]))
    assert {each.asked.number: each.timeline.n_output_tokens for each in batch} == {0: 9, 1: 2}
    for each in batch:
        assert each.generation is not None
        assert each.generation.finish_reason == "forced"
        assert each.findings == ()
    engine._play = lambda *given, **_: ScriptedEngine._play(engine, *given[:4])  # type: ignore[method-assign]
    (batch,) = answers(load, asked("default", ["4", "4"], forced=[9, 4]))
    said = {each.asked.number: [(finding.code, finding.detail) for finding in each.findings] for each in batch}
    assert said == {0: [(FindingCode.LENGTHS_NOT_HELD, "4 tokens for 9")], 1: []}


def test_what_waits_can_be_given_up() -> None:
    load, _ = scripted(2)
    load.begin(asked("default", ["4"] * 5))
    assert (load.n_left, len(load.take(0.0)), load.n_left) == (5, 2, 3)
    load.stop()
    assert (load.n_left, load.take(0.0)) == (0, ())


def test_another_error_is_nobodys_query() -> None:

    class Untimed(Scripted):
        def answer_together(self, asked: Sequence[Asked], seed: int) -> Any:
            raise InvalidMeasurement("No times.", "Use another engine.")

    clock = ManualClock()
    load = BatchEngine(engine=Untimed(clock), clock=clock, session=0, batch_size=2)
    load.load()
    load.begin(asked("default", ["4"] * 2))
    with pytest.raises(HarnessError, match="No times"):
        load.take(0.0)


# ---------------------------------------------------------------------------------- lengths, on tensors


def test_a_row_ends_at_its_own_most_and_the_others_go_on() -> None:
    most = MostTokens([2, 5, 3], n_input_tokens=4)
    ended = [most(torch.zeros(3, 4 + n_new, dtype=torch.long), None).tolist() for n_new in range(1, 6)]
    assert ended == [[False] * 3, [True, False, False], [True, False, True], [True, False, True], [True] * 3]


def test_a_step_of_a_batch_is_one_instant() -> None:
    clock = ManualClock()
    times = TokenTimes(clock, 3)
    times.put(torch.zeros(4, 7))
    for time_s in (1.0, 2.0):
        clock.sleep_until(time_s)
        times.put(torch.zeros(4))
    assert (times.n_tokens, times.times_s) == (2, (1.0, 2.0))


# -------------------------------------------------------------------------------------- a real model


@pytest.fixture(scope="module")
def greedy() -> Iterator[TransformersEngine]:
    """The embedded model without chance."""
    torch.set_num_threads(1)
    engine = TransformersEngine(
        source=str(EMBEDDED),
        revision=None,
        reasoning=REASONING,
        clock=CLOCK,
        device="cpu",
        n_threads=1,
        sampling=Sampling(do_sample=False),
    )
    yield engine
    engine.close()


CLOCK = SessionClock()


def batches_of(engine: TransformersEngine, batch_size: int) -> BatchEngine:
    load = BatchEngine(engine=engine, clock=CLOCK, session=0, batch_size=batch_size)
    if not engine.ready("on"):
        load.load()
    return load


@pytest.mark.parametrize("mode", ["off", "on", "budget:8"])
@pytest.mark.parametrize("max_new_tokens", [96, 12, 8])
def test_rows_write_what_each_prompt_alone_would(greedy: TransformersEngine, mode: str, max_new_tokens: int) -> None:
    load = batches_of(greedy, 3)
    taken = answers(load, asked(mode, max_new_tokens=max_new_tokens))
    assert numbers(taken) == [[0, 1, 2], [3, 4]]
    for served in (each for batch in taken for each in batch):
        alone = greedy.generate(served.asked.prompt, mode, max_new_tokens, 1)
        row = served.generation
        assert row is not None
        names = ("text", "thinking", "answer", "sizes", "finish_reason", "forced_end", "rendered_prompt")
        assert {name: getattr(row, name) for name in names} == {name: getattr(alone, name) for name in names}
        assert [phase.name for phase in row.phases] == [phase.name for phase in alone.phases]


def test_rows_begin_together_and_leave_with_their_own_last_token(greedy: TransformersEngine) -> None:
    before_s = CLOCK.now_s()
    (batch,) = answers(batches_of(greedy, 5), asked("on"))
    after_s = CLOCK.now_s()
    ends_s = [each.timeline.time_end_s for each in batch]
    lengths = [each.timeline.n_output_tokens for each in batch]
    assert ends_s == sorted(ends_s)
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 2
    longest = batch[-1].timeline.time_chunk_s
    for each in batch:
        timeline, generation = each.timeline, each.generation
        assert generation is not None
        n_tokens = timeline.n_output_tokens
        assert n_tokens == generation.sizes["output_tokens"] == len(timeline.time_chunk_s)
        assert timeline.n_prompt_tokens == generation.sizes["prompt_tokens"]
        assert before_s <= timeline.time_start_s == batch[0].timeline.time_start_s < timeline.time_chunk_s[0]
        assert all(one <= other for one, other in pairwise(timeline.time_chunk_s))
        assert timeline.time_chunk_s == longest[:n_tokens]
        if n_tokens < lengths[-1]:
            assert timeline.time_end_s == timeline.time_chunk_s[-1]
        else:
            assert timeline.time_chunk_s[-1] <= timeline.time_end_s <= after_s
        phases = generation.phases
        assert (phases[0].time_start_s, phases[-1].time_end_s) == (timeline.time_start_s, timeline.time_end_s)
        assert phases[0].time_end_s == timeline.time_first_token_s
        assert all(one.time_end_s == other.time_start_s for one, other in pairwise(phases))
        thinking = next(phase for phase in phases if phase.name == "thinking")
        assert thinking.time_end_s == timeline.time_chunk_s[generation.n_tokens("thinking_tokens") - 1]


def test_every_row_of_a_batch_has_its_forced_length(greedy: TransformersEngine) -> None:
    forced = [3, 40, None, 1, 12]
    (batch,) = answers(batches_of(greedy, 5), asked("on", max_new_tokens=20, forced=forced))
    rows = {each.asked.number: each for each in batch}
    assert batch[-1].timeline.time_end_s > batch[-1].timeline.time_chunk_s[-1]  # no step after the last row's own
    for number, n_tokens in enumerate(forced):
        row = rows[number].generation
        assert row is not None
        assert rows[number].findings == ()
        if n_tokens is None:
            assert row.sizes["output_tokens"] <= 20
            assert row.finish_reason in ("stop", "length")
            continue
        assert row.finish_reason == "forced"
        assert row.sizes["output_tokens"] == n_tokens == len(rows[number].timeline.time_chunk_s)
        alone = greedy.generate(rows[number].asked.prompt, "on", 20, 1, n_forced_tokens=n_tokens)
        assert (alone.text, alone.sizes, alone.finish_reason) == (row.text, row.sizes, "forced")


def test_an_answer_of_its_own_length_is_its_own_again(greedy: TransformersEngine) -> None:
    prompt = asked("on")[0].prompt
    free = greedy.generate(prompt, "on", 96, 1)
    assert free.finish_reason == "stop"
    held = greedy.generate(prompt, "on", 96, 1, n_forced_tokens=free.n_tokens("output_tokens"))
    assert (held.text, held.sizes, held.finish_reason) == (free.text, free.sizes, "forced")


def test_forced_lengths_go_with_a_budget(greedy: TransformersEngine) -> None:
    """A length that ends at the budget leaves nothing to force; the end of the thinking takes two tokens more."""
    (batch,) = answers(batches_of(greedy, 3), asked("budget:8", [TEXTS[0]] * 3, forced=[8, 9, 30]))
    for each in batch:
        row, n_tokens = each.generation, each.asked.n_forced_tokens
        assert row is not None
        assert (row.sizes["output_tokens"], row.forced_end) == (n_tokens, n_tokens != 8)
        alone = greedy.generate(each.asked.prompt, "budget:8", 96, 1, n_forced_tokens=n_tokens)
        assert (row.text, row.sizes, row.forced_end) == (alone.text, alone.sizes, alone.forced_end)


def test_a_model_that_runs_out_of_memory_is_asked_for_fewer(
    greedy: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, n_rows = transformers.Qwen3ForCausalLM.generate, list[int]()

    def small(model: Any, inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:
        n_rows.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(model, inputs, **keywords)

    load = batches_of(greedy, 4)
    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", small)
    taken = answers(load, asked("off"))
    assert n_rows == [4, 2, 2, 1]
    assert all(each.generation is not None for batch in taken for each in batch)
    assert {each.findings[0].code for batch in taken for each in batch} == {FindingCode.BATCH_SPLIT}


def test_sampled_batches_repeat_and_rows_do_not_end_before_their_fewest() -> None:
    engine = TransformersEngine(
        source=str(EMBEDDED),
        revision=None,
        reasoning=REASONING,
        clock=CLOCK,
        device="cpu",
        n_threads=1,
        sampling=Sampling(do_sample=True, temperature=1.5),
        min_new_tokens={"on": 25},
    )
    load = batches_of(engine, 5)
    first, again = (answers(load, asked("on", max_new_tokens=40))[0] for _ in range(2))
    engine.close()
    texts = [[each.generation.text for each in batch if each.generation] for batch in (first, again)]
    assert texts[0] == texts[1]
    assert min(each.timeline.n_output_tokens for each in first) >= 25


# ---------------------------------------------------------------------------------------- compiled


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def compiled(
    monkeypatch: pytest.MonkeyPatch, directory: Path, backend: str = "eager", *, wanted: bool = True
) -> TransformersEngine:
    """With a backend that generates no code, since that takes a minute."""
    monkeypatch.setattr("harness.engine.compiled.BACKEND", backend)
    return TransformersEngine(
        source=str(directory),
        revision=None,
        reasoning=REASONING,
        clock=CLOCK,
        device="cpu",
        n_threads=1,
        sampling=Sampling(do_sample=False),
        compiled=wanted,
    )


def test_no_window_holds_a_compilation_and_the_answers_stay(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    plain = compiled(monkeypatch, directory, wanted=False)
    queries = asked(texts=TEXTS[:2], max_new_tokens=20)
    expected = [served.generation.text for served in answers(batches_of(plain, 2), queries)[0] if served.generation]
    plain.close()
    n_graphs = list[int]()
    generate = transformers.Qwen3ForCausalLM.generate

    def counting(model: Any, inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:
        n_before = counters["stats"]["unique_graphs"]
        try:
            return generate(model, inputs, **keywords)
        finally:
            n_graphs.append(counters["stats"]["unique_graphs"] - n_before)

    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", counting)
    engine = compiled(monkeypatch, directory)
    load = batches_of(engine, 2)
    (batch,) = answers(load, queries)
    assert [each.generation.text for each in batch if each.generation] == expected
    assert n_graphs == [1, 0]  # the second one is the measurement
    assert engine.warnings() == ()
    engine.close()


def test_what_cannot_be_compiled_runs_as_it_is_and_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = compiled(monkeypatch, directory)
    engine.load()
    prompt = Prompt(prompt_id="p", text=TEXTS[1])
    with monkeypatch.context() as patch:
        patch.setattr("transformers.generation.utils.GenerationMixin._valid_auto_compile_criteria", lambda *_: False)
        engine.generate(prompt, "on", 8, 1)
        engine.generate(prompt, "on", 8, 1)
    details = [finding.detail for finding in engine.warnings()]
    assert details == ["torch.compile: nothing of the forward pass was compiled"]

    def broken(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("transformers.modeling_utils.PreTrainedModel.get_compiled_call", broken)
    assert engine.generate(prompt, "on", 8, 1).sizes["output_tokens"] > 1
    (finding,) = engine.warnings()
    assert finding.code is FindingCode.LIBRARY_WARNING
    assert "no C++ compiler" in finding.detail
    engine.generate(prompt, "on", 8, 1)
    assert engine.warnings() == ()
    engine.close()


def test_an_error_of_the_model_itself_does_not_end_the_compiling(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = compiled(monkeypatch, directory)
    engine.load()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shape mismatch")

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "generate", fail)
        with pytest.raises(CellFailed, match="shape mismatch"):
            engine.generate(Prompt(prompt_id="p", text=TEXTS[1]), "on", 8, 1)
    assert engine._compiled is not None
    assert engine.warnings() == ()
    engine.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs one for C++")
def test_code_is_generated_for_real(greedy: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = compiled(monkeypatch, EMBEDDED, "inductor")
    engine.load()
    if not greedy.ready("on"):
        greedy.load()
    prompt = Prompt(prompt_id="p", text=TEXTS[0])
    assert engine.generate(prompt, "on", 32, 1).text == greedy.generate(prompt, "on", 32, 1).text
    assert engine.warnings() == ()
    engine.close()
