"""`scripts/gpu_validation.py`: its judgements on boards whose behaviour is known, and the command end to end.

The streams come from the fake NVML's own C code under a virtual clock, through the calls that pynvml would make, so
integrating and part-time counters, windows, noise and ticks are those of the fake boards.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import Channel
from harness.store import segments
from scripts.gpu_validation import idle, levels, models, overhead, sensor, square_wave, tails, windows
from scripts.gpu_validation.streams import Stream, Stretch
from scripts.gpu_validation.verdicts import Ruling, Table, Verdict, below
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import (
    A100,
    H100,
    RTX_4090,
    V100,
    Board,
    Component,
    burst,
    constant,
    decay,
)
from tests.fake_nvml.library import (
    square_wave as wave,
)

PROJECT = Path(__file__).parents[1]
SCRIPT = PROJECT / "scripts" / "gpu_validation.py"
BEGIN_S = 100.0
"""Where the virtual clock begins: a part-time counter sums tick by tick since 0."""
Player = Callable[[Board, float], Stream]


@pytest.fixture
def played(fake_nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Player:
    """Polls a board's sensors under a virtual clock: the counter every 2 ms, power every 20 ms."""
    copy = tmp_path / "board.so"  # a copy, so that its clock and configuration are this test's own
    shutil.copy(fake_nvml.with_name(fake.TRUTH_NAME), copy)
    library = ctypes.CDLL(str(copy))
    monkeypatch.setenv("FAKE_NVML_CONFIG", str(tmp_path / "board.conf"))

    def play(board: Board, duration_s: float) -> Stream:
        fake.write_config(tmp_path / "board.conf", [board])
        assert library.nvmlInit_v2() == 0
        handle = ctypes.c_void_p()
        assert library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)) == 0
        energy_mj, power = ctypes.c_ulonglong(), (pynvml.c_nvmlFieldValue_t * 1)()
        power[0].fieldId = pynvml.NVML_FI_DEV_POWER_INSTANT
        ticks: list[tuple[float, float, float]] = []
        powers: list[tuple[float, float]] = []
        last_mj = None
        for step in range(round(duration_s / 0.002)):
            time_s = BEGIN_S + 0.002 * step
            fake.set_clock(library, time_s)
            if board.counter:
                assert library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy_mj)) == 0
                if last_mj is not None and energy_mj.value != last_mj:
                    ticks.append((time_s - 0.002, time_s, energy_mj.value / 1000.0))
                last_mj = energy_mj.value
            if step % 10 == 0:
                assert library.nvmlDeviceGetFieldValues(handle, 1, power) == 0
                powers.append((time_s, power[0].value.uiVal / 1000.0))
        fake.set_clock(library, None)
        before_s, after_s, energies_j = np.array(ticks).T if ticks else np.zeros((3, 0))
        times_s, powers_w = np.array(powers).T
        return Stream(
            tick_before_s=before_s, tick_after_s=after_s, tick_j=energies_j, power_s=times_s, power_w=powers_w
        )

    return play


def ruling(verdicts: Sequence[Verdict], claim: str) -> Ruling:
    (found,) = (verdict for verdict in verdicts if verdict.claim == claim)
    return found.verdict


def figure(verdicts: Sequence[Verdict], claim: str, name: str) -> float:
    (value,) = (
        figure.value
        for verdict in verdicts
        if verdict.claim == claim
        for figure in verdict.figures
        if figure.name == name
    )
    assert value is not None
    return value


def rows(tables: Sequence[Table], name: str) -> tuple[tuple[float | str | None, ...], ...]:
    (table,) = (table for table in tables if table.name == name)
    return table.rows


# ---------------------------------------------------------------------------------------------- square wave


