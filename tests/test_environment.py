"""Facts about the machine: which GPUs CUDA shows, which are metered, what the kernel and git say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.environment import choose_boards, git_commit, machine, resolve_visible, site
from harness.environment.census import NOT_THE_MODELS_ALONE, Census, bystanders, scope_findings
from harness.environment.machine import container, cpu_model, device_order_doubt, is_virtual_machine, visible_gpus
from harness.environment.nvml import BoardState, GpuProcess, Nvml
from harness.environment.rapl import rapl_zones, zone_paths
from harness.environment.visibility import order_doubt
from harness.errors import NoSensor, UnknownName
from harness.records import Board, Finding, FindingCode
from tests.fake_nvml import library as fake

A, B, C = "GPU-af7b0000-1111", "GPU-af7c0000-2222", "GPU-0b1d0000-3333"
UUIDS = (A, B, C)
BOARDS = tuple(Board(uuid=uuid, name="NVIDIA H100") for uuid in UUIDS)
SLICES = {"MIG-1234-aaaa": A, "MIG-1234-bbbb": A, "MIG-9999-cccc": B}


def shown(value: str | None) -> list[str]:
    return [gpu.uuid for gpu in resolve_visible(value, UUIDS, mig_parents=SLICES)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [A, B, C]),
        ("", []),
        ("-1", []),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,-1,1", [A]),
        ("0,7,1", [A]),
        ("0,0", []),
        (f"{C},{A}", [C, A]),
        ("GPU-af7b", [A]),
        ("GPU-af7", []),
        ("GPU-0b,GPU-af7c", [C, B]),
        ("GPU-af7b,GPU-af7b0", []),
        ("gpu-af7b", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_as_cuda_reads_it(value: str | None, expected: list[str]) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize(
    ("value", "parent", "mig"),
    [
        ("MIG-1234-b", A, "MIG-1234-bbbb"),
        ("MIG-9999-cccc", B, "MIG-9999-cccc"),
        (f"MIG-{C}/7/0", C, f"MIG-{C}/7/0"),
    ],
)
def test_mig_slice_is_its_board_and_labelled(value: str, parent: str, mig: str) -> None:
    (gpu,) = resolve_visible(value, UUIDS, mig_parents=SLICES)
    assert (gpu.uuid, gpu.mig) == (parent, mig)


def test_ambiguous_mig_prefix_shows_nothing() -> None:
    assert shown("MIG-1234") == []


def test_two_slices_of_one_board_are_two_entries() -> None:
    assert shown("MIG-1234-a,MIG-1234-b") == [A, A]


def test_numbers_follow_cudas_order() -> None:
    assert [gpu.uuid for gpu in resolve_visible("0", UUIDS, cuda_order=(2, 0, 1))] == [C]
    assert [gpu.uuid for gpu in resolve_visible(None, UUIDS, cuda_order=(2, 0, 1))] == [C, A, B]


@given(st.text(max_size=40))
def test_any_value_shows_known_boards_at_most_once(value: str) -> None:
    gpus = resolve_visible(value, UUIDS, mig_parents=SLICES)
    assert len(set(gpus)) == len(gpus)
    assert {gpu.uuid for gpu in gpus} <= set(UUIDS)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("auto", (B,)),
        ("all", UUIDS),
        ("none", ()),
        ("0", (A,)),
        ("2, 0", (C, A)),
        (f"{B},1", (B,)),
        ("GPU-0b", (C,)),
    ],
)
def test_boards_chosen(spec: str, expected: tuple[str, ...]) -> None:
    assert choose_boards(spec, BOARDS, holding=(B,)) == expected


def test_auto_without_gpu_meters_none() -> None:
    assert choose_boards("auto", (), holding=()) == ()


def test_auto_meters_the_board_of_a_slice() -> None:
    # torch gives a slice's UUID as if it were a board's.
    assert choose_boards("auto", BOARDS, holding=("GPU-9999-cccc",), mig_parents=SLICES) == (B,)


def test_auto_refuses_a_board_that_nvml_does_not_list() -> None:
    with pytest.raises(NoSensor, match="GPU-ffff"):
        choose_boards("auto", BOARDS, holding=("GPU-ffff",))


@pytest.mark.parametrize("spec", ["3", "-1", "GPU-af7", "al", "0,auto", "", "0,", "²"])
def test_unknown_board_lists_those_there_are(spec: str) -> None:
    with pytest.raises(UnknownName) as raised:
        choose_boards(spec, BOARDS, holding=())
    assert all(uuid in raised.value.next_step for uuid in UUIDS)
    assert "0 to 2" in raised.value.next_step


def test_unknown_board_where_there_is_none() -> None:
    with pytest.raises(UnknownName) as raised:
        choose_boards("0", (), holding=())
    assert "no GPU" in raised.value.next_step


# ---------------------------------------------------------------------------------------- CUDA's own order

MIXED = ("NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("value", "names", "order", "doubted"),
    [
        ("0", MIXED, None, True),
        ("0", MIXED, "FASTEST_FIRST", True),
        ("0", MIXED, "PCI_BUS_ID", False),
        ("0", ("NVIDIA H100",) * 3, None, False),
        (A, MIXED, None, False),
        (f"{A},1", MIXED, None, True),
        ("2,1,0", MIXED, None, False),  # all of them, whatever their order
        (None, MIXED, None, False),
        ("", MIXED, None, False),
        ("-1", MIXED, None, False),
    ],
)
def test_numbers_are_doubted_where_only_cuda_knows_them(
    value: str | None, names: tuple[str, ...], order: str | None, doubted: bool
) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": order}
    finding = order_doubt({name: setting for name, setting in environ.items() if setting is not None}, names)
    assert (finding is not None) == doubted
    assert finding is None or finding.code is FindingCode.DEVICE_ORDER_UNKNOWN


class FakeCuda:
    """As much of `torch.cuda` as is asked; the uuids are those that CUDA gives, without what they are of."""

    def __init__(self, *uuids: str, started: bool = True) -> None:
        self._uuids, self._started = uuids, started

    def is_initialized(self) -> bool:
        return self._started

    def device_count(self) -> int:
        return len(self._uuids)

    def get_device_properties(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(uuid=self._uuids[index])


class Listed(Nvml):
    """NVML with the boards of this file."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())

    def boards(self) -> list[Board]:
        return [Board(uuid=uuid, name=name) for uuid, name in zip(UUIDS, MIXED, strict=True)]

    def mig_parents(self) -> dict[str, str]:
        return SLICES


