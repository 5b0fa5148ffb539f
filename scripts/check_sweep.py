#!/usr/bin/env python3
"""Kill a sweep at random moments, resume it until it is complete, and check that nothing was lost or doubled.

    python scripts/check_sweep.py [--kills 10] [--num-prompts 4] [--repeats 3] [--seed 0] [--keep DIR]

The sweep is of the embedded model and of variants of its architecture with random weights: 24 cells by default, on the
CPU, about ten seconds each on an idle machine. SIGKILL goes to the driver, to the cell's process, or to one of the
processes that this has started (the sampler). Everything that was on disk in whole at a kill has to be there, byte for
byte, at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from importlib import resources
from pathlib import Path

import psutil
import yaml

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from harness.report.numbers import duration, energy  # noqa: E402
from harness.store.run_directory import RunDirectory, cells  # noqa: E402
from harness.sweep.directory import SweepDirectory  # noqa: E402
from harness.sweep.planning.forecast import estimates_of  # noqa: E402
from harness.sweep.planning.plan import Plan, plan_of  # noqa: E402
from harness.sweep.planning.spec import load_sweep_spec  # noqa: E402

MARK = "CHECK_SWEEP"
"""In the environment of every process that a driver of this sweep has started."""
SHAPES = {
    "random-deep": {"num_hidden_layers": 4},
    "random-flat": {"num_hidden_layers": 2},
    "random-one": {"num_hidden_layers": 1},
}
KINDS = ("driver", "cell", "child of a cell")
CELL_S = 30.0
"""Longest wait for a kill as long as no cell has ended; then it is what a cell takes."""
SEEN_S = 6.0
"""Longest wait after a victim was first seen."""
EXITS_MOST = 40
GONE_S = 90.0
"""Within this nothing of a killed driver is left, on a machine however busy."""


def build_variant(path: Path, seed: int, **shape: int) -> None:
    """The embedded model's architecture and tokenizer, with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = Path(str(resources.files("harness"))) / "assets" / "tiny-reasoner"
    shutil.copytree(source, path, ignore=shutil.ignore_patterns("*.safetensors", "training.json"))
    config = AutoConfig.from_pretrained(source)
    config.layer_types = config.layer_types[: shape["num_hidden_layers"]]
    config.num_hidden_layers = shape["num_hidden_layers"]
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)


def write_sweep_file(path: Path, variants: list[Path], num_prompts: int, repeats: int) -> None:
    subjects = {"embedded": {"model": "tiny-reasoner", "mode": ["off", "on"]}}
    subjects |= {variant.name: {"model": str(variant)} for variant in variants}
    run = {"prompts": "chains", "num_prompts": num_prompts, "idle_duration_s": 0.5, "warm_up_queries": 1}
    fields = {
        "run": run,
        "vary": {"subject": subjects, "max_new_tokens": [16, 32]},
        "repeats": repeats,
        "reference": False,
        "retries": 2,
    }
    path.write_text(yaml.safe_dump(fields, sort_keys=False))