def waves(board: Board, *, n_rounds: int = 2, n_periods: int = 12) -> tuple[Board, list[Stretch], float]:
    """A board that is loaded as the experiment would load it, and the schedule of that."""
    tick_s, first_s = board.tick_s, BEGIN_S + 2.0
    schedule = [Stretch(name="idle", time_start_s=BEGIN_S + 0.5, time_end_s=BEGIN_S + 1.9, facts={"tick_s": tick_s})]
    load: list[Component] = []
    start_s = board.tick_phase_s + math.ceil((first_s - board.tick_phase_s) / tick_s) * tick_s
    for number in range(n_rounds):
        for shift in square_wave.EIGHTHS:
            begin_s = start_s + shift * tick_s
            end_s = begin_s + n_periods * tick_s
            load.append(wave(330.0, period_s=tick_s, duty=0.5, phase_s=begin_s, start_s=begin_s, end_s=end_s))
            facts: dict[str, float | str | None] = {
                "shift": shift, "round": float(number), "tick_s": tick_s, "residual_s": 0.0, "busy_share": 0.5,
            }  # fmt: skip
            schedule.append(Stretch(name="wave", time_start_s=begin_s, time_end_s=end_s, facts=facts))
            start_s += (n_periods + 3) * tick_s
    return replace(board, load=tuple(load)), schedule, start_s - BEGIN_S + 0.5


@pytest.mark.parametrize(
    "board",
    [H100, A100, V100, replace(H100, gain=1.07, offset_w=-3.0, tick_jitter_s=0.004, power_noise_w=2.0)],
    ids=["H100", "A100", "V100", "noisy H100"],
)
def test_a_counter_that_integrates_is_confirmed_and_part_time_power_refuted(played: Player, board: Board) -> None:
    loaded, schedule, duration_s = waves(board)
    verdicts = square_wave.judge(played(loaded, duration_s), schedule).verdicts
    assert ruling(verdicts, "counter_integrates") is Ruling.CONFIRMED
    assert figure(verdicts, "counter_integrates", "swing") < 0.06
    assert ruling(verdicts, "instant_power_sees_all") is Ruling.REFUTED
    least_s, most_s = (figure(verdicts, "instant_power_sees_all", f"duration_seen_{end}") for end in ("least", "most"))
    assert least_s - 0.021 * board.tick_s <= board.power_window_s <= most_s + 0.021 * board.tick_s
    assert most_s - least_s <= 0.25 * board.tick_s


@pytest.mark.parametrize("window", [0.25, 0.5, 0.8])
def test_a_part_time_counter_is_refuted_with_the_width_that_it_sees(played: Player, window: float) -> None:
    board = replace(H100, counter_window_s=window * H100.tick_s)
    loaded, schedule, duration_s = waves(board)
    judgement = square_wave.judge(played(loaded, duration_s), schedule)
    assert ruling(judgement.verdicts, "counter_integrates") is Ruling.REFUTED
    least_s, most_s = (
        figure(judgement.verdicts, "counter_integrates", f"duration_seen_{end}") for end in ("least", "most")
    )
    assert least_s - 0.0021 <= board.counter_window_s <= most_s + 0.0021
    assert most_s - least_s <= 0.025
    relative = [float(row[3] or 0.0) for row in rows(judgement.tables, "square_wave")]
    assert np.mean(relative) == pytest.approx(1.0)


def test_power_that_averages_over_its_whole_period_is_confirmed(played: Player) -> None:
    loaded, schedule, duration_s = waves(RTX_4090)
    verdicts = square_wave.judge(played(loaded, duration_s), schedule).verdicts
    assert ruling(verdicts, "instant_power_sees_all") is Ruling.CONFIRMED


def test_one_round_decides_nothing(played: Player) -> None:
    loaded, schedule, duration_s = waves(H100, n_rounds=1)
    verdicts = square_wave.judge(played(loaded, duration_s), schedule).verdicts
    assert ruling(verdicts, "counter_integrates") is Ruling.UNDECIDED


@given(width=st.floats(0.02, 1.0), lag=st.floats(0.0, 0.99))
def test_over_the_phases_every_seen_part_is_busy_for_the_duty(width: float, lag: float) -> None:
    shares = [square_wave.share_busy(width, lag, shift) for shift in square_wave.QUARTERS]
    assert np.mean(shares) == pytest.approx(square_wave.DUTY)
    assert all(-1e-9 <= share <= 1.0 + 1e-9 for share in shares)


