"""The parts of a gate's interval, the quantiles behind them, and what a gate would need."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.bootstrap import N_LIMIT, RATIO, product_interval, studentized_draws
from harness.analysis.interval import (
    NONE,
    Part,
    PromptsPart,
    RunsPart,
    SystematicPart,
    combined,
    level_above,
    level_below,
    resized,
)
from harness.analysis.prompts_part import tail_weight
from harness.analysis.student import chi_squared_upper, t_upper, z_upper
from harness.gate.budget import Metric
from harness.gate.power import PowerTable, power_of
from harness.gate.search import least
from harness.gate.statistic import absolute
from tests.synthetic_sides import constant, drawn, side

PROJECT = Path(__file__).resolve().parents[1]


def columns(n: int, log_sd: float = 0.5, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    return np.exp(log_sd * rng.standard_normal((n, 2)))


# ---------------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize(
    ("alpha", "dof", "point"),
    [
        (0.05, 1, 6.313752),
        (0.05, 2, 2.919986),
        (0.05, 4, 2.131847),
        (0.025, 1, 12.706205),
        (0.025, 7, 2.364624),
        (0.005, 3, 5.840909),
        (0.001, 4, 7.173182),
        (0.0005, 1, 636.619249),
        (0.0005, 10, 4.586894),
        (0.05, 30, 1.697261),
        (0.05, 100, 1.660234),
        (0.05, 120, 1.657651),
        (0.005, 120, 2.617421),
    ],
)
def test_students_t_is_that_of_the_tables(alpha: float, dof: int, point: float) -> None:
    assert t_upper(alpha, dof) == pytest.approx(point, rel=2e-7)


def test_students_t_has_its_closed_forms_far_out() -> None:
    for alpha in (1e-9, 1e-6, 0.01, 0.3, 0.4999):
        assert t_upper(alpha, 1) == pytest.approx(1 / math.tan(math.pi * alpha), rel=1e-6)
        share = 1 - 2 * alpha
        assert t_upper(alpha, 2) == pytest.approx(share * math.sqrt(2 / (4 * alpha * (1 - alpha))), rel=1e-6)
    assert t_upper(0.5, 5) == 0.0


@given(st.floats(min_value=1e-6, max_value=0.49), st.integers(min_value=1, max_value=300))
@settings(deadline=None)
def test_students_t_falls_to_the_normal(alpha: float, dof: int) -> None:
    assert t_upper(alpha, dof) >= t_upper(alpha, dof + 1) - 2e-5 * t_upper(alpha, dof)
    assert t_upper(alpha, dof) > z_upper(alpha)


def test_chi_squared_is_near_that_of_the_tables() -> None:
    for dof, point in ((1, 6.6349), (2, 9.2103), (4, 13.2767), (10, 23.2093)):
        assert chi_squared_upper(0.01, dof) == pytest.approx(point, rel=0.01)


# -------------------------------------------------------------------------------------------- parts


def test_the_prompts_part_is_the_analysis_interval_and_what_the_resamples_do_not_know() -> None:
    for n in (25, 60, 200):
        values = columns(n)
        interval = product_interval(values, RATIO)
        log_ratio = math.log(values[:, 0].sum() / values[:, 1].sum())
        reach = PromptsPart.of(values, RATIO).reach(0.025)
        assert interval.low is not None
        assert interval.high is not None
        low, high = log_ratio - math.log(interval.low), math.log(interval.high) - log_ratio
        assert low < reach.low < 1.1 * low
        assert high < reach.high < 1.1 * high


def test_below_twenty_prompts_it_is_students_t_and_from_very_many_on_the_normal() -> None:
    few = PromptsPart.of(columns(12), RATIO)
    assert few.dof == 11
    assert few.reach(0.01).high == pytest.approx(few.deviation * 2.718079, rel=1e-6)
    many = PromptsPart.of(columns(N_LIMIT), RATIO)
    assert (many.draws, many.dof) == (None, None)
    assert many.reach(0.01).low == pytest.approx(many.deviation * z_upper(0.01))


def test_prompts_that_are_all_alike_have_no_width_and_too_few_have_no_end() -> None:
    assert PromptsPart.of(np.ones((30, 2)), RATIO).reach(0.05) == NONE
    assert math.isinf(PromptsPart.of(columns(4), RATIO).reach(0.05).high)


def test_a_resample_without_a_right_answer_is_dearest_of_all() -> None:
    correct = np.zeros(40)
    correct[:2] = 1.0
    values = np.column_stack((np.ones(40), correct))
    part = PromptsPart.of(values, RATIO, percentiles=True)
    draws, _ = studentized_draws(values, RATIO)
    share_without = float(np.isinf(draws.log_high).mean())
    assert 0.05 < share_without < 0.3
    assert math.isinf(part.reach(0.05).high)
    assert math.isfinite(part.reach(0.4).high)


@settings(deadline=None, max_examples=25)
@given(st.integers(min_value=5, max_value=60), st.floats(min_value=1e-4, max_value=0.4), st.integers(0, 20))
def test_the_reach_grows_as_alpha_falls(n: int, alpha: float, seed: int) -> None:
    parts: list[Part] = [
        PromptsPart.of(columns(n, seed=seed), RATIO),
        RunsPart(sd=0.01, n_runs=(3, 3)),
        SystematicPart(name="sensor reading", half_width=0.02),
    ]
    for part in parts:
        near, far = part.reach(alpha), part.reach(alpha / 2)
        assert far.low >= near.low >= 0
        assert far.high >= near.high >= 0


def test_independent_parts_add_by_their_squares() -> None:
    parts = [RunsPart(sd=0.03, n_runs=(1,), measured=False), RunsPart(sd=0.04, n_runs=(1,), measured=False)]
    assert combined(parts, 0.05).low == pytest.approx(0.05 * z_upper(0.05))
    assert combined([], 0.05) == NONE


def test_a_p_value_is_the_level_whose_end_is_the_limit() -> None:
    parts: list[Part] = [RunsPart(sd=0.01, n_runs=(3, 3)), SystematicPart(name="sensor reading", half_width=0.01)]
    for alpha in (0.4, 0.05, 0.001):
        assert level_below(parts, combined(parts, alpha).low) == pytest.approx(alpha, rel=1e-4)
        assert level_above(parts, combined(parts, alpha).high) == pytest.approx(alpha, rel=1e-4)
    assert level_below(parts, 0.0) == pytest.approx(0.5, abs=1e-6)
    assert level_below(parts, -0.01) == pytest.approx(1 - level_above(parts, 0.01))
    assert level_below([], 0.01) == pytest.approx(1e-9, rel=1e-3)


def test_what_shrinks_with_more_of_it_and_what_does_not() -> None:
    prompts = PromptsPart.of(columns(50), RATIO)
    assert resized(prompts, 4.0, None).reach(0.05).high == pytest.approx(prompts.reach(0.05).high / 2)
    runs = RunsPart(sd=0.01, n_runs=(3, 3))
    assert resized(runs, 4.0, 12).reach(0.05).high == pytest.approx(t_upper(0.05, 22) * 0.01 * math.sqrt(2 / 12))
    gain = SystematicPart(name="board gain", half_width=0.05)
    assert resized(gain, 4.0, 12) == gain


def test_the_tail_weight_is_that_of_log_normal_joules() -> None:
    # The excess kurtosis of a log-normal of log sd 1 is 110.936.
    assert tail_weight(1, 1.0) == pytest.approx(110.936 + 3, rel=1e-4)
    assert tail_weight(100, 0.6) < 0.2 < tail_weight(50, 0.6)
    assert math.isinf(tail_weight(100, math.inf))


def test_few_unequal_prompts_are_widened_and_it_is_said() -> None:
    def prompts(n: int, log_sd: float) -> str | None:
        statistic = absolute(
            side(drawn(1.0, n=n, log_sd=log_sd)), Metric.ENERGY_PER_QUERY_J, run_sd=None, session_sd=None, gain=False
        )
        return next(part.note for part in statistic.parts if part.name == "prompts")

    assert prompts(200, 0.4) is None
    assert "widened by 20 %" in (prompts(100, 1.0) or "")
    assert "widened by 80 %" in (prompts(10, 0.6) or "")


def test_few_right_answers_are_widened_too() -> None:
    def note(n_right: int) -> str | None:
        correct = [1.0] * n_right + [0.0] * (200 - n_right)
        runs = drawn(1.0, n=200, log_sd=0.3, correct=correct)
        statistic = absolute(side(runs), Metric.ENERGY_PER_CORRECT_J, run_sd=None, session_sd=None, gain=False)
        return next(part.note for part in statistic.parts if part.name == "prompts")

    assert note(100) is None
    assert "and 8 right answers" in (note(8) or "")


# -------------------------------------------------------------------------------------------- power


def test_the_smallest_number_for_which_something_holds() -> None:
    assert least(lambda n: n >= 37, 1, 1000) == 37
    assert least(lambda n: n >= 1, 1, 1) == 1
    assert least(lambda n: False, 1, 1000) is None
    assert least(lambda n: True, 5, 4) is None


def queries(table: PowerTable, metric: Metric, power: float = 0.8) -> list[int | None]:
    row = next(each for each in table.metrics if each.metric is metric)
    return [each.n_queries for each in row.needed if each.power == power]


def test_a_smaller_difference_and_more_power_need_more_queries() -> None:
    candidate, reference = side(drawn(1.0, run_sd=0.001)), side(drawn(1.0, seed=7, prompt_seed=3, run_sd=0.001))
    table = power_of(candidate, reference)
    needed = [n for n in queries(table, Metric.ENERGY_PER_QUERY_J) if n is not None]
    assert len(needed) >= 4
    assert needed == sorted(needed, reverse=True)
    more = [n for n in queries(table, Metric.ENERGY_PER_QUERY_J, 0.9) if n is not None]
    assert all(one < other for one, other in zip(needed[-3:-1], more[-3:-1], strict=True))


def test_the_queries_said_are_those_of_the_normal_formula_where_prompts_are_all_that_varies() -> None:
    candidate = side(drawn(1.0, n=400, run_sd=0.0))
    table = power_of(candidate, run_sd=1e-6)
    row = next(each for each in table.metrics if each.metric is Metric.ENERGY_PER_QUERY_J)
    expected = ((z_upper(0.05) + z_upper(0.2)) * row.prompt_sd / math.log(1.05)) ** 2
    found = next(each.n_queries for each in row.needed if (each.difference, each.power) == (0.05, 0.8))
    assert found == pytest.approx(expected, rel=0.02)


def test_no_number_of_queries_averages_out_the_runs() -> None:
    noisy = power_of(side(drawn(1.0)), side(drawn(1.0, seed=5)), run_sd=0.05)
    assert queries(noisy, Metric.ENERGY_PER_QUERY_J)[:3] == [None, None, None]
    row = noisy.metrics[0].needed
    assert next(each.n_repeats for each in row if (each.difference, each.power) == (0.10, 0.8)) is not None


def test_what_the_runs_hide_from_any_number_of_queries_is_said() -> None:
    wild = power_of(side(drawn(100, run_sd=0.05)), side(drawn(100, seed=3, run_sd=0.05)), run_sd=0.05)
    (said,) = (note for note in wild.notes if "no number of queries" in note)
    percents = int(re.findall(r"below (\d+) % in joules per query", said)[0])
    point = t_upper(0.05, 4) + z_upper(0.2)
    assert percents == math.ceil(100 * math.expm1(point * 0.05 * math.sqrt(2 / 3)))
    assert not any("no number" in note for note in power_of(side(drawn(100)), run_sd=0.001).notes)


def test_what_is_assumed_is_said_and_what_has_no_figures_is_left_out() -> None:
    one = power_of(side(constant(1.0, effects=[1.0])))
    assert {row.metric for row in one.metrics} == {Metric.ENERGY_PER_QUERY_J}
    assert any("One side is known" in note for note in one.notes)
    assert any("taken to be 1 %" in note for note in one.notes)
    two = power_of(side(drawn(1.0)), side(drawn(1.0, seed=5)))
    assert not any("taken to be" in note or "One side is known" in note for note in two.notes)


def test_joules_per_token_are_the_cheap_line() -> None:
    def runs(seed: int) -> list[Any]:
        found = drawn(4.0, n=80, seed=seed, log_sd=0.6, prompt_seed=seed)
        return [
            type(run)(**{name: getattr(run, name) for name in run.__slots__} | {"output_tokens": run.energy_j / 4.0})
            for run in found
        ]

    table = power_of(side(runs(1)), side(runs(2)))
    per_token, per_query = (
        queries(table, metric)[2] for metric in (Metric.ENERGY_PER_OUTPUT_TOKEN_J, Metric.ENERGY_PER_QUERY_J)
    )
    assert per_token is not None
    assert per_query is None or per_token < per_query / 10
    assert any("The cheap line is energy_per_output_token_j" in note for note in table.notes)
    assert any("--max-new-tokens" in note for note in table.notes)


# ------------------------------------------------------------------------------------- the simulation


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(PROJECT / "scripts" / "check_gate.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=240)


def test_the_simulation_prints_tables_for_the_docs() -> None:
    done = check("families", "--studies", "2", "--markdown", "--processes", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[-3:] == ["2", "4", "8"]


def test_an_unknown_part_of_the_simulation_is_refused_by_name() -> None:
    done = check("powr")
    assert done.returncode == 2
    assert "powr" in done.stderr
    assert "power" in done.stderr


def test_simulated_sides_have_the_truth_that_they_are_said_to_have() -> None:
    from scripts.check_gate.worlds import World

    world = World(n=4000, log_sd=0.6, run_sd=0.0, ratio=1.25, boards=("", ""), share_correct=0.3)
    (candidate,), (reference,) = world.study(np.random.default_rng(1))
    means = [float(np.mean([run.energy_j for run in each.runs])) for each in (candidate, reference)]
    assert means[0] / means[1] == pytest.approx(1.25, rel=0.05)
    logs = np.log(candidate.runs[0].energy_j)
    assert logs.std() == pytest.approx(0.6, rel=0.05)
    assert np.corrcoef(logs, np.log(reference.runs[0].energy_j))[0, 1] == pytest.approx(0.5, abs=0.05)
    assert candidate.runs[0].correct is not None
    assert candidate.runs[0].correct.mean() == pytest.approx(0.3, abs=0.03)
