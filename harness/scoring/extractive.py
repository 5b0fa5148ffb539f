r"""Is a stretch of text the reference's, as SQuAD compares answers?

Rajpurkar et al. (2016, 2018; their script `evaluate-v2.0.py`): case, punctuation, the articles a, an and the, and runs
of white space do not count. Two figures follow: exact match, 1 where nothing else differs, and F1, from the words that
both have in common. Of several accepted answers the best counts, for each figure by itself. No answer at all is an
answer too: it is right where the reference accepts none.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from harness.records import Score
from harness.scoring.accepted import accepted

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Extractive:
    """Right: an exact match with one of the accepted answers."""

    def score(self, answer: str, reference: str) -> Score:
        """Compare words.

        Args:
            answer: A stretch of a passage, or nothing.
            reference: One accepted answer or a JSON list of them; `""` or `[]`: the passage does not answer.
        """
        said = _words(answer)
        wanted = [words for words in map(_words, accepted(reference)) if words] or [[]]
        exact = said in wanted
        f1 = max(_f1(said, words) for words in wanted)
        return Score(correct=exact, extracted=answer, values={"exact_match": float(exact), "f1": f1})


def _words(answer: str) -> list[str]:
    return ARTICLES.sub(" ", answer.lower().translate(NO_PUNCTUATION)).split()


def _f1(said: list[str], wanted: list[str]) -> float:
    """The harmonic mean of precision and recall in words; of two empty answers 1."""
    if not said or not wanted:
        return float(said == wanted)
    n_common = (Counter(said) & Counter(wanted)).total()
    return 2 * n_common / (len(said) + len(wanted))
