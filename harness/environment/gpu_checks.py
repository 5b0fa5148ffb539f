"""From facts about boards, driver and torch to checks and the verdict on the GPU board. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.environment.diagnosis import Check, GpuFacts, Status, TorchProbe, Verdict
from harness.environment.nvml import NvmlFault
from harness.environment.visibility import VisibleGpu
from harness.records import Boundary, Method

BYTES_PER_GIB = 2**30
TORCH_SELECTOR = "The selector on pytorch.org (get started, locally) gives the command."


def driver_check(
    fault: NvmlFault | None,
    driver: str | None,
    cuda: str | None,
    n_listed: int,
    n_answering: int,
    on_pci_bus: bool | None,
) -> Check:
    """Whether NVML answers.

    Args:
        fault: Why NVML as a whole does not; None: it does.
        driver: Its version.
        cuda: The newest CUDA that it runs.
        n_listed: Boards that the driver counts.
        n_answering: Boards that say who they are.
        on_pci_bus: Whether the kernel sees an NVIDIA board; None: it does not say.
    """
    if fault is not None and on_pci_bus is False:
        what = f"{fault.what} Nor is an NVIDIA board on the PCI bus."
        next_step = f"If this machine should have one: {fault.next_step}"
    elif fault is not None:
        what, next_step = fault.what, fault.next_step
    elif n_listed == 0:
        what = f"Driver {driver} lists no GPU."
        next_step = "In a container or job, ask for a GPU (docs/where-it-runs.md)."
    elif n_answering < n_listed:
        return Check(
            subject="machine",
            name="NVIDIA driver",
            status=Status.WARN,
            what=f"{driver}; {n_listed - n_answering} of {n_listed} GPUs do not answer.",
            next_step="Look for Xid messages in `dmesg`; a lost board needs a reset or a reboot.",
        )
    else:
        what = f"{driver or 'version unknown'}; runs CUDA up to {cuda or '(unknown)'}"
        return Check(subject="machine", name="NVIDIA driver", status=Status.OK, what=what)
    return Check(subject="machine", name="NVIDIA driver", status=Status.MISSING, what=what, next_step=next_step)


def visibility_check(
    environ_value: str | None, visible: Sequence[VisibleGpu], gpus: Sequence[GpuFacts], device_order: str | None
) -> Check:
    """What `CUDA_VISIBLE_DEVICES` leaves, given the value of `CUDA_DEVICE_ORDER`."""
    name, index = "CUDA_VISIBLE_DEVICES", {gpu.board.uuid: gpu.state.index for gpu in gpus}
    shown = ", ".join(f"GPU {index[gpu.uuid]}" + (f" ({gpu.mig})" if gpu.mig else "") for gpu in visible)
    if environ_value is not None and not visible:
        return Check(
            subject="software",
            name=name,
            status=Status.WARN,
            what=f"{environ_value!r} hides every GPU.",
            next_step="Run `unset CUDA_VISIBLE_DEVICES`, or name a GPU of this machine.",
        )
    if len({gpu.board.name for gpu in gpus}) > 1 and device_order != "PCI_BUS_ID":
        return Check(
            subject="software",
            name=name,
            status=Status.WARN,
            what="GPUs of different models: CUDA numbers the fastest first, nvidia-smi does not.",
            next_step="Run `export CUDA_DEVICE_ORDER=PCI_BUS_ID`, or name GPUs by UUID.",
        )
    what = "not set: every GPU" if environ_value is None else f"shows {shown}"
    return Check(subject="software", name=name, status=Status.OK, what=what)


def torch_check(
    version: str | None, probe: TorchProbe | None, driver: str | None, cuda: str | None, n_gpus: int
) -> Check:
    """Whether torch can use the GPU that NVML sees."""
    status, next_step = Status.MISSING, None
    if version is None:
        status = Status.WARN
        what = "not installed: no model runs in this process"
        next_step = "Run `pip install 'inference-energy-harness[transformers]'`."
    elif n_gpus == 0:
        status, what = Status.OK, f"{version}; no GPU to use"
    elif probe is None:
        status, what = Status.WARN, f"{version}; it did not answer within a minute"
        next_step = "Run `python -c 'import torch; print(torch.zeros(1).cuda())'`."
    elif probe.error is None:
        status, what = Status.OK, f"{version} uses {probe.n_devices} GPU(s)"
    elif probe.cuda_build is None:
        what = f"{version} is a build for CPUs: it cannot use the GPU."
        next_step = f"Install a torch for CUDA {cuda or '12'} or older. {TORCH_SELECTOR}"
    else:
        what = f"{version} (CUDA {probe.cuda_build}) cannot use the GPU under driver {driver}: {probe.error}"
        next_step = "Update the driver." if _older(cuda, probe.cuda_build) else "Check CUDA_VISIBLE_DEVICES."
        next_step += f" Or install a torch for CUDA {cuda or '12'} or older. {TORCH_SELECTOR}"
    return Check(subject="software", name="torch", status=status, what=what, next_step=next_step)


def board_checks(gpu: GpuFacts) -> list[Check]:
    """Everything about one board."""
    subject, board, state = f"GPU {gpu.state.index}", gpu.board, gpu.state

    def check(name: str, status: Status, what: str, next_step: str | None = None) -> Check:
        return Check(subject=subject, name=name, status=status, what=what, next_step=next_step)

    checks = [check("board", Status.OK, _describe(gpu))]
    if state.energy_counter_j is None:
        has_power = state.power_instant_w is not None
        checks.append(
            check(
                "energy counter",
                Status.WARN if has_power else Status.MISSING,
                "not supported (it came with Volta; vGPU guests and WSL2 often lack it)",
            )
        )
    elif gpu.duration_tick_s is None:
        checks.append(
            check(
                "energy counter",
                Status.WARN,
                f"stands still at {state.energy_counter_j:.3f} J",
                "Look whether `nvidia-smi -q -d POWER` changes.",
            )
        )
    else:
        checks.append(check("energy counter", Status.OK, f"moves about every {gpu.duration_tick_s:.3f} s"))
    for name, power_w, otherwise in (
        ("instantaneous power", state.power_instant_w, "not supported (NVML field 186)"),
        ("averaged power", state.power_average_w or state.power_usage_w, "not supported"),
    ):
        wanted = name == "instantaneous power"
        if power_w is not None:
            checks.append(check(name, Status.OK, f"{power_w:.1f} W"))
        else:
            checks.append(check(name, Status.WARN if wanted else Status.OK, otherwise))
    if board.persistence is False:
        checks.append(
            check(
                "persistence mode",
                Status.WARN,
                "off: the driver unloads with its last client, and the counter starts anew",
                f"Run `sudo nvidia-smi -i {state.index} -pm 1`.",
            )
        )
    else:
        checks.append(check("persistence mode", Status.OK, _on_off(board.persistence)))
    checks.append(check("ECC", Status.OK, _on_off(board.ecc)))
    if board.mig:
        checks.append(
            check(
                "MIG",
                Status.WARN,
                "on: the sensor sees the whole board, not a slice",
                f"Run `sudo nvidia-smi -i {state.index} -mig 0`, or read figures as an upper bound.",
            )
        )
    else:
        checks.append(check("MIG", Status.OK, _on_off(board.mig)))
    if state.vgpu:
        checks.append(
            check("vGPU", Status.WARN, "this is a vGPU guest: it shares the board, and its sensors are often off")
        )
    checks.append(_processes_check(subject, gpu))
    return checks


def gpu_verdict(gpus: Sequence[GpuFacts], driver: Check) -> Verdict:
    """Whether the energy of GPU boards can be measured, and by what."""
    by_sensor: dict[tuple[Method | None, str], list[str]] = {}
    for gpu in gpus:
        by_sensor.setdefault(_sensor(gpu), []).append(str(gpu.state.index))
    measured = {sensor: indices for sensor, indices in by_sensor.items() if sensor[0] is not None}
    blind = [index for sensor, indices in by_sensor.items() if sensor[0] is None for index in indices]
    if not measured:
        reason = driver.what.rstrip(".") if not gpus else "No GPU here gives energy or power"
        step = driver.next_step if not gpus else "vGPU guests, Jetson and some laptops have no sensor."
        return Verdict(
            boundary=Boundary.GPU_BOARD,
            method=None,
            sentence=f"GPU board energy: not measured. {reason}.",
            next_step=step,
        )
    parts = [f"by {phrase} (GPU {', '.join(indices)})" for (_, phrase), indices in measured.items()]
    without = f" Not on GPU {', '.join(blind)}, which gives neither energy nor power." if blind else ""
    methods = {method for method, _ in measured}
    return Verdict(
        boundary=Boundary.GPU_BOARD,
        method=Method.NVML_COUNTER if Method.NVML_COUNTER in methods else Method.NVML_POWER,
        sentence=f"GPU board energy: measured {'; '.join(parts)}.{without}",
    )


def _sensor(gpu: GpuFacts) -> tuple[Method | None, str]:
    if gpu.duration_tick_s is not None:
        shaped = " and instantaneous power" if gpu.state.power_instant_w is not None else ""
        return Method.NVML_COUNTER, f"the energy counter{shaped}"
    if gpu.state.power_instant_w is not None:
        return Method.NVML_POWER, "instantaneous power"
    if gpu.state.power_average_w is not None or gpu.state.power_usage_w is not None:
        return Method.NVML_POWER, "power that may be a mean over 1 s, so queries under 3 s stay unresolved"
    return None, ""


def _processes_check(subject: str, gpu: GpuFacts) -> Check:
    processes = gpu.state.processes
    name, status, next_step = "other processes", Status.OK, None
    if processes is None:
        what = "not reported"
    elif not processes:
        what = "none"
    else:
        what = "; ".join(f"{p.kind}: {p.name or 'not of this container'} ({p.pid})" for p in processes)
        status = Status.WARN
        next_step = "Stop them, or take another GPU: the board's energy includes theirs."
    return Check(subject=subject, name=name, status=status, what=what, next_step=next_step)


def _describe(gpu: GpuFacts) -> str:
    board, state = gpu.board, gpu.state
    parts = [board.name, board.uuid]
    if board.memory_bytes is not None:
        used = f", {state.memory_used_bytes / BYTES_PER_GIB:.1f} used" if state.memory_used_bytes else ""
        parts.append(f"{board.memory_bytes / BYTES_PER_GIB:.1f} GiB{used}")
    if board.power_limit_w is not None:
        default = board.power_limit_default_w
        usual = f" (default {default:.0f} W)" if default not in (None, board.power_limit_w) else ""
        parts.append(f"limit {board.power_limit_w:.0f} W{usual}")
    if state.temperature_c is not None:
        parts.append(f"{state.temperature_c:.0f} °C")
    if state.utilization_percent is not None:
        parts.append(f"{state.utilization_percent:.0f} % busy")
    return "; ".join(parts)


def _on_off(value: bool | None) -> str:
    return "not reported" if value is None else "on" if value else "off"


def _older(cuda: str | None, build: str) -> bool:
    """Whether `cuda` is known to be an older version than `build`."""
    versions = [re.match(r"(\d+)\.(\d+)", version or "") for version in (cuda, build)]
    mine, theirs = ([int(part) for part in found.groups()] if found else None for found in versions)
    return mine is not None and theirs is not None and mine < theirs
