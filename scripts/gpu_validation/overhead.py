"""Does the sampler process slow the work down? The same batch with the sampler stopped and running, in pairs."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import numpy as np
import psutil

from harness.analysis.bootstrap import ratio_interval

from .bench import Bench
from .load import Launches
from .streams import Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table

UNFELT = Claim("sampler_is_not_felt", "The running sampler makes a batch of small kernels slower by less than 1 %.")
BATCH_S = 0.05
N_PAIRS_MOST = 120
LIMIT = 1.01


def run(bench: Bench, duration_s: float) -> None:
    """Pairs of batches, in a random order within each pair."""
    launches = Launches(bench.device, BATCH_S)
    samplers = bench.samplers()
    if not samplers:
        raise ValueError("The sampler process was not found among this process's children.")
    launches.batch()
    n_pairs = max(5, min(N_PAIRS_MOST, int(duration_s / (2 * BATCH_S * 1.2))))
    cpu_s, started_s = _cpu_s(samplers), bench.now_s()
    for pair in range(n_pairs):
        for stopped in (True, False) if bench.random.random() < 0.5 else (False, True):
            try:
                if stopped:
                    for sampler in samplers:
                        sampler.send_signal(signal.SIGSTOP)
                start_s = bench.now_s()
                taken_s = launches.batch()
                bench.did("batch", start_s, bench.now_s(), pair=float(pair), stopped=float(stopped), taken_s=taken_s)
            finally:
                if stopped:
                    for sampler in samplers:
                        sampler.send_signal(signal.SIGCONT)
                    bench.pause(0.003)
    lasted_s = bench.now_s() - started_s
    stopped_s = sum(stretch.number("taken_s") for stretch in bench.schedule if stretch.number("stopped"))
    bench.did("sampler", started_s, bench.now_s(), share_of_core=(_cpu_s(samplers) - cpu_s) / (lasted_s - stopped_s))


def _cpu_s(samplers: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (sampler.cpu_times() for sampler in samplers))


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:  # noqa: ARG001 - it is about time, not energy
    """The ratio of the sums over the pairs."""
    pairs: dict[float, dict[bool, float]] = {}
    for stretch in schedule:
        if stretch.name == "batch":
            pairs.setdefault(stretch.number("pair"), {})[bool(stretch.number("stopped"))] = stretch.number("taken_s")
    whole = [pair for pair in pairs.values() if len(pair) == 2]
    running, stopped = (np.array([pair[which] for pair in whole]) for which in (False, True))
    interval = ratio_interval(running, stopped)
    if interval.low is None or interval.high is None:
        return Judgement((UNFELT.ruled("overhead", Ruling.UNDECIDED, f"Only {len(whole)} whole pairs."),))
    ratio = float(running.sum() / stopped.sum())
    ruling = Ruling.UNDECIDED
    if interval.high < LIMIT or interval.low > LIMIT:
        ruling = Ruling.CONFIRMED if interval.high < LIMIT else Ruling.REFUTED
    share = next((stretch.number("share_of_core") for stretch in schedule if stretch.name == "sampler"), None)
    busy = "" if share is None else f" The sampler took {share:.1%} of a core."
    verdict = UNFELT.ruled(
        "overhead",
        ruling,
        f"Running over stopped: {ratio:.4f} ({interval.low:.4f} to {interval.high:.4f}), {len(whole)} pairs.{busy}",
        Figure(name="ratio_running_to_stopped", value=ratio, unit="1", half_width=(interval.high - interval.low) / 2),
        Figure(name="share_of_core", value=share, unit="1"),
    )
    table = Table(
        name="overhead",
        title="Seconds of the same batch",
        columns=("sampler", "median, s", "mean, s", "batches"),
        rows=tuple(
            (name, float(np.median(values)), float(np.mean(values)), float(len(values)))
            for name, values in (("running", running), ("stopped", stopped))
        ),
    )
    return Judgement((verdict,), (table,))
