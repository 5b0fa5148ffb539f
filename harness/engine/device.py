"""Which device runs the model, decided once and never silently.

Knows torch's view of the machine, and is told NVML's. A GPU that NVML sees and torch cannot use is an error:
falling back to the CPU there would measure something else than was asked for.
"""

from __future__ import annotations

import gc
import re
import warnings
from pathlib import Path

import torch

from harness.errors import EnvironmentFault, UsageError

_CUDA = re.compile(r"cuda(:\d+)?")


def resolve_device(requested: str, n_nvml_gpus: int | None, driver: str | None = None) -> str:
    """`cpu`, `cuda` or `cuda:N`.

    Args:
        requested: `auto`, `cpu`, `cuda` (the first board, and the next ones where the model needs them) or
            `cuda:N` (that board alone).
        n_nvml_gpus: GPUs that the driver knows; None: there is no driver.
        driver: Its version, for the message.

    Raises:
        UsageError: Another word, or a board number that torch does not have.
        EnvironmentFault: There is a GPU, or one was asked for, and torch cannot use it.
    """
    if requested == "cpu":
        return "cpu"
    if requested != "auto" and not _CUDA.fullmatch(requested):
        raise UsageError(f"Unknown device {requested!r}.", "Known: auto, cpu, cuda, cuda:N.")
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")  # torch explains a driver that is too old in a warning
        available = torch.cuda.is_available()
        n_boards = torch.cuda.device_count() if available else 0
    if not available:
        if requested == "auto" and not n_nvml_gpus:
            return "cpu"
        raise _unusable(n_nvml_gpus, driver, [str(complaint.message) for complaint in complaints])
    device = "cuda" if requested == "auto" else requested
    index = int(device.partition(":")[2] or 0)
    if index >= n_boards:
        raise UsageError(
            f"There is no {device}: torch sees {n_boards} GPU(s).",
            f"Use cuda:0 to cuda:{n_boards - 1}; CUDA_VISIBLE_DEVICES limits and renumbers them.",
        )
    _try_out(index, driver)
    return device


def synchronize(cuda_indices: tuple[int, ...]) -> None:
    """Wait until these boards have finished everything that was queued.

    Only boards that hold the model: asking another one would create a context on it, which costs power.
    """
    for index in cuda_indices:
        torch.cuda.synchronize(index)


def empty_cache() -> None:
    """Give memory that nothing holds any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_name(cuda_indices: tuple[int, ...]) -> str:
    """The boards that hold the model, or the processor."""
    if cuda_indices:
        return ", ".join(torch.cuda.get_device_name(index) for index in cuda_indices)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "cpu")


def _unusable(n_nvml_gpus: int | None, driver: str | None, complaints: list[str]) -> EnvironmentFault:
    """Why torch cannot use the GPU, as far as it can be told from here."""
    build = f"torch {torch.__version__}"
    cuda = torch.version.cuda
    if not n_nvml_gpus:
        return EnvironmentFault(
            f"A GPU was asked for, and the driver shows none ({build}).",
            "`nvidia-smi` must list it: load the driver, or give the container its GPUs (`--gpus all`, `--nv`). "
            "Without a GPU: `--device cpu`.",
        )
    seen = f"NVML sees {n_nvml_gpus} GPU(s), driver {driver or 'unknown'}"
    if cuda is None:
        return EnvironmentFault(
            f"{seen}, and {build} is a build for CPUs only.",
            "Install a CUDA build: `pip install --force-reinstall torch --index-url "
            "https://download.pytorch.org/whl/cu126` (or the one for your driver, see "
            "https://pytorch.org/get-started). To measure the CPU instead: `--device cpu`.",
        )
    why = f" It says: {' '.join(complaints[0].split())[:300]}" if complaints else ""
    return EnvironmentFault(
        f"{seen}, and {build} for CUDA {cuda} cannot use it.{why}",
        "Update the driver, or install a torch build for an older CUDA (https://pytorch.org/get-started); check "
        "that CUDA_VISIBLE_DEVICES is not empty. To measure the CPU instead: `--device cpu`.",
    )


def _try_out(index: int, driver: str | None) -> None:
    """Run one kernel: a build without code for this board is only found out by running something."""
    try:
        torch.zeros(1, device=f"cuda:{index}").add_(1)
        torch.cuda.synchronize(index)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise EnvironmentFault(
            f"cuda:{index} is there, and torch {torch.__version__} for CUDA {torch.version.cuda} cannot compute on "
            f"it (driver {driver or 'unknown'}): {reason}",
            "If it lacks code for this board, install a newer torch build (https://pytorch.org/get-started); if "
            "the board is in exclusive use, stop the other process. CPU instead: `--device cpu`.",
        ) from error
