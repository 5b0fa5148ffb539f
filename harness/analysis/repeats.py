"""Run to run: how far a repeat of the same cell on the same site lies from another.

The half-width is what one more run may differ from the mean of the n repeats by: Student's t times the standard
deviation between their figures, times sqrt(1 + 1/n). Only repeats that answered the same queries are compared. It
holds what no interval over prompts can see: temperature, clocks, other work.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from harness.analysis.bootstrap import student_t
from harness.records import Estimate, Finding, FindingCode, ModeSummary, Summary

MODE_FIGURES = (
    "duration_s",
    "energy_j",
    "energy_net_j",
    "energy_per_output_token_j",
    "energy_per_correct_j",
    "energy_wh_per_1000",
)


def with_run_spread(repeats: Sequence[Summary]) -> list[Summary]:
    """The summaries of one cell's repeats at one site, each with its run-to-run half-widths filled in.

    Args:
        repeats: Summaries that differ in `cell.repeat` only. A single one is returned as it is.
    """
    if len(repeats) < 2:
        return list(repeats)
    return [_filled(summary, repeats) for summary in repeats]


def _filled(summary: Summary, repeats: Sequence[Summary]) -> Summary:
    modes = []
    for index, mode in enumerate(summary.modes):
        peers = [other.modes[index] for other in repeats if _asked(other) == _asked(summary)]
        modes.append(mode.model_copy(update={name: _spread(mode, peers, name) for name in MODE_FIGURES}))
    update: dict[str, object] = {"modes": tuple(modes), "findings": summary.findings}
    if sum(_asked(other) == _asked(summary) for other in repeats) > 1:
        update["findings"] = _without_one_run(summary.findings)
    if summary.comparison is not None:
        comparisons = [
            other.comparison for other in repeats if other.comparison is not None and _asked(other) == _asked(summary)
        ]
        headline = summary.comparison.model_copy(
            update={
                "energy": _with_runs(summary.comparison.energy, [each.energy for each in comparisons]),
                "duration": _with_runs(summary.comparison.duration, [each.duration for each in comparisons]),
            }
        )
        update["comparisons"] = (headline, *summary.comparisons[1:])
    return summary.model_copy(update=update)


def _asked(summary: Summary) -> tuple[tuple[str, int, int, int], ...]:
    """How many queries each mode answered: prompts come in one order, so equal counts are equal prompts."""
    return tuple((mode.mode, mode.n_queries, mode.n_failed, mode.n_without_energy) for mode in summary.modes)


def _spread(mode: ModeSummary, peers: Sequence[ModeSummary], name: str) -> Estimate:
    of: Callable[[ModeSummary], Estimate] = lambda each: getattr(each, name)  # noqa: E731
    return _with_runs(of(mode), [of(peer) for peer in peers])


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
