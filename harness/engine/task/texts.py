"""Texts as the token ids that a model takes, and what had to be left out of them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from harness.engine.task.runner import Place
from harness.errors import UnusableInput
from harness.records import Finding, FindingCode, Prompt

LENGTHS = ("max_position_embeddings", "max_encoder_position_embeddings", "n_positions")
"""What configurations call the tokens that fit into a model at once."""
UNLIMITED = 10**9
"""transformers gives a tokenizer that knows no limit a longer one than this."""


def filled(prompt: Prompt, text: str | None, name: str) -> str:
    """A text of a query that has to hold something.

    Args:
        prompt: The query.
        text: What it holds.
        name: What it is, for the message: `question`.

    Raises:
        UnusableInput: There is none, or only white space.
    """
    if text is None or not text.strip():
        raise UnusableInput(f"The {name} of {prompt.prompt_id} is empty.", "Fill it in, or remove the row.")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Texts, ready for the model. What only fills up a batch is not in `n_tokens`."""

    inputs: dict[str, Any]
    """Keywords of the model, each (texts, tokens), on its device."""
    mask: Any
    """1 where a token is of its text, 0 where it fills up the batch: (texts, tokens), on the device."""
    n_tokens: int
    findings: tuple[Finding, ...] = ()


class Tokenizer:
    """A checkpoint's own, with what its model can take at once."""

    def __init__(self, place: Place, model: Any, *, longest: int | None = None) -> None:
        """Load it.

        Args:
            place: The checkpoint.
            model: Loaded from there.
            longest: Tokens of one text where the checkpoint takes fewer than its model could; None: it does not.
        """
        from transformers import AutoTokenizer

        from harness.engine.task.loading import keywords_of

        self.of_checkpoint: Any = AutoTokenizer.from_pretrained(place.source.location, **keywords_of(place))
        self.window = window_of(self.of_checkpoint, model, longest)
        self._device = model.device
        self._taken = frozenset(inspect.signature(model.forward).parameters)

    def encode(self, *texts: str) -> Tokens:
        """Texts as one batch. What is longer than the window loses its end, and a finding says so."""
        whole = [len(ids) for ids in self.of_checkpoint(list(texts), truncation=False, verbose=False)["input_ids"]]
        encoded = self.of_checkpoint(
            list(texts),
            padding=len(texts) > 1,
            truncation=self.window is not None,
            max_length=self.window,
            return_attention_mask=True,
            return_tensors="pt",
        )
        kept = [n if self.window is None else min(n, self.window) for n in whole]
        cut = tuple(
            Finding(code=FindingCode.INPUT_TRUNCATED, detail=f"{n_kept:,} of {n:,} tokens were taken")
            for n, n_kept in zip(whole, kept, strict=True)
            if n_kept < n
        )
        mask = encoded["attention_mask"].to(self._device)
        return Tokens(inputs=self.inputs(encoded), mask=mask, n_tokens=sum(kept), findings=cut)

    def inputs(self, encoded: Any) -> dict[str, Any]:
        """What of a tokenizer's tensors the model takes, on its device: some know no second segment, some no mask."""
        return {name: tensor.to(self._device) for name, tensor in encoded.items() if name in self._taken}


def window_of(tokenizer: Any, model: Any, longest: int | None = None) -> int | None:
    """Tokens that the model can take at once; None: nothing says that there is a limit.

    Args:
        tokenizer: Of the checkpoint.
        model: Loaded.
        longest: What else is known of it.
    """
    lengths = [longest, *(getattr(model.config, name, None) for name in LENGTHS)]
    if tokenizer.model_max_length < UNLIMITED:
        lengths.append(tokenizer.model_max_length)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from behind the one that stands for padding: 514 of them hold 512 tokens.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            lengths.append(module.num_embeddings - module.padding_idx - 1)
    return min((length for length in lengths if isinstance(length, int) and length > 0), default=None)
