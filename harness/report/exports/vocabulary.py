"""What a task, its inputs and its figures of quality are called elsewhere: on the Hub, by BoAmps, by AI Energy Score.

A task that is not in here keeps its own name: a run of a later version is exported all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import Cell

TEXT_GENERATION = "text-generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One task elsewhere. `pipeline` is the Hub's name of it, `theirs` that of AI Energy Score's data set."""

    pipeline: str
    theirs: str
    inputs: tuple[str, ...] = ("text",)
    outputs: tuple[str, ...] = ("text",)


TASKS: Mapping[str, Names] = {
    "summarization": Names(pipeline="summarization", theirs="summarization"),
    "question-answering": Names(pipeline="question-answering", theirs="extractive_qa", inputs=("text", "text")),
    "text-classification": Names(pipeline="text-classification", theirs="text_classification", outputs=("label",)),
    "sentence-similarity": Names(
        pipeline="sentence-similarity", theirs="sentence_similarity", inputs=("text", "text"), outputs=("number",)
    ),
    "image-classification": Names(
        pipeline="image-classification", theirs="image_classification", inputs=("image",), outputs=("label",)
    ),
    "object-detection": Names(
        pipeline="object-detection", theirs="object_detection", inputs=("image",), outputs=("boxes and labels",)
    ),
    "image-captioning": Names(pipeline="image-to-text", theirs="image_captioning", inputs=("image",)),
    "automatic-speech-recognition": Names(pipeline="automatic-speech-recognition", theirs="ASR", inputs=("audio",)),
    "image-generation": Names(pipeline="text-to-image", theirs="image_generation", outputs=("image",)),
}
METRICS = {"word_error_rate": "wer", "spearman": "spearmanr"}
"""Figures of quality that the Hub's library `evaluate` calls otherwise."""
BOAMPS_TYPES = {"text": "text", "image": "image", "audio": "audio", "label": "text", "number": "other"}
"""Kinds of data in BoAmps' words; the rest is `object`. Texts are tokens where these are counted."""


def names_of(task: str) -> Names:
    """What a task that is not text generation is called elsewhere."""
    return TASKS.get(task, Names(pipeline=task, theirs=task.replace("-", "_")))


def title_of(cell: Cell) -> str:
    """A cell's task as a title: `Image generation`."""
    name = (cell.task or TEXT_GENERATION).replace("-", " ")
    return f"{name[:1].upper()}{name[1:]}"


def task_words(cell: Cell) -> str:
    """A cell's task within a sentence: `image generation`."""
    return (cell.task or TEXT_GENERATION).replace("-", " ")


def hub_metric(metric: str) -> str:
    """A figure of quality as the Hub's metrics are called."""
    return METRICS.get(metric, metric)
