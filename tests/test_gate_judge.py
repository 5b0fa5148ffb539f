"""The verdict: one exact case per law, and laws that hold for any figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ExitCode
from harness.gate.budget import Budget, ReferenceKind
from harness.gate.evidence import Side, SideKind
from harness.gate.judging import holm_levels, judge
from harness.gate.verdict import LineVerdict, Outcome, Verdict
from harness.records import Boundary, Finding, FindingCode
from tests.synthetic_sides import OTHER_BOARD, constant, drawn, run_figures, side

TODAY = date(2026, 11, 29)
T4 = 2.131846786
"""The 95 % point of Student's t with 4 degrees of freedom, as tables have it; with 2: 2.919985580."""
ABSOLUTE: dict[str, Any] = {"metric": "energy_per_query_j", "at_most": 100, "board_gain": False}
RELATIVE: dict[str, Any] = {"metric": "energy_per_query_j", "at_most_over_reference": "3%"}
EQUIVALENT: dict[str, Any] = {"metric": "energy_per_query_j", "equivalent": "3%"}


def budget(*lines: Mapping[str, Any], **shared: Any) -> Budget:
    return Budget.model_validate({"lines": lines, **shared})


def verdict(
    what: Budget,
    candidate: Sequence[Side] | Side,
    release: Sequence[Side] | Side = (),
    golden: Sequence[Side] | Side = (),
    **options: Any,
) -> Verdict:
    sides = [each if not isinstance(each, Side) else [each] for each in (candidate, release, golden)]
    references = {ReferenceKind.RELEASE: sides[1], ReferenceKind.GOLDEN: sides[2]}
    return judge(what, sides[0], references, today=options.pop("today", TODAY), **options)


def line(*arguments: Any, **options: Any) -> LineVerdict:
    found = verdict(*arguments, **options)
    assert len(found.lines) == 1
    return found.lines[0]


def reference(runs: Sequence[Any], kind: SideKind = SideKind.RELEASE, **changes: Any) -> Side:
    return side(runs, kind, **changes)


# ------------------------------------------------------------------------------------- exact cases


def test_a_figure_without_any_spread_passes_at_its_limit_and_fails_just_above_it() -> None:
    at = line(budget(ABSOLUTE), side(constant(100.0)))
    assert (at.outcome, at.value, at.low, at.high) == (Outcome.PASS, 100.0, 100.0, 100.0)
    above = line(budget(ABSOLUTE), side(constant(100.01)))
    assert above.outcome is Outcome.FAIL
    assert above.reasons[0] == "The lower end, 100.01 J, is above the limit of 100 J."


def test_twice_the_energy_fails_and_half_of_it_passes() -> None:
    what = budget(RELATIVE)
    for factor, outcome in ((2.0, Outcome.FAIL), (0.5, Outcome.PASS)):
        found = verdict(what, side(drawn(100 * factor, seed=2)), reference(drawn(100)))
        assert found.outcome is outcome
        assert found.lines[0].value == pytest.approx(factor - 1, abs=0.02)


def test_run_to_run_is_students_t_on_the_log_with_pooled_degrees_of_freedom() -> None:
    effects = (0.99, 1.0, 1.01)
    found = line(budget(RELATIVE), side(constant(100.0, effects=effects)), reference(constant(100.0, effects=effects)))
    logs = np.log(effects)
    reach = T4 * math.sqrt(2 * ((logs - logs.mean()) ** 2).sum() / 4) * math.sqrt(2 / 3)
    assert found.low == pytest.approx(math.exp(-reach) - 1, rel=1e-6)
    assert found.high == pytest.approx(math.exp(reach) - 1, rel=1e-6)
    runs = next(part for part in found.components if part.name == "run to run")
    assert runs.dof == 4


def test_a_stated_spread_is_normal_and_one_run_is_enough_with_it() -> None:
    found = line(
        budget({**RELATIVE, "run_sd": "1%"}),
        side(constant(100.0, effects=[1.0])),
        reference(constant(100.0, effects=[1.0])),
    )
    reach = 1.6448536 * 0.01 * math.sqrt(2)
    assert found.outcome is Outcome.PASS
    assert found.high == pytest.approx(math.exp(reach) - 1, rel=1e-6)


