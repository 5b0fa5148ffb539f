"""Two sentences, and how near to each other the model puts their meanings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.engine.task.description import StandIn, Task
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.engine.task.texts import Tokenizer, Tokens, filled
from harness.engine.task.vocabulary import word_pieces
from harness.errors import UsageError
from harness.records import InputColumns, Prompt

FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Of `1_Pooling/config.json`, in the order in which sentence-transformers puts several; newer files name the mode."""
KNOWN = ("cls", "max", "mean", "lasttoken")
PARTS = ("Transformer", "Pooling", "Normalize")
"""Modules of sentence-transformers that are followed. A cosine is the same with `Normalize` and without."""


class SentencePair:
    """An encoder whose tokens are pooled to one vector per sentence."""

    last_phase = "forward"

    def __init__(self, place: Place) -> None:
        """Load it.

        Raises:
            UsageError: It makes a sentence's vector in a way that is not known here.
        """
        from harness.engine.task.loading import open_model

        self._poolings = _poolings(place)
        self.opened: Opened = open_model(place, ["AutoModel"], may_lack=("pooler",), pooling="+".join(self._poolings))
        self._model = self.opened.model
        longest = (_stored(place, "sentence_bert_config.json") or {}).get("max_seq_length")
        self._tokenizer = Tokenizer(place, self._model, longest=longest)
        own = self._tokenizer.of_checkpoint
        if own.pad_token is None:  # what it is does not matter: it is masked
            own.pad_token = own.eos_token

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - it writes nothing
        """Both sentences as one batch; what is longer than the model takes loses its end."""
        first = filled(prompt, prompt.text, "first sentence")
        second = filled(prompt, prompt.text_pair, "second sentence")
        tokens = self._tokenizer.encode(first, second)
        return Prepared(
            inputs=tokens,
            rendered=f"{first}\n{second}",
            sizes={"prompt_tokens": tokens.n_tokens},
            findings=tokens.findings,
        )

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """The cosine of the angle between their vectors."""
        import torch

        tokens: Tokens = prepared.inputs
        states = self._model(**tokens.inputs).last_hidden_state.float()
        vectors = torch.cat([_pooled(states, tokens.mask, pooling) for pooling in self._poolings], dim=1)
        return torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0).item()

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The number, as text."""
        return Result(text=f"{raw:.6f}")


def _pooled(states: Any, mask: Any, pooling: str) -> Any:
    """One vector per sentence.

    Args:
        states: Of the last layer, (sentences, tokens, width).
        mask: 1 where a token is one of the sentence, (sentences, tokens).
        pooling: One of `KNOWN`.
    """
    import torch

    every = torch.arange(len(states), device=states.device)
    if pooling == "cls":
        return states[every, mask.argmax(dim=1)]  # the first that is no padding
    if pooling == "lasttoken":
        return states[every, mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]
    taken = mask[:, :, None].bool()
    if pooling == "max":
        return states.masked_fill(~taken, -torch.inf).amax(dim=1)
    return (states * taken).sum(dim=1) / taken.sum(dim=1)


def _poolings(place: Place) -> tuple[str, ...]:
    """How the checkpoint pools tokens: as its own files say, otherwise by their mean.

    Raises:
        UsageError: In a way that is not known here, or with further layers behind it.
    """
    name = place.source.name
    parts = [str(module.get("type", "")).rpartition(".")[2] for module in _stored(place, "modules.json") or ()]
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise UsageError(
            f"{name} has a {unknown[0]} layer behind its pooling, which is not followed here.",
            f"Choose a model whose modules.json names {', '.join(PARTS)} only.",
        )
    config: Mapping[str, Any] = _stored(place, "1_Pooling/config.json") or {"pooling_mode": "mean"}
    named = config.get("pooling_mode")
    if named is None:
        named = [mode for flag, mode in FLAGS.items() if config.get(flag)]
    modes = (named,) if isinstance(named, str) else tuple(named)
    if not modes or set(modes) - set(KNOWN):
        raise UsageError(
            f"{name} pools its tokens by {', '.join(modes) or 'nothing'}, which is not known here.",
            f"Choose a model that pools by one of {', '.join(KNOWN)}.",
        )
    return modes


def _stored(place: Place, file: str) -> Any:
    """What a JSON file beside the weights holds; None: there is none."""
    from transformers.utils import cached_file

    pinned = {} if place.source.path else {"revision": place.revision}
    found = cached_file(place.source.location, file, _raise_exceptions_for_missing_entries=False, **pinned)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def write_stand_in(folder: Path, **shape: int) -> None:
    """MiniLM with random weights, pooled by the mean.

    Args:
        folder: An empty directory.
        **shape: Of its configuration, where it is not that of all-MiniLM-L6-v2.
    """
    from transformers import BertConfig, BertModel

    own = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
    config = BertConfig(**{**own, **shape})
    BertModel(config).save_pretrained(folder)
    word_pieces(config.max_position_embeddings, segments=True).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    longest = min(256, config.max_position_embeddings)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))


TASK = Task(
    name="sentence-similarity",
    title="Sentence similarity",
    takes="two sentences",
    returns="how similar their meanings are: a cosine from -1 to 1",
    inputs=InputColumns(
        text=("sentence1",), text_pair=("sentence2",), reference=("score", "label"), scorer="similarity"
    ),
    prompts="sentence-pairs",
    published="aies-sentence-similarity",
    metric="Spearman's rank correlation with the references",
    sizes=("prompt_tokens",),
    model="sentence-transformers/all-MiniLM-L6-v2",
    loads="AutoModel",
    phases=("forward",),
    note="Tokenizing is outside of the query. Both sentences are run together, as one batch; tokens are pooled as the "
    "model's 1_Pooling/config.json says, otherwise by their mean.",
    open=SentencePair,
    stand_in=StandIn(name="all-minilm-l6-v2", write=write_stand_in),
)
