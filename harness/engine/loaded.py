"""A model that is ready, with what every query needs of it: its token ids, its marks, its ends, its window.

Knows one checkpoint. Must not know prompts, clocks or which mode is which: it is told a mode's switch.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.engine.budget import Budget
from harness.engine.checkpoint import Checkpoint
from harness.engine.marks import Marks
from harness.engine.window import Window
from harness.errors import UsageError
from harness.records import EngineFacts, ModeSwitch


class Loaded:
    """A model on its device."""

    def __init__(self, checkpoint: Checkpoint, marks: Marks, facts: EngineFacts) -> None:
        self.tokenizer = checkpoint.tokenizer
        self.marks = marks
        self.facts = facts
        self.window = Window(checkpoint.model)
        config = checkpoint.model.generation_config
        end = config.eos_token_id
        self.end_ids = frozenset([end] if isinstance(end, int) else end or ())
        known = (config.pad_token_id, self.tokenizer.pad_token_id, *sorted(self.end_ids))
        self.pad_id: int = next((token for token in known if token is not None), 0)

    def is_plain(self, switch: ModeSwitch) -> bool:
        """Whether the model is given bare text in this mode."""
        return not switch.chat_template or not self.tokenizer.chat_template

    def tokenize(self, rendered: str, switch: ModeSwitch) -> list[int]:
        """Token ids; a chat template has already put in the special ones."""
        return list(self.tokenizer(rendered, add_special_tokens=self.is_plain(switch))["input_ids"])

    def closing_ids(self, switch: ModeSwitch) -> list[int]:
        """Token ids of the text that ends this mode's thinking by force; empty: it has no budget.

        Raises:
            UsageError: There is no such text, or it holds a token that ends the whole output.
        """
        if switch.thinking_budget_tokens is None:
            return []
        ids = list(self.tokenizer.encode(switch.budget_end or "", add_special_tokens=False))
        if not ids or self.end_ids & set(ids):
            raise UsageError(
                f"The text {switch.budget_end!r} cannot end this thinking: it is empty, or ends the output too.",
                "Change the family's `budget_end` in models.yaml.",
            )
        return ids

    def budget(self, switch: ModeSwitch, rendered: Sequence[str]) -> Budget | None:
        """What holds a mode's thinking budget over some prompts; None: it has none."""
        if switch.thinking_budget_tokens is None:
            return None
        return Budget(
            n_tokens=switch.thinking_budget_tokens,
            end_ids=self.closing_ids(switch),
            is_open=lambda prompt, ids: not self.end_ids & set(ids) and self.marks.is_open(rendered[prompt], ids),
        )
