"""What the events of one streamed answer mean: chunks of tokens with their instants, usage, how it ended.

Knows the shapes in which servers say the same thing. Must not know processes, marks or tokenizers.

- Time to first token counts from the first chunk that holds something: a first chunk with a role alone is sent before
  the prompt has been read.
- Usage comes in an event of its own without choices, in the event of the last chunk, with every chunk (the last one
  counts), or not at all.
- Thinking is called `reasoning_content` or `reasoning`.
- A chunk with token ids and without text is one all the same: a mark that the server took out of the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLE_ALONE_S = 0.002
"""What comes within this after the chunk with the role alone was not written by the model, where it is blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some output tokens that came together."""

    time_s: float
    thinking: str = ""
    answer: str = ""
    ids: tuple[int, ...] | None = None
    """Of its tokens; None: the server does not say."""
    n_so_far: int | None = None
    """Output tokens up to this chunk, as the server counts them; None: it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One answer as it came. What the server did not say is None."""

    chunks: tuple[Chunk, ...]
    finish_reason: str | None
    done: bool
    """The end was announced (`[DONE]`)."""
    n_prompt_tokens: int | None
    n_output_tokens: int | None
    n_reasoning_tokens: int | None
    n_cached_tokens: int | None
    duration_queued_s: float | None
    error: str | None
    """What the server said went wrong, although it had begun to answer."""
    begins_with_prompt: bool = False
    """The stream repeated the prompt before the answer; that was left out."""

    @property
    def complete(self) -> bool:
        """Whether the answer came to its end."""
        return self.error is None and (self.done or self.finish_reason is not None)


def read_stream(
    times_s: Sequence[float], data: Sequence[str], *, done: bool = False, prompt_text: str | None = None
) -> Stream:
    """Read the events of one answer.

    Args:
        times_s: When each event came.
        data: The data of each event, without `[DONE]`.
        done: Whether `[DONE]` came.
        prompt_text: The user's message, where the server is one that may repeat it (`transformers serve`).
    """
    reader = _Reader()
    for time_s, text in zip(times_s, data, strict=True):
        reader.take(time_s, text)
    chunks = reader.chunks
    if not chunks and reader.n_output and reader.time_finish_s is not None:
        chunks = [Chunk(time_s=reader.time_finish_s)]  # it ended at once: one token, and that has no text
    kept, repeated = (
        (chunks, False) if prompt_text is None else _without_prompt(chunks, prompt_text, reader.time_role_s)
    )
    return Stream(
        chunks=tuple(kept),
        finish_reason=reader.finish_reason,
        done=done,
        n_prompt_tokens=reader.n_prompt,
        n_output_tokens=reader.n_output,
        n_reasoning_tokens=reader.n_reasoning,
        n_cached_tokens=reader.n_cached,
        duration_queued_s=reader.queued_s,
        error=reader.error,
        begins_with_prompt=repeated,
    )


def words_of_error(said: object) -> str:
    """What a server's error object, or its text, has to say, in one line of moderate length."""
    if isinstance(said, str):
        try:
            parsed = json.loads(said)
        except ValueError:
            parsed = None
        if isinstance(parsed, Mapping | list):
            return words_of_error(parsed)
        return _line(said)
    if isinstance(said, Mapping):
        for name in ("error", "message", "detail"):
            if said.get(name):
                return words_of_error(said[name])
    return _line(json.dumps(said))


