#!/usr/bin/env python3
"""Thousands of simulated gates whose truth is known: how often they pass and fail at the limit, and their power.

    python scripts/check_gate.py [relative] [absolute] [others] [families] [looks] [power] [--quick] [--markdown]

Without a name, all of them. Every gate is judged by `harness.gate.judging.judge`, from figures of a candidate and a
reference as a run would give them: log-normal joules, run effects, the sensor's error, the board's gain
(`check_gate/worlds.py`). With 2,000 gates per row a share of 5 % is known to half a point (its standard error), and a
row is marked where it is above 5 % by more than three of these.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: the processes are the threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from check_gate import errors, power  # noqa: E402
from check_statistics.tables import Table  # noqa: E402

SEED = 20260103
MAKERS: dict[str, tuple[Callable[[int, int, Executor], Table], ...]] = {
    "relative": (errors.relative,),
    "absolute": (errors.absolute,),
    "others": (errors.other_lines,),
    "families": (errors.families,),
    "looks": (errors.looks,),
    "power": (power.fixed, power.with_looks),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(MAKERS)} (default: all)")
    parser.add_argument("--studies", type=int, default=2000, help="gates of each row (default: 2000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the gates")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - MAKERS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    if options.studies < 1:
        parser.error("--studies must be at least 1")
    n = max(options.studies // 10, 1) if options.quick else options.studies
    with ProcessPoolExecutor(options.processes) as pool:
        for make in (make for part in options.parts or MAKERS for make in MAKERS[part]):
            started_s = time.monotonic()
            table = make(n, SEED, pool)
            print(table.markdown() if options.markdown else table.text(), flush=True)
            print(f"({time.monotonic() - started_s:.0f} s)\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
