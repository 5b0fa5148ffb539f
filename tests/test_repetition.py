"""The verdict on a repetition: exact cases, laws, what cannot be compared and why, and what `harness compare` says."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness import comparing
from harness.analysis.figures import Figures, as_figures
from harness.analysis.measured import DeviceEnergy, QueryFigures
from harness.analysis.paired_ratio import RepeatedFigures
from harness.analysis.repeated_figure import RUN_SD_MOST, Kind, RepeatedFigure, Verdict, Within
from harness.analysis.repetition import LEVEL, Obstacles, Repetition, repetition_of
from harness.analysis.student import t_upper, z_upper
from harness.cli.parser import run_verb
from harness.comparing.repetition import repeated
from harness.errors import ExitCode
from harness.records import Boundary, Finding, FindingCode, Method
from harness.report.repetition import repetition_lead, sentence, verdict_line
from tests.gate_runs import A100, GOLDEN, write_run

GAIN = 0.05
N = 40
BOARD, OTHER_BOARD = "GPU-1", "GPU-2"
HARDNESS = np.random.default_rng(5).lognormal(0.0, 0.5, N)
JOULES = {"off": 40.0 * HARDNESS, "on": 200.0 * HARDNESS}
TOKENS = 300.0 * HARDNESS


def figures(
    mode: str,
    energy_j: Sequence[float] | np.ndarray[Any, Any],
    *,
    board: str = BOARD,
    reading: float | None = 0.0,
    tokens: np.ndarray[Any, Any] = TOKENS,
    right: Sequence[bool] | None = None,
    known: int | None = None,
) -> Figures:
    """Answered queries of one mode; `reading` is relative, `known` how many have an energy."""
    return as_figures(
        [
            QueryFigures(
                prompt_id=f"p{index:03d}",
                mode=mode,
                session=1,
                duration_s=each / 400.0,
                devices=(DeviceEnergy(device=board, method=Method.NVML_COUNTER, energy_j=each, half_width_j=0.0),),
                energy_j=None if known is not None and index >= known else each,
                energy_half_width_j=None if reading is None else reading * each,
                net=None,
                energy_tail_j=None,
                phases_j=None,
                phases_s={},
                n_prompt_tokens=50,
                n_thinking_tokens=0,
                n_answer_tokens=round(count),
                n_output_tokens=round(count),
                correct=None if right is None else right[index],
                cut=False,
                why_no_energy=FindingCode.NO_READINGS if known is not None and index >= known else None,
            )
            for index, (each, count) in enumerate(zip(np.asarray(energy_j, dtype=float).tolist(), tokens, strict=False))
        ]
    )


def side(
    factors: Sequence[float] | Mapping[str, Sequence[float]] = (1.0,),
    *,
    board: str = BOARD,
    gain: float | None = GAIN,
    modes: Sequence[str] = ("off", "on"),
    n_planned: int = N,
    **fields: Any,
) -> RepeatedFigures:
    """A side that takes the known joules, times a factor in each repeat."""
    of = factors if isinstance(factors, Mapping) else dict.fromkeys(modes, factors)
    return RepeatedFigures(
        by_mode={
            mode: [figures(mode, each * JOULES[mode], board=board, **fields) for each in of[mode]] for mode in modes
        },
        gains={(board, Method.NVML_COUNTER): gain},
        n_planned=dict.fromkeys(modes, n_planned),
    )


def judged(
    base: RepeatedFigures, other: RepeatedFigures, obstacles: Obstacles | None = None, *, estimated: bool = False
) -> Repetition:
    return repetition_of(base, other, obstacles or Obstacles(), estimated=estimated)


def of(found: Repetition, kind: Kind, name: str) -> RepeatedFigure:
    return next(each for each in found.figures if each.kind is kind and each.of == name)


# --------------------------------------------------------------------------------------- exact cases


def test_a_run_agrees_with_itself() -> None:
    one = side(right=[index % 3 == 0 for index in range(N)])
    found = judged(one, one)
    assert (found.verdict, found.within) == (Verdict.AGREES, Within.READING_AND_PROMPTS)
    assert {each.ratio for each in found.figures if each.kind is not Kind.RIGHT} == {1.0}
    assert {each.verdict for each in found.figures} == {Verdict.AGREES}
    assert of(found, Kind.RIGHT, "on").p_value == 1.0
    assert of(found, Kind.RATIO, "on over off").base == pytest.approx(5.0)
    assert verdict_line(found) == "Repetition: agrees within reading and prompts"


def test_two_boards_agree_within_their_gains_and_not_beyond() -> None:
    """All that is uncertain is the gain: 5 % of each board, at 2.5 % for each of two modes."""
    half_width = math.hypot(GAIN, GAIN)
    allowed = half_width / z_upper(0.025) * z_upper(LEVEL / 4)
    runs = (1.0, 1.0)
    inside = judged(side(runs), side((math.exp(0.999 * allowed),) * 2, board=OTHER_BOARD))
    assert (inside.verdict, inside.within) == (Verdict.AGREES, Within.GAIN)
    assert verdict_line(inside) == "Repetition: agrees within gain"
    off = of(inside, Kind.COST, "off")
    assert off.half_width_gain == pytest.approx(half_width)
    assert off.level == LEVEL / 2
    seen = math.expm1(allowed + half_width / z_upper(0.025) * z_upper(0.2))
    assert inside.smallest_seen == pytest.approx(seen)
    assert "A difference of 12 % or more would have been seen." in sentence(("A", "B"), inside)
    outside = judged(side(runs), side((math.exp(allowed + 0.04),) * 2, board=OTHER_BOARD))
    assert outside.verdict is Verdict.DIFFERS
    assert outside.within is None
    off = of(outside, Kind.COST, "off")
    assert off.excess == pytest.approx(math.expm1(0.04))
    assert off.run_sd_needed is None
    assert off.low == pytest.approx(math.exp(0.04))  # the end of the interval is as far from 1
    assert "4.1 % beyond what prompts, run to run and gain allow" in sentence(("A", "B"), outside)
    assert of(outside, Kind.RATIO, "on over off").within is Within.READING_AND_PROMPTS  # the gain cancels in it


def test_on_one_board_the_gain_cancels() -> None:
    found = judged(side((1.0, 1.0)), side((1.01, 1.01)))
    assert of(found, Kind.COST, "on").half_width_gain == 0.0
    assert found.verdict is Verdict.DIFFERS


def test_the_reading_of_both_sides_is_allowed_for() -> None:
    found = judged(side((1.0, 1.0), reading=0.03), side((1.04, 1.04), reading=0.04))
    on = of(found, Kind.COST, "on")
    assert on.half_width_reading == pytest.approx(0.05)  # in quadrature, and repeats do not shrink it
    assert (on.verdict, on.within) == (Verdict.AGREES, Within.READING_AND_PROMPTS)


def test_what_pairs_leave_is_the_part_over_prompts() -> None:
    noise = np.random.default_rng(4).standard_normal(N)
    one = side((1.0, 1.0), modes=["off"])
    loud = RepeatedFigures(
        by_mode={"off": [figures("off", JOULES["off"] * np.exp(0.1 * noise))] * 2},
        gains=one.gains,
        n_planned={"off": N},
    )
    quiet = replace(loud, by_mode={"off": [figures("off", JOULES["off"] * np.exp(0.01 * noise))] * 2})
    wide, narrow = (of(judged(one, each), Kind.COST, "off").half_width_prompts for each in (loud, quiet))
    assert wide is not None
    assert narrow is not None
    assert wide == pytest.approx(10 * narrow, rel=0.3)
    assert wide == pytest.approx(
        1.96 * 0.1 * noise.std() * math.sqrt((HARDNESS**2).mean() / N) / HARDNESS.mean(), rel=0.4
    )


def test_repeats_of_either_side_tell_what_another_run_may_differ_by() -> None:
    logs = np.array([-0.01, 0.0, 0.01])
    base, other = side(np.exp(logs).tolist()), side(np.exp(logs + 0.02).tolist())
    found = judged(base, other)
    on = of(found, Kind.COST, "on")
    assert on.half_width_runs == pytest.approx(t_upper(0.025, 4) * 0.01 * math.sqrt(2 / 3), rel=1e-6)
    assert (found.verdict, found.within) == (Verdict.AGREES, Within.RUN_TO_RUN)
    alone = of(judged(base, side((math.exp(0.02),))), Kind.COST, "on")
    assert alone.half_width_runs == pytest.approx(t_upper(0.025, 2) * 0.01 * math.sqrt(1 / 3 + 1), rel=1e-6)
    assert of(judged(side(), side()), Kind.COST, "on").half_width_runs is None
    assert found.n_runs == (3, 3)


def test_without_repeats_it_is_said_what_spread_would_explain_the_ratio() -> None:
    """Up to 2 % it is undecided, which `--repeats 3` settles; beyond it differs."""
    most = RUN_SD_MOST * math.sqrt(2) * z_upper(LEVEL / 4)
    near = judged(side(), side((math.exp(0.5 * most),)))
    assert near.verdict is Verdict.UNDECIDED
    assert of(near, Kind.COST, "on").run_sd_needed == pytest.approx(0.5 * RUN_SD_MOST)
    assert "differ among themselves by 1.0 % (standard deviation)" in sentence(("A", "B"), near)
    assert "`--repeats 3` on both would tell" in sentence(("A", "B"), near)
    far = judged(side(), side((math.exp(2 * most),)))
    assert far.verdict is Verdict.DIFFERS
    assert of(far, Kind.COST, "on").run_sd_needed == pytest.approx(2 * RUN_SD_MOST)
    assert "4.0 % (standard deviation)" in sentence(("A", "B"), far)


def test_agreement_that_would_have_seen_nothing_is_none() -> None:
    found = judged(side((0.3, 3.0)), side((0.3, 3.0)))
    assert found.verdict is Verdict.UNDECIDED
    assert found.within is None
    assert "scatter so much that a difference under a factor of" in sentence(("A", "B"), found)


def test_a_ratio_between_modes_may_differ_where_each_mode_agrees() -> None:
    """The gain of another board explains each mode's joules, and not that one got dearer than the other."""
    other = side({"off": (0.96, 0.96), "on": (1.04, 1.04)}, board=OTHER_BOARD)
    found = judged(side((1.0, 1.0)), other)
    assert found.verdict is Verdict.AGREES
    ratio = of(found, Kind.RATIO, "on over off")
    assert ratio.verdict is Verdict.DIFFERS
    assert ratio.ratio == pytest.approx(1.04 / 0.96)
    assert verdict_line(found) == "Repetition: agrees within gain, but the ratio on over off differs"


