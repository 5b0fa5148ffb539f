"""The table of a sweep's cards: the reference on each, what drifted, how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Grid

from harness.records import Estimate
from harness.report.numbers import UNKNOWN, ends_of, half_width, times, unit_for
from harness.report.terminal import WIDTH_TEXT, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRow:
    """One card. A ratio is None where there is nothing to compare with."""

    name: str
    uuids: tuple[str, ...]
    per_query: Estimate
    drift: Estimate | None
    over_first: Estimate | None
    is_off: bool
    """Whether its end is told apart from its start."""


def print_cards(console: Console, rows: Sequence[CardRow], *, in_seconds: bool) -> None:
    """Print the cards of a sweep.

    Args:
        console: Where to.
        rows: In the order in which they began.
        in_seconds: What is compared is the time, because joules are estimated.
    """
    unit = unit_for([row.per_query.value for row in rows], "s" if in_seconds else "J")
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    grid.add_column("reference on", overflow="fold")
    grid.add_column(f"{unit.name} per query", justify="right")
    grid.add_column("end over start", justify="right")
    if len(rows) > 1:
        grid.add_column("over the first card", justify="right")
    for row in rows:
        uuid = f" {row.uuids[0][:12]}" if row.uuids else ""
        value = UNKNOWN if row.per_query.value is None else f"{unit.of(row.per_query.value):.4g}"
        over_first = [_ratio(row.over_first) if row is not rows[0] else "–"] if len(rows) > 1 else []
        grid.add_row(shown(f"{row.name}{uuid}"), value, _ratio(row.drift), *over_first)
    console.print()
    console.print(grid)
    width = min(console.width, WIDTH_TEXT)
    for row in rows:
        if row.is_off:
            text = f"{row.name} drifted from start to end: its cells that were measured far apart differ by as much."
            console.print(shown(f"→ {text}"), width=width)
    if len(rows) > 1 and not in_seconds:
        text = "Between cards stand both sensors' gains as well, about 5 % each; within one card they cancel."
        console.print(shown(text, style="dim"), width=width)


def _ratio(ratio: Estimate | None) -> str:
    if ratio is None or ratio.value is None:
        return UNKNOWN
    gain = f", gain {half_width(ratio.half_width_gain)}" if ratio.half_width_gain else ""
    ends = ends_of(ratio)
    return f"{times(ratio)} ({ends}{gain})" if ends or gain else times(ratio)
