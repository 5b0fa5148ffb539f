"""`harness leaderboard`: synthetic run folders with chosen joules, and copies of the golden run."""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len

from harness.analysis.repeats import with_run_spread
from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.leaderboard import Leaderboard, build, collect
from harness.leaderboard import index as index_module
from harness.leaderboard.board import as_json, flat
from harness.leaderboard.columns import estimate_of
from harness.leaderboard.distance import Errors, rank_ranges, ratio
from harness.leaderboard.entry import OTHERS, entries
from harness.leaderboard.folders import cell_folders
from harness.leaderboard.index import store
from harness.leaderboard.stars import conditions
from harness.leaderboard.view import rank_words, view_of
from harness.records import (
    Board,
    EngineOptions,
    Finding,
    FindingCode,
    PairedCheckpoint,
    RunManifest,
    Sampling,
    Summary,
)
from harness.reference.conditions import conditions_of
from harness.reference.stars import star_rating
from harness.report.leaderboard.page import render_leaderboard
from tests.synthetic_leaderboard import A100, L4, Run, cell_of, manifest_of, site_of, summary_of, write_run

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]
STEADY = (100.0, 100.1, 99.9)
ONE = STEADY[:1]
OTHER_BOARD = "GPU-22222222-0000-4000-8000-000000000002"
AIES = {
    "protocol": "aies-v1-1",
    "prompt_set": "aies-text-generation",
    "max_new_tokens": 10,
    "min_new_tokens": {"off": 10},
    "sampling": Sampling(do_sample=False),
    "dtype": "float16",
}


def run(model: str = "lab/a", joules: Sequence[float] = STEADY, **fields: Any) -> Run:
    """One run in one mode."""
    fields = {"run_id": f"20261101-{model.rpartition('/')[2]}", "energy_j": {"off": tuple(joules)}, **fields}
    return Run(model=model, **fields)


def board_of(folder: Path, *runs: Run) -> Leaderboard:
    for one in runs:
        write_run(folder, one)
    return build(collect([folder], folder / "leaderboard.parquet"))


def reason_of(board: Leaderboard, model: str) -> str:
    return board.ranked.reason[board.rows.texts("model").index(model)]


def ranks_of(board: Leaderboard) -> dict[str, str]:
    found = board.ranked
    return {
        model: rank_words(int(found.rank_best[at]), int(found.rank_worst[at]), bool(found.provisional[at]))
        for at, model in enumerate(board.rows.texts("model"))
    }


# ------------------------------------------------------------------------------------------ collecting


def test_a_row_per_mode_and_one_for_all_repeats_of_a_cell(tmp_path: Path) -> None:
    one = run(joules=(90.0, 100.0, 110.0), accuracy={"off": 0.8, "on": 0.9})
    one = replace(one, energy_j={**one.energy_j, "on": (900.0, 1000.0, 1100.0)})
    board = board_of(tmp_path, one)
    assert board.rows.texts("mode") == ["off", "on"]
    assert board.n_cells == 3
    row = board.rows.row(0)
    cells = [cell_of(one, repeat) for repeat in range(3)]
    summaries = with_run_spread([summary_of(one, cell, "site") for cell in cells])
    assert row["energy_j"] == pytest.approx(100.0)
    assert row["energy_j_runs"] == pytest.approx(summaries[0].modes[0].energy_j.half_width_runs)
    assert (row["energy_j_low"], row["energy_j_high"]) == pytest.approx((97.0, 103.0))
    assert row["n_runs"] == 3
    assert row["accuracy"] == pytest.approx(0.8)


def test_a_repeat_that_answered_fewer_prompts_is_left_out(tmp_path: Path) -> None:
    one = run(joules=(90.0, 100.0, 500.0))
    write_run(tmp_path, one)
    cell, site_id = cell_of(one, 2), site_of(one).site_id
    short = summary_of(replace(one, n_queries=50, n_planned=200), cell, site_id)
    (tmp_path / one.run_id / cell.cell_id / site_id / "summary.json").write_text(short.model_dump_json())
    row = board_of(tmp_path).rows.row(0)
    assert (row["energy_j"], row["n_runs"], row["n_left_out"]) == (pytest.approx(95.0), 2, 1)


def test_repeats_are_one_row_wherever_the_leaderboard_is_asked_for(tmp_path: Path) -> None:
    run_folder = write_run(tmp_path / "results", run(energy_j={"off": STEADY, "on": STEADY}))
    cell_folder = next(path for path in run_folder.iterdir() if path.is_dir())
    for beside in (tmp_path, tmp_path / "results", run_folder, cell_folder):
        rows = build(collect([run_folder], beside / "leaderboard.parquet")).rows
        assert list(rows["n_runs"]) == [3, 3], beside


