"""One meter performs the windows of one case. Started by `bench_meter.py`, in whatever interpreter has that meter.

    python scripts/bench_meter_worker.py METER UUID

JSON lines on both pipes. It opens the meter, tries it, and says `ready` with how long begin and end take; it then
reads one line with the windows, performs them, and says what each was measured to be. Instants are CLOCK_MONOTONIC
seconds. Nothing here knows what the board drew, and nothing but the standard library is imported unless the meter
itself is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any

SPIN_S = 0.001
LEAD_S = 0.0003
N_TRIALS = 6
N_REMEMBERED = 8
TRIAL_S = 0.02
J_PER_KWH = 3.6e6


class Plain:
    """Two readings of the NVML energy counter and their difference."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._read_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption
        self._board = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._begun_mj = 0

    def begin(self, *, isolated: bool) -> None:  # noqa: ARG002 - it knows one way only
        self._begun_mj = self._read_mj(self._board)

    def end(self) -> Any:
        return {"energy_j": (self._read_mj(self._board) - self._begun_mj) / 1000}

    def read(self, ended: Any) -> dict[str, Any]:
        return dict(ended)

    def close(self) -> None:
        pass


class Zeus(Plain):
    """ZeusMonitor windows, as its manual shows them; nothing to synchronize with here."""

    def __init__(self, uuid: str) -> None:  # noqa: ARG002 - it takes indices
        from zeus.monitor import ZeusMonitor

        self._monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[])

    def begin(self, *, isolated: bool) -> None:  # noqa: ARG002
        self._monitor.begin_window("query", sync_execution=False)

    def end(self) -> Any:
        return {"energy_j": self._monitor.end_window("query", sync_execution=False).gpu_energy[0]}


class CodeCarbon(Plain):
    """Tasks of one tracker; of their energy only that of the GPU."""

    def __init__(self, uuid: str) -> None:  # noqa: ARG002 - it takes indices
        from codecarbon import OfflineEmissionsTracker

        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA", gpu_ids=[0], save_to_file=False, log_level="critical", allow_multiple_runs=True
        )
        self._n_tasks = 0

    def begin(self, *, isolated: bool) -> None:  # noqa: ARG002
        self._n_tasks += 1
        self._tracker.start_task(str(self._n_tasks))

    def end(self) -> Any:
        return {"energy_j": self._tracker.stop_task(str(self._n_tasks)).gpu_energy * J_PER_KWH}


class Ours:
    """Spans of `harness.Meter`, read when all of them are over."""

    def __init__(self, uuid: str) -> None:
        from harness import Meter

        self._meter = Meter(gpus=[uuid]).__enter__()
        self._span: Any = None

    def begin(self, *, isolated: bool) -> None:
        self._context = self._meter.span("query", isolated=isolated)
        self._span = self._context.__enter__()

    def end(self) -> Any:
        self._context.__exit__(None, None, None)
        return self._span

    def read(self, ended: Any) -> dict[str, Any]:
        reading = self._meter.read(ended)
        origin_s = self._meter.origin_monotonic_s  # the reading's own span, on the clock of the truth
        return {
            "energy_j": reading.energy_gross_j,
            "half_width_j": reading.energy_gross_half_width_j,
            "time_start_s": reading.time_start_s + origin_s,
            "time_end_s": reading.time_end_s + origin_s,
            "findings": [str(finding.code) for finding in reading.findings],
        }

    def close(self) -> None:
        self._meter.__exit__(None, None, None)


METERS: dict[str, type[Any]] = {"ours": Ours, "plain": Plain, "zeus": Zeus, "codecarbon": CodeCarbon}


def wait_until(time_s: float) -> None:
    """Sleep, and spin through the last millisecond."""
    while (left_s := time_s - time.monotonic()) > 0:
        if left_s > SPIN_S:
            time.sleep(left_s - SPIN_S)


class Windows:
    """Begins and ends windows on time, by how long begin took before."""

    def __init__(self, meter: Any, *, isolated: bool) -> None:
        self._meter, self._isolated = meter, isolated
        self._begins_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._ends_s: list[float] = []

    def try_out(self) -> dict[str, float]:
        """The longest that begin and end took; the first of all is not counted, since it sets things up."""
        for number in range(N_TRIALS + 1):
            self._begin()
            time.sleep(TRIAL_S)
            called_s = time.monotonic()
            self._meter.end()
            self._ends_s.append(time.monotonic() - called_s)
            if number == 0:
                self._begins_s.clear()
                self._ends_s.clear()
        return {"duration_begin_s": max(self._begins_s), "duration_end_s": max(self._ends_s)}

    def window(self, load_s: float, end_s: float, length_s: float) -> tuple[dict[str, Any], Any]:
        """One window, from just after begin to just before end.

        Args:
            load_s: When begin should be done; the load of an isolated window begins then.
            end_s: When an isolated window, and its load, ends.
            length_s: How long another window lasts, whenever it began.

        Returns:
            The two instants, how early or late they were, and what `read` will be given.
        """
        # By the slowest of the last few: too early is an idle moment inside the window, too late is another case.
        wait_until(load_s - max(self._begins_s) - LEAD_S)
        started_s = self._begin()
        wait_until(end_s if self._isolated else started_s + length_s)
        ended_s = time.monotonic()
        ended = self._meter.end()
        timing = {"time_start_s": started_s, "time_end_s": ended_s, "early_s": None, "late_s": 0.0}
        if self._isolated:
            timing |= {"early_s": load_s - started_s, "late_s": max(started_s - load_s, ended_s - end_s)}
        return timing, ended

    def _begin(self) -> float:
        called_s = time.monotonic()
        self._meter.begin(isolated=self._isolated)
        done_s = time.monotonic()
        self._begins_s.append(done_s - called_s)
        return done_s


def children_cpu_s() -> float:
    """CPU seconds that this process's children have used so far: of ours, the sampler."""
    import psutil

    children = psutil.Process().children(recursive=True)
    return float(sum(sum(child.cpu_times()[:2]) for child in children))


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    name, uuid = sys.argv[1:]
    meter = METERS[name](uuid)
    isolated = bool(json.loads(sys.stdin.readline())["isolated"])
    windows = Windows(meter, isolated=isolated)
    say(kind="ready", **windows.try_out())
    plan = json.loads(sys.stdin.readline())
    cpu_s, began_s = (children_cpu_s() if name == "ours" else 0.0), time.monotonic()
    done = []
    for planned in plan["windows"]:
        done.append(windows.window(planned["load_s"], planned["end_s"], planned["length_s"]))
        say(kind="done")
    wall_s = time.monotonic() - began_s
    sampler_share = (children_cpu_s() - cpu_s) / wall_s if name == "ours" else None
    for timing, ended in done:
        say(kind="window", **{"half_width_j": None, **timing, **meter.read(ended)})
    meter.close()
    say(kind="finished", sampler_share=sampler_share)


if __name__ == "__main__":
    main()
