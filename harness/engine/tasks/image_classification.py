"""A picture, told one of the model's classes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.engine.task.classes import Classes
from harness.engine.task.description import StandIn, Task
from harness.engine.task.media import image_of, media_of
from harness.engine.task.pictures import prepared
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.records import InputColumns, Prompt


class ImageClassifier:
    """A classifier of pictures."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        from transformers import AutoImageProcessor

        from harness.engine.task.loading import keywords_of, open_model

        self.opened: Opened = open_model(place, ["AutoModelForImageClassification"])
        self._processor: Any = AutoImageProcessor.from_pretrained(place.source.location, **keywords_of(place))
        self._model = self.opened.model
        self._classes = Classes.of(self._model.config)

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """Decoded, resized and cropped as the model's processor does it."""
        media = media_of(prompt)
        encoded = self._processor(images=image_of(media), return_tensors="pt")
        return prepared(media, encoded, self._model, self._processor)

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """The class with the highest logit."""
        return self._model(**prepared.inputs).logits[0].argmax().item()

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """Its name, in the model's own words."""
        doubts = self._classes.doubts([prompt.reference] if prompt.reference else [])
        return Result(text=self._classes[raw], findings=doubts, comparable=not doubts)


def write_classifier(folder: Path, **shape: Any) -> None:
    """A ResNet with random weights: ResNet-50 where `shape` says nothing else.

    Its first classes are those of the set `drawn`; the others, up to ImageNet's 1,000, have numbers for names.
    """
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    table = (files("harness") / "assets" / "prompts" / "drawn" / "metadata.jsonl").read_text(encoding="utf-8")
    drawn = sorted({json.loads(line)["label"] for line in table.splitlines()})
    labels = dict(enumerate([*drawn, *(f"class {number}" for number in range(len(drawn), 1000))]))
    config = ResNetConfig(id2label=labels, label2id={label: number for number, label in labels.items()}, **shape)
    ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained(folder)


TASK = Task(
    name="image-classification",
    title="Image classification",
    takes="a picture",
    returns="one of the model's classes",
    inputs=InputColumns(
        media=("file_name", "image", "file", "path"), media_kind="image", reference=("label",), scorer="label"
    ),
    prompts="drawn",
    published="aies-image-classification",
    metric="accuracy",
    sizes=("input_pixels",),
    model="microsoft/resnet-50",
    loads="AutoModelForImageClassification",
    phases=("forward",),
    imports=("PIL",),
    note="Decoding, resizing and copying to the device are outside of the query.",
    open=ImageClassifier,
    stand_in=StandIn(name="resnet-50", write=write_classifier),
)
