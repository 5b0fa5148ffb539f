"""Run directories of every schema version load for ever, and their figures stay what they were.

`tests/golden/schema-N` was written by the program of its time: the embedded model on the CPU, a fake H100-like board
(`tests/fake_nvml`) under a square wave of power.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import publish
from harness.errors import SchemaError
from harness.records import SCHEMA_VERSION, Cell
from harness.results import load_run
from harness.verify import verify

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))


def test_there_is_one_of_every_version() -> None:
    assert [path.name for path in GOLDEN] == [f"schema-{version}" for version in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("run", GOLDEN, ids=lambda path: path.name)
def test_its_energies_are_still_what_its_raw_readings_say(run: Path) -> None:
    verification = verify(run)
    assert verification.differences == ()
    assert verification.n_figures > 100


@pytest.mark.parametrize("run", GOLDEN, ids=lambda path: path.name)
def test_its_summary_is_still_the_same(run: Path) -> None:
    (account,) = publish.accounts(run)
    (path,) = run.glob("*/*/summary.json")
    stored, again = json.loads(path.read_text()), json.loads(account.summary.model_dump_json())
    for mode, mode_again in zip(stored["modes"], again["modes"], strict=True):
        for figure in ("n_queries", "n_correct", "output_tokens"):
            assert mode[figure] == mode_again[figure]
        for figure in ("energy_j", "energy_net_j", "duration_s"):
            assert mode[figure]["value"] == pytest.approx(mode_again[figure]["value"], rel=1e-6)
    assert Cell.model_validate(stored["cell"]) == account.results.cell  # fields may have come, each with its default
    assert account.results.cell.cell_id == path.parent.parent.name  # so that it can still be resumed


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(GOLDEN[-1], run)
    (path,) = run.glob("*/*/queries.jsonl")
    path.write_text(path.read_text().replace('"schema_version":1', '"schema_version":99'))
    with pytest.raises(SchemaError, match="schema version 99"):
        load_run(run)
