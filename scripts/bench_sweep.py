#!/usr/bin/env python3
"""How long `harness sweep big.yaml --plan` takes for a thousand cells, from the start of the interpreter to its end.

    python scripts/bench_sweep.py [--runs 5] [--repeats 1]

Wall time says what a user waits, and depends on what else the machine does; CPU time says what the program costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SWEEP = {
    "vary": {
        "model": [
            *("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b"),
            *("qwen3-32b", "qwen3-30b-a3b", "phi-4", "gpt-oss-20b", "smollm3-3b"),
        ],
        "prompts": ["chains", "everyday", "gsm8k", "math500", "gpqa-diamond"],
        "precision": {"bf16": {"dtype": "bfloat16"}, "int8": {"quantization": "int8"}},
        "batch_size": [1, 2, 4, 8, 16],
        "power_limit_w": [None, 300],
    },
}
N_RUNS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of the command (default: 5)")
    parser.add_argument("--repeats", type=int, default=1, help="of every combination (default: 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "big.yaml").write_text(yaml.safe_dump({**SWEEP, "repeats": options.repeats}), encoding="utf-8")
        measured = [once(folder) for _ in range(options.runs)]
    walls, cpus = zip(*measured, strict=True)
    print(f"harness sweep big.yaml --plan: {N_RUNS * options.repeats:,} cells, {options.runs} runs of the command")
    print(f"load average afterwards: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    for name, seconds in (("wall", walls), ("CPU", cpus)):
        print(f"  {name:4}  best {min(seconds):.2f} s   median {sorted(seconds)[len(seconds) // 2]:.2f} s")


def once(folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command, which must have listed every run."""
    before, begun_s = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "harness", "sweep", "big.yaml", "--plan"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    wall_s, after = time.perf_counter() - begun_s, os.times()
    listed = [line for line in done.stdout.splitlines() if line.lstrip()[:1].isdigit() and "rough: " in line]
    assert len(listed) == N_RUNS, f"{len(listed)} of {N_RUNS} listed"
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, cpu_s


if __name__ == "__main__":
    main()
