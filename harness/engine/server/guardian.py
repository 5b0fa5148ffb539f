"""The process between harness and a server that it started: keeps the server's log, and ends it in any case.

    python -m harness.engine.server.guardian < {"command": [...], "environ": {...}, "log": PATH, "secrets": [...],
                                                "duration_stop_s": 15.0}

It is told what to do in one line on its standard input. When that is closed, by harness or by harness's own end
however sudden, the server is ended, with all that it started. On standard output it says `{"pid": N}` or `{"refused":
WHY}`, and `{"ended": STATUS}` once the server's first process has ended. It must stay small: it lives beside what is
measured, and sleeps.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from harness.engine.server.redaction import Redaction

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOOK_S = 0.1
"""Between two looks at what is left of a server that is being ended."""
_DRAIN_S = 1.0
"""What the last process of a server wrote is there at once."""
_PIECE_BYTES = 1 << 16


class Guardian:
    """Runs one command until it ends, or until nobody wants it any more."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._redaction = Redaction(plan["secrets"])
        self._ended = False
        self._time_asked_s: float | None = None
        self._reader = self._writer = -1
        self._log = -1

    def run(self) -> None:
        """Return once nothing is left of the command."""
        wake_reader, wake_writer = os.pipe()
        for end in (wake_reader, wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._log = os.open(self._plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._reader, self._writer = os.pipe()
        prctl = _prctl()
        prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes our child
        try:
            child = subprocess.Popen(
                self._plan["command"],
                stdin=subprocess.DEVNULL,
                stdout=self._writer,
                stderr=self._writer,
                env=self._plan["environ"],
                start_new_session=True,
                preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # should this process be killed
            )
        except OSError as error:
            _tell({"refused": error.strerror or str(error)})
            return
        os.close(self._writer)
        _tell({"pid": child.pid})
        wanted = {0, wake_reader, self._reader}
        while not self._is_over(child):
            timeout_s = None if self._time_asked_s is None else _LOOK_S
            ready, _, _ = select.select(sorted(wanted), [], [], timeout_s)
            if 0 in ready and not os.read(0, _PIECE_BYTES):
                wanted.discard(0)
                self._ask_to_end()
            if wake_reader in ready:
                os.read(wake_reader, _PIECE_BYTES)
            if self._reader in ready and not self._keep():
                wanted.discard(self._reader)
        if self._reader in wanted:
            self._drain()
        os.write(self._log, self._redaction.clean(b"", last=True))

    def _signalled(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._ask_to_end()

    def _ask_to_end(self) -> None:
        """Ask all that is left of the server to end."""
        if self._time_asked_s is None:
            self._time_asked_s = time.monotonic()
            _send(signal.SIGTERM)

    def _is_over(self, child: subprocess.Popen[bytes]) -> bool:
        """Collect those that have ended, insist where they have not, and say whether none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # none is left
                return True
            if pid == 0:
                break
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                _tell({"ended": child.returncode})
                self._ask_to_end()  # without its first process the rest of a server is no server
        if self._time_asked_s is not None and time.monotonic() - self._time_asked_s > self._plan["duration_stop_s"]:
            _send(signal.SIGKILL)
        return False

    def _keep(self) -> bool:
        """Take over into the log what there is; False at the end."""
        piece = os.read(self._reader, _PIECE_BYTES)
        os.write(self._log, self._redaction.clean(piece))
        return bool(piece)

    def _drain(self) -> None:
        end_s = time.monotonic() + _DRAIN_S
        while select.select([self._reader], [], [], max(0.0, end_s - time.monotonic()))[0] and self._keep():
            pass


def _send(number: signal.Signals) -> None:
    """To all that descends from this process."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.send_signal(number)
        except psutil.Error:
            continue  # it has ended


def _prctl() -> Callable[[int, int], object]:
    """Linux's call; elsewhere nothing happens."""
    library = ctypes.CDLL(None, use_errno=True)

    def call(option: int, value: int) -> None:
        if sys.platform.startswith("linux"):
            library.prctl(option, ctypes.c_ulong(value), 0, 0, 0)

    return call


def _tell(event: dict[str, Any]) -> None:
    with suppress(OSError):  # nobody listens any more
        os.write(1, (json.dumps(event) + "\n").encode())


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Guardian(json.loads(os.fdopen(0, "rb", buffering=0, closefd=False).readline())).run()