def test_what_is_to_know_of_one_repeat_is_to_know_of_the_row(tmp_path: Path) -> None:
    write_run(tmp_path, run(accuracy={"off": 0.5}))
    changes: tuple[dict[str, Any], ...] = (
        {"findings": [{"code": "one_run"}]},
        {"findings": [{"code": "other_processes"}]},
        {"modes": {"invalid": [{"code": "thinking_in_off_mode"}], "output_tokens": 650.0, "n_correct": 130}},
    )
    paths = sorted(tmp_path.glob("*/*/*/summary.json"), key=lambda path: json.loads(path.read_text())["cell"]["repeat"])
    for path, change in zip(paths, changes, strict=True):
        summary = json.loads(path.read_text())
        summary["modes"][0] |= change.pop("modes", {})
        path.write_text(json.dumps(summary | change))
    row = board_of(tmp_path).rows.row(0)
    assert (row["findings"], row["faults"]) == ("other_processes", "thinking_in_off_mode")
    assert row["output_tokens"] == pytest.approx(450.0)
    assert (row["n_queries"], row["n_scored"], row["n_correct"]) == (200, 600, 330)


def test_a_repeat_on_another_card_is_another_row(tmp_path: Path) -> None:
    write_run(tmp_path, run())
    manifest = next(tmp_path.rglob("manifest.json"))
    moved = manifest.read_text().replace(run().uuid, OTHER_BOARD)
    manifest.write_text(moved)
    board = board_of(tmp_path)
    assert sorted(zip(board.rows["n_runs"], board.rows["boards"], strict=True)) == [
        (1.0, OTHER_BOARD),
        (2.0, run().uuid),
    ]


def test_a_folder_is_looked_into_once_however_many_links_lead_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", run(joules=ONE))
    for number in range(4):
        (tmp_path / f"circle{number}").symlink_to(tmp_path)
    listed: list[str] = []
    listing = os.scandir

    def noted(path: str) -> Any:
        listed.append(path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", noted)
    assert len(cell_folders([tmp_path], tmp_path)) == 1
    assert len(listed) == len(set(listed))


def test_a_name_that_is_no_text_can_be_written_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path, run())
    try:
        os.rename(folder, os.fsencode(tmp_path) + b"/run-\xff")  # noqa: PTH104 - no text, no Path
    except OSError:
        pytest.skip("this file system wants names to be text")
    files = ["--csv", str(tmp_path / "rows.csv"), "--json", str(tmp_path / "rows.json")]
    assert run_verb(["leaderboard", str(tmp_path), *files]) == ExitCode.OK
    assert "lab/a" in capsys.readouterr().out
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["run"] == "run-\\xff"


def test_a_copy_of_a_run_is_no_other_run(tmp_path: Path) -> None:
    write_run(tmp_path / "results", run())
    shutil.copytree(tmp_path / "results", tmp_path / "backup")
    write_run(tmp_path / "results", run(run_id="later", started_utc="2026-12-01T00:00:00Z"))
    board = build(collect([tmp_path], tmp_path / "x.parquet"))
    assert board.rows.texts("run") == ["backup/20261101-a", "results/later"]
    assert [len(history.places) for history in board.histories] == [2]


def test_runs_in_folders_of_folders_through_links_and_named_twice_are_there_once(tmp_path: Path) -> None:
    inner = tmp_path / "results" / "gate" / "candidate"
    write_run(inner, run("lab/a"))
    write_run(tmp_path / "elsewhere", run("lab/b"))
    (tmp_path / "results" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "results" / "circle").symlink_to(tmp_path / "results")
    board = build(collect([tmp_path / "results", inner, inner / "20261101-a"], tmp_path / "x.parquet"))
    assert sorted(board.rows.texts("model")) == ["lab/a", "lab/b"]
    assert "gate/candidate/20261101-a" in board.rows.texts("run")


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    for name in "abc":
        write_run(tmp_path, run(f"lab/{name}"))
    first = collect([tmp_path], index_file)
    assert (first.n_cells, first.n_read) == (9, 9)
    assert store(first, index_file)
    again = collect([tmp_path], index_file)
    assert again.n_read == 0
    assert again.table.equals(first.table)
    write_run(tmp_path, run("lab/d", STEADY[:1]))
    shutil.rmtree(tmp_path / "20261101-b")
    summary = next((tmp_path / "20261101-a").glob("*/*/summary.json"))
    os.utime(summary, ns=(summary.stat().st_atime_ns, summary.stat().st_mtime_ns + 10**9))
    third = collect([tmp_path], index_file)
    assert third.n_read == 2
    assert set(build(third).rows.texts("model")) == {"lab/a", "lab/c", "lab/d"}


@pytest.mark.parametrize("damage", ["garbage", "another version", "a folder"])
def test_an_index_that_cannot_be_used_is_made_again(tmp_path: Path, damage: str) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    write_run(tmp_path, run())
    first = collect([tmp_path], index_file)
    if damage == "garbage":
        index_file.write_bytes(b"PAR1 nothing PAR1")
    elif damage == "a folder":
        index_file.mkdir()
    else:
        pq.write_table(first.table.replace_schema_metadata({"leaderboard_index": "0"}), index_file)
    again = collect([tmp_path], index_file)
    assert (again.n_read, again.table.equals(first.table)) == (3, True)


