#!/usr/bin/env python3
"""How often the interval of a query's energy holds the truth, board by board. Simulated, in minutes.

    python scripts/check_coverage.py [--windows 1000] [--profiles h100,v100] [--processes 2]

The fake NVML library plays boards under a virtual clock while this project's own sensor code polls them, with the
delays of a real process; what it recorded becomes curves as in a run. The loads of each board: isolated work, with
launch delays of up to 8 ms and power that decays (20 to 300 ms) or stays (20 to 300 ms) after the end; inference
(a prefill, then a lower level, the edge between them marked); and back-to-back windows under two waveforms that know
nothing of them. Windows are 0.2, 0.5, 1 and 5 s long. Truth is the board's analytic energy times the sensor's gain.

Per row: windows, mean absolute error, mean half-width, their ratio, the share of truths inside, nulls.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import Channel, Segment

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.fake_nvml import library as fake  # noqa: E402
from tests.fake_nvml.library import Board, Component, Truth, burst, constant, decay, sinusoid, square_wave  # noqa: E402

H100 = replace(fake.H100, power_noise_w=1.0, power_phase_s=0.013, tick_jitter_s=0.0006)
ADA = replace(fake.RTX_4090, power_noise_w=1.0, power_phase_s=0.031)
PROFILES: dict[str, Board] = {
    "h100": H100,
    "h100-gain-lag": replace(H100, gain=1.05, offset_w=-2.0, counter_lag_s=0.0, power_lag_s=0.004, power_noise_w=3.0),
    "h100-part-time": replace(H100, counter_window_s=0.025),
    "a100": replace(fake.A100, power_noise_w=1.0, power_phase_s=0.061),
    "v100": replace(fake.V100, power_noise_w=1.0),
    "ada-100ms": ADA,
    "ada-500ms": replace(ADA, tick_s=0.5, power_period_s=0.5),
    "p100-no-counter": replace(fake.P100, power_noise_w=1.0),
}
LENGTHS_S = (0.2, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0, 5.0)
"""Of every eight windows."""
SHARES = {"isolated": 0.35, "inference": 0.25, "back to back 1": 0.2, "back to back 2": 0.2}
EARLY_S = 3.0
"""The sensor learns the tick first."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A load, and the windows over it: starts, ends and marked edges inside."""

    load: tuple[Component, ...]
    spans: list[tuple[float, float]]
    phases: list[float]
    end_s: float


def isolated(n: int, origin_s: float, rng: np.random.Generator) -> Scene:
    """Work with pauses: it begins late, and power lingers."""
    load, spans, time_s = [], [], origin_s + EARLY_S
    for index in range(n):
        start_s = time_s + rng.uniform(0.0, 0.1)
        end_s = start_s + LENGTHS_S[index % len(LENGTHS_S)]
        late_s, linger_s = rng.uniform(0.0, 0.008), rng.uniform(0.02, 0.3)
        kind = rng.integers(3)
        load.append(burst(start_s + late_s, end_s + (linger_s if kind == 1 else 0.0), 330.0))
        if kind == 2:
            load.append(decay(end_s, 330.0, time_constant_s=linger_s / 3, end_s=end_s + 3.0))
        spans.append((start_s, end_s))
        time_s = end_s + rng.uniform(0.6, 1.0)
    return Scene(tuple(load), spans, [], time_s + 1.0)


def inference(n: int, origin_s: float, rng: np.random.Generator) -> Scene:
    """Queries 30 to 600 ms apart: a prefill, then a lower level; some of it lingers."""
    load, spans, phases, time_s = [], [], [], origin_s + EARLY_S
    for index in range(n):
        start_s = time_s + rng.uniform(0.0, 0.1)
        end_s = start_s + LENGTHS_S[index % len(LENGTHS_S)] * rng.uniform(0.8, 1.2)
        late_s, prefill_s = rng.uniform(0.0, 0.008), rng.uniform(0.02, 0.06)
        load.append(burst(start_s + late_s, start_s + prefill_s, 580.0))
        load.append(burst(start_s + prefill_s, end_s, 310.0))
        load.append(decay(end_s, 150.0, time_constant_s=rng.uniform(0.01, 0.06), end_s=end_s + 1.0))
        spans.append((start_s, end_s))
        phases.append(start_s + prefill_s)
        time_s = end_s + rng.uniform(0.03, 0.6)
    return Scene(tuple(load), spans, phases, time_s + 1.0)


