"""A diagnosis in the terminal: checks by subject, then the verdicts. Readable in 60 columns."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.environment.diagnosis import Check, Diagnosis, Status, Verdict

STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.MISSING: "red"}
MEASURED, ESTIMATED, NEITHER = ("yes", "green"), ("estimate", "yellow"), ("no", "red")


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print the checks by subject, then the verdicts."""
    for subject, checks in groupby(diagnosis.checks, key=lambda check: check.subject):
        console.print(Text(subject[0].upper() + subject[1:], style="bold"))
        for check in checks:
            _show_check(check, console)
        console.print()
    console.print(Text("What can be measured here", style="bold"))
    for verdict in diagnosis.verdicts:
        _show_verdict(verdict, console)


def _show_check(check: Check, console: Console) -> None:
    what = Text.assemble((check.name, "bold"), ": ", check.what)
    show_row(Text(check.status.value, style=STYLES[check.status]), what, console)
    if check.next_step is not None:
        show_step(check.next_step, console)


def _show_verdict(verdict: Verdict, console: Console) -> None:
    word, style = MEASURED if verdict.measured else NEITHER if verdict.method is None else ESTIMATED
    show_row(Text(word, style=style), Text(verdict.sentence), console)
    if verdict.next_step is not None:
        show_step(f"To fix: {verdict.next_step}", console)


def show_row(word: Text, what: Text, console: Console) -> None:
    """One line: a word in its column, and what it is about."""
    row = Table.grid(padding=(0, 1))
    row.add_column(width=8, no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(word, what)
    console.print(Padding(row, (0, 0, 0, 2), expand=False))


def show_step(step: str, console: Console) -> None:
    """What to do about the line above."""
    console.print(Padding(Text(step, style="cyan", overflow="fold"), (0, 0, 0, 13), expand=False))
