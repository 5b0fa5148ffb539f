#!/usr/bin/env python3
"""What each rule of a study is worth: the tables of docs/protocol.md, on simulated data and on this machine's CPU.

    python scripts/check_protocol.py [prompts] [repeats] [warm-up] [idle] [order] [caps] [division]
        [--studies 1000] [--quick] [--markdown]

Without a name, all seven:

- prompts: half-widths against the number of prompts, by the analysis's own intervals; how many prompts a half-width of
  5 % takes; what it costs to ask the two modes different prompts.
- repeats: what 1, 2, 3, 5 and 10 repeats say of the next one; how often two models that are equal look different.
- warm-up: real. Fresh processes load the embedded model on the CPU and ask it at once, with equally long answers: how
  much longer the first queries take. Seconds of this machine, another each time.
- idle: the baseline of idle stretches of 0.6 to 30 s on a simulated board with ticks of 100 ms, by the meter's own
  curve and baseline, and what its error does to net joules.
- order: the bias of a ratio where power drifts, with the orders that `harness.schedule` gives.
- caps: what caps do to a ratio: AI Energy Score's published rows, and equal caps on log-normal lengths.
- division: what is in a whole run's joules over N that is not in a query's.

All but warm-up give the same figures each time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: the docs' tables are made on one core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from scripts.check_protocol import caps, division, idle, order, prompts, repeats, warm_up  # noqa: E402
from scripts.check_statistics.tables import Table  # noqa: E402

SEED = 20260107
Makers = dict[str, list[Callable[[int], Table]]]
MAKERS: Makers = {
    "prompts": [lambda n: prompts.half_widths(n, SEED), lambda _n: prompts.needed()],
    "repeats": [lambda n: repeats.next_run(20 * n, SEED), lambda _n: repeats.false_differences()],
    "warm-up": [lambda n: warm_up.first_queries(min(max(n // 200, 1), 5))],
    "idle": [lambda n: idle.baselines_by_length(max(n // 50, 2), SEED), lambda _n: idle.net_errors()],
    "order": [lambda n: order.biases(max(n // 25, 2), SEED)],
    "caps": [lambda _n: caps.published(), lambda _n: caps.equal()],
    "division": [lambda _n: division.whole_run(), lambda _n: division.failures()],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(MAKERS)} (default: all)")
    parser.add_argument(
        "--studies", type=int, default=1000, help="of each row; of the slow parts fewer (default: 1000)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - MAKERS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    if options.studies < 1:
        parser.error("--studies must be at least 1")
    n = max(options.studies // 10, 1) if options.quick else options.studies
    for make in (make for part in options.parts or MAKERS for make in MAKERS[part]):
        started_s = time.monotonic()
        table = make(n)
        print(table.markdown() if options.markdown else table.text(), flush=True)
        print(f"({time.monotonic() - started_s:.0f} s)\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
