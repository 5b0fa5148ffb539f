"""From facts about boards, driver, torch and kernel to checks and verdicts."""

from __future__ import annotations

import pytest

from harness.environment import gpu_checks, host_checks
from harness.environment.diagnosis import Check, GpuFacts, Status, TorchProbe
from harness.environment.nvml import BoardState, GpuProcess, NvmlFault
from harness.environment.rapl import RaplZone
from harness.environment.visibility import VisibleGpu
from harness.records import Board, Method

IDLE = BoardState(
    index=0,
    memory_used_bytes=2**30,
    temperature_c=34.0,
    utilization_percent=0.0,
    power_instant_w=70.0,
    power_average_w=71.0,
    power_usage_w=71.0,
    energy_counter_j=1234.5,
    vgpu=False,
    processes=(),
)
H100 = Board(
    uuid="GPU-1",
    name="NVIDIA H100",
    memory_bytes=80 * 2**30,
    power_limit_default_w=700.0,
    power_limit_w=500.0,
    ecc=True,
    mig=False,
    persistence=True,
)
NO_DRIVER = gpu_checks.driver_check(NvmlFault("No driver.", "Install it."), None, None, 0, 0, True)
READABLE = RaplZone(device="cpu-package-0", readable=True, moving=True)


def gpu(board: Board = H100, duration_tick_s: float | None = 0.1, **state: object) -> GpuFacts:
    return GpuFacts(board=board, state=IDLE.model_copy(update=state), duration_tick_s=duration_tick_s)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_healthy_board_has_no_doubts() -> None:
    checks = by_name(gpu_checks.board_checks(gpu()))
    assert {check.status for check in checks.values()} == {Status.OK}
    assert checks["board"].what == (
        "NVIDIA H100; GPU-1; 80.0 GiB, 1.0 used; limit 500 W (default 700 W); 34 °C; 0 % busy"
    )
    assert "0.100 s" in checks["energy counter"].what


@pytest.mark.parametrize(
    ("facts", "name", "word"),
    [
        (gpu(duration_tick_s=None), "energy counter", "stands still at 1234.500 J"),
        (gpu(duration_tick_s=None, energy_counter_j=None), "energy counter", "not supported"),
        (gpu(power_instant_w=None), "instantaneous power", "not supported"),
        (gpu(H100.model_copy(update={"persistence": False})), "persistence mode", "off"),
        (gpu(H100.model_copy(update={"mig": True})), "MIG", "whole board"),
        (gpu(vgpu=True), "vGPU", "guest"),
    ],
)
def test_doubtful_board(facts: GpuFacts, name: str, word: str) -> None:
    check = by_name(gpu_checks.board_checks(facts))[name]
    assert check.status is Status.WARN
    assert word in check.what


def test_other_processes_are_told_apart() -> None:
    processes = (
        GpuProcess(pid=7, name="Xorg", kind="display", memory_bytes=1),
        GpuProcess(pid=8, name=None, kind="compute", memory_bytes=None),
    )
    check = by_name(gpu_checks.board_checks(gpu(processes=processes)))["other processes"]
    assert check.what == "display: Xorg (7); compute: not of this container (8)"
    assert check.status is Status.WARN


@pytest.mark.parametrize(
    ("facts", "method", "phrase"),
    [
        (gpu(), Method.NVML_COUNTER, "by the energy counter and instantaneous power (GPU 0)"),
        (gpu(power_instant_w=None), Method.NVML_COUNTER, "by the energy counter (GPU 0)"),
        (gpu(duration_tick_s=None), Method.NVML_POWER, "by instantaneous power (GPU 0)"),
        (gpu(duration_tick_s=None, power_instant_w=None), Method.NVML_POWER, "mean over 1 s"),
        (
            gpu(duration_tick_s=None, power_instant_w=None, power_average_w=None, power_usage_w=None),
            None,
            "No GPU here gives energy or power",
        ),
    ],
)
def test_verdict_names_the_best_sensor(facts: GpuFacts, method: Method | None, phrase: str) -> None:
    verdict = gpu_checks.gpu_verdict([facts], NO_DRIVER)
    assert verdict.method is method
    assert verdict.measured is (method is not None)
    assert phrase in verdict.sentence


def test_verdict_tells_boards_apart() -> None:
    blind = gpu(duration_tick_s=None, index=1, power_instant_w=None, power_average_w=None, power_usage_w=None)
    verdict = gpu_checks.gpu_verdict([gpu(), blind], NO_DRIVER)
    assert "(GPU 0)" in verdict.sentence
    assert "Not on GPU 1" in verdict.sentence


