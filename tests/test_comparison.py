"""Comparisons of modes: laws that hold for every pair of them, and small cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.accuracy import exact_p_value, paired_interval
from harness.analysis.comparison import compared_modes, mode_pairs
from harness.records import Boundary, Comparison, Estimate, Finding, FindingCode, Method, QueryRecord
from tests.synthetic_runs import CPU, GAIN, channel, estimated_summary, query, reading, run_of_queries, summary_of

ESTIMATES = ("energy", "duration", "tokens", "energy_per_token", "difference_j", "energy_per_correct")
FOUR_MODES = ("off", "budget:64", "budget:256", "on")

joules = st.floats(min_value=1e-3, max_value=1e5)
tokens = st.integers(1, 999)
right = st.booleans()
Row = tuple[float, float, int, int, bool, bool]
rows_of_prompts = st.lists(st.tuples(joules, joules, tokens, tokens, right, right), min_size=1, max_size=30)


def codes(estimate: Estimate) -> set[FindingCode]:
    return {finding.code for finding in estimate.findings}


def comparison_of(queries: Sequence[QueryRecord], modes: Sequence[str] = ("off", "on")) -> Comparison:
    comparison = summary_of(queries, modes).comparison
    assert comparison is not None
    return comparison


def queries_of(rows: Sequence[Row], modes: tuple[str, str] = ("off", "on")) -> list[QueryRecord]:
    """`off` prefills for 40 % of its joules and answers; `on` prefills for 10 %, thinks for 60 % and answers."""
    queries = []
    for index, (off_j, on_j, off_tokens, on_tokens, off_right, on_right) in enumerate(rows):
        short = reading(off_j, phases={"prefill": 0.4, "answer": 0.6})
        long = reading(on_j, phases={"prefill": 0.1, "thinking": 0.6, "answer": 0.3})
        queries.append(query(index, modes[0], None, readings=[short], answer_tokens=off_tokens, correct=off_right))
        queries.append(query(index, modes[1], None, readings=[long], thinking_tokens=on_tokens, correct=on_right))
    return queries


# ------------------------------------------------------------------------------------------ by hand


def test_ratio_and_difference_by_hand() -> None:
    queries = [
        *(query(i, "off", e, answer_tokens=10) for i, e in enumerate((10.0, 30.0))),
        *(query(i, "on", e, answer_tokens=10, thinking_tokens=30) for i, e in enumerate((100.0, 60.0))),
        query(2, "on", 1e6),  # no partner: in the mode's mean, not in the comparison
    ]
    comparison = comparison_of(queries)
    assert (comparison.numerator, comparison.denominator, comparison.n_pairs) == ("on", "off", 2)
    assert comparison.energy.value == pytest.approx(4.0)
    assert comparison.tokens.value == pytest.approx(4.0)
    assert comparison.energy_per_token.value == pytest.approx(1.0)
    assert comparison.log_share_tokens == pytest.approx(1.0)
    assert comparison.energy.half_width_gain == 0.0  # one board: its gain is in both totals
    relative = math.hypot((1.0 + 0.6) / 160, (0.1 + 0.3) / 40)
    assert comparison.energy.half_width_reading == pytest.approx(4.0 * relative)
    assert comparison.energy_per_token.half_width_reading == pytest.approx(1.0 * relative)
    assert comparison.tokens.half_width_reading is None
    assert comparison.difference_j.value == pytest.approx((160 - 40) / 2)
    assert comparison.difference_j.half_width_reading == pytest.approx(math.hypot(1.6, 0.4) / 2)
    assert comparison.difference_j.half_width_gain == pytest.approx(GAIN * 60.0)
    assert comparison.log_sd == pytest.approx(abs(math.log(10) - math.log(2)) / math.sqrt(2))
    assert comparison.smallest_detectable is None  # two prompts
    assert comparison.parts == ()  # no phases
    assert comparison.accuracy is None  # nothing scored
    assert FindingCode.NOTHING_SCORED in codes(comparison.energy_per_correct)


def test_an_unknown_gain_cancels_in_a_ratio_and_not_in_a_difference() -> None:
    unknown = channel().model_copy(update={"gain_half_width": None})
    comparison = summary_of(queries_of([(10.0, 40.0, 5, 5, True, True)] * 6), channels=(unknown,)).comparison
    assert comparison is not None
    assert comparison.energy.half_width_gain == 0.0
    assert comparison.difference_j.half_width_gain is None


def test_parts_by_hand() -> None:
    rows = [(10.0, 100.0, 5, 50, True, True), (30.0, 60.0, 5, 50, True, True)]
    parts = comparison_of(queries_of(rows)).parts
    assert [part.name for part in parts] == ["prefill", "thinking", "answer"]
    prefill, thinking, answer = (part.difference_j for part in parts)
    assert prefill.value == pytest.approx((0.1 * 160 - 0.4 * 40) / 2, abs=1e-12)
    assert thinking.value == pytest.approx(0.6 * 160 / 2)  # `off` spent nothing in it
    assert answer.value == pytest.approx((0.3 * 160 - 0.6 * 40) / 2)
    # Every phase reading errs by 0.5 J, and those of one mode may all err in the same direction.
    assert thinking.half_width_reading == pytest.approx(1.0 / 2)
    assert prefill.half_width_reading == pytest.approx(math.hypot(1.0, 1.0) / 2)
    assert thinking.half_width_gain == pytest.approx(GAIN * 48.0)


def test_parts_keep_the_gains_of_two_devices_apart() -> None:
    def readings(board_j: float, host_j: float) -> list[QueryRecord]:
        phases = {"prefill": 0.5, "answer": 0.5}
        return [
            query(
                0,
                "on" if board_j > 100 else "off",
                None,
                readings=[
                    reading(board_j, phases=phases),
                    reading(host_j, phases=phases, device=CPU, boundary=Boundary.HOST, method=Method.RAPL),
                ],
            )
        ]

    summary = summary_of(
        [*readings(30.0, 10.0), *readings(130.0, 50.0)],
        headline=Boundary.GPU_BOARD_AND_HOST,
        channels=(channel(), channel(CPU, Method.RAPL, Boundary.HOST)),
    )
    comparison = summary.comparison
    assert comparison is not None
    assert comparison.difference_j.half_width_gain == pytest.approx(GAIN * math.hypot(100.0, 40.0))
    assert comparison.parts[0].difference_j.half_width_gain == pytest.approx(GAIN * math.hypot(50.0, 20.0))


def test_one_unknown_phase_leaves_no_parts() -> None:
    queries = queries_of([(10.0, 100.0, 5, 50, True, True)] * 3)
    queries[0] = query(0, "off", 10.0)
    comparison = comparison_of(queries)
    assert comparison.parts == ()
    assert comparison.difference_j.value == pytest.approx(90.0)


def test_accuracy_by_hand() -> None:
    answers = [*[(True, False)] * 8, *[(False, True)] * 2, *[(True, True)] * 10, (None, True)]
    queries = [
        query(i, mode, 1.0, correct=pair[position])
        for i, pair in enumerate(answers)
        for position, mode in enumerate(("on", "off"))
    ]
    accuracy = comparison_of(queries).accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.n_both, accuracy.n_only_numerator, accuracy.n_only_denominator) == (20, 10, 8, 2)
    assert accuracy.difference.value == pytest.approx(6 / 20)
    assert accuracy.p_value == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_prompts_without_joules_still_say_which_answers_are_right() -> None:
    queries = [
        query(i, mode, None if i == 0 else 1.0, correct=mode == "on") for i in range(6) for mode in ("off", "on")
    ]
    comparison = comparison_of(queries)
    assert comparison.n_pairs == 5
    assert comparison.accuracy is not None
    assert comparison.accuracy.n == 6
    assert any("2 of 12 answered" in finding.detail for finding in comparison.energy.findings)


def test_cost_per_right_answer_by_hand() -> None:
    rows = [(10.0, 40.0, 5, 5, i < 5, i < 10) for i in range(20)]
    ratio = comparison_of(queries_of(rows)).energy_per_correct
    assert ratio.value == pytest.approx((20 * 40 / 10) / (20 * 10 / 5))
    assert ratio.low is not None
    assert ratio.low < 2.0
    assert ratio.half_width_gain == 0.0


def test_nothing_correct_in_one_mode_names_it() -> None:
    rows = [(10.0, 40.0, 5, 5, False, True)] * 10
    ratio = comparison_of(queries_of(rows)).energy_per_correct
    assert ratio.value is None
    assert Finding(code=FindingCode.NOTHING_CORRECT, detail="mode off") in ratio.findings


@pytest.mark.parametrize(("n_off", "n_on", "doubted"), [(10, 10, False), (9, 30, True), (30, 9, True), (30, 30, False)])
def test_a_few_right_answers_on_either_side_are_doubted(n_off: int, n_on: int, doubted: bool) -> None:
    rows = [(10.0 + i, 40.0 + i, 5, 5, i < n_off, i < n_on) for i in range(30)]
    comparison = comparison_of(queries_of(rows))
    assert (FindingCode.FEW_CORRECT in codes(comparison.energy_per_correct)) is doubted
    assert FindingCode.FEW_CORRECT not in codes(comparison.energy)


# ------------------------------------------------------------------------------ which modes are compared


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (("off", "on"), ("on", "off")),
        (("off", "low", "medium", "high"), ("high", "off")),
        (("low", "high"), ("high", "low")),
        (("thinking", "instruct"), ("thinking", "instruct")),
        (("off", "budget:64"), ("budget:64", "off")),
        (("budget:1024", "on"), ("on", "budget:1024")),
        (("default",), None),
    ],
)
def test_which_mode_stands_above_the_line(modes: tuple[str, ...], expected: tuple[str, str] | None) -> None:
    assert compared_modes(modes) == expected


def test_every_mode_is_compared_with_the_one_that_thinks_least() -> None:
    assert mode_pairs(("on", "budget:64", "off", "budget:256")) == (
        ("on", "off"),
        ("budget:256", "off"),
        ("budget:64", "off"),
    )
    assert mode_pairs(("budget:1000", "budget:64", "low")) == (("low", "budget:64"), ("budget:1000", "budget:64"))
    assert mode_pairs(("off", "custom", "on")) == (("on", "off"), ("custom", "off"))
    assert mode_pairs(("a", "b", "c")) == (("a", "b"), ("c", "b"))


def test_four_modes_give_three_comparisons_headline_first() -> None:
    summary = summary_of(run_of_queries(30, FOUR_MODES), FOUR_MODES)
    assert [(each.numerator, each.denominator) for each in summary.comparisons] == [
        ("on", "off"),
        ("budget:256", "off"),
        ("budget:64", "off"),
    ]
    assert summary.comparison == summary.comparisons[0]
    assert all(each.parts and each.accuracy is not None for each in summary.comparisons)


def test_a_mode_that_never_answered_is_not_compared() -> None:
    queries = [
        query(i, mode, 1.0 if mode == "low" else 5.0, failed=mode == "off")
        for i in range(5)
        for mode in ("off", "low", "high")
    ]
    summary = summary_of(queries, ("off", "low", "high"))
    assert [(each.numerator, each.denominator) for each in summary.comparisons] == [("high", "low")]


# --------------------------------------------------------------------------------------------- laws


@given(rows_of_prompts)
def test_the_factors_multiply_back_and_the_parts_add_up(rows: list[Row]) -> None:
    comparison = comparison_of(queries_of(rows))
    energy, factor, per_token = comparison.energy.value, comparison.tokens.value, comparison.energy_per_token.value
    assert energy is not None
    assert factor is not None
    assert per_token is not None
    assert energy == pytest.approx(factor * per_token, rel=1e-12)
    if comparison.log_share_tokens is not None:
        assert comparison.log_share_tokens * math.log(energy) == pytest.approx(math.log(factor), abs=1e-9)
    parts_j = [part.difference_j.value or 0.0 for part in comparison.parts]
    scale_j = math.fsum(abs(part_j) for part_j in parts_j)
    assert math.fsum(parts_j) == pytest.approx(comparison.difference_j.value, rel=1e-12, abs=1e-12 * scale_j)


@given(rows_of_prompts)
def test_swapped_modes_invert_the_ratio_and_negate_the_difference(rows: list[Row]) -> None:
    once, swapped = comparison_of(queries_of(rows)), comparison_of(queries_of(rows, ("on", "off")))
    for name in ("energy", "tokens", "energy_per_token", "duration", "energy_per_correct"):
        ratio, inverse = getattr(once, name), getattr(swapped, name)
        for one, other in (("value", "value"), ("low", "high"), ("high", "low")):
            expected = getattr(ratio, one)
            assert getattr(inverse, other) == (None if expected is None else pytest.approx(1 / expected, rel=1e-6))
    assert once.difference_j.value == pytest.approx(-(swapped.difference_j.value or 0.0))
    assert swapped.log_sd == pytest.approx(once.log_sd) if once.log_sd is not None else swapped.log_sd is None
    assert once.smallest_detectable == (
        None if swapped.smallest_detectable is None else pytest.approx(swapped.smallest_detectable)
    )
    assert once.accuracy is not None
    assert swapped.accuracy is not None
    assert once.accuracy.difference.value == -(swapped.accuracy.difference.value or 0.0)
    assert once.accuracy.p_value == swapped.accuracy.p_value


@given(rows_of_prompts, st.floats(min_value=0.01, max_value=100.0))
def test_a_board_that_reads_more_changes_no_ratio(rows: list[Row], factor: float) -> None:
    scaled = [(off_j * factor, on_j * factor, *others) for off_j, on_j, *others in rows]
    once, other = comparison_of(queries_of(rows)), comparison_of(queries_of(scaled))  # type: ignore[arg-type]
    for name in ("energy", "energy_per_token", "energy_per_correct"):
        for end in ("value", "low", "high"):
            expected = getattr(getattr(once, name), end)
            assert getattr(getattr(other, name), end) == (
                None if expected is None else pytest.approx(expected, rel=1e-6)
            )
    assert other.difference_j.value == pytest.approx(
        factor * (once.difference_j.value or 0.0), rel=1e-9, abs=1e-9 * factor * sum(row[0] + row[1] for row in rows)
    )


@given(rows_of_prompts)
def test_the_order_of_the_prompts_does_not_matter(rows: list[Row]) -> None:
    queries = queries_of(rows)
    assert comparison_of(queries) == comparison_of(list(reversed(queries)))


# --------------------------------------------------------------------------------------- intervals


def test_a_run_has_every_interval() -> None:
    comparison = comparison_of(run_of_queries(50))
    for name in ESTIMATES:
        estimate = getattr(comparison, name)
        assert estimate.low < estimate.value < estimate.high
    assert comparison.energy_bca_low is not None
    assert comparison.energy_bca_high is not None
    assert comparison.energy_bca_low < (comparison.energy.value or 0.0) < comparison.energy_bca_high
    for part in comparison.parts:
        assert part.difference_j.low is not None
        assert part.difference_j.high is not None
    assert comparison.accuracy is not None
    assert comparison.accuracy.difference.low is not None
    assert (comparison.accuracy.p_value or 1.0) < 0.05
    # Both modes draw the same watts for the same seconds per token, so more tokens are nearly all of the ratio.
    assert comparison.log_share_tokens == pytest.approx(1.0, abs=0.05)


def test_a_ratio_that_is_not_told_from_one_is_not_shared_out() -> None:
    rng = np.random.default_rng(4)
    rows = [(rng.lognormal(1.0, 0.5), rng.lognormal(1.0, 0.5), 10, 20, True, True) for _ in range(30)]
    comparison = comparison_of(queries_of(rows))
    assert comparison.energy.low is not None
    assert comparison.energy.high is not None
    assert comparison.energy.low < 1 < comparison.energy.high
    assert comparison.log_share_tokens is None
    assert comparison.tokens.value is not None


def test_unknown_tokens_leave_the_split_unknown() -> None:
    queries = queries_of([(10.0, 40.0, 5, 5, True, True)] * 6)
    output = queries[0].output
    assert output is not None
    bare = output.model_copy(update={"sizes": {"prompt_tokens": 5}})
    queries[0] = queries[0].model_copy(update={"output": bare})
    comparison = comparison_of(queries)
    assert comparison.energy.value == pytest.approx(4.0)
    assert (comparison.tokens.value, comparison.energy_per_token.value) == (None, None)
    assert comparison.log_share_tokens is None


# --------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    ("n_only_first", "n_only_second", "expected"),
    [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 2 / 64), (5, 5, 1.0), (2, 8, 112 / 1024), (1500, 500, 0.0)],
)
def test_exact_p_value(n_only_first: int, n_only_second: int, expected: float) -> None:
    assert exact_p_value(n_only_first, n_only_second) == pytest.approx(expected, abs=1e-12)
    assert exact_p_value(n_only_second, n_only_first) == exact_p_value(n_only_first, n_only_second)


def test_the_exact_test_keeps_its_level() -> None:
    """Over every outcome of 25 discordant prompts, not over a sample of them."""
    n = 25
    refused = sum(math.comb(n, k) for k in range(n + 1) if exact_p_value(k, n - k) <= 0.05)
    assert 0.01 < refused / 2**n <= 0.05


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((1, 1, 7, 21), -0.5069, -0.0256),  # airway hyper-responsiveness, Bentur et al. 2009
        ((59, 6, 16, 161), -0.1186, -0.0046),  # complete response, Cavo et al. 2012
    ],
)
def test_the_paired_interval_is_that_of_published_examples(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Both tables are worked in M. W. Fagerland et al., Statistical Analysis of Contingency Tables, 2017, chapter 8."""
    interval = paired_interval(*table)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.05), (0.3, 0.2, 0.2), (0.85, 0.1, 0.02)])
