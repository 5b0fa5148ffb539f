"""The smallest whole number for which something holds."""

from __future__ import annotations

from collections.abc import Callable


def least(holds: Callable[[int], bool], first: int, last: int) -> int | None:
    """By halving, of a condition that, once it holds, holds for all larger numbers.

    Args:
        holds: The condition.
        first: The smallest number to try.
        last: The largest.

    Returns:
        None where it holds nowhere.
    """
    if first > last or not holds(last):
        return None
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if holds(middle) else (middle + 1, last)
    return last
