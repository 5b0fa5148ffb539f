"""The two benchmarks: what they plan and what they print, and a run of each that is just long enough to be one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
LONGEST_ERROR_J = 0.1 * 600.0  # one tick at each end, of opposite signs: at most one tick of the highest load
COUNTS = {0.2: 30, 1.0: 30, 5.0: 10}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    yield
    for name in ("bench_meter", "bench_overhead"):
        sys.modules.pop(name, None)


@pytest.fixture
def bench_meter(scripts: None) -> Any:
    return importlib.import_module("bench_meter")


@pytest.fixture
def bench_overhead(scripts: None) -> Any:
    return importlib.import_module("bench_overhead")


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("case", ["isolated", "tails", "steps", "pulses"])
def test_windows_follow_each_other_the_same_way_each_time(bench_meter: Any, case: str) -> None:
    windows = bench_meter.planned(case, COUNTS, 0, 0.0)
    assert windows == bench_meter.planned(case, COUNTS, 0, 0.0)
    assert len(windows) == sum(COUNTS.values())
    pauses = [after.load_s - before.end_s for before, after in pairwise(windows)]
    assert min(pauses) >= (0.6 if case in ("isolated", "tails") else 0.01)
    assert windows[-1].end_s < 200  # four cases of four meters in under 45 minutes


def test_phases_are_the_same_for_a_meter_that_needs_longer_pauses(bench_meter: Any) -> None:
    short, long = (bench_meter.planned("tails", {0.2: 5}, 0, extra_s) for extra_s in (0.0, 0.1))
    for number, (one, other) in enumerate(zip(short, long, strict=True), start=1):
        assert other.load_s == pytest.approx(one.load_s + number * 0.1)
        assert (one.delay_s, one.tail_s) == (other.delay_s, other.tail_s)


def test_a_row_by_hand(bench_meter: Any) -> None:
    windows = [
        {"late_s": 0.0, "energy_j": 110.0, "truth_j": 100.0, "half_width_j": 20.0},
        {"late_s": 0.0, "energy_j": 190.0, "truth_j": 200.0, "half_width_j": 5.0},
        {"late_s": 0.0, "energy_j": None, "truth_j": 200.0, "half_width_j": None},
        {"late_s": 0.5, "energy_j": 900.0, "truth_j": 100.0, "half_width_j": 1.0},
    ]
    row = bench_meter.row("ours", "isolated", 0.2, windows)
    assert (row.n, row.n_null, row.n_late) == (2, 1, 1)
    assert row.error_mean == pytest.approx(2.5)
    assert row.error_absolute == pytest.approx(7.5)
    assert row.error_worst == pytest.approx(10.0)
    assert row.half_width == pytest.approx(11.25)
    assert row.inside == pytest.approx(50.0)


def test_a_row_without_answers(bench_meter: Any) -> None:
    row = bench_meter.row("zeus", "steps", 5.0, [])
    assert (row.n, row.error_mean, row.half_width, row.inside) == (0, None, None, None)
    assert bench_meter.line(row).split()[:4] == ["steps", "5", "s", "zeus"]


@pytest.mark.slow
def test_accuracy_run(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    options = ("--quick", "--meters", "ours,plain", "--cases", "isolated", "--lengths", "0.2")
    printed = run("bench_meter.py", *options, "--json", str(path))
    document = json.loads(path.read_text())
    assert [(row["case"], row["meter"]) for row in document["rows"]] == [("isolated", "ours"), ("isolated", "plain")]
    assert all(row["n"] + row["n_null"] + row["n_late"] == 3 for row in document["rows"])
    assert printed.count("of one core") == 1
    for window in document["windows"]:
        if window["late_s"] <= 0.002:
            assert window["truth_j"] == pytest.approx(80.0 + 70.0 * window["early_s"], abs=1.5)


def test_windows_under_a_load_of_its_own(bench_meter: Any, tmp_path: Path) -> None:
    library = bench_meter.fake.build(tmp_path)
    windows, sampler_share, _ = bench_meter.measured(
        "plain", "pulses", {0.2: 2}, 0, Path(sys.executable), library, tmp_path
    )
    assert len(windows) == 2
    assert sampler_share is None
    for window in windows:
        assert window["time_end_s"] - window["time_start_s"] >= 0.2
        assert window["truth_j"] > 80.0 * 0.2 - 0.01
        assert abs(window["energy_j"] - window["truth_j"]) <= LONGEST_ERROR_J


def test_a_meter_that_fails_is_said_to(bench_meter: Any, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such meter >&2\nexit 1\n")
    broken.chmod(0o755)
    library = bench_meter.fake.build(tmp_path)
    with pytest.raises(RuntimeError, match="no such meter"):
        bench_meter.measured("plain", "steps", {0.2: 1}, 0, broken, library, tmp_path)


def test_ratio_of_known_pairs(bench_overhead: Any) -> None:
    slower = [bench_overhead.Pair(running_s=1.02, stopped_s=1.0, first="running")] * 10
    even = [bench_overhead.Pair(running_s=1.0, stopped_s=1.02, first="stopped")] * 10
    same = bench_overhead.ratio(slower)
    assert (same.geometric_mean, same.low, same.high) == (pytest.approx(1.02),) * 3
    both = bench_overhead.ratio(slower + even)
    assert both.geometric_mean == pytest.approx(1.0)
    assert 0.98 < both.low < 1.0 < both.high < 1.02


@pytest.mark.slow
def test_overhead_run(tmp_path: Path) -> None:
    path = tmp_path / "overhead.json"
    printed = run("bench_overhead.py", "--quick", "--pairs", "2", "--tokens", "16", "--json", str(path))
    document = json.loads(path.read_text())
    assert len(document["pairs"]) == 2
    assert document["n_tokens"] == 16
    assert 0.0 < document["sampler_share_of_one_core"] < 1.0
    upper = 100 * (document["ratio"]["high"] - 1)
    assert f"upper end of the interval: {upper:+.2f} %" in printed
