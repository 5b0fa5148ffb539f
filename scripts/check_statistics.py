#!/usr/bin/env python3
"""Thousands of simulated studies whose truth is known: what the intervals of a study of reasoning really hold.

    python scripts/check_statistics.py [fixed] [until-ci] [two-phase] [engine] [large]
        [--quick] [--markdown] [--calibrate]

Without a name, all five:

- fixed: a number of prompts chosen beforehand; joules are log-normal in two modes whose logs are correlated by 0.5; the
  truth is the ratio of expectations.
- until-ci: the same, but a study stops when its interval is narrow enough (`harness.analysis.sequential`).
- two-phase: lengths of all prompts and an energy law of 30 measured queries, at the published rates of an 8 B model on
  an H100 (`check_statistics/machine.py`); what the interval holds, whether a wrong law is caught, how many minutes it
  takes against measuring every query.
- engine: one study per setting through the scripted engine, the replayed counter, the run directory and the summary.
- large: 20,000 prompts, from which on intervals are those of the normal limit.

With 2,000 studies per row a share of 95 % is known to 1 %. `--calibrate` finds the factor of `sequential.inflation`
again: coverage at stopping for factors from 1 to 1.2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]

from check_statistics import end_to_end, fixed, large, two_phases, until_ci  # noqa: E402
from check_statistics.tables import Table  # noqa: E402

N_PROMPTS = (50, 100, 200, 400)
ON_TOKENS = (500, 1000, 2000, 4000)
SEED = 20260102


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = "fixed, until-ci, two-phase, engine, large (default: all)"
    parser.add_argument("parts", nargs="*", metavar="PART", help=parts)
    parser.add_argument("--studies", type=int, default=2000, help="of each row (default: 2000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--calibrate", action="store_true", help="only the factor of a run that may stop early")
    options = parser.parse_args()
    n = options.studies // 10 if options.quick else options.studies
    makers: dict[str, list[Callable[[], Table]]] = {
        "fixed": [lambda: fixed.coverage(n, N_PROMPTS, SEED)],
        "until-ci": [lambda: until_ci.coverage(n, (*N_PROMPTS, 1000), SEED), until_ci.alternatives],
        "two-phase": [
            lambda: two_phases.coverage(n, N_PROMPTS, SEED),
            lambda: two_phases.minutes(max(n // 20, 10), ON_TOKENS, SEED),
            lambda: two_phases.power(n, SEED),
        ],
        "large": [lambda: large.coverage(n, SEED)],
        "engine": [lambda: end_to_end.studies(N_PROMPTS[:1] if options.quick else N_PROMPTS, SEED)],
    }
    wanted = options.parts or list(makers)
    unknown = set(wanted) - makers.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    chosen = (
        [lambda: until_ci.calibration(n, SEED)] if options.calibrate else [m for part in wanted for m in makers[part]]
    )
    for make in chosen:
        started_s = time.monotonic()
        table = make()
        print(table.markdown() if options.markdown else table.text(), flush=True)
        print(f"({time.monotonic() - started_s:.0f} s)\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
