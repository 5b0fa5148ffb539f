"""The fake NVML library against numbers worked out here by hand: real pynvml, in processes of its own.

Expected values never come from the library's own integral unless that integral is itself checked here first.
"""

import itertools
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_nvml import library as fake
from tests.fake_nvml.library import (
    A100,
    GH200,
    H100,
    P100,
    RTX_4090_SLOW,
    V100,
    Answer,
    Board,
    Fault,
    GpuProcess,
    System,
    Throttle,
    Truth,
    burst,
    constant,
    decay,
    query,
    ramp,
    sinusoid,
    square_wave,
    write_config,
)

PREAMBLE = """
import json, os, sys, time
import pynvml as n

def error(call, *arguments):
    try:
        return {"value": call(*arguments)}
    except n.NVMLError as failure:
        return type(failure).__name__

def field(handle, *wanted):
    return [[v.nvmlReturn, v.valueType, v.value.ullVal if v.valueType == 3 else v.value.uiVal]
            for v in n.nvmlDeviceGetFieldValues(handle, list(wanted))]

n.nvmlInit()
h = n.nvmlDeviceGetHandleByIndex(0)
out = {}
"""

# The sensors of one process on a virtual clock: exact, and no waiting.
VIRTUAL = """
import ctypes
lib = n.nvmlLib
lib.fake_nvml_set_clock.argtypes = [ctypes.c_double]

def at(time_s):
    lib.fake_nvml_set_clock(time_s)
"""


@pytest.fixture(scope="module")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.build(tmp_path_factory.getbasetemp())


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return tmp_path / "boards.conf"