class Rehearsal:
    """One sweep, the drivers that work on it one after the other, and what was on disk at each kill."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.file = folder, folder / "sweep.yaml"
        self.output = folder / "results"
        self.mark = uuid.uuid4().hex
        self.random = random.Random(seed)
        self.log = (folder / "driver.log").open("ab")
        self.driver: subprocess.Popen[bytes] | None = None
        self.exits: list[int] = []
        self.lines: dict[Path, set[bytes]] = {}
        self.killed: Counter[str] = Counter()
        self.left: list[str] = []

    @property
    def sweep(self) -> SweepDirectory | None:
        found = list(self.output.glob("*/sweep.yaml"))
        return SweepDirectory(found[0].parent) if found else None

    def start(self) -> None:
        what = ["--resume", "latest"] if self.sweep is not None else [str(self.file)]
        command = [sys.executable, "-m", "harness", "sweep", *what, "--gpus", "none", "--output-dir", str(self.output)]
        environ = {**os.environ, MARK: self.mark}
        self.driver = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environ, cwd=self.folder)

    def ours(self) -> list[psutil.Process]:
        """Every process of the sweep, the driver among them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def targets(self, kind: str) -> list[psutil.Process]:
        """What a kill of this kind could hit now."""
        assert self.driver is not None
        found = []
        for process in self.ours():
            try:
                is_cell = "--only-repeat" in process.cmdline()
            except psutil.Error:
                continue
            if kind == ("driver" if process.pid == self.driver.pid else "cell" if is_cell else "child of a cell"):
                found.append(process)
        return found

    def kill(self, kind: str) -> bool:
        """One SIGKILL; False: nothing of that kind is there."""
        assert self.driver is not None
        victims = self.targets(kind)
        if not victims:
            return False
        self.remember()
        os.kill(self.random.choice(victims).pid, signal.SIGKILL)
        self.killed[kind] += 1
        at = f"{time.strftime('%H:%M:%S')}: {self.n_ended()} cells had ended"
        n_lines = sum(map(len, self.lines.values()))
        print(f"  killed a {kind} at {at}, {n_lines} queries lay on disk")
        if kind == "driver":
            self.driver.wait()
            self.check_gone("after the driver was killed")
        return True

    def check_gone(self, when: str) -> None:
        until_s = time.monotonic() + GONE_S
        while (left := self.ours()) and time.monotonic() < until_s:
            time.sleep(0.2)
        self.left += [f"{when}: {process.pid} {' '.join(process.cmdline())}" for process in left]

    def remember(self) -> None:
        """Every whole line of queries that is on disk now."""
        for path in self.output.glob("*/*/*/*/queries.jsonl"):
            whole = path.read_bytes().split(b"\n")[:-1]
            self.lines.setdefault(path, set()).update(whole)

    def durations_s(self) -> list[float]:
        """What finished cells took."""
        outcomes = self.sweep.outcomes() if self.sweep else []
        return [outcome.duration_s for outcome in outcomes if outcome.status == "finished"]

    def n_ended(self) -> int:
        return len(self.durations_s())

    def alive(self) -> bool:
        """Whether a driver works; one that has ended before its time is followed by the next."""
        assert self.driver is not None
        if self.driver.poll() is None:
            return True
        self.exits.append(self.driver.returncode)
        if self.driver.returncode == 0:
            return False
        self.start()
        return True

    def run(self, n_kills: int, n_cells: int) -> None:
        """Kill so often, at moments spread over the sweep, resuming meanwhile; then let it come to its end."""
        after = sorted(self.random.randrange(n_cells - 1) for _ in range(n_kills))
        self.start()
        for n_ended in after:
            kind = self.random.choice(KINDS)
            while self.alive() and self.n_ended() < n_ended:
                time.sleep(0.2)
            taken = self.durations_s()
            until_s = time.monotonic() + self.random.random() * (sum(taken) / len(taken) if taken else CELL_S)
            while self.alive() and time.monotonic() < until_s:
                time.sleep(0.05)
            while self.alive() and not self.targets(kind):
                time.sleep(0.1)
            time.sleep(self.random.random() * SEEN_S)  # not always at the moment it begins
            while self.alive() and not self.kill(kind):
                time.sleep(0.05)
        while self.alive() and len(self.exits) < EXITS_MOST:
            time.sleep(0.2)


def check(sweep: SweepDirectory, plan: Plan, rehearsal: Rehearsal) -> list[str]:
    """What is wrong; empty: nothing."""
    wrong = [f"a process was left {left}" for left in rehearsal.left]
    missing = [cell.key for cell in plan.cells if cell.key not in sweep.finished(plan.cells)]
    wrong += [f"{key} is not finished" for key in missing]
    n_queries = 0
    for cell in plan.cells:
        stores = [store for store in cells(sweep.run_path(cell)) if store.cell().repeat == cell.repeat]
        if len(stores) != 1:
            wrong.append(f"{cell.key} was measured into {len(stores)} directories")
            continue
        found, expected = _known(stores[0]), _expected(stores[0], int(cell.spec["num_prompts"]))
        n_queries += len(expected)
        wrong += [f"{cell.key}: {pair} is there {found[pair]} times" for pair in expected if found[pair] != 1]
        wrong += [f"{cell.key}: {pair} was not planned" for pair in found if pair not in expected]
    for path, lines in rehearsal.lines.items():
        lost = lines - set(path.read_bytes().split(b"\n")) if path.exists() else lines
        wrong += [f"{path}: {len(lost)} lines that were on disk at a kill are gone"] if lost else []
    n_remembered = sum(map(len, rehearsal.lines.values()))
    print(f"  {n_queries} planned queries looked up; {n_remembered} were on disk at kills, and were looked up again")
    for run in sorted({cell.run_id for cell in plan.cells}):
        command = [sys.executable, "-m", "harness", "verify", str(sweep.path / run)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"  {said.stdout.splitlines()[0] if said.stdout else said.stderr.strip()}", flush=True)
        wrong += [f"verify {run}: exit code {said.returncode}"] if said.returncode else []
    return wrong


