"""A server from its start, or from being found, to its end: what is known of it, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.config import load_run_spec
from harness.engine.server import serving as serving_module
from harness.engine.server.serving import UNKNOWN, Serving, opened
from harness.environment.listening import listeners
from harness.environment.nvml import Nvml
from harness.errors import EnvironmentFault, NoSensor, ServerLost, UnknownName, UsageError
from harness.pipeline.observer import Observer
from harness.records import Board, EngineFacts, FindingCode
from harness.study import Study, called
from harness.wiring.engines import tokenizer_of
from harness.wiring.jobs import jobs_of
from harness.wiring.serving import Servers, with_its_end
from tests.ports import free_port
from tests.small_server import serving
from tests.test_server_identity import PLAIN, model_dir

PROGRAM = Path(__file__).with_name("small_server.py")
BOARDS = ("GPU-a", "GPU-b")


class Boards(Nvml):
    """NVML with two boards; a test says who computes on them."""

    def __init__(self, listed: dict[str, frozenset[int]]) -> None:
        super().__init__(None)
        self._listed = listed

    def computing(self) -> dict[str, frozenset[int] | None]:
        return {uuid: self._listed.get(uuid, frozenset()) for uuid in BOARDS}

    def boards(self) -> list[Board]:
        return [Board(uuid=uuid, name=f"board {uuid[-1]}") for uuid in BOARDS]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def with_boards(monkeypatch: pytest.MonkeyPatch, listed: dict[str, frozenset[int]]) -> None:
    monkeypatch.setattr(serving_module, "open_nvml", lambda: Boards(listed))


def start(log: Path, port: int, **given: Any) -> AbstractContextManager[Serving]:
    """A server that is started."""
    plan = given.pop("plan", {})
    return found(
        log, None, serve=[sys.executable, "-S", str(PROGRAM), str(port), json.dumps(plan), *flags(port)], **given
    )


def flags(port: int) -> list[str]:
    return ["--port", str(port)]


def found(log: Path, base_url: str | None, **given: Any) -> AbstractContextManager[Serving]:
    """A server that runs."""
    usual: dict[str, Any] = {
        "serve": (),
        "base_url": base_url,
        "model": None,
        "weights_dir": None,
        "meter_gpus": "auto",
        "timeout_s": 30.0,
        "log_path": log,
        "tell": lambda line: None,
    }
    return opened(**{**usual, **given})


def until(reached: Callable[[], object]) -> None:
    end_s = time.monotonic() + 30.0
    while not reached():
        assert time.monotonic() < end_s, "it never came to it"
        time.sleep(0.01)


def test_a_server_is_started_known_and_ended(log: Path) -> None:
    port, told = free_port(), list[str]()
    with start(log, port, tell=told.append) as server:
        assert server.base_url == f"http://127.0.0.1:{port}/v1"
        assert server.model == "small"
        assert server.alive()
        assert server.process is not None
        assert server.process.pid in server.pids()
        facts = server.facts
        assert facts.server is not None
        assert facts.server.command[0] == sys.executable
        assert (facts.server.kind, facts.server.boards_by, facts.device_uuids) == ("unknown", "none", ())
        assert (facts.revision, facts.n_parameters, facts.executed_precision) == (UNKNOWN, None, None)
        assert facts.device_name
        (finding,) = server.findings
        assert finding.code is FindingCode.SERVED_NOT_KNOWN
        assert finding.detail == "not known: which weights and their precision"
        assert EngineFacts.model_validate_json(facts.model_dump_json()) == facts
        assert server.boards == ()
    assert not server.alive()
    assert told == [f"starting the server, at http://127.0.0.1:{port}/v1", "unknown serves small"]


def test_a_started_server_that_dies_is_noticed_and_quoted(log: Path) -> None:
    with start(log, free_port(), plan={"say": "my last words"}) as server:
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: not server.alive())
        assert "killed by SIGKILL" in server.how_it_ended()
        assert "my last words" in server.how_it_ended()
        assert str(log) in server.how_it_ended()


def test_it_is_ended_whatever_happens(log: Path) -> None:
    pids: list[int] = []

    def interrupted() -> None:
        with start(log, free_port()) as server:
            pids.extend(server.pids())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_it_is_ended_where_its_model_is_another(log: Path) -> None:
    with pytest.raises(UnknownName, match="large"), start(log, free_port(), model="large"):
        pytest.fail("it was opened")
    assert not [child for child in psutil.Process().children(recursive=True) if str(PROGRAM) in child.cmdline()]


def test_a_port_that_is_taken_is_not_measured(log: Path) -> None:
    with serving() as other, pytest.raises(UsageError, match="Something listens"), start(log, other.server_port):
        pytest.fail("it was opened")
    assert not log.exists()


def test_a_server_that_runs(log: Path) -> None:
    with serving() as other, found(log, f"http://127.0.0.1:{other.server_port}") as server:
        assert server.alive()
        assert server.process is None
        assert server.roots() == {os.getpid()}
        assert os.getpid() in server.pids()
        assert server.facts.server is not None
        assert server.facts.server.command == ()
    assert not log.exists()


def test_a_server_that_runs_and_is_gone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = listeners(frozenset({"127.0.0.1"}), free_port())
    monkeypatch.setattr(serving_module, "listeners", lambda ips, port: nobody)  # as of another user
    with serving() as other, found(log, f"http://127.0.0.1:{other.server_port}/v1") as server:
        assert server.alive()
        assert server.roots() == frozenset()
        other.shutdown()
        other.server_close()
        assert not server.alive()
        assert "nothing listens" in server.how_it_ended()


def test_a_tunnel_is_another_machine(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.environment.listening._name", lambda pid: "ssh")
    with serving() as other:
        tunnelled = found(log, f"http://127.0.0.1:{other.server_port}/v1")
        with pytest.raises(UsageError, match=r"tunnel \(ssh\)") as raised, tunnelled:
            pytest.fail("it was opened")
    assert "Run harness there" in raised.value.next_step


@pytest.mark.parametrize(
    ("url", "match"), [("http://192.0.2.77:8000/v1", "not on this machine"), ("http://a:b@127.0.0.1/v1", "credentials")]
)
def test_urls_that_are_refused(url: str, match: str, log: Path) -> None:
    with pytest.raises(UsageError, match=match), found(log, url):
        pytest.fail("it was opened")


def test_nobody_is_there(log: Path) -> None:
    with pytest.raises(EnvironmentFault, match="No server answers"), found(log, f"http://127.0.0.1:{free_port()}"):
        pytest.fail("it was opened")


def test_its_boards_by_its_processes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_boards(monkeypatch, {"GPU-b": frozenset({os.getpid()})})
    with serving() as other:
        url = f"http://127.0.0.1:{other.server_port}"
        with found(log, url) as server:
            assert server.boards == server.facts.device_uuids == ("GPU-b",)
            assert server.facts.device_name == "board b"
            assert server.facts.server is not None
            assert server.facts.server.boards_by == "processes"
        with found(log, url, meter_gpus="all") as server:  # what is metered, and what holds the model
            assert (server.boards, server.facts.device_uuids) == (BOARDS, ("GPU-b",))
        with found(log, url, meter_gpus="none") as server:
            assert (server.boards, server.facts.device_uuids) == ((), ("GPU-b",))


def test_the_users_word_on_the_boards(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_boards(monkeypatch, {})
    with serving() as other:
        url = f"http://127.0.0.1:{other.server_port}"
        with found(log, url, meter_gpus="1") as server:
            assert server.boards == server.facts.device_uuids == ("GPU-b",)
            assert server.facts.server is not None
            assert server.facts.server.boards_by == "user"
        with found(log, url) as server:  # a server on the CPU, beside boards
            assert server.boards == ()
        with pytest.raises(UnknownName), found(log, url, meter_gpus="7"):
            pytest.fail("it was opened")
        monkeypatch.undo()
        with pytest.raises(NoSensor), found(log, url, meter_gpus="all"):
            pytest.fail("it was opened")


def test_boards_by_power_where_its_processes_are_hidden(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_boards(monkeypatch, {"GPU-a": frozenset({2**22 + 1})})
    monkeypatch.setattr("harness.environment.listening._name", lambda pid: "docker-proxy")
    asked: list[str] = []

    def rises(read: object, probe: Callable[[], None]) -> dict[str, Any]:
        from harness.engine.server.boards import Rise

        probe()
        return {"GPU-a": Rise(70.0, 300.0, 1.0), "GPU-b": Rise(70.0, 71.0, 1.0)}

    monkeypatch.setattr("harness.engine.server.boards.power_rises", rises)
    with serving() as other, found(log, f"http://127.0.0.1:{other.server_port}", tell=asked.append) as server:
        assert server.boards == ("GPU-a",)
        assert FindingCode.BOARDS_BY_POWER in [finding.code for finding in server.findings]
        assert server.pids() == {2**22 + 1}
        assert server.roots() == frozenset()
        long = other.asked[-1]  # type: ignore[attr-defined]
        assert long["max_tokens"] > 100
    assert any("long answer" in line for line in asked)


def test_weights_that_the_server_names(log: Path, tmp_path: Path) -> None:
    path = model_dir(tmp_path / "m", {"dtype": "bfloat16"}, PLAIN)
    models = {"data": [{"id": "m", "owned_by": "vllm", "root": str(path), "max_model_len": 512}]}
    plan = {
        "answers": {"/v1/models": models},
        "say": "INFO with config: model='m', dtype=torch.bfloat16, quantization=None",
    }
    with start(log, free_port(), plan=plan) as server:
        facts = server.facts
        assert (facts.n_parameters, facts.bytes_per_parameter, facts.context_length) == (17, 2.0, 512)
        assert (facts.executed_precision, facts.requested_precision) == ("bfloat16", "bfloat16")
        assert len(facts.revision) == 64
        assert server.findings == ()


def test_a_kernels_name_is_no_other_precision(log: Path, tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    path = model_dir(tmp_path / "m", config, {"a": ("I32", [3])})
    models = {"data": [{"id": "m", "owned_by": "vllm", "root": str(path)}]}
    plan = {"answers": {"/v1/models": models}, "say": "with config: dtype=torch.float16, quantization=awq_marlin"}
    with start(log, free_port(), plan=plan) as server:
        assert (server.facts.executed_precision, server.facts.requested_precision) == ("awq 4 bit", "awq 4 bit")


def test_weights_that_the_user_names(log: Path, tmp_path: Path) -> None:
    path = model_dir(tmp_path / "m", {"dtype": "float16"}, PLAIN)
    with serving() as other, found(log, f"http://127.0.0.1:{other.server_port}", weights_dir=str(path)) as server:
        assert (server.facts.requested_precision, server.facts.executed_precision) == ("float16", None)
        (finding,) = server.findings
        assert finding.detail == "not known: their precision"


def test_a_script_that_starts_the_server_need_not_say_what_it_is(log: Path, tmp_path: Path) -> None:
    answers = {"/v1/models": [500, "no cache"], "/openapi.json": {"paths": {"/load_model": {}}}}
    port, program = free_port(), tmp_path / "transformers"
    program.write_text(PROGRAM.read_text())
    script = tmp_path / "start.sh"
    inner = f"{sys.executable} -S {program} $2 '{json.dumps({'answers': answers})}' serve ./m --dtype float16"
    script.write_text(f"#!/bin/sh\ncd {tmp_path}\n{inner}\n")
    script.chmod(0o755)
    model_dir(tmp_path / "m", {"dtype": "bfloat16"}, PLAIN)
    with found(log, None, serve=[str(script), *flags(port)]) as server:
        assert server.facts.server is not None
        assert (server.facts.server.kind, server.model) == ("transformers", "./m")
        assert (server.facts.requested_precision, len(server.facts.revision)) == ("float16", 64)
        assert len(server.pids()) > 1  # the script and the server


@pytest.mark.parametrize(
    ("server", "match"),
    [
        ({"serve": "vllm serve m --port 8000 --api-key sk-0123456789"}, "holds a secret"),
        ({"base_url": "http://me:sk-0123456789@127.0.0.1:8000"}, "holds credentials"),
        ({"base_url": "http://192.0.2.77:8000/v1"}, "not on this machine"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    server: dict[str, str], match: str, tmp_path: Path
) -> None:
    flags = {"engine": "openai", "model": ("m",), "output_dir": str(tmp_path), "meter_gpus": "none", **server}
    with pytest.raises(UsageError, match=match):
        Study.new(None, flags, ()).run(pilot_only=False)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_could_not_be_opened_is_not_taken_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_run_spec(None, {"engine": "openai", "model": ("m",), "base_url": "http://127.0.0.1:8000"})
    (job,) = jobs_of(spec)
    alive: list[bool] = [True]
    first: Any = SimpleNamespace(alive=lambda: alive[0])
    others = iter([first])

    @contextmanager
    def opened(**_: object) -> Iterator[object]:
        found = next(others, None)
        if found is None:
            raise EnvironmentFault("No server answers.", "Start it.")
        yield found

    monkeypatch.setattr(serving_module, "opened", opened)
    with Servers() as servers:
        assert servers.serving(job, tmp_path, Observer()) is first
        alive[0] = False
        with pytest.raises(EnvironmentFault):
            servers.serving(job, tmp_path, Observer())
        alive[0] = True  # another listens there now
        with pytest.raises(EnvironmentFault):
            servers.serving(job, tmp_path, Observer())


def test_a_tokenizers_path_begins_where_the_run_was_started(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    flags = {"engine": "openai", "model": ("m",), "base_url": "http://127.0.0.1:8000", "working_dir": str(tmp_path)}
    assert tokenizer_of(load_run_spec(None, {**flags, "tokenizer": "tokens"})) == str(tmp_path / "tokens")
    assert tokenizer_of(load_run_spec(None, {**flags, "tokenizer": "org/model"})) == "org/model"


def test_a_lost_server_that_has_ended_is_quoted(log: Path) -> None:
    lost = ServerLost("The server is lost.", "See its log.")
    with start(log, free_port(), plan={"say": "out of memory"}) as server:
        assert with_its_end(lost, server) is lost
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        deadline_s = time.monotonic() + 60
        while server.alive():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        said = str(with_its_end(lost, server))
    assert "killed by SIGKILL" in said
    assert "out of memory" in said
    assert str(log) in said


def test_a_cell_is_called_by_its_load() -> None:
    flags = {"engine": "openai", "model": ("m",), "base_url": "http://127.0.0.1:8000", "concurrency": "1,8"}
    assert [called(job) for job in jobs_of(load_run_spec(None, flags))] == ["m, one at a time", "m, 8 at once"]
