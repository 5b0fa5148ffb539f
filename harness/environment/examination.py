"""Looks at this machine and says what can be measured.

    facts (nvml, rapl, machine, torch) -> checks, one per fact -> verdicts, one per boundary

Prints nothing and measures no query. torch is asked in a process of its own, and only where there is a GPU for
it, so an examination takes a second or two.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import harness
from harness.environment import gpu_checks, host_checks
from harness.environment.diagnosis import Diagnosis, GpuFacts, TorchProbe
from harness.environment.machine import is_virtual_machine, is_wsl, site
from harness.environment.nvml import Nvml, NvmlFault, open_nvml
from harness.environment.rapl import POWERCAP, rapl_zones
from harness.environment.visibility import resolve_visible

PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA_PCI_VENDOR = "0x10de"
TORCH_TIMEOUT_S = 60.0

_TORCH_PROGRAM = """
import torch
from harness.environment.diagnosis import TorchProbe
error = None
try:
    torch.zeros(1, device="cuda").cpu()
except (RuntimeError, AssertionError) as raised:
    error = str(raised).splitlines()[0]
n_devices = torch.cuda.device_count()
print(TorchProbe(cuda_build=torch.version.cuda, n_devices=n_devices, error=error).model_dump_json())
"""
"""A tensor on the GPU, because `torch.cuda.is_available()` can be True where nothing works."""


def examine(results_dir: Path, powercap: Path = POWERCAP) -> Diagnosis:
    """Everything that `harness doctor` says.

    Args:
        results_dir: Where runs would be written; it need not exist.
        powercap: The kernel's directory of RAPL zones.
    """
    nvml = open_nvml()
    here = site(None)
    gpus = _gpus(nvml) if isinstance(nvml, Nvml) else ()
    torch_version = here.packages.get("torch")
    probe = _probe_torch() if gpus and torch_version is not None else None
    zones = rapl_zones(powercap)
    driver = gpu_checks.driver_check(
        fault=nvml if isinstance(nvml, NvmlFault) else None,
        driver=here.driver,
        cuda=here.cuda,
        n_listed=nvml.n_boards if isinstance(nvml, Nvml) else 0,
        n_answering=len(gpus),
        on_pci_bus=_nvidia_on_pci_bus(),
    )
    rapl = host_checks.rapl_check(zones, here.container, is_virtual_machine(), is_wsl())
    estimate = host_checks.estimate_check(here.packages.get("codecarbon"))
    place, free_bytes, writable = _room(results_dir)
    checks = [
        host_checks.platform_check(sys.platform, here.platform, is_wsl()),
        host_checks.container_check(here.container),
        driver,
        host_checks.disk_check(place, free_bytes, writable),
        host_checks.packages_check(here.python, here.packages),
        gpu_checks.torch_check(torch_version, probe, here.driver, here.cuda, len(gpus)),
    ]
    if isinstance(nvml, Nvml) and gpus:
        environ_value = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = resolve_visible(environ_value, [gpu.board.uuid for gpu in gpus], mig_parents=nvml.mig_parents())
        device_order = os.environ.get("CUDA_DEVICE_ORDER")
        checks.append(gpu_checks.visibility_check(environ_value, visible, gpus, device_order))
    for gpu in gpus:
        checks += gpu_checks.board_checks(gpu)
    checks += [rapl, estimate]
    return Diagnosis(
        harness_version=harness.__version__,
        site=here,
        gpus=gpus,
        rapl=tuple(zones),
        torch=probe,
        checks=tuple(checks),
        verdicts=(gpu_checks.gpu_verdict(gpus, driver), host_checks.host_verdict(rapl, estimate)),
    )


def _gpus(nvml: Nvml) -> tuple[GpuFacts, ...]:
    states = nvml.states()
    periods_s = nvml.tick_periods_s([uuid for uuid, state in states.items() if state.energy_counter_j is not None])
    return tuple(
        GpuFacts(board=board, state=states[board.uuid], duration_tick_s=periods_s.get(board.uuid))
        for board in nvml.boards()
        if board.uuid in states
    )


def _probe_torch() -> TorchProbe | None:
    """None: it did not answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TORCH_PROGRAM],
            capture_output=True,
            text=True,
            timeout=TORCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return TorchProbe(cuda_build="unknown", n_devices=0, error=f"it does not start: {last[0]}")
    return TorchProbe.model_validate_json(done.stdout)


def _nvidia_on_pci_bus() -> bool | None:
    """Whether the kernel lists a display or 3D controller by NVIDIA; None where it lists no PCI devices."""
    if not PCI_DEVICES.is_dir():
        return None
    for device in PCI_DEVICES.iterdir():
        try:
            vendor = (device / "vendor").read_text(encoding="ascii").strip()
            kind = (device / "class").read_text(encoding="ascii")
        except OSError:
            continue
        if vendor == NVIDIA_PCI_VENDOR and kind.startswith("0x03"):
            return True
    return False


def _room(results_dir: Path) -> tuple[str, int, bool]:
    """The directory's name, free bytes there, and whether this user may write; of its nearest parent that exists."""
    place = results_dir.absolute()
    while not place.exists():
        place = place.parent
    return str(results_dir), shutil.disk_usage(place).free, os.access(place, os.W_OK)
