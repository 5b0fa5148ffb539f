"""A line of a verdict as printed figures and sentences, made once for every output of the gate.

Figures that are compared are never printed alike where they differ. A line that is invalid has no figure: what is
estimated or broken is named in words, and not shown beside what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.gate.budget import BudgetLine, ReferenceKind, Waiver
from harness.gate.verdict import Component, LineVerdict, Outcome
from harness.gate.words import figure
from harness.report.numbers import (
    N_DIGITS_WITHOUT_INTERVAL,
    Unit,
    decimals_of_digits,
    decimals_of_half_width,
    number,
    percent,
    signed,
)

WORDS = {
    Outcome.PASS: "PASS",
    Outcome.FAIL: "FAIL",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.INVALID: "INVALID",
    Outcome.WAIVED: "WAIVED",
    Outcome.NOT_APPLIED: "NOT APPLIED",
}
MARKS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.INVALID: "!",
    Outcome.WAIVED: "~",
    Outcome.NOT_APPLIED: "-",
}
OVER = {ReferenceKind.RELEASE: "the reference", ReferenceKind.GOLDEN: "the golden reference"}
OWN_SENSOR = "as this board's own sensor reads them"
NO_FIGURE = "no figure"
PERCENT = Unit(name="%", size=0.01)
PARTS = {
    "prompts": "another sample of prompts",
    "run to run": "another repeat",
    "sensor reading": "the sensor's resolution and the curve through its readings",
    "board gain": "a board's sensor reads all its joules high or low by so much",
    "between jobs": "what differs from one job to another",
}
"""Where each part of an interval is from."""
N_DIGITS_OF_SIDES = 4
N_DIGITS_OF_LIMIT = 10
SHARE_LEAST = 5e-6
"""A part of an interval that is smaller is none."""
DECIMALS_MORE = 6
"""So many digits are added at most to show that an end of an interval is not the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The figures of a row as numbers in one unit, for a drawing of them. None: no such end."""

    low: float | None
    value: float
    high: float | None
    limit: float
    limit_low: float | None
    is_difference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """One part of an interval: how far it alone reaches down and up, and where that is from."""

    name: str
    down: str
    up: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One line of a verdict, printed. What there is nothing to say of is empty."""

    name: str
    about: str
    outcome: Outcome
    value: str
    interval: str
    unit: str
    limit: str
    margin: str
    sides: str
    sample: str
    parts: tuple[PartRow, ...]
    reasons: tuple[str, ...]
    """Everything that was said of it."""
    notes: tuple[str, ...]
    """Of the reasons, those that the figures do not show already."""
    to_settle: str
    waiver: str
    scale: Scale | None
    verdict: LineVerdict

    @property
    def word(self) -> str:
        """The outcome, as it is printed."""
        return WORDS[self.outcome]

    @property
    def figures(self) -> str:
        """Value, interval and limit in one line; without a value, that it has none."""
        interval = f" ({self.interval})" if self.interval else ""
        return f"{self.value}{interval}; {self.limit}"