@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 50), lag=st.integers(0, 49))
def test_the_seen_part_is_found_again(width: int, lag: int) -> None:
    shifts = square_wave.EIGHTHS
    relative = [square_wave.share_busy(width / 50, lag / 50, shift) / square_wave.DUTY for shift in shifts]
    least, most = square_wave.seen_part(shifts, relative)
    assert least - 1e-9 <= width / 50 <= most + 1e-9


def test_the_comb_is_the_boards_ticks_also_where_one_was_missed(played: Player) -> None:
    stream = played(H100, 4.0)
    kept = np.delete(np.arange(len(stream.tick_s)), [7, 20, 21])
    comb = replace(stream, **{n: getattr(stream, n)[kept] for n in ("tick_before_s", "tick_after_s", "tick_j")}).comb()
    assert comb is not None
    assert comb.period_s == pytest.approx(0.1, abs=2e-4)
    next_s = comb.next_after_s(BEGIN_S + 4.0)
    assert (next_s - H100.tick_phase_s) % 0.1 == pytest.approx(0.0, abs=3e-3) or (
        next_s - H100.tick_phase_s
    ) % 0.1 == pytest.approx(0.1, abs=3e-3)


# --------------------------------------------------------------------------------------------------- levels


def at_levels(board: Board) -> tuple[Board, list[Stretch]]:
    load, schedule = [], []
    for number, power_w in enumerate((60.0, 180.0, 420.0)):
        start_s = BEGIN_S + 1.0 + 5.0 * number
        load.append(burst(start_s, start_s + 4.0, power_w))
        schedule.append(
            Stretch(name="level", time_start_s=start_s, time_end_s=start_s + 4.0, facts={"size": 512.0 * (number + 1)})
        )
    return replace(board, load=tuple(load)), schedule


def test_counter_and_power_agree_on_a_board_with_one_gain(played: Player) -> None:
    board, schedule = at_levels(replace(H100, gain=0.94, power_noise_w=1.0))
    verdicts = levels.judge(played(board, 16.0), schedule).verdicts
    assert ruling(verdicts, "counter_agrees_with_power") is Ruling.CONFIRMED


def test_power_that_reads_a_twentieth_more_is_told(played: Player) -> None:
    board, schedule = at_levels(replace(H100, power_noise_w=1.0))
    stream = played(board, 16.0)
    verdicts = levels.judge(replace(stream, power_w=stream.power_w * 1.05), schedule).verdicts
    assert ruling(verdicts, "counter_agrees_with_power") is Ruling.REFUTED
    assert figure(verdicts, "counter_agrees_with_power", "ratio_counter_to_power") == pytest.approx(1 / 1.05, abs=0.004)


def test_without_a_counter_there_is_no_ratio(played: Player) -> None:
    board, schedule = at_levels(replace(H100, counter=False))
    verdicts = levels.judge(played(board, 16.0), schedule).verdicts
    assert ruling(verdicts, "counter_agrees_with_power") is Ruling.UNDECIDED


# ---------------------------------------------------------------------------------------------------- tails


def with_tails(board: Board, *, tail_s: float, delay_s: float, n: int = 8) -> tuple[Board, list[Stretch]]:
    load, schedule, start_s = [], [], BEGIN_S + 1.5
    for number in range(n):
        start_s += 1.6 + 0.037 * number
        end_s = start_s + 0.5
        load.append(burst(start_s + delay_s, end_s, 330.0))
        if tail_s:
            load.append(decay(end_s, 330.0, time_constant_s=tail_s, end_s=end_s + 1.0))
        schedule.append(Stretch(name="work", time_start_s=start_s, time_end_s=end_s, facts={"idle_s": 1.0}))
    return replace(board, load=tuple(load)), schedule


