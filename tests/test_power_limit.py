"""A board's power limit: refused before anything is changed, set on the metered boards alone, and set back whatever
happens. The boards are the fake library's, which keeps every limit that was set in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from tests.fake_nvml import library as fake
from tests.fake_nvml.library import A100, H100, Fault

NO_PERMISSION, UNKNOWN = 4, 999
PROJECT = Path(__file__).parents[1]
SET = "nvmlDeviceSetPowerManagementLimit"


class Boards:
    """Fake boards, and Python programs that see them."""

    def __init__(self, library: Path, config: Path) -> None:
        self.config = config
        self._environment = {**fake.environment(library.parent, config), "PYTHONPATH": str(PROJECT)}
        fake.write_config(config, [H100, A100])

    def command(self, program: str) -> list[str]:
        return [sys.executable, "-c", textwrap.dedent(program)]

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(program), env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, program: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(program),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal gives one
        )

    @property
    def set_w(self) -> list[tuple[str, float]]:
        return fake.limits_set(self.config)

    def now_w(self, board: fake.Board) -> float:
        return next((watts for uuid, watts in reversed(self.set_w) if uuid == board.uuid), board.power_limit_w)


@pytest.fixture
def boards(fake_nvml: Path, tmp_path: Path) -> Boards:
    return Boards(fake_nvml, tmp_path / "boards.conf")


REFUSED = """
    import json
    from harness.errors import HarnessError
    from harness.power_limit.request import refuse_power_limit
    try:
        refuse_power_limit({watts}, {uuids!r})
    except HarnessError as error:
        print(json.dumps([type(error).__name__, str(error), error.next_step]))
"""


def refusal(boards: Boards, watts: float, uuids: Sequence[str] = (H100.uuid,)) -> list[str]:
    done = boards.run(REFUSED.format(watts=watts, uuids=tuple(uuids)))
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout or "[]")
    return said


def test_what_a_board_does_not_take_is_refused_with_its_range(boards: Boards) -> None:
    kind, said, step = refusal(boards, 150)
    assert kind == "UsageError"
    assert "--power-limit 150" in said
    assert "200 W to 700 W" in said
    assert "nvidia-smi" in step
    assert refusal(boards, 701)[0] == "UsageError"
    assert refusal(boards, 700) == []
    assert refusal(boards, 350, [H100.uuid, A100.uuid]) == []  # inside of both ranges
    assert refusal(boards, 500, [H100.uuid, A100.uuid])[0] == "UsageError"  # too much for the second
    assert {watts for uuid, watts in boards.set_w if uuid == H100.uuid} == {700.0}  # only ever its own


def test_without_a_metered_board_there_is_nothing_to_set(boards: Boards) -> None:
    assert refusal(boards, 300, [])[0] == "UsageError"


def test_a_user_who_may_not_is_told_what_to_do(boards: Boards) -> None:
    fake.write_config(boards.config, [replace(H100, faults=(Fault(SET, NO_PERMISSION),))])
    kind, said, step = refusal(boards, 300)
    assert kind == "EnvironmentFault"
    assert "Insufficient Permissions" in said
    assert f"sudo nvidia-smi -i {H100.uuid} -pl 300" in step
    assert boards.set_w == []


LOWERED = """
    import os, signal, sys, time
    from harness.power_limit.limit import PowerLimit
    with PowerLimit(300.0) as limit:
        for finding in limit.lower([{uuid!r}]):
            print(finding.code.value, finding.detail, flush=True)
        {then}
    print("over", flush=True)
