"""What the engine really did with a model, read off the loaded model."""

from __future__ import annotations

import json
from typing import Any

import torch

from harness.engine.checkpoint import Checkpoint, count_parameters
from harness.engine.device import device_name
from harness.engine.precision import executed_precision
from harness.engine.weights import board_uuids, weigh
from harness.records import EngineFacts, Finding, FindingCode


def read_facts(checkpoint: Checkpoint, revision: str, *, trust_remote_code: bool) -> EngineFacts:
    """Everything that a manifest says about the model.

    Args:
        checkpoint: Just loaded.
        revision: Commit, or sha256 of its files.
        trust_remote_code: Whether its architecture may come from its repository.
    """
    model = checkpoint.model
    weights = weigh(model)
    n_parameters = count_parameters(
        model, weights.n_elements, quantized=bool(checkpoint.quantization), trust_remote_code=trust_remote_code
    )
    executed = executed_precision(weights.body_bytes_by_storage, checkpoint.quantization)
    return EngineFacts(
        device_name=device_name(weights.cuda_indices),
        device_uuids=board_uuids(weights.cuda_indices),
        revision=revision,
        n_parameters=n_parameters,
        bytes_per_parameter=weights.n_bytes / n_parameters,
        executed_precision=executed,
        requested_precision=checkpoint.requested_precision or executed,
        layer_classes=weights.layer_classes,
        attention=attention_of(model),
        context_length=context_length_of(model),
        weights_format=checkpoint.weights_format,
        remote_code_commit=checkpoint.remote_code_commit,
        generation_config=_plain(model.generation_config.to_diff_dict()),
        n_threads=torch.get_num_threads(),
    )


def attention_findings(requested: str, executed: str | None) -> tuple[Finding, ...]:
    """Whether another attention is executed than the one that was asked for by name.

    Args:
        requested: Value of `--attention`; `default` is whatever the library takes.
        executed: As the facts have it.
    """
    if requested in ("default", executed):
        return ()
    detail = f"attention {requested} was asked for, {executed} is executed"
    return (Finding(code=FindingCode.LIBRARY_WARNING, detail=detail),)


def attention_of(model: Any) -> str | None:
    """The implementation that the attention layers will look up; several, where they differ; None: it has none.

    Layers of transformers look it up in their configuration; those of diffusers hold it, as a processor.
    """
    attentions = [module for module in model.modules() if "Attention" in type(module).__name__]
    processors = {type(module.processor).__name__ for module in attentions if hasattr(module, "processor")}
    configs = [module.config for module in attentions if hasattr(module, "config")]
    configs = configs or list(filter(None, [getattr(model, "config", None)]))
    names = {str(getattr(config, "_attn_implementation", None) or "unknown") for config in configs}
    return "+".join(sorted(names | processors)) or None


def context_length_of(model: Any) -> int | None:
    """Tokens that the model has positions for; None: it does not say."""
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        return None
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration in which everything is JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain
