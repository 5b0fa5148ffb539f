"""How a number is printed: in a sensible unit, with no more digits than its interval justifies.

A half-width is quoted with two significant digits (JCGM 100:2008, GUM, 7.2.6: "at most two"), and the value is
rounded to the same place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Estimate

N_DIGITS_WITHOUT_INTERVAL = 3
N_DIGITS_MOST = 5
N_DIGITS_HALF_WIDTH = 2
UNKNOWN = "unknown"

PREFIXES = ((1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"))
UNREADABLE = 1e6
"""A figure of a row may be this large before the row takes a larger unit than its smallest figure needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit for a whole row, so that its cells can be compared at sight."""

    name: str
    size: float

    def of(self, value: float) -> float:
        """A value in the base unit, in this one."""
        return value / self.size

    def estimate(self, estimate: Estimate) -> Estimate:
        """A statistic in the base unit, in this one."""
        parts = ("value", "low", "high", "half_width_reading", "half_width_runs", "half_width_gain")
        values = {name: getattr(estimate, name) for name in parts}
        return Estimate(**{name: None if value is None else self.of(value) for name, value in values.items()})


def unit_for(values: Sequence[float | None], base: str) -> Unit:
    """The largest unit in which the smallest of the values is still at least 1.

    Args:
        values: Of one row, in the base unit.
        base: J, Wh or s.
    """
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return Unit(name=base, size=1.0)
    fitting = [each for each in PREFIXES if min(sizes) / each[0] >= 1] or [PREFIXES[0]]
    size, prefix = fitting[-1] if fitting[-1][0] <= 1 or min(sizes) >= 1e4 else (1.0, "")
    while max(sizes) / size >= UNREADABLE and size < PREFIXES[-1][0]:
        size, prefix = PREFIXES[[each[0] for each in PREFIXES].index(size) + 1]
    return Unit(name=prefix + base, size=size)


def decimals_of_half_width(half_width: float) -> int:
    """Decimals that a half-width justifies; negative for tens and hundreds."""
    exponent = int(f"{half_width:.{N_DIGITS_HALF_WIDTH - 1}e}".partition("e")[2])
    return N_DIGITS_HALF_WIDTH - 1 - exponent


def decimals_of(estimate: Estimate) -> int:
    """Decimals for a statistic: by its interval over prompts, else the reading's, else three digits."""
    value = estimate.value or 0.0
    if estimate.low is not None and estimate.high is not None:
        half_width: float | None = (estimate.high - estimate.low) / 2
    else:
        half_width = estimate.half_width_reading
    most = decimals_of_digits(value, N_DIGITS_MOST)
    if half_width is None:
        return decimals_of_digits(value, N_DIGITS_WITHOUT_INTERVAL)
    return most if half_width <= 0 else min(most, decimals_of_half_width(half_width))


def decimals_of_digits(value: float, n_digits: int) -> int:
    """Decimals that show so many significant digits of a value."""
    return n_digits - 1 - math.floor(math.log10(abs(value))) if value else 0


def number(value: float, decimals: int) -> str:
    """A number with thousands separators; what is not zero never prints as zero."""
    if value:
        decimals = max(decimals, -math.floor(math.log10(abs(value))))
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "−")


def digits(value: float | None, n_digits: int = N_DIGITS_WITHOUT_INTERVAL) -> str:
    """A number without an interval; a large one keeps all its digits before the point."""
    return UNKNOWN if value is None else number(value, max(0, decimals_of_digits(value, n_digits)))


def half_width(value: float | None) -> str:
    """One part of an interval."""
    if value is None:
        return UNKNOWN
    return f"± {number(value, decimals_of_half_width(value))}" if value > 0 else "± 0"


def value_of(estimate: Estimate) -> str:
    """The statistic itself."""
    return UNKNOWN if estimate.value is None else number(estimate.value, decimals_of(estimate))


def ends_of(estimate: Estimate) -> str:
    """The interval over prompts, to the digits of the value; empty where there is none."""
    decimals = decimals_of(estimate)
    if estimate.low is None:
        return ""
    if estimate.high is None:
        return f"{number(estimate.low, decimals)} to no upper end"
    return f"{number(estimate.low, decimals)} to {number(estimate.high, decimals)}"


def parts_of(values: Sequence[float], total: float, decimals: int) -> tuple[list[str], str]:
    """Parts and their total, rounded so that what is printed adds up (largest remainders are rounded up).

    Args:
        values: Parts, at least zero, that add up to `total`.
        total: Their sum.
        decimals: For all of them.

    Returns:
        The printed parts and the printed total. A part that is not zero but rounds to it prints as `< 1`.
    """
    step = 10.0**-decimals
    n_total = round(total / step)
    floors = [math.floor(value / step) for value in values]
    by_remainder = sorted(range(len(values)), key=lambda index: floors[index] - values[index] / step)
    for index in by_remainder[: max(0, n_total - sum(floors))]:
        floors[index] += 1

    def text(count: int, value: float) -> str:
        shown = f"{round(count * step, max(decimals, 0)):,.{max(decimals, 0)}f}"
        least = f"{step:,.{max(decimals, 0)}f}"
        return f"< {least}" if count == 0 and value > 0 else shown

    return [text(*pair) for pair in zip(floors, values, strict=True)], text(n_total, total)
