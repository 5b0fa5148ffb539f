#!/usr/bin/env python3
"""How long it takes to share the energy of many overlapping queries, and whether the shares add up. On any machine.

    python scripts/bench_sharing.py [--queries 1000000] [--concurrency 256] [--chunks 4:16] [--boards 1]

Each of `--concurrency` clients sends its next query when the last one has ended. A query has a prefill and some chunks
of output tokens, at random instants. Energy is a counter's curve with a tick each tenth of a second. Times are of the
processor.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from harness.attribution.sharing.load import Load  # noqa: E402
from harness.attribution.sharing.shares import Split, shares_of, unattributed_j  # noqa: E402
from harness.meter.curve.curve import Curve  # noqa: E402
from harness.records import Boundary, Channel, Method, Quantity, TokenWeights  # noqa: E402

if TYPE_CHECKING:
    from harness.records import IntArray

TICK_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--chunks", default="4:16", metavar="FEWEST:MOST", help="of a query (default: 4:16)")
    parser.add_argument("--boards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fewest, most = (int(part) for part in options.chunks.split(":"))
    rng = np.random.default_rng(options.seed)
    load = load_of(options.queries, options.concurrency, rng.integers(fewest, most + 1, options.queries), rng)
    end_s = float(load.time_end_s.max())
    print(
        f"{len(load):,} queries, {options.concurrency} at a time, {len(load.time_chunk_s):,} chunks, "
        f"{end_s:,.0f} s of load, {options.boards} board(s)"
    )
    weights = TokenWeights(session=0, prompt=0.2, output=1.0, source="given")
    begun_s = time.process_time()
    split = Split.of(load, weights)
    split_s = time.process_time() - begun_s
    print(f"cut into {len(split.by_chunk.by_rate):,} slices: {split_s:.2f} s of one core")
    for board in range(options.boards):
        curve = curve_of(end_s, rng)
        begun_s = time.process_time()
        found = shares_of(curve, split)
        print(f"shares of board {board}: {time.process_time() - begun_s:.2f} s")
        begun_s = time.process_time()
        rows = np.arange(len(load))
        prefill_j, _ = found.between(rows, load.time_start_s, load.time_prefilled_s)
        rest_j, _ = found.between(rows, load.time_prefilled_s, load.time_end_s)
        print(f"two phases of each: {time.process_time() - begun_s:.2f} s")
        drawn_j = float(curve.cumulative_j(np.array([end_s]))[0] - curve.cumulative_j(np.zeros(1))[0])
        nobody_j = unattributed_j(curve, load, 0.0, end_s)
        print(
            f"off the energy by {abs(found.energy_j.sum() + nobody_j - drawn_j) / drawn_j:.1e} of it, "
            f"phases off their query by {np.max(np.abs(prefill_j + rest_j - found.energy_j) / found.energy_j):.1e}, "
            f"least share {found.energy_j.min():.2g} J, median half-width "
            f"{np.median(found.half_width_j / found.energy_j):.2%}"
        )
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def load_of(n_queries: int, concurrency: int, n_chunks: IntArray, rng: np.random.Generator) -> Load:
    """Clients that ask one query after the other."""
    client = np.arange(n_queries) % concurrency
    prefill_s, chunk_s = rng.uniform(0.02, 0.2, n_queries), rng.exponential(0.3, int(n_chunks.sum())) + 0.001
    owner = np.repeat(np.arange(n_queries), n_chunks)
    chunk_s[np.cumsum(n_chunks) - n_chunks] = prefill_s
    since_s = np.cumsum(chunk_s)
    first = np.cumsum(n_chunks) - n_chunks
    since_s -= (since_s[first] - chunk_s[first])[owner]
    last_s = since_s[np.cumsum(n_chunks) - 1] + 0.0005
    order = np.argsort(client, kind="stable")
    ends_s = np.cumsum(last_s[order] + 0.002)
    begins = np.flatnonzero(np.append(True, client[order][1:] != client[order][:-1]))
    start_s = ends_s - last_s[order]
    start_s -= np.repeat(start_s[begins] - rng.uniform(0.0, 1.0, len(begins)), np.diff(np.append(begins, n_queries)))
    # Rows in order of their starts, as they come from a session.
    by_start = order[np.argsort(start_s)]
    starts_s = np.sort(start_s)
    chunks = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(n_chunks[by_start])])
    place = np.arange(len(owner)) + np.repeat(first[by_start] - chunks[:-1], n_chunks[by_start])
    return Load.of_arrays(
        number=np.arange(n_queries),
        time_start_s=starts_s,
        time_end_s=starts_s + last_s[by_start],
        n_prefilled_tokens=rng.integers(20, 2000, n_queries).astype(np.float64),
        n_chunks=n_chunks[by_start],
        time_chunk_s=np.repeat(starts_s, n_chunks[by_start]) + since_s[place],
        n_chunk_tokens=rng.integers(1, 32, len(owner)).astype(np.float64),
    )


def curve_of(end_s: float, rng: np.random.Generator) -> Curve:
    """Between 300 and 700 W, another level each tick."""
    n_ticks = int(end_s / TICK_S) + 3
    energy_j = np.concatenate([[0.0], np.cumsum(rng.uniform(300.0, 700.0, n_ticks) * TICK_S)])
    return Curve(
        channel=Channel(
            device="GPU-0", boundary=Boundary.GPU_BOARD, method=Method.NVML_COUNTER, quantity=Quantity.ENERGY_J
        ),
        time_s=TICK_S * (np.arange(n_ticks + 1) - 1),
        energy_total_j=energy_j,
        half_width_at_j=np.full(n_ticks + 1, 2.0),
        variance_total_j2=np.zeros(n_ticks + 1),
        variance_blind_j2=np.zeros(n_ticks + 1),
        sample_time_s=TICK_S * (np.arange(n_ticks + 1) - 1),
        duration_period_s=TICK_S,
    )


if __name__ == "__main__":
    main()
