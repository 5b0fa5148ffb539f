r"""Where an answer says what its answer is, whatever kind of answer it is.

Models are asked, or have learned, to mark it: `\boxed{42}`, `#### 42`, "The answer is 42", "Answer: 42". The last box
goes before the last `####`, and that before the last phrase. Of several marks of one kind the last counts: a
correction is an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BRACE = re.compile(r"(?P<box>\\f?box(?:ed)?\s*\{)|\\[{}]|(?P<open>\{)|(?P<close>\})")
HASHES = re.compile(r"(?m)^[ \t*]*+####[ \t]*+(\S.*)$")
PHRASE = re.compile(r"\b(?:answer|result|option|choice)[*_ \t]*+(?:is\b|:|=)[*_: \t]*+(?=\S)", re.IGNORECASE)
SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The text under a mark. `whole`: it is the answer and nothing else, as in a box; else a sentence's rest."""

    text: str
    whole: bool


def marked(answer: str) -> Marked | None:
    """The final answer as the text marks it; None: it does not.

    Args:
        answer: What the model said, thinking taken off.
    """
    box = last_box(answer)
    if box is not None:
        return Marked(text=box, whole=True)
    hashes = HASHES.findall(answer)
    if hashes:
        return Marked(text=hashes[-1].strip(), whole=True)
    phrases = list(PHRASE.finditer(answer))
    if phrases:
        rest = answer[phrases[-1].end() :]
        end = SENTENCE_END.search(rest)
        return Marked(text=(rest[: end.start()] if end else rest).strip(), whole=False)
    return None


def last_box(answer: str) -> str | None:
    r"""What the last complete `\boxed{}` holds. A box that the token cap cut open is not complete."""
    opened: list[int | None] = []  # where each open brace's content starts; None: not a box's
    last: tuple[int, int] | None = None
    for brace in BRACE.finditer(answer):
        if brace["box"]:
            opened.append(brace.end())
        elif brace["open"]:
            opened.append(None)
        elif brace["close"] and opened:
            start = opened.pop()
            if start is not None and (last is None or start > last[0]):
                last = (start, brace.start())
    return None if last is None else answer[last[0] : last[1]].strip()
