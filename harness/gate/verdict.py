"""What a gate says: of each line, of the whole, and what would settle what is open.

Knows no statistics: `judging` makes these.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import Field

from harness.errors import ExitCode
from harness.gate.budget import BudgetLine, ReferenceKind, Waiver
from harness.records import SCHEMA_VERSION, Record


class Outcome(StrEnum):
    """Of a line, or of the whole."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    WAIVED = "waived"
    NOT_APPLIED = "not applied"


class Component(Record):
    """One part of an interval, alone: how far it reaches below and above the value, as shares of it.

    None: it is not known, or has no end.
    """

    name: str = Field(description="prompts, run to run, sensor reading, board gain or between jobs")
    low: float | None
    high: float | None
    dof: float | None = Field(default=None, description="degrees of freedom of Student's t; None: another distribution")
    note: str | None = Field(default=None, description="where it comes from, in words")


class Settlement(Record):
    """What would settle an open line if the value stayed where it is."""

    n_queries: int | None = Field(
        default=None, description="prompts in all, at the present repeats; None: not by these"
    )
    n_repeats: int | None = Field(default=None, description="of each side, at the present prompts; None: not by these")
    possible: bool = Field(description="by more queries, more repeats or both")
    sentence: str


class LineVerdict(Record):
    """One line for one mode, prompt set and reference.

    `value`, `low`, `high` and the limits are in `unit`: of an absolute line the metric's, of a relative one a share
    (0.03: three per cent more than the reference). `low` and `high` are each one-sided at alpha, so that the interval
    is of 1 - 2 alpha; None: no such end. `p_over` is the p-value of "not over the limit", `holm_level` what it was held
    against.
    """

    line: BudgetLine
    name: str
    subject: str | None = Field(description="the candidate, in words; None: none of its sides is what the line is of")
    mode: str | None
    prompt_set: str | None
    against: ReferenceKind | None = None
    against_words: str | None = Field(default=None, description="the reference, in words")
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    limit_low: float | None = Field(default=None, description="of an equivalence")
    unit: str
    value_candidate: float | None = Field(default=None, description="of a relative line, in the metric's unit")
    value_reference: float | None = None
    n_queries: int = 0
    n_runs_candidate: int = 0
    n_runs_reference: int | None = None
    components: tuple[Component, ...] = ()
    p_over: float | None = None
    holm_level: float | None = None
    reasons: tuple[str, ...] = ()
    to_settle: Settlement | None = None
    waiver: Waiver | None = Field(default=None, description="that holds today")


class Verdict(Record):
    """What the gate says, and the exit code that a pipeline sees."""

    schema_version: int = SCHEMA_VERSION
    budget: str | None
    alpha: float
    n_looks: int = Field(description="planned; each is held against alpha over this number")
    lines: tuple[LineVerdict, ...]
    outcome: Outcome
    exit_code: ExitCode
    candidate: tuple[str, ...] = Field(description="in words")
    references: dict[ReferenceKind, tuple[str, ...]]
    date_utc: date
