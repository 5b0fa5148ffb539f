"""A published figure: what it is of, what it says, whether it may be trusted, and where it stands."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from harness.reference.conditions import Conditions


class Quantity(StrEnum):
    """What a figure counts. The value is how it is written."""

    J_PER_OUTPUT_TOKEN = "J per output token"  # noqa: S105 - a token of text
    J_PER_QUERY = "J per query"
    WH_PER_1000 = "Wh per 1,000 queries"
    J_PER_ITEM = "J per image or video"


class Status(StrEnum):
    """Whether a row may be held against a run."""

    PUBLISHED = "published"
    RAW = "raw"
    """From the first upload of a table that was edited later."""
    PRESS = "press"
    """As third parties reported it."""
    SUPERSEDED = "superseded"
    """Corrected or replaced by who published it."""
    ARTEFACT = "artefact"
    """A fault of cap or logging, not a property of the model."""
    DOUBTFUL = "doubtful"
    """At odds with rows that it should agree with."""
    REPEATED = "repeated"
    """The same figure as another row of the same publisher."""


SOUND = {Status.PUBLISHED, Status.RAW, Status.PRESS}
"""What gets a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a table. `values` are in the units of their quantities."""

    table: str
    release: str
    task: str
    conditions: Conditions
    values: Mapping[Quantity, float]
    status: Status
    note: str
    source: str
    output_tokens: float | None = None
    class_: str | None = None
    stars: int | None = None
    """As published with it; None: not read."""
    names: tuple[str, ...] = ()
    """What the model is called without its owner, where the publisher leaves that out; empty: as `conditions` says."""

    @property
    def sound(self) -> bool:
        """Whether it may be held against a run."""
        return self.status in SOUND

    @property
    def model(self) -> str:
        """As the publisher names it."""
        return self.conditions.model or ""


def asset(name: str) -> list[dict[str, str]]:
    """The rows of one CSV under `assets/reference`. Its head is comment: what it is, where from, under what licence."""
    text = (files("harness") / "assets" / "reference" / name).read_text("utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def head(name: str) -> str:
    """The comment above the rows of one CSV, as one paragraph."""
    text = (files("harness") / "assets" / "reference" / name).read_text("utf-8")
    return " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))


def number(text: str) -> float | None:
    """A cell of a table; None where it is empty."""
    return float(text) if text else None


def known(values: Mapping[Quantity, str]) -> dict[Quantity, float]:
    """The figures that a row has."""
    return {quantity: float(text) for quantity, text in values.items() if text}
