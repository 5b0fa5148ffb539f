"""Builds the fake `libnvidia-ml.so.1`, describes its boards, and tells the truth about them.

A test writes a configuration (`write_config`), starts a subprocess in `environment(...)` so that pynvml loads
the fake library, and compares what the subprocess measured with `Truth`. All instants are CLOCK_MONOTONIC
seconds, which is what `time.monotonic()` and `time.perf_counter()` return on Linux.

To change a load or trigger a fault while another process measures, write the configuration again: a process
looks at the file with its NVML calls, at most every 50 ms. The counter is a function of the whole load since
`counter_origin_s`, so rewriting the past would make it jump; let changes begin at least `SETTLE_S` in the
future (see `Board.switched`).

A power limit that a process sets is appended to `<configuration>.limits`, a line each (`limits_set`); the last one
of a board holds, in every process. Who may not set it is a `Fault` of that call with the code 4.

Nothing here knows the meter that is tested with it.
"""

import ctypes
import dataclasses
import hashlib
import math
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("fake_nvml.c")
SONAME = "libnvidia-ml.so.1"
TRUTH_NAME = "fake_nvml_truth.so"
FLAGS = ("-std=c11", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS = ("cc", "gcc", "clang")

SETTLE_S = 0.15
"""A change of load this far ahead is known to every polling process before it happens."""

NEVER_S = math.inf
ALWAYS_S = -math.inf


class FakeNvmlBuildError(RuntimeError):
    """The library could not be compiled; the message holds the compiler's words or how to get a compiler."""


@dataclass(frozen=True, slots=True)
class Component:
    """One additive part of a load; use the functions below, which name what each number is.

    Power is zero outside [start_s, end_s).
    """

    kind: str
    start_s: float = ALWAYS_S
    end_s: float = NEVER_S
    power_w: float = 0.0
    period_s: float = 1.0
    duty: float = 1.0
    phase_s: float = 0.0
    end_w: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.start_s) or math.isnan(self.end_s) or self.end_s < self.start_s:
            raise ValueError(f"{self.kind} load ends at {self.end_s} s, before its start at {self.start_s} s")
        if not self.period_s > 0.0 or not math.isfinite(self.period_s):
            raise ValueError(f"{self.kind} load needs a positive period, got {self.period_s} s")
        if not 0.0 < self.duty <= 1.0:
            raise ValueError(f"{self.kind} load needs a duty in (0, 1], got {self.duty}")
        if not all(math.isfinite(value) for value in (self.power_w, self.phase_s, self.end_w)):
            raise ValueError(f"{self.kind} load has a power or phase that is not finite: {self}")

    def until(self, time_s: float) -> "Component | None":
        """This component cut off at `time_s`; None if it would not have begun by then."""
        if self.start_s >= time_s:
            return None
        if self.end_s <= time_s:
            return self
        if self.kind == "ramp":
            raise ValueError("a ramp is defined by both its ends and cannot be cut; let it finish first")
        return replace(self, end_s=time_s)


def constant(power_w: float, *, start_s: float = ALWAYS_S, end_s: float = NEVER_S) -> Component:
    """`power_w` above idle, from `start_s` until `end_s`."""
    return Component("constant", start_s, end_s, power_w)


def burst(start_s: float, end_s: float, power_w: float) -> Component:
    """One isolated query: `power_w` above idle between two instants."""
    return Component("constant", start_s, end_s, power_w)


def square_wave(
    power_w: float,
    *,
    period_s: float,
    duty: float,
    phase_s: float = 0.0,
    start_s: float = ALWAYS_S,
    end_s: float = NEVER_S,
) -> Component:
    """`power_w` above idle for the first `duty` of every period; a period begins at the instant `phase_s`."""
    return Component("square", start_s, end_s, power_w, period_s, duty, phase_s)