def test_coverage_of_the_accuracy_difference(n: int, shares: tuple[float, float, float]) -> None:
    """1,000 studies are good to 0.7 % in coverage."""
    rng = np.random.default_rng(17)
    truth, hits, n_studies = shares[1] - shares[2], 0, 1000
    for n_both, n_first, n_second, _ in rng.multinomial(n, (*shares, 1 - sum(shares)), size=n_studies):
        interval = paired_interval(int(n_both), int(n_first), int(n_second), n)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    assert hits / n_studies >= 0.93


def test_agreement_everywhere_is_no_certainty() -> None:
    interval = paired_interval(10, 0, 0, 10)
    assert interval.low is not None
    assert interval.low < -0.2
    assert paired_interval(4, 0, 0, 4).low is None


# ----------------------------------------------------------------------------- estimated and invalid


def test_estimated_joules_are_not_compared() -> None:
    comparison = estimated_summary().comparison
    assert comparison is not None
    for name in ("energy", "energy_per_token", "difference_j", "energy_per_correct"):
        assert getattr(comparison, name).value is None
        assert FindingCode.ESTIMATED_ENERGY in codes(getattr(comparison, name))
    assert (comparison.energy_bca_low, comparison.log_share_tokens, comparison.log_sd) == (None, None, None)
    assert comparison.smallest_detectable is None
    assert comparison.parts == ()
    assert comparison.accuracy is not None
    assert comparison.tokens.value is not None
    assert comparison.duration_per_token is not None
    assert comparison.duration.value == pytest.approx(
        comparison.tokens.value * comparison.duration_per_token, rel=1e-12
    )