class _Reader:
    """Takes events and keeps what they say."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.finish_reason: str | None = None
        self.time_finish_s: float | None = None
        self.time_role_s: float | None = None
        self.n_prompt: int | None = None
        self.n_output: int | None = None
        self.n_reasoning: int | None = None
        self.n_cached: int | None = None
        self.queued_s: float | None = None
        self.error: str | None = None

    def take(self, time_s: float, text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.error = self.error or f"an event that cannot be read: {_line(text)}"
            return
        if event.get("error") or event.get("object") == "error":
            self.error = self.error or words_of_error(event)
            return
        n_so_far = self._take_timings(event.get("timings"))
        n_so_far = self._take_usage(event.get("usage")) or n_so_far
        self._take_metrics(event.get("metrics"))
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._take_choice(time_s, choices[0], n_so_far)

    def _take_choice(self, time_s: float, choice: Mapping[str, Any], n_so_far: int | None) -> None:
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        thinking = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        answer = _text(delta.get("content")) or _text(delta.get("refusal"))
        ids = choice.get("token_ids")
        known = tuple(ids) if isinstance(ids, list) and ids else None
        if thinking or answer or known:
            self.chunks.append(Chunk(time_s=time_s, thinking=thinking, answer=answer, ids=known, n_so_far=n_so_far))
        elif delta.get("role") and self.time_role_s is None:
            self.time_role_s = time_s
        if choice.get("finish_reason"):
            self.finish_reason, self.time_finish_s = str(choice["finish_reason"]), time_s

    def _take_usage(self, usage: object) -> int | None:
        """Usage so far, or at the end. Zero output tokens are no count: some servers send them before they know."""
        if not isinstance(usage, dict):
            return None
        self.n_prompt = _count(usage.get("prompt_tokens")) or self.n_prompt
        n_output = _count(usage.get("completion_tokens")) or None
        self.n_output = n_output or self.n_output
        prompt, output = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        if isinstance(prompt, dict):
            self.n_cached = _or(_count(prompt.get("cached_tokens")), self.n_cached)
        if isinstance(output, dict):
            self.n_reasoning = _or(_count(output.get("reasoning_tokens")), self.n_reasoning)
        self.n_reasoning = _or(_count(usage.get("reasoning_tokens")), self.n_reasoning)
        return n_output

    def _take_timings(self, timings: object) -> int | None:
        """llama.cpp's own account. `prompt_n` is what it computed, and `cache_n` what it had."""
        if not isinstance(timings, dict):
            return None
        n_computed, n_cached = _count(timings.get("prompt_n")), _count(timings.get("cache_n"))
        n_output = _count(timings.get("predicted_n")) or None
        if n_cached is not None and n_computed is not None and n_output is not None:
            self.n_cached = n_cached
            self.n_prompt = self.n_prompt or (n_computed + n_cached) or None
            self.n_output = n_output
        return n_output

    def _take_metrics(self, metrics: object) -> None:
        """vLLM's, where it was started with them."""
        if isinstance(metrics, dict):
            queued_ms = metrics.get("queue_time_ms")
            if isinstance(queued_ms, int | float) and not isinstance(queued_ms, bool) and queued_ms >= 0:
                self.queued_s = queued_ms / 1000


def _without_prompt(
    chunks: Sequence[Chunk], prompt_text: str, time_role_s: float | None
) -> tuple[Sequence[Chunk], bool]:
    """The chunks of the answer, where a server may repeat (the end of) the prompt before it.

    `transformers serve` feeds the prompt to the parser that tells thinking from answer, and sends what comes out of it:
    the prompt's text, or the blank thinking at its end. None of this is output, and it is there before the prompt has
    been read.
    """
    n_skipped = 0
    repeated = bool(chunks) and bool(prompt_text.strip()) and prompt_text.strip() in chunks[0].answer
    if repeated:
        n_skipped = 1
        while n_skipped < len(chunks) and _blank_soon(chunks[n_skipped], chunks[0].time_s):
            n_skipped += 1
    elif time_role_s is not None:
        while n_skipped < len(chunks) and _blank_soon(chunks[n_skipped], time_role_s):
            n_skipped += 1
    return chunks[n_skipped:], repeated


def _blank_soon(chunk: Chunk, time_s: float) -> bool:
    return not (chunk.thinking + chunk.answer).strip() and not chunk.ids and chunk.time_s - time_s <= ROLE_ALONE_S


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _or(value: int | None, other: int | None) -> int | None:
    return other if value is None else value


def _line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 300 else f"{words[:297]}..."
