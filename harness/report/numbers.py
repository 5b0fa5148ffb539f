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

NO_WIDTH = 1e-9
"""An interval that is narrower, relative to its value, is of a figure that does not vary: it is not printed."""

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
    half_width = estimate.half_width_reading
    if estimate.low is not None:
        half_width = value - estimate.low if estimate.high is None else (estimate.high - estimate.low) / 2
    if half_width is None or half_width <= NO_WIDTH * abs(value):
        return decimals_of_digits(value, N_DIGITS_WITHOUT_INTERVAL)
    return min(decimals_of_digits(value, N_DIGITS_MOST), decimals_of_half_width(half_width))


def decimals_of_digits(value: float, n_digits: int) -> int:
    """Decimals that show so many significant digits of a value."""
    return n_digits - 1 - math.floor(math.log10(abs(value))) if value else 0


def number(value: float, decimals: int) -> str:
    """A number with thousands separators; what is not zero never prints as zero."""
    if value:
        decimals = max(decimals, -math.floor(math.log10(abs(value))))
    text = f"{round(value, decimals) + 0.0:,.{max(decimals, 0)}f}"  # zero has no sign
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
    """The interval over prompts, to the digits of the value; empty where there is none.

    Where the value is unknown but a lower bound is known, the bound.
    """
    if estimate.low is None:
        return ""
    if estimate.value is None and estimate.high is None:
        return f"more than {digits(estimate.low)}"
    decimals = decimals_of(estimate)
    if estimate.high is None:
        return f"{number(estimate.low, decimals)} to no upper end"
    if estimate.high - estimate.low <= NO_WIDTH * abs(estimate.high):
        return ""
    return f"{number(estimate.low, decimals)} to {number(estimate.high, decimals)}"


def signed(text: str) -> str:
    """A printed difference with its sign; zero has none."""
    return text if text[:1] in "−<>" or not text.strip("0.,") or text == UNKNOWN else f"+{text}"


def signed_value_of(estimate: Estimate) -> str:
    """A difference, with its sign."""
    return signed(value_of(estimate))


def signed_ends_of(estimate: Estimate) -> str:
    """The interval of a difference, both ends with their signs."""
    return " to ".join(signed(end) for end in ends_of(estimate).split(" to "))


def times(estimate: Estimate) -> str:
    """A ratio."""
    return UNKNOWN if estimate.value is None else f"{value_of(estimate)} ×"


def percent(share: float, n_digits: int = 2) -> str:
    """A fraction as a percentage; so many significant digits, all of those before the point."""
    return f"{digits(100 * share, n_digits)} %"


def probability(p_value: float) -> str:
    """A p-value, two digits, four decimals at most."""
    return "p < 0.0001" if p_value < 1e-4 else f"p = {number(p_value, min(4, decimals_of_digits(p_value, 2)))}"


def duration(seconds: float) -> str:
    """A stretch of time in the unit that one would say it in."""
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{digits(seconds / size, 2)} {name}"
    unit = unit_for([seconds], "s")
    return f"{digits(unit.of(seconds), 2)} {unit.name}"


def energy(energy_j: float) -> str:
    """Joules in the unit that one would say them in."""
    unit = unit_for([energy_j], "J")
    return f"{digits(unit.of(energy_j))} {unit.name}"


def parts_of(values: Sequence[float], total: float, decimals: int) -> tuple[list[str], str]:
    """Parts and their total, rounded so that what is printed adds up (largest remainders are rounded up).

    Args:
        values: Parts that add up to `total`; those of a difference may be negative.
        total: Their sum.
        decimals: For all of them.

    Returns:
        The printed parts and the printed total. A part that is not zero but rounds to it prints as `< 1`, or `> −1`.
    """
    step = 10.0**-decimals
    n_total = round(total / step)
    floors = [math.floor(value / step) for value in values]
    by_remainder = sorted(range(len(values)), key=lambda index: floors[index] - values[index] / step)
    for index in by_remainder[: max(0, n_total - sum(floors))]:
        floors[index] += 1

    def text(count: int, value: float) -> str:
        shown = f"{round(count * step, max(decimals, 0)):,.{max(decimals, 0)}f}".replace("-", "−")
        least = f"{step:,.{max(decimals, 0)}f}"
        if count == 0 and value:
            return f"< {least}" if value > 0 else f"> −{least}"
        return shown

    return [text(*pair) for pair in zip(floors, values, strict=True)], text(n_total, total)
