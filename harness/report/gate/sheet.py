"""A verdict as one sheet: outcome, rows, doubts and the next step, made once for every output of the gate.

Knows verdicts. Must not know how a sheet is laid out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.gate.verdict import Outcome, Verdict
from harness.gate.words import figure
from harness.records import Finding
from harness.report.gate.rows import OVER, WORDS, GateRow, gate_row
from harness.report.wording import Doubt, doubts

Policy = Literal["report", "fail", "pass"]
"""What a budget makes of an open line."""
N_DIGITS_OF_LEVEL = 3
WORST_FIRST = (
    Outcome.FAIL,
    Outcome.INVALID,
    Outcome.INCONCLUSIVE,
    Outcome.WAIVED,
    Outcome.PASS,
    Outcome.NOT_APPLIED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSheet:
    """A verdict, printed: what every output of the gate is made of."""

    name: str
    outcome: Outcome
    sentence: str
    counts: str
    candidate: tuple[str, ...]
    references: tuple[tuple[str, str], ...]
    rows: tuple[GateRow, ...]
    notes: tuple[str, ...]
    """What holds for several lines."""
    level: str
    doubts: tuple[Doubt, ...]
    next_step: str
    inconclusive: Policy
    verdict: Verdict

    @property
    def word(self) -> str:
        """The outcome, as it is printed."""
        return WORDS[self.outcome]

    @property
    def worst_first(self) -> list[GateRow]:
        """The rows by how much they need to be looked at."""
        return sorted(self.rows, key=lambda row: WORST_FIRST.index(row.outcome))


def gate_sheet(
    verdict: Verdict,
    *,
    name: str,
    inconclusive: Policy = "report",
    next_step: str = "",
    findings: Mapping[str, Sequence[Finding]] | None = None,
) -> GateSheet:
    """A verdict, printed.

    Args:
        verdict: Of a gate.
        name: What the gate is called: of the budget, or its file's.
        inconclusive: What the budget makes of an open line.
        next_step: What to do now.
        findings: Doubts about the runs, by what a run is in this gate.
    """
    rows = tuple(map(gate_row, verdict.lines))
    notes = _common(rows)
    rows = tuple(replace(row, notes=_own(row, notes)) for row in rows)
    found = [
        finding.model_copy(update={"detail": f"{who}: {finding.detail}" if finding.detail else who})
        for who, each in (findings or {}).items()
        for finding in each
    ]
    return GateSheet(
        name=name,
        outcome=verdict.outcome,
        sentence=_sentence(verdict, inconclusive),
        counts=_counts(verdict),
        candidate=verdict.candidate,
        references=tuple(
            (OVER[kind].removeprefix("the "), words) for kind, each in verdict.references.items() for words in each
        ),
        rows=rows,
        notes=notes,
        level=_level(verdict),
        doubts=doubts(found),
        next_step=next_step,
        inconclusive=inconclusive,
        verdict=verdict,
    )


def _counts(verdict: Verdict) -> str:
    """How many lines of each outcome, the worst first."""
    found = Counter(line.outcome for line in verdict.lines)
    return ", ".join(f"{found[outcome]} {outcome.value}" for outcome in WORST_FIRST if found[outcome])


def _sentence(verdict: Verdict, policy: Policy) -> str:
    n, n_all = sum(line.outcome is verdict.outcome for line in verdict.lines), len(verdict.lines)
    one, lines = n == 1, "The line" if n_all == 1 else f"{n} of {n_all} lines"
    if verdict.outcome is Outcome.PASS:
        waived = any(line.outcome is Outcome.WAIVED for line in verdict.lines)
        return f"Every line that was judged is within its limit{', or waived' if waived else ''}."
    if verdict.outcome is Outcome.FAIL:
        return f"{lines} {'is' if one else 'are'} over the limit, by more than can be chance or error."
    if verdict.outcome is Outcome.INCONCLUSIVE:
        said = f"{lines} may be within the limit or over it: the measurement cannot tell."
        return said + {"report": "", "fail": " That counts as a failure here.", "pass": " That passes here."}[policy]
    if not n:
        return "No line of the budget applies to what was measured."
    return f"{lines} {'has' if one else 'have'} no figure that may be judged."


def next_step(verdict: Verdict, *, candidate: str, reference: str | None, budget: str) -> str:
    """What to do now, with a command to copy where there is one.

    Args:
        verdict: Of the gate.
        candidate: RUN, as one would type it.
        reference: RUN of the last release, or of the golden reference; None: there is none.
        budget: The budget's file.
    """
    if verdict.outcome is Outcome.PASS:
        return "Keep this run: it is the --reference of the next release."
    if verdict.outcome is Outcome.FAIL:
        if reference is None:
            return f"See where the joules go: harness report {candidate}"
        return f"See whether it is more tokens or dearer ones: harness compare {reference} {candidate}"
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return "Measure more: what would settle an open line stands with it, and --explain says why."
    if any(line.outcome is Outcome.INVALID for line in verdict.lines):
        return "Repair what each invalid line names, and measure again; waivers do not cover it."
    return f"Check mode, prompts and gpu of the lines in {budget}."


def level_words(verdict: Verdict) -> str:
    """Of which share an interval is: `90 %`."""
    return share_words(1 - 2 * alpha_of(verdict))


def alpha_of(verdict: Verdict) -> float:
    """At which each end of an interval stands: alpha, over the number of looks."""
    return verdict.alpha / verdict.n_looks


def share_words(share: float) -> str:
    """A level as a percentage, without digits that say nothing."""
    return f"{figure(100 * share, N_DIGITS_OF_LEVEL)} %"


def _level(verdict: Verdict) -> str:
    """What the intervals are of."""
    looks = (
        f" It looks up to {verdict.n_looks} times, each at {share_words(alpha_of(verdict))}."
        if verdict.n_looks > 1
        else ""
    )
    alpha = share_words(verdict.alpha)
    return (
        f"Intervals are of {level_words(verdict)}. A line exactly at its limit passes by chance in at most {alpha} of "
        f"gates, and fails in at most as many.{looks}"
    )


def _common(rows: Sequence[GateRow]) -> tuple[str, ...]:
    """What is said of several lines alike, besides the first reason of one that is not a pass: that stays with it."""
    found = Counter(note for row in rows for note in dict.fromkeys(row.notes[_n_first(row) :]))
    return tuple(note for note, count in found.items() if count > 1)


def _own(row: GateRow, common: Sequence[str]) -> tuple[str, ...]:
    first = _n_first(row)
    return (*row.notes[:first], *(note for note in row.notes[first:] if note not in common))


def _n_first(row: GateRow) -> int:
    return 0 if row.outcome is Outcome.PASS else 1
