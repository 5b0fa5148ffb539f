#!/usr/bin/env python3
"""Kill a run with SIGKILL at random moments, resume it each time, and count queries lost or repeated.

    python scripts/check_resume.py [--kills 20] [--seed 0]

One kill in five falls anywhere in the first seconds (starting, loading, idle), the others after the session has
begun to measure. Only the run itself is killed (its sampler has to notice by itself), then `harness run --resume`
goes on. In the end the run must hold every query exactly once, and every energy must be recomputable from the raw
readings.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from harness.store.run_directory import cells  # noqa: E402
from harness.verify import verify  # noqa: E402

STARTING_S, MEASURING_S = 10.0, 7.0
"""Longest delays of the two kinds of kill: from the start, and from the session's manifest on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-prompts", type=int, default=300)
    parser.add_argument("--model", default="tiny-reasoner")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        output_dir = Path(scratch) / "results"
        base = [sys.executable, "-m", "harness", "run", "--output-dir", str(output_dir)]
        first = [*base, "--model", options.model, "--prompts", "chains", "--num-prompts", str(options.num_prompts)]
        first += ["--set", "idle_duration_s=0.6"]
        n_killed = 0
        while n_killed < options.kills:
            begun = bool(list(output_dir.glob("*/*/*/cell.yaml")))
            measuring = n_killed % 5 != 0
            delay_s = rng.uniform(0.0, MEASURING_S if measuring else STARTING_S)
            command = [*base, "--resume", "latest"] if begun else first
            if not killed_after(command, delay_s, output_dir if measuring else None):
                print("The run ended before it could be killed; raise --num-prompts.")
                break
            n_killed += 1
            lines = sum(path.read_bytes().count(b"\n") for path in output_dir.glob("*/*/*/queries.jsonl"))
            moment = "measuring began" if measuring else "the start"
            print(f"kill {n_killed:2d}, {delay_s:4.1f} s after {moment}: {lines} queries on disk", flush=True)
        subprocess.run([*base, "--resume", "latest"], check=True, stdout=subprocess.DEVNULL, env=environ())
        (run,) = output_dir.iterdir()
        (store,) = cells(run)
        seen = Counter((query.prompt_id, query.mode) for query in store.queries())
        wanted = options.num_prompts * len(store.cell().modes)
        repeated = sum(count - 1 for count in seen.values())
        verification = verify(run)
        print(
            f"{n_killed} kills, {len(store.sessions())} sessions: {wanted - len(seen)} queries lost, "
            f"{repeated} repeated; {verification.n_agree} of {verification.n_figures} figures agree"
        )
        if repeated or len(seen) != wanted or verification.differences:
            sys.exit(1)


def killed_after(command: list[str], delay_s: float, output_dir: Path | None) -> bool:
    """Start a command and kill it after a while; False where it had already ended.

    With `output_dir` the while begins when the new session's manifest is there.
    """
    known = manifests(output_dir)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environ()
    )
    while output_dir is not None and process.poll() is None and manifests(output_dir) == known:
        time.sleep(0.02)
    deadline_s = time.monotonic() + delay_s
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def manifests(output_dir: Path | None) -> int:
    """Sessions that have begun to measure."""
    return len(list(output_dir.glob("*/*/*/sessions/*/manifest.json"))) if output_dir else 0


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
