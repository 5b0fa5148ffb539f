"""What the study is told in: joules where a sensor measured them, seconds where they are only estimated."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.measured import QueryFigures
from harness.records import Comparison, Estimate, ModeSummary, Summary
from harness.report import compared
from harness.report.numbers import Unit, unit_for


@dataclass(frozen=True, slots=True)
class Measure:
    """Joules or seconds, with the unit in which this run prints them."""

    estimated: bool
    unit: Unit

    @property
    def noun(self) -> str:
        """As in `5 times the joules`."""
        return "seconds" if self.estimated else "joules"

    @property
    def axis(self) -> str:
        """The label of an axis."""
        return f"time, {self.unit.name} (measured)" if self.estimated else f"energy, {self.unit.name}"

    def of(self, query: QueryFigures) -> float | None:
        """One query's, in the unit."""
        value = query.duration_s if self.estimated else query.energy_j
        return None if value is None else self.unit.of(value)

    def mean(self, mode: ModeSummary) -> Estimate:
        """A mode's mean query, in the unit."""
        return self.unit.estimate(mode.duration_s if self.estimated else mode.energy_j)

    def phases(self, mode: ModeSummary) -> dict[str, float]:
        """The parts of a mode's mean query, in the unit."""
        phases = mode.phases_s if self.estimated else mode.phases_j
        return {name: self.unit.of(value) for name, value in phases.items()}

    def ratio(self, comparison: Comparison) -> Estimate:
        """One mode's total over another's."""
        return compared.whole(comparison, estimated=self.estimated)

    def per_token(self, comparison: Comparison) -> Estimate:
        """The ratio of what an output token takes."""
        return compared.per_token(comparison, estimated=self.estimated)


def measure_of(summary: Summary) -> Measure:
    """Seconds where the joules are a hardware model's power times these very seconds."""
    values = [(mode.duration_s if summary.estimated else mode.energy_j).value for mode in summary.modes]
    return Measure(summary.estimated, unit_for(values, "s" if summary.estimated else "J"))
