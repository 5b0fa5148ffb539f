"""The marks around a model's thinking, found among its output tokens, and the texts between them.

Knows a tokenizer by two methods, `encode` and `decode`. Must not know models or torch. What a found mark means
is decided by the family's `Reasoning`.

A mark that is one added token (`<think>` of Qwen3), or that is fenced in by such (Harmony's channels), always
has the same token ids. One that is ordinary text has not: a tokenizer may merge its last letters with what
follows (`</think>` and a blank line in Llama's vocabulary). Such marks are looked for in the text, and the
tokens that carry one are replaced by symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.protocols import Reasoning
from harness.records import ThinkingSpan

_START, _INSIDE, _END = -1, -2, -3
"""Symbols that no tokenizer uses: the first token of an opening mark, any other token of a mark, the last token
of a closing mark."""


class Marks:
    """Where one model's thinking begins and ends, for one tokenizer."""

    def __init__(self, tokenizer: Any, reasoning: Reasoning) -> None:
        self._tokenizer = tokenizer
        self._reasoning = reasoning
        self._texts = reasoning.marks or ("", "")
        self._start_ids, self._end_ids = (
            list(tokenizer.encode(text, add_special_tokens=False)) if text else [] for text in self._texts
        )
        added = set(tokenizer.get_added_vocab().values())
        self._solid = all(ids[0] in added and ids[-1] in added for ids in (self._start_ids, self._end_ids) if ids)

    def span(self, rendered_prompt: str, ids: Sequence[int]) -> ThinkingSpan | None:
        """Where the thinking lies in the output `ids`; None: there is none."""
        if self._reasoning.marks is None:
            return None
        if self._solid:
            return self._reasoning.span(rendered_prompt, ids, self._start_ids, self._end_ids)
        return self._span_of_pieces(rendered_prompt, [str(self._tokenizer.decode([token])) for token in ids])

    def is_open(self, rendered_prompt: str, ids: Sequence[int]) -> bool:
        """Whether the thinking has begun and not ended after the output `ids`.

        Asked while a query runs: marks that are ordinary text are looked for in the text as a whole, which takes one
        call of the tokenizer where `span` takes one per token.
        """
        if self._solid:
            span = self.span(rendered_prompt, ids)
        else:
            letters = list(str(self._tokenizer.decode(list(ids))))
            span = self._span_of_pieces(rendered_prompt, letters)
        return span is not None and not span.closed

    def split(self, ids: Sequence[int], span: ThinkingSpan | None) -> tuple[str, str]:
        """The thinking and the answer as texts, without special tokens and marks."""
        ids = list(ids)
        n_start, n_end = len(self._start_ids), len(self._end_ids)
        if span is None:
            # A channel's header without any thinking before it.
            skipped = n_end if n_end and ids[:n_end] == self._end_ids else 0
            return "", self._decode(ids[skipped:])
        before, inside = ids[: span.start], ids[span.start : span.end]
        if n_start and inside[:n_start] == self._start_ids:
            inside = inside[n_start:]
        if span.closed and n_end and inside[-n_end:] == self._end_ids:
            inside = inside[:-n_end]
        start_text, end_text = self._texts
        thinking = self._decode(before + inside).removeprefix(start_text).removesuffix(end_text).strip()
        return thinking, self._decode(ids[span.end :])

    def _span_of_pieces(self, rendered_prompt: str, pieces: Sequence[str]) -> ThinkingSpan | None:
        symbols = with_symbols(pieces, *self._texts)
        return self._reasoning.span(rendered_prompt, symbols, [_START] if self._texts[0] else [], [_END])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def with_symbols(pieces: Sequence[str], start_text: str, end_text: str) -> list[int]:
    """One number per token: a symbol where it belongs to a mark, 0 elsewhere.

    White space is ignored on both sides, since a tokenizer may drop or add some when decoding single tokens.

    Args:
        pieces: The text of each token.
        start_text: Opening mark; "" for none.
        end_text: Closing mark.
    """
    squeezed = ["".join(piece.split()) for piece in pieces]
    text = "".join(squeezed)
    owners = [index for index, piece in enumerate(squeezed) for _ in piece]
    numbers = [0] * len(pieces)
    for mark, symbol in ((start_text, _START), (end_text, _END)):
        letters = "".join(mark.split())
        place = text.find(letters) if letters else -1
        while place >= 0:
            first, last = owners[place], owners[place + len(letters) - 1]
            for token in range(first, last + 1):
                numbers[token] = numbers[token] or _INSIDE
            numbers[first if symbol == _START else last] = symbol
            place = text.find(letters, place + len(letters))
    return numbers
