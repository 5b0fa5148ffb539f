"""The verdict over a budget, from the figures of a candidate and its references.

A line passes when the upper end of its one-sided interval is at or below the limit, and is over it when the lower end
is above. Passing needs every line, so it needs no correction; failing needs one, so a line fails only where Holm's
procedure over all judged lines rejects it (S. Holm, Scandinavian Journal of Statistics 6, 1979). Equivalence is two
one-sided tests (D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). Several looks share alpha
equally.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date

from harness.analysis.interval import Part, combined, level_above, level_below
from harness.errors import ExitCode
from harness.gate import reasons
from harness.gate.budget import Budget, ReferenceKind, Waiver
from harness.gate.drafting import Draft, drafts_of
from harness.gate.evidence import Side
from harness.gate.limits import Limits
from harness.gate.settling import parts_unknown, settlement
from harness.gate.verdict import Component, LineVerdict, Outcome, Verdict

TOLERANCE = 1e-9
"""Of a log: two figures that are equal but for the arithmetic's rounding are equal."""


def judge(
    budget: Budget,
    candidate: Sequence[Side],
    references: Mapping[ReferenceKind, Sequence[Side]],
    *,
    today: date,
    n_looks: int = 1,
) -> Verdict:
    """Every line of a budget, and the whole.

    Args:
        budget: What is allowed.
        candidate: Its cells, a side for each mode.
        references: The sides of each reference that is given.
        today: On which waivers hold or have run out.
        n_looks: How often a gate may look at its figures while it measures; each look is held against alpha over this.

    Returns:
        A verdict per line, mode, prompt set and reference.
    """
    alpha = budget.alpha / n_looks
    given = {kind: sides for kind, sides in references.items() if sides}
    drafts = [draft for line in budget.lines for draft in drafts_of(budget, line, candidate, given)]
    p_values = [_p_over(draft) for draft in drafts]
    levels = holm_levels(p_values, alpha)
    n_judged = sum(p_value is not None for p_value in p_values)
    waivers = {waiver.line: waiver for waiver in budget.waivers}
    lines = tuple(
        _waived(_line(draft, alpha, p_value, level, n_judged), waivers.get(draft.line.label), today)
        for draft, p_value, level in zip(drafts, p_values, levels, strict=True)
    )
    outcome = _whole([line.outcome for line in lines])
    return Verdict(
        budget=budget.name,
        alpha=budget.alpha,
        n_looks=n_looks,
        lines=lines,
        outcome=outcome,
        exit_code=_exit_code(outcome, budget),
        candidate=_words(candidate),
        references={kind: _words(sides) for kind, sides in given.items()},
        date_utc=today,
    )


def holm_levels(p_values: Sequence[float | None], alpha: float) -> list[float | None]:
    """What each p-value is held against: the smallest against alpha over their number, the next over one less, ...

    From the first that is above its level on, all are held against that level: none of them is rejected.

    Args:
        p_values: None: of a line that is not judged.
        alpha: Of the family.
    """
    order = sorted((p_value, index) for index, p_value in enumerate(p_values) if p_value is not None)
    levels: list[float | None] = [None] * len(p_values)
    level, stopped = 0.0, False
    for rank, (p_value, index) in enumerate(order):
        level = level if stopped else alpha / (len(order) - rank)
        levels[index] = level
        stopped = stopped or p_value > level
    return levels


def _p_over(draft: Draft) -> float | None:
    """The p-value of "not over the limit"; None: the line is not judged.

    An equivalence fails on either side, so the chance of as extreme a figure on the other is added.
    """
    if not draft.is_judged:
        return None
    parts, log_value, limits = _figures(draft)
    above = level_below(parts, log_value - limits.log_high)
    if limits.low is None:
        return above
    below = level_above(parts, limits.log_low - log_value)
    width = limits.log_high - limits.log_low
    if above <= below:
        return min(1.0, above + level_above(parts, width + combined(parts, min(above, 0.5)).high))
    return min(1.0, below + level_below(parts, width + combined(parts, min(below, 0.5)).low))


def _figures(draft: Draft) -> tuple[tuple[Part, ...], float, Limits]:
    assert draft.statistic is not None, "a judged line has figures"
    assert draft.statistic.value is not None, "a judged line has a value"
    return draft.statistic.parts, math.log(draft.statistic.value), draft.limits