def test_a_switch_that_did_nothing_leaves_no_figure() -> None:
    same = Finding(code=FindingCode.SAME_PROMPT_IN_MODES, detail="off and on")

    def invalid(numerator: str, denominator: str) -> tuple[Finding, ...]:
        return (same,) if (numerator, denominator) == ("on", "off") else ()

    modes = ("off", "low", "on")
    summary = summary_of(run_of_queries(30, modes), modes, invalid=invalid)
    broken, sound = summary.comparisons
    assert broken.invalid == (same,)
    assert broken.n_pairs == 30
    for name in ESTIMATES:
        assert getattr(broken, name) == Estimate(value=None, findings=(same,))
    assert (broken.parts, broken.accuracy, broken.duration_per_token, broken.smallest_detectable) == (
        (),
        None,
        None,
        None,
    )
    assert same in summary.findings
    assert (sound.numerator, sound.invalid) == ("low", ())
    assert sound.energy.value is not None


# -------------------------------------------------------------------------------------- energy law


def test_a_summary_has_the_energy_law_of_all_its_modes() -> None:
    summary = summary_of(run_of_queries(40))
    assert summary.law is not None
    assert summary.law.modes == ("off", "on")
    assert summary.law.n_queries == 80
    assert summary_of(run_of_queries(3)).law is None  # six queries
