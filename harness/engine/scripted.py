"""An engine without a model: it says and lasts what a script tells it to. For demonstrations and tests.

It keeps to the same contract as an engine with a model, so that everything behind it can be tried without torch
and, on a manual clock, without waiting: it sleeps on the session clock as long as each phase is said to take, and
reports the instants that the clock then shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError, UsageError
from harness.protocols import Clock, Reasoning
from harness.records import EngineFacts, Finding, Generation, Phase, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One query as the script has it. The first token is there when the prefill ends.

    `n_thinking_tokens` includes the marks. A cap cuts the thinking first to last, then the answer.
    """

    duration_prefill_s: float = 0.05
    duration_token_s: float = 0.01
    n_prompt_tokens: int = 16
    n_thinking_tokens: int = 0
    n_answer_tokens: int = 8
    thinking: str = ""
    answer: str = "42"


Script = Callable[[Prompt, str, int], Turn]
"""Prompt, mode and seed to what happens."""


def steady(thinking: Turn, without: Turn) -> Script:
    """The same turn for every prompt: one for the modes that think, one for `off`."""
    return lambda _prompt, mode, _seed: without if mode == "off" else thinking


def in_order(turns: Sequence[Turn]) -> Script:
    """One turn after the other, whatever is asked, and from the beginning again after the last.

    Raises:
        UsageError: No turns.
    """
    if not turns:
        raise UsageError("An empty script.", "Give it at least one turn.")
    n_played = 0

    def play(_prompt: Prompt, _mode: str, _seed: int) -> Turn:
        nonlocal n_played
        n_played += 1
        return turns[(n_played - 1) % len(turns)]

    return play


class ScriptedEngine:
    """Plays a script on a clock."""

    def __init__(
        self,
        *,
        clock: Clock,
        reasoning: Reasoning,
        script: Script,
        errors: Mapping[int, HarnessError] | None = None,
        duration_load_s: float = 0.0,
        device_uuids: tuple[str, ...] = (),
        context_length: int | None = None,
        doubts: tuple[Finding, ...] = (),
    ) -> None:
        """Take over the script.

        Args:
            clock: The session's; loading and every phase sleep on it.
            reasoning: The modes that the model pretends to have, and its marks.
            script: What happens.
            errors: Query number (from 0, in the order of the calls) to the error it ends in, after its prefill.
            duration_load_s: How long loading takes.
            device_uuids: Boards that the model pretends to be on.
            context_length: In tokens; None: anything fits.
            doubts: What the first call of `warnings()` returns.
        """
        self._clock = clock
        self._reasoning = reasoning
        self._script = script
        self._errors = dict(errors or {})
        self._duration_load_s = duration_load_s
        self._device_uuids = device_uuids
        self._context_length = context_length
        self._doubts = doubts
        self._n_queries = 0

    def ready(self, mode: str) -> bool:  # noqa: ARG002 - one model answers in all modes
        """Whether the model that answers in `mode` is loaded."""
        return True

    def load(self, mode: str | None = None) -> EngineFacts:  # noqa: ARG002 - one model answers in all modes
        """Take the time that loading is said to take."""
        self._sleep(self._duration_load_s)
        return EngineFacts(
            device_name="scripted",
            device_uuids=self._device_uuids,
            revision="0" * 40,
            n_parameters=1,
            bytes_per_parameter=4.0,
            executed_precision="float32",
            requested_precision="float32",
            layer_classes={},
            attention="none",
            context_length=self._context_length,
            weights_format="none",
            generation_config={},
        )

    def render(self, prompt: Prompt, mode: str) -> str:
        """The prompt, with whatever the mode's switch adds around it."""
        switch = self._reasoning.switch(mode)
        keywords = json.dumps(switch.template, sort_keys=True) if switch.template else ""
        head = "".join(f"<|system|>{part}" for part in (switch.system, keywords) if part)
        return f"{head}<|user|>{prompt.text}<|assistant|>{switch.assistant_prefix}"

    def generate(self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int) -> Generation:
        """Play one query.

        Raises:
            UsageError: The prompt does not fit into the context.
            HarnessError: The error that the script has for this query.
        """
        rendered = self.render(prompt, mode)
        turn = self._script(prompt, mode, seed)
        self._check_fit(prompt, turn, max_new_tokens)
        error = self._errors.get(self._n_queries)
        self._n_queries += 1
        n_thinking = min(turn.n_thinking_tokens, max_new_tokens)
        n_answer = min(turn.n_answer_tokens, max_new_tokens - n_thinking)
        cut = n_thinking + n_answer < turn.n_thinking_tokens + turn.n_answer_tokens
        edges_s = [self._clock.now_s(), self._sleep(turn.duration_prefill_s)]
        if error is not None:
            raise error
        names = ["prefill"]
        for name, n_tokens in (("thinking", n_thinking), ("answer", n_answer)):
            if n_tokens:
                # The first token of all was there when the prefill ended.
                n_more = n_tokens - (len(names) == 1)
                edges_s.append(self._sleep(n_more * turn.duration_token_s))
                names.append(name)
        thinking = _kept(turn.thinking, n_thinking, turn.n_thinking_tokens)
        answer = _kept(turn.answer, n_answer, turn.n_answer_tokens)
        return Generation(
            phases=tuple(
                Phase(name=name, time_start_s=start_s, time_end_s=end_s)
                for name, start_s, end_s in zip(names, edges_s[:-1], edges_s[1:], strict=True)
            ),
            sizes={
                "prompt_tokens": turn.n_prompt_tokens,
                "thinking_tokens": n_thinking,
                "answer_tokens": n_answer,
                "output_tokens": n_thinking + n_answer,
            },
            finish_reason="length" if cut else "stop",
            text=self._text(thinking, answer, closed=n_thinking == turn.n_thinking_tokens),
            thinking=thinking,
            answer=answer,
            rendered_prompt=rendered,
        )

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int
    ) -> tuple[Generation, ...]:
        """Answer several prompts at once."""
        raise NotImplementedError

    def warnings(self) -> tuple[Finding, ...]:
        """The doubts it was given, once."""
        doubts, self._doubts = self._doubts, ()
        return doubts

    def close(self) -> None:
        """Nothing to free."""

    def _sleep(self, duration_s: float) -> float:
        """Sleep on the session clock; the instant afterwards."""
        self._clock.sleep_until(self._clock.now_s() + duration_s)
        return self._clock.now_s()

    def _check_fit(self, prompt: Prompt, turn: Turn, max_new_tokens: int) -> None:
        limit = self._context_length
        if limit is not None and turn.n_prompt_tokens + max_new_tokens > limit:
            raise UsageError(
                f"Prompt {prompt.prompt_id} has {turn.n_prompt_tokens} tokens; with a cap of {max_new_tokens} new ones "
                f"it does not fit into the context of {limit} tokens.",
                "Lower `--max-new-tokens`, or drop the prompt.",
            )

    def _text(self, thinking: str, answer: str, *, closed: bool) -> str:
        """The whole output, marks included."""
        marks = self._reasoning.marks
        if not thinking or marks is None:
            return answer
        return f"{marks[0]}{thinking}{marks[1] if closed else ''}{answer}"


def _kept(text: str, n_tokens: int, n_wanted: int) -> str:
    """As much of a text as the cap left of its tokens."""
    return text if n_tokens == n_wanted else text[: len(text) * n_tokens // n_wanted]
