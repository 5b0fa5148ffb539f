#!/usr/bin/env python3
"""Measure real queries on a fake board whose power is known, and compare every energy with the truth.

    python scripts/check_against_truth.py [--num-prompts 60] [--load steps|bursts|steady]

The embedded model runs on the CPU while the fake NVML library plays an H100-like board (counter ticks every 100 ms)
whose power is a function of the clock alone. It knows nothing of the queries, so its steps fall anywhere: the hardest
case for a meter. Printed: each energy's error against the analytic integral, the same for plain counter differences
over the same windows, how many truths lie inside the interval, and whether what is on disk (queries, gaps, idle,
warm-up, load) adds up to the raw counter's last minus first reading.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from harness.results import CellResults, load_run  # noqa: E402
from tests.fake_nvml.library import (  # noqa: E402
    H100,
    Component,
    Truth,
    build,
    constant,
    environment,
    square_wave,
    write_config,
)

LOADS: dict[str, tuple[Component, ...]] = {
    "steady": (constant(330.0),),
    "steps": (square_wave(330.0, period_s=1.7, duty=0.4),),
    "bursts": (square_wave(260.0, period_s=0.73, duty=0.35), square_wave(90.0, period_s=2.9, duty=0.5)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, default=60)
    parser.add_argument("--model", default="tiny-reasoner")
    parser.add_argument("--load", choices=[*LOADS, "all"], default="all")
    options = parser.parse_args()
    for name in LOADS if options.load == "all" else [options.load]:
        with tempfile.TemporaryDirectory() as scratch:
            compare(name, Path(scratch), options.model, options.num_prompts)


def compare(name: str, scratch: Path, model: str, n_prompts: int) -> None:
    """Run once under a load and print how far each energy is from the truth."""
    library, config = build(scratch), scratch / "boards.conf"
    write_config(config, [replace(H100, load=LOADS[name])])
    command = [sys.executable, "-m", "harness", "run", "--model", model, "--prompts", "chains"]
    command += ["--num-prompts", str(n_prompts), "--device", "cpu", "--meter-gpus", "all"]
    command += ["--output-dir", str(scratch / "results")]
    environ = {**environment(library.parent, config), "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env={**os.environ, **environ}, check=True, stdout=subprocess.DEVNULL)
    (run,) = (scratch / "results").iterdir()
    (results,) = load_run(run)
    print_comparison(name, results, Truth(library, config))


def print_comparison(name: str, results: CellResults, truth: Truth) -> None:
    manifest = results.manifest
    assert manifest is not None
    origin_s = manifest.origin_monotonic_s
    counter = next(index for index, channel in enumerate(manifest.channels) if channel.quantity.value == "energy_j")
    segments = list(results.directory.segments(1))
    ticks = [segment.channel == counter for segment in segments]
    after_s = np.concatenate([part.time_after_s[mine] for part, mine in zip(segments, ticks, strict=True)])
    before_s = np.concatenate([part.time_before_s[mine] for part, mine in zip(segments, ticks, strict=True)])
    value_j = np.concatenate([part.value[mine] for part, mine in zip(segments, ticks, strict=True)])

    def plain_j(time_s: float) -> float:
        """What a client that reads the counter at this instant would have seen."""
        return float(value_j[max(int(np.searchsorted(after_s, time_s)) - 1, 0)])

    rows = []
    for query in results.queries:
        (reading,) = (each for each in query.readings if each.device == manifest.channels[counter].device)
        start_s, end_s = query.time_start_s, query.time_end_s
        true_j = truth.energy_j(0, origin_s + start_s, origin_s + end_s)
        if reading.energy_gross_j is None or reading.energy_gross_half_width_j is None:
            reasons = ", ".join(finding.code.value for finding in reading.findings)
            print(f"  {query.prompt_id} {query.mode}: null for {end_s - start_s:.3f} s ({reasons})")
            continue
        plain = plain_j(end_s) - plain_j(start_s)
        rows.append((end_s - start_s, true_j, reading.energy_gross_j, reading.energy_gross_half_width_j, plain))
    length_s, true_j, ours_j, width_j, plain_j_ = np.array(rows).T
    print(
        f"\n{name}: {len(rows)} queries, {np.median(length_s):.3f} s in the middle ({length_s.min():.3f} to "
        f"{length_s.max():.3f}), truth {true_j.sum():.1f} J"
    )
    for low_s, high_s in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, np.inf)):
        some = (length_s >= low_s) & (length_s < high_s)
        if some.any():
            error = np.abs(ours_j - true_j)[some] / true_j[some]
            plain_error = np.abs(plain_j_ - true_j)[some] / true_j[some]
            inside = np.abs(ours_j - true_j)[some] <= width_j[some]
            print(
                f"  {low_s:g} to {high_s:g} s: {some.sum():4d} queries, mean absolute error {error.mean():7.2%}, "
                f"plain counter {plain_error.mean():7.2%}, mean half-width {np.mean((width_j / true_j)[some]):7.2%}, "
                f"inside {inside.mean():.0%}"
            )
    print(
        f"  sum over queries: {ours_j.sum() / true_j.sum() - 1:+.3%} (plain counter "
        f"{plain_j_.sum() / true_j.sum() - 1:+.3%})"
    )
    tiles_j = [
        reading.energy_gross_j or 0.0
        for session in results.sessions
        for interval in session.intervals
        for reading in interval.readings
        if reading.device == manifest.channels[counter].device
    ]
    stored_j, raw_j = sum(tiles_j) + ours_j.sum(), value_j[-1] - value_j[0]
    print(f"  on disk {stored_j:.6f} J, raw counter {raw_j:.6f} J: {stored_j / raw_j - 1:+.2e} relative")
    bracket_ms = 1e3 * (after_s - before_s)
    print(
        f"  {len(value_j)} ticks, caught within {np.median(bracket_ms):.2f} ms in the middle, "
        f"{np.quantile(bracket_ms, 0.99):.2f} ms at 99 %"
    )
    end = results.directory.end(1)
    if end is not None and end.sampler is not None:
        print(
            f"  sampler: {end.sampler.duration_cpu_s / end.sampler.duration_s:.1%} of a core, "
            f"{end.sampler.n_late} of {end.sampler.n_polls} polls late"
        )


if __name__ == "__main__":
    main()