def test_right_answers_are_held_to_the_exact_test() -> None:
    before = [index < 20 for index in range(N)]
    fewer, few = [index < 16 for index in range(N)], [index < 4 for index in range(N)]
    found = judged(side(right=before), side(right=fewer))
    assert of(found, Kind.RIGHT, "on").p_value == pytest.approx(2 / 2**4)
    assert of(found, Kind.RIGHT, "on").verdict is Verdict.AGREES
    found = judged(side(right=before), side(right=few))
    right = of(found, Kind.RIGHT, "on")
    assert right.p_value == pytest.approx(2 / 2**16)
    assert (right.base, right.repetition, right.verdict) == (20, 4, Verdict.DIFFERS)
    assert verdict_line(found).endswith(", but right answers in off and right answers in on differ")


def test_tokens_are_named_where_they_differ_and_beyond_a_tenth_other_work_was_done() -> None:
    more = judged(side(), side(tokens=TOKENS * 1.05))
    assert more.verdict is Verdict.AGREES
    tokens = of(more, Kind.TOKENS, "on")
    assert tokens.verdict is Verdict.DIFFERS
    assert tokens.base == sum(map(round, TOKENS))
    assert "but output tokens in off and output tokens in on differ" in verdict_line(more)
    other = judged(side(), side(tokens=TOKENS * 1.3))
    assert other.verdict is Verdict.NOT_COMPARABLE
    assert of(other, Kind.COST, "on").reasons == ("on: other work was done, 1.30 × the output tokens",)
    assert of(other, Kind.COST, "on").ratio == 1.0  # still shown
    assert not of(other, Kind.RATIO, "on over off").is_judged


