"""A task in words, as receipts, tables and pages name it. A run without a task is of text, with its modes."""

from __future__ import annotations

from harness.engine.task.catalogue import tasks
from harness.engine.task.description import Task
from harness.records import Cell, Finding, FindingCode, Summary

UNNAMED = ""
"""The heading of the one column of a task: it has no modes that would need a name."""


def described(cell: Cell) -> Task | None:
    """What is known of the cell's task; nothing of text, or of a task that this version does not have."""
    return None if cell.task is None else tasks().get(cell.task)


def task_title(cell: Cell) -> str:
    """`Automatic speech recognition`; empty for text."""
    known = described(cell)
    return known.title if known is not None else (cell.task or "").replace("-", " ").capitalize()


def options_words(cell: Cell) -> str:
    """`steps 20, height 512`; empty where a task has none."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in cell.task_options.items())


def claims_quality(cell: Cell) -> bool:
    """Whether the answers of a task can be compared with anything."""
    known = described(cell)
    return known is None or known.inputs.scorer is not None


def random_weights(summary: Summary) -> Finding | None:
    """The finding that says that the model's answers mean nothing; None: it was trained."""
    found = (finding for finding in summary.findings if finding.code is FindingCode.RANDOM_WEIGHTS)
    return next(found, None)


def column_name(cell: Cell, mode: str) -> str:
    """What stands over a column of figures, or beside a bar."""
    return mode if cell.task is None else UNNAMED


def in_mode(cell: Cell, mode: str) -> str:
    """` in on`: in which mode, as a sentence goes on; empty for a task."""
    return f" in {mode}" if cell.task is None else ""


def heading_of(cell: Cell, mode: str) -> str:
    """`on: `, before the name of a figure; empty for a task."""
    return f"{mode}: " if cell.task is None else ""


def of_mode(cell: Cell, mode: str) -> str:
    """` in mode on`, behind what was counted; empty for a task."""
    return f" in mode {mode}" if cell.task is None else ""


def behind_comma(cell: Cell, mode: str) -> str:
    """`, mode on`; empty for a task."""
    return f", mode {mode}" if cell.task is None else ""
