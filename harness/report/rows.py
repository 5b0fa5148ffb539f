"""What a receipt is made of: rows of printed figures under headings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a row is laid out. Wide rows have one cell for all modes."""

    ITEM = "item"
    TOTAL = "total"
    DETAIL = "detail"
    WIDE = "wide"
    WIDE_TOTAL = "wide_total"


WIDE = (Kind.WIDE, Kind.WIDE_TOTAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A label and a printed figure per mode, or one for all."""

    label: str
    cells: tuple[str, ...]
    kind: Kind = Kind.ITEM
    behind: tuple[str, ...] = ()
    """The names of the figures that it prints, for `harness report --explain`; empty: there is nothing to open."""
    part: str = ""
    """Where the row is only one part of those figures' interval: which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows under a heading."""

    title: str
    rows: tuple[Row, ...]


def wide(label: str, cell: str = "", *, total: bool = False, behind: str = "", part: str = "") -> Row:
    """One figure for all modes, or a sentence where `cell` is empty. `behind` is the figure's name."""
    return Row(
        label=label,
        cells=(cell,),
        kind=Kind.WIDE_TOTAL if total else Kind.WIDE,
        behind=(behind,) if behind else (),
        part=part,
    )
