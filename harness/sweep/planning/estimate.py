"""How long a sweep will take and what its queries will draw, before it is measured: a range, with what it rests on.

    measured    the same planned run has been measured, here or elsewhere: its seconds and joules, by its prompts
    rough       nothing has: `rough.py`'s law between a fast and a slow machine
    unknown     not even that, with the reason

Joules are those of the queries; loading, warming up and idling are in the hours alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import CellOutcome, PlannedCell

Kind = Literal["measured", "rough", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Between what a quantity is expected, both ends in its base unit."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(low=self.low + other.low, high=self.high + other.high)

    def times(self, factor: float) -> Span:
        """Both ends by a factor."""
        return Span(low=self.low * factor, high=self.high * factor)

    def by(self, other: Span) -> Span:
        """The product with another that errs independently: the factors by which both may be off add as squares do."""
        off = math.exp(math.hypot(math.log(self.high / self.low), math.log(other.high / other.low)) / 2)
        middle = self.middle * other.middle
        return Span(low=middle / off, high=middle * off)

    @property
    def middle(self) -> float:
        """As many times above the low end as below the high one."""
        return math.sqrt(self.low * self.high)


NOTHING = Span(low=0.0, high=0.0)


def around(values: Iterable[float]) -> Span:
    """From the least to the most of several values."""
    seen = tuple(values)
    return Span(low=min(seen), high=max(seen))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellEstimate:
    """One repeat of one planned run."""

    kind: Kind
    duration_s: Span | None
    """From the start of its process to its end; None: unknown."""
    energy_j: Span | None
    """Of its queries; None: unknown."""
    basis: str
    """What this rests on, or why it is not known."""
    estimated: bool = False
    """Whether these joules were themselves an estimate when they were measured."""


def unknown(reason: str) -> CellEstimate:
    """Neither time nor joules."""
    return CellEstimate(kind="unknown", duration_s=None, energy_j=None, basis=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Several cells together, as far as they are known."""

    duration_s: Span
    energy_j: Span
    n_cells: int
    n_without_duration: int
    n_without_energy: int


@dataclass(frozen=True, slots=True)
class Estimates:
    """What each planned run of a sweep is expected to take, by its run id; its repeats are alike."""

    by_run: Mapping[str, CellEstimate]

    def of(self, cell: PlannedCell) -> CellEstimate:
        """What is expected of a cell."""
        return self.by_run[cell.run_id]

    def total(self, cells: Iterable[PlannedCell]) -> Total:
        """Cells one after the other."""
        each = [self.of(cell) for cell in cells]
        durations = [one.duration_s for one in each if one.duration_s is not None]
        energies = [one.energy_j for one in each if one.energy_j is not None]
        return Total(
            duration_s=sum(durations, NOTHING),
            energy_j=sum(energies, NOTHING),
            n_cells=len(each),
            n_without_duration=len(each) - len(durations),
            n_without_energy=len(each) - len(energies),
        )

    def remaining(
        self, unfinished: Sequence[PlannedCell], outcomes: Iterable[CellOutcome], *, n_at_once: int = 1
    ) -> Span | None:
        """Seconds until the unfinished cells are done, by what the finished ones took.

        A run of which a repeat is finished takes what that took. A rough estimate of another is corrected by how far
        the rough estimates of the finished runs were off. What has no estimate takes what the finished ones took.

        Args:
            unfinished: Cells that have not ended.
            outcomes: Every attempt so far.
            n_at_once: How many cells run side by side.

        Returns:
            None: nothing is known of some cell.
        """
        taken: dict[str, list[float]] = {}
        for outcome in outcomes:
            if outcome.status == "finished":
                taken.setdefault(outcome.key.partition("/")[0], []).append(outcome.duration_s)
        off = self._off(taken)
        spans = []
        for cell in unfinished:
            expected = self.by_run.get(cell.run_id)
            if cell.run_id in taken:
                spans.append(around(taken[cell.run_id]))
            elif expected is not None and expected.duration_s is not None:
                is_rough = expected.kind == "rough" and off is not None
                spans.append(_corrected(expected.duration_s, off) if is_rough and off else expected.duration_s)
            elif taken:
                spans.append(around(seconds for each in taken.values() for seconds in each))
            else:
                return None
        if not spans:
            return NOTHING
        longest = Span(low=max(span.low for span in spans), high=max(span.high for span in spans))
        shared = sum(spans, NOTHING).times(1 / n_at_once)
        return Span(low=max(shared.low, longest.low), high=max(shared.high, longest.high))

    def _off(self, taken: Mapping[str, Sequence[float]]) -> Span | None:
        """By which factors the middles of rough estimates were off; None: none has been tried."""
        factors = [
            seconds / expected.duration_s.middle
            for run_id, each in taken.items()
            if (expected := self.by_run.get(run_id)) is not None
            and expected.kind == "rough"
            and expected.duration_s is not None
            for seconds in each
        ]
        return around(factors) if factors else None


def _corrected(rough: Span, off: Span) -> Span:
    return Span(low=rough.middle * off.low, high=rough.middle * off.high)
