"""From the leaderboard to what is shown: texts for the eye, columns for the page's script."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.leaderboard.board import WH_PER_1000, Leaderboard
from harness.leaderboard.entry import ALARM, OTHERS
from harness.leaderboard.generations import Generations
from harness.leaderboard.over_time import step_words
from harness.leaderboard.ranking import CONDITIONS, N_QUERIES_LEAST, Ranking
from harness.leaderboard.rows import FloatArray, IntArray, Rows
from harness.records import Estimate, FindingCode
from harness.report.exports.vocabulary import TEXT_GENERATION
from harness.report.leaderboard.view import GenerationView, LeaderboardView, RankedLine, RankingView
from harness.report.numbers import digits, ends_of, percent, value_of
from harness.report.task.quality import metric_words

N_LINES = 10
N_UNRANKED = 6
N_GENERATIONS = 60
N_HISTORIES = 2000
"""Histories that the page can draw, those with the most runs."""
N_HISTORIES_SAID = 60
N_DIGITS = 6
TEXTS = (
    *("model", "revision", "prompts", "mode", "hardware", "precision", "driver", "boards", "run", "page", "protocol"),
    *("engine", "engine_version", "power_limit", "boundary", "method", "started_utc", "harness_version", "cpu"),
)


def view_of(board: Leaderboard) -> LeaderboardView:
    """What the leaderboard says."""
    rows, found = board.rows, board.ranked
    energies = _energies(rows)
    ranked_rows = int((found.rank_best > 0).sum())
    reasons = Counter(
        _general(text) for text, earlier in zip(found.reason, found.earlier, strict=True) if text and not earlier
    )
    return LeaderboardView(
        title="Energy per query",
        headline=_headline(board, ranked_rows),
        rankings=tuple(_ranking(board, ranking, energies) for ranking in found.rankings),
        unranked=tuple(_unranked(board, energies)),
        not_ranked=tuple(reasons.most_common()),
        generations=tuple(_generation(board, one, energies) for one in board.generations[:N_GENERATIONS]),
        n_generations_left_out=max(0, len(board.generations) - N_GENERATIONS),
        histories=tuple(
            (_history_name(board, int(history.places[0])), history.sentence)
            for history in board.histories[:N_HISTORIES_SAID]
        ),
        problems=tuple(board.problems),
        conditions=tuple(label for name, label in CONDITIONS.items() if name != "prompts_sha256"),
        n_queries_least=N_QUERIES_LEAST,
        quality="accuracy" if all(task is None for task in rows["task"]) else "quality",
        data=_data(board, energies),
    )


def _headline(board: Leaderboard, ranked_rows: int) -> str:
    rows, found = board.rows, board.ranked
    n_models = len(set(rows.texts("model")))
    earlier = int(found.earlier.sum())
    others = len(rows) - ranked_rows - earlier
    parts = [f"{_count(ranked_rows, 'row')} in {_count(len(found.rankings), 'ranking')}"]
    if earlier:
        parts.append(f"{_count(earlier, 'earlier run')} of the same models")
    if others:
        parts.append(f"{_count(others, 'row')} that may share none, each with the reason")
    unread = f" {_count(len(board.problems), 'cell')} could not be read." if board.problems else ""
    return f"{_count(n_models, 'model')}: {', '.join(parts)}.{unread}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _general(reason: str) -> str:
    """A reason without what is particular to one row, so that rows with the same reason can be counted."""
    for mark in (": ", " Other than in ranking"):
        reason = reason.partition(mark)[0]
    return reason.rstrip(".") + "."


def _ranking(board: Leaderboard, ranking: Ranking, energies: Sequence[Estimate]) -> RankingView:
    found, rows = board.ranked, board.rows
    front = ranking.places[found.rank_best[ranking.places] > 0]
    return RankingView(
        number=ranking.number,
        title=ranking.title,
        conditions=ranking.sentence,
        lines=tuple(
            RankedLine(
                rank=rank_words(found.rank_best[place], found.rank_worst[place], found.provisional[place]),
                model=rows["model"][place],
                energy=value_of(energies[place]),
                interval=ends_of(energies[place]),
                right=_judged(rows, int(place)),
            )
            for place in front[:N_LINES]
        ),
        n_rows=len(front),
        n_earlier=len(ranking.places) - len(front),
        alarm=_alarm(ranking),
        judged=_judged_words(rows, front),
    )


def _judged_words(rows: Rows, places: IntArray) -> str:
    """What the answers of a ranking are judged by."""
    metric = next((rows["quality_metric"][place] for place in places if rows["quality_metric"][place]), None)
    if metric is not None:
        return metric_words(metric)
    return "right, %" if rows["task"][places[0]] is None else "quality"


def _judged(rows: Rows, place: int) -> str:
    """How good a row's answers are, by what its ranking is judged by."""
    if rows["task"][place] is None:
        return _share(rows["accuracy"][place])
    quality = rows["quality"][place]
    return "" if np.isnan(quality) else digits(float(quality))


