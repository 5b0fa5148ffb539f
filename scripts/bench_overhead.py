#!/usr/bin/env python3
"""What metering costs the model: the same generation with the sampler running and with the sampler stopped.

    python scripts/bench_overhead.py [--pairs N] [--quick] [--json FILE]

The embedded model on the CPU, which is where a sampler can be felt most: they share the cores. The sampler polls a
fake board whose counter ticks every 100 ms. Each pair is one prompt, one seed and one forced output length, generated
twice in random order; between the two the sampler process is stopped or continued by a signal, and a tick and a half
goes by in which it finds its rhythm again. The time is the query's own window, as a run records it.

Printed: the geometric mean of the paired ratio (running over stopped) with its 95 % interval by the bootstrap over
pairs, and the upper end of that; the same for pairs in which the sampler is stopped both times, which is what the
machine's noise alone looks like; and the sampler's share of one core while the model runs without a break.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from harness.clock import SessionClock
from harness.config import RunSpec
from harness.meter.meter import SessionMeter
from harness.meter.recorder import SamplerProcess
from harness.protocols import Engine
from harness.records import Prompt
from harness.wiring.jobs import engine_class, jobs_of, source_of
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, constant, sinusoid, square_wave

N_PAIRS, N_PAIRS_QUICK = 400, 20
SHARE_OF_CONTROLS = 0.25
N_WARM_UP = 4
N_TOKENS = 256
MODE = "on"
SETTLE_S = 1.5 * H100.tick_s
SHARE_DURATION_S, SHARE_DURATION_QUICK_S = 30.0, 2.0
N_RESAMPLES = 10_000
LOAD = (
    constant(20.0),
    sinusoid(30.0, period_s=1.3),
    square_wave(260.0, period_s=0.73, duty=0.35),
    square_wave(90.0, period_s=2.9, duty=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A geometric mean of paired ratios and its 95 % interval."""

    n: int
    geometric_mean: float
    low: float
    high: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Durations in seconds of one generation; `first` is what ran first."""

    running_s: float
    stopped_s: float
    first: str


class Sampler:
    """The sampler process, which a signal stops and continues."""

    def __init__(self) -> None:
        found = [
            child for child in psutil.Process().children(recursive=True) if "harness.meter.sampler" in child.cmdline()
        ]
        if len(found) != 1:
            raise SystemExit(f"Expected one sampler process, found {len(found)}.")
        self._process = found[0]

    def set_running(self, running: bool) -> None:
        """Continue or stop it, and wait until it has settled, equally long for both."""
        self._process.send_signal(signal.SIGCONT if running else signal.SIGSTOP)
        time.sleep(SETTLE_S)

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


class Work:
    """Generations that are the same each time."""

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens
        (job,) = jobs_of(RunSpec(device="cpu"))
        self.n_threads = max(1, len(os.sched_getaffinity(0)) - 1)  # as `harness run` does: one core is left
        self._engine: Engine = engine_class()(
            source=source_of(job.entry),
            revision=job.cell.revision,
            reasoning=job.reasoning,
            clock=SessionClock(),
            device="cpu",
            n_threads=self.n_threads,
        )
        self._engine.load()
        _forbid_the_end(self._engine, n_tokens)
        self._prompts: tuple[Prompt, ...] = job.prompt_set.prompts

    def generate(self, number: int) -> tuple[float, str]:
        """Seconds of one query's window, and its text.

        Raises:
            SystemExit: The output is not as long as it was forced to be.
        """
        prompt = self._prompts[number % len(self._prompts)]
        done = self._engine.generate(prompt, MODE, self.n_tokens, number)
        if done.sizes["output_tokens"] != self.n_tokens:
            raise SystemExit(f"{prompt.prompt_id} gave {done.sizes['output_tokens']} tokens, not {self.n_tokens}.")
        return done.phases[-1].time_end_s - done.phases[0].time_start_s, done.text

    def close(self) -> None:
        self._engine.close()


def _forbid_the_end(engine: Any, n_tokens: int) -> None:
    """Every answer runs up to the cap: the engine has no switch for this, and users have no need of one."""
    engine._loaded.window._model.generation_config.min_new_tokens = n_tokens


def pairs(work: Work, sampler: Sampler, meter: SessionMeter, n_pairs: int, *, control: bool, seed: int) -> list[Pair]:
    """Alternate; for a control the sampler is stopped both times and one of the two is called running."""
    rng, done = random.Random(seed), []
    for number in range(n_pairs):
        order = rng.choice((("running", "stopped"), ("stopped", "running")))
        durations, texts = {}, []
        for state in order:
            sampler.set_running(state == "running" and not control)
            durations[state], text = work.generate(number)
            texts.append(text)
        if texts[0] != texts[1]:
            raise SystemExit(f"Pair {number} did not do the same work twice.")
        meter.collect()  # as between two queries of a run
        done.append(Pair(running_s=durations["running"], stopped_s=durations["stopped"], first=order[0]))
        progress(f"{'control' if control else 'pair'} {number + 1} of {n_pairs}")
    sampler.set_running(True)
    progress("", last=True)
    return done


def ratio(done: Sequence[Pair]) -> Ratio:
    """The geometric mean over pairs, with the bootstrap's percentiles."""
    logs = np.log([pair.running_s / pair.stopped_s for pair in done])
    rng = np.random.default_rng(0)
    means = [float(rng.choice(logs, size=len(logs)).mean()) for _ in range(N_RESAMPLES)]
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    return Ratio(
        n=len(done),
        geometric_mean=math.exp(float(logs.mean())),
        low=float(low),
        high=float(high),
        median=math.exp(float(median(logs.tolist()))),
    )