def test_a_stated_spread_that_the_repeats_refute_is_not_believed() -> None:
    wild = constant(100.0, effects=(0.9, 1.0, 1.1))
    found = line(budget({**ABSOLUTE, "run_sd": "0.1%", "at_most": 105}), side(wild))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert any("scatter by more than the stated 0.1 %" in (part.note or "") for part in found.components)
    tame = line(budget({**ABSOLUTE, "run_sd": "8%", "at_most": 115}), side(wild))
    assert [part.dof for part in tame.components if part.name == "run to run"] == [None]


def test_reading_and_gain_are_combined_by_the_root_of_their_squares() -> None:
    what = budget({"metric": "energy_per_query_j", "at_most": 100})
    found = line(what, side(constant(100.0, half_width=0.03, gain=0.04)))
    down = 1.6448536 / 1.9599640 * 0.05
    assert found.low == pytest.approx(100 * math.exp(-down), rel=1e-6)
    up = [-math.log1p(-1.6448536 / 1.9599640 * half_width) for half_width in (0.03, 0.04)]
    assert found.high == pytest.approx(100 * math.exp(math.hypot(*up)), rel=1e-6)


def test_a_gain_cancels_on_one_board_and_counts_twice_on_two() -> None:
    candidate = side(constant(100.0))
    one = line(budget(RELATIVE), candidate, reference(constant(100.0)))
    assert (one.low, one.high) == (0.0, 0.0)
    two = line(budget(RELATIVE), candidate, reference(constant(100.0, board=OTHER_BOARD)))
    assert two.low == pytest.approx(math.exp(-1.6448536 / 1.9599640 * 0.05 * math.sqrt(2)) - 1, rel=1e-6)
    assert two.outcome is Outcome.INCONCLUSIVE


def test_tokens_carry_no_sensor() -> None:
    tokens = [100.0] * 40
    runs = constant(1.0, tokens=tokens, half_width=None, gain=None)
    found = line(budget({"metric": "output_tokens_per_query", "at_most": 100}), side(runs, estimated=True))
    assert found.outcome is Outcome.PASS
    assert {part.name for part in found.components} == {"prompts", "run to run"}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("energy_per_query_j", 72.0),
        ("energy_wh_per_1000", 20.0),
        ("output_tokens_per_query", 36.0),
        ("energy_per_output_token_j", 2.0),
        ("energy_per_correct_j", 96.0),
    ],
)
def test_every_metric_in_its_unit(metric: str, value: float) -> None:
    correct = [1.0, 1.0, 1.0, 0.0] * 10
    runs = constant(72.0, tokens=[36.0] * 40, correct=correct)
    found = line(budget({"metric": metric, "at_most": 1000}), side(runs))
    assert found.value == pytest.approx(value)
    assert found.value_candidate == pytest.approx(value)
    assert found.outcome is Outcome.PASS


# --------------------------------------------------------------------------------- what is not judged


@pytest.mark.parametrize("what", ["estimated", "replayed"])
def test_joules_that_were_not_measured_are_invalid_and_never_pass(what: str) -> None:
    changes: dict[str, Any] = {what: True}
    bad = side(constant(1.0), **changes)
    found = verdict(budget(ABSOLUTE, {**ABSOLUTE, "metric": "energy_wh_per_1000"}), bad)
    assert [each.outcome for each in found.lines] == [Outcome.INVALID] * 2
    assert found.exit_code is ExitCode.INVALID
    assert what in found.lines[0].reasons[0]
    over = verdict(budget(RELATIVE), side(constant(1.0)), reference(constant(100.0), **changes))
    assert over.outcome is Outcome.INVALID


def test_a_mode_that_is_not_what_it_is_called_is_invalid() -> None:
    finding = Finding(code=FindingCode.THINKING_IN_OFF_MODE, detail="3 of 40")
    found = line(budget(ABSOLUTE), side(constant(1.0), invalid=(finding,)))
    assert found.outcome is Outcome.INVALID
    assert "3 of 40" in found.reasons[0]


