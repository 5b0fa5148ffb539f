"""A sweep as a script, for places where nothing of ours may keep running: one for bash, one for Slurm.

    <sweep>/sweep.sh | sweep.sbatch      the script; complete, and to be read before it is run
    <sweep>/cells/<run_id>.yaml          the run file of each planned run
    <sweep>/<run_id>/ ...                where results go, as in a sweep that was driven

Each cell is `harness run FILE --run-dir DIR --only-repeat R`, which measures what is missing and nothing twice; so a
script that was stopped is simply run again. `harness sweep --resume` can take over where a script ended.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import harness
from harness.errors import UsageError
from harness.records import PlannedCell, slug
from harness.store.run_directory import write_whole, writing
from harness.sweep.directory import write_run_file
from harness.sweep.planning.plan import Plan, words_of

Shell = Literal["bash", "slurm"]
NAMES: dict[Shell, str] = {"bash": "sweep.sh", "slurm": "sweep.sbatch"}
CELLS = "cells"

N_TASKS_MOST = 1000
"""Of one array: Slurm's own default is a MaxArraySize of 1001."""
TIME_SPARE_S = 300.0
"""Added to a cell's limit in Slurm, for the start of a job and a reference."""


def sbatch_options(given: Sequence[str]) -> dict[str, str]:
    """What a user says of Slurm jobs, `KEY=VALUE` each, by its key in sbatch's spelling or with underscores.

    Raises:
        UsageError: Another form.
    """
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip().removeprefix("--")
        if not equals or re.fullmatch(r"[a-z][a-z0-9_-]*", key) is None or not value.isprintable():
            raise UsageError(f"--slurm {text!r} names no option of sbatch.", "Write KEY=VALUE: --slurm partition=gpu")
        options[key] = value.strip()
    return options


def emit(
    plan: Plan,
    cells: Sequence[PlannedCell],
    sweep: Path,
    shell: Shell,
    options: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the run files and the script into a sweep's directory.

    Args:
        plan: The sweep.
        cells: Those that are not finished, in the order in which they are to run.
        sweep: The sweep's directory.
        shell: For whom.
        options: Of sbatch, for the jobs.

    Returns:
        The script.

    Raises:
        StorageFull: Something cannot be written.
    """
    for cell in {each.run_id: each for each in (*cells, *plan.references)}.values():
        write_run_file(cell, sweep / CELLS)
    script = sweep / NAMES[shell]
    text = bash_script(plan, cells, sweep) if shell == "bash" else slurm_script(plan, cells, sweep, options)
    with writing(script):
        (sweep / "logs").mkdir(exist_ok=True)
        write_whole(script, text)
        script.chmod(0o755)
    return script


def bash_script(plan: Plan, cells: Sequence[PlannedCell], sweep: Path) -> str:
    """One cell after the other, on one machine."""
    first, last = plan.references[:1], plan.references[1:]
    calls = [f"cell {cell.run_id} {cell.repeat} {_quoted(_comment(_called(cell)))}" for cell in (*first, *cells, *last)]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *_head(plan, cells, sweep, f"bash {_quoted(sweep / NAMES['bash'])}"),
            "# CUDA_VISIBLE_DEVICES chooses the GPU. A cell that fails stops no other; the exit code is then 5.",
            "# shellcheck disable=SC2016  # a name may hold a $ that is to stay one",
            "set -euo pipefail",
            "",
            *_set_up(plan, sweep),
            "n_failed=0",
            "cell() { # RUN REPEAT WORDS",
            '    local code=0 log="$SWEEP_DIR/logs/$1-$2.log"',
            """    printf '%s  %s\\n' "$(date '+%F %T')" "$3\"""",
            f'    {_command(plan, "$1", "$2")} >>"$log" 2>&1 </dev/null || code=$?',
            '    case "$code" in',
            "        0) ;;",
            "        130 | 143)",
            "            echo 'Interrupted; run this script again to go on.' >&2",
            "            exit 130",
            "            ;;",
            "        *)",
            "            n_failed=$((n_failed + 1))",
            """            printf 'exit code %s: %s\\n' "$code" "$log" >&2""",
            "            ;;",
            "    esac",
            "}",
            "",
            *calls,
            "",
            'if [ "$n_failed" -gt 0 ]; then',
            """    printf '%s failed.\\n' "$n_failed" >&2""",
            "    exit 5",
            "fi",
            "",
        ]
    )