def sampler_share(work: Work, sampler: Sampler, meter: SessionMeter, duration_s: float) -> float:
    """CPU time per second of the undisturbed sampler while the model generates without a break."""
    cpu_s, began_s, number = sampler.cpu_s(), time.monotonic(), 0
    while time.monotonic() - began_s < duration_s:
        work.generate(number)
        meter.collect()
        number += 1
    return (sampler.cpu_s() - cpu_s) / (time.monotonic() - began_s)


def words(ratio: Ratio) -> str:
    """One line of it, in percent more time."""
    mean, low, high, middle = (
        f"{100 * (value - 1):+.2f}" for value in (ratio.geometric_mean, ratio.low, ratio.high, ratio.median)
    )
    return f"{mean} % (95 % interval {low} to {high} %; median {middle} %; {ratio.n} pairs)"


def progress(text: str, *, last: bool = False) -> None:
    """A line that a terminal overwrites; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=None, help=f"{N_PAIRS} where nothing else is said")
    parser.add_argument("--quick", action="store_true", help="only to see that it works")
    parser.add_argument("--tokens", type=int, default=N_TOKENS, help="the forced length of every output")
    parser.add_argument("--seed", type=int, default=0, help="of the order within pairs")
    parser.add_argument("--json", type=Path, help="write every pair here")
    options = parser.parse_args(argv)
    if options.pairs is None:
        options.pairs = N_PAIRS_QUICK if options.quick else N_PAIRS
    if options.pairs < 2:
        parser.error("--pairs: at least 2")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options, began_s = arguments(argv), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as scratch:
        library, config = fake.build(Path(scratch)), Path(scratch) / "boards.conf"
        fake.write_config(config, [replace(H100, load=LOAD)])
        os.environ.update(fake.environment(library.parent, config))  # for the sampler, which starts later
        work = Work(options.tokens)
        meter = SessionMeter(SamplerProcess(nvml_uuids=(H100.uuid,)))
        meter.start(time.monotonic())
        try:
            sampler = Sampler()
            for number in range(N_WARM_UP):
                work.generate(number)
            share = sampler_share(work, sampler, meter, SHARE_DURATION_QUICK_S if options.quick else SHARE_DURATION_S)
            n_controls = max(2, round(SHARE_OF_CONTROLS * options.pairs))
            controls = pairs(work, sampler, meter, n_controls, control=True, seed=options.seed + 1)
            done = pairs(work, sampler, meter, options.pairs, control=False, seed=options.seed)
        finally:
            for child in psutil.Process().children(recursive=True):
                child.send_signal(signal.SIGCONT)  # a stopped process cannot be asked to end
            meter.stop()
            work.close()
    overhead, noise = ratio(done), ratio(controls)
    print(f"metered over not metered: {words(overhead)}")
    print(f"upper end of the interval: {100 * (overhead.high - 1):+.2f} %")
    print(f"not metered both times:   {words(noise)}")
    print(f"the sampler used {share:.2%} of one core")
    print(
        f"{options.tokens} tokens, median {1e3 * median(pair.stopped_s for pair in done):.1f} ms; "
        f"{work.n_threads} threads, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{(time.monotonic() - began_s) / 60:.1f} minutes"
    )
    if options.json:
        document = {
            "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "platform": platform.platform()},
            "n_tokens": options.tokens,
            "n_threads": work.n_threads,
            "ratio": asdict(overhead),
            "ratio_control": asdict(noise),
            "sampler_share_of_one_core": share,
            "pairs": [asdict(pair) for pair in done],
            "controls": [asdict(pair) for pair in controls],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
