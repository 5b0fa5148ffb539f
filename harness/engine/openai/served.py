"""From the report of one query to its `Served`: timeline, latencies, and the generation with its phases.

Knows streams, counts and marks. Must not know processes or the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engine.openai.counting import Counts, count_chunks
from harness.engine.openai.dialect import Dialect
from harness.engine.openai.faults import fault_of
from harness.engine.openai.rendering import Rendered
from harness.engine.openai.stream import Stream, read_stream
from harness.engine.openai.thinking import Split, count_thinking, ends_inside_a_chunk, split_stream
from harness.engine.openai.tokenizer import NamedTokenizer
from harness.engine.timing import lay_out_phases
from harness.protocols import Reasoning
from harness.records import Asked, Finding, FindingCode, Generation, Served, Service, ThinkingSpan, Timeline

SPECIAL_AT_END = re.compile(r"(?<!\s)(?:\s*+(?:<\|[^<>|]{1,32}\|>|</s>|<eos>|<end_of_turn>))+\s*$")
"""What `transformers serve` leaves at the end of an answer."""
REASONING_SLACK_SHARE, REASONING_SLACK = 0.2, 3
"""A server's count of thinking tokens is believed where it is not farther than this from what its chunks say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the reports of one session's queries."""

    session: int
    origin_monotonic_s: float
    dialect: Dialect
    reasoning: Reasoning
    prompt_cache: str
    tokenizer: NamedTokenizer | None

    def served(self, asked: Asked, rendered: Rendered, event: Mapping[str, Any]) -> tuple[Served, Stream]:
        """One query's result, and the stream that it was read from.

        Args:
            asked: The query.
            rendered: What the model was given for it.
            event: The load generator's `ended`.
        """
        prompt_text = asked.prompt.text if self.dialect.repeats_prompt else None
        stream = read_stream(event["times_s"], event["data"], done=event["done"], prompt_text=prompt_text)
        fault = fault_of(event, stream)
        split = split_stream(stream, self.reasoning, asked.mode, rendered.text if rendered.known else None)
        counts = count_chunks(stream, self._count_output(stream, split))
        findings = [fault] if fault else self._findings(asked, stream, counts)
        timeline = self._timeline(asked, rendered, event, stream, counts)
        generation = None
        if fault is None:
            n_thinking, doubts = self._thinking_tokens(stream, counts, split)
            findings += doubts
            generation = self._generation(asked, rendered, stream, counts, split, timeline, n_thinking)
        service = _service(event["status"], stream, counts, timeline)
        served = Served(
            asked=asked, generation=generation, timeline=timeline, service=service, findings=tuple(findings)
        )
        return served, stream

    def _timeline(
        self, asked: Asked, rendered: Rendered, event: Mapping[str, Any], stream: Stream, counts: Counts
    ) -> Timeline:
        sent_s = event["time_sent_s"] - self.origin_monotonic_s
        times_s, n_tokens = _merged([chunk.time_s for chunk in stream.chunks], counts.n_chunk_tokens)
        times_s = [time_s - self.origin_monotonic_s for time_s in times_s]
        first_s = times_s[0] if times_s else None
        end_s = max(event["time_end_s"] - self.origin_monotonic_s, times_s[-1] if times_s else sent_s, sent_s)
        start_s = min(sent_s + (stream.duration_queued_s or 0.0), first_s if first_s is not None else end_s)
        return Timeline(
            session=self.session,
            number=asked.number,
            prompt_id=asked.prompt.prompt_id,
            mode=asked.mode,
            time_sent_s=sent_s,
            time_start_s=start_s,
            time_first_token_s=first_s,
            time_end_s=end_s,
            n_prompt_tokens=self._prompt_tokens(stream, rendered),
            n_cached_tokens=stream.n_cached_tokens,
            time_chunk_s=tuple(times_s),
            n_chunk_tokens=tuple(n_tokens),
        )

    def _generation(
        self,
        asked: Asked,
        rendered: Rendered,
        stream: Stream,
        counts: Counts,
        split: Split,
        timeline: Timeline,
        n_thinking: int,
    ) -> Generation:
        sizes = {}
        if timeline.n_prompt_tokens is not None:
            sizes["prompt_tokens"] = timeline.n_prompt_tokens
        if counts.n_output_tokens is not None:
            sizes["thinking_tokens"] = n_thinking
            sizes["answer_tokens"] = counts.n_output_tokens - n_thinking
            sizes["output_tokens"] = counts.n_output_tokens
        span = ThinkingSpan(start=0, end=split.n_thinking_chunks, closed=split.closed)
        chunk_times_s = tuple(chunk.time_s - self.origin_monotonic_s for chunk in stream.chunks)
        answer = SPECIAL_AT_END.sub("", split.answer) if self.dialect.repeats_prompt else split.answer
        return Generation(
            phases=lay_out_phases(
                timeline.time_start_s, chunk_times_s, timeline.time_end_s, span if split.n_thinking_chunks else None
            ),
            sizes=dict(sizes),
            finish_reason=_finish_reason(stream, counts, asked),
            text=split.text,
            thinking=split.thinking,
            answer=answer,
            rendered_prompt=rendered.text,
        )

    def _findings(self, asked: Asked, stream: Stream, counts: Counts) -> list[Finding]:
        findings = []
        n_output = counts.n_output_tokens
        if stream.n_output_tokens is None and self.tokenizer is not None:
            findings.append(Finding(code=FindingCode.TOKENS_BY_TOKENIZER))
        elif n_output is None or (stream.n_prompt_tokens is None and self.tokenizer is None):
            missing = "output" if n_output is None else "prompt"
            findings.append(Finding(code=FindingCode.NO_USAGE, detail=f"{missing} tokens"))
        if counts.disagreement:
            findings.append(Finding(code=FindingCode.USAGE_DISAGREES, detail=counts.disagreement))
        if self.prompt_cache == "off" and stream.n_cached_tokens:
            detail = f"{stream.n_cached_tokens} of {stream.n_prompt_tokens or '?'} prompt tokens"
            findings.append(Finding(code=FindingCode.PROMPT_CACHED, detail=detail))
        forced = asked.n_forced_tokens
        if forced is not None and n_output is not None and n_output != forced:
            detail = f"{n_output} tokens, {forced} recorded"
            findings.append(Finding(code=FindingCode.LENGTHS_NOT_HELD, detail=detail))
        return findings

    def _thinking_tokens(self, stream: Stream, counts: Counts, split: Split) -> tuple[int, list[Finding]]:
        """Tokens of the thinking; how they were divided where nobody counted them."""
        by_chunks = count_thinking(stream, counts, split)
        n_output = counts.n_output_tokens
        known = counts.exact and not ends_inside_a_chunk(stream, split)
        if not split.n_thinking_chunks or known or n_output is None or by_chunks == n_output:
            return by_chunks, []
        if self.tokenizer is not None:
            marks = self.reasoning.marks or ("", "")
            whole = f"{marks[0]}{split.thinking}{marks[1] if split.closed else ''}"
            return min(self.tokenizer.count(whole), n_output), []
        said = stream.n_reasoning_tokens
        if said and abs(said - by_chunks) <= REASONING_SLACK_SHARE * by_chunks + REASONING_SLACK and said <= n_output:
            return said, []  # zero is what vLLM says of a thinking that the prompt had opened
        return by_chunks, [Finding(code=FindingCode.THINKING_TOKENS_BY_CHUNKS)]

    def _count_output(self, stream: Stream, split: Split) -> int | None:
        if stream.n_output_tokens is not None or self.tokenizer is None or not stream.chunks:
            return None
        return max(self.tokenizer.count(split.text), 1)

    def _prompt_tokens(self, stream: Stream, rendered: Rendered) -> int | None:
        if stream.n_prompt_tokens is not None:
            return stream.n_prompt_tokens
        if rendered.n_tokens is not None:
            return rendered.n_tokens
        return self.tokenizer.count(rendered.text) if self.tokenizer is not None and rendered.known else None


def _merged(times_s: Sequence[float], n_tokens: Sequence[int]) -> tuple[list[float], list[int]]:
    """Chunks that came at one instant are one: nothing was made between them."""
    kept_s, kept = list[float](), list[int]()
    for time_s, n in zip(times_s, n_tokens, strict=True):
        if kept_s and time_s <= kept_s[-1]:
            kept[-1] += n
        else:
            kept_s.append(time_s)
            kept.append(n)
    return kept_s, kept


def _service(status: int | None, stream: Stream, counts: Counts, timeline: Timeline) -> Service:
    first_s, n_output = timeline.time_first_token_s, counts.n_output_tokens
    per_token_s = None
    if first_s is not None and n_output is not None and n_output > 1 and timeline.time_chunk_s[-1] > first_s:
        per_token_s = (timeline.time_chunk_s[-1] - first_s) / (n_output - 1)
    return Service(
        number=timeline.number,
        time_sent_s=timeline.time_sent_s,
        duration_first_token_s=None if first_s is None else first_s - timeline.time_sent_s,
        duration_per_output_token_s=per_token_s,
        duration_queued_s=stream.duration_queued_s,
        n_chunks=len(timeline.time_chunk_s),
        n_cached_tokens=stream.n_cached_tokens,
        status=status,
    )


def _finish_reason(stream: Stream, counts: Counts, asked: Asked) -> str:
    """`length` where the cap ended it. A server that gives no reason is taken by its count."""
    if asked.n_forced_tokens is not None:
        return "forced"
    if stream.finish_reason is not None:
        return "length" if stream.finish_reason == "length" else "stop"
    return "length" if (counts.n_output_tokens or 0) >= asked.max_new_tokens else "stop"
