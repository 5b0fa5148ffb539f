"""How a device's power follows the edges that are marked, as far as the ticks so far have shown.

Launch delay and lingering power belong to a board and its software, so what explained earlier ticks is the prior for
the next: whether power follows its edges at all, and in which manner (how late it begins, how it ends).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray

LEARNT = 0.2
"""Part of what a tick says of following at all that goes into the prior: neighbours look at the same readings."""
MOST_LEARNT, MOST_ODDS = 10.0, 6.0
MANNER_LEARNT = 0.05
"""The same of the manners."""
EVEN = 0.25
"""Part of the manners' weight that stays spread over all of them, so that a new one can always be learnt."""


@dataclass(frozen=True, slots=True)
class Habit:
    """Log odds of following the edges, and the weight of each manner of doing so (they add up to 1)."""

    log_odds: float
    manners: FloatArray

    @classmethod
    def unknown(cls, n_manners: int) -> Self:
        """Before the first tick."""
        return cls(0.0, np.full(n_manners, 1.0 / n_manners))

    @property
    def prior(self) -> FloatArray:
        """Probability of each manner; the rest to 1 is that of not following."""
        follow = 1.0 / (1.0 + np.exp(-self.log_odds))
        n_manners = len(self.manners)
        return np.asarray(follow * ((1.0 - EVEN) * self.manners + EVEN / n_manners))

    def updated(self, posterior: FloatArray) -> Habit:
        """After one more tick.

        Args:
            posterior: Probability of each manner after the tick.
        """
        follow = float(np.clip(posterior.sum(), 1e-9, 1.0 - 1e-9))
        learnt = np.clip(np.log(follow / (1.0 - follow)) - self.log_odds, -MOST_LEARNT, MOST_LEARNT)
        log_odds = float(np.clip(self.log_odds + LEARNT * learnt, -MOST_ODDS, MOST_ODDS))
        # A tick that does not follow its edges says nothing of the manner in which others do.
        share = MANNER_LEARNT * follow
        return Habit(log_odds, (1.0 - share) * self.manners + share * posterior / follow)
