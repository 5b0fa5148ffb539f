"""From a model's name to a model on its device, and what it was before it was loaded.

Knows transformers' loading functions. Must not know prompts, modes or time.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers.utils import logging as library_logging

from harness.engine.precision import requested_precision
from harness.engine.source import ModelSource
from harness.engine.weights import gguf_precision
from harness.errors import ModelUnavailable, OutOfMemory, UsageError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a checkpoint is brought onto its device. The values are those of the command line."""

    device: str
    dtype: str = "auto"
    quantization: str = "none"
    attention: str = "default"
    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded model with its tokenizer. `requested_precision` is None where nobody asked for any."""

    model: Any
    tokenizer: Any
    weights_format: str
    requested_precision: str | None
    quantization: Mapping[str, Any] = field(default_factory=dict)
    remote_code_commit: str | None = None


def open_checkpoint(source: ModelSource, revision: str, options: LoadOptions) -> Checkpoint:
    """Load tokenizer and model.

    Raises:
        OutOfMemory: Parts of it would have to stay in the host's memory.
        UsageError: Its weights are pickled and that was not allowed; it searches with beams; it has an encoder.
        ModelUnavailable: Weights are missing from the checkpoint.
        OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError: What the libraries raise.
    """
    library_logging.warning_once.cache_clear()  # what was said of an earlier model may be true of this one
    where = _where(source, revision)
    trusted = {"trust_remote_code": options.trust_remote_code}
    config = transformers.AutoConfig.from_pretrained(source.location, **where, **trusted)
    if getattr(config, "is_encoder_decoder", False):  # some load without their encoder, and fail query by query
        raise UsageError(
            f"{source.name} is an encoder-decoder ({config.model_type}), which does not continue a text.",
            "Name what it does, such as --task summarization; `harness tasks` lists what there is.",
        )
    gguf = gguf_precision(source.path) if source.path and source.gguf_file else None
    checkpoint_quantization = {"quant_method": gguf} if gguf else _quantization_of(config)
    dtype = getattr(config, "dtype", None)
    requested = requested_precision(
        options.quantization, options.dtype, checkpoint_quantization, str(dtype) if dtype else None
    )
    tokenizer = _load_tokenizer(source, {**where, **trusted})
    # Reading a GGUF file's header takes seconds, so what it says is handed on.
    model, weights_format = load_weights(source, {**where, "config": config} if gguf else where, options)
    _refuse_beams(model, source.name)
    quantization = _quantization_of(model.config)
    if gguf and quantization:
        quantization["quant_method"] = gguf
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        weights_format="gguf" if source.gguf_file else weights_format,
        requested_precision=requested,
        quantization=quantization,
        remote_code_commit=remote_code_commit((model, config, tokenizer), revision),
    )


def count_parameters(model: Any, n_elements: int, *, quantized: bool, trust_remote_code: bool) -> int:
    """How many parameters the architecture has.

    A quantized model stores several of them in one element, so its architecture is built once more without
    memory.

    Args:
        model: The loaded model.
        n_elements: Elements of the tensors that it really holds.
        quantized: Whether these are packed.
        trust_remote_code: Whether the architecture may come from the model's repository.
    """
    if not quantized:
        return n_elements
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(
            type(model.config).from_dict({**model.config.to_dict(), "quantization_config": None}),
            trust_remote_code=trust_remote_code,
        )
    return sum(parameter.numel() for parameter in empty.parameters())


@contextmanager
def without_progress_bars(source: ModelSource) -> Iterator[None]:
    """Keep the libraries' own progress bars out of ours.

    The reader of some GGUF architectures has one that no setting turns off, so its stderr is swallowed.
    """
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()) if source.gguf_file else nullcontext():
            yield
    finally:
        if shown:
            library_logging.enable_progress_bar()


def _load_tokenizer(source: ModelSource, arguments: Mapping[str, Any]) -> Any:
    """The tokenizer; the Rust library behind it reports damaged files as bare `Exception`s."""
    try:
        return transformers.AutoTokenizer.from_pretrained(source.location, **arguments)
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ModelUnavailable(
            f"The tokenizer of {source.name} cannot be read: {error}", "Download the model again."
        ) from error


def load_weights(
    source: ModelSource,
    where: dict[str, Any],
    options: LoadOptions,
    *,
    auto: Any = transformers.AutoModelForCausalLM,
    may_lack: Sequence[str] = (),
) -> tuple[Any, str]:
    """The model and the format of its weights: safetensors, or pickle where that alone exists and is allowed.

    Args:
        source: Where it is.
        where: Keywords that pin what is loaded.
        options: How it is brought onto its device.
        auto: The class of transformers that loads it.
        may_lack: Beginnings of names of weights that a checkpoint may lack, because nobody uses them.

    Raises:
        UsageError: Its weights are pickled and that was not allowed.
        ModelUnavailable: Weights are missing from the checkpoint.
        OutOfMemory: Parts of it would have to stay in the host's memory.
    """
    arguments: dict[str, Any] = {
        **where,
        "dtype": options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
        "device_map": _device_map(options.device),
        "trust_remote_code": options.trust_remote_code,
        "output_loading_info": True,
    }
    if options.quantization != "none":
        arguments["quantization_config"] = _quantizer(options.quantization)
    if options.attention != "default":
        arguments["attn_implementation"] = options.attention
    weights_format = "safetensors"
    load = auto.from_pretrained
    try:
        model, info = load(source.location, use_safetensors=True, **arguments)
    except OSError as error:
        if not re.search(r"no file named \S*safetensors|cannot be loaded with `safetensors`", str(error)):
            raise
        if not options.allow_pickle:
            raise UsageError(
                f"{source.name} has no safetensors weights; loading a pickle can execute code.",
                "Choose a checkpoint with safetensors, or allow it with `--trust-remote-code`; it is recorded.",
            ) from error
        # Otherwise a thread asks the Hub to convert the repository, in the middle of a measurement.
        os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
        weights_format = "pickle"
        model, info = load(source.location, use_safetensors=False, **arguments)
    _refuse_holes(info, source.name, may_lack)
    _refuse_offloading(model, source.name, options.device)
    return model.eval(), weights_format


def _where(source: ModelSource, revision: str) -> dict[str, Any]:
    """Keywords that pin what is loaded."""
    if source.gguf_file:
        return {"gguf_file": source.gguf_file}
    return {} if source.path else {"revision": revision}


def _device_map(device: str) -> str | dict[str, str | int]:
    """Where the layers go. Boards are filled one after the other, so a model sits on as few as possible."""
    if device == "cpu":
        return {"": "cpu"}
    if device == "cuda":
        return "sequential" if torch.cuda.device_count() > 1 else {"": 0}
    return {"": int(device.partition(":")[2])}


def _quantizer(quantization: str) -> Any:
    """The quantizer that stands for a value of `--quantization`."""
    if quantization == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    if quantization == "int4":
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return transformers.FineGrainedFP8Config()


def _quantization_of(config: Any) -> dict[str, Any]:
    """A configuration's quantization as a plain mapping; empty: it has none."""
    found = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if found is None:
        return {}
    plain = dict(found) if isinstance(found, Mapping) else dict(found.to_dict())
    method = plain.get("quant_method", "")
    plain["quant_method"] = str(getattr(method, "value", method))
    return plain


