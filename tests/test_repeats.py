"""Run-to-run spread from repeats of one cell."""

from __future__ import annotations

import statistics

import pytest

from harness.analysis.repeats import with_run_spread
from harness.records import Estimate, Finding, FindingCode, Summary
from tests.synthetic_runs import estimated_summary, run_of_queries, summary_of


def repeats(*powers_w: float) -> list[Summary]:
    """The same prompts, each time at another power."""
    return [summary_of(run_of_queries(30, power_w=power_w)) for power_w in powers_w]


def test_one_run_stays_unknown() -> None:
    (only,) = with_run_spread(repeats(300.0))
    assert only.modes[0].energy_j.half_width_runs is None
    assert FindingCode.ONE_RUN in {finding.code for finding in only.findings}


def test_three_runs_give_students_interval_of_one_more() -> None:
    before = repeats(300.0, 303.0, 306.0)
    after = with_run_spread(before)
    values = [summary.modes[1].energy_j.value or 0.0 for summary in before]
    for summary in after:
        width_j = summary.modes[1].energy_j.half_width_runs
        assert width_j == pytest.approx(4.3027 * statistics.stdev(values) * (4 / 3) ** 0.5)
        assert FindingCode.ONE_RUN not in {finding.code for finding in summary.findings}
    assert [summary.modes[1].energy_j.value for summary in after] == values


def test_a_common_factor_cancels_in_the_ratio() -> None:
    (first, *_) = with_run_spread(repeats(300.0, 330.0))
    assert first.comparison is not None
    assert first.comparison.energy.half_width_runs == pytest.approx(0.0, abs=1e-9)
    assert (first.modes[0].energy_j.half_width_runs or 0.0) > 1.0


def test_every_comparison_has_its_own_run_to_run_spread() -> None:
    modes = ("off", "low", "on")
    before = [summary_of(run_of_queries(30, modes, seed=seed), modes) for seed in (1, 2, 3)]
    (first, *_) = with_run_spread(before)
    assert len(first.comparisons) == 2
    for index, comparison in enumerate(first.comparisons):
        for name in ("energy", "duration", "tokens", "energy_per_token", "difference_j", "energy_per_correct"):
            values = [getattr(summary.comparisons[index], name).value for summary in before]
            estimate = getattr(comparison, name)
            assert estimate.half_width_runs == pytest.approx(4.3027 * statistics.stdev(values) * (4 / 3) ** 0.5)
            assert FindingCode.ONE_RUN not in {finding.code for finding in estimate.findings}


def test_a_comparison_that_is_invalid_in_every_repeat_stays_null() -> None:
    same = Finding(code=FindingCode.SAME_PROMPT_IN_MODES)
    before = [summary_of(run_of_queries(30, seed=seed), invalid=lambda *_: (same,)) for seed in (1, 2)]
    (first, _) = with_run_spread(before)
    assert first.comparison is not None
    assert first.comparison.energy == Estimate(value=None, findings=(same,))


def test_estimated_joules_carry_no_run_to_run_interval_either() -> None:
    for summary in with_run_spread([estimated_summary(20), estimated_summary(20)]):
        assert summary.modes[0].energy_j.half_width_runs is None
