"""A run in the files of AI Energy Score's tools, read back as their tools read it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness import publish
from harness.cli.parser import run_verb
from harness.errors import ExitCode, InvalidMeasurement
from harness.records import (
    Boundary,
    Comparison,
    Estimate,
    Finding,
    FindingCode,
    Method,
    PairedCheckpoint,
    QueryRecord,
    Summary,
)
from harness.report.exports.aies import COLUMNS, aies_files
from harness.report.exports.cell import ExportCell
from tests.synthetic_runs import estimated_summary, query, reading, run_of_queries, summary_of

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
J_PER_WH = 3600.0
THEIR_COLUMNS = (
    "model_name,model_class,task,reasoning_state,total_prompts,successful_prompts,failed_prompts,"
    "total_duration_seconds,avg_total_time,avg_time_to_first_token,total_tokens,total_prompt_tokens,"
    "total_completion_tokens,throughput_tokens_per_second,gpu_energy_wh,wh_per_1000_queries,co2_emissions_g,"
    "tokens_per_joule,avg_energy_per_prompt_wh,timestamp,error_message"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """The files, as csv and json read them."""

    files: dict[str, str]

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.files["master_results.csv"].splitlines()))

    def summary(self, folder: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.files[f"individual_runs/{folder}/GPU_ENERGY_SUMMARY.json"])
        return found


@pytest.fixture
def golden() -> ExportCell:
    (account,) = publish.accounts(GOLDEN)
    assert account.results.manifest is not None
    return ExportCell(summary=account.summary, queries=account.results.queries, manifest=account.results.manifest)


def cell_of(golden: ExportCell, queries: Sequence[QueryRecord], summary: Summary | None = None) -> ExportCell:
    """Other queries under the golden run's manifest."""
    return replace(golden, queries=queries, summary=summary or summary_of(queries))


def two_queries(**changes: Any) -> list[QueryRecord]:
    """Off: 720 J in 2 s of which the prefill took a quarter; on: 3,600 J in 10 s."""
    off = reading(720.0, phases={"prefill": 0.25, "answer": 0.75}, duration_s=2.0)
    on = reading(3600.0, phases={"prefill": 0.05, "thinking": 0.75, "answer": 0.2}, duration_s=10.0)
    return [
        query(0, "off", 720.0, duration_s=2.0, readings=[off], answer_tokens=100, **changes),
        query(0, "on", 3600.0, duration_s=10.0, readings=[on], thinking_tokens=400, answer_tokens=100, **changes),
    ]


def test_their_columns_are_kept(golden: ExportCell) -> None:
    assert Exported(aies_files([golden])).files["master_results.csv"].splitlines()[0] == THEIR_COLUMNS
    assert ",".join(COLUMNS) == THEIR_COLUMNS


def test_a_row_has_their_meanings(golden: ExportCell) -> None:
    exported = Exported(aies_files([cell_of(golden, two_queries())]))
    off, on = exported.rows
    assert (off["model_name"], off["task"], off["reasoning_state"]) == ("Qwen/Qwen3-8B", "text_gen", "Off")
    assert (on["reasoning_state"], on["timestamp"]) == ("On", golden.manifest.started_utc)
    assert [off[name] for name in COLUMNS[4:7]] == ["1", "1", "0"]
    assert [int(on[name]) for name in COLUMNS[10:13]] == [550, 50, 500]
    figures = {
        "total_duration_seconds": 10.0,
        "avg_total_time": 10.0,
        "avg_time_to_first_token": 0.5,
        "throughput_tokens_per_second": 55.0,
        "gpu_energy_wh": 1.0,
        "wh_per_1000_queries": 1000.0,
        "tokens_per_joule": 550 / 3600,
        "avg_energy_per_prompt_wh": 1.0,
    }
    for name, value in figures.items():
        assert float(on[name]) == pytest.approx(value, rel=1e-8)
    for name in ("model_class", "co2_emissions_g", "error_message"):
        assert on[name] == ""


def test_prefill_and_decode_are_split_and_add_up(golden: ExportCell) -> None:
    exported = Exported(aies_files([cell_of(golden, two_queries())]))
    summary = exported.summary("Qwen-Qwen3-8B_Off")
    assert summary["units"] == "Wh"
    assert summary["total"] == pytest.approx(0.2)
    assert summary["prefill_wh"] == pytest.approx(0.05)
    assert summary["decode_wh"] == pytest.approx(0.15)
    assert summary["preprocess_wh"] is None
    assert float(exported.files["individual_runs/Qwen-Qwen3-8B_Off/GPU_ENERGY_WH.txt"]) == pytest.approx(0.2)


