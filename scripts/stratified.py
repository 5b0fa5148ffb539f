"""Order prompts so that every prefix is a fair sample of all of them.

The embedded prompt sets are consumed in file order: a run over 50 prompts takes the first 50 rows. That
makes runs of different length nested, and it is only fair if the order itself is stratified.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def interleave(
    items: Sequence[Item], strata: Callable[[Item], Sequence[Hashable]], name: Callable[[Item], str]
) -> list[Item]:
    """Fill the list from the front, each time with an item whose strata have fallen behind the most.

    A stratum of s out of n items is due k * s / n of the first k places; its shortfall is what it is due
    minus what it has. The first stratum that an item names decides strictly, so that its counts never stray
    more than about one item from proportion. The others cross it (level and topic, say, too many to give
    every combination a share of its own) and are balanced by the sum of their shortfalls.

    What is left open follows a hash of the name: as good as a random draw, and it cannot depend on the
    Python version or on the order in which the items were written down.

    Args:
        items: What is to be ordered; not changed.
        strata: The strata to which an item belongs, the one that decides first. Labels of different strata
            must differ.
        name: A name that is unique among the items.

    Returns:
        The same items in their new order.
    """
    size = Counter(label for item in items for label in strata(item))
    placed: Counter[Hashable] = Counter()
    waiting = sorted(items, key=lambda item: hashlib.sha256(name(item).encode()).digest())
    ordered: list[Item] = []

    def shortfall(item: Item) -> tuple[int, int]:
        # Multiplied by n: whole numbers compare exactly.
        first, *others = ((len(ordered) + 1) * size[x] - len(items) * placed[x] for x in strata(item))
        return first, sum(others)

    while waiting:
        item = max(waiting, key=shortfall)
        waiting.remove(item)
        ordered.append(item)
        placed.update(strata(item))
    return ordered
