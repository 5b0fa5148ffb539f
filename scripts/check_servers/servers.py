"""Servers as processes: start one, find who listens, end one without a word."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Server:
    """One of those to check."""

    name: str
    command: str
    model: str

    @property
    def port(self) -> int:
        """As its command has it."""
        words = shlex.split(self.command)
        return int(words[words.index("--port") + 1])

    @property
    def root(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, log: Path, timeout_s: float = 240.0) -> Iterator[list[int]]:
        """Start it without the harness, and give its processes.

        Args:
            log: Where its words go.
            timeout_s: How long to wait for its health.
        """
        with log.open("w") as file:
            process = subprocess.Popen(
                shlex.split(self.command), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                until_s = time.monotonic() + timeout_s
                while not self.is_healthy():
                    if process.poll() is not None or time.monotonic() > until_s:
                        raise RuntimeError(f"{self.name} did not start; see {log}:\n{log.read_text()[-2000:]}")
                    time.sleep(0.5)
                yield tree(process.pid)
            finally:
                end(tree(process.pid), signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    end(tree(process.pid), signal.SIGKILL)
                    process.wait()

    def is_healthy(self) -> bool:
        """Whether it says so."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (http.client.HTTPException, OSError):
            return False

    def listening(self) -> list[int]:
        """Who listens on its port, with their children."""
        pids = {
            connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == self.port
            if connection.pid
        }
        return sorted({pid for parent in pids for pid in tree(parent)})


def tree(pid: int) -> list[int]:
    """A process and all of its children."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return []


def end(pids: list[int], number: signal.Signals) -> None:
    """Send them all a signal; who is gone is gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
