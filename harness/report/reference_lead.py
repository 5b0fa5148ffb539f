"""A run beside what was published: the answer per mode, the figures that match, and what differs in the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.reference.conditions import MEASURED, TEXT
from harness.reference.matching import ReferenceMatch
from harness.reference.report import ModeReference, ReferenceReport
from harness.report.compared import Answer, listed
from harness.report.numbers import digits
from harness.report.page import Lead
from harness.report.table import Figure, Table, TableRow

N_OTHERS_SHOWN = 3
"""Rows of the same model under other conditions; the nearest come first."""
COLUMNS = ("ours", "theirs", "verdict")
PUBLISHED = ("published",)
THIS_RUN = "this run, for the order of size only"


def reference_lead(label: str, report: ReferenceReport) -> Lead:
    """What a table has to say of one run.

    Args:
        label: The run's letter where there are several; empty otherwise.
        report: Of the run, mode by mode.
    """
    name = f"{label} beside" if label else "Beside"
    cautions = " ".join(report.table.cautions)
    said: dict[tuple[str, str], list[str]] = {}
    for mode in report.modes:
        for what, text in _answers(mode):
            said.setdefault((what, text), []).append(_called(mode))
    return Lead(
        title=f"{name} the rows of {report.table.title}",
        answers=tuple(Answer(question=f"{listed(modes)}{what}", text=text) for (what, text), modes in said.items()),
        tables=tuple(table for mode in report.modes for table in _tables(mode)),
        notes=(f"Tolerance: {report.tolerance:.0%} besides our interval. {cautions}".rstrip(),),
    )


def _called(mode: ModeReference) -> str:
    """The mode; of a task that is not text, which has only one, the task."""
    return mode.mode if mode.own.task in (None, TEXT) else str(mode.own.task)


def _answers(mode: ModeReference) -> Iterator[tuple[str, str]]:
    """(what it is about, the answer); modes of which the same is said share it."""
    yield "", mode.sentence
    if mode.others:
        unstated = _unstated(mode) if mode.own.task != TEXT else ()
        yield ": the same model under other conditions", " ".join((*_differing(mode.others), *unstated))
    for ceiling in mode.ceilings:
        yield ": ceiling", ceiling.sentence
    if mode.rating is not None:
        yield ": stars", mode.rating.sentence


def _differing(others: Sequence[ReferenceMatch]) -> Iterator[str]:
    """The nearest rows, and every condition in which each differs: what they share once, the rest row by row."""
    shown = others[:N_OTHERS_SHOWN]
    shared = [each for each in shown[0].differences if all(each in match.differences for match in shown)]
    if shared:
        whose = "It differs" if len(shown) == 1 else "All of them differ"
        yield f"{whose} in {'; '.join(map(str, shared))}."
    for match in shown:
        own = "; ".join(str(each) for each in match.differences if each not in shared)
        status = "" if match.row.sound else f"{match.row.status}: {match.row.note}"
        named = "; ".join(filter(None, (own, status)))
        yield f"{_name(match)} ({named})." if named else f"{_name(match)}."
    if len(others) > len(shown):
        yield f"And {len(others) - len(shown)} more."


def _unstated(mode: ModeReference) -> Iterator[str]:
    """What the nearest row does not say of itself; there it may differ, too."""
    if mode.others[0].unstated:
        yield f"Not stated there: {', '.join(mode.others[0].unstated)}."


def _name(match: ReferenceMatch) -> str:
    conditions = match.row.conditions
    batch = None if conditions.batch_size is None else f"batch {conditions.batch_size}"
    return ", ".join(filter(None, (f"{match.row.release} {match.row.task}", batch, conditions.gpu)))


def _tables(mode: ModeReference) -> Iterator[Table]:
    """Our figures beside those of the rows that match, then beside the nearest that do not."""
    name = _called(mode)
    parts = ((f"{name}: rows that match", mode.matches), (f"{name}: nearest rows", mode.others))
    for caption, found in parts:
        rows = [row for match in found[:N_OTHERS_SHOWN] for row in _rows(match)]
        if rows:
            yield Table(caption=caption, modes=COLUMNS, rows=tuple(rows))
    if mode.of_task:
        rows = list(_of_task(mode))
        yield Table(caption=f"{mode.own.task}: what was published, of any model", modes=PUBLISHED, rows=tuple(rows))


def _of_task(mode: ModeReference) -> Iterator[TableRow]:
    """Every row of the task, least energy first, and before them ours in the same quantity where it was measured."""
    quantity = next(iter(mode.of_task[0].values))
    own = mode.estimates.get(quantity)
    if own is not None and own.value is not None and mode.own.energy == MEASURED:
        yield TableRow(label=f"{THIS_RUN}, {quantity}", figures=(Figure(value=digits(own.value)),))
    for row in mode.of_task:
        conditions = row.conditions
        steps = None if conditions.steps is None else f"{conditions.steps} steps"
        where = ", ".join(filter(None, (conditions.gpu, conditions.precision, conditions.resolution, steps)))
        yield TableRow(label=f"{row.model}, {quantity}, {where}", figures=(Figure(value=digits(row.values[quantity])),))


def _rows(match: ReferenceMatch) -> Sequence[TableRow]:
    return [
        TableRow(
            label=f"{each.quantity}, {_name(match)}",
            figures=(
                Figure(
                    value=digits(each.ours),
                    interval="" if each.low is None else f"{digits(each.low)} to {digits(each.high)}",
                ),
                Figure(value=digits(each.theirs)),
                Figure(value=each.verdict.value, interval=f"{digits(each.ratio)} ×"),
            ),
        )
        for each in match.figures
    ]
