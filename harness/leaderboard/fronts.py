"""Energy against quality: which rows of a ranking no other is both cheaper and as good as.

The quality of text generation is the share of right answers; that of another task its main figure, of which less may be
better (word errors).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.leaderboard.ranking import Ranked
from harness.leaderboard.rows import FloatArray, IntArray, Rows


def fronts(rows: Rows, ranked: Ranked) -> Any:
    """Whether each row is on its ranking's front: by the figures themselves, whatever their intervals say.

    Returns:
        True on a front; False elsewhere, in no ranking, or where nothing was scored.
    """
    on_front = np.zeros(len(rows), bool)
    for ranking in ranked.rankings:
        places = ranking.places[ranked.rank_best[ranking.places] > 0]
        good = goodness(rows, places)
        places, good = places[np.isfinite(good)], good[np.isfinite(good)]
        energy = rows["energy_j"][places]
        order = np.lexsort((-good, energy))
        best = np.maximum.accumulate(good[order])
        before = np.concatenate([[-np.inf], best[:-1]])
        leads = good[order] > before
        # As cheap and as good as the one before it: neither beats the other.
        for at in range(1, len(order)):
            one, two = order[at - 1], order[at]
            if energy[one] == energy[two] and good[one] == good[two]:
                leads[at] = leads[at - 1]
        on_front[places[order[leads]]] = True
    return on_front


def goodness(rows: Rows, places: IntArray) -> FloatArray:
    """A figure per row of which more is better; NaN where it is unknown, or of another metric than the first row's."""
    metrics = rows["quality_metric"][places]
    known = [metric for metric in metrics if metric is not None]
    if not known:
        return np.asarray(rows["accuracy"][places], float)
    sign = np.where(rows["quality_higher_is_better"][places].astype(bool), 1.0, -1.0)
    return np.where(metrics == known[0], sign * rows["quality"][places], np.nan)
