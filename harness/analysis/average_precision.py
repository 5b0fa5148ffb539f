"""COCO's average precision over many pictures, and over many draws of them at once.

T.-Y. Lin et al., Microsoft COCO (2014), and its evaluation: of each category that any object is of, the detections of
all pictures go from the surest down; at 101 recalls from 0 to 1 stands the highest precision that is reached there or
beyond; their mean is the category's average precision, and the mean over categories is the set's.

A picture that is drawn twice counts twice. Its equal detections stand side by side, and what lies between them is never
the highest precision at its recall, so that counting with weights is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray

RECALLS = np.linspace(0.0, 1.0, 101)
NUMBERS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The detections and the objects of several pictures, one row each; `..._picture` is which picture."""

    n: int
    detection_picture: IntArray
    confidence: FloatArray
    detection_category: FloatArray
    hits: BoolArray
    """At each threshold, shape (thresholds, detections)."""
    object_picture: IntArray
    object_category: FloatArray


def average_precision(pictures: Pictures, drawn: npt.NDArray[np.integer[Any]]) -> FloatArray:
    """The mean over categories for each draw and threshold.

    Args:
        pictures: All of them.
        drawn: How often each picture is in each draw, shape (draws, pictures).

    Returns:
        Shape (draws, thresholds), 0 to 1; NaN in a draw without any object.
    """
    n_of_category = np.unique(pictures.detection_category, return_counts=True)[1]
    at_once = max(1, NUMBERS_AT_ONCE // max(int(n_of_category.max(initial=1)), pictures.n))
    return np.concatenate(
        [_of_some(pictures, drawn[first : first + at_once]) for first in range(0, len(drawn), at_once)]
    )


def _of_some(pictures: Pictures, drawn: npt.NDArray[np.integer[Any]]) -> FloatArray:
    counts = drawn.astype(np.float64)
    summed, n_categories = np.zeros((len(counts), len(pictures.hits))), np.zeros((len(counts), 1))
    in_order = np.argsort(-pictures.confidence, kind="stable")
    for category in np.unique(pictures.object_category):
        objects = pictures.object_picture[pictures.object_category == category]
        n_objects = counts[:, objects].sum(axis=1, keepdims=True)
        n_categories += n_objects > 0
        rows = in_order[pictures.detection_category[in_order] == category]
        n_seen = np.cumsum(counts[:, pictures.detection_picture[rows]], axis=1)
        for threshold, hits in enumerate(pictures.hits[:, rows]):
            hit = np.flatnonzero(hits)  # between two hits neither recall nor the highest precision changes
            if len(hit):
                n_hit = np.cumsum(counts[:, pictures.detection_picture[rows[hit]]], axis=1)
                summed[:, threshold] += _interpolated(
                    n_hit / np.maximum(n_objects, 1.0), n_hit / np.maximum(n_seen[:, hit], 1.0)
                )
    with np.errstate(invalid="ignore"):
        return np.asarray(summed / n_categories)


def _interpolated(recall: FloatArray, precision: FloatArray) -> FloatArray:
    """The mean precision at `RECALLS`, each draw's points in a row."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    n_reached = np.searchsorted(RECALLS, recall, side="right")
    return np.asarray((highest * np.diff(n_reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS))