def test_seconds_speak_where_joules_are_estimated() -> None:
    found = judged(side((1.0, 1.0)), side((1.2, 1.2)), estimated=True)
    on = of(found, Kind.COST, "on")
    assert on.base == pytest.approx(JOULES["on"].mean() / 400.0)
    assert (on.verdict, on.half_width_gain) == (Verdict.DIFFERS, 0.0)
    assert "seconds per query (joules are estimated) 1.20 × in off" in sentence(("A", "B"), found)
    assert "beyond what prompts and run to run allow" in sentence(("A", "B"), found)


def test_an_unknown_gain_explains_nothing_and_excludes_nothing() -> None:
    other = side((1.0, 1.0), board=OTHER_BOARD, gain=None)
    assert judged(side((1.0, 1.0)), other).verdict is Verdict.AGREES
    assert judged(side((1.0, 1.0)), other).smallest_seen is None
    found = judged(side((1.0, 1.0)), side((1.1, 1.1), board=OTHER_BOARD, gain=None))
    off = of(found, Kind.COST, "off")
    assert not off.is_judged
    assert "how far one of the sensors may read off is not known" in off.reasons[0]
    same = judged(side((1.0, 1.0), gain=None), side((1.1, 1.1), gain=None))
    assert same.verdict is Verdict.DIFFERS  # one board: its gain cancels, whatever it is