@pytest.mark.parametrize(
    ("cuda", "shown", "doubted"),
    [
        (None, [A], True),
        (FakeCuda("af7c0000-2222", started=False), [A], True),
        (FakeCuda("af7c0000-2222"), [B], False),
        (FakeCuda("9999-cccc"), [B], False),  # a slice, given as if it were a board
    ],
    ids=["no torch", "torch has not started CUDA", "torch knows", "torch knows a slice"],
)
def test_torch_is_believed_where_it_has_started_cuda(
    cuda: FakeCuda | None, shown: list[str], doubted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(machine, "open_nvml", Listed)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert [board.uuid for board in visible_gpus()] == shown
    assert (device_order_doubt() is not None) == doubted


# ------------------------------------------------------------------------------------------------- census

GIB = 2**30


def state(*processes: GpuProcess, lists_us: bool = False, used_bytes: int = 0, busy: float = 0.0) -> BoardState:
    return BoardState(
        index=0,
        memory_used_bytes=used_bytes,
        temperature_c=None,
        utilization_percent=busy,
        power_instant_w=None,
        power_average_w=None,
        power_usage_w=None,
        energy_counter_j=None,
        vgpu=False,
        processes=processes,
        lists_us=lists_us,
    )


def computing(pid: int, memory_bytes: int | None = GIB) -> GpuProcess:
    return GpuProcess(pid=pid, name="python", kind="compute", memory_bytes=memory_bytes)


XORG = GpuProcess(pid=7, name="Xorg", kind="display", memory_bytes=1)


def told(findings: Iterable[Finding]) -> dict[FindingCode, str]:
    return {finding.code: finding.detail for finding in findings}


def after_load(before: BoardState, after: BoardState, census: Census | None = None) -> dict[FindingCode, str]:
    census = census or Census()
    census.before_load({A: before})
    return told(census.after_load({A: after}, [A], [A]))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (state(), state(lists_us=True), {}),
        (state(), state(computing(5)), {}),  # a container: our load, under the host's number
        (state(computing(3)), state(computing(3), lists_us=True), {FindingCode.OTHER_PROCESSES: f"{A}: python 3"}),
        (state(computing(3)), state(computing(3), computing(5)), {FindingCode.OTHER_PROCESSES: f"{A}: python 3"}),
        # Two came at once: ours is the one that took the most.
        (state(), state(computing(5), computing(6, 9 * GIB)), {FindingCode.OTHER_PROCESSES: f"{A}: python 5"}),
        (state(), state(computing(5), lists_us=True), {FindingCode.OTHER_PROCESSES: f"{A}: python 5"}),
        (state(XORG), state(XORG, lists_us=True), {FindingCode.DISPLAY_ON_BOARD: f"{A}: Xorg 7"}),
        (state(), state(), {FindingCode.PROCESSES_NOT_LISTED: A}),
        (
            state(used_bytes=30 * GIB, busy=80.0),
            state(used_bytes=60 * GIB),
            {FindingCode.PROCESSES_NOT_LISTED: f"{A}: 30.0 GiB in use and 80 % busy before the model was loaded"},
        ),
    ],
)
def test_what_appears_with_our_load_is_ours(
    before: BoardState, after: BoardState, expected: dict[FindingCode, str]
) -> None:
    assert after_load(before, after) == expected


