"""An engine without a model: it says and lasts what a script tells it to. For demonstrations and tests.

It keeps to the same contract as an engine with a model, so that everything behind it can be tried without torch
and, on a manual clock, without waiting: it sleeps on the session clock as long as each phase is said to take, and
reports the instants that the clock then shows.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.engine.rows import Row
from harness.engine.timing import lay_out_phases
from harness.errors import HarnessError, OutOfMemory, UsageError
from harness.protocols import Clock, Reasoning
from harness.records import Asked, EngineFacts, Finding, Generation, Phase, Prompt, ThinkingSpan

CLOSING_TOKENS = 2
"""Tokens of thinking that a forced end takes beyond the budget: a line break and the closing mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One query as the script has it. The first token is there when the prefill ends.

    `n_thinking_tokens` includes the marks. A cap cuts the thinking first to last, then the answer; a budget cuts the
    thinking alone, and its end is forced.
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
        largest_batch: int | None = None,
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
            largest_batch: Prompts at once beyond which it runs out of memory; None: it never does.
        """
        self._clock = clock
        self._reasoning = reasoning
        self._script = script
        self._errors = dict(errors or {})
        self._duration_load_s = duration_load_s
        self._device_uuids = device_uuids
        self._context_length = context_length
        self._doubts = doubts
        self._largest_batch = largest_batch
        self._n_queries = 0
        self._loaded = False

    def ready(self, mode: str) -> bool:  # noqa: ARG002 - one model answers in all modes
        """Whether the model that answers in `mode` is loaded."""
        return self._loaded

    def load(self, mode: str | None = None) -> EngineFacts:  # noqa: ARG002 - one model answers in all modes
        """Take the time that loading is said to take."""
        self._sleep(self._duration_load_s)
        self._loaded = True
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
        text = f"{switch.prompt_prefix}{prompt.text}"
        if not switch.chat_template:
            return f"{text}{switch.assistant_prefix}"
        keywords = json.dumps(switch.template, sort_keys=True) if switch.template else ""
        head = "".join(f"<|system|>{part}" for part in (switch.system, keywords) if part)
        return f"{head}<|user|>{text}<|assistant|>{switch.assistant_prefix}"

    def generate(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, *, n_forced_tokens: int | None = None
    ) -> Generation:
        """Play one query, in exactly `n_forced_tokens` where that is given.

        Raises:
            UsageError: The prompt does not fit into the context.
            HarnessError: The error that the script has for this query.
        """
        play = self._play(prompt, mode, max_new_tokens, seed, n_forced_tokens)
        error = self._next_error()
        edges_s = [self._clock.now_s(), self._sleep(play.turn.duration_prefill_s)]
        if error is not None:
            raise error
        names = ["prefill"]
        for name, n_tokens in (("thinking", play.n_thinking), ("answer", play.n_answer)):
            if n_tokens:
                # The first token of all was there when the prefill ended.
                n_more = n_tokens - (len(names) == 1)
                edges_s.append(self._sleep(n_more * play.turn.duration_token_s))
                names.append(name)
        return self._generation(
            play,
            tuple(
                Phase(name=name, time_start_s=start_s, time_end_s=end_s)
                for name, start_s, end_s in zip(names, edges_s[:-1], edges_s[1:], strict=True)
            ),
        )

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int, *, batch_size: int
    ) -> tuple[Generation, ...]:
        """Play several queries, at most `batch_size` at once: the next one begins as soon as one has ended.

        Raises:
            UsageError: A prompt does not fit into the context.
            OutOfMemory: `batch_size` of them do not fit.
            HarnessError: The error that the script has for one of them.
        """
        if self._largest_batch is not None and batch_size > self._largest_batch:
            raise OutOfMemory(f"{batch_size} prompts at once are too many.", "Lower `--batch-size`.")
        plays = [self._play(prompt, mode, max_new_tokens, seed) for prompt in prompts]
        errors = [self._next_error() for _ in prompts]
        time_start_s = self._clock.now_s()
        rows_s = [0.0] * min(batch_size, len(plays))
        for play in plays:
            heapq.heapreplace(rows_s, rows_s[0] + play.duration_s)
        time_end_s = self._sleep(max(rows_s, default=0.0))
        for error in errors:
            if error is not None:
                raise error
        phase = Phase(name="batch", time_start_s=time_start_s, time_end_s=time_end_s)
        return tuple(self._generation(play, (phase,)) for play in plays)

    def n_prompt_tokens(self, asked: Asked) -> int:
        """The length of the input, in tokens.

        Raises:
            UsageError: The prompt does not fit into the context.
        """
        return self._play(
            asked.prompt, asked.mode, asked.max_new_tokens, asked.seed, asked.n_forced_tokens
        ).turn.n_prompt_tokens

    def answer_together(self, asked: Sequence[Asked], seed: int) -> tuple[Row, ...]:  # noqa: ARG002 - plays by each own
        """Play several queries as the rows of one batch: its prefill and its steps last as long as the slowest row's.

        Raises:
            UsageError: A prompt does not fit into the context.
            OutOfMemory: So many of them do not fit.
            HarnessError: The error that the script has for one of them.
        """
        if self._largest_batch is not None and len(asked) > self._largest_batch:
            raise OutOfMemory(f"{len(asked)} prompts at once are too many.", "Lower `--batch-size`.")
        plays = [
            self._play(each.prompt, each.mode, each.max_new_tokens, each.seed, each.n_forced_tokens) for each in asked
        ]
        error = next((error for error in [self._next_error() for _ in asked] if error is not None), None)
        time_start_s = self._clock.now_s()
        times_s = [self._sleep(max(play.turn.duration_prefill_s for play in plays))]
        if error is not None:
            raise error
        duration_step_s = max(play.turn.duration_token_s for play in plays)
        while len(times_s) < max(play.n_tokens for play in plays):
            times_s.append(self._sleep(duration_step_s))
        rows = []
        for play in plays:
            own_s = tuple(times_s[: play.n_tokens])
            span = ThinkingSpan(start=0, end=play.n_thinking, closed=play.closed) if play.n_thinking else None
            phases = lay_out_phases(time_start_s, own_s, own_s[-1] if own_s else times_s[0], span)
            rows.append(Row(generation=self._generation(play, phases), times_s=own_s))
        return tuple(rows)

    def warnings(self) -> tuple[Finding, ...]:
        """The doubts it was given, once."""
        doubts, self._doubts = self._doubts, ()
        return doubts

    def close(self) -> None:
        """Forget that anything was loaded."""
        self._loaded = False

    def _play(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, n_forced_tokens: int | None = None
    ) -> _Play:
        """What a query's turn comes to under its budget and its cap, or in the length that is forced."""
        max_new_tokens = max_new_tokens if n_forced_tokens is None else n_forced_tokens
        rendered = self.render(prompt, mode)
        turn = self._script(prompt, mode, seed)
        self._check_fit(prompt, turn, max_new_tokens)
        budget = self._reasoning.switch(mode).thinking_budget_tokens
        over = budget is not None and turn.n_thinking_tokens > budget
        n_wanted = budget + CLOSING_TOKENS if over and budget is not None else turn.n_thinking_tokens
        n_thinking = min(n_wanted, max_new_tokens)
        n_answer = max_new_tokens - n_thinking
        if n_forced_tokens is None:
            n_answer = min(turn.n_answer_tokens, n_answer)
        return _Play(
            rendered=rendered,
            turn=turn,
            n_thinking=n_thinking,
            n_answer=n_answer,
            cut=n_thinking + n_answer < n_wanted + turn.n_answer_tokens,
            forced_length=n_forced_tokens is not None,
            closed=n_thinking == n_wanted,
            forced=over and budget is not None and max_new_tokens > budget,
        )

    def _next_error(self) -> HarnessError | None:
        self._n_queries += 1
        return self._errors.get(self._n_queries - 1)

    def _generation(self, play: _Play, phases: tuple[Phase, ...]) -> Generation:
        turn = play.turn
        thinking = _kept(turn.thinking, play.n_thinking, turn.n_thinking_tokens)
        answer = _kept(turn.answer, play.n_answer, turn.n_answer_tokens)
        return Generation(
            phases=phases,
            sizes={
                "prompt_tokens": turn.n_prompt_tokens,
                "thinking_tokens": play.n_thinking,
                "answer_tokens": play.n_answer,
                "output_tokens": play.n_thinking + play.n_answer,
            },
            finish_reason=play.finish_reason,
            text=self._text(thinking, answer, closed=play.closed),
            thinking=thinking,
            answer=answer,
            rendered_prompt=play.rendered,
            forced_end=play.forced,
        )

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Play:
    """A turn as it comes out: tokens that are left, whether the cap cut any, whether length or end were forced."""

    rendered: str
    turn: Turn
    n_thinking: int
    n_answer: int
    cut: bool
    forced_length: bool
    closed: bool
    forced: bool

    @property
    def n_tokens(self) -> int:
        """Of the whole output."""
        return self.n_thinking + self.n_answer

    @property
    def finish_reason(self) -> str:
        """Why the output ended."""
        if self.forced_length:
            return "forced"
        return "length" if self.cut else "stop"

    @property
    def duration_s(self) -> float:
        """From the start to the last token, the first of which is there when the prefill ends."""
        n_more = max(self.n_tokens - 1, 0)
        return self.turn.duration_prefill_s + n_more * self.turn.duration_token_s


def _kept(text: str, n_tokens: int, n_wanted: int) -> str:
    """As much of a text as cap and budget left of its tokens."""
    return text if n_tokens >= n_wanted else text[: len(text) * n_tokens // n_wanted]
