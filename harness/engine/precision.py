"""Words for precisions, and whether the one asked for was the one executed.

Knows configurations as plain mappings, and bytes by storage type. Must not know torch: what was really loaded
is weighed in `weights.py`.

A word is a float type (`float32`, `bfloat16`, `float16`), or a quantization with what it needs to be told
apart: `fp8`, `mxfp4`, `int8 (bitsandbytes)`, `int4 (bitsandbytes nf4)`, `gguf Q4_1`, `gptq 4 bit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.records import Finding, FindingCode

FLOATS = ("float32", "bfloat16", "float16", "float64")
"""Storage types in which weights are computed as they are stored."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Values of `--dtype`."""

QUANTIZATIONS = {
    "none": "",
    "int8": "int8 (bitsandbytes)",
    "int4": "int4 (bitsandbytes nf4)",
    "fp8": "fp8",
}
"""Values of `--quantization`, and the precision that each asks for."""

_ALIASES = {
    "float": "float32",
    "fp32": "float32",
    "f32": "float32",
    "bf16": "bfloat16",
    "half": "float16",
    "fp16": "float16",
    "f16": "float16",
    "gguf f32": "float32",
    "gguf f16": "float16",
    "gguf bf16": "bfloat16",
}
_FP8_METHODS = ("fp8", "fbgemm_fp8", "mxfp8")


def plain_word(precision: str) -> str:
    """One spelling for one precision: `torch.bfloat16`, `BF16` and `gguf BF16` are `bfloat16`."""
    word = precision.strip().removeprefix("torch.")
    return _ALIASES.get(word.lower(), word)


def quantization_word(config: Mapping[str, Any]) -> str:
    """The precision that a checkpoint's `quantization_config` names.

    Args:
        config: As in config.json; `quant_method` says whose it is.
    """
    method = str(config.get("quant_method", "") or "unknown").lower()
    bits = config.get("bits") or config.get("w_bit") or config.get("nbits")
    if method.startswith("bitsandbytes"):
        if config.get("load_in_4bit"):
            return f"int4 (bitsandbytes {config.get('bnb_4bit_quant_type', 'fp4')})"
        return QUANTIZATIONS["int8"]
    if method in _FP8_METHODS:
        return "mxfp8" if method == "mxfp8" else "fp8"
    if method == "compressed-tensors":
        return f"{method} {config.get('format', '')}".strip()
    return f"{method} {bits} bit" if bits else method


def requested_precision(
    quantization: str, dtype: str, checkpoint_quantization: Mapping[str, Any] | None, checkpoint_dtype: str | None
) -> str | None:
    """What flags and checkpoint ask for together; None: neither says anything.

    A quantized checkpoint asks for its quantization whatever `dtype` says, since `dtype` only names what the
    rest is computed in.

    Args:
        quantization: Value of `--quantization`.
        dtype: Value of `--dtype`.
        checkpoint_quantization: The checkpoint's `quantization_config`; for GGUF `{"quant_method": "gguf Q4_1"}`.
        checkpoint_dtype: The checkpoint's own float type.
    """
    if quantization != "none":
        return QUANTIZATIONS[quantization]
    if checkpoint_quantization:
        method = str(checkpoint_quantization.get("quant_method", ""))
        return method if method.startswith("gguf") else quantization_word(checkpoint_quantization)
    if dtype != "auto":
        return dtype
    return plain_word(checkpoint_dtype) if checkpoint_dtype else None


def executed_precision(bytes_by_storage: Mapping[str, int], quantization: Mapping[str, Any] | None) -> str:
    """What the loaded layers are, told from how most of their bytes are stored.

    A quantizer that dequantized while loading left ordinary floats behind, so its name in the configuration
    proves nothing; the storage does.

    Args:
        bytes_by_storage: Storage type to bytes, over the layers that a quantization would touch (without
            embeddings and the output head, which dominate small models and stay as they are).
        quantization: The quantization that the loaded model still declares.
    """
    storage = max(sorted(bytes_by_storage), key=lambda name: bytes_by_storage[name], default="unknown")
    if storage in FLOATS:
        return storage
    if quantization:
        method = str(quantization.get("quant_method", ""))
        return method if method.startswith("gguf") else quantization_word(quantization)
    return "fp8" if storage.startswith("float8") else storage


def precision_finding(requested: str | None, executed: str | None) -> Finding | None:
    """A `PRECISION_FALLBACK` where the two differ; None where they agree, or one is not known."""
    if requested is None or executed is None or plain_word(requested) == plain_word(executed):
        return None
    return Finding(
        code=FindingCode.PRECISION_FALLBACK, detail=f"asked for {requested}, executed {plain_word(executed)}"
    )


def check_flags(quantization: str, dtype: str, device: str) -> None:
    """Refuse what cannot be meant, before anything is loaded.

    Raises:
        UsageError: An unknown value, or FP8 without a GPU.
    """
    if quantization not in QUANTIZATIONS:
        raise UsageError(f"Unknown quantization {quantization!r}.", f"Known: {', '.join(QUANTIZATIONS)}.")
    if dtype not in DTYPES:
        raise UsageError(f"Unknown dtype {dtype!r}.", f"Known: {', '.join(DTYPES)}.")
    if quantization == "fp8" and device == "cpu":
        raise UsageError(
            "FP8 needs an NVIDIA GPU of compute capability 8.9 or later; the device is the CPU.",
            "Use `--quantization int8`, or none.",
        )