def sinusoid(
    amplitude_w: float,
    *,
    period_s: float,
    phase_s: float = 0.0,
    start_s: float = ALWAYS_S,
    end_s: float = NEVER_S,
) -> Component:
    """`amplitude_w` * sin(2 pi (t - phase_s) / period_s): mean zero, keep idle or a constant beneath."""
    return Component("sine", start_s, end_s, amplitude_w, period_s, 1.0, phase_s)


def ramp(start_s: float, end_s: float, start_w: float, end_w: float) -> Component:
    """A straight line from `start_w` to `end_w` above idle; zero before and after."""
    if not (math.isfinite(start_s) and math.isfinite(end_s) and end_s > start_s):
        raise ValueError(f"a ramp needs two finite instants in order, got {start_s} s and {end_s} s")
    return Component("ramp", start_s, end_s, start_w, end_w=end_w)


def decay(start_s: float, power_w: float, *, time_constant_s: float, end_s: float = NEVER_S) -> Component:
    """The tail after a load: `power_w` at `start_s`, falling exponentially."""
    if not math.isfinite(start_s):
        raise ValueError(f"a decay needs a finite start, got {start_s} s")
    return Component("decay", start_s, end_s, power_w, time_constant_s)


def query(
    start_s: float,
    end_s: float,
    power_w: float,
    *,
    launch_delay_s: float = 0.0,
    tail_w: float = 0.0,
    tail_time_constant_s: float = 0.1,
) -> tuple[Component, ...]:
    """One query as a board feels it: it begins to draw a little after its start, and stops a little after its end.

    Args:
        start_s: when the work is asked for.
        end_s: when the work is done.
        power_w: above idle, from `launch_delay_s` after the start.
        launch_delay_s: from the call to the first kernel.
        tail_w: above idle at the end, falling exponentially from there.
        tail_time_constant_s: of that fall; real boards take 20 to 300 ms.
    """
    parts = (burst(start_s + launch_delay_s, end_s, power_w),)
    return (*parts, decay(end_s, tail_w, time_constant_s=tail_time_constant_s)) if tail_w else parts


@dataclass(frozen=True, slots=True)
class Fault:
    """An NVML return code forced on one call of a board between two instants.

    Attributes:
        call: the C symbol (`nvmlDeviceGetPowerUsage`), `field:186` for one field value, `*` for every call.
        code: the nvmlReturn_t.
    """

    call: str
    code: int
    start_s: float = ALWAYS_S
    end_s: float = NEVER_S


@dataclass(frozen=True, slots=True)
class Answer:
    """A value that one call is made to give between two instants.

    Attributes:
        call: `field:186`, `nvmlDeviceGetPowerUsage`, `nvmlDeviceGetTotalEnergyConsumption` (its fields too),
            `nvmlDeviceGetPowerManagementLimit` or `nvmlDeviceGetUtilizationRates`.
        value: in the driver's unit, mW, mJ or %.
    """

    call: str
    value: int
    start_s: float = ALWAYS_S
    end_s: float = NEVER_S


