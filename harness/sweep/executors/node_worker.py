"""What stands on a node for as long as one cell does: takes in what there is of it, measures it, hands out its results.

Until the sweep has them, results lie in a directory of the node's own, named by the sweep, the cell and the board. So
nothing of theirs goes over a network while something is measured here, and should the driver be killed, the next
attempt at that board goes on from there. It knows nothing of whoever carries its calls.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

import harness
from harness.environment.machine import visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.errors import HarnessError, SchemaError
from harness.records import CellOutcome
from harness.store.run_directory import writing
from harness.sweep.cell.process import LOOK_S, CellProcess
from harness.sweep.cell.task import PROGRAM, CellTask
from harness.sweep.executors.moving import PARTIAL, PIECE_BYTES, Parcel, copy, install, of_repeat, pack, recover, unpack

IDENTITY = ".identity"
"""File of a sweep's directory whose content no other sweep has: a node that reads it there shares the file system."""
IN, OUT, LOG = "in.tar", "out.tar", "cell.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a driver has to know of a node before it sends a cell."""

    harness_version: str
    is_shared: bool
    """Whether the sweep's directory is seen from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """How a cell went on a node, and what there is to be fetched."""

    outcome: CellOutcome
    parcel: Parcel | None
    """Of its results; None: they are in the sweep's directory, or there are none."""
    n_log_bytes: int


class NodeWorker:
    """One cell's stay on one node. `stop` may be called while `measure` runs; else one call at a time."""

    def __init__(self, task: CellTask, token: str, *, use_gpus: bool, has_neighbours: bool) -> None:
        """Look where it stands.

        Args:
            task: As the driver has it: its paths are the driver's. An empty `program` is this node's own.
            token: The sweep's.
            use_gpus: Whether the cell gets the boards that this process sees; it sees none otherwise.
            has_neighbours: Whether other cells may run on this node meanwhile.
        """
        _forget_thread_limit(os.environ)
        self._home = task
        self._sweep = task.run_path.parent
        self._token = token
        gpus, neighbours = boards() if use_gpus else ((), ())
        place = os.environ.get("CUDA_VISIBLE_DEVICES", "") if use_gpus else ""
        self._scratch = scratch_of(token) / f"{task.cell.key.replace('/', '+')}+{place.replace('/', '_')}"
        self._run = self._scratch / task.run_path.name
        self._task = replace(
            task,
            run_path=self._run,
            log_path=self._scratch / LOG,
            working_dir=task.working_dir if task.working_dir.is_dir() else self._scratch,
            gpus=gpus,
            neighbours=neighbours if has_neighbours else (),
            program=task.program or PROGRAM,
        )
        self._stopped = threading.Event()
        self._is_shared = _reads(self._sweep / IDENTITY) == token

    def look(self) -> NodeFacts:
        """What this node is."""
        return NodeFacts(harness_version=harness.__version__, is_shared=self._is_shared)

    def receive(self, piece: bytes, *, is_first: bool) -> None:
        """Take in a piece of what is there of the cell already.

        Raises:
            OSError: It cannot be written.
        """
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._scratch / IN).open("wb" if is_first else "ab") as file:
            file.write(piece)

    def measure(self, parcel: Parcel | None, node: str) -> Returned:
        """Complete the cell as far as it goes. What it has measured is handed out in any case.

        Args:
            parcel: Of what was received; None: nothing was.
            node: A name for this node that people know.
        """
        self._task = replace(self._task, node=node)
        started_unix_s = time.time()
        out = None
        try:
            with writing(self._scratch, "TMPDIR of the node"):
                self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._task.log_path.unlink(missing_ok=True)
            self._take_in(parcel)
            # Ray holds SIGINT back in what it starts, and a process inherits that from the thread that starts it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            outcome = measured(self._task, self._stopped)
            out = self._hand_out()
        except HarnessError as error:
            outcome = CellOutcome(
                key=self._task.cell.key,
                attempt=self._task.attempt,
                status="failed",
                error=str(error),
                next_step=error.next_step,
                may_pass=True,  # elsewhere there may be room
                node=self._task.node,
                started_unix_s=started_unix_s,
                duration_s=time.time() - started_unix_s,
            )
        log = self._task.log_path
        return Returned(
            outcome=self._told_at_home(outcome), parcel=out, n_log_bytes=log.stat().st_size if log.exists() else 0
        )

    def piece(self, name: str, offset: int) -> bytes:
        """A piece of `OUT` or `LOG`."""
        with (self._scratch / name).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)

    def stop(self) -> None:
        """Have the cell end so that it can be resumed."""
        self._stopped.set()

    def clear(self) -> None:
        """Drop what is here: the sweep has it."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    # ------------------------------------------------------------------------------------ parts

    def _take_in(self, parcel: Parcel | None) -> None:
        recover(self._scratch)
        arrived = self._scratch / PARTIAL / "in"
        if self._is_shared:
            copy(self._home.run_path, of_repeat(self._home.run_path, self._task.cell.repeat), arrived)
        elif parcel is not None:
            unpack(self._scratch / IN, parcel, arrived)
            (self._scratch / IN).unlink()
        try:
            install(arrived, self._run, self._scratch / PARTIAL)
        except SchemaError:  # what was left here is not what the sweep has come to hold since
            shutil.rmtree(self._run)
            install(arrived, self._run, self._scratch / PARTIAL)

    def _hand_out(self) -> Parcel | None:
        files = of_repeat(self._run, self._task.cell.repeat)
        if not self._is_shared:
            return pack(self._run, files, self._scratch / OUT) if files else None
        with tempfile.TemporaryDirectory(dir=_made(self._sweep / PARTIAL)) as staged:
            copy(self._run, files, Path(staged) / "out")
            install(Path(staged) / "out", self._home.run_path, self._sweep / PARTIAL)
        return None

    def _told_at_home(self, outcome: CellOutcome) -> CellOutcome:
        """The outcome with paths that its reader can follow."""
        paths = {self._task.log_path: self._home.log_path, self._run: self._home.run_path}
        words = {"error": outcome.error, "next_step": outcome.next_step}
        for here, there in paths.items():
            words = {name: text.replace(str(here), str(there)) for name, text in words.items()}
        return outcome.model_copy(update=words)


def measured(task: CellTask, stopped: threading.Event) -> CellOutcome:
    """Measure a cell, and return how it went once nothing of it is left.

    Args:
        task: The cell.
        stopped: When it is set, the cell is interrupted.

    Raises:
        StorageFull: The log or the run file cannot be written.
    """
    process = CellProcess(task)
    try:
        if not stopped.is_set():
            process.start()
        while True:
            if stopped.is_set():
                process.interrupt()
            if (outcome := process.poll()) is not None:
                return outcome
            time.sleep(LOOK_S)
    finally:
        process.kill()


def scratch_of(token: str) -> Path:
    """Where a sweep's cells lie on this node; TMPDIR says where that is."""
    return Path(tempfile.gettempdir()) / f"harness-{os.getuid()}" / token


