#!/usr/bin/env python3
"""What a leaderboard of many runs takes: seconds of a first and of a second build, memory, and the size of its page.

    python scripts/bench_leaderboard.py [--runs 100,1000,10000] [--keep DIR] [--json FILE]

Makes run folders of records as a run writes them (summary.json and manifest.json, no queries): 200 models on three
kinds of boards, two modes each, over two years; each run is one cell. Then `harness leaderboard` is run on them twice,
each time in a process of its own: the first reads every file, the second reads the index and what is new, which is
nothing. Seconds are of the clock and, in brackets, of the CPU; memory is the peak of that process.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.synthetic_leaderboard import A100, H100, L4, Run, write_run

N_MODELS = 200
CARDS = ((H100, 1.0), (A100, 1.35), (L4, 1.1))
DRIVERS = ("535.230.02", "550.163.01", "570.133.20", "580.95.05")


def run_of(index: int, n_runs: int, rng: random.Random) -> Run:
    """One run; the same model comes again, on other boards and with other drivers."""
    model = rng.randrange(N_MODELS)
    size = 10 ** (8.5 + 2.5 * (model % 50) / 50)
    card, factor = CARDS[rng.randrange(len(CARDS))]
    moment = datetime(2024, 12, 1, tzinfo=UTC) + timedelta(days=700 * index / n_runs)
    energy_j = factor * 30 * (size / 1e9) ** 0.8 * rng.lognormvariate(0, 0.02)
    share = min(0.97, 0.3 + 0.2 * (model % 50) / 50 + 0.3 * rng.random())
    return Run(
        run_id=f"{moment:%Y%m%d-%H%M%S}-{index:05d}",
        model=f"lab-{model % 17}/model-{model:03d}",
        energy_j={"off": (energy_j,), "on": (6 * energy_j,)},
        accuracy={"off": share, "on": min(0.99, share + 0.1)},
        card=card,
        uuid=f"GPU-{card.power_w:.0f}-{rng.randrange(4)}",
        driver=DRIVERS[min(3, 4 * index // n_runs)],
        started_utc=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        n_parameters=int(size),
        prompts_relative=rng.uniform(0.02, 0.08),
    )


def build(folder: Path) -> dict[str, float]:
    """Seconds and peak memory of one `harness leaderboard` in its own process."""
    begin = time.perf_counter()
    code = (
        "import resource, sys\n"
        "from harness.cli.parser import run_verb\n"
        "status = run_verb(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "sys.stderr.write(f'{used.ru_maxrss} {used.ru_utime + used.ru_stime}')\n"
        "sys.exit(status)\n"
    )
    command = [sys.executable, "-c", code, "leaderboard", str(folder), "--output", str(folder / "leaderboard.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    memory_kib, cpu_s = done.stderr.splitlines()[-1].split()
    return {
        "duration_s": time.perf_counter() - begin,
        "duration_cpu_s": float(cpu_s),
        "memory_mib": int(memory_kib) / 1024,
    }


def measured(n_runs: int, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    rng = random.Random(1)
    begin = time.perf_counter()
    for index in range(n_runs):
        write_run(folder, run_of(index, n_runs, rng))
    made_s = time.perf_counter() - begin
    first, second = build(folder), build(folder)
    return {
        "n_runs": n_runs,
        "n_rows": 2 * n_runs,
        "duration_making_s": made_s,
        "duration_first_s": first["duration_s"],
        "duration_second_s": second["duration_s"],
        "duration_first_cpu_s": first["duration_cpu_s"],
        "duration_second_cpu_s": second["duration_cpu_s"],
        "memory_first_mib": first["memory_mib"],
        "memory_second_mib": second["memory_mib"],
        "page_mib": (folder / "leaderboard.html").stat().st_size / 2**20,
        "index_mib": (folder / "leaderboard.parquet").stat().st_size / 2**20,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="100,1000,10000")
    parser.add_argument("--keep", type=Path, help="make the runs here, in a folder per number, and leave them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print("| runs | rows | first build, s (CPU) | second build, s (CPU) | peak memory, MiB | page, MiB | index, MiB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for n_runs in (int(text) for text in options.runs.split(",")):
        with tempfile.TemporaryDirectory(prefix="leaderboard-") as temporary:
            folder = Path(temporary) if options.keep is None else options.keep / str(n_runs)
            row = measured(n_runs, folder)
        results.append(row)
        print(
            f"| {n_runs:,} | {row['n_rows']:,} | {row['duration_first_s']:.1f} ({row['duration_first_cpu_s']:.1f}) "
            f"| {row['duration_second_s']:.1f} ({row['duration_second_cpu_s']:.1f}) "
            f"| {max(row['memory_first_mib'], row['memory_second_mib']):.0f} | {row['page_mib']:.1f} "
            f"| {row['index_mib']:.1f} |",
            flush=True,
        )
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
