"""The answer in the text of an output: what follows the thinking, found by the family's marks in the text itself.

An engine tells them apart by tokens. Afterwards there is the text alone, from which a tokenizer may have left the marks
out: then nobody can say where the answer begins, and nothing is said.
"""

from __future__ import annotations

import re

from harness.protocols import Reasoning

_START, _TEXT, _END = -1, 0, -3
SPECIAL = re.compile(r"<\|[^<>|]{1,64}\|>")
SPECIAL_AT_END = re.compile(r"(?<!\s)(?:\s*+(?:<\|[^<>|]{1,64}\|>|</s>|<eos>|<end_of_turn>))+\s*$")
"""Some servers leave the token that ended the output in its text."""


def answer_in(text: str, rendered_prompt: str, reasoning: Reasoning, *, thought: bool) -> str | None:
    """The answer alone.

    Args:
        text: All of the output.
        rendered_prompt: What the model was given; it may end inside an open thinking.
        reasoning: The family's marks.
        thought: Whether tokens of the output were counted as thinking.

    Returns:
        None where some of it was thinking, and the text does not show which.
    """
    start, end = reasoning.marks or ("", "")
    marks = {mark: symbol for mark, symbol in ((start, _START), (end, _END)) if mark}
    if not any(mark in text for mark in marks):
        return None if thought else _without_header(text, end)
    pieces = [piece for piece in re.split(f"({'|'.join(map(re.escape, marks))})", text) if piece]
    symbols = [marks.get(piece, _TEXT) for piece in pieces]
    span = reasoning.span(rendered_prompt, symbols, [_START] if start else [], [_END])
    if span is None:
        return _without_header(text, end)
    return SPECIAL_AT_END.sub("", "".join(pieces[span.end :])).strip()


def _without_header(text: str, end: str) -> str:
    """Without a channel's header in front, of which a tokenizer may have left the special tokens out."""
    text = SPECIAL_AT_END.sub("", text).strip()
    for header in (end, SPECIAL.sub("", end)):
        if header and header != text:
            text = text.removeprefix(header)
    return text.strip()
