"""What `harness report --explain` prints. Readable in 60 columns."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as Grid

from harness.report.explanation.query import DeviceAccount, QueryAccount
from harness.report.explanation.record import Explanation, Group
from harness.report.terminal import WIDTH_TEXT, print_doubts, shown
from harness.report.trail_rows import TrailTable

WIDTH_LABEL = 17


def print_explanation(console: Console, explanation: Explanation, *, cell: str) -> None:
    """One figure: what it is, its formula, the parts of its interval, its queries."""
    width = _heading(console, explanation.title, explanation.value, cell)
    console.print(shown(explanation.words), width=width)
    for line in explanation.formula:
        console.print(Padding(shown(line, style="bold"), (0, 0, 0, 2)), width=width)
    if explanation.parts:
        _title(console, "95 % interval, part by part", width)
        grid = _labels()
        for part in explanation.parts:
            grid.add_row(shown(part.label), shown(part.text, style="bold"))
            grid.add_row("", shown(part.source, style="dim"))
        console.print(grid, width=width)
    if explanation.rests_on:
        _title(console, "What it rests on", width)
        console.print(shown(explanation.rests_on), width=width)
    for group in explanation.groups:
        console.print()
        console.print(shown(group.title, style="dim"), width=width)
        console.print(_group(group), width=width)
    print_doubts(console, explanation.doubts)


def print_query(console: Console, account: QueryAccount, *, cell: str) -> None:
    """One query: its span, its energy on each device, the readings around it."""
    width = _heading(console, account.title, account.value, cell)
    grid = _labels()
    for label, text in account.facts:
        grid.add_row(shown(label), shown(text))
    console.print(grid, width=width)
    for device in account.devices:
        _print_device(console, device, width)
    if account.answer:
        _title(console, "The end of its output", width)
        console.print(shown(account.answer, style="dim"), width=width)
    print_doubts(console, account.doubts)


def print_names(
    console: Console, names: Sequence[str], *, cell: str, n_queries: int, query: str = "MODE/PROMPT_ID"
) -> None:
    """Every figure that can be explained; `query` is what one of the queries is called by."""
    width = min(console.width, WIDTH_TEXT)
    console.print(Rule(shown(cell, style="bold"), align="left", characters="─", style="dim"), width=width)
    for name in names:
        console.print(Padding(shown(name), (0, 0, 0, 2)), width=width)
    if n_queries:
        console.print(shown(f"and {query} for each of its {n_queries:,} queries"), width=width)


def print_next(console: Console, commands: Sequence[tuple[str, str]]) -> None:
    """Commands to type next; each is whole, so that it can be copied."""
    if not commands:
        return
    console.print()
    console.print(shown("Next", style="bold"))
    for what, command in commands:
        console.print(f"  {what}:", markup=False)
        console.print("    ", shown(command, style="cyan"), sep="", soft_wrap=True)


def command_to(verb: str, runs: Sequence[str], name: str = "", *, output_dir: str = "results") -> str:
    """A whole command line that goes on from here, with the runs as they were named.

    Args:
        verb: Of this program.
        runs: RUN.
        name: The figure to explain; empty: none.
        output_dir: Where the runs are looked up.
    """
    where = [] if output_dir == "results" else ["--output-dir", output_dir]
    return shlex.join(["harness", verb, *runs, *where, *(["--explain", name] if name else [])])


def _heading(console: Console, title: str, value: str, cell: str) -> int:
    width = min(console.width, WIDTH_TEXT)
    console.print(Rule(shown(title, style="bold"), align="left", characters="━"), width=width)
    console.print(shown(cell, style="dim"), width=width)
    console.print(shown(value, style="bold"), width=width)
    console.print()
    return width


def _title(console: Console, text: str, width: int) -> None:
    console.print()
    console.print(Rule(shown(text, style="bold"), align="left", characters="─", style="dim"), width=width)


def _labels() -> Grid:
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=WIDTH_LABEL, overflow="fold")
    grid.add_column(overflow="fold", ratio=1)
    return grid


def _group(group: Group) -> Grid:
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    for justify in ("left", "right", "right"):
        grid.add_column(justify=justify, overflow="fold")
    grid.add_column(overflow="fold", style="dim")
    for share in group.shares:
        grid.add_row(shown(share.name), shown(share.amount), shown(share.share), shown(share.note))
    return grid


def _print_device(console: Console, device: DeviceAccount, width: int) -> None:
    _title(console, device.device, width)
    grid = _labels()
    for label, text in device.facts:
        grid.add_row(shown(label), shown(text))
    console.print(grid, width=width)
    if device.phases:
        console.print()
        console.print(_cells(device.phase_columns, device.phases, n_text=1), width=width)
    if device.ticks is not None:
        console.print()
        _print_ticks(console, device.ticks, width)


def _print_ticks(console: Console, ticks: TrailTable, width: int) -> None:
    """The readings in columns of one width from edge to edge, with the query's edges between them."""
    widths = [
        max(len(row[column]) for row in (ticks.columns, *ticks.rows) if len(row) == len(ticks.columns))
        for column in range(len(ticks.columns))
    ]
    lines = [ticks.columns, *ticks.rows]
    for position, row in enumerate(lines):
        if len(row) == 1 < len(ticks.columns):
            console.print(shown(f"── {row[0]}", style="bold"), width=width)
            continue
        text = "  ".join(cell.rjust(wide) for cell, wide in zip(row, widths, strict=True))
        console.print(shown(text, style="dim" if position == 0 else ""), width=width)
    console.print()
    console.print(shown(ticks.says, style="dim"), width=width)


def _cells(columns: Sequence[str], rows: Sequence[Sequence[str]], *, n_text: int) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index < n_text else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(shown(cell) for cell in row))
    return grid
