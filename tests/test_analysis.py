"""The statistics: laws that hold for every run, and small cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.bootstrap import (
    N_RESAMPLES,
    Interval,
    bca_ratio_interval,
    column,
    drawn_counts,
    log_deviation,
    mean_interval,
    per_success_interval,
    per_success_ratio_interval,
    product_interval,
    ratio_interval,
    resampled_sums,
    smallest_detectable,
    wilson_interval,
)
from harness.analysis.measured import phase_names
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
    # 30 failures in a row leave a share of up to 11.6 % open, so a right answer costs at least 1 J / 0.116.
    assert wrong.energy_per_correct_j.low == pytest.approx(1.0 / 0.11570, rel=1e-4)
    assert wrong.energy_per_correct_j.high is None
    few = summary_of([query(i, "off", 1.0, correct=False) for i in range(3)], ("off",)).modes[0]
    assert few.energy_per_correct_j.low is None
    assert {FindingCode.NOTHING_CORRECT, FindingCode.TOO_FEW_QUERIES} <= codes(few.energy_per_correct_j)
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


@pytest.mark.parametrize(("n_correct", "doubted"), [(1, True), (9, True), (10, False), (30, False)])
def test_a_few_right_answers_are_doubted(n_correct: int, doubted: bool) -> None:
    queries = [query(i, "off", 1.0 + i % 3, correct=i < n_correct) for i in range(30)]
    mode = summary_of(queries, ("off",)).modes[0]
    assert (FindingCode.FEW_CORRECT in codes(mode.energy_per_correct_j)) is doubted
    assert FindingCode.FEW_CORRECT not in codes(mode.energy_j)


def test_cut_and_forced_answers_are_counted_apart() -> None:
    forced = Finding(code=FindingCode.BUDGET_REACHED)
    queries = [
        query(0, "off", 1.0, correct=True, finish_reason="length"),
        query(1, "off", 1.0, correct=False, finish_reason="length"),
        query(2, "off", 1.0, finish_reason="length"),
        query(3, "off", 1.0, correct=True, findings=[forced]),
    ]
    off = summary_of(queries, ("off",)).modes[0]
    assert (off.n_cut, off.n_cut_scored, off.n_cut_correct, off.n_forced) == (3, 2, 1, 1)
    assert (off.n_scored, off.n_correct) == (3, 2)


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
    assert summary.law is None


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
    assert np.array_equal(resampled_sums(columns, n_resamples=100), whole[:100])
    assert not np.array_equal(resampled_sums(columns, seed=1), whole)
    assert whole.mean(axis=0) == pytest.approx(columns.sum(axis=0), rel=0.02)
    drawn_counts.cache_clear()
    monkeypatch.setattr("harness.analysis.bootstrap.COUNTS_AT_ONCE", 900)
    assert np.array_equal(resampled_sums(columns), whole)


@pytest.mark.parametrize(
    ("interval_of", "n", "log_sd"),
    [(ratio_interval, 10, 0.3), (ratio_interval, 50, 0.6), (bca_ratio_interval, 50, 0.6)],
)
def test_coverage_of_the_ratio(interval_of: Callable[..., Interval], n: int, log_sd: float) -> None:
    """Seeded simulation with a known ratio; 200 studies are good to about 3 % in coverage."""
    rng = np.random.default_rng(11)
    truth, hits, n_studies = math.exp(log_sd**2 / 2), 0, 200
    for _ in range(n_studies):
        off = rng.lognormal(0.0, 0.5, n)
        interval = interval_of(off * rng.lognormal(0.0, log_sd, n), off)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    assert 0.88 <= hits / n_studies <= 0.99


def test_bca_is_the_same_for_the_inverse_ratio_and_differs_from_the_other_method() -> None:
    rng = np.random.default_rng(3)
    off = rng.lognormal(0.0, 0.9, 60)
    on = off * rng.lognormal(1.0, 0.9, 60)
    once, inverse, other = bca_ratio_interval(on, off), bca_ratio_interval(off, on), ratio_interval(on, off)
    assert once.low is not None
    assert once.high is not None
    assert (inverse.low, inverse.high) == pytest.approx((1 / once.high, 1 / once.low))
    assert once.low < on.sum() / off.sum() < once.high
    assert (once.low, once.high) != (other.low, other.high)


def test_bca_is_that_of_another_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy 1.17's `bootstrap(..., paired=True, method="BCa")`, 200,000 resamples; its percentiles: 0.9266, 1.767."""
    monkeypatch.setattr("harness.analysis.bootstrap.resampled_sums", partial(resampled_sums, n_resamples=40_000))
    normal, n = NormalDist(), 40
    on = np.array([math.exp(0.9 * normal.inv_cdf((i + 0.5) / n)) for i in range(n)])
    off = np.array([math.exp(0.5 * normal.inv_cdf((7 * i % n + 0.5) / n)) for i in range(n)])
    interval = bca_ratio_interval(on, off)
    assert (interval.low, interval.high) == pytest.approx((0.9554, 1.8204), rel=0.01)


