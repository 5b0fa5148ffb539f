"""Energy against accuracy: which rows of a ranking no other is both cheaper and right as often as."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.leaderboard.ranking import Ranked
from harness.leaderboard.rows import Rows


def fronts(rows: Rows, ranked: Ranked) -> Any:
    """Whether each row is on its ranking's front: by the figures themselves, whatever their intervals say.

    Returns:
        True on a front; False elsewhere, in no ranking, or where nothing was scored.
    """
    on_front = np.zeros(len(rows), bool)
    for ranking in ranked.rankings:
        places = ranking.places[ranked.rank_best[ranking.places] > 0]
        places = places[np.isfinite(rows["accuracy"][places])]
        energy, accuracy = rows["energy_j"][places], rows["accuracy"][places]
        order = np.lexsort((-accuracy, energy))
        best = np.maximum.accumulate(accuracy[order])
        before = np.concatenate([[-np.inf], best[:-1]])
        leads = accuracy[order] > before
        # As cheap and right as often as the one before it: neither beats the other.
        for at in range(1, len(order)):
            one, two = order[at - 1], order[at]
            if energy[one] == energy[two] and accuracy[one] == accuracy[two]:
                leads[at] = leads[at - 1]
        on_front[places[order[leads]]] = True
    return on_front
