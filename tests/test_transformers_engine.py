"""The transformers engine on tiny models: what it loads, refuses, times, and says it really did."""

from __future__ import annotations

import gc
import json
import logging
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers

import harness
from harness.clock import SessionClock
from harness.engine.precision import precision_finding
from harness.engine.transformers import TransformersEngine
from harness.errors import (
    CellFailed,
    EnvironmentFault,
    InvalidMeasurement,
    ModelUnavailable,
    OutOfMemory,
    UsageError,
)
from harness.protocols import Reasoning
from harness.reasoning.switch import FamilyReasoning
from harness.records import FindingCode, ModeSwitch, Phase, Prompt, ReasoningSpec, Sampling
from tests.tiny_model import make_tokenizer, save_tiny_fp8, save_tiny_gguf, save_tiny_model

PROMPT = Prompt(prompt_id="chain-1", text="1+2=")
THINKING = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "off": ModeSwitch(template={"enable_thinking": False}),
            "on": ModeSwitch(template={"enable_thinking": True}),
            "told": ModeSwitch(system="Be brief.", assistant_prefix="<think>\n"),
            "bare": ModeSwitch(chat_template=False, prompt_prefix="Q: ", assistant_prefix=" A:"),
            "flagged": ModeSwitch(prompt_prefix="/think "),
        },
    )
)
NATURAL = FamilyReasoning(None)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


Make = Callable[..., TransformersEngine]


@pytest.fixture
def make(directory: Path) -> Iterator[Make]:
    engines = []

    def build(source: Path | str = directory, reasoning: Reasoning = THINKING, **options: Any) -> TransformersEngine:
        options = {"revision": None, "device": "cpu", "n_threads": 1, **options}
        engines.append(TransformersEngine(source=str(source), reasoning=reasoning, clock=SessionClock(), **options))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def engine(directory: Path) -> Iterator[TransformersEngine]:
    """One that is loaded, and shared: a query leaves no trace in it."""
    loaded = TransformersEngine(
        source=str(directory), revision=None, reasoning=THINKING, clock=SessionClock(), device="cpu", n_threads=1
    )
    loaded.load()
    yield loaded
    loaded.close()


class SaysWhatItIsTold:
    """Stands in for `generate` of a model: fixed new tokens, each announced to the streamer."""

    def __init__(self, new_ids: list[int], announced: int | None = None) -> None:
        self.new_ids, self.announced = new_ids, len(new_ids) if announced is None else announced
        self.collecting: bool | None = None

    def __call__(self, inputs: torch.Tensor, *, streamer: Any, **_: Any) -> torch.Tensor:
        self.collecting = gc.isenabled()
        streamer.put(inputs)
        for _token in range(self.announced):
            streamer.put(None)
        streamer.end()
        return torch.cat([inputs, torch.tensor([self.new_ids])], dim=1)


def say(monkeypatch: pytest.MonkeyPatch, text: str, announced: int | None = None) -> SaysWhatItIsTold:
    """Let every model answer with `text`."""
    stand_in = SaysWhatItIsTold(make_tokenizer()(text)["input_ids"], announced)
    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", staticmethod(stand_in))
    return stand_in


def names(phases: tuple[Phase, ...]) -> list[str]:
    return [phase.name for phase in phases]


# ------------------------------------------------------------------------------------------ one query


