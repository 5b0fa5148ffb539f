"""Another program's number beside ours, over the same stretch of time: codecarbon, in a process of its own.

    tracker = CodecarbonTracker(uuids)
    tracker.start()          # returns once it measures
    ...
    other = tracker.stop()   # what it says, in joules, and from when to when

What fails there is said in words and never stops a measurement of ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import EnvironmentFault
from harness.meter import child

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEnergies:
    """What the other program measured. Energies in joules; None: it was not asked, or failed.

    Times are CLOCK_MONOTONIC seconds; None: it measured nothing.
    """

    tool: str
    version: str
    time_start_monotonic_s: float | None
    time_end_monotonic_s: float | None
    energy_gpu_j: float | None
    energy_cpu_j: float | None
    energy_memory_j: float | None
    notes: tuple[str, ...]


class CodecarbonTracker:
    """codecarbon's `OfflineEmissionsTracker` over exactly the boards that are metered."""

    def __init__(self, uuids: Sequence[str]) -> None:
        """Prepare; nothing is started.

        Args:
            uuids: NVML UUIDs of the metered boards; none: only the host.

        Raises:
            EnvironmentFault: codecarbon is not installed.
        """
        require_codecarbon()
        self._uuids = list(uuids)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._unread = b""
        self._ended: OtherEnergies | None = None

    def start(self) -> None:
        """Begin, and return once it measures or has failed; its first start takes seconds."""
        # It would obey a configuration file in its working directory, and anybody may put one into a shared one.
        self._directory = tempfile.TemporaryDirectory(prefix="codecarbon-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            child.command("harness.meter.beside.codecarbon_child", json.dumps(self._uuids)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # so that what `select` sees is all there is
            env=child.environment(),
            cwd=self._directory.name,
            start_new_session=True,
        )
        event = self._next(START_TIMEOUT_S)
        if event.get("event") != "started":
            self._ended = _failed(event)
            self._close()

    def stop(self) -> OtherEnergies:
        """End it, and say what it measured. A second call says the same."""
        if self._ended is None:
            if self._process is None or self._process.stdin is None:
                return _failed({"message": "it was never started"})
            # A forked child of ours holds this pipe too, so that closing it need not be seen; a line is.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"\n")
            self._process.stdin.close()
            event = self._next(STOP_TIMEOUT_S)
            if event.get("event") == "stopped":
                del event["event"]
                self._ended = OtherEnergies(tool="codecarbon", **{**event, "notes": tuple(event["notes"])})
            else:
                self._ended = _failed(event)
            self._close()
        return self._ended

    def _next(self, timeout_s: float) -> dict[str, Any]:
        """The next line that is an event; anything else a library may print."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._unread:
                line, self._unread = self._unread.split(b"\n", 1)
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        return event
            left_s = max(0.0, deadline_s - time.monotonic())
            readable, _, _ = select.select([self._process.stdout], [], [], left_s)
            if not readable:
                return {"message": f"it did not answer within {timeout_s:g} s"}
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                return {"message": "its process ended"}
            self._unread += read

    def _close(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._directory is not None:
            self._directory.cleanup()


def require_codecarbon() -> None:
    """Refuse early what could only fail at the end.

    Raises:
        EnvironmentFault: codecarbon is not installed.
    """
    if importlib.util.find_spec("codecarbon") is None:
        raise EnvironmentFault(
            "--cross-check codecarbon: codecarbon is not installed.",
            "pip install 'inference-energy-harness[estimate]', or leave the flag out.",
        )


def _failed(event: dict[str, Any]) -> OtherEnergies:
    return OtherEnergies(
        tool="codecarbon",
        version="unknown",
        time_start_monotonic_s=None,
        time_end_monotonic_s=None,
        energy_gpu_j=None,
        energy_cpu_j=None,
        energy_memory_j=None,
        notes=(f"it measured nothing: {event.get('message', event)}",),
    )
