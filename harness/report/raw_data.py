"""A run's own data inside its page, to be downloaded: its queries as a table, its summary as it is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from harness.analysis.measured import QueryFigures, phase_names
from harness.records import QueryRecord, Summary
from harness.report.panel import Json

N_QUERIES_MOST = 10_000
"""In a page; about a megabyte."""
N_DIGITS = 8
"""Of a number: more than any sensor gives."""

Cell = str | float | int | bool | None


def raw_data(summary: Summary, figures: Sequence[tuple[QueryRecord, QueryFigures | None]], n_queries: int) -> Json:
    """Columns and rows of the queries, and the summary.

    Args:
        summary: Of the cell.
        figures: Queries in their order; None: it failed.
        n_queries: Of the cell.

    Returns:
        For the page's script, which makes the files of it. Unknown is null.
    """
    phases = phase_names([each.phases_j for _, each in figures if each is not None and each.phases_j])
    word = "energy_estimated" if summary.estimated else "energy"
    own = _Own.of(summary, figures)
    columns = [
        *("run_id", "cell_id", "session", "prompt_id", "prompt_index", "mode", "time_start_s", "duration_s"),
        *(f"{word}_j", f"{word}_half_width_j", f"{word}_net_j", *(f"{word}_{name}_j" for name in phases)),
        *own.sizes,
        *("correct", *own.values, "cut", "failed", "findings"),
    ]
    served = any(query.service is not None for query, _ in figures[:N_QUERIES_MOST])
    columns += SERVED if served else ()
    constant: list[Cell] = [summary.run_id, summary.cell.cell_id]
    rows = [
        [*_row(query, each, phases, own), *(_served(query) if served else ())]
        for query, each in figures[:N_QUERIES_MOST]
    ]
    return {
        "name": f"{summary.run_id}-{summary.cell.cell_id}",
        "columns": columns,
        "constant": constant,
        "rows": rows,
        "left_out": n_queries - len(rows),
        "summary": summary.model_dump(mode="json"),
    }


TOKENS = ("prompt_tokens", "thinking_tokens", "answer_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class _Own:
    """The columns that a cell has beside those that all have: its sizes, and what its scorer found."""

    sizes: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, summary: Summary, figures: Sequence[tuple[QueryRecord, QueryFigures | None]]) -> Self:
        """Text has all kinds of tokens; a task the sizes of its queries, and the single numbers of their scores."""
        if summary.cell.task is None:
            return cls(TOKENS, ())
        outputs = [query.output for query, _ in figures if query.output is not None]
        scores = [query.score for query, _ in figures if query.score is not None]
        sizes = dict.fromkeys(name for output in outputs for name in output.sizes)
        values = [name for score in scores for name, value in score.values.items() if not isinstance(value, tuple)]
        return cls(tuple(sizes), tuple(dict.fromkeys(values)))


def _row(query: QueryRecord, own: QueryFigures | None, phases: Sequence[str], columns: _Own) -> list[Cell]:
    codes = dict.fromkeys(
        finding.code.value for finding in (*query.findings, *(each for one in query.readings for each in one.findings))
    )
    where: list[Cell] = [query.session, query.prompt_id, query.prompt_index, query.mode]
    span: list[Cell] = [_short(query.time_start_s), _short(query.duration_s)]
    found = " ".join(codes)
    if own is None:
        n_unknown = 3 + len(phases) + len(columns.sizes) + 1 + len(columns.values)
        return [*where, *span, *([None] * n_unknown), None, True, found]
    parts = own.phases_j or {}
    energies = [own.energy_j, own.energy_half_width_j, None if own.net is None else own.net.energy_j]
    energies += [parts.get(name, 0.0) if own.phases_j is not None else None for name in phases]
    tokens = (own.n_prompt_tokens, own.n_thinking_tokens, own.n_answer_tokens, own.n_output_tokens)
    sizes = dict(own.sizes) | dict(zip(TOKENS, tokens, strict=True))
    values = [own.values.get(name) for name in columns.values]
    numbers = [None if value is None or isinstance(value, tuple) else _short(value) for value in values]
    kept = [sizes.get(name) for name in columns.sizes]
    return [*where, *span, *map(_short, energies), *kept, own.correct, *numbers, own.cut, False, found]


SERVED = (
    *("attribution", "energy_shared_equal_j", "duration_share_s", "time_sent_s", "duration_queued_s"),
    *("duration_first_token_s", "duration_per_output_token_s", "cached_tokens", "http_status"),
)
"""More columns, where queries were served."""


def _served(query: QueryRecord) -> list[Cell]:
    equal_j = [each.energy_shared_equal_j for each in query.readings if each.energy_shared_equal_j is not None]
    share_s = [each.duration_share_s for each in query.readings if each.duration_share_s is not None]
    attributions = dict.fromkeys(each.attribution.value for each in query.readings)
    own: list[Cell] = [" ".join(attributions), _short(sum(equal_j)) if equal_j else None]
    own.append(_short(share_s[0]) if share_s else None)
    service = query.service
    if service is None:
        return [*own, *([None] * (len(SERVED) - len(own)))]
    own += [_short(service.time_sent_s), _short(service.duration_queued_s), _short(service.duration_first_token_s)]
    return [*own, _short(service.duration_per_output_token_s), service.n_cached_tokens, service.status]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{N_DIGITS}g}")
