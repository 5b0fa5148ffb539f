"""A thinking budget, held by force: after so many tokens the end of the thinking is written for the model.

Knows token ids and one question, whether a row's thinking is open. Must not know tokenizers or modes.

Until the limit a step costs a comparison of two integers per row on the host. At the limit the output so far is read
once, which waits for the device. From there on each forced token costs a decode step, like any other: the model reads
it and proposes the next one, only the choice is taken from it. (A server that appends the tokens to the prompt instead
reads them in one step.) Afterwards the model samples as it always does. What it then writes is its answer: a model may
well go on thinking there, and some close that with another mark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch


class Budget:
    """A logits processor for one prompt or several; knows afterwards whose thinking it ended.

    Prompts that are answered in several calls of `generate` keep their count, and an end that was begun in one call is
    finished in the next. One that has written nothing yet begins anew.
    """

    def __init__(self, *, n_tokens: int, end_ids: Sequence[int], is_open: Callable[[int, list[int]], bool]) -> None:
        """Set a limit.

        Args:
            n_tokens: Output tokens after which the end is forced.
            end_ids: Token ids of the text that ends the thinking.
            is_open: Prompt number and its output so far, to whether it is thinking at that moment. One that has ended
                is not.
        """
        self._n_tokens = n_tokens
        self._end_ids = tuple(end_ids)
        self._is_open = is_open
        self._prompts: list[int] = []
        self._written: list[list[int]] = []
        self._n_input_tokens = 0
        self.forced: set[int] = set()

    def begin(self, prompts: Sequence[int], written: Sequence[Sequence[int]], n_input_tokens: int) -> None:
        """Make ready for a call of `generate`.

        Args:
            prompts: The prompt in each row.
            written: The output of each row so far, which is the end of its input.
            n_input_tokens: Length of the input, padding included.
        """
        self.forced -= {prompt for prompt, ids in zip(prompts, written, strict=True) if not ids}
        self._prompts = list(prompts)
        self._written = [list(ids) for ids in written]
        self._n_input_tokens = n_input_tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave one token to choose from in the rows that are ended, and everything to the others.

        Args:
            input_ids: Everything so far, of shape (rows, tokens).
            scores: Of the next token, of shape (rows, vocabulary).
        """
        n_over = input_ids.shape[1] - self._n_input_tokens - self._n_tokens
        steps = [len(written) + n_over for written in self._written]
        if 0 in steps:
            self._decide([row for row, step in enumerate(steps) if step == 0], input_ids)
        ends = {
            row: self._end_ids[step]
            for row, step in enumerate(steps)
            if 0 <= step < len(self._end_ids) and self._prompts[row] in self.forced
        }
        if not ends:
            return scores
        left = scores.clone()
        left[list(ends)] = -math.inf
        left[list(ends), list(ends.values())] = 0.0
        return left

    @property
    def n_held_tokens(self) -> int:
        """Output tokens of a row up to the end that is forced, that included."""
        return self._n_tokens + len(self._end_ids)

    def was_forced(self, prompt: int, n_output_tokens: int) -> bool:
        """Whether an output of so many tokens had its thinking ended: one that was over at the limit had not."""
        return prompt in self.forced and n_output_tokens > self._n_tokens

    def _decide(self, rows: Sequence[int], input_ids: torch.Tensor) -> None:
        new = input_ids[:, self._n_input_tokens :].tolist()
        self.forced |= {
            self._prompts[row] for row in rows if self._is_open(self._prompts[row], self._written[row] + new[row])
        }
