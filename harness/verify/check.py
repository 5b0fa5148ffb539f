"""One thing that was looked at: what is stored, and what it comes out as. Every kind of check yields these."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

RELATIVE_TOLERANCE = 1e-6
"""Another processor's linear algebra rounds otherwise: differences of 2e-9 were seen between four of them."""
ABSOLUTE_TOLERANCE = 1e-9

Figure = float | int | str | None


class Kind(StrEnum):
    """What a check looks at, in the order in which it is done."""

    HASHES = "hashes"
    SCHEMA = "schema"
    IDENTITY = "identity"
    PROMPTS = "prompts"
    ENERGIES = "energies"
    SCORES = "scores"
    SUMMARIES = "summaries"
    PAGE = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A stored figure beside what it comes out as; None: it is not there.

    `where` is a file or what it belongs to in words, `figure` what of it was looked at. Where `why_not` is not empty it
    could not be checked, and the two figures say nothing.
    """

    kind: Kind
    where: str
    figure: str
    stored: Figure = None
    again: Figure = None
    why_not: str = ""
    absolute_tolerance: float = ABSOLUTE_TOLERANCE
    relative_tolerance: float = RELATIVE_TOLERANCE

    @property
    def agrees(self) -> bool:
        """Whether the two are the same: numbers within the tolerances, everything else exactly."""
        stored, again = self.stored, self.again
        if not isinstance(stored, float | int) or not isinstance(again, float | int):
            return stored == again
        if isinstance(stored, int) and isinstance(again, int):
            return stored == again
        return math.isclose(stored, again, rel_tol=self.relative_tolerance, abs_tol=self.absolute_tolerance)