def test_what_we_loaded_before_is_ours_still() -> None:
    census = Census()
    assert after_load(state(), state(computing(5)), census) == {}
    assert told(census.at_end({A: state(computing(5))})) == {}
    assert after_load(state(computing(5)), state(computing(5)), census) == {}


def test_a_co_tenant_that_comes_in_the_middle_is_told_once() -> None:
    census = Census()
    assert after_load(state(), state(computing(5)), census) == {}
    ended = census.at_end({A: state(computing(5), computing(8))})
    assert told(ended) == {FindingCode.OTHER_PROCESSES: f"{A}: python 8 (came while it was measured)"}
    assert census.at_end({A: state(computing(5), computing(8))}) == []
    assert census.at_end({}) == []  # the board is lost


def test_neighbours_are_looked_at_and_only_they() -> None:
    census = Census()
    census.before_load({A: state(), B: state(busy=60.0), C: state(computing(3))})
    findings = census.after_load({A: state(lists_us=True, busy=99.0), B: state(), C: state(computing(3))}, [A], [A])
    assert told(findings) == {FindingCode.NEIGHBOURS_SHARE: f"{B} 60 % busy"}
    quiet = Census()
    quiet.before_load({A: state(), B: state()})
    assert quiet.after_load({A: state(lists_us=True), B: state()}, [A], [A]) == []
    filled = quiet.at_end({A: state(lists_us=True), B: state(used_bytes=20 * GIB)})
    assert told(filled) == {FindingCode.NEIGHBOURS_SHARE: f"{B} was filled"}


def test_without_a_load_of_ours_whoever_computes_is_a_bystander() -> None:
    states = {A: state(computing(3), XORG), B: state(lists_us=True)}
    assert told(bystanders(BOARDS, states)) == {
        FindingCode.OTHER_PROCESSES: f"{A}: python 3",
        FindingCode.DISPLAY_ON_BOARD: f"{A}: Xorg 7",
    }
    nameless = computing(4_000_000).model_copy(update={"name": None})
    assert set(told(bystanders(BOARDS, {A: state(nameless)}))) == {FindingCode.PROCESSES_NOT_LISTED}
    assert set(told(bystanders(BOARDS, {A: state(nameless, lists_us=True)}))) == {FindingCode.OTHER_PROCESSES}


def test_scope_is_said_and_takes_exclusiveness_away() -> None:
    boards = [BOARDS[0].model_copy(update={"mig": True}), *BOARDS[1:]]
    states = {
        A: state(),
        B: state().model_copy(update={"vgpu": True}),
        C: state().model_copy(update={"module_scope": True}),
    }
    findings = scope_findings(boards, states)
    codes = [FindingCode.MIG_PARENT, FindingCode.VGPU_GUEST, FindingCode.MODULE_SCOPE]
    assert [finding.code for finding in findings] == codes
    assert set(codes) <= NOT_THE_MODELS_ALONE
    assert not {FindingCode.DISPLAY_ON_BOARD, FindingCode.NEIGHBOURS_SHARE} & NOT_THE_MODELS_ALONE


STATES = """
import os, sys
import pynvml
from harness.environment.nvml import Nvml, open_nvml
from tests.fake_nvml import library as fake
from dataclasses import replace
from pathlib import Path
us = fake.GpuProcess(os.getpid(), 1)
fake.write_config(Path(os.environ["FAKE_NVML_CONFIG"]), [
    replace(fake.H100, processes=(us, fake.GpuProcess(4_000_001, 2), fake.GpuProcess(7, 3, graphics=True))),
    fake.GH200,
    replace(fake.A100, virtualization_mode=2),
    replace(fake.V100, faults=(fake.Fault("nvmlDeviceGetMemoryInfo_v2", 13),)),
])
nvml = open_nvml()
assert isinstance(nvml, Nvml)
pynvml.nvmlShutdown()  # another library in this process
for state in nvml.states().values():
    print(state.model_dump_json())
"""


