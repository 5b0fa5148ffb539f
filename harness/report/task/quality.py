"""How good answers are, in words: of all of them as a figure, of one of them as what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.records import FindingCode, ModeSummary, Quality, QueryRecord
from harness.report.numbers import UNKNOWN, digits
from harness.report.panel import with_ends

METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "f1": "F1",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "word_error_rate": "word error rate",
    "spearman": "rank correlation",
    "map": "mean average precision",
    "map_50": "average precision at an overlap of a half",
}
"""By the names in `Quality.metric`."""
NOT_COMPARED = "not compared"
NO_REFERENCE = "–"


def metric_words(metric: str) -> str:
    """What a figure of quality is called."""
    return METRICS.get(metric, metric.replace("_", " "))


def quality_figure(quality: Quality) -> str:
    """`0.12 (0.08 to 0.19)`."""
    return with_ends(quality.figure)


def quality_words(quality: Quality) -> str:
    """`word error rate 0.12 (0.08 to 0.19)`."""
    return f"{metric_words(quality.metric)} {quality_figure(quality)}"


def main_quality(mode: ModeSummary) -> Quality | None:
    """The figure by which a task's answers are judged; None: there is none, or it is not known."""
    return next((each for each in mode.quality[:1] if each.figure.value is not None), None)


def verdict_words(query: QueryRecord) -> str:
    """What the scorer found of a query's answer, or why it was not asked."""
    if query.score is None:
        is_unknown = any(finding.code is FindingCode.LABEL_UNKNOWN for finding in query.findings)
        return NOT_COMPARED if is_unknown else NO_REFERENCE
    return score_words(query.score.correct, query.score.values)


def score_words(correct: bool | None, scored: Mapping[str, float | tuple[float, ...]]) -> str:
    """What was found of one answer; a dash where there was nothing to compare it with."""
    values = {name: value for name, value in scored.items() if isinstance(value, float | int)}
    if "reference_words" in values:
        return f"{_count(values.get('word_errors', 0.0), 'error')} in {_count(values['reference_words'], 'word')}"
    if "similarity" in values:
        return f"{_short(values['similarity'])}, reference {_short(values.get('reference'))}"
    if "objects" in scored:
        return _objects(scored)
    if "rougeL" in values:
        return ", ".join(f"{metric_words(name)} {_short(value)}" for name, value in values.items() if name in METRICS)
    words = [] if correct is None else ["right" if correct else "wrong"]
    if not correct and "f1" in values:
        words.append(f"F1 {_short(values['f1'])}")
    return ", ".join(words) or NO_REFERENCE


def _objects(values: Mapping[str, float | tuple[float, ...]]) -> str:
    """How many of an image's objects were found, at an overlap of a half, and how many boxes there were for it."""
    found, objects, boxes = (_many(values.get(name)) for name in ("matched_50", "objects", "confidence"))
    return f"{math.fsum(found):.0f} of {_count(len(objects), 'object')} found, {_count(len(boxes), 'box', 'boxes')}"


def _count(n: float, one: str, many: str = "") -> str:
    return f"{n:,.0f} {one if n == 1 else many or f'{one}s'}"


def _many(value: float | tuple[float, ...] | None) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _short(value: float | None) -> str:
    return UNKNOWN if value is None else digits(value, 2)
