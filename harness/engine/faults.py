"""Errors of torch and transformers, translated into ours.

Knows which exceptions those libraries raise and what their messages say; nothing else reads them.
"""

from __future__ import annotations

import re
import traceback

import torch
from safetensors import SafetensorError

from harness.engine.hub import INSTALL_COMMAND, causes, hub_fault
from harness.engine.source import ModelSource
from harness.errors import EnvironmentFault, HarnessError, ModelUnavailable, OutOfMemory, UsageError

LOAD_ERRORS = (OSError, ValueError, RuntimeError, ImportError, KeyError, MemoryError, SafetensorError)
"""What loading is known to raise. An error of another class is a defect, here or there, and stays as it is."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|not enough memory", re.IGNORECASE
)
_MISSING_PACKAGE = re.compile(r"pip install[^`'\"\n)]*")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host, ran out of memory."""
    return any(
        isinstance(cause, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(cause, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(cause))))
        for cause in causes(error)
    )


def let_go(error: BaseException) -> None:
    """Drop the local variables of every frame that an error went through.

    Raising our error from it keeps its traceback alive, and with it the key-value cache that did not fit.
    """
    for cause in causes(error):
        if cause.__traceback__ is not None:
            traceback.clear_frames(cause.__traceback__)


def load_fault(error: BaseException, source: ModelSource, revision: str, *, trust_remote_code: bool) -> HarnessError:
    """What an error while loading means.

    Args:
        error: One of `LOAD_ERRORS`.
        source: What was to be loaded.
        revision: At which commit.
        trust_remote_code: Whether code from the repository was allowed.
    """
    name, said = source.name, _first_line(error)
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{name} does not fit into the device's memory: {said}",
            "Choose a smaller model, `--quantization int8` or int4, or a larger or further GPU (`--device cuda`).",
        )
    if "custom code" in str(error) or ("trust_remote_code" in str(error) and not trust_remote_code):
        return UsageError(
            f"{name} needs code from its own repository, which is not executed unless asked for.",
            "Read that code, then add `--trust-remote-code`; its commit is recorded.",
        )
    if isinstance(error, ImportError):
        return _missing_package(error, name)
    if source.path is None and (fault := hub_fault(error, name, revision)):
        return fault
    if any(isinstance(cause, SafetensorError) for cause in causes(error)):
        return ModelUnavailable(
            f"A weights file of {name} is damaged or incomplete: {said}",
            f"Download it again: `hf download {name} --force-download`." if source.path is None else "Copy it again.",
        )
    return _not_loadable(error, source, said)


def _missing_package(error: ImportError, name: str) -> EnvironmentFault:
    found = _MISSING_PACKAGE.search(str(error))
    # A shell would take the `>` of a version for a redirection.
    words = [f"'{word}'" if "<" in word or ">" in word else word for word in (found.group().split() if found else ())]
    return EnvironmentFault(
        f"{name} needs a package that is not installed: {_first_line(error)}",
        f"`{' '.join(words) or INSTALL_COMMAND}`",
    )


def _not_loadable(error: BaseException, source: ModelSource, said: str) -> HarnessError:
    """A model that was found and cannot be used."""
    name, text = source.name, str(error)
    if "does not recognize this architecture" in text or "is not supported yet" in text:
        return EnvironmentFault(
            f"The installed transformers does not know the architecture of {name}: {said}",
            "`pip install --upgrade transformers`, or `--trust-remote-code` if the model brings its own code.",
        )
    if "Unrecognized configuration class" in text:
        return UsageError(
            f"{name} is not a model that continues text.",
            "Choose a causal language model; `harness models` lists some.",
        )
    if "ignore_mismatched_sizes" in text:
        return ModelUnavailable(
            f"The weights of {name} do not have the shapes that its configuration describes.",
            "They do not belong together, or this transformers misreads the file: download it again, or try another.",
        )
    if "instantiate the backend tokenizer" in text:
        return ModelUnavailable(
            f"{name} has no tokenizer that could be loaded.",
            "Choose a model of texts; if it is one, add its tokenizer's files (tokenizer.json).",
        )
    if isinstance(error, OSError) or "Unrecognized model" in text:
        return ModelUnavailable(
            f"{name} is not a complete model: {said}",
            "Its directory needs config.json, tokenizer files and safetensors weights."
            if source.path is not None
            else f"See what it has at https://huggingface.co/{name}/tree/main.",
        )
    if "No GPU" in text or "requires a GPU" in text or "CUDA" in text:
        return EnvironmentFault(
            f"{name} cannot run on this device in this precision: {said}",
            "Choose another `--quantization`, or another `--device`.",
        )
    return ModelUnavailable(
        f"{name} could not be loaded: {type(error).__name__}: {said}",
        "If the same model loads in plain transformers, this is a defect here: please report it.",
    )


def _first_line(error: BaseException) -> str:
    """An error's message, shortened to what fits into a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
