#!/usr/bin/env python3
"""Every task from end to end on this machine, each with one wrong input: a table, and a page to look at.

    python scripts/check_tasks.py [--num-prompts 6] [--task NAME ...] [--model TASK=DIR ...] [--board] [--keep DIR]

Each task is run by `harness run --task` over a few inputs of its embedded set and one that is wrong: a text file as
image, half of a PNG, silence, an empty text, a prompt longer than the context. That one has to fail with its reason
and the rest has to be measured; then `harness verify` has to find every figure again, and `harness report` a page.

Text generation and reasoning use the embedded model. The others use the model of `--model TASK=DIR`, else their
stand-in: a real shape with random weights, so that the work is real and the answers mean nothing. With `--board` the
joules are those of a fake NVIDIA board of known power (`tests/fake_nvml`, needs a C compiler); without it they are
whatever this machine's sensors say, or an estimate.

Exit status: 0 where all of it went as it should, 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from harness.engine.task.catalogue import tasks  # noqa: E402
from harness.engine.task.description import Task  # noqa: E402
from harness.publish import accounts  # noqa: E402
from harness.records import Boundary, Summary  # noqa: E402
from harness.results import CellResults, load_run  # noqa: E402
from scripts.check_tasks.wrong_inputs import WRONG, Case, case_of  # noqa: E402

HARNESS = [sys.executable, "-m", "harness"]
IDLE_S = "0.6"
POWER_W = 330.0
"""Of the fake board's load, above its idle power."""
LARGEST = 2.5
"""Half-widths by which the joules of a span of known power may be off. They are of 95 %; beyond this are 10 in 10^7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one task's run came to."""

    task: str
    model: str
    n_measured: int
    seconds: float | None
    energy: str
    quality: str
    phases: str
    wrong: str
    faults: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, default=6, help="good inputs of each task")
    parser.add_argument("--task", action="append", choices=list(tasks()), help="only these")
    parser.add_argument("--model", action="append", default=[], metavar="TASK=DIR", help="a trained model for a task")
    parser.add_argument("--set", action="append", default=[], metavar="TASK:KEY=VALUE", help="of that task's run")
    parser.add_argument("--board", action="store_true", help="joules of a fake board of known power")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs there")
    options = parser.parse_args()
    models = dict(each.split("=", 1) for each in options.model)
    settings = [each.split(":", 1) for each in options.set]
    with tempfile.TemporaryDirectory(prefix="check-tasks-") as folder:
        scratch = Path(folder).resolve() if options.keep is None else options.keep.resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        environment, power_w = fake_board(scratch) if options.board else (dict(os.environ), None)
        rows = []
        for name in options.task or tasks():
            own = [f"--set={setting}" for task, setting in settings if task == name]
            flags = [*own, *(["--device", "cpu", "--meter-gpus", "all"] if options.board else [])]
            rows.append(
                checked(tasks()[name], models.get(name), scratch, options.num_prompts, environment, flags, power_w)
            )
    print_rows(rows)
    sys.exit(int(any(row.faults for row in rows)))


def checked(
    task: Task,
    model: str | None,
    scratch: Path,
    n_good: int,
    environment: Mapping[str, str],
    flags: Sequence[str],
    power_w: float | None,
) -> Row:
    """Run one task, and see whether everything about it is as it should be; `power_w` is the board's, where known."""
    print(f"\n=== {task.name}\n", flush=True)
    folder = scratch / "inputs" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    case = case_of(task, folder, n_good)
    output = scratch / "runs" / task.name
    named = task.model if task.is_text_generation else model or "random"
    command = ["run", "--task", task.name, "--model", named, "--prompts", str(case.prompts)]
    ran = subprocess.run(
        [*HARNESS, *command, "--output-dir", str(output), f"--set=idle_duration_s={IDLE_S}", *flags],
        env=environment,
        check=False,
        cwd=scratch,
    )
    faults = [] if ran.returncode == 0 else [f"harness run ended with {ran.returncode}"]
    runs = sorted(path for path in output.glob("*") if path.is_dir())
    if not runs:
        return Row(
            task=task.name,
            model=named,
            n_measured=0,
            seconds=None,
            energy="-",
            quality="-",
            phases="-",
            wrong=case.wrong,
            faults=(*faults, "no run directory"),
        )
    verified = subprocess.run([*HARNESS, "verify", str(runs[-1])], env=environment, check=False, cwd=scratch)
    if verified.returncode:
        faults.append(f"harness verify ended with {verified.returncode}")
    (cell,) = load_run(runs[-1])
    faults += faults_of(cell, case, n_good)
    if power_w is not None:
        faults += off_power(cell, power_w)
    if not list(runs[-1].glob("*.html")):
        faults.append("no page")
    return row_of(task, accounts(runs[-1])[0].summary, case, faults)


