"""A server that is ready to be measured: started or found, identified, its boards known; and ended afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.engine.precision import FLOATS, plain_word
from harness.engine.server.address import Address, local_or_refused, of_command, parsed
from harness.engine.server.argv import flag, kind_of
from harness.engine.server.asking import Asking
from harness.engine.server.boards import ServerBoards, boards_of_server, by_processes
from harness.engine.server.health import wait_until_ready
from harness.engine.server.identity import Identity, identify
from harness.engine.server.process import ServerProcess
from harness.engine.server.requests import wake, work
from harness.engine.server.said import with_log
from harness.engine.server.served_weights import ServedWeights, weights_of
from harness.environment.listening import TUNNELS, listeners
from harness.environment.machine import cpu_model
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.process_tree import command_line, runs, tree, working_dir
from harness.environment.secrets import api_key
from harness.environment.visibility import choose_boards
from harness.errors import NoSensor, UsageError
from harness.records import EngineFacts, Finding, FindingCode, ServerFacts

UNKNOWN = "unknown"
"""As a revision: the server does not say which weights it serves. `SERVED_NOT_KNOWN` stands beside it."""
_WITH_PRECISION = {
    "vllm": ("--quantization", "-q"),
    "sglang": ("--quantization",),
    "transformers": ("--quantization",),
    "tgi": ("--quantize",),
}
"""Flags for a quantization, of servers that have one beside `--dtype`."""
_BYTES = {"float64": 8.0, "float32": 4.0, "float16": 2.0, "bfloat16": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server that answers. `boards`: UUIDs to be metered; empty: it works on the CPU."""

    address: Address
    facts: EngineFacts
    findings: tuple[Finding, ...]
    boards: tuple[str, ...]
    process: ServerProcess | None
    _roots: frozenset[int]
    _listed: frozenset[int]

    @property
    def base_url(self) -> str:
        """With `/v1`."""
        return self.address.base_url

    @property
    def model(self) -> str:
        """The name that requests have to give."""
        assert self.facts.server is not None  # it is a server's
        return self.facts.server.model

    def pids(self) -> frozenset[int]:
        """The server's processes now, as far as they are visible: for `Nvml.states(served_by=...)`."""
        return tree(self._roots) | self._listed

    def roots(self) -> Collection[int]:
        """Those that started the others, cheaply: for `CpuTime(served_by=...)`."""
        return self._roots

    def alive(self) -> bool:
        """Whether it is still there: its process, or who listens at its port."""
        if self.process is not None:
            return self.process.alive()
        if self._roots:
            return any(runs(pid) for pid in self._roots)
        return _is_taken(self.address)

    def how_it_ended(self) -> str:
        """In words, the end of its log included where harness keeps it."""
        if self.process is None:
            return "nothing listens there any more"
        lines = "".join(f"\n    {line}" for line in self.process.last_lines())
        return f"{self.process.how_it_ended()}; its log is {self.process.log_path}{lines}"


@contextmanager
def opened(
    *,
    serve: Sequence[str],
    base_url: str | None,
    model: str | None,
    weights_dir: str | None,
    meter_gpus: str,
    timeout_s: float,
    log_path: Path,
    tell: Callable[[str], None],
) -> Iterator[Serving]:
    """A server from when it is ready until it is not needed any more.

    Args:
        serve: The command that starts it; empty: it is running.
        base_url: Its URL; None: told from the command.
        model: The name that the user gave; None: the only one that it serves.
        weights_dir: Where the weights lie on this machine; None: where the server says.
        meter_gpus: The flag. `auto`: the boards that the server uses.
        timeout_s: How long it may take to be ready.
        log_path: Where a started server's output is appended.
        tell: Given a line of progress now and then.

    Raises:
        UsageError: The URL or the command cannot be meant, or the server is on another machine.
        UnknownName: No such model, or no such board.
        EnvironmentFault: It ends before it is ready, is not ready in time, or does not answer.
        NoSensor: Which boards it uses cannot be told, or there are none where some were asked for.
        ModelUnavailable: The weights are not where the user says.
    """
    address = of_command(serve) if base_url is None else parsed(base_url)
    local_or_refused(address)
    asking = Asking(address, api_key(os.environ))
    with ExitStack() as stack:
        process = None
        if serve:
            if _is_taken(address):
                raise UsageError(
                    f"Something listens at {address.host}:{address.port} already, where the server was to be started.",
                    "Stop it, give the server another port, or measure what is there (--base-url).",
                )
            process = stack.enter_context(ServerProcess(serve, log_path))
            tell(f"starting the server, at {address.base_url}")
        wait_until_ready(asking, process, timeout_s, tell)
        yield _serving(asking, process, serve, model, weights_dir, meter_gpus, timeout_s, tell)


