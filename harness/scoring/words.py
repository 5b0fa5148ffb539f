"""How many words of a transcript are wrong? What a word error rate over many transcripts is made of.

Counted by jiwer (the fewest substitutions, deletions and insertions that turn one text into the other) after both texts
were brought into one form:

- Unicode's compatibility forms are resolved (NFKC), and there is no case: `ﬁve`, `Five` and `five` are one.
- Apostrophes fall out of words: `don't`, `don’t` and `dont` are one. Commas fall out of numbers: `1,000` and `1000`.
- A point between digits stays: `3.5`. All other signs part words: `twenty-one` is two words, and `50 %` is `50`.
- Numbers stay as they are: `20` and `twenty` differ. So do spellings (`colour`, `color`), and `um` is a word.

Whisper's own normalizer is not used, on purpose: it turns numbers, contractions and British spellings into the forms
that Whisper writes and drops what Whisper leaves out, so that it forgives one model what it counts against others; it
is for English alone; and the word lists that it needs come with a checkpoint. Rates after it, as on the Open ASR
Leaderboard, are lower than these. In writing without blanks between words (Chinese, Japanese, Thai) a whole sentence
is one word here, and the rate says little.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec

from harness.errors import EnvironmentFault, UsageError
from harness.records import Score

APOSTROPHE = re.compile(r"(?<=\w)['’ʼ](?=\w)")
COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
POINT_IN_NUMBER = re.compile(r"(?<=\d)\.(?=\d)")
LETTERS, MARKS, NUMBERS = "LMN"
"""Unicode's categories of what words are made of. Hindi's vowels are marks."""


@dataclass(frozen=True, slots=True)
class Words:
    """Graded by wrong words.

    Raises:
        EnvironmentFault: jiwer is not installed.
    """

    def __post_init__(self) -> None:
        if find_spec("jiwer") is None:
            raise EnvironmentFault(
                "The scorer `words` needs the package jiwer.", "pip install 'inference-energy-harness[tasks]'."
            )

    def score(self, answer: str, reference: str) -> Score:
        """Count wrong words.

        Returns:
            `word_errors` (substituted, missing and added words), and `reference_words`.

        Raises:
            UsageError: The reference has no word.
        """
        import jiwer

        wanted, given = words(reference), words(answer)
        if not wanted:
            raise UsageError(
                f"The reference {reference!r} holds no word.", "Write down what is said, or leave the reference out."
            )
        found = jiwer.process_words(" ".join(wanted), " ".join(given))
        errors = found.substitutions + found.deletions + found.insertions
        values: dict[str, float | tuple[float, ...]] = {"word_errors": errors, "reference_words": len(wanted)}
        return Score(correct=None, extracted=" ".join(given), values=values)


def words(text: str) -> list[str]:
    """A text's words in the form in which they are compared."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = COMMA_IN_NUMBER.sub("", APOSTROPHE.sub("", text))
    points = {found.start() for found in POINT_IN_NUMBER.finditer(text)}
    signs = (sign if place in points or _is_of_words(sign) else " " for place, sign in enumerate(text))
    return "".join(signs).split()


def _is_of_words(sign: str) -> bool:
    return unicodedata.category(sign)[0] in (LETTERS, MARKS, NUMBERS)
