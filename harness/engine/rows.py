"""What answers several queries as the rows of one batch, and what each row gives. Must not know torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.records import Asked, EngineFacts, Finding, Generation, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One query of a batch: it is in flight from the batch's start to its own last token."""

    generation: Generation
    times_s: tuple[float, ...]
    """The instant of each of its output tokens, on the session clock."""


class RowEngine(Protocol):
    """An engine that can answer queries together, each with the times of its own tokens."""

    def load(self, mode: str | None = None) -> EngineFacts:
        """Bring the model onto its device and say what was really loaded."""
        ...

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the model is given."""
        ...

    def n_prompt_tokens(self, asked: Asked) -> int:
        """The length of the input, in tokens.

        Raises:
            UsageError: It and the answer do not fit into the context, or the model's template refuses it.
        """
        ...

    def answer_together(self, asked: Sequence[Asked], seed: int) -> tuple[Row, ...]:
        """Answer queries of one mode in one batch, which ends when the last of them has.

        Args:
            asked: In the order of the rows; their own seeds are not looked at.
            seed: Of all their sampling.

        Raises:
            OutOfMemory: So many do not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: A prompt does not fit into the model's context.
        """
        ...

    def warnings(self) -> tuple[Finding, ...]:
        """What was found to be doubted since the last call."""
        ...

    def close(self) -> None:
        """Free the device's memory."""
        ...
