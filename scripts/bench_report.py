#!/usr/bin/env python3
"""How long a large run takes to be read, summarised and reported, and how much memory: on made-up runs.

    python scripts/bench_report.py [--queries 10000,100000,1000000] [--steps A,B] [--against TREE] [--keep DIR]
        [--json FILE]

Each run is the golden one of the tests with other queries: modes off and on in turn, a prompt each, joules log-normal,
three phases, an answer of 200 characters, a gap after every query, no raw readings (the page then draws no power). It
is written as a run writes it, a line per query and per gap, and read from a warm disk cache. Every step is a process of
its own; its seconds do not include the imports of the first line, its memory is the peak of the whole process. CPU
seconds are those of all threads: on a machine that does other work they say more than the clock.

- first read: lines to columns, which are then written beside them.
- summary: columns to everything that `summary.json` holds.
- report: `harness report`, the whole command.

`--against TREE` measures the same with the program in another directory, say an older one: steps that it has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "schema-1"
DEVICE = "GPU-11111111-0000-4000-8000-000000000001"
SEED = 20261129
N_AT_ONCE = 10_000
START_S, PAUSE_S, IDLE_W, BUSY_W = 20.0, 0.05, 70.0, 330.0
TEXT = "The answer follows from the numbers in the question, taken one after the other. " * 2 + "So the answer is {}."

READING = (
    '{{"device":"' + DEVICE + '","boundary":"gpu_board","method":"nvml_counter","attribution":"exclusive",'
    '"time_start_s":{0!r},"time_end_s":{1!r},"energy_gross_j":{2!r},"energy_gross_half_width_j":{3!r},"n_samples":9,'
    '"duration_gap_largest_s":0.10004592399945977,"phases":[{4}],"findings":[],"energy_blind_half_width_j":null,'
    '"power_idle_w":null,"energy_net_j":null,"energy_net_half_width_j":null,"energy_tail_j":null,'
    '"energy_shared_equal_j":null,"duration_share_s":null}}'
)
PHASE = (
    '{{"name":"{0}","time_start_s":{1!r},"time_end_s":{2!r},"energy_gross_j":{3!r},"energy_gross_half_width_j":{4!r}}}'
)
QUERY = (
    '{{"schema_version":1,"session":1,"prompt_id":"{id}","prompt_index":{index},"mode":"{mode}","seed":{seed},'
    '"block":1,"time_start_s":{start!r},"time_end_s":{end!r},"output":{{"sizes":{{"prompt_tokens":{prompt},'
    '"thinking_tokens":{thinking},"answer_tokens":{answer},"output_tokens":{output}}},"finish_reason":"{reason}",'
    '"rendered_prompt_sha256":"{rendered}","thought":{thought},"rendered_prompt":"<|user|>{id}<|end|><|assistant|>",'
    '"text":"{text}","text_sha256":"{hash}"}},"score":{{"correct":{correct},"extracted":"{extracted}","values":{{}}}},'
    '"readings":[{reading}],"findings":[{finding}],"service":null}}\n'
)
GAP = (
    '{{"schema_version":1,"session":1,"name":"{name}","time_start_s":{start!r},"time_end_s":{end!r},'
    '"readings":[{reading}]}}\n'
)
CUT = '{"code":"cut_by_cap","detail":""}'

STEPS = {
    "first read": "from harness.results import load_run\ndef step(run):\n    load_run(run)",
    "summary": "from harness.publish import accounts\ndef step(run):\n    accounts(run)",
    "report": "from harness.__main__ import main\ndef step(run):\n    sys.argv[1:] = ['report', str(run)]\n    main()",
}
WORKER = """
import contextlib, io, json, resource, sys, time
from pathlib import Path
{step}
begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    step(Path(sys.argv[1]))
seconds = time.perf_counter() - begin
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, used.ru_maxrss * 1024]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step with one run."""

    program: str
    n_queries: int
    step: str
    duration_s: float
    duration_cpu_s: float
    memory_peak_bytes: int


def make_run(path: Path, n_queries: int, seed: int = SEED) -> Path:
    """Write a run of one cell; half of the queries are in each mode.

    Args:
        path: Of the run; it must not exist.
        n_queries: An even number.
        seed: Of everything that is drawn.
    """
    (cell,) = GOLDEN.glob("*/*/cell.yaml")
    folder = path / cell.parent.relative_to(GOLDEN)
    session = folder / "sessions" / "01"
    session.mkdir(parents=True)
    shutil.copy(GOLDEN / "run.yaml", path)
    fields = yaml.safe_load(cell.read_text())
    (folder / "cell.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    (golden,) = GOLDEN.glob("*/*/sessions/01")
    shutil.copy(golden / "end.json", session)
    manifest = json.loads((golden / "manifest.json").read_text())
    manifest["n_prompts"] = n_queries // 2
    (session / "manifest.json").write_text(json.dumps(manifest))
    rng = np.random.default_rng(seed)
    time_s = START_S
    with (folder / "queries.jsonl").open("w") as queries, (session / "intervals.jsonl").open("w") as intervals:
        intervals.write(_interval("load", 1.0, 10.0, BUSY_W))
        intervals.write(_interval("idle_before", 10.0, START_S, IDLE_W))
        for first in range(0, n_queries, N_AT_ONCE):
            for query, gap in _lines(first, min(N_AT_ONCE, n_queries - first), time_s, rng):
                queries.write(query)
                intervals.write(gap[0])
                time_s = gap[1]
        intervals.write(_interval("idle_after", time_s, time_s + 10.0, IDLE_W))
    return path


def _lines(first: int, n: int, time_s: float, rng: np.random.Generator) -> Iterator[tuple[str, tuple[str, float]]]:
    answers = (rng.lognormal(4.5, 0.4, n) + 5).astype(int).tolist()
    thoughts = (rng.lognormal(5.5, 0.8, n)).astype(int).tolist()
    noise, right = rng.lognormal(0.0, 0.02, n).tolist(), rng.random(n).tolist()
    prompts = rng.integers(20, 400, n).tolist()
    for row in range(n):
        index, is_on = divmod(first + row, 2)
        thinking, answer = (thoughts[row] if is_on else 0), answers[row]
        parts = {"prefill": 0.02, "thinking": 0.01 * thinking, "answer": 0.01 * answer}
        power_w, place_s, phases = BUSY_W * noise[row], time_s, []
        for name, part_s in parts.items():
            if part_s:
                half_j = 0.02 * power_w * part_s
                phases.append(PHASE.format(name, place_s, place_s + part_s, power_w * part_s, half_j))
                place_s += part_s
        energy_j, mode = power_w * sum(parts.values()), "on" if is_on else "off"
        identity = f"large-{index:07d}"
        seen = hashlib.sha256(f"{identity} {mode}".encode()).hexdigest()
        reading = READING.format(time_s, place_s, energy_j, 0.01 * energy_j, ",".join(phases))
        is_cut = right[row] > 0.99
        query = QUERY.format(
            id=identity, index=index, mode=mode, seed=first + row, start=time_s, end=place_s, prompt=prompts[row],
            thinking=thinking, answer=answer, output=thinking + answer, reason="length" if is_cut else "stop",
            rendered=seen, thought="true" if is_on else "false", text=TEXT.format(first + row), hash=seen[::-1],
            correct="true" if right[row] < (0.9 if is_on else 0.6) else "false", extracted=answer, reading=reading,
            finding=CUT if is_cut else "",
        )  # fmt: skip
        time_s = place_s + PAUSE_S
        yield query, (_interval("gap", place_s, time_s, IDLE_W + 5.0), time_s)


def _interval(name: str, start_s: float, end_s: float, power_w: float) -> str:
    energy_j = power_w * (end_s - start_s)
    return GAP.format(
        name=name, start=start_s, end=end_s, reading=READING.format(start_s, end_s, energy_j, 0.001 * energy_j, "")
    )


def measured(tree: Path, run: Path, step: str) -> tuple[float, float, int]:
    """Seconds, CPU seconds and peak bytes of one step by the program in `tree`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(step=STEPS[step]), str(run)],
        capture_output=True, text=True, check=False, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{step} of {run} by {tree} failed:\n{done.stderr}")
    seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, cpu, peak