def test_a_whole_run_adds_up(golden: ExportCell) -> None:
    queries = run_of_queries(30)
    exported = Exported(aies_files([cell_of(golden, queries)]))
    for row in exported.rows:
        mine = [each for each in queries if each.mode == row["reasoning_state"].lower()]
        total_j = sum(each.readings[0].energy_gross_j or 0.0 for each in mine)
        assert float(row["gpu_energy_wh"]) * J_PER_WH == pytest.approx(total_j, rel=1e-8)
        summary = exported.summary(f"Qwen-Qwen3-8B_{row['reasoning_state']}")
        assert summary["prefill_wh"] + summary["decode_wh"] == pytest.approx(summary["total"], rel=1e-12)
        assert 0 < summary["prefill_wh"] < summary["decode_wh"]


def test_failed_prompts_and_unknown_energies_are_in_no_figure(golden: ExportCell) -> None:
    more = [
        query(1, "off", 1e6, failed=True),
        query(2, "off", None, findings=[Finding(code=FindingCode.SENSOR_LOST)]),
    ]
    alone, with_more = (
        Exported(aies_files([cell_of(golden, queries)])).rows[0] for queries in (two_queries(), two_queries() + more)
    )
    assert [with_more[name] for name in COLUMNS[4:7]] == ["3", "1", "2"]
    assert [with_more[name] for name in COLUMNS[7:]] == [alone[name] for name in COLUMNS[7:]]


def test_what_is_not_known_is_empty_and_not_nought(golden: ExportCell) -> None:
    lost = [query(0, "off", None), query(0, "on", 3600.0)]  # neither has phases
    exported = Exported(aies_files([cell_of(golden, lost)]))
    off, on = exported.rows
    assert off["error_message"] == "no query has a known energy"
    assert {name for name in COLUMNS[7:19] if off[name]} == set()
    assert exported.summary("Qwen-Qwen3-8B_Off")["total"] is None
    assert "individual_runs/Qwen-Qwen3-8B_Off/GPU_ENERGY_WH.txt" not in exported.files
    assert (on["error_message"], on["avg_time_to_first_token"]) == ("", "")
    assert float(on["gpu_energy_wh"]) == pytest.approx(1.0)
    split = exported.summary("Qwen-Qwen3-8B_On")
    assert (split["prefill_wh"], split["decode_wh"]) == (None, None)


def test_a_tiny_energy_is_not_rounded_to_nought(golden: ExportCell) -> None:
    exported = Exported(aies_files([cell_of(golden, [query(0, "off", 1e-3)])]))
    (row,) = exported.rows
    assert float(row["gpu_energy_wh"]) == pytest.approx(1e-3 / J_PER_WH)
    assert float(exported.files["individual_runs/Qwen-Qwen3-8B_Off/GPU_ENERGY_WH.txt"]) > 0


def test_only_the_boards_are_counted(golden: ExportCell) -> None:
    board = reading(3600.0, duration_s=1.0)
    host = reading(1800.0, duration_s=1.0, device="cpu-package-0", boundary=Boundary.HOST, method=Method.RAPL)
    queries = [query(0, "off", 0.0, readings=[board, host])]
    summary = summary_of(queries, headline=Boundary.GPU_BOARD_AND_HOST)
    (row,) = Exported(aies_files([cell_of(golden, queries, summary)])).rows
    assert float(row["gpu_energy_wh"]) == pytest.approx(1.0)


def test_runs_of_one_name_get_folders_of_their_own(golden: ExportCell) -> None:
    """Theirs overwrite each other."""
    exported = Exported(aies_files([golden, golden]))
    assert len(exported.rows) == 4
    folders = {name.split("/")[1] for name in exported.files if name.startswith("individual_runs/")}
    assert folders == {"tiny-reasoner_Off", "tiny-reasoner_On", "tiny-reasoner_Off_2", "tiny-reasoner_On_2"}
    for folder in folders:
        assert f"\n{folder}\n" in exported.files["README.txt"]


