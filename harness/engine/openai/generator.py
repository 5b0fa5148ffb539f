"""The parent's side of the load generator: it starts the process, sends it blocks and collects what it reports.

A thread only moves bytes from a pipe into memory; they are looked at when somebody asks for events.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import harness
from harness.errors import EnvironmentFault

MODULE = "harness.engine.openai.child"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
PIPE_BYTES = 1 << 20


class LoadGenerator:
    """One child process that sends queries to one target at a time."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._pieces: list[bytes] = []
        self._rest = b""
        self._changed = threading.Condition()
        self._silent = False
        self._words: deque[str] = deque(maxlen=5)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the process; return once it can send.

        Raises:
            EnvironmentFault: It does not start, or a package is missing.
        """
        self._process = subprocess.Popen(
            # -P: a `json.py` in the working directory must not be imported in place of Python's own.
            [sys.executable, "-P", "-m", MODULE, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the parent, which then stops the load in good order
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        _widen(self._process.stdout)
        for target, pipe in ((self._collect, self._process.stdout), (self._listen, self._process.stderr)):
            thread = threading.Thread(target=target, args=(pipe,), daemon=True)
            thread.start()
            self._threads.append(thread)
        first = next(iter(self.events(READY_TIMEOUT_S)), {"event": "silent"})
        if first["event"] != "ready":
            self.close()
            message = first.get("message", f"The load generator did not start: {self.last_words()}")
            raise EnvironmentFault(message, first.get("next_step", "Run the command again; report it if it recurs."))

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over a target, a block, or `stop`.

        Raises:
            EnvironmentFault: The process has ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self.ended() from error

    def events(self, timeout_s: float) -> list[dict[str, Any]]:
        """What it has reported since the last call, in order; as soon as there is something, or after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._changed:
                pieces, self._pieces = self._pieces, []
                silent = self._silent
            lines = (self._rest + b"".join(pieces)).split(b"\n")
            self._rest = lines.pop()
            if lines or silent or (left_s := deadline_s - time.monotonic()) <= 0:
                return [json.loads(line) for line in lines]
            with self._changed:
                if not self._pieces and not self._silent:
                    self._changed.wait(left_s)

    @property
    def alive(self) -> bool:
        """Whether more can come."""
        return self._process is not None and not self._silent

    def ended(self) -> EnvironmentFault:
        """The error that its end is."""
        return EnvironmentFault(
            f"The load generator process ended: {self.last_words()}", "Run again; report it if it recurs."
        )

    def last_words(self) -> str:
        """What it last wrote to its standard error."""
        return self._words[-1] if self._words else "it said nothing"

    def close(self) -> None:
        """End the process, and with it whatever is open."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def _collect(self, pipe: IO[bytes]) -> None:
        while piece := os.read(pipe.fileno(), 1 << 18):
            with self._changed:
                self._pieces.append(piece)
                self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            if words := line.decode(errors="replace").strip():
                self._words.append(words)


def _environment() -> dict[str, str]:
    """This process's, in which the package is also found if it was imported from a checkout that is not installed."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    search_path = os.pathsep.join([str(Path(harness.__file__).parents[1]), *filter(None, named)])
    return {**os.environ, "PYTHONPATH": search_path}


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, where the system can and the user may."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
