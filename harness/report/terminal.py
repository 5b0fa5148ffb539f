"""The end of a run in a terminal: receipt, table, doubts, where the files are, what to run next.

rich drops the colours where the output is piped or `NO_COLOR` is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from harness.report.console import PatientConsole as PatientConsole
from harness.report.console import shown as shown
from harness.report.receipt import Receipt
from harness.report.rows import WIDE, Kind, Row, Section
from harness.report.table import Figure, Table
from harness.report.wording import Doubt

WIDTH_RECEIPT = 72
WIDTH_TEXT = 100
STYLES = {Kind.ITEM: "", Kind.TOTAL: "bold", Kind.DETAIL: "dim", Kind.WIDE: "", Kind.WIDE_TOTAL: "bold"}
WIDTH_LABEL = 17
WIDTH_MODE = 16
WIDTH_MODE_LEAST = 8
"""A narrower column would break its numbers: then the modes go below each other, some at a time."""
WIDTH_FRAME = 6
"""The receipt's border and padding."""


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
    for notice in receipt.notices:
        console.print()
        console.print(Panel(shown(notice), box=box.HEAVY, border_style="red", width=width, padding=(0, 1)), width=width)
    if receipt.headline:
        console.print()
        console.print(shown(receipt.headline, style="bold"), width=min(console.width, WIDTH_TEXT))
    console.print()
    console.print(
        table_grid(receipt.table, console.width, has_header=any(receipt.table.modes)),
        shown(receipt.table.caption, style="dim"),
        width=min(console.width, WIDTH_TEXT),
    )
    if receipt.study:
        console.print()
        print_tables(console, receipt.study)
        console.print(shown(receipt.study_caption, style="dim"), width=min(console.width, WIDTH_TEXT))
    print_doubts(console, receipt.doubts)
    print_ends(console, places, next_command)


def print_ends(console: Console, places: Sequence[Place] = (), next_command: str | None = None) -> None:
    """Where the files are, and what to run next."""
    if places:
        console.print()
        for place in places:
            console.print(shown(f"{place.what}: "), shown(place.path, style="cyan"), sep="", soft_wrap=True)
    if next_command:
        console.print()
        console.print("Next: ", shown(next_command, style="bold"), sep="", soft_wrap=True)


def print_doubts(console: Console, doubts: Sequence[Doubt]) -> None:
    """Each doubt with what to do about it; nothing where there are none."""
    if not doubts:
        return
    console.print()
    console.print(shown("To know before you quote it", style="bold"))
    for doubt in doubts:
        details = f" ({'; '.join(doubt.details)})" if doubt.details else ""
        console.print(_hanging("•", shown(f"{doubt.sentence}{details}")))
        console.print(Padding(shown(f"→ {doubt.next_step}", style="dim"), (0, 0, 0, 2)))


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


def print_tables(console: Console, tables: Sequence[Table]) -> None:
    """Tables under their captions, one below the other; one with the columns of the table above needs no header."""
    width = min(console.width, WIDTH_RECEIPT)
    above: tuple[str, ...] = ()
    for table in tables:
        console.print(Rule(shown(table.caption, style="bold"), align="left", style="dim", characters="─"), width=width)
        console.print(table_grid(table, console.width, has_header=table.modes != above), width=width)
        above = table.modes


def _section(section: Section, modes: Sequence[str], width: int) -> RenderableType:
    if section.rows[0].kind in WIDE:
        return _wide(section.rows)
    grids = []
    for some in _in_groups(len(modes), width):
        grid = Grid(box=None, show_header=len(modes) > 1, padding=(0, 0, 0, 1), pad_edge=False, header_style="dim")
        _columns(grid, modes[some], width)
        for row in section.rows:
            grid.add_row(shown(row.label), *(shown(cell) for cell in row.cells[some]), style=STYLES[row.kind])
        grids.append(grid)
    return Group(*grids)


def _in_groups(n_modes: int, width: int) -> list[slice]:
    """Which modes stand beside each other; equal groups, as few as the width allows."""
    n_most = max(1, (width - WIDTH_LABEL) // (WIDTH_MODE_LEAST + 1))
    n_groups = -(-n_modes // n_most)
    each = -(-n_modes // n_groups)
    return [slice(first, first + each) for first in range(0, n_modes, each)]


def _columns(grid: Grid, modes: Sequence[str], width: int) -> None:
    """The same columns for every section, so that the figures of a mode stand under each other."""
    each = min(WIDTH_MODE, max(1, (width - WIDTH_LABEL) // len(modes) - 1))
    grid.add_column("", width=max(1, width - len(modes) * (each + 1)), overflow="fold")
    for mode in modes:
        grid.add_column(_heading(mode, each), justify="right", width=each, overflow="fold")


def _heading(mode: str, width: int) -> Text:
    """A mode's name; one that is too wide breaks after its colon: `budget:6` over `4` would name another mode."""
    lines = [mode] if len(mode) <= width else mode.replace(":", ":\n").split("\n")
    return Text("\n", overflow="fold").join(shown(line, overflow="fold") for line in lines)


def _wide(rows: Sequence[Row]) -> RenderableType:
    """Labels and figures in two columns; a row without a figure is a sentence and has the whole width."""
    parts: list[RenderableType] = []
    for is_sentence, some in groupby(rows, key=lambda row: not row.cells[0]):
        if is_sentence:
            parts += [shown(row.label) for row in some]
            continue
        grid = Grid(box=None, expand=True, show_header=False, padding=(0, 0, 0, 1), pad_edge=False)
        grid.add_column("", ratio=1, overflow="fold")
        grid.add_column("", justify="right", overflow="fold")
        for row in some:
            grid.add_row(shown(row.label), shown(row.cells[0]), style=STYLES[row.kind])
        parts.append(grid)
    return Group(*parts)


def table_grid(table: Table, width: int, *, has_header: bool = True) -> RenderableType:
    """A table in so many columns of characters."""
    width = min(width, WIDTH_RECEIPT)
    grids = []
    groups = _in_groups(len(table.modes), width)
    for some in groups:
        grid = Grid(box=None, padding=(0, 0, 0, 1), pad_edge=False, header_style="bold underline")
        grid.show_header = has_header or len(groups) > 1
        _columns(grid, table.modes[some], width)
        for row in table.rows:
            grid.add_row(shown(row.label), *(_cell(figure) for figure in row.figures[some]))
        grids.append(grid)
    return Group(*grids)


def _cell(figure: Figure) -> Text:
    text = shown(figure.value)
    return Text.assemble(text, "\n", shown(figure.interval, style="dim")) if figure.interval else text


def _hanging(mark: str, text: Text) -> RenderableType:
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(shown(mark), text)
    return grid