def invalid(summary: Summary) -> Summary:
    nothing = Estimate(value=None)
    comparison = Comparison(
        numerator="on",
        denominator="off",
        n_pairs=50,
        energy=nothing,
        duration=nothing,
        tokens=nothing,
        energy_per_token=nothing,
        duration_per_token=None,
        difference_j=nothing,
        energy_per_correct=nothing,
        invalid=(Finding(code=FindingCode.SAME_OUTPUT_IN_MODES),),
    )
    return summary.model_copy(update={"comparisons": (comparison,)})


def not_as_called(summary: Summary) -> Summary:
    thought = Finding(code=FindingCode.THINKING_IN_OFF_MODE)
    modes = tuple(mode.model_copy(update={"invalid": (thought,)}) for mode in summary.modes)
    return summary.model_copy(update={"modes": modes})


def test_each_checkpoint_of_a_pair_is_under_its_own_name(golden: ExportCell) -> None:
    pair = PairedCheckpoint(model="tiny-instruct", source="org/instruct", revision="1" * 40, modes=("off",))
    summary = summary_of(two_queries(), model="tiny-thinking")
    summary = summary.model_copy(update={"cell": summary.cell.model_copy(update={"pair": pair})})
    exported = Exported(aies_files([cell_of(golden, two_queries(), summary)]))
    named = [(row["model_name"], row["reasoning_state"]) for row in exported.rows]
    assert named == [("tiny-instruct", "Off"), ("tiny-thinking", "On")]
    assert exported.summary("tiny-instruct_Off")["total"] == pytest.approx(0.2)
    assert exported.summary("tiny-thinking_On")["total"] == pytest.approx(1.0)
    readme = exported.files["README.txt"]
    assert f"tiny-instruct, revision {'1' * 40}" in readme
    assert f"tiny-thinking, revision {summary.cell.revision}" in readme


def two_phase(summary: Summary) -> Summary:
    return summary.model_copy(update={"cell": summary.cell.model_copy(update={"lengths_batch_size": 8})})


def test_what_their_files_cannot_say_is_refused(golden: ExportCell) -> None:
    queries = run_of_queries(6)
    off = run_of_queries(6, ("off",))
    host = run_of_queries(6, boundary=Boundary.HOST, method=Method.RAPL)
    refused = [
        ("is estimated", cell_of(golden, queries, estimated_summary(6))),
        ("not of a GPU board", cell_of(golden, host, summary_of(host, headline=Boundary.HOST))),
        ("two-phase", cell_of(golden, queries, two_phase(summary_of(queries)))),
        ("mode off of .* is not what it is called", cell_of(golden, off, not_as_called(summary_of(off, ("off",))))),
        ("the switch changed nothing", cell_of(golden, queries, invalid(summary_of(queries)))),
    ]
    for part, cell in refused:
        with pytest.raises(InvalidMeasurement, match=part) as caught:
            aies_files([golden, cell])
        assert caught.value.next_step


class TestVerb:
    """`harness export`."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(GOLDEN, tmp_path / "run"))

    def test_it_writes_into_the_run_as_often_as_it_is_asked(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(2):
            assert run_verb(["export", str(run), "--format", "aies"]) == ExitCode.OK
        table = run / "export-aies" / "master_results.csv"
        assert capsys.readouterr().out.split() == [str(table), str(table)]
        with table.open(newline="") as file:
            assert [row["reasoning_state"] for row in csv.DictReader(file)] == ["Off", "On"]
        assert len(publish.accounts(run)) == 1

    def test_it_does_not_overwrite_the_results_of_others(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        theirs = tmp_path / "batch_results" / "master_results.csv"
        theirs.parent.mkdir()
        theirs.write_text("theirs\n")
        assert run_verb(["export", str(run), "--output-dir", str(theirs.parent)]) == ExitCode.USAGE
        assert "somebody else's results" in capsys.readouterr().err
        assert [path.name for path in theirs.parent.iterdir()] == ["master_results.csv"]
        assert theirs.read_text() == "theirs\n"
        assert run_verb(["export", str(run), "--output-dir", str(tmp_path / "new" / "place")]) == ExitCode.OK
        assert (tmp_path / "new" / "place" / "README.txt").exists()

    def test_an_unknown_run_or_format_is_refused(self, run: Path) -> None:
        assert run_verb(["export", "no-such-run"]) == ExitCode.USAGE
        with pytest.raises(SystemExit) as caught:
            run_verb(["export", str(run), "--format", "aiess"])
        assert caught.value.code == ExitCode.USAGE
