"""The figures that only a task has: its sizes, what a unit of them costs, how good its answers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from harness.analysis.measured import QueryFigures
from harness.analysis.quality import N_DRAWS_OF_PICTURES
from harness.records import Estimate, ModeSummary, Quality, SizeLaw
from harness.report.explanation.parts import printed, prompts_part, some_of
from harness.report.explanation.record import Explanation, Make
from harness.report.explanation.words import Of, Statistic, on_the_log, once, plain, with_energy
from harness.report.numbers import digits
from harness.report.task.law import shown_law
from harness.report.task.quality import metric_words, score_words
from harness.report.task.sizes import SIZES, size_words, units_of
from harness.report.wording import doubts

SHARED = "The mean share of {what} that an answer and its reference have in common (F1)."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """A metric that is a sum over a sum: which values of a score go above and below the line.

    `below` is None where each answer counts once.
    """

    words: str
    interval: Callable[[int], str]
    above: str
    below: str | None = None


def _wilson(n: int) -> str:
    return f"Wilson's score interval of a share of {n:,}"


SUMS: Mapping[str, _Sum] = {
    "f1": _Sum(
        words="The mean of the answers' F1: the words that an answer shares with its reference.",
        interval=plain,
        above="f1",
    ),
    "exact_match": _Sum(
        words="The share of answers that are the reference, but for articles, capitals and marks.",
        interval=_wilson,
        above="exact_match",
    ),
    "rouge1": _Sum(words=SHARED.format(what="single words"), interval=plain, above="rouge1"),
    "rouge2": _Sum(words=SHARED.format(what="pairs of words"), interval=plain, above="rouge2"),
    "rougeL": _Sum(words=SHARED.format(what="the longest common sequence of words"), interval=plain, above="rougeL"),
    "word_error_rate": _Sum(
        words="Words that were replaced, left out or added, of all answers, over the words of all references.",
        interval=on_the_log,
        above="word_errors",
        below="reference_words",
    ),
}
DRAWS = f"the middle 95 % of {N_DRAWS_OF_PICTURES:,} draws of whole pictures"
WHOLE: Mapping[str, tuple[str, str]] = {
    "spearman": (
        "Spearman's correlation of the model's similarities with those of the references, over all pairs.",
        "Fisher's z with Bonett and Wright's variance",
    ),
    "map": (
        "COCO's average precision over all pictures: the mean of ten overlaps from 0.50 to 0.95, and of all classes.",
        DRAWS,
    ),
    "map_50": ("COCO's average precision over all pictures at an overlap of 0.50, the mean of all classes.", DRAWS),
}
"""Metrics of all answers together, of which no query has a share: what they are, and how their interval is made."""


OF_TEXT = {"energy_per_output_token_j", "duration_per_output_token_s", "thinking_tokens", "answer_tokens"}
"""What a task's tokens cost is a law of its sizes; it does not think."""


def with_task_statistics(statistics: Sequence[Statistic], mode: ModeSummary) -> list[Statistic]:
    """Those of text that a task has too, and its own, as far as they are a sum over queries."""
    found = [each for each in statistics if each.name not in OF_TEXT]
    found += [_size(key) for key in mode.sizes]
    for law in mode.size_laws:
        found += [_per_unit(law, "energy_per_unit_j"), _per_unit(law, "duration_per_unit_s")]
    return [*found, *(_quality(each) for each in mode.quality if each.metric in SUMS)]


def task_figures(mode: ModeSummary, queries: Sequence[QueryFigures]) -> dict[str, Make]:
    """Those that are of all answers together."""
    return {
        name: partial(_whole, name, quality, queries)
        for quality in mode.quality
        if quality.metric in WHOLE and quality.figure.value is not None
        for name in [f"{mode.mode}.quality.{quality.metric}"]
    }


def about_task(query: QueryFigures) -> str:
    """A query's size and what was found of its answer."""
    words = [
        f"{digits(size / SIZES[key].scale)} {size_words(key)}" for key, size in query.sizes.items() if key in SIZES
    ]
    words += [] if query.n_output_tokens is None else [f"{query.n_output_tokens:,} output tokens"]
    if query.correct is not None or query.values:
        words.append(score_words(query.correct, query.values))
    return ", ".join([*words, "cut"] if query.cut else words)


def _size(key: str) -> Statistic:
    scale = SIZES[key].scale if key in SIZES else 1.0

    def amount(query: QueryFigures) -> float | None:
        return query.sizes[key] / scale if key in query.sizes else None

    return Statistic(
        name=key,
        title=f"{size_words(key)} per query",
        words="The mean of the answered queries: of what the model was given, or of what it gave.",
        unit="",
        estimate=lambda mode: Estimate(value=mode.sizes[key] / scale),
        amount=amount,
        amount_unit=size_words(key),
        queries=list,
        in_joules=False,
    )


def _per_unit(law: SizeLaw, figure: str) -> Statistic:
    is_energy = figure == "energy_per_unit_j"
    shown = shown_law(law, estimated=not is_energy)
    what, unit = ("joules", "J") if is_energy else ("seconds", "s")

    def with_size(queries: Sequence[QueryFigures]) -> list[QueryFigures]:
        known = with_energy(queries) if is_energy else queries
        return [query for query in known if units_of(query, law.size) is not None]

    return Statistic(
        name=f"{law.size}.{figure}",
        title=f"{what} per {law.unit}",
        words=f"All {what} of the answered queries over all their {shown.noun}.",
        unit=unit,
        estimate=lambda mode: shown.per_unit,  # noqa: ARG005 - it is the mode's own
        amount=(lambda query: query.energy_j) if is_energy else (lambda query: query.duration_s),
        amount_unit=unit,
        queries=with_size,
        over=lambda query: units_of(query, law.size),
        noun=shown.noun,
        interval=on_the_log if is_energy else None,
        in_joules=is_energy,
    )


def _quality(quality: Quality) -> Statistic:
    metric = SUMS[quality.metric]
    above, below = metric.above, metric.below

    def scored(queries: Sequence[QueryFigures]) -> list[QueryFigures]:
        return [query for query in queries if above in query.values]

    return Statistic(
        name=f"quality.{quality.metric}",
        title=metric_words(quality.metric),
        words=metric.words,
        unit="",
        estimate=lambda mode: quality.figure,  # noqa: ARG005 - it is the mode's own
        amount=_value(above),
        amount_unit="" if below is None else above.replace("_", " "),
        queries=scored,
        noun="answers" if below is None else below.replace("_", " "),
        interval=metric.interval,
        in_joules=False,
        over=once if below is None else _value(below),
    )


def _value(name: str) -> Of:
    def of(query: QueryFigures) -> float | None:
        value = query.values.get(name)
        return None if isinstance(value, tuple) else value

    return of


def _whole(name: str, quality: Quality, queries: Sequence[QueryFigures]) -> Explanation:
    words, interval = WHOLE[quality.metric]
    own = [query for query in queries if query.values]
    return Explanation(
        name=name,
        title=metric_words(quality.metric),
        value=printed(quality.figure, ""),
        words=words,
        formula=(),
        parts=(prompts_part(quality.figure, "", interval),),
        rests_on=f"It rests on {quality.n:,} answers that could be compared with a reference.",
        groups=some_of("Answers", own, about_task),
        doubts=doubts(quality.figure.findings),
    )
