"""What NVML says about boards and driver.

Knows NVML's calls and units, and no other library. It reads no energy for a measurement: that is the meter's
sensor. A call that a board or driver does not support gives None; only NVML missing as a whole is a fault.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import psutil
from pydantic import Field

from harness.records import Board, Record
from harness.units import J_PER_MJ, W_PER_MW

FIELD_POWER_AVERAGE = 185
FIELD_POWER_INSTANT = 186
UNION_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Of a field's value, by its `valueType`."""

MODULES = ("GH200", "GB200", "GB300")
"""Parts of the names of boards that share a module, and its sensor, with a CPU."""
VGPU_GUEST = 2
"""`NVML_GPU_VIRTUALIZATION_MODE_VGPU`."""

_LOCATE_DRIVER = (
    "Install the NVIDIA driver; in a container give it the GPU and the capability `utility` (docs/where-it-runs.md)."
)
_FAULTS = {
    4: ("The NVIDIA driver refuses this user.", "Join the group that owns /dev/nvidia* (often `video`)."),
    9: ("The NVIDIA driver is installed but not loaded.", "Run `sudo modprobe nvidia`, or reboot."),
    12: ("There is no NVIDIA driver: libnvidia-ml.so.1 was not found.", _LOCATE_DRIVER),
    18: ("The NVIDIA driver was updated while the old one is still loaded.", "Reboot."),
}
"""By NVML return code."""


class GpuProcess(Record):
    """A process of somebody on a board. In a container the number may be the host's, and the name unknown."""

    pid: int
    name: str | None
    kind: Literal["compute", "display"]
    memory_bytes: int | None


class BoardState(Record):
    """What a board shows right now. None: it does not say.

    `power_usage_w` is NVML's oldest power reading: a mean over 1 s on Ampere (except A100) and newer boards.
    """

    index: int
    memory_used_bytes: int | None
    temperature_c: float | None
    utilization_percent: float | None
    power_instant_w: float | None
    power_average_w: float | None
    power_usage_w: float | None
    energy_counter_j: float | None
    vgpu: bool | None
    processes: tuple[GpuProcess, ...] | None = Field(
        description="without those of this program, or of a server that it measures"
    )
    lists_us: bool = Field(default=False, description="one of those is listed by its number")
    module_scope: bool = Field(default=False, description="the sensor covers a CPU and its memory too")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLimits:
    """What a board may draw at most, in watts, and what it lets itself be told. None: it does not say."""

    limit_w: float
    default_w: float | None
    least_w: float | None
    most_w: float | None


@dataclass(frozen=True, slots=True)
class NvmlFault:
    """Why NVML as a whole cannot be asked."""

    what: str
    next_step: str