def _known(store: RunDirectory) -> Counter[tuple[str, str]]:
    """How often each (prompt, mode) has its energy; a line without one is of a sensor that was killed."""
    return Counter(
        (query.prompt_id, query.mode)
        for query in store.queries()
        if query.readings and all(reading.energy_gross_j is not None for reading in query.readings)
    )


def _expected(store: RunDirectory, n_prompts: int) -> set[tuple[str, str]]:
    from harness.prompts.catalogue import parse

    cell = store.cell()
    prompts = parse(cell.prompt_set).load(cell.seed).prompts[:n_prompts]
    return {(prompt.prompt_id, mode) for prompt in prompts for mode in cell.modes}


def print_times(sweep: SweepDirectory, plan: Plan, expected: object, wall_s: float) -> None:
    """The plan's estimate beside what it took."""
    undisturbed = [
        outcome
        for outcome in sweep.outcomes()
        if outcome.status == "finished" and outcome.attempt == 1 and outcome.n_queries
    ]
    mean_s = sum(outcome.duration_s for outcome in undisturbed) / max(1, len(undisturbed))
    energies = [found.energy_j for cell in plan.cells if (found := sweep.measured(cell)) and found.energy_j is not None]
    print(f"  the plan said, before anything was measured: {expected}")
    print(
        f"  true: {duration(mean_s * len(plan.cells))} at {duration(mean_s)} a cell ({len(undisturbed)} undisturbed "
        f"cells), {energy(sum(energies))} (estimated); with all kills and resumes {duration(wall_s)}"
    )
    after = estimates_of(plan, sweep.path.parent, on_gpus=False, sweep=sweep.path).total(plan.cells)
    print(f"  the plan would say now: {_words(after)}")


def _words(total: object) -> str:
    low_s, high_s = total.duration_s.low, total.duration_s.high  # type: ignore[attr-defined]
    low_j, high_j = total.energy_j.low, total.energy_j.high  # type: ignore[attr-defined]
    return f"{duration(low_s)} to {duration(high_s)}, {energy(low_j)} to {energy(high_j)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--num-prompts", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="an empty directory that is kept")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its driver is ended with it
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        variants = []
        for seed, (name, shape) in enumerate(SHAPES.items()):
            build_variant(folder / name, seed, **shape)
            variants.append(folder / name)
        rehearsal = Rehearsal(folder, options.seed)
        write_sweep_file(rehearsal.file, variants, options.num_prompts, options.repeats)
        plan = plan_of(load_sweep_spec(rehearsal.file).model_copy(update={"working_dir": str(folder)}))
        expected = _words(estimates_of(plan, rehearsal.output, on_gpus=False).total(plan.cells))
        print(f"{len(plan.cells)} cells of {len(plan.runs)} runs, {options.kills} kills, seed {options.seed}")
        started_s = time.monotonic()
        try:
            rehearsal.run(options.kills, len(plan.cells))
            rehearsal.check_gone("at the end")
        finally:
            if rehearsal.driver is not None and rehearsal.driver.poll() is None:
                rehearsal.driver.terminate()
                rehearsal.driver.wait()
        wall_s = time.monotonic() - started_s
        print(f"  killed: {json.dumps(rehearsal.killed)}; exit codes of the drivers: {rehearsal.exits}")
        sweep = rehearsal.sweep
        if sweep is None:
            print("FAILED: there is no sweep.")
            return 1
        wrong = check(sweep, plan, rehearsal)
        print_times(sweep, plan, expected, wall_s)
        for each in wrong:
            print(f"  WRONG: {each}")
        n_killed = sum(rehearsal.killed.values())
        print(f"{'FAILED' if wrong else 'passed'}: {len(plan.cells)} cells, {n_killed} kills, {len(wrong)} faults")
        return 1 if wrong or n_killed < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