@pytest.mark.parametrize(("tail_s", "delay_s"), [(0.05, 0.02), (0.1, 0.0), (0.0, 0.05)])
def test_tails_and_delays_are_found_with_their_length(played: Player, tail_s: float, delay_s: float) -> None:
    board, schedule = with_tails(H100, tail_s=tail_s, delay_s=delay_s)
    judgement = tails.judge(played(board, 18.0), schedule)
    for claim, name, length_s in (
        ("power_ends_with_work", "duration_lingering", tail_s),
        ("power_begins_with_work", "duration_delay", delay_s),
    ):
        assert ruling(judgement.verdicts, claim) is (Ruling.REFUTED if length_s else Ruling.CONFIRMED)
        assert figure(judgement.verdicts, claim, name) == pytest.approx(length_s, abs=0.004)
    fallen_s = figure(judgement.verdicts, "power_ends_with_work", "duration_until_within_5_percent")
    # The reading's own window and update period come on top of the tail.
    assert 3.0 * tail_s - 0.03 <= fallen_s <= 3.0 * tail_s + 0.16


def test_tails_by_a_counter_that_does_not_integrate_are_undecided(played: Player) -> None:
    board, schedule = with_tails(H100, tail_s=0.05, delay_s=0.0, n=4)
    of_tails = tails.judge(played(board, 12.0), schedule).verdicts
    for of_counter in (Ruling.CONFIRMED, Ruling.REFUTED):
        context = square_wave.COUNTER.ruled("square_wave", of_counter, "")
        doubted = of_counter is Ruling.REFUTED
        found = tails.in_context([context, *of_tails])
        assert ruling(found, "power_ends_with_work") is (Ruling.UNDECIDED if doubted else Ruling.REFUTED)


def test_a_board_without_a_counter_shows_the_tail_in_its_power_alone(played: Player) -> None:
    board, schedule = with_tails(replace(H100, counter=False), tail_s=0.1, delay_s=0.0)
    verdicts = tails.judge(played(board, 18.0), schedule).verdicts
    assert ruling(verdicts, "power_ends_with_work") is Ruling.UNDECIDED
    assert 0.25 < figure(verdicts, "power_ends_with_work", "duration_until_within_5_percent") < 0.5


# -------------------------------------------------------------------------------------------------- windows


def some_windows(per_product_j: Callable[[float], float], half_width: float) -> list[Stretch]:
    """Windows whose energy per product by the meter is what `per_product_j` says, 1,000 products a second."""
    schedule, start_s = [], BEGIN_S + 0.53
    for length_s, n in ((0.05, 8), (0.2, 8), (1.0, 4), (5.0, 2)):
        for number in range(n):
            n_products = 1000.0 * length_s
            energy_j = per_product_j(length_s) * n_products * (1.0 + 0.002 * (-1) ** number)
            schedule.append(
                Stretch(
                    name="window",
                    time_start_s=start_s,
                    time_end_s=start_s + length_s,
                    facts={
                        "length_s": length_s,
                        "n_products": n_products,
                        "energy_j": energy_j,
                        "energy_half_width_j": half_width * energy_j,
                    },
                )
            )
            start_s += length_s + 0.437
    return schedule


def test_windows_that_agree_are_confirmed_and_beat_the_plain_counter(played: Player) -> None:
    schedule = some_windows(lambda _: 0.4, 0.01)
    board = replace(H100, load=tuple(burst(each.time_start_s, each.time_end_s, 330.0) for each in schedule))
    judgement = windows.judge(played(board, schedule[-1].time_end_s - BEGIN_S + 1.0), schedule)
    assert ruling(judgement.verdicts, "short_windows_agree") is Ruling.CONFIRMED
    assert ruling(judgement.verdicts, "closer_than_plain_counter") is Ruling.CONFIRMED
    by_length = {row[0]: row for row in rows(judgement.tables, "windows")}
    plain = by_length[0.05][7]
    assert isinstance(plain, float)
    assert plain > 0.3  # a lone 50 ms window by plain counter differences misses most of itself


