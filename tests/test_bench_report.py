"""The benchmark of large runs: what it makes is a run, and what it prints is a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import publish
from harness.store.run_directory import RunDirectory, cells
from scripts.bench_report import BUSY_W, IDLE_W, PAUSE_S, make_run

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_report.py"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", 200)


def test_a_made_up_run_is_a_whole_run(run: Path) -> None:
    (account,) = publish.accounts(run)
    off, on = account.summary.modes
    assert (off.n_queries, on.n_queries, account.summary.n_prompts_planned) == (100, 100, 100)
    assert account.summary.faults == ()
    for mode in (off, on):
        assert mode.energy_j.value is not None
        assert mode.energy_j.value / (mode.duration_s.value or 1.0) == pytest.approx(BUSY_W, rel=0.03)
        assert mode.energy_net_j.value == pytest.approx(
            mode.energy_j.value - IDLE_W * (mode.duration_s.value or 0.0), rel=1e-6
        )
        assert mode.energy_tail_j == pytest.approx(5.0 * PAUSE_S, rel=1e-6)
        assert sum(mode.phases_j.values()) == pytest.approx(mode.energy_j.value)


def test_its_lines_are_those_that_the_store_writes(run: Path) -> None:
    (store,) = cells(run)
    lines = (store.path / "queries.jsonl").read_text().splitlines()
    for line, record in zip(lines[:5], store.queries(), strict=False):
        assert json.loads(line) == json.loads(record.model_dump_json())
    assert len(store.intervals(1)) == 203


def test_the_same_seed_makes_the_same_run(run: Path, tmp_path: Path) -> None:
    again, other = make_run(tmp_path / "again", 200), make_run(tmp_path / "other", 200, seed=3)
    texts = [_queries(each) for each in (run, again, other)]
    assert texts[0] == texts[1] != texts[2]


def _queries(run: Path) -> str:
    (store,) = cells(run)
    assert isinstance(store, RunDirectory)
    return (store.path / "queries.jsonl").read_text()


def test_the_script_prints_a_row_per_step(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--queries", "40", "--steps", "first read,summary", "--json", str(figures)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[:3] for line in done.stdout.splitlines() if line.startswith("| 40")] == [
        ["| 40", "this", "first read"],
        ["| 40", "this", "summary"],
    ]
    assert all(row["duration_s"] > 0 and row["memory_peak_bytes"] > 1e6 for row in json.loads(figures.read_text()))