def _line(draft: Draft, alpha: float, p_value: float | None, level: float | None, n_judged: int) -> LineVerdict:
    """A draft's verdict, before any waiver."""
    verdict = _described(draft, alpha)
    if p_value is None or level is None:
        assert draft.outcome is not None, "a line that is not judged is settled beforehand"
        return verdict
    parts, log_value, limits = _figures(draft)
    statistic = draft.statistic
    assert statistic is not None
    assert statistic.value is not None
    reach = combined(parts, alpha)
    log_low, log_high = log_value - reach.low, log_value + reach.high
    said = []
    if log_high <= limits.log_high + TOLERANCE and log_low >= limits.log_low - TOLERANCE:
        outcome = own = Outcome.PASS
    else:
        over = log_low > limits.log_high + TOLERANCE or log_high < limits.log_low - TOLERANCE
        own = Outcome.FAIL if over else Outcome.INCONCLUSIVE
        rejected = over and p_value <= level
        outcome = Outcome.FAIL if rejected else Outcome.INCONCLUSIVE
        if over and (n_judged > 1 or not rejected):
            said.append(reasons.holm(p_value, level, n_judged, rejected=rejected))
    low, high = statistic.value * math.exp(-reach.low), statistic.value * _exp(reach.high)
    said.insert(0, reasons.decision(own, limits, low, high))
    to_settle = None
    if outcome is Outcome.INCONCLUSIVE:
        said += filter(None, [reasons.widest(parts, alpha)])
        to_settle = settlement(
            parts,
            statistic.value,
            limits,
            alpha=alpha,
            level=level,
            n_queries=statistic.n_queries,
            n_runs=statistic.n_runs,
        )
    return verdict.model_copy(
        update={
            "outcome": outcome,
            "low": limits.shown(low) if math.isfinite(reach.low) else None,
            "high": limits.shown(high),
            "p_over": p_value,
            "holm_level": level,
            "reasons": (*said, *draft.reasons, *_attributed(draft)),
            "to_settle": to_settle,
        }
    )


def _described(draft: Draft, alpha: float) -> LineVerdict:
    """What a draft says of itself; its outcome stands in for one that is yet to come."""
    line, limits, statistic, side = draft.line, draft.limits, draft.statistic, draft.candidate
    return LineVerdict(
        line=line,
        name=line.label,
        subject=None if side is None else side.words,
        mode=line.mode if side is None or side.task is not None else side.mode,
        prompt_set=line.prompts if side is None else side.prompt_set,
        against=draft.kind,
        against_words=None if draft.reference is None else draft.reference.words,
        outcome=draft.outcome or Outcome.INCONCLUSIVE,
        value=None if statistic is None else limits.shown(statistic.value),
        limit=limits.shown(limits.high),
        limit_low=limits.shown(limits.low),
        unit=limits.unit,
        value_candidate=None if statistic is None else statistic.value_candidate,
        value_reference=None if statistic is None else statistic.value_reference,
        n_queries=0 if statistic is None else statistic.n_queries,
        n_runs_candidate=0 if side is None else len(side.runs),
        n_runs_reference=None if draft.reference is None else len(draft.reference.runs),
        components=() if statistic is None else tuple(_component(part, alpha) for part in statistic.parts),
        reasons=(*draft.reasons, *_attributed(draft)),
        to_settle=draft.to_settle,
    )


def _attributed(draft: Draft) -> list[str]:
    """What a verdict on joules that were shared must say, whatever it is."""
    sides = [side for side in (draft.candidate, draft.reference) if side is not None and side.shared]
    if not draft.line.metric.in_joules:
        return []
    return [reasons.attributed(side.shared, of=side.kind.value) for side in sides]


def _component(part: Part, alpha: float) -> Component:
    reach = part.reach(alpha)
    unknown = bool(parts_unknown([part]))
    return Component(
        name=part.name,
        low=None if unknown else -math.expm1(-reach.low),
        high=None if unknown or not math.isfinite(reach.high) else _exp(reach.high) - 1,
        dof=part.dof,
        note=part.note,
    )


def _waived(line: LineVerdict, waiver: Waiver | None, today: date) -> LineVerdict:
    """A failure or an open line is let through while its waiver holds; a measurement that is invalid never is."""
    if waiver is None:
        return line
    if today > waiver.until:
        said = f"The waiver of {waiver.owner} ran out on {waiver.until}."
        return line.model_copy(update={"reasons": (*line.reasons, said)}) if line.outcome in OPEN else line
    if line.outcome not in OPEN:
        return line.model_copy(update={"waiver": waiver})
    said = f"Waived until {waiver.until} by {waiver.owner}: {waiver.reason}"
    update = {"outcome": Outcome.WAIVED, "waiver": waiver, "reasons": (said, *line.reasons)}
    return line.model_copy(update=update)


OPEN = (Outcome.FAIL, Outcome.INCONCLUSIVE)
GRAVEST_FIRST = (Outcome.FAIL, Outcome.INVALID, Outcome.INCONCLUSIVE)


def _whole(outcomes: Sequence[Outcome]) -> Outcome:
    """Of all lines: the gravest; invalid where none applies, because nothing was checked."""
    for grave in GRAVEST_FIRST:
        if grave in outcomes:
            return grave
    return Outcome.PASS if set(outcomes) - {Outcome.NOT_APPLIED} else Outcome.INVALID


def _exit_code(outcome: Outcome, budget: Budget) -> ExitCode:
    if outcome is Outcome.INCONCLUSIVE:
        meant = {"report": ExitCode.INCONCLUSIVE, "fail": ExitCode.GATE_FAILED, "pass": ExitCode.OK}
        return meant[budget.inconclusive]
    codes = {Outcome.PASS: ExitCode.OK, Outcome.FAIL: ExitCode.GATE_FAILED, Outcome.INVALID: ExitCode.INVALID}
    return codes[outcome]


def _words(sides: Sequence[Side]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(side.words for side in sides))


def _exp(log: float) -> float:
    """Infinite where the number is beyond a float's."""
    return math.exp(log) if log < 700 else math.inf
