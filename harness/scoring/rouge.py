"""How many of the reference's words, word pairs and word orders a summary has: ROUGE-1, ROUGE-2, ROUGE-L (Lin 2004).

They are the F-measures of the library rouge-score (0.1, Google Research) with its Porter stemmer: letters and digits in
lower case count, everything else parts words. Of several references the best counts, for each measure by itself.
ROUGE-L is of the text as one sequence; it is not ROUGE-Lsum, which splits it into sentences and needs data of nltk's.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from harness.errors import EnvironmentFault, UsageError
from harness.records import Score
from harness.scoring.accepted import accepted

MEASURES = ("rouge1", "rouge2", "rougeL")


class Rouge:
    """Graded: three F-measures from 0 to 1."""

    def __init__(self) -> None:
        """Open the library.

        Raises:
            EnvironmentFault: It is not installed.
        """
        if find_spec("rouge_score") is None:
            raise EnvironmentFault(
                "The scorer `rouge` needs the package rouge-score.", "pip install 'inference-energy-harness[tasks]'."
            )
        from rouge_score.rouge_scorer import RougeScorer

        self._library: Any = RougeScorer(MEASURES, use_stemmer=True)

    def score(self, answer: str, reference: str) -> Score:
        """Compare words.

        Raises:
            UsageError: The reference holds no words.
        """
        texts = [text for text in accepted(reference) if text.strip()]
        if not texts:
            raise UsageError(
                f"The reference {reference!r} holds no text to compare with.", "Fill it in, or leave it out."
            )
        best = self._library.score_multi(texts, answer)
        return Score(
            correct=None, extracted=None, values={name: float(measure.fmeasure) for name, measure in best.items()}
        )
