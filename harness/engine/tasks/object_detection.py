"""A picture, and where in it the model sees what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine.task.classes import Classes
from harness.engine.task.description import StandIn, Task
from harness.engine.task.media import image_of, media_of
from harness.engine.task.pictures import prepared
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.errors import ScoringFailed
from harness.objects import PictureObject, answer_of, read_reference
from harness.records import Finding, InputColumns, Prompt

COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, , stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, , backpack, umbrella, , "
    ", handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, , dining table, , , toilet, , tv, "
    "laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase, "
    "scissors, teddy bear, hair drier, toothbrush"
)
"""COCO's 80 categories in the places 1 to 90 that it gives them (cocodataset.org); some places have none."""


class Detector:
    """A detector of objects."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        from transformers import AutoImageProcessor

        from harness.engine.task.loading import keywords_of, open_model

        self.opened: Opened = open_model(place, ["AutoModelForObjectDetection"])
        self._processor: Any = AutoImageProcessor.from_pretrained(place.source.location, **keywords_of(place))
        self._model = self.opened.model
        self._classes = Classes.of(self._model.config)

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """Decoded and resized as the model's processor does it; how large it was is kept for the boxes."""
        from dataclasses import replace

        media = media_of(prompt)
        image = image_of(media)
        ready = prepared(media, self._processor(images=image, return_tensors="pt"), self._model, self._processor)
        return replace(ready, inputs=(ready.inputs, (image.height, image.width)))

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """Logits and boxes of every object query. Which of them count is decided after the query."""
        tensors, _ = prepared.inputs
        return self._model(**tensors)

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:
        """The objects, the surest first, their boxes in the picture's own pixels."""
        _, size = prepared.inputs
        found = self._processor.post_process_object_detection(raw, threshold=0.0, target_sizes=[size])[0]
        rows = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        answer = answer_of(
            PictureObject(label=self._classes[label], score=score, box=(x0, y0, x1 - x0, y1 - y0))
            for score, label, (x0, y0, x1, y1) in rows
        )
        doubts = self._doubts(prompt)
        return Result(text=answer, findings=doubts, comparable=not doubts)

    def _doubts(self, prompt: Prompt) -> tuple[Finding, ...]:
        """Whether the model knows none of the categories of a reference."""
        try:
            wanted = sorted({thing.label for thing in read_reference(prompt.reference)}) if prompt.reference else []
        except ScoringFailed:
            return ()  # the scorer says so
        return self._classes.doubts(wanted)


def write_detector(folder: Path, *, shortest_edge: int = 512, **shape: Any) -> None:
    """A YOLOS with random weights and COCO's categories: YOLOS-tiny where `shape` says nothing else."""
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    tiny = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "image_size": [800, 1333]}
    labels = dict(enumerate(name or "N/A" for name in ["", *(name.strip() for name in COCO.split(","))]))
    config = YolosConfig(
        **{**tiny, "use_mid_position_embeddings": False, **shape},
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": shortest_edge, "longest_edge": 1333}).save_pretrained(folder)


TASK = Task(
    name="object-detection",
    title="Object detection",
    takes="a picture",
    returns="what is in it and where: a label, a score and a box for each object",
    inputs=InputColumns(
        media=("file_name", "image", "file", "path"), media_kind="image", reference=("objects",), scorer="detections"
    ),
    prompts="drawn",
    published="aies-object-detection",
    metric="mean average precision as COCO has it (faster-coco-eval)",
    sizes=("input_pixels",),
    model="hustvl/yolos-tiny",
    loads="AutoModelForObjectDetection",
    phases=("forward",),
    imports=("PIL",),
    note="Decoding, resizing and sorting the boxes are outside of the query. A box is [x, y, width, height] in pixels.",
    open=Detector,
    stand_in=StandIn(name="yolos-tiny", write=write_detector),
)
