"""Why a line passes, fails or stays open, in plain words: what `harness gate --explain` says.

Knows sheets. Must not know how they are laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.gate.verdict import LineVerdict, Outcome
from harness.report.gate.rows import GateRow, PartRow
from harness.report.gate.sheet import GateSheet, alpha_of, level_words, share_words
from harness.report.numbers import percent, probability

ASKED, FOUND, WHY, SETTLE, MANY = "Asked", "Found", "Why", "To settle it", "Several lines"
TOGETHER = (
    "The parts are independent: together they reach as far as the root of the sum of their squares, down and up "
    "each for itself."
)
SQUARE_MOST = 0.5
"""A part is called the largest where it makes up this much of the squared reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A heading of a word or two, and what stands under it."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One line of a budget, explained."""

    title: str
    paragraphs: tuple[Paragraph, ...]
    parts: tuple[PartRow, ...]
    parts_note: str


def explanations(sheet: GateSheet) -> tuple[Explanation, ...]:
    """Every line of a sheet, the worst first."""
    return tuple(_explanation(row, sheet) for row in sheet.worst_first)


def _explanation(row: GateRow, sheet: GateSheet) -> Explanation:
    paragraphs = [
        Paragraph(heading=ASKED, text=_asked(row)),
        *([Paragraph(heading=FOUND, text=_found(row, sheet))] if row.scale is not None else []),
        Paragraph(heading=WHY, text=_sentences((*_why(row, sheet), *_own(row, sheet)))),
        *([Paragraph(heading=MANY, text=text)] if (text := _holm(row, sheet)) else []),
        *([Paragraph(heading=SETTLE, text=row.to_settle)] if row.to_settle else []),
    ]
    return Explanation(
        title=f"{row.word}: {row.name}",
        paragraphs=tuple(paragraph for paragraph in paragraphs if paragraph.text),
        parts=row.parts,
        parts_note=_largest(row.verdict) if row.parts else "",
    )


def _asked(row: GateRow) -> str:
    subject = "" if row.verdict.subject is None else f"Of {row.verdict.subject}: "
    return f"{subject}{row.about}, {row.limit}."


def _found(row: GateRow, sheet: GateSheet) -> str:
    sides = f" ({row.sides})" if row.sides else ""
    sample = f", from {row.sample}" if row.sample else ""
    known = not row.interval.startswith("no interval")
    interval = f"The {level_words(sheet.verdict)} interval is {row.interval} {row.unit}" if known else row.interval
    margin = f": {row.margin}" if row.margin else ""
    return f"{row.value}{sides}{sample}. {interval[0].upper()}{interval[1:]}{margin}."


def _why(row: GateRow, sheet: GateSheet) -> Iterator[str]:
    """What the outcome means; the line's own reasons follow."""
    alpha = share_words(alpha_of(sheet.verdict))
    if row.outcome is Outcome.PASS:
        yield f"It passes. A truth over the limit would be let through like this in at most {alpha} of gates."
    elif row.outcome is Outcome.FAIL:
        yield f"It fails. A truth within the limit would be stopped like this in at most {alpha} of gates."
    elif row.outcome is Outcome.INCONCLUSIVE:
        own_p = row.verdict.p_over
        if own_p is not None and own_p <= alpha_of(sheet.verdict):
            yield "It is open, although its own interval is over the limit."
        else:
            yield "It is open: what was measured fits a truth within the limit as well as one over it."
    elif row.outcome is Outcome.INVALID:
        yield "It is invalid: there is no figure that could be held against the limit. No waiver covers that."
    elif row.outcome is Outcome.WAIVED:
        yield "It did not pass, and is let through by a waiver."
    elif row.outcome is Outcome.NOT_APPLIED:
        yield "It does not apply to what was measured, and was not judged."


def _own(row: GateRow, sheet: GateSheet) -> Iterator[str]:
    """The line's own reasons: what holds for several stands on the sheet."""
    yield from (reason for reason in row.reasons if reason in row.notes or reason not in sheet.notes)
    if row.waiver:
        yield row.waiver


def _sentences(texts: Sequence[str]) -> str:
    """One after the other, each with its full stop."""
    return " ".join(
        text if text.endswith(".") else f"{text}." for text in (f"{each[0].upper()}{each[1:]}" for each in texts)
    )


def _holm(row: GateRow, sheet: GateSheet) -> str:
    """What judging many lines at once asks of this one; empty where it decides nothing."""
    p_value, level = row.verdict.p_over, row.verdict.holm_level
    alpha = alpha_of(sheet.verdict)
    if p_value is None or level is None or level >= alpha or p_value > alpha:
        return ""
    text = (
        "Of many lines one is above its limit by chance more often than of one. So Holm's rule holds the smallest "
        f"p-value against {share_words(alpha)} over the number of lines, the next against a little more, and so on. "
        "Here "
        f"{probability(p_value)} is held against {percent(level)}"
    )
    if row.outcome is Outcome.FAIL:
        return f"{text}: the line fails all the same."
    return f"{text}: alone the line would fail, among the others it stays open."


def _largest(line: LineVerdict) -> str:
    """How the parts are put together, and which of them decides."""
    squares = {part.name: max(part.low or 0.0, part.high or 0.0) ** 2 for part in line.components}
    endless = [part.name for part in line.components if part.low is None or part.high is None]
    if endless:
        return f"Where {endless[0]} has no end, the whole has none."
    total = sum(squares.values())
    largest = max(squares, key=lambda name: squares[name], default="")
    if len(squares) < 2 or total <= 0:
        return ""
    said = line.outcome is Outcome.INCONCLUSIVE  # among its reasons
    decides = f" Most of it is {largest}." if squares[largest] > SQUARE_MOST * total and not said else ""
    return f"{TOGETHER}{decides}"
