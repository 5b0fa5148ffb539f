"""A comparison as one JSON document: the sides, each one over another, and the verdicts on repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from harness.analysis.repetition import Repetition
from harness.comparing.match import Match
from harness.comparing.repetition import RepeatedSide
from harness.comparing.side import Side
from harness.records import SCHEMA_VERSION, Comparison, Record
from harness.report.repetition import verdict_line
from harness.store.run_directory import writing


class ComparedSide(Record):
    """What stands behind a letter."""

    label: str
    run_id: str
    cell_id: str
    site_id: str
    estimated: bool


class ComparedPair(Record):
    """One side over another, by mode; `numerator` and `denominator` of a comparison name the sides."""

    base: str
    other: str
    differences: tuple[str, ...] = Field(description="conditions in which they differ")
    refusal: str | None = Field(description="why there is no comparison")
    comparisons: dict[str, Comparison]


class RepeatedPair(Record):
    """One side as a repetition of another."""

    base: str
    other: str
    line: str = Field(description="the verdict as it is printed")
    is_copy: bool = Field(description="they share a session: one of them measured nothing")
    repetition: Repetition


class ComparedRuns(Record):
    """What `harness compare` found. The modes of a side among themselves are in its `summary.json`."""

    schema_version: int = SCHEMA_VERSION
    sides: tuple[ComparedSide, ...]
    pairs: tuple[ComparedPair, ...]
    repetitions: tuple[RepeatedPair, ...]


def write_document(
    path: Path, sides: Sequence[Side], matches: Sequence[Match], repetitions: Sequence[RepeatedSide]
) -> None:
    """Write the document.

    Raises:
        StorageFull: It cannot be written.
    """
    document = ComparedRuns(
        sides=tuple(
            ComparedSide(
                label=side.label,
                run_id=side.summary.run_id,
                cell_id=side.cell.cell_id,
                site_id=side.summary.site_id,
                estimated=side.summary.estimated,
            )
            for side in sides
        ),
        pairs=tuple(
            ComparedPair(
                base=each.base.label,
                other=each.other.label,
                differences=tuple(map(str, each.differences)),
                refusal=each.refusal,
                comparisons=dict(each.comparisons),
            )
            for each in matches
        ),
        repetitions=tuple(
            RepeatedPair(
                base=each.base.label,
                other=each.other.label,
                line=verdict_line(each.repetition),
                is_copy=each.is_copy,
                repetition=each.repetition,
            )
            for each in repetitions
        ),
    )
    with writing(path, "--json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")
