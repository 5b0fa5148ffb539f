"""What a model may use: a budget file's lines, each with one limit, and the waivers that hold for a while.

Knows what a line can say and what it cannot mean. Must not know runs, intervals or files.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from harness.errors import UnknownName, UsageError
from harness.gate.words import figure, signed_share
from harness.records import Record

TEXT_TASKS = (None, "text-generation", "reasoning")
"""Budgets of these are of what a language model writes."""
LINE_NAME_MOST = 120
"""Characters: a name is a row's head in a table and a test's name in JUnit."""


class Metric(StrEnum):
    """A figure that a line can limit: its key, its unit and how it is called in a sentence."""

    unit: str
    words: str
    in_joules: bool

    def __new__(cls, value: str, unit: str, words: str, in_joules: bool) -> Self:  # noqa: D102 - an enum's members are built from their tuples
        member = str.__new__(cls, value)
        member._value_ = value
        member.unit = unit
        member.words = words
        member.in_joules = in_joules
        return member

    ENERGY_PER_QUERY_J = ("energy_per_query_j", "J", "joules per query", True)
    ENERGY_WH_PER_1000 = ("energy_wh_per_1000", "Wh", "watt-hours per 1,000 queries", True)
    OUTPUT_TOKENS_PER_QUERY = ("output_tokens_per_query", "tokens", "output tokens per query", False)
    ENERGY_PER_OUTPUT_TOKEN_J = ("energy_per_output_token_j", "J", "joules per output token", True)
    ENERGY_PER_CORRECT_J = ("energy_per_correct_j", "J", "joules per correct answer", True)


class ReferenceKind(StrEnum):
    """What a relative line is over: the last release, or a pinned run that small rises cannot creep away from."""

    RELEASE = "release"
    GOLDEN = "golden"


def _signed_share(value: object, info: ValidationInfo) -> object:
    """`+3%`, `3%` and 0.03 are the same; `-5%` asks for five per cent less.

    A bare 3 in a budget may be a percentage, and is refused; in a verdict that is read back from JSON it is a share.
    """
    if isinstance(value, str):
        text = value.strip().replace("−", "-")
        try:
            if text.endswith("%"):
                return float(text[:-1]) / 100
            value = float(text)
        except ValueError:
            raise ValueError("write a percentage such as 3%") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) >= 1 and info.mode != "json":
            raise ValueError(f"write {value:g}%, or a share below 1")
        return float(value)
    raise ValueError("write a percentage such as 3%")


def _amount(value: object) -> object:
    """A bare number: its unit is the metric's."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            share = "; a percentage is at_most_over_reference" if value.strip().endswith("%") else ""
            raise ValueError(f"write a number alone, in the metric's unit{share}") from None
    return value


SignedShare = Annotated[float, Field(gt=-1, le=10), BeforeValidator(_signed_share)]
"""A relative limit: above -100 %; at most +1,000 %."""
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_signed_share)]
ShareOrNone = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_signed_share)]
"""As a share, or 0: none at all."""
Words = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=LINE_NAME_MOST, pattern=r"^\S(.*\S)?$")]
Difference = Literal["gpu", "driver", "protocol", "prompts"]


def _listed(value: object) -> object:
    """One name and a list of one are the same."""
    return (value,) if isinstance(value, str) else value


