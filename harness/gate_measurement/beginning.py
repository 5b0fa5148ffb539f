"""From a command to a gate's measurement: a new one, refused where it could never be judged, or one to complete."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

import harness
from harness.clock import utc_now
from harness.errors import UsageError
from harness.gate.budget import Difference
from harness.gate_measurement.admission import Entrant, admit, entrant, stored_job
from harness.gate_measurement.blocks import Part
from harness.gate_measurement.measuring import GateMeasurement
from harness.gate_measurement.pinned import admit_golden
from harness.gate_measurement.plan import (
    GatePlan,
    Golden,
    PlannedSide,
    gate_path,
    looks_of,
    read_bytes,
    read_plan,
    sha256_of,
    write_plan,
)
from harness.gating import golden_of, load_budget, named_run
from harness.meter.beside.cross_check import require_codecarbon
from harness.study import claimed, write_spec

REPEATS = 3


def begin(
    files: tuple[str, str],
    budget_file: str,
    flags: Mapping[str, Any],
    overrides: tuple[str, ...],
    *,
    repeats: int | None = None,
    until_decided: bool = False,
    max_gpu_minutes: float | None = None,
    allow: Sequence[Difference] = (),
    golden: str | None = None,
    console: Console,
) -> GateMeasurement:
    """A new gate. Nothing is written before everything that can be checked was.

    Args:
        files: Run files of the candidate and of the reference.
        budget_file: The budget.
        flags: Keys of a run file that hold for both sides, over what the files say.
        overrides: `key=value` of any other, likewise.
        repeats: Of both sides, until the budget is judged first; None: 3.
        until_decided: Whether there are more looks (`plan.LOOKS`) while a line is open.
        max_gpu_minutes: Of measuring, after which no further repeat begins; None: no limit.
        allow: In which the two may differ, besides what the budget allows.
        golden: A pinned RUN beside the reference; None: the budget's, if it has one.
        console: Where it is told what happens.

    Raises:
        HarnessError: What was asked could never be judged, or not be measured here.
    """
    repeats = REPEATS if repeats is None else repeats
    if repeats < 1:
        raise UsageError(f"--repeats {repeats}: each side is measured at least once.", "Leave it out for 3.")
    if max_gpu_minutes is not None and not 0 < max_gpu_minutes < float("inf"):
        raise UsageError(f"--max-gpu-minutes {max_gpu_minutes:g} is no time.", "Give minutes, such as 30.")
    path = Path(budget_file)
    budget, content = load_budget(path), read_bytes(path)
    with console.status("Getting ready…") if console.is_terminal else nullcontext():
        candidate, reference = (entrant(file, flags, overrides) for file in files)
        here = admit(candidate, reference, budget, allow=allow, n_repeats=repeats)
        output_dir = Path(candidate.job.spec.output_dir).resolve()
        pinned = golden_of(budget, path) if golden is None else named_run(golden, output_dir)
        admit_golden(pinned, candidate, budget, allow=allow, here=here)
    if any(side.job.spec.cross_check is not None for side in (candidate, reference)):
        require_codecarbon()
    plan = GatePlan(
        harness_version=harness.__version__,
        started_utc=utc_now(),
        command=("harness", *sys.argv[1:]),
        budget_file=str(path.resolve()),
        budget_sha256=sha256_of(content),
        allow=tuple(allow),
        golden=None if pinned is None else Golden(path=str(pinned.path), model=pinned.model),
        site_id=here.site_id,
        looks=looks_of(repeats, until_decided=until_decided),
        max_gpu_minutes=max_gpu_minutes,
        candidate=_planned(candidate),
        reference=_planned(reference),
    )
    gate = claimed(output_dir / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-gate")
    for part, side in _sides(plan):
        claimed(gate / part)
        write_spec(gate / part, side.spec.model_copy(update={"repeats": repeats}))
    write_plan(gate, plan, content)
    jobs = {Part.CANDIDATE: candidate.job, Part.REFERENCE: reference.job}
    return GateMeasurement(path=gate, plan=plan, jobs=jobs, console=console)


def resume(name: str, output_dir: Path, *, budget_file: str | None = None, console: Console) -> GateMeasurement:
    """A gate that was begun. What it measures, its budget, its looks and its limits are as they were.

    Args:
        name: A path, an id under the output directory, or `latest`.
        output_dir: Where ids are looked up.
        budget_file: Given again, it must be the same; None: the copy is used.
        console: Where it is told what happens.

    Raises:
        UsageError: There is no such gate, or another budget, prompt set, scorer or device than it began with.
        SchemaError: Its plan is damaged, or a newer version's.
    """
    path = gate_path(name, output_dir)
    plan = read_plan(path)
    if budget_file is not None and sha256_of(read_bytes(Path(budget_file))) != plan.budget_sha256:
        raise UsageError(
            f"{budget_file} is not the budget that this gate began with.",
            f"Leave it out: its copy is in {path}. Another budget needs another gate.",
        )
    with console.status("Getting ready…") if console.is_terminal else nullcontext():
        jobs = {part: stored_job(side.spec, side.cell) for part, side in _sides(plan)}
    return GateMeasurement(path=path, plan=plan, jobs=jobs, console=console)


def _sides(plan: GatePlan) -> tuple[tuple[Part, PlannedSide], ...]:
    return (Part.CANDIDATE, plan.candidate), (Part.REFERENCE, plan.reference)


def _planned(side: Entrant) -> PlannedSide:
    return PlannedSide(file=str(Path(side.file).resolve()), spec=side.job.spec, cell=side.job.cell)
