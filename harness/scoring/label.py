"""Is a class the right one?"""

from __future__ import annotations

from harness.labels import same_label
from harness.records import Score


class Label:
    """Right: the answer and the reference have a name in common, as `tabby` and `tabby, tabby cat` do."""

    def score(self, answer: str, reference: str) -> Score:
        """Compare names, without case."""
        return Score(correct=same_label(answer, reference), extracted=answer)
