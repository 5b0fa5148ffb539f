"""The sampler process: polls the sensors and writes what they say to its parent. Run by `SamplerProcess`.

    python -m harness.meter.sampler '{"nvml": ["GPU-..."], "cards": {}, "rapl": true, "estimate": false}'

Readings go to stdout as fixed-size rows (`ROW`), in CLOCK_MONOTONIC seconds. Everything else goes to stderr as one
JSON object a line: `ready` with the channels, `lost` with a reason, `stats` at the end. It ends when its standard
input closes or says anything, or when its parent is gone although a forked worker of it still holds that pipe open.
(The kernel's parent-death signal would not do: it comes when the *thread* that started the sampler ends.) Signals that
a terminal or a scheduler sends to every process are the parent's business, which may still want the last readings.

It is a process of its own so that a busy interpreter in the parent delays no reading, and it is started by name,
so that the user's main module is not imported again.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

import numpy as np

from harness.errors import HarnessError, NoSensor
from harness.protocols import Sensor
from harness.records import SensorCard

ROW = np.dtype([("channel", "<i8"), ("time_before_s", "<f8"), ("time_after_s", "<f8"), ("value", "<f8")])
LATE_S = 0.01
FLUSH_PERIOD_S = 0.05
PARENT_PERIOD_S = 0.5
_PR_SET_TIMERSLACK = 29
TIMER_SLACK_NS = 1000
"""By default the kernel may wake a process 50 us late, a tenth of what a tick is caught within."""


def open_sensors(request: dict[str, Any]) -> list[Sensor]:
    """The sensors that a request names. Each is imported only if asked for.

    Raises:
        NoSensor: One of them cannot be read.
    """
    sensors: list[Sensor] = []
    if request.get("nvml"):
        from harness.meter.sensors.nvml import NvmlSensor

        cards = {uuid: SensorCard.model_validate(card) for uuid, card in request.get("cards", {}).items()}
        sensors.append(NvmlSensor(request["nvml"], cards))
    if request.get("rapl"):
        from harness.meter.sensors.rapl import RaplSensor

        sensors.append(RaplSensor())
    if request.get("estimate"):
        from harness.meter.sensors.estimate import EstimateSensor

        sensors.append(EstimateSensor())
    return sensors


def run(sensors: list[Sensor], parent: int | None = None) -> None:
    """Poll until standard input closes, the parent is gone, or every sensor is lost.

    Args:
        sensors: What to poll.
        parent: The parent's process number; None: only standard input tells.
    """
    offsets = np.cumsum([0, *(len(sensor.channels) for sensor in sensors)]).tolist()
    rows: list[tuple[int, float, float, float]] = []
    n_polls = [0] * len(sensors)
    n_samples = n_late = 0
    started_s = flushed_s = parent_seen_s = time.monotonic()
    started_cpu_s = time.process_time()  # importing and opening is not part of what sampling costs
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
            n_polls[index] += 1
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
        if parent is not None and now_s - parent_seen_s > PARENT_PERIOD_S:
            if os.getppid() != parent:
                break
            parent_seen_s = now_s
    _write(rows)
    _say(
        "stats",
        n_polls=sum(n_polls),
        n_samples=n_samples,
        n_late=n_late,
        n_missed=sum(getattr(sensor, "n_missed", 0) for sensor in sensors),
        n_regular=sum(getattr(sensor, "n_regular", n) for sensor, n in zip(sensors, n_polls, strict=True)),
        duration_cpu_s=time.process_time() - started_cpu_s,
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


def _wake_on_time() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)


def main() -> None:
    """Open what was asked for, say so, and poll."""
    _wake_on_time()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started it may block signals
    try:
        request = json.loads(sys.argv[1])
        sensors = open_sensors(request)
    except HarnessError as error:
        _say("refused", message=str(error), next_step=error.next_step)
        return
    channels = [channel.model_dump(mode="json") for sensor in sensors for channel in sensor.channels]
    notes = [note for sensor in sensors for note in sensor.notes]
    _say("ready", channels=channels, notes=notes)
    try:
        run(sensors, request.get("parent"))
    except BrokenPipeError:
        return
    finally:
        for sensor in sensors:
            sensor.close()


if __name__ == "__main__":
    main()
