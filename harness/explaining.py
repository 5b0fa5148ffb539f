"""`harness report RUN --explain FIGURE`: from a figure to its queries, and from a query to the sensor's readings.

Everything is made again from what is on disk. A query's energy curve is rebuilt from the raw readings as
`harness verify` does it, so that what is shown here is what the stored joules came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from harness.analysis.measured import devices_by_session, figures_of
from harness.analysis.summary import failed
from harness.errors import UnknownName
from harness.meter.meter import rebuilt
from harness.publish import Account, flying_of
from harness.records import QueryRecord, Segment, Summary
from harness.report.explanation.parts import query_name
from harness.report.explanation.query import CurveEnds, QueryAccount, account_of
from harness.report.explanation.record import Explanation
from harness.report.explanation.statistics import Evidence, explanations_of
from harness.report.serving.flying import company_of
from harness.report.trail import trails
from harness.report.wording import models

N_COMPARED_MOST = 5_000
"""Queries whose names are compared with one that does not exist; of more it would take too long."""
AFTER_S = 5.0
"""Readings so long after a query are enough to make its part of the curve final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What can be explained of one cell."""

    cell: str
    """Which of how many, and its model."""
    figures: tuple[str, ...]
    n_queries: int
    query: str
    """What a query is called by, such as MODE/PROMPT_ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One figure or one query, in the cell that it was found in."""

    cell: str
    subject: Explanation | QueryAccount
    steps: tuple[tuple[str, str], ...]
    """What to ask for next: in words, and its name."""


def names_of(measured: Sequence[Account]) -> tuple[Names, ...]:
    """Every figure of every cell, by its name."""
    return tuple(
        Names(
            cell=_cell_words(measured, index),
            figures=tuple(f"{_prefix(measured, index)}{name}" for name in explanations_of(_evidence(account))),
            n_queries=len(account.results.queries),
            query=f"{'MODE' if account.summary.cell.task is None else account.summary.modes[0].mode}/PROMPT_ID",
        )
        for index, account in enumerate(measured)
    )


def explained(measured: Sequence[Account], name: str) -> Explained:
    """Explain one figure, or one query.

    Args:
        measured: The cells of the run, in the order of its page.
        name: As in `names_of`, or `MODE/PROMPT_ID`. `2:` before it names the second cell; without it the first cell
            that has such a figure.

    Raises:
        UnknownName: No cell has it.
    """
    for index, own in _chosen(measured, name):
        account = measured[index]
        figures = explanations_of(_evidence(account))
        if own in figures:
            explanation = figures[own]()
            first = [share.name for group in explanation.groups[:1] for share in group.shares[:1]]
            steps = [*(("the figure", other) for other in explanation.names_next), *(("a query", one) for one in first)]
            return _found(measured, index, explanation, steps)
        for query in account.results.queries:
            if query_name(query.mode, query.prompt_id) == own:
                steps = _after_query(account.summary, query, figures)
                return _found(measured, index, _query(account, query), steps)
    known = [each for names in names_of(measured) for each in names.figures]
    few = sum(len(each.results.queries) for each in measured) <= N_COMPARED_MOST
    owners = measured if few else ()
    queries = {query_name(query.mode, query.prompt_id) for each in owners for query in each.results.queries}
    raise UnknownName("figure", name, {*known, *queries}, " All of them: harness report RUN --explain")


def _chosen(measured: Sequence[Account], name: str) -> Iterator[tuple[int, str]]:
    """The cells to look into, each with the name to look for: a number in front of a name may be part of it."""
    yield from ((index, name) for index in range(len(measured)))
    numbered = re.fullmatch(r"(\d+):(.*)", name, re.DOTALL)
    if numbered is not None and 1 <= int(numbered[1]) <= len(measured):
        yield int(numbered[1]) - 1, numbered[2]


def _found(
    measured: Sequence[Account],
    index: int,
    subject: Explanation | QueryAccount,
    steps: Sequence[tuple[str, str]],
) -> Explained:
    prefix = _prefix(measured, index)
    named = tuple((what, f"{prefix}{name}") for what, name in steps)
    return Explained(cell=_cell_words(measured, index), subject=subject, steps=named)


def _prefix(measured: Sequence[Account], index: int) -> str:
    return f"{index + 1}:" if len(measured) > 1 and index > 0 else ""


def _cell_words(measured: Sequence[Account], index: int) -> str:
    cell = measured[index].summary.cell
    words = f"{models(cell)}, {cell.cell_id}"
    words = f"{words}, repeat {cell.repeat + 1}" if any(each.summary.cell.repeat for each in measured) else words
    if len({each.summary.run_id for each in measured}) > 1:
        words = f"{words}, run {measured[index].summary.run_id}"
    if len(measured) == 1:
        return words
    return f"cell {index + 1} of {len(measured)} (`N:NAME` for the N-th): {words}"


def _evidence(account: Account) -> Evidence:
    results, headline = account.results, account.summary.headline
    devices = devices_by_session(results.queries, headline)
    ordered = sorted(results.queries, key=lambda query: query.prompt_index)
    return Evidence(
        summary=account.summary,
        figures=[figures_of(query, headline, devices[query.session]) for query in ordered if not failed(query)],
        intervals=[interval for session in results.sessions for interval in session.stretches],
    )


def _query(account: Account, query: QueryRecord) -> QueryAccount:
    """A query with the readings around it, and its ends on the curves that they make."""
    results = account.results
    manifest = next((each.manifest for each in results.sessions if each.number == query.session), None)
    task = account.summary.cell.task
    if manifest is None:
        return account_of(query, account.summary.headline, task=task)
    read = list(_until(results.directory.segments(query.session), query.time_end_s + AFTER_S))
    found = trails(manifest.channels, read, [query])[query.prompt_id, query.mode]
    ends = {
        curve.channel.device: CurveEnds(start_j=start_j, end_j=end_j)
        for curve in rebuilt(manifest.channels, read)
        if curve.covers(query.time_start_s, query.time_end_s)
        for start_j, end_j in [
            np.interp([query.time_start_s, query.time_end_s], curve.time_s, curve.energy_total_j).tolist()
        ]
    }
    company = company_of([flying_of(load) for load in account.loads if load.number == query.session], query)
    return account_of(query, account.summary.headline, found, ends, company, task)


def _until(segments: Iterator[Segment], time_s: float) -> Iterator[Segment]:
    """The session up to a while after an instant; what comes later changes nothing before it."""
    yield from takewhile(lambda segment: float(segment.time_before_s.min(initial=np.inf)) <= time_s, segments)


def _after_query(summary: Summary, query: QueryRecord, figures: Collection[str]) -> list[tuple[str, str]]:
    """The same prompt in another mode, and the figure that the query is part of."""
    others = [mode.mode for mode in summary.modes if mode.mode != query.mode]
    wanted = [name for name in (f"{query.mode}.energy_j", f"{query.mode}.duration_s") if name in figures]
    same = [(f"the same prompt in mode {mode}", query_name(mode, query.prompt_id)) for mode in others[:1]]
    return [*same, *(("the figure that it is part of", name) for name in wanted[:1])]
