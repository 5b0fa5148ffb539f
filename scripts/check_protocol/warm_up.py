"""How much longer the first queries take: the embedded model on this machine's CPU, in processes that have just begun.

Real figures of one machine, which are others each time. The prompt is always the same and every answer is forced to the
same number of tokens, so the work is the same. A query's seconds are those of its window, as a run records them, but of
the processor and not of the clock on the wall. Others who use the machine slow even those, so the fastest of all
processes stands beside the median.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.check_statistics.tables import Table

N_QUERIES, N_SETTLED = 20, 10
"""Asked in a row, and how many of the last are what the others are set beside."""
N_TOKENS = 10
SHOWN = (1, 2, 3, 4, 5, 10)
PAUSE_S = 3.0
N_OF_MEAN = 50
MODE = "on"
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class ProcessorClock:
    """A clock that stands still while this process does not compute."""

    origin_monotonic_s: float = 0.0
    origin_unix_s: float = 0.0

    def now_s(self) -> float:
        """Seconds of the processor since the process began."""
        return time.process_time()

    def sleep_until(self, time_s: float) -> None:
        """Nothing here waits for the processor's time to pass."""
        raise NotImplementedError(f"asked to sleep until {time_s} s of the processor")


def first_queries(n_processes: int) -> Table:
    """The first queries over the later ones, place by place, and the first one after a pause."""
    done = [_asked() for _ in range(n_processes)]
    sides = [[one(at_place) for at_place in zip(*done, strict=True)] for one in (min, median)]
    rows = []
    for place in (*SHOWN, N_QUERIES + 1):
        words = f"{place}" if place <= N_QUERIES else f"{place}, after {PAUSE_S:g} s of nothing"
        times = [durations_s[place - 1] / settled(durations_s) for durations_s in sides]
        rows.append([words, *(cell for each in times for cell in (f"{each:.2f} ×", f"{100 * added(each):+z.1f} %"))])
    later = [f"{1e3 * settled(durations_s):.0f} ms" for durations_s in sides]
    rows.append([f"{N_QUERIES - N_SETTLED + 1} to {N_QUERIES}, median", later[0], "–", later[1], "–"])
    adds = f"adds to a mean of {N_OF_MEAN}"
    return Table(
        f"Answers of {N_TOKENS} tokens in {n_processes} fresh processes, in seconds of this machine's processor",
        ("query", f"fastest of {n_processes}", adds, f"median of {n_processes}", adds),
        rows,
    )


def settled(durations_s: Sequence[float]) -> float:
    """What a query takes once the process has settled, from the seconds of all that were asked in a row."""
    return median(durations_s[N_QUERIES - N_SETTLED : N_QUERIES])


def added(times: float, n: int = N_OF_MEAN) -> float:
    """What one query that takes so many times as long adds to a mean of n queries, relative."""
    return (times - 1) / n


def _asked() -> list[float]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.check_protocol.warm_up"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    durations_s: list[float] = json.loads(done.stdout)
    return durations_s


def work() -> list[float]:
    """In the fresh process: load the model, ask at once, pause, ask once more; the seconds of each query."""
    from harness.config import RunSpec
    from harness.wiring.jobs import engine_class, jobs_of, source_of

    (job,) = jobs_of(RunSpec(device="cpu"))
    engine = engine_class()(
        source=source_of(job.entry),
        revision=job.cell.revision,
        reasoning=job.reasoning,
        clock=ProcessorClock(),
        device="cpu",
        n_threads=1,
    )
    engine.load()
    prompt, durations_s = job.prompt_set.prompts[0], []
    for number in range(N_QUERIES + 1):
        if number == N_QUERIES:
            time.sleep(PAUSE_S)
        done = engine.generate(prompt, MODE, N_TOKENS, number, n_forced_tokens=N_TOKENS)
        durations_s.append(done.time_end_s - done.time_start_s)
    engine.close()
    return durations_s


if __name__ == "__main__":
    print(json.dumps(work()))
