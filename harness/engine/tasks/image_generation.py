"""A text, made into one image."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from harness.engine.task.denoising import denoiser_watched
from harness.engine.task.description import StandIn, Task
from harness.engine.task.runner import Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.errors import CellFailed, UnusableInput
from harness.records import Finding, FindingCode, InputColumns, Prompt

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's names, by the number of channels."""


class ImageGenerator:
    """A diffusion pipeline."""

    last_phase = "decode"

    def __init__(self, place: Place) -> None:
        from harness.engine.task.diffusing import accepted, open_pipeline

        self._pipeline, self._denoiser, self._settings, self.opened = open_pipeline(place)
        self._accepted = accepted(self._pipeline)
        self._has_callback = "callback_on_step_end" in self._accepted

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """The text; a pipeline tokenizes it by itself, and leaves out what its text encoders cannot take."""
        if not prompt.text.strip():
            raise UnusableInput(f"The text of {prompt.prompt_id} is empty.", "Fill it in, or remove the row.")
        sizes: dict[str, int | float] = {}
        findings: tuple[Finding, ...] = ()
        if (tokenizer := self._widest_tokenizer()) is not None:
            whole = len(tokenizer(prompt.text, truncation=False, verbose=False)["input_ids"])
            kept = min(whole, self._window(tokenizer))
            sizes = {"prompt_tokens": int(kept)}
            if kept < whole:
                findings = (Finding(code=FindingCode.INPUT_TRUNCATED, detail=f"{kept:,} of {whole:,} tokens"),)
        return Prepared(inputs=prompt.text, rendered=prompt.text, sizes=sizes, findings=findings)

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """One image, still on the device, and how many steps it took."""
        import torch

        # The seed that the engine has just set. The noise is drawn where the denoiser is, so that nothing is copied.
        generator = torch.Generator(self._denoiser.device).manual_seed(torch.initial_seed())
        with denoiser_watched(self._denoiser, stopwatch, has_callback=self._has_callback) as denoising:
            made = self._pipeline(
                prompt=prepared.inputs,
                generator=generator,
                output_type="pt",
                **self._settings,
                **({"callback_on_step_end": denoising.after_step} if self._has_callback else {}),
            )
        return made.images[0], denoising.n_steps

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The image's pixels as a hash: equal images can be seen, and none is stored."""
        image, n_steps = raw
        if not bool(image.isfinite().all()):
            raise CellFailed(
                f"The image of {prompt.prompt_id} holds values that are no numbers: {self.opened.requested_precision} "
                "is too narrow for a part of this pipeline.",
                "Choose `--dtype bfloat16` or float32.",
            )
        # (channels, height, width) in 0..1, as `output_type="pt"` has it.
        pixels = (image.float() * 255).round().byte().permute(1, 2, 0).cpu().contiguous().numpy()
        height, width, n_channels = pixels.shape
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        return Result(
            text=f"sha256:{digest} {width}x{height} {MODES.get(n_channels, n_channels)}",
            sizes={"output_pixels": width * height, "denoising_steps": n_steps},
        )

    def _widest_tokenizer(self) -> Any:
        """Of several the one that cuts least: FLUX gives all of a text to T5, and the start of it to CLIP."""
        parts = self._pipeline.components.items()
        tokenizers = [part for name, part in parts if name.startswith("tokenizer") and callable(part)]
        return max(tokenizers, key=self._window, default=None)

    def _window(self, tokenizer: Any) -> float:
        """Tokens that are encoded of a text, at the most."""
        own = self._accepted.get("max_sequence_length")
        limits = (tokenizer.model_max_length, own.default if own is not None else None)
        return min((limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9), default=math.inf)


def _write_stand_in(folder: Path) -> None:
    from harness.engine.task.random_pipeline import write_pipeline

    write_pipeline(folder)


TASK = Task(
    name="image-generation",
    title="Image generation",
    takes="a text",
    returns="one image",
    inputs=InputColumns(text=("prompt", "text")),
    prompts="scenes",
    published="aies-image-generation",
    metric="none is claimed",
    sizes=("prompt_tokens", "denoising_steps", "output_pixels"),
    model="stabilityai/sd-turbo",
    loads="AutoPipelineForText2Image",
    phases=("encode", "denoise", "decode"),
    imports=("diffusers",),
    options={"steps": 0, "width": 0, "height": 0, "guidance_scale": 0.0},
    extra="diffusion",
    note=(
        "A query holds all that a pipeline does: tokenizing and text encoders (encode), every step (denoise), the VAE "
        "and, where a pipeline has one, its safety checker (decode). Turning the result into a picture is outside. "
        "An option of 0 is the pipeline's own; sd-turbo, sdxl-turbo and FLUX.1-schnell take the few steps, without "
        "guidance, that their cards name. AI Energy Score's configuration asks for 30 steps; its table does not say. "
        "A guidance_scale of 1 is none. Weights whose precision is not stated are float32."
    ),
    open=ImageGenerator,
    stand_in=StandIn(name="stable-diffusion-layout-33m", write=_write_stand_in),
)
