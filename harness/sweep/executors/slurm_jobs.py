"""The executor for Slurm, by way of submitit, for sites where no daemons may run.

Cells are submitted as job arrays. The sweep's directory is on a file system that the nodes share, and cells write into
it where they run. Jobs outlive the driver: the next driver finds those that still wait or run, and takes them over.
"""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from harness.errors import EnvironmentFault, UsageError
from harness.records import SCHEMA_VERSION, CellOutcome, PlannedCell, Record
from harness.store.run_directory import append_lines, read_lines
from harness.sweep.cell.task import PROGRAM, CellTask
from harness.sweep.directory import LOGS, SweepDirectory
from harness.sweep.executors.slurm_cell import SlurmCell

JOBS = "jobs.jsonl"
QUEUED_MOST = 500
"""Jobs of a sweep at a time; many sites take 1,000 of a user."""
TIME_MIN = 24 * 60
"""Of a job whose cell has no time limit."""
SPARE_MIN = 15
"""More than the cell's own limit: to start, to end, and to cool down."""
GPU_OPTIONS = {"gres", "gpus", "gpus_per_task", "gpus-per-task", "gpus_per_node", "gpus-per-node"}
"""With one of these the user says what a job gets."""
LOOK_S, LOCAL_LOOK_S = 2.0, 0.2
PREEMPTED_MOST_S = 900.0
"""A job that was preempted and is to run again is back in the queue within this."""

Status = Literal["finished", "failed", "timed_out", "lost", "interrupted"]


class SubmittedJob(Record):
    """A line of `jobs.jsonl`: which job of Slurm's is which attempt."""

    schema_version: int = SCHEMA_VERSION
    key: str
    attempt: int
    job_id: str


def require_submitit() -> Any:
    """Submitit, where it is installed.

    Raises:
        EnvironmentFault: It is not.
    """
    if importlib.util.find_spec("submitit") is None:
        raise EnvironmentFault(
            "--executor slurm: submitit is not installed.", "pip install 'inference-energy-harness[slurm]'"
        )
    import submitit

    return submitit


