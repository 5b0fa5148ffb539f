"""The parent's side of the sampler process.

A thread of the parent only moves bytes from a pipe into memory, which holds the interpreter for microseconds; they
are looked at when the pipeline, between two queries, asks for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from harness.errors import NoSensor
from harness.meter import child
from harness.meter.sampler import ROW
from harness.records import Channel, Finding, FindingCode, SamplerStats, Segment, SensorCard

READY_TIMEOUT_S = 60.0
FIRST_READING_TIMEOUT_S = 10.0
SECOND_READING_TIMEOUT_S = 3.0
"""So long a device's other channel is waited for once one of them has answered."""
STOP_TIMEOUT_S = 10.0
PIPE_BYTES = 1 << 20
"""What the kernel keeps while the parent's interpreter is blocked: eight boards fill the usual 64 KiB in 2 s."""


class SamplerProcess:
    """Starts the sampler, collects its rows, and knows when it has stopped answering."""

    def __init__(
        self,
        *,
        nvml_uuids: tuple[str, ...] = (),
        cards: Mapping[str, SensorCard] | None = None,
        rapl: bool = False,
        estimate: bool = False,
    ) -> None:
        """What to sample; nothing is started yet.

        Args:
            nvml_uuids: Boards to poll.
            cards: What is known of their sensors, by UUID.
            rapl: Poll the host's packages and DRAM.
            estimate: Poll the hardware model, because nothing can be measured.
        """
        known = {uuid: card.model_dump(mode="json") for uuid, card in (cards or {}).items() if uuid in nvml_uuids}
        self._request = {"nvml": list(nvml_uuids), "cards": known, "rapl": rapl, "estimate": estimate}
        self._process: subprocess.Popen[bytes] | None = None
        self._channels: tuple[Channel, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._origin_s = 0.0
        self._chunks: list[bytes] = []
        self._remainder = b""
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._silent = threading.Event()
        self._events: list[dict[str, Any]] = []
        self._threads: list[threading.Thread] = []

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded; known once started."""
        return self._channels

    def start(self, origin_monotonic_s: float) -> None:
        """Begin; return once every channel that makes energy has given a reading.

        A device that has a second such channel can do without the first: a counter that stands still is no reason
        not to start where there is power.

        Raises:
            NoSensor: A sensor was refused or gave no reading.
        """
        self._origin_s = origin_monotonic_s
        self._process = subprocess.Popen(
            child.command("harness.meter.sampler", json.dumps({**self._request, "parent": os.getpid()})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child.environment(),
            start_new_session=True,  # Ctrl-C is for the parent, which then stops the sampler in good order
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        _widen(self._process.stdout)
        for target, pipe in ((self._collect, self._process.stdout), (self._listen, self._process.stderr)):
            thread = threading.Thread(target=target, args=(pipe,), daemon=True)
            thread.start()
            self._threads.append(thread)
        if not self._ready.wait(READY_TIMEOUT_S) or not self._channels:
            self.stop()
            refused = next((event for event in self._events if event["event"] == "refused"), None)
            if refused:
                raise NoSensor(refused["message"], refused["next_step"])
            raise NoSensor(
                f"The sampler process did not start: {self._last_words()}",
                "`harness doctor` shows what is missing.",
            )
        self._await_first_readings()

    def drain(self) -> Segment:
        """Rows since the last call, on the session clock."""
        with self._lock:
            chunks, self._chunks = self._chunks, []
        raw = self._remainder + b"".join(chunks)
        whole = len(raw) - len(raw) % ROW.itemsize
        rows, self._remainder = np.frombuffer(raw[:whole], dtype=ROW), raw[whole:]
        return Segment(
            channel=rows["channel"].astype(np.int64),
            time_before_s=rows["time_before_s"] - self._origin_s,
            time_after_s=rows["time_after_s"] - self._origin_s,
            value=rows["value"].astype(np.float64),
        )

    def notes(self) -> tuple[Finding, ...]:
        """What the sensors found out while opening."""
        return tuple(Finding(code=FindingCode.LIBRARY_WARNING, detail=note) for note in self._notes)

    def lost(self) -> tuple[Finding, ...]:
        """Empty while every sensor answers; otherwise why not."""
        findings = [
            Finding(code=FindingCode.SENSOR_LOST, detail=event["message"])
            for event in self._events
            if event["event"] == "lost"
        ]
        stopped = any(event["event"] == "stats" for event in self._events)
        ended = self._silent.is_set() or (self._process is not None and self._process.poll() is not None)
        if not findings and not stopped and ended:
            findings.append(Finding(code=FindingCode.SENSOR_LOST, detail="the sampler process ended"))
        return tuple(findings)

    def stop(self) -> SamplerStats | None:
        """End the process; what it has written can still be drained."""
        if self._process is None:
            return None
        if self._process.stdin is not None and not self._process.stdin.closed:
            # A forked child of ours holds this pipe too, so that closing it need not be seen; a byte is.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        stats = next((event for event in self._events if event["event"] == "stats"), None)
        return SamplerStats(**{key: stats[key] for key in SamplerStats.model_fields if key in stats}) if stats else None

    def _await_first_readings(self) -> None:
        """An energy curve begins at its first reading, and nothing may be measured before."""
        wanted = {index: channel.device for index, channel in enumerate(self._channels) if channel.makes_energy}
        started_s = time.monotonic()
        while (waited_s := time.monotonic() - started_s) < FIRST_READING_TIMEOUT_S and not self.lost():
            with self._lock:
                raw = b"".join(self._chunks)
            rows = np.frombuffer(raw[: len(raw) - len(raw) % ROW.itemsize], dtype=ROW)
            seen = set(rows["channel"].tolist()) & set(wanted)
            complete = seen == set(wanted)
            enough = waited_s > SECOND_READING_TIMEOUT_S and {wanted[index] for index in seen} == set(wanted.values())
            if complete or enough:
                return
            time.sleep(0.02)
        silent = self.lost()[0].detail if self.lost() else "a sensor gave no reading"
        self.stop()
        raise NoSensor(f"The sensors were opened, but {silent}.", "`harness doctor` shows what each one answers.")

    def _collect(self, pipe: IO[bytes]) -> None:
        while chunk := os.read(pipe.fileno(), 65536):
            with self._lock:
                self._chunks.append(chunk)

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            event = _event(line)
            if event["event"] == "ready":
                self._channels = tuple(Channel.model_validate(channel) for channel in event["channels"])
                self._notes = tuple(event["notes"])
            self._events.append(event)
            if event["event"] in ("ready", "refused"):
                self._ready.set()
        self._silent.set()
        self._ready.set()
        # It has closed its mouth, so it is about to end: collected here, it is no zombie even if nobody calls `stop`.
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)

    def _last_words(self) -> str:
        words = [event["message"] for event in self._events if event["event"] == "words"]
        return words[-1] if words else "it said nothing"


def _event(line: bytes) -> dict[str, Any]:
    """What the sampler says; anything else is a library's or the interpreter's own words."""
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            return event
    return {"event": "words", "message": line.decode(errors="replace").strip()}


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, where the system can and the user may."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
