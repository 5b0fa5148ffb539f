"""A look: the verdict over what a gate has measured so far, and what of it is told while it goes on.

Knows the plan and the run directories. Must not know how a line is judged, nor when to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.gate.budget import Budget, ReferenceKind
from harness.gate.verdict import LineVerdict, Outcome, Verdict
from harness.gate.words import figure, signed_share
from harness.gate_measurement.blocks import Part
from harness.gate_measurement.plan import BUDGET_NAME, GatePlan
from harness.gating import Evidence, NamedRun, evidence_of, load_budget, verdict_of

DECIDED = (Outcome.PASS, Outcome.FAIL, Outcome.WAIVED, Outcome.INVALID, Outcome.NOT_APPLIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a gate has measured, and the verdict of its last look."""

    path: Path
    budget: Budget
    candidate: Evidence
    references: Mapping[ReferenceKind, Evidence]
    verdict: Verdict
    n_repeats: int
    why_ended: str = ""


def judged(path: Path, plan: GatePlan, n_repeats: int) -> Measured:
    """The verdict over what is on disk, at alpha over the number of looks that were planned.

    Args:
        path: The gate's directory.
        plan: What it holds.
        n_repeats: Of both sides, that are on disk.

    Raises:
        HarnessError: Budget, runs or golden reference cannot be read.
    """
    budget = load_budget(path / BUDGET_NAME)
    budget = budget.model_copy(update={"allow": tuple(dict.fromkeys((*budget.allow, *plan.allow)))})
    runs = {ReferenceKind.RELEASE: NamedRun(path=path / Part.REFERENCE)}
    if plan.golden is not None:
        runs[ReferenceKind.GOLDEN] = NamedRun(path=Path(plan.golden.path), model=plan.golden.model)
    candidate, references = evidence_of(NamedRun(path=path / Part.CANDIDATE), runs)
    today = datetime.now(UTC).date()
    verdict = verdict_of(budget, candidate, references, today=today, n_looks=plan.n_looks)
    return Measured(
        path=path,
        budget=budget,
        candidate=candidate,
        references=references,
        verdict=verdict,
        n_repeats=n_repeats,
    )


def open_lines(verdict: Verdict) -> list[LineVerdict]:
    """Lines that are not decided. More repeats may decide each: the value moves, even where it now seems too close."""
    return [line for line in verdict.lines if line.outcome not in DECIDED]


def counts(verdict: Verdict) -> str:
    """How many lines came out how."""
    by_outcome = {outcome: sum(line.outcome is outcome for line in verdict.lines) for outcome in Outcome}
    return ", ".join(f"{n} {outcome.value}" for outcome, n in by_outcome.items() if n)


def interval_words(line: LineVerdict) -> str:
    """A line's name, its interval and its limit."""
    where = " ".join(part for part in (line.mode, line.against) if part is not None)
    name = f"{line.name} ({where})" if where else line.name
    if line.low is None and line.high is None:
        return f"{name}: no interval"
    low, high, limit = (_in_unit(value, line) for value in (line.low, line.high, line.limit))
    return f"{name}: {low} to {high}, limit {limit}"


def _in_unit(value: float | None, line: LineVerdict) -> str:
    if value is None:
        return "no end"
    return signed_share(value) if line.line.is_relative else f"{figure(value)} {line.unit}"
