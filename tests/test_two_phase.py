from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.bootstrap import (
    FloatArray,
    column,
    per_success_interval,
    ratio_interval,
    success_share_most,
)
from harness.analysis.energy_law import terms
from harness.analysis.measured import QueryFigures
from harness.analysis.two_phase import LIMIT_MOST, LengthFigures, law_prompts, refused, two_phase
from harness.records import Estimate, Finding, FindingCode, Method, TwoPhase
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
    readings: Mapping[str, float] | None = None,
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
            reading=(readings or {}).get(each.mode, 0.01),
        )
        for each, joules in zip(chosen, joules_of(chosen) * noise, strict=True)
    ]


def study(
    lengths: Sequence[LengthFigures] | None = None,
    *,
    modes: Sequence[str] = MODES,
    scatter: float = 0.0,
    dearer: float = 0.0,
    dearer_fitted: bool = False,
    estimated: bool = False,
    devices: Sequence[str] = ("gpu",),
    readings: Mapping[str, float] | None = None,
    unanswered: Collection[tuple[str, str]] = (),
    unasked: Collection[tuple[str, str]] = (),
) -> TwoPhase:
    """`dearer`, relative, is of the on mode's held-out queries, and of all its queries if `dearer_fitted`."""
    lengths = counted(modes=modes) if lengths is None else lengths
    chosen = law_prompts(lengths, modes=modes, seed=1)
    prompts = (*chosen.fitted, *chosen.held_out)
    queries = measured(
        lengths,
        prompts,
        scatter=scatter,
        dearer=dearer,
        dearer_prompts=prompts if dearer_fitted else chosen.held_out,
        devices=devices,
        readings=readings,
    )
    answered = [q for q in queries if (q.prompt_id, q.mode) not in {*unanswered, *unasked}]
    return two_phase(
        lengths,
        answered,
        chosen,
        GAINS,
        modes=modes,
        asked={(prompt_id, mode) for prompt_id in prompts for mode in modes} - set(unasked),
        n_failed={"on": 2},
        batch_size=16,
        duration_batched_s=60.0,
        duration_measured_s=math.fsum(query.duration_s for query in answered),
        estimated=estimated,
    )


def estimates(result: TwoPhase) -> list[Estimate]:
    """Everything that a two-phase result says, the law included."""
    law = result.law
    coefficients = (law.per_query_j, law.per_prompt_token_j, law.per_output_token_j, law.per_attended_token_j)
    by_mode = [each for mode in result.modes for each in (mode.energy_j, mode.energy_per_correct_j)]
    return [result.energy, *by_mode, *coefficients]