def test_too_few_and_missing_prompts_are_no_repetition() -> None:
    few = {"off": [figures("off", JOULES["off"][:4])]}
    short = RepeatedFigures(by_mode=few, gains={}, n_planned={"off": 4})
    found = judged(short, short)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert found.reasons == ("off: fewer than 5 prompts have a figure on both sides",)
    assert judged(side(), side(known=N - 2)).verdict is Verdict.AGREES
    lost = judged(side(), side(known=N - 3))
    assert lost.verdict is Verdict.NOT_COMPARABLE
    assert "off: 3 of 40 prompts have no figure on one side or the other, and at most 5 % may" in lost.reasons
    asked_fewer = judged(side(), side(known=10, n_planned=10))
    assert (asked_fewer.verdict, of(asked_fewer, Kind.COST, "on").n_prompts) == (Verdict.AGREES, 10)


def test_what_stands_against_it_is_kept_to_what_it_stands_against() -> None:
    base, other = side((1.0, 1.0)), side((1.3, 1.3), board=OTHER_BOARD)
    everything = judged(base, other, Obstacles(everything=("other prompts: a and b",)))
    assert (everything.verdict, everything.figures) == (Verdict.NOT_COMPARABLE, ())
    assert sentence(("A", "B"), everything) == "A and B cannot be compared: other prompts: a and b."
    cost = judged(base, other, Obstacles(cost=("another kind of board: H100 and A100",)))
    assert (cost.verdict, cost.headline) == (Verdict.AGREES, Kind.RATIO)
    assert not of(cost, Kind.COST, "on").is_judged
    assert "ratio of joules per query 1.00 × in on over off" in sentence(("A", "B"), cost)
    notes = repetition_lead(("A", "B"), cost).notes
    assert "Not comparable: another kind of board: H100 and A100." in notes
    mode = judged(base, other, Obstacles(by_mode={"on": ("on of B is not what it is called",)}))
    assert mode.verdict is Verdict.DIFFERS
    assert [each.of for each in mode.figures if each.is_judged] == ["off", "off"]


