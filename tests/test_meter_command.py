"""`harness meter` as its user has it: any command, and nothing about it changed."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from harness.errors import ExitCode
from harness.records import CommandReport
from harness.report.command import show
from harness.store.trace import COLUMNS
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, Truth, constant, write_config

ROOT = Path(__file__).parents[1]
BOARD = replace(H100, load=(constant(130.0),))
OTHER = replace(H100, uuid="GPU-99999999-0000-4000-8000-000000000002", load=(constant(30.0),))
TIMEOUT_S = 60.0
ECHO = [
    sys.executable,
    "-c",
    "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('its words'); sys.exit(7)",
]


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `harness meter`, on a machine with boards or without."""

    root: Path
    library: Path

    @property
    def config(self) -> Path:
        return self.root / "boards.conf"

    @property
    def environ(self) -> dict[str, str]:
        found = fake.environment(self.library.parent, self.config) if self.config.exists() else dict(os.environ)
        return {**found, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.library.parent / "cache")}

    def line(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "harness", "meter", *map(str, arguments)]

    def run(self, *arguments: str | Path, text: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.line(*arguments),
            input=text,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=self.root,
        )

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.line(*arguments), env=self.environ, text=True, cwd=self.root, **options)

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "out.json").read_text())
        CommandReport.model_validate(found)
        return found


@pytest.fixture
def bare(tmp_path: Path, fake_nvml: Path) -> Shell:
    """A machine without a GPU."""
    return Shell(tmp_path, fake_nvml)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    """A machine with one board."""
    write_config(bare.config, [BOARD])
    return bare


def python(program: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(program)]


# --------------------------------------------------------------------------------- the command is itself


def test_streams_and_exit_status_are_the_commands(shell: Shell) -> None:
    done = shell.run("--json", "out.json", "--", *ECHO, text="héllo\n")
    assert done.returncode == 7
    assert done.stdout == "héllo\n"
    assert done.stderr.startswith("its words")
    assert "harness meter:" in done.stderr
    assert "exit status 7" in done.stderr
    assert shell.report()["exit_status"] == 7


