"""What was measured before of a planned run: in the sweep itself, in other sweeps, or as a run of its own.

Only what is summed up already is read (`summary.json`, the marks of sessions, a sweep's outcomes), never the queries.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from harness.config import SPEC_NAME, load_yaml
from harness.errors import HarnessError
from harness.records import PlannedCell, slug
from harness.sweep.planning.estimate import CellEstimate, around
from harness.sweep.planning.plan import cell_fields
from harness.sweep.planning.spec import OUTCOMES_FILE, SWEEP_FILE

N_RUNS_MOST = 100
"""Run files that are read, the newest first, in search of one that asks for the same."""
BEFORE, AFTER = "idle_before", "idle_after"
"""Intervals between which a session asks its queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precedent:
    """One repeat of a planned run, as it was measured on one site."""

    run: Path
    is_here: bool
    """Whether it was on this machine."""
    duration_around_s: float
    """What it takes besides its queries: of a sweep's process all of it, of a run by itself what its session saw."""
    duration_per_prompt_s: float
    energy_per_prompt_j: float | None
    """In all modes together, at the headline boundary; None: unknown."""
    estimated: bool
    n_prompts: int

    def duration_s(self, n_prompts: int) -> float:
        """What so many prompts would have taken, in one session."""
        return self.duration_around_s + n_prompts * self.duration_per_prompt_s


def measured_estimates(
    cells: Sequence[PlannedCell], output_dir: Path, sweep: Path | None = None
) -> dict[str, CellEstimate]:
    """Estimates of those planned runs that were measured before, by run id.

    What this sweep has measured counts alone where there is some; then what was measured on this machine; then all.

    Args:
        cells: One cell of each planned run.
        output_dir: Where other sweeps and runs lie.
        sweep: This sweep's own directory; None: it has none yet.
    """
    wanted = {cell.run_id: cell for cell in cells}
    found: dict[str, list[Precedent]] = {}
    durations = cache(_durations)
    for run_id, run in _runs(wanted, output_dir, sweep):
        found.setdefault(run_id, []).extend(_precedents(run, durations(run.parent)))
    return {run_id: _estimate(wanted[run_id], each, sweep) for run_id, each in found.items() if each}


def _estimate(cell: PlannedCell, found: Sequence[Precedent], sweep: Path | None) -> CellEstimate:
    own = [each for each in found if each.run.parent == sweep]
    here = [each for each in found if each.is_here]
    used = own or here or list(found)
    where = "in this sweep" if own else "on this machine" if here else "on another machine"
    n_prompts = cell.spec.get("num_prompts") or max(each.n_prompts for each in used)
    energies = [each.energy_per_prompt_j * n_prompts for each in used if each.energy_per_prompt_j is not None]
    return CellEstimate(
        kind="measured",
        duration_s=around(each.duration_s(n_prompts) for each in used),
        energy_j=around(energies) if energies else None,
        basis=f"measured {where}",
        estimated=any(each.estimated for each in used),
    )


def _runs(wanted: Mapping[str, PlannedCell], output_dir: Path, sweep: Path | None) -> Iterator[tuple[str, Path]]:
    """Run directories in which one of the planned runs was measured, each with that run's id."""
    folders = [path for path in output_dir.iterdir() if path.is_dir()] if output_dir.is_dir() else []
    sweeps = {path for path in folders if (path / SWEEP_FILE).is_file()} | ({sweep} if sweep else set())
    for folder in sorted(sweeps):
        for run_id in wanted.keys() & {path.name for path in folder.iterdir()}:
            yield run_id, folder / run_id
    endings = tuple({f"-{slug(cell.spec['model'][0].rpartition('/')[2])}" for cell in wanted.values()})
    runs = [path for path in folders if path.name.endswith(endings) and (path / SPEC_NAME).is_file()]
    for run in sorted(runs, reverse=True)[:N_RUNS_MOST]:
        called = _run_id(run / SPEC_NAME)
        if called is not None and called in wanted:
            yield called, run


def _run_id(file: Path) -> str | None:
    """What a run would be called in a sweep; None: it could be no cell of one."""
    try:
        fields = cell_fields(load_yaml(file), str(file))
    except HarnessError:
        return None
    return PlannedCell(labels={}, spec=fields).run_id


def _durations(sweep: Path) -> dict[str, float]:
    """Seconds of the processes that finished a cell of a sweep at their first attempt, by the cell's key."""
    found: dict[str, float] = {}
    try:
        lines = (sweep / OUTCOMES_FILE).read_bytes().splitlines()
    except OSError:
        return found  # no sweep, or one of which nothing has ended
    for line in lines:
        try:
            outcome = json.loads(line)
            if outcome["status"] == "finished" and outcome["attempt"] == 1:
                found[outcome["key"]] = outcome["duration_s"]
        except (ValueError, KeyError, TypeError):  # a torn line
            continue
    return found


def _precedents(run: Path, durations: Mapping[str, float]) -> Iterator[Precedent]:
    """Each measured repeat of a run.

    Args:
        run: Its directory.
        durations: Seconds of processes, by key of their cells in a sweep.
    """
    for file in run.glob("*/*/summary.json"):
        try:
            summary = json.loads(file.read_bytes())
            sessions = [_session(path) for path in (file.parent / "sessions").iterdir()]
            precedent = _precedent(run, summary, sessions, durations.get(f"{run.name}/{summary['cell']['repeat']}"))
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or of another version: it tells nothing
            continue
        if precedent is not None:
            yield precedent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    around_s: float
    asking_s: float
    is_here: bool


def _precedent(
    run: Path, summary: Mapping[str, Any], every: Sequence[_Session | None], duration_s: float | None
) -> Precedent | None:
    """None: nothing was answered, or a session was killed, so that the time of its answers is not known."""
    modes, sessions = summary["modes"], [session for session in every if session is not None]
    n_answers = sum(mode["n_queries"] for mode in modes)
    if not n_answers or not sessions or len(sessions) < len(every):
        return None
    n_prompts = n_answers / len(modes)
    asking_s = sum(session.asking_s for session in sessions)
    around_s = mean(session.around_s for session in sessions)
    if duration_s is not None and len(sessions) == 1:
        around_s = duration_s - asking_s
    energies = [mode["energy_j"]["value"] for mode in modes]
    return Precedent(
        run=run,
        is_here=all(session.is_here for session in sessions),
        duration_around_s=around_s,
        duration_per_prompt_s=asking_s / n_prompts,
        energy_per_prompt_j=None if None in energies else sum(energies),
        estimated=summary["estimated"],
        n_prompts=summary["n_prompts_planned"],
    )


def _session(path: Path) -> _Session | None:
    """How a session's time was spent; None: it did not come to its end, so its time is not known."""
    if not (path / "end.json").is_file():
        return None
    host = json.loads((path / "manifest.json").read_bytes())["site"]["hostname_sha256"]
    intervals = [json.loads(line) for line in (path / "intervals.jsonl").read_bytes().splitlines()]
    begun = [each["time_end_s"] for each in intervals if each["name"] == BEFORE]
    ended = [each["time_start_s"] for each in intervals if each["name"] == AFTER]
    if not begun or not ended:
        return None
    asking_s = ended[-1] - begun[0]
    total_s = max(each["time_end_s"] for each in intervals)
    is_here = host == hashlib.sha256(socket.gethostname().encode()).hexdigest()
    return _Session(around_s=total_s - asking_s, asking_s=asking_s, is_here=is_here)