def test_a_limit_on_what_was_not_measured_is_invalid_and_on_another_board_not_applied() -> None:
    candidate = side(constant(1.0))
    absent = line(budget({**ABSOLUTE, "mode": "off"}), candidate)
    assert absent.outcome is Outcome.INVALID
    assert "mode off" in absent.reasons[0]
    assert line(budget({**ABSOLUTE, "prompts": "gsm8k"}), candidate).outcome is Outcome.INVALID
    elsewhere = verdict(budget({**ABSOLUTE, "gpu": "B200"}, ABSOLUTE), candidate)
    assert [each.outcome for each in elsewhere.lines] == [Outcome.NOT_APPLIED, Outcome.PASS]
    assert elsewhere.exit_code is ExitCode.OK
    nothing = verdict(budget({**ABSOLUTE, "gpu": "B200"}), candidate)
    assert nothing.outcome is Outcome.INVALID
    assert line(budget({**ABSOLUTE, "gpu": "h100"}), candidate).outcome is Outcome.PASS


def test_a_line_without_a_mode_is_judged_in_each() -> None:
    sides = [side(constant(1.0), mode="off"), side(constant(200.0), mode="on")]
    found = verdict(budget(ABSOLUTE), sides)
    assert {each.mode: each.outcome for each in found.lines} == {"off": Outcome.PASS, "on": Outcome.FAIL}


def test_a_relative_line_needs_a_reference_that_has_the_mode() -> None:
    candidate = side(constant(1.0))
    assert "--reference RUN" in line(budget(RELATIVE), candidate).reasons[0]
    golden_only = line(budget({**RELATIVE, "against": "golden"}), candidate, reference(constant(1.0)))
    assert golden_only.outcome is Outcome.INVALID
    other = verdict(budget(RELATIVE), candidate, reference(constant(1.0), mode="off"))
    assert {each.outcome for each in other.lines} == {Outcome.INVALID}
    assert any("no mode 'on'" in reason for each in other.lines for reason in each.reasons)


def test_a_candidate_is_not_rid_of_a_mode_by_not_being_asked_in_it() -> None:
    references = [reference(constant(1.0)), reference(constant(1.0), mode="off")]
    found = verdict(budget(RELATIVE), side(constant(1.0)), references)
    assert {each.mode: each.outcome for each in found.lines} == {"on": Outcome.PASS, "off": Outcome.INVALID}
    named = verdict(budget({**RELATIVE, "mode": "on"}), side(constant(1.0)), references)
    assert named.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("gpu", {"boards": ("NVIDIA A100",)}),
        ("driver", {"driver": "535.1"}),
        ("protocol", {"protocol": "aies-v2-1"}),
        ("prompts", {"prompt_set_sha256": "1" * 64}),
    ],
)
def test_other_conditions_are_refused_unless_asked_for(key: str, change: dict[str, Any]) -> None:
    candidate, other = side(drawn(100.0)), reference(drawn(100.0, seed=3), **change)
    refused = line(budget(RELATIVE), candidate, other)
    assert refused.outcome is Outcome.INVALID
    assert f"allow: [{key}]" in refused.reasons[0]
    asked = line(budget(RELATIVE, allow=[key]), candidate, other)
    assert asked.outcome is not Outcome.INVALID
    assert any("as the budget allows" in reason for reason in asked.reasons)
    parts = [part for part in asked.components if part.name == "prompts"]
    assert len(parts) == (2 if key == "prompts" else 1)


def test_another_boundary_is_always_refused() -> None:
    other = reference(constant(1.0), boundary=Boundary.HOST)
    what = budget(RELATIVE, allow=["gpu", "driver", "protocol", "prompts"])
    assert line(what, side(constant(1.0)), other).outcome is Outcome.INVALID


def test_another_site_needs_a_session_term() -> None:
    other = reference(constant(100.0, board=OTHER_BOARD, gain=0.0), site_id="site-b", together=False)
    candidate = side(constant(100.0, gain=0.0))
    unknown = line(budget(RELATIVE), candidate, other)
    assert unknown.outcome is Outcome.INCONCLUSIVE
    assert "site-b" in unknown.reasons[0]
    stated = line(budget(RELATIVE, session_sd="1%"), candidate, other)
    assert stated.outcome is Outcome.PASS
    assert stated.low == pytest.approx(math.exp(-1.6448536 * 0.01 * math.sqrt(2)) - 1, rel=1e-4)


