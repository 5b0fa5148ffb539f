"""Claims, and what an experiment says of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from harness.analysis.bootstrap import student_t
from harness.records import Record


class Ruling(StrEnum):
    """What became of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


class Figure(Record):
    """One number with its unit; `half_width` is of a 95 % interval, None where none is known."""

    name: str
    value: float | None
    unit: str
    half_width: float | None = None


class Verdict(Record):
    """One claim's row of the report."""

    experiment: str
    claim: str
    words: str
    verdict: Ruling
    sentence: str
    figures: tuple[Figure, ...] = ()


class Table(Record):
    """Numbers behind the verdicts; a column's name holds its unit."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float | str | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one experiment's readings say."""

    verdicts: tuple[Verdict, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence about boards that an experiment can confirm or refute."""

    name: str
    words: str

    def ruled(self, experiment: str, ruling: Ruling, sentence: str, *figures: Figure) -> Verdict:
        """The verdict on this claim."""
        return Verdict(
            experiment=experiment,
            claim=self.name,
            words=self.words,
            verdict=ruling,
            sentence=sentence,
            figures=tuple(figure for figure in figures if figure.value is not None),
        )


def below(value: float, half_width: float | None, limit: float) -> Ruling:
    """Whether a quantity lies under a limit with its whole interval, over it, or on both sides."""
    if half_width is None:
        return Ruling.UNDECIDED
    if value + half_width < limit:
        return Ruling.CONFIRMED
    return Ruling.REFUTED if value - half_width > limit else Ruling.UNDECIDED


def mean_with_half_width(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the half-width of its 95 % interval by Student's t; None with fewer than two values."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return mean, None
    return mean, student_t(n) * float(np.std(values, ddof=1)) / math.sqrt(n)
