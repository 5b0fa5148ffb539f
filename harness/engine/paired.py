"""Two checkpoints as one subject: one thinks, the other does not, and one of them is resident at a time.

Knows two engines and which modes the second one answers. Must not know what kind of engines they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.errors import UsageError
from harness.protocols import Engine
from harness.records import EngineFacts, Finding, Generation, Prompt


class PairedEngine:
    """An engine over two. `load(mode)` changes over; until then only the resident checkpoint's modes are there."""

    def __init__(self, first: Engine, second: Engine, modes_of_second: Collection[str]) -> None:
        """Take over two engines, neither of them loaded.

        Args:
            first: Answers in every mode but those of the second, and refuses those that nobody knows.
            second: The other checkpoint.
            modes_of_second: Its modes.
        """
        self._first, self._second = first, second
        self._modes_of_second = frozenset(modes_of_second)
        self._resident: Engine | None = None

    def ready(self, mode: str) -> bool:
        """Whether the checkpoint that answers in `mode` is the resident one."""
        engine = self._of(mode)
        return self._resident is engine and engine.ready(mode)

    def load(self, mode: str | None = None) -> EngineFacts:
        """Free the resident checkpoint's memory and load the one that answers in `mode`; None: the first.

        Raises:
            HarnessError: What its engine raises; then neither is resident.
        """
        self.close()
        engine = self._first if mode is None else self._of(mode)
        facts = engine.load(mode)
        self._resident = engine
        return facts

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the resident checkpoint is given for `prompt` in `mode`.

        Raises:
            UsageError: `mode` is the other one's.
        """
        return self._resident_for(mode).render(prompt, mode)

    def generate(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, *, n_forced_tokens: int | None = None
    ) -> Generation:
        """Answer one prompt, in exactly `n_forced_tokens` where that is given.

        Raises:
            UsageError: `mode` is the other checkpoint's, or the prompt does not fit into the context.
            CellFailed: As its engine says.
        """
        engine = self._resident_for(mode)
        return engine.generate(prompt, mode, max_new_tokens, seed, n_forced_tokens=n_forced_tokens)

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int, *, batch_size: int
    ) -> tuple[Generation, ...]:
        """Answer several prompts, at most `batch_size` at once.

        Raises:
            UsageError: `mode` is the other checkpoint's, or a prompt does not fit into the context.
            CellFailed: As its engine says.
        """
        return self._resident_for(mode).generate_batch(prompts, mode, max_new_tokens, seed, batch_size=batch_size)

    def warnings(self) -> tuple[Finding, ...]:
        """What both have to say since the last call."""
        return (*self._first.warnings(), *self._second.warnings())

    def close(self) -> None:
        """Free the device's memory."""
        resident, self._resident = self._resident, None
        if resident is not None:
            resident.close()

    def _of(self, mode: str) -> Engine:
        return self._second if mode in self._modes_of_second else self._first

    def _resident_for(self, mode: str) -> Engine:
        engine = self._of(mode)
        if engine is not self._resident:
            raise UsageError(
                f"The checkpoint that answers in mode {mode!r} is not loaded.",
                f"Call `load({mode!r})` first; one checkpoint of a pair is resident at a time.",
            )
        return engine