def _serving(
    asking: Asking,
    process: ServerProcess | None,
    serve: Sequence[str],
    model: str | None,
    weights_dir: str | None,
    meter_gpus: str,
    timeout_s: float,
    tell: Callable[[str], None],
) -> Serving:
    address = asking.address
    heard = listeners(address.ips(), address.port)
    if tunnels := heard.names & TUNNELS:
        raise UsageError(
            f"What listens at port {address.port} is a tunnel ({', '.join(sorted(tunnels))}): the server is on another "
            "machine, and energy is measured on the server's node.",
            "Run harness there.",
        )
    visible = heard.is_the_server
    roots = frozenset() if not visible else heard.pids
    if process is not None:
        visible = visible and heard.pids <= tree({process.pid})
        roots = frozenset({process.pid}) | (frozenset() if visible else roots)
    one = min(heard.pids if visible else roots, default=None)
    # A script may start the server: then what listens tells more than what was typed.
    command = tuple(serve) if kind_of(serve) is not None or one is None else command_line(one)
    cwd = None if one is None else working_dir(one)
    identity = identify(asking, model, command, cwd)
    tell(f"{identity.said.kind} serves {identity.model}")
    wake(asking, identity.model, timeout_s)
    nvml = open_nvml()
    known = nvml if isinstance(nvml, Nvml) else None
    found = _boards(known, meter_gpus, roots, visible, lambda: work(asking, identity.model, timeout_s), tell)
    if process is not None:
        identity = Identity(identity.model, with_log(identity.said, process.log_text()))
    weights = weights_of(weights_dir, identity.said.root, cwd, same_machine=process is not None and visible)
    metered = _metered(known, meter_gpus, found)
    facts = _facts(address, serve, command, identity, weights, found, known, metered)
    return Serving(
        address=address,
        facts=facts,
        findings=(*_not_known(facts), *found.findings),
        boards=metered,
        process=process,
        _roots=found.roots,
        _listed=found.listed,
    )


def _not_known(facts: EngineFacts) -> list[Finding]:
    parts = (("which weights", facts.revision == UNKNOWN), ("their precision", facts.executed_precision is None))
    lacking = " and ".join(what for what, lacks in parts if lacks)
    return [Finding(code=FindingCode.SERVED_NOT_KNOWN, detail=f"not known: {lacking}")] if lacking else []


def _boards(
    nvml: Nvml | None,
    meter_gpus: str,
    roots: frozenset[int],
    visible: bool,
    probe: Callable[[], None],
    tell: Callable[[str], None],
) -> ServerBoards:
    """The server's boards. Where the user named some and its processes do not tell, those are taken for them."""
    if meter_gpus == "auto":
        return boards_of_server(nvml, roots, visible=visible, probe=probe, tell=tell)
    found = None if nvml is None else by_processes(nvml.computing(), roots)
    return found or ServerBoards(uuids=(), by="none", roots=roots)


def _metered(nvml: Nvml | None, meter_gpus: str, found: ServerBoards) -> tuple[str, ...]:
    if meter_gpus == "auto":
        return found.uuids
    boards = choose_boards(meter_gpus, [] if nvml is None else nvml.boards(), ())
    if not boards and meter_gpus != "none":
        raise NoSensor(f"--meter-gpus {meter_gpus}: NVML lists no GPU.", "Leave the flag out, or see `harness doctor`.")
    return boards


def _facts(
    address: Address,
    serve: Sequence[str],
    command: Sequence[str],
    identity: Identity,
    weights: ServedWeights,
    found: ServerBoards,
    nvml: Nvml | None,
    metered: tuple[str, ...],
) -> EngineFacts:
    said = identity.said
    # Where no process tells, the user's word on the boards is taken.
    uuids = found.uuids or metered
    by: Literal["processes", "power", "user", "none"] = "user" if uuids and not found.uuids else found.by
    names = {board.uuid: board.name for board in ([] if nvml is None else nvml.boards())}
    requested = _asked(said.kind, command) or weights.precision
    executed = said.precision
    if executed is not None and requested is not None and not {executed, requested} & set(FLOATS):
        executed = requested  # both name a quantization, the server by its kernel
    n_parameters = said.n_parameters or weights.n_parameters
    per_parameter = said.bytes_per_parameter or (_BYTES.get(executed) if executed is not None else None)
    return EngineFacts(
        device_name=", ".join(names[uuid] for uuid in uuids) or cpu_model(),
        device_uuids=uuids,
        revision=weights.revision or said.revision or UNKNOWN,
        n_parameters=n_parameters,
        bytes_per_parameter=per_parameter,
        executed_precision=executed,
        requested_precision=requested or executed,
        layer_classes={},
        attention=None,
        context_length=said.context_length or weights.context_length,
        weights_format=weights.weights_format or ("gguf" if said.kind in ("llama.cpp", "ollama") else None),
        generation_config={},
        server=ServerFacts(
            kind=said.kind,
            version=said.version,
            model=identity.model,
            base_url=address.base_url,
            command=tuple(serve),
            boards_by=by,
        ),
    )


def _asked(kind: str, command: Sequence[str]) -> str | None:
    """The precision that the server's command asks for; None: whatever the checkpoint is."""
    if kind not in _WITH_PRECISION:
        return None
    quantization = flag(command, *_WITH_PRECISION[kind])
    if quantization is not None and quantization.lower() != "none":
        return quantization
    dtype = flag(command, "--dtype")
    return None if dtype in (None, "auto") else plain_word(str(dtype))


def _is_taken(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=1.0):
            return True
    except OSError:
        return False
