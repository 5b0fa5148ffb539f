#!/usr/bin/env python3
"""How right four meters are about a single query, in real time, on a fake board whose power is known exactly.

    python scripts/bench_meter.py [--quick] [--meters ours,plain] [--cases isolated,tails,steps,pulses] [--json FILE]

An H100 with an ideal counter that ticks every 100 ms. In turn: this project's meter, differences of the NVML counter,
Zeus and codecarbon, each in a process of its own; all meet the same loads at the same phases of the tick. About 35
minutes on a machine that does nothing else (two cores suffice); a busy one makes every meter look worse.

- isolated: 330 W over 70 W idle, exactly from a window's begin to its end.
- tails: the work begins up to 8 ms late, and after the end power dies away with a time constant of 20 to 300 ms.
- steps, pulses: window after window under a load that takes no notice of them (see `waveform`).

The truth is the exact integral of the board's power from just after begin to just before end; for ours it is taken
over the span that the reading itself states. A window of the first two cases whose begin or end came late, because
begin took longer than in all trials or the machine was busy, is not what the case is about: it is left out, and
counted. Errors are in percent of the truth; worst is the largest, with its sign.

Zeus and codecarbon are installed into an environment of their own (`--peers DIR`), once, by pip.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, Board, Component, Truth, burst, constant, decay, sinusoid, square_wave

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("bench_meter_worker.py")
PEERS = ("zeus==0.16.0", "codecarbon==3.3.2", "nvidia-ml-py==13.615.71")
METERS = ("ours", "plain", "zeus", "codecarbon")
CASES = ("isolated", "tails", "steps", "pulses")
ISOLATED = ("isolated", "tails")
COUNTS = {0.2: 30, 1.0: 30, 5.0: 10}
BOARD = H100
QUERY_W = 330.0
PAUSE_S, GAP_S = 0.6, 0.01
LATE_S = 0.002
DELAY_S, TAIL_S = (0.0, 0.008), (0.02, 0.3)
N_TAILS_PAUSED = 3.0
"""The next query comes this many time constants later than without a tail: the case is of lone queries."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window as planned, in seconds after the case's origin (a tick)."""

    length_s: float
    load_s: float
    delay_s: float
    tail_s: float

    @property
    def end_s(self) -> float:
        return self.load_s + self.length_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One meter, case and length; percent of the truth. None: no window says."""

    meter: str
    case: str
    length_s: float
    n: int
    n_null: int
    n_late: int
    error_mean: float | None
    error_absolute: float | None
    error_worst: float | None
    half_width: float | None
    inside: float | None


def planned(case: str, counts: dict[float, int], seed: int, extra_pause_s: float) -> list[Window]:
    """The windows of a case, the same for every meter but for the pauses that it needs itself."""
    rng = random.Random(f"{seed} {case}")
    windows, now_s = [], 1.0
    for length_s, count in counts.items():
        for _ in range(count):
            phase_s = rng.uniform(0.0, 2 * BOARD.tick_s if case in ISOLATED else BOARD.tick_s)
            delay_s, tail_s = (rng.uniform(*DELAY_S), rng.uniform(*TAIL_S)) if case == "tails" else (0.0, 0.0)
            pause_s = PAUSE_S + extra_pause_s if case in ISOLATED else GAP_S
            windows.append(Window(length_s, now_s + pause_s + phase_s, delay_s, tail_s))
            now_s = windows[-1].end_s + N_TAILS_PAUSED * tail_s
    return windows


def load(case: str, origin_s: float, windows: Sequence[Window]) -> tuple[Component, ...]:
    """What the board draws above idle from the origin on."""
    if case not in ISOLATED:
        return waveform(case, origin_s)
    parts = []
    for window in windows:
        start_s, end_s = origin_s + window.load_s + window.delay_s, origin_s + window.end_s
        parts.append(burst(start_s, end_s, QUERY_W))
        if window.tail_s:
            parts.append(decay(end_s, QUERY_W, time_constant_s=window.tail_s))
    return tuple(parts)


def waveform(case: str, origin_s: float) -> tuple[Component, ...]:
    """Two loads with steps that have nothing to do with the windows or the tick."""
    when: dict[str, float] = {"start_s": origin_s, "phase_s": origin_s}
    if case == "steps":  # 90 to 440 W, and a little unrest
        return (
            constant(20.0, start_s=origin_s),
            sinusoid(30.0, period_s=1.3, **when),
            sinusoid(15.0, period_s=0.37, **when),
            square_wave(260.0, period_s=0.73, duty=0.35, **when),
            square_wave(90.0, period_s=2.9, duty=0.5, **when),
        )
    return (  # 80, 200, 480 or 600 W
        constant(10.0, start_s=origin_s),
        square_wave(400.0, period_s=1.7, duty=0.45, **when),
        square_wave(120.0, period_s=0.41, duty=0.3, **when),
    )


class Worker:
    """The process in which one meter performs one case."""

    def __init__(self, meter: str, python: Path, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [str(python), str(WORKER), meter, BOARD.uuid],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def tell(self, **fields: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; `hear` says why
            self._process.stdin.write(json.dumps(fields) + "\n")
            self._process.stdin.flush()

    def hear(self) -> Iterator[dict[str, Any]]:
        """What it says, until it says that it is finished.

        Raises:
            RuntimeError: It ended before; with its last words.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:  # a library that prints
                continue
            yield said
            if said["kind"] == "finished":
                return
        words = self._log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else "it ended without a word")