def test_short_windows_that_read_low_are_refuted(played: Player) -> None:
    schedule = some_windows(lambda length_s: 0.4 - 0.05 / length_s * 0.2, 0.01)
    verdicts = windows.judge(played(H100, 1.0), schedule).verdicts
    assert ruling(verdicts, "short_windows_agree") is Ruling.REFUTED


# -------------------------------------------------------------------------------- idle, sensor, overhead, law


def test_steady_idle_power_is_confirmed_and_a_drift_refuted(played: Player) -> None:
    schedule = [Stretch(name="idle", time_start_s=BEGIN_S + 0.2, time_end_s=BEGIN_S + 6.2)]
    steady = idle.judge(played(replace(H100, power_noise_w=1.0), 6.5), schedule).verdicts
    assert ruling(steady, "idle_is_steady") is Ruling.CONFIRMED
    assert figure(steady, "idle_is_steady", "power_idle") == pytest.approx(70.0, abs=0.1)
    falling = replace(H100, load=(constant(40.0, end_s=BEGIN_S + 3.2),))
    assert ruling(idle.judge(played(falling, 6.5), schedule).verdicts, "idle_is_steady") is Ruling.REFUTED


@pytest.mark.parametrize(
    ("counter", "tick_s", "jitter_s", "expected"),
    [(True, 0.1, 0.001, Ruling.CONFIRMED), (True, 0.1, 0.03, Ruling.REFUTED), (True, None, None, Ruling.UNDECIDED),
     (False, None, None, Ruling.REFUTED)],
)  # fmt: skip
def test_the_card_is_judged(counter: bool, tick_s: float | None, jitter_s: float | None, expected: Ruling) -> None:
    facts: dict[str, float | str | None] = {
        "counter": counter, "instant_power": False, "duration_tick_s": tick_s, "duration_tick_jitter_s": jitter_s,
    }  # fmt: skip
    schedule = [Stretch(name="card", time_start_s=0.0, time_end_s=3.0, facts=facts)]
    verdicts = sensor.judge(EMPTY, schedule).verdicts
    assert ruling(verdicts, "counter_ticks_steadily") is expected
    assert ruling(verdicts, "has_instant_power") is Ruling.REFUTED


EMPTY = Stream(**{name: np.zeros(0) for name in ("tick_before_s", "tick_after_s", "tick_j", "power_s", "power_w")})


@pytest.mark.parametrize(("slower", "expected"), [(1.0, Ruling.CONFIRMED), (1.03, Ruling.REFUTED)])
def test_a_sampler_that_slows_the_work_is_told(slower: float, expected: Ruling) -> None:
    random = np.random.default_rng(1)
    schedule = [
        Stretch(
            name="batch",
            time_start_s=0.0,
            time_end_s=1.0,
            facts={
                "pair": float(pair),
                "stopped": float(stopped),
                "taken_s": 0.05 * (1.0 if stopped else slower) * float(random.lognormal(0.0, 0.01)),
            },
        )
        for pair, stopped in itertools.product(range(60), (True, False))
    ]
    assert ruling(overhead.judge(EMPTY, schedule).verdicts, "sampler_is_not_felt") is expected


def queries(energy_j: Callable[[float], float], scatter: float) -> list[Stretch]:
    return [
        Stretch(
            name="query",
            time_start_s=0.0,
            time_end_s=n_tokens * 0.02,
            facts={
                "model": "shape",
                "n_tokens": n_tokens,
                "energy_j": energy_j(n_tokens) * (1.0 + scatter * (repeat - 1)),
                "energy_half_width_j": 1.0,
                "energy_net_j": None,
            },
        )
        for repeat, n_tokens in itertools.product(range(3), (10.0, 128.0, 1024.0))
    ]