# ---------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("seed", range(6))
def test_exchanged_sides_get_the_same_verdict_and_the_inverse_ratio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = [(rng.random(N) < share).tolist() for share in (0.3, 0.7)]
    scatter = [rng.lognormal(0.0, 0.03, N), rng.lognormal(0.0, 0.03, N)]
    sides = [
        RepeatedFigures(
            by_mode={
                mode: [
                    figures(
                        mode,
                        JOULES[mode] * level * run * noise,
                        board=board,
                        reading=0.01,
                        tokens=TOKENS * noise,
                        right=answers,
                    )
                    for run in rng.lognormal(0.0, 0.01, 2)
                ]
                for mode in JOULES
            },
            gains={(board, Method.NVML_COUNTER): GAIN},
            n_planned=dict.fromkeys(JOULES, N),
        )
        for board, level, noise, answers in zip(
            (BOARD, OTHER_BOARD), (1.0, 1 + 0.04 * seed), scatter, right, strict=True
        )
    ]
    there, back = judged(sides[0], sides[1]), judged(sides[1], sides[0])
    assert (there.verdict, there.within) == (back.verdict, back.within)
    assert [each.verdict for each in there.figures] == [each.verdict for each in back.figures]
    for one, other in zip(there.figures, back.figures, strict=True):
        assert one.p_value == other.p_value
        if one.ratio is not None and other.ratio is not None:
            assert one.ratio * other.ratio == pytest.approx(1.0)
            assert one.low is not None
            assert other.high is not None
            assert one.low * other.high == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [0.01, 0.9, 1.0, 37.0])
def test_joules_of_one_side_times_g_are_a_ratio_times_g(factor: float) -> None:
    plain, scaled = judged(side(), side((1.02,))), judged(side(), side((1.02 * factor,)))
    for name in ("off", "on"):
        assert of(scaled, Kind.COST, name).ratio == pytest.approx(factor * (of(plain, Kind.COST, name).ratio or 0))
    assert of(scaled, Kind.RATIO, "on over off").ratio == pytest.approx(1.0)


def test_where_nothing_differs_few_are_said_to_differ() -> None:
    """A small world of `scripts/check_repetition.py`: of 50 repetitions chance lets more than 7 differ in 1 of 100."""
    rng = np.random.default_rng(20)

    def run(level: float, board: str) -> RepeatedFigures:
        return RepeatedFigures(
            by_mode={
                "on": [
                    figures(
                        "on", JOULES["on"] * level * rng.lognormal(0, 0.01) * rng.lognormal(0, 0.02, N), board=board
                    )
                    for _ in range(3)
                ]
            },
            gains={(board, Method.NVML_COUNTER): GAIN},
            n_planned={"on": N},
        )

    gains = 1 + rng.standard_normal((50, 2)) * GAIN / 1.96
    verdicts = [judged(run(one, BOARD), run(other, OTHER_BOARD)).verdict for one, other in gains]
    assert verdicts.count(Verdict.DIFFERS) <= 7
    told = [judged(run(one, BOARD), run(1.2 * other, OTHER_BOARD)).verdict for one, other in gains]
    assert told.count(Verdict.DIFFERS) >= 45


# ------------------------------------------------------------------------------- runs, and `harness compare`


def begun(run: Path, started_utc: str) -> Path:
    """The same run, begun at another time: a measurement of its own."""
    for path in run.rglob("manifest.json"):
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({**fields, "run_id": run.name, "started_utc": started_utc}))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    settings: dict[str, dict[str, Any]] = {
        "base": {"sd_runs": 0.004},
        "again": {"factor": 1.001, "seed": 2},
        "gained": {"factor": 1.05, "seed": 3, "board": A100},
        "dearer": {"factor": 1.3, "seed": 4},
    }
    return {
        name: begun(
            write_run(folder / name, n_prompts=24, repeats=2, modes=("off", "on"), n_correct=12, **fields),
            f"2026-01-02T0{place}:00:00Z",
        )
        for place, (name, fields) in enumerate(settings.items())
    }


