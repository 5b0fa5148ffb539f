"""One cell in a fresh process: what it is given, how long it may take, how it is ended, how it ended.

    python -m harness run RUNFILE.yaml --run-dir DIR --only-repeat R

A model that runs out of memory, crashes or hangs harms no other cell. The process dies with the thread that started it
(`leash`); what it leaves behind is ended before its outcome is told, so that the next cell has the board to itself.
Every executor uses this, on the node where the GPU is.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from harness.environment.nvml import Nvml, open_nvml
from harness.errors import HarnessError
from harness.records import CellOutcome
from harness.store.run_directory import writing
from harness.sweep.cell.ending import Ending, ending_of
from harness.sweep.cell.measured import measured_of
from harness.sweep.cell.task import MARK, CellTask, command_of, environment_of
from harness.sweep.directory import write_run_file

GRACE_S = {signal.SIGINT: 45.0, signal.SIGTERM: 15.0}
"""After being asked: the last queries' energies become final within seconds, and then a server may have to end."""
LEFT_S = 30.0
"""What a process that is gone has started ends by itself within this."""
KILLED_S = 10.0
"""A process that was killed is gone within this, unless the kernel holds it."""
LOOK_S = 0.2
COOL_LOOK_S = 2.0
COOL_MOST_S = 1800.0


def run_cell(task: CellTask) -> CellOutcome:
    """Measure a cell and return how it went. An interruption is passed on to the cell.

    Raises:
        StorageFull: The log or the run file cannot be written.
        KeyboardInterrupt: After the cell has ended.
    """
    process = CellProcess(task)
    try:
        process.start()
        while (outcome := process.poll()) is None:
            time.sleep(LOOK_S)
    except BaseException:
        process.stop()
        raise
    return outcome


