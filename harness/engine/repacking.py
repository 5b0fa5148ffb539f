"""Many prompts in few rows: once half of a batch has ended, the others go on together with prompts that wait.

A row that has ended costs nearly as much as one that has not, and without this a batch would run until its last answer
ends. So a turn (one call of `generate`) ends when half of its rows have, or when one reaches the cap: no row is ever
longer than a prompt and a whole answer. Answers that are not done go on in the next turn, what they have written so far
appended to their prompts.

Half, because each turn reads its inputs anew. In `scripts/check_statistics/machine.py`'s model of an 8 B model, 32 rows
at log-normal lengths (log sd 0.3 to 0.9, means of 500 to 4,000 tokens), half takes the least time or within 3 % of it;
a quarter takes up to 8 % more, three quarters up to 12 %. It does not pay where reading a token costs nearly as much as
writing one and answers are short, as with the embedded model on a CPU: 0.7 times the tokens per second of static
batches.

Knows token ids. Must not know models, modes or clocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from hashlib import sha256

import torch

Turn = Callable[[int, list[int], list[list[int]], int], list[list[int]]]
"""Turn number, prompt numbers, what each has written so far, and most new tokens, to the new tokens of each."""


def take_turns(
    n_prompts: int, turn: Turn, *, batch_size: int, max_new_tokens: int, end_ids: Collection[int]
) -> list[list[int]]:
    """Answer all prompts, at most `batch_size` in one turn, in their order where one has to wait.

    Args:
        n_prompts: They are numbered from 0.
        turn: Continues some of them; what stands after an end is dropped, and one that gets no new token is done, too.
        batch_size: Rows at most.
        max_new_tokens: The cap of each answer.
        end_ids: Tokens that end an answer.

    Returns:
        The output token ids of each prompt.
    """
    outputs: list[list[int]] = [[] for _ in range(n_prompts)]
    waiting, active, n_turns = deque(range(n_prompts)), list[int](), 0
    while waiting or active:
        while waiting and len(active) < batch_size:
            active.append(waiting.popleft())
        written = [outputs[prompt] for prompt in active]
        rows = turn(n_turns, active, written, max_new_tokens - max(len(ids) for ids in written))
        new = [up_to_end(ids, end_ids) for ids in rows]
        for prompt, ids in zip(active, new, strict=True):
            outputs[prompt] += ids
        active = [
            prompt
            for prompt, ids in zip(active, new, strict=True)
            if ids and ids[-1] not in end_ids and len(outputs[prompt]) < max_new_tokens
        ]
        n_turns += 1
    return outputs


def up_to_end(ids: list[int], end_ids: Collection[int]) -> list[int]:
    """A row's own output, without what it was filled up with after its end."""
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in end_ids), ids)


def turn_seed(seed: int, n_turns: int) -> int:
    """Of one turn's sampling: the same numbers twice would tie the answers of one turn to those of another."""
    return int.from_bytes(sha256(f"{seed} {n_turns}".encode()).digest()[:4], "big")


class HalfDone:
    """A stopping criterion for one turn: half of its rows have ended. Nothing is read from the device for it."""

    def __init__(self, end_ids: Collection[int]) -> None:
        self._end_ids = sorted(end_ids)
        self._ends: torch.Tensor | None = None
        self._ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:  # noqa: ARG002
        """Whether to stop, one truth per row: all or none.

        Args:
            input_ids: Everything so far, of shape (rows, tokens).
            scores: Not looked at.
        """
        if self._ends is None or self._ended is None:
            self._ends = torch.tensor(self._end_ids, dtype=input_ids.dtype, device=input_ids.device)
            self._ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        self._ended |= torch.isin(input_ids[:, -1], self._ends)
        return (2 * self._ended.sum() >= len(self._ended)).expand(len(self._ended))
