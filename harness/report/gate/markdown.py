"""A verdict as GitHub Markdown: for a job summary, and for one comment of a pull request that a bot keeps up to date.

Names from outside are escaped. What does not fit into the place it is for is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from harness.gate.verdict import Outcome
from harness.records import slug
from harness.report.gate.explanation import Explanation, explanations
from harness.report.gate.rows import MARKS, GateRow
from harness.report.gate.sheet import GateSheet
from harness.report.markdown import escaped, own_sentence

N_BYTES_OF_SUMMARY = 1024 * 1024
"""GitHub drops a step's summary above 1 MiB (GitHub Docs, Workflow commands, "Step isolation and limits")."""
N_BYTES_OF_COMMENT = 65_536
"""GitHub's API refuses a longer comment."""
HEADER = ("", "Line", "Value", "Interval", "Limit", "Margin")
QUIET = (Outcome.PASS, Outcome.NOT_APPLIED)


def render_gate(sheet: GateSheet, *, n_bytes_most: int = N_BYTES_OF_COMMENT) -> str:
    """The verdict in at most so many bytes: explanations go first, then the lines that pass, then others.

    Args:
        sheet: What.
        n_bytes_most: Of the place it is for.

    Returns:
        Markdown that begins with the marker by which a bot finds its comment again.
    """
    rows = sheet.worst_first
    text = _render(sheet, rows, explained=True)
    if _fits(text, n_bytes_most):
        return text
    low, high = 0, len(rows)
    while low < high:  # the most rows that fit
        middle = (low + high + 1) // 2
        fits = _fits(_render(sheet, rows[:middle], explained=False), n_bytes_most)
        low, high = (middle, high) if fits else (low, middle - 1)
    text = _render(sheet, rows[:low], explained=False)
    return text if _fits(text, n_bytes_most) else f"{marker(sheet)}\n## {_title(sheet)}\n"


def marker(sheet: GateSheet) -> str:
    """Says whose comment this is; not shown."""
    return f"<!-- harness-gate: {slug(sheet.name)} -->"


def _render(sheet: GateSheet, rows: Sequence[GateRow], *, explained: bool) -> str:
    n_left_out = len(sheet.rows) - len(rows)
    blocks = [
        marker(sheet),
        f"## {_title(sheet)}",
        f"**{escaped(sheet.sentence)}** {escaped(sheet.counts)}.",
        _table(rows),
        *([f"{n_left_out:,} more lines are in the JUnit file and in the job's log."] if n_left_out else []),
        "\n".join(_sides(sheet)),
        *([f"**Why, and what to do**\n\n{said}"] if (said := "\n".join(_reasons(rows))) else []),
        *map(escaped, sheet.notes),
        *([f"**Next.** {_command(sheet.next_step)}"] if sheet.next_step else []),
        *([_doubts(sheet)] if sheet.doubts else []),
        *([_explained(sheet)] if explained else []),
        f"<sub>{escaped(sheet.level)}</sub>",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _title(sheet: GateSheet) -> str:
    return f"{MARKS[sheet.outcome]} {sheet.word}: gate {escaped(sheet.name)}"


def _fits(text: str, n_bytes_most: int) -> bool:
    return len(text.encode()) <= n_bytes_most


def _table(rows: Sequence[GateRow]) -> str:
    lines = [f"| {' | '.join(HEADER)} |", "|:--|:--|--:|--:|--:|:--|"]
    for row in rows:
        about = f"{escaped(row.name)}<br><sub>{escaped(row.about)}</sub>"
        figures = (row.value, row.interval, row.limit, row.margin)
        lines.append(f"| {' | '.join((f'**{row.word}**', about, *map(escaped, figures)))} |")
    return "\n".join(lines)


def _sides(sheet: GateSheet) -> Iterator[str]:
    yield from (f"- Candidate: {escaped(words)}" for words in sheet.candidate)
    yield from (f"- {escaped(who[0].upper() + who[1:])}: {escaped(words)}" for who, words in sheet.references)


def _reasons(rows: Sequence[GateRow]) -> Iterator[str]:
    """Of every line that is not simply a pass: why, and what to do."""
    for row in rows:
        if row.outcome in QUIET:
            continue
        parts = [*row.notes, *([f"{row.waiver[0].upper()}{row.waiver[1:]}."] if row.waiver else [])]
        settle = f" → {escaped(row.to_settle)}" if row.to_settle else ""
        yield f"- **{row.word}** {escaped(row.name)}: {escaped(' '.join(parts))}{settle}"


def _doubts(sheet: GateSheet) -> str:
    lines = (
        f"- {own_sentence(doubt.sentence)} ({escaped('; '.join(doubt.details))}) {own_sentence(doubt.next_step)}"
        for doubt in sheet.doubts
    )
    return "\n".join(("**To know about what was measured**", "", *lines))


def _explained(sheet: GateSheet) -> str:
    """Folded away: every line in plain words."""
    inside = "\n\n".join(block for each in explanations(sheet) for block in _explanation(each))
    return f"<details>\n<summary>Why, line by line</summary>\n\n{inside}\n\n</details>"


def _explanation(explanation: Explanation) -> Iterator[str]:
    yield f"#### {escaped(explanation.title)}"
    for paragraph in explanation.paragraphs:
        yield f"**{escaped(paragraph.heading)}.** {escaped(paragraph.text)}"
    if explanation.parts:
        lines = ["| Part of the interval | Down | Up | From |", "|:--|--:|--:|:--|"]
        lines += [
            f"| {' | '.join(map(escaped, (part.name, part.down, part.up, part.note)))} |" for part in explanation.parts
        ]
        yield "\n".join(lines)
    if explanation.parts_note:
        yield escaped(explanation.parts_note)


def _command(step: str) -> str:
    """A sentence, and the command in it as code."""
    words, found, command = step.partition(": harness ")
    return f"{escaped(words)}: <code>{escape(f'harness {command}')}</code>" if found else escaped(step)