class Probe:
    """Runs a script that talks to pynvml and fills `out`, in a process that sees the fake."""

    def __init__(self, library_path: Path, config_path: Path) -> None:
        self.library_path = library_path
        self.config_path = config_path
        self.env = fake.environment(library_path.parent, config_path)

    def configure(self, *boards: Board, system: System | None = None) -> None:
        write_config(self.config_path, boards, system)

    def start(self, script: str) -> "subprocess.Popen[str]":
        program = PREAMBLE + VIRTUAL + script + "\nprint(json.dumps(out), flush=True)\n"
        return subprocess.Popen(
            [sys.executable, "-S", "-c", program],
            env=self.env | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        stdout, stderr = process.communicate(timeout=20)
        assert process.returncode == 0, stderr
        result = json.loads(stdout.splitlines()[-1])
        assert isinstance(result, dict)
        return result

    def run(self, script: str) -> dict[str, Any]:
        return self.finish(self.start(script))


@pytest.fixture
def probe(library_path: Path, config_path: Path) -> Probe:
    return Probe(library_path, config_path)


def test_counter_ticks_at_its_period_and_sums_the_true_energy_between_ticks(probe: Probe) -> None:
    # 0.25 s squares at 40 % duty: any whole number of periods holds 0.4 * 200 W above the 70 + 100 W.
    probe.configure(
        replace(
            H100,
            tick_phase_s=0.0371,
            load=(constant(100.0), square_wave(200.0, period_s=0.25, duty=0.4, phase_s=0.013)),
        )
    )
    out = probe.run("""
out["reads"] = []
end = time.monotonic() + 1.2
while time.monotonic() < end:
    out["reads"].append([time.monotonic(), n.nvmlDeviceGetTotalEnergyConsumption(h), time.monotonic()])
    time.sleep(0.001)
""")
    # A read that a busy machine stretched over a tick says nothing about which tick it saw, so it is left out.
    seen_mj: dict[int, set[int]] = {}
    for before_s, reading_mj, after_s in out["reads"]:
        tick = math.floor((after_s - 0.0371) / 0.1)
        if before_s > 0.0371 + 0.1 * tick + 1e-6:
            seen_mj.setdefault(tick, set()).add(reading_mj)
    assert len(seen_mj) > 6
    assert all(len(values) == 1 for values in seen_mj.values())  # it stands still between ticks

    def drawn_j(t_s: float) -> float:
        periods, part_s = divmod(t_s - 0.013, 0.25)
        return 170.0 * t_s + 200.0 * (periods * 0.1 + min(part_s, 0.1))

    reading_mj = {tick: values.pop() for tick, values in seen_mj.items()}
    first = min(reading_mj)
    assert reading_mj[first] > 1_234_567_891  # never a counter that starts at zero
    for tick in reading_mj:
        expected_j = drawn_j(0.0371 + tick * 0.1) - drawn_j(0.0371 + first * 0.1)
        assert (reading_mj[tick] - reading_mj[first]) / 1000.0 == pytest.approx(expected_j, abs=0.0011)
        if tick - 5 in reading_mj:  # 0.5 s are two periods: (170 + 0.4 * 200) * 0.5
            assert (reading_mj[tick] - reading_mj[tick - 5]) / 1000.0 == pytest.approx(125.0, abs=0.0011)


def test_instant_power_is_the_25_ms_before_each_latch_and_the_average_is_a_second(probe: Probe) -> None:
    # Squares locked to the sensor: 20 ms on of 100, beginning 15 ms before each latch, so the 25 ms window
    # holds 15 ms of them: 70 + 400 * 15 / 25 = 310 W where the mean is 70 + 400 * 0.2 = 150 W.
    load = square_wave(400.0, period_s=0.1, duty=0.2, phase_s=-0.015)
    probe.configure(replace(H100, load=(load,)), replace(A100, load=(load,)))
    out = probe.run("""
a100 = n.nvmlDeviceGetHandleByIndex(1)
out["h100"] = field(h, 186, 185)
out["a100"] = field(a100, 186, 185)
out["usage"] = [n.nvmlDeviceGetPowerUsage(h), n.nvmlDeviceGetPowerUsage(a100)]
""")
    assert out["h100"] == [[0, 1, 310_000], [0, 1, 150_000]]
    assert out["a100"][0] == [0, 1, 300_000]  # idles at 60 W: 60 + 240
    assert out["a100"][1][0] == 3  # GA100 has no averaged reading
    assert out["usage"] == [150_000, 300_000]


def test_power_is_latched_between_updates(probe: Probe) -> None:
    probe.configure(replace(H100, load=(ramp(1000.0, 1010.0, 0.0, 1000.0),)))
    out = probe.run("""
for key, time_s in (("at", 1005.0001), ("held", 1005.0999), ("next", 1005.1001)):
    at(time_s)
    out[key] = field(h, 186, (186, 1))
""")
    # 100 W/s: the mean of the 25 ms before 1005.0 s is the ramp at 1004.9875 s, above 70 W idle.
    assert out["at"] == [[0, 1, 70_000 + 498_750], [3, 0, 0]]
    assert out["held"] == out["at"]
    assert out["next"][0] == [0, 1, 70_000 + 508_750]


@pytest.mark.parametrize(
    ("component", "start_s", "end_s", "expected_j"),
    [
        (constant(50.0), 1000.0, 1003.0, 150.0),
        (burst(1001.0, 1001.2, 330.0), 1000.0, 1003.0, 66.0),
        (burst(1001.0, 1001.2, 330.0), 1001.1, 1001.15, 16.5),
        (burst(1001.0, 1001.2, 330.0), 1002.0, 1003.0, 0.0),
        (square_wave(200.0, period_s=0.5, duty=0.3), 1000.0, 1003.0, 180.0),
        (square_wave(200.0, period_s=0.5, duty=0.3), 1000.1, 1000.2, 10.0),
        (square_wave(200.0, period_s=0.5, duty=0.3, end_s=1000.6), 1000.1, 1010.0, 30.0),
        (square_wave(200.0, period_s=0.5, duty=0.3, phase_s=0.4), 1000.0, 1000.45, 20.0),
        (sinusoid(60.0, period_s=2.0), 1000.0, 1001.0, 60.0 * 2.0 / math.pi),
        (sinusoid(60.0, period_s=2.0), 1000.3, 1004.3, 0.0),
        (sinusoid(60.0, period_s=2.0, phase_s=0.5), 1000.0, 1000.5, -60.0 / math.pi),
        (ramp(1000.0, 1002.0, 10.0, 30.0), 999.0, 1003.0, 40.0),
        (ramp(1000.0, 1002.0, 10.0, 30.0), 1001.0, 1001.5, 11.25),
        (decay(1000.0, 80.0, time_constant_s=0.5), 999.0, 1000.5, 40.0 * (1.0 - math.exp(-1.0))),
    ],
)
def test_truth_is_the_closed_form(
    library_path: Path,
    config_path: Path,
    component: fake.Component,
    start_s: float,
    end_s: float,
    expected_j: float,
) -> None:
    write_config(config_path, [replace(H100, load=(component,))])
    truth = Truth(library_path, config_path)
    idle_j = 70.0 * (end_s - start_s)
    assert truth.energy_j(0, start_s, end_s) == pytest.approx(idle_j + expected_j, abs=1e-8)
    assert truth.energy_j(0, end_s, start_s) == pytest.approx(-idle_j - expected_j, abs=1e-8)
    # Power is the derivative of energy: over 1 us, away from any step.
    middle_s = 0.5 * (start_s + end_s) + 0.0123
    slope_w = truth.energy_j(0, middle_s, middle_s + 1e-6) / 1e-6
    assert truth.power_w(0, middle_s) == pytest.approx(slope_w, abs=0.01)


def test_truth_adds_components_and_stays_exact_after_months_of_uptime(library_path: Path, config_path: Path) -> None:
    load = (constant(30.0), square_wave(200.0, period_s=0.1, duty=0.5), sinusoid(20.0, period_s=0.4))
    write_config(config_path, [replace(H100, load=load)])
    truth = Truth(library_path, config_path)
    for origin_s in (0.0, 1e7):
        assert truth.energy_j(0, origin_s, origin_s + 0.4) == pytest.approx(0.4 * 200.0, abs=1e-5)
    with pytest.raises(LookupError, match="no board 1"):
        truth.energy_j(1, 0.0, 1.0)


def test_truth_and_the_counter_of_another_process_agree(probe: Probe, library_path: Path) -> None:
    probe.configure(
        replace(
            H100,
            load=(
                constant(150.0),
                sinusoid(90.0, period_s=0.73),
                square_wave(260.0, period_s=0.29, duty=0.35),
            ),
        )
    )
    out = probe.run("""
out["readings"] = []
for k in range(200):
    time_s = 5000.0 + 0.0613 * k
    at(time_s)
    out["readings"].append([time_s, n.nvmlDeviceGetTotalEnergyConsumption(h)])
""")
    truth = Truth(library_path, probe.config_path)
    for time_s, reading_mj in out["readings"]:
        tick_s = truth.last_tick_s(0, time_s)
        assert tick_s == pytest.approx(0.0371 + 0.1 * math.floor((time_s - 0.0371) / 0.1), abs=1e-9)
        assert reading_mj == pytest.approx(1_234_567_891 + 1000.0 * truth.energy_j(0, 0.0, tick_s), abs=1.001)


def test_gain_and_offset_change_readings_but_not_the_truth(probe: Probe, library_path: Path) -> None:
    probe.configure(replace(H100, gain=1.05, offset_w=-2.0, load=(constant(230.0),)))
    out = probe.run("""
at(5000.04)
first = n.nvmlDeviceGetTotalEnergyConsumption(h)
out["power"] = field(h, 186, 185)
at(5010.04)
out["gain_j"] = (n.nvmlDeviceGetTotalEnergyConsumption(h) - first) / 1000.0
""")
    assert [value for _, _, value in out["power"]] == [313_000, 313_000]  # 1.05 * 300 - 2
    assert out["gain_j"] == pytest.approx(3130.0, abs=0.0011)
    assert Truth(library_path, probe.config_path).energy_j(0, 5000.0, 5010.0) == pytest.approx(3000.0, abs=1e-8)


def test_a_part_time_counter_is_blind_between_its_windows(probe: Probe) -> None:
    # On for the 25 ms before each tick only: a counter that sums those 25 of 100 ms believes it always was.
    load = square_wave(400.0, period_s=0.1, duty=0.25, phase_s=0.075)
    board = replace(H100, tick_phase_s=0.0, counter_origin_s=5000.05, load=(load,))
    probe.configure(board, replace(board, uuid="GPU-part-time", counter_window_s=0.025))
    out = probe.run("""
for i in (0, 1):
    handle = n.nvmlDeviceGetHandleByIndex(i)
    at(5001.05)
    first = n.nvmlDeviceGetTotalEnergyConsumption(handle)
    at(5011.05)
    out[str(i)] = (n.nvmlDeviceGetTotalEnergyConsumption(handle) - first) / 1000.0
    at(5001.05)
    out["again" + str(i)] = n.nvmlDeviceGetTotalEnergyConsumption(handle) == first
""")
    assert out["0"] == pytest.approx(10.0 * (70.0 + 100.0), abs=0.0011)
    assert out["1"] == pytest.approx(10.0 * (70.0 + 400.0), abs=0.0011)
    assert out["again0"]
    assert out["again1"]


def test_ticks_can_lag_and_jitter(probe: Probe) -> None:
    board = replace(H100, tick_phase_s=0.0)
    probe.configure(
        replace(board, counter_lag_s=0.03),
        replace(board, uuid="GPU-jitter", tick_jitter_s=0.02),
    )
    out = probe.run("""
jittery = n.nvmlDeviceGetHandleByIndex(1)
edges = {0: [], 1: []}
last = {}
for k in range(2000):
    at(7000.0004 + 0.001 * k)
    for i, handle in ((0, h), (1, jittery)):
        now = n.nvmlDeviceGetTotalEnergyConsumption(handle)
        if now != last.setdefault(i, now):
            edges[i].append(round(0.001 * k, 3))
            last[i] = now
out["lagging"], out["jittery"] = edges[0], edges[1]
""")
    assert out["lagging"] == pytest.approx([0.030 + 0.1 * k for k in range(20)], abs=0.0011)
    offsets_s = [edge_s - round(edge_s, 1) for edge_s in out["jittery"]]
    assert len(offsets_s) in {19, 20, 21}
    assert all(-0.0101 <= offset_s <= 0.0111 for offset_s in offsets_s)
    assert max(offsets_s) - min(offsets_s) > 0.005


def test_noise_is_the_same_for_every_process_and_has_the_stated_spread(probe: Probe) -> None:
    probe.configure(replace(H100, power_noise_w=5.0))
    script = """
out["w"] = []
for k in range(1000):
    at(8000.05 + 0.1 * k)
    out["w"].append(field(h, 186)[0][2] / 1000.0)
"""
    first = probe.run(script)["w"]
    assert probe.run(script)["w"] == first
    mean_w = sum(first) / 1000
    spread_w = math.sqrt(sum((value - mean_w) ** 2 for value in first) / 999)
    assert mean_w == pytest.approx(70.0, abs=1.0)  # six standard errors
    assert spread_w == pytest.approx(5.0, rel=0.15)


def test_boards_are_found_by_uuid_index_and_bus(probe: Probe) -> None:
    second = replace(A100, uuid="GPU-aaaa", pci_bus_id="00000000:3B:00.0", minor_number=1, load=(constant(140.0),))
    probe.configure(H100, second)
    out = probe.run("""
out["count"] = n.nvmlDeviceGetCount()
b = n.nvmlDeviceGetHandleByUUID("GPU-aaaa")
out["second"] = [n.nvmlDeviceGetName(b), n.nvmlDeviceGetUUID(b), n.nvmlDeviceGetIndex(b)]
out["second"] += [n.nvmlDeviceGetPowerUsage(b)]
out["first"] = [n.nvmlDeviceGetUUID(h), n.nvmlDeviceGetPowerUsage(h)]
out["bus"] = n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByPciBusId("00000000:3b:00.0"))
pci = n.nvmlDeviceGetPciInfo(b)
out["pci"] = [pci.busId, pci.bus, pci.domain, pci.pciDeviceId]
out["minor"] = n.nvmlDeviceGetMinorNumber(b)
out["prefix"] = error(n.nvmlDeviceGetHandleByUUID, "GPU-aa")
out["index"] = error(n.nvmlDeviceGetHandleByIndex, 2)
""")
    assert out == {
        "count": 2,
        "second": ["NVIDIA A100-SXM4-80GB", "GPU-aaaa", 1, 200_000],
        "first": [H100.uuid, 70_000],
        "bus": "GPU-aaaa",
        "pci": ["00000000:3B:00.0", 0x3B, 0, 0x20B210DE],
        "minor": 1,
        "prefix": "NVMLError_NotFound",
        "index": "NVMLError_InvalidArgument",
    }


def test_field_values_report_per_field(probe: Probe) -> None:
    probe.configure(H100)
    out = probe.run("""
before = time.time()
values = n.nvmlDeviceGetFieldValues(h, [83, 191, 186, (186, 2), 1, 187, 188, 189, 190, 192])
out["stamps"] = [before - values[0].timestamp / 1e6, values[0].timestamp / 1e6 - time.time()]
at(9000.05)
out["values"] = field(h, 83, 191, 186, (186, 2), 1, 187, 188, 189, 190, 192)
out["direct"] = n.nvmlDeviceGetTotalEnergyConsumption(h)
""")
    energy_mj = 1_234_567_891 + 70.0 * 1000.0 * (8999.9371 + 0.1)  # the last tick before 9000.05 is 9000.0371
    assert out["direct"] == pytest.approx(energy_mj, abs=1.001)
    assert out["values"][:2] == [[0, 3, out["direct"]]] * 2
    assert out["values"][2] == [0, 1, 70_000]
    assert [code for code, _, _ in out["values"][3:5]] == [3, 3]
    assert [value for _, _, value in out["values"][5:]] == [200_000, 700_000, 700_000, 700_000, 700_000]
    assert all(stamp_s < 0.01 for stamp_s in out["stamps"])


def test_sample_buffer_holds_119_means_of_20_ms(probe: Probe) -> None:
    probe.configure(replace(H100, load=(burst(6000.0, 6000.5, 330.0),)))
    out = probe.run("""
at(6000.999)
kind, samples = n.nvmlDeviceGetSamples(h, n.NVML_TOTAL_POWER_SAMPLES, 0)
out["kind"] = kind
out["w"] = [s.sampleValue.uiVal / 1000.0 for s in samples]
stamps = [s.timeStamp for s in samples]
out["steps_us"] = sorted({b - a for a, b in zip(stamps, stamps[1:])})
at(6001.199)
out["newer"] = len(n.nvmlDeviceGetSamples(h, n.NVML_TOTAL_POWER_SAMPLES, stamps[-1])[1])
out["none"] = error(n.nvmlDeviceGetSamples, h, n.NVML_TOTAL_POWER_SAMPLES, stamps[-1] + 200_000)
out["module"] = error(n.nvmlDeviceGetSamples, h, n.NVML_MODULE_POWER_SAMPLES, 0)
at(float("nan"))
before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
kind, samples = n.nvmlDeviceGetSamples(h, n.NVML_TOTAL_POWER_SAMPLES, 0)
after_s = time.clock_gettime(time.CLOCK_BOOTTIME)
out["newest_s"] = [samples[-1].timeStamp / 1e6 - before_s, samples[-1].timeStamp / 1e6 - after_s]
""")
    assert out["kind"] == 1
    assert len(out["w"]) == 119
    assert out["steps_us"] == [20_000]
    # The newest ends at 6000.98 s: 24 samples of idle since the burst, 25 of it, 70 of idle before.
    assert out["w"] == pytest.approx([70.0] * 70 + [400.0] * 25 + [70.0] * 24, abs=0.001)
    assert out["newer"] == 10
    assert out["none"] == "NVMLError_NotFound"
    assert out["module"] == "NVMLError_NotSupported"
    assert out["newest_s"][0] > -0.021  # at most one sample old when it was asked for
    assert out["newest_s"][1] < 0.001


def test_a_lost_board_answers_nothing_and_leaves_the_other_alone(probe: Probe) -> None:
    probe.configure(replace(H100, lost_after_s=1e9), replace(H100, uuid="GPU-other"))
    out = probe.run(
        """
other, uuid = n.nvmlDeviceGetHandleByIndex(1), n.nvmlDeviceGetUUID(h)
calls = {
    "energy": (n.nvmlDeviceGetTotalEnergyConsumption, h),
    "power": (n.nvmlDeviceGetPowerUsage, h),
    "fields": (lambda h: len(n.nvmlDeviceGetFieldValues(h, [83])), h),
    "name": (n.nvmlDeviceGetName, h),
    "uuid": (lambda: n.nvmlDeviceGetHandleByUUID(uuid) is not None,),
    "other": (n.nvmlDeviceGetPowerUsage, other),
}
at(1e9 - 0.01)
out["before"] = {k: error(*c) for k, c in calls.items()}
at(1e9)
out["after"] = {k: error(*c) for k, c in calls.items()}
try:
    n.nvmlDeviceGetPowerUsage(h)
except n.NVMLError_GpuIsLost as failure:
    out["code"] = failure.value
"""
    )
    assert all(isinstance(answer, dict) for answer in out["before"].values())
    assert out["after"].pop("other") == {"value": 70_000}
    assert set(out["after"].values()) == {"NVMLError_GpuIsLost"}
    assert out["code"] == 15


def test_counters_freeze_and_reset(probe: Probe) -> None:
    probe.configure(
        replace(H100, tick_phase_s=0.0, counter_frozen_after_s=2000.25),
        replace(H100, uuid="GPU-reset", tick_phase_s=0.0, counter_reset_at_s=2000.25),
    )
    out = probe.run("""
reset = n.nvmlDeviceGetHandleByIndex(1)
for key, time_s in (("before", 2000.15), ("at", 2000.26), ("after", 2001.26)):
    at(time_s)
    out[key] = [n.nvmlDeviceGetTotalEnergyConsumption(h), n.nvmlDeviceGetTotalEnergyConsumption(reset),
                n.nvmlDeviceGetPowerUsage(h)]
""")
    before, at, after = out["before"], out["at"], out["after"]
    assert before[0] == before[1] == pytest.approx(1_234_567_891 + 70_000 * 2000.1, abs=1.001)
    assert at[0] == after[0] == pytest.approx(1_234_567_891 + 70_000 * 2000.2, abs=1.001)
    assert at[1] == 0
    assert after[1] == pytest.approx(70_000 * (2001.2 - 2000.25), abs=1.001)
    assert after[2] == 70_000  # power goes on


def test_missing_sensors_permissions_and_single_faults(probe: Probe) -> None:
    probe.configure(
        P100,
        replace(H100, uuid="GPU-1", power=False, sample_count=0),
        replace(H100, uuid="GPU-2", no_permission=True),
        replace(
            H100,
            uuid="GPU-3",
            faults=(Fault("nvmlDeviceGetPowerUsage", 999, 100.0, 200.0), Fault("field:186", 10, 100.0)),
        ),
    )
    out = probe.run("""
out["answers"] = []
at(150.0)
for i in range(4):
    handle = n.nvmlDeviceGetHandleByIndex(i)
    energy = error(n.nvmlDeviceGetTotalEnergyConsumption, handle)
    usage = error(n.nvmlDeviceGetPowerUsage, handle)
    out["answers"].append([
        energy if isinstance(energy, str) else "ok",
        usage if isinstance(usage, str) else "ok",
        *[code for code, _, _ in field(handle, 83, 186)],
    ])
at(200.0)
out["later"] = n.nvmlDeviceGetPowerUsage(handle)
""")
    assert out["answers"] == [
        ["NVMLError_NotSupported", "ok", 3, 0],
        ["ok", "NVMLError_NotSupported", 0, 3],
        ["NVMLError_NoPermission", "NVMLError_NoPermission", 4, 4],
        ["ok", "NVMLError_Unknown", 0, 10],
    ]
    assert out["later"] == 70_000


def test_a_running_process_sees_load_and_faults_change(probe: Probe, library_path: Path) -> None:
    board = replace(H100, tick_s=0.02, power_period_s=0.02, usage_window_s=0.02)
    probe.configure(board)
    process = probe.start("""
def read():
    return [time.monotonic(), n.nvmlDeviceGetTotalEnergyConsumption(h), time.monotonic()]

seen, ended, first = [n.nvmlDeviceGetPowerUsage(h) // 1000], None, read()
print("ready", flush=True)
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    try:
        watts = n.nvmlDeviceGetPowerUsage(h) // 1000
        last = read()
    except n.NVMLError_GpuIsLost:
        ended = time.monotonic()
        break
    if watts not in seen:
        seen.append(watts)
    time.sleep(0.002)
out["seen"], out["ended"], out["first"], out["last"] = seen, ended, first, last
""")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    start_s = time.monotonic() + fake.SETTLE_S
    loaded = board.switched(start_s, constant(300.0))
    probe.configure(loaded)
    time.sleep(0.4)
    lost_s = time.monotonic() + fake.SETTLE_S
    probe.configure(replace(loaded, lost_after_s=lost_s))
    out = probe.finish(process)
    assert out["seen"][0] == 70
    assert out["seen"][-1] == 370
    assert out["ended"] >= lost_s
    # The change did not rewrite the past: idle until start_s, 370 W after it. The counter is up to a tick old at
    # either end, and each read took from `before` to `after`.
    (before0_s, mj0, after0_s), (before1_s, mj1, after1_s) = out["first"], out["last"]
    least_j = 70.0 * (start_s - after0_s) + 370.0 * (before1_s - 0.02 - start_s)
    most_j = 70.0 * (start_s - (before0_s - 0.02)) + 370.0 * (after1_s - start_s)
    assert least_j - 0.002 <= (mj1 - mj0) / 1000.0 <= most_j + 0.002
    assert Truth(library_path, probe.config_path).energy_j(0, start_s - 1.0, start_s + 1.0) == pytest.approx(440.0)


def test_what_a_doctor_reads(probe: Probe) -> None:
    mib = 1024 * 1024
    probe.configure(
        replace(
            H100,
            memory_total_bytes=80_000 * mib,
            memory_reserved_bytes=500 * mib,
            memory_used_bytes=1_000 * mib,
            power_limit_w=650.0,
            power_limit_enforced_w=600.0,
            temperature_c=41.0,
            ecc_pending=0,
            clock_sm_mhz=1755,
            processes=(GpuProcess(4242, 5 * mib, name="other python"), GpuProcess(77, mib, graphics=True)),
            throttles=(Throttle(0x4, 100.0, 102.0), Throttle(0x20, 101.0, 101.5), Throttle(0x4, 110.0)),
            load=(burst(100.0, 101.0, 300.0),),
        ),
        V100,
        system=System(driver_version="575.1", nvml_version="12.575.1", cuda_driver_version=12090),
    )
    out = probe.run("""
out["system"] = [n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetNVMLVersion(),
                 n.nvmlSystemGetCudaDriverVersion_v2(), n.nvmlSystemGetCudaDriverVersion()]
m, m2 = n.nvmlDeviceGetMemoryInfo(h), n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
out["memory"] = [x // 1024**2 for x in (m.total, m.free, m.used, m2.total, m2.reserved, m2.free, m2.used)]
out["limits"] = [n.nvmlDeviceGetEnforcedPowerLimit(h), n.nvmlDeviceGetPowerManagementLimit(h),
                 n.nvmlDeviceGetPowerManagementDefaultLimit(h),
                 *n.nvmlDeviceGetPowerManagementLimitConstraints(h)]
out["modes"] = [n.nvmlDeviceGetPersistenceMode(h), n.nvmlDeviceGetEccMode(h), n.nvmlDeviceGetMigMode(h),
                n.nvmlDeviceGetComputeMode(h), n.nvmlDeviceGetVirtualizationMode(h),
                n.nvmlDeviceGetPerformanceState(h)]
out["temperature"] = [n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
                      n.nvmlDeviceGetTemperatureV(h, n.NVML_TEMPERATURE_GPU)]
out["clocks"] = [n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM),
                 n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM),
                 n.nvmlDeviceGetClock(h, n.NVML_CLOCK_MEM, n.NVML_CLOCK_ID_CURRENT)]
out["kind"] = [n.nvmlDeviceGetArchitecture(h), n.nvmlDeviceGetBrand(h),
               *n.nvmlDeviceGetCudaComputeCapability(h)]
out["processes"] = [[p.pid, p.usedGpuMemory // 1024**2] for p in n.nvmlDeviceGetComputeRunningProcesses(h)]
out["graphics"] = [p.pid for p in n.nvmlDeviceGetGraphicsRunningProcesses(h)]
out["names"] = [n.nvmlSystemGetProcessName(4242), error(n.nvmlSystemGetProcessName, 1)]
out["reasons"] = []
for time_s in (99.0, 101.2, 103.0, 111.0):
    at(time_s)
    power = n.nvmlDeviceGetViolationStatus(h, n.NVML_PERF_POLICY_POWER).violationTime
    thermal = n.nvmlDeviceGetViolationStatus(h, n.NVML_PERF_POLICY_THERMAL).violationTime
    reasons = n.nvmlDeviceGetCurrentClocksEventReasons(h)
    out["reasons"].append([reasons, round(power / 1e9, 6), round(thermal / 1e9, 6)])
    assert n.nvmlDeviceGetCurrentClocksThrottleReasons(h) == out["reasons"][-1][0]
out["utilization"] = []
for time_s in (100.5, 105.0):
    at(time_s)
    out["utilization"].append(n.nvmlDeviceGetUtilizationRates(h).gpu)
v100 = n.nvmlDeviceGetHandleByIndex(1)
out["v100"] = [error(n.nvmlDeviceGetMigMode, v100), error(n.nvmlDeviceGetC2cModeInfoV, v100),
               n.nvmlDeviceGetComputeRunningProcesses(v100), n.nvmlDeviceGetMaxMigDeviceCount(v100)]
out["error"] = n.nvmlErrorString(15)
""")
    assert out == {
        "system": ["575.1", "12.575.1", 12090, 12090],
        "memory": [80_000, 78_500, 1_500, 80_000, 500, 78_500, 1_000],
        "limits": [600_000, 650_000, 700_000, 200_000, 700_000],
        "modes": [1, [1, 0], [0, 0], 0, 0, 0],
        "temperature": [41, 41],
        "clocks": [1755, 1980, 2619],
        "kind": [9, 14, 9, 0],
        "processes": [[4242, 5]],
        "graphics": [77],
        "names": ["other python", "NVMLError_NotFound"],
        "reasons": [[0, 0.0, 0.0], [0x24, 1.2, 0.2], [0, 2.0, 0.5], [0x4, 3.0, 0.5]],
        "utilization": [100, 0],
        "v100": ["NVMLError_NotSupported", "NVMLError_NotSupported", [], 0],
        "error": "GPU is lost",
    }


def test_mig_slices_have_handles_but_no_power(probe: Probe) -> None:
    probe.configure(replace(H100, mig_current=1, mig_pending=1, mig_uuids=("MIG-aaa", "MIG-bbb")))
    out = probe.run("""
mig = n.nvmlDeviceGetMigDeviceHandleByIndex(h, 1)
out["uuid"] = [n.nvmlDeviceGetUUID(mig), n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByUUID("MIG-aaa"))]
out["is"] = [n.nvmlDeviceIsMigDeviceHandle(mig).value, n.nvmlDeviceIsMigDeviceHandle(h).value]
out["parent"] = n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig))
out["count"] = [n.nvmlDeviceGetCount(), n.nvmlDeviceGetMaxMigDeviceCount(h)]
out["power"] = [error(n.nvmlDeviceGetPowerUsage, mig), error(n.nvmlDeviceGetTotalEnergyConsumption, mig)]
out["board"] = n.nvmlDeviceGetPowerUsage(h)
out["third"] = error(n.nvmlDeviceGetMigDeviceHandleByIndex, h, 2)
""")
    assert out["uuid"] == ["MIG-bbb", "MIG-aaa"]
    assert out["is"] == [1, 0]
    assert out["parent"] == H100.uuid
    assert out["count"] == [1, 7]
    assert out["power"] == ["NVMLError_NotSupported"] * 2
    assert out["board"] == 70_000
    assert out["third"] == "NVMLError_NotFound"


def test_init_is_counted_and_can_fail(probe: Probe) -> None:
    probe.configure(H100)
    out = probe.run("""
n.nvmlInit()
n.nvmlShutdown()
out["held"] = n.nvmlDeviceGetCount()
n.nvmlShutdown()
out["shut"] = error(n.nvmlDeviceGetCount)
out["again"] = error(n.nvmlShutdown)
os.environ["FAKE_NVML_CONFIG"] = "/nonexistent"
out["no file"] = error(n.nvmlInit)
del os.environ["FAKE_NVML_CONFIG"]
out["no driver"] = error(n.nvmlInit)
""")
    assert out == {
        "held": 1,
        "shut": "NVMLError_Uninitialized",
        "again": "NVMLError_Uninitialized",
        "no file": "NVMLError_Unknown",
        "no driver": "NVMLError_DriverNotLoaded",
    }


def test_a_configured_init_failure_and_a_file_that_is_not_understood(probe: Probe) -> None:
    probe.configure(system=System(init_return=18))
    process = probe.start("")
    assert "NVMLError_LibRmVersionMismatch" in process.communicate(timeout=20)[1]
    probe.config_path.write_text("fake-nvml 1\nboard\nidle_w seventy\n")
    stderr = probe.start("").communicate(timeout=20)[1]
    assert "boards.conf:3: not understood: idle_w seventy" in stderr
    assert "NVMLError_Unknown" in stderr


def test_calls_can_take_time(probe: Probe) -> None:
    probe.configure(replace(H100, call_duration_s=0.03))
    out = probe.run("""
start = time.monotonic()
n.nvmlDeviceGetPowerUsage(h)
out["duration_s"] = time.monotonic() - start
""")
    assert out["duration_s"] >= 0.03


def test_preload_serves_a_process_that_was_started_without_the_environment(probe: Probe, library_path: Path) -> None:
    probe.configure(replace(H100, load=(constant(30.0),)))
    program = (
        "import os, sys; from pathlib import Path; from tests.fake_nvml import library as f;"
        "os.environ['FAKE_NVML_CONFIG'] = sys.argv[2]; lib = f.preload(Path(sys.argv[1]));"
        "import pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); f.set_clock(lib, 500.05);"
        "a = n.nvmlDeviceGetTotalEnergyConsumption(h); f.set_clock(lib, 501.05);"
        "b = n.nvmlDeviceGetTotalEnergyConsumption(h); f.set_clock(lib, None);"
        "print(b - a, n.nvmlDeviceGetTotalEnergyConsumption(h) - b)"
    )
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", program, str(library_path), str(probe.config_path)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=20, check=True)
    step_mj, rest_mj = (int(word) for word in finished.stdout.split())
    assert step_mj == pytest.approx(100_000, abs=1.001)
    assert rest_mj == pytest.approx(100_000 * (time.monotonic() - 501.05), rel=0.5)


def test_truth_leaves_this_process_without_nvml(library_path: Path, config_path: Path) -> None:
    write_config(config_path, [H100])
    Truth(library_path, config_path).energy_j(0, 0.0, 1.0)
    mapped = Path("/proc/self/maps").read_text()
    assert fake.TRUTH_NAME in mapped
    assert str(library_path) not in mapped


def test_build_is_cached_and_says_what_is_missing(
    tmp_path: Path, library_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fake.build(library_path.parents[1]) == library_path
    with pytest.raises(fake.FakeNvmlBuildError, match="no C compiler"):
        fake.build(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: burst(2.0, 1.0, 50.0), "ends at 1.0 s"),
        (lambda: square_wave(1.0, period_s=0.0, duty=0.5), "positive period"),
        (lambda: square_wave(1.0, period_s=1.0, duty=0.0), "duty"),
        (lambda: ramp(0.0, math.inf, 0.0, 1.0), "finite instants"),
        (lambda: decay(-math.inf, 1.0, time_constant_s=1.0), "finite start"),
        (lambda: constant(math.nan), "not finite"),
        (lambda: replace(H100, tick_s=0.0), "tick_s must be positive"),
        (lambda: replace(H100, tick_jitter_s=0.1), "ticks would swap"),
    ],
)
def test_impossible_boards_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_call_can_be_made_to_answer_anything_for_a_while(probe: Probe) -> None:
    probe.configure(
        replace(
            H100,
            answers=(
                Answer("field:186", 0, 1000.0, 1001.0),
                Answer("nvmlDeviceGetPowerUsage", 5_000_000, 1000.0, 1001.0),
                Answer("nvmlDeviceGetTotalEnergyConsumption", 7, 1000.0, 1001.0),
            ),
        )
    )
    out = probe.run("""
for key, time_s in (("before", 999.9), ("while", 1000.5), ("after", 1001.0)):
    at(time_s)
    power_mw, energy_mj = (field(h, number)[0][2] for number in (186, 83))
    out[key] = [power_mw, n.nvmlDeviceGetPowerUsage(h), n.nvmlDeviceGetTotalEnergyConsumption(h), energy_mj]
""")
    assert out["while"] == [0, 5_000_000, 7, 7]
    assert out["before"][:2] == out["after"][:2] == [70_000, 70_000]
    assert out["after"][2] == out["after"][3] > out["before"][2] > 1_000_000


