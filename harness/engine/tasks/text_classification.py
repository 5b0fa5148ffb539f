"""A text, told one of the model's classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.task.description import StandIn, Task
from harness.errors import UsageError
from harness.records import Finding, FindingCode, InputColumns, Prompt

if TYPE_CHECKING:
    from harness.engine.task.runner import Opened, Place, Prepared, Result
    from harness.engine.task.stopwatch import Stopwatch

NAMELESS = re.compile(r"LABEL_\d+")
"""What transformers calls a class that its config.json does not name."""


def _open(place: Place) -> TextClassifier:
    return TextClassifier(place)


class TextClassifier:
    """A sequence classifier."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        """Load it.

        Raises:
            UsageError: It tells no classes apart, or others than were named.
        """
        from harness.engine.task.loading import open_model
        from harness.engine.task.texts import Tokenizer

        self.opened: Opened = open_model(place, ["AutoModelForSequenceClassification"])
        self._model = self.opened.model
        self._tokenizer = Tokenizer(place, self._model)
        self._labels = _labels(self._model.config.id2label, str(place.options.get("labels", "")), place.source.name)

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """Token ids on the device; what is longer than the model's window loses its end."""
        from harness.engine.task.runner import Prepared
        from harness.engine.task.texts import filled

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
        from harness.engine.task.runner import Result
        from harness.labels import is_known

        answer = self._labels[raw]
        if prompt.reference is None or is_known(prompt.reference, self._labels):
            return Result(text=answer)
        hint = " (`--set task_options.labels=` names them, in this order)" if NAMELESS.fullmatch(answer) else ""
        some = ", ".join(self._labels[:5]) + (", ..." if len(self._labels) > 5 else "")
        doubt = Finding(code=FindingCode.LABEL_UNKNOWN, detail=f"{prompt.reference} is not among {some}{hint}")
        return Result(text=answer, findings=(doubt,), comparable=False)


def _labels(own: dict[int, str], named: str, model: str) -> tuple[str, ...]:
    """The names of all classes, by position: the user's where some are given.

    Args:
        own: Position to name, of config.json.
        named: The user's, parted by commas; empty: none.
        model: Its name, for messages.

    Raises:
        UsageError: One class or none, or as many names as the model has not.
    """
    if len(own) < 2:
        raise UsageError(f"{model} gives a number, not a class.", "Choose a classifier with two classes or more.")
    if not named:
        return tuple(str(own[position]) for position in range(len(own)))
    names = tuple(name.strip() for name in named.split(","))
    if len(names) != len(own) or not all(names):
        raise UsageError(
            f"{model} has {len(own)} classes, and task_options.labels names {len([*filter(None, names)])}.",
            "Name each once, in the order of its config.json, parted by commas.",
        )
    return names


def write_stand_in(folder: Path, **shape: int) -> None:
    """DistilBERT with random weights and two classes.

    Args:
        folder: An empty directory.
        **shape: Of its configuration, where it is not that of distilbert-base.
    """
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    from harness.engine.task.vocabulary import word_pieces

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
    open=_open,
    stand_in=StandIn(name="distilbert-base-classifier", write=write_stand_in),
)