@pytest.fixture(scope="module")
def sides(runs: Mapping[str, Path]) -> Mapping[str, comparing.Side]:
    return {name: comparing.sides_of([run])[0] for name, run in runs.items()}


def with_cell(one: comparing.Side, **fields: Any) -> comparing.Side:
    """A side whose cell says something else."""
    return with_summary(one, cell=one.cell.model_copy(update=fields))


def with_summary(one: comparing.Side, **fields: Any) -> comparing.Side:
    changed = replace(one.account, summary=one.summary.model_copy(update=fields))
    return replace(one, account=changed, group=(changed, *one.group[1:]))


def with_manifest(one: comparing.Side, **fields: Any) -> comparing.Side:
    """A side whose every manifest says something else."""
    group = tuple(
        replace(
            account,
            results=replace(
                account.results,
                sessions=[
                    replace(each, manifest=each.manifest and each.manifest.model_copy(update=fields))
                    for each in account.results.sessions
                ],
            ),
        )
        for account in one.group
    )
    return replace(one, account=group[0], group=group)


def test_runs_of_one_plan_are_a_repetition_and_others_are_not(sides: Mapping[str, comparing.Side]) -> None:
    (found,) = comparing.repetitions_of([sides["base"], sides["again"]])
    assert (found.base, found.other) == (sides["base"], sides["again"])
    assert found.repetition.verdict is Verdict.AGREES
    assert found.repetition.n_runs == (2, 2)
    assert (found.repetition.n_texts_same, found.repetition.n_texts) == (48, 48)
    assert not found.is_copy
    assert comparing.repetitions_of([sides["base"], with_cell(sides["again"], seed=2)]) == []
    assert comparing.repetitions_of([sides["base"]]) == []


def test_another_board_of_the_kind_is_judged_within_gain(sides: Mapping[str, comparing.Side]) -> None:
    other = with_manifest(sides["gained"], site=named(sides["gained"], "NVIDIA H100 80GB HBM3"))
    found = repeated(sides["base"], other).repetition
    assert (found.verdict, found.within) == (Verdict.AGREES, Within.GAIN)
    assert of(found, Kind.COST, "on").half_width_gain == pytest.approx(math.hypot(GAIN, GAIN))
    assert repeated(sides["base"], sides["dearer"]).repetition.verdict is Verdict.DIFFERS


def test_another_kind_of_board_leaves_the_ratio(sides: Mapping[str, comparing.Side]) -> None:
    found = repeated(sides["base"], sides["gained"]).repetition
    assert (found.verdict, found.headline) == (Verdict.AGREES, Kind.RATIO)
    assert found.reasons == ("another kind of board: NVIDIA H100 80GB HBM3 and NVIDIA A100-SXM4-80GB",)
    limited = with_manifest(sides["again"], site=named(sides["again"], None, power_limit_w=500.0))
    assert "held to 500 W" in repeated(sides["base"], limited).repetition.reasons[0]


def named(one: comparing.Side, name: str | None, **fields: Any) -> Any:
    """Its site with boards that have another name, or another field."""
    assert one.manifest is not None
    site = one.manifest.site
    boards = tuple(board.model_copy(update={"name": name or board.name, **fields}) for board in site.boards)
    return site.model_copy(update={"boards": boards})


