"""From a place to a diffusion pipeline that makes images, and what it was before it was loaded.

Knows diffusers' loading functions. Must not know prompts or time.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as library_logging
from huggingface_hub.errors import EntryNotFoundError, HTTPError, LocalEntryNotFoundError

from harness.engine.hub import unreachable
from harness.engine.layout import PIPELINE_INDEX, parts
from harness.engine.task.runner import Opened, Place
from harness.errors import ModelUnavailable, UsageError

library_logging.disable_default_handler()  # what it says becomes findings, and does not go to the terminal

DENOISERS = ("transformer", "unet")
STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Words of safetensors for what weights are computed in."""
SETTINGS = {
    "steps": "num_inference_steps",
    "width": "width",
    "height": "height",
    "guidance_scale": "guidance_scale",
}
"""Options of the task, and what pipelines call them."""
CARDS: Mapping[str, Mapping[str, int | float]] = {
    "stabilityai/sd-turbo": {"num_inference_steps": 1, "guidance_scale": 0.0},
    "stabilityai/sdxl-turbo": {"num_inference_steps": 1, "guidance_scale": 0.0},
    "black-forest-labs/FLUX.1-schnell": {"num_inference_steps": 4, "guidance_scale": 0.0},
}
"""What the cards of models that were distilled to few steps say, and their files do not."""


def open_pipeline(place: Place) -> tuple[Any, Any, dict[str, Any], Opened]:
    """Load the pipeline of a place.

    Returns:
        The pipeline, its denoiser, the keywords with which it is called, and what the engine has to know.

    Raises:
        UsageError: It is no pipeline that makes images of texts; an option that it does not have; pickled weights or
            code of its own that were not allowed.
        ModelUnavailable: Weights are missing from the checkpoint.
        OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError: What the libraries raise.
    """
    name = place.source.name
    if place.attention != "default":
        raise UsageError("A diffusion pipeline chooses its attention by itself.", "Leave --attention out.")
    folder = _folder(place)
    kind = json.loads((folder / PIPELINE_INDEX).read_text())["_class_name"]
    names = parts(folder)
    denoiser = next((name for name in DENOISERS if name in names), None)
    if denoiser is None:
        raise UsageError(
            f"{name} has no denoiser by the name of {' or '.join(DENOISERS)}, so its phases cannot be told apart.",
            "Choose a pipeline like Stable Diffusion, SDXL, FLUX, PixArt or Sana.",
        )
    _refuse_quantized(folder / denoiser, name)
    is_pickled = any(_is_pickled(folder / part) for part in names)
    if is_pickled and not place.trust_remote_code:
        raise _no_safetensors(name)
    dtype = place.dtype if place.dtype != "auto" else _stored_dtype(folder / denoiser) or "float32"
    is_own_code = not isinstance(kind, str)
    auto = diffusers.DiffusionPipeline if is_own_code else diffusers.AutoPipelineForText2Image
    with _without_progress_bars(), _holes_refused(name):
        try:
            pipeline = auto.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=None if is_pickled else True,
                trust_remote_code=place.trust_remote_code,
            )
        except ValueError as error:
            if "AutoPipeline can't find a pipeline" not in str(error):
                raise
            raise UsageError(
                f"{name} is a {kind}, which makes no images of texts.",
                "Choose a text-to-image pipeline, such as stabilityai/sd-turbo.",
            ) from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to("cuda:0" if place.device == "cuda" else place.device)
    settings = _settings(pipeline, place)
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    opened = Opened(
        model=torch.nn.ModuleList(modules),
        weights_format="pickle" if is_pickled else "safetensors",
        requested_precision=dtype,
        libraries={"diffusers": diffusers.__version__},
        remote_code_commit=place.revision if is_own_code else None,
        generation=_described(pipeline, settings),
    )
    return pipeline, getattr(pipeline, denoiser), settings, opened