def _refuse_holes(info: Mapping[str, Any], name: str, may_lack: Sequence[str]) -> None:
    """Weights that a checkpoint lacks are filled with random numbers by transformers, which goes on."""
    missing = sorted(key for key in info.get("missing_keys", ()) if not key.startswith(tuple(may_lack)))
    if missing:
        raise ModelUnavailable(
            f"The checkpoint of {name} lacks {len(missing)} of the model's weights, such as {missing[0]}.",
            "Choose a model that was trained for this; if it was, download it again: config.json and weights differ.",
        )


def _refuse_offloading(model: Any, name: str, device: str) -> None:
    """A model whose layers travel from the host for every token is not the one that was asked for."""
    places = getattr(model, "hf_device_map", {}).values()
    n_outside = sum(str(place) in ("cpu", "disk") for place in places)
    if device != "cpu" and n_outside:
        raise OutOfMemory(
            f"{name} does not fit into the memory of the visible GPUs: {n_outside} of its parts would stay outside.",
            "Choose a smaller model, `--quantization int8` or int4, or make more GPUs visible.",
        )


def _refuse_beams(model: Any, name: str) -> None:
    """Tokens of several beams are not tokens of one answer."""
    beams = getattr(model.generation_config, "num_beams", 1) or 1
    if beams > 1:
        raise UsageError(
            f"The generation config of {name} searches with {beams} beams, whose tokens cannot be told apart.",
            "Choose a model that samples or is greedy.",
        )


def remote_code_commit(parts: tuple[Any, ...], revision: str) -> str | None:
    """The commit of code that came from a repository; None: all code is the library's own.

    transformers puts such code into modules whose name holds the commit; a local directory's has the sha256 of
    its files, code included.
    """
    modules = [type(part).__module__ for part in parts]
    remote = [module for module in modules if module.startswith("transformers_modules")]
    if not remote:
        return None
    commits = (_COMMIT.search(module) for module in remote)
    return next((found.group() for found in commits if found), revision)
