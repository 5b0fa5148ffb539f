"""A sweep that runs: what is killed goes on, what fails is kept apart, what may pass is tried again. No model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.cli.parser import build_parser
from harness.environment.neighbours import announced_neighbours
from harness.environment.nvml import BoardState, Nvml
from harness.errors import EnvironmentFault, ExitCode, SchemaError, UnknownName, UsageError
from harness.records import Board, CellOutcome, FindingCode, PlannedCell, SessionEnd
from harness.report.sweep.outcomes import energy_words, print_outcomes
from harness.store.run_directory import RunDirectory
from harness.sweep import driver
from harness.sweep.cell import process
from harness.sweep.cell.ending import ending_of, last_error
from harness.sweep.cell.measured import fault_of
from harness.sweep.cell.process import CellProcess, run_cell
from harness.sweep.cell.task import MARK, PROGRAM, CellTask, command_of, environment_of
from harness.sweep.directory import SweepDirectory
from harness.sweep.driver import Observer, SweepResult
from harness.sweep.executors.local import LocalExecutor, slots_of
from harness.sweep.launch import launch
from harness.sweep.planning.plan import plan_of
from harness.sweep.planning.spec import SweepSpec
from harness.sweep.watch import Watch
from tests.gate_runs import GOLDEN, write_run

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_cell.py")))
N_PROMPTS = 4
A, B = "GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-bbbbbbbb-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One site's directory, written through `RunDirectory`; the stand-in copies from it."""
    run = write_run(tmp_path_factory.mktemp("template") / "run", n_prompts=8, repeats=1, modes=("off", "on"))
    (place,) = run.glob("*/*/")
    return place


