"""Objects in a picture, as JSON: what a detector answers, and what a reference says.

Who runs a detector, who judges it and who counts over many pictures need this; none of them may know the others. A box
is [x, y, width, height] in the picture's own pixels from its upper left corner, as COCO writes it. A reference with
corners instead ([x0, y0, x1, y1], as some sets have it) cannot be told from it and has to be converted first.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import ScoringFailed

MOST = 100
"""Detections of one picture that count, those with the highest scores: as in COCO's evaluation."""
CATEGORY_KEYS = ("category", "categories", "label", "labels")
BOX_KEYS = ("bbox", "bboxes", "box", "boxes")
REFERENCE_STEP = 'Write it as {"bbox": [[x, y, width, height], ...], "category": ["dog", ...]}, in pixels.'
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureObject:
    """Something in a picture. `score` is how sure a detector is of it, 0 to 1; a reference is sure."""

    label: str
    box: Box
    score: float = 1.0


def category_number(label: str) -> int:
    """The same number wherever a category is named, so that pictures can be put together: 48 bits of a hash.

    Only the first of several names counts, without case: `tv`, `TV` and `tv, television` are one.
    """
    name = re.sub(r"[\s_]+", " ", label.partition(",")[0]).strip().casefold()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


def answer_of(objects: Iterable[PictureObject]) -> str:
    """At most `MOST` objects as JSON, the surest first; scores to 7 digits, boxes to a hundredth of a pixel."""
    surest = sorted(objects, key=lambda found: -found.score)[:MOST]
    return json.dumps(
        [
            {"label": found.label, "score": float(f"{found.score:.7g}"), "box": [round(side, 2) for side in found.box]}
            for found in surest
        ]
    )


def read_answer(text: str) -> tuple[PictureObject, ...]:
    """What `answer_of` wrote.

    Raises:
        ScoringFailed: The text is something else.
    """
    try:
        return tuple(
            PictureObject(label=str(row["label"]), box=_box(row["box"]), score=_finite(row["score"]))
            for row in json.loads(text)
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ScoringFailed(
            f"The answer {text[:60]!r} is no list of detections.",
            'It has to be a JSON list of {"label", "score", "box": [x, y, width, height]}.',
        ) from error


def read_reference(text: str) -> tuple[PictureObject, ...]:
    """The objects that a picture really holds, from columns of boxes and categories, or a list of objects.

    Raises:
        ScoringFailed: It is no such JSON; its lists differ in length; a box has no four numbers, or a negative size.
    """
    try:
        found = json.loads(text)
        if isinstance(found, Mapping):
            labels, boxes = _column(found, CATEGORY_KEYS), _column(found, BOX_KEYS)
        else:
            labels = [_column(row, CATEGORY_KEYS) for row in found]
            boxes = [_column(row, BOX_KEYS) for row in found]
        return tuple(PictureObject(label=str(label), box=_box(box)) for label, box in zip(labels, boxes, strict=True))
    except (ValueError, TypeError, KeyError) as error:
        raise ScoringFailed(f"The reference {text[:60]!r} lists no objects: {error}.", REFERENCE_STEP) from error


def _column(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"no {names[0]}")


def _box(values: Any) -> Box:
    x, y, width, height = (_finite(value) for value in values)
    if width < 0 or height < 0:
        raise ValueError(f"a box of {width:g} x {height:g} pixels")
    return x, y, width, height


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number")
    return number
