"""A budget's lines spread over what was measured: a draft for each mode, prompt set and reference.

A draft has its figures, or the reason why it has none. Knows sides and lines. Must not decide whether a limit holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.gate import reasons
from harness.gate.budget import Budget, BudgetLine, ReferenceKind
from harness.gate.comparable import (
    allowed_differences,
    chosen_reference,
    measured_together,
    of_another_task,
    refusals,
    unfit,
)
from harness.gate.evidence import Side
from harness.gate.limits import Limits
from harness.gate.settling import parts_unknown, to_have_enough, to_know_the_spread
from harness.gate.statistic import Statistic, absolute, relative
from harness.gate.verdict import Outcome, Settlement
from harness.gate.words import listed, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One line on one side, against one reference. With `outcome` it is settled before any limit is looked at."""

    line: BudgetLine
    candidate: Side | None = None
    kind: ReferenceKind | None = None
    reference: Side | None = None
    statistic: Statistic | None = None
    outcome: Outcome | None = None
    reasons: tuple[str, ...] = ()
    to_settle: Settlement | None = None

    @property
    def limits(self) -> Limits:
        """Of its line."""
        return Limits.of(self.line)

    @property
    def is_judged(self) -> bool:
        """Whether it has an interval to hold against the limit."""
        return self.outcome is None


def drafts_of(
    budget: Budget, line: BudgetLine, candidate: Sequence[Side], references: Mapping[ReferenceKind, Sequence[Side]]
) -> Iterator[Draft]:
    """A line's drafts, one at least.

    Args:
        budget: For what its lines share.
        line: One of them.
        candidate: All sides of it.
        references: Those that are given, none of them empty.
    """
    sides, without = _sides(line, candidate)
    if without is not None:
        yield without
        return
    yield from _modes_not_measured(line, sides, references)
    for side in sides:
        if reason := of_another_task(side, budget) or unfit(side, line):
            yield Draft(line=line, candidate=side, outcome=Outcome.INVALID, reasons=(reason,))
        elif line.is_relative:
            yield from _relative_drafts(budget, line, side, references)
        else:
            run_sd = line.run_sd or budget.run_sd
            statistic = absolute(side, line.metric, run_sd=run_sd, session_sd=budget.session_sd, gain=line.board_gain)
            notes = () if line.board_gain else ("Joules as this board's own sensor reads them: its gain is left out.",)
            yield _weighed(Draft(line=line, candidate=side, statistic=statistic, reasons=notes), budget)


def _sides(line: BudgetLine, candidate: Sequence[Side]) -> tuple[list[Side], Draft | None]:
    """The candidate's sides that a line is of; or the draft that says why there are none."""
    on_board = [side for side in candidate if _is_on(side, line.gpu)]
    if candidate and not on_board:
        boards = listed(list(dict.fromkeys(name for side in candidate for name in side.boards)) or ["no GPU"])
        reason = f"It is of {line.gpu!r}, and the candidate was measured on {boards}."
        return [], Draft(line=line, outcome=Outcome.NOT_APPLIED, reasons=(reason,))
    fitting = [side for side in on_board if line.mode in (None, side.mode) and line.prompts in (None, side.prompt_set)]
    if fitting:
        return fitting, None
    measured = listed(list(dict.fromkeys(f"{side.mode} on {side.prompt_set}" for side in on_board)) or ["nothing"])
    wanted = " on ".join(part for part in (line.mode and f"mode {line.mode}", line.prompts) if part) or "any mode"
    reason = (
        f"The candidate was not measured in {wanted}; it was in {measured}. A limit that is not measured is not met."
    )
    return [], Draft(line=line, outcome=Outcome.INVALID, reasons=(reason,))


def _modes_not_measured(
    line: BudgetLine, sides: Sequence[Side], references: Mapping[ReferenceKind, Sequence[Side]]
) -> Iterator[Draft]:
    """Of a relative line without a mode: those that a reference has and the candidate does not.

    Otherwise a candidate would be rid of its dearest mode by not being asked in it.
    """
    if line.mode is not None or not line.is_relative:
        return
    own = {side.mode for side in sides}
    for kind in references if line.against is None else line.against:
        others = {side.mode: side for side in references.get(kind, ()) if line.prompts in (None, side.prompt_set)}
        for mode, other in others.items():
            if mode not in own:
                reason = (
                    f"The {kind.value} reference was measured in mode {mode}, and the candidate was not (it has "
                    f"{listed(list(own))}). Measure it (--mode {mode}), or give the line the `mode` that it is of."
                )
                named = replace(sides[0], mode=mode, runs=())
                yield Draft(
                    line=line, candidate=named, kind=kind, reference=other, outcome=Outcome.INVALID, reasons=(reason,)
                )


def _is_on(side: Side, gpu: str | None) -> bool:
    return gpu is None or any(gpu.casefold() in board.casefold() for board in side.boards)


