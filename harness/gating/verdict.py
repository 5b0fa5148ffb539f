"""From named runs to a verdict.

Knows which runs are held against which. Must not know how a line is judged, nor how a verdict is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from harness.config import load_yaml
from harness.errors import SchemaError, UsageError
from harness.gate.budget import Budget, ReferenceKind
from harness.gate.evidence import SideKind
from harness.gate.judging import judge
from harness.gate.verdict import Verdict
from harness.gating.named import GATE_FILE, NamedRun
from harness.gating.selection import repeats_of
from harness.gating.sides import Evidence, evidence
from harness.publish import Account


def evidence_of(
    candidate: NamedRun, references: Mapping[ReferenceKind, NamedRun]
) -> tuple[Evidence, dict[ReferenceKind, Evidence]]:
    """What the runs of a gate say.

    Args:
        candidate: One cell at one site.
        references: Of one that was measured at several sites, the candidate's counts.

    Raises:
        UsageError: A run with several models or sites, without a finished query, or compared with itself.
        SchemaError: Damaged, or written by a newer version.
    """
    own = repeats_of(candidate)
    measured, site_id = evidence(candidate, SideKind.CANDIDATE, own), own[0].summary.site_id
    found = {}
    for kind, run in references.items():
        group = repeats_of(run, site_id)
        if run.path == candidate.path and group[0].summary.cell.cell_id in {each.summary.cell.cell_id for each in own}:
            raise UsageError(
                f"{candidate.words} is both the candidate and the {kind.value} reference.",
                "Name another --candidate or --reference: a run is within any limit of itself.",
            )
        if _sessions(own) & _sessions(group):
            raise UsageError(
                f"{candidate.words} and {run.words} are one measurement: the one is a copy of the other.",
                "Name another --candidate or --reference: a run is within any limit of itself.",
            )
        found[kind] = evidence(run, SideKind(kind.value), group)
    return measured, found


def _sessions(group: Sequence[Account]) -> set[tuple[str, str, int, float]]:
    """What tells a session from all others, whatever its run's folder is called now."""
    return {
        (each.manifest.run_id, each.manifest.cell_id, each.number, each.manifest.origin_unix_s)
        for account in group
        for each in account.results.sessions
        if each.manifest is not None
    }


def verdict_of(
    budget: Budget,
    candidate: Evidence,
    references: Mapping[ReferenceKind, Evidence],
    *,
    today: date,
    n_looks: int = 1,
) -> Verdict:
    """Judge a candidate.

    Args:
        budget: What it may use.
        candidate: What it used.
        references: What it is compared with.
        today: Of the waivers.
        n_looks: How often the gate looks at most while it is measured; of runs that a gate measured, its plan counts.
    """
    release = references.get(ReferenceKind.RELEASE)
    named = {kind: evidence.sides for kind, evidence in references.items()}
    own = candidate.sides
    if release is not None and (plan := gate_file(candidate, release)) is not None:
        own = tuple(replace(side, interleaved_with=release.words) for side in own)
        named[ReferenceKind.RELEASE] = tuple(replace(side, interleaved_with=candidate.words) for side in release.sides)
        n_looks = max(n_looks, _n_looks(plan))
    return judge(budget, own, named, today=today, n_looks=n_looks)


def _n_looks(plan: Path) -> int:
    looks = load_yaml(plan).get("looks")
    if not isinstance(looks, list) or not looks or not all(isinstance(each, int) and each > 0 for each in looks):
        raise SchemaError(
            f"{plan} is damaged: its looks are {looks!r}.", "Restore it from a copy: alpha is divided by their number."
        )
    return len(looks)


def gate_file(candidate: Evidence, reference: Evidence) -> Path | None:
    """The plan by which one gate measured both in turn; None: they are two jobs."""
    folder = candidate.run.path.parent
    together = folder == reference.run.path.parent and candidate.run.path != reference.run.path
    return folder / GATE_FILE if together and (folder / GATE_FILE).is_file() else None
