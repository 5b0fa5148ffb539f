"""The golden reference of a gate that is about to measure: whether the candidate can be held against it at all.

Knows what is stored of it. Must not know its figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import UsageError
from harness.gate.budget import Budget, Difference, ReferenceKind
from harness.gate_measurement.admission import Entrant, protocols, task_of
from harness.gating import NamedRun
from harness.records import Site
from harness.report.wording import models
from harness.store.run_directory import RunDirectory, cells

ANOTHER = "Pin another run, or take it out of the budget."


def admit_golden(
    golden: NamedRun | None, candidate: Entrant, budget: Budget, *, allow: Sequence[Difference], here: Site
) -> None:
    """Refuse a pinned reference that no line could ever be judged by, and lines that lack one.

    Args:
        golden: The pinned run; None: there is none.
        candidate: What will be held against it.
        budget: By which.
        allow: In what the two may differ, besides what the budget allows.
        here: Where the candidate will be measured.

    Raises:
        UsageError: None is given and a line wants one, or it differs in what it may not.
    """
    lines = [line for line in budget.lines if line.is_relative]
    if golden is None:
        for line in lines:
            if ReferenceKind.GOLDEN in (line.against or ()):
                raise UsageError(
                    f"Line {line.label!r} is over a golden reference, and none is given.",
                    "Name one: --golden RUN, or `golden: RUN` in the budget.",
                )
        return
    over = [line for line in lines if line.against is None or ReferenceKind.GOLDEN in line.against]
    own = candidate.job.cell.modes
    wanted = {mode for line in over for mode in ([line.mode] if line.mode is not None else own)}
    stored = [each for each in cells(golden.path) if golden.model in (None, models(each.cell()))]
    known = {mode for each in stored for mode in each.cell().modes}
    unnamed = [line for line in over if line.mode is None]
    if unnamed and known - {*own}:
        raise UsageError(
            f"The golden reference {golden.words} has a mode {min(known - {*own})}, in which {candidate} is not asked; "
            f"line {unnamed[0].label!r} is of every mode.",
            "Ask the candidate in it too (--mode), or give the line the `mode` that it is of.",
        )
    if wanted - known:
        raise UsageError(
            f"The golden reference {golden.words} was not measured in mode {min(wanted - known)}.", ANOTHER
        )
    faults = [tuple(_faults(each, candidate, budget, {*budget.allow, *allow}, here)) for each in stored]
    if wanted and faults and all(faults):
        raise UsageError(f"The golden reference {golden.words} {faults[0][0]}.", ANOTHER)


def _faults(
    stored: RunDirectory, candidate: Entrant, budget: Budget, allowed: set[Difference], here: Site
) -> Iterator[str]:
    """Why a stored cell can never be held against the candidate."""
    cell, own = stored.cell(), candidate.job.cell
    if cell.task != own.task:
        yield f"is of {task_of(cell)}, and the candidate of {task_of(own)}: they are never held against each other"
        return
    if cell.prompt_set_sha256 != own.prompt_set_sha256 and "prompts" not in allowed:
        yield f"answered {cell.prompt_set}, and not the prompts that the candidate will ({own.prompt_set})"
    if "protocol" not in allowed:
        for what, _, ours, theirs in protocols(own, cell):
            if ours != theirs:
                yield f"had the {what} {theirs}, and the candidate has {ours}; --allow protocol lets them differ"
    if stored.site_id == here.site_id:
        return
    manifests = [each for number in stored.sessions() if (each := stored.manifest(number)) is not None]
    for there in (manifest.site for manifest in manifests[-1:]):
        names = [", ".join(board.name for board in site.boards) or "no GPU" for site in (there, here)]
        if names[0] != names[1] and "gpu" not in allowed:
            yield f"was measured on {names[0]}, and here is {names[1]}; --allow gpu lets them differ"
        if there.driver != here.driver and "driver" not in allowed:
            yield f"had the driver {there.driver}, and here is {here.driver}; --allow driver lets them differ"
    if budget.session_sd is None:
        yield (
            "was measured on another site, and how far two jobs on two sites lie apart is not known: "
            "state session_sd in the budget"
        )
