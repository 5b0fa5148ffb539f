#!/usr/bin/env python3
"""Stands in for a Slurm of one node: `sbatch`, `srun`, `sacct`, `scancel` and `scontrol requeue`, by what it is called.

    FAKE_SLURM=DIRECTORY sbatch FILE

A job's directory is `DIRECTORY/<job>`: its script, its state, and the process that runs it. Jobs begin at once.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(os.environ["FAKE_SLURM"])


def sbatch(script: Path) -> None:
    number = str(100 + len(list(ROOT.glob("*.sbatch"))))
    text = script.read_text()
    (ROOT / f"{number}.sbatch").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)%\d+$", text, re.MULTILINE)
    for task in range(int(array[1]) + 1) if array else [None]:
        start(number if task is None else f"{number}_{task}")
    print(f"Submitted batch job {number}")


def start(job: str) -> None:
    number, _, task = job.partition("_")
    environ = {"SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "node1", "SLURM_NTASKS": "1"}
    environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "FAKE_JOB": job}
    environ |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task} if task else {}
    say(job, "RUNNING")
    command = [sys.executable, __file__, "run", str(ROOT / f"{number}.sbatch"), job]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environ},
        start_new_session=True,
    )
    (ROOT / f"{job}.pid").write_text(str(process.pid))


def run(script: str, job: str) -> None:
    """Beside the job, to tell how it ended. A job that was put back into the queue begins anew."""
    exit_code = subprocess.run(["bash", script], check=False).returncode
    if state(job) == "REQUEUED":
        start(job)
    elif state(job) == "RUNNING":
        say(job, "FAILED" if exit_code else "COMPLETED")


def srun(arguments: list[str]) -> None:
    """Becomes the step's process. submitit says `srun --unbuffered --output FILE --error FILE PYTHON ...`."""
    job = os.environ["FAKE_JOB"]
    (ROOT / f"{job}.step").write_text(str(os.getpid()))
    output = arguments[arguments.index("--output") + 1].replace("%A_%a", job).replace("%j", job)
    with Path(output).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    command = arguments[arguments.index("--error") + 2 :]
    os.execvp(command[0], command)


def sacct() -> None:
    print("JobID|State|NodeList")
    for path in ROOT.glob("*.state"):
        print(f"{path.stem}|{path.read_text()}|node1")


def scancel(arguments: list[str]) -> None:
    """A signal goes to all processes of the step, as from Slurm; without one the job is killed."""
    *flags, job = arguments
    wanted = next((flag.partition("=")[2] for flag in flags if flag.startswith("--signal=")), "KILL")
    if wanted == "KILL":
        say(job, "CANCELLED by 0")
    if not (ROOT / f"{job}.step").exists():
        return
    step = psutil.Process(int((ROOT / f"{job}.step").read_text()))
    for process in [*step.children(recursive=True), step]:
        with suppress(psutil.Error):
            process.send_signal(getattr(signal, f"SIG{wanted}"))


def say(job: str, words: str) -> None:
    (ROOT / f"{job}.state").write_text(words)


def state(job: str) -> str:
    return (ROOT / f"{job}.state").read_text()


def main() -> None:
    name, *arguments = sys.argv[1:]
    if name == "run":
        run(*arguments)
    elif name == "sbatch":
        sbatch(Path(arguments[0]))
    elif name == "srun":
        srun(arguments)
    elif name == "sacct":
        sacct()
    elif name == "scancel":
        scancel(arguments)
    elif name == "scontrol":
        say(arguments[1], "REQUEUED")


if __name__ == "__main__":
    main()