def left_of(token: str) -> list[str]:
    """Keys of cells of which something lies on this node."""
    found = scratch_of(token).glob(f"*/*/*/*/{'cell.yaml'}")
    return sorted({path.parents[3].name.rpartition("+")[0].replace("+", "/") for path in found})


def boards() -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """UUIDs of the boards that this process sees, and of the machine's other ones.

    None, where there is no driver to ask, or a MIG slice is seen, which a board's UUID would widen to the board.
    """
    nvml = open_nvml()
    if not isinstance(nvml, Nvml) or "MIG-" in os.environ.get("CUDA_VISIBLE_DEVICES", ""):
        return None, ()
    own = tuple(board.uuid for board in visible_gpus())
    return own or None, tuple(board.uuid for board in nvml.boards() if board.uuid not in own)


def _forget_thread_limit(environ: MutableMapping[str, str]) -> None:
    """Ray gives each of its processes one thread for arithmetic, unless the node was started with another number.

    A cell has the node to itself, and is to be measured as it runs outside of Ray.
    """
    started_with: Mapping[str, str] = {}
    with suppress(KeyError, ValueError, psutil.Error):  # not in Ray, or one that hides it
        started_with = psutil.Process(int(environ["RAY_RAYLET_PID"])).environ()
    if "OMP_NUM_THREADS" not in started_with:
        environ.pop("OMP_NUM_THREADS", None)


def _reads(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _made(directory: Path) -> Path:
    with writing(directory):
        directory.mkdir(exist_ok=True)
    return directory
