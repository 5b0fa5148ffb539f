"""Runs of many machines, gathered: nothing twice, nothing lost, nothing pooled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml

from harness import publish
from harness.bundle.packing import pack
from harness.errors import SchemaError, UsageError
from harness.records import CellOutcome, Summary
from harness.store.run_directory import append_lines
from harness.sweep.collect import collect, write_frames
from harness.sweep.directory import SweepDirectory
from harness.sweep.planning.spec import OUTCOMES_FILE
from harness.verify import verify

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
PLAN = "vary: {model: [tiny-reasoner]}\n"


def machine(tmp_path: Path, name: str) -> Path:
    """A sweep directory of one machine, with one run in it. Returns the cell's directory at its site."""
    sweep = tmp_path / name / "results" / "sweep-1"
    shutil.copytree(GOLDEN, sweep / "tiny-reasoner-0123456789ab")
    (sweep / "sweep.yaml").write_text(PLAN)
    (cell,) = sweep.glob("*/*/*/cell.yaml")
    return cell.parent


def changed(cell: Path, **fields: object) -> None:
    """As if it had been measured at another time: its manifest says so."""
    for path in cell.glob("sessions/*/manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def gather(tmp_path: Path, *names: str) -> tuple[Path, list[str]]:
    said: list[str] = []
    collect([tmp_path / name for name in names], tmp_path / "all", said.append)
    return tmp_path / "all", said


def places(target: Path) -> list[str]:
    return sorted(path.parent.relative_to(target).as_posix() for path in target.glob("*/*/*/cell.yaml"))


def test_another_site_is_another_row_and_a_copy_is_taken_once(tmp_path: Path) -> None:
    machine(tmp_path, "one")
    other = machine(tmp_path, "two")
    other.rename(other.with_name("aaaabbbbcccc"))
    target, said = gather(tmp_path, "one", "two")
    assert said == []
    assert [place.rpartition("/")[2] for place in places(target)] == ["6a44ba1df7e7", "aaaabbbbcccc"]
    before = places(target)
    collected = collect([tmp_path / "one", tmp_path / "two"], target, said.append)
    assert (collected.n_taken, collected.n_copies) == (0, 2)
    assert places(target) == before


def test_a_true_repeat_is_a_repeat(tmp_path: Path) -> None:
    machine(tmp_path, "one")
    changed(machine(tmp_path, "two"), started_utc="2031-01-01T00:00:00Z")
    target, (said,) = gather(tmp_path, "one", "two")
    assert "measured again: repeat 2" in said
    first, second = publish.accounts(target / "tiny-reasoner-0123456789ab")
    assert {account.results.directory.path.name for account in (first, second)} == {"6a44ba1df7e7", "6a44ba1df7e7-2"}
    assert first.summary.site_id == second.summary.site_id == "6a44ba1df7e7"
    assert first.summary.modes[0].energy_j.half_width_runs is not None
    checked = verify(target / "tiny-reasoner-0123456789ab")
    assert checked.differences == ()
    summary = Summary.model_validate_json((second.results.directory.path / "summary.json").read_text())
    assert summary.modes[0].energy_j.half_width_runs == second.summary.modes[0].energy_j.half_width_runs


def test_a_collection_of_collections_keeps_its_repeats_apart(tmp_path: Path) -> None:
    machine(tmp_path, "one")
    for name, year in (("two", 2031), ("three", 2032)):
        changed(machine(tmp_path, name), started_utc=f"{year}-01-01T00:00:00Z")
    collect([tmp_path / "one", tmp_path / "two"], tmp_path / "first", print)
    collect([tmp_path / "one", tmp_path / "three"], tmp_path / "second", print)
    collected = collect([tmp_path / "first", tmp_path / "second"], tmp_path / "all", print)
    names = [place.rpartition("/")[2] for place in places(tmp_path / "all")]
    assert names == ["6a44ba1df7e7", "6a44ba1df7e7-2", "6a44ba1df7e7-3"]
    assert (collected.n_taken, collected.n_copies, collected.sites) == (3, 1, {"6a44ba1df7e7"})


def test_of_a_copy_that_was_completed_later_the_later_one_is_kept(tmp_path: Path) -> None:
    machine(tmp_path, "whole")
    part = machine(tmp_path, "part")
    lines = (part / "queries.jsonl").read_text().splitlines(keepends=True)
    (part / "queries.jsonl").write_text("".join(lines[:-3]))
    for names in (("part", "whole"), ("whole", "part")):
        target, _ = gather(tmp_path, *names)
        (cell,) = target.glob("*/*/*/queries.jsonl")
        assert cell.read_text() == "".join(lines)
        shutil.rmtree(target)


def test_several_schema_versions_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, "one")
    cell = machine(tmp_path, "two")
    (cell / "cell.yaml").write_text((cell / "cell.yaml").read_text().replace("schema_version: 1", "schema_version: 2"))
    with pytest.raises(SchemaError, match=r"two.*has schema version 2"):
        gather(tmp_path, "one", "two")
    monkeypatch.setattr("harness.store.run_directory.SCHEMA_VERSION", 2)
    with pytest.raises(UsageError, match=r"several schema versions.*1 in .*one.*2 in .*two"):
        gather(tmp_path, "one", "two")
    assert not (tmp_path / "all").exists()


