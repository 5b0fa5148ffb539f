"""The sampler process against the fake NVML library, and RAPL against a tree of files."""

from __future__ import annotations

import fcntl
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.clock import SessionClock
from harness.errors import NoSensor
from harness.meter.meter import SessionMeter
from harness.meter.recorder import PIPE_BYTES, SamplerProcess, _event
from harness.meter.sensors.rapl import RaplSensor
from harness.records import Boundary, FindingCode, Method, Quantity, Segment
from tests.fake_nvml.library import (
    A100,
    H100,
    P100,
    RTX_4090,
    SONAME,
    Board,
    Fault,
    System,
    Truth,
    burst,
    constant,
    square_wave,
    write_config,
)
from tests.synthetic_power import joined

NOT_SUPPORTED = 3
SECOND = replace(H100, uuid="GPU-99999999-0000-4000-8000-000000000002", tick_phase_s=0.0771, idle_w=100.0)

Start = Callable[..., SamplerProcess]


@pytest.fixture
def config(tmp_path: Path, fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the fake library reads. Only a process that is started from now on can find the library."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_nvml.parent))
    monkeypatch.setenv("FAKE_NVML_CONFIG", str(tmp_path / "boards.conf"))
    return tmp_path / "boards.conf"


@pytest.fixture
def start(config: Path) -> Iterator[Start]:
    """Starts a sampler on boards; it is stopped in the end."""
    started: list[SamplerProcess] = []

    def begin(*boards: Board, system: System | None = None, origin_s: float = 0.0) -> SamplerProcess:
        write_config(config, boards, system)
        started.append(SamplerProcess(nvml_uuids=tuple(board.uuid for board in boards)))
        started[-1].start(origin_s)
        return started[-1]

    yield begin
    for recorder in started:
        recorder.stop()


def samples(segment: Segment, channel: int) -> list[tuple[float, float, float]]:
    chosen = segment.channel == channel
    columns = (segment.time_before_s[chosen], segment.time_after_s[chosen], segment.value[chosen])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_ticks_are_caught_at_their_edges_and_hold_the_true_energy(start: Start, fake_nvml: Path, config: Path) -> None:
    load = square_wave(250.0, period_s=0.27, duty=0.4)
    recorder = start(replace(H100, load=(constant(100.0), load)), SECOND)
    time.sleep(2.0)
    stats = recorder.stop()
    rows = recorder.drain()
    kinds = [(channel.device, channel.quantity) for channel in recorder.channels]
    assert kinds == [(uuid, quantity) for uuid in (H100.uuid, SECOND.uuid) for quantity in Quantity]
    assert [channel.method for channel in recorder.channels[:2]] == [Method.NVML_COUNTER, Method.NVML_POWER]
    assert {channel.boundary for channel in recorder.channels} == {Boundary.GPU_BOARD}
    truth = Truth(fake_nvml, config)
    for device, (channel, phase_s) in enumerate(((0, H100.tick_phase_s), (len(Quantity), SECOND.tick_phase_s))):
        caught = samples(rows, channel)
        assert len(caught) > 15
        # A poll that a busy machine put off by a whole tick says less, but nothing false: the last tick is in it.
        ticks_s = [phase_s + 0.1 * math.floor((after_s - phase_s) / 0.1) for _, after_s, _ in caught]
        assert all(before_s <= tick_s for (before_s, _, _), tick_s in zip(caught, ticks_s, strict=True))
        assert np.median([after_s - before_s for before_s, after_s, _ in caught]) < 0.003
        for (_, _, value_j), tick_s in zip(caught, ticks_s, strict=True):
            expected_j = truth.energy_j(device, ticks_s[0], tick_s)
            assert value_j - caught[0][2] == pytest.approx(expected_j, abs=0.0021)
        powers = [power_w for _, _, power_w in samples(rows, channel + 1)]
        assert len(powers) > 30
        idle_w = 170.0 if device == 0 else 100.0
        assert min(powers) == pytest.approx(idle_w)
    assert recorder.lost() == ()
    assert stats is not None
    assert stats.n_samples == len(rows.channel)
    assert stats.n_regular is not None
    assert 10 < stats.n_regular < 1.1 * stats.duration_s / 0.02 < stats.n_polls


def test_a_sampler_that_is_held_up_still_knows_when_the_last_tick_was(start: Start) -> None:
    recorder = start(H100)
    time.sleep(0.6)  # it learns the period
    (sampler,) = psutil.Process().children()
    sampler.suspend()
    time.sleep(0.65)
    sampler.resume()
    time.sleep(0.4)
    stats = recorder.stop()
    assert stats is not None
    assert stats.n_late >= 1
    assert stats.n_missed is not None
    assert stats.n_missed > 20  # thirty regular polls, and five ticks
    caught = samples(recorder.drain(), 0)
    silent = [index for index in range(1, len(caught)) if caught[index][1] - caught[index - 1][1] > 0.4]
    assert len(silent) == 1
    before_s, after_s, _ = caught[silent[0]]
    tick_s = H100.tick_phase_s + 0.1 * math.floor((after_s - H100.tick_phase_s) / 0.1)
    assert before_s <= tick_s <= after_s
    assert after_s - before_s < 0.2  # and not the whole time that it was away


def test_a_burst_between_two_marks_is_its_integral(start: Start, fake_nvml: Path, config: Path) -> None:
    clock = SessionClock()
    at_s = clock.origin_monotonic_s + 2.5
    write_config(config, [replace(H100, load=(burst(at_s, at_s + 0.25, 330.0),))])
    meter = SessionMeter(SamplerProcess(nvml_uuids=(H100.uuid,)))
    meter.start(clock.origin_monotonic_s)
    assert clock.now_s() < 2.3  # or this machine is too slow to test on
    clock.sleep_until(2.75)
    meter.mark(2.5, 2.75)
    early = meter.collect()
    clock.sleep_until(3.2)
    stats, late = meter.stop()
    (curve,) = meter.curves()
    truth_j = Truth(fake_nvml, config).energy_j(0, at_s, at_s + 0.25)
    half_width_j = curve.half_width_j(2.5, 2.75)
    assert half_width_j is not None
    # One of twenty lies outside of a 95 % interval, and on a busy machine more; none lies far outside.
    assert abs(curve.energy_j(2.5, 2.75) - truth_j) <= max(3 * half_width_j, 0.05 * truth_j)
    assert half_width_j < 0.5 * truth_j  # about 0.1 unless this machine puts polls off
    assert stats is not None
    counted = samples(joined(early, late), 0)
    assert curve.time_first_s is not None
    assert curve.time_last_s is not None
    whole_j = curve.energy_j(curve.time_first_s, curve.time_last_s)
    assert whole_j == pytest.approx(counted[-1][2] - counted[0][2], rel=1e-12)


def test_a_board_that_is_lost_is_said_so_and_what_came_before_stays(start: Start, config: Path) -> None:
    recorder = start(H100)
    write_config(config, [replace(H100, lost_after_s=time.monotonic() + 0.5)])
    assert recorder.lost() == ()
    deadline_s = time.monotonic() + 5.0
    while not recorder.lost() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    (finding,) = recorder.lost()
    assert finding.code is FindingCode.SENSOR_LOST
    assert "stopped answering" in finding.detail
    assert recorder.stop() is not None
    values = [value_j for _, _, value_j in samples(recorder.drain(), 0)]
    assert len(values) >= 3
    assert values == sorted(values)
    assert values[0] > 1_000_000.0
    assert len(recorder.drain().channel) == 0


def test_a_killed_sampler_is_lost(start: Start) -> None:
    recorder = start(H100)
    assert recorder.lost() == ()
    (sampler,) = psutil.Process().children()
    sampler.kill()
    sampler.wait(5.0)
    (finding,) = recorder.lost()
    assert finding.code is FindingCode.SENSOR_LOST
    assert "sampler process ended" in finding.detail
    assert recorder.stop() is None
    assert len(recorder.drain().channel) > 0


PARENT = """
import sys, time
import psutil
from harness.meter.recorder import SamplerProcess
recorder = SamplerProcess(nvml_uuids=(sys.argv[1],))
recorder.start(0.0)
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(60)
"""


def test_no_sampler_outlives_a_killed_parent(config: Path) -> None:
    write_config(config, [H100])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, H100.uuid],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    with parent:
        assert parent.stdout is not None
        sampler = psutil.Process(int(parent.stdout.readline()))
        assert "harness.meter.sampler" in sampler.cmdline()
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([sampler], timeout=5.0)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


