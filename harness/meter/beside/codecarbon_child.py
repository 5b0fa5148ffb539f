"""codecarbon's own tracker in a process of its own. Run by `cross_check.CodecarbonTracker`.

    python -m harness.meter.beside.codecarbon_child '["GPU-..."]'

It tracks until standard input closes or says anything. One JSON object a line goes to stdout: `started`, then
`stopped` with what it measured, or `failed`. Only this module and `estimate.py` know codecarbon.

Boards are given to it by index, because it reads 0 J for a UUID, and `CUDA_VISIBLE_DEVICES` is taken from it, because
it would look for UUIDs there. It times itself by `perf_counter`, which is CLOCK_MONOTONIC on Linux as here.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

from harness.units import J_PER_KWH

PERIOD_S = 15.0
"""Its own default. It reads counters at both ends, so that a shorter period would only cost more."""

ASKED_FOR = ("Multiple instances of codecarbon are allowed", "You have ")
"""It warns of what it was told to do: to run beside others, and to track some of the boards."""


class _Words(logging.Handler):
    """Keeps what codecarbon warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning, once."""
        self.said[" ".join(record.getMessage().split())] = None


def track(uuids: list[str]) -> None:
    """Track until standard input closes or says anything."""
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.external.logger import logger

    words = _Words()
    logger.handlers = [words]
    notes = []
    if uuids and shutil.which("nvidia-smi") is None:
        notes.append("it found no executable nvidia-smi on PATH, without which it sees no GPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker = OfflineEmissionsTracker(
            country_iso_code="USA",  # for grams of CO2, which are not asked for
            gpu_ids=_indices(uuids),
            measure_power_secs=PERIOD_S,
            tracking_mode="machine",
            save_to_file=False,
            log_level="warning",
            allow_multiple_runs=True,
            pue=1.0,
        )
        logger.handlers = [words]
        tracker.start()
    started_s = float(getattr(tracker, "_start_time", None) or time.monotonic())
    _say("started")
    sys.stdin.readline()
    asked_s = time.monotonic()
    tracker.stop()
    ended_s = float(getattr(tracker, "_last_measured_time", None) or asked_s)
    found = tracker.final_emissions_data
    gpu_j = found.gpu_energy * J_PER_KWH if uuids else None
    if gpu_j == 0:
        notes.append("it measured 0 J for the GPU")
    modes = [str(getattr(part, "_mode", "")) for part in tracker._hardware if type(part).__name__ == "CPU"]
    if "intel_rapl" not in modes:
        notes.append(f"its CPU energy is estimated ({', '.join(modes) or 'no mode said'})")
    notes.append("its memory energy is estimated")
    notes += [f"it warned: {text}" for text in words.said if not text.startswith(ASKED_FOR)]
    _say(
        "stopped",
        version=version("codecarbon"),
        time_start_monotonic_s=started_s,
        time_end_monotonic_s=ended_s,
        energy_gpu_j=gpu_j,
        energy_cpu_j=found.cpu_energy * J_PER_KWH,
        energy_memory_j=found.ram_energy * J_PER_KWH,
        notes=notes,
    )


def _indices(uuids: list[str]) -> list[int]:
    """NVML's numbers of boards. An empty list would mean all of them, so that no GPU is one that is not there."""
    if not uuids:
        return [-1]
    import pynvml

    pynvml.nvmlInit()
    return [int(pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(uuid))) for uuid in uuids]


def _say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Track, and say why not where it cannot be done."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        track(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - whatever a stranger raises becomes words
        _say("failed", message=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
