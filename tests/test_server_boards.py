"""Which boards a server uses: by its processes, by its power; and whose processor time is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.engine.server import boards as boards_module
from harness.engine.server.boards import Rise, boards_of_server, by_processes, power_rises
from harness.environment.cpu_time import CpuTime
from harness.environment.listening import Listeners, listeners
from harness.environment.nvml import Nvml
from harness.environment.process_tree import command_line, runs, starter, tree, use_cuda, working_dir
from harness.errors import EnvironmentFault, NoSensor
from harness.records import FindingCode
from tests.fake_nvml import library as fake
from tests.ports import free_port
from tests.small_server import serving

A, B, C = "GPU-a", "GPU-b", "GPU-c"
GONE = 2**22 + 1
"""No process has this number, on a kernel as it comes."""


def nobody() -> None:
    raise AssertionError("this was not to be asked")


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """A process, the one that it started, and the one that this started."""
    inner = f"import os,time; open({str(tmp_path / 'inner')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    outer = f"import subprocess,sys; subprocess.run([sys.executable, '-S', '-c', {inner!r}])"
    first = f"import subprocess,sys; subprocess.run([sys.executable, '-S', '-c', {outer!r}])"
    with subprocess.Popen([sys.executable, "-S", "-c", first]) as process:
        until(lambda: (tmp_path / "inner").exists() and (tmp_path / "inner").read_text())
        last = int((tmp_path / "inner").read_text())
        middle = psutil.Process(last).ppid()
        yield process.pid, middle, last
        for pid in (last, middle):
            psutil.Process(pid).kill()
        process.kill()


def until(reached: Callable[[], object]) -> None:
    end_s = time.monotonic() + 30.0
    while not reached():
        assert time.monotonic() < end_s, "it never came to it"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------- processes


def test_a_tree(family: tuple[int, int, int]) -> None:
    first, middle, last = family
    assert tree([first]) == {first, middle, last}
    assert tree([middle, last, GONE]) == {middle, last}
    assert tree([]) == frozenset()
    assert starter(last) == middle
    assert starter(middle) == first
    assert starter(first) is None  # it was us, which is no part of a server
    assert starter(GONE) is None
    assert "subprocess" in " ".join(command_line(first))
    assert working_dir(first) == Path.cwd()
    assert (command_line(GONE), working_dir(GONE)) == ((), None)


def test_who_has_ended_and_was_not_collected_does_not_run() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert runs(process.pid)
        process.kill()
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert not runs(process.pid)
    assert not runs(GONE)


def test_a_shell_is_no_part_of_a_server() -> None:
    with subprocess.Popen(["bash", "-c", "sleep 60; true"]) as shell:
        until(lambda: psutil.Process(shell.pid).children())
        (child,) = psutil.Process(shell.pid).children()
        assert starter(child.pid) is None
        child.kill()


def test_who_uses_cuda_holds_its_node_open(tmp_path: Path) -> None:
    for pid, target in ((1, "/dev/null"), (2, "/dev/nvidiactl"), (3, "/dev/nvidia-uvm")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "5").symlink_to(target)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "fd").write_text("not to be listed")
    assert use_cuda([1, 2, GONE], tmp_path) is False
    assert use_cuda([1, 3, 4], tmp_path) is True
    assert use_cuda([1, 4], tmp_path) is None
    assert use_cuda([os.getpid()]) is False


def test_who_listens() -> None:
    with serving() as server:
        found = listeners(frozenset({"127.0.0.1"}), server.server_port)
        assert found.pids == {os.getpid()}
        assert found.is_the_server
        assert not listeners(frozenset({"192.0.2.77"}), server.server_port).pids
    assert listeners(frozenset({"127.0.0.1"}), free_port()) == Listeners(frozenset(), frozenset(), hidden=True)


def test_a_listener_of_somebody_else_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def connection(ip: str, pid: int | None, status: str = psutil.CONN_LISTEN) -> SimpleNamespace:
        return SimpleNamespace(laddr=SimpleNamespace(ip=ip, port=8000), pid=pid, status=status)

    def told(*connections: SimpleNamespace) -> Listeners:
        monkeypatch.setattr(psutil, "net_connections", lambda kind: list(connections))
        return listeners(frozenset({"127.0.0.1"}), 8000)

    own = os.getpid()
    assert told(connection("::", own)).is_the_server
    assert told(connection("::ffff:127.0.0.1", own)).is_the_server
    assert not told(connection("0.0.0.0", None)).is_the_server
    assert not told(connection("0.0.0.0", own), connection("0.0.0.0", None)).is_the_server
    assert told(connection("10.0.0.1", None), connection("127.0.0.1", own)).is_the_server
    assert told(connection("127.0.0.1", own, psutil.CONN_ESTABLISHED)).hidden
    monkeypatch.setattr("harness.environment.listening._name", lambda pid: "docker-proxy")
    assert not told(connection("0.0.0.0", own)).is_the_server


def test_a_servers_processor_time_is_our_own(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for pid, children, ticks in ((os.getpid(), "", 0), (10, "11", 300), (11, "", 200), (12, "", 700)):
        (proc / str(pid) / "task" / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "task" / str(pid) / "children").write_text(children)
        (proc / str(pid) / "stat").write_text(f"{pid} (a b) S {' '.join('0' * 10)} {ticks} 0 0 0 0\n")
    (proc / "stat").write_text("cpu 100 0 0 0\n")
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    alone_s = CpuTime(proc).read().duration_own_s
    with_it_s = CpuTime(proc, lambda: (10, 11, GONE)).read().duration_own_s
    assert with_it_s - alone_s == pytest.approx(500 * tick_s, abs=0.2)
    assert CpuTime(proc, lambda: (os.getpid(),)).read().duration_own_s == pytest.approx(alone_s, abs=0.2)


# ------------------------------------------------------------------------------------------- by processes


def test_boards_of_a_tree(family: tuple[int, int, int]) -> None:
    first, middle, last = family
    listed = {A: frozenset({GONE}), B: frozenset({last, GONE}), C: None}
    for roots in ({first}, {middle, GONE}, {last}):
        found = by_processes(listed, frozenset(roots))
        assert found is not None
        assert (found.uuids, found.by, found.roots) == ((B,), "processes", frozenset(roots))
    both = by_processes({A: frozenset({middle}), B: frozenset({last})}, frozenset({first}))
    assert both is not None
    assert both.uuids == (A, B)


def test_what_listens_may_be_one_part_of_a_server(family: tuple[int, int, int]) -> None:
    first, _, last = family
    found = by_processes({A: frozenset({first}), B: frozenset()}, frozenset({last}))
    assert found is not None
    assert (found.uuids, found.roots) == ((A,), frozenset({first}))
    assert by_processes({A: frozenset({os.getpid()})}, frozenset({last})) is None  # we are no part of it
    assert by_processes({A: frozenset({GONE})}, frozenset()) is None


# ----------------------------------------------------------------------------------------------- by power


class Machine:
    """Boards whose power follows whether a request is being answered."""

    def __init__(self, idle_w: Mapping[str, float], load_w: Mapping[str, float], duration_s: float = 0.1) -> None:
        self.listed: dict[str, frozenset[int] | None] = {uuid: frozenset() for uuid in idle_w}
        self._idle_w, self._load_w, self._duration_s = dict(idle_w), dict(load_w), duration_s
        self._busy = threading.Event()
        self.n_asked = 0

    def computing(self) -> dict[str, frozenset[int] | None]:
        return self.listed

    def powers_w(self) -> dict[str, float]:
        return {**self._idle_w, **(self._load_w if self._busy.is_set() else {})}

    def probe(self) -> None:
        self.n_asked += 1
        self._busy.set()
        time.sleep(self._duration_s)
        self._busy.clear()


QUICK = {"duration_idle_s": 0.03, "duration_load_s": 0.05, "duration_settle_s": 0.0, "period_s": 0.005}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards_module, "power_rises", lambda read, probe: power_rises(read, probe, **QUICK))


def ask(machine: Machine, *, visible: bool, roots: tuple[int, ...] = ()) -> boards_module.ServerBoards:
    nvml: Nvml = machine  # type: ignore[assignment]
    return boards_of_server(nvml, roots, visible=visible, probe=machine.probe, tell=lambda line: None)


def test_the_boards_whose_power_rises(quick: None) -> None:
    machine = Machine({A: 70.0, B: 70.0, C: 90.0}, {B: 300.0, A: 80.0})
    machine.listed[B] = frozenset({GONE})
    found = ask(machine, visible=False)
    assert (found.uuids, found.by, found.listed) == ((B,), "power", frozenset({GONE}))
    (finding,) = found.findings
    assert finding.code is FindingCode.BOARDS_BY_POWER
    assert f"{B} rose from 70 W to 300 W" in finding.detail
    assert f"{C} stayed from 90 W to 90 W" in finding.detail


def test_two_unknown_processes_on_a_board_are_nobodys(quick: None) -> None:
    machine = Machine({A: 70.0}, {A: 300.0})
    machine.listed[A] = frozenset({GONE, GONE + 1})
    assert ask(machine, visible=False).listed == frozenset()


def test_nothing_rises(quick: None) -> None:
    with pytest.raises(NoSensor, match="stayed from 70 W to 70 W") as raised:
        ask(Machine({A: 70.0}, {}), visible=False)
    assert "--meter-gpus" in raised.value.next_step


def test_a_server_on_the_cpu_has_no_boards() -> None:
    machine = Machine({A: 70.0}, {})
    found = ask(machine, visible=True, roots=(os.getpid(),))
    assert (found.uuids, found.by, machine.n_asked) == ((), "none", 0)
    assert boards_of_server(None, (), visible=False, probe=nobody, tell=print).by == "none"
    assert ask(Machine({}, {}), visible=False).by == "none"


def test_a_server_that_uses_cuda_under_other_numbers_is_found_by_power(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sight in (True, None):
        monkeypatch.setattr(boards_module, "use_cuda", lambda pids, seen=sight: seen)
        found = ask(Machine({A: 70.0, B: 70.0}, {A: 200.0}), visible=True, roots=(os.getpid(),))
        assert (found.uuids, found.by) == ((A,), "power")


def test_a_short_request_is_repeated() -> None:
    machine = Machine({A: 70.0}, {A: 300.0}, duration_s=0.002)
    rises = power_rises(machine.powers_w, machine.probe, **{**QUICK, "duration_load_s": 0.1})
    assert machine.n_asked > 1
    assert rises[A].is_clear


def test_a_request_that_fails() -> None:
    def fails() -> None:
        raise EnvironmentFault("no answer", "see")

    def breaks() -> None:
        raise ValueError("of a kind")

    with pytest.raises(EnvironmentFault, match="no answer"):
        power_rises(dict, fails, **QUICK)
    with pytest.raises(EnvironmentFault, match="of a kind"):
        power_rises(dict, breaks, **QUICK)


@pytest.mark.parametrize(
    ("rise", "clear"),
    [
        (Rise(70.0, 86.0, 1.0), True),
        (Rise(70.0, 84.0, 0.0), False),
        (Rise(70.0, 100.0, 5.0), True),
        (Rise(70.0, 100.0, 7.0), False),
        (Rise(300.0, 100.0, 0.0), False),
    ],
)
def test_what_a_clear_rise_is(rise: Rise, clear: bool) -> None:
    assert rise.is_clear is clear
    assert str(rise).startswith("rose" if clear else "stayed")


# ------------------------------------------------------------------------------- with NVML's own answers

ASK_NVML = """
import json, os, sys
from harness.engine.server.boards import boards_of_server
from harness.environment.nvml import open_nvml
served = [int(word) for word in sys.argv[1:]]
nvml = open_nvml()
states = nvml.states(served_by=served)
print(json.dumps({
    "found": boards_of_server(nvml, served, visible=True, probe=None, tell=print).uuids,
    "computing": {uuid: sorted(pids) for uuid, pids in nvml.computing().items()},
    "powers_w": nvml.powers_w(),
    "others": {uuid: [process.pid for process in state.processes] for uuid, state in states.items()},
    "lists_us": {uuid: state.lists_us for uuid, state in states.items()},
    "others_before": [process.pid for process in nvml.states()[list(states)[1]].processes],
}))
"""


def test_a_servers_processes_on_a_board_are_not_others(fake_nvml: Path, tmp_path: Path) -> None:
    served = os.getpid()  # of the process that asks it is no child
    second = replace(fake.A100, processes=(fake.GpuProcess(served, 1 << 30), fake.GpuProcess(GONE, 1 << 20)))
    config = tmp_path / "fake.conf"
    fake.write_config(config, [replace(fake.H100, load=(fake.constant(30.0),)), second])
    done = subprocess.run(
        [sys.executable, "-c", ASK_NVML, str(served)],
        env=fake.environment(fake_nvml.parent, config),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    one, two = fake.H100.uuid, fake.A100.uuid
    assert said["found"] == [two]
    assert said["computing"] == {one: [], two: sorted([served, GONE])}
    assert said["powers_w"] == pytest.approx({one: 100.0, two: 60.0})
    assert said["others"] == {one: [], two: [GONE]}
    assert said["lists_us"] == {one: False, two: True}
    assert said["others_before"] == [served, GONE]
