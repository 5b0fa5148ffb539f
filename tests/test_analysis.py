"""The statistics: laws that hold for every run, and small cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.bootstrap import (
    N_RESAMPLES,
    column,
    mean_interval,
    per_success_interval,
    ratio_interval,
    resampled_sums,
    wilson_interval,
)
from harness.analysis.comparison import compared_modes
from harness.analysis.plan import plan
from harness.errors import InvalidMeasurement
from harness.records import Boundary, Estimate, Finding, FindingCode, Method, ModeSummary, QueryRecord, Summary
from tests.synthetic_runs import (
    CPU,
    GAIN,
    cell,
    channel,
    estimated_summary,
    query,
    reading,
    run_of_queries,
    summary_of,
)


def mode_of(summary: Summary, name: str) -> ModeSummary:
    return next(mode for mode in summary.modes if mode.mode == name)


def codes(estimate: Estimate) -> set[FindingCode]:
    return {finding.code for finding in estimate.findings}


def one_mode(energies_j: Sequence[float | None]) -> Summary:
    queries = [query(index, "off", energy_j) for index, energy_j in enumerate(energies_j)]
    return summary_of(queries, ("off",))


joules = st.floats(min_value=1e-3, max_value=1e5)


# ------------------------------------------------------------------------------------------ by hand


def test_three_queries_by_hand() -> None:
    queries = [
        query(0, "off", 10.0, answer_tokens=10, correct=True),
        query(1, "off", 20.0, answer_tokens=30, correct=False),
        query(2, "off", 60.0, answer_tokens=20, correct=True, finish_reason="length"),
    ]
    off = mode_of(summary_of(queries, ("off",)), "off")
    assert off.energy_j.value == pytest.approx(30.0)
    assert off.energy_per_output_token_j.value == pytest.approx(90.0 / 60)
    assert off.energy_per_correct_j.value == pytest.approx(45.0)  # the wrong answer's joules are in it
    assert off.energy_wh_per_1000.value == pytest.approx(30.0 * 1000 / 3600)
    assert (off.n_scored, off.n_correct, off.n_cut) == (3, 2, 1)
    # Each reading's half-width is 1 %: 0.1, 0.2 and 0.6 J, and all may err in the same direction.
    assert off.energy_j.half_width_reading == pytest.approx((0.1 + 0.2 + 0.6) / 3)
    assert off.energy_j.half_width_gain == pytest.approx(GAIN * 30.0)
    assert off.energy_j.half_width_runs is None
    assert {FindingCode.ONE_RUN, FindingCode.TOO_FEW_QUERIES} <= codes(off.energy_j)
    assert off.energy_j.low is None
    assert off.energy_j.high is None


def test_devices_of_the_headline_are_summed_in_quadrature() -> None:
    readings = [
        reading(30.0, half_width_j=3.0),
        reading(40.0, half_width_j=4.0, device=CPU, boundary=Boundary.HOST, method=Method.RAPL),
    ]
    queries = [query(0, "off", None, readings=readings)]
    channels = (channel(), channel(CPU, Method.RAPL, Boundary.HOST))
    both = summary_of(queries, ("off",), headline=Boundary.GPU_BOARD_AND_HOST, channels=channels).modes[0]
    assert both.energy_j.value == pytest.approx(70.0)
    assert both.energy_j.half_width_reading == pytest.approx(5.0)
    assert both.energy_j.half_width_gain == pytest.approx(GAIN * 50.0)  # independent gains of 30 and 40 J
    board = summary_of(queries, ("off",), channels=channels).modes[0]
    assert board.energy_j.value == pytest.approx(30.0)


def test_a_board_alone_is_not_board_and_host() -> None:
    summary = summary_of([query(0, "off", 5.0)], ("off",), headline=Boundary.GPU_BOARD_AND_HOST)
    assert summary.modes[0].energy_j.value is None
    assert summary.modes[0].n_without_energy == 1


def test_a_device_that_is_missing_once_leaves_that_query_without_energy() -> None:
    two = [reading(30.0), reading(40.0, device="GPU-2")]
    queries = [query(0, "off", None, readings=two), query(1, "off", None, readings=two[:1])]
    off = summary_of(queries, ("off",)).modes[0]
    assert off.energy_j.value == pytest.approx(70.0)
    assert off.n_without_energy == 1


def test_nothing_metered_is_an_error() -> None:
    with pytest.raises(InvalidMeasurement, match="Nothing was metered"):
        summary_of([query(0, "off", None, readings=())], ("off",), channels=())


def test_ratio_by_hand() -> None:
    queries = [
        *(query(i, "off", e, answer_tokens=10) for i, e in enumerate((10.0, 30.0))),
        *(query(i, "on", e, answer_tokens=10, thinking_tokens=30) for i, e in enumerate((100.0, 60.0))),
        query(2, "on", 1e6),  # no partner: in the mode's mean, not in the ratio
    ]
    comparison = summary_of(queries).comparison
    assert comparison is not None
    assert (comparison.numerator, comparison.denominator, comparison.n_pairs) == ("on", "off", 2)
    assert comparison.energy.value == pytest.approx(4.0)
    assert comparison.tokens == pytest.approx(4.0)
    assert comparison.energy_per_token == pytest.approx(1.0)
    assert comparison.energy.half_width_gain == 0.0  # one board: its gain is in both totals
    relative = math.hypot((1.0 + 0.6) / 160, (0.1 + 0.3) / 40)
    assert comparison.energy.half_width_reading == pytest.approx(4.0 * relative)


def test_discordant_answers_are_counted_both_ways() -> None:
    right = [(True, False), (True, False), (False, True), (True, True), (None, True)]
    queries = [
        query(i, mode, 1.0, correct=pair[position])
        for i, pair in enumerate(right)
        for position, mode in enumerate(("on", "off"))
    ]
    comparison = summary_of(queries).comparison
    assert comparison is not None
    assert (comparison.n_only_numerator_correct, comparison.n_only_denominator_correct) == (2, 1)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (("off", "on"), ("on", "off")),
        (("off", "low", "medium", "high"), ("high", "off")),
        (("low", "high"), ("high", "low")),
        (("thinking", "instruct"), ("thinking", "instruct")),
        (("off", "budget:64"), ("budget:64", "off")),
        (("default",), None),
    ],
)
def test_which_mode_stands_above_the_line(modes: tuple[str, ...], expected: tuple[str, str] | None) -> None:
    assert compared_modes(modes) == expected


def test_wilson_by_hand() -> None:
    interval = wilson_interval(8, 10)
    assert interval.low == pytest.approx(0.4901, abs=1e-3)
    assert interval.high == pytest.approx(0.9433, abs=1e-3)
    assert wilson_interval(0, 10).low == 0.0


# --------------------------------------------------------------------------------------------- laws


@given(st.lists(joules, min_size=1, max_size=12))
def test_twice_the_energy_is_twice_the_mean(energies_j: list[float]) -> None:
    once = one_mode(list(energies_j)).modes[0].energy_j
    twice = one_mode([2 * energy_j for energy_j in energies_j]).modes[0].energy_j
    for name in ("value", "low", "high", "half_width_reading", "half_width_gain"):
        first, second = getattr(once, name), getattr(twice, name)
        assert (first is None) == (second is None)
        if first is not None:
            assert second == pytest.approx(2 * first, rel=1e-9)


@given(st.lists(st.tuples(joules, joules, st.integers(1, 999), st.integers(1, 999)), min_size=1, max_size=12))
def test_the_split_multiplies_back(rows: list[tuple[float, float, int, int]]) -> None:
    queries = []
    for index, (off_j, on_j, off_tokens, on_tokens) in enumerate(rows):
        queries.append(query(index, "off", off_j, answer_tokens=off_tokens))
        queries.append(query(index, "on", on_j, thinking_tokens=on_tokens))
    comparison = summary_of(queries).comparison
    assert comparison is not None
    assert comparison.tokens is not None
    assert comparison.energy_per_token is not None
    assert comparison.energy.value == pytest.approx(comparison.tokens * comparison.energy_per_token, rel=1e-12)


@given(st.lists(st.one_of(st.none(), joules), min_size=1, max_size=12))
def test_a_missing_energy_is_never_zero(energies_j: list[float | None]) -> None:
    known = [energy_j for energy_j in energies_j if energy_j is not None]
    off = one_mode(energies_j).modes[0]
    assert off.n_without_energy == len(energies_j) - len(known)
    if not known:
        assert off.energy_j.value is None
        assert off.power_w is None
        assert codes(off.energy_j)
    else:
        assert off.energy_j.value == pytest.approx(sum(known) / len(known))
    if len(known) < len(energies_j):
        detail = f"{len(energies_j) - len(known)} of {len(energies_j)} answered"
        assert any(detail in finding.detail for finding in off.energy_j.findings)


@given(st.lists(joules, min_size=5, max_size=12))
def test_an_interval_holds_its_value(energies_j: list[float]) -> None:
    estimate = one_mode(list(energies_j)).modes[0].energy_j
    if estimate.low is not None and estimate.high is not None and estimate.value is not None:
        assert estimate.low <= estimate.value * (1 + 1e-12)
        assert estimate.high >= estimate.value * (1 - 1e-12)


def test_phases_add_up_to_the_mean() -> None:
    for mode in summary_of(run_of_queries()).modes:
        assert sum(mode.phases_j.values()) == pytest.approx(mode.energy_j.value, rel=1e-9)
        assert sum(mode.phases_s.values()) == pytest.approx(mode.duration_s.value, rel=1e-9)
        assert list(mode.phases_j) == [name for name in ("prefill", "thinking", "answer") if name in mode.phases_j]


def test_phases_that_do_not_close_are_not_shown() -> None:
    broken = reading(10.0, phases={"prefill": 0.2, "answer": 0.3})
    assert summary_of([query(0, "off", None, readings=[broken])], ("off",)).modes[0].phases_j == {}


def test_the_same_run_gives_the_same_figures() -> None:
    queries = run_of_queries()
    assert summary_of(queries) == summary_of(list(reversed(queries)))


# ------------------------------------------------------------------------------------ right answers


def test_none_correct_and_none_scored_are_null_with_a_reason() -> None:
    wrong = summary_of([query(i, "off", 1.0, correct=False) for i in range(30)], ("off",)).modes[0]
    assert wrong.energy_per_correct_j.value is None
    assert FindingCode.NOTHING_CORRECT in codes(wrong.energy_per_correct_j)
    assert wrong.accuracy.value == 0.0
    unscored = summary_of([query(i, "off", 1.0) for i in range(30)], ("off",)).modes[0]
    assert unscored.energy_per_correct_j.value is None
    assert unscored.accuracy.value is None
    assert FindingCode.NOTHING_SCORED in codes(unscored.accuracy)


@pytest.mark.parametrize(("n_correct", "bounded"), [(1, False), (2, False), (8, True), (30, True)])
def test_a_few_right_answers_leave_no_upper_end(n_correct: int, bounded: bool) -> None:
    queries = [query(i, "off", 1.0 + i % 3, correct=i < n_correct) for i in range(30)]
    estimate = summary_of(queries, ("off",)).modes[0].energy_per_correct_j
    assert estimate.low is not None
    assert (estimate.high is not None) is bounded
    assert (FindingCode.DRAWS_WITHOUT_CORRECT in codes(estimate)) is not bounded


def test_prompts_without_a_reference_buy_no_right_answer() -> None:
    queries = [query(0, "off", 10.0, correct=True), query(1, "off", 99.0)]
    assert summary_of(queries, ("off",)).modes[0].energy_per_correct_j.value == pytest.approx(10.0)


# --------------------------------------------------------------------------------- failed, estimated


def test_failed_queries_are_counted_apart() -> None:
    failure = Finding(code=FindingCode.QUERY_FAILED, detail="boom")
    queries = [query(0, "off", 5.0), query(1, "off", 7.0, failed=True, findings=[failure])]
    summary = summary_of(queries, ("off",))
    off = summary.modes[0]
    assert (off.n_queries, off.n_failed, off.n_without_energy) == (2, 1, 0)
    assert off.energy_j.value == pytest.approx(5.0)
    found = next(each for each in summary.findings if each.code is FindingCode.QUERY_FAILED)
    assert found.detail == "1 of 2 queries; for example: boom"


def test_estimated_joules_carry_a_value_and_nothing_else() -> None:
    summary = estimated_summary()
    assert summary.estimated
    assert summary.method is Method.ESTIMATED
    for mode in summary.modes:
        for estimate in (
            mode.energy_j,
            mode.energy_per_output_token_j,
            mode.energy_per_correct_j,
            mode.energy_wh_per_1000,
        ):
            assert estimate.value is not None
            parts = (estimate.low, estimate.high, estimate.half_width_reading, estimate.half_width_gain)
            assert parts == (None, None, None, None)
            assert FindingCode.ESTIMATED_ENERGY in codes(estimate)
        assert mode.duration_s.low is not None
    comparison = summary.comparison
    assert comparison is not None
    assert comparison.energy.value is None
    assert comparison.energy_per_token is None
    assert comparison.tokens is not None
    assert comparison.duration_per_token is not None
    assert comparison.duration.value == pytest.approx(comparison.tokens * comparison.duration_per_token, rel=1e-12)


def test_a_common_baseline_error_does_not_shrink_with_the_queries() -> None:
    """Idle power is off by 1 W for all queries alike: 1 J a second of every query, however many."""
    for n in (5, 50):
        queries = [query(i, "off", None, readings=[reading(200.0, half_width_j=1e-6, net=True)]) for i in range(n)]
        net = summary_of(queries, ("off",)).modes[0].energy_net_j
        assert net.value == pytest.approx(130.0)
        assert net.half_width_reading == pytest.approx(1.0, rel=1e-6)


# ------------------------------------------------------------------------------------------ intervals


def test_few_prompts_have_no_interval() -> None:
    for interval in (
        ratio_interval(column([1, 2, 3, 4]), np.ones(4)),
        mean_interval(column([1, 2, 3, 4])),
        per_success_interval(np.ones(4), np.ones(4)),
        wilson_interval(2, 4),
    ):
        assert (interval.low, interval.high) == (None, None)
        assert [finding.code for finding in interval.findings] == [FindingCode.TOO_FEW_QUERIES]


def test_equal_prompts_have_an_interval_of_no_width() -> None:
    for n in (5, 19, 20, 50):
        interval = ratio_interval(np.full(n, 3.0), np.full(n, 2.0))
        assert (interval.low, interval.high) == (1.5, 1.5)


def test_resampling_is_seeded_and_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.arange(40, dtype=np.float64).reshape(20, 2)
    whole = resampled_sums(columns)
    assert whole.shape == (N_RESAMPLES, 2)
    assert N_RESAMPLES >= 2000
    monkeypatch.setattr("harness.analysis.bootstrap.COUNTS_AT_ONCE", 900)
    assert np.array_equal(resampled_sums(columns), whole)


@pytest.mark.parametrize(("n", "log_sd"), [(10, 0.3), (50, 0.6)])
def test_coverage_of_the_ratio(n: int, log_sd: float) -> None:
    """Seeded simulation with a known ratio; 200 studies are good to about 3 % in coverage."""
    rng = np.random.default_rng(11)
    truth, hits, n_studies = math.exp(log_sd**2 / 2), 0, 200
    for _ in range(n_studies):
        off = rng.lognormal(0.0, 0.5, n)
        interval = ratio_interval(off * rng.lognormal(0.0, log_sd, n), off)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    assert 0.90 <= hits / n_studies <= 0.99


# ----------------------------------------------------------------------------------------------- plan


def test_a_plan_from_pilots_forecasts_the_interval() -> None:
    queries = run_of_queries(200)
    forecast = plan(queries[:80], modes=("off", "on"), headline=Boundary.GPU_BOARD, n_prompts=200)
    comparison = summary_of(queries).comparison
    assert comparison is not None
    energy = comparison.energy
    assert energy.low is not None
    assert energy.high is not None
    assert energy.value is not None
    assert forecast.half_width_expected == pytest.approx((energy.high - energy.low) / 2 / energy.value, rel=0.4)
    assert forecast.of == "joules, on over off"
    assert forecast.n_prompts_for_target is not None
    assert forecast.half_width_expected is not None
    assert forecast.n_prompts_for_target == pytest.approx(200 * (forecast.half_width_expected / 0.05) ** 2, abs=1)
    pilots = queries[:80]
    assert forecast.energy_wh == pytest.approx(
        sum(each.readings[0].energy_gross_j or 0.0 for each in pilots) / 40 * 200 / 3600
    )
    assert forecast.duration_min == pytest.approx(sum(each.duration_s for each in pilots) / 40 * 200 / 60)


def test_a_plan_without_energy_speaks_of_seconds() -> None:
    def pilots(method: Method, energy_j: float | None) -> list[QueryRecord]:
        return [query(i, "off", energy_j, duration_s=1.0 + i, method=method) for i in range(5)]

    estimated = plan(pilots(Method.ESTIMATED, 5.0), modes=("off",), headline=Boundary.GPU_BOARD, n_prompts=50)
    assert estimated.of == "mean seconds"
    unknown = plan(pilots(Method.NVML_COUNTER, None), modes=("off",), headline=Boundary.GPU_BOARD, n_prompts=50)
    assert (unknown.of, unknown.energy_wh) == ("mean seconds", None)
    one = plan(pilots(Method.RAPL, 5.0)[:1], modes=("off",), headline=Boundary.GPU_BOARD, n_prompts=50)
    assert (one.half_width_expected, one.n_prompts_for_target) == (None, None)


def test_the_builders_make_a_valid_cell() -> None:
    assert cell().cell_id.startswith("Qwen-Qwen3-8B-")