def _unranked(board: Leaderboard, energies: Sequence[Estimate]) -> list[tuple[str, str]]:
    """The first rows that are in no ranking, those first that could be if something like them were measured."""
    rows, found = board.rows, board.ranked
    places = np.flatnonzero((found.rank_best == 0) & ~found.earlier)
    chosen = sorted(places.tolist(), key=lambda place: not found.sound[place])[:N_UNRANKED]
    return [
        (
            _name(rows, place, ("model", "prompts", "mode", "hardware")),
            f"{_with_ends(energies[place])} Wh per 1,000 queries{' (estimated)' if rows['estimated'][place] else ''}",
        )
        for place in chosen
    ]


def _alarm(ranking: Ranking) -> str:
    return ALARM if ranking.conditions["metered boards"] == OTHERS else ""


def rank_words(best: int, worst: int, provisional: bool) -> str:
    """`3`, `2–5` where it is not told apart, in brackets where a part of the interval is unknown; empty: no rank."""
    if not best:
        return ""
    text = f"{best}" if best == worst else f"{best}–{worst}"
    return f"({text})" if provisional else text


def _energies(rows: Rows) -> list[Estimate]:
    """Wh per 1,000 queries, the ends with prompts, reading and repeats; a gain that rows may share is not in them."""
    value, low, high, reading, runs = (
        WH_PER_1000 * rows[f"energy_j{part}"] for part in ("", "_low", "_high", "_reading", "_runs")
    )
    rest = np.hypot(np.nan_to_num(reading), np.nan_to_num(runs))
    down, up = np.maximum(value - np.hypot(value - low, rest), 0.0), value + np.hypot(high - value, rest)
    columns = (np.where(np.isfinite(column), column, np.nan).tolist() for column in (value, down, up, reading))
    return [
        Estimate(
            value=None if math.isnan(one) else one,
            low=None if math.isnan(least) else least,
            high=None if math.isnan(most) else most,
            half_width_reading=None if math.isnan(read) else read,
        )
        for one, least, most, read in zip(*columns, strict=True)
    ]


def _share(value: float) -> str:
    return "" if np.isnan(value) else percent(float(value), 3).removesuffix(" %")


def _generation(board: Leaderboard, one: Generations, energies: Sequence[Estimate]) -> GenerationView:
    rows = board.rows
    first = int(one.places[0])
    ratios = ["the least", *(f"{digits(each.value)} ×" for each in one.ratios)]
    return GenerationView(
        model=rows["model"][first],
        subtitle=_name(rows, first, ("prompts", "mode", "protocol"), ", "),
        lines=tuple(
            (rows["hardware"][place], _with_ends(energies[place]), text)
            for place, text in zip(one.places, ratios, strict=True)
        ),
        sentences=one.sentences,
    )


def _with_ends(one: Estimate) -> str:
    ends = ends_of(one)
    return f"{value_of(one)} ({ends})" if ends else value_of(one)


def _history_name(board: Leaderboard, place: int) -> str:
    return _name(board.rows, place, ("model", "prompts", "mode", "hardware", "precision"))


def _name(rows: Rows, place: int, columns: Sequence[str], between: str = " · ") -> str:
    """What tells a row from others; of a task without modes the task stands for the mode."""
    task = rows["task"][place]
    said = columns if task is None else ["task" if name == "mode" else name for name in columns]
    return between.join(_task_words(task) if name == "task" else rows[name][place] or "unknown" for name in said)


def _task_words(task: str | None) -> str:
    return (task or TEXT_GENERATION).replace("-", " ")


