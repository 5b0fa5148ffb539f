"""A question, answered by a stretch of the passage that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine.task.description import StandIn, Task
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.engine.task.texts import Tokenizer, filled
from harness.engine.task.vocabulary import word_pieces
from harness.errors import UnusableInput, UsageError
from harness.records import InputColumns, Prompt

OVERLAP_TOKENS, LONGEST_ANSWER_TOKENS = 128, 30
"""Of neighbouring windows, and of an answer: what SQuAD's models are evaluated with since BERT (Devlin et al. 2019)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """As much of the passage, behind the question, as the model takes at once."""

    inputs: dict[str, Any]
    null_at: int
    """The token whose score says that the answer is not in here."""
    first: int
    """The token with which the passage begins."""
    offsets: list[tuple[int, int]]
    """Of each token of the passage: the characters from and up to which it goes."""


class Answerer:
    """A model that gives each token of a passage a score as an answer's start, and one as its end."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        """Load it.

        Raises:
            UsageError: Its tokenizer does not say where in the text its tokens are.
        """
        from harness.engine.task.loading import open_model

        self.opened: Opened = open_model(place, ["AutoModelForQuestionAnswering"])
        self._model = self.opened.model
        self._tokenizer = Tokenizer(place, self._model)
        if not self._tokenizer.of_checkpoint.is_fast:
            raise UsageError(
                f"The tokenizer of {place.source.name} does not say where in a text its tokens are.",
                "Choose a model with a tokenizer.json.",
            )

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """The passage in windows that overlap, each behind the whole question.

        Raises:
            UnusableInput: One of the two is empty, or the question leaves no room for the passage.
        """
        question = filled(prompt, prompt.text, "question")
        passage = filled(prompt, prompt.text_pair, "passage")
        windows = self._windows(question, passage, self._overlap(question, prompt))
        n_tokens = sum(int(window.inputs["input_ids"].shape[1]) for window in windows)
        return Prepared(inputs=windows, rendered=f"{question}\n{passage}", sizes={"prompt_tokens": n_tokens})

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """The scores of every token, one window after the other."""
        found = [self._model(**window.inputs) for window in prepared.inputs]
        return [(scores.start_logits[0], scores.end_logits[0]) for scores in found]

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:
        """The stretch with the highest score of all windows; empty where "not in here" scores higher in each."""
        assert prompt.text_pair is not None  # it was prepared
        best, (start, end) = max(_best(window, *scores) for window, scores in zip(prepared.inputs, raw, strict=True))
        null = min(
            float(starts[window.null_at] + ends[window.null_at])
            for window, (starts, ends) in zip(prepared.inputs, raw, strict=True)
        )
        return Result(text="" if null > best else prompt.text_pair[start:end].strip())

    def _overlap(self, question: str, prompt: Prompt) -> int:
        """Tokens that neighbouring windows share: at most half of the room that the question leaves."""
        tokenizer, window = self._tokenizer.of_checkpoint, self._tokenizer.window
        if window is None:
            return 0
        n_question = len(tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"])
        room = int(window - n_question - tokenizer.num_special_tokens_to_add(pair=True))
        if room < 2:
            raise UnusableInput(
                f"The question of {prompt.prompt_id} has {n_question:,} tokens, which leaves no room for its passage: "
                f"the model takes {window:,} at once.",
                "Shorten it, or choose a model with a longer window.",
            )
        return min(OVERLAP_TOKENS, room // 2)

    def _windows(self, question: str, passage: str, overlap: int) -> list[Window]:
        import torch

        tokenizer, window = self._tokenizer.of_checkpoint, self._tokenizer.window
        encoded = tokenizer(
            question,
            passage,
            truncation=False if window is None else "only_second",
            max_length=window,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        offsets = encoded.pop("offset_mapping")
        found = []
        for row, ids in enumerate(encoded["input_ids"]):
            of_passage = [at for at, text in enumerate(encoded.sequence_ids(row)) if text == 1]
            inputs = {name: torch.tensor([rows[row]]) for name, rows in encoded.items()}
            found.append(
                Window(
                    inputs=self._tokenizer.inputs(inputs),
                    null_at=ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0,
                    first=of_passage[0],
                    offsets=[tuple(offsets[row][at]) for at in of_passage],
                )
            )
        return found


def _best(window: Window, starts: Any, ends: Any) -> tuple[float, tuple[int, int]]:
    """The highest score of a stretch of the passage, and its characters.

    Args:
        window: The part of the passage.
        starts: Score of each token as an answer's first, (tokens).
        ends: The same as its last.
    """
    import torch

    n_tokens = len(window.offsets)
    here = slice(window.first, window.first + n_tokens)
    scores = starts[here].float().cpu()[:, None] + ends[here].float().cpu()[None, :]
    allowed = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu().tril(LONGEST_ANSWER_TOKENS - 1)
    score, at = scores.masked_fill(~allowed, -torch.inf).flatten().max(dim=0)
    first, last = divmod(int(at), n_tokens)
    return float(score), (window.offsets[first][0], window.offsets[last][1])


def write_stand_in(folder: Path, **shape: int) -> None:
    """DistilBERT with random weights that marks answers.

    Args:
        folder: An empty directory.
        **shape: Of its configuration, where it is not that of distilbert-base.
    """
    from transformers import DistilBertConfig, DistilBertForQuestionAnswering

    config = DistilBertConfig(**shape)
    DistilBertForQuestionAnswering(config).save_pretrained(folder)
    word_pieces(config.max_position_embeddings, segments=False).save_pretrained(folder)


TASK = Task(
    name="question-answering",
    title="Question answering",
    takes="a question and a passage",
    returns="the stretch of the passage that answers it, or nothing",
    inputs=InputColumns(
        text=("question",), text_pair=("context", "passage"), reference=("answers", "answer"), scorer="extractive"
    ),
    prompts="passages",
    published="aies-question-answering",
    metric="exact match and F1, as SQuAD normalizes answers",
    sizes=("prompt_tokens",),
    model="distilbert/distilbert-base-cased-distilled-squad",
    loads="AutoModelForQuestionAnswering",
    phases=("forward",),
    note="Tokenizing and choosing the stretch are outside of the query. A passage that is longer than the model's "
    "window is read in windows that overlap by 128 tokens, inside of the same query.",
    open=Answerer,
    stand_in=StandIn(name="distilbert-base-answerer", write=write_stand_in),
)
