"""The engine's pure parts: precision, marks, timing, devices, and the scripted engine's own ways."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from harness.clock import ManualClock
from harness.engine.device import resolve_device, synchronize
from harness.engine.facts import attention_findings
from harness.engine.marks import Marks, with_symbols
from harness.engine.precision import (
    executed_precision,
    plain_word,
    precision_finding,
    quantization_word,
    requested_precision,
)
from harness.engine.scripted import CLOSING_TOKENS, ScriptedEngine, Turn, in_order, steady
from harness.engine.timing import TokenTimes, lay_out_phases
from harness.engine.weights import board_uuids, weigh
from harness.errors import EnvironmentFault, OutOfMemory, UsageError
from harness.reasoning.switch import FamilyReasoning
from harness.records import Finding, FindingCode, ModeSwitch, Prompt, ReasoningSpec, ThinkingSpan

PROMPT = Prompt(prompt_id="p", text="Hi")

# ------------------------------------------------------------------------------------------ precision


@pytest.mark.parametrize(
    ("requested", "executed"),
    [
        ("mxfp4", "bfloat16"),
        ("fp8", "bfloat16"),
        ("gguf Q4_1", "float32"),
        ("gguf F16", "float32"),
        ("int8 (bitsandbytes)", "int4 (bitsandbytes nf4)"),
        ("bfloat16", "float32"),
    ],
)
def test_a_fallback_is_found(requested: str, executed: str) -> None:
    finding = precision_finding(requested, executed)
    assert finding is not None
    assert finding.code is FindingCode.PRECISION_FALLBACK
    assert requested in finding.detail
    assert executed in finding.detail


@pytest.mark.parametrize(
    ("requested", "executed"),
    [
        ("torch.bfloat16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("gguf F32", "float32"),
        ("mxfp4", "mxfp4"),
        ("gguf Q4_1", "gguf Q4_1"),
    ],
)
def test_other_spellings_are_no_fallback(requested: str, executed: str) -> None:
    assert precision_finding(requested, executed) is None
    assert plain_word(plain_word(requested)) == plain_word(requested)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq 4 bit"),
        ({"quant_method": "awq", "bits": 4}, "awq 4 bit"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "int4 (bitsandbytes nf4)",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8 (bitsandbytes)"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors float-quantized"),
        ({}, "unknown"),
    ],
)
def test_the_word_for_a_quantization(config: dict[str, Any], word: str) -> None:
    assert quantization_word(config) == word


@pytest.mark.parametrize(
    ("quantization", "dtype", "checkpoint", "checkpoint_dtype", "expected"),
    [
        ("none", "auto", None, "torch.bfloat16", "bfloat16"),
        ("none", "float32", None, "torch.bfloat16", "float32"),
        ("none", "auto", {"quant_method": "mxfp4"}, "torch.bfloat16", "mxfp4"),
        ("none", "bfloat16", {"quant_method": "fp8"}, "torch.bfloat16", "fp8"),
        ("none", "auto", {"quant_method": "gguf Q4_1"}, None, "gguf Q4_1"),
        ("int8", "auto", None, "torch.bfloat16", "int8 (bitsandbytes)"),
        ("none", "auto", None, None, None),
    ],
)
def test_what_is_asked_for(
    quantization: str, dtype: str, checkpoint: dict[str, Any] | None, checkpoint_dtype: str | None, expected: str | None
) -> None:
    assert requested_precision(quantization, dtype, checkpoint, checkpoint_dtype) == expected


@pytest.mark.parametrize(
    ("stored", "quantization", "expected"),
    [
        ({"bfloat16": 100, "float32": 4}, {"quant_method": "mxfp4"}, "bfloat16"),
        ({"uint8": 100, "bfloat16": 40}, {"quant_method": "mxfp4"}, "mxfp4"),
        ({"float8_e4m3fn": 100, "float32": 4}, {"quant_method": "fp8"}, "fp8"),
        ({"float8_e4m3fn": 100}, None, "fp8"),
        ({"uint8": 100}, {"quant_method": "gguf Q4_1"}, "gguf Q4_1"),
        ({"int32": 100}, {"quant_method": "gptq", "bits": 4}, "gptq 4 bit"),
        ({}, None, "unknown"),
    ],
)
def test_what_was_executed_is_told_from_the_storage(
    stored: dict[str, int], quantization: dict[str, Any] | None, expected: str
) -> None:
    assert executed_precision(stored, quantization) == expected


def model_of(**layers: torch.nn.Module) -> torch.nn.Module:
    model = torch.nn.Module()
    for name, layer in layers.items():
        model.add_module(name, layer)
    model.get_input_embeddings = lambda: layers.get("embedding")
    model.get_output_embeddings = lambda: None
    return model


def test_shared_weights_count_once_and_embeddings_are_not_the_body() -> None:
    embedding, head = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    weights = weigh(model_of(embedding=embedding, body=torch.nn.Linear(4, 4, bias=False).to(torch.bfloat16), head=head))
    assert weights.n_elements == 40 + 16
    assert weights.n_bytes == 160 + 32
    assert weights.body_bytes_by_storage == {"bfloat16": 32}
    assert weights.layer_classes == {"Embedding": 1, "Linear": 2}


def test_packed_weights_are_found_wherever_they_are_kept() -> None:
    packed = torch.nn.Module()
    packed.register_buffer("qweight", torch.zeros(8, 8, dtype=torch.int32))
    packed.register_buffer("table", torch.zeros(100))
    kernel = torch.nn.Module()
    kernel.experts = SimpleNamespace(storage=SimpleNamespace(data=torch.zeros(4, 16, dtype=torch.uint8)))
    weights = weigh(model_of(packed=packed, kernel=kernel))
    assert weights.body_bytes_by_storage == {"int32": 256, "uint8": 64}


def test_what_packed_weights_are_scaled_by_is_weighed_too() -> None:
    """As bitsandbytes keeps it: beside the parameter, and in 4 bit perhaps quantized once more."""
    eight, four = torch.nn.Module(), torch.nn.Module()
    eight.weight = torch.nn.Parameter(torch.zeros(8, 4, dtype=torch.int8), requires_grad=False)
    eight.weight.SCB = torch.zeros(8)
    four.weight = torch.nn.Parameter(torch.zeros(128, 1, dtype=torch.uint8), requires_grad=False)
    nested = SimpleNamespace(absmax=torch.zeros(1), code=torch.zeros(256), state2=None)
    four.weight.quant_state = SimpleNamespace(
        absmax=torch.zeros(4, dtype=torch.uint8), code=torch.zeros(16), state2=nested
    )
    weights = weigh(model_of(eight=eight, four=four))
    assert weights.body_bytes_by_storage == {"int8": 32, "uint8": 128 + 4, "float32": 4 * (8 + 16 + 1 + 256)}


def test_a_model_that_lies_on_several_boards_is_on_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:

    def on_its_board(layer: Any) -> list[Any]:
        if not hasattr(layer, "board"):
            return []
        device = SimpleNamespace(type="cuda", index=layer.board)
        sizes = {"numel": lambda: 4, "element_size": lambda: 2, "data_ptr": lambda: id(layer)}
        return [SimpleNamespace(ndim=2, dtype=torch.bfloat16, device=device, **sizes)]

    monkeypatch.setattr("harness.engine.weights._own_weights", on_its_board)
    layers = {f"layer{board}": torch.nn.Module() for board in (2, 0, 1)}
    for board, layer in zip((2, 0, 1), layers.values(), strict=True):
        layer.board = board
    weights = weigh(model_of(**layers))
    assert weights.cuda_indices == (0, 1, 2)
    assert weights.n_bytes == 3 * 8
    synchronized: list[int] = []
    monkeypatch.setattr(torch.cuda, "synchronize", synchronized.append)
    synchronize(weights.cuda_indices)
    assert synchronized == [0, 1, 2]


def test_another_attention_than_the_one_asked_for_is_a_finding() -> None:
    assert attention_findings("default", "sdpa") == attention_findings("eager", "eager") == ()
    (finding,) = attention_findings("flash_attention_2", "sdpa")
    assert finding.code is FindingCode.LIBRARY_WARNING
    assert finding.detail == "attention flash_attention_2 was asked for, sdpa is executed"


def test_boards_are_named_as_nvml_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = "7f1c8f2e-0000-1111-2222-333344445555"
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=uuid))
    assert board_uuids((0,)) == (f"GPU-{uuid}",)


# ---------------------------------------------------------------------------------------------- marks


def merging_tokenizer() -> Any:
    """Splits into words and runs of other characters, so that a closing mark's `>` sticks to what follows."""
    from transformers import PreTrainedTokenizerFast

    pieces = ["<", "</", "think", ">", ">\n\n", ">\n", "Paris", "so", " ", "\n", ".", "[unk]"]
    tokenizer = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w]+"), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[unk]")


