r"""Which letter does a multiple-choice answer choose?

Read in this order, and where one of them applies the later ones are not tried:

1. A box or `####` (`final.py`): it must hold one letter, as `B`, `(b)`, `\text{B}` or `B) Paris`.
2. "Answer: B", "The answer is option (B)": the last such phrase that a capital letter follows.
3. The answer is nothing but a letter: `b`, `(B).`, `**B**`; or it starts with one, `B) Paris`, and no other line
   starts with another.
4. Exactly one capital letter from A to J is mentioned as a word anywhere, and the text does not deny anything. The
   article "A" and the pronoun "I" are not mentions.

A letter that is offered beside another ("A or B", "A/B", "A, B") is no choice. Then nothing is extracted and
the answer is wrong. So is "not A but C": what a denial leaves over is not guessed.
"""

from __future__ import annotations

import re

from harness.errors import UsageError
from harness.records import Score
from harness.scoring.final import HASHES, last_box

# Quantifiers are possessive (`*+`): a model that fell into a loop writes thousands of blanks or asterisks, over which
# ordinary ones would try every division among themselves.
OPEN = r"[\s*_`$(\[\"'“]*+(?:\\(?:text|mathrm|mathbf|textbf)\s*+\{\s*+)?+[*_`$(\[]*+"
CLOSE = r"[)\]}*_`$\"'”]*+"
LETTER_REFERENCE = re.compile(r"\s*+\(?([A-J])\)?\.?\s*+")
ALONE = re.compile(rf"{OPEN}([A-Ja-j]){CLOSE}\s*+[.!]?+\s*+{CLOSE}\s*+")
LABELLED = re.compile(rf"^{OPEN}([A-J])[*_`]*+[).:\]][*_`]*+(?=\s|$)", re.MULTILINE)
PHRASE = re.compile(
    r"\b(?i:answer|option|choice)[*_ \t]*+(?:(?i:is)\b|:|=)[*_: \t]*+(?:(?i:option|choice|letter)\s++)?+"
    rf"{OPEN}([A-J])(?![\w'’]){CLOSE}"
)
# After a comma, "I think" and "A common mistake" are not a second letter.
BESIDE = re.compile(
    rf"[*_ \t]*+(?:(?P<comma>,)|/|&|\bor\b|\band\b)[*_ \t]*+(?:(?:or|and|option)\s++)*+{OPEN}"
    r"(?!(?(comma)[AI]\s+[a-z]|(?!)))[A-J](?![\w'’])"
)
MENTION = re.compile(r"(?<![\w'’-])[A-J](?![\w'’-])")
WORD_AFTER = re.compile(r"\s+(?!(?:or|and|nor|but|is)\b)[a-z]")
DENIAL = re.compile(
    r"\b(?:not|neither|nor|never|cannot|except|rather than|instead of|incorrect|wrong)\b|n['’]t\b", re.I
)


class Choice:
    """Right: the letter that the answer chooses is the reference's."""

    def score(self, answer: str, reference: str) -> Score:
        """Compare letters.

        Raises:
            UsageError: The reference is not one letter from A to J.
        """
        wanted = LETTER_REFERENCE.fullmatch(reference)
        if wanted is None:
            raise UsageError(
                f"The reference {reference!r} is not a letter from A to J.", "Correct it, or use the scorer `exact`."
            )
        chosen = chosen_letter(answer)
        return Score(correct=chosen == wanted[1], extracted=chosen)


def chosen_letter(answer: str) -> str | None:
    """The capital letter that an answer chooses; None: none, or more than one."""
    box = last_box(answer)
    hashes = HASHES.findall(answer)
    if box is not None or hashes:
        return _whole(box if box is not None else hashes[-1])
    phrases = list(PHRASE.finditer(answer))
    if phrases:
        last = phrases[-1]
        return None if BESIDE.match(answer, last.end()) else last[1]
    whole = _whole(answer)
    return whole if whole is not None else _only_mention(answer)


def _whole(text: str) -> str | None:
    """The letter of a text that is a letter, or that starts with a labelled one and lists no other."""
    alone = ALONE.fullmatch(text)
    if alone:
        return alone[1].upper()
    if LABELLED.match(text) is None:
        return None
    labels = {match[1] for match in LABELLED.finditer(text)}
    return labels.pop() if len(labels) == 1 else None


def _only_mention(text: str) -> str | None:
    mentions = _mentions(text)
    return mentions.pop() if len(mentions) == 1 and not DENIAL.search(text) else None


def _mentions(text: str) -> set[str]:
    found = set()
    for match in MENTION.finditer(text):
        # "A dog", "I think": a word follows, and nothing sets the letter apart.
        apart = match.start() > 0 and text[match.start() - 1] in "([*`$"
        if match[0] in "AI" and not apart and WORD_AFTER.match(text, match.end()):
            continue
        found.add(match[0])
    return found
