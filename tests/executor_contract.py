"""What every executor promises, checked with stand-ins for cells. Run in this process, or in one that has Ray in it.

    python -m tests.executor_contract DIRECTORY N_NODES CHECK...     on a fake Ray cluster; ends at the first that fails

Marks that stand-ins leave lie in one directory, whichever node they run on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from harness.protocols import Executor
from harness.records import CellOutcome, PlannedCell
from harness.sweep.directory import SweepDirectory
from harness.sweep.executors.local import LocalExecutor

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_cell.py")))
N_PROMPTS = 3
PATIENCE_S = 240.0

MakeExecutor = Callable[..., Executor]


class Contract:
    """Each method whose name begins with `check_` is one promise. An executor is made anew for each."""

    def __init__(self, make: MakeExecutor, directory: Path, marks: Path) -> None:
        self.make, self.marks = make, marks
        self.sweep = SweepDirectory.create(directory / "sweep", "vary: {}\n")

    @contextmanager
    def executor(self, **options: object) -> Iterator[Executor]:
        executor = self.make(self.sweep, program=STAND_IN, **options)
        try:
            yield executor
        finally:
            executor.close()
        assert executor.running() == ()
        self.until(lambda: not self.alive())

    def check_what_is_told_as_finished_is_there(self) -> None:
        cells = [planned("m"), planned("m", 1), planned("n")]
        with self.executor() as executor:
            outcomes = self.drive(executor, cells)
        assert sorted(outcome.key for outcome in outcomes) == sorted(cell.key for cell in cells)
        for outcome in outcomes:
            assert (outcome.status, outcome.exit_code, outcome.n_queries) == ("finished", 0, 2 * N_PROMPTS), outcome
            assert outcome.node
            assert outcome.energy_j
            assert outcome.energy_j > 0
        assert self.sweep.finished(cells) == {cell.key for cell in cells}
        assert all(self.sweep.log(cell, 1).exists() for cell in cells)

    def check_what_fails_harms_no_other_and_says_why(self) -> None:
        bad, good = planned("big", act="memory"), planned("good")
        with self.executor() as executor:
            outcomes = {outcome.key: outcome for outcome in self.drive(executor, [bad, good])}
        assert outcomes[good.key].status == "finished"
        failed = outcomes[bad.key]
        assert (failed.status, failed.exit_code, failed.may_pass) == ("failed", 5, False)
        assert "does not fit" in failed.error
        assert failed.next_step == "Choose a smaller model."
        assert "does not fit" in self.sweep.log(bad, 1).read_text()

    def check_what_was_killed_is_completed_and_not_begun_again(self) -> None:
        cell = planned("k", act="killed once")
        with self.executor() as executor:
            (first,) = self.drive(executor, [cell])
            assert (first.status, first.may_pass) == ("lost", True), first
            assert self.pairs(cell), "what it had measured was lost"
            (second,) = self.drive(executor, [cell], attempt=2)
        assert (second.status, second.attempt) == ("finished", 2)
        self.is_whole(cell)

    def check_a_stop_keeps_what_was_measured(self) -> None:
        cell = planned("s", pace_s=1.0)
        with self.executor() as executor:
            executor.submit(cell, 1)
            assert executor.running() == (cell,)
            self.take(executor, until=lambda: bool(self.alive()))
            time.sleep(3.0)
            executor.stop()
            outcomes = self.take(executor, until=lambda: not executor.running())
        assert [outcome.status for outcome in outcomes] == ["interrupted"], outcomes
        before = self.pairs(cell)
        assert 0 < len(before) < 2 * N_PROMPTS
        with self.executor() as executor:
            (outcome,) = self.drive(executor, [cell], attempt=2)
        assert outcome.status == "finished"
        assert self.pairs(cell)[: len(before)] == before
        self.is_whole(cell)

    def check_a_cell_that_takes_too_long_is_ended(self) -> None:
        cell = planned("t", act="hang")
        with self.executor(time_limit_s=4.0) as executor:
            (outcome,) = self.drive(executor, [cell])
        assert (outcome.status, outcome.may_pass) == ("timed_out", False)
        self.is_whole(cell)

    def check_nothing_is_left_running(self) -> None:
        with self.executor() as executor:
            executor.submit(planned("c", act="hang"), 1)
            self.take(executor, until=lambda: bool(self.alive()))

    # ------------------------------------------------------------------------------------ parts

    def drive(self, executor: Executor, cells: list[PlannedCell], attempt: int = 1) -> list[CellOutcome]:
        """Each cell as there is room for it."""
        waiting, outcomes = list(cells), []
        until_s = time.monotonic() + PATIENCE_S
        while waiting or executor.running():
            while waiting and executor.n_free > 0:
                executor.submit(waiting.pop(0), attempt)
            for outcome in executor.take(1.0):
                if outcome.status == "finished":
                    key = {cell.key: cell for cell in cells}[outcome.key]
                    assert self.sweep.finished([key]), "told before it was there"
                outcomes.append(outcome)
            assert time.monotonic() < until_s, f"still waiting for {executor.running()}"
        return outcomes

    def take(self, executor: Executor, until: Callable[[], bool]) -> list[CellOutcome]:
        found: list[CellOutcome] = []

        def happened() -> bool:
            found.extend(executor.take(0.2))
            return until()

        self.until(happened)
        return found

    def until(self, happened: Callable[[], bool]) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < until_s, "it never happened"
            time.sleep(0.05)

    def alive(self) -> list[int]:
        """Stand-ins of this sweep that run."""
        starts = self.marks / "starts"
        pids = [int(line.split()[1]) for line in starts.read_text().splitlines()] if starts.exists() else []
        return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]

    def pairs(self, cell: PlannedCell) -> list[tuple[str, str]]:
        """Every (prompt, mode) on disk of one cell, doubled ones twice."""
        found = sorted(self.sweep.run_path(cell).glob(f"cell-{cell.repeat}/*/queries.jsonl"))
        lines = [json.loads(line) for path in found for line in path.read_text().splitlines()]
        return [(line["prompt_id"], line["mode"]) for line in lines]

    def is_whole(self, cell: PlannedCell) -> None:
        found = self.pairs(cell)
        assert len(found) == len(set(found)) == 2 * N_PROMPTS, found


CHECKS = tuple(name for name in vars(Contract) if name.startswith("check_"))


def planned(model: str, repeat: int = 0, **spec: object) -> PlannedCell:
    fields = {"model": [model], "num_prompts": N_PROMPTS, **spec}
    return PlannedCell(labels={"model": model}, spec=fields, repeat=repeat)


def make_local(sweep: SweepDirectory, **options: object) -> Executor:
    return LocalExecutor(sweep, **options)  # type: ignore[arg-type]


def make_submitit(sweep: SweepDirectory, **options: object) -> Executor:
    from harness.sweep.executors.slurm_jobs import SlurmExecutor

    return SlurmExecutor(sweep, cluster="local", use_gpus=False, **options)  # type: ignore[arg-type]


def main(directory: Path, n_nodes: int, checks: list[str]) -> None:
    from harness.sweep.executors.ray_cluster import RayExecutor
    from tests.fake_cluster import fake_cluster

    marks = Path(os.environ["STAND_IN_MARKS"])
    with fake_cluster(n_nodes) as cluster:

        def make(sweep: SweepDirectory, **options: object) -> Executor:
            return RayExecutor(sweep, address=cluster.address, **options)  # type: ignore[arg-type]

        for name in checks:
            (directory / name).mkdir()
            (marks / "starts").unlink(missing_ok=True)
            getattr(Contract(make, directory / name, marks), name)()
            print(f"{name} holds", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
