"""A number beside the reference's: the correlation of many of them is what says how good they are."""

from __future__ import annotations

import math

from harness.errors import ScoringFailed, UsageError
from harness.records import Score


class Similarity:
    """Graded: two numbers, each on its own scale. They are not subtracted: ranks are compared, over all queries."""

    def score(self, answer: str, reference: str) -> Score:
        """Read both.

        Raises:
            UsageError: The reference is no number.
            ScoringFailed: The answer is none.
        """
        wanted, said = _number(reference), _number(answer)
        if wanted is None:
            raise UsageError(f"The reference {reference!r} is not a finite number.", "Correct it, or leave it out.")
        if said is None:
            raise ScoringFailed(f"The answer {answer!r} is not a finite number.", "Check the model's dtype.")
        return Score(correct=None, extracted=answer, values={"similarity": said, "reference": wanted})


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