@pytest.mark.parametrize(("code", "refused"), [(0, [0, 1, 0]), (3, [3, 1, 0])])
def test_a_shy_board_does_not_like_to_be_asked_again_soon(probe: Probe, code: int, refused: list[int]) -> None:
    probe.configure(replace(H100, power_shy_s=0.1, power_shy_code=code))
    out = probe.run("""
out["w"] = []
for time_s in (1000.0, 1000.05, 1000.09, 1000.11, 1000.15, 1000.3):
    at(time_s)
    out["w"] += field(h, 186)
""")
    fine = [0, 1, 70_000]
    assert out["w"] == [fine, refused, refused, fine, refused, fine]


def test_nvml_can_be_shut_down_by_somebody_else_once(probe: Probe) -> None:
    probe.configure(H100, system=System(shutdown_at_s=1e9))
    out = probe.run("""
at(1e9 - 1.0)
out["before"] = error(n.nvmlDeviceGetPowerUsage, h)
at(1e9)
out["then"] = [error(n.nvmlDeviceGetPowerUsage, h), error(n.nvmlDeviceGetPowerUsage, h)]
n.nvmlInit()
h = n.nvmlDeviceGetHandleByIndex(0)
out["again"] = error(n.nvmlDeviceGetPowerUsage, h)
""")
    assert out["before"] == out["again"] == {"value": 70_000}
    assert out["then"] == ["NVMLError_Uninitialized"] * 2


