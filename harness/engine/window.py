"""The window that is measured: `generate` and nothing else.

The device is synchronized at both ends. Python's garbage collector runs before the window and is off inside it:
a full collection takes tens of milliseconds during which the GPU idles, at a moment that has nothing to do with
the query, and `generate` frees what it allocates by reference counts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.engine.device import synchronize
from harness.engine.timing import TokenTimes
from harness.engine.weights import weigh
from harness.protocols import Clock


class Window:
    """Runs one loaded model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cuda_indices = weigh(model).cuda_indices

    def run(
        self, prompt_ids: list[int], max_new_tokens: int, seed: int, times: TokenTimes, clock: Clock
    ) -> tuple[float, float, list[int]]:
        """Answer one prompt with the model's own generation config.

        Args:
            prompt_ids: Token ids of the whole input.
            max_new_tokens: The cap, in tokens.
            seed: Of the sampling, on every device.
            times: Takes the instant of each new token.
            clock: The session's.

        Returns:
            The synchronized start and end in session seconds, and the ids of the new tokens.
        """
        inputs = torch.tensor([prompt_ids], device=self._model.device)
        mask = torch.ones_like(inputs)
        with torch.inference_mode(), _no_collection():
            torch.manual_seed(seed)
            synchronize(self._cuda_indices)
            time_start_s = clock.now_s()
            output = self._model.generate(inputs, attention_mask=mask, max_new_tokens=max_new_tokens, streamer=times)
            synchronize(self._cuda_indices)
            time_end_s = clock.now_s()
        return time_start_s, time_end_s, output[0, len(prompt_ids) :].tolist()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and not again before the end."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
