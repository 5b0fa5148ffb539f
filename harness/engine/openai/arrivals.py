"""When the queries of an open loop arrive: a Poisson process, drawn from a seed."""

from __future__ import annotations

import random
from itertools import accumulate


def poisson_arrivals(n_queries: int, rate_per_second: float, seed: int, block: int) -> list[float]:
    """Seconds after the beginning of a block at which its queries are sent.

    Args:
        n_queries: So many.
        rate_per_second: Mean rate.
        seed: The run's.
        block: A number of its own for each block, which draws for itself.
    """
    draw = random.Random(f"arrivals {seed} {block}")  # noqa: S311 - no secret, and it has to come again
    return list(accumulate(draw.expovariate(rate_per_second) for _ in range(n_queries)))