def test_a_board_warms_up(probe: Probe) -> None:
    warming = {"temperature_end_c": 84.0, "temperature_start_s": 1000.0, "temperature_time_constant_s": 10.0}
    probe.configure(replace(H100, **warming))  # type: ignore[arg-type]
    out = probe.run("""
out["c"] = []
for time_s in (900.0, 1000.0, 1010.0, 1100.0):
    at(time_s)
    out["c"].append([n.nvmlDeviceGetTemperatureV(h, 0), n.nvmlDeviceGetTemperature(h, 0)])
""")
    after_one_s = round(34.0 + 50.0 * (1.0 - math.exp(-1.0)))
    assert out["c"] == [[value, value] for value in (34, 34, after_one_s, 84)]


def test_a_modules_sensor_covers_its_cpu_and_the_truth_does_not(probe: Probe, library_path: Path) -> None:
    probe.configure(GH200)
    out = probe.run("""
at(2000.05)
first = n.nvmlDeviceGetTotalEnergyConsumption(h)
out["power"] = field(h, 186)[0][2]
at(2010.05)
out["j"] = (n.nvmlDeviceGetTotalEnergyConsumption(h) - first) / 1000.0
out["c2c"] = n.nvmlDeviceGetC2cModeInfoV(h).isC2cEnabled
""")
    assert out == {"power": 220_000, "j": pytest.approx(2200.0, abs=0.0011), "c2c": 1}
    assert Truth(library_path, probe.config_path).energy_j(0, 2000.0, 2010.0) == pytest.approx(700.0)