def test_a_flipped_bit_of_the_index_makes_no_other_figures(tmp_path: Path) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    for name in "abc":
        write_run(tmp_path, run(f"lab/{name}", ONE))
    first = collect([tmp_path], index_file)
    store(first, index_file)
    whole, rng = index_file.read_bytes(), random.Random(1)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        index_file.write_bytes(damaged)
        assert collect([tmp_path], index_file).table.equals(first.table)


def test_a_table_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    write_run(tmp_path, run())
    pq.write_table(pyarrow.table({"mine": [1]}), index_file)
    index = collect([tmp_path], index_file)
    assert (index.n_read, store(index, index_file)) == (3, False)
    assert pq.read_table(index_file)["mine"].to_pylist() == [1]


def test_another_content_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    write_run(tmp_path, run(joules=ONE))
    store(collect([tmp_path], index_file), index_file)
    path = next(tmp_path.glob("*/*/*/summary.json"))
    state, text = path.stat(), path.read_text()
    path.write_text(text.replace('"value": 100.0', '"value": 200.0'))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert build(collect([tmp_path], index_file)).rows["energy_j"] == pytest.approx([200.0])


def test_an_index_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    write_run(tmp_path / "results", run())
    index = collect([tmp_path / "results"], tmp_path / "missing" / "leaderboard.parquet")
    assert not store(index, tmp_path / "missing" / "leaderboard.parquet")
    assert build(index).rows.texts("model") == ["lab/a"]


def truncated(path: Path) -> None:
    path.write_text(path.read_text()[:900])


def not_a_number(path: Path) -> None:
    path.write_text(path.read_text().replace('"n_sessions": 1', '"n_sessions": NaN'))