def executed(one: comparing.Side, precision: str) -> comparing.Side:
    assert one.manifest is not None
    return with_manifest(one, engine=one.manifest.engine.model_copy(update={"executed_precision": precision}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: with_cell(one, revision="1" * 40), "another revision: b968826d9c46 and 111111111111"),
        (lambda one: with_cell(one, model="other"), "another model: Qwen/Qwen3-8B and other"),
        (lambda one: with_cell(one, prompt_set_sha256="1" * 64), "other prompts: everyday (00000000) and everyday"),
        (lambda one: with_cell(one, protocol="aies-v2"), "protocol paired-1 and aies-v2"),
        (lambda one: with_cell(one, max_new_tokens=64), "max new tokens 512 and 64"),
        (lambda one: with_cell(one, caps={"on": 8}), "caps none and on 8"),
        (lambda one: with_cell(one, modes=("low",)), "no mode in common: off, on and low"),
        (lambda one: executed(one, "int8"), "another executed precision:"),
        (lambda one: with_summary(one, estimated=True), "the energy of B is estimated and that of A is measured"),
        (lambda one: with_summary(one, headline=Boundary.HOST), "include different things: gpu_board and host"),
        (lambda one: with_summary(one, method=Method.REPLAYED), "the energy of B is replayed from a recording"),
        (lambda one: with_cell(one, lengths_batch_size=8), "B is a two-phase run"),
    ],
)
def test_why_it_cannot_be_compared_is_said(sides: Mapping[str, comparing.Side], change: Any, reason: str) -> None:
    found = repeated(sides["base"], change(replace(sides["again"], label="B"))).repetition
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert found.figures == ()
    assert any(reason in each for each in found.reasons), found.reasons


def test_a_machine_of_its_own_leaves_the_ratio(sides: Mapping[str, comparing.Side]) -> None:
    found = repeated(sides["base"], with_cell(sides["again"], power_limit_w=300.0)).repetition
    assert (found.headline, found.verdict) == (Kind.RATIO, Verdict.AGREES)
    assert found.reasons == ("power limit w none and 300.0",)


def test_a_switch_that_did_nothing_is_no_repetition_of_its_mode(sides: Mapping[str, comparing.Side]) -> None:
    again = sides["again"]
    finding = Finding(code=FindingCode.NO_THINKING_IN_ON_MODE)
    modes = tuple(
        mode.model_copy(update={"invalid": (finding,)}) if mode.mode == "on" else mode for mode in again.summary.modes
    )
    found = repeated(sides["base"], with_summary(again, modes=modes)).repetition
    assert found.verdict is Verdict.AGREES  # of the other mode
    assert [each.of for each in found.figures if each.kind is Kind.COST and each.is_judged] == ["off"]
    assert "on of A is not what it is called: The model never thought" in found.reasons[0]


def test_a_run_that_says_what_it_repeats_is_believed(runs: Mapping[str, Path], tmp_path: Path) -> None:
    """Then another revision is no reason to look away, but one that is told."""
    other = tmp_path / "other"
    shutil.copytree(runs["again"], other)
    begun(other, "2026-02-02T00:00:00Z")
    for path in other.glob("*/*/cell.yaml"):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "revision": "2" * 40}))
    sides = comparing.sides_of([runs["base"], other])
    assert comparing.repetitions_of(sides) == []
    (other / "run.yaml").write_text(yaml.safe_dump({"repeat_of": {"run_id": "base", "bundle_sha256": "ab" * 32}}))
    (found,) = comparing.repetitions_of(sides)
    assert found.repetition.reasons == ("another revision: b968826d9c46 and 222222222222",)
    assert found.notes == ()
    base = tmp_path / "base"
    shutil.copytree(runs["base"], base)
    (base / "bundle.json").write_text("{}")
    (found,) = comparing.repetitions_of([replace(sides[0], run=base), sides[1]])
    assert found.notes[0].startswith("B says that it repeats the bundle abababababab of this run, and A is the bundle")