def test_what_follows_the_dashes_is_the_commands_own(bare: Shell) -> None:
    words = ["--json", "--", "-h", "--version", "--meter-gpus=7", "a b", ""]
    done = bare.run("--no-baseline", "--", *python("import sys; print(sys.argv[1:])"), *words)
    assert done.stdout == f"{words}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--"], ["--no-baseline"], ["true"], ["--json", "out.json", "true", "--", "x"]]
)
def test_a_missing_command_or_missing_dashes_are_said(bare: Shell, arguments: list[str]) -> None:
    done = bare.run(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert "harness meter [OPTIONS] -- COMMAND" in done.stderr
    assert not (bare.root / "out.json").exists()


def test_an_option_that_does_not_exist_is_refused(bare: Shell) -> None:
    done = bare.run("--meter-gpu-s", "0", "--", "true")
    assert done.returncode == ExitCode.USAGE
    assert "'--meter-gpus'" in done.stderr


def test_a_command_that_cannot_be_started_ends_as_in_a_shell(bare: Shell) -> None:
    text = bare.root / "text"
    text.write_text("no program\n")
    binary = bare.root / "binary"
    binary.write_bytes(b"\x00\x01\x02")
    binary.chmod(0o755)
    for command, status, words in (
        ("no-such-command", 127, "was not found"),
        ("./no/such/path", 127, "was not found"),
        (str(text), 126, "cannot be executed"),
        (str(bare.root), 126, "cannot be executed"),
        (str(binary), 126, "cannot be executed"),
    ):
        done = bare.run("--no-baseline", "--", command)
        assert done.returncode == status
        assert words in done.stderr


def test_a_command_that_a_signal_ends_is_told_like_one(shell: Shell) -> None:
    done = shell.run("--no-baseline", "--json", "out.json", "--", "sh", "-c", "kill -SEGV $$")
    assert done.returncode == 128 + signal.SIGSEGV
    assert "ended by SIGSEGV" in done.stderr
    assert shell.report()["signal"] == "SIGSEGV"


TRAP = """
import os, signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: heard.append(number))
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
print("ready", sorted(map(int, blocked)), os.getpgrp() == os.getpgid(os.getppid()), flush=True)
deadline = time.monotonic() + 20
while len(heard) < int(sys.argv[1]) and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.3)
print([signal.Signals(number).name for number in heard], flush=True)
sys.exit(3)
"""


def test_signals_sent_to_the_meter_reach_the_command(shell: Shell) -> None:
    sent = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with shell.start("--no-baseline", "--json", "out.json", "--", *python(TRAP), str(len(sent)), **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready [] True\n"
        for number in sent:
            process.send_signal(number)
            time.sleep(0.1)
        heard, said = process.communicate(timeout=TIMEOUT_S)
    assert heard == f"{[number.name for number in sent]}\n"
    assert process.returncode == 3
    assert "exit status 3" in said
    assert shell.report()["reading"]["energy_gross_j"] > 0


def test_a_signal_before_the_command_starts_keeps_it_from_starting(shell: Shell) -> None:
    with shell.start("--", "touch", "started", stderr=subprocess.PIPE) as process:
        me, deadline_s = psutil.Process(process.pid), time.monotonic() + 20.0
        while not me.children() and time.monotonic() < deadline_s:  # the sampler: the signals are held by now
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM came before" in said
    assert not (shell.root / "started").exists()


TERMINAL = """
import os, sys, time, signal
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(time.monotonic()))
tty = os.open("/dev/tty", os.O_RDWR)
print("terminal", all(os.isatty(fd) for fd in (0, 1, 2)), os.tcgetpgrp(tty) == os.getpgrp(), flush=True)
print("read", input(), flush=True)
deadline = time.monotonic() + 20
while not heard and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.5)
print("interrupts", len(heard), flush=True)
sys.exit(9)
"""


def test_the_terminal_is_the_commands_and_a_ctrl_c_reaches_it_once(shell: Shell) -> None:
    leader, follower = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = shell.start(
        *("--no-baseline", "--", *python(TERMINAL)),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=own_terminal,
    )
    os.close(follower)
    seen = ""

    def until(words: str) -> None:
        nonlocal seen
        while words not in seen:
            try:
                seen += os.read(leader, 4096).decode()
            except OSError:  # nobody has the other end any more
                break
        assert words in seen

    until("terminal True True")
    os.write(leader, b"typed\n")
    until("read typed")
    os.write(leader, b"\x03")
    until("interrupts 1")
    until("exit status 9")
    assert process.wait(TIMEOUT_S) == 9
    os.close(leader)


def test_no_process_is_left_behind(shell: Shell) -> None:
    program = "import os, psutil; print(*[c.pid for c in psutil.Process(os.getppid()).children()])"
    done = shell.run("--no-baseline", "--", *python(program))
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2  # the sampler and the command
    assert not any(map(psutil.pid_exists, pids))


# ------------------------------------------------------------------------------------ what it says


def test_the_json_holds_the_energy_and_what_it_was_found_by(shell: Shell, fake_nvml: Path) -> None:
    write_config(shell.config, [BOARD, OTHER])
    done = shell.run("--json", "out.json", "--trace", "out.csv", "--", *python("import time; time.sleep(0.6)"))
    assert done.returncode == 0
    report = shell.report()
    reading = report["reading"]
    assert report["command"][0] == sys.executable
    assert [board["uuid"] for board in report["boards"]] == [BOARD.uuid, OTHER.uuid]
    assert report["driver"] == fake.System().driver_version
    assert report["sampler"]["n_polls"] > 0
    assert {channel["device"] for channel in report["channels"]} == {BOARD.uuid, OTHER.uuid}
    assert reading["findings"] == []
    assert {finding["code"] for finding in report["findings"]} <= {"late_samples"}  # on a busy machine
    assert report["duration_s"] == pytest.approx(reading["time_end_s"] - reading["time_start_s"], abs=0.2)
    # The trace has the command's edges on the monotonic clock, which the truth is told on.
    with (shell.root / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    begins, ends = [row for row in rows if row["quantity"] == "edge"]
    assert (begins["device"], float(begins["value"]), float(ends["value"])) == ("command", 1.0, -1.0)
    times_s = [float(row["time_after_monotonic_s"]) for row in (begins, ends)]
    truth_j = sum(Truth(fake_nvml, shell.config).energy_j(board, *times_s) for board in (0, 1))
    assert abs(reading["energy_gross_j"] - truth_j) <= 3.0 * reading["energy_gross_half_width_j"]
    assert reading["energy_gross_half_width_j"] < 0.1 * truth_j
    assert float(begins["time_unix_s"]) == pytest.approx(reading["time_start_unix_s"], abs=0.05)
    counter = [float(row["value"]) for row in rows if (row["device"], row["quantity"]) == (BOARD.uuid, "energy_j")]
    assert counter == sorted(counter)
    assert len(counter) >= 8
    ahead_s = {round(float(row["time_unix_s"]) - float(row["time_after_monotonic_s"]), 1) for row in rows}
    assert len(ahead_s) <= 2  # one clock against the other, but for rounding
    # The report for people holds the same figure.
    shown = re.search(r"energy +([\d.]+) ± ([\d.]+) J", done.stderr)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(reading["energy_gross_j"], abs=float(shown[2]))
    assert "2 GPU boards, NVML energy counter" in done.stderr


def test_a_trace_may_be_parquet(shell: Shell) -> None:
    done = shell.run("--no-baseline", "--trace", "out.parquet", "--", "true")
    assert done.returncode == 0
    table = pq.read_table(shell.root / "out.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert {"edge", "energy_j"} <= set(table["quantity"].to_pylist())
    assert table["value"].null_count == 0


def test_a_killed_meter_leaves_the_trace_that_was_there(shell: Shell) -> None:
    with shell.start("--no-baseline", "--trace", "out.csv", "--", "sleep", "30") as process:
        path, deadline_s = shell.root / "out.csv", time.monotonic() + 30.0
        while time.monotonic() < deadline_s and not (path.exists() and ",edge," in path.read_text()):
            time.sleep(0.05)
        children = psutil.Process(process.pid).children()
        process.kill()
    rows = path.read_text().splitlines()
    assert len(rows) > 5
    assert all(row.count(",") == len(COLUMNS) - 1 for row in rows)
    for child in children:
        if child.is_running() and "sleep" in child.cmdline():
            child.kill()


def test_net_energy_is_left_out_on_request(shell: Shell) -> None:
    done = shell.run("--no-baseline", "--json", "out.json", "--", "sleep", "0.3")
    assert done.returncode == 0
    reading = shell.report()["reading"]
    assert reading["energy_gross_j"] > 0
    assert reading["energy_net_j"] is None
    assert "above idle" not in done.stderr
    assert "no_idle_baseline" in {finding["code"] for finding in reading["findings"]}


# ------------------------------------------------------------------------------------ without a sensor


def test_without_a_sensor_the_command_runs_and_energy_is_unknown(bare: Shell) -> None:
    done = bare.run("--json", "out.json", "--trace", "out.csv", "--", *ECHO, text="words")
    assert (done.returncode, done.stdout) == (7, "words")
    assert "unknown" in done.stderr
    assert "no NVIDIA driver" in done.stderr
    report = bare.report()
    assert report["reading"] is None
    assert [finding["code"] for finding in report["findings"]] == ["no_sensor"]
    assert report["channels"] == report["boards"] == []


def test_a_required_sensor_that_is_missing_ends_it_before_the_command(bare: Shell) -> None:
    for more in ([], ["--allow-estimate"], ["--meter-gpus", "0"]):
        done = bare.run("--require-sensor", "--trace", "out.csv", *more, "--", "touch", "started")
        assert done.returncode == ExitCode.ENVIRONMENT
        assert "→" in done.stderr
        assert "Warning" not in done.stderr
    assert not (bare.root / "started").exists()


def test_a_board_that_does_not_exist_is_refused_before_the_command(shell: Shell) -> None:
    done = shell.run("--meter-gpus", "5", "--", "touch", "started")
    assert done.returncode == ExitCode.USAGE
    assert BOARD.uuid in done.stderr
    assert not (shell.root / "started").exists()


def test_a_file_that_cannot_be_written_is_said_before_the_command(bare: Shell) -> None:
    for flag in ("--json", "--trace"):
        for path in ("no/such/folder/out", "."):
            done = bare.run(flag, path, "--", "touch", "started")
            assert done.returncode == ExitCode.ENVIRONMENT
            assert "cannot be written" in done.stderr
    assert not (bare.root / "started").exists()


def test_a_sensor_that_is_lost_meanwhile_is_the_commands_least_worry(shell: Shell) -> None:
    program = """
    import os, psutil, time
    [sampler] = [c for c in psutil.Process(os.getppid()).children() if c.pid != os.getpid()]
    time.sleep(0.2)
    sampler.kill()
    print("done")
    """
    done = shell.run("--no-baseline", "--json", "out.json", "--", *python(program))
    assert (done.returncode, done.stdout) == (0, "done\n")
    reading = shell.report()["reading"]
    assert reading["energy_gross_j"] is None
    assert "sensor_lost" in {finding["code"] for finding in reading["findings"]}
    assert "unknown" in done.stderr


BROKEN = """
import sys
import harness.metering
from harness.cli.parser import run_verb
def broken(*_, **__):
    raise {error}
{target} = broken
sys.exit(run_verb(["meter", "--no-baseline", "--json", "out.json", "--", "sh", "-c", "exit 7"]))
"""


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("harness.metering.Meter.read", "RuntimeError('no memory')", "The energy was not read: no memory."),
        ("harness.metering.Meter.close", "RuntimeError", "The meter did not end in good order: RuntimeError."),
        ("harness.metered_command.CommandReport", "ValueError('odd')", "The report is not whole: odd."),
    ],
)
def test_what_fails_of_ours_afterwards_is_a_line_and_not_the_status(
    shell: Shell, target: str, error: str, words: str
) -> None:
    imports = "import harness.metered_command\n" if "command" in target else ""
    done = subprocess.run(
        python(imports + textwrap.dedent(BROKEN).format(target=target, error=error)),
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=shell.root,
    )
    assert done.returncode == 7, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr or "close" in target  # which the interpreter calls once more at its end
    if "Report" not in target:
        assert (shell.report()["reading"] is None) is ("close" not in target)


def test_a_ctrl_c_after_the_command_skips_the_reading(shell: Shell) -> None:
    write_config(shell.config, [replace(fake.RTX_4090_SLOW, tick_s=0.9)])  # the reading takes some seconds
    command = python("import os; print(os.getpid(), flush=True); raise SystemExit(7)")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with shell.start("--no-baseline", "--json", "out.json", "--", *command, **options) as process:
        assert process.stdout is not None
        pid, deadline_s = int(process.stdout.readline()), time.monotonic() + 30.0
        while psutil.pid_exists(pid) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 7
    assert "not read: interrupted" in " ".join(said.split())
    assert "Traceback" not in said
    assert shell.report()["reading"] is None


def test_boards_that_the_command_left_alone_are_named(shell: Shell) -> None:
    write_config(shell.config, [BOARD, OTHER])
    program = """
    import os, sys, time
    from dataclasses import replace
    from pathlib import Path
    from tests.fake_nvml.library import GpuProcess, write_config
    from tests.fake_nvml.library import H100, constant
    ours = GpuProcess(os.getpid(), 1)
    write_config(Path(os.environ["FAKE_NVML_CONFIG"]), [
        replace(H100, load=(constant(130.0),), processes=(ours,)),
        replace(H100, uuid=sys.argv[1], load=(constant(30.0),)),
    ])
    time.sleep(3.0)
    """
    done = shell.run("--no-baseline", "--json", "out.json", "--", *python(program), OTHER.uuid)
    assert done.returncode == 0
    found = {finding["code"]: finding["detail"] for finding in shell.report()["reading"]["findings"]}
    assert found["other_boards_metered"] == f"nothing of this program was seen on {OTHER.uuid}"


# ------------------------------------------------------------------------------------------ the report


def test_the_report_fits_a_narrow_terminal(shell: Shell, record_property: Callable[[str, object], None]) -> None:
    write_config(shell.config, [BOARD, OTHER])
    shell.run("--no-baseline", "--json", "out.json", "--", "sleep", "0.05")
    report = CommandReport.model_validate(shell.report())
    for width in (40, 60, 100):
        console = Console(width=width, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115, PTH123
        show(report, ["The trace is cut short: no space."], console)
        console.file.close()
        text = console.export_text()
        record_property(f"report {width}", text)
        assert max(map(len, text.splitlines())) <= width
        for words in ("energy", "mean power", "exit status 0", "→", "cut short"):
            assert words in text


def test_help_needs_no_numerics() -> None:
    program = """
    import sys
    from harness.cli.parser import build_parser
    build_parser()
    print(sorted({"numpy", "pandas", "pydantic", "rich", "harness.metering"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
