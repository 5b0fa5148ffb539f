r"""Is the answer the reference, as text?

Both sides are normalised: Unicode compatibility forms (NFKC), case, runs of white space to one space, and around the
text white space, a final period, Markdown's `*`, `_`, `` ` `` and pairs of quotes or `$`. Nothing else: `1/2` is not
`0.5` and `x+1` is not `1+x`.
"""

from __future__ import annotations

import re
import unicodedata

from harness.errors import UsageError
from harness.records import Score
from harness.scoring.final import marked

PAIRS = (("$", "$"), ('"', '"'), ("'", "'"), ("“", "”"), ("\\(", "\\)"), ("\\[", "\\]"))


class Exact:
    """Right: the marked final answer (`final.py`), or else the whole answer, equals the reference."""

    def score(self, answer: str, reference: str) -> Score:
        """Compare normalised texts. Where "The answer is" marks it, the rest of that sentence is compared.

        Raises:
            UsageError: The reference is empty.
        """
        wanted = normalised(reference)
        if not wanted:
            raise UsageError("An empty reference cannot be compared with.", "Remove its scorer, or fill it in.")
        mark = marked(answer)
        # A reference such as "The answer is 42" may itself look marked.
        said = answer if mark is None or normalised(answer) == wanted else mark.text
        said = said.strip()
        return Score(correct=normalised(said) == wanted, extracted=said or None)


class Contains:
    """Right: the reference stands somewhere in the answer as whole words.

    A denial ("not Paris") and a list of guesses count as right, so use it only for references that an answer
    does not mention by chance.
    """

    def score(self, answer: str, reference: str) -> Score:
        """Look for the normalised reference.

        Raises:
            UsageError: The reference is empty.
        """
        wanted = normalised(reference)
        if not wanted:
            raise UsageError("An empty reference is in every answer.", "Remove its scorer, or fill it in.")
        found = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", normalised(answer)) is not None
        return Score(correct=found, extracted=wanted if found else None)


def normalised(text: str) -> str:
    """The form in which two texts are compared."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    before = None
    while before != text:
        before = text
        text = text.strip("*_` ").removesuffix(".").strip()
        for opening, closing in PAIRS:
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
                text = text[len(opening) : -len(closing)].strip()
    return text
