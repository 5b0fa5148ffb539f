"""How good the answers of a task are: from what their scores hold to figures over all of them.

A figure is over the answered queries whose answer could be compared with a reference. Its interval is of 95 % over
prompts: what another sample of them would have given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.average_precision import Pictures, average_precision
from harness.analysis.bootstrap import (
    N_LEAST,
    RESAMPLE_SEED,
    TAIL,
    FloatArray,
    Interval,
    Z,
    drawn_counts,
    mean_interval,
    ratio_interval,
    wilson_interval,
)
from harness.analysis.figures import Figures
from harness.records import Estimate, Finding, FindingCode, Quality

if TYPE_CHECKING:
    from harness.records import BoolArray, ListColumn

THRESHOLDS = tuple(range(50, 100, 5))
"""Overlaps in percent from which COCO takes a detection for a hit; the first is that of `map_50`."""
N_LEAST_PICTURES = 100
"""For an interval of mean average precision."""
N_DRAWS_OF_PICTURES = 300


def quality_of(figures: Figures) -> tuple[Quality, ...]:
    """Every figure that the scores of these queries make, the main one first.

    Args:
        figures: Answered queries of one mode.

    Returns:
        Nothing where no answer was compared with a reference. A figure that too few answers make is null, with
        the reason.
    """
    found = []
    for metric in METRICS:
        rows = metric.rows(figures)
        if rows.any():
            own = figures.at(rows)
            estimate = metric.figure(own)
            found.append(
                Quality(metric=metric.name, higher_is_better=metric.higher_is_better, n=len(own), figure=estimate)
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure. `needs` are the values of a score that it is made of; none: whether it is right."""

    name: str
    figure: Callable[[Figures], Estimate]
    needs: tuple[str, ...] = ()
    higher_is_better: bool = True

    def rows(self, figures: Figures) -> BoolArray:
        """Which queries are in it."""
        if not self.needs:
            # An exact match is the same share by its own name.
            return figures.scored & ~_has(figures, EXACT_MATCH)
        known = np.all([_has(figures, name) for name in self.needs], axis=0)
        # Lists stand beside each other, but for that of the objects: one number per detection.
        beside = [figures.lists[name].counts for name in self.needs if name in figures.lists and name != OBJECTS]
        return np.asarray(known & np.all([counts == beside[0] for counts in beside], axis=0) if beside else known)


def _has(figures: Figures, name: str) -> BoolArray:
    if name in figures.values:
        return ~np.isnan(figures.values[name])
    return figures.lists[name].counts >= 0 if name in figures.lists else np.zeros(len(figures), dtype=np.bool_)


def _accuracy(figures: Figures) -> Estimate:
    return _share(int(figures.correct.sum()), len(figures))


def _exact_match(figures: Figures) -> Estimate:
    return _share(int(figures.values[EXACT_MATCH].sum()), len(figures))


def _share(n_right: int, n: int) -> Estimate:
    return _estimate(n_right / n, wilson_interval(n_right, n))


def _mean(name: str, figures: Figures) -> Estimate:
    """Of numbers between 0 and 1, in which the ends of an interval are too."""
    values = figures.values[name]
    interval = mean_interval(values)
    low = None if interval.low is None else max(interval.low, 0.0)
    high = None if interval.high is None else min(interval.high, 1.0)
    return _estimate(float(values.mean()), Interval(low=low, high=high, findings=interval.findings))


def _word_error_rate(figures: Figures) -> Estimate:
    """All wrong words over all words of the references, so that a long sentence weighs more than a short one."""
    errors, words = figures.values["word_errors"], figures.values["reference_words"]
    if not words.sum() > 0:
        return _unknown("the references have no words")
    return _estimate(float(errors.sum() / words.sum()), ratio_interval(errors, words))


