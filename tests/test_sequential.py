from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.bootstrap import bca_ratio_interval, column, ratio_interval
from harness.analysis.comparison import compare
from harness.analysis.measured import QueryFigures
from harness.analysis.sequential import (
    LOOKS_MOST,
    N_FIRST,
    inflation,
    looks,
    stopping_of,
    widened,
    widened_comparison,
)
from harness.analysis.stopping import with_stopping
from harness.records import Estimate, Finding, FindingCode, Stopping
from scripts.check_statistics import studies, until_ci
from tests.synthetic_runs import query, summary_of
from tests.test_energy_law import figures

N_MOST = 200


def study(
    n: int = N_MOST, *, log_sd: float = 0.3, ratios: Mapping[str, float], seed: int = 5
) -> dict[str, list[QueryFigures]]:
    """Log-normal joules, means as given; a query takes a hundredth of its joules in seconds."""
    rng = np.random.default_rng(seed)
    queries: dict[str, list[QueryFigures]] = {}
    for mode, mean in ratios.items():
        joules = mean * np.exp(log_sd * rng.standard_normal(n))
        queries[mode] = [
            figures(float(j), p=50, o=100, mode=mode, prompt_id=f"p{index}", duration_s=float(j) / 100)
            for index, j in enumerate(joules)
        ]
    return queries


def asked(n: int) -> list[str]:
    return [f"p{index}" for index in range(n)]


def stopping(
    queries: Mapping[str, Sequence[QueryFigures]], n: int = N_MOST, *, target: float = 0.1, estimated: bool = False
) -> Stopping:
    return stopping_of(queries, modes=tuple(queries), target=target, n_most=N_MOST, asked=asked(n), estimated=estimated)


@given(st.integers(1, 5000))
def test_looks_are_few_and_end_with_the_last_prompt(n_most: int) -> None:
    at = looks(n_most)
    assert at[-1] == n_most
    assert 1 <= len(at) <= LOOKS_MOST
    assert all(later > earlier for earlier, later in pairwise(at))
    assert at[0] == min(N_FIRST, n_most)


def test_a_run_with_one_look_is_a_run_of_fixed_size() -> None:
    assert looks(N_FIRST) == (N_FIRST,)
    assert inflation(N_FIRST) == inflation(N_FIRST, one_mode=True) == 1.0
    assert 1.0 < inflation(N_FIRST + 1) <= inflation(N_FIRST + 1, one_mode=True) < 1.3


def test_half_widths_shrink_until_the_target_and_what_was_saved_is_said() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0})
    n = next(n for n in looks(N_MOST) if stopping(queries, n).settled)
    done = stopping(queries, n)
    assert n < N_MOST
    assert done.n_prompts == n
    assert done.n_prompts_most == N_MOST
    assert done.of == "ratio of total joules, on over off"
    widths = [width for _, width in done.looks]
    assert all(width is not None and width > 0.1 for width in widths[:-1])
    assert widths[-1] is not None
    assert widths[-1] <= 0.1
    spent_j = math.fsum(each.energy_j or 0.0 for mode in queries.values() for each in mode[:n])
    seen = {mode: each[:n] for mode, each in queries.items()}
    partly = stopping(seen, n)
    assert partly.saved_j == pytest.approx(spent_j / n * (N_MOST - n))
    assert partly.saved_s == pytest.approx(spent_j / 100 / n * (N_MOST - n))


def test_the_half_width_is_the_interval_s_widened() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0})
    first = looks(N_MOST)[0]
    on, off = (column([each.energy_j or 0.0 for each in queries[mode][:first]]) for mode in ("on", "off"))
    ratio = float(on.sum() / off.sum())
    interval = ratio_interval(on, off)
    wide = widened(Estimate(value=ratio, low=interval.low, high=interval.high), inflation(N_MOST))
    assert wide.low is not None
    assert wide.high is not None
    ((n, half_width),) = stopping(queries, first).looks
    assert n == first
    assert half_width == pytest.approx((wide.high - wide.low) / (2 * ratio))


def test_what_a_look_said_does_not_change_with_later_prompts() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0})
    whole = stopping(queries).looks
    assert [n for n, _ in whole] == list(looks(N_MOST))
    for k, n in enumerate(looks(N_MOST)):
        seen = {mode: each[:n] for mode, each in queries.items()}
        assert stopping(seen, n).looks == whole[: k + 1]


