"""A server that is started for a measurement, with a log, and that ends with it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

import harness
from harness.engine.server.argv import assignments, refuse_secrets
from harness.environment.secrets import secret_values
from harness.errors import EnvironmentFault, UsageError

STOP_S = 15.0
"""From the request to end to the order. A server that frees boards takes some seconds."""
_START_S = 60.0
"""For a small Python program to start, on a machine however busy."""
_TAIL_BYTES = 1 << 16
_LINE_CHARACTERS = 300


class ServerProcess:
    """One command, in a session of its own, under a guardian that ends it even if this process is killed."""

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        *,
        environ: Mapping[str, str] | None = None,
        duration_stop_s: float = STOP_S,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            command: Name and arguments; `NAME=VALUE` in front sets a variable.
            log_path: Where what it writes is appended, without secrets.
            environ: Its environment; None: this process's.
            duration_stop_s: From the request to end to the order.

        Raises:
            UsageError: The command is empty, or holds a secret.
        """
        self._environ = dict(os.environ if environ is None else environ)
        refuse_secrets(command, self._environ)
        set_here, self._command = assignments(command)
        if not self._command:
            raise UsageError("--serve names no command.", "Write --serve 'vllm serve MODEL --port 8000'.")
        self._secrets = secret_values({**self._environ, **set_here})
        self._environ |= set_here
        self.log_path = log_path.absolute()
        self._duration_stop_s = duration_stop_s
        self._guardian: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._pid: int | None = None
        self._status: int | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._pid is not None  # started
        return self._pid

    @property
    def status(self) -> int | None:
        """How its first process ended, negative by a signal; None: it runs, or nobody knows."""
        self._listen()
        return self._status

    def start(self) -> None:
        """Start it; it is not healthy yet.

        Raises:
            EnvironmentFault: There is no such program, or its log cannot be written.
        """
        self._open_log()
        self._guardian = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.engine.server.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": self._search_path()},
            start_new_session=True,  # Ctrl-C is for this process, which then ends the server in good order
        )
        plan = {
            "command": self._command,
            "environ": self._environ,
            "log": str(self.log_path),
            "secrets": self._secrets,
            "duration_stop_s": self._duration_stop_s,
        }
        assert self._guardian.stdin is not None
        with suppress(OSError):  # it has ended, and is about to be found out
            self._guardian.stdin.write((json.dumps(plan) + "\n").encode())
            self._guardian.stdin.flush()
        try:
            event = self._next_event(_START_S)
        except BaseException:
            self.stop()
            raise
        if event is None or "pid" not in event:
            words = self._guardian_words()
            self.stop()
            why = words if event is None else event.get("refused", words)
            raise EnvironmentFault(
                f"{self._command[0]} could not be started: {why}.",
                "Is it installed, and on the PATH of this shell? Its whole path can be given.",
            )
        self._pid = int(event["pid"])

    def alive(self) -> bool:
        """Whether its first process still runs."""
        self._listen()
        return self._guardian is not None and self._status is None and self._guardian.poll() is None

    def how_it_ended(self) -> str:
        """In words, for a message."""
        status = self.status
        if status is None:
            return "it runs" if self.alive() else "its guardian was killed"
        if status < 0:
            return f"killed by {_signal_name(-status)}"
        return f"exit status {status}"

    def log_text(self) -> str:
        """What it wrote, from the first 64 KiB to the last 64 KiB of this start."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(self._log_start)
                head = file.read(_TAIL_BYTES)
                end = file.seek(0, os.SEEK_END)
                rest = max(end - _TAIL_BYTES, self._log_start + len(head))
                file.seek(rest)
                tail = file.read()
        except OSError:
            return ""
        return (head + tail).decode(errors="replace")

    def last_lines(self, n: int = 12) -> list[str]:
        """The end of what it wrote. A line that was drawn over, as of a progress bar, is as it last was."""
        lines = [line.rstrip().rpartition("\r")[2] for line in self.log_text().split("\n")]
        return [line[:_LINE_CHARACTERS] for line in lines if line.strip()][-n:]

    def stop(self) -> None:
        """End it and all that it started, and return when nothing of it is left. May be called again."""
        guardian = self._guardian
        if guardian is None:
            return
        assert guardian.stdin is not None
        with suppress(OSError):
            guardian.stdin.close()  # which tells the guardian to end it
        try:
            guardian.wait(self._duration_stop_s + _START_S)
        except subprocess.TimeoutExpired:
            guardian.kill()
            guardian.wait()
        self._listen()
        if guardian.returncode != 0 and self._pid is not None:
            _end_session(self._pid)
        for pipe in (guardian.stdout, guardian.stderr):
            if pipe is not None:
                pipe.close()
        self._guardian = None

    def _open_log(self) -> None:
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("ab") as file:
                self._log_start = file.tell()
        except OSError as error:
            raise EnvironmentFault(
                f"The server's log {self.log_path} cannot be written: {error.strerror}.",
                "Give another --output-dir, or make this one writable.",
            ) from error

    def _search_path(self) -> str:
        """The guardian's; the server's is as it was."""
        named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        return os.pathsep.join([str(Path(harness.__file__).parents[1]), *filter(None, named)])

    def _next_event(self, timeout_s: float) -> dict[str, Any] | None:
        """What the guardian says next; None: it has ended, or says nothing."""
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            if not self._hear(max(0.0, end_s - time.monotonic())):
                return None
        line, _, self._heard = self._heard.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def _hear(self, timeout_s: float) -> bool:
        """Take what the guardian has said; False: nothing more came in time, or ever will."""
        assert self._guardian is not None
        assert self._guardian.stdout is not None
        descriptor = self._guardian.stdout.fileno()
        if not select.select([descriptor], [], [], timeout_s)[0]:
            return False
        piece = os.read(descriptor, 4096)
        self._heard += piece
        return bool(piece)

    def _listen(self) -> None:
        """Whether the guardian has said meanwhile that the server ended."""
        if self._guardian is None or self._guardian.stdout is None or self._guardian.stdout.closed:
            return
        while (event := self._next_event(0.0)) is not None:
            self._status = event.get("ended", self._status)

    def _guardian_words(self) -> str:
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        assert self._guardian.stderr is not None
        with suppress(OSError):
            self._guardian.stdin.close()
        words = self._guardian.stderr.read().decode(errors="replace").strip().splitlines()
        return words[-1] if words else "its guardian says nothing"


def _end_session(leader: int) -> None:
    """What is left of a server whose guardian was killed: its first process went with that, its children need not."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (OSError, psutil.Error):
            continue  # it has ended, or is another's


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
