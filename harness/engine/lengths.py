"""How long each row of a batch must and may become: a logits processor and a stopping criterion.

Knows token ids. Must not know models, modes or clocks. Neither waits for the device: what is compared with the number
of new tokens lies there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch


class LeastTokens:
    """No row may end before it has so many output tokens, those of earlier calls of `generate` included."""

    def __init__(self, n_left: Sequence[int], n_input_tokens: int, end_ids: Collection[int]) -> None:
        """Note what is missing.

        Args:
            n_left: New tokens that each row must write before its end.
            n_input_tokens: Length of the input, padding included.
            end_ids: Tokens that end an answer.
        """
        self._n_left = _Column(n_left)
        self._longest = max(n_left, default=0)
        self._n_input_tokens = n_input_tokens
        self._end_ids = sorted(end_ids)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take the end from the rows that may not end yet.

        Args:
            input_ids: Everything so far, of shape (rows, tokens).
            scores: Of the next token, of shape (rows, vocabulary).
        """
        n_new = input_ids.shape[1] - self._n_input_tokens
        if n_new >= self._longest:
            return scores
        early = self._n_left.on(scores.device) > n_new
        left = scores.clone()
        for token in self._end_ids:
            left[:, token].masked_fill_(early, -math.inf)
        return left


class MostTokens:
    """A stopping criterion by row: one that has so many new tokens has ended, and the others go on."""

    def __init__(self, n_most: Sequence[int], n_input_tokens: int) -> None:
        """Note where each row ends.

        Args:
            n_most: New tokens of each row; what stands after them is to be dropped.
            n_input_tokens: Length of the input, padding included.
        """
        self._n_most = _Column(n_most)
        self._n_input_tokens = n_input_tokens

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:  # noqa: ARG002
        """Whether each row has ended.

        Args:
            input_ids: Everything so far, of shape (rows, tokens).
            scores: Not looked at.
        """
        return self._n_most.on(input_ids.device) <= input_ids.shape[1] - self._n_input_tokens


class _Column:
    """One number per row, brought to the device once."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = torch.tensor(list(numbers))

    def on(self, device: torch.device) -> torch.Tensor:
        if self._numbers.device != device:
            self._numbers = self._numbers.to(device)
        return self._numbers
