"""A sweep on disk: what was asked, what was tried, and one ordinary run directory for each planned run.

    results/<sweep_id>/
        sweep.yaml  [sweep-2.yaml ...]      as asked; a plan that changed is another file
        outcomes.jsonl                      how each attempt went; nothing measured is in it
        logs/<run_id>.yaml  logs/...log     the run files, and what each attempt's process said
        <run_id>/<cell_id>/<site_id>/...    runs, a repeat each cell (`store.run_directory`)
        [<run_id>.damaged-1/ ...]           what could not be read, and was measured again

What is finished is read from the runs and from nothing else.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from harness.errors import UsageError
from harness.records import CellOutcome, PlannedCell
from harness.store.run_directory import append_lines, cut_torn_line, read_lines, write_whole, writing
from harness.sweep.cell.measured import Measured, fault_of, measured_of, repeats_of
from harness.sweep.planning.spec import OUTCOMES_FILE, SWEEP_FILE

LOGS = "logs"


class SweepDirectory:
    """One sweep's directory. Many may read it; one driver at a time writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, wanted: Path, plan: str) -> SweepDirectory:
        """Make a new directory and freeze the plan in it; one of that name gets the next number.

        Args:
            wanted: `<output_dir>/<sweep_id>`.
            plan: The text of the sweep file.

        Raises:
            StorageFull: It cannot be written.
        """
        from harness.study import claimed  # with all that measures: not for those who only read

        sweep = cls(claimed(wanted))
        sweep.freeze(plan)
        return sweep

    @classmethod
    def named(cls, name: str, output_dir: Path) -> SweepDirectory:
        """The sweep that a user means: a path, a sweep's id under the output directory, or `latest`.

        Raises:
            UsageError: There is no such sweep.
        """
        if name == "latest":
            found = [path.parent for path in output_dir.glob(f"*/{SWEEP_FILE}")]
            if not found:
                raise UsageError(f"There is no sweep in {output_dir}.", "Make one: harness sweep FILE.yaml")
            return cls(max(found, key=lambda path: (path / SWEEP_FILE).stat().st_mtime).resolve())
        for path in (output_dir / name, Path(name)):
            if (path / SWEEP_FILE).is_file():
                return cls(path.resolve())
        raise UsageError(
            f"No sweep {name!r} in {output_dir} or as a path.", f"Look into {output_dir}, or say `latest`."
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second driver out for as long as this one works; a killed one leaves no lock behind.

        Raises:
            UsageError: Another process is at it.
            StorageFull: The directory cannot be written.
        """
        import fcntl  # not on Windows, where nothing is measured

        with writing(self.path):
            lock = (self.path / ".lock").open("a+")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise UsageError(
                    f"Another process is working on {self.path}: {lock.read().strip() or 'it has just begun'}.",
                    "Wait for it, or stop it (Ctrl-C there); then resume the sweep.",
                ) from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            lock.flush()
            with writing(self.path):
                cut_torn_line(self.path / OUTCOMES_FILE)
            yield

    # ------------------------------------------------------------------------------------ the plan

    def plans(self) -> list[Path]:
        """Files of the plan's versions, the newest last."""
        found = self.path.glob("sweep*.yaml")
        return sorted(
            (path for path in found if re.fullmatch(r"sweep(-\d+)?", path.stem)),
            key=lambda path: int(path.stem.partition("-")[2] or 1),
        )

    def plan(self) -> str:
        """The text of the newest version."""
        return self.plans()[-1].read_text(encoding="utf-8")

    def freeze(self, plan: str) -> Path:
        """Keep a plan: nothing is written where it says what the newest version says.

        Returns:
            The file that holds it.

        Raises:
            StorageFull: It cannot be written.
        """
        known = self.plans()
        if known and yaml.safe_load(self.plan()) == yaml.safe_load(plan):
            return known[-1]
        path = self.path / (f"sweep-{len(known) + 1}.yaml" if known else SWEEP_FILE)
        with writing(path):
            write_whole(path, plan)
        return path

    # ------------------------------------------------------------------------------------ attempts

    def outcomes(self) -> list[CellOutcome]:
        """How every attempt so far went, in order of their ends.

        Raises:
            SchemaError: Damaged, or written by a newer version.
        """
        return read_lines(self.path / OUTCOMES_FILE, CellOutcome)

    def append(self, outcome: CellOutcome) -> None:
        """Put down how an attempt went.

        Raises:
            StorageFull: It cannot be written.
        """
        append_lines(self.path / OUTCOMES_FILE, outcome)

    def log(self, cell: PlannedCell, attempt: int) -> Path:
        """Where what an attempt's process says is kept."""
        return self.path / LOGS / f"{cell.key.replace('/', '-')}-attempt-{attempt}.log"

    # ------------------------------------------------------------------------------------ the runs

    def run_path(self, cell: PlannedCell) -> Path:
        """The run directory that a cell belongs to."""
        return self.path / cell.run_id

    def measured(self, cell: PlannedCell) -> Measured | None:
        """What a cell's newest measurement holds; None: there is nothing yet."""
        return measured_of(self.run_path(cell), cell)

    def finished(self, cells: Iterable[PlannedCell], *, n_sites: int = 1) -> set[str]:
        """Keys of the cells that are finished, each run directory looked into once.

        Args:
            cells: Planned ones.
            n_sites: At how many sites each of them has to be whole.
        """
        there = {path.name for path in self.path.iterdir()}
        repeats: dict[str, Counter[int]] = {}
        done = set()
        for cell in cells:
            if cell.run_id not in there:
                continue
            if cell.run_id not in repeats:
                repeats[cell.run_id] = repeats_of(self.run_path(cell), cell)
            if repeats[cell.run_id][cell.repeat] >= n_sites:
                done.add(cell.key)
        return done

    def set_aside(self, cells: Iterable[PlannedCell], *, thorough: bool = False) -> list[tuple[Path, str]]:
        """Move run directories that cannot be read out of the way, so that they are measured again.

        Args:
            cells: Planned ones.
            thorough: Read all of them, those that ended in good order as well.

        Returns:
            Where each was moved to, and what is wrong with it.

        Raises:
            SchemaError: A run was written by a newer version: that is no damage.
            StorageFull: It cannot be moved.
        """
        moved = []
        for run_id in dict.fromkeys(cell.run_id for cell in cells):
            path = self.path / run_id
            if path.is_dir() and (fault := fault_of(path, thorough=thorough)) is not None:
                number = 1 + sum(1 for _ in self.path.glob(f"{run_id}.damaged-*"))
                aside = path.with_name(f"{run_id}.damaged-{number}")
                with writing(path):
                    path.rename(aside)
                moved.append((aside, fault))
        return moved


def write_run_file(cell: PlannedCell, directory: Path) -> Path:
    """The run file of a cell, as `harness run` takes it.

    Raises:
        StorageFull: It cannot be written.
    """
    path = directory / f"{cell.run_id}.yaml"
    with writing(path):
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(path, yaml.safe_dump(json.loads(json.dumps(cell.spec)), sort_keys=False))
    return path
