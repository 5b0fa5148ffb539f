"""A thinking budget, held by force: after so many tokens the end of the thinking is written for the model.

Knows token ids and one question, whether a row's thinking is open. Must not know tokenizers or modes.

Until the limit a step costs a comparison of two integers on the host. At the limit the output so far is read once,
which waits for the device. From there on each forced token costs a decode step, like any other: the model reads it and
proposes the next one, only the choice is taken from it. (A server that appends the tokens to the prompt instead reads
them in one step.) Afterwards the model samples as it always does. What it then writes is its answer: a model may well
go on thinking there, and some close that with another mark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch


class Budget:
    """A logits processor for one call of `generate`; knows afterwards which rows it ended."""

    def __init__(
        self, *, n_prompt_tokens: int, n_tokens: int, end_ids: Sequence[int], is_open: Callable[[int, list[int]], bool]
    ) -> None:
        """Set a limit.

        Args:
            n_prompt_tokens: Length of the input, padding included.
            n_tokens: Output tokens after which the end is forced.
            end_ids: Token ids of the text that ends the thinking.
            is_open: Row and its output so far, to whether the row is thinking at that moment. A row that has ended is
                not.
        """
        self._n_prompt_tokens, self._n_tokens = n_prompt_tokens, n_tokens
        self._end_ids = tuple(end_ids)
        self._is_open = is_open
        self._rows: torch.Tensor | None = None
        self.forced: frozenset[int] = frozenset()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave one token to choose from in the rows that are ended, and everything to the others.

        Args:
            input_ids: Everything so far, of shape (rows, tokens).
            scores: Of the next token, of shape (rows, vocabulary).
        """
        step = input_ids.shape[1] - self._n_prompt_tokens - self._n_tokens
        if step == 0:
            self._decide(input_ids)
        if self._rows is None or step >= len(self._end_ids):
            return scores
        only = torch.full_like(scores, -math.inf)
        only[:, self._end_ids[step]] = 0.0
        return torch.where(self._rows, only, scores)

    @property
    def n_held_tokens(self) -> int:
        """Output tokens of a row up to the end that is forced, that included."""
        return self._n_tokens + len(self._end_ids)

    def _decide(self, input_ids: torch.Tensor) -> None:
        outputs = input_ids[:, self._n_prompt_tokens :].tolist()
        thinking = [self._is_open(row, ids) for row, ids in enumerate(outputs)]
        self.forced = frozenset(row for row, is_open in enumerate(thinking) if is_open)
        if self.forced:
            self._rows = torch.tensor(thinking, device=input_ids.device)[:, None]