"""


def lowered(then: str) -> str:
    return LOWERED.format(uuid=H100.uuid, then=then)


def test_it_is_set_on_the_named_board_alone_and_set_back_at_the_end(boards: Boards) -> None:
    done = boards.run(lowered(f"limit.lower([{H100.uuid!r}])  # of a second checkpoint: it has it already"))
    assert done.returncode == 0, done.stderr
    assert f"power_limit_set {H100.uuid}: 300 W, 700 W before" in done.stdout
    assert [watts for _, watts in boards.set_w].count(300.0) == 1
    assert {uuid for uuid, _ in boards.set_w} == {H100.uuid}
    assert boards.now_w(H100) == 700.0


def test_nothing_is_asked_of_any_board_without_the_flag(boards: Boards) -> None:
    done = boards.run(
        f"""
        from harness.power_limit.limit import PowerLimit
        with PowerLimit(None) as limit:
            print(limit.lower([{H100.uuid!r}]))
        """
    )
    assert done.stdout == "()\n"
    assert boards.set_w == []


def test_an_exception_keeps_its_name_and_the_limit_is_set_back(boards: Boards) -> None:
    done = boards.run(lowered("raise LookupError('something else')"))
    assert "LookupError: something else" in done.stderr
    assert boards.now_w(H100) == 700.0


def test_setting_it_back_twice_is_harmless(boards: Boards) -> None:
    done = boards.run(lowered("print(limit.restore(), limit.restore())"))
    assert "{} {}" in done.stdout
    assert done.returncode == 0, done.stderr
    assert boards.now_w(H100) == 700.0


def wait_for(pipe: IO[str] | None, text: str) -> None:
    assert pipe is not None
    while text not in (line := pipe.readline()):
        assert line, f"it ended without saying {text}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_whatever_ends_the_process_the_limit_is_set_back(boards: Boards, number: signal.Signals) -> None:
    process = boards.start(lowered("time.sleep(60)"))
    wait_for(process.stdout, "power_limit_set")
    assert boards.now_w(H100) == 300.0
    if number is signal.SIGKILL:
        os.kill(process.pid, number)
    else:
        os.killpg(process.pid, number)  # as a terminal's Ctrl-C: to everybody who is still in the group
    process.wait(30)
    deadline_s = time.monotonic() + 30
    while boards.now_w(H100) != 700.0 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert boards.now_w(H100) == 700.0
    process.communicate()


def test_a_forked_worker_that_holds_the_pipe_does_not_hold_the_limit(boards: Boards) -> None:
    process = boards.start(
        lowered("worker = os.fork()\n        print('forked', worker, flush=True) if worker else None\n"
                "        time.sleep(60)")
    )  # fmt: skip
    wait_for(process.stdout, "power_limit_set")
    assert process.stdout is not None
    worker = int(process.stdout.readline().split()[1])
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        deadline_s = time.monotonic() + 30
        while boards.now_w(H100) != 700.0 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert boards.now_w(H100) == 700.0
    finally:
        os.kill(worker, signal.SIGKILL)
        process.communicate()


def test_a_board_that_does_not_obey_is_given_up_and_set_back(boards: Boards) -> None:
    stubborn = replace(H100, answers=(fake.Answer("nvmlDeviceGetPowerManagementLimit", 700_000),))
    fake.write_config(boards.config, [stubborn])
    done = boards.run(lowered("print('never')"))
    assert "does not have that limit (it says 700 W)" in done.stderr
    assert "never" not in done.stdout
    assert boards.now_w(H100) == 700.0


def test_a_limit_that_cannot_be_set_back_is_told_with_the_command(boards: Boards) -> None:
    done = boards.run(
        lowered(
            "from pathlib import Path; from dataclasses import replace; from tests.fake_nvml import library as fake;"
            f" fake.write_config(Path({str(boards.config)!r}),"
            f" [replace(fake.H100, faults=(fake.Fault({SET!r}, {UNKNOWN}),))]); time.sleep(0.2)"
        )
    )
    assert done.returncode != 0
    assert f"THE POWER LIMIT OF {H100.uuid} WAS NOT SET BACK" in done.stderr
    assert f"sudo nvidia-smi -i {H100.uuid} -pl 700" in done.stderr
    assert boards.now_w(H100) == 300.0
