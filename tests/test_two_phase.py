from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.bootstrap import FloatArray, column, per_success_interval, ratio_interval
from harness.analysis.energy_law import terms
from harness.analysis.measured import QueryFigures
from harness.analysis.two_phase import LengthFigures, law_prompts, two_phase
from harness.records import Finding, FindingCode, Method, TwoPhase
from scripts.check_statistics.worlds import Studies, Study, World, length_figures, simulate
from tests.test_energy_law import LAW_J, figures

MODES = ("off", "on")
N = 120
GAINS = {("gpu", Method.NVML_COUNTER): 0.05}


def counted(n: int = N, modes: Sequence[str] = MODES, seed: int = 4) -> list[LengthFigures]:
    """Lengths of all prompts: a mode further back thinks more. Every third answer is right."""
    rng = np.random.default_rng(seed)
    return [
        LengthFigures(
            prompt_id=f"p{index:03d}",
            mode=mode,
            n_prompt_tokens=int(rng.integers(30, 600)),
            n_output_tokens=int(np.exp(rng.normal(5.5 + position, 0.5))) + 1,
            correct=index % 3 == 0,
            cut=index % 10 == 0,
        )
        for index in range(n)
        for position, mode in enumerate(modes)
    ]


def joules_of(lengths: Sequence[LengthFigures]) -> FloatArray:
    p = column([each.n_prompt_tokens for each in lengths])
    o = column([each.n_output_tokens for each in lengths])
    return np.asarray(terms(p, o) @ LAW_J)


def measured(
    lengths: Sequence[LengthFigures],
    prompts: Sequence[str],
    *,
    scatter: float = 0.0,
    dearer: float = 0.0,
    dearer_prompts: Sequence[str] = (),
    devices: Sequence[str] = ("gpu",),
) -> list[QueryFigures]:
    """The chosen prompts asked one by one; `dearer` is relative, of the on mode at the given prompts."""
    chosen = [each for each in lengths if each.prompt_id in prompts]
    noise = 1 + scatter * np.random.default_rng(9).standard_normal(len(chosen))
    return [
        figures(
            float(joules) * (1 + dearer * (each.mode == "on" and each.prompt_id in dearer_prompts)),
            p=each.n_prompt_tokens,
            o=each.n_output_tokens,
            mode=each.mode,
            prompt_id=each.prompt_id,
            duration_s=float(joules) / 250,
            devices=devices,
        )
        for each, joules in zip(chosen, joules_of(chosen) * noise, strict=True)
    ]


def study(
    lengths: Sequence[LengthFigures] | None = None,
    *,
    modes: Sequence[str] = MODES,
    scatter: float = 0.0,
    dearer: float = 0.0,
    estimated: bool = False,
    devices: Sequence[str] = ("gpu",),
) -> TwoPhase:
    lengths = counted(modes=modes) if lengths is None else lengths
    chosen = law_prompts(lengths, modes=modes, seed=1)
    queries = measured(
        lengths,
        (*chosen.fitted, *chosen.held_out),
        scatter=scatter,
        dearer=dearer,
        dearer_prompts=chosen.held_out,
        devices=devices,
    )
    return two_phase(
        lengths,
        queries,
        chosen.held_out,
        GAINS,
        modes=modes,
        n_failed={"on": 2},
        batch_size=16,
        duration_batched_s=60.0,
        duration_measured_s=math.fsum(query.duration_s for query in queries),
        estimated=estimated,
    )


def codes(findings: Sequence[Finding]) -> set[FindingCode]:
    return {finding.code for finding in findings}


# ------------------------------------------------------------------------------------- which are measured


@pytest.mark.parametrize("n_modes", range(1, 7))
def test_thirty_to_sixty_queries_are_measured_and_ten_of_them_test_the_law(n_modes: int) -> None:
    modes = [f"m{position}" for position in range(n_modes)]
    chosen = law_prompts(counted(modes=modes), modes=modes, seed=1)
    assert len(chosen.fitted) * n_modes >= 30
    assert len(chosen.held_out) * n_modes >= 10
    assert (len(chosen.fitted) + len(chosen.held_out)) * n_modes <= 60
    assert not set(chosen.fitted) & set(chosen.held_out)


def test_the_law_sees_the_longest_and_the_shortest() -> None:
    lengths = counted()
    chosen = law_prompts(lengths, modes=MODES, seed=1)
    outputs: dict[str, int] = {}
    for each in lengths:
        outputs[each.prompt_id] = outputs.get(each.prompt_id, 0) + each.n_output_tokens
    assert {max(outputs, key=outputs.__getitem__), min(outputs, key=outputs.__getitem__)} <= {*chosen.fitted}
    prompts = [each.n_prompt_tokens for each in lengths]
    assert max(prompts) == max(each.n_prompt_tokens for each in lengths if each.prompt_id in chosen.fitted)
    order = sorted(outputs, key=outputs.__getitem__)
    ranks = sorted(order.index(each) for each in chosen.fitted)
    assert max(np.diff(ranks)) < N / 4  # no stretch of lengths is left out


