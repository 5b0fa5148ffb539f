"""`harness doctor`: what it prints, its exit code, and the whole of it on fake boards."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import doctor
from harness.environment import examination, gpu_checks, host_checks
from harness.environment.diagnosis import Check, Diagnosis, GpuFacts
from harness.environment.nvml import GpuProcess, Nvml, open_nvml
from harness.meter.card.card import card_findings
from harness.records import Boundary, Method, SensorCard, Site
from harness.report.diagnosis import show
from harness.report.sensor import account_of, show_sensors
from tests.fake_nvml import library as fake
from tests.test_diagnosis import NO_DRIVER, READABLE, gpu

PROJECT = Path(__file__).parents[1]
PROGRAM = """
import argparse, sys
from harness.cli import doctor
parser = argparse.ArgumentParser()
doctor.add_parser(parser.add_subparsers())
options = parser.parse_args(sys.argv[1:])
sys.exit(doctor.main(options))
"""


def diagnosis(*gpus: GpuFacts, checks: tuple[Check, ...] = ()) -> Diagnosis:
    rapl = host_checks.rapl_check([], None, virtual_machine=True, wsl=False)
    estimate = host_checks.estimate_check("3.3.2")
    site = Site(
        hostname_sha256="0",
        platform="Linux",
        cpu="x",
        n_cpu_cores=1,
        memory_bytes=1,
        boards=(),
        driver=None,
        cuda=None,
        python="3.11",
        packages={},
    )
    return Diagnosis(
        harness_version="0",
        site=site,
        gpus=gpus,
        rapl=(),
        torch=None,
        checks=(*checks, rapl, estimate),
        verdicts=(gpu_checks.gpu_verdict(gpus, NO_DRIVER), host_checks.host_verdict(rapl, estimate)),
    )


# -------------------------------------------------------------------------------------------- rendering


def rendered(found: Diagnosis, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_fits_into_60_columns() -> None:
    text = rendered(diagnosis(gpu(), checks=tuple(gpu_checks.board_checks(gpu()))), width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "yes      GPU board energy" in text
    assert "estimate Host energy" in text


def test_the_command_that_mends_rapl_stays_on_one_line() -> None:
    unreadable = host_checks.rapl_check([READABLE.model_copy(update={"readable": False})], None, False, False)
    assert "sudo chmod a+r /sys/class/powercap/*/energy_uj" in rendered(diagnosis(checks=(unreadable,)), width=80)


def test_exit_code_says_whether_there_is_a_sensor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(json=True, sensor=False, output_dir=Path("results"))
    for found, code in ((diagnosis(gpu()), 0), (diagnosis(), 3)):
        monkeypatch.setattr(examination, "examine", lambda _directory, found=found: found)
        assert doctor.main(options) == code
        assert Diagnosis.model_validate_json(capsys.readouterr().out) == found


# -------------------------------------------------------------------------------------- the whole of it


@pytest.fixture(scope="module")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.build(tmp_path_factory.getbasetemp() / "fake-nvml-builds")


def run_doctor(
    directory: Path, library: Path, boards: list[fake.Board], *arguments: str, **system: int
) -> subprocess.CompletedProcess[str]:
    config = directory / "boards.conf"
    fake.write_config(config, boards, fake.System(**system))  # type: ignore[arg-type]
    environ = {**fake.environment(library.parent, config), "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", *arguments],
        env=environ,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_fake_boards(tmp_path: Path, fake_library: Path) -> None:
    boards = [
        replace(fake.H100, processes=(fake.GpuProcess(4_000_000, 2**30),)),
        replace(fake.P100, persistence_mode=0),
        replace(fake.A100, mig_current=1, mig_uuids=("MIG-aaaa",)),
        replace(fake.V100, uuid="GPU-mute", counter=False, power=False),
    ]
    done = run_doctor(tmp_path, fake_library, boards, "--json")
    assert done.returncode == 0, done.stderr
    found = Diagnosis.model_validate_json(done.stdout)
    h100, p100, a100, mute = found.gpus
    assert h100.duration_tick_s == pytest.approx(0.1, rel=0.2)
    assert h100.state.power_instant_w == pytest.approx(70.0, abs=0.1)
    assert h100.state.processes == (GpuProcess(pid=4_000_000, name=None, kind="compute", memory_bytes=2**30),)
    assert h100.board.power_limit_default_w == 700.0
    assert h100.board.compute_capability == "9.0"
    assert (p100.duration_tick_s, p100.state.energy_counter_j) == (None, None)
    assert (p100.board.mig, p100.board.persistence) == (None, False)
    assert a100.board.mig is True
    assert (mute.state.power_instant_w, mute.state.power_usage_w) == (None, None)
    assert (found.site.driver, found.site.cuda) == ("570.133.20", "12.8")
    assert [board.uuid for board in found.site.boards] == [board.uuid for board in boards]
    verdict = found.verdicts[0]
    assert (verdict.boundary, verdict.method) == (Boundary.GPU_BOARD, Method.NVML_COUNTER)
    assert "(GPU 0, 2)" in verdict.sentence
    assert "Not on GPU 3" in verdict.sentence


@pytest.mark.parametrize(("code", "word"), [(9, "not loaded"), (18, "Reboot"), (4, "refuses"), (999, "NVML")])
def test_nvml_that_does_not_start(tmp_path: Path, fake_library: Path, code: int, word: str) -> None:
    done = run_doctor(tmp_path, fake_library, [fake.H100], init_return=code)
    assert done.returncode == 3, done.stderr
    assert word in done.stdout
    assert "\x1b" not in done.stdout


def test_driver_without_boards(tmp_path: Path, fake_library: Path) -> None:
    done = run_doctor(tmp_path, fake_library, [], "--json")
    assert done.returncode == 3, done.stderr
    assert "lists no GPU" in json.loads(done.stdout)["verdicts"][0]["sentence"]


def test_lost_board_is_counted_not_fatal(tmp_path: Path, fake_library: Path) -> None:
    boards = [replace(fake.H100, lost_after_s=0.0)]
    done = run_doctor(tmp_path, fake_library, boards, "--json")
    assert done.returncode == 3, done.stderr
    (driver,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "NVIDIA driver")
    assert driver["status"] == "warn"
    assert "1 of 1 GPUs do not answer" in driver["what"]


# ---------------------------------------------------------------------------------------------- sensor cards


def test_sensor_cards_are_shown_with_what_runs_saw(tmp_path: Path, fake_library: Path) -> None:
    boards = [fake.H100, fake.P100]
    first = run_doctor(tmp_path, fake_library, boards, "--sensor")
    assert first.returncode == 0, first.stderr
    text = " ".join(first.stdout.split())
    assert "GPU 0: NVIDIA H100 80GB HBM3" in text
    assert "counter: moves every " in text
    assert "counter sees all of the time: unknown until seen under load" in text
    assert "not yet under load" in text
    assert "idle power: 70.0 W" in text
    assert "this board has none" in text
    assert "`harness run`" in text
    (path,) = (tmp_path / "cache" / "inference-energy-harness" / "sensors").glob(f"{fake.H100.uuid}*.json")
    card = SensorCard.model_validate_json(path.read_text())
    seen = card.model_copy(
        update={
            "integrates": False,
            "duration_counter_window_s": 0.025,
            "load_utc": "2026-01-02T03:04:05Z",
            "ratio_counter_to_power": 1.2,
            "ratio_counter_to_power_half_width": 0.02,
        }
    )
    path.write_text(seen.model_dump_json())
    second = run_doctor(tmp_path, fake_library, boards, "--sensor", "--json")
    assert second.returncode == 0, second.stderr
    h100, p100 = json.loads(second.stdout)["sensors"]
    assert (h100["card"]["integrates"], h100["card"]["load_utc"]) == (False, "2026-01-02T03:04:05Z")
    assert h100["card"]["idle_utc"] >= card.idle_utc
    assert [finding["code"] for finding in h100["findings"]] == ["part_time_counter", "counter_against_power"]
    assert {line["word"] for line in h100["lines"] if line["under_load"]} == {"doubt", "unknown"}
    assert "sees only a part" in h100["verdict"]
    assert p100["card"]["counter"] is False
    assert "added-up power" in p100["verdict"]


@pytest.mark.parametrize(("boards", "system"), [([], {}), ([fake.H100], {"init_return": 9})])
def test_sensor_cards_of_no_board_end_with_a_next_step(
    tmp_path: Path, fake_library: Path, boards: list[fake.Board], system: dict[str, int]
) -> None:
    config = tmp_path / "boards.conf"
    fake.write_config(config, boards, fake.System(**system))  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--sensor"],
        env={**fake.environment(fake_library.parent, config), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sensor_cards_fit_the_terminal(width: int) -> None:
    card = SensorCard(
        uuid="GPU-11111111-0000-4000-8000-000000000001",
        name="NVIDIA H100 80GB HBM3",
        driver="570.133.20",
        idle_utc="2026-11-24T12:00:00Z",
        counter=True,
        duration_tick_s=0.1,
        instant_power=True,
        duration_power_call_s=1e-4,
        integrates=False,
        duration_counter_window_s=0.025,
        load_utc="2026-11-24T13:00:00Z",
        ratio_counter_to_power=1.2,
        ratio_counter_to_power_half_width=0.01,
    )
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_sensors([account_of(card, card_findings(card))], console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    # Everything but the board's name and the closing advice hangs below it.
    board = lines[: lines.index("")]
    assert all(line.startswith("  ") for line in board[1:])


def test_announcing_the_verb_loads_nothing_heavy() -> None:
    program = f"{PROGRAM.split('options =')[0]}\nprint({{'torch', 'pynvml', 'pydantic', 'rich'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_nvml_is_opened_once() -> None:
    nvml = open_nvml()
    if isinstance(nvml, Nvml):
        assert open_nvml() is nvml
    else:
        assert nvml.next_step
