"""`harness meter`, behind its flags: meter whatever a command makes the boards draw.

The command comes first. It runs where there is no sensor, it keeps its streams, signals and exit status, and what
fails of ours once it runs is a line on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.clock import utc_now
from harness.command import NOT_FOUND, Ended, missing, signals_held, start, wait
from harness.errors import HarnessError, NoSensor, StorageFull
from harness.metering import BASELINE_S, Meter
from harness.records import CommandReport, Finding, FindingCode, Segment
from harness.store.trace import TraceFile, open_trace, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The flags of `harness meter`. `meter_gpus` None: the boards that CUDA shows."""

    command: tuple[str, ...]
    meter_gpus: str | None = None
    host: bool = False
    allow_estimate: bool = False
    baseline: bool = True
    require_sensor: bool = False
    json_path: Path | None = None
    trace_path: Path | None = None


class _Trace:
    """Takes the meter's raw readings to a file; the meter, which knows their channels, comes to exist after it."""

    def __init__(self, path: Path) -> None:
        self._file: TraceFile = open_trace(path)
        self.meter: Meter | None = None

    def __call__(self, segment: Segment) -> None:
        if self.meter is not None:
            self._file.write(list(rows(segment, self.meter.channels, self.meter.origin_monotonic_s)))

    def close(self) -> None:
        self._file.close()


def run_metered(wanted: Wanted) -> int:
    """Run the command, report on standard error, and return its exit status.

    Raises:
        NoSensor: A sensor was required and there is none.
        UnknownName: No such board.
        StorageFull: A file that was asked for cannot be written; the command was not started.
    """
    absent = missing(wanted.command)
    if absent is not None:
        return _not_started(wanted.command, absent)
    for path in (wanted.json_path, wanted.trace_path):
        if path is not None:
            _check_writable(path)
    with signals_held() as mask:
        trace = None if wanted.trace_path is None else _opened(wanted.trace_path)
        meter, no_sensor = _started_meter(wanted, trace)
        started_utc, started_s = utc_now(), time.monotonic()
        span = None if meter is None else meter.begin("command")
        child = start(wanted.command, mask)
        ended = child if isinstance(child, Ended) else wait(child)
        duration_s = time.monotonic() - started_s
        if meter is not None and span is not None:
            meter.end(span)
    # From here on a Ctrl-C is for us again.
    if isinstance(child, Ended):
        if meter is not None:
            meter.close()
        if trace is not None:
            trace.close()
        return _not_started(wanted.command, child)
    troubles: list[str] = []
    try:
        reading = meter.read(span) if meter is not None and span is not None else None
    finally:
        if meter is not None:
            meter.close()
        if trace is not None:
            troubles += _closed(trace)
    if meter is not None and meter.sink_error is not None:
        troubles.append(f"The trace is cut short: {meter.sink_error}.")
    report = CommandReport(
        harness_version=harness.__version__,
        command=wanted.command,
        started_utc=started_utc,
        duration_s=duration_s,
        exit_status=ended.status,
        signal=ended.signal,
        reading=reading,
        boards=() if meter is None else meter.boards,
        sensor_cards=() if meter is None else meter.cards,
        driver=None if meter is None else meter.driver,
        channels=() if meter is None else meter.channels,
        sampler=None if meter is None else meter.stats,
        findings=() if no_sensor is None else (no_sensor,),
    )
    if wanted.json_path is not None:
        troubles += _written(wanted.json_path, report)
    _show(report, troubles)
    return ended.status


def _started_meter(wanted: Wanted, trace: _Trace | None) -> tuple[Meter | None, Finding | None]:
    """A running meter, or why there is none."""
    meter = Meter(
        gpus=wanted.meter_gpus,
        host=wanted.host,
        allow_estimate=wanted.allow_estimate and not wanted.require_sensor,
        baseline_s=BASELINE_S if wanted.baseline else 0.0,
        sink=trace,
    )
    if trace is not None:
        trace.meter = meter
    try:
        meter.start()
    except HarnessError as error:
        if isinstance(error, NoSensor) and not wanted.require_sensor:
            return None, Finding(code=FindingCode.NO_SENSOR, detail=str(error))
        if trace is not None:
            trace.close()
        raise
    return meter, None


def _show(report: CommandReport, troubles: Sequence[str]) -> None:
    """The report; a reader who has gone changes nothing about the command."""
    from rich.console import Console

    from harness.report.command import show

    try:
        show(report, troubles, Console(stderr=True, highlight=False))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _not_started(command: Sequence[str], ended: Ended) -> int:
    if ended.signal is not None:
        sys.stderr.write(f"harness: {ended.signal} came before the command was started.\n")
        return ended.status
    reason = "was not found" if ended.status == NOT_FOUND else "cannot be executed"
    sys.stderr.write(f"harness: The command {command[0]!r} {reason}.\n  → Check its name, its path and its mode.\n")
    return ended.status


def _check_writable(path: Path) -> None:
    """Find out before the command runs, without leaving a file behind.

    Raises:
        StorageFull: The path is a directory, or cannot be written.
    """
    there = path if path.exists() else path.absolute().parent
    if path.is_dir() or not there.exists() or not os.access(there, os.W_OK):
        raise StorageFull(f"{path} cannot be written.", "Name a file in a directory that exists and is writable.")


def _opened(path: Path) -> _Trace:
    try:
        return _Trace(path)
    except OSError as error:
        raise StorageFull(f"{path} cannot be written: {error}.", "Name another file for the trace.") from error


def _closed(trace: _Trace) -> list[str]:
    try:
        trace.close()
    except OSError as error:
        return [f"The trace is not whole: {error}."]
    return []


def _written(path: Path, report: CommandReport) -> list[str]:
    try:
        path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        return [f"The JSON could not be written: {error}."]
    return []
