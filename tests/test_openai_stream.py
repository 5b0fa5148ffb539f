"""What streams mean: bytes to events, events to chunks, counts, thinking, requests. No network, no process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.openai.arrivals import poisson_arrivals
from harness.engine.openai.counting import count_chunks, spread_tokens
from harness.engine.openai.dialect import caches_anyway, conversation, dialect_of, request_body
from harness.engine.openai.faults import fault_of
from harness.engine.openai.rendering import Rendered
from harness.engine.openai.served import Reader
from harness.engine.openai.sse import EventReader
from harness.engine.openai.stream import Stream, read_stream, words_of_error
from harness.engine.openai.thinking import count_thinking, split_stream
from harness.errors import UsageError
from harness.reasoning.switch import FamilyReasoning
from harness.records import (
    Asked,
    FindingCode,
    ModeSwitch,
    Prompt,
    ReasoningSpec,
    Sampling,
    Served,
    ServerFacts,
)
from tests.fake_openai import delta, plain_events, sse, usage

RECORDED = Path(__file__).parent / "recorded_streams"
THINK = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "off": ModeSwitch(template={"enable_thinking": False}),
            "on": ModeSwitch(template={"enable_thinking": True}),
        },
    )
)
R1 = FamilyReasoning(
    ReasoningSpec(
        thinking_end="</think>", starts_inside_thinking=True, modes={"on": ModeSwitch(), "off": ModeSwitch(system="no")}
    )
)
PROMPT = Prompt(prompt_id="p1", text="What is 6 times 7?")


def events(*data: Mapping[str, Any] | str, step_s: float = 0.1) -> tuple[list[float], list[str], bool]:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in data]
    kept = [text for text in texts if text != "[DONE]"]
    return [step_s * (place + 1) for place in range(len(kept))], kept, len(kept) < len(texts)


def read(*data: Mapping[str, Any] | str, prompt_text: str | None = None) -> Stream:
    times_s, texts, done = events(*data)
    return read_stream(times_s, texts, done=done, prompt_text=prompt_text)


def asked(mode: str = "on", **changes: Any) -> Asked:
    fields = {"number": 3, "index": 0, "prompt": PROMPT, "mode": mode, "max_new_tokens": 64, "seed": 7}
    return Asked(**{**fields, **changes})


def facts(kind: str, *command: str) -> ServerFacts:
    return ServerFacts(kind=kind, version=None, model="m", base_url="http://127.0.0.1:1/v1", command=command)


def serve(
    data: Sequence[Mapping[str, Any] | str],
    *,
    mode: str = "on",
    kind: str = "unknown",
    reasoning: FamilyReasoning = THINK,
    rendered: str | None = None,
    event: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    prompt_cache: str = "off",
    **changes: Any,
) -> Served:
    reader = Reader(
        session=1,
        origin_monotonic_s=10.0,
        dialect=dialect_of(facts(kind)),
        reasoning=reasoning,
        prompt_cache=prompt_cache,
        tokenizer=tokenizer,
    )
    times_s, texts, done = events(*data)
    told = {
        "number": 3,
        "time_sent_s": 10.0,
        "time_end_s": 10.0 + (times_s[-1] if times_s else 0.1),
        "status": 200,
        "content_type": "text/event-stream",
        "times_s": [10.0 + time_s for time_s in times_s],
        "data": texts,
        "done": done,
        "head": "",
        "fault": None,
        **(event or {}),
    }
    prompt = Rendered(text=rendered or "{}", known=rendered is not None)
    return reader.served(asked(mode, **changes), prompt, told)[0]


def codes(served: Served) -> list[FindingCode]:
    return [finding.code for finding in served.findings]


class WordTokenizer:
    """A token for each word."""

    def count(self, text: str) -> int:
        return len(text.split())


# ------------------------------------------------------------------------------------------ bytes to events


WRITTEN = (
    'data: {"a": "ü→😀"}\r\n\r\n: ping\n\ndata: one\ndata: two\nid: 7\n\nevent: x\rdata:three\r\rdata: [DONE]'.encode()
)
MEANT = ['{"a": "ü→😀"}'.encode(), b"one\ntwo", b"three", b"[DONE]"]


def test_events_are_read_however_the_network_cuts_them() -> None:
    for first in range(len(WRITTEN) + 1):
        for second in range(first, len(WRITTEN) + 1, 7):
            reader = EventReader()
            pieces = (WRITTEN[:first], WRITTEN[first:second], WRITTEN[second:])
            found = [event for piece in pieces for event in reader.feed(piece)]
            assert found + reader.end() == MEANT, (first, second)


def test_single_bytes_are_enough() -> None:
    reader = EventReader()
    found = [event for byte in WRITTEN for event in reader.feed(bytes([byte]))]
    assert found + reader.end() == MEANT


@given(st.lists(st.text(alphabet="ab \u20ac:{}", min_size=1, max_size=8), max_size=8), st.lists(st.integers(1, 9)))
def test_quick_and_general_reading_agree(texts: list[str], cuts: list[int]) -> None:
    written = b"".join(sse(text) for text in texts)
    whole = EventReader()
    at_once = whole.feed(written) + whole.end()
    reader, at, found = EventReader(), 0, list[bytes]()
    for width in cuts:
        found += reader.feed(written[at : at + width])
        at += width
    found += reader.feed(written[at:]) + reader.end()
    assert found == at_once == [text.encode() for text in texts]


def test_odd_beginnings_and_fields() -> None:
    reader = EventReader()
    assert reader.feed(b"\xef\xbb\xbfdata: x\n\n") == [b"x"]
    assert reader.feed(b'error: {"message":"no"}\n\n') == [b'{"error":{"message":"no"}}']
    assert reader.feed(b'{"choices": []}\n\nnonsense\n\n') == []
    assert reader.end() == []


# ---------------------------------------------------------------------------------------- events to a stream


def test_first_token_is_not_the_role() -> None:
    stream = read(delta(role="assistant", content=""), delta(content=""), delta(content="4"), delta("stop"))
    assert [chunk.time_s for chunk in stream.chunks] == [pytest.approx(0.3)]


def test_usage_in_an_event_of_its_own() -> None:
    stream = read(*plain_events(["4", "2"], said_usage=usage(9, 2, cached=0)))
    assert (stream.n_prompt_tokens, stream.n_output_tokens, stream.n_cached_tokens) == (9, 2, 0)
    assert stream.complete


def test_usage_in_the_last_delta() -> None:
    stream = read(delta(content="4"), delta("length", extra={"usage": usage(9, 3)}))
    assert (stream.n_prompt_tokens, stream.n_output_tokens, stream.finish_reason) == (9, 3, "length")
    assert stream.complete
    assert not stream.done


def test_no_usage_is_unknown_and_never_zero() -> None:
    for said in (None, {"prompt_tokens": 0, "completion_tokens": 0}, "nonsense"):
        stream = read(delta(content="4"), delta("stop", extra={"usage": said}), "[DONE]")
        assert stream.n_output_tokens is None
        assert stream.n_prompt_tokens is None
        assert stream.n_cached_tokens is None


def test_null_usage_of_early_chunks_does_not_hide_the_last() -> None:
    early = {"usage": None}
    stream = read(delta(content="4", extra=early), {"choices": [], "usage": usage(9, 1)}, delta("stop", extra=early))
    assert stream.n_output_tokens == 1


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_by_either_name(name: str) -> None:
    stream = read(*plain_events(["42"], ["hm", " ok"], field_name=name))
    assert "".join(chunk.thinking for chunk in stream.chunks) == "hm ok"
    assert "".join(chunk.answer for chunk in stream.chunks) == "42"


def test_thinking_under_both_names_is_not_doubled() -> None:
    stream = read(delta(reasoning="hm", reasoning_content="hm"), delta("stop"))
    assert [chunk.thinking for chunk in stream.chunks] == ["hm"]


def test_llama_timings_tell_what_was_cached_and_stand_in_for_usage() -> None:
    timings = {"cache_n": 24, "prompt_n": 13, "predicted_n": 2}
    stream = read(delta(content="4"), delta(content="2"), delta("stop", extra={"timings": timings}), "[DONE]")
    assert (stream.n_prompt_tokens, stream.n_output_tokens, stream.n_cached_tokens) == (37, 2, 24)


def test_queue_time_of_vllm() -> None:
    stream = read(delta(content="4"), delta("stop", extra={"metrics": {"queue_time_ms": 250.0}}))
    assert stream.duration_queued_s == 0.25
    assert read(delta(content="4"), delta("stop", extra={"metrics": None})).duration_queued_s is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"error": {"message": "out of memory", "code": 500}}, "out of memory"),
        ({"error": "`max_new_tokens` must be greater than 0"}, "`max_new_tokens` must be greater than 0"),
        ({"object": "error", "message": "gone"}, "gone"),
        ("<html>busy</html>", "an event that cannot be read: <html>busy</html>"),
    ],
)
def test_errors_inside_the_stream(said: Mapping[str, Any] | str, words: str) -> None:
    stream = read(delta(content="4"), said, "[DONE]")
    assert stream.error == words
    assert not stream.complete


def test_words_of_errors() -> None:
    assert words_of_error('{"detail":"Server is pinned"}') == "Server is pinned"
    assert words_of_error('{"error":{"message":"a  b\\nc"}}') == "a b c"
    assert words_of_error('{"detail":[{"msg":"x"}]}') == '[{"msg": "x"}]'
    assert words_of_error("<html>\n" + "x" * 400).endswith("...")


def test_output_of_one_token_without_text() -> None:
    served = serve([delta(role="assistant"), delta("stop", extra={"usage": usage(9, 1)})])
    assert served.generation is not None
    assert served.generation.sizes["output_tokens"] == 1
    assert served.timeline.n_chunk_tokens == (1,)


def test_repeated_prompt_is_no_output() -> None:
    data = [
        delta(role="assistant"),
        delta(content=f"<|user|>{PROMPT.text}<|end|><|assistant|>"),
        delta(reasoning_content="\n\n"),
        delta(content="\n\n42"),
        delta(content="<|end|>"),
        delta("stop", extra={"usage": usage(19, 2)}),
    ]
    times_s = [0.1, 0.1, 0.1, 0.5, 0.6, 0.6]
    stream = read_stream(times_s, [json.dumps(each) for each in data], prompt_text=PROMPT.text)
    assert stream.begins_with_prompt
    assert [chunk.time_s for chunk in stream.chunks] == [0.5, 0.6]
    told = {"times_s": [10 + time_s for time_s in times_s]}
    served = serve(data, kind="transformers", mode="off", event=told)
    assert served.generation is not None
    assert (served.generation.answer, served.generation.thinking) == ("42", "")
    assert served.service.duration_first_token_s == pytest.approx(0.5)
    assert served.timeline.n_chunk_tokens == (1, 1)
    # An answer that quotes the question is an answer everywhere else.
    assert not read_stream(times_s, [json.dumps(each) for each in data]).begins_with_prompt


def test_prefilled_blank_thinking_is_no_output() -> None:
    data = [delta(role="assistant"), delta(reasoning_content="\n\n"), delta(content="42"), delta("stop")]
    stream = read_stream([0.1, 0.1, 0.5, 0.5], [json.dumps(each) for each in data], prompt_text=PROMPT.text)
    assert [(chunk.time_s, chunk.answer) for chunk in stream.chunks] == [(0.5, "42")]


# ------------------------------------------------------------------------------------------------- counting


def test_counts_by_ids() -> None:
    stream = read(
        delta(content="a", token_ids=[1, 2]),
        delta(content="", token_ids=[3]),
        delta("stop", extra={"usage": usage(4, 3)}),
    )
    counts = count_chunks(stream)
    assert (counts.n_chunk_tokens, counts.n_output_tokens, counts.exact) == ((2, 1), 3, True)


def test_ids_stand_in_for_a_missing_usage() -> None:
    counts = count_chunks(read(delta(content="a", token_ids=[1, 2]), delta("stop")))
    assert counts.n_output_tokens == 2


def test_running_count_of_the_server() -> None:
    stream = read(
        delta(content="a", extra={"usage": usage(4, 1)}),
        delta(content="b", extra={"usage": usage(4, 4)}),
        delta("stop", extra={"usage": usage(4, 5)}),
    )
    counts = count_chunks(stream)
    assert (counts.n_chunk_tokens, counts.exact) == ((1, 4), True)


def test_usage_that_disagrees_with_the_ids_is_taken_and_said() -> None:
    served = serve(
        [
            delta(content="a", token_ids=[1, 2]),
            delta(content="b", token_ids=[3]),
            delta("stop", extra={"usage": usage(4, 9)}),
        ]
    )
    assert served.generation is not None
    assert served.generation.sizes["output_tokens"] == 9 == served.timeline.n_output_tokens
    assert FindingCode.USAGE_DISAGREES in codes(served)


def test_many_more_chunks_than_tokens_are_said() -> None:
    served = serve(plain_events(list("abcdefgh"), said_usage=usage(4, 3)))
    assert FindingCode.USAGE_DISAGREES in codes(served)
    assert served.timeline.n_output_tokens == 3
    assert FindingCode.USAGE_DISAGREES not in codes(serve(plain_events(list("abcdefgh"), said_usage=usage(4, 9))))


@given(st.integers(1, 200), st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_spreading_adds_up_and_begins_with_a_token(n_tokens: int, lengths: list[int]) -> None:
    spread = spread_tokens(n_tokens, lengths)
    assert sum(spread) == n_tokens
    assert min(spread) >= 0
    assert spread[0] >= 1


def test_one_token_over_is_the_end_of_the_text() -> None:
    assert spread_tokens(4, [9, 1, 1]) == [1, 1, 2]
    assert spread_tokens(6, [6, 2, 2]) == [3, 2, 1] or sum(spread_tokens(6, [6, 2, 2])) == 6


def test_chunks_of_one_instant_are_one() -> None:
    told = {"times_s": [10.1, 10.1, 10.2, 10.2]}
    data = [delta(content="a"), delta(content="b"), delta(content="c"), delta("stop", extra={"usage": usage(4, 3)})]
    served = serve(data, event=told)
    assert served.timeline.n_chunk_tokens == (2, 1)
    assert served.timeline.time_chunk_s == pytest.approx((0.1, 0.2))


# ------------------------------------------------------------------------------------------------- thinking


def test_thinking_in_its_field_counts_with_its_mark() -> None:
    data = [
        delta(reasoning="hm", token_ids=[8]),
        delta(reasoning=" ok", token_ids=[9]),
        delta(token_ids=[5]),  # the closing mark, taken out of the text
        delta(content="42", token_ids=[10, 11]),
        delta("stop", token_ids=[2], extra={"usage": usage(4, 6, reasoning=0)}),
    ]
    served = serve(data)
    assert served.generation is not None
    sizes = served.generation.sizes
    assert (sizes["thinking_tokens"], sizes["answer_tokens"], sizes["output_tokens"]) == (3, 3, 6)
    assert (served.generation.thinking, served.generation.answer) == ("hm ok", "42")
    assert [phase.name for phase in served.generation.phases] == ["prefill", "thinking", "answer"]
    assert not served.findings


def test_a_chunk_with_the_end_of_the_thinking_and_the_answer_is_divided() -> None:
    """As vLLM writes it under load: all of the thinking was closed, and there is an answer."""
    data = [
        delta(reasoning="hm", token_ids=[8]),
        delta(reasoning="m", content="\n\n1", token_ids=[205, 6, 205, 205, 23]),
        delta("stop", extra={"usage": usage(4, 6, reasoning=0)}),
    ]
    served = serve(data)
    assert served.generation is not None
    sizes = served.generation.sizes
    assert sizes["output_tokens"] == 6
    assert sizes["thinking_tokens"] == 2
    assert sizes["answer_tokens"] == 4
    assert served.generation.answer == "1"
    assert FindingCode.THINKING_TOKENS_BY_CHUNKS in codes(served)


def test_tokens_that_came_at_once_have_no_time_per_token() -> None:
    served = serve([delta(content="42", token_ids=[1, 2, 3]), delta("stop", extra={"usage": usage(9, 3)})])
    assert served.service.n_chunks == 1
    assert served.service.duration_per_output_token_s is None


def test_reasoning_tokens_reported_as_zero_are_not_believed() -> None:
    served = serve(plain_events(["42"], ["a", "b", "c", "d"], said_usage=usage(4, 5, reasoning=0)))
    assert served.generation is not None
    assert served.generation.sizes["thinking_tokens"] == 4
    assert codes(served) == [FindingCode.THINKING_TOKENS_BY_CHUNKS]


def test_reasoning_tokens_that_fit_are_believed() -> None:
    served = serve(plain_events(["42"], ["a", "b", "c", "d"], said_usage=usage(4, 7, reasoning=5)))
    assert served.generation is not None
    assert served.generation.sizes["thinking_tokens"] == 5
    assert codes(served) == []
    wild = serve(plain_events(["42"], ["a", "b", "c", "d"], said_usage=usage(4, 12, reasoning=1)))
    assert FindingCode.THINKING_TOKENS_BY_CHUNKS in codes(wild)


def test_thinking_counted_by_the_named_tokenizer() -> None:
    served = serve(plain_events(["42"], ["a b", " c"], said_usage=usage(4, 9)), tokenizer=WordTokenizer())
    assert served.generation is not None
    assert served.generation.sizes["thinking_tokens"] == 3
    assert FindingCode.THINKING_TOKENS_BY_CHUNKS not in codes(served)


def test_whole_answer_filed_as_thinking_when_thinking_is_off() -> None:
    data = plain_events([], ["The", " answer"], field_name="reasoning", said_usage=usage(4, 2))
    for rendered in (None, "<|user|>x<|assistant|><think>\n\n</think>\n\n"):
        served = serve(data, mode="off", rendered=rendered)
        assert served.generation is not None
        assert (served.generation.answer, served.generation.thinking) == ("The answer", "")
        assert served.generation.sizes["thinking_tokens"] == 0
    # The prompt had opened the thinking: then it is what it says, in whatever mode.
    served = serve(data, mode="off", rendered="<|user|>x<|assistant|><think>\n")
    assert served.generation is not None
    assert served.generation.thinking == "The answer"


def test_unfinished_thinking() -> None:
    served = serve(plain_events([], ["a", "b"], finish_reason="length", said_usage=usage(4, 2)), max_new_tokens=2)
    assert served.generation is not None
    assert served.generation.finish_reason == "length"
    assert served.generation.answer == ""
    assert served.generation.sizes["thinking_tokens"] == served.generation.sizes["output_tokens"] == 2
    assert [phase.name for phase in served.generation.phases] == ["prefill", "thinking"]


@pytest.mark.parametrize(
    "pieces", [["<think>", "hm", "</think>", "\n\n", "42"], ["<th", "ink>h", "m</thi", "nk>\n\n", "42"]]
)
def test_marks_left_in_the_text(pieces: list[str]) -> None:
    served = serve(plain_events(pieces, said_usage=usage(4, 5)))
    assert served.generation is not None
    assert (served.generation.thinking, served.generation.answer) == ("hm", "42")
    assert served.generation.text == "<think>hm</think>\n\n42"
    n_thinking = 3 if pieces[2] == "</think>" else 4  # a token that completes the mark belongs to the thinking
    assert served.generation.sizes["thinking_tokens"] == n_thinking
    assert [phase.name for phase in served.generation.phases] == ["prefill", "thinking", "answer"]


def test_closing_mark_alone_of_a_thinking_that_the_prompt_opened() -> None:
    stream = read(*plain_events(["hm", "</think>", "42"], said_usage=usage(4, 3)))
    for reasoning, rendered in ((R1, None), (THINK, "...<think>\n"), (THINK, None)):
        split = split_stream(stream, reasoning, "on", rendered)
        assert (split.thinking, split.answer, split.n_thinking_chunks, split.closed) == ("hm", "42", 2, True)


def test_open_thinking_without_any_mark() -> None:
    stream = read(*plain_events(["hm", " ok"], finish_reason="length", said_usage=usage(4, 2)))
    assert split_stream(stream, THINK, "on", "...<think>\n").thinking == "hm ok"
    assert split_stream(stream, THINK, "on", None).answer == "hm ok"
    assert split_stream(stream, R1, "on", None).thinking == "hm ok"
    assert split_stream(stream, R1, "off", None).answer == "hm ok"


def test_running_count_gives_the_closing_mark_to_the_thinking() -> None:
    stream = read(
        delta(reasoning_content="a", extra={"timings": {"predicted_n": 1}}),
        delta(reasoning_content="b", extra={"timings": {"predicted_n": 2}}),
        delta(content="42", extra={"timings": {"predicted_n": 6}}),
        delta("stop", extra={"usage": usage(4, 7)}),
    )
    counts = count_chunks(stream)
    split = split_stream(stream, THINK, "on", None)
    assert (counts.exact, count_thinking(stream, counts, split)) == (True, 5)


def test_two_blocks_of_thinking_are_one() -> None:
    stream = read(
        delta(content="\n"),
        delta(reasoning="a"),
        delta(content="so"),
        delta(reasoning="b"),
        delta(content="42"),
        delta("stop"),
    )
    split = split_stream(stream, THINK, "on", None)
    assert (split.thinking, split.answer, split.n_thinking_chunks) == ("ab", "42", 4)


# --------------------------------------------------------------------------------------------------- served


def test_timeline_and_latencies() -> None:
    data = [*plain_events(["4", "2", "."], said_usage=usage(9, 4))[:-1], "[DONE]"]
    data[-2] = {**data[-2], "metrics": {"queue_time_ms": 50.0}}  # type: ignore[dict-item]
    served = serve(data)
    timeline, service = served.timeline, served.service
    assert (timeline.session, timeline.number, timeline.prompt_id, timeline.mode) == (1, 3, "p1", "on")
    assert timeline.time_sent_s == 0.0
    assert timeline.time_start_s == pytest.approx(0.05)
    assert timeline.time_first_token_s == pytest.approx(0.2) == timeline.time_chunk_s[0]
    assert timeline.n_chunk_tokens == (1, 1, 2)
    assert timeline.n_prompt_tokens == 9
    assert service.duration_first_token_s == pytest.approx(0.2)
    assert service.duration_per_output_token_s == pytest.approx(0.2 / 3)
    assert (service.duration_queued_s, service.n_chunks, service.status) == (0.05, 3, 200)
    assert served.generation is not None
    assert served.generation.time_start_s == timeline.time_start_s
    assert served.generation.time_end_s == timeline.time_end_s


def test_a_queue_longer_than_the_first_token_is_cut_to_it() -> None:
    served = serve([delta(content="4"), delta("stop", extra={"usage": usage(9, 1), "metrics": {"queue_time_ms": 9e5}})])
    assert served.timeline.time_start_s == served.timeline.time_first_token_s


def test_without_usage_the_answer_stands_and_sizes_are_unknown() -> None:
    served = serve(plain_events(["4", "2"]))
    assert served.generation is not None
    assert served.generation.sizes == {}
    assert served.generation.answer == "42"
    assert codes(served) == [FindingCode.NO_USAGE]
    assert served.timeline.n_chunk_tokens == (1, 1)
    assert served.timeline.n_prompt_tokens is None
    assert served.service.duration_per_output_token_s is None


def test_without_usage_a_named_tokenizer_counts() -> None:
    served = serve(plain_events(["4 ", "2"]), tokenizer=WordTokenizer(), rendered="one two three")
    assert served.generation is not None
    assert served.generation.sizes == {"prompt_tokens": 3, "thinking_tokens": 0, "answer_tokens": 2, "output_tokens": 2}
    assert codes(served) == [FindingCode.TOKENS_BY_TOKENIZER]


def test_cached_prompts_are_said_where_the_cache_was_to_be_off() -> None:
    data = plain_events(["42"], said_usage=usage(9, 1, cached=8))
    served = serve(data)
    assert codes(served) == [FindingCode.PROMPT_CACHED]
    assert served.timeline.n_cached_tokens == served.service.n_cached_tokens == 8
    assert codes(serve(data, prompt_cache="on")) == []


def test_lengths_that_were_not_held() -> None:
    data = plain_events(["4", "2"], finish_reason="length", said_usage=usage(9, 2))
    assert codes(serve(data, n_forced_tokens=2)) == []
    assert codes(serve(data, n_forced_tokens=5)) == [FindingCode.LENGTHS_NOT_HELD]


def test_other_reasons_to_end_are_stops() -> None:
    for said, meant in (("stop", "stop"), ("eos_token", "stop"), ("length", "length"), ("content_filter", "stop")):
        served = serve(plain_events(["42"], finish_reason=said, said_usage=usage(9, 1)))
        assert served.generation is not None
        assert served.generation.finish_reason == meant
    served = serve([delta(content="42", extra={"usage": usage(9, 8)}), "[DONE]"], max_new_tokens=8)
    assert served.generation is not None
    assert served.generation.finish_reason == "length"


@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        ({"fault": {"kind": "refused", "words": "no"}, "status": None}, FindingCode.SERVER_REFUSED, "no"),
        ({"fault": {"kind": "timeout", "words": "no end after 9 s"}}, FindingCode.TIMED_OUT, "no end after 9 s"),
        ({"fault": {"kind": "cut", "words": "x"}}, FindingCode.STREAM_CUT, "x"),
        ({"fault": {"kind": "stopped", "words": ""}}, FindingCode.SERVER_LOST, "given up"),
        (
            {"fault": {"kind": "status", "words": "exceeds the context size"}, "status": 400},
            FindingCode.PROMPT_TOO_LONG,
            "HTTP 400",
        ),
        (
            {"fault": {"kind": "status", "words": '{"error":"busy"}'}, "status": 429},
            FindingCode.RATE_LIMITED,
            "HTTP 429: busy",
        ),
        (
            {"fault": {"kind": "status", "words": ""}, "status": 503},
            FindingCode.SERVER_REFUSED,
            "HTTP 503: it said nothing",
        ),
        (
            {"data": [], "times_s": [], "head": "<html>", "content_type": "text/html"},
            FindingCode.SERVER_REFUSED,
            "text/html",
        ),
    ],
)
def test_faults_and_their_findings(event: dict[str, Any], code: FindingCode, words: str) -> None:
    served = serve([delta(content="4"), delta(content="2")], event=event)
    assert served.generation is None
    assert codes(served) == [code]
    assert words in served.findings[0].detail
    if event.get("times_s") != []:
        assert len(served.timeline.time_chunk_s) == 2  # it was in flight, and what came is kept


def test_a_stream_that_just_ends_is_cut() -> None:
    assert codes(serve([delta(content="4"), delta(content="2")])) == [FindingCode.STREAM_CUT]
    assert codes(serve([delta(content="4"), {"error": {"message": "died"}}, "[DONE]"])) == [FindingCode.STREAM_CUT]
    assert codes(serve([delta(role="assistant"), delta("stop"), "[DONE]"])) == [FindingCode.STREAM_CUT]


# ------------------------------------------------------------------------------------------------- requests


def body(
    kind: str, switch: ModeSwitch | None = None, *, sampling: Sampling | None = None, **changes: Any
) -> dict[str, Any]:
    settings = {"n_least": changes.pop("n_least", 0), "salt": changes.pop("salt", "s-3")}
    return request_body(
        dialect_of(facts(kind)), asked(**changes), switch or ModeSwitch(), model="m", sampling=sampling, **settings
    )


def test_what_every_server_is_sent() -> None:
    switch = ModeSwitch(system="Be brief.", prompt_prefix="/no_think ")
    for kind in ("vllm", "sglang", "llama.cpp", "transformers", "ollama", "tgi", "unknown", "something new"):
        sent = body(kind, switch)
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"/no_think {PROMPT.text}"},
        ]
        assert (sent["model"], sent["stream"], sent["max_tokens"], sent["seed"]) == ("m", True, 64, 7)
        assert ("stream_options" in sent) == (kind != "transformers")


def test_template_keywords() -> None:
    switch = ModeSwitch(template={"enable_thinking": False})
    for kind in ("vllm", "sglang", "llama.cpp", "transformers", "unknown"):
        assert body(kind, switch)["chat_template_kwargs"] == {"enable_thinking": False}
    assert body("ollama", switch)["reasoning_effort"] == "none"
    assert body("ollama", ModeSwitch(template={"reasoning_effort": "high"}))["reasoning_effort"] == "high"
    with pytest.raises(UsageError, match="keywords"):
        body("tgi", switch)
    with pytest.raises(UsageError, match="Ollama"):
        body("ollama", ModeSwitch(template={"enable_thinking": True, "style": "x"}))


def test_reasoning_effort_is_a_field_where_the_server_has_one() -> None:
    switch = ModeSwitch(template={"reasoning_effort": "low"})
    for kind in ("vllm", "sglang", "unknown"):
        assert body(kind, switch)["reasoning_effort"] == "low"
        assert "chat_template_kwargs" not in body(kind, switch)
    for kind in ("llama.cpp", "transformers"):
        assert body(kind, switch)["chat_template_kwargs"] == {"reasoning_effort": "low"}


@pytest.mark.parametrize(
    "switch",
    [ModeSwitch(assistant_prefix="<think>"), ModeSwitch(chat_template=False), ModeSwitch(thinking_budget_tokens=9)],
)
def test_what_no_server_can_be_asked(switch: ModeSwitch) -> None:
    with pytest.raises(UsageError) as raised:
        conversation(dialect_of(facts("vllm")), PROMPT, switch, "on")
    assert "--engine transformers" in raised.value.next_step


def test_the_prompt_cache() -> None:
    assert body("vllm")["cache_salt"] == body("sglang")["cache_salt"] == "s-3"
    assert "cache_salt" not in body("vllm", salt=None)
    assert body("llama.cpp")["cache_prompt"] is False
    assert body("llama.cpp", salt=None)["cache_prompt"] is True
    anyway = {
        kind: caches_anyway(dialect_of(facts(kind)), facts(kind)) for kind in ("vllm", "llama.cpp", "ollama", "tgi")
    }
    assert anyway == {"vllm": False, "llama.cpp": False, "ollama": True, "tgi": True}
    serving = ("transformers", "serve", "m")
    assert not caches_anyway(dialect_of(facts("transformers")), facts("transformers", *serving))
    assert caches_anyway(dialect_of(facts("transformers")), facts("transformers", *serving, "--continuous-batching"))


def test_forced_lengths() -> None:
    for kind in ("vllm", "sglang"):
        sent = body(kind, n_forced_tokens=20)
        assert (sent["ignore_eos"], sent["min_tokens"], sent["max_tokens"]) == (True, 19, 20)
        assert "ignore_eos" not in body(kind)
    sent = body("llama.cpp", n_forced_tokens=20)
    assert (sent["ignore_eos"], sent["max_tokens"]) == (True, 20)
    sent = body("transformers", n_forced_tokens=20)
    assert json.loads(sent["generation_config"]) == {"min_new_tokens": 19, "max_new_tokens": 20}
    assert body("ollama", n_forced_tokens=20)["max_tokens"] == 20


def test_least_lengths() -> None:
    assert body("vllm", n_least=9)["min_tokens"] == 9
    assert json.loads(body("transformers", n_least=9)["generation_config"])["min_new_tokens"] == 9
    assert body("vllm", n_least=900)["min_tokens"] == 64
    with pytest.raises(UsageError, match="at least"):
        body("llama.cpp", n_least=9)


def test_sampling() -> None:
    greedy = body("vllm", sampling=Sampling(do_sample=False, top_p=0.5))
    assert greedy["temperature"] == 0.0
    assert "top_p" not in greedy
    assert "seed" not in greedy
    drawn = Sampling(temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=1.1)
    assert {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1}.items() <= body(
        "vllm", sampling=drawn
    ).items()
    assert body("llama.cpp", sampling=drawn)["repeat_penalty"] == 1.1
    sent = body("transformers", sampling=drawn, n_forced_tokens=5)
    assert json.loads(sent["generation_config"]) == {
        "top_k": 20, "repetition_penalty": 1.1, "min_new_tokens": 4, "max_new_tokens": 5,
    }  # fmt: skip
    with pytest.raises(UsageError, match="top_k"):
        body("ollama", sampling=drawn)
    assert body("vllm", seed=2**40 + 3)["seed"] == 3


def test_transformers_is_sent_no_field_that_it_refuses() -> None:
    known = {
        "model", "messages", "stream", "max_tokens", "temperature", "top_p", "seed", "generation_config",
        "chat_template_kwargs",
    }  # fmt: skip
    switch = ModeSwitch(template={"enable_thinking": True, "reasoning_effort": "low"}, system="s")
    sent = body("transformers", switch, sampling=Sampling(temperature=0.5, top_k=3), n_forced_tokens=4)
    assert set(sent) <= known


def test_arrivals_come_again_and_have_their_rate() -> None:
    arrivals_s = poisson_arrivals(4000, 20.0, 1, 0)
    assert arrivals_s == poisson_arrivals(4000, 20.0, 1, 0)
    assert arrivals_s != poisson_arrivals(4000, 20.0, 1, 1) != poisson_arrivals(4000, 20.0, 2, 1)
    assert arrivals_s == sorted(arrivals_s)
    gaps_s = [after - before for before, after in zip([0.0, *arrivals_s], arrivals_s, strict=False)]
    mean_s = sum(gaps_s) / len(gaps_s)
    spread_s = (sum((gap_s - mean_s) ** 2 for gap_s in gaps_s) / len(gaps_s)) ** 0.5
    assert mean_s == pytest.approx(0.05, rel=0.08)
    assert spread_s == pytest.approx(mean_s, rel=0.08)  # as of an exponential distribution


# ----------------------------------------------------------------------------------- streams of real servers


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.sse")), ids=lambda path: path.stem)
def test_streams_of_real_servers(path: Path) -> None:
    """What a second reading, made when they were recorded, found in them."""
    about = json.loads(path.with_suffix(".json").read_text())
    raw = path.read_bytes()
    for width in (len(raw) or 1, 7):
        reader = EventReader()
        found = [
            event for at in range(0, len(raw), width) for event in reader.feed(raw[at : at + width])
        ] + reader.end()
        data = [event.decode() for event in found if event.strip() != b"[DONE]"]
        done = len(data) < len(found)
        stream = read_stream([0.1 * place for place in range(len(data))], data, done=done)
        event = {
            "fault": {"kind": "status", "words": raw.decode()} if about["status"] != 200 else None,
            "status": about["status"],
            "content_type": about["content_type"],
            "data": data,
            "head": raw[:200].decode(),
        }
        fault, truth = fault_of(event, stream), about["true"]
        if about["status"] != 200 or "event-stream" not in about["content_type"]:
            assert fault is not None
            code = FindingCode.QUERY_FAILED if about["status"] in (400, 422) else FindingCode.SERVER_REFUSED
            assert fault.code is (FindingCode.PROMPT_TOO_LONG if "prompt-too-long" in path.stem else code)
            continue
        assert "".join(chunk.answer for chunk in stream.chunks) == truth["text"]
        assert "".join(chunk.thinking for chunk in stream.chunks) == truth["thinking"]
        assert stream.finish_reason == truth["finish_reason"]
        assert done == truth["ends_with_done"]
        if truth["usage"]:
            assert stream.n_prompt_tokens == truth["usage"]["prompt_tokens"]
            assert stream.n_output_tokens == (truth["usage"]["completion_tokens"] or None)
        if truth["timings"]:
            assert stream.n_cached_tokens == truth["timings"]["cache_n"]
        assert (fault is None) == (truth["finish_reason"] is not None)
        counts = count_chunks(stream)
        assert sum(counts.n_chunk_tokens) == (stream.n_output_tokens or len(stream.chunks))