def test_a_straight_law_is_confirmed_with_its_coefficients() -> None:
    judgement = models.judge(EMPTY, queries(lambda n: 12.0 + 3.5 * n, 0.002))
    assert ruling(judgement.verdicts, "repeatable_shape") is Ruling.CONFIRMED
    assert ruling(judgement.verdicts, "affine_shape") is Ruling.CONFIRMED
    assert figure(judgement.verdicts, "affine_shape", "energy_per_token") == pytest.approx(3.5, rel=1e-3)
    assert figure(judgement.verdicts, "affine_shape", "energy_fixed") == pytest.approx(12.0, rel=1e-2)
    per_token = [row[7] for row in rows(judgement.tables, "models")]
    assert per_token == pytest.approx([4.7, 3.5 + 12 / 128, 3.5 + 12 / 1024])


def test_a_bent_law_and_wide_repeats_are_refuted() -> None:
    bent = models.judge(EMPTY, queries(lambda n: 12.0 + 3.5 * n + 0.01 * n * n, 0.002)).verdicts
    assert ruling(bent, "affine_shape") is Ruling.REFUTED
    wide = models.judge(EMPTY, queries(lambda n: 12.0 + 3.5 * n, 0.08)).verdicts
    assert ruling(wide, "repeatable_shape") is Ruling.REFUTED


def test_a_shape_that_was_skipped_keeps_its_reason() -> None:
    facts: dict[str, float | str | None] = {"model": "shape", "reason": "it needs 18.1 GB and 7.0 GB are free"}
    verdicts = models.judge(EMPTY, [Stretch(name="skipped", time_start_s=0.0, time_end_s=0.0, facts=facts)]).verdicts
    assert {verdict.verdict for verdict in verdicts} == {Ruling.SKIPPED}
    assert all("7.0 GB" in verdict.sentence for verdict in verdicts)


def test_the_shapes_have_the_size_that_their_names_say() -> None:
    sizes = {shape.name: models.n_parameters(shape) / 1e9 for shape in models.SHAPES}
    assert sizes == pytest.approx({"qwen3-0.6b": 0.596, "qwen3-4b": 4.022, "llama3-8b": 8.030}, abs=0.001)


@given(value=st.floats(-1e3, 1e3), half_width=st.floats(0.0, 1e3), limit=st.floats(-1e3, 1e3))
def test_an_interval_across_the_limit_decides_nothing(value: float, half_width: float, limit: float) -> None:
    found = below(value, half_width, limit)
    inside = value - half_width <= limit <= value + half_width
    assert (found is Ruling.UNDECIDED) == inside
    assert below(value, None, limit) is Ruling.UNDECIDED


# ----------------------------------------------------------------------------------------------- the command


