#!/usr/bin/env python3
"""Kill a run with SIGKILL at random moments, resume it each time, and count queries lost or repeated.

    python scripts/check_resume.py [--kills 20] [--seed 0]

Each time only the run itself is killed (its sampler has to notice by itself), then `harness run --resume` goes on. In the end
the run must hold every query exactly once, and every energy must be recomputable from the raw readings.
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

LEAST_S, MOST_S = 2.0, 14.0


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
            delay_s = rng.uniform(LEAST_S, MOST_S)
            if not killed_after([*base, "--resume", "latest"] if begun else first, delay_s):
                print("The run ended before it could be killed; raise --num-prompts.")
                break
            n_killed += 1
            lines = sum(path.read_bytes().count(b"\n") for path in output_dir.glob("*/*/*/queries.jsonl"))
            print(f"kill {n_killed:2d} after {delay_s:4.1f} s: {lines} queries on disk", flush=True)
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


def killed_after(command: list[str], delay_s: float) -> bool:
    """Start a command, kill its process group after a while; False where it had already ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environ()
    )
    deadline_s = time.monotonic() + delay_s
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
