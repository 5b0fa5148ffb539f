"""Scorers by name. A prompt names its scorer; None there means that it is not scored."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import UnknownName
from harness.protocols import Scorer
from harness.scoring.choice import Choice
from harness.scoring.exact import Contains, Exact
from harness.scoring.numeric import Numeric

SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {"numeric": Numeric(), "choice": Choice(), "exact": Exact(), "contains": Contains()}
)


def scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        UnknownName: There is none.
    """
    if name not in SCORERS:
        raise UnknownName("scorer", name, SCORERS)
    return SCORERS[name]
