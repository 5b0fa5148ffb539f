"""Servers that are started: ready, dead, deaf, with children; their log without secrets; never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.server.address import Address
from harness.engine.server.asking import Asking
from harness.engine.server.health import wait_until_ready
from harness.engine.server.process import ServerProcess
from harness.engine.server.redaction import Redaction
from harness.errors import EnvironmentFault, UsageError
from tests.ports import free_port

PROGRAM = Path(__file__).with_name("small_server.py")
PATIENCE_S = 30.0


def command(port: int, **plan: object) -> list[str]:
    return [sys.executable, "-S", str(PROGRAM), str(port), json.dumps(plan)]


def asking(port: int) -> Asking:
    return Asking(Address(scheme="http", host="127.0.0.1", port=port))


def until(reached: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end_s, "it never came to it"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def nobody_left() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_ready_after_a_moment_and_gone_afterwards(port: int, tmp_path: Path, nobody_left: None) -> None:
    told: list[str] = []
    with ServerProcess(command(port, delay_s=0.3, say="hello"), tmp_path / "logs" / "server.log") as server:
        wait_until_ready(asking(port), server, PATIENCE_S, told.append)
        assert server.alive()
        assert server.status is None
        assert runs(server.pid)
        pid = server.pid
    assert not runs(pid)
    assert not server.alive()
    assert (tmp_path / "logs" / "server.log").read_text() == "hello\n"
    server.stop()  # once more does no harm


def test_who_dies_before_it_is_ready_is_quoted(port: int, tmp_path: Path, nobody_left: None) -> None:
    log = tmp_path / "server.log"
    log.write_text("of an earlier start\n")
    doomed = ServerProcess(command(port, delay_s=60.0, die_after_s=0.1, status=7, say="no memory\nleft"), log)
    with doomed, pytest.raises(EnvironmentFault, match="exit status 7") as raised:
        wait_until_ready(asking(port), doomed, PATIENCE_S, print)
    assert "no memory\n    left" in str(raised.value)
    assert "earlier" not in str(raised.value)
    assert str(log) in raised.value.next_step
    assert log.read_text().startswith("of an earlier start\n")  # a log is never overwritten


def test_who_is_not_ready_in_time_is_told_apart(port: int, tmp_path: Path) -> None:
    with ServerProcess(command(port, delay_s=60.0), tmp_path / "log") as server:
        until(lambda: asking(port).get("/health").status == 503)
        with pytest.raises(EnvironmentFault, match="not ready after 0 s: /health answered 503: loading") as raised:
            wait_until_ready(asking(port), server, 0.0, print)
    assert "--serve-timeout" in raised.value.next_step


def test_progress_is_told(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.server.health._TELL_EVERY_S", 0.0)
    told: list[str] = []
    with ServerProcess(command(port, delay_s=0.5, say="loading weights"), tmp_path / "log") as server:
        until(lambda: server.last_lines(1) == ["loading weights"])
        wait_until_ready(asking(port), server, PATIENCE_S, told.append)
    assert told
    assert "loading weights" in told[0]


def test_a_program_that_is_not_there(tmp_path: Path, nobody_left: None) -> None:
    with pytest.raises(EnvironmentFault, match="no-such-server could not be started: No such file"):
        ServerProcess(["no-such-server", "--port", "1"], tmp_path / "log").start()


def test_a_command_in_the_background_is_not_kept(tmp_path: Path, port: int, nobody_left: None) -> None:
    server = ServerProcess(["sh", "-c", "sleep 60 & exit 0"], tmp_path / "log")
    with server, pytest.raises(EnvironmentFault, match="has to stay in the foreground"):
        wait_until_ready(asking(port), server, PATIENCE_S, print)


@pytest.mark.parametrize("leave", [False, True])
def test_the_deaf_and_their_children_are_ended(leave: bool, port: int, tmp_path: Path, nobody_left: None) -> None:
    note = tmp_path / "child"
    deaf = command(port, deaf=True, child=str(note), leave=leave)
    with ServerProcess(deaf, tmp_path / "log", duration_stop_s=0.3) as server:
        wait_until_ready(asking(port), server, PATIENCE_S, print)
        child = int(note.read_text())
        assert runs(child)
    assert not runs(child)
    assert not runs(server.pid)


def test_children_do_not_outlive_a_server_that_dies(port: int, tmp_path: Path) -> None:
    note = tmp_path / "child"
    with ServerProcess(command(port, child=str(note)), tmp_path / "log") as server:
        wait_until_ready(asking(port), server, PATIENCE_S, print)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.alive())
        assert server.status == -signal.SIGKILL
        assert server.how_it_ended() == "killed by SIGKILL"
        until(lambda: not runs(int(note.read_text())))


STARTER = """
import sys, time
from pathlib import Path
from harness.engine.server.process import ServerProcess
server = ServerProcess(sys.argv[2:], Path(sys.argv[1]), duration_stop_s=0.3)
server.start()
print(server.pid, server._guardian.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("whom", ["harness", "guardian"])
def test_nothing_is_left_when_harness_or_the_guardian_is_killed(whom: str, port: int, tmp_path: Path) -> None:
    note = tmp_path / "child"
    words = [sys.executable, "-c", STARTER, str(tmp_path / "log"), *command(port, child=str(note))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server, guardian = map(int, starter.stdout.readline().split())
        until(note.exists)
        child = int(note.read_text())
        os.kill(starter.pid if whom == "harness" else guardian, signal.SIGKILL)
        until(lambda: not runs(server))
        if whom == "harness":
            until(lambda: not runs(child) and not runs(guardian))
        starter.kill()
    if runs(child):
        os.kill(child, signal.SIGKILL)


def test_children_are_ended_though_the_guardian_was_killed(port: int, tmp_path: Path) -> None:
    note = tmp_path / "child"
    with ServerProcess(command(port, deaf=True, child=str(note)), tmp_path / "log") as server:
        wait_until_ready(asking(port), server, PATIENCE_S, print)
        assert server._guardian is not None
        os.kill(server._guardian.pid, signal.SIGKILL)
        until(lambda: not server.alive())
    until(lambda: not runs(int(note.read_text())))


def test_ctrl_c_at_the_terminal_does_not_reach_it(port: int, tmp_path: Path) -> None:
    with ServerProcess(command(port), tmp_path / "log") as server:
        assert server._guardian is not None
        assert len({os.getsid(0), os.getsid(server._guardian.pid), os.getsid(server.pid)}) == 3


def test_the_log_holds_no_key_from_the_environment(tmp_path: Path) -> None:
    environ = {**os.environ, "MY_API_KEY": "sk-very-secret", "HF_TOKEN": "hf_abcdef"}
    says = ["sh", "-c", "echo key $MY_API_KEY, token $HF_TOKEN, port 1; printf sk-very; sleep 0.1; printf -- -secret"]
    with ServerProcess(says, tmp_path / "log", environ=environ) as server:
        until(lambda: not server.alive())
    assert (tmp_path / "log").read_text() == "key ***, token ***, port 1\n***"


def test_variables_in_front_of_the_command_are_set(tmp_path: Path) -> None:
    with ServerProcess(["LEVEL=three", "sh", "-c", "echo level $LEVEL; sleep 60"], tmp_path / "log") as server:
        until(lambda: server.last_lines(1) == ["level three"])


def test_a_progress_bar_is_quoted_as_it_last_was(tmp_path: Path) -> None:
    with ServerProcess(["printf", r"10 %%\r90 %%\n"], tmp_path / "log") as server:
        until(lambda: not server.alive())
        server.stop()
        assert server.last_lines() == ["90 %"]


@pytest.mark.parametrize("words", [[], ["A=1"]])
def test_a_command_without_a_program(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no command"):
        ServerProcess(words, tmp_path / "log")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        ServerProcess(["true"], tmp_path / "file" / "log").start()


@given(
    secrets=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4),
    pieces=st.lists(st.text("abc", max_size=9), max_size=9),
)
def test_a_secret_is_found_however_the_stream_is_cut(secrets: list[str], pieces: list[str]) -> None:
    redaction = Redaction(secrets)
    given_back = b"".join([*(redaction.clean(piece.encode()) for piece in pieces), redaction.clean(b"", last=True)])
    whole = Redaction(secrets).clean("".join(pieces).encode(), last=True)
    assert given_back == whole
    assert not any(secret.encode() in whole for secret in secrets)


def test_what_cannot_be_a_secrets_beginning_is_not_held_back() -> None:
    redaction = Redaction(["secret"])
    assert redaction.clean(b"ready\n") == b"ready\n"
    assert redaction.clean(b"a sec") == b"a "
    assert redaction.clean(b"ond") == b"second"
