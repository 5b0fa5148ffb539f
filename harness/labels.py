"""Names of classes as models and data sets write them: `tabby, tabby cat`, `Tabby_cat` and `tabby cat` are one.

Both who runs a classifier and who judges its answer need this; neither may know the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BLANKS = re.compile(r"[\s_]+")


def spellings(label: str) -> frozenset[str]:
    """A label's names, without case; ImageNet's labels list several, parted by commas."""
    whole = _BLANKS.sub(" ", label).strip().casefold()
    return frozenset({whole, *(part.strip() for part in whole.split(","))} - {""})


def same_label(one: str, other: str) -> bool:
    """Whether two labels have a name in common."""
    return bool(spellings(one) & spellings(other))


def is_known(label: str, labels: Iterable[str]) -> bool:
    """Whether a label is among others, in whatever spelling."""
    return any(same_label(label, other) for other in labels)