@dataclass(frozen=True, slots=True)
class Throttle:
    """Clocks event reasons (a mask) that hold between two instants; they drive the violation counters."""

    mask: int
    start_s: float
    end_s: float = NEVER_S


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that NVML lists on the board."""

    pid: int
    memory_bytes: int
    graphics: bool = False
    name: str = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One fake GPU; the defaults are an H100 80GB HBM3 with a perfect integrator for a counter.

    The sensor sees S(t) = gain * P(t) + offset_w. A negative `persistence_mode`, `ecc_current`, `mig_current`
    or `c2c_enabled` means NOT_SUPPORTED, as does a zero window or buffer.

    Attributes:
        uuid: full NVML UUID, with its `GPU-`.
        idle_w: power at all times, beneath the load.
        load: the components added to it.
        counter: False gives NOT_SUPPORTED for the energy counter and its fields.
        tick_s: the counter is latched at `tick_phase_s + k * tick_s` (+- half of `tick_jitter_s`).
        counter_lag_s: how much later than its tick a value can be read.
        counter_window_s: 0 for a perfect integrator; else the counter sums one reading this wide per tick. It is
            summed tick by tick since `counter_origin_s`, so give that an instant near the test.
        counter_start_j: what the counter shows at `counter_origin_s` (0 is the boot of the machine).
        counter_frozen_after_s: the counter stands still after this instant.
        counter_reset_at_s: the counter restarts from 0 at this instant, as after a driver reload.
        power: False gives NOT_SUPPORTED for every power reading.
        power_window_s: width of the mean behind field 186 (instant), latched each `power_period_s`.
        average_window_s: the same for field 185; 0 where the architecture has none.
        usage_window_s: the same for nvmlDeviceGetPowerUsage.
        power_noise_w: standard deviation of the noise on a latched power reading (a function of `seed`).
        sample_count: length of the driver's buffer of power samples, each a mean of `sample_period_s`.
        power_shy_s: asked again so soon by the same process, power answers `power_shy_code`, or 0 W if that is 0.
        module_w: what CPU and memory of a module draw that its counter and power include; the truth is the GPU's.
        no_permission: power and energy answer NO_PERMISSION.
        lost_after_s: every call on this board answers GPU_IS_LOST from this instant on.
        call_duration_s: how long each call on this board takes before it reads the sensor.
        temperature_c: until `temperature_start_s`; then it nears `temperature_end_c` by its time constant.
    """

    uuid: str = "GPU-11111111-0000-4000-8000-000000000001"
    name: str = "NVIDIA H100 80GB HBM3"
    pci_bus_id: str = "00000000:18:00.0"
    idle_w: float = 70.0
    load: tuple[Component, ...] = ()

    gain: float = 1.0
    offset_w: float = 0.0
    seed: int = 1

    counter: bool = True
    tick_s: float = 0.1
    tick_phase_s: float = 0.0371
    tick_jitter_s: float = 0.0
    counter_lag_s: float = 0.0
    counter_window_s: float = 0.0
    counter_start_j: float = 1_234_567.891
    counter_origin_s: float = 0.0
    counter_frozen_after_s: float = NEVER_S
    counter_reset_at_s: float = NEVER_S

    power: bool = True
    power_period_s: float = 0.1
    power_phase_s: float = 0.0
    power_window_s: float = 0.025
    average_window_s: float = 1.0
    usage_window_s: float = 1.0
    power_lag_s: float = 0.0
    power_noise_w: float = 0.0
    sample_period_s: float = 0.02
    sample_count: int = 119
    power_shy_s: float = 0.0
    power_shy_code: int = 0
    module_w: float = 0.0

    no_permission: bool = False
    lost_after_s: float = NEVER_S
    faults: tuple[Fault, ...] = ()
    answers: tuple[Answer, ...] = ()
    call_duration_s: float = 0.0

    power_limit_w: float = 700.0
    power_limit_default_w: float = 700.0
    power_limit_enforced_w: float = 700.0
    power_limit_min_w: float = 200.0
    power_limit_max_w: float = 700.0

    memory_total_bytes: int = 85_520_809_984
    memory_reserved_bytes: int = 551_550_976
    memory_used_bytes: int = 4_194_304
    persistence_mode: int = 1
    ecc_current: int = 1
    ecc_pending: int = 1
    mig_current: int = 0
    mig_pending: int = 0
    mig_uuids: tuple[str, ...] = ()
    c2c_enabled: int = -1
    compute_mode: int = 0
    virtualization_mode: int = 0
    architecture: int = 9
    brand: int = 14
    minor_number: int = 0
    pci_device_id: int = 0x233010DE
    pci_subsystem_id: int = 0x16C110DE
    compute_capability_major: int = 9
    compute_capability_minor: int = 0
    performance_state: int = 0
    clock_graphics_mhz: int = 1980
    clock_sm_mhz: int = 1980
    clock_memory_mhz: int = 2619
    clock_video_mhz: int = 1545
    clock_graphics_max_mhz: int = 1980
    clock_sm_max_mhz: int = 1980
    clock_memory_max_mhz: int = 2619
    clock_video_max_mhz: int = 1545
    temperature_c: float = 34.0
    temperature_end_c: float = 34.0
    temperature_start_s: float = NEVER_S
    temperature_time_constant_s: float = 1.0
    clocks_event_reasons: int = 0
    throttles: tuple[Throttle, ...] = ()
    processes: tuple[GpuProcess, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tick_s", "power_period_s", "sample_period_s", "power_window_s"):
            value = getattr(self, name)
            if not value > 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0.0 <= self.tick_jitter_s < self.tick_s:
            raise ValueError(f"tick_jitter_s {self.tick_jitter_s} must be in [0, tick_s), or ticks would swap")
        for name in ("uuid", "name", "pci_bus_id"):
            if "\n" in getattr(self, name):
                raise ValueError(f"{name} must be one line")

    def switched(self, time_s: float, *load: Component) -> Self:
        """This board with another load from `time_s` on; what it drew until then stays as it was.

        Args:
            time_s: the instant of the change, at least `SETTLE_S` ahead if a process is already running.
            *load: the new components; their own start and end still apply, after `time_s`.

        Returns:
            A board for `write_config`.
        """
        kept = tuple(part for component in self.load if (part := component.until(time_s)) is not None)
        added = tuple(replace(component, start_s=max(component.start_s, time_s)) for component in load)
        return replace(self, load=kept + added)


H100 = Board()
A100 = Board(
    uuid="GPU-22222222-0000-4000-8000-000000000001",
    name="NVIDIA A100-SXM4-80GB",
    idle_w=60.0,
    average_window_s=0.0,  # GA100 has no averaged reading, and its plain reading is the instantaneous one
    usage_window_s=0.025,
    architecture=7,
    compute_capability_major=8,
    pci_device_id=0x20B210DE,
    power_limit_w=400.0,
    power_limit_default_w=400.0,
    power_limit_enforced_w=400.0,
    power_limit_min_w=100.0,
    power_limit_max_w=400.0,
)
V100 = Board(
    uuid="GPU-33333333-0000-4000-8000-000000000001",
    name="Tesla V100-SXM2-16GB",
    idle_w=40.0,
    tick_s=0.02,
    tick_phase_s=0.0071,
    power_period_s=0.02,
    power_window_s=0.01,
    average_window_s=0.0,
    usage_window_s=0.01,
    architecture=5,
    brand=2,
    compute_capability_major=7,
    pci_device_id=0x1DB110DE,
    mig_current=-1,
    mig_pending=-1,
    memory_total_bytes=16_945_512_448,
    power_limit_w=300.0,
    power_limit_default_w=300.0,
    power_limit_enforced_w=300.0,
    power_limit_min_w=150.0,
    power_limit_max_w=300.0,
)
P100 = replace(
    V100,
    uuid="GPU-44444444-0000-4000-8000-000000000001",
    name="Tesla P100-PCIE-16GB",
    idle_w=26.0,
    counter=False,  # the energy counter came with Volta
    architecture=4,
    compute_capability_major=6,
    pci_device_id=0x15F810DE,
    power_limit_w=250.0,
    power_limit_default_w=250.0,
    power_limit_enforced_w=250.0,
    power_limit_min_w=125.0,
    power_limit_max_w=250.0,
)
RTX_4090 = Board(
    uuid="GPU-55555555-0000-4000-8000-000000000001",
    name="NVIDIA GeForce RTX 4090",
    idle_w=20.0,
    power_window_s=0.1,
    architecture=8,
    brand=5,
    compute_capability_major=8,
    compute_capability_minor=9,
    pci_device_id=0x268410DE,
    mig_current=-1,
    mig_pending=-1,
    ecc_current=0,
    ecc_pending=0,
    memory_total_bytes=25_757_220_864,
    power_limit_w=450.0,
    power_limit_default_w=450.0,
    power_limit_enforced_w=450.0,
    power_limit_min_w=150.0,
    power_limit_max_w=600.0,
)


RTX_4090_SLOW = replace(  # as with drivers that refresh a workstation board's readings every 500 ms only
    RTX_4090,
    uuid="GPU-66666666-0000-4000-8000-000000000001",
    tick_s=0.5,
    tick_phase_s=0.1371,
    power_period_s=0.5,
)
GH200 = replace(
    H100,
    uuid="GPU-77777777-0000-4000-8000-000000000001",
    name="NVIDIA GH200 480GB",
    c2c_enabled=1,
    module_w=150.0,
    power_window_s=0.02,
    pci_device_id=0x234210DE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What NVML says about the machine; a non-zero `init_return` makes nvmlInit fail with that code.

    At `shutdown_at_s` every process finds NVML shut down once, as if another library in it had done so.
    """

    driver_version: str = "570.133.20"
    nvml_version: str = "12.570.133.20"
    cuda_driver_version: int = 12080
    init_return: int = 0
    shutdown_at_s: float = NEVER_S


def write_config(path: Path, boards: Sequence[Board], system: System | None = None) -> None:
    """Writes the configuration that the library reads, in one atomic step.

    Args:
        path: what FAKE_NVML_CONFIG names; replaced if it exists, and running processes notice within 50 ms.
        boards: in NVML's order.
        system: driver and versions.
    """
    lines = ["fake-nvml 1", *_settings(system or System())]
    for board in boards:
        lines += ["board", *_settings(board)]
        lines += [
            f"load {c.kind} {c.start_s} {c.end_s} {c.power_w} {c.period_s} {c.duty} {c.phase_s} {c.end_w}"
            for c in board.load
        ]
        lines += [f"fault {f.call} {f.code} {f.start_s} {f.end_s}" for f in board.faults]
        lines += [f"answer {a.call} {a.value} {a.start_s} {a.end_s}" for a in board.answers]
        lines += [f"throttle {t.mask} {t.start_s} {t.end_s}" for t in board.throttles]
        lines += [f"process {p.pid} {p.memory_bytes} {int(p.graphics)} {p.name}" for p in board.processes]
        lines += [f"mig_uuid {uuid}" for uuid in board.mig_uuids]
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    Path(draft).replace(path)


def limits_set(config_path: Path) -> list[tuple[str, float]]:
    """Every power limit that a process has set, in order: the board's UUID and watts."""
    path = config_path.with_name(f"{config_path.name}.limits")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [(uuid, int(mw) / 1000) for uuid, mw, _ in map(str.split, lines)]


def _settings(record: Board | System) -> list[str]:
    lines = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, tuple):
            continue
        lines.append(f"{field.name} {int(value) if isinstance(value, bool) else value}")
    return lines


def build(directory: Path) -> Path:
    """Compiles the fake library, once per source and flags.

    Beside it lies the same code under another name and without the SONAME, for `Truth`: a process that has
    loaded the library proper can no longer find out what pynvml does on a machine without a driver.

    Args:
        directory: where builds are cached; shared between test processes without harm.

    Returns:
        The path of `libnvidia-ml.so.1`; its parent is what `environment` wants.

    Raises:
        FakeNvmlBuildError: there is no C compiler, or it refused the source.
    """
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    home = directory / f"fake-nvml-{digest}"
    library = home / SONAME
    if library.exists():
        return library
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise FakeNvmlBuildError(
            f"no C compiler: none of {', '.join(COMPILERS)} is on PATH; install one (Debian: apt install gcc libc6-dev)"
        )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        code, draft = Path(scratch) / "fake_nvml.o", Path(scratch) / "draft.so"
        _run([compiler, *FLAGS, "-c", str(SOURCE), "-o", str(code)])
        _run([compiler, "-shared", "-o", str(draft), str(code), "-lm"])
        draft.replace(home / TRUTH_NAME)
        _run([compiler, "-shared", f"-Wl,-soname,{SONAME}", "-o", str(draft), str(code), "-lm"])
        draft.replace(library)  # last: its presence says that the build is whole
    return library


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise FakeNvmlBuildError(f"{' '.join(command)} failed:\n{finished.stderr}")


def environment(library_dir: Path, config_path: Path) -> dict[str, str]:
    """This process's environment, changed so that a subprocess started with it sees the fake boards.

    The loader reads LD_LIBRARY_PATH when a program starts: setting it inside a running process does nothing
    (there, use `preload`).

    Args:
        library_dir: the folder of the library that `build` returned.
        config_path: what `write_config` wrote.

    Returns:
        The whole environment, for `subprocess.run(..., env=...)`.
    """
    search_path = [str(library_dir)]
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        search_path.append(inherited)
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(search_path),
        "FAKE_NVML_CONFIG": str(config_path),
        "XDG_CACHE_HOME": str(config_path.parent / "cache"),  # nothing learnt of a made-up board outlives its test
    }


