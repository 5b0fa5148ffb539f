"""What is measured of one mode, as the footprint needs it: joules per query with the parts of their interval.

Knows no file, no sensor and no statistics: whoever has the run fills it in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.errors import InvalidMeasurement
from harness.footprint.spread import Spread, from_deviations
from harness.records import Boundary, Estimate

PROMPTS, READING, RUNS, GAIN = "other prompts", "sensor reading", "run to run", "sensor gain"
"""The four parts of an interval, as the receipt calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One mode of one cell.

    `parts` are factors around 1, each with its own range; `unknown` names the parts that nobody knows. `node_per_board`
    and `host_per_board` are joules of the machine, and of the host beside the boards, per joule of the energy here, for
    the same queries; None where they were not measured. `node_source` says by what.
    """

    mode: str
    energy_j: float
    parts: tuple[tuple[str, Spread], ...]
    unknown: tuple[str, ...] = ()
    duration: Spread | None
    """Seconds per query."""
    boundary: Boundary
    estimated: bool
    n_boards: int
    host_per_board: Spread | None = None
    node_per_board: Spread | None = None
    node_source: str = ""
    is_alone: bool = True
    """Whether the queries had the boards for themselves, one at a time (batch 1)."""

    @property
    def energy(self) -> Spread:
        """Joules per query, with every known part of the interval in one."""
        return joined(self.energy_j, [part for _, part in self.parts])

    def without(self, *names: str) -> Subject:
        """Without parts that a later step makes good for: a wall meter has an error of its own."""
        return replace(self, parts=tuple(part for part in self.parts if part[0] not in names))

    def eased(self, share: float, *names: str) -> Subject:
        """With parts that are only of such a share of the joules, once others that do not have them are added."""
        parts = []
        for name, part in self.parts:
            below, above = part.log_deviations
            parts.append((name, from_deviations(1.0, share * below, share * above) if name in names else part))
        return replace(self, parts=tuple(parts))


def joined(value: float, parts: Sequence[Spread]) -> Spread:
    """A figure with independent parts of its interval in quadrature, on the log scale."""
    deviations = [part.log_deviations for part in parts]
    low = math.hypot(*(below for below, _ in deviations))
    high = math.hypot(*(above for _, above in deviations))
    return from_deviations(value, low, high)


def parts_of(estimate: Estimate) -> tuple[tuple[tuple[str, Spread], ...], tuple[str, ...]]:
    """The parts of an estimate's interval as factors, and the names of those that are unknown.

    Half-widths are of a figure and of its error, so their factor is 1 + half-width / value, up and down alike. An end
    at or below zero, which few prompts can give, is put as far down as the other end lies up.

    Raises:
        InvalidMeasurement: The figure is unknown, or not above zero.
    """
    value = estimate.value
    if value is None or value <= 0:
        raise InvalidMeasurement("The joules per query are unknown.", "`harness report` says why.")
    known, unknown = [], []
    if estimate.low is not None and estimate.high is not None and estimate.high > value:
        above = math.log(estimate.high / value)
        below = math.log(value / estimate.low) if 0 < estimate.low <= value else above
        known.append((PROMPTS, from_deviations(1.0, below, above)))
    elif estimate.low is None or estimate.high is None:
        unknown.append(PROMPTS)
    for name, half_width in (
        (READING, estimate.half_width_reading),
        (RUNS, estimate.half_width_runs),
        (GAIN, estimate.half_width_gain),
    ):
        if half_width is None:
            unknown.append(name)
        elif half_width > 0:
            distance = math.log1p(half_width / value)
            known.append((name, from_deviations(1.0, distance, distance)))
    return tuple(known), tuple(unknown)
