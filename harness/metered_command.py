"""`harness meter`, behind its flags: meter whatever a command makes the boards draw.

The command comes first. It runs where there is no sensor, it keeps its streams, signals and exit status, and what
fails of ours once it runs is a line on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.clock import utc_now
from harness.command import NOT_FOUND, Ended, missing, signals_held, start, wait
from harness.errors import HarnessError, NoSensor, StorageFull
from harness.metering import BASELINE_S, Meter
from harness.records import CommandReport, Finding, FindingCode, MeterReading, Segment
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
            self._file.describe(self.meter.channels)
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
        troubles: list[str] = []
        if meter is not None and span is not None:
            with _told("The command's end was not noted", troubles):
                meter.end(span)
    # From here on a Ctrl-C is for us again: it ends our waiting.
    with _told("The report is not whole", troubles):
        reading = None
        if meter is not None and span is not None:
            if not isinstance(child, Ended):
                with _told("The energy was not read", troubles):
                    reading = meter.read(span)
            with _told("The meter did not end in good order", troubles):
                meter.close()
        if trace is not None:
            with _told("The trace is not whole", troubles):
                trace.close()
        if isinstance(child, Ended):
            return _not_started(wanted.command, child)
        if meter is not None and meter.sink_error is not None:
            troubles.append(f"The trace is cut short: {_words(meter.sink_error)}.")
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
            findings=_findings(meter, no_sensor, reading),
        )
        if wanted.json_path is not None:
            with _told("The JSON could not be written", troubles):
                wanted.json_path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _show(report, troubles)
        troubles.clear()
    _say(troubles)
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


@contextmanager
def _told(what: str, troubles: list[str]) -> Iterator[None]:
    """What fails of ours once the command has run is a line more, and its exit status stands."""
    try:
        yield
    except KeyboardInterrupt:
        troubles.append(f"{what}: interrupted.")
    except Exception as error:  # noqa: BLE001 - whatever it is, the command comes first
        troubles.append(f"{what}: {_words(error)}.")


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _say(troubles: Sequence[str]) -> None:
    """Where the report itself could not be shown."""
    with suppress(OSError, ValueError):
        for trouble in troubles:
            sys.stderr.write(f"harness: {trouble}\n")
        sys.stderr.flush()


def _findings(meter: Meter | None, no_sensor: Finding | None, reading: MeterReading | None) -> tuple[Finding, ...]:
    """What the reading does not say itself, such as what was found when the meter ended."""
    if meter is None:
        return () if no_sensor is None else (no_sensor,)
    told = () if reading is None else reading.findings
    return tuple(finding for finding in meter.findings if finding not in told)


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
