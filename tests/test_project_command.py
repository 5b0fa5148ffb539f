"""`harness project` and the footprint of `harness report`, as a user types them, on copies of the golden run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len

from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.report.footprint.fleet import FleetFile

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]
FLEET = ("--queries-per-day", "1e9", "--as-batch-1", "--draws", "20000")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "results" / "20260102-golden")
    return tmp_path / "results" / "20260102-golden"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def cell_of(run: Path) -> Path:
    (path,) = run.glob("*/*/cell.yaml")
    return path.parent


def changed(cell: Path, **fields: Any) -> None:
    path = cell / "cell.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}, sort_keys=False))


def scaled(cell: Path, factor: float) -> None:
    path = cell / "queries.jsonl"
    lines = []
    for line in path.read_text().splitlines():
        query = json.loads(line)
        for reading in query["readings"]:
            for part in (reading, *reading["phases"]):
                part["energy_gross_j"] *= factor
        lines.append(json.dumps(query))
    path.write_text("\n".join(lines) + "\n")


def project(run: Path, *arguments: str) -> int:
    return run_verb(["project", str(run), *arguments])


def test_a_run_at_batch_1_is_refused_until_one_says_what_is_meant(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project(run, "--queries-per-day", "1e9") == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "one query at a time (batch 1)" in said
    assert "53 times" in said
    assert "--as-batch-1" in said
    assert "--batch-factor" in said


def test_as_batch_1_prints_the_factor_beside_the_result(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project(run, *FLEET) == ExitCode.OK
    shown = capsys.readouterr().out
    text = " ".join(shown.split())
    assert max(cell_len(line) for line in shown.splitlines()) <= 60
    assert "a busy server needs 1/53 to 1/3 of it" in text
    assert "Alice Benchmark" in text
    assert "ML.ENERGY" in text
    assert "1 GW power plant" in text
    assert "176 TWh a year" in text
    assert "de Vries-Gao" in text
    assert "1 billion queries a day" in text
    assert "Not known, so not in it: run to run" in text


def test_every_figure_is_in_the_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out" / "fleet.json"
    arguments = (
        "--server",
        "mit",
        "--pue",
        "1.1..1.3",
        "--grid",
        "mine=100",
        "--tariff",
        "0.1",
        "--mode",
        "on",
        "--wue",
        "0.2",
    )
    assert project(run, *FLEET, *arguments, "--mode", "on", "--json", str(file)) == ExitCode.OK
    (report,) = FleetFile.model_validate_json(file.read_text()).projections
    (mode,) = report.modes
    assert mode.mode == "on"
    assert report.is_alone
    expected_j = mode.energy_per_query_j.value * 2.0 * (1.1 * 1.3) ** 0.5
    assert mode.energy_per_query_carried_j.value == pytest.approx(expected_j)
    assert mode.power_mw.value == pytest.approx(expected_j * 1e9 / 86_400 / 1e6)
    assert mode.energy_twh.value == pytest.approx(mode.power_mw.value * 8760 / 1e6)
    assert report.carbon[0].carbon_t[0].value == pytest.approx(mode.energy_twh.value * 1e9 * 100 / 1e6)
    assert report.electricity_per_year[0].value == pytest.approx(mode.energy_twh.value * 1e9 * 0.1)
    it_twh = mode.energy_twh.value / (1.1 * 1.3) ** 0.5  # WUE is per kWh of IT energy
    assert report.water_on_site_l[0].value == pytest.approx(it_twh * 1e9 * 0.2)
    assert [step.name for step in mode.steps] == ["server", "facility", "queries a day"]
    assert sum(share.share for share in mode.shares) == pytest.approx(1.0)
    assert mode.shares[0].name == "server"
    assert "measured" not in {step.source for step in mode.steps}
    assert re.search(r"server +\d+ %", capsys.readouterr().out)


def test_a_file_that_cannot_be_written_is_said_after_the_figures(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").write_text("")
    assert project(run, *FLEET, "--json", str(tmp_path / "plain" / "fleet.json")) == ExitCode.ENVIRONMENT
    said = capsys.readouterr()
    assert "1 GW power plant" in said.out
    assert "cannot be written" in said.err
    assert "Choose another --json." in said.err


def test_a_batch_factor_stands_for_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project(run, "--queries-per-day", "1e9", "--batch-factor", "10..40", "--draws", "20000") == ExitCode.OK
    text = " ".join(capsys.readouterr().out.split())
    assert "With a busy server's factor of 20" in text
    assert "as measured, every query alone (batch 1)" in text
    assert "÷ busy server, assumed" in text
    assert project(run, "--queries-per-day", "1e9", "--batch-factor", "50..150", "--draws", "20000") == ExitCode.OK


def test_stated_ranges_are_printed_and_carbon_says_how_it_is_made(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project(run, *FLEET, "--tariff", "0.2..0.4", "--wue", "0.1..0.4", "--grid", "mine=20..45") == ExitCode.OK
    text = " ".join(capsys.readouterr().out.split())
    assert "tariff: 0.28 (0.20 to 0.40) per kWh" in text
    assert "WUE: 0.20 (0.10 to 0.40) l per kWh" in text
    assert "mine, 30 g/kWh (20 to 45): stated by the user" in text
    assert "in quadrature on the log scale" in text


def test_a_small_fleet_is_in_kilograms(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--queries-per-day", "100", "--as-batch-1", "--draws", "1000", "--grid", "mine=30")
    assert project(run, *arguments) == ExitCode.OK
    assert "kg CO2e a year, mine" in capsys.readouterr().out


def test_repeats_are_projected_by_their_mean(run: Path, tmp_path: Path) -> None:
    first = cell_of(run)
    second = first.parent.parent / "tiny-reasoner-repeat" / first.name
    shutil.copytree(first, second)
    changed(second, repeat=1)
    scaled(second, 1.2)
    file = tmp_path / "fleet.json"
    assert project(run, *FLEET, "--json", str(file)) == ExitCode.OK
    (report,) = FleetFile.model_validate_json(file.read_text()).projections
    alone = tmp_path / "alone.json"
    shutil.rmtree(second)
    assert project(run, *FLEET, "--json", str(alone)) == ExitCode.OK
    (one,) = FleetFile.model_validate_json(alone.read_text()).projections
    assert report.modes[0].energy_per_query_j.value == pytest.approx(1.1 * one.modes[0].energy_per_query_j.value)
    assert "mean of 2 repeats" in report.notes[0]
    assert "run to run" in {share.name for share in report.modes[0].shares}
    assert "run to run" not in report.modes[0].unknown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "queries per day"),
        ((*FLEET, "--batch-factor", "10..50"), "--as-batch-1 says"),
        (("--queries-per-day", "1e9", "--batch-factor", "0.5..3"), "at least 1"),
        (("--queries-per-day", "many"), "write a number"),
        (("--queries-per-day", "0"), "above 0"),
        ((*FLEET, "--mode", "high"), "Unknown mode 'high'"),
        ((*FLEET, "--pue", "0.8"), "whole over its part"),
        ((*FLEET, "--server", "measured"), "Neither the wall nor the host"),
        ((*FLEET, "--draws", "10"), "draws"),
        ((*FLEET, "--footprint", "nowhere.yaml"), "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    run: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project(run, *arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["project", "nothing", "--output-dir", str(tmp_path), *FLEET]) == ExitCode.USAGE
    assert "No run 'nothing'" in capsys.readouterr().err


def test_estimated_joules_say_so_and_have_no_interval(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = cell_of(run)
    for path in (cell / "queries.jsonl", *cell.glob("sessions/*/*.json*")):
        path.write_text(path.read_text().replace('"nvml_counter"', '"estimated"'))
    assert project(run, *FLEET, "--server", "1.5..2", "--grid", "mine=100") == ExitCode.OK
    shown = capsys.readouterr().out
    text = " ".join(shown.split())
    assert "A fleet, estimated" in text
    assert "MW on average, estimated" in text
    assert "on average, estimated" in text
    assert "95 %:" not in text
    assert "% of the variance" not in text
    assert "no figure has an interval" in text


def test_a_switch_that_did_nothing_is_no_fleet(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cell_of(run) / "queries.jsonl"
    lines = []
    for line in path.read_text().splitlines():
        query = json.loads(line)
        if query["mode"] == "on":
            query["output"]["sizes"] |= {"thinking_tokens": 0}
            query["output"]["thought"] = False
        lines.append(json.dumps(query))
    path.write_text("\n".join(lines) + "\n")
    assert project(run, *FLEET, "--mode", "on") == ExitCode.INVALID
    said = capsys.readouterr()
    assert said.out.strip() == ""
    assert "on is left out" in said.err


def test_markdown_escapes_what_comes_from_outside(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(cell_of(run), model="<script>alert(1)</script>")
    assert project(run, *FLEET, "--markdown", "--grid", "<b>x</b>=30") == ExitCode.OK
    shown = capsys.readouterr().out
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "\\<script\\>" in shown
    assert shown.startswith("### ")


def test_report_has_no_footprint_unless_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["report", str(run)]) == ExitCode.OK
    assert "Footprint" not in capsys.readouterr().out
    assert "lead footprint" not in (run / "report.html").read_text()


def test_report_prints_a_footprint_after_the_receipt_and_puts_it_on_the_page(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "footprint.yaml"
    file.write_text("server: mit\npue: 1.1..1.3\ngrid: [mine=20..45, 'other=500']\ngpu-hour-price: 2.5\ntariff: 0.1\n")
    assert run_verb(["report", str(run), "--footprint", str(file), "--tariff", "0.3"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert shown.index("ENERGY RECEIPT") < shown.index(" Footprint ")
    assert max(cell_len(line) for line in shown.splitlines() if "report.html" not in line) <= 60
    text = " ".join(shown.split())
    assert "electricity at 0.3 per kWh" in text  # the flag wins over the file
    page = (run / "report.html").read_text()
    assert "1 board at 2.5 per GPU-hour" in page
    assert "lead footprint" in page
    assert "The same energy on several grids" in page


def test_report_in_markdown_has_the_footprint_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["report", str(run), "--pue", "1.2", "--markdown"]) == ExitCode.OK
    assert "### Footprint" in capsys.readouterr().out


def test_a_footprint_file_with_a_wrong_key(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "footprint.yaml"
    file.write_text("grids: FRA\n")
    assert run_verb(["report", str(run), "--footprint", str(file)]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "Unknown key 'grids'" in said
    assert "Did you mean 'grid'" in said
