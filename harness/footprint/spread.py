"""A figure that cannot be negative, and the range in which it lies: typed as `1.2`, or as `1.1..1.3` for a 95 % range.

A range is read on the log scale, where factors add: `1.1..1.3` is a log-normal figure whose middle is the geometric
mean of its ends. So a product of figures is again one, and no figure is ever negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.records import Record

Z = 1.959963984540054
"""Standard deviations from the middle of a normal distribution to either end of its central 95 %."""
SEPARATOR = ".."
MOST = 1e18
"""No figure that a user states is larger; products of several then stay in the floating-point range."""


class Spread(Record):
    """A figure, and the ends of its 95 % range; without ends it is taken as exact.

    Its unit is its owner's.
    """

    value: Annotated[float, Field(ge=0)]
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        """Both ends or none, around the value, and above zero: their logs are used."""
        if (self.low is None) != (self.high is None):
            raise ValueError("a range has two ends")
        if self.low is not None and self.high is not None and not 0 < self.low <= self.value <= self.high:
            raise ValueError("a range runs from its low end, above 0, to its high end")
        return self

    @property
    def is_exact(self) -> bool:
        """Whether it has no range."""
        return self.low is None

    @property
    def log_deviations(self) -> tuple[float, float]:
        """How far the two ends lie from the value, as natural logs of factors; zeros where it is exact."""
        if self.low is None or self.high is None or self.low == self.high:
            return 0.0, 0.0
        return math.log(self.value / self.low), math.log(self.high / self.value)

    def inverse(self) -> Spread:
        """One over it, so that a division is a factor like any other. The value is above zero."""
        if self.low is None or self.high is None:
            return Spread(value=1 / self.value)
        return Spread(value=1 / self.value, low=1 / self.high, high=1 / self.low)

    def times(self, factor: float) -> Spread:
        """In another unit, or for another number of queries. The factor is exact."""
        if self.low is None or self.high is None or factor == 0:
            return Spread(value=factor * self.value)
        return Spread(value=factor * self.value, low=factor * self.low, high=factor * self.high)


def from_deviations(value: float, low: float, high: float) -> Spread:
    """A figure with ends that lie so far from it, as natural logs of factors."""
    if low == 0 and high == 0:
        return Spread(value=value)
    return Spread(value=value, low=value * math.exp(-low), high=value * math.exp(high))


def product(factors: Iterable[Spread]) -> Spread:
    """The product of independent figures.

    The ends lie as far from the product, on the log scale, as the root of the sum of squares of the factors' own, each
    side for itself; for log-normal factors that is exact.
    """
    value, low, high = 1.0, 0.0, 0.0
    for factor in factors:
        value *= factor.value
        below, above = factor.log_deviations
        low, high = math.hypot(low, below), math.hypot(high, above)
    return Spread(value=value) if value == 0 else from_deviations(value, low, high)


def read(text: object) -> object:
    """What was typed, or stands in a file, as fields of a `Spread`; a `Spread` and its fields are left as they are.

    Raises:
        ValueError: Neither a number nor a range of two numbers.
    """
    if isinstance(text, Spread | dict):
        return text
    try:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError("no figure")
        numbers = [float(part.replace("_", "")) for part in str(text).split(SEPARATOR, 1)]
    except ValueError:
        raise ValueError("write a number such as 1.2, or a 95 % range such as 1.1..1.3") from None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("write a number that is not negative")
    if any(number > MOST or 0 < number < 1 / MOST for number in numbers):
        raise ValueError("nothing here is so large or so small")
    if len(numbers) == 1:
        return {"value": numbers[0]}
    low, high = numbers
    if not 0 < low <= high:
        raise ValueError("a range runs from its low end, above 0, to its high end")
    return {"value": math.sqrt(low) * math.sqrt(high), "low": low, "high": high}


Typed = Annotated[Spread, BeforeValidator(read)]
"""A field that a user types."""
