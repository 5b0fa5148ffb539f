"""What stays unknown where pieces of work follow each other too fast for any account of the power to follow them.

Then a tick's energy is spread evenly over work and gaps alike, as if a gap drew what work does. It may draw nothing.

Pure: it knows instants and kinds of edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from harness.records import Edge

if TYPE_CHECKING:
    from harness.records import FloatArray

STEPS = {Edge.WORK_BEGINS: 1, Edge.WORK_ENDS: -1}


def unfollowed_j(
    tick_s: tuple[float, float], energy_j: float, targets_s: FloatArray, edges: Sequence[tuple[float, Edge]]
) -> FloatArray:
    """How much more had been spent up to each target if all of a tick's energy went into its pieces of work.

    Args:
        tick_s: Start and end of the tick.
        energy_j: What it holds.
        targets_s: Instants inside it, ascending.
        edges: Those marked inside it, ascending.
    """
    steps = [(time_s, STEPS[edge]) for time_s, edge in edges if edge in STEPS]
    depths = np.cumsum([0, *(step for _, step in steps)])
    depths -= min(int(depths.min()), 0)  # what ends here without having begun here was going on before
    stretches = pairwise([tick_s[0], *(time_s for time_s, _ in steps), tick_s[1]])
    lengths_s = [(end_s - begin_s) * bool(depth) for (begin_s, end_s), depth in zip(stretches, depths, strict=True)]
    worked_s = np.cumsum([0.0, *lengths_s])
    if not worked_s[-1] > 0.0:
        return np.zeros(len(targets_s))
    worked = np.interp(targets_s, [tick_s[0], *(time_s for time_s, _ in steps), tick_s[1]], worked_s)
    passed = (targets_s - tick_s[0]) / (tick_s[1] - tick_s[0])
    return np.asarray(energy_j * (worked / worked_s[-1] - passed))
