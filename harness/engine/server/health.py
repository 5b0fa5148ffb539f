"""Whether a server is ready to answer, and waiting until it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.engine.server.asking import Answer, Asking
from harness.engine.server.process import ServerProcess
from harness.errors import EnvironmentFault, UsageError

_LOOK_S = 0.2
_TELL_EVERY_S = 5.0
_ASK_S = 5.0
_NOT_THERE = (404, 405, 501)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a server is ready; `why` says what it lacks. `is_there`: something answered or listened."""

    ready: bool
    why: str = ""
    is_there: bool = True


def health(asking: Asking) -> Health:
    """Ask once.

    Ready is who lists a model; or, as `transformers serve` lists what lies in a cache and not what it serves, who says
    that it is healthy and takes models by name.

    Raises:
        UsageError: It wants an API key, or does not take the one that is set.
    """
    said = asking.get("/health", _ASK_S)
    if said.status is None:
        return Health(False, said.words, is_there="nothing listens" not in said.words)
    if not said.ok and said.status not in (*_NOT_THERE, 401, 403):
        return Health(False, f"/health answered {said.status}: {said.words}")
    models = asking.get("/v1/models", _ASK_S)
    if models.status in (401, 403):
        raise UsageError(
            f"The server answered {models.status}: it wants an API key, or another one.",
            "`export HARNESS_API_KEY=...` (or OPENAI_API_KEY); it is never written anywhere.",
        )
    if lists_models(models):
        return Health(True)
    if said.ok and takes_models_by_name(asking):
        return Health(True)
    if models.ok:
        return Health(False, "it lists no model")
    return Health(False, f"/v1/models answered {models.status or models.words}: {models.words}")


def lists_models(models: Answer) -> bool:
    """Whether an answer to /v1/models names one."""
    data = models.fields.get("data")
    return isinstance(data, list) and any(isinstance(entry, dict) and entry.get("id") for entry in data)


def takes_models_by_name(asking: Asking) -> bool:
    """Whether this is `transformers serve`, told by a path that only it has."""
    paths = asking.get("/openapi.json", _ASK_S).fields.get("paths")
    return isinstance(paths, dict) and "/load_model" in paths


def wait_until_ready(
    asking: Asking, process: ServerProcess | None, timeout_s: float, tell: Callable[[str], None]
) -> None:
    """Return once the server is ready.

    Args:
        asking: Asks it.
        process: The server, where it was started for this; None: it was running.
        timeout_s: How long a server may take to load its model. One that was running, and does not listen, is not
            waited for.
        tell: Given a line of progress now and then.

    Raises:
        EnvironmentFault: It ended before it was ready, is not ready in time, or is not there.
        UsageError: It wants another API key.
    """
    start_s = time.monotonic()
    told_s = start_s
    while True:
        if process is not None and not process.alive():
            raise _ended(process)
        state = health(asking)
        # Between the two questions another server may have answered for one that could not have the port.
        if state.ready and (process is None or process.alive()):
            return
        now_s = time.monotonic()
        if process is None and not state.is_there:
            raise EnvironmentFault(
                f"No server answers at {asking.address.base_url}: {state.why}.",
                "Start it first, or let harness start it (--serve 'vllm serve MODEL --port 8000').",
            )
        if now_s - start_s >= timeout_s:
            raise _late(asking, process, timeout_s, state)
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            last = process.last_lines(1) if process is not None else []
            tell(f"waiting for the server, {now_s - start_s:.0f} s: {last[0] if last else state.why}")
        time.sleep(min(_LOOK_S, max(0.0, start_s + timeout_s - now_s)))


def _ended(process: ServerProcess) -> EnvironmentFault:
    how = process.how_it_ended()
    if how == "exit status 0":
        how += "; it has to stay in the foreground"
    return EnvironmentFault(
        f"The server ended before it was ready ({how}).{_its_words(process)}",
        f"Its log is {process.log_path}. Does the command work by itself?",
    )


def _late(asking: Asking, process: ServerProcess | None, timeout_s: float, state: Health) -> EnvironmentFault:
    words = "" if process is None else _its_words(process)
    log = "" if process is None else f" Its log is {process.log_path}."
    return EnvironmentFault(
        f"The server at {asking.address.base_url} was not ready after {timeout_s:.0f} s: {state.why}.{words}",
        f"Give it longer (--serve-timeout), if it only loads its model; see that it listens at that port.{log}",
    )


def _its_words(process: ServerProcess) -> str:
    lines = process.last_lines()
    return "".join(["\nThe last lines of its log:", *(f"\n    {line}" for line in lines)]) if lines else ""
