"""From a place to a transformers model for one of several auto classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import transformers
from transformers.utils import logging as library_logging

from harness.engine.checkpoint import LoadOptions, load_weights, remote_code_commit
from harness.engine.layout import PIPELINE_INDEX
from harness.engine.precision import requested_precision
from harness.engine.task.runner import Opened, Place
from harness.errors import UsageError


def keywords_of(place: Place) -> dict[str, Any]:
    """Keywords that pin what `from_pretrained` loads: a processor, a tokenizer, a configuration."""
    revision = {} if place.source.path else {"revision": place.revision}
    return {**revision, "trust_remote_code": place.trust_remote_code}


def open_model(place: Place, autos: Sequence[str], *, may_lack: Sequence[str] = (), **generation: Any) -> Opened:
    """Load the model of a place.

    Args:
        place: Which checkpoint, and how.
        autos: Names of transformers' auto classes; the first that knows the configuration loads it.
        may_lack: Beginnings of names of weights that the task does not use and a checkpoint may lack.
        generation: What the manifest says of how answers are generated.

    Raises:
        UsageError: None of the classes loads such a model, such as a diffusion pipeline; or its weights are pickled
            and that was not allowed.
        ModelUnavailable: Weights are missing from the checkpoint.
        OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError: What the libraries raise.
    """
    library_logging.warning_once.cache_clear()  # what was said of an earlier model may be true of this one
    where = keywords_of(place)
    if place.source.path is not None and (place.source.path / PIPELINE_INDEX).is_file():
        raise UsageError(
            f"{place.source.name} is a diffusion pipeline, which {' and '.join(autos)} cannot load.",
            "Measure it with --task image-generation, or choose a model that was trained for this task.",
        )
    config = transformers.AutoConfig.from_pretrained(place.source.location, **where)
    auto = _fitting(autos, config, place)
    options = LoadOptions(
        device=place.device,
        dtype=place.dtype,
        attention=place.attention,
        trust_remote_code=place.trust_remote_code,
        allow_pickle=place.trust_remote_code,
    )
    pinned = {} if place.source.path else {"revision": place.revision}
    model, weights_format = load_weights(place.source, pinned, options, auto=auto, may_lack=may_lack)
    dtype = getattr(config, "dtype", None)
    return Opened(
        model=model,
        weights_format=weights_format,
        requested_precision=requested_precision("none", place.dtype, None, str(dtype) if dtype else None),
        remote_code_commit=remote_code_commit((model, config), place.revision),
        generation=generation,
    )


def _fitting(autos: Sequence[str], config: Any, place: Place) -> Any:
    """The auto class that knows a configuration."""
    for name in autos:
        auto = getattr(transformers, name)
        remote = place.trust_remote_code and name in (getattr(config, "auto_map", None) or {})
        if remote or type(config) in auto._model_mapping:
            return auto
    raise UsageError(
        f"{place.source.name} is a {config.model_type} model, which {' and '.join(autos)} cannot load.",
        "Choose a model that was trained for this task; `harness tasks` names one for each.",
    )