def golden_copy(path: Path, *, factor: float, board: str = "GPU-2222") -> Path:
    """The golden run on another board, each energy times a factor, as if it had been measured another day."""
    shutil.copytree(GOLDEN, path)
    for file in (*path.rglob("queries.jsonl"), *path.rglob("sessions/*/*.json*")):
        file.write_text(file.read_text().replace("GPU-1111", board))
    for file in path.rglob("queries.jsonl"):
        queries = [json.loads(line) for line in file.read_text().splitlines()]
        for reading in (reading for query in queries for reading in query["readings"]):
            for part in (reading, *reading["phases"]):
                part["energy_gross_j"] *= factor
                part["energy_gross_half_width_j"] *= factor
        file.write_text("".join(json.dumps(query) + "\n" for query in queries))
    for site in list(path.glob("*/*/")):
        site.rename(site.with_name("0123456789ab"))
    return begun(path, "2026-03-03T00:00:00Z")


def test_the_golden_run_against_copies_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    near, far = golden_copy(tmp_path / "near", factor=1.0), golden_copy(tmp_path / "far", factor=30.0)
    found = [each.repetition for each in comparing.repetitions_of(comparing.sides_of([GOLDEN, near, far]))]
    assert [each.verdict for each in found] == [Verdict.AGREES, Verdict.DIFFERS]
    for each, factor in zip(found, (1.0, 30.0), strict=True):
        assert of(each, Kind.COST, "on").ratio == pytest.approx(factor)
        assert of(each, Kind.RATIO, "on over off").ratio == pytest.approx(1.0)
        assert each.n_texts_same == each.n_texts == 12
    document = tmp_path / "out" / "compare.json"
    page = tmp_path / "page.html"
    arguments = ["compare", str(near), str(far), "--json", str(document), "--output", str(page)]
    assert run_verb(arguments) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Repetition: ")] == ["Repetition: differs"]
    assert lines.index("Repetition: differs") < 5
    fields = json.loads(document.read_text())
    assert fields["repetitions"][0]["line"] == "Repetition: differs"
    assert fields["repetitions"][0]["is_copy"]  # both were said to have begun at the same instant
    assert fields["repetitions"][0]["repetition"]["figures"][0]["ratio"] == pytest.approx(30.0)
    assert [each["run_id"] for each in fields["sides"]] == ["near", "far"]
    assert set(fields["pairs"][0]["comparisons"]) == {"off", "on"}
    text = page.read_text()
    assert text.index("Repetition: differs") < text.index("What is compared")
    assert "it is a copy, and repeats nothing" in text


def test_what_a_stranger_wrote_is_shown_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[31mpaired<script>alert(1)</script>"
    base, other = golden_copy(tmp_path / "base", factor=1.0), golden_copy(tmp_path / "other", factor=1.0)
    for path in other.glob("*/*/cell.yaml"):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "protocol": hostile}))
    (other / "run.yaml").write_text(yaml.safe_dump({"repeat_of": {"run_id": "base"}}))
    assert run_verb(["compare", str(base), str(other)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "Repetition: not comparable" in text
    assert "\x1b" not in text
    assert "<script>alert" in " ".join(text.split())
    page = (other / "compare.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert run_verb(["compare", str(base), str(other), "--markdown"]) == ExitCode.OK
    assert "\\<script\\>alert" in capsys.readouterr().out


def test_bundles_are_compared_and_the_page_goes_where_it_can_stay(
    runs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of bundles alone it goes into the current directory, never into a place that is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    bundles = [tmp_path / f"{name}.zip" for name in ("first", "second")]
    for run, bundle in zip((GOLDEN, golden_copy(tmp_path / "measured", factor=1.0)), bundles, strict=True):
        own = tmp_path / "runs" / run.name
        shutil.copytree(run, own)
        assert run_verb(["export", str(own), "--bundle", str(bundle)]) == ExitCode.OK
    capsys.readouterr()
    assert run_verb(["compare", *map(str, bundles)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "Repetition: agrees within reading and prompts" in text
    assert f"Page: {tmp_path / 'compare.html'}" in text
    assert (tmp_path / "compare.html").exists()
    assert run_verb(["compare", str(tmp_path / "measured"), str(bundles[0])]) == ExitCode.OK
    assert f"Page: {tmp_path / 'measured' / 'compare.html'}" in capsys.readouterr().out