MERGING = merging_tokenizer()
WITH_MARKS = FamilyReasoning(
    ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes={"on": ModeSwitch()})
)


def test_a_closing_mark_that_merged_with_a_blank_line_is_found() -> None:
    tokenizer = merging_tokenizer()
    ids = tokenizer.encode("<think>\nso</think>\n\nParis", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<", "think", ">\n", "so", "</", "think", ">\n\n", "Paris"]
    marks = Marks(tokenizer, WITH_MARKS)
    assert marks.span("Hi", ids) == ThinkingSpan(start=0, end=7, closed=True)


@given(
    thinking=st.lists(st.sampled_from(["so", " ", ".", "Paris"]), max_size=5),
    answer=st.lists(st.sampled_from(["so", " ", ".", "Paris"]), max_size=5),
    cuts=st.sets(st.integers(1, 60)),
)
def test_marks_are_found_however_the_text_is_cut_into_tokens(
    thinking: list[str], answer: list[str], cuts: set[int]
) -> None:
    text = f"<think>{''.join(thinking)}</think>{''.join(answer)}"
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    numbers = with_symbols(pieces, "<think>", "</think>")
    # The closing mark's last letter must be in the token that carries the symbol.
    end_letter = text.index("</think>") + len("</think>") - 1
    owner = next(index for index, (start, end) in enumerate(pairwise(edges)) if start <= end_letter < end)
    assert numbers[owner] == -3
    assert len(numbers) == len(pieces)


@pytest.mark.parametrize(
    ("output", "is_open"),
    [
        ("<think>\nso", True),
        ("<think>\nso</think>\n\nParis", False),
        ("<think>\nso</", True),
        ("Paris", False),
        ("<think>so</think>\nso<think>", True),
    ],
)
def test_whether_the_thinking_is_open_is_told_from_marks_that_merge(output: str, is_open: bool) -> None:
    tokenizer = merging_tokenizer()
    assert Marks(tokenizer, WITH_MARKS).is_open("Hi", tokenizer.encode(output, add_special_tokens=False)) is is_open


@given(ids=st.lists(st.integers(0, 10), max_size=12))
def test_what_is_open_while_it_is_written_is_open_afterwards(ids: list[int]) -> None:
    marks = Marks(MERGING, WITH_MARKS)
    span = marks.span("Hi", ids)
    assert marks.is_open("Hi", ids) == (span is not None and not span.closed)


# --------------------------------------------------------------------------------------------- timing


def test_the_prompt_is_not_a_token_and_every_token_has_its_instant() -> None:
    clock = ManualClock()
    times = TokenTimes(clock, max_new_tokens=2)
    assert times.n_tokens == 0
    for time_s in (1.0, 2.5, 3.5, 4.5):
        clock.sleep_until(time_s)
        times.put(None)
    times.end()
    assert times.n_tokens == 3
    assert times.times_s == (2.5, 3.5)


@pytest.mark.parametrize(
    ("times_s", "span", "expected"),
    [
        ((), None, [("prefill", 0.0, 9.0)]),
        ((1.0,), None, [("prefill", 0.0, 1.0), ("answer", 1.0, 9.0)]),
        ((1.0, 2.0, 3.0), (0, 2, True), [("prefill", 0.0, 1.0), ("thinking", 1.0, 2.0), ("answer", 2.0, 9.0)]),
        ((1.0, 2.0, 3.0), (0, 3, False), [("prefill", 0.0, 1.0), ("thinking", 1.0, 9.0)]),
        ((1.0, 2.0, 3.0), (0, 3, True), [("prefill", 0.0, 1.0), ("thinking", 1.0, 9.0)]),
        ((1.0, 2.0, 3.0), (1, 2, True), [("prefill", 0.0, 1.0), ("thinking", 1.0, 2.0), ("answer", 2.0, 9.0)]),
    ],
)
def test_phases(
    times_s: tuple[float, ...], span: tuple[int, int, bool] | None, expected: list[tuple[str, float, float]]
) -> None:
    thinking = ThinkingSpan(start=span[0], end=span[1], closed=span[2]) if span else None
    phases = lay_out_phases(0.0, times_s, 9.0, thinking)
    assert [(phase.name, phase.time_start_s, phase.time_end_s) for phase in phases] == expected


# -------------------------------------------------------------------------------------------- devices


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_cpu_is_always_allowed() -> None:
    assert resolve_device("cpu", n_nvml_gpus=8) == "cpu"


@pytest.mark.usefixtures("no_cuda")
def test_without_any_gpu_auto_is_the_cpu() -> None:
    assert resolve_device("auto", n_nvml_gpus=None) == "cpu"
    assert resolve_device("auto", n_nvml_gpus=0) == "cpu"


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(("cuda", "said"), [(None, "build for CPUs only"), ("13.0", "for CUDA 13.0 cannot use it")])
def test_a_gpu_that_torch_cannot_use_is_a_fault(monkeypatch: pytest.MonkeyPatch, cuda: str | None, said: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(EnvironmentFault, match=said) as caught:
        resolve_device("auto", n_nvml_gpus=1, driver="535.104.05")
    assert "driver 535.104.05" in str(caught.value)
    assert torch.__version__ in str(caught.value)
    assert "--device cpu" in caught.value.next_step


@pytest.mark.usefixtures("no_cuda")
def test_a_gpu_that_is_asked_for_and_not_there_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match="the driver shows none"):
        resolve_device("cuda", n_nvml_gpus=None)


@pytest.mark.parametrize("requested", ["gpu", "cuda:x", "mps", ""])
def test_unknown_devices_are_refused(requested: str) -> None:
    with pytest.raises(UsageError, match="Unknown device"):
        resolve_device(requested, n_nvml_gpus=None)


def test_boards_are_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_kernel(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "zeros", no_kernel)
    with pytest.raises(UsageError, match="torch sees 2"):
        resolve_device("cuda:2", n_nvml_gpus=2)
    with pytest.raises(EnvironmentFault, match="no kernel image"):
        resolve_device("auto", n_nvml_gpus=2, driver="600")


# ------------------------------------------------------------------------------------ scripted engine


def play(turn: Turn, max_new_tokens: int = 100, **options: Any) -> Any:
    clock = ManualClock(time_s=10.0)
    engine = ScriptedEngine(clock=clock, reasoning=WITH_MARKS, script=steady(turn, turn), **options)
    engine.load()
    return engine.generate(PROMPT, "on", max_new_tokens, 0)


def test_a_turn_lasts_as_long_as_the_script_says() -> None:
    turn = Turn(duration_prefill_s=0.5, duration_token_s=0.1, n_thinking_tokens=11, n_answer_tokens=5, thinking="so")
    generation = play(turn)
    assert [(phase.name, phase.time_start_s, phase.time_end_s) for phase in generation.phases] == [
        ("prefill", 10.0, 10.5),
        ("thinking", 10.5, 11.5),
        ("answer", 11.5, 12.0),
    ]
    assert generation.text == "<think>so</think>42"
    assert generation.finish_reason == "stop"


def test_a_cap_cuts_the_answer_and_then_the_thinking() -> None:
    turn = Turn(n_thinking_tokens=10, n_answer_tokens=10, thinking="0123456789", answer="abcdefghij")
    in_answer, in_thinking = play(turn, 15), play(turn, 5)
    assert (in_answer.answer, in_answer.finish_reason) == ("abcde", "length")
    assert (in_thinking.thinking, in_thinking.answer) == ("01234", "")
    assert in_thinking.text == "<think>01234"
    assert [phase.name for phase in in_thinking.phases] == ["prefill", "thinking"]


def budgeted(n_thinking: int, max_new_tokens: int = 100, n_tokens: int = 10) -> Any:
    clock = ManualClock()
    turn = Turn(n_thinking_tokens=n_thinking, thinking="x" * n_thinking, n_answer_tokens=4, answer="four")
    engine = ScriptedEngine(clock=clock, reasoning=WITH_MARKS, script=steady(turn, turn))
    return engine.generate(PROMPT, f"budget:{n_tokens}", max_new_tokens, 0)


def test_a_budget_cuts_the_thinking_and_leaves_the_answer() -> None:
    cut = budgeted(50)
    assert (cut.forced_end, cut.finish_reason, cut.answer) == (True, "stop", "four")
    assert (cut.sizes["thinking_tokens"], cut.sizes["answer_tokens"]) == (10 + CLOSING_TOKENS, 4)
    assert cut.text == f"<think>{'x' * 12}</think>four"
    within = budgeted(10)
    assert (within.forced_end, within.sizes["thinking_tokens"], within.thinking) == (False, 10, "x" * 10)


def test_a_cap_cuts_what_a_budget_left() -> None:
    in_answer, in_end, below = budgeted(50, 14), budgeted(50, 11), budgeted(50, 10)
    assert (in_answer.answer, in_answer.finish_reason, in_answer.forced_end) == ("fo", "length", True)
    assert (in_end.answer, in_end.finish_reason, in_end.forced_end) == ("", "length", True)
    assert (below.sizes["thinking_tokens"], below.finish_reason, below.forced_end) == (10, "length", False)
    assert not below.text.endswith("</think>")


@pytest.mark.parametrize(
    ("batch_size", "duration_s"),
    [
        (1, 3 * 0.5 + (2 + 20 + 5 + 2) * 0.1 + 0.5),
        (2, 2.5),  # the second row takes as long as the others together: 0.7 + 1.0 + 0.7
        (3, 2.5),
    ],
)
def test_a_batch_takes_what_its_rows_take_and_its_size_must_fit(batch_size: int, duration_s: float) -> None:
    clock = ManualClock()
    turns = [Turn(duration_prefill_s=0.5, duration_token_s=0.1, n_answer_tokens=n) for n in (3, 21, 6, 3)]
    engine = ScriptedEngine(clock=clock, reasoning=WITH_MARKS, script=in_order(turns), largest_batch=3)
    batch = engine.generate_batch([PROMPT] * 4, "on", 100, 0, batch_size=batch_size)
    assert [generation.sizes["output_tokens"] for generation in batch] == [3, 21, 6, 3]
    assert clock.now_s() == pytest.approx(duration_s)
    with pytest.raises(OutOfMemory):
        engine.generate_batch([PROMPT] * 2, "on", 100, 0, batch_size=4)


def test_errors_come_at_their_query_and_others_go_on() -> None:
    clock = ManualClock()
    script = in_order([Turn(answer="a"), Turn(answer="b"), Turn(answer="c")])
    engine = ScriptedEngine(
        clock=clock, reasoning=WITH_MARKS, script=script, errors={1: OutOfMemory("It is full.", "Empty it.")}
    )
    assert engine.generate(PROMPT, "on", 9, 0).answer == "a"
    with pytest.raises(OutOfMemory):
        engine.generate(PROMPT, "on", 9, 0)
    assert engine.generate(PROMPT, "on", 9, 0).answer == "c"
    assert engine.generate(PROMPT, "on", 9, 0).answer == "a"


def test_loading_takes_its_time_and_doubts_are_said_once() -> None:
    clock = ManualClock()
    doubt = Finding(code=FindingCode.LIBRARY_WARNING, detail="falling back")
    engine = ScriptedEngine(
        clock=clock,
        reasoning=FamilyReasoning(None),
        script=steady(Turn(), Turn()),
        duration_load_s=3.0,
        device_uuids=("GPU-1",),
        doubts=(doubt,),
    )
    assert engine.load().device_uuids == ("GPU-1",)
    assert clock.now_s() == 3.0
    assert (engine.warnings(), engine.warnings()) == ((doubt,), ())


def test_an_empty_script_is_refused() -> None:
    with pytest.raises(UsageError):
        in_order([])