def newer(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99', 1))


def emptied(path: Path) -> None:
    path.write_text("")


def without_modes(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modes": []}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "summary.json is damaged"),
        (not_a_number, "summary.json is damaged: n_sessions"),
        (newer, "schema version 99; this program reads up to 1"),
        (emptied, "summary.json is damaged"),
        (without_modes, "Nothing was measured yet: its summary holds no mode."),
    ],
)
def test_a_damaged_summary_is_listed_and_the_others_stand(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    write_run(tmp_path, run("lab/a", STEADY[:1]))
    write_run(tmp_path, run("lab/b", STEADY[:1]))
    damage(next((tmp_path / "20261101-a").glob("*/*/summary.json")))
    board = board_of(tmp_path)
    ((path, problem),) = board.problems
    assert path.startswith("20261101-a/")
    assert said in problem
    assert board.rows.texts("model") == ["lab/b"]


def test_a_damaged_row_is_looked_at_again(tmp_path: Path) -> None:
    index_file = tmp_path / "leaderboard.parquet"
    write_run(tmp_path, run(joules=STEADY[:1]))
    summary = next(tmp_path.glob("*/*/*/summary.json"))
    whole = summary.read_bytes()
    summary.write_bytes(b"x" * len(whole))
    store(collect([tmp_path], index_file), index_file)
    state = summary.stat()
    summary.write_bytes(whole)
    os.utime(summary, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert build(collect([tmp_path], index_file)).rows.texts("model") == ["lab/a"]


def test_a_summary_that_is_older_than_its_queries_says_so(tmp_path: Path) -> None:
    for name in ("lab/fresh", "lab/stale"):
        write_run(tmp_path, run(name, ONE))
    queries = next((tmp_path / "20261101-stale").glob("*/*/queries.jsonl"))
    os.utime(queries, (queries.stat().st_atime, queries.stat().st_mtime + 3600))
    board = board_of(tmp_path)
    assert dict(zip(board.rows.texts("model"), board.rows["stale"], strict=True)) == {
        "lab/fresh": False,
        "lab/stale": True,
    }


def golden(folder: Path, *, summary: bool) -> Path:
    copied = folder / "20260101-golden"
    shutil.copytree(GOLDEN, copied)
    if not summary:
        next(copied.glob("*/*/summary.json")).unlink()
    return copied


def test_a_run_that_was_killed_before_its_report_is_summarised(tmp_path: Path) -> None:
    golden(tmp_path / "with", summary=True)
    copied = golden(tmp_path / "without", summary=False)
    with_, without = (board_of(tmp_path / name) for name in ("with", "without"))
    assert without.rows.texts("mode") == with_.rows.texts("mode")
    assert without.rows["energy_j"] == pytest.approx(with_.rows["energy_j"])
    assert not list(copied.glob("*/*/summary.json"))


def test_runs_without_a_summary_beyond_the_first_few_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "N_SUMMARISED_MOST", 0)
    golden(tmp_path, summary=False)
    ((_, problem),) = board_of(tmp_path).problems
    assert problem.startswith("Not summarised. Do it: harness report ")


def test_a_cell_without_a_query_says_so(tmp_path: Path) -> None:
    copied = golden(tmp_path, summary=False)
    next(copied.glob("*/*/queries.jsonl")).write_text("")
    ((_, problem),) = board_of(tmp_path).problems
    assert "no finished query" in problem


# ------------------------------------------------------------------------------------- what may be ranked


def without_manifest(folder: Path) -> None:
    for path in (folder / "20261101-odd").glob("*/*/sessions/*/manifest.json"):
        path.unlink()


def changed(name: str, value: object) -> Callable[[Path], None]:
    """A field of every summary of the run, changed on disk."""

    def change(folder: Path) -> None:
        for path in (folder / "20261101-odd").glob("*/*/summary.json"):
            fields = json.loads(path.read_text())
            fields[name] = value
            path.write_text(json.dumps(fields))

    return change


@pytest.mark.parametrize(
    ("fields", "change", "said"),
    [
        ({"estimated": True}, None, "Estimated, not measured"),
        ({}, changed("method", "replayed"), "Replayed"),
        ({"cell": {"lengths_batch_size": 8}}, None, "Two-phase"),
        (
            {"faults": {"off": (Finding(code=FindingCode.THINKING_IN_OFF_MODE),)}},
            None,
            "not what it is called. The model thought",
        ),
        ({"n_queries": 120, "n_planned": 200}, None, "Not complete: 120 of 200"),
        ({"n_failed": 3}, None, "Another set of queries: 3 of 200 failed"),
        ({"n_queries": 20}, None, "Too few queries: 20, and 30"),
        ({"findings": (Finding(code=FindingCode.OTHER_PROCESSES),)}, None, "another process"),
        ({"findings": (Finding(code=FindingCode.MIG_PARENT),)}, None, "MIG"),
        ({}, without_manifest, "manifest is missing"),
        ({"prompts_relative": math.nan}, None, "no interval over prompts"),
    ],
)
def test_a_row_that_fits_no_ranking_says_why(
    tmp_path: Path, fields: dict[str, Any], change: Callable[[Path], None] | None, said: str
) -> None:
    no_interval = math.isnan(fields.get("prompts_relative", 0.0))
    odd = run("lab/odd", ONE, **{**fields, "prompts_relative": 0.03})
    write_run(tmp_path, odd)
    if no_interval:
        for path in (tmp_path / odd.run_id).glob("*/*/summary.json"):
            summary = json.loads(path.read_text())
            summary["modes"][0]["energy_j"] |= {"low": None, "high": None}
            path.write_text(json.dumps(summary))
    if change is not None:
        change(tmp_path)
    board = board_of(tmp_path, run("lab/a", ONE), run("lab/b", ONE))
    assert said in reason_of(board, "lab/odd")
    assert len(board.ranked.rankings) == 1
    assert "lab/odd" not in {board.rows["model"][place] for place in board.ranked.rankings[0].places}
    assert not board.stars[board.rows.texts("model").index("lab/odd")]


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"cell": {"prompt_set_sha256": "1" * 64}}, "their sha256 111111111111, there 000000000000"),
        ({"cell": {"prompt_set": "chains", "prompt_set_sha256": "1" * 64}}, "prompts chains, there everyday"),
        ({"cell": {"seed": 7}}, "seed 7, there 0"),
        ({"n_queries": 100}, "queries 100, there 200"),
        ({"cell": {"protocol": "paired-2"}}, "protocol paired-2, there paired-1"),
        ({"cell": {"max_new_tokens": 512}}, "token cap 512, there 8,192"),
        ({"cell": {"caps": {"off": 10}}}, "token cap 10, there 8,192"),
        ({"cell": {"min_new_tokens": {"off": 10}}}, "fewest tokens 10, there 0"),
        ({"cell": {"sampling": Sampling(do_sample=False)}}, "sampling greedy, there the model's own"),
        ({"cell": {"batch_size": 4}}, "batch size 4, there 1"),
        ({"cell": {"engine": EngineOptions(device="cuda", attention="eager")}}, "attention eager"),
        ({"cell": {"quantization": "int8"}, "executed": "int8"}, "rule of precision int8, there as published"),
        ({"card": A100}, "hardware A100-SXM4-80GB, there H100 80GB HBM3; power limit"),
        ({"n_boards": 2}, "hardware 2 × H100 80GB HBM3"),
        ({"power_limit_w": 500.0}, "power limit 500 W, there the board's own, 700 W"),
        ({"findings": (Finding(code=FindingCode.OTHER_BOARDS_METERED),)}, OTHERS),
        (
            {"cell": {"scorer": "judge.py:right sha256:0123456789ab"}},
            "scorer judge.py:right sha256:0123456789ab, there",
        ),
    ],
)
def test_a_row_that_differs_in_one_condition_names_it(tmp_path: Path, fields: dict[str, Any], condition: str) -> None:
    board = board_of(tmp_path, *(run(f"lab/{name}", ONE) for name in "ab"), run("lab/odd", ONE, **fields))
    reason = reason_of(board, "lab/odd")
    assert reason.startswith("Nothing else was measured under its conditions. Other than in ranking 1: ")
    assert condition in reason
    assert ranks_of(board)["lab/odd"] == ""


