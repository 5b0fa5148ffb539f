"""The arithmetic behind the tables of docs/protocol.md, against closed forms and against the program's own figures."""

from __future__ import annotations

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.repeats import with_spread_of
from harness.records import Comparison, Estimate, Finding, FindingCode
from harness.reference.aies import CAP
from scripts.check_protocol import caps, division, idle, order, prompts, repeats, warm_up
from scripts.check_statistics.machine import POWER_W, STEP_S

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "check_protocol.py"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The script with these arguments, in this process: what it prints."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["check_protocol.py", *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_cheap_parts_print_tables_for_the_docs(check: Callable[..., str]) -> None:
    printed = check("caps", "division", "--markdown")
    assert sum(line.startswith("**") for line in printed.splitlines()) == 4
    assert "| HuggingFaceTB/SmolLM3-3B | 7,385 |" in printed


def test_an_unknown_part_is_refused_by_name(check: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        check("ordre")
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert "ordre" in said
    assert "warm-up" in said


@pytest.mark.slow
def test_rehearsal_of_everything(check: Callable[..., str]) -> None:
    printed = check("--studies", "20", "--markdown")
    assert sum(line.startswith("**") for line in printed.splitlines()) == 12


def test_prompts_needed_fall_with_the_square_of_the_half_width_and_with_the_pairing() -> None:
    once, twice = (prompts.n_for(half_width, 0.6, 0.5) for half_width in (0.1, 0.05))
    assert twice == pytest.approx(4 * once, rel=0.02)
    # Equal answers in both modes: the ratio is known from one prompt.
    assert prompts.n_for(0.05, 0.6, 1.0) == 0
    # Small spreads: CV² is s², and a correlation of 0.5 halves the variance.
    assert prompts.n_for(0.001, 0.01, 0.0) == pytest.approx(2 * prompts.n_for(0.001, 0.01, 0.5), rel=0.005)


def test_half_widths_over_repeats_are_those_of_the_analysis() -> None:
    runs = np.array([[0.99, 1.02, 1.0], [2.0, 2.2, 1.9]])
    ours = repeats.half_widths(runs)
    for values, half_width in zip(runs.tolist(), ours.tolist(), strict=True):
        theirs = with_spread_of(_comparison(values[0]), [_comparison(value) for value in values])
        assert theirs.energy.half_width_runs == pytest.approx(half_width)


def test_equal_models_look_different_as_often_as_a_normal_error_says() -> None:
    # A difference of two runs has sqrt(2) times the spread of one: 3 % is 1.96 of them at 3 / 1.96 / sqrt(2) %.
    assert repeats.share_beyond(0.03, 0.03 / 1.959964 / math.sqrt(2), 1) == pytest.approx(0.05, abs=1e-6)
    assert repeats.share_beyond(0.0, 0.01, 3) == 1.0
    assert repeats.share_beyond(0.03, 0.02, 4) == pytest.approx(repeats.share_beyond(0.03, 0.01, 1))


def test_a_capped_mean_is_that_of_capped_lengths() -> None:
    lengths = 1000 * np.exp(0.6 * np.random.default_rng(7).standard_normal(400_000) - 0.18)
    assert caps.capped_mean(1000, 0.6, 700) == pytest.approx(np.minimum(lengths, 700).mean(), rel=0.003)
    assert caps.share_cut(1000, 0.6, 700) == pytest.approx((lengths > 700).mean(), abs=0.003)
    assert caps.capped_mean(1000, 0.6, 1e9) == pytest.approx(1000)
    assert caps.capped_mean(1000, 0.6, 1) == pytest.approx(1, rel=1e-6)
    # The median is cut in half of the answers.
    assert caps.share_cut(1000, 0.6, 1000 * math.exp(-0.18)) == pytest.approx(0.5)


def test_published_ratios_are_the_published_figures() -> None:
    (smol,) = (row for row in caps.rows() if row.model == "HuggingFaceTB/SmolLM3-3B")
    assert smol.ratio() == pytest.approx(6317 / 18.35)
    # Written out as long as "on", "off" costs what its own first ten tokens cost more.
    same = smol.off_cut_j + (smol.n_on_tokens - CAP) * smol.token_j
    assert smol.ratio(int(smol.n_on_tokens)) == pytest.approx(smol.on_j / same)
    assert all(row.model != "Qwen/Qwen3-0.6B" for row in caps.rows()), "every prompt of it hit the cap"


def test_a_whole_run_holds_what_was_drawn_around_the_queries() -> None:
    run = division.Run(n_queries=100, n_tokens=300)
    assert run.query_j == pytest.approx(300 * STEP_S * POWER_W)
    assert run.divided_j(loading=False, pauses=False) == pytest.approx(run.query_j)
    assert run.divided_j(loading=False) - run.query_j == pytest.approx(division.PAUSE_S * division.IDLE_W)
    loading_j = run.divided_j(loading=True) - run.divided_j(loading=False)
    assert loading_j == pytest.approx(division.LOAD_S * division.LOAD_W / 100)


def test_failed_queries_cost_those_that_were_answered() -> None:
    run = division.Run(n_queries=100, n_tokens=1024, n_failed=50)
    # Half of the queries ran eight times as long and count for nothing: 1 + 8.
    assert run.divided_j(loading=False, pauses=False) == pytest.approx(9 * run.query_j)


def test_a_drift_weighs_on_modes_in_turn_alike() -> None:
    durations_s = {"off": np.full(8, 10.0), "on": np.full(8, 10.0)}
    rising = order.linear(0.36)
    asked = {name: list(order.queries(8, name, 0, durations_s)) for name in order.ORDERS}
    assert [mode for _, mode in asked["stored"]] == ["off"] * 8 + ["on"] * 8
    assert all(sorted(each) == sorted(asked["stored"]) for each in asked.values())
    bias = {name: order.bias(iter(each), durations_s, rising) for name, each in asked.items()}
    # The second mode lies eight queries and pauses later: 8 × 10.2 s at 0.0001 a second, over the first one's factor.
    first = 1 + 0.0001 * (3.5 * 10.2 + 5)
    assert bias["stored"] == pytest.approx(0.0001 * 8 * 10.2 / first, rel=1e-9)
    assert bias["blocks"] == pytest.approx(0.0, abs=1e-12)
    # Power that comes up exponentially is below its full height by the share at first.
    assert order.warming(0.05, 60.0).factor_s(0.0, 1e-6) / 1e-6 == pytest.approx(0.95)


def test_the_baseline_of_a_still_board_is_its_idle_power() -> None:
    still = idle.BOARDS[0]
    alone, both = idle.measured(idle.session(1.0, still, np.random.default_rng(1)), 0.033)
    assert both.power_idle_w == pytest.approx(idle.IDLE_W, abs=0.2)
    assert both.half_width_w is not None
    assert abs(both.power_idle_w - idle.IDLE_W) <= both.half_width_w
    # One stretch cannot show a drift: 5 % of the idle power are allowed for.
    assert alone.half_width_w == pytest.approx(0.05 * idle.IDLE_W, rel=0.02)
    assert idle.of_net(1.0, 100.0) == pytest.approx(1 / 30)


def test_what_an_unwarmed_query_adds_to_a_mean() -> None:
    durations_s = [3.0, *[1.0] * (warm_up.N_QUERIES - 1), 1.5]
    settled_s = warm_up.settled(durations_s)
    assert settled_s == 1.0
    assert warm_up.added(durations_s[0] / settled_s) == pytest.approx(2 / 50)
    clock = warm_up.ProcessorClock()
    before_s = clock.now_s()
    assert sum(range(100_000)) > 0
    assert clock.now_s() >= before_s


def _comparison(value: float) -> Comparison:
    unknown = Estimate(value=None)
    return Comparison(
        numerator="on",
        denominator="off",
        n_pairs=100,
        energy=Estimate(value=value, low=value, high=value, findings=(Finding(code=FindingCode.ONE_RUN),)),
        duration=unknown,
        tokens=unknown,
        energy_per_token=unknown,
        duration_per_token=None,
        difference_j=unknown,
        energy_per_correct=unknown,
    )
