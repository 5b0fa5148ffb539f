"""A text, told one of the model's classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.engine.task.classes import Classes
from harness.engine.task.description import StandIn, Task
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.engine.task.texts import Tokenizer, filled
from harness.engine.task.vocabulary import word_pieces
from harness.errors import UsageError
from harness.records import InputColumns, Prompt

NAMELESS = re.compile(r"LABEL_\d+")
"""What transformers calls a class that its config.json does not name."""


class TextClassifier:
    """A sequence classifier."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        """Load it.

        Raises:
            UsageError: It tells no classes apart, or others than were named.
        """
        from harness.engine.task.loading import open_model

        self.opened: Opened = open_model(place, ["AutoModelForSequenceClassification"])
        self._model = self.opened.model
        self._tokenizer = Tokenizer(place, self._model)
        self._classes = _classes(self._model.config, str(place.options.get("labels", "")), place.source.name)

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """Token ids on the device; what is longer than the model's window loses its end."""
        tokens = self._tokenizer.encode(filled(prompt, prompt.text, "text"))
        return Prepared(
            inputs=tokens.inputs,
            rendered=prompt.text,
            sizes={"prompt_tokens": tokens.n_tokens},
            findings=tokens.findings,
        )

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """The class with the highest logit."""
        return self._model(**prepared.inputs).logits[0].argmax().item()

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """Its name, in the model's own words."""
        answer = self._classes[raw]
        hint = " (`--set task_options.labels=` names them, in this order)" if NAMELESS.fullmatch(answer) else ""
        doubts = self._classes.doubts([prompt.reference] if prompt.reference else [], hint)
        return Result(text=answer, findings=doubts, comparable=not doubts)


def _classes(config: object, named: str, model: str) -> Classes:
    """The model's classes, by the user's names where some are given.

    Args:
        config: Of the model.
        named: The user's, parted by commas; empty: none.
        model: Its name, for messages.

    Raises:
        UsageError: One class or none, or as many names as the model has not.
    """
    own = Classes.of(config)
    if len(own) < 2:
        raise UsageError(f"{model} gives a number, not a class.", "Choose a classifier with two classes or more.")
    if not named:
        return own
    names = [name.strip() for name in named.split(",")]
    if len(names) != len(own) or not all(names):
        raise UsageError(
            f"{model} has {len(own)} classes, and task_options.labels names {len([*filter(None, names)])}.",
            "Name each once, in the order of its config.json, parted by commas.",
        )
    return Classes(names)


def write_stand_in(folder: Path, **shape: int) -> None:
    """DistilBERT with random weights and two classes.

    Args:
        folder: An empty directory.
        **shape: Of its configuration, where it is not that of distilbert-base.
    """
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    labels = {0: "NEGATIVE", 1: "POSITIVE"}
    config = DistilBertConfig(id2label=labels, label2id={name: at for at, name in labels.items()}, **shape)
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    word_pieces(config.max_position_embeddings, segments=False).save_pretrained(folder)


TASK = Task(
    name="text-classification",
    title="Text classification",
    takes="a text",
    returns="one of the model's classes",
    inputs=InputColumns(text=("text", "sentence"), reference=("label",), scorer="label"),
    prompts="remarks",
    published="aies-text-classification",
    metric="accuracy",
    sizes=("prompt_tokens",),
    model="distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    loads="AutoModelForSequenceClassification",
    phases=("forward",),
    options={"labels": ""},
    note="Tokenizing is outside of the query. Classes that a model calls LABEL_0 and LABEL_1 can be named: "
    "task_options.labels=negative,positive.",
    open=TextClassifier,
    stand_in=StandIn(name="distilbert-base-classifier", write=write_stand_in),
)