def test_no_two_rankings_are_called_alike(tmp_path: Path) -> None:
    """Prompts of one name and of two contents; scorers of the prompts and of the user."""
    others: tuple[dict[str, str], ...] = (
        {},
        {"prompt_set_sha256": "1" * 64},
        {"scorer": "judge.py:right sha256:0123456789ab"},
    )
    runs = [run(f"lab/{at}{name}", ONE, cell=cell) for at, cell in enumerate(others) for name in "ab"]
    rankings = board_of(tmp_path, *runs).ranked.rankings
    assert len({(ranking.title, ranking.sentence) for ranking in rankings}) == len(rankings) == 3


def test_reasons_are_counted_without_earlier_runs(tmp_path: Path) -> None:
    runs = [run(run_id=f"{month}", started_utc=f"2026-{month:02}-01T00:00:00Z") for month in (1, 2, 3)]
    view = view_of(board_of(tmp_path, *runs))
    assert view.not_ranked == (("Nothing else was measured under its conditions.", 1),)
    assert len(view.unranked) == 1


def test_another_mode_is_another_ranking(tmp_path: Path) -> None:
    both = [run(f"lab/{name}", energy_j={"off": STEADY, "on": STEADY}) for name in "ab"]
    board = board_of(tmp_path, *both)
    assert [ranking.conditions["mode"] for ranking in board.ranked.rankings] == ["off", "on"]


def test_driver_versions_card_and_size_may_differ_in_a_ranking(tmp_path: Path) -> None:
    other = run("lab/b", driver="580.1", engine_version="6.0", uuid=OTHER_BOARD, n_parameters=70_000_000_000)
    board = board_of(tmp_path, run("lab/a"), other)
    assert len(board.ranked.rankings) == 1
    assert board.ranked.reason == ("", "")
    assert list(board.classes) == ["A", "C"]


def test_the_newest_run_of_a_model_stands_for_it(tmp_path: Path) -> None:
    old = run(run_id="1", started_utc="2026-01-01T00:00:00Z", joules=(50.0, 50.1, 50.2))
    new = run(run_id="2", started_utc="2026-02-01T00:00:00Z")
    board = board_of(tmp_path, new, old, run("lab/b", (110.0, 110.1, 110.2)))
    (ranking,) = board.ranked.rankings
    assert [board.rows["run"][place] for place in ranking.places] == ["2", "20261101-b", "1"]
    assert list(board.ranked.earlier) == [board.rows["run"][at] == "1" for at in range(3)]
    assert board.ranked.rank_best[list(board.rows["run"]).index("1")] == 0


# -------------------------------------------------------------------------------------------------- ranks


def test_rows_that_are_not_told_apart_share_a_range_of_ranks(tmp_path: Path) -> None:
    runs = [run("lab/a"), run("lab/b", (101.0, 101.1, 101.2)), run("lab/c", (130.0, 130.1, 130.2))]
    assert ranks_of(board_of(tmp_path, *runs)) == {"lab/a": "1–2", "lab/b": "1–2", "lab/c": "3"}


@pytest.mark.parametrize(
    ("gain", "uuid", "told"),
    [(0.05, None, True), (0.05, OTHER_BOARD, False), (None, None, True), (None, OTHER_BOARD, False)],
)
def test_gains_cancel_on_the_same_board_only(tmp_path: Path, gain: float | None, uuid: str | None, told: bool) -> None:
    """5 % apart, and everything but the gains known to 1 %."""
    one = run("lab/a", prompts_relative=0.005, gain=gain)
    other = run("lab/b", (105.0, 105.1, 104.9), prompts_relative=0.005, gain=gain)
    other = replace(other, uuid=uuid or other.uuid)
    board = board_of(tmp_path, one, other)
    assert ranks_of(board) == ({"lab/a": "1", "lab/b": "2"} if told else {"lab/a": "1–2", "lab/b": "1–2"})


def test_a_row_of_one_run_has_a_provisional_rank(tmp_path: Path) -> None:
    board = board_of(tmp_path, run("lab/a"), run("lab/b", (150.0,)))
    assert ranks_of(board) == {"lab/a": "1", "lab/b": "(2)"}


def test_ranks_are_those_of_every_pair() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 40, 700):
        errors = Errors(
            log_energy=np.round(rng.normal(0, 0.3, n), 2),
            down=np.where(rng.random(n) < 0.02, np.inf, rng.uniform(0, 0.02, n)),
            up=rng.uniform(0, 0.02, n),
            gain=np.where(rng.random(n) < 0.02, np.inf, 0.0025),
            board=rng.integers(0, 4, n),
            one_run=np.zeros(n, bool),
        )
        best, worst = rank_ranges(errors)
        for at in rng.choice(n, min(n, 25), replace=False):
            ratios = [ratio(errors, other, int(at)) for other in range(n) if other != at]
            assert best[at] == 1 + sum(one.high < 1 for one in ratios)
            assert worst[at] == n - sum(one.low > 1 for one in ratios)


# ----------------------------------------------------------------------------- hardware, time, accuracy