def _spearman(figures: Figures) -> Estimate:
    """Correlation of ranks, ties at their mean rank.

    Its interval is Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of D. G. Bonett and T. A. Wright
    (Psychometrika 65, 2000, pages 23 to 28). In simulation with 8 to 200 pairs and true correlations up to 0.9 it
    held 93 to 97 %.
    """
    said, wanted = ranks(figures.values["similarity"]), ranks(figures.values["reference"])
    if len(said) < N_LEAST:
        return _unknown(f"{len(said)} pairs")
    if said.std() == 0 or wanted.std() == 0:
        return _unknown("all answers, or all references, are the same")
    correlation = float(np.clip(np.corrcoef(said, wanted)[0, 1], -1.0, 1.0))
    if math.isclose(abs(correlation), 1.0, abs_tol=1e-12):
        return Estimate(value=correlation)  # of one order alone nothing is known about another sample
    half = Z * math.sqrt((1 + correlation**2 / 2) / (len(said) - 3))
    centre = math.atanh(correlation)
    return Estimate(value=correlation, low=math.tanh(centre - half), high=math.tanh(centre + half))


def _mean_average_precision(n_thresholds: int, figures: Figures) -> Estimate:
    """COCO's, over the first so many thresholds, with a bootstrap interval over pictures.

    Of few pictures the figure is too high: what is best at each recall is chosen after the fact. A draw repeats that
    on top of it, so the draws' quantiles are taken from twice the figure (A. C. Davison and D. V. Hinkley, Bootstrap
    Methods and their Application, 1997, section 5.2.1). In simulation with 100 pictures the interval held 89 to 97 %,
    with 30 and many categories 70 %, so below 100 none is given; the plain quantiles held as little as 47 %.
    """
    pictures = _pictures(figures, THRESHOLDS[:n_thresholds])
    if not len(pictures.object_category):
        return _unknown("the references have no objects")
    whole = average_precision(pictures, np.ones((1, pictures.n), dtype=np.int64))
    value = float(whole.mean())
    if pictures.n < N_LEAST_PICTURES:
        return Estimate(value=value, findings=(Finding(code=FindingCode.FEW_PICTURES, detail=f"{pictures.n}"),))
    drawn = average_precision(pictures, drawn_counts(pictures.n, N_DRAWS_OF_PICTURES, RESAMPLE_SEED)).mean(axis=1)
    low, high = (2 * value - np.quantile(drawn[~np.isnan(drawn)], (1 - TAIL, TAIL))).tolist()
    return Estimate(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)))


EXACT_MATCH = "exact_match"
OBJECTS = "objects"
DETECTED = ("confidence", "category", *(f"matched_{percent}" for percent in THRESHOLDS), OBJECTS)
METRICS = (
    Metric(name="accuracy", figure=_accuracy),
    Metric(name="f1", needs=("f1",), figure=partial(_mean, "f1")),
    Metric(name=EXACT_MATCH, needs=(EXACT_MATCH,), figure=_exact_match),
    Metric(name="rougeL", needs=("rougeL",), figure=partial(_mean, "rougeL")),
    Metric(name="rouge1", needs=("rouge1",), figure=partial(_mean, "rouge1")),
    Metric(name="rouge2", needs=("rouge2",), figure=partial(_mean, "rouge2")),
    Metric(
        name="word_error_rate",
        needs=("word_errors", "reference_words"),
        figure=_word_error_rate,
        higher_is_better=False,
    ),
    Metric(name="spearman", needs=("similarity", "reference"), figure=_spearman),
    Metric(name="map", needs=DETECTED, figure=partial(_mean_average_precision, len(THRESHOLDS))),
    Metric(name="map_50", needs=DETECTED, figure=partial(_mean_average_precision, 1)),
)
"""Every figure; of those that one scorer makes the main one comes first."""


def ranks(values: FloatArray) -> FloatArray:
    """Places in order from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)])


def _pictures(figures: Figures, thresholds: tuple[int, ...]) -> Pictures:
    found, objects = figures.lists["category"], figures.lists[OBJECTS]
    return Pictures(
        n=len(figures),
        detection_picture=_owners(found),
        confidence=figures.lists["confidence"].numbers,
        detection_category=found.numbers,
        hits=np.array([figures.lists[f"matched_{percent}"].numbers > 0 for percent in thresholds], dtype=np.bool_),
        object_picture=_owners(objects),
        object_category=objects.numbers,
    )


def _owners(lists: ListColumn) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.repeat(np.arange(len(lists.counts)), lists.counts)


def _estimate(value: float, interval: Interval) -> Estimate:
    return Estimate(value=value, low=interval.low, high=interval.high, findings=interval.findings)


def _unknown(detail: str) -> Estimate:
    return Estimate(value=None, findings=(Finding(code=FindingCode.NO_QUALITY, detail=detail),))