def test_nothing_is_settled_before_the_first_look() -> None:
    early = stopping(study(ratios={"off": 100.0, "on": 800.0}, log_sd=0.01), N_FIRST - 1)
    assert early.looks == ()
    assert not early.settled
    assert early.saved_j == 0.0


def test_the_widest_of_the_comparisons_decides() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0}, log_sd=0.1)
    wild = study(ratios={"budget:64": 300.0}, log_sd=0.9, seed=8)
    calm, both = stopping(queries), stopping({**queries, **wild})
    assert calm.looks[0][1] < both.looks[0][1]  # type: ignore[operator]
    assert calm.settled
    assert not both.settled
    assert both.of == "ratio of total joules, on, budget:64 over off"


def test_one_mode_stops_on_its_mean() -> None:
    alone = stopping(study(ratios={"on": 800.0}))
    assert alone.of == "mean joules per query"
    assert alone.settled


def test_estimated_joules_leave_the_decision_to_seconds() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0})
    unknown = {
        mode: [
            figures(None, p=50, o=100, mode=mode, prompt_id=each.prompt_id, duration_s=each.duration_s) for each in of
        ]
        for mode, of in queries.items()
    }
    seconds, joules = stopping(unknown, estimated=True), stopping(queries)
    assert seconds.of == "ratio of total seconds, on over off"
    assert [width for _, width in seconds.looks] == pytest.approx([width for _, width in joules.looks])
    assert seconds.saved_j is None
    assert not stopping(unknown).settled
    assert all(width is None for _, width in stopping(unknown).looks)


def test_failed_prompts_count_as_asked_and_not_in_the_interval() -> None:
    queries = study(ratios={"off": 100.0, "on": 800.0})
    lacking = {**queries, "on": [each for each in queries["on"] if each.prompt_id != "p3"]}
    without = {mode: [each for each in of if each.prompt_id != "p3"] for mode, of in queries.items()}
    assert stopping(lacking, 40).looks == stopping(without, 40).looks
    assert stopping(lacking, 40).n_prompts == 40


@given(factor=st.floats(1.0, 2.0), value=st.floats(0.1, 100), low=st.floats(0.1, 0.99), high=st.floats(1.01, 10))
def test_a_ratio_s_ends_move_on_the_log_scale(factor: float, value: float, low: float, high: float) -> None:
    estimate = Estimate(value=value, low=low * value, high=high * value, half_width_reading=0.1)
    wide = widened(estimate, factor)
    inverse = widened(Estimate(value=1 / value, low=1 / (high * value), high=1 / (low * value)), factor)
    assert wide.low is not None
    assert wide.high is not None
    assert math.log(value / wide.low) == pytest.approx(-factor * math.log(low))
    assert math.log(wide.high / value) == pytest.approx(factor * math.log(high))
    assert inverse.low == pytest.approx(1 / wide.high)
    assert inverse.high == pytest.approx(1 / wide.low)
    assert wide.half_width_reading == 0.1
    assert widened(estimate, 1.0).low == pytest.approx(estimate.low)


def test_a_difference_s_ends_move_on_the_plain_scale() -> None:
    wide = widened(Estimate(value=-1.0, low=-2.0, high=1.0), 1.5, signed=True)
    assert (wide.low, wide.high) == (-2.5, 2.0)


def test_what_is_unknown_stays_unknown() -> None:
    nothing = Estimate(value=None, findings=(Finding(code=FindingCode.NOTHING_CORRECT),))
    assert widened(nothing, 2.0) == nothing
    unbounded = widened(Estimate(value=4.0, low=2.0), 2.0)
    assert unbounded.low == pytest.approx(1.0)
    assert unbounded.high is None
    assert widened(Estimate(value=2.0, low=0.0, high=4.0), 2.0).low == 0.0


def test_every_interval_of_a_comparison_is_widened_and_no_value_moves() -> None:
    queries = study(60, ratios={"off": 100.0, "on": 800.0})
    plain = compare(queries["on"], queries["off"], {}, modes=("on", "off"), estimated=False)
    wide = widened_comparison(plain, 1.2)
    for name in ("energy", "duration", "difference_j"):
        one, other = getattr(plain, name), getattr(wide, name)
        assert other.value == one.value
        assert other.low < one.low < one.high < other.high
    assert wide.energy_bca_low is not None
    assert plain.energy_bca_low is not None
    assert wide.energy_bca_low < plain.energy_bca_low
    assert wide.tokens == plain.tokens