@pytest.mark.parametrize(("factor", "told"), [(1.06, False), (1.02, False), (1.12, True), (2.0, True)])
def test_two_generations_differ_by_more_than_both_gains_or_not_distinguishably(
    tmp_path: Path, factor: float, told: bool
) -> None:
    """Both gains of 5 % make about 7 %."""
    joules = tuple(factor * each for each in (100.0, 100.01, 99.99))
    here = run(run_id="1", prompts_relative=0.003, joules=(100.0, 100.01, 99.99))
    there = run(run_id="2", joules=joules, card=A100, uuid=OTHER_BOARD, prompts_relative=0.003)
    board = board_of(tmp_path, here, there)
    (one,) = board.generations
    (said,) = one.sentences
    assert "both boards’ gains included" in said
    assert said.startswith("Not distinguishable") is not told
    assert one.ratios[0].value == pytest.approx(factor)
    assert math.log(one.ratios[0].high / factor) == pytest.approx(0.0711, abs=0.003)


def test_gains_that_are_unknown_are_not_said_to_be_in_a_statement(tmp_path: Path) -> None:
    there = run(run_id="2", joules=(200.0, 201.0, 199.0), card=A100, uuid=OTHER_BOARD, gain=None)
    (said,) = board_of(tmp_path, run(run_id="1"), there).generations[0].sentences
    assert said.startswith("Not distinguishable")
    assert said.endswith("(no interval: a part of it is unknown).")


def test_a_generation_of_one_run_is_not_known_to_be_real(tmp_path: Path) -> None:
    there = run(run_id="2", joules=(200.0,), card=A100, uuid=OTHER_BOARD)
    board = board_of(tmp_path, run(run_id="1"), there)
    assert "not known to be real" in board.generations[0].sentences[0]


def test_generations_take_the_newest_run_at_the_boards_own_limit_and_the_same_conditions(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        run(run_id="1", started_utc="2026-01-01T00:00:00Z"),
        run(run_id="2", started_utc="2026-02-01T00:00:00Z", joules=(90.0, 90.1, 90.2)),
        run(run_id="3", started_utc="2026-03-01T00:00:00Z", power_limit_w=300.0, joules=(60.0, 60.1, 60.2)),
        run(run_id="4", card=L4, uuid=OTHER_BOARD),
        run(run_id="5", card=A100, uuid=OTHER_BOARD, cell={"seed": 9}),
    )
    (one,) = board.generations
    assert {board.rows["run"][place] for place in one.places} == {"2", "4"}


def test_a_history_is_in_order_of_time_and_marks_what_changed(tmp_path: Path) -> None:
    revised = {"revision": "c" * 40}
    runs = [
        run(run_id="b", started_utc="2026-03-01T00:00:00Z", driver="580.1", cell=revised),
        run(run_id="c", started_utc="2026-01-01T00:00:00Z"),
        run(run_id="a", started_utc="2026-02-01T00:00:00Z", driver="580.1"),
        run(run_id="d", started_utc="2026-04-01T00:00:00Z", uuid=OTHER_BOARD, joules=(200.0, 200.1, 200.2)),
        run("lab/b", run_id="e"),
    ]
    (history,) = board_of(tmp_path, *runs).histories
    rows = board_of(tmp_path).rows
    assert [rows["run"][place] for place in history.places] == ["c", "a", "b", "d"]
    first, second, third, fourth = history.changes
    assert (first, second) == ((), ("driver 570.133.20 → 580.1",))
    assert third == ("revision b968826d9c46… → cccccccccccc…",)
    assert [change.partition(" ")[0] for change in fourth] == ["card", "driver", "revision"]
    assert fourth[0] == "card GPU-11111111… → GPU-22222222…"
    assert history.steps[0] is None
    assert [round(step.value, 2) for step in history.steps[1:] if step] == [1.0, 1.0, 2.0]
    assert [step.same_board for step in history.steps[1:] if step] == [True, True, False]
    assert "2.00 × the first" in history.sentence
    assert "more, both cards' gains included" in history.sentence


def test_a_history_that_did_not_change_says_so(tmp_path: Path) -> None:
    runs = [run(run_id=f"{month}", started_utc=f"2026-{month:02}-01T00:00:00Z") for month in (1, 2)]
    (history,) = board_of(tmp_path, *runs).histories
    assert history.sentence.endswith("not distinguishable, on one card, whose gain cancels.")


def test_the_front_is_of_rows_that_none_beats(tmp_path: Path) -> None:
    rng = random.Random(4)
    figures = {f"lab/{at}": (rng.uniform(50, 500), rng.choice([0.3, 0.5, 0.55, 0.7, 0.9])) for at in range(30)}
    runs = [run(name, (joules,), accuracy={"off": share}) for name, (joules, share) in figures.items()]
    board = board_of(tmp_path, *runs, run("lab/unscored", (1.0,)))
    front = {name for name, on in zip(board.rows.texts("model"), board.on_front, strict=True) if on}
    unbeaten = {
        name
        for name, (joules, share) in figures.items()
        if not any((j <= joules and s >= share) and (j, s) != (joules, share) for j, s in figures.values())
    }
    assert front == unbeaten


# -------------------------------------------------------------------------------------------------- stars


def star_run(**fields: Any) -> Run:
    base = {"n_queries": 1000, "executed": "float16", "tokens": 10.0, "cell": AIES, "joules": (30.0,)}
    return run("openai-community/gpt2-xl", **{**base, **fields})


