"""Facts about the machine: which GPUs CUDA shows, which are metered, what the kernel and git say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.environment import choose_boards, git_commit, resolve_visible, site
from harness.environment.machine import container, cpu_model, is_virtual_machine
from harness.environment.rapl import rapl_zones, zone_paths
from harness.errors import NoSensor, UnknownName
from harness.records import Board

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
