"""When the denoiser of a diffusion pipeline begins and ends within one image, and how many steps it really takes.

A pipeline is one call, so its phases are told from inside: from the denoiser's first run, and from the end of its last
step. The device is waited for at these two instants alone, unless a pipeline does not say how many steps there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.engine.task.stopwatch import Stopwatch
from harness.errors import CellFailed

ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"


@dataclass(slots=True)
class Denoising:
    """What is seen of one image."""

    stopwatch: Stopwatch
    n_steps: int = 0
    """Of the pipeline's loop. A scheduler of second order takes more of them than are asked for."""
    time_begun_s: float | None = None
    time_done_s: float | None = None

    def begin(self, *_: Any) -> None:
        """Before every run of the denoiser: the first one ends the encoding."""
        if self.time_begun_s is None:
            self.time_begun_s = self.stopwatch.now_s()

    def after_step(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - diffusers' own arguments
        """As `callback_on_step_end` of a pipeline. Guidance that runs the denoiser twice is one step here."""
        self.n_steps += 1
        n_all = getattr(pipeline, "num_timesteps", None)
        if n_all is None or self.n_steps >= n_all:
            self.time_done_s = self.stopwatch.now_s()
        return tensors

    def after_run(self, *_: Any) -> None:
        """After every run of the denoiser, where a pipeline has no such callback."""
        self.n_steps += 1
        self.time_done_s = self.stopwatch.now_s()


@contextmanager
def denoiser_watched(denoiser: Any, stopwatch: Stopwatch, *, has_callback: bool) -> Iterator[Denoising]:
    """Split the phases `encode` and `denoise` off one image.

    Args:
        denoiser: A torch module.
        stopwatch: Of the query.
        has_callback: Whether the pipeline is given `after_step`; otherwise the runs of the denoiser are the steps.

    Raises:
        CellFailed: The pipeline came to its end without denoising to its end.
    """
    seen = Denoising(stopwatch)
    handles = [denoiser.register_forward_pre_hook(seen.begin)]
    if not has_callback:
        handles.append(denoiser.register_forward_hook(seen.after_run))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    if seen.time_begun_s is None or seen.time_done_s is None:
        raise CellFailed(
            f"The pipeline ended after {seen.n_steps} denoising step(s), before the last one.",
            "Run it once with plain diffusers; leave out options that stop it early.",
        )
    stopwatch.split_at(ENCODE, seen.time_begun_s)
    stopwatch.split_at(DENOISE, seen.time_done_s)