def measured(
    meter: str, case: str, counts: dict[float, int], seed: int, python: Path, library: Path, home: Path
) -> tuple[list[dict[str, Any]], float | None, str]:
    """Let one meter perform one case.

    Returns:
        The windows with their truths; the sampler's share of a core if the meter has a sampler; the longest begin and
        end among the trials, in words.

    Raises:
        RuntimeError: The meter failed.
    """
    config, isolated = home / "boards.conf", case in ISOLATED
    environment = worker_environment(meter, library, home)
    board: Board = replace(BOARD, counter_origin_s=0.0)
    fake.write_config(config, [board])
    with Worker(meter, python, environment, home / "words.log") as worker:
        said = worker.hear()
        worker.tell(isolated=isolated)
        ready = next(said)
        spent_s = max(0.0, ready["duration_begin_s"] + ready["duration_end_s"] - PAUSE_S / 2)
        windows = planned(case, counts, seed, spent_s)
        # Changes of the load begin at a tick, so that every meter meets the same phases.
        n_ticks = math.ceil((time.monotonic() + 3 * fake.SETTLE_S - board.tick_phase_s) / board.tick_s)
        origin_s = board.tick_phase_s + n_ticks * board.tick_s
        fake.write_config(config, [replace(board, load=load(case, origin_s, windows))])
        worker.tell(
            windows=[
                {"load_s": origin_s + w.load_s, "end_s": origin_s + w.end_s, "length_s": w.length_s} for w in windows
            ],
        )
        results, sampler_share, n_done = [], None, 0
        for answer in said:
            if answer["kind"] == "done":
                n_done += 1
                progress(f"{meter}, {case}: window {n_done} of {len(windows)}")
            elif answer["kind"] == "window":
                results.append(answer)
            elif answer["kind"] == "finished":
                sampler_share = answer["sampler_share"]
    truth = Truth(library, config)
    for window, result in zip(windows, results, strict=True):
        result["length_s"] = window.length_s
        result["delay_s"], result["tail_s"] = window.delay_s, window.tail_s
        result["truth_j"] = truth.energy_j(0, result["time_start_s"], result["time_end_s"])
        result["phase_s"] = result["time_start_s"] - truth.last_tick_s(0, result["time_start_s"])
    timings = f"begin took up to {ready['duration_begin_s'] * 1e3:.2f} ms, end {ready['duration_end_s'] * 1e3:.2f} ms"
    if isolated:
        early_ms = fmean(result["early_s"] for result in results) * 1e3
        timings += f"; the work began {early_ms:.2f} ms after begin was done, on average, plus its launch delay"
    return results, sampler_share, timings


def row(meter: str, case: str, length_s: float, windows: Sequence[dict[str, Any]]) -> Row:
    """One line of the table."""
    on_time = [window for window in windows if window["late_s"] <= LATE_S]
    answered = [window for window in on_time if window["energy_j"] is not None]
    errors = [100 * (window["energy_j"] / window["truth_j"] - 1) for window in answered]
    banded = [window for window in answered if window["half_width_j"] is not None]
    inside = [abs(window["energy_j"] - window["truth_j"]) <= window["half_width_j"] for window in banded]
    return Row(
        meter=meter,
        case=case,
        length_s=length_s,
        n=len(answered),
        n_null=len(on_time) - len(answered),
        n_late=len(windows) - len(on_time),
        error_mean=fmean(errors) if errors else None,
        error_absolute=fmean(map(abs, errors)) if errors else None,
        error_worst=max(errors, key=abs) if errors else None,
        half_width=fmean(100 * window["half_width_j"] / window["truth_j"] for window in banded) if banded else None,
        inside=100 * fmean(inside) if inside else None,
    )


HEAD = "case      length  meter         n  null  late   error %: mean  absolute    worst   half-width %  inside %"


