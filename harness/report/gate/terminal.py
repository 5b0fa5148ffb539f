"""What `harness gate` prints in a terminal. Readable in 60 columns; every colour has its word."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from harness.gate.verdict import Outcome
from harness.report.gate.explanation import Explanation, explanations
from harness.report.gate.rows import MARKS, GateRow, PartRow, Scale
from harness.report.gate.sheet import GateSheet
from harness.report.terminal import WIDTH_RECEIPT, WIDTH_TEXT, shown

STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "magenta",
    Outcome.WAIVED: "cyan",
    Outcome.NOT_APPLIED: "dim",
}
INDENT = 2
WIDTH_BAR = 56
MARGIN_OF_BAR = 0.08
"""Of the drawn span, left free on either side."""
LEGEND = "├─●─┤ interval and value, ┃ limit"


def print_gate(console: Console, sheet: GateSheet, *, explain: bool = False) -> None:
    """Print a verdict: the outcome, who was judged, each line, the doubts, the next step.

    No line is wider than the console, but for a command to copy.

    Args:
        console: Where to.
        sheet: What.
        explain: Every line in plain words, instead of its reasons alone.
    """
    width = min(console.width, WIDTH_TEXT)
    console.print(_headline(sheet, min(console.width, WIDTH_RECEIPT)))
    console.print()
    for who, words in (("Candidate", sheet.candidate), *((_capital(who), (each,)) for who, each in sheet.references)):
        for each in words:
            console.print(_hanging(f"{who}:", shown(each)), width=width)
    for row in sheet.worst_first:
        console.print()
        console.print(_row(row, min(console.width, WIDTH_BAR + INDENT), reasons=not explain), width=width)
    has_interval = any(row.scale is not None for row in sheet.rows)
    below = (*((LEGEND,) if has_interval else ()), *sheet.notes, *((sheet.level,) if has_interval else ()))
    if below:
        console.print()
    for note in below:
        console.print(shown(note, style="dim"), width=width)
    if explain:
        for explanation in explanations(sheet):
            console.print()
            _print_explanation(console, explanation, width)
    if sheet.doubts:
        console.print()
        console.print(shown("To know about what was measured", style="bold"))
        for doubt in sheet.doubts:
            console.print(_hanging("•", shown(f"{doubt.sentence} ({'; '.join(doubt.details)})")), width=width)
            console.print(Padding(shown(f"→ {doubt.next_step}", style="dim"), (0, 0, 0, INDENT)), width=width)
    if sheet.next_step:
        console.print()
        console.print("Next: ", shown(sheet.next_step, style="bold"), sep="", soft_wrap=True)


def _headline(sheet: GateSheet, width: int) -> RenderableType:
    """The outcome, as large as a terminal can say it."""
    style = STYLES[sheet.outcome]
    word = Text(f" {MARKS[sheet.outcome]} {sheet.word} ", style=f"bold reverse {style}")
    return Panel(
        Group(word, Text(), shown(sheet.sentence, style="bold"), shown(f"Lines: {sheet.counts}", style="dim")),
        title=shown(f"Gate: {sheet.name}"),
        box=box.HEAVY,
        border_style=style,
        width=width,
        padding=(1, 2),
    )


def _row(row: GateRow, width: int, *, reasons: bool) -> RenderableType:
    style = STYLES[row.outcome]
    head = Text.assemble((f"{MARKS[row.outcome]} {row.word}", f"bold {style}"), "  ", shown(row.name, style="bold"))
    parts: list[RenderableType] = [shown(row.about, style="dim")]
    if row.scale is None:
        parts.append(shown(f"{row.value}; {row.limit}"))
    else:
        parts.append(Text.assemble(shown(row.value, style="bold"), shown(f"  ({row.interval})  {row.limit}")))
        parts += [shown(row.margin, style=style)] if row.margin else []
        parts += [] if row.scale.low is row.scale.high is None else [_bar(row.scale, width - INDENT, style)]
    if seen := ", ".join(filter(None, (row.sides, row.sample))):
        parts.append(shown(seen, style="dim"))
    if row.waiver:
        parts.append(shown(row.waiver[0].upper() + row.waiver[1:], style=style))
    if reasons:
        parts += [shown(note) for note in row.notes]
        parts += [shown(f"→ {row.to_settle}")] if row.to_settle else []
    return Group(head, Padding(Group(*parts), (0, 0, 0, INDENT)))


def _bar(scale: Scale, width: int, style: str) -> Text:
    """The interval beside the limit, to scale; an arrow where it has no end."""
    known = [each for each in (scale.low, scale.value, scale.high, scale.limit, scale.limit_low) if each is not None]
    span = (max(known) - min(known)) or abs(scale.value) or 1.0
    left, right = min(known) - MARGIN_OF_BAR * span, max(known) + MARGIN_OF_BAR * span

    def place(value: float) -> int:
        return min(width - 1, max(0, round((value - left) / (right - left) * (width - 1))))

    cells = [" "] * width
    first, last = 0 if scale.low is None else place(scale.low), width - 1 if scale.high is None else place(scale.high)
    cells[first : last + 1] = "─" * (last + 1 - first)
    cells[first], cells[last] = "◂" if scale.low is None else "├", "▸" if scale.high is None else "┤"
    cells[place(scale.value)] = "●"
    text = Text("".join(cells), style=style)
    for limit in (scale.limit, scale.limit_low):
        if limit is not None:
            at = place(limit)
            text = Text.assemble(text[:at], ("┃", "bold"), text[at + 1 :])
    return text


def _print_explanation(console: Console, explanation: Explanation, width: int) -> None:
    console.print(Rule(shown(explanation.title, style="bold"), align="left", style="dim", characters="─"), width=width)
    for paragraph in explanation.paragraphs:
        console.print(shown(paragraph.heading, style="bold"), width=width)
        console.print(Padding(shown(paragraph.text), (0, 0, 0, INDENT)), width=width)
    if explanation.parts:
        console.print(shown("The interval is made of", style="bold"), width=width)
        console.print(Padding(_parts(explanation.parts), (0, 0, 0, INDENT)), width=width)
    if explanation.parts_note:
        console.print(Padding(shown(explanation.parts_note, style="dim"), (0, 0, 0, INDENT)), width=width)


def _parts(parts: Sequence[PartRow]) -> RenderableType:
    grid = Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name, justify in (("", "left"), ("down", "right"), ("up", "right")):
        grid.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    grid.add_column("from", overflow="fold")
    for part in parts:
        grid.add_row(*map(shown, (part.name, part.down, part.up, part.note)))
    return grid


def _hanging(mark: str, text: Text) -> RenderableType:
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(shown(mark), text)
    return grid


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
