"""How well the objects of one picture were found: what COCO's average precision is made of over many pictures.

Average precision belongs to a set, not to a picture, so a score holds its parts: of each detection how sure it was,
its category, and whether it hit an object at each of COCO's ten thresholds; of each object its category. The matching
is that of faster-coco-eval, which computes as pycocotools does; `harness.analysis.quality` puts pictures together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from harness.errors import EnvironmentFault
from harness.objects import MOST, PictureObject, category_number, read_answer, read_reference
from harness.records import Score

THRESHOLDS = tuple(range(50, 100, 5))
"""Overlaps (intersection over union) in percent from which a detection is a hit."""


class Detections:
    """Graded, not right or wrong. `extracted` says how many of the objects were hit at half an overlap.

    Raises:
        EnvironmentFault: The library is not installed.
    """

    def __init__(self) -> None:
        if find_spec("faster_coco_eval") is None:
            raise EnvironmentFault(
                "The scorer `detections` needs the package faster-coco-eval, which is not installed.",
                f"{sys.executable} -m pip install 'inference-energy-harness[tasks]'",
            )

    def score(self, answer: str, reference: str) -> Score:
        """Match detections to objects of the same category, the surest first.

        Args:
            answer: A JSON list of {"label", "score", "box"}.
            reference: JSON with boxes [x, y, width, height] in pixels and categories.

        Raises:
            ScoringFailed: One of them is no such JSON.
        """
        objects = read_reference(reference)
        found = sorted(read_answer(answer), key=lambda detection: -detection.score)[:MOST]
        hits = _hits(found, objects)
        values: dict[str, float | tuple[float, ...]] = {
            "confidence": tuple(detection.score for detection in found),
            "category": tuple(float(category_number(detection.label)) for detection in found),
            **{f"matched_{threshold}": hit for threshold, hit in hits.items()},
            "objects": tuple(float(category_number(thing.label)) for thing in objects),
        }
        n_hit = round(sum(hits[THRESHOLDS[0]]))
        return Score(correct=None, extracted=f"{n_hit} of {len(objects)} objects", values=values)


def _hits(found: Sequence[PictureObject], objects: Sequence[PictureObject]) -> dict[int, tuple[float, ...]]:
    """Of each threshold, 1 or 0 per detection."""
    if not found or not objects:
        return dict.fromkeys(THRESHOLDS, (0.0,) * len(found))
    evaluation = _evaluation(found, objects)
    hits = {}
    for threshold in THRESHOLDS:
        evaluation.params.iouThrs = [threshold / 100]
        evaluation.evaluate()
        matched = {int(pair.partition("_")[0]) for pair in evaluation.eval["matched"]}
        hits[threshold] = tuple(float(number in matched) for number in range(1, len(found) + 1))
    return hits


def _evaluation(found: Sequence[PictureObject], objects: Sequence[PictureObject]) -> Any:
    """The library's evaluation of one picture. Detections and objects are numbered from 1, in their order."""
    from faster_coco_eval import COCO, COCOeval_faster

    names = {thing.label: category_number(thing.label) for thing in (*found, *objects)}
    categories = {number: place for place, number in enumerate(dict.fromkeys(names.values()), start=1)}

    def rows(things: Sequence[PictureObject]) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "image_id": 1,
                "category_id": categories[names[thing.label]],
                "bbox": list(thing.box),
                "area": thing.box[2] * thing.box[3],
                "score": thing.score,
                "iscrowd": 0,
            }
            for number, thing in enumerate(things, start=1)
        ]

    truth = COCO(
        {
            "images": [{"id": 1}],
            "categories": [{"id": place, "name": str(place)} for place in categories.values()],
            "annotations": rows(objects),
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(rows(found)), "bbox", print_function=lambda *_: None)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
    evaluation.params.maxDets = [MOST]
    return evaluation