def test_a_share_of_the_tokens_is_null_where_the_wider_interval_holds_one() -> None:
    queries = study(60, ratios={"off": 100.0, "on": 115.0})
    longer = {
        mode: [replace(each, n_output_tokens=100 + 50 * (mode == "on")) for each in of] for mode, of in queries.items()
    }
    plain = compare(longer["on"], longer["off"], {}, modes=("on", "off"), estimated=False)
    assert plain.energy.low is not None
    assert plain.energy.low > 1.0
    assert plain.log_share_tokens is not None
    just_wider = widened_comparison(plain, 1.0001)
    assert just_wider.log_share_tokens == plain.log_share_tokens
    wide = widened_comparison(plain, 20.0)
    assert (wide.energy.low or 0.0) < 1.0
    assert wide.log_share_tokens is None


@given(factor=st.floats(1.0, 1.5))
def test_the_smallest_difference_that_is_seen_grows_with_the_interval(factor: float) -> None:
    queries = study(60, ratios={"off": 100.0, "on": 800.0})
    plain = compare(queries["on"], queries["off"], {}, modes=("on", "off"), estimated=False)
    wide = widened_comparison(plain, factor)
    assert plain.smallest_detectable is not None
    assert wide.smallest_detectable is not None
    assert math.log1p(wide.smallest_detectable) == pytest.approx(factor * math.log1p(plain.smallest_detectable))
    few = study(4, ratios={"off": 100.0, "on": 800.0})
    unknown = compare(few["on"], few["off"], {}, modes=("on", "off"), estimated=False)
    assert widened_comparison(unknown, factor).smallest_detectable is None


def test_a_lone_lower_bound_moves_as_the_mean_that_it_is_a_multiple_of() -> None:
    mean = Estimate(value=10.0, low=8.0, high=13.0)
    bound = Estimate(value=None, low=80.0, findings=(Finding(code=FindingCode.NOTHING_CORRECT),))
    wide = widened(bound, 1.5, bound_of=mean)
    assert wide.low == pytest.approx(10.0 * (widened(mean, 1.5).low or 0.0))
    assert (wide.value, wide.high, wide.findings) == (None, None, bound.findings)
    assert widened(bound, 1.5).low is None
    assert widened(bound, 1.5, bound_of=Estimate(value=10.0)).low is None


def test_what_a_right_answer_costs_at_least_is_widened_with_its_mode() -> None:
    queries = [query(index, "off", 1.0 + index % 5, correct=False) for index in range(40)]
    plain = summary_of(queries, ("off",))
    progress = stopping_of({}, modes=("off",), target=0.05, n_most=100, asked=asked(40), estimated=False)
    wide = with_stopping(plain, progress).modes[0]
    mean, per_correct = plain.modes[0].energy_j, plain.modes[0].energy_per_correct_j
    assert per_correct.low is not None
    assert mean.value is not None
    assert mean.low is not None
    moved = (mean.low / mean.value) ** (inflation(100, one_mode=True) - 1)
    assert wide.energy_per_correct_j.low == pytest.approx(per_correct.low * moved)


def test_the_simulated_studies_have_the_analysis_s_intervals() -> None:
    rng = np.random.default_rng(2)
    x, y = studies.joules(3, 40, 0.6, rng)
    assert studies.agree(x, y, studies.studentized(x, y), ratio_interval)
    assert studies.agree(x, y, studies.bca(x, y), bca_ratio_interval)
    assert not studies.agree(x, y, studies.studentized(x, y).widened(1.01), ratio_interval)


def test_studies_that_stop_when_they_look_narrow_still_hold_the_truth() -> None:
    n_studies, target = 1000, 0.1
    (block,) = until_ci.studies(n_studies, 100, 0.3, seed=1)
    ratio = until_ci.stopped(block.counts, block.ratios, target, inflation(100))
    mean = until_ci.stopped(block.counts, block.means, target, inflation(100, one_mode=True))
    # The standard error of a share of 95 % in 1,000 is 0.7 %; scripts/check_statistics.py has the exact figures.
    assert ratio.held > 0.93
    assert mean.held > 0.93
    assert ratio.n_mean < 60
    assert ratio.settled > 0.99