def test_stars_are_those_of_the_rule(tmp_path: Path) -> None:
    one = star_run()
    board = board_of(tmp_path, one)
    cell, site = cell_of(one), site_of(one)
    found = conditions_of(summary_of(one, cell, site.site_id), manifest_of(one, cell, site), "off")
    rated = star_rating(found, estimate_of(board.rows.row(0), "energy_j", 1 / 3.6), "v1")
    assert (board.stars[0], board.stars_words[0]) == (rated.stars, rated.sentence)
    assert board.stars[0] == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"card": A100}, "GPU is A100-SXM4-80GB, theirs H100 80GB"),
        ({"power_limit_w": 500.0}, "power limit is 500 W"),
        ({"n_boards": 2}, "number of GPUs is 2, theirs 1"),
        ({"cell": {**AIES, "batch_size": 2}}, "batch size is 2"),
        ({"n_queries": 100}, "number of prompts is 100, theirs 1000"),
        ({"cell": {**AIES, "protocol": "paired-1"}}, "and this row follows paired-1"),
        ({"estimated": True}, "No stars: Estimated"),
        ({"n_failed": 1}, "No stars: Another set of queries"),
        ({"findings": (Finding(code=FindingCode.OTHER_BOARDS_METERED),)}, OTHERS),
    ],
)
def test_no_stars_off_their_protocol_or_hardware(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    board = board_of(tmp_path, star_run(**fields))
    assert list(board.stars) == [None]
    assert said in board.stars_words[0]


@pytest.mark.parametrize(
    "one",
    [
        run(),
        run(power_limit_w=500.0),
        run(n_boards=2, card=A100),
        star_run(),
        run(estimated=True),
        run(cell={"quantization": "int8"}, executed="int8"),
        run(cell={"lengths_batch_size": 8}),
    ],
)
def test_a_rows_conditions_are_those_of_its_run(one: Run) -> None:
    cell, site = cell_of(one), site_of(one)
    summary, manifest = summary_of(one, cell, site.site_id), manifest_of(one, cell, site)
    (row,) = entries(summary, manifest)
    expected = conditions_of(summary, manifest, "off")
    assert conditions(row) == (replace(expected, gpu="none") if one.estimated else expected)


def test_the_checkpoint_of_a_pair_is_the_one_of_its_mode() -> None:
    pair = PairedCheckpoint(model="lab/thinks", source="lab/thinks", revision="d" * 40, modes=("on",))
    one = run("lab/plain", energy_j={"off": STEADY, "on": STEADY}, cell={"pair": pair})
    cell, site = cell_of(one), site_of(one)
    manifest = manifest_of(one, cell, site)
    manifest = manifest.model_copy(update={"engine_of_pair": manifest.engine})
    off, on = entries(summary_of(one, cell, site.site_id), manifest)
    assert (off["model"], on["model"]) == ("lab/plain", "lab/thinks")
    assert on["revision"] == "d" * 40


def test_boards_that_are_metered_beside_a_cpu_are_the_hardware_of_the_energy(tmp_path: Path) -> None:
    one = run(findings=(Finding(code=FindingCode.OTHER_BOARDS_METERED),))
    cell, site = cell_of(one), site_of(one)
    manifest = manifest_of(one, cell, site)
    beside = manifest.model_copy(update={"engine": manifest.engine.model_copy(update={"device_uuids": ()})})
    assert isinstance(beside, RunManifest)
    assert isinstance(site.boards[0], Board)
    summary = summary_of(one, cell, site.site_id)
    assert isinstance(summary, Summary)
    (row,) = entries(summary, beside)
    assert (row["hardware"], row["number_of_gpus"], row["metered"]) == ("H100 80GB HBM3", 1, OTHERS)


# --------------------------------------------------------------------------------- page, texts, command


HOSTILE = "<script>alert(1)</script>"


def hostile(folder: Path) -> Leaderboard:
    return board_of(
        folder,
        run(HOSTILE, run_id="</script><img src=x onerror=alert(2)>".replace("/", "_"), accuracy={"off": 0.5}),
        run("lab/|pipe|", run_id="2", accuracy={"off": 0.4}, driver="</script>"),
        run("lab/c", run_id="3", card=A100, uuid=OTHER_BOARD, cell={"prompt_set": HOSTILE}),
    )


def test_the_page_holds_no_names_mark_up_and_asks_nobody(tmp_path: Path) -> None:
    page = render_leaderboard(view_of(hostile(tmp_path)))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert "default-src 'none'" in page
    assert not re.findall(r"<[a-z][^<>]* (?:src|href)=\"(?!#)", page)
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert HOSTILE in data["columns"]["model"]["texts"]
    assert data["n"] == 3


def test_the_pages_columns_are_the_rows_figures(tmp_path: Path) -> None:
    board = board_of(tmp_path, run("lab/b"), run("lab/a", (36.0, 36.01, 35.99)), run("lab/x", estimated=True))
    data: Any = view_of(board).data
    columns = data["columns"]
    models = [columns["model"]["texts"][at] for at in columns["model"]["at"]]
    assert models == ["lab/a", "lab/b", "lab/x"]
    assert columns["wh"][:2] == pytest.approx([10.0, 27.7778], rel=1e-4)
    assert columns["estimated"] == [0, 0, 1]
    assert columns["whLow"][2] is None
    assert columns["ranking"] == [1, 1, 0]
    json.dumps(data, allow_nan=False)


def test_the_command_prints_writes_and_reads_the_index_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    hostile(tmp_path)
    table, content = tmp_path / "rows.csv", tmp_path / "rows.json"
    arguments = ["leaderboard", str(tmp_path), "--csv", str(table), "--json", str(content)]
    assert run_verb(arguments) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "<script>alert(1)" in printed
    assert str(tmp_path / "leaderboard.html") in printed
    lines = [line for line in printed.splitlines() if not line.startswith("Page: ")]
    assert max(map(cell_len, lines)) <= 60
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        *("leaderboard.html", "leaderboard.parquet", "rows.csv", "rows.json")
    }
    assert pq.read_table(tmp_path / "leaderboard.parquet").num_rows == 9
    rows = pyarrow.csv.read_csv(table)
    assert rows.num_rows == 3
    assert rows["energy_wh_per_1000"].to_pylist() == pytest.approx([100 / 3.6] * 3, rel=1e-3)
    loaded = json.loads(content.read_text())
    assert [len(ranking["rows"]) for ranking in loaded["rankings"]] == [2]
    assert run_verb([*arguments, "--markdown"]) == ExitCode.OK
    markdown = capsys.readouterr().out
    assert "\\<script\\>" in markdown
    assert "lab/\\|pipe\\|" in markdown


