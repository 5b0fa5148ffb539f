"""The end of a run in a terminal: receipt, table, doubts, where the files are, what to run next.

rich drops the colours where the output is piped or `NO_COLOR` is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from harness.report.receipt import Kind, Receipt, Row, Section
from harness.report.table import Figure, Table

WIDTH_RECEIPT = 72
WIDTH_TEXT = 100
STYLES = {Kind.ITEM: "", Kind.TOTAL: "bold", Kind.DETAIL: "dim", Kind.WIDE: "", Kind.WIDE_TOTAL: "bold"}
WIDE = (Kind.WIDE, Kind.WIDE_TOTAL)
WIDTH_LABEL = 17
WIDTH_MODE = 16
WIDTH_FRAME = 6
"""The receipt's border and padding."""


class PatientConsole(Console):
    """A console whose reader may leave (`| head`): what is measured goes on, and the exit code stays what it is."""

    def on_broken_pipe(self) -> None:
        """Print nothing more, anywhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file or folder of the run, and what it is."""

    what: str
    path: str


def print_receipt(
    console: Console, receipt: Receipt, *, places: Sequence[Place] = (), next_command: str | None = None
) -> None:
    """Print everything that a run ends with.

    No line is wider than the console, but for paths and the command to run next: a line break of ours in them would
    not survive a copy and paste.

    Args:
        console: Where to.
        receipt: What.
        places: The run's files.
        next_command: A complete command line.
    """
    width = min(console.width, WIDTH_RECEIPT)
    console.print(_paper(receipt, width), width=width)
    if receipt.headline:
        console.print()
        console.print(shown(receipt.headline, style="bold"), width=min(console.width, WIDTH_TEXT))
    console.print()
    console.print(
        _table(receipt.table, console.width),
        shown(receipt.table.caption, style="dim"),
        width=min(console.width, WIDTH_TEXT),
    )
    if receipt.doubts:
        console.print()
        console.print(shown("To know before you quote it", style="bold"))
        for doubt in receipt.doubts:
            details = f" ({'; '.join(doubt.details)})" if doubt.details else ""
            console.print(_hanging("•", shown(f"{doubt.sentence}{details}")))
            console.print(Padding(shown(f"→ {doubt.next_step}", style="dim"), (0, 0, 0, 2)))
    if places:
        console.print()
        for place in places:
            console.print(shown(f"{place.what}: "), shown(place.path, style="cyan"), sep="", soft_wrap=True)
    if next_command:
        console.print()
        console.print("Next: ", shown(next_command, style="bold"), sep="", soft_wrap=True)


def _paper(receipt: Receipt, width: int) -> RenderableType:
    parts: list[RenderableType] = [shown(line, justify="center", style="dim") for line in receipt.lines]
    parts.append(Text())
    for section in receipt.sections:
        parts += [Rule(shown(section.title, style="bold"), align="left", style="dim", characters="─")]
        parts += [_section(section, receipt.modes, width - WIDTH_FRAME), Text()]
    return Panel(
        Group(*parts[:-1]),
        title=shown(receipt.title.upper() if not receipt.estimated else receipt.title),
        box=box.ROUNDED,
        width=width,
        padding=(1, 2),
    )


def _section(section: Section, modes: Sequence[str], width: int) -> RenderableType:
    if section.rows[0].kind in WIDE:
        return _wide(section.rows)
    grid = Grid(box=None, show_header=len(modes) > 1, padding=(0, 0, 0, 1), pad_edge=False, header_style="dim")
    _columns(grid, modes, width)
    for row in section.rows:
        grid.add_row(shown(row.label), *(shown(cell) for cell in row.cells), style=STYLES[row.kind])
    return grid


def _columns(grid: Grid, modes: Sequence[str], width: int) -> None:
    """The same columns for every section, so that the figures of a mode stand under each other."""
    each = min(WIDTH_MODE, max(1, (width - WIDTH_LABEL) // len(modes) - 1))
    grid.add_column("", width=max(1, width - len(modes) * (each + 1)), overflow="fold")
    for mode in modes:
        grid.add_column(shown(mode, overflow="fold"), justify="right", width=each, overflow="fold")


def _wide(rows: Sequence[Row]) -> RenderableType:
    grid = Grid(box=None, expand=True, show_header=False, padding=(0, 0, 0, 1), pad_edge=False)
    grid.add_column("", ratio=1, overflow="fold")
    grid.add_column("", justify="right", overflow="fold")
    for row in rows:
        grid.add_row(shown(row.label), shown(row.cells[0]), style=STYLES[row.kind])
    return grid


def _table(table: Table, width: int) -> RenderableType:
    grid = Grid(box=None, padding=(0, 0, 0, 1), pad_edge=False, header_style="bold underline")
    _columns(grid, table.modes, min(width, WIDTH_RECEIPT))
    for row in table.rows:
        grid.add_row(shown(row.label), *(_cell(figure) for figure in row.figures))
    return grid


def _cell(figure: Figure) -> Text:
    text = shown(figure.value)
    return Text.assemble(text, "\n", shown(figure.interval, style="dim")) if figure.interval else text


def _hanging(mark: str, text: Text) -> RenderableType:
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(shown(mark), text)
    return grid


def shown(text: str, **style: Any) -> Text:
    """Text as it stands: no markup is read in it, and no control character of a name reaches the terminal."""
    return Text("".join(char if char.isprintable() else " " for char in text), **style)
