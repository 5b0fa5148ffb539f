"""A step of a footprint: a factor with a name, where it comes from, and whether anybody measured it.

A chain of steps is a product. What is added (a host beside its boards) is written as a factor too, so that a chain has
one rule for its interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.footprint.spread import Spread, product
from harness.records import Record


class Step(Record):
    """One factor of a chain."""

    name: str
    sign: str = "×"
    factor: Spread
    measured: bool
    source: str
    note: str = ""
    at_least: float = 0.0
    """No draw of the factor lies below: a facility draws no less than what is in it."""

    @property
    def acting(self) -> Spread:
        """What the chain is multiplied with."""
        return self.factor.inverse() if self.sign == "÷" else self.factor


def chain(steps: Iterable[Step]) -> Spread:
    """The product of independent steps."""
    return product(step.acting for step in steps)


def assumptions(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps that nobody measured in this run, each once."""
    return tuple(dict.fromkeys(step for step in steps if not step.measured))


def of_name(steps: Sequence[Step], name: str) -> Step | None:
    """The step of a name; None where the chain has none."""
    return next((step for step in steps if step.name == name), None)
