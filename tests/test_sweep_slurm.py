"""Sweeps as Slurm jobs, by way of submitit, on a stand-in for Slurm (`fake_slurm`). No real one has been tried."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.errors import EnvironmentFault, UsageError
from harness.protocols import Executor
from harness.records import PlannedCell
from harness.store.run_directory import read_lines
from harness.sweep import driver
from harness.sweep.directory import LOGS, SweepDirectory
from harness.sweep.executors.ray_cluster import require_ray
from harness.sweep.executors.slurm_jobs import (
    JOBS,
    SlurmExecutor,
    SubmittedJob,
    ending_of_state,
    minutes_of,
    require_submitit,
)
from harness.verify import verify
from tests.executor_contract import CHECKS, N_PROMPTS, STAND_IN, Contract, planned
from tests.gate_runs import write_run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("template") / "run", n_prompts=N_PROMPTS, repeats=1, modes=("off", "on"))
    (place,) = run.glob("*/*/")
    return place


@pytest.fixture
def slurm(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm of one node; its commands are first in PATH. What a test that failed leaves running is killed."""
    commands, jobs = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    jobs.mkdir()
    script = Path(__file__).with_name("fake_slurm.py")
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {script} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    monkeypatch.setenv("STAND_IN_TEMPLATE", str(template))
    monkeypatch.setenv("STAND_IN_MARKS", str(tmp_path))
    yield jobs
    for path in jobs.glob("*.pid"):
        if path.with_suffix(".state").read_text() in ("RUNNING", "REQUEUED"):
            with suppress(ProcessLookupError):
                os.killpg(int(path.read_text()), signal.SIGKILL)


def make_slurm(sweep: SweepDirectory, **options: object) -> Executor:
    return SlurmExecutor(sweep, use_gpus=False, **options)  # type: ignore[arg-type]


def jobs_of(sweep: SweepDirectory) -> list[SubmittedJob]:
    return read_lines(sweep.path / LOGS / "submitit" / JOBS, SubmittedJob)


def wait_for(happened: Callable[[], object]) -> None:
    """However slow the machine is."""
    until_s = time.monotonic() + 200
    while not happened():
        assert time.monotonic() < until_s, "it never happened"
        time.sleep(0.05)


def test_a_new_driver_takes_over_a_job_which_goes_on_when_it_is_preempted(slurm: Path, tmp_path: Path) -> None:
    contract = Contract(make_slurm, tmp_path, tmp_path)
    sweep, cells = contract.sweep, [planned("a", pace_s=4.0), planned("b")]
    asked = {"partition": "gpu", "reservation": "night", "time": "12:00:00", "gres": "gpu:h100:1"}
    first = SlurmExecutor(sweep, program=STAND_IN, parameters=asked)
    for cell in cells:
        first.submit(cell, 1)
    assert len(first.running()) == 2
    first.take(0.0)
    assert [job.job_id for job in jobs_of(sweep)] == ["100_0", "100_1"]
    script = (slurm / "100.sbatch").read_text()
    flags = ("array=0-1%2", "partition=gpu", "reservation=night", "exclusive", "signal=USR2@90", "gres=gpu:h100:1")
    for flag in (*flags, "time=720"):
        assert f"#SBATCH --{flag}\n" in script
    assert "gpus-per-node" not in script  # the user has said which

    wait_for(lambda: contract.pairs(cells[0]))
    second = make_slurm(sweep, program=STAND_IN)  # the first driver was killed: its jobs were not
    left = [cell for cell in cells if cell.key not in sweep.finished(cells)]
    assert cells[0] in left
    for cell in left:
        second.submit(cell, 2)
    subprocess.run(["scancel", "--signal=USR2", "100_0"], check=True)  # as Slurm announces that it takes the node back
    outcomes = contract.take(second, until=lambda: not second.running())
    second.close()
    assert {outcome.key: outcome.status for outcome in outcomes} == {cell.key: "finished" for cell in left}
    assert len({job.job_id for job in jobs_of(sweep)}) == 2, "it was submitted a second time"
    contract.is_whole(cells[0])
    contract.is_whole(cells[1])
    assert len(list(sweep.run_path(cells[0]).glob("*/*/sessions/*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.usefixtures("slurm")
def test_contract(check: str, tmp_path: Path) -> None:
    getattr(Contract(make_slurm, tmp_path, tmp_path), check)()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_submitit_runs_real_cells(tmp_path: Path) -> None:
    """`harness run` of the embedded model, through submitit's own executor for one machine."""
    sweep = SweepDirectory.create(tmp_path / "sweep", "vary: {}\n")
    spec = {"model": ["tiny-reasoner"], "num_prompts": 2, "max_new_tokens": 24, "idle_duration_s": 0.5}
    cells = [PlannedCell(labels={}, spec=spec, repeat=repeat) for repeat in range(2)]
    result = driver.run(sweep, cells, SlurmExecutor(sweep, cluster="local", use_gpus=False))
    assert result.finished == {cell.key for cell in cells}
    assert verify(sweep.run_path(cells[0])).differences == ()


@pytest.mark.parametrize(
    ("state", "status", "may_pass"),
    [
        ("NODE_FAIL", "lost", True),
        ("PREEMPTED", "lost", True),
        ("TIMEOUT", "timed_out", False),
        ("OUT_OF_MEMORY", "failed", False),
        ("CANCELLED by 1000", "interrupted", False),
        ("CANCELLED+", "interrupted", False),
        ("FAILED", "lost", True),
        ("", "lost", True),
    ],
)
def test_what_slurm_says_of_a_job_without_a_result(state: str, status: str, may_pass: bool) -> None:
    found_status, words, found_may_pass = ending_of_state(state)
    assert (found_status, found_may_pass) == (status, may_pass)
    assert words.endswith(".")


def test_without_slurm_there_are_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="no Slurm on this machine") as caught:
        SlurmExecutor(SweepDirectory.create(tmp_path / "sweep", "vary: {}\n"))
    assert "--emit slurm" in caught.value.next_step


@pytest.mark.parametrize(
    ("asked", "wanted_min"),
    [("90", 90), ("90:30", 91), ("12:00:00", 720), ("2-12", 3600), ("2-12:30", 3630), ("1-00:30:00", 1470)],
)
def test_times_are_as_sbatch_takes_them(asked: str, wanted_min: int) -> None:
    assert minutes_of(asked) == wanted_min


@pytest.mark.usefixtures("slurm")
def test_a_parameter_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    sweep = SweepDirectory.create(tmp_path / "sweep", "vary: {}\n")
    for parameters in ({"nodes": "many"}, {"time": "tomorrow"}, {"time": "1-"}):
        with pytest.raises(UsageError, match="--slurm"):
            make_slurm(sweep, parameters=parameters)


@pytest.mark.parametrize(("require", "extra"), [(require_ray, "ray"), (require_submitit, "slurm")])
def test_what_is_not_installed_is_named_with_its_command(
    require: Callable[[], object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match="is not installed") as caught:
        require()
    assert caught.value.next_step == f"pip install 'inference-energy-harness[{extra}]'"
