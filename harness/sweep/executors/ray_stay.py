"""One cell's stay on a node of a Ray cluster, as the driver sees it: placed, sent, measured, fetched.

What Ray carries of it are calls and answers of a few megabytes at most. Ray tries nothing again: a worker or node that
is gone makes a lost attempt, and the driver decides.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import harness
from harness.errors import EnvironmentFault, HarnessError
from harness.records import CellOutcome, PlannedCell
from harness.store.run_directory import writing
from harness.sweep.cell.task import CellTask
from harness.sweep.executors.moving import PARTIAL, Parcel, install, of_repeat, pack, pieces, unpack
from harness.sweep.executors.node_worker import LOG, OUT, NodeFacts, NodeWorker, Returned

LOOK_S = 0.5
PLACED_MOST, PLACED_AGAIN_S = 5, 5.0
"""Ray takes seconds to find out that a node is gone, and until then places workers there."""


class RayWorker(NodeWorker):
    """A node's worker that knows where Ray has placed it."""

    def where(self) -> str:
        """The node's id in the cluster."""
        import ray

        return str(ray.get_runtime_context().get_node_id())


class _NotPlacedError(Exception):
    """The sweep was stopped before Ray had a node for the cell."""


class Stay:
    """One attempt at a cell on a cluster."""

    def __init__(
        self,
        ray: Any,
        task: CellTask,
        *,
        identity: str,
        options: dict[str, Any],
        use_gpus: bool,
        has_neighbours: bool,
        stopping: threading.Event,
        name_of: Callable[[str], str],
    ) -> None:
        """Ask for a worker.

        Args:
            ray: The connected module.
            task: The cell, with the driver's paths.
            identity: The sweep's name on the nodes.
            options: What Ray is to give the worker.
            use_gpus: Whether the cell gets the boards that Ray gives the worker.
            has_neighbours: Whether other cells may run on its node meanwhile.
            stopping: Set when the sweep is to stop.
            name_of: A node's name, by its id.
        """
        self._ray, self._task, self._stopping, self._name_of = ray, task, stopping, name_of
        self._started_unix_s = time.time()
        self.node = ""
        """The name of the one it is on; empty: Ray has none for it yet."""
        self._staging = task.run_path.parent / PARTIAL / uuid.uuid4().hex
        options = {"max_concurrency": 2, "max_restarts": 0, "max_task_retries": 0, **options}
        self._ask: Callable[[], Any] = lambda: (
            ray.remote(RayWorker)
            .options(**options)
            .remote(task, identity, use_gpus=use_gpus, has_neighbours=has_neighbours)
        )
        self._worker = self._ask()

    def run(self) -> CellOutcome:
        """Return once the cell has ended and its results have arrived, or it is certain that they will not."""
        errors = self._ray.exceptions
        try:
            return self._measured()
        except _NotPlacedError:
            return self._ended("interrupted", "It had not begun.", may_pass=True)
        except errors.RayTaskError as error:
            said = str(error).strip().splitlines()[-1]
            return self._ended("failed", f"The worker on the node failed: {said}", may_pass=True)
        except errors.OutOfMemoryError:
            step = "Give the node more memory, or leave the model out of the sweep."
            return self._ended("failed", "Ray ended the worker: its node was out of memory.", step)
        except errors.RayError as error:
            said = str(error).strip().splitlines()[0]
            step = "Where it happens often, see Ray's logs on that node: /tmp/ray/session_latest/logs."
            return self._ended("lost", f"Its node or its worker is gone: {said}", step, may_pass=True)
        except HarnessError as error:
            return self._ended("failed", str(error), error.next_step, may_pass=not isinstance(error, EnvironmentFault))
        finally:
            self.kill()
            shutil.rmtree(self._staging, ignore_errors=True)

    @property
    def cell(self) -> PlannedCell:
        """What is measured."""
        return self._task.cell

    def kill(self) -> None:
        """End the worker at once; its cell dies with it."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._worker)

    def _measured(self) -> CellOutcome:
        facts = self._placed()
        self.node = self._name_of(self._answer(self._worker.where.remote()))
        if facts.harness_version != harness.__version__:
            raise EnvironmentFault(
                f"Node {self.node} has harness {facts.harness_version}, and this is {harness.__version__}.",
                "Install the same version on every node of the cluster.",
            )
        sent = None if facts.is_shared else self._send()
        returned: Returned = self._answer(self._worker.measure.remote(sent, self.node))
        self._fetch_log(returned.n_log_bytes)
        if returned.parcel is not None:
            self._fetch(returned.parcel)
        self._answer(self._worker.clear.remote())
        return returned.outcome

    def _placed(self) -> NodeFacts:
        """Where the worker stands.

        One that is lost on its way there, with a node that is just going, was no attempt at the cell: another is asked
        for.
        """
        for _ in range(PLACED_MOST - 1):
            with suppress(self._ray.exceptions.RayActorError):
                facts: NodeFacts = self._answer(self._worker.look.remote(), placed=False)
                return facts
            self.kill()
            if self._stopping.wait(PLACED_AGAIN_S):
                raise _NotPlacedError
            self._worker = self._ask()
        last: NodeFacts = self._answer(self._worker.look.remote(), placed=False)
        return last

    def _answer(self, reference: Any, *, placed: bool = True) -> Any:
        """What a call returns. When the sweep is stopped meanwhile, the worker is told so, once."""
        told = False
        while not self._ray.wait([reference], timeout=LOOK_S)[0]:
            if self._stopping.is_set() and not told:
                if not placed:
                    raise _NotPlacedError
                self._worker.stop.remote()
                told = True
        return self._ray.get(reference)

    def _send(self) -> Parcel | None:
        """What there is of the cell already goes to the node, so that it is completed there."""
        run = self._task.run_path
        files = of_repeat(run, self._task.cell.repeat)
        if not files:
            return None
        archive = self._staged("in.tar")
        parcel = pack(run, files, archive)
        for number, piece in enumerate(pieces(archive)):
            self._answer(self._worker.receive.remote(piece, is_first=number == 0))
        archive.unlink()
        return parcel

    def _fetch(self, parcel: Parcel) -> None:
        archive = self._staged("out.tar")
        self._fetched(OUT, parcel.n_bytes, archive, "wb")
        arrived = archive.with_name("run")
        unpack(archive, parcel, arrived)
        archive.unlink()
        install(arrived, self._task.run_path, self._task.run_path.parent / PARTIAL)

    def _fetch_log(self, n_bytes: int) -> None:
        log = self._task.log_path
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        self._fetched(LOG, n_bytes, log, "ab")

    def _fetched(self, name: str, n_bytes: int, path: Path, mode: Literal["wb", "ab"]) -> None:
        offset = 0
        with writing(path), path.open(mode) as file:
            while offset < n_bytes:
                piece = self._answer(self._worker.piece.remote(name, offset))
                if not piece:
                    return  # shorter than it was: `unpack` says so
                file.write(piece)
                offset += len(piece)

    def _staged(self, name: str) -> Path:
        with writing(self._staging):
            self._staging.mkdir(parents=True, exist_ok=True)
        return self._staging / name

    def _ended(
        self,
        status: Literal["failed", "lost", "interrupted"],
        error: str,
        next_step: str = "",
        *,
        may_pass: bool = False,
    ) -> CellOutcome:
        return CellOutcome(
            key=self._task.cell.key,
            attempt=self._task.attempt,
            status=status,
            error=error,
            next_step=next_step or "Resume the sweep.",
            may_pass=may_pass,
            node=self.node,
            started_unix_s=self._started_unix_s,
            duration_s=time.time() - self._started_unix_s,
        )
