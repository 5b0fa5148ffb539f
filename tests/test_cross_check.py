"""codecarbon beside our meter: on two fake boards, with what it trips over, and in a whole run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import EnvironmentFault
from harness.meter.beside.cross_check import CodecarbonTracker, OtherEnergies
from harness.meter.meter import rebuilt
from harness.pipeline.observer import Observer
from harness.records import Channel, CrossCheck, Segment
from harness.report.beside import beside_lines
from harness.wiring.cross_check import CrossCheckedObserver, cross_check
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, constant
from tests.synthetic_power import COUNTER, ESTIMATE, PACKAGE
from tests.synthetic_runs import estimated_summary
from tests.test_run_command import Place

pytestmark = pytest.mark.slow  # codecarbon takes seconds to start
pytest.importorskip("codecarbon")

BUSY = replace(H100, load=(constant(230.0),))
OTHER = replace(H100, uuid="GPU-22222222-0000-0000-0000-000000000002", load=(constant(30.0),))


@pytest.fixture
def boards(fake_nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two boards, and an nvidia-smi that only has to be there; the configuration's path."""
    config = tmp_path / "boards.conf"
    fake.write_config(config, [BUSY, OTHER])
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\nexit 0\n")
    smi.chmod(0o755)
    for name, value in fake.environment(fake_nvml.parent, config).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{smi.parent}{os.pathsep}{os.environ['PATH']}")
    return config


