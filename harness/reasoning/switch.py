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

import re
from collections.abc import Iterable, Sequence

from harness.errors import UnknownName, UsageError
from harness.records import ModeSwitch, ReasoningSpec, ThinkingSpan

CANONICAL_ORDER = ("off", "budget", "low", "medium", "high", "on", "default")
"""The order in which modes are listed, run and compared: from no thinking to as much as the model likes. Budgets
stand together, small ones first; other names follow in the order in which they came."""

_BUDGET = re.compile(r"budget:([1-9][0-9]*)")

NATURAL = ReasoningSpec(modes={"default": ModeSwitch()})
"""A model about whose thinking nothing is known: it has one mode, and no marks."""


class FamilyReasoning:
    """The reasoning of a family of models, as its entry in models.yaml describes it."""

    def __init__(self, spec: ReasoningSpec | None) -> None:
        """Take over a description; None stands for a model with one natural mode, `default`.

        Raises:
            UsageError: No mode at all, an opening mark without a closing one, or a `budget_end` that closes nothing.
        """
        self._spec = spec or NATURAL
        if not self._spec.modes:
            raise UsageError("A model's reasoning has no modes.", "Name at least one mode in models.yaml.")
        if (self._spec.thinking_start or self._spec.starts_inside_thinking) and not self._spec.thinking_end:
            raise UsageError(
                "A model's thinking has a beginning and no closing mark.",
                "Set `thinking_end` beside `thinking_start` in models.yaml.",
            )
        if (self._spec.thinking_end or "") not in budget_end(self._spec):
            raise UsageError(
                f"budget_end {self._spec.budget_end!r} does not hold thinking_end {self._spec.thinking_end!r}.",
                "Put the closing mark into it in models.yaml; a budget has to end the thinking.",
            )

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that this model has by name, `off` first. Budgets are not listed; see `takes_budgets`."""
        return canonical(self._spec.modes)

    @property
    def takes_budgets(self) -> bool:
        """Whether `budget:N` is a mode: there is a mode to cut short, and a mark that closes the thinking."""
        return self._spec.thinking_end is not None and self._spec.budget_mode in self._spec.modes

    def allows(self, mode: str) -> bool:
        """Whether the model has `mode`, a budget included."""
        return mode in self._spec.modes or (self.takes_budgets and budget_of(mode) is not None)

    def switch(self, mode: str) -> ModeSwitch:
        """How `mode` is asked for. A budget is its base mode, with the text that ends the thinking.

        Raises:
            UnknownName: The model does not have this mode.
            UsageError: A budget that is not a whole number of tokens above 0.
        """
        if mode in self._spec.modes:
            switch = self._spec.modes[mode]
        elif self.takes_budgets and mode.startswith("budget:"):
            switch = self._budget_switch(mode)
        else:
            raise UnknownName("mode", mode, self._spec.modes, self._on_budgets(mode))
        if switch.thinking_budget_tokens is not None and switch.budget_end is None:
            switch = switch.model_copy(update={"budget_end": budget_end(self._spec)})
        return switch

    def _budget_switch(self, mode: str) -> ModeSwitch:
        n_tokens = budget_of(mode)
        if n_tokens is None:
            raise UsageError(
                f"{mode!r} is not a thinking budget.", "Give a whole number of tokens above 0, such as budget:256."
            )
        return self._spec.modes[self._spec.budget_mode or ""].model_copy(update={"thinking_budget_tokens": n_tokens})

    def _on_budgets(self, mode: str) -> str:
        if self.takes_budgets:
            return " Thinking can also be ended by force after N tokens: `budget:N`."
        if mode.startswith("budget"):
            return " Budgets are for models whose thinking is known by its marks; see `harness models`."
        return ""

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


def budget_of(mode: str) -> int | None:
    """N of a mode `budget:N`; None: it is another mode."""
    found = _BUDGET.fullmatch(mode)
    return int(found.group(1)) if found else None


def budget_end(spec: ReasoningSpec) -> str:
    """The text that ends the thinking by force."""
    return spec.budget_end or f"\n{spec.thinking_end or ''}\n\n"


def canonical(modes: Iterable[str]) -> tuple[str, ...]:
    """Modes in the order in which they are listed, run and compared, each once."""

    def place(mode: str) -> tuple[int, int]:
        n_tokens = budget_of(mode)
        name = mode if n_tokens is None else "budget"
        return CANONICAL_ORDER.index(name) if name in CANONICAL_ORDER else len(CANONICAL_ORDER), n_tokens or 0

    return tuple(sorted(dict.fromkeys(modes), key=place))


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
