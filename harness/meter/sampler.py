"""The sampler process: polls the sensors and writes what they say to its parent. Run by `SamplerProcess`.

    python -m harness.meter.sampler '{"nvml": ["GPU-..."], "rapl": true, "estimate": false}'

Readings go to stdout as fixed-size rows (`ROW`), in CLOCK_MONOTONIC seconds. Everything else goes to stderr as one
JSON object a line: `ready` with the channels, `lost` with a reason, `stats` at the end. It ends when its standard
input closes, so it cannot outlive its parent; on Linux the kernel is asked to make sure.

It is a process of its own so that a busy interpreter in the parent delays no reading, and it is started by name,
so that the user's main module is not imported again.
"""

from __future__ import annotations

import ctypes
import json
import resource
import select
import signal
import sys
import time
from typing import Any

import numpy as np

from harness.errors import HarnessError, NoSensor
from harness.protocols import Sensor

ROW = np.dtype([("channel", "<i8"), ("time_before_s", "<f8"), ("time_after_s", "<f8"), ("value", "<f8")])
LATE_S = 0.01
FLUSH_PERIOD_S = 0.05
_PR_SET_PDEATHSIG = 1


def open_sensors(request: dict[str, Any]) -> list[Sensor]:
    """The sensors that a request names. Each is imported only if asked for.

    Raises:
        NoSensor: One of them cannot be read.
    """
    sensors: list[Sensor] = []
    if request.get("nvml"):
        from harness.meter.nvml import NvmlSensor

        sensors.append(NvmlSensor(request["nvml"]))
    if request.get("rapl"):
        from harness.meter.rapl import RaplSensor

        sensors.append(RaplSensor())
    if request.get("estimate"):
        from harness.meter.estimate import EstimateSensor

        sensors.append(EstimateSensor())
    return sensors


def run(sensors: list[Sensor]) -> None:
    """Poll until standard input closes or a sensor is lost."""
    offsets = np.cumsum([0, *(len(sensor.channels) for sensor in sensors)]).tolist()
    rows: list[tuple[int, float, float, float]] = []
    n_polls = n_samples = n_late = 0
    started_s = flushed_s = time.monotonic()
    alive = list(range(len(sensors)))
    while alive:
        now_s = time.monotonic()
        due_s = min(sensors[index].next_poll_s(now_s) for index in alive)
        readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due_s - now_s))
        if readable:
            break
        now_s = time.monotonic()
        n_late += now_s - due_s > LATE_S
        for index in list(alive):
            if sensors[index].next_poll_s(now_s) > now_s:
                continue
            n_polls += 1
            try:
                polled = list(sensors[index].poll())
            except NoSensor as error:
                alive.remove(index)
                _say("lost", message=str(error), next_step=error.next_step)
                continue
            n_samples += len(polled)
            rows += [
                (offsets[index] + sample.channel, sample.time_before_s, sample.time_after_s, sample.value)
                for sample in polled
            ]
        if rows and now_s - flushed_s > FLUSH_PERIOD_S:
            _write(rows)
            flushed_s = now_s
    _write(rows)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _say(
        "stats",
        n_polls=n_polls,
        n_samples=n_samples,
        n_late=n_late,
        duration_cpu_s=usage.ru_utime + usage.ru_stime,
        duration_s=time.monotonic() - started_s,
    )


def _write(rows: list[tuple[int, float, float, float]]) -> None:
    if rows:
        sys.stdout.buffer.write(np.array(rows, dtype=ROW).tobytes())
        sys.stdout.buffer.flush()
        rows.clear()


def _say(event: str, **fields: object) -> None:
    sys.stderr.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stderr.flush()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Open what was asked for, say so, and poll."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sensors = open_sensors(json.loads(sys.argv[1]))
    except HarnessError as error:
        _say("refused", message=str(error), next_step=error.next_step)
        return
    channels = [channel.model_dump(mode="json") for sensor in sensors for channel in sensor.channels]
    notes = [note for sensor in sensors for note in sensor.notes]
    _say("ready", channels=channels, notes=notes)
    try:
        run(sensors)
    except BrokenPipeError:
        return
    finally:
        for sensor in sensors:
            sensor.close()


if __name__ == "__main__":
    main()
