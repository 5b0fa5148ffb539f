"""Records as columns, for the few that are made in memory; what is on disk comes as columns from the store.

Knows the records. Must not know figures or statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.records import (
    Finding,
    FindingColumns,
    ListColumn,
    PhaseColumns,
    QueryColumns,
    QueryRecord,
    Reading,
    ReadingColumns,
    TextColumn,
)

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

READING_NUMBERS = (
    *("time_start_s", "time_end_s", "energy_gross_j", "energy_gross_half_width_j"),
    *("power_idle_w", "energy_net_j", "energy_net_half_width_j", "energy_tail_j"),
    *("energy_shared_equal_j", "duration_share_s"),
)
Values = Mapping[str, float | tuple[float, ...]]
"""Of one score."""
PHASE_NUMBERS = ("time_start_s", "time_end_s", "energy_gross_j", "energy_gross_half_width_j")


def query_columns(queries: QueryColumns | Sequence[QueryRecord]) -> QueryColumns:
    """The queries as columns; what is in columns already stays as it is."""
    if isinstance(queries, QueryColumns):
        return queries
    readings = [(row, reading) for row, query in enumerate(queries) for reading in query.readings]
    outputs = [query.output for query in queries]
    sizes = dict.fromkeys(name for output in outputs if output is not None for name in output.sizes)
    scores = [query.score for query in queries]
    values: list[Values] = [{} if score is None else score.values for score in scores]
    return QueryColumns(
        offset=np.full(len(queries), -1, dtype=np.int64),
        session=integers(query.session for query in queries),
        prompt=text_column(query.prompt_id for query in queries),
        prompt_index=integers(query.prompt_index for query in queries),
        mode=text_column(query.mode for query in queries),
        time_start_s=numbers(query.time_start_s for query in queries),
        time_end_s=numbers(query.time_end_s for query in queries),
        answered=np.array([output is not None for output in outputs], dtype=np.bool_),
        finish_reason=text_column(None if each is None else each.finish_reason for each in outputs),
        thought=_truths(None if each is None else each.thought for each in outputs),
        rendered=text_column(None if each is None else each.rendered_prompt_sha256 for each in outputs).codes,
        text=text_column(None if each is None else each.text_sha256 for each in outputs).codes,
        sizes={name: numbers(None if each is None else each.sizes.get(name) for each in outputs) for name in sizes},
        correct=_truths(None if score is None else score.correct for score in scores),
        graded=np.array([score is not None and score.correct is None for score in scores], dtype=np.bool_),
        values=values_of(values),
        lists=lists_of(values),
        readings=_reading_columns(readings),
        phases=_phase_columns([reading for _, reading in readings]),
        findings=_finding_columns(queries),
    )


def rows_of(columns: QueryColumns, rows: IntArray) -> QueryColumns:
    """Some of the queries, in this order, each with its readings, phases and findings.

    Args:
        columns: All.
        rows: Places, none twice.
    """
    place = np.full(len(columns), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    kept = np.flatnonzero(place[columns.readings.owner] >= 0)
    kept = kept[np.argsort(place[columns.readings.owner[kept]], kind="stable")]
    reading_place = np.full(len(columns.readings.owner), -1, dtype=np.int64)
    reading_place[kept] = np.arange(len(kept))
    phases = np.flatnonzero(reading_place[columns.phases.reading] >= 0)
    phases = phases[np.argsort(reading_place[columns.phases.reading[phases]], kind="stable")]
    found = np.flatnonzero(place[columns.findings.owner] >= 0)
    found = found[np.argsort(place[columns.findings.owner[found]], kind="stable")]
    of_findings = columns.findings.reading[found]
    return QueryColumns(
        offset=columns.offset[rows],
        session=columns.session[rows],
        prompt=texts_at(columns.prompt, rows),
        prompt_index=columns.prompt_index[rows],
        mode=texts_at(columns.mode, rows),
        time_start_s=columns.time_start_s[rows],
        time_end_s=columns.time_end_s[rows],
        answered=columns.answered[rows],
        finish_reason=texts_at(columns.finish_reason, rows),
        thought=columns.thought[rows],
        rendered=columns.rendered[rows],
        text=columns.text[rows],
        sizes={name: counts[rows] for name, counts in columns.sizes.items()},
        correct=columns.correct[rows],
        graded=columns.graded[rows],
        values={name: each[rows] for name, each in columns.values.items()},
        lists={name: lists_at(each, rows) for name, each in columns.lists.items()},
        readings=ReadingColumns(
            owner=place[columns.readings.owner[kept]],
            device=texts_at(columns.readings.device, kept),
            boundary=texts_at(columns.readings.boundary, kept),
            method=texts_at(columns.readings.method, kept),
            **{name: getattr(columns.readings, name)[kept] for name in READING_NUMBERS},
        ),
        phases=PhaseColumns(
            reading=reading_place[columns.phases.reading[phases]],
            name=texts_at(columns.phases.name, phases),
            **{name: getattr(columns.phases, name)[phases] for name in PHASE_NUMBERS},
        ),
        findings=FindingColumns(
            owner=place[columns.findings.owner[found]],
            reading=np.where(of_findings < 0, -1, reading_place[of_findings]),
            code=texts_at(columns.findings.code, found),
            detail=texts_at(columns.findings.detail, found),
        ),
    )


def texts_at(column: TextColumn, rows: IntArray) -> TextColumn:
    """Some rows of a column of text."""
    return replace(column, codes=column.codes[rows])


def lists_at(column: ListColumn, rows: IntArray) -> ListColumn:
    """Some rows of a column of lists."""
    counts = column.counts[rows]
    lengths = np.maximum(column.counts, 0)
    starts, own = (np.cumsum(lengths) - lengths)[rows], np.maximum(counts, 0)
    within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
    return ListColumn(counts=counts, numbers=column.numbers[np.repeat(starts, own) + within])


def values_of(scores: Iterable[Values]) -> dict[str, FloatArray]:
    """Of the scores' values those that are one number each, as columns."""
    known = list(scores)
    names = dict.fromkeys(name for each in known for name, value in each.items() if not isinstance(value, tuple))
    found = {name: [each.get(name) for each in known] for name in names}
    return {name: numbers(None if isinstance(each, tuple) else each for each in own) for name, own in found.items()}


