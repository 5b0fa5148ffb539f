"""What of a streamed answer was thinking: by the field that the server put it in, or by the marks left in the text.

Knows the family's `Reasoning`. Must not know tokenizers, processes or time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from harness.engine.openai.counting import Counts
from harness.engine.openai.stream import Stream
from harness.protocols import Reasoning

_START, _TEXT, _END = -1, 0, -3


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Thinking and answer of one output, without marks."""

    text: str
    """All of it, with the marks where they are known."""
    thinking: str
    answer: str
    n_thinking_chunks: int
    """Chunks before the answer begins; 0: there was no thinking."""
    closed: bool
    """The thinking came to its end."""


def split_stream(stream: Stream, reasoning: Reasoning, mode: str, rendered_prompt: str | None) -> Split:
    """Tell thinking from answer.

    Args:
        stream: The answer.
        reasoning: The model family's marks.
        mode: The mode that was asked for.
        rendered_prompt: What the model was given; None: the server does not tell.
    """
    thinking = "".join(chunk.thinking for chunk in stream.chunks)
    answer = "".join(chunk.answer for chunk in stream.chunks)
    if not thinking:
        return _by_marks(stream, answer, reasoning, mode, rendered_prompt)
    if not answer and mode == "off" and _filed_wrongly(thinking, reasoning, rendered_prompt):
        return Split(text=thinking, thinking="", answer=thinking.strip(), n_thinking_chunks=0, closed=True)
    # Several blocks of thinking are one, and what is said between them is not the answer.
    last = max(place for place, chunk in enumerate(stream.chunks) if chunk.thinking)
    after = [place for place, chunk in enumerate(stream.chunks) if chunk.answer and place > last]
    closed = bool(after) or bool(stream.chunks[last].answer)
    kept = stream.chunks[last].answer + "".join(stream.chunks[place].answer for place in after)
    start, end = reasoning.marks or ("", "")
    n_chunks = after[0] if after else len(stream.chunks)
    if not after and closed:
        n_chunks = last + 1
    return Split(
        text=f"{start}{thinking}{end if closed else ''}{kept}",
        thinking=thinking.strip(),
        answer=kept.strip(),
        n_thinking_chunks=n_chunks,
        closed=closed,
    )


def ends_inside_a_chunk(stream: Stream, split: Split) -> bool:
    """Whether one chunk holds the end of the thinking and the beginning of the answer, as some do under load."""
    if not split.n_thinking_chunks:
        return False
    last = stream.chunks[split.n_thinking_chunks - 1]
    return bool(last.thinking) and bool(last.answer)


def count_thinking(stream: Stream, counts: Counts, split: Split) -> int:
    """Output tokens up to the end of the thinking, as far as the chunks tell."""
    n_before = sum(counts.n_chunk_tokens[: split.n_thinking_chunks])
    if ends_inside_a_chunk(stream, split):
        both = stream.chunks[split.n_thinking_chunks - 1]
        n_inside = counts.n_chunk_tokens[split.n_thinking_chunks - 1]
        share = len(both.answer) / (len(both.thinking) + len(both.answer))
        return max(n_before - min(max(round(n_inside * share), 1), max(n_inside - 1, 1)), 0)
    if not split.n_thinking_chunks or split.n_thinking_chunks == len(stream.chunks):
        return n_before
    first = stream.chunks[split.n_thinking_chunks]
    if counts.exact and not first.ids and first.n_so_far is not None:
        return max(first.n_so_far - 1, n_before)  # it jumps there by the mark that the server took out of the text
    return n_before


def _filed_wrongly(thinking: str, reasoning: Reasoning, rendered_prompt: str | None) -> bool:
    """Whether a parser took for thinking what is an answer: it waits for a mark that the prompt had closed already.

    Where the prompt is not known, an output of thinking alone in a mode without thinking is taken for the answer.
    """
    if rendered_prompt is None or reasoning.marks is None:
        return True
    return _span(thinking, reasoning, rendered_prompt) is None


def _by_marks(stream: Stream, text: str, reasoning: Reasoning, mode: str, rendered_prompt: str | None) -> Split:
    """Thinking and answer in one text, as a server without a parser sends them."""
    unknown_and_off = (
        rendered_prompt is None and mode == "off" and not any(mark and mark in text for mark in _marks(reasoning))
    )
    span = None if unknown_and_off else _span(text, reasoning, rendered_prompt or "")
    if span is None:
        start, end = _marks(reasoning)
        kept = text.strip()
        kept = kept.removeprefix(end) if end and not start else kept
        return Split(text=text, thinking="", answer=kept.strip(), n_thinking_chunks=0, closed=True)
    start_mark, end_mark = _marks(reasoning)
    before, inside = text[: span[0]], text[span[0] : span[1]]
    thinking = before + inside.removeprefix(start_mark)
    if span[2]:
        thinking = thinking.removesuffix(end_mark)
    edges = [0, *accumulate(len(chunk.answer) for chunk in stream.chunks)]
    n_chunks = next(
        (place for place, chunk in enumerate(stream.chunks) if chunk.answer and edges[place] >= span[1]),
        len(stream.chunks),
    )
    return Split(
        text=text,
        thinking=thinking.strip(),
        answer=text[span[1] :].strip(),
        n_thinking_chunks=n_chunks,
        closed=span[2],
    )


def _marks(reasoning: Reasoning) -> tuple[str, str]:
    return reasoning.marks or ("", "")


def _span(text: str, reasoning: Reasoning, rendered_prompt: str) -> tuple[int, int, bool] | None:
    """Letters [start, end) of the thinking, marks included, and whether it was closed; None: there is none.

    The family decides on symbols: one for each mark, and one for each stretch of text between them.
    """
    if reasoning.marks is None or not text:
        return None
    start_mark, end_mark = reasoning.marks
    places = sorted(
        [(place, start_mark, _START) for place in _places(text, start_mark)]
        + [(place, end_mark, _END) for place in _places(text, end_mark)]
    )
    symbols, begins = list[int](), list[int]()
    at = 0
    for place, mark, symbol in places:
        if place > at:
            symbols.append(_TEXT)
            begins.append(at)
        symbols.append(symbol)
        begins.append(place)
        at = place + len(mark)
    if at < len(text):
        symbols.append(_TEXT)
        begins.append(at)
    begins.append(len(text))
    span = reasoning.span(rendered_prompt, symbols, [_START] if start_mark else [], [_END])
    return None if span is None else (begins[span.start], begins[span.end], span.closed)


def _places(text: str, mark: str) -> list[int]:
    places, at = list[int](), text.find(mark) if mark else -1
    while at >= 0:
        places.append(at)
        at = text.find(mark, at + len(mark))
    return places
