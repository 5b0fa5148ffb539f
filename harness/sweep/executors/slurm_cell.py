"""What Slurm runs for one cell, on the node: a process of its own, in the run directory on the shared file system.

The run directory is the checkpoint. A job that is preempted or runs out of time interrupts its cell and is put back
into the queue; the next one measures exactly what is missing.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from harness.records import CellOutcome
from harness.sweep.cell.process import LOOK_S
from harness.sweep.cell.task import CellTask
from harness.sweep.executors.node_worker import boards, measured

FOR_THE_JOB = {signal.SIGUSR2, signal.SIGCONT}
"""Slurm sends these to all processes of a job, and they are meant for its first alone, where submitit takes them."""


class SlurmCell:
    """A cell as submitit takes it: called on the node, and asked for a checkpoint before the job has to go."""

    def __init__(self, task: CellTask, *, use_gpus: bool, has_neighbours: bool) -> None:
        """Note what is to be measured.

        Args:
            task: The cell. Its paths are the same on the node.
            use_gpus: Whether it gets the boards that Slurm gave the job; it sees none otherwise.
            has_neighbours: Whether other jobs may run on the node meanwhile.
        """
        self._task, self._use_gpus, self._has_neighbours = task, use_gpus, has_neighbours
        self._stopped: threading.Event | None = None
        self._outcome: Future[CellOutcome] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stopped": None, "_outcome": None}

    def __call__(self) -> CellOutcome:
        """Measure, and say how it went. Interrupted, the cell is ended in good order first.

        Raises:
            StorageFull: The log or the run file cannot be written.
        """
        own, others = boards() if self._use_gpus else ((), ())
        task = replace(self._task, gpus=own, neighbours=others if self._has_neighbours else ())
        self._stopped = threading.Event()
        # A process inherits which signals are held back from the thread that starts it; this thread takes them all.
        with ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, FOR_THE_JOB)) as one:
            self._outcome = one.submit(measured, task, self._stopped)
            while not self._outcome.done():
                try:
                    wait([self._outcome], LOOK_S)
                except KeyboardInterrupt:
                    self._stopped.set()
            return self._outcome.result()

    def checkpoint(self) -> Any:
        """End the cell in good order; what is left of it is to be submitted again."""
        from submitit.helpers import DelayedSubmission

        if self._stopped is not None and self._outcome is not None:
            self._stopped.set()
            wait([self._outcome])
        return DelayedSubmission(self)
