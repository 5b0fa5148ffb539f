"""How thinking is switched, found, and proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownName, UsageError
from harness.reasoning.proof import EMPTY_BLOCK_TOKENS, check_switch
from harness.reasoning.switch import FamilyReasoning
from harness.records import FindingCode, ModeSwitch, ReasoningSpec, ThinkingSpan

OPEN, CLOSE, WORD = 1, 2, 9
"""Token ids of a pair of marks that are one token each, and of anything else."""

QWEN = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "on": ModeSwitch(template={"enable_thinking": True}),
            "off": ModeSwitch(template={"enable_thinking": False}),
        },
    )
)
PREFIX = "<think>\n\n</think>\n\n"
DISTILL = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        starts_inside_thinking=True,
        modes={
            "on": ModeSwitch(assistant_prefix="<think>\nOkay,"),
            "off": ModeSwitch(assistant_prefix=PREFIX),
        },
    )
)
HARMONY = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<|channel|>analysis<|message|>",
        thinking_end="<|channel|>final<|message|>",
        modes={
            level: ModeSwitch(template={"reasoning_effort": level}) for level in ("high", "default", "low", "medium")
        },
    )
)
PLAIN, OPENED, PRE_CLOSED = "<|user|>Hi<|assistant|>", "<|user|>Hi<|assistant|><think>\n", f"<|assistant|>{PREFIX}"


def span(reasoning: FamilyReasoning, prompt: str, ids: list[int]) -> tuple[int, int, bool] | None:
    found = reasoning.span(prompt, ids, [OPEN], [CLOSE])
    return (found.start, found.end, found.closed) if found else None


def test_modes_are_in_canonical_order_whatever_the_file_says() -> None:
    assert QWEN.modes == ("off", "on")
    assert HARMONY.modes == ("low", "medium", "high", "default")
    own = FamilyReasoning(ReasoningSpec(modes={"turbo": ModeSwitch(), "default": ModeSwitch(), "off": ModeSwitch()}))
    assert own.modes == ("off", "default", "turbo")


def test_a_model_about_which_nothing_is_known_has_one_natural_mode() -> None:
    natural = FamilyReasoning(None)
    assert natural.modes == ("default",)
    assert natural.switch("default") == ModeSwitch()
    assert natural.marks is None
    assert natural.span(OPENED, [OPEN, WORD, CLOSE], [OPEN], [CLOSE]) is None


def test_an_unknown_mode_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownName) as caught:
        HARMONY.switch("hihg")
    assert "'high'" in caught.value.next_step


@pytest.mark.parametrize(
    "spec",
    [
        ReasoningSpec(modes={}),
        ReasoningSpec(thinking_start="<think>", modes={"on": ModeSwitch()}),
        ReasoningSpec(starts_inside_thinking=True, modes={"on": ModeSwitch()}),
    ],
)
def test_an_impossible_description_is_refused(spec: ReasoningSpec) -> None:
    with pytest.raises(UsageError):
        FamilyReasoning(spec)


@pytest.mark.parametrize(
    ("prompt", "ids", "expected"),
    [
        pytest.param(PLAIN, [OPEN, WORD, WORD, CLOSE, WORD], (0, 4, True), id="the output opens and closes"),
        pytest.param(PLAIN, [WORD, OPEN, WORD, CLOSE, WORD], (1, 4, True), id="something stands before the mark"),
        pytest.param(PLAIN, [WORD, WORD], None, id="no thinking"),
        pytest.param(PLAIN, [], None, id="no output"),
        pytest.param(PLAIN, [OPEN, WORD, WORD], (0, 3, False), id="never closed"),
        pytest.param(OPENED, [WORD, WORD, CLOSE, WORD], (0, 3, True), id="the prompt opened it"),
        pytest.param(OPENED, [WORD, WORD], (0, 2, False), id="the prompt opened it, never closed"),
        pytest.param(OPENED, [CLOSE, WORD], (0, 1, True), id="the prompt opened it, closed at once"),
        pytest.param(OPENED, [OPEN, WORD, CLOSE], (0, 3, True), id="opened twice"),
        pytest.param(PRE_CLOSED, [WORD, WORD], None, id="the prompt closed it"),
        pytest.param(PRE_CLOSED, [WORD, CLOSE, WORD], None, id="a stray end after a closed prompt"),
        pytest.param(PRE_CLOSED, [OPEN, WORD, CLOSE, WORD], (0, 3, True), id="the output opens it all the same"),
        pytest.param(PLAIN, [OPEN, WORD, CLOSE, WORD, OPEN, WORD, CLOSE, WORD], (0, 7, True), id="two blocks"),
        pytest.param(PLAIN, [OPEN, CLOSE, WORD, OPEN, WORD], (0, 5, False), id="the second block stays open"),
        pytest.param(PLAIN, [WORD, WORD, CLOSE, WORD], (0, 3, True), id="an end without a beginning"),
        pytest.param(PLAIN, [CLOSE, WORD], None, id="an end before anything"),
    ],
)
def test_the_span_of_the_thinking(prompt: str, ids: list[int], expected: tuple[int, int, bool] | None) -> None:
    assert span(QWEN, prompt, ids) == expected


def test_a_mark_that_is_merely_mentioned_in_the_prompt_opens_nothing() -> None:
    assert span(QWEN, "<|user|>What does <think> mean?<|end|><|assistant|>", [WORD, WORD]) is None


def test_a_prefix_that_opens_the_thinking_with_words_opens_it() -> None:
    assert span(DISTILL, "<|assistant|><think>\nOkay,", [WORD, CLOSE, WORD]) == (0, 2, True)


def test_a_model_that_never_writes_its_opening_mark_is_inside_unless_the_prompt_closed_it() -> None:
    silent = FamilyReasoning(
        ReasoningSpec(thinking_end="</think>", starts_inside_thinking=True, modes={"on": ModeSwitch()})
    )
    assert silent.marks == ("", "</think>")
    assert silent.span(PLAIN, [WORD, CLOSE, WORD], [], [CLOSE]) == ThinkingSpan(start=0, end=2, closed=True)
    assert silent.span(PLAIN, [WORD], [], [CLOSE]) == ThinkingSpan(start=0, end=1, closed=False)
    assert silent.span("<|assistant|></think>", [WORD], [], [CLOSE]) is None


def test_marks_of_several_tokens() -> None:
    channel, message, analysis, final = 101, 102, 103, 104
    start, end = [channel, analysis, message], [channel, final, message]
    thought = [*start, WORD, WORD, 105, 106, *end, WORD]
    assert HARMONY.span("<|start|>assistant", thought, start, end) == ThinkingSpan(start=0, end=10, closed=True)
    assert HARMONY.span("<|start|>assistant", thought[:6], start, end) == ThinkingSpan(start=0, end=6, closed=False)
    assert HARMONY.span("<|start|>assistant", [*end, WORD], start, end) is None


TOKENS = st.lists(st.sampled_from([OPEN, CLOSE, WORD]), max_size=40)
PROMPTS = st.sampled_from([PLAIN, OPENED, PRE_CLOSED])


@given(prompt=PROMPTS, ids=TOKENS)
def test_a_span_lies_inside_the_output_and_reaches_its_end_unless_closed(prompt: str, ids: list[int]) -> None:
    found = QWEN.span(prompt, ids, [OPEN], [CLOSE])
    if found is not None:
        assert 0 <= found.start < found.end <= len(ids)
        assert found.closed or found.end == len(ids)
        assert not found.closed or ids[found.end - 1] == CLOSE


@given(prompt=PROMPTS, ids=TOKENS)
def test_nothing_after_a_closed_thinking_is_a_mark(prompt: str, ids: list[int]) -> None:
    found = QWEN.span(prompt, ids, [OPEN], [CLOSE])
    if found is not None and found.closed:
        assert not {OPEN, CLOSE} & set(ids[found.end :])


@given(prompt=PROMPTS, ids=TOKENS, more=st.integers(1, 10))
def test_more_answer_after_a_closed_thinking_changes_nothing(prompt: str, ids: list[int], more: int) -> None:
    found = QWEN.span(prompt, ids, [OPEN], [CLOSE])
    if found is not None and found.closed:
        assert QWEN.span(prompt, [*ids, *[WORD] * more], [OPEN], [CLOSE]) == found


@given(ids=TOKENS, width=st.integers(2, 4))
def test_longer_marks_scale_the_span(ids: list[int], width: int) -> None:
    """Every token replaced by `width` tokens: the span is the same, `width` times as long."""
    wide = [10 * token + place for token in ids for place in range(width)]
    narrow = QWEN.span(PLAIN, ids, [OPEN], [CLOSE])
    found = QWEN.span(
        PLAIN, wide, [10 * OPEN + place for place in range(width)], [10 * CLOSE + place for place in range(width)]
    )
    if narrow is None:
        assert found is None
    else:
        assert found == ThinkingSpan(start=width * narrow.start, end=width * narrow.end, closed=narrow.closed)


def codes(rendered: dict[str, list[str]], tokens: dict[str, list[int]]) -> list[FindingCode]:
    return [finding.code for finding in check_switch(rendered, tokens)]


def test_a_switch_that_worked_gives_no_doubt() -> None:
    assert codes({"off": ["a"], "on": ["b"]}, {"off": [0, 4], "on": [300, 0]}) == []


def test_two_modes_with_the_same_input_are_named() -> None:
    findings = check_switch({"off": ["a", "b"], "low": ["a", "c"], "on": ["a", "b"]}, {})
    assert [(finding.code, finding.detail) for finding in findings] == [
        (FindingCode.SAME_PROMPT_IN_MODES, "off and on")
    ]


def test_thinking_in_off_mode_is_counted_and_an_empty_block_is_not() -> None:
    (finding,) = check_switch({}, {"off": [0, EMPTY_BLOCK_TOKENS, EMPTY_BLOCK_TOKENS + 1, 340]})
    assert finding.code is FindingCode.THINKING_IN_OFF_MODE
    assert finding.detail == "2 of 4 queries, up to 340 tokens"


def test_a_model_that_never_thinks_when_told_to_is_doubted() -> None:
    assert codes({}, {"on": [0, 4]}) == [FindingCode.NO_THINKING_IN_ON_MODE]
    assert codes({}, {"on": []}) == []
