"""What a node of a cluster does for one cell, without a cluster: taken in, measured, handed out, never begun twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from harness.records import PlannedCell
from harness.sweep.cell.task import CellTask
from harness.sweep.directory import SweepDirectory
from harness.sweep.executors.moving import PARTIAL, Parcel, install, of_repeat, pack, pieces, unpack
from harness.sweep.executors.node_worker import IDENTITY, LOG, OUT, NodeWorker, left_of
from harness.sweep.executors.ray_cluster import NODE_SLOT
from tests.executor_contract import N_PROMPTS, STAND_IN, planned
from tests.fake_nvml.library import A100, write_config
from tests.gate_runs import write_run

TOKEN = "0" * 32


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("template") / "run", n_prompts=N_PROMPTS, repeats=1, modes=("off", "on"))
    (place,) = run.glob("*/*/")
    return place


@pytest.fixture
def sweep(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDirectory:
    """At the driver; nodes keep their own directories elsewhere."""
    monkeypatch.setenv("STAND_IN_TEMPLATE", str(template))
    monkeypatch.setenv("STAND_IN_MARKS", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    return SweepDirectory.create(tmp_path / "driver" / "sweep", "vary: {}\n")


def worker(sweep: SweepDirectory, cell: PlannedCell, attempt: int = 1) -> NodeWorker:
    task = CellTask(
        cell=cell,
        attempt=attempt,
        run_path=sweep.run_path(cell),
        log_path=sweep.log(cell, attempt),
        working_dir=Path("/only/where/the/driver/is"),
        program=STAND_IN,
    )
    return NodeWorker(task, TOKEN, use_gpus=False, has_neighbours=False)


def fetched(worker: NodeWorker, parcel: Parcel | None, sweep: SweepDirectory, cell: PlannedCell) -> None:
    assert parcel is not None
    archive = sweep.path / PARTIAL / uuid.uuid4().hex / "out.tar"
    archive.parent.mkdir(parents=True)
    with archive.open("wb") as file:
        while piece := worker.piece(OUT, file.tell()):
            file.write(piece)
    unpack(archive, parcel, archive.with_name("run"))
    install(archive.with_name("run"), sweep.run_path(cell), sweep.path / PARTIAL)


def n_queries(run: Path) -> list[int]:
    return [path.read_bytes().count(b"\n") for path in run.glob("*/*/queries.jsonl")]


def sessions(run: Path, cell: PlannedCell) -> list[str]:
    return sorted(path.name for path in run.glob(f"cell-{cell.repeat}/*/sessions/*"))


def test_results_are_measured_on_the_node_and_fetched(sweep: SweepDirectory) -> None:
    cell = planned("m")
    node = worker(sweep, cell)
    assert not node.look().is_shared
    returned = node.measure(None, "node-7")
    assert (returned.outcome.status, returned.outcome.node) == ("finished", "node-7")
    assert not sweep.run_path(cell).exists()
    fetched(node, returned.parcel, sweep, cell)
    assert sweep.finished([cell]) == {cell.key}
    node.clear()
    assert left_of(TOKEN) == []


def test_a_node_that_sees_the_sweep_sends_nothing(sweep: SweepDirectory) -> None:
    (sweep.path / IDENTITY).write_text(TOKEN)
    cell = planned("m")
    node = worker(sweep, cell)
    assert node.look().is_shared
    assert node.measure(None, "node-7").parcel is None
    assert sweep.finished([cell]) == {cell.key}
    assert list((sweep.path / PARTIAL).iterdir()) == []


def test_another_sweep_of_the_same_path_is_not_taken_for_this_one(sweep: SweepDirectory) -> None:
    (sweep.path / IDENTITY).write_text("another sweep, on a file system of that node's own")
    assert not worker(sweep, planned("m")).look().is_shared


def test_what_a_killed_driver_has_left_on_a_node_is_completed_there(sweep: SweepDirectory) -> None:
    cell = planned("k", act="killed once")
    worker(sweep, cell).measure(None, "node-7")  # and nobody fetches it
    assert left_of(TOKEN) == [cell.key]
    node = worker(sweep, cell, attempt=2)
    returned = node.measure(None, "node-7")
    assert returned.outcome.status == "finished"
    fetched(node, returned.parcel, sweep, cell)
    assert n_queries(sweep.run_path(cell)) == [2 * N_PROMPTS]
    assert sessions(sweep.run_path(cell), cell) == ["01", "02"]


def test_what_is_half_finished_travels_to_the_node_first(sweep: SweepDirectory) -> None:
    cell = planned("k", act="killed once")
    first = worker(sweep, cell)
    fetched(first, first.measure(None, "node-7").parcel, sweep, cell)
    first.clear()
    before = n_queries(sweep.run_path(cell))
    assert before == [1]
    archive = sweep.path / "in.tar"
    parcel = pack(sweep.run_path(cell), of_repeat(sweep.run_path(cell), 0), archive)
    second = worker(sweep, cell, attempt=2)
    for number, piece in enumerate(pieces(archive)):
        second.receive(piece, is_first=number == 0)
    returned = second.measure(parcel, "node-8")
    fetched(second, returned.parcel, sweep, cell)
    assert n_queries(sweep.run_path(cell)) == [2 * N_PROMPTS]
    assert sessions(sweep.run_path(cell), cell) == ["01", "02"]


def test_damaged_on_its_way_there_it_is_not_begun(sweep: SweepDirectory) -> None:
    cell = planned("k", act="killed once")
    first = worker(sweep, cell)
    fetched(first, first.measure(None, "node-7").parcel, sweep, cell)
    first.clear()
    archive = sweep.path / "in.tar"
    parcel = pack(sweep.run_path(cell), of_repeat(sweep.run_path(cell), 0), archive)
    second = worker(sweep, cell, attempt=2)
    second.receive(archive.read_bytes().replace(b"energy_gross_j", b"energy_gross_k"), is_first=True)
    returned = second.measure(parcel, "node-8")
    assert (returned.outcome.status, returned.outcome.may_pass, returned.parcel) == ("failed", True, None)
    assert "damaged on their way" in returned.outcome.error


def test_a_cell_that_is_stopped_before_it_begins_never_does(sweep: SweepDirectory, tmp_path: Path) -> None:
    node = worker(sweep, planned("m"))
    node.stop()
    assert node.measure(None, "node-7").outcome.status == "interrupted"
    assert not (tmp_path / "starts").exists()


def test_what_is_told_names_paths_of_the_driver(sweep: SweepDirectory) -> None:
    cell = planned("m", act="traceback")
    node = worker(sweep, cell)
    returned = node.measure(None, "node-7")
    assert str(sweep.log(cell, 1)) in returned.outcome.next_step
    assert b"nobody foresaw this" in node.piece(LOG, 0)
    assert returned.n_log_bytes == len(node.piece(LOG, 0))


@pytest.mark.parametrize("started_with", [None, "4"])
def test_a_cell_is_not_held_to_the_one_thread_that_ray_gives(
    sweep: SweepDirectory, monkeypatch: pytest.MonkeyPatch, started_with: str | None
) -> None:
    environ = {**os.environ, **({"OMP_NUM_THREADS": started_with} if started_with else {})}
    if started_with is None:
        environ.pop("OMP_NUM_THREADS", None)
    raylet = subprocess.Popen(["sleep", "100"], env=environ)
    try:
        while psutil.Process(raylet.pid).name() != "sleep":
            pass
        monkeypatch.setenv("RAY_RAYLET_PID", str(raylet.pid))
        monkeypatch.setenv("OMP_NUM_THREADS", started_with or "1")
        worker(sweep, planned("m"))
        assert os.environ.get("OMP_NUM_THREADS") == started_with
    finally:
        raylet.kill()
        raylet.wait()


def test_the_number_that_a_scheduler_gives_becomes_a_uuid(fake_nvml: Path, tmp_path: Path) -> None:
    first, second = (f"GPU-00000000-0000-4000-8000-{number:012d}" for number in range(2))
    write_config(tmp_path / "boards.conf", [replace(A100, uuid=uuid) for uuid in (first, second)])
    code = """if True:
        import json, os
        from harness.sweep.executors.node_worker import boards
        told = []
        for shown in ("1", "0", "GPU-00000000-0000-4000-8000-000000000001", "MIG-aaaa"):
            os.environ["CUDA_VISIBLE_DEVICES"] = shown
            told.append(boards())
        print(json.dumps(told))"""
    environ = {"LD_LIBRARY_PATH": str(fake_nvml.parent), "FAKE_NVML_CONFIG": str(tmp_path / "boards.conf")}
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, check=True, capture_output=True, text=True
    )
    whole_board_for_a_slice_is_refused: list[object] = [None, []]
    assert json.loads(told.stdout) == [
        [[second], [first]],
        [[first], [second]],
        [[second], [first]],
        whole_board_for_a_slice_is_refused,
    ]


def test_the_manifest_in_the_guide_offers_what_cells_ask_for() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "sweep.md").read_text()
    blocks = [yaml.safe_load(block.partition("```")[0]) for block in guide.split("```yaml\n")[1:]]
    (manifest,) = [block for block in blocks if block.get("kind") == "RayCluster"]
    (group,) = manifest["spec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert json.loads(json.loads(group["rayStartParams"]["resources"])) == {NODE_SLOT: 1}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"]
    assert manifest["spec"]["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    names = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= names