def preload(library_path: Path) -> ctypes.CDLL:
    """Loads the library into this process, so that pynvml here finds it by its SONAME.

    For good: a library is never unloaded. FAKE_NVML_CONFIG has to be in `os.environ` before nvmlInit.
    """
    return ctypes.CDLL(str(library_path), mode=ctypes.RTLD_GLOBAL)


def set_clock(library: ctypes.CDLL, time_s: float | None) -> None:
    """Puts the sensors of this process at an instant, or back on CLOCK_MONOTONIC with None.

    Args:
        library: what `preload` returned.
        time_s: the instant that every following NVML call believes it is.
    """
    library.fake_nvml_set_clock.argtypes = [ctypes.c_double]
    library.fake_nvml_set_clock.restype = None
    library.fake_nvml_set_clock(math.nan if time_s is None else time_s)


_truth_lock = threading.Lock()  # opening a configuration and asking about it are two calls on one shared library


class Truth:
    """The exact power and energy of the configured boards, by the closed form in the same C code.

    It follows the configuration file: each question is answered for what the file says now.
    """

    def __init__(self, library_path: Path, config_path: Path) -> None:
        self._config_path = str(config_path).encode()
        self._library = ctypes.CDLL(str(library_path.with_name(TRUTH_NAME)))
        self._library.fake_nvml_open.argtypes = [ctypes.c_char_p]
        self._library.fake_nvml_open.restype = ctypes.c_uint
        for name, count in (("energy_j", 2), ("power_w", 1), ("last_tick_s", 1)):
            function = getattr(self._library, f"fake_nvml_{name}")
            function.argtypes = [ctypes.c_uint] + [ctypes.c_double] * count
            function.restype = ctypes.c_double

    def energy_j(self, device: int, t0_s: float, t1_s: float) -> float:
        """Energy in joules that board `device` drew between two monotonic instants."""
        return self._ask("energy_j", device, t0_s, t1_s)

    def power_w(self, device: int, t_s: float) -> float:
        """Power in watts of board `device` at a monotonic instant."""
        return self._ask("power_w", device, t_s)

    def last_tick_s(self, device: int, t_s: float) -> float:
        """The monotonic instant at which the counter value that is visible at `t_s` was latched."""
        return self._ask("last_tick_s", device, t_s)

    def _ask(self, question: str, device: int, *instants_s: float) -> float:
        with _truth_lock:
            n_boards = self._library.fake_nvml_open(self._config_path)
            if not 0 <= device < n_boards:
                raise LookupError(f"no board {device} in {self._config_path.decode()}: it has {n_boards}")
            return float(getattr(self._library, f"fake_nvml_{question}")(device, *instants_s))