def test_the_choice_depends_on_nothing_but_lengths_and_seed() -> None:
    lengths = counted()
    chosen = law_prompts(lengths, modes=MODES, seed=1)
    assert law_prompts(lengths[::-1], modes=MODES, seed=1) == chosen
    other = law_prompts(lengths, modes=MODES, seed=2)
    assert other.fitted == chosen.fitted
    assert other.held_out != chosen.held_out


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 30), n_modes=st.integers(1, 4))
def test_few_prompts_are_shared_out(n: int, n_modes: int) -> None:
    modes = [f"m{position}" for position in range(n_modes)]
    chosen = law_prompts(counted(n, modes), modes=modes, seed=1)
    assert len(chosen.fitted) + len(chosen.held_out) <= n
    assert not set(chosen.fitted) & set(chosen.held_out)
    assert len(chosen.held_out) <= len(chosen.fitted) or n == 0


def test_a_prompt_that_failed_in_one_mode_is_not_measured() -> None:
    lengths = [each for each in counted() if (each.prompt_id, each.mode) != ("p007", "on")]
    for seed in range(20):
        chosen = law_prompts(lengths, modes=MODES, seed=seed)
        assert "p007" not in (*chosen.fitted, *chosen.held_out)


# ------------------------------------------------------------------------------------------ what is said