@pytest.fixture
def marks(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stand-ins leave their marks."""
    path = tmp_path / "marks"
    path.mkdir()
    monkeypatch.setenv("STAND_IN_TEMPLATE", str(template))
    monkeypatch.setenv("STAND_IN_MARKS", str(path))
    return path


@pytest.fixture
def sweep(tmp_path: Path, marks: Path) -> SweepDirectory:
    return SweepDirectory.create(tmp_path / "results" / "sweep", "vary: {}\n")


def planned(model: str, repeat: int = 0, **spec: object) -> PlannedCell:
    fields = {"model": [model], "num_prompts": N_PROMPTS, **spec}
    return PlannedCell(labels={"model": model}, spec=fields, repeat=repeat)


def local(sweep: SweepDirectory, **options: object) -> LocalExecutor:
    return LocalExecutor(sweep, program=STAND_IN, **options)  # type: ignore[arg-type]


def drive(sweep: SweepDirectory, cells: Sequence[PlannedCell], **options: object) -> SweepResult:
    executor = options.pop("executor", None) or local(sweep)
    return driver.run(sweep, cells, executor, backoff_s=0.0, **options)  # type: ignore[arg-type]


def starts(marks: Path) -> list[str]:
    """Names of the cells that were started, in order."""
    path = marks / "starts"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def pids(marks: Path) -> list[int]:
    return [int(line.split()[1]) for line in (marks / "starts").read_text().splitlines()]


def pairs(sweep: SweepDirectory, cell: PlannedCell) -> list[tuple[str, str]]:
    """Every (prompt, mode) on disk of one cell, doubled ones twice."""
    lines = [
        json.loads(line)
        for path in sweep.run_path(cell).glob(f"cell-{cell.repeat}/*/queries.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sorted((line["prompt_id"], line["mode"]) for line in lines)


def is_whole(sweep: SweepDirectory, cell: PlannedCell, n_prompts: int = N_PROMPTS) -> bool:
    found = pairs(sweep, cell)
    return len(found) == len(set(found)) == 2 * n_prompts


def wait_for(happened: Callable[[], bool]) -> None:
    """However slow the machine is."""
    until_s = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < until_s, "it never happened"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# ------------------------------------------------------------------------------------------ the loop


def test_a_sweep_measures_all_cells_in_their_order_and_a_second_start_none(sweep: SweepDirectory, marks: Path) -> None:
    cells = [planned("b"), planned("a"), planned("b", 1), planned("a", 1)]
    result = drive(sweep, cells)
    assert result.exit_code is ExitCode.OK
    assert starts(marks) == ["b/0", "a/0", "b/1", "a/1"]
    assert all(is_whole(sweep, cell) for cell in cells)
    outcomes = sweep.outcomes()
    assert [outcome.key for outcome in outcomes] == [cell.key for cell in cells]
    assert all(o.status == "finished" and o.n_queries == 2 * N_PROMPTS and o.estimated is False for o in outcomes)
    found = sweep.measured(cells[0])
    assert found is not None
    energies = [json.loads(line)["readings"][0]["energy_gross_j"] for line in lines_of(sweep, cells[0])]
    assert found.energy_j == pytest.approx(sum(energies))
    assert outcomes[0].energy_j == found.energy_j
    (sweep.path / "outcomes.jsonl").unlink()  # losing it loses nothing that was measured
    assert drive(sweep, cells).exit_code is ExitCode.OK
    assert len(starts(marks)) == 4


def lines_of(sweep: SweepDirectory, cell: PlannedCell) -> list[str]:
    (path,) = sweep.run_path(cell).glob(f"cell-{cell.repeat}/*/queries.jsonl")
    return path.read_text().splitlines()


def test_what_will_not_pass_is_not_tried_again_and_the_others_stand(sweep: SweepDirectory, marks: Path) -> None:
    cells = [planned("u", act="usage"), planned("m", act="memory"), planned("t", act="traceback"), planned("ok")]
    result = drive(sweep, cells, retries=3)
    assert result.exit_code is ExitCode.CELLS_FAILED
    assert starts(marks) == ["u/0", "m/0", "t/0", "ok/0"]
    assert [cell.labels["model"] for cell in result.failed] == ["u", "m", "t"]
    usage, memory, traceback, _ = sweep.outcomes()
    assert (usage.error, usage.next_step, usage.exit_code) == ("--dtype float7 is none.", "Write float16.", 2)
    assert memory.error == "big does not fit into the device's memory: 80 GiB."
    assert memory.next_step == "Choose a smaller model."
    assert traceback.error == "RuntimeError: nobody foresaw this"
    assert str(sweep.log(cells[2], 1)) in traceback.next_step
    assert not any(outcome.may_pass for outcome in (usage, memory, traceback))


def test_an_invalid_cell_is_not_measured_again_and_does_not_become_valid_by_a_resume(
    sweep: SweepDirectory, marks: Path
) -> None:
    cells = [planned("i", act="invalid"), planned("ok")]
    for _ in range(2):
        result = drive(sweep, cells)
        assert result.exit_code is ExitCode.CELLS_FAILED
        assert result.failed == (cells[0],)
        assert result.finished == {cells[1].key}
    assert starts(marks) == ["i/0", "ok/0"]
    assert is_whole(sweep, cells[0])


def test_what_may_pass_is_tried_again_and_completed(sweep: SweepDirectory, marks: Path) -> None:
    cells = [planned("k", act="killed once"), planned("s", act="server once"), planned("ok")]
    result = drive(sweep, cells)
    assert result.exit_code is ExitCode.OK
    assert sorted(starts(marks)) == ["k/0", "k/0", "ok/0", "s/0", "s/0"]
    assert all(is_whole(sweep, cell) for cell in cells)
    of_killed = [outcome for outcome in sweep.outcomes() if outcome.key == cells[0].key]
    assert [(o.status, o.attempt, o.exit_code) for o in of_killed] == [("lost", 1, -9), ("finished", 2, 0)]


def test_no_retries_means_none(sweep: SweepDirectory, marks: Path) -> None:
    result = drive(sweep, [planned("k", act="killed once")], retries=0)
    assert result.exit_code is ExitCode.CELLS_FAILED
    assert starts(marks) == ["k/0"]
    assert drive(sweep, [planned("k", act="killed once")], retries=0).exit_code is ExitCode.OK
    assert [outcome.attempt for outcome in sweep.outcomes()] == [1, 2]


def test_a_changed_plan_measures_only_the_difference(sweep: SweepDirectory, marks: Path) -> None:
    drive(sweep, [planned("a"), planned("b")], plan="vary: {model: [a, b]}\n")
    more = [planned("a", num_prompts=6), planned("c"), planned("b")]
    assert sweep.finished(more) == {planned("b").key}
    assert drive(sweep, more, plan="vary: {model: [a, b, c]}\n").exit_code is ExitCode.OK
    assert starts(marks) == ["a/0", "b/0", "a/0", "c/0"]
    assert is_whole(sweep, more[0], n_prompts=6)
    assert [path.name for path in sweep.plans()] == ["sweep.yaml", "sweep-2.yaml", "sweep-3.yaml"]
    sweep.freeze("vary:\n  model: [a, b, c]  # the same in other words\n")
    assert len(sweep.plans()) == 3
    assert "[a, b, c]" in sweep.plan()
    assert sweep.finished([planned("a", num_prompts=4)])  # fewer than were asked


class Interrupting(Observer):
    """Presses Ctrl-C once a cell has written its first query."""

    def __init__(self, sweep: SweepDirectory) -> None:
        self.sweep, self.pressed = sweep, False

    def looked(self, running: Sequence[PlannedCell]) -> None:
        if running and not self.pressed and pairs(self.sweep, running[0]):
            self.pressed = True
            raise KeyboardInterrupt


def test_ctrl_c_leaves_everything_resumable(
    sweep: SweepDirectory, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LOOK_S", 0.1)
    slow = planned("slow", pace_s=1.0, num_prompts=8)
    result = drive(sweep, [slow, planned("b")], observer=Interrupting(sweep))
    assert result.exit_code is ExitCode.INTERRUPTED
    assert starts(marks) == ["slow/0"]
    (outcome,) = sweep.outcomes()
    assert (outcome.status, outcome.exit_code) == ("interrupted", 130)
    assert 0 < len(pairs(sweep, slow)) < 16
    assert is_gone(pids(marks)[0])
    assert drive(sweep, [slow, planned("b")]).exit_code is ExitCode.OK
    assert is_whole(sweep, slow, n_prompts=8)


def test_a_killed_driver_takes_its_cell_along_and_the_next_one_completes_it(sweep: SweepDirectory, marks: Path) -> None:
    cell = planned("slow", pace_s=1.0, num_prompts=8)
    code = (
        "import sys; from pathlib import Path; from harness.sweep import driver; "
        "from harness.sweep.directory import SweepDirectory; from harness.sweep.executors.local import LocalExecutor; "
        "from harness.records import PlannedCell; sweep = SweepDirectory(Path(sys.argv[1])); "
        "cell = PlannedCell.model_validate_json(sys.argv[2]); "
        f"driver.run(sweep, [cell], LocalExecutor(sweep, program={STAND_IN!r}))"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(sweep.path), cell.model_dump_json()])
    try:
        wait_for(lambda: bool(pairs(sweep, cell)))
        with pytest.raises(UsageError, match=f"process {other.pid}"):
            drive(sweep, [cell])
        assert len(starts(marks)) == 1  # two drivers exclude each other
    finally:
        other.kill()
        other.wait()
    wait_for(lambda: is_gone(pids(marks)[0]))
    n_left = len(pairs(sweep, cell))
    assert 0 < n_left < 16
    with (sweep.path / "outcomes.jsonl").open("a") as file:
        file.write('{"schema_version": 1, "key": "torn')
    assert drive(sweep, [cell]).exit_code is ExitCode.OK
    assert is_whole(sweep, cell, n_prompts=8)
    assert [outcome.status for outcome in sweep.outcomes()] == ["finished"]


def test_damage_is_named_moved_aside_and_measured_again(sweep: SweepDirectory, marks: Path) -> None:
    cells = [planned("a"), planned("a", 1), planned("b")]
    drive(sweep, cells)
    (queries,) = sweep.run_path(cells[0]).glob("cell-0/*/queries.jsonl")
    lines = queries.read_text().splitlines()
    queries.write_text("\n".join([lines[0][:40], *lines[1:]]) + "\n")
    seen: list[tuple[Path, str]] = []

    class Seeing(Observer):
        def set_aside(self, path: Path, why: str) -> None:
            seen.append((path, why))

    assert drive(sweep, cells, observer=Seeing()).exit_code is ExitCode.OK
    ((aside, why),) = seen
    assert aside.name == f"{cells[0].run_id}.damaged-1"
    assert "queries.jsonl, line 1 is damaged" in why
    assert (aside / "cell-0").is_dir()
    assert starts(marks)[3:] == ["a/0", "a/1"]
    assert all(is_whole(sweep, cell) for cell in cells)


def test_a_cell_that_stumbles_over_damage_is_begun_anew(sweep: SweepDirectory, marks: Path) -> None:
    """Damage that a quick look does not see: the last session ended well, and every file has its length."""
    cell = planned("a")
    drive(sweep, [cell])
    (place,) = sweep.run_path(cell).glob("cell-0/*/")
    RunDirectory(place).write_end(SessionEnd(session=1, ended_utc="", status="interrupted", sampler=None, findings=()))
    queries = place / "queries.jsonl"
    queries.write_text("!" + queries.read_text()[1:])
    assert fault_of(sweep.run_path(cell)) is None
    assert fault_of(sweep.run_path(cell), thorough=True)
    more = planned("a", num_prompts=6)
    assert drive(sweep, [more]).exit_code is ExitCode.OK
    assert [outcome.status for outcome in sweep.outcomes()] == ["finished", "failed", "finished"]
    assert is_whole(sweep, more, n_prompts=6)
    assert (sweep.path / f"{cell.run_id}.damaged-1").is_dir()


def test_a_newer_version_is_no_damage(sweep: SweepDirectory, marks: Path) -> None:
    cell = planned("a")
    drive(sweep, [cell])
    (end,) = sweep.run_path(cell).glob("cell-0/*/sessions/01/end.json")
    end.write_text(end.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SchemaError, match="schema version 2"):
        drive(sweep, [cell])
    assert sweep.run_path(cell).is_dir()


# ------------------------------------------------------------------------------------ one process


def ended(running: CellProcess) -> CellOutcome:
    while (outcome := running.poll()) is None:
        time.sleep(0.02)
    return outcome


def overdue(sweep: SweepDirectory, cell: PlannedCell) -> CellOutcome:
    """How a cell ends whose time is over once it has measured everything."""
    running = CellProcess(task_of(sweep, cell))
    running.start()
    wait_for(lambda: is_whole(sweep, cell))
    running.task = replace(running.task, time_limit_s=0.0)
    return ended(running)


def test_a_cell_that_takes_too_long_is_interrupted(sweep: SweepDirectory, marks: Path) -> None:
    outcome = overdue(sweep, planned("hang", act="hang"))
    assert (outcome.status, outcome.exit_code, outcome.may_pass) == ("timed_out", 130, False)
    assert outcome.n_queries == 2 * N_PROMPTS
    assert "time_limit_s" in outcome.next_step


def test_a_cell_that_heeds_nothing_is_killed(
    sweep: SweepDirectory, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", {signal.SIGINT: 0.1, signal.SIGTERM: 0.1})
    outcome = overdue(sweep, planned("deaf", act="deaf"))
    assert (outcome.status, outcome.exit_code, outcome.may_pass) == ("timed_out", -9, False)
    assert is_gone(pids(marks)[0])


def test_what_a_cell_leaves_behind_is_ended_before_its_outcome_is_told(
    sweep: SweepDirectory, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LEFT_S", 0.2)
    assert run_cell(task_of(sweep, planned("l", act="leave a child"))).status == "finished"
    assert is_gone(int((marks / "child").read_text()))


def test_a_crash_is_the_programs_own_fault_and_a_kill_is_not(sweep: SweepDirectory, marks: Path) -> None:
    crashed = run_cell(task_of(sweep, planned("c", act="crash")))
    assert (crashed.status, crashed.exit_code, crashed.may_pass) == ("failed", -11, False)
    assert "SIGSEGV" in crashed.error
    running = CellProcess(task_of(sweep, planned("d", act="hang")))
    running.start()
    wait_for(lambda: len(pids(marks)) == 2)
    os.kill(pids(marks)[1], signal.SIGTERM)
    outcome = ended(running)
    assert (outcome.status, outcome.may_pass) == ("lost", True)
    assert "SIGTERM" in outcome.error


def test_a_cell_whose_driver_is_gone_does_not_begin(marks: Path) -> None:
    leash = [sys.executable, "-P", "-m", "harness.sweep.cell.leash", "1", sys.executable, "-c", "print('measured')"]
    done = subprocess.run(leash, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not done.stdout


def task_of(sweep: SweepDirectory, cell: PlannedCell, **fields: object) -> CellTask:
    return CellTask(
        cell=cell,
        attempt=1,
        run_path=sweep.run_path(cell),
        log_path=sweep.log(cell, 1),
        working_dir=Path.cwd(),
        program=STAND_IN,
        **fields,  # type: ignore[arg-type]
    )


def test_the_environment_of_a_cell(sweep: SweepDirectory) -> None:
    base = {
        "RAY_ADDRESS": "x",
        "RANK": "3",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": "/mine",
        "CUDA_VISIBLE_DEVICES": "0,1",
    }
    environ = environment_of(task_of(sweep, planned("a"), gpus=(A,), neighbours=(B,)), base, "m")
    assert not {"RAY_ADDRESS", "RANK"} & set(environ)
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert environ["PYTHONUNBUFFERED"] == "1"
    assert environ["CUDA_VISIBLE_DEVICES"] == A
    assert environ["PYTHONPATH"].endswith(f"{os.pathsep}/mine")
    assert environ[MARK] == "m"
    (finding,) = announced_neighbours(environ)
    assert finding.code is FindingCode.NEIGHBOURS_SHARE
    assert B in finding.detail
    assert environment_of(task_of(sweep, planned("a"), gpus=()), base)["CUDA_VISIBLE_DEVICES"] == ""
    assert environment_of(task_of(sweep, planned("a")), base)["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert not announced_neighbours(environment_of(task_of(sweep, planned("a")), environ))
    command = command_of(task_of(sweep, planned("a", 2)), Path("a.yaml"))
    assert command[-6:] == ["run", "a.yaml", "--run-dir", str(sweep.run_path(planned("a"))), "--only-repeat", "2"]
    assert PROGRAM[-2:] == ("-m", "harness")
    options = build_parser().parse_args(command[command.index("run") :])
    assert (options.run_dir, options.only_repeat) == (str(sweep.run_path(planned("a"))), 2)


class Warm(Nvml):
    """A driver that lists one board, cooler at each look."""

    def __init__(self, *temperatures_c: float) -> None:
        self.temperatures_c = list(temperatures_c)

    def states(self, served_by: Collection[int] = ()) -> dict[str, BoardState]:
        temperature_c = self.temperatures_c.pop(0) if len(self.temperatures_c) > 1 else self.temperatures_c[0]
        others = set(BoardState.model_fields) - {"index", "temperature_c", "lists_us", "module_scope"}
        fields = {"index": 0, "temperature_c": temperature_c, **dict.fromkeys(others)}
        return {A: BoardState.model_validate(fields)}


def test_a_cell_begins_when_its_board_is_cool(
    sweep: SweepDirectory, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COOL_LOOK_S", 0.0)
    driver_says = Warm(70.0, 60.0, 45.0)
    monkeypatch.setattr(process, "open_nvml", lambda: driver_says)
    running = CellProcess(task_of(sweep, planned("a"), gpus=(A,), cooldown_c=50.0))
    running.start()
    assert running.poll() is None  # 60 degrees
    assert not sweep.log(planned("a"), 1).exists()
    outcome = ended(running)
    assert (outcome.status, outcome.gpu) == ("finished", A)


def test_a_board_that_stays_hot_is_said_to_be(
    sweep: SweepDirectory, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COOL_LOOK_S", 0.0)
    monkeypatch.setattr(process, "COOL_MOST_S", 0.1)
    monkeypatch.setattr(process, "open_nvml", lambda: Warm(70.0))
    outcome = run_cell(task_of(sweep, planned("a"), gpus=(A,), cooldown_c=50.0))
    assert (outcome.status, outcome.may_pass, outcome.exit_code) == ("failed", False, None)
    assert "70 °C" in outcome.error
    assert "cooldown_c" in outcome.next_step
    waiting = CellProcess(task_of(sweep, planned("a"), gpus=(A,), cooldown_c=50.0))
    waiting.start()
    assert waiting.stop().status == "interrupted"
    assert not starts(marks)


def test_two_boards_have_a_cell_each_and_every_board_its_references(sweep: SweepDirectory, marks: Path) -> None:
    spec = {"model": ["ref"], "num_prompts": 2}
    references = [
        PlannedCell(labels={}, spec=spec, role="reference_start"),
        PlannedCell(labels={}, spec=spec, repeat=1, role="reference_end"),
    ]
    cells = [planned("a"), planned("b"), planned("a", 1)]
    order: list[str] = []

    class Noting(Observer):
        def began(self, cell: PlannedCell, attempt: int) -> None:
            order.append(cell.key)

    executor = local(sweep, slots=((A,), (B,)))
    result = drive(sweep, cells, executor=executor, references=references, n_boards=2, observer=Noting())
    assert result.exit_code is ExitCode.OK
    begun = [line.split() for line in (marks / "starts").read_text().splitlines()]
    of_references = [(name, gpu) for name, _, gpu in begun if name.startswith("ref")]
    assert sorted(of_references) == sorted([("ref/0", A), ("ref/0", B), ("ref/1", A), ("ref/1", B)])
    assert order == [*[references[0].key] * 2, *(cell.key for cell in cells), *[references[1].key] * 2]
    assert {outcome.gpu for outcome in sweep.outcomes()} == {A, B}
    spans = sorted((o.started_unix_s, o.started_unix_s + o.duration_s, o.gpu) for o in sweep.outcomes())
    for gpu in (A, B):
        own = [span for span in spans if span[2] == gpu]
        assert all(before[1] <= after[0] + 0.01 for before, after in pairwise(own))
    assert drive(sweep, cells, references=references, n_boards=2).exit_code is ExitCode.OK
    assert len((marks / "starts").read_text().splitlines()) == 7


def test_a_board_that_is_gone_for_good_owes_no_reference(sweep: SweepDirectory, marks: Path) -> None:
    spec = {"model": ["ref"], "num_prompts": 2}
    references = [
        PlannedCell(labels={}, spec=spec, role="reference_start"),
        PlannedCell(labels={}, spec=spec, repeat=1, role="reference_end"),
    ]

    class Losing(LocalExecutor):
        def lose(self) -> None:
            self._slots = self._slots[:1]

    executor = Losing(sweep, ((A,), (B,)), program=STAND_IN)
    told: list[tuple[int, int]] = []

    class Noting(Observer):
        def ended(self, cell: PlannedCell, outcome: CellOutcome, again_s: float | None) -> None:
            if cell.key == cells[0].key:
                executor.lose()

        def lost(self, n_lost: int, n_boards: int) -> None:
            told.append((n_lost, n_boards))

    cells = [planned("a")]
    result = drive(sweep, cells, executor=executor, references=references, n_boards=2, observer=Noting())
    assert starts(marks) == ["ref/0", "ref/0", "a/0", "ref/1"]
    assert told == [(1, 2)]
    assert result.exit_code is ExitCode.OK


def test_slots_are_what_the_user_names() -> None:
    boards = [Board(uuid=A, name="x"), Board(uuid=B, name="x")]
    assert slots_of(None, boards) == ((A,),)
    assert slots_of("all", boards) == ((A,), (B,))
    assert slots_of("none", boards) == ((),)
    assert slots_of("1,GPU-a", boards) == ((B,), (A,))
    assert slots_of("0+1", boards) == ((A, B),)
    assert slots_of(None, []) == slots_of("all", []) == ((),)
    for wrong in ("GPU-c", "GPU-", "2", "0,GPU-a", ""):
        with pytest.raises(UnknownName):
            slots_of(wrong, boards)


def test_where_nothing_can_be_begun_the_sweep_says_so(sweep: SweepDirectory, marks: Path) -> None:
    (sweep.path / "logs").write_text("a file, where the logs are to be")
    with pytest.raises(EnvironmentFault, match="logs"):
        drive(sweep, [planned("a")])
    assert not starts(marks)


# ------------------------------------------------------------------------- what is finished, and what is told


def test_finished_is_what_the_run_directory_holds(sweep: SweepDirectory, marks: Path) -> None:
    cell = planned("a")
    drive(sweep, [cell])
    (place,) = sweep.run_path(cell).glob("cell-0/*/")
    whole = (place / "queries.jsonl").read_text()
    end = (place / "sessions" / "01" / "end.json").read_text()

    def finished(queries: str = whole, ended: str | None = end) -> bool:
        (place / "queries.jsonl").write_text(queries)
        (place / "sessions" / "01" / "end.json").unlink(missing_ok=True)
        if ended is not None:
            (place / "sessions" / "01" / "end.json").write_text(ended)
        return sweep.finished([cell]) == {cell.key}

    lines = whole.splitlines(keepends=True)
    assert finished()
    assert finished(ended=None)  # killed after its last query: there is nothing left to be asked
    assert not finished("".join(lines[:-1]))
    assert not finished("".join(lines[:-1]) + lines[-1][:-5])  # torn
    assert not finished("".join([*lines[:-1], lines[0]]), ended=None)  # as many lines, and one prompt is missing
    lost = json.loads(lines[-1])
    lost["readings"][0]["energy_gross_j"] = lost["readings"][0]["energy_gross_half_width_j"] = None
    unknown = json.dumps(lost, separators=(",", ":")) + "\n"
    assert not finished("".join([*lines[:-1], unknown]))
    assert finished("".join([*lines[:-1], unknown, lines[-1]]))  # asked again
    assert not finished(ended="{")
    assert not sweep.finished([planned("a", 1)])
    assert not sweep.finished([cell], n_sites=2)


def test_a_run_that_stops_by_itself_is_finished_when_it_says_so(tmp_path: Path, marks: Path) -> None:
    sweep = SweepDirectory.create(tmp_path / "s", "{}")
    cell = planned("a", until_ci=0.05, num_prompts=100)
    run = write_run(sweep.run_path(cell), n_prompts=30, repeats=1, modes=("off", "on"), until_ci=0.05)
    (place,) = run.glob("*/*/")
    assert sweep.finished([cell]) <= {cell.key}
    store = RunDirectory(place)
    store.write_end(SessionEnd(session=1, ended_utc="", status="settled", sampler=None, findings=()))
    assert sweep.finished([cell]) == {cell.key}


def test_a_real_run_directory_of_the_first_schema_is_read(tmp_path: Path) -> None:
    sweep = SweepDirectory.create(tmp_path / "s", "{}")
    cell = planned("tiny", num_prompts=2)
    sweep.run_path(cell).symlink_to(GOLDEN)
    found = sweep.measured(cell)
    assert found is not None
    assert found.n_queries == 12
    assert fault_of(sweep.run_path(cell), thorough=True) is None


def test_sweeps_are_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sweep"):
        SweepDirectory.named("latest", tmp_path)
    first = SweepDirectory.create(tmp_path / "one", "{}")
    second = SweepDirectory.create(tmp_path / "one", "{}")
    assert second.path.name == "one-2"
    os.utime(first.path / "sweep.yaml", (1, 1))
    assert SweepDirectory.named("latest", tmp_path).path == second.path
    assert SweepDirectory.named("one", tmp_path).path == first.path
    assert SweepDirectory.named(str(first.path), tmp_path / "elsewhere").path == first.path
    with pytest.raises(UsageError, match="No sweep 'two'"):
        SweepDirectory.named("two", tmp_path)


def test_a_sweep_whose_executor_cannot_begin_leaves_no_directory(tmp_path: Path) -> None:
    plan = plan_of(SweepSpec.model_validate({"run": {"model": "tiny-reasoner"}}))
    with pytest.raises(UnknownName, match="GPU"):
        launch(Console(file=StringIO()), plan, tmp_path / "sweep", gpus="GPU-nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_another_machine_is_resumed_where_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SweepDirectory.create(tmp_path / "results" / "s", "run: {model: tiny-reasoner}\nworking_dir: /not/here\n")
    monkeypatch.chdir(tmp_path)
    options = build_parser().parse_args(["sweep", "--resume", str(sweep.path), "--plan"])
    assert options.main(options) == 0
    assert "1 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "error", "step"),
    [
        ("noise\n\nharness: It is wrong.\n  → Mend it.\n", "It is wrong.", "Mend it."),
        ("qwen failed: It is\nmuch too long.\n  → Less.\n", "It is much too long.", "Less."),
        ("a failed: First.\n  → One.\n\nb failed: Second.\n  → Two.\n", "Second.", "Two."),
        ("Traceback (most recent call last):\n  x\nValueError: no\n", "ValueError: no", ""),
        ("", "", ""),
    ],
)
def test_the_last_error_of_a_log(tmp_path: Path, text: str, error: str, step: str) -> None:
    (tmp_path / "log").write_text(text)
    assert last_error(tmp_path / "log") == (error, step)


@pytest.mark.parametrize(
    ("exit_code", "said", "may_pass"),
    [
        (5, "The server at http://127.0.0.1:8000/v1 is lost: 3 of 10 queries failed.", True),
        (3, "The disk under /scratch is full.", True),
        (3, "The sampler process did not start: it said nothing", True),
        (3, "m could not be loaded: AcceleratorError: CUDA-capable device(s) is/are busy or unavailable", True),
        (3, "m is gated: its licence must be accepted first, with the account whose token is used here.", False),
        (5, "m does not fit into the device's memory: 141 GiB.", False),
        (2, "Unknown model 'qwen'.", False),
        (4, "Two modes gave the model exactly the same input.", False),
    ],
)
def test_what_may_pass(tmp_path: Path, exit_code: int, said: str, may_pass: bool) -> None:
    (tmp_path / "log").write_text(f"\nharness: {said}\n  → Do.\n")
    ending = ending_of(exit_code, tmp_path / "log", tmp_path / "run")
    assert (ending.status, ending.may_pass, ending.error) == ("failed", may_pass, said)


def test_an_invalid_measurement_without_words_names_the_report(tmp_path: Path) -> None:
    ending = ending_of(4, tmp_path / "none", tmp_path / "run")
    assert "must not be used" in ending.error
    assert "harness report" in ending.next_step


def outcome(key: str, **fields: object) -> CellOutcome:
    given = {"status": "finished", "energy_j": 80.0, "n_queries": 8, "estimated": False, "duration_s": 61.0, **fields}
    return CellOutcome.model_validate({"key": key, "attempt": 1, "started_unix_s": 0.0, **given})


def printed(show: Callable[[Console], object], *, width: int = 100, terminal: bool = False) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=terminal, legacy_windows=False)
    show(console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_tables_at_the_end() -> None:
    cells = [planned("a"), planned("b"), planned("c"), planned("d")]
    outcomes = {
        cells[0].key: outcome(cells[0].key),
        cells[1].key: outcome(cells[1].key, energy_j=None, status="failed", error="It is too big.", next_step="Less."),
    }
    finished = frozenset({cells[0].key, cells[2].key})
    text = printed(lambda console: print_outcomes(console, cells, outcomes, finished, next_command="harness x"))
    assert "10.0" in text  # joules per query
    assert "It is too big." in text
    assert "→ Less. (b, repeat 1)" in text
    assert "2 of 4 cells are finished, 1 failed or were interrupted, 1 are left" in text
    assert "Next: harness x" in text


def test_estimates_and_measurements_are_not_added_up() -> None:
    both = [outcome("a"), outcome("b", estimated=True, energy_j=5.0), outcome("b", status="failed", energy_j=None)]
    assert energy_words(both) == "80.0 J and 5.00 J (estimated)"
    assert energy_words([outcome("a", energy_j=None)]) == "unknown"
    assert energy_words([outcome("a", energy_j=70.0), outcome("a")]) == "80.0 J"  # the later attempt holds both


def watched(watch: Watch) -> None:
    cells = [planned("a"), planned("b"), planned("c")]
    with watch:
        watch.planned(cells, {cells[0].key}, [outcome(cells[0].key)])
        watch.began(cells[1], 1)
        watch.looked(cells[1:2])
        watch.ended(cells[1], outcome(cells[1].key, status="lost", error="It is gone.", energy_j=None), 15.0)
        watch.looked(())
        watch.began(cells[1], 2)
        watch.ended(cells[1], outcome(cells[1].key), None)
        watch.began(cells[2], 1)
        watch.ended(cells[2], outcome(cells[2].key, status="failed", error="Bad.", next_step="Mend."), None)
        watch.looked(())


def test_a_pipe_gets_a_line_per_event() -> None:
    lines = printed(lambda console: watched(Watch(console))).splitlines()
    assert lines == [
        "1 of 3 cells are finished already.",
        "[2/3] b, repeat 1",
        "  lost: b, repeat 1: It is gone. It is tried again in 15 s.",
        "[2/3] b, repeat 1, attempt 2",
        "  finished in 61 s, 80.0 J: b, repeat 1",
        "[3/3] c, repeat 1",
        "  failed: c, repeat 1: Bad.",
        "    → Mend.",
    ]


def test_a_terminal_gets_a_live_table_and_a_narrow_one_lines() -> None:
    text = printed(lambda console: watched(Watch(console)), terminal=True)
    for words in ("running", "waiting", "failed", "energy", "80.0 J", "left", "to do"):
        assert words in text
    assert "[2/3]" not in text
    assert "[2/3]" in printed(lambda console: watched(Watch(console)), terminal=True, width=50)


@pytest.mark.slow  # it starts torch twice; the parser's part is above
def test_two_real_cells_of_the_embedded_model(tmp_path: Path) -> None:
    sweep = SweepDirectory.create(tmp_path / "sweep", "{}")
    spec = {
        "model": ["tiny-reasoner"],
        "num_prompts": 2,
        "mode": ["off"],
        "max_new_tokens": 4,
        "idle_duration_s": 0.2,
        "warm_up_queries": 1,
    }
    cells = [PlannedCell(labels={}, spec=spec, repeat=repeat) for repeat in range(2)]
    result = driver.run(sweep, cells, LocalExecutor(sweep, slots_of("none"), working_dir=tmp_path))
    assert result.exit_code is ExitCode.OK, [outcome.error for outcome in sweep.outcomes()]
    assert sweep.finished(cells) == {cell.key for cell in cells}
    assert [(o.n_queries, o.exit_code) for o in sweep.outcomes()] == [(2, 0), (2, 0)]
    assert len(list(sweep.run_path(cells[0]).glob("*/*/cell.yaml"))) == 2  # a repeat is a cell of one run