FORKING_PARENT = PARENT.replace("time.sleep(60)", "import os\nos.fork()\ntime.sleep(60)")


def test_nor_does_it_live_on_because_a_forked_worker_holds_its_pipe(config: Path) -> None:
    write_config(config, [H100])
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING_PARENT, H100.uuid],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    with parent:
        assert parent.stdout is not None
        sampler = psutil.Process(int(parent.stdout.readline()))
        deadline_s = time.monotonic() + 10.0
        while len(psutil.Process(parent.pid).children()) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        (worker,) = (child for child in psutil.Process(parent.pid).children() if child != sampler)
        parent.send_signal(signal.SIGKILL)
        try:
            parent.wait(5.0)
            _, alive = psutil.wait_procs([sampler], timeout=5.0)
            assert worker.is_running()
            assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
        finally:
            worker.kill()


FORKING_SCRIPT = """
import os, signal, sys, time
from harness.meter.recorder import SamplerProcess
recorder = SamplerProcess(nvml_uuids=(sys.argv[1],))
recorder.start(0.0)
worker = os.fork()
if worker == 0:
    time.sleep(60)
    os._exit(0)
start_s = time.monotonic()
stats = recorder.stop()
print(stats is not None, len(recorder.lost()), time.monotonic() - start_s)
os.kill(worker, signal.SIGKILL)
os.waitpid(worker, 0)
"""


