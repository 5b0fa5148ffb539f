"""A verdict as GitHub annotations: workflow commands on standard output, the worst line first.

The syntax and what must be escaped in it: GitHub Docs, "Workflow commands for GitHub Actions", and the runner's own
ActionCommand (actions/runner, src/Runner.Common/ActionCommand.cs).
"""

from __future__ import annotations

from collections import Counter

from harness.gate.verdict import Outcome
from harness.report.gate.rows import GateRow
from harness.report.gate.sheet import GateSheet

N_SHOWN_MOST = 10
"""GitHub shows so many annotations of a level and a step, and drops the rest."""


def workflow_commands(sheet: GateSheet, *, file: str) -> list[str]:
    """One line of output per line of the budget that is not a plain pass.

    Args:
        sheet: What.
        file: The budget's, as the repository knows it.
    """
    shown: Counter[str] = Counter()
    commands = []
    for row in sheet.worst_first:
        level = _level(row, sheet)
        if level is not None and shown[level] < N_SHOWN_MOST:
            shown[level] += 1
            title = _property(f"Gate {sheet.name}: {row.word}")
            commands.append(f"::{level} file={_property(file)},title={title}::{_data(_message(row))}")
    return commands


def _level(row: GateRow, sheet: GateSheet) -> str | None:
    if row.outcome in (Outcome.FAIL, Outcome.INVALID):
        return "error"
    if row.outcome is Outcome.INCONCLUSIVE:
        return {"report": "warning", "fail": "error", "pass": "notice"}[sheet.inconclusive]
    return "notice" if row.outcome is Outcome.WAIVED else None


def _message(row: GateRow) -> str:
    figures = f"{row.figures}. " if row.scale is not None else ""
    return f"{row.name}: {figures}{' '.join(row.notes)}".strip()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
