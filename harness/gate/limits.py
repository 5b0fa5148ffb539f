"""Where a line's limit lies on the scale of its figure, and on the log.

Knows a limit and its unit in words. Must not know intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.gate.budget import BudgetLine
from harness.gate.words import figure, signed_share


@dataclass(frozen=True, slots=True)
class Limits:
    """An upper end, and of an equivalence a lower one; in the metric's unit, or as ratios of a relative line."""

    line: BudgetLine
    high: float
    low: float | None = None

    @classmethod
    def of(cls, line: BudgetLine) -> Limits:
        """A line's."""
        if line.at_most is not None:
            return cls(line, line.at_most)
        if line.equivalent is not None:
            return cls(line, 1 + line.equivalent, 1 - line.equivalent)
        return cls(line, 1 + (line.at_most_over_reference or 0.0))

    @property
    def log_high(self) -> float:
        """The upper end's log."""
        return math.log(self.high)

    @property
    def log_low(self) -> float:
        """The lower end's log; of a line without one, minus infinity."""
        return -math.inf if self.low is None else math.log(self.low)

    @property
    def unit(self) -> str:
        """Of what `shown` gives."""
        return "share" if self.line.is_relative else self.line.metric.unit

    def shown(self, value: float | None) -> float | None:
        """A figure as a verdict holds it: a ratio as what it is over 1. None: unknown, or without an end."""
        if value is None or not math.isfinite(value):
            return None
        return round(value - 1, 12) if self.line.is_relative else value

    def words(self, value: float, beside: float | None = None) -> str:
        """A figure in its unit, with so many digits that it differs from the one beside it, if it does.

        Args:
            value: In the metric's unit, or a ratio.
            beside: What it is compared with, on the same scale.
        """
        printer: Callable[[float, int], str] = self._share if self.line.is_relative else self._amount
        n_digits = 3
        while beside is not None and value != beside and n_digits < 12:
            if printer(value, n_digits) != printer(beside, n_digits):
                break
            n_digits += 1
        return printer(value, n_digits)

    def _share(self, ratio: float, n_digits: int) -> str:
        share = ratio - 1
        # Of a percentage the decimals count, not the digits: three are 0.1 %.
        return signed_share(round(share, n_digits), 12) if math.isfinite(share) else "no end"

    def _amount(self, value: float, n_digits: int) -> str:
        return f"{figure(value, n_digits)} {self.line.metric.unit}" if math.isfinite(value) else "no end"
