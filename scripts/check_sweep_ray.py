#!/usr/bin/env python3
"""A sweep on a fake Ray cluster of this machine, one node of which is taken away in mid-run, and what came of it.

    python scripts/check_sweep_ray.py [--cells 12] [--nodes 3] [--num-prompts 3]

Three nodes with two fake GPUs each; every cell is a real `harness run` of the embedded model, and has a node to itself.
Once a few cells have ended, a node is killed in the middle of a cell, with all that runs on it; later a new one joins.
In the end every cell must be whole and none doubled, the lost attempt must be in outcomes.jsonl, no node may have had
two cells at a time, and nothing may be left running.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from ray.cluster_utils import Cluster  # noqa: E402

from harness.records import CellOutcome, PlannedCell  # noqa: E402
from harness.store.run_directory import cells as cells_of  # noqa: E402
from harness.sweep import driver  # noqa: E402
from harness.sweep.cell.task import MARK  # noqa: E402
from harness.sweep.directory import SweepDirectory  # noqa: E402
from harness.sweep.executors.moving import PARTIAL  # noqa: E402
from harness.sweep.executors.node_worker import IDENTITY, scratch_of  # noqa: E402
from harness.sweep.executors.ray_cluster import RayExecutor  # noqa: E402
from harness.verify import verify  # noqa: E402
from tests.fake_cluster import started  # noqa: E402

NODE = {"num_cpus": 1, "num_gpus": 2, "resources": {"node_slot": 1}}
REHEARSAL = "CHECK_SWEEP_RAY"
"""In the environment of all that this script starts: other sweeps may run on this machine."""
REPEATS = 2


class Saboteur(driver.Observer):
    """Takes a node away in the middle of a cell, and brings another when some more cells have ended."""

    def __init__(self, cluster: Any, executor: RayExecutor, scratch: Path, n_before: int) -> None:
        self._cluster, self._executor, self._scratch, self._n_before = cluster, executor, scratch, n_before
        self._nodes = list(cluster.worker_nodes)
        self._n_ended = 0
        self._lost_at: int | None = None
        self._joined = False

    def began(self, cell: PlannedCell, attempt: int) -> None:
        print(f"began       {cell.key}, attempt {attempt}", flush=True)

    def ended(self, cell: PlannedCell, outcome: CellOutcome, again_s: float | None) -> None:
        self._n_ended += 1
        again = "" if again_s is None else f"; again in {again_s:.0f} s"
        words = f" ({outcome.error})" if outcome.error else ""
        print(f"{outcome.status:<12}{cell.key} on {outcome.node}, {outcome.duration_s:.1f} s{words}{again}", flush=True)

    def looked(self, running: Sequence[PlannedCell]) -> None:
        if self._lost_at is None and self._n_ended >= self._n_before and (victim := self._at_work(running)):
            print(f"-- node {victim.node_id[:6]} is taken away, with the cell that measures on it", flush=True)
            self._cluster.remove_node(victim, allow_graceful=False)
            self._lost_at = self._n_ended
        elif self._lost_at is not None and not self._joined and self._n_ended >= self._lost_at + 3:
            node = started(self._cluster, **NODE)
            print(f"-- node {node.node_id[:6]} joins", flush=True)
            self._joined = True

    def _at_work(self, running: Sequence[PlannedCell]) -> Any:
        """A node whose cell has measured a query and has not ended; None: there is none at the moment."""
        for key, name in self._executor.nodes().items():
            measured = self._scratch.glob(f"{key.replace('/', '+')}+*/*/*/*/queries.jsonl")
            is_wanted = key in {cell.key for cell in running} and any(path.stat().st_size for path in measured)
            for node in self._nodes if is_wanted else []:
                if name.endswith(node.node_id[:6]):
                    return node
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--num-prompts", type=int, default=3)
    parser.add_argument("--before", type=int, default=3, help="cells that have ended before a node is lost")
    parser.add_argument("--program", default="", help="what stands in for `python -m harness`, as a shell has it")
    parser.add_argument("--output-dir", type=Path, default=None, help="kept; default: a directory that is not")
    options = parser.parse_args()
    os.environ[REHEARSAL] = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as scratch:
        output_dir = options.output_dir or Path(scratch)
        sweep = SweepDirectory.create(output_dir.resolve() / "check-sweep-ray", "vary: {}\n")
        wrong = rehearse(sweep, options)
    for words in wrong:
        print(f"WRONG: {words}")
    print("FAILED" if wrong else "All held.")
    sys.exit(1 if wrong else 0)


def rehearse(sweep: SweepDirectory, options: argparse.Namespace) -> list[str]:
    """What did not hold."""
    cells = planned(options.cells, options.num_prompts)
    cluster = Cluster()
    try:
        started(cluster, num_cpus=1, include_dashboard=False)
        for _ in range(options.nodes):
            started(cluster, **NODE)
        program = tuple(shlex.split(options.program))
        executor = RayExecutor(sweep, address=cluster.address, program=program)
        print(f"{options.nodes} nodes of 2 fake GPUs each; room for {executor.n_free} cells at a time", flush=True)
        scratch = scratch_of((sweep.path / IDENTITY).read_text())
        saboteur = Saboteur(cluster, executor, scratch, options.before)
        started_s = time.monotonic()
        result = driver.run(sweep, cells, executor, retries=2, backoff_s=1.0, observer=saboteur)
        print(f"{len(result.finished)} of {len(cells)} cells finished in {time.monotonic() - started_s:.0f} s")
    finally:
        cluster.shutdown()
    outcomes = sweep.outcomes()
    print(f"attempts: {dict(Counter(outcome.status for outcome in outcomes))}")
    return [
        *(f"{cell.key} is not finished" for cell in cells if cell.key not in sweep.finished(cells)),
        *doubled(sweep, cells, options.num_prompts),
        *overlapping(outcomes),
        *([] if any(outcome.status == "lost" for outcome in outcomes) else ["no attempt was lost with the node"]),
        *([f"{PARTIAL} is not empty"] if list((sweep.path / PARTIAL).glob("*/*")) else []),
        *(f"process {pid} is left" for pid in left_running()),
        *([] if options.program else not_verified(sweep, cells)),
    ]


def planned(n_cells: int, num_prompts: int) -> list[PlannedCell]:
    """Cells of the embedded model that differ in how many tokens an answer may have."""
    found = []
    for number in range(n_cells):
        cap = 24 + number // REPEATS
        spec = {"model": ["tiny-reasoner"], "num_prompts": num_prompts, "max_new_tokens": cap, "idle_duration_s": 0.5}
        if os.environ.get("STAND_IN_TEMPLATE"):
            spec["pace_s"] = 1.0
        found.append(PlannedCell(labels={"max_new_tokens": str(cap)}, spec=spec, repeat=number % REPEATS))
    return found


def doubled(sweep: SweepDirectory, cells: Sequence[PlannedCell], num_prompts: int) -> list[str]:
    wrong, n_queries = [], 0
    for cell in cells:
        places = [each for each in cells_of(sweep.run_path(cell)) if each.cell().repeat == cell.repeat]
        asked = [(query.prompt_id, query.mode) for each in places for query in each.queries()]
        modes = {mode for _, mode in asked}
        n_queries += len(asked)
        if len(asked) != len(set(asked)) or len(set(asked)) != num_prompts * len(modes):
            wrong.append(f"{cell.key} holds {len(asked)} queries, {len(set(asked))} different ones")
    print(f"{n_queries} queries on disk")
    return wrong


def overlapping(outcomes: Sequence[CellOutcome]) -> list[str]:
    """Cells that were on one node at the same time."""
    wrong = []
    for node in {outcome.node for outcome in outcomes}:
        own = sorted((each for each in outcomes if each.node == node), key=lambda each: each.started_unix_s)
        print(f"node {node}: {len(own)} attempts, {sum(each.duration_s for each in own):.0f} s")
        for one, other in itertools.pairwise(own):
            if one.status == other.status == "finished" and one.started_unix_s + one.duration_s > other.started_unix_s:
                wrong.append(f"{one.key} and {other.key} were on {node} at the same time")
    return wrong


def left_running() -> list[int]:
    """Processes of this rehearsal's cells. What a killed cell has started ends by itself within seconds."""
    until_s = time.monotonic() + 60
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                environ = process.environ()
            except psutil.Error:
                continue
            if process.pid != os.getpid() and MARK in environ and environ.get(REHEARSAL) == os.environ[REHEARSAL]:
                found.append(process.pid)
        if not found or time.monotonic() > until_s:
            return found
        time.sleep(0.5)


def not_verified(sweep: SweepDirectory, cells: Sequence[PlannedCell]) -> list[str]:
    """Figures that cannot be worked out again from the raw readings."""
    wrong = []
    for path in sorted({sweep.run_path(cell) for cell in cells}):
        checked = verify(path)
        print(f"verify {path.name}: {checked.n_agree} of {checked.n_figures} figures agree")
        if checked.differences:
            wrong.append(f"{path.name} does not verify")
    return wrong


if __name__ == "__main__":
    main()