def test_an_exact_law_gives_what_measuring_everything_gives() -> None:
    lengths = counted()
    result = study(lengths)
    on, off = (joules_of([each for each in lengths if each.mode == mode]) for mode in ("on", "off"))
    interval = ratio_interval(on, off)
    assert result.valid
    assert (result.numerator, result.denominator) == ("on", "off")
    assert result.energy.value == pytest.approx(on.sum() / off.sum())
    assert result.energy.low == pytest.approx(interval.low)
    assert result.energy.high == pytest.approx(interval.high)
    by_mode = {each.mode: each for each in result.modes}
    assert by_mode["on"].energy_j.value == pytest.approx(on.mean())
    assert by_mode["on"].held_out_deviation == pytest.approx(0.0, abs=1e-9)
    assert by_mode["on"].n_prompts == N + 2
    assert by_mode["on"].n_failed == 2
    assert by_mode["off"].n_failed == 0
    assert by_mode["on"].n_cut == N // 10
    assert (by_mode["on"].n_scored, by_mode["on"].n_correct) == (N, N // 3)
    assert by_mode["on"].n_held_out == 5
    assert result.n_law == 30
    assert result.law.n_queries == 30


def test_everything_is_labelled() -> None:
    result = study()
    estimates = [result.energy, *(each for mode in result.modes for each in (mode.energy_j, mode.energy_per_correct_j))]
    assert FindingCode.TWO_PHASE in codes(result.findings)
    assert all(FindingCode.TWO_PHASE in codes(each.findings) for each in estimates)


def test_joules_per_right_answer_are_of_the_first_phase_s_scores() -> None:
    lengths = counted()
    of_on = [each for each in lengths if each.mode == "on"]
    joules, correct = joules_of(of_on), column([float(each.correct is True) for each in of_on])
    per_correct = study(lengths).modes[1].energy_per_correct_j
    interval = per_success_interval(joules, correct)
    assert per_correct.value == pytest.approx(joules.sum() / correct.sum())
    assert per_correct.low == pytest.approx(interval.low)
    assert per_correct.high == pytest.approx(interval.high)


def test_without_a_right_answer_there_is_no_energy_per_one() -> None:
    fields = ("prompt_id", "mode", "n_prompt_tokens", "n_output_tokens", "cut")
    plain = [{name: getattr(each, name) for name in fields} for each in counted()]
    wrong = study([LengthFigures(**each, correct=False) for each in plain])
    unscored = study([LengthFigures(**each, correct=None) for each in plain])
    assert wrong.modes[1].energy_per_correct_j.value is None
    assert FindingCode.NOTHING_CORRECT in codes(wrong.modes[1].energy_per_correct_j.findings)
    assert FindingCode.NOTHING_SCORED in codes(unscored.modes[1].energy_per_correct_j.findings)
    assert (unscored.modes[1].n_scored, unscored.energy.value) == (0, wrong.energy.value)


def test_scatter_about_the_law_widens_the_interval_by_the_law_s_part_only() -> None:
    exact, scattered = study(), study(scatter=0.03)
    for one, other in zip(
        (exact.energy, *(mode.energy_j for mode in exact.modes)),
        (scattered.energy, *(mode.energy_j for mode in scattered.modes)),
        strict=True,
    ):
        assert other.value == pytest.approx(one.value, rel=0.05)
        assert None not in (one.low, one.high, one.value, other.low, other.high, other.value)
        narrow = math.log(one.high / one.low)  # type: ignore[operator]
        wide = math.log(other.high / other.low)  # type: ignore[operator]
        assert narrow < wide < 1.5 * narrow


def test_the_board_s_gain_is_in_the_joules_and_not_in_their_ratio() -> None:
    result = study()
    on = result.modes[1].energy_j
    assert on.value is not None
    assert on.half_width_gain == pytest.approx(0.05 * on.value)
    assert on.half_width_reading == pytest.approx(0.01 * on.value)
    assert result.energy.half_width_gain == 0.0
    assert study(devices=("gpu", "another")).energy.half_width_gain is None


def test_a_held_out_query_that_costs_more_refuses_the_whole_row() -> None:
    result = study(scatter=0.01, dearer=0.1)
    on = result.modes[1]
    assert not result.valid
    assert result.energy.value is None
    assert all(each.value is None for mode in result.modes for each in (mode.energy_j, mode.energy_per_correct_j))
    assert FindingCode.LAW_NOT_HELD in codes(result.findings)
    assert on.held_out_deviation is not None
    assert on.held_out_limit is not None
    assert on.held_out_deviation > on.held_out_limit > 0
    assert result.modes[0].held_out_deviation == pytest.approx(0.0, abs=0.03)
    assert result.law.per_output_token_j.value is not None  # what was measured is still said
    detail = next(each.detail for each in result.findings if each.code is FindingCode.LAW_NOT_HELD)
    assert detail == "in on"


def test_a_mode_that_nothing_tests_is_refused() -> None:
    lengths = counted()
    chosen = law_prompts(lengths, modes=MODES, seed=1)
    queries = measured(lengths, chosen.fitted)
    result = two_phase(
        lengths,
        queries,
        chosen.held_out,
        GAINS,
        modes=MODES,
        n_failed={},
        batch_size=16,
        duration_batched_s=1.0,
        duration_measured_s=1.0,
        estimated=False,
    )
    assert not result.valid
    assert result.modes[0].held_out_limit is None
    assert FindingCode.LAW_NOT_HELD in codes(result.findings)


def test_estimated_joules_and_too_few_queries_have_no_law() -> None:
    estimated = study(estimated=True)
    few = study(counted(4))
    assert FindingCode.ESTIMATED_ENERGY in codes(estimated.findings)
    assert FindingCode.TOO_FEW_QUERIES in codes(few.findings)
    for result in (estimated, few):
        assert not result.valid
        assert result.energy.value is None
        assert result.law.per_output_token_j.value is None
        assert result.n_law == 0


def test_one_mode_has_no_ratio_and_four_have_the_headline_s() -> None:
    one = study(modes=("on",))
    four = study(modes=("off", "budget:64", "budget:256", "on"))
    assert one.valid
    assert one.energy.value is None
    assert one.numerator is None
    assert one.modes[0].energy_j.value is not None
    assert (four.numerator, four.denominator) == ("on", "off")
    assert four.energy.value is not None


def test_what_is_saved_is_what_all_prompts_would_have_taken() -> None:
    lengths = counted()
    result = study(lengths)
    everything_s = float(joules_of(lengths).sum()) / 250
    assert result.duration_saved_s == pytest.approx(everything_s - 60.0 - result.duration_measured_s)


def test_the_same_data_give_the_same_figures() -> None:
    assert study(scatter=0.02) == study(scatter=0.02)


# ------------------------------------------------------------------------------------ studies, simulated


def test_the_simulation_computes_what_the_program_computes() -> None:
    """The vectorised interval of one simulated study is that of `two_phase` for the same study."""
    drawn, studies = Study.drawn(World(on_tokens=1000, log_sd=0.6), 60, np.random.default_rng(3)), Studies()
    studies.add(drawn, 0.0)
    intervals = studies.intervals()
    queries = [
        figures(
            float(drawn.measured_j[row, column]),
            p=int(drawn.p[index]),
            o=int(drawn.again[row, column]),
            mode=mode,
            prompt_id=f"{index:05d}",
        )
        for row, index in enumerate((*drawn.fitted, *drawn.held_out))
        for column, mode in enumerate(("on", "off"))
    ]
    result = two_phase(
        length_figures(drawn.p, drawn.counted),
        queries,
        {f"{index:05d}" for index in drawn.held_out},
        {},
        modes=MODES,
        n_failed={},
        batch_size=16,
        duration_batched_s=1.0,
        duration_measured_s=1.0,
        estimated=False,
    )
    assert result.valid
    assert result.energy.value == pytest.approx(float(intervals.value[0]))
    assert result.energy.low == pytest.approx(float(intervals.low[0]))
    assert result.energy.high == pytest.approx(float(intervals.high[0]))


def test_a_law_that_holds_is_seldom_refused_and_one_that_is_off_nearly_always() -> None:
    world = World(on_tokens=1000, log_sd=0.6)
    held = simulate(world, 60, 300, seed=1)
    broken = simulate(world, 60, 100, seed=1, held_out_dearer=0.1)
    # The standard error of a share of 5 % in 300 is 1.3 %.
    assert held.accepted().mean() > 0.91
    assert broken.accepted().mean() < 0.1
    holds = held.intervals().hold(world.truth())[held.accepted()]
    assert holds.mean() > 0.91


def test_a_mode_that_scatters_more_is_tested_by_its_own_scatter() -> None:
    world = World(on_tokens=1000, log_sd=0.6, scatter=0.01, scatter_off=0.1)
    assert simulate(world, 60, 300, seed=2).accepted().mean() > 0.91
    assert simulate(world, 60, 100, seed=2, held_out_dearer=0.1).accepted().mean() < 0.2