def _back_to_back(load: tuple[Component, ...]) -> Callable[[int, float, np.random.Generator], Scene]:
    def scene(n: int, origin_s: float, rng: np.random.Generator) -> Scene:
        spans, time_s = [], origin_s + EARLY_S + rng.uniform(0.0, 0.1)
        for index in range(n):
            end_s = time_s + LENGTHS_S[index % len(LENGTHS_S)]
            spans.append((time_s, end_s))
            time_s = end_s
        return Scene(load, spans, [], time_s + 1.0)

    return scene


WAVES_1 = (
    constant(50.0),
    sinusoid(30.0, period_s=1.3, phase_s=0.2),
    sinusoid(15.0, period_s=0.37, phase_s=0.1),
    square_wave(260.0, period_s=0.73, duty=0.35, phase_s=0.05),
    square_wave(90.0, period_s=2.9, duty=0.5, phase_s=0.3),
)
WAVES_2 = (
    square_wave(400.0, period_s=1.7, duty=0.45, phase_s=0.1),
    square_wave(120.0, period_s=0.41, duty=0.3, phase_s=0.07),
)
SCENES: dict[str, Callable[[int, float, np.random.Generator], Scene]] = {
    "isolated": isolated,
    "inference": inference,
    "back to back 1": _back_to_back(WAVES_1),
    "back to back 2": _back_to_back(WAVES_2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=1000, help="windows a profile (default: 1000)")
    parser.add_argument("--profiles", default=",".join(PROFILES), help="default: all of them")
    parser.add_argument("--processes", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, scene, n_windows, config = options.worker
        work(name, scene, int(n_windows), Path(config))
        return
    started_s = time.monotonic()
    print("board            load             windows  error   half-width  ratio  inside  null")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.processes) as pool:
        library = fake.build(Path(scratch))
        tasks = [(name, scene) for name in options.profiles.split(",") for scene in SCENES]
        for row in pool.map(lambda task: start(library, Path(scratch), *task, options.windows), tasks):
            rows.append(row)
            show(row["board"], row["load"], row)
            if row["load"] == list(SCENES)[-1]:
                show(row["board"], "all", together([each for each in rows if each["board"] == row["board"]]))
    print(f"{time.monotonic() - started_s:.0f} s")


def start(library: Path, scratch: Path, name: str, scene: str, n_windows: int) -> dict[str, object]:
    """One board under one load, in a process of its own: a library is never unloaded, and its clock is its own."""
    config = scratch / f"{name}-{scene.replace(' ', '-')}.conf"
    n_mine = max(1, round(n_windows * SHARES[scene]))
    done = subprocess.run(
        [sys.executable, __file__, "--worker", name, scene, str(n_mine), str(config)],
        env={**fake.environment(library.parent, config), "FAKE_NVML_LIBRARY": str(library), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {"board": name, "load": scene, **json.loads(done.stdout)}


def show(board: object, load: object, row: dict[str, object]) -> None:
    """One line of the table."""
    columns = {key: np.array(row[key], dtype=float) for key in ("truth_j", "found_j", "half_width_j")}
    known = np.isfinite(columns["found_j"])
    truth_j, found_j, half_width_j = (column[known] for column in columns.values())
    error_j = np.abs(found_j - truth_j)
    error = np.mean(error_j / truth_j) if len(truth_j) else np.nan
    width = np.mean(half_width_j / truth_j) if len(truth_j) else np.nan
    ratio = np.mean(half_width_j) / np.mean(error_j) if len(truth_j) else np.nan
    inside = np.mean(error_j <= half_width_j) if len(truth_j) else np.nan
    print(
        f"{board!s:16} {load!s:16} {len(known):7d}  {error:6.2%}  {width:9.2%}  {ratio:5.1f}  {inside:6.1%}  "
        f"{np.mean(~known):5.1%}",
        flush=True,
    )


def together(rows: list[dict[str, object]]) -> dict[str, object]:
    """All loads of one board."""
    keys = ("truth_j", "found_j", "half_width_j")
    return {key: np.concatenate([np.array(row[key], dtype=float) for row in rows]).tolist() for key in keys}


def work(name: str, scene_name: str, n_windows: int, config: Path) -> None:
    """In the worker: play the scene, record it with the real sensor, and read every window."""
    from harness.attribution import exclusive
    from harness.meter.meter import rebuilt, with_marks
    from harness.records import Edge, Segment

    rng = np.random.default_rng([list(PROFILES).index(name), list(SCENES).index(scene_name)])
    origin_s = 1000.0
    scene = SCENES[scene_name](n_windows, origin_s, rng)
    # A board of 250 W cannot draw what one of 700 W does.
    scale = PROFILES[name].power_limit_w / H100.power_limit_w
    load = tuple(replace(part, power_w=scale * part.power_w) for part in scene.load)
    board = replace(PROFILES[name], load=load, counter_origin_s=origin_s - 1.0)
    fake.write_config(config, [board])
    library = fake.preload(Path(os.environ["FAKE_NVML_LIBRARY"]))
    channels, rows = recorded(board, library, origin_s, scene.end_s, rng)
    edges = [
        (time_s, edge)
        for span in scene.spans
        for time_s, edge in zip(span, (Edge.WORK_BEGINS, Edge.WORK_ENDS), strict=True)
    ]
    edges = sorted([*edges, *((time_s, Edge.PHASE) for time_s in scene.phases)], key=lambda pair: pair[0])
    nothing = Segment(
        channel=np.zeros(0, np.int64), time_before_s=np.zeros(0), time_after_s=np.zeros(0), value=np.zeros(0)
    )
    marked = with_marks(nothing, [time_s for time_s, _ in edges], [edge for _, edge in edges])
    (curve,) = rebuilt(channels, [marked, rows])
    truth = Truth(Path(os.environ["FAKE_NVML_LIBRARY"]), config)
    found: dict[str, list[float]] = {"truth_j": [], "found_j": [], "half_width_j": []}
    for start_s, end_s in scene.spans:
        reading = exclusive.read(curve, start_s, end_s)
        energy_j, half_width_j = reading.energy_gross_j, reading.energy_gross_half_width_j
        found["truth_j"].append(board.gain * truth.energy_j(0, start_s, end_s) + board.offset_w * (end_s - start_s))
        found["found_j"].append(np.nan if energy_j is None else energy_j)
        found["half_width_j"].append(np.nan if half_width_j is None else half_width_j)
    print(json.dumps(found))


def recorded(
    board: Board, library: ctypes.CDLL, from_s: float, until_s: float, rng: np.random.Generator
) -> tuple[tuple[Channel, ...], Segment]:
    """What the project's sensor records of the board under a virtual clock, late as a real process is."""
    from harness.meter.sensors.nvml import NvmlSensor
    from harness.records import Segment, SensorCard

    now_s = from_s
    real_monotonic = time.monotonic

    def monotonic() -> float:
        nonlocal now_s
        now_s += 8e-6  # what a call takes
        fake.set_clock(library, now_s)
        return now_s

    card = SensorCard(
        uuid=board.uuid,
        name=board.name,
        driver="fake",
        idle_utc="2026-01-01T00:00:00Z",
        counter=board.counter,
        instant_power=True,
        duration_power_window_s=board.power_window_s,
        integrates=None if not board.counter else board.counter_window_s == 0.0,
        duration_counter_window_s=board.counter_window_s or None,
    )
    time.monotonic = monotonic  # type: ignore[assignment]
    try:
        fake.set_clock(library, now_s)
        sensor = NvmlSensor([board.uuid], {board.uuid: card})
        samples = []
        lateness_s = rng.exponential(0.00012, 1_000_000)
        late = rng.random(1_000_000) < 0.002
        n_polls = 0
        while now_s < until_s:
            due_s = sensor.next_poll_s(now_s)
            now_s = max(now_s, due_s) + lateness_s[n_polls % 1_000_000] + (0.004 if late[n_polls % 1_000_000] else 0.0)
            n_polls += 1
            samples += sensor.poll()
        sensor.close()
    finally:
        time.monotonic = real_monotonic
        fake.set_clock(library, None)
    segment = Segment(
        channel=np.array([sample.channel for sample in samples], dtype=np.int64),
        time_before_s=np.array([sample.time_before_s for sample in samples]),
        time_after_s=np.array([sample.time_after_s for sample in samples]),
        value=np.array([sample.value for sample in samples]),
    )
    return sensor.channels, segment


if __name__ == "__main__":
    main()
