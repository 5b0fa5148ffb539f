"""The receipt as GitHub Markdown, for a README or a job summary."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report.page import Lead
from harness.report.receipt import Receipt
from harness.report.rows import Kind, Section
from harness.report.table import Figure, Table

SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&@$])")
"""Characters that Markdown, HTML or GitHub (mentions, formulas) would read as more than themselves."""


def render_markdown(receipt: Receipt) -> str:
    """The receipt, the table and the doubts. Names from outside are escaped."""
    blocks = [
        f"### {escaped(receipt.title)}",
        *(f"> **{escaped(notice)}**" for notice in receipt.notices),
        *([escaped(receipt.headline)] if receipt.headline else []),
        "\n".join(f"{escaped(line)}  " for line in receipt.lines).rstrip(),
        _grid(["", *receipt.modes], [row for section in receipt.sections for row in _section(section, receipt)]),
        f"**Table.** {escaped(receipt.table.caption)}",
        _table(receipt.table),
        *_under_captions(receipt.study),
        *([escaped(receipt.study_caption)] if receipt.study else []),
    ]
    if receipt.doubts:
        blocks.append("**To know before you quote it**")
        blocks.append(
            "\n".join(
                f"- {own_sentence(doubt.sentence)}{_details(doubt.details)} {own_sentence(doubt.next_step)}"
                for doubt in receipt.doubts
            )
        )
    return "\n\n".join(blocks) + "\n"


def render_leads(leads: Sequence[Lead]) -> str:
    """What `harness compare` says, as Markdown."""
    blocks: list[str] = []
    for lead in leads:
        blocks.append(f"### {escaped(lead.title)}")
        blocks += [f"**{escaped(answer.question)}.** {escaped(answer.text)}" for answer in lead.answers]
        blocks += _under_captions(lead.tables)
        blocks += [escaped(note) for note in lead.notes]
    return "\n\n".join(blocks) + "\n"


def _under_captions(tables: Sequence[Table]) -> list[str]:
    """Each table below its caption."""
    return [block for table in tables for block in (f"**{escaped(table.caption)}**", _table(table))]


def escaped(text: str) -> str:
    """Text that shows as itself on one line, in a terminal too: nothing in it turns colours or directions."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return SPECIAL.sub(r"\\\1", " ".join(plain.split()))


def own_sentence(text: str) -> str:
    """A sentence of this program's: its `quoted` parts stay code, the rest is escaped."""
    return "`".join(part if index % 2 else SPECIAL.sub(r"\\\1", part) for index, part in enumerate(text.split("`")))


def _section(section: Section, receipt: Receipt) -> list[list[str]]:
    n_modes = len(receipt.modes)
    rows = [[f"**{escaped(section.title)}**", *("" for _ in receipt.modes)]]
    for row in section.rows:
        cells = [*("" for _ in range(n_modes - len(row.cells))), *map(escaped, row.cells)]
        bold = row.kind in (Kind.TOTAL, Kind.WIDE_TOTAL)
        label = escaped(row.label.strip())
        rows.append([f"**{text}**" if bold and text else text for text in (label, *cells)])
    return rows


def _table(table: Table) -> str:
    return _grid(["", *table.modes], [[escaped(row.label), *map(_cell, row.figures)] for row in table.rows])


def _cell(figure: Figure) -> str:
    interval = f"<br>{escaped(figure.interval)}" if figure.interval else ""
    return escaped(figure.value) + interval


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        f"| {' | '.join(escaped(name) for name in header)} |",
        f"|{'|'.join([':--', *('--:' for _ in header[1:])])}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _details(details: Sequence[str]) -> str:
    return f" ({escaped('; '.join(details))})" if details else ""
