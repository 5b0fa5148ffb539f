"""Run to run: how far a repeat of the same cell on the same site lies from another.

The half-width is what one more run may differ from the mean of the n repeats by: Student's t times the standard
deviation between their figures, times sqrt(1 + 1/n). Only repeats that answered the same queries are compared. It
holds what no interval over prompts can see: temperature, clocks, other work.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TypeVar

from harness.analysis.bootstrap import student_t
from harness.records import Comparison, Estimate, Finding, FindingCode, ModeSummary, SizeLaw, Summary

Figures = TypeVar("Figures", ModeSummary, Comparison, SizeLaw)

MODE_FIGURES = (
    "duration_s",
    "energy_j",
    "energy_net_j",
    "energy_per_output_token_j",
    "energy_per_correct_j",
    "energy_wh_per_1000",
)
LAW_FIGURES = ("energy_per_unit_j", "per_query_j", "per_unit_j")
COMPARISON_FIGURES = ("energy", "duration", "tokens", "energy_per_token", "difference_j", "energy_per_correct")


def with_run_spread(repeats: Sequence[Summary]) -> list[Summary]:
    """The summaries of one cell's repeats at one site, each with its run-to-run half-widths filled in.

    Args:
        repeats: Summaries that differ in `cell.repeat` only. A single one is returned as it is.
    """
    if len(repeats) < 2:
        return list(repeats)
    return [_filled(summary, repeats) for summary in repeats]


def with_spread_of(comparison: Comparison, repeats: Sequence[Comparison]) -> Comparison:
    """A comparison of two cells that were measured in turn, with what another turn may differ by.

    What drifts from turn to turn weighs on both, so the spread is that of the turns' own ratios, and not that of
    each side.

    Args:
        comparison: Of the means over all turns.
        repeats: The same of each turn.
    """
    return _spread(comparison, repeats, COMPARISON_FIGURES)


def _filled(summary: Summary, repeats: Sequence[Summary]) -> Summary:
    peers = [other for other in repeats if _asked(other) == _asked(summary)]
    return summary.model_copy(
        update={
            "modes": tuple(
                _spread_mode(mode, [other.modes[index] for other in peers]) for index, mode in enumerate(summary.modes)
            ),
            "comparisons": tuple(
                _spread(
                    comparison,
                    [each for other in peers for each in other.comparisons if _same(each, comparison)],
                    COMPARISON_FIGURES,
                )
                for comparison in summary.comparisons
            ),
            "findings": _without_one_run(summary.findings) if len(peers) > 1 else summary.findings,
        }
    )


def _asked(summary: Summary) -> tuple[tuple[str, int, int, int], ...]:
    """How many queries each mode answered: prompts come in one order, so equal counts are equal prompts."""
    return tuple((mode.mode, mode.n_queries, mode.n_failed, mode.n_without_energy) for mode in summary.modes)


def _same(one: Comparison, other: Comparison) -> bool:
    return (one.numerator, one.denominator) == (other.numerator, other.denominator)


def _spread(own: Figures, peers: Sequence[Figures], names: Sequence[str]) -> Figures:
    """What has these estimates with their run-to-run half-widths, from the same one in every repeat."""
    return own.model_copy(
        update={name: _with_runs(getattr(own, name), [getattr(peer, name) for peer in peers]) for name in names}
    )


def _spread_mode(own: ModeSummary, peers: Sequence[ModeSummary]) -> ModeSummary:
    laws = tuple(
        _spread(law, [each for peer in peers for each in peer.size_laws if each.size == law.size], LAW_FIGURES)
        for law in own.size_laws
    )
    return _spread(own, peers, MODE_FIGURES).model_copy(update={"size_laws": laws})


def _with_runs(estimate: Estimate, repeats: Sequence[Estimate]) -> Estimate:
    values = [each.value for each in repeats if each.value is not None]
    # An estimated energy carries no half-widths at all.
    if estimate.value is None or (estimate.half_width_reading is None and estimate.low is None) or len(values) < 2:
        return estimate
    return estimate.model_copy(
        update={
            "half_width_runs": student_t(len(values)) * statistics.stdev(values) * math.sqrt(1 + 1 / len(values)),
            "findings": _without_one_run(estimate.findings),
        }
    )


def _without_one_run(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.code is not FindingCode.ONE_RUN)