def slurm_script(
    plan: Plan, cells: Sequence[PlannedCell], sweep: Path, options: Mapping[str, str] = MappingProxyType({})
) -> str:
    """One array task for each cell, each on a node of its own."""
    n_tasks = min(len(cells), N_TASKS_MOST)
    said = {key.replace("_", "-"): value for key, value in options.items()}
    at_once = said.pop("array-parallelism", None)
    script = _quoted(sweep / NAMES["slurm"])
    parts = [f"sbatch {script}"]
    for offset in range(N_TASKS_MOST, len(cells), N_TASKS_MOST):
        n_part = min(N_TASKS_MOST, len(cells) - offset)
        parts.append(f"sbatch --array=0-{n_part - 1} --export=ALL,OFFSET={offset} {script}")
    log = str(sweep / "logs" / "slurm-%A_%a.log").replace("%", "%%").replace("%%A_%%a", "%A_%a")
    limit = (
        [] if plan.spec.time_limit_s is None else [f"#SBATCH --time={_minutes(plan.spec.time_limit_s + TIME_SPARE_S)}"]
    )
    last_block = min((index for index, cell in enumerate(cells) if cell.repeat == plan.spec.repeats - 1), default=0)
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"#SBATCH --job-name={slug(sweep.name)}",
            f"#SBATCH --array=0-{n_tasks - 1}{f'%{at_once}' if at_once else ''}",
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            "#SBATCH --gpus-per-node=1",
            "#SBATCH --exclusive",
            *([] if "time" in said else limit),
            *(f"#SBATCH --{key}={_for_sbatch(value)}" for key, value in said.items()),
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"#SBATCH --output={_for_sbatch(log)}",
            *_head(plan, cells, sweep, *parts),
            "# Add what your site asks for: #SBATCH --partition=..., --account=..., --constraint=... (a kind of GPU).",
            *(
                []
                if limit or "time" in said
                else ["# The sweep has no time_limit_s, so your site's own limit holds: #SBATCH --time=..."]
            ),
            *_about_references(plan),
            "set -euo pipefail",
            "",
            *_set_up(plan, sweep),
            "cells=(",
            *(f"    '{cell.run_id} {cell.repeat}' # {_comment(_called(cell))}" for cell in cells),
            ")",
            "index=$((SLURM_ARRAY_TASK_ID + ${OFFSET:-0}))",
            'read -r run repeat <<<"${cells[index]}"',
            "measure() { # RUN REPEAT",
            f"    {_command(plan, '$1', '$2')}",
            "}",
            "",
            *_reference_call(plan, 0, "true"),
            "code=0",
            'measure "$run" "$repeat" || code=$?',
            *_reference_call(plan, 1, f'[ "$index" -ge {last_block} ]'),
            'exit "$code"',
            "",
        ]
    )


def _head(plan: Plan, cells: Sequence[PlannedCell], sweep: Path, *starts: str) -> list[str]:
    """What the script is, how it is started, where its results are."""
    n_runs = len({cell.run_id for cell in cells})
    lines = [
        f"{len(cells):,} cells of {n_runs:,} planned runs. Written by harness {harness.__version__}.",
        "",
        *(f"    {_comment(start)}" for start in starts),
        "",
        "Start it again after whatever stopped it: what is half done is completed, what is finished is not repeated.",
        "HARNESS names another harness than the one on PATH; SWEEP_DIR this folder, where it was moved.",
        "Models and data sets are not fetched by it: fetch them first (on a login node), then everything runs offline.",
        f"Results: $SWEEP_DIR/RUN/, logs: $SWEEP_DIR/logs/, run files: $SWEEP_DIR/{CELLS}/. Afterwards:",
        "",
        f"    harness sweep --resume {_comment(_quoted(sweep))} --plan      # what is finished",
        f"    harness leaderboard {_comment(_quoted(sweep))}",
        "    harness sweep --collect DIR OTHER_DIR ...                 # together with what other machines measured",
        "",
    ]
    if plan.spec.cooldown_c is not None:
        lines.append(
            f"A script does not wait for boards to cool down to {plan.spec.cooldown_c:g} C; a driven sweep does."
        )
    return [f"# {line}".rstrip() for line in lines]


def _set_up(plan: Plan, sweep: Path) -> list[str]:
    lines = [
        f"default_dir={_quoted(sweep)}",
        "SWEEP_DIR=${SWEEP_DIR:-$default_dir}",
        "HARNESS=${HARNESS:-harness}",
        'export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" HF_DATASETS_OFFLINE="${HF_DATASETS_OFFLINE:-1}"',
        'if ! command -v "$HARNESS" >/dev/null; then',
        """    printf '%s is not on PATH: activate its environment, or set HARNESS.\\n' "$HARNESS" >&2""",
        "    exit 3",
        "fi",
        'mkdir -p "$SWEEP_DIR/logs"',
    ]
    if plan.spec.working_dir is not None:
        lines.append(f"cd -- {_quoted(plan.spec.working_dir)}")
    return [*lines, ""]


def _command(plan: Plan, run: str, repeat: str) -> str:
    """One cell's command line; INT lets it write what is final."""
    limit = plan.spec.time_limit_s
    timed = "" if limit is None else f"timeout --foreground --signal=INT --kill-after=60 {math.ceil(limit)} "
    return (
        f'{timed}"$HARNESS" run "$SWEEP_DIR/{CELLS}/{run}.yaml" --run-dir "$SWEEP_DIR/{run}" --only-repeat "{repeat}"'
    )


def _about_references(plan: Plan) -> list[str]:
    if not plan.references:
        return []
    return [
        "# Every task asks for the reference, and the first on each GPU measures it; the one at the end is measured by",
        "# the first task of the last block on each GPU, after its cell: which task is a GPU's last, nobody can tell.",
    ]


def _reference_call(plan: Plan, index: int, condition: str) -> list[str]:
    """A reference, which must not take a cell with it where it fails."""
    if not plan.references:
        return []
    reference = plan.references[index]
    call = f"measure {reference.run_id} {reference.repeat} || echo 'The reference failed.' >&2"
    return [call] if condition == "true" else [f"if {condition}; then", f"    {call}", "fi"]


def _called(cell: PlannedCell) -> str:
    if cell.role != "cell":
        return "reference, first" if cell.role == "reference_start" else "reference, last"
    return f"{words_of(cell.labels) or 'run'}, repeat {cell.repeat + 1}"


def _minutes(seconds: float) -> str:
    """As Slurm writes a limit: hours:minutes:seconds."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def _quoted(text: str | Path) -> str:
    return shlex.quote(str(text))


def _for_sbatch(text: str) -> str:
    """As sbatch reads a directive, which no shell sees: quoted where it holds more than plain characters."""
    if re.fullmatch(r"[\w./:%,@+-]*", text):
        return text
    escaped = _comment(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _comment(text: str) -> str:
    """On one line: a name may hold a line break, behind which a shell would see a command."""
    return "".join(char if char.isprintable() else " " for char in text)
