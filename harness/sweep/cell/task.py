"""What a node has to know to measure a cell, and what the cell's process is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.environment.neighbours import VARIABLE
from harness.records import PlannedCell

PROGRAM = (sys.executable, "-P", "-m", "harness")
FORGOTTEN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""With these, torch would take the cell for a part of something else. Ray's own variables go as well."""
MARK = "HARNESS_SWEEP_CELL"
"""In the environment of all that belongs to one attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTask:
    """All that a node has to know to measure a cell."""

    cell: PlannedCell
    attempt: int
    run_path: Path
    """The run's directory; it is made, or completed."""
    log_path: Path
    """What the process says is appended to it. The run file is put beside it."""
    working_dir: Path
    """Where relative paths of the run file begin."""
    time_limit_s: float | None = None
    gpus: tuple[str, ...] | None = None
    """UUIDs of the boards that are its own; empty: it sees none; None: whatever this process sees."""
    neighbours: tuple[str, ...] = ()
    """UUIDs of boards on which other cells of the sweep may run meanwhile."""
    cooldown_c: float | None = None
    """The boards are let cool down to this many degrees first."""
    node: str = ""
    """A name that people know; empty: this machine's."""
    program: tuple[str, ...] = PROGRAM


def environment_of(task: CellTask, base: Mapping[str, str], mark: str = "") -> dict[str, str]:
    """The environment of a cell's process.

    Args:
        task: The cell.
        base: The driver's, or the worker's.
        mark: What all that belongs to the attempt is known by.
    """
    environ = {name: value for name, value in base.items() if not name.startswith("RAY_") and name not in FORGOTTEN}
    for name in (VARIABLE, MARK):
        environ.pop(name, None)
    named = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    environ["PYTHONPATH"] = os.pathsep.join([str(Path(harness.__file__).parents[1]), *named])
    environ["PYTHONUNBUFFERED"] = "1"
    if task.gpus is not None:
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(task.gpus)
    if task.neighbours:
        environ[VARIABLE] = ",".join(task.neighbours)
    if mark:
        environ[MARK] = mark
    return environ


def command_of(task: CellTask, run_file: Path) -> list[str]:
    """What measures the cell."""
    where = ["--run-dir", str(task.run_path), "--only-repeat", str(task.cell.repeat)]
    return [*task.program, "run", str(run_file), *where]