def test_another_job_on_the_same_site_is_said() -> None:
    stored = line(budget(RELATIVE), side(constant(100.0)), reference(constant(100.0), together=False))
    assert stored.outcome is Outcome.PASS
    assert any("another job on the same site" in reason for reason in stored.reasons)
    assert "between jobs" not in {part.name for part in stored.components}
    together = line(budget(RELATIVE, session_sd="1%"), side(constant(100.0)), reference(constant(100.0)))
    assert together.high == 0.0


def test_one_run_is_inconclusive_and_says_what_to_do() -> None:
    one = constant(1.0, effects=[1.0])
    absolute = line(budget(ABSOLUTE), side(one))
    assert absolute.outcome is Outcome.INCONCLUSIVE
    assert absolute.to_settle is not None
    assert absolute.to_settle.n_repeats == 3
    relative = line(budget(RELATIVE), side(one), reference(one))
    assert relative.outcome is Outcome.INCONCLUSIVE
    half = line(budget(RELATIVE), side(constant(100.0)), reference(constant(100.0, effects=[1.0])))
    assert half.outcome is Outcome.PASS
    assert half.n_runs_reference == 1


def test_fewer_queries_than_the_budget_asks_for_decide_nothing() -> None:
    found = line(budget(ABSOLUTE), side(constant(500.0, n=29)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.value == 500.0
    assert found.to_settle is not None
    assert found.to_settle.n_queries == 30
    assert line(budget(ABSOLUTE, min_queries=29), side(constant(500.0, n=29))).outcome is Outcome.FAIL


def test_a_side_of_nothing_decides_nothing() -> None:
    assert line(budget(ABSOLUTE), side([])).outcome is Outcome.INVALID
    assert verdict(budget(ABSOLUTE), []).outcome is Outcome.INVALID
    all_failed = [run_figures([], repeat=index, n_failed=40) for index in range(3)]
    assert line(budget(ABSOLUTE), side(all_failed)).outcome is Outcome.INCONCLUSIVE
    assert line(budget(RELATIVE), side(constant(1.0)), reference(all_failed)).outcome is Outcome.INCONCLUSIVE
    unknown = constant(math.nan)
    assert line(budget(ABSOLUTE), side(unknown)).outcome is Outcome.INCONCLUSIVE


def test_four_prompts_have_no_interval() -> None:
    found = line(budget(ABSOLUTE, min_queries=1), side(constant(1.0, n=4)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "4 queries are too few" in found.reasons[0]


def test_queries_that_failed_cannot_make_a_model_cheap() -> None:
    runs = constant(1.0, n=60, n_failed=40)
    found = line(budget(ABSOLUTE), side(runs))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "40 % of the queries" in found.reasons[0]
    assert line(budget(ABSOLUTE, missing_at_most="50%"), side(runs)).outcome is Outcome.PASS


def test_unknown_gain_or_reading_passes_nothing() -> None:
    what = budget({"metric": "energy_per_query_j", "at_most": 1e9})
    unknown: list[dict[str, Any]] = [{"gain": None}, {"half_width": None}]
    for changes in unknown:
        found = line(what, side(constant(1.0, **changes)))
        assert found.outcome is Outcome.INCONCLUSIVE
        assert found.high is None
    assert line(budget(ABSOLUTE), side(constant(1.0, gain=None))).outcome is Outcome.PASS


def test_a_total_of_nothing_has_no_value() -> None:
    found = line(budget(ABSOLUTE), side(constant(0.0)))
    assert (found.outcome, found.value) == (Outcome.INCONCLUSIVE, None)
    never_right = constant(10.0, correct=[0.0] * 40)
    wrong = line(budget({"metric": "energy_per_correct_j", "at_most": 1e6}), side(never_right))
    assert wrong.outcome is Outcome.INCONCLUSIVE


def test_few_right_answers_have_no_upper_end() -> None:
    correct = [1.0] * 2 + [0.0] * 38
    found = line(budget({"metric": "energy_per_correct_j", "at_most": 1e9}), side(constant(10.0, correct=correct)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.high is None
    assert found.low is not None
    assert "no upper end" in found.reasons[0]
    many = [1.0] * 38 + [0.0] * 2
    what = budget({"metric": "energy_per_correct_j", "at_most_over_reference": "3%"})
    few_below = line(what, side(constant(10.0, correct=many)), reference(constant(10.0, correct=correct)))
    assert few_below.low is None
    assert few_below.outcome is Outcome.PASS
    others = reference(constant(10.0, correct=correct[::-1]))
    few_above = line(what, side(constant(10.0, correct=correct)), others)
    assert few_above.outcome is Outcome.INCONCLUSIVE
    assert few_above.reasons[0] == "There is no upper end, and there is no lower end."


@pytest.mark.parametrize("metric", ["energy_per_query_j", "energy_per_output_token_j", "energy_per_correct_j"])
def test_what_fails_here_and_there_adds_up(metric: str) -> None:
    def lacking(first: int) -> list[Any]:
        """Three repeats of 100 prompts; each lacks the figures of two others, or their score."""
        runs = []
        for index in range(3):
            ones, lost = [1.0] * 100, range(first + 2 * index, first + 2 * index + 2)
            few = [math.nan if place in lost else 1.0 for place in range(100)]
            in_joules = few if metric == "energy_per_query_j" else ones
            scores = few if metric == "energy_per_correct_j" else ones
            tokens = few if metric == "energy_per_output_token_j" else ones
            runs.append(run_figures(in_joules, repeat=index, tokens=tokens, correct=scores))
        return runs

    alone = line(budget({"metric": metric, "at_most": 2, "board_gain": False}), side(lacking(0)))
    assert alone.outcome is Outcome.INCONCLUSIVE
    assert alone.reasons[0].startswith("6 % of the queries asked")
    what = budget({"metric": metric, "at_most_over_reference": "3%"}, missing_at_most="10%")
    both = line(what, side(lacking(0)), reference(lacking(50)))
    assert both.outcome is Outcome.INCONCLUSIVE
    assert both.reasons[0].startswith("12 % of the queries asked")
    allowed = line(what, side(lacking(0)), reference(lacking(0)))
    assert allowed.outcome is Outcome.PASS
    assert any("6 queries of those asked" in reason and "cost most" in reason for reason in allowed.reasons)


@pytest.mark.parametrize(("first_below", "share"), [(0, "4 %"), (4, "8 %")])
def test_a_prompt_that_fails_on_both_sides_is_one(first_below: int, share: str) -> None:
    def failed(first: int) -> list[Any]:
        ids = [f"p{place:04d}" for place in range(100) if not first <= place < first + 4]
        return [run_figures([1.0] * 96, repeat=index, prompt_ids=ids, n_failed=4) for index in range(3)]

    found = line(budget(RELATIVE, missing_at_most="1%"), side(failed(0)), reference(failed(first_below)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons[0].startswith(f"{share} of the queries asked")


def test_a_candidate_that_was_asked_fewer_prompts_lacks_none() -> None:
    found = line(budget(RELATIVE), side(constant(1.0, n=40)), reference(constant(1.0, n=100)))
    assert (found.outcome, found.n_queries) == (Outcome.PASS, 40)


def test_only_prompts_that_every_repeat_of_both_sides_knows_are_compared() -> None:
    ids = [f"p{index:04d}" for index in range(40)]
    joules = [10.0] * 39 + [1000.0]
    lost = [*joules[:39], math.nan]
    candidate = side([run_figures(joules, repeat=0), run_figures(lost, repeat=1)])
    shuffled = [run_figures(list(reversed(joules)), repeat=index, prompt_ids=ids[::-1]) for index in range(2)]
    found = line(budget(RELATIVE), candidate, reference(shuffled))
    assert found.n_queries == 39
    assert found.value == pytest.approx(0.0)
    assert found.value_reference == pytest.approx(10.0)


# --------------------------------------------------------------------------- equivalence, Holm, waivers


@pytest.mark.parametrize(
    ("level", "outcome"),
    [
        (100.0, Outcome.PASS),
        (103.0, Outcome.PASS),
        (97.0, Outcome.PASS),
        (104.0, Outcome.FAIL),
        (96.0, Outcome.FAIL),
    ],
)
def test_equivalence_is_on_both_sides(level: float, outcome: Outcome) -> None:
    found = line(budget(EQUIVALENT), side(constant(level)), reference(constant(100.0)))
    assert found.outcome is outcome
    assert (found.limit_low, found.limit) == (-0.03, 0.03)


def test_a_wide_interval_is_not_equivalent() -> None:
    effects = (0.97, 1.0, 1.03)
    found = line(
        budget(EQUIVALENT), side(constant(100.0, effects=effects)), reference(constant(100.0, effects=effects))
    )
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "neither within −3 % to +3 %" in found.reasons[0]


def test_holm_holds_each_p_value_against_its_own_level() -> None:
    assert holm_levels([0.04, None, 0.001, 0.02], 0.05) == [0.05, None, 0.05 / 3, 0.025]
    assert holm_levels([0.04, 0.03, 0.02], 0.05) == [0.05 / 3] * 3
    assert holm_levels([None], 0.05) == [None]
    assert holm_levels([], 0.05) == []


def test_a_line_that_is_over_alone_may_not_be_among_several() -> None:
    effects = (0.99, 1.0, 1.01)
    candidate = [side(constant(102.0, effects=effects), mode=mode) for mode in ("a", "b", "c", "d")]
    what = {**ABSOLUTE, "at_most": 100}
    alone = verdict(budget(what), candidate[:1])
    assert alone.outcome is Outcome.FAIL
    t = math.log(1.02) / (np.log(effects).std(ddof=1) / math.sqrt(3))
    assert alone.lines[0].p_over == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-4)
    harmless = [side(constant(1.0, effects=effects), mode=mode) for mode in ("b", "c", "d")]
    among = verdict(budget(what), [candidate[0], *harmless])
    assert among.outcome is Outcome.INCONCLUSIVE
    assert among.lines[0].outcome is Outcome.INCONCLUSIVE
    assert among.lines[0].holm_level == pytest.approx(0.0125)
    assert any("Holm" in reason for reason in among.lines[0].reasons)


def test_passing_needs_every_line() -> None:
    sides = [side(constant(level), mode=mode) for mode, level in (("a", 1.0), ("b", 2.0), ("c", 300.0))]
    assert verdict(budget(ABSOLUTE), sides[:2]).outcome is Outcome.PASS
    assert verdict(budget(ABSOLUTE), sides).outcome is Outcome.FAIL


def test_failed_is_graver_than_invalid_and_that_than_inconclusive() -> None:
    failed, open_ = side(constant(500.0), mode="a"), side(constant(1.0, n=3), mode="b")
    invalid = side(constant(1.0), mode="c", estimated=True)
    assert verdict(budget(ABSOLUTE), [failed, open_, invalid]).exit_code is ExitCode.GATE_FAILED
    assert verdict(budget(ABSOLUTE), [open_, invalid]).exit_code is ExitCode.INVALID
    assert verdict(budget(ABSOLUTE), [open_]).exit_code is ExitCode.INCONCLUSIVE


@pytest.mark.parametrize(
    ("meaning", "code"),
    [("report", ExitCode.INCONCLUSIVE), ("fail", ExitCode.GATE_FAILED), ("pass", ExitCode.OK)],
)
def test_the_budget_says_what_inconclusive_means(meaning: str, code: ExitCode) -> None:
    found = verdict(budget(ABSOLUTE, inconclusive=meaning), side(constant(1.0, n=3)))
    assert (found.outcome, found.exit_code) == (Outcome.INCONCLUSIVE, code)


@pytest.mark.parametrize(
    ("today", "outcome"),
    [(date(2026, 12, 30), Outcome.WAIVED), (date(2026, 12, 31), Outcome.WAIVED), (date(2027, 1, 1), Outcome.FAIL)],
)
def test_a_waiver_holds_to_the_end_of_its_last_day(today: date, outcome: Outcome) -> None:
    waiver = {"line": "query", "until": "2026-12-31", "owner": "ann", "reason": "new kernels"}
    what = budget({**ABSOLUTE, "name": "query"}, waivers=[waiver])
    found = verdict(what, side(constant(500.0)), today=today)
    assert found.lines[0].outcome is outcome
    assert found.exit_code is (ExitCode.OK if outcome is Outcome.WAIVED else ExitCode.GATE_FAILED)
    assert any("ann" in reason for reason in found.lines[0].reasons)


def test_a_waiver_waives_what_is_open_but_never_what_is_invalid() -> None:
    waiver = {"line": "query", "until": "2026-12-31", "owner": "ann", "reason": "new kernels"}
    what = budget({**ABSOLUTE, "name": "query"}, waivers=[waiver])
    assert line(what, side(constant(1.0, n=3))).outcome is Outcome.WAIVED
    assert line(what, side(constant(1.0), estimated=True)).outcome is Outcome.INVALID
    passed = line(what, side(constant(1.0)))
    assert (passed.outcome, passed.waiver) == (Outcome.PASS, what.waivers[0])


def test_a_golden_reference_sees_the_small_rises_that_add_up() -> None:
    golden = reference(constant(100.0), SideKind.GOLDEN)
    found = verdict(budget(RELATIVE), side(constant(108.0)), reference(constant(106.0)), golden)
    by_kind = {each.against: each.outcome for each in found.lines}
    assert by_kind == {ReferenceKind.RELEASE: Outcome.PASS, ReferenceKind.GOLDEN: Outcome.FAIL}
    only = verdict(
        budget({**RELATIVE, "against": "release"}), side(constant(108.0)), reference(constant(106.0)), golden
    )
    assert [each.outcome for each in only.lines] == [Outcome.PASS]
    assert set(found.references) == {ReferenceKind.RELEASE, ReferenceKind.GOLDEN}


def test_of_several_references_that_of_the_site_and_the_model_counts() -> None:
    others = [
        reference(constant(1.0), site_id="site-b"),
        reference(constant(2.0), model="another"),
        reference(constant(100.0)),
    ]
    assert line(budget(RELATIVE), side(constant(100.0)), others).value == pytest.approx(0.0)
    twins = [reference(constant(100.0), words="first"), reference(constant(100.0), words="second")]
    unclear = line(budget(RELATIVE), side(constant(100.0)), twins)
    assert unclear.outcome is Outcome.INVALID
    assert "first, second" in unclear.reasons[0]


def test_every_look_is_held_against_its_share_of_alpha() -> None:
    effects = (0.99, 1.0, 1.01)
    once = line(budget(ABSOLUTE), side(constant(98.0, effects=effects)))
    often = line(budget(ABSOLUTE), side(constant(98.0, effects=effects)), n_looks=5)
    spread = math.sqrt(((np.log(effects) - np.log(effects).mean()) ** 2).sum() / 2 / 3)
    assert once.high == pytest.approx(
        np.exp(np.log(98 * np.exp(np.log(effects).mean())) + 2.91998558 * spread), rel=1e-4
    )
    assert often.high is not None
    assert once.high is not None
    assert often.high > once.high
    assert (once.outcome, often.outcome) == (Outcome.PASS, Outcome.INCONCLUSIVE)


# ----------------------------------------------------------------------------------------- settling


def test_what_is_said_to_settle_a_line_settles_it() -> None:
    effects = (0.995, 1.0, 1.005)
    found = line(budget({**ABSOLUTE, "at_most": 100.5}), side(constant(100.0, effects=effects)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.to_settle is not None
    assert found.to_settle.n_queries is None
    n_repeats = found.to_settle.n_repeats
    assert n_repeats is not None
    # Repeats with the same standard deviation, so many of them: at the number said it passes, one earlier it does not.
    outcomes = []
    for n in (n_repeats, n_repeats - 1):
        spread = np.linspace(-1, 1, n)
        logs = spread * np.log(effects).std(ddof=1) / spread.std(ddof=1) + np.log(effects).mean()
        again = line(budget({**ABSOLUTE, "at_most": 100.5}), side(constant(100.0, effects=np.exp(logs).tolist())))
        outcomes.append(again.outcome)
    assert outcomes == [Outcome.PASS, Outcome.INCONCLUSIVE]


def test_more_queries_settle_what_prompts_leave_open() -> None:
    runs = drawn(100.0, n=60, run_sd=0.0)
    mean = float(np.mean([run.energy_j.mean() for run in runs]))
    found = line(budget({**ABSOLUTE, "at_most": mean * 1.05}), side(runs))
    assert found.to_settle is not None
    assert found.to_settle.n_queries is not None
    assert 60 < found.to_settle.n_queries < 2000
    assert f"{found.to_settle.n_queries:,} queries in all" in found.to_settle.sentence


def test_the_boards_gain_is_settled_by_no_number() -> None:
    found = line(budget({"metric": "energy_per_query_j", "at_most": 101}), side(constant(100.0)))
    assert found.to_settle is not None
    assert not found.to_settle.possible
    assert "the board gain alone reaches" in found.to_settle.sentence
    assert "`board_gain: false`" in found.to_settle.sentence


def test_figures_that_differ_are_not_printed_alike() -> None:
    found = line(budget(ABSOLUTE), side(constant(100.0004)))
    assert found.reasons[0] == "The lower end, 100.0004 J, is above the limit of 100 J."


# ---------------------------------------------------------------------------------------------- laws

LEVELS = st.floats(min_value=0.8, max_value=1.25)


@settings(deadline=None, max_examples=15)
@given(LEVELS, st.floats(min_value=1e-3, max_value=1e6), st.integers(0, 100))
def test_scaling_both_sides_leaves_a_relative_verdict(level: float, scale: float, seed: int) -> None:
    def judged(factor: float) -> LineVerdict:
        candidate = side(drawn(level * factor, n=40, seed=seed))
        return line(budget(RELATIVE), candidate, reference(drawn(factor, n=40, seed=seed + 1)))

    one, other = judged(1.0), judged(scale)
    assert one.outcome is other.outcome
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.floats(min_value=50, max_value=200), st.floats(min_value=0.2, max_value=1.0), st.integers(0, 100))
def test_a_lower_limit_never_turns_a_failure_into_anything_better(limit: float, factor: float, seed: int) -> None:
    candidate = side(drawn(100.0, n=40, seed=seed))
    rank = {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 1, Outcome.FAIL: 2}
    high, low = (line(budget({**ABSOLUTE, "at_most": each}), candidate).outcome for each in (limit, limit * factor))
    assert rank[low] >= rank[high]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 100), st.floats(min_value=0.001, max_value=0.45), st.floats(min_value=0.1, max_value=1.0))
def test_a_smaller_alpha_widens_the_interval(seed: int, alpha: float, factor: float) -> None:
    candidate = side(drawn(100.0, n=30, seed=seed))
    wide, narrow = (line(budget(ABSOLUTE, alpha=each), candidate) for each in (alpha * factor, alpha))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.high is not None
    assert narrow.high is not None
    assert wide.low <= narrow.low + 1e-9
    assert narrow.low <= narrow.high + 1e-9
    assert narrow.high <= wide.high + 1e-9


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(30)), st.integers(0, 20))
def test_the_order_of_prompts_changes_nothing_that_is_decided(order: list[int], seed: int) -> None:
    runs = drawn(100.0, n=30, seed=seed)
    mixed = [
        replace(
            run,
            prompt_ids=tuple(run.prompt_ids[i] for i in order),
            energy_j=run.energy_j[order],
            half_width_reading_j=np.zeros(30),
        )
        for run in runs
    ]
    one = line(budget(RELATIVE), side(runs), reference(drawn(50.0, n=30, seed=seed)))
    other = line(budget(RELATIVE), side(mixed), reference(drawn(50.0, n=30, seed=seed)))
    assert one.outcome is other.outcome is Outcome.FAIL
    assert one.value == pytest.approx(other.value)


def test_the_verdict_survives_json() -> None:
    found = verdict(budget(RELATIVE, ABSOLUTE), side(drawn(100.0)), reference(drawn(99.0, seed=5)))
    assert Verdict.model_validate_json(found.model_dump_json()) == found


def test_a_limit_of_more_than_the_whole_survives_json() -> None:
    found = verdict(
        budget({**RELATIVE, "at_most_over_reference": "+150%"}), side(constant(1.0)), reference(constant(1))
    )
    read = Verdict.model_validate_json(found.model_dump_json())
    assert read == found
    assert read.lines[0].line.at_most_over_reference == 1.5