def test_a_table_can_go_through_a_link_or_a_pipe(tmp_path: Path) -> None:
    results, kept, link, pipe = (tmp_path / name for name in ("results", "kept.csv", "link.csv", "pipe"))
    write_run(results, run(joules=ONE))
    kept.write_text("")
    link.symlink_to(kept)
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(pipe.read_text)
        for table in (link, pipe):
            assert run_verb(["leaderboard", str(results), "--csv", str(table)]) == ExitCode.OK
    assert link.is_symlink()
    assert "lab/a" in kept.read_text()
    assert got.result() == kept.read_text()


def test_estimates_say_so_wherever_their_joules_show(tmp_path: Path) -> None:
    board = board_of(tmp_path, run("lab/x", estimated=True))
    assert flat(board)["estimated"].to_pylist() == [True]
    assert flat(board)["not_ranked"].to_pylist()[0].startswith("Estimated")
    assert json.loads(as_json(board))["rows"][0]["rank_best"] is None


def test_nothing_to_rank_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["leaderboard", str(tmp_path)]) == ExitCode.USAGE
    assert "harness run" in capsys.readouterr().err
    assert run_verb(["leaderboard", str(tmp_path / "missing")]) == ExitCode.USAGE
    assert run_verb(["leaderboard", str(tmp_path), "--output", str(tmp_path)]) == ExitCode.USAGE
    for flag, name in (("--output", "x.parquet"), ("--csv", "leaderboard.html"), ("--json", "leaderboard.parquet")):
        assert run_verb(["leaderboard", str(tmp_path), flag, str(tmp_path / name)]) == ExitCode.USAGE
        assert "one name" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "results", run())
    (tmp_path / "file").write_text("")
    arguments = ["leaderboard", str(tmp_path / "results"), "--output", str(tmp_path / "file" / "page.html")]
    assert run_verb(arguments) == ExitCode.ENVIRONMENT
    captured = capsys.readouterr()
    assert "lab/a" in captured.out or "1 model" in captured.out
    assert "--output" in captured.err
    table = tmp_path / "file" / "rows.csv"
    assert run_verb([*arguments[:2], "--csv", str(table)]) == ExitCode.ENVIRONMENT
    assert f"{table} cannot be written" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "results" / "leaderboard.html").exists()


def test_a_leaderboard_of_unreadable_cells_alone_is_a_page_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, run(joules=STEADY[:1]))
    truncated(next(tmp_path.glob("*/*/*/summary.json")))
    assert run_verb(["leaderboard", str(tmp_path)]) == ExitCode.OK
    assert "Could not be read" in capsys.readouterr().out


@pytest.mark.parametrize("same_board", [True, False])
@pytest.mark.parametrize("alike", [True, False])
def test_rows_of_equal_energy_are_seldom_told_apart(
    same_board: bool, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    check_ranks = importlib.import_module("check_ranks")
    assert check_ranks.share_told(1000, same_board=same_board, alike=alike) < 0.05


def test_the_benchmark_measures_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    bench = importlib.import_module("bench_leaderboard")
    rng = random.Random(1)
    for at in range(12):
        write_run(tmp_path, bench.run_of(at, 12, rng))
    first = bench.build(tmp_path)
    assert first["duration_s"] > 0
    assert first["memory_mib"] > 10
    board = build(collect([tmp_path], tmp_path / "leaderboard.parquet"))
    assert (board.n_read, len(board.rows), board.problems) == (0, 24, [])