def faults_of(cell: CellResults, case: Case, n_good: int) -> list[str]:
    """What is not as it should be: the wrong input has to fail with its reason, the others to be measured."""
    faults = []
    for query in cell.queries:
        failed = query.output is None
        said = " ".join(finding.detail for finding in query.findings)
        if failed is not (query.prompt_id == WRONG):
            faults.append(f"{query.prompt_id} {'failed: ' + said if failed else 'was measured'}")
        elif failed and case.said not in said:
            faults.append(f"{query.prompt_id} says {said!r}")
    modes = {query.mode for query in cell.queries}
    if len(cell.queries) != (n_good + 1) * len(modes):
        faults.append(f"{len(cell.queries)} queries, not {(n_good + 1) * len(modes)}")
    return faults


def off_power(cell: CellResults, power_w: float) -> list[str]:
    """Spans with other joules than their seconds at the board's power, and queries whose phases do not touch.

    Args:
        cell: Measured on a board of constant power.
        power_w: What it draws.
    """
    faults = []
    for query in cell.queries:
        for reading in (each for each in query.readings if each.boundary is Boundary.GPU_BOARD):
            for span in (reading, *reading.phases):
                name = f"{query.prompt_id}, {getattr(span, 'name', 'all of it')}"
                if span.energy_gross_j is None or span.energy_gross_half_width_j is None:
                    faults.append(f"{name}: no joules")
                    continue
                off_j = span.energy_gross_j - power_w * (span.time_end_s - span.time_start_s)
                if abs(off_j) > LARGEST * span.energy_gross_half_width_j:
                    faults.append(f"{name}: {off_j:+.3g} J off, stated ± {span.energy_gross_half_width_j:.2g} J")
            edges_s = [reading.time_start_s, *(phase.time_end_s for phase in reading.phases)]
            begins_s = [*(phase.time_start_s for phase in reading.phases), reading.time_end_s]
            if reading.phases and edges_s != begins_s:
                faults.append(f"{query.prompt_id}: its phases do not touch")
    return faults


def row_of(task: Task, summary: Summary, case: Case, faults: Sequence[str]) -> Row:
    """One line of the table."""
    mode = summary.modes[-1]
    quality = [f"{each.metric} {each.figure.value:.3g}" for each in mode.quality if each.figure.value is not None]
    if not quality and mode.accuracy.value is not None:
        quality = [f"right {mode.accuracy.value:.0%}"]
    energy = mode.energy_j.value
    return Row(
        task=task.name,
        model=summary.cell.model,
        n_measured=sum(each.n_queries - each.n_failed for each in summary.modes),
        seconds=mode.duration_s.value,
        energy="-" if energy is None else f"{energy:.3g}{' estimated' if summary.estimated else ''}",
        quality=quality[0] if quality else "-",
        phases=", ".join(f"{name} {seconds:.2g} s" for name, seconds in mode.phases_s.items()),
        wrong=case.wrong,
        faults=tuple(faults),
    )


def fake_board(scratch: Path) -> tuple[dict[str, str], float]:
    """The environment of a process that sees one board of constant power, and that power in watts."""
    from dataclasses import replace

    from tests.fake_nvml import library as fake

    folder = scratch / "board"
    folder.mkdir(exist_ok=True)
    file = folder / "boards.txt"
    board = replace(fake.H100, load=(fake.constant(POWER_W),))
    fake.write_config(file, [board])
    return {**os.environ, **fake.environment(fake.build(folder).parent, file)}, board.idle_w + POWER_W


def shown(seconds: float | None) -> str:
    """As the table has it."""
    return "-" if seconds is None else f"{seconds:.3g}"


def print_rows(rows: Sequence[Row]) -> None:
    """The table, and what was not as it should be."""
    print(
        "\n| task | model | measured | s a query | J a query | quality | phases | the wrong input | as it should be |"
    )
    print("|---|---|--:|--:|--:|---|---|---|---|")
    for row in rows:
        verdict = "yes" if not row.faults else "NO: " + "; ".join(row.faults)
        print(
            f"| {row.task} | {row.model} | {row.n_measured} | {shown(row.seconds)} | {row.energy} | {row.quality} | "
            f"{row.phases} | {row.wrong} | {verdict} |"
        )


if __name__ == "__main__":
    main()