def test_it_counts_the_metered_board_alone_and_says_when(
    boards: Path, fake_nvml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", OTHER.uuid)  # for which codecarbon alone would read 0 J
    tracker = CodecarbonTracker([OTHER.uuid])
    asked_s = time.monotonic()
    tracker.start()
    time.sleep(1.0)
    other = tracker.stop()
    assert other is tracker.stop()
    assert other.time_start_monotonic_s is not None
    assert other.time_end_monotonic_s is not None
    assert asked_s < other.time_start_monotonic_s < other.time_end_monotonic_s < time.monotonic()
    truth_j = fake.Truth(fake_nvml, boards).energy_j(1, other.time_start_monotonic_s, other.time_end_monotonic_s)
    # Two ticks of 100 ms are what it may be off by.
    assert other.energy_gpu_j == pytest.approx(truth_j, abs=0.25 * 100.0)
    assert other.energy_gpu_j is not None
    assert other.energy_gpu_j > 50.0
    assert any("CPU energy is estimated" in note for note in other.notes)
    assert not any("You have 2 GPUs" in note for note in other.notes)


def test_without_nvidia_smi_its_zero_is_explained(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(os.environ["PATH"].split(os.pathsep)[1:]))
    tracker = CodecarbonTracker([BUSY.uuid])
    tracker.start()
    other = tracker.stop()
    assert other.energy_gpu_j == 0.0
    assert any("no executable nvidia-smi" in note for note in other.notes)
    assert "it measured 0 J for the GPU" in other.notes


def test_what_fails_there_becomes_words(boards: Path) -> None:
    tracker = CodecarbonTracker(["GPU-nowhere"])
    tracker.start()
    other = tracker.stop()
    assert (other.energy_gpu_j, other.energy_cpu_j, other.time_start_monotonic_s) == (None, None, None)
    assert "it measured nothing: NVMLError" in other.notes[0]
    check = cross_check(other, rebuilt([COUNTER], [steady(100.0)]), session=1, origin_monotonic_s=0.0)
    assert (check.own, check.time_start_s) == ((), None)
    assert "it measured nothing" in lines_of(check)
    assert "never started" in CodecarbonTracker([]).stop().notes[0]


def test_it_runs_where_nobody_else_can_leave_a_file_for_it(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    for name in ("json", "codecarbon"):
        (shared / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w').close()\n")
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.chdir(shared)
    tracker = CodecarbonTracker([BUSY.uuid])
    tracker.start()
    assert tracker._process is not None
    directory = Path(f"/proc/{tracker._process.pid}/cwd").resolve()
    assert directory.parent == shared
    assert directory.stat().st_mode & 0o777 == 0o700
    assert list(directory.glob(".codecarbon*")) == []
    assert tracker.stop().time_start_monotonic_s is not None
    assert not directory.exists()
    assert not (tmp_path / "taken").exists()


CHATTER = """
import sys, time
sys.stdout.write('a banner\\n[]\\n{"level": "info"}\\n{"event": "started"}\\n{"event": "half')
sys.stdout.flush()
time.sleep(60)
"""


def test_lines_that_come_at_once_are_all_seen_and_half_a_line_is_not_waited_for(boards: Path) -> None:
    tracker = CodecarbonTracker([])
    with subprocess.Popen([sys.executable, "-c", CHATTER], stdout=subprocess.PIPE, bufsize=0) as process:
        tracker._process = process
        try:
            asked_s = time.monotonic()
            assert tracker._next(20.0) == {"event": "started"}
            assert "did not answer" in tracker._next(0.5)["message"]
            assert time.monotonic() - asked_s < 15.0
        finally:
            process.kill()


def test_its_process_ends_with_ours(boards: Path) -> None:
    module = "harness.meter.beside.cross_check"
    code = f"from {module} import CodecarbonTracker as T; t = T([]); t.start(); print(t._process.pid)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    deadline_s = time.monotonic() + 20.0
    while is_running(int(done.stdout)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not is_running(int(done.stdout))


def is_running(pid: int) -> bool:
    try:
        return "codecarbon_child" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_without_codecarbon_the_flag_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="not installed") as caught:
        CodecarbonTracker([])
    assert "[estimate]" in caught.value.next_step


def test_codecarbon_is_known_to_its_adapters_only() -> None:
    package = Path(__file__).parents[1] / "harness"
    knowing = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) codecarbon", path.read_text(), flags=re.MULTILINE)
    }
    assert knowing == {"estimate.py", "codecarbon_child.py"}


# ------------------------------------------------------------------------------------------------ beside ours


def steady(power_w: float) -> Segment:
    times = np.arange(0.0, 20.0, 0.1)
    return Segment(
        channel=np.zeros(len(times), dtype=np.int64), time_before_s=times, time_after_s=times, value=power_w * times
    )


def lines_of(check: CrossCheck) -> str:
    summary = estimated_summary().model_copy(update={"cross_checks": (check,)})
    return "\n".join(f"{label}: {cell}" for _, lines in beside_lines(summary) for label, cell in lines)


def beside(channel: Channel, **changes: Any) -> CrossCheck:
    """10 s of a steady 100 W by our meter, and what codecarbon says of them."""
    said = OtherEnergies(
        tool="codecarbon",
        version="3.3.2",
        time_start_monotonic_s=1005.0,
        time_end_monotonic_s=1015.0,
        energy_gpu_j=980.0,
        energy_cpu_j=300.0,
        energy_memory_j=200.0,
        notes=("its memory energy is estimated", "it warned: of much"),
    )
    curves = rebuilt([channel], [steady(100.0)])
    return cross_check(replace(said, **changes), curves, session=1, origin_monotonic_s=1000.0)


def test_both_figures_stand_in_one_line() -> None:
    check = beside(COUNTER)
    assert (check.time_start_s, check.time_end_s) == (5.0, 15.0)
    assert check.own[0].energy_gross_j == pytest.approx(1000.0)
    said = lines_of(check)
    assert re.search(r"codecarbon says 980 J for the GPU over 10\.?0* s, this meter 1,?000 J: 0\.980* ×", said), said
    assert "its memory energy is estimated" in said
    assert "of much" not in said
    assert "does not know" in lines_of(beside(COUNTER, time_end_monotonic_s=1050.0))


def test_memory_is_compared_where_it_is_in_both() -> None:
    assert "says 300 J for CPU over" in lines_of(beside(PACKAGE))
    both = lines_of(beside(PACKAGE.model_copy(update={"device": "dram-0"})))
    assert "says 500 J for CPU and memory over" in both
    power = steady(0.0)
    power = replace(power, value=np.full(len(power.value), 100.0))
    estimated = cross_check(
        OtherEnergies(
            tool="codecarbon",
            version="3.3.2",
            time_start_monotonic_s=5.0,
            time_end_monotonic_s=15.0,
            energy_gpu_j=None,
            energy_cpu_j=300.0,
            energy_memory_j=200.0,
            notes=(),
        ),
        rebuilt([ESTIMATE], [power]),
        session=1,
        origin_monotonic_s=0.0,
    )
    said = lines_of(estimated)
    assert "codecarbon estimates 500 J" in said
    assert "an estimate as well" in said


class Stages(Observer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def stage(self, name: str, mode: str | None = None) -> None:
        self.seen.append(name)


def test_the_observer_ends_it_with_the_last_query(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Stages()
    watched = CrossCheckedObserver(seen)
    assert watched.end() is None
    tracker = CodecarbonTracker([])
    monkeypatch.setattr(tracker, "start", lambda: seen.seen.append("began"))
    monkeypatch.setattr(tracker, "stop", lambda: seen.seen.append("ended"))
    watched.begin(tracker)
    for name in ("queries", "idle_after"):
        watched.stage(name)
    assert seen.seen == ["began", "queries", "ended", "idle_after"]


# ------------------------------------------------------------------------------------------------ a whole run


def test_a_run_shows_it_and_survives_a_log_that_is_not_there(boards: Path, tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    quick = ("--num-prompts", "3", "--set", "idle_duration_s=0.5", "--meter-gpus", OTHER.uuid)
    both = ("--cross-check", "codecarbon", "--external-meter", str(tmp_path / "wall.csv"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *place.arguments(*quick, *both)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The external meter's log was not joined" in done.stdout
    assert "report" in done.stdout
    (path,) = tmp_path.glob("results/*/*/*/sessions/01/cross_check.json")
    check = CrossCheck.model_validate(json.loads(path.read_text()))
    (own,) = check.own
    assert own.device == OTHER.uuid
    assert own.energy_gross_j is not None
    assert check.energy_gpu_j == pytest.approx(own.energy_gross_j, abs=0.3 * 100.0)
    assert "codecarbon says" in done.stdout
    assert "Cross-check by codecarbon" in next(tmp_path.glob("results/*/report.html")).read_text()
    (summary,) = tmp_path.glob("results/*/*/*/summary.json")
    assert json.loads(summary.read_text())["cross_checks"][0]["tool"] == "codecarbon"