def test_bca_moves_back_what_the_draws_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws that lie half of their own scatter too high are moved by twice that; the values have no skewness."""
    normal, n = NormalDist(), 20_001
    drawn = np.array([0.1 * (0.5 + normal.inv_cdf((i + 0.5) / n)) for i in range(n)])
    monkeypatch.setattr(
        "harness.analysis.bootstrap.resampled_sums", lambda _: np.column_stack((np.exp(drawn), np.ones(n)))
    )
    interval = bca_ratio_interval(np.tile([1.0, 3.0], 500), np.full(1000, 2.0))
    expected = tuple(math.exp(0.1 * (z - 0.5)) for z in (-1.96, 1.96))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-3)


def test_bca_says_nothing_where_it_would_be_too_narrow() -> None:
    few, alone = np.arange(1.0, 20.0), np.r_[1.0, np.zeros(29)]
    assert bca_ratio_interval(few, np.ones(19)).low is None
    assert bca_ratio_interval(alone, np.ones(30)).low is None
    assert bca_ratio_interval(np.full(20, 3.0), np.ones(20)) == Interval(low=3.0, high=3.0)


def test_a_product_of_ratios_follows_its_factors() -> None:
    """Joules per token where every token costs the same has no spread, however unequal the answers are."""
    tokens = np.random.default_rng(1).lognormal(5.0, 0.9, 50)
    others = tokens[::-1]
    columns = np.column_stack((3.0 * tokens, tokens, 2.0 * others, others))
    interval = product_interval(columns, (1, -1, -1, 1))
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize(
    ("n_right_on", "n_right_off", "low", "high"), [(30, 30, True, True), (2, 30, True, False), (30, 2, False, True)]
)
def test_a_ratio_of_costs_per_right_answer_is_open_where_draws_have_none(
    n_right_on: int, n_right_off: int, low: bool, high: bool
) -> None:
    rng = np.random.default_rng(5)
    on, off = rng.lognormal(1.0, 0.3, 40), rng.lognormal(0.0, 0.3, 40)
    right_on, right_off = (np.arange(40) < n_right_on).astype(float), (np.arange(40) < n_right_off).astype(float)
    interval = per_success_ratio_interval((on, right_on), (off, right_off))
    inverse = per_success_ratio_interval((off, right_off), (on, right_on))
    assert (interval.low is not None, interval.high is not None) == (low, high)
    assert bool(interval.findings) is not (low and high)
    assert inverse.low == (None if interval.high is None else pytest.approx(1 / interval.high))
    assert inverse.high == (None if interval.low is None else pytest.approx(1 / interval.low))


def test_the_smallest_detectable_difference_is_found_in_four_of_five_studies() -> None:
    """Binomial error of 300 studies: 2.3 %."""
    rng = np.random.default_rng(9)
    n, log_sd, n_studies, found = 60, 0.4, 300, 0
    deviation = math.sqrt(math.expm1(log_sd**2) * math.exp(0.25) / n)
    difference = smallest_detectable(deviation)
    assert difference is not None
    for _ in range(n_studies):
        off = rng.lognormal(0.0, 0.5, n)
        on = off * (1 + difference) * rng.lognormal(-(log_sd**2) / 2, log_sd, n)
        columns = np.column_stack((on, off))
        found += abs(math.log(on.sum() / off.sum())) > 1.96 * log_deviation(columns, (1, -1))
    assert 0.72 <= found / n_studies <= 0.88
    assert smallest_detectable(100.0) is None


# -------------------------------------------------------------------------------------- heavy tails


@pytest.mark.parametrize(
    ("n", "log_sd", "doubted"),
    [(200, 0.5, False), (200, 1.0, True), (99, 0.3, True), (100, 0.3, False), (4, 0.3, False)],
)
def test_few_or_very_unequal_prompts_are_doubted(n: int, log_sd: float, doubted: bool) -> None:
    quantiles = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    energies_j = [math.exp(log_sd * z) for z in quantiles]
    off = one_mode(energies_j).modes[0]
    assert (FindingCode.HEAVY_TAIL in codes(off.energy_j)) is doubted
    assert (FindingCode.HEAVY_TAIL in codes(off.energy_wh_per_1000)) is doubted
    queries = [
        query(i, mode, each if mode == "on" else 1.0) for i, each in enumerate(energies_j) for mode in ("off", "on")
    ]
    comparison = summary_of(queries).comparison
    assert comparison is not None
    assert (FindingCode.HEAVY_TAIL in codes(comparison.energy)) is doubted


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
    assert estimated.smallest_detectable is None  # one mode: nothing to compare


def test_a_plan_of_several_modes_goes_by_the_widest_comparison() -> None:
    spreads = {"off": 0.01, "low": 0.9, "high": 0.2}
    rng = np.random.default_rng(2)
    pilots = [query(i, mode, rng.lognormal(1.0, sd)) for i in range(40) for mode, sd in spreads.items()]
    forecast = plan(pilots, modes=tuple(spreads), headline=Boundary.GPU_BOARD, n_prompts=100)
    assert forecast.of == "joules, low over off"
    assert forecast.log_sd == pytest.approx(0.9, rel=0.35)
    assert forecast.half_width_expected is not None
    deviation = forecast.half_width_expected / 1.959964
    assert forecast.smallest_detectable == pytest.approx(math.expm1(2.801585 * deviation), rel=1e-5)


def test_the_builders_make_a_valid_cell() -> None:
    assert cell().cell_id.startswith("Qwen-Qwen3-8B-")


@pytest.mark.parametrize(("usual", "odd"), [(100.0, 101.0), (10.0, 6.0), (10.0, 400.0)])
def test_one_odd_value_among_equal_ones_does_not_make_the_interval_boundless(usual: float, odd: float) -> None:
    values = column([usual] * 39 + [odd])
    spread = abs(odd - usual) / 40
    for found in (mean_interval(values), ratio_interval(values, np.ones(40))):
        assert found.low is not None
        assert found.high is not None
        assert found.low <= values.mean() <= found.high
        assert found.high - found.low == pytest.approx(3 * spread, rel=0.4)  # none, or about three of it, in a draw


@pytest.mark.parametrize(
    "phases", [("forward",), ("encode", "decode"), ("encode", "denoise", "decode"), ("prefill", "thinking", "answer")]
)
def test_phases_stand_in_the_order_of_a_query(phases: tuple[str, ...]) -> None:
    assert phase_names([{name: 1.0} for name in reversed(phases)]) == list(phases)
    assert phase_names([dict.fromkeys(("unheard_of", *phases))]) == [*phases, "unheard_of"]