def gate_row(line: LineVerdict) -> GateRow:
    """One line, printed."""
    unit = _unit(line)
    scale = _scale(line, unit)
    decimals = 0 if scale is None else _decimals(scale)
    print_ = _Printed(unit=unit, decimals=decimals, is_difference=line.line.is_relative)
    return GateRow(
        name=line.name,
        about=_about(line),
        outcome=line.outcome,
        value=NO_FIGURE if scale is None else print_.with_unit(scale.value),
        interval="" if scale is None else _interval(scale, print_),
        unit=unit.name,
        limit=_limit(line.line, unit),
        margin="" if scale is None else _margin(scale, print_),
        sides="" if scale is None else _sides(line),
        sample=_sample(line),
        parts=() if scale is None else tuple(map(_part, line.components)),
        reasons=_reasons(line),
        notes=_notes(line),
        to_settle="" if line.to_settle is None else line.to_settle.sentence,
        waiver="" if line.waiver is None else _waiver(line.waiver),
        scale=scale,
        verdict=line,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Printed:
    """How the figures of one row are printed."""

    unit: Unit
    decimals: int
    is_difference: bool

    def plain(self, value: float) -> str:
        """A figure of the row."""
        text = number(value, self.decimals)
        return signed(text) if self.is_difference else text

    def with_unit(self, value: float) -> str:
        """The same, with its unit."""
        return f"{self.plain(value)} {self.unit.name}"

    def distance(self, end: float, limit: float) -> str:
        """From an end, as it is printed, to a limit."""
        unit = "points" if self.is_difference else self.unit.name
        return f"{number(abs(limit - round(end, self.decimals)), self.decimals)} {unit}"


def _unit(line: LineVerdict) -> Unit:
    """Of all figures of a row: the one that the budget is written in, so that a limit reads as it stands there."""
    return PERCENT if line.line.is_relative else Unit(name=line.line.metric.unit, size=1.0)


def _scale(line: LineVerdict, unit: Unit) -> Scale | None:
    """The figures in the row's unit; None where there is nothing that may be shown."""
    if line.outcome in (Outcome.INVALID, Outcome.NOT_APPLIED) or line.value is None or line.limit is None:
        return None

    def of(value: float | None) -> float | None:
        return None if value is None else unit.of(value)

    return Scale(
        low=of(line.low),
        value=unit.of(line.value),
        high=of(line.high),
        limit=round(unit.of(line.limit), 9),
        limit_low=None if line.limit_low is None else round(unit.of(line.limit_low), 9),
        is_difference=line.line.is_relative,
    )


def _decimals(scale: Scale) -> int:
    """As many as the interval justifies; more where an end would print as the limit, and is not."""
    ends = [end for end in (scale.low, scale.high) if end is not None]
    reach = max((abs(end - scale.value) for end in ends), default=0.0)
    if reach <= 1e-9 * abs(scale.value):
        decimals = decimals_of_digits(scale.value, N_DIGITS_WITHOUT_INTERVAL)
    else:
        decimals = decimals_of_half_width(reach)
    limits = [limit for limit in (scale.limit, scale.limit_low) if limit is not None]
    pairs = [(end, limit) for end in ends for limit in limits if not math.isclose(end, limit, rel_tol=1e-9)]
    if scale.is_difference:
        decimals = max(0, decimals)  # percentages: +12 and not +10
    for more in range(DECIMALS_MORE):
        if all(round(end, decimals + more) != round(limit, decimals + more) for end, limit in pairs):
            return decimals + more
    return decimals + DECIMALS_MORE


def _interval(scale: Scale, printed: _Printed) -> str:
    low = "no lower end" if scale.low is None else printed.plain(scale.low)
    high = "no upper end" if scale.high is None else printed.plain(scale.high)
    return "no interval" if scale.low is None and scale.high is None else f"{low} to {high}"


def _limit(line: BudgetLine, unit: Unit) -> str:
    """What the line asks for, never rounded."""
    if line.equivalent is not None:
        return f"within ±{_exact(100 * line.equivalent)} %"
    if line.at_most_over_reference is not None:
        return f"at most {signed(_exact(100 * line.at_most_over_reference))} %"
    return f"at most {_exact(unit.of(line.at_most or 0.0))} {unit.name}"


def _margin(scale: Scale, printed: _Printed) -> str:
    """How far the nearest end is from the limit, and on which side."""
    low, high, limit, limit_low = scale.low, scale.high, scale.limit, scale.limit_low
    if low is None and high is None:
        return ""
    if low is not None and low > limit:
        return f"over by at least {printed.distance(low, limit)}"
    if limit_low is not None and high is not None and high < limit_low:
        return f"under by at least {printed.distance(high, limit_low)}"
    if high is not None and high <= limit and (limit_low is None or (low is not None and low >= limit_low)):
        if limit_low is None or low is None or limit - high <= low - limit_low:
            return f"{printed.distance(high, limit)} to spare"
        return f"{printed.distance(low, limit_low)} to spare"
    if high is None or (limit_low is not None and low is None):
        return "the interval has no end on that side"
    if high > limit:
        return f"the upper end is {printed.distance(high, limit)} over the limit"
    return f"the lower end is {printed.distance(low or 0.0, limit_low or 0.0)} under the limit"


def _about(line: LineVerdict) -> str:
    """Which figure it is, of what."""
    budget = line.line
    over = "a reference" if line.against is None else OVER[line.against]
    parts = [f"{budget.metric.words} over {over}" if budget.is_relative else budget.metric.words]
    parts += [f"mode {line.mode}"] if line.mode is not None else []
    parts += [line.prompt_set] if line.prompt_set is not None else []
    parts += [f"boards named {budget.gpu}"] if budget.gpu is not None else []
    parts += [OWN_SENSOR] if not budget.board_gain else []
    return ", ".join(parts)


def _reasons(line: LineVerdict) -> tuple[str, ...]:
    """All of them; a waiver that holds is the row's own."""
    return line.reasons[1:] if line.outcome is Outcome.WAIVED else line.reasons


def _notes(line: LineVerdict) -> tuple[str, ...]:
    """Without the sentence that holds the ends against the limit, which is the first of a line that was judged."""
    return _reasons(line)[1 if line.p_over is not None else 0 :]


def _sides(line: LineVerdict) -> str:
    """Of a relative line, both figures that it is made of."""
    own, other, metric = line.value_candidate, line.value_reference, line.line.metric
    if own is None or other is None:
        return ""
    # A digit more than an interval would give either: what differs must be seen to differ.
    decimals = max(0, decimals_of_digits(own, N_DIGITS_OF_SIDES))
    return f"{number(own, decimals)} against {number(other, decimals)} {metric.unit}"


def _sample(line: LineVerdict) -> str:
    """How much was measured."""
    if not line.n_queries:
        return ""
    repeats = "1 run" if line.n_runs_candidate == 1 else f"{line.n_runs_candidate} repeats"
    against = "" if line.n_runs_reference is None else f" against {line.n_runs_reference}"
    return f"{line.n_queries:,} prompts, {repeats}{against}"


def _part(component: Component) -> PartRow:
    dof = "" if component.dof is None else f"{component.dof:g} degrees of freedom"
    note = "; ".join(filter(None, (PARTS.get(component.name), component.note, dof)))
    return PartRow(
        name=component.name,
        down="unknown" if component.low is None else _share(-component.low),
        up="unknown" if component.low is None else "no end" if component.high is None else _share(component.high),
        note=note,
    )


def _share(share: float) -> str:
    return "0 %" if abs(share) < SHARE_LEAST else signed(percent(share))


def _waiver(waiver: Waiver) -> str:
    return f"waived by {waiver.owner} until {waiver.until:%Y-%m-%d}: {waiver.reason}"


def _exact(value: float) -> str:
    return figure(value, N_DIGITS_OF_LIMIT)
