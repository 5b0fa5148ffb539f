"""One side over another: whether they can be compared, and what the difference is, mode by mode and prompt by prompt.

A cell is compared with the first one before it that answered the same prompts, preferably of the same model. Everything
in which the two differ is named, because the ratio is of all of it together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.comparison import compare, effort
from harness.analysis.sequential import widened_comparison
from harness.analysis.serving.serving import load_words
from harness.comparing.differences import Difference, differences_of
from harness.comparing.figures import SideFigures
from harness.comparing.side import Side
from harness.errors import ExitCode
from harness.records import Comparison, Estimate, Finding, FindingCode, ModeSummary
from harness.report.compared import not_as_called
from harness.report.exports.vocabulary import task_words
from harness.report.wording import models


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One side over another, a comparison per shared mode; where it is refused there are none."""

    base: Side
    other: Side
    differences: tuple[Difference, ...]
    comparisons: Mapping[str, Comparison]
    estimated: bool
    refusal: str | None = None


def matches_of(sides: Sequence[Side]) -> list[Match]:
    """Every side but the first, over the side before it that it is to be compared with."""
    return [match(_base(side, sides[:index]), side) for index, side in enumerate(sides) if index]


def match(base: Side, other: Side) -> Match:
    """Two sides, prompt by prompt in each mode that both have.

    Args:
        base: Below the line.
        other: Above it.

    Returns:
        Comparisons, or the reason why there is none.
    """
    differences = tuple(differences_of(base, other))
    refusal = _refusal(base, other)
    comparisons = {} if refusal else _comparisons(base, other)
    if not refusal and not any(each.n_pairs for each in comparisons.values()):
        refusal = "They have no answered prompt in common."
    return Match(
        base=base,
        other=other,
        differences=differences,
        comparisons={} if refusal else comparisons,
        estimated=base.summary.estimated,
        refusal=refusal,
    )


def _base(side: Side, before: Sequence[Side]) -> Side:
    """The first earlier side that it can be compared with, of the same model if there is one."""
    comparable = [each for each in before if _refusal(each, side) is None]
    same = [each for each in comparable if each.cell.model == side.cell.model]
    return (same or comparable or list(before))[0]


def _refusal(base: Side, other: Side) -> str | None:
    """Why two sides cannot be compared, in words."""
    if base.cell.task != other.cell.task:
        tasks = f"{task_words(base.cell)} and {task_words(other.cell)}"
        return f"They did two tasks: {tasks}. Joules of a query of one say nothing of the other."
    if base.cell.prompt_set_sha256 != other.cell.prompt_set_sha256:
        return f"They answered different prompts: {base.cell.prompt_set} and {other.cell.prompt_set}."
    if base.summary.estimated != other.summary.estimated:
        one = base if base.summary.estimated else other
        return f"The energy of {one.label} is estimated, the other's is measured: these are never compared."
    if base.summary.headline is not other.summary.headline:
        boundaries = f"{base.summary.headline.value} and {other.summary.headline.value}"
        return f"Their energies include different things: {boundaries}."
    two_phase = [side.label for side in (base, other) if side.summary.two_phase is not None]
    if two_phase:
        return f"Two-phase runs measure few queries, chosen for their lengths: {' and '.join(two_phase)} has no sample."
    loads = (load_words(base.cell), load_words(other.cell))
    if loads[0] != loads[1] and models(base.cell) != models(other.cell):
        return (
            f"Two models under two loads ({loads[0]} and {loads[1]}): their ratio would be of both. Measure one load."
        )
    if not _shared_modes(base, other):
        modes = (", ".join(base.cell.modes), ", ".join(other.cell.modes))
        return f"They have no mode in common: {base.label} has {modes[0]}, {other.label} has {modes[1]}."
    return None


def _shared_modes(base: Side, other: Side) -> list[str]:
    """In the order of how much they think, as far as that is known."""
    shared = [mode for mode in base.cell.modes if mode in other.cell.modes]
    return sorted(shared, key=lambda mode: effort(mode) or (0, 0))


def _comparisons(base: Side, other: Side) -> dict[str, Comparison]:
    below, above = SideFigures.of(base), SideFigures.of(other)
    if base.summary.site_id != other.summary.site_id:
        below, above = below.named_apart(), above.named_apart()
    factor = max(side.inflation for side in (base, other))
    return {
        mode: _with_runs(
            widened_comparison(
                compare(
                    above.by_mode.get(mode, []),
                    below.by_mode.get(mode, []),
                    {**below.gains, **above.gains},
                    modes=(f"{other.label} {mode}", f"{base.label} {mode}"),
                    estimated=base.summary.estimated,
                    invalid=_doubted(mode, base, other),
                ),
                factor,
            ),
            *(next(each for each in side.summary.modes if each.mode == mode) for side in (other, base)),
        )
        for mode in _shared_modes(base, other)
    }


def _with_runs(comparison: Comparison, above: ModeSummary, below: ModeSummary) -> Comparison:
    """The comparison with what a repeat of both may differ by: their relative spreads in quadrature.

    Unknown unless both were repeated; each side's spread is that of its own mean (`analysis.repeats`).
    """
    spreads = {
        "energy": _ratio_runs(comparison.energy, above.energy_j, below.energy_j),
        "duration": _ratio_runs(comparison.duration, above.duration_s, below.duration_s),
    }
    return comparison.model_copy(update=spreads)


def _ratio_runs(ratio: Estimate, above: Estimate, below: Estimate) -> Estimate:
    spreads = [each.half_width_runs / each.value for each in (above, below) if each.half_width_runs and each.value]
    if ratio.value is None or len(spreads) < 2:
        return ratio
    findings = tuple(finding for finding in ratio.findings if finding.code is not FindingCode.ONE_RUN)
    return ratio.model_copy(update={"half_width_runs": ratio.value * math.hypot(*spreads), "findings": findings})


def _doubted(mode: str, *sides: Side) -> tuple[Finding, ...]:
    """Why a mode is not what its name says in one of the runs; then it is compared with nothing."""
    return tuple(
        Finding(code=finding.code, detail=": ".join(filter(None, (side.label, finding.detail))))
        for side in sides
        for finding in not_as_called(side.summary).get(mode, ())
    )


def exit_code(sides: Sequence[Side], matches: Sequence[Match]) -> ExitCode:
    """4 where a mode or a comparison is invalid, of a cell's own or of two, or a two-phase figure does not hold."""
    if any(not_as_called(side.summary) for side in sides):
        return ExitCode.INVALID
    if any(side.summary.two_phase is not None and not side.summary.two_phase.valid for side in sides):
        return ExitCode.INVALID
    own = [comparison for side in sides for comparison in side.summary.comparisons]
    between = [comparison for each in matches for comparison in each.comparisons.values()]
    return ExitCode.INVALID if any(each.invalid for each in (*own, *between)) else ExitCode.OK