def test_a_slow_board_refreshes_twice_a_second(probe: Probe) -> None:
    probe.configure(replace(RTX_4090_SLOW, load=(ramp(1000.0, 1100.0, 0.0, 100.0),)))
    out = probe.run("""
seen = {"j": [], "w": []}
for k in range(400):
    at(1010.0 + 0.01 * k)
    seen["j"].append(n.nvmlDeviceGetTotalEnergyConsumption(h))
    seen["w"].append(field(h, 186)[0][2])
for key, values in seen.items():
    out[key] = [k for k in range(1, len(values)) if values[k] != values[k - 1]]
""")
    for changes in out.values():
        assert len(changes) in {7, 8}
        assert {later - earlier for earlier, later in itertools.pairwise(changes)} == {50}


def test_a_query_begins_late_and_leaves_a_tail(library_path: Path, config_path: Path) -> None:
    load = query(1000.0, 1001.0, 300.0, launch_delay_s=0.1, tail_w=50.0, tail_time_constant_s=0.2)
    write_config(config_path, [replace(H100, load=load)])
    truth = Truth(library_path, config_path)
    assert truth.energy_j(0, 1000.0, 1001.0) == pytest.approx(70.0 + 270.0)
    assert truth.energy_j(0, 1001.0, 1101.0) == pytest.approx(7000.0 + 10.0)
    assert truth.power_w(0, 1000.05) == pytest.approx(70.0)
    assert query(1000.0, 1001.0, 300.0) == (burst(1000.0, 1001.0, 300.0),)