def accepted(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """What a pipeline can be called with."""
    return inspect.signature(type(pipeline).__call__).parameters


def _folder(place: Place) -> Path:
    """The pipeline's files on this machine; a Hub's are downloaded, the one format that is loaded."""
    name = place.source.name
    if place.source.gguf_file:
        raise UsageError(f"{name} is a GGUF file, no diffusion pipeline.", f"Give the directory with {PIPELINE_INDEX}.")
    if place.source.path is not None:
        if not (place.source.path / PIPELINE_INDEX).is_file():
            raise _no_pipeline(name)
        return place.source.path
    try:
        found = diffusers.DiffusionPipeline.download(
            name,
            revision=place.revision,
            use_safetensors=None if place.trust_remote_code else True,
            trust_remote_code=place.trust_remote_code,
        )
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError as error:
        raise _no_pipeline(name) from error
    except OSError as error:
        if "necessary `safetensors` weights" not in str(error):
            raise
        raise _no_safetensors(name) from error
    except HTTPError as error:  # the Hub's answers are OSErrors too; this one broke off
        raise unreachable(name, place.revision) from error
    return Path(found)


def _no_pipeline(name: str) -> UsageError:
    return UsageError(
        f"{name} is no diffusion pipeline: it has no {PIPELINE_INDEX}.",
        "Choose a text-to-image pipeline in diffusers' layout, such as stabilityai/sd-turbo.",
    )


def _no_safetensors(name: str) -> UsageError:
    return UsageError(
        f"A part of {name} has no safetensors weights; loading a pickle can execute code.",
        "Choose a checkpoint with safetensors, or allow it with `--trust-remote-code`; it is recorded.",
    )


def _refuse_quantized(folder: Path, name: str) -> None:
    """Packed weights would be weighed as what they are packed in."""
    config = folder / "config.json"
    if config.is_file() and json.loads(config.read_text()).get("quantization_config"):
        raise UsageError(
            f"The denoiser of {name} is quantized, which this task does not measure.",
            "Choose the checkpoint that it was made of.",
        )


def _is_pickled(folder: Path) -> bool:
    return not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin"))


def _stored_dtype(folder: Path) -> str | None:
    """What most of the denoiser's weights are stored in; None: its files do not say it."""
    sizes: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        if path.name.count(".") > 1:  # a variant, such as model.fp16.safetensors, which is not loaded
            continue
        with path.open("rb") as file:
            # A header's length in 8 bytes, then the header (the format's specification).
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for tensor in (value for key, value in header.items() if key != "__metadata__"):
            sizes[tensor["dtype"]] += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return STORED.get(sizes.most_common(1)[0][0]) if sizes else None


def _settings(pipeline: Any, place: Place) -> dict[str, Any]:
    """Keywords of a pipeline's call: what was asked for, else what its card says; the rest is its own.

    Raises:
        UsageError: It does not have such a setting, or cannot make an image of that size.
    """
    known = accepted(pipeline)
    asked = {SETTINGS[option]: value for option, value in place.options.items() if value}
    for keyword in asked:
        if keyword not in known:
            raise UsageError(f"{type(pipeline).__name__} has no {keyword}.", "Leave that option out.")
    sides = [asked[side] for side in ("width", "height") if side in asked]
    factor = int(getattr(pipeline, "vae_scale_factor", 1))
    if len(sides) == 1 or any(side % factor for side in sides):
        raise UsageError(
            f"An image of {asked.get('width', '?')} x {asked.get('height', '?')} pixels cannot be made.",
            f"Set both task_options.width and task_options.height, to multiples of {factor}.",
        )
    return {**CARDS.get(place.source.name, {}), **asked}


def _described(pipeline: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """For the manifest. A side that is None is the pipeline's own."""
    known = accepted(pipeline)
    return {
        "pipeline": type(pipeline).__name__,
        "scheduler": type(pipeline.scheduler).__name__,
        **{key: settings.get(key, known[key].default) for key in SETTINGS.values() if key in known},
        "safety_checker": getattr(pipeline, "safety_checker", None) is not None,
    }


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library_logging.enable_progress_bar()


@contextmanager
def _holes_refused(name: str) -> Iterator[None]:
    """Weights that a checkpoint lacks are filled with random numbers; the libraries say so in a log line and go on.

    Raises:
        ModelUnavailable: That was said.
    """
    collector = _Holes()
    loggers = [logging.getLogger(library) for library in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(collector)
    if collector.said:
        raise ModelUnavailable(
            f"The checkpoint of {name} lacks weights: {collector.said[0]}",
            "Download it again, or check that its configuration belongs to these weights.",
        )


class _Holes(logging.Handler):
    """Keeps sentences about weights that were made up."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage())
        if "newly initialized" in text:
            self.said.append(" ".join(text.split())[:200])