def test_verdict_without_driver_says_why_and_what_to_do() -> None:
    verdict = gpu_checks.gpu_verdict([], NO_DRIVER)
    assert verdict.sentence == "GPU board energy: not measured. No driver."
    assert verdict.next_step == "Install it."


def test_driver_that_lost_a_board() -> None:
    check = gpu_checks.driver_check(None, "570", "12.8", 8, 7, True)
    assert check.status is Status.WARN
    assert "1 of 8" in check.what


@pytest.mark.parametrize(
    ("probe", "status", "what", "step"),
    [
        (TorchProbe(cuda_build="12.8", n_devices=1, error=None), Status.OK, "uses 1 GPU", ""),
        (TorchProbe(cuda_build=None, n_devices=0, error="no"), Status.MISSING, "build for CPUs", "12.8"),
        (TorchProbe(cuda_build="13.0", n_devices=0, error="old"), Status.MISSING, "old", "Update the driver"),
        (TorchProbe(cuda_build="12.6", n_devices=0, error="x"), Status.MISSING, "x", "CUDA_VISIBLE_DEVICES"),
        (TorchProbe(cuda_build="unknown", n_devices=0, error="x"), Status.MISSING, "x", "older"),
        (None, Status.WARN, "did not answer", "torch.zeros"),
    ],
)
def test_torch_and_the_gpu(probe: TorchProbe | None, status: Status, what: str, step: str) -> None:
    check = gpu_checks.torch_check("2.13.0", probe, "570", "12.8", n_gpus=1)
    assert check.status is status
    assert what in check.what
    assert step in (check.next_step or "")


def test_torch_where_there_is_nothing_to_use() -> None:
    assert gpu_checks.torch_check("2.13.0", None, None, None, n_gpus=0).status is Status.OK
    assert gpu_checks.torch_check(None, None, None, None, n_gpus=0).status is Status.WARN


def test_visibility() -> None:
    shown = (VisibleGpu("GPU-1", mig="MIG-1"),)
    assert "hides" in gpu_checks.visibility_check("-1", (), [gpu()], None).what
    assert gpu_checks.visibility_check("MIG-1", shown, [gpu()], None).what == "shows GPU 0 (MIG-1)"
    other = gpu(H100.model_copy(update={"name": "NVIDIA L4", "uuid": "GPU-2"}), index=1)
    mixed = gpu_checks.visibility_check(None, (), [gpu(), other], None)
    assert "export CUDA_DEVICE_ORDER" in (mixed.next_step or "")
    assert gpu_checks.visibility_check(None, (), [gpu(), other], "PCI_BUS_ID").status is Status.OK


@pytest.mark.parametrize(
    ("zones", "container", "virtual", "wsl", "word"),
    [
        ([], None, False, True, "WSL2"),
        ([], "docker", True, False, "Virtual machines"),
        ([], "docker", False, False, "container"),
        ([], None, None, False, "modprobe"),
        ([READABLE.model_copy(update={"readable": False})], None, False, False, "sudo chmod a+r"),
        ([READABLE.model_copy(update={"readable": False})], "docker", False, False, "On the host, run"),
        ([READABLE, RaplZone(device="dram-0", readable=False, moving=None)], None, False, False, "chmod"),
        ([READABLE.model_copy(update={"moving": False})], None, True, False, "stand still"),
    ],
)
def test_rapl_that_cannot_be_used(
    zones: list[RaplZone], container: str | None, virtual: bool | None, wsl: bool, word: str
) -> None:
    check = host_checks.rapl_check(zones, container, virtual, wsl)
    assert check.status is Status.MISSING
    assert word in f"{check.what} {check.next_step}"
    assert host_checks.host_verdict(check, host_checks.estimate_check("3")).method is Method.ESTIMATED
    assert host_checks.host_verdict(check, host_checks.estimate_check(None)).method is None


def test_rapl_that_can_be_used() -> None:
    check = host_checks.rapl_check([READABLE], None, None, wsl=False)
    verdict = host_checks.host_verdict(check, host_checks.estimate_check(None))
    assert verdict.method is Method.RAPL
    assert verdict.sentence == "Host energy: measured by RAPL: cpu-package-0 (no zone for DRAM)."


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_say_in_one_sentence_what_does_not_work(system: str) -> None:
    check = host_checks.platform_check(system, "", wsl=False)
    assert check.status is Status.MISSING
    assert check.what.count(".") == 1


def test_disk() -> None:
    assert host_checks.disk_check("results", 2**40, writable=True).status is Status.OK
    assert host_checks.disk_check("results", 2**20, writable=True).status is Status.WARN
    assert host_checks.disk_check("results", 2**40, writable=False).status is Status.MISSING
