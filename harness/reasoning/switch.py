"""How one family of models is switched between thinking and not, and where its thinking stands in an output.

Knows marks and token positions. Must not know tokenizers, models or engines: an engine renders the prompt and
turns the marks into token ids.

Where the thinking stands. It runs from the first opening mark to the **last** closing mark, and a model that
thinks in several blocks has one span over all of them: a phase is one stretch of time, and what such a model
says between two blocks is not its answer (the answer is what follows the last block, which is also what a
scorer reads). A block opened after the last closing mark was never closed, and then neither was the thinking.

An output that closes a thinking which neither it nor the prompt had opened was thinking from its first token
on: models whose template opens the thinking elsewhere do this. Where the prompt had closed the thinking
beforehand (an empty block), a stray closing mark means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UnknownName, UsageError
from harness.records import ModeSwitch, ReasoningSpec, ThinkingSpan

CANONICAL_ORDER = ("off", "on", "low", "medium", "high", "default")
"""The order in which modes are listed, run and compared; other names follow in the order of their file."""

NATURAL = ReasoningSpec(modes={"default": ModeSwitch()})
"""A model about whose thinking nothing is known: it has one mode, and no marks."""


class FamilyReasoning:
    """The reasoning of a family of models, as its entry in models.yaml describes it."""

    def __init__(self, spec: ReasoningSpec | None) -> None:
        """Take over a description; None stands for a model with one natural mode, `default`.

        Raises:
            UsageError: No mode at all, or an opening mark without a closing one.
        """
        self._spec = spec or NATURAL
        if not self._spec.modes:
            raise UsageError("A model's reasoning has no modes.", "Name at least one mode in models.yaml.")
        if (self._spec.thinking_start or self._spec.starts_inside_thinking) and not self._spec.thinking_end:
            raise UsageError(
                "A model's thinking has a beginning and no closing mark.",
                "Set `thinking_end` beside `thinking_start` in models.yaml.",
            )

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that this model has, `off` first."""
        known = [mode for mode in CANONICAL_ORDER if mode in self._spec.modes]
        return (*known, *(mode for mode in self._spec.modes if mode not in CANONICAL_ORDER))

    def switch(self, mode: str) -> ModeSwitch:
        """How `mode` is asked for.

        Raises:
            UnknownName: The model does not have this mode.
        """
        if mode not in self._spec.modes:
            raise UnknownName("mode", mode, self._spec.modes)
        return self._spec.modes[mode]

    @property
    def marks(self) -> tuple[str, str] | None:
        """The texts that open and close the thinking; None: the model has no thinking.

        The opening one is "" for a model that never writes it.
        """
        if self._spec.thinking_end is None:
            return None
        return self._spec.thinking_start or "", self._spec.thinking_end

    def span(
        self, rendered_prompt: str, ids: Sequence[int], start_ids: Sequence[int], end_ids: Sequence[int]
    ) -> ThinkingSpan | None:
        """Where the thinking lies in the output `ids`; None: there is none.

        Args:
            rendered_prompt: What the model was given; it may end inside an open thinking.
            ids: Output token ids.
            start_ids: Token ids of the opening mark; empty where the model never writes it.
            end_ids: Token ids of the closing mark.
        """
        if self.marks is None or not ids:
            return None
        starts, ends = _places(ids, start_ids), _places(ids, end_ids)
        opened, closed_before = self._left_open_by(rendered_prompt), self._closed_by(rendered_prompt)
        if opened or (ends and not closed_before and (not starts or ends[0] < starts[0])):
            start = 0
        elif starts:
            start = starts[0]
        else:
            return None
        last_end = max((place for place in ends if place >= start), default=None)
        if last_end is None or any(place > last_end for place in starts):
            return ThinkingSpan(start=start, end=len(ids), closed=False)
        end = last_end + len(end_ids)
        if end == len(end_ids) and not opened:
            return None  # a closing mark, nothing before it, and no opening one: there was no thinking
        return ThinkingSpan(start=start, end=end, closed=True)

    def _left_open_by(self, rendered_prompt: str) -> bool:
        """Whether the prompt ends inside an open thinking.

        The last opening mark must be the prompt's last words, or belong to what a mode appends to the prompt:
        a mark that a user or a system prompt merely mentions opens nothing.
        """
        start_mark, end_mark = self.marks or ("", "")
        if not start_mark:
            return self._spec.starts_inside_thinking and not self._closed_by(rendered_prompt)
        begin = rendered_prompt.rfind(start_mark)
        if begin < 0 or rendered_prompt.rfind(end_mark) > begin:
            return False
        tail = rendered_prompt[begin:]
        prefixes = (switch.assistant_prefix for switch in self._spec.modes.values())
        appended = any(
            start_mark in prefix and rendered_prompt.endswith(prefix) and len(tail) <= len(prefix)
            for prefix in prefixes
        )
        return appended or not tail[len(start_mark) :].strip()

    def _closed_by(self, rendered_prompt: str) -> bool:
        """Whether the prompt's last mark is a closing one."""
        start_mark, end_mark = self.marks or ("", "")
        last_start = rendered_prompt.rfind(start_mark) if start_mark else -1
        return bool(end_mark) and rendered_prompt.rfind(end_mark) > last_start


def _places(ids: Sequence[int], mark: Sequence[int]) -> list[int]:
    """Every position at which `mark` stands in `ids`; none for an empty mark."""
    if not mark:
        return []
    width, wanted = len(mark), list(mark)
    first = wanted[0]
    return [
        place
        for place in range(len(ids) - width + 1)
        if ids[place] == first and list(ids[place : place + width]) == wanted
    ]
