"""The list of all queries of a task: what each is as large as, what it took, what was found of its answer."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.measured import QueryFigures, is_estimated
from harness.records import QueryRecord
from harness.report.numbers import digits, half_width
from harness.report.task.quality import verdict_words
from harness.report.task.sizes import in_order, size_text, size_words

SECONDS, READING, SCORE = "s", "reading", "score"


def columns_of(queries: Sequence[QueryRecord], joules: str) -> tuple[str, ...]:
    """The headings between a query's input and its answer; `joules` is what a joule is called."""
    return (*map(size_words, _keys(queries)), SECONDS, joules, READING, SCORE)


def cells_of(query: QueryRecord, figures: QueryFigures | None, columns: Sequence[str]) -> tuple[str, ...]:
    """The cells of a query under these columns."""
    sizes = (
        {} if query.output is None else {size_words(key): size_text(key, n) for key, n in query.output.sizes.items()}
    )
    own = tuple(sizes.get(column, "–") for column in columns[: columns.index(SECONDS)])
    if figures is None:
        return (*own, digits(query.duration_s), "failed", "", "–")
    error_j = None if is_estimated(query.readings) else figures.energy_half_width_j
    score = verdict_words(query)
    return (
        *own,
        digits(figures.duration_s),
        digits(figures.energy_j),
        "" if error_j is None else half_width(error_j),
        f"{score}, cut" if figures.cut else score,
    )


def answer_of(query: QueryRecord, n_most: int) -> str:
    """The beginning of an answer, where it was stored."""
    text = "" if query.output is None or query.output.text is None else " ".join(query.output.text.split())
    return text if len(text) <= n_most else f"{text[:n_most]}…"


def _keys(queries: Sequence[QueryRecord]) -> list[str]:
    """The sizes that these queries have."""
    return in_order(dict.fromkeys(key for query in queries if query.output is not None for key in query.output.sizes))