def _relative_drafts(
    budget: Budget, line: BudgetLine, side: Side, references: Mapping[ReferenceKind, Sequence[Side]]
) -> Iterator[Draft]:
    kinds = tuple(references) if line.against is None else line.against
    if not kinds:
        reason = "It is over a reference, and none is given: --reference RUN, or `golden: RUN` in the budget."
        yield Draft(line=line, candidate=side, outcome=Outcome.INVALID, reasons=(reason,))
    for kind in kinds:
        yield _relative_draft(budget, Draft(line=line, candidate=side, kind=kind), side, references.get(kind, ()))


def _relative_draft(budget: Budget, draft: Draft, side: Side, sides: Sequence[Side]) -> Draft:
    line = draft.line
    if not sides:
        flag = (
            "--reference RUN" if draft.kind is ReferenceKind.RELEASE else "--golden RUN, or `golden: RUN` in the budget"
        )
        return _invalid(draft, f"It is over the {draft.kind} reference, and none is given: {flag}.")
    reference = chosen_reference(side, sides)
    if isinstance(reference, str):
        return _invalid(draft, reference)
    draft = replace(draft, reference=reference)
    if side.task == reference.task and (reason := unfit(reference, line)):
        return _invalid(draft, reason)
    if refused := refusals(side, reference, budget):
        return _invalid(draft, *refused)
    together = measured_together(side, reference)
    statistic = relative(
        side,
        reference,
        line.metric,
        run_sd=line.run_sd or budget.run_sd,
        session_sd=None if together else budget.session_sd,
    )
    notes = allowed_differences(side, reference, budget)
    draft = replace(draft, statistic=statistic, reasons=tuple(notes))
    if side.site_id != reference.site_id and budget.session_sd is None:
        reason = (
            f"The reference was measured on another site ({reference.site_id}; the candidate on {side.site_id}), and "
            "how far two jobs on two sites lie apart is not known."
        )
        sentence = (
            "Measure both in one job (harness gate --measure), or state in the budget as session_sd the relative "
            "standard deviation of one job."
        )
        return replace(
            draft,
            outcome=Outcome.INCONCLUSIVE,
            reasons=(reason, *notes),
            to_settle=Settlement(possible=False, sentence=sentence),
        )
    if not together and budget.session_sd is None:
        note = (
            "The reference was measured in another job on the same site. What differs between jobs is not in the "
            "interval; session_sd in the budget would add it, and harness gate --measure avoids it."
        )
        draft = replace(draft, reasons=(*draft.reasons, note))
    return _weighed(draft, budget)


def _weighed(draft: Draft, budget: Budget) -> Draft:
    """The draft, open where its figures cannot carry a verdict."""
    statistic = draft.statistic
    assert statistic is not None, "only a draft with figures is weighed"
    n_least = budget.min_queries
    if statistic.share_missing > budget.missing_at_most:
        reason = (
            f"{percent(statistic.share_missing)} of the queries asked have no figure in one of the repeats, and the "
            f"budget allows {percent(budget.missing_at_most)}: those that failed may be those that cost most."
        )
        sentence = "Resume the run, or find out why they failed: harness report RUN."
        return _open(draft, reason, Settlement(possible=False, sentence=sentence))
    if statistic.n_queries < n_least:
        words = f"{statistic.n_queries:,} queries have figures in every repeat" + (
            " of both sides" if draft.line.is_relative else ""
        )
        reason = f"{words}; the budget asks for {n_least:,} at least."
        return _open(draft, reason, to_have_enough(n_least))
    if statistic.n_missing:
        queries = "1 query" if statistic.n_missing == 1 else f"{statistic.n_missing:,} queries"
        lacks = "has" if statistic.n_missing == 1 else "have"
        note = (
            f"{queries} of those asked {lacks} no figure in one of the repeats and {'is' if lacks == 'has' else 'are'} "
            f"left out ({percent(statistic.share_missing, 2)}; the budget allows {percent(budget.missing_at_most)}). "
            "Those that failed may be those that cost most."
        )
        draft = replace(draft, reasons=(*draft.reasons, note))
    if statistic.value is None:
        reason = f"There are no {draft.line.metric.words}: a total that it is made of is zero."
        return _open(draft, reason, None)
    if missing := parts_unknown(statistic.parts):
        spread = [part for part in missing if part.name == "run to run"]
        to_settle = to_know_the_spread(statistic.n_runs, is_relative=draft.line.is_relative) if spread else None
        said = [reasons.unknown(part) for part in missing]
        return replace(draft, outcome=Outcome.INCONCLUSIVE, reasons=(*said, *draft.reasons), to_settle=to_settle)
    return draft


def _open(draft: Draft, reason: str, to_settle: Settlement | None) -> Draft:
    return replace(draft, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *draft.reasons), to_settle=to_settle)


def _invalid(draft: Draft, *why: str) -> Draft:
    return replace(draft, outcome=Outcome.INVALID, reasons=why)