def test_what_real_pynvml_shows_of_boards(tmp_path: Path, fake_nvml: Path) -> None:
    environ = fake.environment(fake_nvml.parent, tmp_path / "boards.conf")
    fake.write_config(tmp_path / "boards.conf", [fake.H100])
    done = subprocess.run(
        [sys.executable, "-c", STATES],
        capture_output=True,
        text=True,
        check=True,
        env={**environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    h100, gh200, a100, v100 = (BoardState.model_validate_json(line) for line in done.stdout.splitlines())
    assert h100.lists_us
    assert h100.processes is not None
    assert {(process.pid, process.kind) for process in h100.processes} == {(4_000_001, "compute"), (7, "display")}
    assert h100.memory_used_bytes == fake.H100.memory_used_bytes  # without what the driver keeps for itself
    assert v100.memory_used_bytes == fake.V100.memory_used_bytes + fake.V100.memory_reserved_bytes
    assert [each.module_scope for each in (h100, gh200, a100, v100)] == [False, True, False, False]
    assert [each.vgpu for each in (h100, gh200, a100, v100)] == [False, False, True, False]
    assert not gh200.lists_us
    assert gh200.processes == ()


def test_site_is_the_same_twice_and_hides_the_host_name() -> None:
    import socket

    here = site(None)
    assert here.site_id == site(None).site_id
    assert socket.gethostname() not in here.model_dump_json()
    assert here.n_cpu_cores > 0
    assert here.memory_bytes > 0
    assert here.packages["inference-energy-harness"]
    assert "numpy" in here.packages


def test_site_without_boards() -> None:
    assert site(()).boards == ()


@pytest.mark.parametrize(
    ("environ", "files", "expected"),
    [
        ({}, {}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {".dockerenv": ""}, "kubernetes"),
        ({"APPTAINER_CONTAINER": "/images/torch.sif"}, {}, "apptainer:torch.sif"),
        ({"SINGULARITY_CONTAINER": "/images/old.sif"}, {}, "apptainer:old.sif"),
        ({}, {"run/.containerenv": ""}, "podman"),
        ({}, {".dockerenv": ""}, "docker"),
        ({}, {"proc/1/cgroup": "0::/kubepods/besteffort/pod1"}, "kubernetes"),
        ({}, {"proc/1/cgroup": "4:cpu:/docker/abc"}, "docker"),
        ({}, {"proc/1/cgroup": "0::/init.scope"}, None),
    ],
)
def test_container(tmp_path: Path, environ: dict[str, str], files: dict[str, str], expected: str | None) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert container(tmp_path, environ) == expected


def test_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu hypervisor\n")
    assert cpu_model(cpuinfo) == "AMD EPYC 9654"
    assert is_virtual_machine(cpuinfo) is True
    cpuinfo.write_text("flags : fpu hypervisors\n")
    assert is_virtual_machine(cpuinfo) is False
    cpuinfo.write_text("processor : 0\nCPU implementer : 0x41\n")
    assert is_virtual_machine(cpuinfo) is None
    assert cpu_model(cpuinfo)
    assert cpu_model(tmp_path / "absent")


def zone(powercap: Path, directory: str, name: str, energy_uj: str | None) -> Path:
    path = powercap / directory
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    if energy_uj is not None:
        (path / "energy_uj").write_text(energy_uj)
    return path


def test_rapl_zones(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", "123")
    zone(tmp_path, "intel-rapl:0:0", "core", "1")
    zone(tmp_path, "intel-rapl:0:1", "dram", "77")
    zone(tmp_path, "intel-rapl:1", "package-1", None)  # as an unreadable one: an OSError
    zone(tmp_path, "intel-rapl:2", "psys", "999")
    assert list(zone_paths(tmp_path)) == ["cpu-package-0", "dram-0", "cpu-package-1"]
    zones = {zone.device: zone for zone in rapl_zones(tmp_path, duration_s=0.0)}
    assert (zones["cpu-package-0"].readable, zones["cpu-package-0"].moving) == (True, False)
    assert (zones["cpu-package-1"].readable, zones["cpu-package-1"].moving) == (False, None)
    assert rapl_zones(tmp_path / "absent") == []


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", str(directory), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_git_commit(tmp_path: Path) -> None:
    package = tmp_path / "package"
    installed = tmp_path / "ignored"
    package.mkdir()
    installed.mkdir()
    assert git_commit(package) is None
    git(tmp_path, "init", "-q")
    (package / "a.py").write_text("1\n")
    assert git_commit(package) is None  # nothing tracked, no commit
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(package) == commit
    (package / "untracked.txt").write_text("")
    assert git_commit(package) == commit
    (package / "a.py").write_text("2\n")
    assert git_commit(package) == f"{commit}-dirty"
    # Installed into somebody's repository, but not part of it.
    (installed / "a.py").write_text("")
    assert git_commit(installed) is None
    assert git_commit(tmp_path / "absent") is None
