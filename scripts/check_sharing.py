#!/usr/bin/env python3
"""How often the interval of a shared energy holds the truth, by board and load. Simulated, in minutes.

    python scripts/check_sharing.py [--queries 400] [--profiles h100,v100] [--loads "2 at a time"] [--marked]

The boards and the sensor are those of `check_coverage.py`: the fake NVML library plays each board under a virtual clock
while this project's own sensor code polls it. The loads come in blocks of 20 to 40 queries with idle time between them:
clients that ask one query after the other (2, 8, 16 or 32 at a time), or static batches of 8 whose rows end one by one.
Power has a level while anybody is in flight, more during each prefill, some for each that decodes, and a slow wave that
knows nothing of queries. Only the edges of blocks are marked, or (`--marked`) those of every query too. The truth is
the same rule on the board's analytic energy, times the sensor's gain; so this checks what the sensor leaves open, and
not the rule.

Per row: queries, mean absolute error, mean half-width, the share of truths inside; the same of prefills; nulls.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]

from check_coverage import EARLY_S, H100, PROFILES, recorded  # noqa: E402

from harness.records import Timeline  # noqa: E402
from tests.fake_nvml import library as fake  # noqa: E402
from tests.fake_nvml.library import Component, Truth, burst, constant, decay, sinusoid  # noqa: E402

LOADS = {"2 at a time": 2, "8 at a time": 8, "16 at a time": 16, "32 at a time": 32, "batches of 8": 8}
ORIGIN_S = 1000.0
KEYS = ("truth_j", "found_j", "half_width_j", "prefill_truth_j", "prefill_found_j", "prefill_half_width_j")


def clients(n: int, together: int, rng: np.random.Generator) -> tuple[list[Timeline], list[tuple[float, float]]]:
    """Each asks its next query when its last one has ended, until the block has had its queries."""
    queries: list[Timeline] = []
    blocks, block_s = [], ORIGIN_S + EARLY_S
    while len(queries) < n:
        free_s = (block_s + rng.uniform(0.0, 0.01, together)).tolist()
        for _ in range(max(int(rng.integers(20, 41)), 3 * together)):
            client = int(np.argmin(free_s))
            queries.append(query(len(queries), free_s[client], rng))
            free_s[client] = queries[-1].time_end_s + rng.uniform(0.001, 0.01)
        until_s = max(each.time_end_s for each in queries)
        blocks.append((block_s, until_s))
        block_s = until_s + rng.uniform(1.0, 2.0)
    return queries, blocks


def batches(n: int, together: int, rng: np.random.Generator) -> tuple[list[Timeline], list[tuple[float, float]]]:
    """All rows of a batch begin together; a token each step, until a row has all of its own."""
    queries: list[Timeline] = []
    blocks, block_s = [], ORIGIN_S + EARLY_S
    while len(queries) < n:
        start_s = block_s
        for _ in range(4):
            first_s = start_s + rng.uniform(0.05, 0.3)
            steps_s = first_s + np.arange(200) * rng.uniform(0.02, 0.04)
            for _ in range(together):
                n_tokens = int(rng.integers(5, 200))
                queries.append(timeline(len(queries), start_s, steps_s[:n_tokens], rng.integers(50, 500), step=1))
            start_s = max(each.time_end_s for each in queries) + rng.uniform(0.002, 0.02)
        blocks.append((block_s, max(each.time_end_s for each in queries)))
        block_s = blocks[-1][1] + rng.uniform(1.0, 2.0)
    return queries, blocks


def query(number: int, start_s: float, rng: np.random.Generator) -> Timeline:
    """A prefill, then chunks at random."""
    n_chunks = int(rng.integers(3, 40))
    chunk_s = start_s + np.cumsum([rng.uniform(0.02, 0.2), *rng.gamma(4.0, 0.02, n_chunks)])
    return timeline(number, start_s, chunk_s, rng.integers(50, 2000), step=3)


def timeline(number: int, start_s: float, chunk_s: np.ndarray, n_prompt: int, step: int) -> Timeline:
    times_s = tuple(float(time_s) for time_s in chunk_s)
    return Timeline(
        session=0,
        number=number,
        prompt_id=str(number),
        mode="on",
        time_sent_s=start_s,
        time_start_s=start_s,
        time_first_token_s=times_s[0],
        time_end_s=times_s[-1],
        n_prompt_tokens=int(n_prompt),
        time_chunk_s=times_s,
        n_chunk_tokens=(step,) * len(times_s),
    )


def power(queries: list[Timeline], blocks: list[tuple[float, float]], together: int) -> tuple[Component, ...]:
    """What the board draws."""
    parts = [constant(5.0), sinusoid(15.0, period_s=2.3, phase_s=0.4)]
    for start_s, end_s in blocks:
        parts += [burst(start_s + 0.004, end_s, 180.0), decay(end_s, 100.0, time_constant_s=0.05, end_s=end_s + 1.0)]
    # Prefills take turns or share one pass: together they draw no more than one does.
    until_s = 0.0
    for start_s, first_s in sorted({(each.time_start_s, each.time_chunk_s[0]) for each in queries}):
        if first_s > until_s:
            parts.append(burst(max(start_s, until_s), first_s, 250.0))
            until_s = first_s
    parts += [burst(each.time_chunk_s[0], each.time_end_s, 100.0 / together) for each in queries]
    return tuple(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=400, help="a profile and load (default: 400)")
    parser.add_argument("--profiles", default=",".join(PROFILES), help="default: all of them")
    parser.add_argument("--loads", default=",".join(LOADS), help="default: all of them")
    parser.add_argument("--processes", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--marked", action="store_true", help="every start, first token and end is a marked edge")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, load, n_queries, config = options.worker
        work(name, load, int(n_queries), Path(config), marked_too=options.marked)
        return
    started_s = time.monotonic()
    print(
        "board            load          queries  error   half-width  inside | prefill  error   half-width  inside  null"
    )
    rows: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.processes) as pool:
        library = fake.build(Path(scratch))
        tasks = [(name, load) for name in options.profiles.split(",") for load in options.loads.split(",")]
        found = pool.map(lambda task: start(library, Path(scratch), *task, options.queries, options.marked), tasks)
        for (name, load), row in zip(tasks, found, strict=True):
            rows.append(row)
            show(name, load, row)
    show("all", "", {key: [value for row in rows for value in row[key]] for key in KEYS})
    print(f"{time.monotonic() - started_s:.0f} s")


def start(library: Path, scratch: Path, name: str, load: str, n_queries: int, marked: bool) -> dict[str, list[float]]:
    """One board under one load, in a process of its own: a library is never unloaded, and its clock is its own."""
    config = scratch / f"{name}-{load.replace(' ', '-')}.conf"
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            *(["--marked"] if marked else []),
            "--worker",
            name,
            load,
            str(n_queries),
            str(config),
        ],
        env={**fake.environment(library.parent, config), "FAKE_NVML_LIBRARY": str(library), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def show(name: str, load: str, row: dict[str, list[float]]) -> None:
    """One line of the table."""
    columns = {key: np.array(row[key], dtype=np.float64) for key in KEYS}
    known = np.isfinite(columns["found_j"])
    cells = []
    for prefix in ("", "prefill_"):
        truth_j, found_j, half_width_j = (columns[prefix + key] for key in KEYS[:3])
        here = np.isfinite(found_j)
        truth_j, error_j, half_width_j = truth_j[here], np.abs(found_j - truth_j)[here], half_width_j[here]
        inside = np.mean(error_j <= half_width_j)
        cells.append(f"{error_j.sum() / truth_j.sum():6.2%}  {half_width_j.sum() / truth_j.sum():9.2%}  {inside:6.1%}")
    print(f"{name:16} {load:13} {len(known):7d}  {cells[0]} |         {cells[1]}  {np.mean(~known):5.1%}", flush=True)


def work(name: str, load: str, n_queries: int, config: Path, *, marked_too: bool) -> None:
    """In the worker: play the load, record it with the real sensor, and share it."""
    from harness.attribution.sharing.load import Load
    from harness.attribution.sharing.shares import Split, read_shared, shares_of
    from harness.meter.curve.curve import Curve
    from harness.meter.meter import rebuilt, with_marks
    from harness.records import Edge, Phase, Segment, TokenWeights

    rng = np.random.default_rng([list(PROFILES).index(name), list(LOADS).index(load)])
    make = batches if load.startswith("batches") else clients
    queries, blocks = make(n_queries, LOADS[load], rng)
    # A board of 250 W cannot draw what one of 700 W does.
    scale = PROFILES[name].power_limit_w / H100.power_limit_w
    parts = tuple(replace(part, power_w=scale * part.power_w) for part in power(queries, blocks, LOADS[load]))
    board = replace(PROFILES[name], load=parts, counter_origin_s=ORIGIN_S - 1.0)
    fake.write_config(config, [board])
    library = fake.preload(Path(os.environ["FAKE_NVML_LIBRARY"]))
    channels, rows = recorded(board, library, ORIGIN_S, blocks[-1][1] + 1.0, rng)
    edges = [pair for begin_s, end_s in blocks for pair in ((begin_s, Edge.WORK_BEGINS), (end_s, Edge.WORK_ENDS))]
    if marked_too:
        instants_s = {time_s for q in queries for time_s in (q.time_start_s, q.time_chunk_s[0], q.time_end_s)}
        edges = sorted([*edges, *((time_s, Edge.UNKNOWN) for time_s in instants_s)], key=lambda pair: pair[0])
    nothing = Segment(
        channel=np.zeros(0, np.int64), time_before_s=np.zeros(0), time_after_s=np.zeros(0), value=np.zeros(0)
    )
    marked = with_marks(nothing, [time_s for time_s, _ in edges], [edge for _, edge in edges])
    (curve,) = rebuilt(channels, [marked, rows])
    weights = TokenWeights(session=0, prompt=0.1, output=1.0, source="given")
    split = Split.of(Load.of(queries), weights)
    truth = Truth(Path(os.environ["FAKE_NVML_LIBRARY"]), config)
    times_s = split.by_chunk.time_s
    drawn_j = [truth.energy_j(0, float(a), float(b)) for a, b in itertools.pairwise(times_s)]
    true_j = board.gain * np.array(drawn_j) + board.offset_w * np.diff(times_s)
    nowhere = np.zeros(len(times_s))
    exact = shares_of(
        Curve(
            channel=curve.channel,
            time_s=times_s,
            energy_total_j=np.concatenate([[0.0], np.cumsum(true_j)]),
            half_width_at_j=nowhere,
            variance_total_j2=nowhere,
            variance_blind_j2=nowhere,
            sample_time_s=times_s,
            duration_period_s=curve.duration_period_s,
        ),
        split,
    )
    firsts_s = np.array([each.time_chunk_s[0] for each in queries])
    prefill_j, _ = exact.between(np.arange(len(queries)), np.array([each.time_start_s for each in queries]), firsts_s)
    prefills = {
        each.number: (Phase(name="prefill", time_start_s=each.time_start_s, time_end_s=each.time_chunk_s[0]),)
        for each in queries
    }
    readings = read_shared(curve, queries, weights, prefills, is_marked=marked_too)
    found: dict[str, list[float | None]] = {key: [] for key in KEYS}
    for row, each in enumerate(queries):
        reading = readings[each.number]
        found["truth_j"].append(float(exact.energy_j[row]))
        found["found_j"].append(reading.energy_gross_j)
        found["half_width_j"].append(reading.energy_gross_half_width_j)
        found["prefill_truth_j"].append(float(prefill_j[row]))
        found["prefill_found_j"].append(reading.phases[0].energy_gross_j)
        found["prefill_half_width_j"].append(reading.phases[0].energy_gross_half_width_j)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