def line(row: Row) -> str:
    def number(value: float | None, form: str, width: int) -> str:
        return (format(value, form) if value is not None else "-").rjust(width)

    return (
        f"{row.case:8}  {row.length_s:4g} s  {row.meter:10}  {row.n:3}  {row.n_null:4}  {row.n_late:4}  "
        f"{number(row.error_mean, '+.2f', 14)}  {number(row.error_absolute, '.2f', 8)}  "
        f"{number(row.error_worst, '+.2f', 7)}  {number(row.half_width, '.2f', 13)}  {number(row.inside, '.0f', 8)}"
    )


def peers_python(directory: Path) -> Path | None:
    """The interpreter of the environment that has Zeus and codecarbon; None if it cannot be made, with a line why."""
    digest = hashlib.sha256(" ".join([*PEERS, sys.version]).encode()).hexdigest()[:12]
    home = directory / f"peers-{digest}"
    python, whole = home / "bin" / "python", home / "whole"
    if whole.exists():
        return python
    progress(f"Installing {', '.join(PEERS)} into {home}", last=True)
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            progress(f"Without Zeus and codecarbon: {words[-1] if words else step}", last=True)
            return None
    whole.touch()
    return python


def worker_environment(meter: str, library: Path, home: Path) -> dict[str, str]:
    """A worker's environment: the fake board, seen by everyone; for codecarbon a program named nvidia-smi."""
    environment = fake.environment(library.parent, home / "boards.conf")
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    environment.pop("PYTHONPATH", None)
    if meter == "ours":
        environment["PYTHONPATH"] = str(ROOT)
        environment["XDG_CACHE_HOME"] = str(home / "cache")  # no fake board's card among real ones
    if meter == "codecarbon":
        stub = home / "nvidia-smi"
        stub.write_text("#!/bin/sh\nexit 0\n")
        stub.chmod(0o755)
        environment["PATH"] = os.pathsep.join([str(home), environment.get("PATH", os.defpath)])
    return environment


def progress(text: str, *, last: bool = False) -> None:
    """A line that a terminal overwrites; elsewhere only the last one of a case."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    elif last:
        print(text, file=sys.stderr, flush=True)


def chosen(text: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(known)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
    return names


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inference-energy-harness"
    parser.add_argument("--quick", action="store_true", help="a tenth of the windows")
    parser.add_argument("--meters", type=lambda text: chosen(text, METERS), default=list(METERS))
    parser.add_argument("--cases", type=lambda text: chosen(text, CASES), default=list(CASES))
    parser.add_argument("--lengths", type=lambda text: [float(part) for part in text.split(",")], default=list(COUNTS))
    parser.add_argument("--seed", type=int, default=0, help="of the windows' phases")
    parser.add_argument("--peers", type=Path, default=cache, help="where Zeus and codecarbon are installed")
    parser.add_argument("--json", type=Path, help="write every window, and the table, here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    counts = {length_s: COUNTS.get(length_s, COUNTS[1.0]) for length_s in options.lengths}
    if options.quick:
        counts = {length_s: max(1, count // 10) for length_s, count in counts.items()}
    peers = peers_python(options.peers) if {"zeus", "codecarbon"} & set(options.meters) else None
    pythons = {"ours": Path(sys.executable), "plain": Path(sys.executable), "zeus": peers, "codecarbon": peers}
    began_s, rows, windows, samplers, failures = time.monotonic(), [], [], [], 0
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="bench-meter-") as scratch:
        library = fake.build(Path(scratch))
        for case, meter in product(options.cases, options.meters):
            if (python := pythons[meter]) is None:
                continue
            home = Path(scratch) / f"{meter}-{case}"
            home.mkdir()
            try:
                results, sampler_share, timings = measured(meter, case, counts, options.seed, python, library, home)
            except RuntimeError as error:
                failures += 1
                print(f"{case:8}          {meter:10}  failed: {error}", flush=True)
                continue
            progress(f"{meter}, {case}: {timings}", last=True)
            for length_s in counts:
                rows.append(row(meter, case, length_s, [r for r in results if r["length_s"] == length_s]))
                print(line(rows[-1]), flush=True)
            windows += [{"meter": meter, "case": case, **result} for result in results]
            if sampler_share is not None:
                samplers.append({"meter": meter, "case": case, "share_of_one_core": sampler_share})
    for sampler in samplers:
        print(f"{sampler['case']:8}  the sampler used {sampler['share_of_one_core']:.2%} of one core")
    print(
        f"{(time.monotonic() - began_s) / 60:.1f} minutes; Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    if options.json:
        document = {
            "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "platform": platform.platform()},
            "peers": PEERS,
            "seed": options.seed,
            "board": {"name": BOARD.name, "duration_tick_s": BOARD.tick_s, "idle_w": BOARD.idle_w},
            "rows": [asdict(row) for row in rows],
            "samplers": samplers,
            "windows": windows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