def test_runs_of_one_name_that_asked_for_something_else_stay_apart(tmp_path: Path) -> None:
    machine(tmp_path, "one")
    cell = machine(tmp_path, "two")
    path = cell.parents[1] / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "seed": 7}))
    target, _ = gather(tmp_path, "one", "two")
    assert sorted({place.partition("/")[0] for place in places(target)}) == [
        "tiny-reasoner-0123456789ab",
        "tiny-reasoner-0123456789ab-2",
    ]


def test_plans_and_attempts_come_along_once(tmp_path: Path) -> None:
    for name, node in (("one", "a"), ("two", "b")):
        outcome = CellOutcome(
            key="x/0", attempt=1, status="finished", node=node, started_unix_s=1.0, duration_s=2.0, energy_j=None
        )
        append_lines(machine(tmp_path, name).parents[2] / OUTCOMES_FILE, outcome)
    for level in ("results", "results/sweep-1"):
        collect([tmp_path / name / level for name in ("one", "two")], tmp_path / "all", print)
    sweep = SweepDirectory(tmp_path / "all")
    assert [path.read_text() for path in sweep.plans()] == [PLAN]
    assert [outcome.node for outcome in sweep.outcomes()] == ["a", "b"]


def test_bundles_are_collected_too(tmp_path: Path) -> None:
    run = machine(tmp_path, "one").parents[1]
    pack(run, tmp_path / "one.zip", lambda run: publish.publish(run, publish.accounts(run)), hash_texts=False)
    collected = collect([tmp_path / "one.zip"], tmp_path / "all", print)
    assert collected.n_taken == 1


def test_set_aside_runs_and_empty_folders_are_no_runs(tmp_path: Path) -> None:
    run = machine(tmp_path, "one").parents[1]
    run.rename(run.with_name(f"{run.name}.damaged-1"))
    with pytest.raises(UsageError, match="no run in"):
        gather(tmp_path, "one")


def test_all_of_it_can_be_asked_without_loading_it(tmp_path: Path) -> None:
    machine(tmp_path, "one")
    other = machine(tmp_path, "two")
    other.rename(other.with_name("aaaabbbbcccc"))
    target, _ = gather(tmp_path, "one", "two")
    write_frames(target)
    rows = ds.dataset(target / "frames").to_table(columns=["site_id", "mode"], filter=ds.field("mode") == "on")
    assert sorted(set(rows["site_id"].to_pylist())) == ["6a44ba1df7e7", "aaaabbbbcccc"]
    assert len(rows) == 12
