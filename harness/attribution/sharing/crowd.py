"""How many starts, first tokens and ends come a second around an instant.

Told by those in flight alone: each query brings its three events, over its own duration. So it is settled as soon as
everybody in flight with a query has ended, whoever comes later.

Pure: arrays in, numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from harness.attribution.sharing.slices import Slices

if TYPE_CHECKING:
    from harness.records import FloatArray

SHORTEST_S = 1e-3
"""A query that was shorter than this counts as if it had lasted for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Events a second from each instant to the next; 0 outside of them."""

    time_s: FloatArray
    per_s: FloatArray
    """One more than instants: the first is that before all of them."""

    @classmethod
    def of(cls, slices: Slices) -> Self:
        """Of slices by phase: two stretches a row. What comes at one instant is one event, whosever it is."""
        first, turn, last = slices.first[::2], slices.first[1::2], slices.last[1::2]
        n_alike = np.bincount(np.concatenate([first, turn, last]), minlength=len(slices.time_s))
        n_events = sum(1.0 / n_alike[place] for place in (first, turn, last))
        per_s = n_events / np.maximum(slices.time_s[last] - slices.time_s[first], SHORTEST_S)
        change = np.zeros(len(slices.time_s) + 1)
        np.add.at(change, first + 1, per_s)
        np.subtract.at(change, last + 1, per_s)
        return cls(time_s=slices.time_s, per_s=np.cumsum(change))

    def at(self, times_s: FloatArray) -> FloatArray:
        """Just before or just after each of some instants, whichever is more."""
        before = self.per_s[np.searchsorted(self.time_s, times_s, side="left")]
        return np.maximum(before, self.per_s[np.searchsorted(self.time_s, times_s, side="right")])
