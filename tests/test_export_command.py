"""`harness export`: every format from one command, nothing overwritten, and what goes wrong said in words."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness import load_results
from harness.cli.export import FORMATS, INFRASTRUCTURES
from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.report.exports import boamps

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def export(run: Path, *arguments: str) -> int:
    return run_verb(["export", str(run), *arguments])


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("boamps", ["tiny-reasoner-off.boamps.json", "tiny-reasoner-on.boamps.json"]),
        ("csv", ["modes.csv", "queries.csv"]),
        ("cyclonedx", ["run.cdx.json"]),
        ("parquet", ["modes.parquet", "queries.parquet"]),
        ("spdx", ["tiny-reasoner-off.spdx.json", "tiny-reasoner-on.spdx.json"]),
    ],
)
def test_each_format_is_written_into_the_run(run: Path, capsys: Capture, name: str, files: list[str]) -> None:
    for _ in range(2):  # what it wrote itself, it writes again
        assert export(run, "--format", name) == ExitCode.OK
        written = capsys.readouterr().out.split()
        assert sorted(written) == [str(run / f"export-{name}" / file) for file in files]
    for path in map(Path, written):
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))


def test_csv_and_parquet_hold_what_load_results_gives(run: Path) -> None:
    assert export(run, "--format", "csv") == export(run, "--format", "parquet") == ExitCode.OK
    frame = load_results(run)
    read = pd.read_csv(run / "export-csv" / "queries.csv")
    assert list(read.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(pd.read_parquet(run / "export-parquet" / "queries.parquet"), frame)
    for name in frame.select_dtypes("number"):
        assert read[name].tolist() == pytest.approx(frame[name].tolist(), rel=1e-12, nan_ok=True)
    with (run / "export-csv" / "modes.csv").open(newline="") as file:
        modes = list(csv.DictReader(file))
    assert [row["mode"] for row in modes] == ["off", "on"]
    assert pd.read_parquet(run / "export-parquet" / "modes.parquet")["mode"].tolist() == ["off", "on"]


def test_one_mode_may_be_chosen(run: Path) -> None:
    for name in ("aies", "boamps", "csv", "cyclonedx", "parquet", "spdx"):
        assert export(run, "--format", name, "--mode", "on") == ExitCode.OK
    written = sorted(path.name for path in (run / "export-spdx").iterdir())
    assert written == ["tiny-reasoner-on.spdx.json"]
    assert set(pd.read_csv(run / "export-csv" / "queries.csv")["mode"]) == {"on"}
    with (run / "export-aies" / "master_results.csv").open(newline="") as file:
        assert [row["reasoning_state"] for row in csv.DictReader(file)] == ["On"]


def test_an_unknown_mode_is_named_with_those_there_are(run: Path, capsys: Capture) -> None:
    for name in FORMATS:
        assert export(run, "--format", name, "--mode", "onn") == ExitCode.USAGE
        said = capsys.readouterr().err
        assert "Unknown mode 'onn'" in said
        assert "Did you mean 'on'?" in said


def test_nothing_of_somebody_else_is_overwritten(run: Path, tmp_path: Path, capsys: Capture) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "modes.csv").write_text("theirs")
    assert export(run, "--format", "csv", "--output-dir", str(theirs)) == ExitCode.USAGE
    assert f"{theirs / 'modes.csv'} exists" in capsys.readouterr().err
    assert [path.name for path in theirs.iterdir()] == ["modes.csv"]
    assert (theirs / "modes.csv").read_text() == "theirs"
    assert export(run, "--format", "csv", "--output-dir", str(tmp_path / "new" / "place")) == ExitCode.OK


def test_the_place_goes_into_boamps(run: Path, capsys: Capture) -> None:
    stated = ["--country", "FR", "--grid", "mine=56", "--infrastructure", "onPremise"]
    assert export(run, "--format", "boamps", *stated) == ExitCode.OK
    report = json.loads((run / "export-boamps" / "tiny-reasoner-on.boamps.json").read_text())
    assert report["environment"] == {"country": "FR", "powerSourceCarbonIntensity": 56.0}
    assert report["infrastructure"]["infraType"] == "onPremise"
    assert export(run, "--format", "boamps", "--grid", "mine=56") == ExitCode.USAGE
    assert "Add --country." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("spdx", ("--grid", "mine=56")),
        ("csv", ("--country", "FR")),
        ("label", ("--infrastructure", "other")),
        ("boamps", ("--link", "https://example.org")),
    ],
)
def test_what_a_format_has_no_place_for_is_not_dropped(
    run: Path, capsys: Capture, name: str, stated: tuple[str, str]
) -> None:
    assert export(run, "--format", name, *stated) == ExitCode.USAGE
    assert f"{stated[0]} has no place in the format {name}" in capsys.readouterr().err
    assert not (run / f"export-{name}").exists()


def test_the_kinds_of_infrastructure_are_those_of_the_format() -> None:
    assert INFRASTRUCTURES == boamps.INFRASTRUCTURES


@pytest.mark.parametrize("grid", ["mine=-1", "mine=a", "no-such-grid", "mine=nan"])
def test_a_grid_that_cannot_be_meant_is_refused(run: Path, grid: str) -> None:
    assert export(run, "--format", "cyclonedx", "--grid", grid) == ExitCode.USAGE
    assert not (run / "export-cyclonedx").exists()


def test_the_label_is_written_twice(run: Path, capsys: Capture) -> None:
    assert export(run, "--format", "label", "--mode", "on", "--link", "https://example.org") == ExitCode.OK
    folder = run / "export-label"
    assert capsys.readouterr().out.split() == [
        str(folder / "tiny-reasoner-on.label.svg"),
        str(folder / "tiny-reasoner-on.label.png"),
    ]
    assert "No stars" in (folder / "tiny-reasoner-on.label.svg").read_text(encoding="utf-8")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_that_cannot_be_written_is_said_to_be(run: Path, capsys: Capture) -> None:
    run.chmod(0o500)
    try:
        assert export(run, "--format", "csv") == ExitCode.ENVIRONMENT
    finally:
        run.chmod(0o700)
    assert "Choose another --output-dir." in capsys.readouterr().err


def test_a_file_in_the_way_is_said_to_be(run: Path, capsys: Capture) -> None:
    (run / "export-csv").write_text("in the way")
    assert export(run, "--format", "csv") == ExitCode.ENVIRONMENT
    assert "cannot be written" in capsys.readouterr().err


def test_an_empty_run_is_refused(run: Path, capsys: Capture) -> None:
    for path in run.glob("*/*/queries.jsonl"):
        path.write_text("")
    for name in FORMATS:
        assert export(run, "--format", name) == ExitCode.USAGE
        assert "holds no finished query" in capsys.readouterr().err


def test_help_has_every_format_and_is_narrow(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run_verb(["export", "--help"])
    said = capsys.readouterr().out
    table = said[said.index("formats:") :].splitlines()[1:]
    assert [line.split()[0] for line in table if line.strip()] == list(FORMATS)
    assert max(map(len, said.splitlines())) <= 80


def test_help_waits_for_none_of_the_libraries() -> None:
    code = "import sys, harness.cli.export; print({'numpy', 'pandas', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
