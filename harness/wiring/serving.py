"""Servers that answer a run's queries: one at a time, kept from cell to cell while the same one is asked for."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.config import RunSpec
from harness.errors import ServerLost
from harness.pipeline.observer import Observer
from harness.wiring.jobs import Job

if TYPE_CHECKING:
    from harness.engine.server.serving import Serving


class Servers:
    """Holds at most one: two on one board would share it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._asked: tuple[object, ...] | None = None
        self._serving: Serving | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def serving(self, job: Job, log_path: Path, observer: Observer) -> Serving:
        """The server of a cell: the present one if that is it and it is alive, otherwise a new one.

        Args:
            job: The cell.
            log_path: Where what a started server says goes.
            observer: Told what is going on.

        Raises:
            HarnessError: See `opened`.
        """
        from harness.engine.server.serving import opened

        spec = job.spec
        asked = (spec.serve, spec.base_url, job.cell.source, spec.weights_dir, spec.meter_gpus)
        if self._serving is not None and asked == self._asked and self._serving.alive():
            return self._serving
        self._serving = None
        self._stack.close()
        with chdir(spec.working_dir or "."):
            self._serving = self._stack.enter_context(
                opened(
                    serve=tuple(shlex.split(spec.serve or "")),
                    base_url=spec.base_url,
                    model=job.cell.source,
                    weights_dir=spec.weights_dir,
                    meter_gpus=spec.meter_gpus,
                    timeout_s=spec.serve_timeout_s,
                    log_path=log_path,
                    tell=observer.told,
                )
            )
        self._asked = asked
        return self._serving


def refuse_server(spec: RunSpec) -> None:
    """Refuse a server that cannot be measured from here, or that would have a secret kept with the results.

    Raises:
        UsageError: It is on another machine, or its URL or command holds a secret or cannot be meant.
    """
    from harness.engine.server.address import local_or_refused, of_command, parsed
    from harness.engine.server.argv import refuse_secrets

    command = shlex.split(spec.serve or "")
    refuse_secrets(command, os.environ)
    local_or_refused(of_command(command) if spec.base_url is None else parsed(spec.base_url))


def with_its_end(error: ServerLost, serving: Serving | None) -> ServerLost:
    """The same error, and how the server ended where it has."""
    if serving is None or serving.alive():
        return error
    return ServerLost(f"{error} It ended: {serving.how_it_ended()}", error.next_step)


@contextmanager
def serving_of(job: Job, log_path: Path, observer: Observer, servers: Servers | None) -> Iterator[Serving | None]:
    """The server that answers a cell's queries; None: they are answered in this process.

    Args:
        job: The cell.
        log_path: Where what a started server says goes.
        observer: Told what is going on.
        servers: Kept over several cells; None: this cell's server ends with it.
    """
    if not job.spec.is_served:
        yield None
    elif servers is not None:
        yield servers.serving(job, log_path, observer)
    else:
        with Servers() as own:
            yield own.serving(job, log_path, observer)
