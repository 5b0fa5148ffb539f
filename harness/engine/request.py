"""What is asked in one batch, made ready before the window opens, and what each row's output means afterwards.

Knows token ids, lengths and marks. Must not know time, or how a model is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.engine.budget import Budget
from harness.engine.lengths import LeastTokens, MostTokens
from harness.engine.loaded import Loaded
from harness.records import Generation, Phase, ThinkingSpan


@dataclass(frozen=True, slots=True)
class Request:
    """By row: its text, its ids, its most and fewest new tokens. Which rows have forced lengths; the budget of all."""

    rendered: list[str]
    rows: list[list[int]]
    n_most: list[int]
    n_least: list[int]
    forced: frozenset[int]
    budget: Budget | None

    @property
    def n_input_tokens(self) -> int:
        """Length of the input, padding included."""
        return max(len(row) for row in self.rows)

    def settings(self, loaded: Loaded) -> dict[str, Any]:
        """Keywords that hold the lengths: those of `generate` itself where all rows have the same, else by row."""
        settings: dict[str, Any] = {"max_new_tokens": max(self.n_most)}
        if len(self.rows) > 1:
            settings |= {"pad_token_id": loaded.pad_id, "pad_id": loaded.pad_id}
        if len(set(self.n_least)) > 1:
            settings["least"] = LeastTokens(self.n_least, self.n_input_tokens, loaded.end_ids)
        elif self.n_least[0]:
            settings["min_new_tokens"] = self.n_least[0]
        if len(set(self.n_most)) > 1:
            settings["stopping_criteria"] = [MostTokens(self.n_most, self.n_input_tokens)]
        return settings

    def span(self, loaded: Loaded, row: int, ids: list[int]) -> ThinkingSpan | None:
        """Where a row's thinking lies. Where its end was forced it is over, whatever the model writes afterwards."""
        budget = self.budget
        held = ids[: budget.n_held_tokens] if budget and budget.was_forced(row, len(ids)) else ids
        return loaded.marks.span(self.rendered[row], held)

    def generation(self, loaded: Loaded, row: int, ids: list[int], phases: tuple[Phase, ...]) -> Generation:
        """One row's output: what of it was thinking, and why it ended. The answer follows the last closing mark."""
        rendered = self.rendered[row]
        span = self.span(loaded, row, ids)
        n_thinking = span.end if span else 0
        thinking, _ = loaded.marks.split(ids, span)
        _, answer = loaded.marks.split(ids, loaded.marks.span(rendered, ids))
        whole = len(ids) >= self.n_most[row]
        reason = "length" if whole and ids[-1] not in loaded.end_ids else "stop"
        return Generation(
            phases=phases,
            sizes={
                "prompt_tokens": len(self.rows[row]),
                "thinking_tokens": n_thinking,
                "answer_tokens": len(ids) - n_thinking,
                "output_tokens": len(ids),
            },
            finish_reason="forced" if whole and row in self.forced else reason,
            text=loaded.tokenizer.decode(ids, skip_special_tokens=True),
            thinking=thinking,
            answer=answer,
            rendered_prompt=rendered,
            forced_end=self.budget is not None and self.budget.was_forced(row, len(ids)),
        )
