"""The leaderboard: collected rows, their rankings, histories, generations and stars, ready to be shown or written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from harness.leaderboard.columns import SCHEMA
from harness.leaderboard.fronts import fronts
from harness.leaderboard.generations import Generations, generations
from harness.leaderboard.index import Index, index_of
from harness.leaderboard.over_time import History, histories
from harness.leaderboard.ranking import Ranked, ranked
from harness.leaderboard.rows import Rows, rows_of
from harness.leaderboard.stars import class_by, of_other_task, rating, refused
from harness.report.exports.vocabulary import TEXT_GENERATION
from harness.units import J_PER_WH

WH_PER_1000 = 1000 / J_PER_WH
"""From joules per query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Everything about the rows. Lists have one element per row."""

    rows: Rows
    ranked: Ranked
    histories: Sequence[History]
    generations: Sequence[Generations]
    on_front: Any
    """Rows of rankings that no other is both cheaper and right as often as."""
    classes: Sequence[str | None]
    stars: Sequence[int | None]
    stars_words: Sequence[str]
    problems: Sequence[tuple[str, str]]
    n_cells: int
    n_read: int


def collect(roots: Sequence[Path], index_file: Path) -> Index:
    """What the runs under some folders say; the index is used and not written (`harness.leaderboard.index.store`)."""
    return index_of(roots, index_file)


def build(index: Index) -> Leaderboard:
    """Rank, compare, rate."""
    problems = index.table.filter(pc.is_valid(index.table["problem"]))
    rows = rows_of(index.table.filter(pc.is_null(index.table["problem"])))
    found = ranked(rows)
    stars, words = _stars(rows, found)
    parameters = rows["n_parameters"]
    return Leaderboard(
        rows=rows,
        ranked=found,
        histories=histories(rows, found),
        generations=generations(rows, found),
        on_front=fronts(rows, found),
        classes=[
            class_by(model, None if np.isnan(n) else int(n)) if task is None else None
            for model, n, task in zip(rows["model"], parameters, rows["task"], strict=True)
        ],
        stars=stars,
        stars_words=words,
        problems=list(zip(problems["path"].to_pylist(), problems["problem"].to_pylist(), strict=True)),
        n_cells=index.n_cells,
        n_read=index.n_read,
    )


def flat(board: Leaderboard) -> Any:
    """One table with every column of the index and what was derived from it."""
    rows, found = board.rows, board.ranked
    derived = {
        "n_runs": pa.array(rows["n_runs"].astype(np.int64)),
        "energy_wh_per_1000": _numbers(rows["energy_j"] * WH_PER_1000),
        "class": pa.array(board.classes, pa.string()),
        "ranking": pa.array([int(number) or None for number in found.number], pa.int64()),
        "rank_best": pa.array([int(rank) or None for rank in found.rank_best], pa.int64()),
        "rank_worst": pa.array([int(rank) or None for rank in found.rank_worst], pa.int64()),
        "rank_provisional": pa.array(found.provisional),
        "earlier_run": pa.array(found.earlier),
        "not_ranked": pa.array([text or None for text in found.reason], pa.string()),
        "on_front": pa.array(board.on_front),
        "stars": pa.array(board.stars, pa.int64()),
        "stars_words": pa.array(board.stars_words, pa.string()),
    }
    columns = {}
    for field in SCHEMA:
        if field.name not in ("signature", "problem"):
            column = rows[field.name]
            columns[field.name] = (
                _numbers(column, field.type) if column.dtype != object else pa.array(column, field.type)
            )
    tasks = [task or TEXT_GENERATION for task in rows["task"]]
    return pa.table({**columns, "task": pa.array(tasks, pa.string()), **derived})


def as_csv(board: Leaderboard) -> str:
    """All rows, every column."""
    sink = pa.BufferOutputStream()
    csv.write_csv(flat(board), sink)
    return str(sink.getvalue().to_pybytes(), "utf-8")


def as_json(board: Leaderboard) -> str:
    """Rankings, generations and histories with their statements, and all rows."""
    table = flat(board)
    content = {
        "rankings": [
            {
                "number": ranking.number,
                "conditions": dict(ranking.conditions),
                "rows": [int(place) for place in ranking.places],
            }
            for ranking in board.ranked.rankings
        ],
        "generations": [
            {
                "model": board.rows["model"][one.places[0]],
                "rows": [int(place) for place in one.places],
                "ratios": [_ratio(ratio) for ratio in one.ratios],
                "statements": list(one.sentences),
            }
            for one in board.generations
        ],
        "histories": [
            {
                "model": board.rows["model"][history.places[0]],
                "rows": [int(place) for place in history.places],
                "changes": [list(changes) for changes in history.changes],
                "over_the_run_before": [None if step is None else _ratio(step) for step in history.steps],
                "last_over_first": _ratio(history.last_over_first),
                "statement": history.sentence,
            }
            for history in board.histories
        ],
        "not_read": [{"path": path, "problem": problem} for path, problem in board.problems],
        "rows": table.to_pylist(),
    }
    return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def _ratio(one: Any) -> dict[str, Any]:
    return {
        "value": one.value,
        "low": one.low if np.isfinite(one.high) else None,
        "high": one.high if np.isfinite(one.high) else None,
        "distinguishable": one.is_told,
        "same_board": one.same_board,
        "one_run": one.one_run,
    }


def _numbers(column: Any, kind: Any = None) -> Any:
    """A column of numbers; what is unknown is null, never NaN."""
    column = np.asarray(column, float)
    return pa.array(column, pa.float64(), mask=~np.isfinite(column)).cast(kind or pa.float64())


def _stars(rows: Rows, found: Ranked) -> tuple[list[int | None], list[str]]:
    words = {protocol: refused(protocol) for protocol in set(rows["protocol"])}
    stars: list[int | None] = [None] * len(rows)
    said = [
        words[protocol] if task is None else of_other_task(task)
        for protocol, task in zip(rows["protocol"], rows["task"], strict=True)
    ]
    for place, text in enumerate(said):
        if not text:
            held = "" if found.sound[place] else found.reason[place]
            stars[place], said[place] = rating(rows.row(place), held)
    return stars, said
