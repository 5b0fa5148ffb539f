"""The window that is measured: `generate` and nothing else.

The device is synchronized at both ends. Python's garbage collector runs before the window and is off inside it:
a full collection takes tens of milliseconds during which the GPU idles, at a moment that has nothing to do with
the query, and `generate` frees what it allocates by reference counts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from harness.engine.device import synchronize
from harness.engine.weights import weigh
from harness.protocols import Clock


class Window:
    """Runs one loaded model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cuda_indices = weigh(model).cuda_indices

    def run(
        self, rows: Sequence[Sequence[int]], seed: int, clock: Clock, *, pad_id: int = 0, **settings: Any
    ) -> tuple[float, float, list[list[int]]]:
        """Answer one prompt or several at once, with the model's own generation config where nothing else is said.

        Args:
            rows: Token ids of each input.
            seed: Of the sampling, on every device; one for all rows.
            clock: The session's.
            pad_id: What shorter inputs are filled up with, on the left, where the model does not look.
            settings: Further keywords of `generate`.

        Returns:
            The synchronized start and end in session seconds, and the ids of the new tokens of each row; a row that
            ended before the others is filled up by `generate`.
        """
        width = max(len(row) for row in rows)
        inputs = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=self._model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self._model.device)
        with torch.inference_mode(), no_collection():
            torch.manual_seed(seed)
            synchronize(self._cuda_indices)
            time_start_s = clock.now_s()
            output = self._model.generate(inputs, attention_mask=mask, **settings)
            synchronize(self._cuda_indices)
            time_end_s = clock.now_s()
        return time_start_s, time_end_s, output[:, width:].tolist()


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage now, and not again before the end."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