class Nvml:
    """An initialized NVML."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def ask(self, name: str, *arguments: object) -> Any:
        """Call NVML's function `name`; None where board, driver or package do not know it.

        Another library in this process may have shut NVML down: then it is started again.
        """
        call = getattr(self._library, name, None)
        if call is None:
            return None
        try:
            return call(*arguments)
        except self._library.NVMLError as error:
            if error.value != self._library.NVML_ERROR_UNINITIALIZED:
                return None
        try:
            self._library.nvmlInit()
            return call(*arguments)
        except self._library.NVMLError:
            return None

    @property
    def driver(self) -> str | None:
        """Version of the kernel driver."""
        version = self.ask("nvmlSystemGetDriverVersion")
        return None if version is None else str(version)

    @property
    def cuda(self) -> str | None:
        """The newest CUDA version that the driver can run."""
        version = self.ask("nvmlSystemGetCudaDriverVersion_v2")
        return None if version is None else f"{version // 1000}.{version % 1000 // 10}"

    @property
    def n_boards(self) -> int:
        """Boards that the driver lists, those that do not answer included."""
        return int(self.ask("nvmlDeviceGetCount") or 0)

    def handles(self) -> dict[str, tuple[int, Any]]:
        """Index and handle by UUID, in NVML's order (PCI order). A board that does not answer is left out."""
        found: dict[str, tuple[int, Any]] = {}
        for index in range(self.n_boards):
            handle = self.ask("nvmlDeviceGetHandleByIndex", index)
            uuid = None if handle is None else self.ask("nvmlDeviceGetUUID", handle)
            if uuid is not None:
                found[str(uuid)] = (index, handle)
        return found

    def boards(self) -> list[Board]:
        """Every board that answers, in NVML's order."""
        return [self._board(uuid, handle) for uuid, (_, handle) in self.handles().items()]

    def mig_parents(self) -> dict[str, str]:
        """The board's UUID by the UUID of each of its MIG slices."""
        parents: dict[str, str] = {}
        for uuid, (_, handle) in self.handles().items():
            if not _switched_on(self.ask("nvmlDeviceGetMigMode", handle)):
                continue
            for position in range(self.ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
                slice_handle = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, position)
                slice_uuid = None if slice_handle is None else self.ask("nvmlDeviceGetUUID", slice_handle)
                if slice_uuid is not None:
                    parents[str(slice_uuid)] = uuid
        return parents

    def states(self, served_by: Collection[int] = ()) -> dict[str, BoardState]:
        """What every board shows now, by UUID.

        Args:
            served_by: Processes that count as this one's, though it did not start them: a server's.
        """
        return {uuid: self._state(index, handle, served_by) for uuid, (index, handle) in self.handles().items()}

    def computing(self) -> dict[str, frozenset[int] | None]:
        """The numbers of those that compute on every board, by UUID; None: it does not say."""
        listed: dict[str, frozenset[int] | None] = {}
        for uuid, (_, handle) in self.handles().items():
            processes = self.ask("nvmlDeviceGetComputeRunningProcesses", handle)
            listed[uuid] = None if processes is None else frozenset(process.pid for process in processes)
        return listed

    def powers_w(self) -> dict[str, float]:
        """Power of every board now, in watts, by UUID; without those that do not say."""
        powers: dict[str, float] = {}
        for uuid, (_, handle) in self.handles().items():
            power_w = self._field_w(handle, FIELD_POWER_INSTANT) or _watts(self.ask("nvmlDeviceGetPowerUsage", handle))
            if power_w:
                powers[uuid] = power_w
        return powers

    def tenants(self) -> dict[str, bool]:
        """Whether this process, or one that it started, is among those that compute on a board, by UUID.

        Boards that list nobody are left out. Far cheaper than `states`: to be asked while something is measured.
        """
        return {uuid: any(map(_is_ours, pids)) for uuid, pids in self.computing().items() if pids}

    def power_limits(self, uuids: Collection[str]) -> dict[str, PowerLimits]:
        """The limits of these boards, by UUID. A board that does not tell its limit is left out."""
        found: dict[str, PowerLimits] = {}
        for uuid, (_, handle) in self.handles().items():
            limit_w = _watts(self.ask("nvmlDeviceGetPowerManagementLimit", handle)) if uuid in uuids else None
            if limit_w is not None:
                ends = self.ask("nvmlDeviceGetPowerManagementLimitConstraints", handle)
                found[uuid] = PowerLimits(
                    limit_w=limit_w,
                    default_w=_watts(self.ask("nvmlDeviceGetPowerManagementDefaultLimit", handle)),
                    least_w=None if ends is None else _watts(ends[0]),
                    most_w=None if ends is None else _watts(ends[1]),
                )
        return found

    def set_power_limit(self, uuid: str, power_limit_w: float) -> str | None:
        """Tell a board what it may draw at most.

        The only call of this program that changes a setting of a board. It is made where somebody asked for it
        (`--power-limit`), and to set back what was so changed.

        Returns:
            None where the driver took it, otherwise what it said.
        """
        try:
            handle = self._library.nvmlDeviceGetHandleByUUID(uuid)
            self._library.nvmlDeviceSetPowerManagementLimit(handle, round(power_limit_w / W_PER_MW))
        except self._library.NVMLError as error:
            return str(error)
        return None

    def tick_periods_s(self, uuids: Collection[str], duration_s: float = 1.5) -> dict[str, float | None]:
        """Seconds between updates of the energy counters, by UUID.

        Args:
            uuids: Boards that have a counter.
            duration_s: How long to look at most; three updates of every counter are enough.

        Returns:
            None for a counter that moved less than twice.
        """
        handles = {uuid: handle for uuid, (_, handle) in self.handles().items() if uuid in uuids}
        last = {uuid: self._energy_j(handle) for uuid, handle in handles.items()}
        moved_s: dict[str, list[float]] = {uuid: [] for uuid in handles}
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s and any(len(times) < 4 for times in moved_s.values()):
            for uuid, handle in handles.items():
                energy_j = self._energy_j(handle)
                if energy_j is not None and energy_j != last[uuid]:
                    moved_s[uuid].append(time.monotonic())
                    last[uuid] = energy_j
            time.sleep(0.002)
        return {
            uuid: statistics.median(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else None
            for uuid, times in moved_s.items()
        }

    def _board(self, uuid: str, handle: Any) -> Board:
        memory = self.ask("nvmlDeviceGetMemoryInfo", handle)
        capability = self.ask("nvmlDeviceGetCudaComputeCapability", handle)
        persistence = self.ask("nvmlDeviceGetPersistenceMode", handle)
        return Board(
            uuid=uuid,
            name=str(self.ask("nvmlDeviceGetName", handle) or "unnamed NVIDIA board"),
            memory_bytes=None if memory is None else int(memory.total),
            power_limit_default_w=_watts(self.ask("nvmlDeviceGetPowerManagementDefaultLimit", handle)),
            power_limit_w=_watts(self.ask("nvmlDeviceGetPowerManagementLimit", handle)),
            ecc=_switched_on(self.ask("nvmlDeviceGetEccMode", handle)),
            mig=_switched_on(self.ask("nvmlDeviceGetMigMode", handle)),
            persistence=None if persistence is None else bool(persistence),
            compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        )

    def _state(self, index: int, handle: Any, served_by: Collection[int]) -> BoardState:
        memory = self._memory(handle)
        temperature_c = self.ask("nvmlDeviceGetTemperatureV", handle, 0)
        if temperature_c is None:  # the older call, which newer drivers announce to drop
            temperature_c = self.ask("nvmlDeviceGetTemperature", handle, 0)
        utilization = self.ask("nvmlDeviceGetUtilizationRates", handle)
        virtualization = self.ask("nvmlDeviceGetVirtualizationMode", handle)
        processes, lists_us = self._processes(handle, served_by)
        c2c = self.ask("nvmlDeviceGetC2cModeInfoV", handle)
        name = str(self.ask("nvmlDeviceGetName", handle))
        return BoardState(
            index=index,
            memory_used_bytes=None if memory is None else int(memory.used),
            temperature_c=temperature_c,
            utilization_percent=None if utilization is None else float(utilization.gpu),
            power_instant_w=self._field_w(handle, FIELD_POWER_INSTANT),
            power_average_w=self._field_w(handle, FIELD_POWER_AVERAGE),
            power_usage_w=_watts(self.ask("nvmlDeviceGetPowerUsage", handle)) or None,
            energy_counter_j=self._energy_j(handle),
            vgpu=None if virtualization is None else virtualization == VGPU_GUEST,
            processes=processes,
            lists_us=lists_us,
            module_scope=bool(c2c is not None and c2c.isC2cEnabled) or any(module in name for module in MODULES),
        )

    def _memory(self, handle: Any) -> Any:
        """What is used and what is reserved are told apart by newer drivers only."""
        version = getattr(self._library, "nvmlMemory_v2", None)
        newer = None if version is None else self.ask("nvmlDeviceGetMemoryInfo", handle, version)
        return newer or self.ask("nvmlDeviceGetMemoryInfo", handle)

    def _energy_j(self, handle: Any) -> float | None:
        energy_mj = self.ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        return None if energy_mj is None else float(energy_mj) * J_PER_MJ

    def _field_w(self, handle: Any, field: int) -> float | None:
        values = self.ask("nvmlDeviceGetFieldValues", handle, [field])
        if values is None or values[0].nvmlReturn != self._library.NVML_SUCCESS:
            return None
        # Some boards answer 0 mW, with success, to what they do not support.
        return _watts(getattr(values[0].value, UNION_MEMBERS[values[0].valueType])) or None

    def _processes(self, handle: Any, served_by: Collection[int]) -> tuple[tuple[GpuProcess, ...] | None, bool]:
        """Those of others, None where the board does not say; and whether ours is among those that it lists."""
        compute = self.ask("nvmlDeviceGetComputeRunningProcesses", handle)
        display = self.ask("nvmlDeviceGetGraphicsRunningProcesses", handle)
        if compute is None and display is None:
            return None, False
        ours, lists_us = _our_processes() | set(served_by), False
        # Compute last: a process that does both computes.
        found: dict[int, GpuProcess] = {}
        kinds: tuple[tuple[Literal["compute", "display"], Any], ...] = (
            ("display", display or ()),
            ("compute", compute or ()),
        )
        for kind, processes in kinds:
            for process in processes:
                if process.pid in ours:
                    lists_us = True
                else:
                    found[process.pid] = GpuProcess(
                        pid=process.pid,
                        name=_process_name(process.pid),
                        kind=kind,
                        memory_bytes=process.usedGpuMemory,
                    )
        return tuple(found.values()), lists_us


_opened: dict[int, Nvml] = {}
"""By process number: NVML's state does not survive a fork. Never shut down, so that no other client's
shutdown ends it, and because starting and stopping NVML in a loop is slow and has hit driver bugs."""


def open_nvml() -> Nvml | NvmlFault:
    """NVML, initialized once per process; a failure is tried again at the next call."""
    nvml = _opened.get(os.getpid())
    if nvml is not None:
        return nvml
    try:
        import pynvml
    except ModuleNotFoundError:
        return NvmlFault("The package nvidia-ml-py is not installed.", "Run `pip install nvidia-ml-py`.")
    if not hasattr(pynvml, "_nvmlGetFunctionPointer"):
        return NvmlFault(
            "Another package stands in the place of nvidia-ml-py's module `pynvml`.",
            "Run `pip uninstall pynvml nvidia-ml-py3`, then `pip install --force-reinstall nvidia-ml-py`.",
        )
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        # By number: comparing these exceptions with anything else raises.
        unknown = (f"NVML does not start: {error}.", "Run `nvidia-smi`: it shows the driver's own words.")
        return NvmlFault(*_FAULTS.get(error.value, unknown))
    _opened[os.getpid()] = nvml = Nvml(pynvml)
    return nvml


def _watts(power_mw: int | None) -> float | None:
    return None if power_mw is None else float(power_mw) * W_PER_MW


def _switched_on(current_and_pending: tuple[int, int] | list[int] | None) -> bool | None:
    return None if current_and_pending is None else bool(current_and_pending[0])


def _our_processes() -> set[int]:
    """This process and all that it started."""
    return {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}


def _is_ours(pid: int) -> bool:
    """The same of one process, which costs less than to look for all."""
    if pid == os.getpid():
        return True
    try:
        return any(parent.pid == os.getpid() for parent in psutil.Process(pid).parents())
    except psutil.Error:  # of another container, or gone
        return False


def _process_name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:  # of another container, or gone
        return None