def environ(fake_nvml: Path, tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "boards.conf"
    fake.write_config(config, [replace(H100, load=(wave(330.0, period_s=1.7, duty=0.4),))])
    return {
        **fake.environment(fake_nvml.parent, config),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command for a rehearsal; what still runs at the end of the test is ended."""
    with ExitStack() as stack:

        def begin(env: dict[str, str], *arguments: str, home: Path = tmp_path) -> subprocess.Popen[str]:
            command = [sys.executable, str(SCRIPT), "--device", "cpu", "--meter-gpus", "0", "--shapes", "tiny"]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "--output-dir", str(home / "out"), *arguments],
                    env=env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield begin


def results_in(directory: Path) -> dict[str, Any]:
    content = json.loads((directory / "results.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.slow
def test_the_whole_command_stores_a_verdict_for_every_claim(fake_nvml: Path, tmp_path: Path, start: Start) -> None:
    env = environ(fake_nvml, tmp_path)
    (tmp_path / "second").mkdir()
    whole = start(env, "--minutes", "0.3")
    rest = start(env, "--minutes", "0.5", "--only", "windows,overhead,models", home=tmp_path / "second")
    for process in (whole, rest):
        output, errors = process.communicate(timeout=90)
        assert process.returncode == 0, output + errors
        assert "weights are random" in output
    (directory,) = (tmp_path / "out").iterdir()
    found = results_in(directory)
    claims = [verdict["claim"] for verdict in found["verdicts"]]
    assert len(claims) == len(set(claims)) == 15
    assert {row["name"] for row in found["experiments"]} == {
        "sensor", "idle", "square_wave", "levels", "windows", "tails", "overhead", "models",
    }  # fmt: skip
    assert all(row["reason"] for row in found["experiments"] if row["status"] != "done")
    assert not [row for row in found["experiments"] if row["status"] == "failed"]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["rehearsal"]
    assert manifest["duration_s"] < manifest["budget_s"] + 10.0  # a busy machine ends its last experiment late
    assert manifest["site"]["driver"] == "570.133.20"
    assert manifest["site"]["boards"][0]["uuid"] == H100.uuid
    report = (directory / "report.md").read_text()
    assert "weights are random" in report
    assert "Rehearsal" in report
    assert all(verdict["words"] in report for verdict in found["verdicts"])
    columns = pq.read_table(directory / "readings" / "idle.parquet").column_names
    assert columns == ["channel", "time_before_s", "time_after_s", "value"]
    assert json.loads((directory / "card.json").read_text())["uuid"] == H100.uuid

    locked_to_the_ticks(directory, manifest["channels"])

    (second,) = (tmp_path / "second" / "out").iterdir()
    judged = results_in(second)
    (models_row,) = (row for row in judged["experiments"] if row["name"] == "models")
    assert models_row["status"] == "done", models_row
    rows = [row for table in judged["tables"] if table["name"] == "models" for row in table["rows"]]
    assert {row[1] for row in rows} <= set(models.LENGTHS_TINY)
    assert all(row[4] > 0.0 for row in rows)
    if not rows:  # a slow machine spends its half minute on loading, and says that nothing is decided
        about = [verdict for verdict in judged["verdicts"] if verdict["claim"].startswith(("repeatable", "affine"))]
        assert {verdict["verdict"] for verdict in about} <= {"undecided", "skipped"}
    again = subprocess.run(
        [sys.executable, str(SCRIPT), "--judge", str(second)], env=env, capture_output=True, text=True, check=True
    ).stdout
    for verdict in judged["verdicts"]:
        assert verdict["words"] in again
        assert verdict["sentence"] in again


def locked_to_the_ticks(directory: Path, channels: Sequence[Any]) -> None:
    """Waves were to begin at their phase after the ticks that the sampler saw."""
    segment = segments.read(directory / "readings" / "square_wave.parquet")
    stream = Stream.of([Channel.model_validate(channel) for channel in channels], segment, H100.uuid)
    comb = stream.comb()
    assert comb is not None
    schedule = json.loads((directory / "schedules" / "square_wave.json").read_text())
    found = [Stretch.model_validate(row) for row in schedule if row["name"] == "wave"]
    assert {stretch.number("shift") for stretch in found} >= set(square_wave.QUARTERS)
    for stretch in found:
        phase = (stretch.time_start_s - comb.time_first_s) / comb.period_s - stretch.number("shift")
        assert abs(phase - round(phase)) < 0.1
        assert stretch.number("busy_share") > 0.2


@pytest.mark.slow
def test_ctrl_c_keeps_what_there_is(fake_nvml: Path, tmp_path: Path, start: Start) -> None:
    process = start(environ(fake_nvml, tmp_path), "--only", "levels,overhead")
    assert process.stdout is not None
    for line in process.stdout:
        if "Counter against" in line:
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    (directory,) = (tmp_path / "out").iterdir()
    status = {row["name"]: row["status"] for row in results_in(directory)["experiments"]}
    assert status == {"levels": "interrupted", "overhead": "skipped"}
    assert (directory / "readings" / "levels.parquet").exists()


@pytest.mark.slow
def test_what_cannot_be_run_or_meant_is_refused_with_the_next_step(
    fake_nvml: Path, tmp_path: Path, start: Start
) -> None:
    without = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    env = environ(fake_nvml, tmp_path)
    refused = [
        (start(without), 3, "driver"),
        (start(env, "--only", "squares"), 2, "square_wave"),
        (start(env, "--meter-gpus", "auto"), 2, "--meter-gpus 0"),
    ]
    for process, code, words in refused:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert words in errors
    assert not (tmp_path / "out").exists()