def test_a_forked_worker_that_holds_its_pipe_does_not_keep_it_from_stopping(config: Path) -> None:
    write_config(config, [H100])
    done = subprocess.run(
        [sys.executable, "-c", FORKING_SCRIPT, H100.uuid],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    has_stats, n_lost, duration_s = done.stdout.split()
    assert (has_stats, n_lost) == ("True", "0")
    assert float(duration_s) < 5.0


def test_files_named_like_modules_are_not_imported_from_the_working_directory(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "pynvml", "pydantic"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # empty entries, each of which is the working directory
    assert start(H100).stop() is not None
    assert not (tmp_path / "taken").exists()


def test_its_pipe_holds_more_than_usual_while_the_parent_is_blocked(start: Start) -> None:
    most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    process = start(H100)._process
    assert process is not None
    assert process.stdout is not None
    assert fcntl.fcntl(process.stdout.fileno(), fcntl.F_GETPIPE_SZ) >= min(PIPE_BYTES, most)


@pytest.mark.parametrize("line", [b"null\n", b"[1]\n", b'"words"\n', b'{"level": "warning"}\n', b"words \xff\n"])
def test_whatever_else_is_said_is_words(line: bytes) -> None:
    event = _event(line)
    assert event["event"] == "words"
    assert event["message"]


def test_it_lives_on_when_the_thread_that_started_it_has_ended(config: Path) -> None:
    write_config(config, [H100])
    recorder = SamplerProcess(nvml_uuids=(H100.uuid,))
    thread = threading.Thread(target=recorder.start, args=(0.0,))
    thread.start()
    thread.join()
    recorder.drain()
    time.sleep(0.5)
    assert recorder.lost() == ()
    assert recorder.stop() is not None
    assert len(recorder.drain().channel) > 10


def test_a_killed_sampler_is_no_zombie_even_if_nobody_asks_for_it(start: Start) -> None:
    start(H100)
    (sampler,) = psutil.Process().children()
    sampler.kill()
    deadline_s = time.monotonic() + 5.0
    while psutil.pid_exists(sampler.pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not psutil.pid_exists(sampler.pid)


SCRIPT_WITHOUT_GUARD = """
import sys, time
print("imported", flush=True)
from harness.meter.recorder import SamplerProcess
recorder = SamplerProcess(nvml_uuids=(sys.argv[1],))
recorder.start(0.0)
recorder.drain()
start_s = time.monotonic()
n = 0
while time.monotonic() - start_s < 2.0:  # the interpreter is never let go of willingly
    n += 1
stats = recorder.stop()
rows = recorder.drain()
ticks_s = rows.time_after_s[rows.channel == 0]
print(len(ticks_s), stats.n_missed)
"""


def test_a_script_without_a_main_guard_and_with_a_busy_interpreter_is_served(config: Path, tmp_path: Path) -> None:
    write_config(config, [H100])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT_WITHOUT_GUARD)
    done = subprocess.run(
        [sys.executable, str(script), H100.uuid],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    imported, counts = done.stdout.splitlines()
    assert imported == "imported"
    n_ticks, n_missed = (int(count) for count in counts.split())
    assert n_ticks + n_missed >= 19
    assert n_ticks >= 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_every_process_does_not_end_the_sampler(start: Start, number: signal.Signals) -> None:
    recorder = start(H100)
    (sampler,) = psutil.Process().children()
    assert os.getpgid(sampler.pid) != os.getpgid(0)
    sampler.send_signal(number)
    time.sleep(0.3)
    assert recorder.lost() == ()
    assert recorder.stop() is not None


def test_without_a_driver_the_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with pytest.raises(NoSensor, match="NVML refused") as caught:
        SamplerProcess(nvml_uuids=("GPU-nowhere",)).start(0.0)
    assert "harness doctor" in caught.value.next_step
    assert psutil.Process().children() == []


def test_a_board_without_any_sensor_is_refused(start: Start) -> None:
    with pytest.raises(NoSensor, match="neither energy nor power") as caught:
        start(replace(H100, counter=False, power=False))
    assert "--meter-gpus none" in caught.value.next_step


@pytest.mark.parametrize(
    ("board", "window_s"),
    [
        (P100, 0.01),
        (replace(A100, counter=False), 0.025),
        (replace(RTX_4090, counter=False), 0.1),
        (replace(H100, counter=False), 0.025),
        (replace(H100, counter=False, faults=(Fault("field:186", NOT_SUPPORTED),)), 1.0),
    ],
    ids=["P100", "A100", "Ada", "Hopper", "averaged"],
)
def test_without_a_counter_power_is_read_and_its_window_said(start: Start, board: Board, window_s: float) -> None:
    recorder = start(replace(board, load=(constant(33.0),)))
    time.sleep(0.3)
    recorder.stop()
    channel, *_ = recorder.channels
    assert (channel.method, channel.quantity) == (Method.NVML_POWER, Quantity.POWER_W)
    assert channel.duration_window_s == window_s
    powers = [power_w for _, _, power_w in samples(recorder.drain(), 0)]
    assert len(powers) > 3
    assert set(powers) == {board.idle_w + 33.0}


def test_the_fake_is_found_by_the_sampler_alone(config: Path) -> None:
    """What these tests do to the environment reaches new processes only."""
    assert SONAME not in Path("/proc/self/maps").read_text()


# -------------------------------------------------------------------------------------------------- RAPL


class Powercap:
    """A tree like /sys/class/powercap."""

    RANGE_UJ = 262_143_328_850

    def __init__(self, root: Path) -> None:
        self.root = root

    def zone(self, place: str, name: str, energy_uj: int | None) -> None:
        directory = self.root / f"intel-rapl:{place}"
        directory.mkdir(exist_ok=True)
        (directory / "name").write_text(name + "\n")
        (directory / "max_energy_range_uj").write_text(f"{self.RANGE_UJ}\n")
        if energy_uj is not None:
            (directory / "energy_uj").write_text(f"{energy_uj}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def values_of(sensor: RaplSensor) -> dict[str, float]:
    return {sensor.channels[sample.channel].device: sample.value for sample in sensor.poll()}


def test_packages_and_dram_are_read_and_nothing_that_overlaps_them(powercap: Powercap) -> None:
    powercap.zone("0", "package-0", 5_000_000)
    powercap.zone("0:0", "core", 1_000_000)
    powercap.zone("0:1", "uncore", 2_000_000)
    powercap.zone("0:2", "dram", 3_000_000)
    powercap.zone("1", "package-1", 7_000_000)
    powercap.zone("2", "psys", 90_000_000)
    (powercap.root / "intel-rapl").mkdir()
    (powercap.root / "intel-rapl-mmio:0").mkdir()
    sensor = RaplSensor(powercap.root)
    assert values_of(sensor) == pytest.approx({"cpu-package-0": 5.0, "dram-0": 3.0, "cpu-package-1": 7.0})
    for channel in sensor.channels:
        assert (channel.boundary, channel.method) == (Boundary.HOST, Method.RAPL)
        assert channel.quantity is Quantity.ENERGY_J
    powercap.zone("0", "package-0", 5_000_100)
    before_s = time.monotonic()
    (first,) = sensor.poll()
    assert before_s <= first.time_before_s <= first.time_after_s <= time.monotonic()
    assert sensor.next_poll_s(time.monotonic()) > first.time_after_s
    sensor.close()


def test_a_counter_that_wraps_goes_on_rising(powercap: Powercap) -> None:
    powercap.zone("0", "package-0", powercap.RANGE_UJ - 2_000_000)
    sensor = RaplSensor(powercap.root)
    first = values_of(sensor)["cpu-package-0"]
    for energy_uj, risen_j in ((1_000_000, 3.0), (4_000_000, 6.0), (9_000_000, 11.0)):
        powercap.zone("0", "package-0", energy_uj)
        assert values_of(sensor)["cpu-package-0"] - first == pytest.approx(risen_j)


@pytest.mark.parametrize(
    ("other_uj", "devices"),
    [
        (80_000_400, ["cpu-package-0-die-0"]),
        (50_000_000, ["cpu-package-0-die-0", "cpu-package-0-die-1"]),
    ],
    ids=["one counter shown twice", "a counter each"],
)
def test_dies_that_mirror_each_other_are_counted_once(powercap: Powercap, other_uj: int, devices: list[str]) -> None:
    powercap.zone("0", "package-0-die-0", 80_000_000)
    powercap.zone("1", "package-0-die-1", other_uj)
    powercap.zone("2", "package-1-die-0", 80_000_000)  # another package may stand at the same number
    sensor = RaplSensor(powercap.root)
    assert [channel.device for channel in sensor.channels] == [*devices, "cpu-package-1-die-0"]


def test_a_zone_that_may_not_be_read_is_named(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap.zone("0", "package-0", 1)
    powercap.zone("0:0", "dram", 1)
    forbidden = powercap.root / "intel-rapl:0:0" / "energy_uj"
    read_text = Path.read_text

    def guarded(path: Path, *arguments: str, **options: str) -> str:
        if path == forbidden:  # file modes mean nothing to root
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", guarded)
    with pytest.raises(NoSensor, match="readable by root only") as caught:
        RaplSensor(powercap.root)
    assert str(forbidden) in str(caught.value)
    assert "chmod" in caught.value.next_step


def test_no_zones_and_zones_that_go_away(powercap: Powercap) -> None:
    with pytest.raises(NoSensor, match="no RAPL zones"):
        RaplSensor(powercap.root)
    powercap.zone("0", "package-0", 1_000_000)
    sensor = RaplSensor(powercap.root)
    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(NoSensor, match="stopped answering"):
        sensor.poll()
    powercap.zone("0", "package-0", None)
    with pytest.raises(NoSensor, match="cannot be read"):
        RaplSensor(powercap.root)
