"""A text, said again in a few sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.engine.task.description import StandIn, Task
from harness.engine.task.generating import (
    DECODE,
    ENCODE,
    GREEDY,
    encoder_watched,
    end_ids_of,
    facts_of_generation,
    finish_reason,
)
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.engine.task.texts import Tokenizer, filled
from harness.engine.task.vocabulary import byte_pairs
from harness.records import InputColumns, Prompt

PREFIXES = {"t5": "summarize: "}
"""What a family that does several tasks is told where its config.json does not say (Raffel et al. 2020, App. D)."""


class Summarizer:
    """An encoder that reads the text, and a decoder that writes its summary."""

    last_phase = DECODE

    def __init__(self, place: Place) -> None:
        from harness.engine.task.loading import open_model

        opened = open_model(place, ["AutoModelForSeq2SeqLM"])
        self._model = opened.model
        self._tokenizer = Tokenizer(place, self._model)
        self._prefix = _prefix(self._model.config)
        config = self._model.generation_config
        config.forced_eos_token_id = None  # at the cap it would make an answer look whole that was cut
        self._end_ids = end_ids_of(config)
        self.opened: Opened = replace(opened, generation={**facts_of_generation(config), "prefix": self._prefix})

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - the answer needs no room here
        """Token ids on the device, behind the model's prefix; what is longer than its window loses its end."""
        rendered = self._prefix + filled(prompt, prompt.text, "text")
        tokens = self._tokenizer.encode(rendered)
        return Prepared(
            inputs=tokens.inputs,
            rendered=rendered,
            sizes={"prompt_tokens": tokens.n_tokens},
            findings=tokens.findings,
        )

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:
        """The token ids of the summary, and how many it may have."""
        with encoder_watched(self._model.get_encoder(), stopwatch):
            ids = self._model.generate(**prepared.inputs, **GREEDY, max_new_tokens=max_new_tokens)
        return ids[0], max_new_tokens

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The summary, without the token that the decoder is started with."""
        made, max_new_tokens = raw
        ids = made.tolist()[1:]
        return Result(
            text=self._tokenizer.of_checkpoint.decode(ids, skip_special_tokens=True).strip(),
            sizes={"output_tokens": len(ids)},
            finish_reason=finish_reason(ids, self._end_ids, max_new_tokens),
        )


def _prefix(config: Any) -> str:
    """What has to stand before the text; empty: nothing."""
    own = (getattr(config, "task_specific_params", None) or {}).get("summarization") or {}
    return str(own.get("prefix", PREFIXES.get(config.model_type, "")))


def write_stand_in(folder: Path, **shape: int) -> None:
    """T5 with random weights.

    Args:
        folder: An empty directory.
        **shape: Of its configuration, where it is not that of t5-small.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(decoder_start_token_id=0, n_positions=512, **shape)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    byte_pairs(config.n_positions).save_pretrained(folder)


TASK = Task(
    name="summarization",
    title="Summarization",
    takes="a text",
    returns="its summary",
    inputs=InputColumns(
        text=("text", "article", "document", "dialogue"), reference=("summary", "highlights"), scorer="rouge"
    ),
    prompts="articles",
    published="aies-summarization",
    metric="ROUGE-1, ROUGE-2 and ROUGE-L (rouge-score, stemmed)",
    sizes=("prompt_tokens", "output_tokens"),
    model="google-t5/t5-small",
    loads="AutoModelForSeq2SeqLM",
    phases=(ENCODE, DECODE),
    max_new_tokens=128,
    note="Tokenizing and decoding the ids are outside of the query. Greedy, one beam; what else the model's own "
    "generation config asks for is kept, such as a least length.",
    open=Summarizer,
    stand_in=StandIn(name="t5-small", write=write_stand_in),
)