def says_nothing(result: TwoPhase) -> bool:
    return (
        not result.valid
        and result.duration_saved_s is None
        and all((each.value, each.low, each.high) == (None, None, None) for each in estimates(result))
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
    by_mode = [each for mode in result.modes for each in (mode.energy_j, mode.energy_per_correct_j)]
    assert FindingCode.TWO_PHASE in codes(result.findings)
    assert all(FindingCode.TWO_PHASE in codes(each.findings) for each in (result.energy, *by_mode))


@pytest.mark.parametrize("dearer", [-0.2, 0.05, 0.2])
def test_a_mode_that_costs_more_by_a_factor_is_measured_and_not_refused(dearer: float) -> None:
    lengths = counted()
    on, off = (joules_of([each for each in lengths if each.mode == mode]) for mode in ("on", "off"))
    result = study(lengths, dearer=dearer, dearer_fitted=True)
    assert result.valid
    assert result.energy.value == pytest.approx((1 + dearer) * on.sum() / off.sum())
    assert result.modes[1].energy_j.value == pytest.approx((1 + dearer) * on.mean())
    assert result.modes[0].energy_j.value == pytest.approx(off.mean())
    assert result.law.per_output_token_j.value == pytest.approx(LAW_J[2])  # of the mode that thinks least
    assert result.law.factors == pytest.approx({"off": 1.0, "on": 1 + dearer}, abs=1e-6)
    assert result.law.residual_relative_by_mode == pytest.approx({"off": 0.0, "on": 0.0}, abs=1e-6)


def test_until_all_planned_queries_were_asked_nothing_is_said() -> None:
    chosen = law_prompts(counted(), modes=MODES, seed=1)
    last = (chosen.held_out[-1], "on")
    whole, early = study(scatter=0.01), study(scatter=0.01, unasked=[last])
    assert (whole.n_planned, whole.n_measured, whole.valid) == (40, 40, True)
    assert (early.n_planned, early.n_measured) == (40, 39)
    assert says_nothing(early)
    assert codes(early.findings) == {FindingCode.TWO_PHASE, FindingCode.LAW_NOT_CHECKED}
    assert all(mode.held_out_deviation is None for mode in early.modes)
    # A query that was asked and failed is not waited for.
    failed = study(scatter=0.01, unanswered=[last])
    assert (failed.n_measured, failed.valid) == (40, True)
    assert failed.modes[1].n_held_out == 4


def test_a_query_that_was_not_planned_does_not_count() -> None:
    lengths = counted()
    chosen = law_prompts(lengths, modes=MODES, seed=1)
    result = two_phase(
        lengths,
        [],
        chosen,
        GAINS,
        modes=MODES,
        asked={(each.prompt_id, each.mode) for each in lengths if each.prompt_id != chosen.fitted[0]},
        n_failed={},
        batch_size=16,
        duration_batched_s=1.0,
        duration_measured_s=1.0,
        estimated=False,
    )
    assert (result.n_planned, result.n_measured) == (40, 38)
    assert says_nothing(result)


def test_a_sensor_that_reads_one_mode_badly_is_seen_in_that_mode() -> None:
    result = study(readings={"off": 0.26, "on": 0.02})
    relative = {
        mode.mode: (mode.energy_j.half_width_reading or 0.0) / (mode.energy_j.value or 0.0) for mode in result.modes
    }
    assert relative == pytest.approx({"off": 0.26, "on": 0.02}, rel=1e-3)
    assert result.energy.value is not None
    assert result.energy.half_width_reading == pytest.approx(math.hypot(0.26, 0.02) * result.energy.value, rel=1e-3)


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


def test_what_a_right_answer_costs_at_least_has_the_law_s_part_in_it() -> None:
    lengths = [replace(each, correct=False) for each in counted()]
    exact, scattered = study(lengths).modes[1], study(lengths, scatter=0.03).modes[1]
    joules = joules_of([each for each in lengths if each.mode == "on"])
    bound = per_success_interval(joules, np.zeros(N)).low
    assert exact.energy_per_correct_j.low == pytest.approx(bound)
    assert exact.energy_per_correct_j.high is None
    assert scattered.energy_j.low is not None
    assert scattered.energy_per_correct_j.low == pytest.approx(scattered.energy_j.low / success_share_most(N))


def test_few_right_answers_are_doubted() -> None:
    for n_correct, doubted in ((9, True), (10, False)):
        lengths = [replace(each, correct=int(each.prompt_id[1:]) < n_correct) for each in counted()]
        estimate = study(lengths).modes[1].energy_per_correct_j
        assert (FindingCode.FEW_CORRECT in codes(estimate.findings)) is doubted


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
    assert result.energy.half_width_reading == pytest.approx(0.01 * math.sqrt(2) * (result.energy.value or 0.0))
    assert study(devices=("gpu", "another")).energy.half_width_gain is None


def test_a_held_out_query_that_costs_more_refuses_the_whole_row() -> None:
    result = study(scatter=0.01, dearer=0.1)
    on = result.modes[1]
    assert says_nothing(result)
    assert codes(result.findings) == {FindingCode.TWO_PHASE, FindingCode.LAW_NOT_HELD}
    assert FindingCode.LAW_NOT_HELD in codes(result.law.findings)
    assert (result.law.residual_relative_sd, result.law.residual_relative_by_mode) == (None, {})
    assert result.law.n_queries == result.n_law == 30
    assert on.held_out_deviation is not None
    assert on.held_out_limit is not None
    assert on.held_out_deviation > on.held_out_limit > 0
    assert result.modes[0].held_out_deviation == pytest.approx(0.0, abs=0.03)
    detail = next(each.detail for each in result.findings if each.code is FindingCode.LAW_NOT_HELD)
    assert detail == "in on"


def test_a_mode_that_nothing_tests_is_refused() -> None:
    held_out = law_prompts(counted(), modes=MODES, seed=1).held_out
    result = study(unanswered=[(prompt_id, "on") for prompt_id in held_out])
    assert says_nothing(result)
    assert result.modes[1].held_out_limit is None
    assert result.modes[0].held_out_limit is not None
    found = next(each for each in result.findings if each.code is FindingCode.LAW_NOT_CHECKED)
    assert (found.detail or "").endswith("in on")


def test_a_mode_that_nothing_fits_is_refused() -> None:
    fitted = law_prompts(counted(), modes=MODES, seed=1).fitted
    assert says_nothing(study(unanswered=[(prompt_id, "on") for prompt_id in fitted]))
    assert says_nothing(study(unanswered=[(prompt_id, "off") for prompt_id in fitted[2:]]))


@pytest.mark.parametrize("modes", [MODES, ("on",)])
def test_a_mode_without_an_answered_prompt_has_no_lengths_and_no_ratio(modes: Sequence[str]) -> None:
    lengths = counted(modes=modes)
    chosen = law_prompts(lengths, modes=modes, seed=1)
    result = two_phase(
        [each for each in lengths if each.mode != "on"],
        measured(lengths, (*chosen.fitted, *chosen.held_out), scatter=0.01),
        chosen,
        GAINS,
        modes=modes,
        asked={(prompt_id, mode) for prompt_id in (*chosen.fitted, *chosen.held_out) for mode in modes},
        n_failed={"on": N},
        batch_size=16,
        duration_batched_s=1.0,
        duration_measured_s=1.0,
        estimated=False,
    )
    assert says_nothing(result)
    on = result.modes[-1]
    assert (on.prompt_tokens, on.output_tokens) == (None, None)
    assert (on.n_prompts, on.n_failed) == (N, N)
    found = next(each for each in result.findings if each.code is FindingCode.TOO_FEW_QUERIES)
    assert found.detail == "no prompt was answered in on"


def test_modes_that_share_no_prompt_have_no_ratio() -> None:
    lengths = counted()
    chosen = law_prompts(lengths, modes=MODES, seed=1)
    apart = [each for each in lengths if (int(each.prompt_id[1:]) % 2 == 0) is (each.mode == "on")]
    result = two_phase(
        apart,
        measured(lengths, (*chosen.fitted, *chosen.held_out), scatter=0.01),
        chosen,
        GAINS,
        modes=MODES,
        asked={(prompt_id, mode) for prompt_id in (*chosen.fitted, *chosen.held_out) for mode in MODES},
        n_failed={},
        batch_size=16,
        duration_batched_s=1.0,
        duration_measured_s=1.0,
        estimated=False,
    )
    assert says_nothing(result)


def test_estimated_joules_and_too_few_queries_have_no_law() -> None:
    estimated = study(estimated=True)
    few = study(counted(4))
    assert FindingCode.ESTIMATED_ENERGY in codes(estimated.findings)
    assert FindingCode.TOO_FEW_QUERIES in codes(few.findings)
    for result in (estimated, few):
        assert says_nothing(result)
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
    chosen = law_prompts(length_figures(drawn.p, drawn.counted), modes=MODES, seed=1)
    result = two_phase(
        length_figures(drawn.p, drawn.counted),
        queries,
        chosen,
        {},
        modes=MODES,
        asked={(query.prompt_id, query.mode) for query in queries},
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


@pytest.mark.parametrize("scatter_off", [0.01, 0.05])
def test_the_ratio_of_a_dearer_mode_is_held_by_the_interval(scatter_off: float) -> None:
    """The law's part alone must hold the ratio over the very prompts of a study; one law for both modes is wrong."""
    world = World(on_tokens=1000, log_sd=0.6, dearer_on=0.1, scatter=0.01, scatter_off=scatter_off)
    own = simulate(world, 60, 300, seed=3, factors=True)
    common = simulate(world, 60, 100, seed=3, factors=False)
    # The standard error of a share of 95 % in 300 is 1.3 %.
    assert own.accepted().mean() > 0.91
    assert own.law_holds().mean() > 0.91
    assert common.law_holds().mean() < 0.7


def test_a_mode_that_scatters_more_is_tested_by_its_own_scatter() -> None:
    world = World(on_tokens=1000, log_sd=0.6, scatter=0.01, scatter_off=0.1)
    assert simulate(world, 60, 300, seed=2).accepted().mean() > 0.91
    assert simulate(world, 60, 100, seed=2, held_out_dearer=0.1).accepted().mean() < 0.2


def test_what_was_counted_is_compared_over_all_prompts() -> None:
    lengths = counted()
    result = study(lengths)
    on, off = ([each for each in lengths if each.mode == mode] for mode in ("on", "off"))
    ratio = sum(each.n_output_tokens for each in on) / sum(each.n_output_tokens for each in off)
    assert result.tokens.value == pytest.approx(ratio)
    assert result.tokens.low is not None
    assert result.tokens.low < ratio < (result.tokens.high or 0.0)
    assert result.accuracy is not None
    assert result.accuracy.n == sum(each.correct is not None for each in on)


def test_a_law_that_hardly_anything_could_contradict_is_not_used() -> None:
    result = study(scatter=0.4)
    assert not result.valid
    assert FindingCode.LAW_NOT_TESTED in codes(result.findings)
    assert max(mode.held_out_limit or 0.0 for mode in result.modes) > LIMIT_MOST


def test_a_study_whose_modes_are_not_what_they_are_called_says_nothing() -> None:
    whole = study(scatter=0.01)
    fault = Finding(code=FindingCode.SAME_OUTPUT_IN_MODES)
    result = refused(whole, [fault])
    assert whole.valid
    assert says_nothing(result)
    assert fault in result.findings
    assert (result.tokens.value, result.accuracy) == (None, None)


@pytest.mark.parametrize("dearer", [-0.95, 30.0])
def test_modes_that_no_factor_makes_alike_have_no_law(dearer: float) -> None:
    result = study(dearer=dearer, dearer_fitted=True)
    assert says_nothing(result)
    assert FindingCode.LAW_NOT_HELD in codes(result.findings)
