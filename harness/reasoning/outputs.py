"""What models wrote in one mode, as columns, as far as it tells of thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import BoolArray, IntArray

EMPTY_BLOCK_TOKENS = 8
"""A model that is told not to think may still write an empty block: two marks (of up to three tokens each, as
in Harmony) and the blank lines between them. That many tokens are not thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOutput:
    """One query's output, as far as it tells of thinking. What is None is not known, and not judged."""

    prompt_id: str
    thinking_tokens: int
    """Marks included."""
    holds_text: bool | None = None
    """Whether its thinking holds any text but marks and blanks; None: not known, the tokens have to say it."""
    cut: bool = False
    """The token cap ended it."""
    forced: bool = False
    """Its thinking was ended at its budget."""
    rendered: str | None = None
    """What the model was given, or a hash of it."""
    text: str | None = None
    """What it wrote, or a hash of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOutputs:
    """Outputs of one mode, one row each; the same numbers mean the same in every mode of a cell. -1: not known."""

    prompt: IntArray
    thinking_tokens: IntArray
    holds_text: IntArray
    """1 or 0."""
    cut: BoolArray
    forced: BoolArray
    rendered: IntArray
    text: IntArray

    def __len__(self) -> int:
        """How many."""
        return len(self.prompt)

    @property
    def thought(self) -> BoolArray:
        """Whether there is more than an empty block."""
        by_tokens = self.thinking_tokens > EMPTY_BLOCK_TOKENS
        thought: BoolArray = self.forced | np.where(self.holds_text < 0, by_tokens, self.holds_text == 1)
        return thought

    def at(self, rows: IntArray | BoolArray) -> ModeOutputs:
        """Some of them."""
        return ModeOutputs(**{name: getattr(self, name)[rows] for name in ModeOutputs.__slots__})


def shared(one: ModeOutputs, other: ModeOutputs) -> tuple[ModeOutputs, ModeOutputs]:
    """The outputs of the prompts that both modes answered, in the order of the first."""
    n = 1 + max(one.prompt.max(initial=-1), other.prompt.max(initial=-1))
    place = np.full(n, -1, dtype=np.int64)
    place[other.prompt] = np.arange(len(other))
    partner = place[one.prompt]
    return one.at(partner >= 0), other.at(partner[partner >= 0])


def as_outputs(by_mode: Mapping[str, Sequence[ModeOutput] | ModeOutputs]) -> dict[str, ModeOutputs]:
    """Every mode's outputs as columns; of modes that are in columns already, all must be."""
    prompts: dict[str, int] = {}
    texts: dict[str, int] = {}

    def code(places: dict[str, int], text: str | None) -> int:
        return -1 if text is None else places.setdefault(text, len(places))

    def columns(outputs: Sequence[ModeOutput]) -> ModeOutputs:
        known = [-1 if each.holds_text is None else int(each.holds_text) for each in outputs]
        return ModeOutputs(
            prompt=np.array([code(prompts, each.prompt_id) for each in outputs], dtype=np.int64),
            thinking_tokens=np.array([each.thinking_tokens for each in outputs], dtype=np.int64),
            holds_text=np.array(known, dtype=np.int64),
            cut=np.array([each.cut for each in outputs], dtype=np.bool_),
            forced=np.array([each.forced for each in outputs], dtype=np.bool_),
            rendered=np.array([code(texts, each.rendered) for each in outputs], dtype=np.int64),
            text=np.array([code(texts, each.text) for each in outputs], dtype=np.int64),
        )

    return {mode: each if isinstance(each, ModeOutputs) else columns(each) for mode, each in by_mode.items()}