class SlurmExecutor:
    """Implements `Executor` with Slurm jobs, or with submitit's stand-in for them on this machine."""

    def __init__(
        self,
        directory: SweepDirectory,
        *,
        parameters: Mapping[str, str] | None = None,
        use_gpus: bool = True,
        pack_nodes: bool = False,
        cluster: str = "slurm",
        working_dir: Path | None = None,
        time_limit_s: float | None = None,
        cooldown_c: float | None = None,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """Prepare; nothing is submitted yet.

        Args:
            directory: Where results go; the nodes see it under the same path.
            parameters: Of the jobs, as sbatch has them (`partition`, `account`, `mem`), and of submitit.
            use_gpus: Whether each job asks for one GPU.
            pack_nodes: Whether other jobs may share its node.
            cluster: `slurm`, or `local` for processes of this machine, one at a time.
            working_dir: Where relative paths of run files begin; None: here.
            time_limit_s: Of one cell's process; the job's is a little longer.
            cooldown_c: To how many degrees a board is let cool down before each of its cells.
            program: What is started as `harness`.

        Raises:
            EnvironmentFault: No submitit, or no Slurm on this machine.
            UsageError: A parameter that neither submitit nor sbatch can take.
        """
        self._submitit = require_submitit()
        self._directory, self._cluster = directory, cluster
        self._use_gpus, self._pack = use_gpus, pack_nodes
        self._working_dir = Path.cwd() if working_dir is None else working_dir
        self._time_limit_s, self._cooldown_c, self._program = time_limit_s, cooldown_c, program
        self._folder = directory.path / LOGS / "submitit"
        try:
            self._executor = self._submitit.AutoExecutor(folder=self._folder / "%j", cluster=cluster)
        except RuntimeError as error:
            raise EnvironmentFault(
                "--executor slurm: there is no Slurm on this machine (no `srun`).",
                "Start the sweep on a login node, or write its scripts: harness sweep FILE.yaml --emit slurm",
            ) from error
        self._set(parameters or {})
        self._collected: list[tuple[PlannedCell, int]] = []
        self._jobs: dict[Any, tuple[PlannedCell, int, float]] = {}
        self._preempted_s: dict[Any, float] = {}
        self._stopping = False
        self._earlier = {job.key: job for job in read_lines(self._folder / JOBS, SubmittedJob)}

    @property
    def n_free(self) -> int:
        """How many more may be queued."""
        return (1 if self._cluster == "local" else QUEUED_MOST) - len(self.running())

    def submit(self, cell: PlannedCell, attempt: int) -> None:
        """Put a cell into the next array, unless a job of an earlier driver still has it."""
        earlier = self._earlier.pop(cell.key, None)
        if earlier is not None and self._cluster == "slurm":
            job = self._submitit.SlurmJob(folder=self._folder / "%j", job_id=earlier.job_id)
            if not job.done(force_check=True):
                self._jobs[job] = (cell, attempt, time.time())
                return
        self._collected.append((cell, attempt))

    def take(self, timeout_s: float) -> tuple[CellOutcome, ...]:
        """What has ended since the last call.

        Raises:
            EnvironmentFault: Slurm refuses the jobs.
        """
        self._flush()
        until_s = time.monotonic() + timeout_s
        while True:
            ended = [job for job in self._jobs if self._is_over(job)]
            outcomes = tuple(self._outcome(job, *self._jobs.pop(job)) for job in ended)
            left_s = until_s - time.monotonic()
            if outcomes or not self._jobs or left_s <= 0:
                return outcomes
            time.sleep(min(LOCAL_LOOK_S if self._cluster == "local" else LOOK_S, left_s))

    def running(self) -> tuple[PlannedCell, ...]:
        """What is queued or runs, and has not been taken."""
        return (*(cell for cell, _ in self._collected), *(cell for cell, _, _ in self._jobs.values()))

    def stop(self) -> None:
        """Take back what waits, interrupt what runs. `take` tells how each ended."""
        self._stopping = True
        self._collected.clear()
        for job in self._jobs:
            if self._cluster == "slurm" and job.state.upper() == "RUNNING":
                subprocess.run(["scancel", "--signal=INT", job.job_id], check=False)
            else:
                job.cancel(check=False)

    def close(self) -> None:
        """Take back what still waits or runs."""
        for job in self._jobs:
            with suppress(OSError, subprocess.SubprocessError):
                job.cancel(check=False)
        while self._cluster == "local" and not all(job.done() for job in self._jobs):
            time.sleep(LOCAL_LOOK_S)
        self._jobs.clear()

    # ------------------------------------------------------------------------------------ parts

    def _set(self, parameters: Mapping[str, str]) -> None:
        limit_s = self._time_limit_s
        time_min = TIME_MIN if limit_s is None else int(limit_s / 60) + SPARE_MIN
        known = set(self._submitit.SlurmExecutor._valid_parameters())
        generic = set(self._submitit.AutoExecutor._valid_parameters())
        values: dict[str, Any] = {"name": "harness", "timeout_min": time_min, "gpus_per_node": int(self._use_gpus)}
        values |= {"gpus_per_node": None} if not self._use_gpus or GPU_OPTIONS & {*parameters} else {}
        values |= {} if self._pack else {"slurm_exclusive": True}
        others: dict[str, Any] = {}
        for key, text in parameters.items():
            name = key.replace("-", "_")
            value = minutes_of(text) if name == "time" else _value(text)
            if name in generic:
                values[name] = value
            elif name in known:
                values[f"slurm_{name}"] = value
            else:
                others[key.replace("_", "-")] = value
        if others:
            values["slurm_additional_parameters"] = others
        try:
            self._executor.update_parameters(**values)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            said = " ".join(f"{key}={value}" for key, value in parameters.items())
            raise UsageError(f"--slurm {said}: {error}", "Write --slurm KEY=VALUE as sbatch has it.") from error

    def _flush(self) -> None:
        """Submit what has been collected: as one array, where it is several."""
        if not self._collected:
            return
        cells = [self._cell(cell, attempt) for cell, attempt in self._collected]
        try:
            jobs = self._executor.submit_array(cells)
        except (OSError, RuntimeError, subprocess.SubprocessError, self._failed_job) as error:
            raise EnvironmentFault(
                f"Slurm refused the jobs: {str(error).strip().splitlines()[-1]}",
                "Set what this site asks for: --slurm partition=... --slurm account=...",
            ) from error
        for job, (cell, attempt) in zip(jobs, self._collected, strict=True):
            self._jobs[job] = (cell, attempt, time.time())
            submitted = SubmittedJob(key=cell.key, attempt=attempt, job_id=job.job_id)
            append_lines(self._folder / JOBS, submitted)
        self._collected.clear()

    @property
    def _failed_job(self) -> type[Exception]:
        failed: type[Exception] = self._submitit.core.utils.FailedJobError
        return failed

    def _cell(self, cell: PlannedCell, attempt: int) -> SlurmCell:
        task = CellTask(
            cell=cell,
            attempt=attempt,
            run_path=self._directory.run_path(cell),
            log_path=self._directory.log(cell, attempt),
            working_dir=self._working_dir,
            time_limit_s=self._time_limit_s,
            cooldown_c=self._cooldown_c,
            program=self._program,
        )
        return SlurmCell(task, use_gpus=self._use_gpus, has_neighbours=self._pack)

    def _is_over(self, job: Any) -> bool:
        if job.done():
            return True
        if job.state.upper() != "PREEMPTED":
            self._preempted_s.pop(job, None)
            return False
        since_s = self._preempted_s.setdefault(job, time.monotonic())
        return time.monotonic() - since_s > PREEMPTED_MOST_S

    def _outcome(self, job: Any, cell: PlannedCell, attempt: int, submitted_unix_s: float) -> CellOutcome:
        state, utils = job.state.upper(), self._submitit.core.utils
        try:
            outcome = job.result() if state != "PREEMPTED" else None
        except utils.FailedJobError as error:
            said = next((line for line in reversed(str(error).splitlines()) if "Error" in line or ": " in line), "")
            status, words, may_pass = "failed", f"The job failed on its node: {said.strip()}", False
        except utils.UncompletedJobError:
            status, words, may_pass = ending_of_state(state)
        else:
            if isinstance(outcome, CellOutcome):
                return outcome.model_copy(update={"attempt": attempt})
            status, words, may_pass = ending_of_state(state)
        if self._stopping:
            status, words, may_pass = "interrupted", "It was taken back with the sweep.", True
        return CellOutcome(
            key=cell.key,
            attempt=attempt,
            status=status,
            error=words,
            next_step=f"See what the job wrote: {job.paths.folder}",
            may_pass=may_pass,
            started_unix_s=submitted_unix_s,
            duration_s=time.time() - submitted_unix_s,
        )


def ending_of_state(state: str) -> tuple[Status, str, bool]:
    """What becomes of a job that left no result: status, words, and whether another attempt may go better.

    Args:
        state: As sacct has it, perhaps with more words after it (`CANCELLED by 1000`).
    """
    known: dict[str, tuple[Status, str, bool]] = {
        "NODE_FAIL": ("lost", "Its node failed.", True),
        "BOOT_FAIL": ("lost", "Its node could not be started.", True),
        "PREEMPTED": ("lost", "It was preempted, and not put back into the queue.", True),
        "TIMEOUT": ("timed_out", "The job's time was over before the cell's.", False),
        "DEADLINE": ("timed_out", "The job could not be done before its deadline.", False),
        "OUT_OF_MEMORY": ("failed", "The job used more of the machine's memory than it had asked for.", False),
        "CANCELLED": ("interrupted", "The job was cancelled.", False),
        "REVOKED": ("interrupted", "The job was cancelled.", False),
    }
    name = state.split()[0].rstrip("+") if state.split() else "UNKNOWN"
    return known.get(name, ("lost", f"The job is gone without a result (state {name}).", True))


def _value(text: str) -> str | int | bool:
    if text.lower() in ("", "true", "false"):  # nothing: a flag without a value
        return text.lower() != "false"
    return int(text) if text.isdecimal() else text


def minutes_of(text: str) -> int:
    """Of a time as sbatch takes it: MINUTES[:SECONDS], HOURS:MINUTES:SECONDS, DAYS-HOURS[:MINUTES[:SECONDS]].

    Raises:
        UsageError: Another form.
    """
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in (*parts, *([days] if dash else []))) or len(parts) > 3:
        raise UsageError(f"--slurm time={text} is no time.", "Write minutes, 12:00:00 or 1-12:00:00.")
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    else:
        hours, minutes, seconds = (0, *numbers, 0)[:3] if len(numbers) < 3 else numbers
    return ((int(days) if dash else 0) * 24 + hours) * 60 + minutes + (seconds > 0)