def test_thinking_and_answer_are_told_apart(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = say(monkeypatch, "<think>\n3\n</think>\n\n3<|end|>")
    generation = engine.generate(PROMPT, "on", 50, 1)
    assert (generation.thinking, generation.answer) == ("3", "3")
    assert generation.text == "<think>\n3\n</think>\n\n3"
    assert generation.finish_reason == "stop"
    assert names(generation.phases) == ["prefill", "thinking", "answer"]
    assert (generation.sizes["thinking_tokens"], generation.sizes["answer_tokens"]) == (5, 4)
    assert stand_in.collecting is False
    assert gc.isenabled()


def test_thinking_that_never_closes_leaves_no_answer(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "<think>\n3")
    generation = engine.generate(PROMPT, "on", 3, 1)
    assert (generation.thinking, generation.answer) == ("3", "")
    assert generation.finish_reason == "length"
    assert names(generation.phases) == ["prefill", "thinking"]
    assert generation.sizes["answer_tokens"] == 0


def test_an_end_exactly_at_the_cap_is_not_a_cut(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, "3<|end|>")
    assert engine.generate(PROMPT, "off", 2, 1).finish_reason == "stop"


def test_a_prompt_that_opens_the_thinking_puts_the_output_inside(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "3</think>3<|end|>")
    generation = engine.generate(PROMPT, "told", 50, 1)
    assert generation.rendered_prompt == "<|system|>Be brief.<|end|><|user|>1+2=<|end|><|assistant|><think>\n"
    assert (generation.thinking, generation.answer) == ("3", "3")


def test_every_token_is_timed_when_its_forward_pass_is_done(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `generate` that streams one step late would shift every phase by a token."""
    counts: list[int] = []
    n_forwards = 0
    forward, put = transformers.Qwen3ForCausalLM.forward, transformers.generation.utils.StopCheck.__call__

    def counting_forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_forwards
        n_forwards += 1
        return forward(*args, **kwargs)

    def counting_check(self: Any, *args: Any, **kwargs: Any) -> Any:
        counts.append(n_forwards)
        return put(self, *args, **kwargs)

    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "forward", counting_forward)
    monkeypatch.setattr(transformers.generation.utils.StopCheck, "__call__", counting_check)
    generation = engine.generate(PROMPT, "on", 6, 1)
    assert counts == list(range(1, generation.n_tokens("output_tokens") + 1))


def test_a_generate_that_does_not_report_its_tokens_is_not_measured(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "3<|end|>", announced=0)
    with pytest.raises(InvalidMeasurement):
        engine.generate(PROMPT, "on", 50, 1)


def test_special_tokens_of_the_template_are_not_added_twice(engine: TransformersEngine) -> None:
    rendered = engine.render(PROMPT, "on")
    n_tokens = engine.generate(PROMPT, "on", 1, 1).sizes["prompt_tokens"]
    assert n_tokens == len(make_tokenizer()(rendered, add_special_tokens=False)["input_ids"])


def test_a_model_without_chat_template_gets_plain_text_and_it_is_said(make: Make, tmp_path: Path) -> None:
    engine = make(save_tiny_model(tmp_path, chat_template=None), NATURAL)
    engine.load()
    assert engine.render(PROMPT, "default") == "1+2="
    assert [finding.code for finding in engine.warnings()] == [FindingCode.NO_CHAT_TEMPLATE]


def test_a_mode_may_do_without_the_template_and_put_text_around_the_prompt(engine: TransformersEngine) -> None:
    assert engine.render(PROMPT, "bare") == "Q: 1+2= A:"
    assert engine.render(PROMPT, "flagged") == "<|user|>/think 1+2=<|end|><|assistant|>"


def test_bare_text_gets_the_special_tokens_that_a_tokenizer_adds(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[bool] = []
    tokenize = transformers.PreTrainedTokenizerFast.__call__

    def listening(self: Any, text: str, *, add_special_tokens: bool) -> Any:
        added.append(add_special_tokens)
        return tokenize(self, text, add_special_tokens=add_special_tokens)

    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "__call__", listening)
    for mode in ("bare", "flagged"):
        engine.generate(PROMPT, mode, 1, 1)
    assert added == [True, False]


# ------------------------------------------------------------------------------------ how it is chosen


class Listening:
    """Stands in for `generate` and keeps the keywords that it was called with."""

    def __init__(self) -> None:
        self.keywords: list[dict[str, Any]] = []

    def __call__(self, inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:
        self.keywords.append(keywords)
        return SaysWhatItIsTold([3])(inputs, streamer=keywords["streamer"])


def asked_of_the_model(make: Make, monkeypatch: pytest.MonkeyPatch, mode: str = "on", **options: Any) -> dict[str, Any]:
    listening = Listening()
    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", staticmethod(listening))
    engine = make(**options)
    engine.load()
    engine.generate(PROMPT, mode, 5, 1)
    (keywords,) = listening.keywords
    return {name: value for name, value in keywords.items() if name not in ("attention_mask", "streamer")}


def test_without_a_word_on_sampling_the_models_own_config_decides(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_of_the_model(make, monkeypatch) == {"max_new_tokens": 5}


def test_sampling_that_is_named_is_what_the_model_is_asked_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(do_sample=True, temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1.1)
    asked = asked_of_the_model(make, monkeypatch, sampling=sampling)
    assert asked == {"max_new_tokens": 5, **sampling.model_dump()}


def test_the_fewest_tokens_are_a_modes_own_and_never_above_the_cap(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fewest = {"off": 10, "on": 3}
    assert asked_of_the_model(make, monkeypatch, "off", min_new_tokens=fewest)["min_new_tokens"] == 5
    assert asked_of_the_model(make, monkeypatch, "on", min_new_tokens=fewest)["min_new_tokens"] == 3
    assert "min_new_tokens" not in asked_of_the_model(make, monkeypatch, "told", min_new_tokens=fewest)


def test_greedy_answers_do_not_depend_on_the_seed_and_nobody_complains(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(sampling=Sampling(do_sample=False, temperature=0.7, top_k=20))
    engine.load()
    with caplog.at_level(logging.DEBUG, logger="harness.engine.chatter"):
        texts = {engine.generate(PROMPT, "on", 8, seed).text for seed in (1, 2, 3)}
        assert engine.warnings() == ()
    assert len(texts) == 1
    assert caplog.messages == []


def test_sampled_answers_do(engine: TransformersEngine) -> None:
    assert len({engine.generate(PROMPT, "on", 8, seed).text for seed in range(8)}) > 1


def test_an_answer_does_not_end_before_its_fewest_tokens(make: Make) -> None:
    engine = make(min_new_tokens={"on": 40})
    engine.load()
    assert {engine.generate(PROMPT, "on", 40, seed).sizes["output_tokens"] for seed in range(20)} == {40}


# ------------------------------------------------------------------------------------- several at once


def test_a_batch_that_does_not_fit_names_its_size(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "generate", fail)
        with pytest.raises(OutOfMemory, match="on 3 prompts") as caught:
            engine.generate_batch([PROMPT] * 4, "on", 50, 1, batch_size=3)
    assert "--batch-size" in caught.value.next_step
    assert len(engine.generate_batch([PROMPT] * 4, "on", 5, 1, batch_size=3)) == 4


def test_a_model_without_a_token_for_padding_uses_its_end_and_counts_it_once(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    for name in ("generation_config.json", "config.json", "tokenizer_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        settings.pop("pad_token", None)
        settings["pad_token_id"] = None
        (tmp_path / name).write_text(json.dumps(settings))
    engine = make(tmp_path)
    engine.load()
    prompts = [PROMPT, Prompt(prompt_id="long", text="1+2+3+4+5+6+7+8+9="), PROMPT] * 4
    batch = engine.generate_batch(prompts, "on", 100, 1, batch_size=5)
    assert len({generation.sizes["output_tokens"] for generation in batch}) > 1
    for generation in batch:
        assert (generation.finish_reason == "stop") == (generation.sizes["output_tokens"] < 100)


def test_a_template_that_refuses_is_a_usage_error(make: Make, tmp_path: Path) -> None:
    template = "{{ raise_exception('System role not supported') }}"
    engine = make(save_tiny_model(tmp_path, chat_template=template))
    engine.load()
    with pytest.raises(UsageError, match="System role not supported"):
        engine.render(PROMPT, "told")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_said_and_the_engine_stays_usable(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:

    class Cache:
        """What filled the memory."""

    filled: list[weakref.ref[Cache]] = []

    def fail(*_: Any, **__: Any) -> None:
        cache = Cache()
        filled.append(weakref.ref(cache))
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "generate", fail)
        with pytest.raises(OutOfMemory, match="50 new ones") as caught:
            engine.generate(PROMPT, "on", 50, 1)
    assert caught.value.__cause__ is error
    assert [reference() for reference in filled] == [None]
    assert gc.isenabled()
    assert engine.generate(PROMPT, "on", 5, 1).sizes["output_tokens"] > 0


def test_another_error_of_the_model_is_not_hidden(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", fail)
    with pytest.raises(CellFailed, match="shape mismatch"):
        engine.generate(PROMPT, "on", 5, 1)


def test_an_engine_without_a_model_says_so(make: Make) -> None:
    with pytest.raises(UsageError, match="No model is loaded"):
        make().render(PROMPT, "on")


# ------------------------------------------------------------------------------------- what was loaded


def test_the_facts_are_read_off_the_model(make: Make) -> None:
    facts = make().load()
    assert facts.executed_precision == facts.requested_precision == "float32"
    assert facts.bytes_per_parameter == 4.0
    assert facts.layer_classes == {"Embedding": 1, "Linear": 15}
    assert facts.weights_format == "safetensors"
    assert facts.device_uuids == ()
    assert facts.n_threads == 1
    assert facts.generation_config["do_sample"] is True


def test_the_dtype_that_was_asked_for_is_executed(make: Make) -> None:
    facts = make(dtype="bfloat16").load()
    assert facts.executed_precision == facts.requested_precision == "bfloat16"
    assert facts.bytes_per_parameter == 2.0


@pytest.mark.parametrize(
    ("quantization", "executed", "layer"),
    [("int8", "int8 (bitsandbytes)", "Linear8bitLt"), ("int4", "int4 (bitsandbytes nf4)", "Linear4bit")],
)
def test_a_quantization_runs_on_a_cpu_and_the_storage_proves_it(
    make: Make, quantization: str, executed: str, layer: str
) -> None:
    pytest.importorskip("bitsandbytes")
    embedded = Path(harness.__file__).parent / "assets" / "tiny-reasoner"
    engine = make(embedded, NATURAL, quantization=quantization, sampling=Sampling(do_sample=False))
    facts = engine.load()
    assert facts.executed_precision == facts.requested_precision == executed
    assert facts.layer_classes[layer] == 28
    assert facts.bytes_per_parameter is not None
    assert 0.5 < facts.bytes_per_parameter < 1.2  # the embedding stays as it is
    assert engine.generate(PROMPT, "default", 12, 1).text.endswith("\n\n3")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_that_is_executed_is_the_one_asked_for(make: Make, attention: str) -> None:
    engine = make(attention=attention)
    assert engine.load().attention == attention
    assert engine.warnings() == ()


def test_an_attention_that_falls_back_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    adjust = transformers.PreTrainedModel._check_and_adjust_attn_implementation
    monkeypatch.setattr(
        transformers.PreTrainedModel,
        "_check_and_adjust_attn_implementation",
        lambda self, _wanted, **keywords: adjust(self, "eager", **keywords),
    )
    engine = make(attention="sdpa")
    assert engine.load().attention == "eager"
    assert [finding.detail for finding in engine.warnings()] == ["attention sdpa was asked for, eager is executed"]


def test_a_gguf_file_is_unpacked_and_that_is_a_finding(make: Make, tmp_path: Path) -> None:
    engine = make(save_tiny_gguf(tmp_path / "tiny.gguf"))
    facts = engine.load()
    assert (facts.requested_precision, facts.executed_precision) == ("gguf Q8_0", "float32")
    assert facts.weights_format == "gguf"
    finding = precision_finding(facts.requested_precision, facts.executed_precision)
    assert finding is not None
    assert finding.code is FindingCode.PRECISION_FALLBACK
    assert engine.generate(PROMPT, "off", 5, 1).sizes["output_tokens"] > 0


def test_fp8_without_a_gpu_runs_as_bfloat16_and_everybody_says_so(make: Make, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("FP8 may really run here")
    engine = make(save_tiny_fp8(tmp_path))
    facts = engine.load()
    assert (facts.requested_precision, facts.executed_precision) == ("fp8", "bfloat16")
    (finding,) = engine.warnings()
    assert finding.code is FindingCode.LIBRARY_WARNING
    assert "dequantizing" in finding.detail


def test_libraries_are_listened_to_while_a_query_runs(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.warnings()
    stand_in = SaysWhatItIsTold([3])

    def chatty(*args: Any, **kwargs: Any) -> torch.Tensor:
        logging.getLogger("transformers.models").warning("Falling back to eager attention.")
        warnings.warn("The fast path is not available.", stacklevel=1)
        logging.getLogger("transformers.models").warning("Have a nice day.")
        return stand_in(*args, **kwargs)

    monkeypatch.setattr(transformers.Qwen3ForCausalLM, "generate", staticmethod(chatty))
    engine.generate(PROMPT, "on", 5, 1)
    engine.generate(PROMPT, "on", 5, 1)
    assert [finding.detail for finding in engine.warnings()] == [
        "Falling back to eager attention.",
        "The fast path is not available.",
    ]
    assert "Falling back" not in capsys.readouterr().err


# ------------------------------------------------------------------------------- what cannot be loaded


def test_pickled_weights_are_refused_unless_allowed_and_then_said(make: Make, directory: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for path in directory.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="no safetensors weights"):
        make(tmp_path).load()
    engine = make(tmp_path, allow_pickle=True)
    assert engine.load().weights_format == "pickle"
    assert [finding.code for finding in engine.warnings()] == [FindingCode.PICKLED_WEIGHTS]


def test_code_of_the_repository_runs_only_if_asked_for_and_is_recorded(
    make: Make, directory: Path, tmp_path: Path
) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        "class OwnConfig(Qwen3Config):\n    model_type = 'own'\n"
        "class OwnModel(Qwen3ForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(UsageError) as caught:
        make(tmp_path).load()
    assert "--trust-remote-code" in caught.value.next_step
    engine = make(tmp_path, trust_remote_code=True)
    facts = engine.load()
    assert facts.remote_code_commit == facts.revision
    assert [finding.code for finding in engine.warnings()] == [FindingCode.REMOTE_CODE]


def test_missing_weights_are_not_replaced_by_random_ones(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"lacks \d+ of the model's weights"):
        make(tmp_path).load()


def test_a_damaged_weights_file_is_said(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelUnavailable, match="damaged or incomplete"):
        make(tmp_path).load()


def test_a_damaged_tokenizer_is_said(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        make(tmp_path).load()


def test_a_directory_that_is_no_model_is_said(make: Make, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(ModelUnavailable, match="not a complete model"):
        make(tmp_path).load()


def test_beams_are_refused(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_beams": 4}))
    with pytest.raises(UsageError, match="4 beams"):
        make(tmp_path).load()


def test_a_quantization_without_its_package_names_the_command(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_8bit.is_bitsandbytes_available", lambda: False)
    with pytest.raises(EnvironmentFault) as caught:
        make(quantization="int8").load()
    assert caught.value.next_step.startswith("`pip install -U 'bitsandbytes>=")


@pytest.mark.parametrize("options", [{"quantization": "int3"}, {"dtype": "float8"}, {"quantization": "fp8"}])
def test_flags_that_cannot_be_meant_are_refused_before_loading(make: Make, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make(**options)


def test_files_that_changed_since_the_run_began_are_refused(make: Make, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    revision = make(tmp_path).load().revision
    assert make(tmp_path, revision=revision).load().revision == revision
    (tmp_path / "chat_template.jinja").write_text("changed")
    with pytest.raises(UsageError, match="are at"):
        make(tmp_path, revision=revision).load()


def test_a_hub_model_without_network_names_the_command(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable) as caught:
        make("nobody/nothing-of-this-name", revision="0" * 40).load()
    assert "hf download nobody/nothing-of-this-name" in caught.value.next_step


# ----------------------------------------------------------------------------------- the embedded model

EMBEDDED = Path(harness.__file__).parent / "assets" / "tiny-reasoner"


@pytest.mark.skipif(not (EMBEDDED / "model.safetensors").is_file(), reason="the embedded model is not built yet")
def test_the_embedded_model_thinks_when_told_to_and_then_answers_right(make: Make) -> None:
    engine = make(EMBEDDED)
    engine.load()
    chain = Prompt(prompt_id="chain", text="7+3*2-4=")
    on, off = (engine.generate(chain, mode, 96, 1) for mode in ("on", "off"))
    assert (on.thinking, on.answer, on.finish_reason) == ("0 0 6", "6", "stop")
    assert on.sizes["thinking_tokens"] > 0
    assert off.sizes["thinking_tokens"] == 0
    assert [phase.name for phase in off.phases] == ["prefill", "answer"]