def forget(run: Path) -> None:
    """Take away everything that is derived."""
    for derived in (*run.glob("*/*/queries.parquet"), *run.glob("*/*/sessions/*/intervals.parquet")):
        derived.unlink()


def rows_of(run: Path, n_queries: int, trees: Sequence[tuple[str, Path]], steps: Sequence[str]) -> Iterator[Row]:
    """Every step of every program on one run."""
    for program, tree in trees:
        forget(run)
        for step in steps:
            seconds, cpu, peak = measured(tree, run, step)
            row = Row(
                program=program, n_queries=n_queries, step=step,
                duration_s=seconds, duration_cpu_s=cpu, memory_peak_bytes=peak,
            )  # fmt: skip
            print(_line(row), flush=True)
            yield row


def _line(row: Row) -> str:
    figures = f"{row.duration_s:.2f} | {row.duration_cpu_s:.2f} | {row.memory_peak_bytes / 1e6:,.0f}"
    return f"| {row.n_queries:,} | {row.program} | {row.step} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", default="10000,100000,1000000", help="sizes of runs (default: %(default)s)")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another copy of the program")
    parser.add_argument("--against-most", type=int, default=100_000, metavar="N", help="the largest run that it gets")
    parser.add_argument("--steps", default=",".join(STEPS), help="which, in this order (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the runs here, and leave them")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    sizes = [int(size) for size in options.queries.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| queries | program | step | seconds | CPU seconds | peak memory, MB |\n|---|---|---|---|---|---|")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            run = (options.keep or Path(scratch)) / f"run-{size}"
            if not run.exists():
                make_run(run, size)
            trees = [("this", ROOT)]
            if options.against is not None and size <= options.against_most:
                trees.append(("other", options.against.resolve()))
            rows += rows_of(run, size, trees, options.steps.split(","))
            if options.keep is None:
                shutil.rmtree(run)
    others = {(row.n_queries, row.step): row for row in rows if row.program == "other"}
    for row in rows:
        other = others.get((row.n_queries, row.step))
        if row.program == "this" and other is not None:
            ratio = other.duration_cpu_s / row.duration_cpu_s
            print(f"{row.step}, {row.n_queries:,} queries: the other takes {ratio:.1f} times the CPU seconds")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
