"""What `harness compare` prints in a terminal. Readable in 60 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule

from harness.report.page import Lead
from harness.report.terminal import WIDTH_RECEIPT, WIDTH_TEXT, print_tables, shown


def print_leads(console: Console, leads: Sequence[Lead]) -> None:
    """Print each lead: its heading, the questions with their answers, the tables, the notes.

    No line is wider than the console.

    Args:
        console: Where to.
        leads: What.
    """
    width = min(console.width, WIDTH_TEXT)
    for lead in leads:
        console.print()
        console.print(Rule(shown(lead.title, style="bold"), characters="━"), width=min(console.width, WIDTH_RECEIPT))
        for answer in lead.answers:
            console.print()
            console.print(shown(answer.question, style="bold"), width=width)
            console.print(Padding(shown(answer.text), (0, 0, 0, 2)), width=width)
        if lead.tables:
            console.print()
            print_tables(console, lead.tables)
        for note in lead.notes:
            console.print()
            console.print(shown(note), width=width)
