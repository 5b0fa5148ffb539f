"""References of which any one will do: one text, a JSON list of them, or SQuAD's object with such a list in it."""

from __future__ import annotations

import json


def accepted(reference: str) -> tuple[str, ...]:
    """Every text that a reference accepts.

    Args:
        reference: `Paris`, `["Paris", "the city of Paris"]`, or `{"answer_start": [9], "text": ["Paris"]}` as SQuAD's
            column `answers` has it. Text that merely begins with a bracket is one text.
    """
    if reference.lstrip().startswith(("[", "{")):
        try:
            listed = json.loads(reference)
        except ValueError:
            return (reference,)
        if isinstance(listed, dict):
            listed = listed.get("text")
        if isinstance(listed, list) and all(isinstance(text, str) for text in listed):
            return tuple(listed)
    return (reference,)