def _data(board: Leaderboard, energies: Sequence[Estimate]) -> dict[str, object]:
    """Columns for the script: rows in the order of their rankings, then those without."""
    rows, found = board.rows, board.ranked
    order = [int(place) for ranking in found.rankings for place in ranking.places]
    kept = set(order)
    order += [place for place in range(len(rows)) if place not in kept]
    at = {place: position for position, place in enumerate(order)}
    columns: dict[str, object] = {name: _coded([rows[name][place] for place in order]) for name in TEXTS}
    columns |= {
        "task": _coded([_task_words(rows["task"][place]) for place in order]),
        "mode": _coded([rows["mode"][place] if rows["task"][place] is None else None for place in order]),
        "options": _coded([rows["task_options"][place] for place in order]),
        "metric": _coded([metric_words(rows["quality_metric"][place] or "") for place in order]),
        "sizeUnit": _coded([rows["size_unit"][place] for place in order]),
        "lessIsBetter": [int(rows["quality_higher_is_better"][place] is False) for place in order],
        "class": _coded([board.classes[place] for place in order]),
        "reason": _coded([found.reason[place] for place in order]),
        "starsWords": _coded([board.stars_words[place] for place in order]),
        "findings": _coded([rows["findings"][place] for place in order]),
        "energy": _coded([value_of(energies[place]) for place in order]),
        "ends": _coded([ends_of(energies[place]) for place in order]),
        "ranking": [int(found.number[place]) for place in order],
        "best": [int(found.rank_best[place]) for place in order],
        "worst": [int(found.rank_worst[place]) for place in order],
        "provisional": [int(found.provisional[place]) for place in order],
        "earlier": [int(found.earlier[place]) for place in order],
        "estimated": [int(rows["estimated"][place]) for place in order],
        "stale": [int(rows["stale"][place]) for place in order],
        "elsewhere": [int(rows["metered"][place] == OTHERS) for place in order],
        "front": [int(board.on_front[place]) for place in order],
        "stars": [board.stars[place] for place in order],
        "wh": _rounded([one.value for one in energies], order),
        "whLow": _rounded([one.low for one in energies], order),
        "whHigh": _rounded([one.high for one in energies], order),
    }
    for name, column, factor in (
        ("prompted", rows["energy_j_low"], WH_PER_1000),
        ("promptedHigh", rows["energy_j_high"], WH_PER_1000),
        ("reading", rows["energy_j_reading"], WH_PER_1000),
        ("runs", rows["energy_j_runs"], WH_PER_1000),
        ("gain", rows["energy_j_gain"], WH_PER_1000),
        ("perToken", rows["energy_per_output_token_j"], 1.0),
        ("perRight", rows["energy_per_correct_j"], 1.0),
        ("right", rows["accuracy"], 100.0),
        ("rightLow", rows["accuracy_low"], 100.0),
        ("rightHigh", rows["accuracy_high"], 100.0),
        ("quality", rows["quality"], 1.0),
        ("qualityLow", rows["quality_low"], 1.0),
        ("qualityHigh", rows["quality_high"], 1.0),
        ("perSize", rows["energy_per_size_j"], 1.0),
        ("tokens", rows["output_tokens"], 1.0),
        ("seconds", rows["duration_s"], 1.0),
        ("queries", rows["n_queries"], 1.0),
        ("nRuns", rows["n_runs"], 1.0),
        ("leftOut", rows["n_left_out"], 1.0),
    ):
        columns[name] = _rounded(factor * _floats(column), order)
    return {
        "n": len(order),
        "columns": columns,
        "rankings": [
            {
                "number": ranking.number,
                "title": ranking.title,
                "words": ranking.sentence,
                "alarm": _alarm(ranking),
            }
            for ranking in found.rankings
        ],
        "histories": [
            {
                "name": _history_name(board, int(history.places[0])),
                "rows": [at[int(place)] for place in history.places],
                "changes": ["; ".join(changes) for changes in history.changes],
                "steps": ["" if step is None else step_words(step) for step in history.steps],
                "sentence": history.sentence,
            }
            for history in board.histories[:N_HISTORIES]
        ],
        "alarm": ALARM,
        "codes": {code.value: code.sentence for code in FindingCode},
    }


def _coded(values: Sequence[str | None]) -> dict[str, object]:
    """A column of texts: each text once, and its number per row."""
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(value or "", len(numbers)) for value in values]
    return {"texts": list(numbers), "at": places}


def _floats(column: Any) -> FloatArray:
    return np.asarray(column, float)


def _rounded(values: Any, order: Sequence[int]) -> list[float | None]:
    """Numbers short enough to be sent; None where unknown."""
    column = np.asarray(values, float)[order].tolist()
    return [float(f"{one:.{N_DIGITS}g}") if math.isfinite(one) else None for one in column]