class BudgetLine(Record):
    """One limit on one figure. Without a mode, a prompt set or a GPU it holds for each that was measured."""

    name: Name | None = None
    metric: Metric
    mode: Words | None = None
    prompts: Words | None = Field(default=None, description="a prompt set's name")
    gpu: Words | None = Field(
        default=None, description="a part of a board's name; on other boards the line does not apply"
    )
    at_most: Annotated[float, Field(gt=0), BeforeValidator(_amount)] | None = Field(
        default=None, description="in the metric's unit"
    )
    at_most_over_reference: SignedShare | None = None
    equivalent: Share | None = Field(default=None, description="to the reference, within this on either side")
    against: Annotated[tuple[ReferenceKind, ...], BeforeValidator(_listed)] | None = Field(
        default=None, description="None: every reference that is given"
    )
    board_gain: bool = Field(
        default=True, description="False: joules as this board's own sensor reads them, its gain left out"
    )
    run_sd: Share | None = Field(default=None, description="from run to run, relative; stated instead of measured")

    @property
    def label(self) -> str:
        """Its name, or what it says: unique in a budget."""
        if self.name is not None:
            return self.name
        where = [part for part in (self.mode, self.prompts, self.gpu) if part is not None]
        against = f" ({' and '.join(self.against)})" if self.against else ""
        return " ".join([self.metric.value, *where, self.limit_words]) + against

    @property
    def limit_words(self) -> str:
        """The limit as one would say it."""
        if self.at_most is not None:
            return f"at most {figure(self.at_most)} {self.metric.unit}"
        if self.equivalent is not None:
            return f"within {signed_share(self.equivalent).lstrip('+')} of the reference"
        return f"at most {signed_share(self.at_most_over_reference or 0.0)} over the reference"

    @property
    def is_relative(self) -> bool:
        """Whether it needs a reference."""
        return self.at_most is None

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        """Refuse a line without a limit, with two, or with a key that its limit has no use for.

        Raises:
            UsageError: It contradicts itself.
        """
        given = [key for key in ("at_most", "at_most_over_reference", "equivalent") if getattr(self, key) is not None]
        where = self.name or " ".join(part for part in (self.metric.value, self.mode) if part)
        if not given:
            raise UsageError(
                f"Line {where!r} has no limit.",
                f"Give it one: at_most (in {self.metric.unit}), at_most_over_reference (+3%) or equivalent (3%).",
            )
        if len(given) > 1:
            raise UsageError(f"Line {where!r} has two limits: {' and '.join(given)}.", "Make it two lines.")
        if self.against is not None and not self.is_relative:
            raise UsageError(
                f"Line {where!r}: `against` is of a line over a reference, and at_most has none.", "Leave one out."
            )
        if self.against is not None and (not self.against or len(set(self.against)) < len(self.against)):
            raise UsageError(
                f"Line {where!r}: `against` names nothing, or one twice.", "Write release, golden or both."
            )
        if not self.board_gain and self.is_relative:
            raise UsageError(
                f"Line {where!r}: `board_gain: false` is of an absolute line.",
                "Leave it out: on one board the gain cancels in a ratio, and on two it must be in it.",
            )
        if not self.board_gain and not self.metric.in_joules:
            raise UsageError(f"Line {where!r}: tokens have no board gain.", "Leave `board_gain` out.")
        return self


class Waiver(Record):
    """Lets one line fail or stay open until a day, and says who answers for it."""

    line: str
    until: date = Field(description="the last day on which it holds")
    owner: Name
    reason: Name


class Budget(Record):
    """A budget file."""

    name: Name | None = None
    task: Words | None = Field(
        default=None, description="what it is of; None: text generation, with or without thinking"
    )
    alpha: Annotated[float, Field(gt=0, lt=0.5), BeforeValidator(_signed_share)] = 0.05
    min_queries: Annotated[int, Field(gt=0)] = 30
    missing_at_most: ShareOrNone = Field(
        default=0.01, description="of the queries asked: more without a figure, no verdict"
    )
    inconclusive: Literal["report", "fail", "pass"] = Field(
        default="report", description="what the exit code makes of it: 6, 1 or 0"
    )
    run_sd: Share | None = Field(default=None, description="for lines that state none of their own")
    session_sd: Share | None = Field(default=None, description="of one job's level from job to job, relative")
    allow: Annotated[tuple[Difference, ...], BeforeValidator(_listed)] = Field(
        default=(), description="in which candidate and reference may differ"
    )
    golden: str | None = Field(default=None, description="RUN, relative to the budget's file")
    lines: Annotated[tuple[BudgetLine, ...], Field(min_length=1)]
    waivers: tuple[Waiver, ...] = ()

    @property
    def other_task(self) -> str | None:
        """A task that is not text generation; None: it is that."""
        return None if self.task in TEXT_TASKS else self.task

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        """Refuse names that mean two lines, and waivers that mean none.

        Raises:
            UsageError: Two lines of one name, or two waivers of one line.
            UnknownName: A waiver of a line that is not in the budget.
        """
        labels = Counter(line.label for line in self.lines)
        if twice := [label for label, count in labels.items() if count > 1]:
            raise UsageError(f"Two lines are called {twice[0]!r}.", "Give each a `name` of its own.")
        for waiver in self.waivers:
            if waiver.line not in labels:
                raise UnknownName("line of a waiver", waiver.line, labels)
        waived = Counter(waiver.line for waiver in self.waivers)
        if twice := [label for label, count in waived.items() if count > 1]:
            raise UsageError(f"Line {twice[0]!r} has two waivers.", "Keep the one that holds.")
        return self