def lists_of(scores: Iterable[Values]) -> dict[str, ListColumn]:
    """Of the scores' values the lists, as columns."""
    known = list(scores)
    names = dict.fromkeys(name for each in known for name, value in each.items() if isinstance(value, tuple))
    columns = {}
    for name in names:
        own = [value if isinstance(value := each.get(name), tuple) else None for each in known]
        columns[name] = ListColumn(
            counts=integers(-1 if each is None else len(each) for each in own),
            numbers=numbers(value for each in own for value in each or ()),
        )
    return columns


def text_column(texts: Iterable[str | None]) -> TextColumn:
    """Text as a column, its names in order of first appearance."""
    places: dict[str, int] = {}
    codes = [-1 if text is None else places.setdefault(str(text), len(places)) for text in texts]
    return TextColumn(codes=np.array(codes, dtype=np.int64), names=tuple(places))


def numbers(values: Iterable[float | None]) -> FloatArray:
    """Numbers as a column; what is unknown is NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def integers(values: Iterable[int]) -> IntArray:
    """Whole numbers as a column."""
    return np.array(list(values), dtype=np.int64)


def _truths(values: Iterable[bool | None]) -> IntArray:
    return integers(-1 if value is None else int(value) for value in values)


def _reading_columns(readings: Sequence[tuple[int, Reading]]) -> ReadingColumns:
    return ReadingColumns(
        owner=integers(row for row, _ in readings),
        device=text_column(reading.device for _, reading in readings),
        boundary=text_column(reading.boundary.value for _, reading in readings),
        method=text_column(reading.method.value for _, reading in readings),
        **{name: numbers(getattr(reading, name) for _, reading in readings) for name in READING_NUMBERS},
    )


def _phase_columns(readings: Sequence[Reading]) -> PhaseColumns:
    phases = [(row, phase) for row, reading in enumerate(readings) for phase in reading.phases]
    return PhaseColumns(
        reading=integers(row for row, _ in phases),
        name=text_column(phase.name for _, phase in phases),
        **{name: numbers(getattr(phase, name) for _, phase in phases) for name in PHASE_NUMBERS},
    )


def _finding_columns(queries: Sequence[QueryRecord]) -> FindingColumns:
    found: list[tuple[int, int, Finding]] = []
    n_readings = 0
    for row, query in enumerate(queries):
        found += [(row, -1, finding) for finding in query.findings]
        for reading in query.readings:
            found += [(row, n_readings, finding) for finding in reading.findings]
            n_readings += 1
    return FindingColumns(
        owner=integers(owner for owner, _, _ in found),
        reading=integers(reading for _, reading, _ in found),
        code=text_column(finding.code.value for _, _, finding in found),
        detail=text_column(finding.detail for _, _, finding in found),
    )