class CellProcess:
    """An attempt at one cell: cooling, running, ending. It never blocks for longer than ending takes."""

    def __init__(self, task: CellTask) -> None:
        self.task = task
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._started_unix_s = time.time()
        self._started_s = time.monotonic()
        self._launched_s = self._started_s
        self._ended_s: float | None = None
        self._looked_s = 0.0
        self._why: Literal["timed_out", "interrupted"] | None = None
        self._asked: list[signal.Signals] = []
        self._asked_s = 0.0

    def start(self) -> None:
        """Begin it, or begin to wait until its boards are cool.

        Raises:
            StorageFull: The log or the run file cannot be written.
        """
        self._started_unix_s, self._started_s = time.time(), time.monotonic()
        if self.task.cooldown_c is None or not self.task.gpus or self._too_hot() is None:
            self._launch()

    def poll(self) -> CellOutcome | None:
        """How it went; None: it is not over. Cools, hurries and ends it as time passes.

        Raises:
            StorageFull: It was cool at last, and its log or run file cannot be written.
        """
        if self._process is None:
            return self._cooling()
        exit_code = self._process.poll()
        if exit_code is None:
            self._hurry()
            return None
        if self._ended_s is None:
            self._ended_s = time.monotonic()
            _signal_group(self._process.pid, signal.SIGKILL)
        left, since_s = left_of(self._mark), time.monotonic() - self._ended_s
        if left and since_s < LEFT_S:
            return None
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if left and since_s < LEFT_S + KILLED_S:
            return None
        return self._outcome(exit_code)

    def interrupt(self) -> None:
        """Ask it to end so that it can be resumed; `poll` insists when it does not."""
        if self._why is None:
            self._end("interrupted")

    def stop(self) -> CellOutcome:
        """End it and return when nothing of it is left; a second interruption meanwhile kills it at once."""
        self.interrupt()
        try:
            while (outcome := self.poll()) is None:
                time.sleep(LOOK_S)
        except BaseException:
            self.kill()
            raise
        return outcome

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()

    # ------------------------------------------------------------------------------------ parts

    def _launch(self) -> None:
        task = self.task
        run_file = write_run_file(task.cell, task.log_path.parent)
        command = [
            sys.executable,
            "-P",
            "-m",
            "harness.sweep.cell.leash",
            str(os.getpid()),
            *command_of(task, run_file),
        ]
        self._launched_s = time.monotonic()
        with writing(task.log_path), task.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=task.working_dir,
                env=environment_of(task, os.environ, self._mark),
                start_new_session=True,  # Ctrl-C is for the driver, which then ends the cell in good order
            )

    def _cooling(self) -> CellOutcome | None:
        """Launch it once its boards are cool; tell where they do not become so, or where nobody waits any more."""
        if self._why is not None:
            return self._told(Ending(status="interrupted", error="It had not begun.", may_pass=True), None)
        now_s = time.monotonic()
        if now_s - self._looked_s < COOL_LOOK_S:
            return None
        self._looked_s = now_s
        temperature_c = self._too_hot()
        if temperature_c is None:
            self._launch()
            return None
        if now_s - self._started_s < COOL_MOST_S:
            return None
        error = (
            f"The board is still at {temperature_c:.0f} °C after {COOL_MOST_S / 60:.0f} min, "
            f"and is to be at {self.task.cooldown_c:g} °C."
        )
        return self._told(Ending(status="failed", error=error, next_step="Raise cooldown_c, or leave it out."), None)

    def _too_hot(self) -> float | None:
        """Degrees of the hottest board above what is wanted; None: cool enough, or nobody knows."""
        nvml = open_nvml()
        states = nvml.states() if isinstance(nvml, Nvml) else {}
        known = [
            state.temperature_c
            for gpu, state in states.items()
            if gpu in (self.task.gpus or ()) and state.temperature_c is not None
        ]
        limit_c = self.task.cooldown_c
        return max(known) if known and limit_c is not None and max(known) > limit_c else None

    def _hurry(self) -> None:
        """Begin to end it when its time is over, and insist."""
        assert self._process is not None
        limit_s = self.task.time_limit_s
        if self._why is None:
            if limit_s is not None and time.monotonic() - self._launched_s > limit_s:
                self._end("timed_out")
            return
        last = self._asked[-1]
        if last in GRACE_S and time.monotonic() - self._asked_s > GRACE_S[last]:
            self._ask(signal.SIGTERM if last is signal.SIGINT else signal.SIGKILL)

    def _end(self, why: Literal["timed_out", "interrupted"]) -> None:
        self._why = why
        if self._process is not None and self._process.poll() is None:
            self._ask(signal.SIGINT)

    def _ask(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._asked.append(number)
        self._asked_s = time.monotonic()
        if number is signal.SIGINT:  # it ends its own in good order
            with suppress(OSError):
                self._process.send_signal(number)
        else:
            _signal_group(self._process.pid, number)

    def _outcome(self, exit_code: int) -> CellOutcome:
        limit_s = self.task.time_limit_s
        if self._why == "timed_out" and exit_code != 0:
            words = f"It took longer than {limit_s:g} s, and was ended."
            step = "Raise time_limit_s; what it has measured is kept, and is not measured again."
            return self._told(Ending(status="failed", error=words, next_step=step), exit_code, status="timed_out")
        if self._why == "interrupted" and exit_code != 0:
            words, step = "It was interrupted with the sweep.", "Resume the sweep."
            return self._told(Ending(status="interrupted", error=words, next_step=step, may_pass=True), exit_code)
        return self._told(ending_of(exit_code, self.task.log_path, self.task.run_path), exit_code)

    def _told(self, ending: Ending, exit_code: int | None, status: Literal["timed_out"] | None = None) -> CellOutcome:
        task = self.task
        try:
            measured = measured_of(task.run_path, task.cell, task.gpus or ())
        except (HarnessError, OSError) as error:
            measured = None
            if ending.status == "finished":
                ending = Ending(
                    status="failed", error=str(error), next_step=getattr(error, "next_step", ""), may_pass=True
                )
        if ending.status == "finished" and measured is None:
            ending = Ending(
                status="failed",
                error="It ended well, and nothing was measured.",
                next_step=f"See its log: {task.log_path}",
            )
        ended_s = self._ended_s if self._ended_s is not None else time.monotonic()
        return CellOutcome(
            key=task.cell.key,
            attempt=task.attempt,
            status=status or ending.status,
            exit_code=exit_code,
            error=ending.error,
            next_step=ending.next_step,
            may_pass=ending.may_pass,
            node=task.node or platform.node(),
            gpu=",".join(task.gpus) if task.gpus else None,
            started_unix_s=self._started_unix_s,
            duration_s=ended_s - self._started_s,
            n_queries=measured.n_queries if measured else None,
            energy_j=measured.energy_j if measured else None,
            estimated=measured.estimated if measured else None,
        )


def left_of(mark: str) -> list[int]:
    """Processes that still run with this mark in their environment, whoever started them."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for pid in psutil.pids():
        try:
            with Path(f"/proc/{pid}/environ").open("rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue  # it has ended, or is another user's
    return [pid for pid in found if pid != os.getpid()]


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(OSError):  # nobody is left in it
        os.killpg(leader, number)
