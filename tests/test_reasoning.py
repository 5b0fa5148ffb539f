"""How thinking is switched, found, and proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownName, UsageError
from harness.reasoning.proof import EMPTY_BLOCK_TOKENS, ModeOutput, Proof, check_switch, sign_test
from harness.reasoning.switch import FamilyReasoning, budget_of, canonical
from harness.records import (
    Cell,
    EngineOptions,
    Finding,
    FindingCode,
    ModeSwitch,
    PairedCheckpoint,
    ReasoningSpec,
    ThinkingSpan,
)

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


def test_budgets_stand_between_off_and_the_efforts_small_ones_first() -> None:
    asked = ("on", "high", "budget:1024", "turbo", "budget:64", "low", "off", "on")
    assert canonical(asked) == ("off", "budget:64", "budget:1024", "low", "high", "on", "turbo")


@given(modes=st.permutations(["off", "budget:8", "budget:16", "low", "medium", "high", "on", "default", "x", "x2"]))
def test_the_order_does_not_depend_on_how_known_modes_are_written(modes: list[str]) -> None:
    known = [mode for mode in canonical(modes) if not mode.startswith("x")]
    assert known == ["off", "budget:8", "budget:16", "low", "medium", "high", "on", "default"]


# -------------------------------------------------------------------------------------------- budgets


def test_a_budget_is_its_base_mode_with_an_end() -> None:
    assert QWEN.switch("budget:256") == ModeSwitch(
        template={"enable_thinking": True}, thinking_budget_tokens=256, budget_end="\n</think>\n\n"
    )
    assert "budget:256" not in QWEN.modes
    assert QWEN.takes_budgets
    assert QWEN.allows("budget:256")


def test_a_family_may_say_which_mode_is_cut_short_and_how_it_ends() -> None:
    end = "<|end|><|start|>assistant<|channel|>final<|message|>"
    spec = ReasoningSpec(
        thinking_end="<|channel|>final<|message|>",
        budget_mode="high",
        budget_end=end,
        modes={"high": ModeSwitch(template={"reasoning_effort": "high"})},
    )
    switch = FamilyReasoning(spec).switch("budget:64")
    assert (switch.template, switch.budget_end) == ({"reasoning_effort": "high"}, end)


def test_a_mode_that_is_listed_with_a_budget_of_its_own_gets_the_end_too() -> None:
    short = ModeSwitch(thinking_budget_tokens=64)
    family = FamilyReasoning(ReasoningSpec(thinking_end="</think>", modes={"short": short}, budget_mode=None))
    assert family.switch("short").budget_end == "\n</think>\n\n"


@pytest.mark.parametrize(
    "family",
    [
        FamilyReasoning(None),
        FamilyReasoning(ReasoningSpec(modes={"on": ModeSwitch()})),
        FamilyReasoning(ReasoningSpec(thinking_end="</think>", modes={"on": ModeSwitch()}, budget_mode=None)),
        FamilyReasoning(ReasoningSpec(thinking_end="</think>", modes={"high": ModeSwitch()})),
    ],
)
def test_a_family_without_marks_or_without_a_mode_to_cut_has_no_budgets(family: FamilyReasoning) -> None:
    assert not family.takes_budgets
    assert not family.allows("budget:256")
    with pytest.raises(UnknownName, match="'budget:256'") as caught:
        family.switch("budget:256")
    assert "Budgets are for models" in caught.value.next_step


@pytest.mark.parametrize("mode", ["budget:0", "budget:", "budget:-3", "budget:2.5", "budget:many", "budget:08"])
def test_a_budget_must_be_a_whole_number_of_tokens(mode: str) -> None:
    assert not QWEN.allows(mode)
    with pytest.raises(UsageError, match=mode):
        QWEN.switch(mode)


def test_who_misspells_a_mode_hears_of_budgets() -> None:
    with pytest.raises(UnknownName) as caught:
        QWEN.switch("no")
    assert "`budget:N`" in caught.value.next_step


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
        ReasoningSpec(thinking_end="</think>", budget_end="That is enough.", modes={"on": ModeSwitch()}),
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


# ---------------------------------------------------------------------------------------------- proof


def cell(*modes: str, **fields: object) -> Cell:
    """A cell of a Qwen in these modes."""
    known: dict[str, object] = {
        "model": "m",
        "source": "s",
        "revision": "0" * 40,
        "engine": EngineOptions(device="cpu"),
        "dtype": "auto",
        "quantization": "none",
        "prompt_set": "p",
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": modes,
        "reasoning": ReasoningSpec(
            thinking_start="<think>", thinking_end="</think>", modes={"off": ModeSwitch(), "on": ModeSwitch()}
        ),
        "max_new_tokens": 4096,
        "seed": 0,
    }
    return Cell.model_validate({**known, **fields})


THINKER = PairedCheckpoint(
    model="t",
    source="t",
    revision="1" * 40,
    reasoning=ReasoningSpec(thinking_end="</think>", starts_inside_thinking=True, modes={"on": ModeSwitch()}),
    modes=("on",),
)


def wrote(*thinking_tokens: int, text: str | None = None, cut: bool = False, forced: bool = False) -> list[ModeOutput]:
    """One output per count. The texts are unknown, or begin with `text` and differ from prompt to prompt."""
    return [
        ModeOutput(
            prompt_id=f"p{index}",
            thinking_tokens=n_tokens,
            text=f"{text} {index}" if text is not None else None,
            cut=cut,
            forced=forced,
        )
        for index, n_tokens in enumerate(thinking_tokens)
    ]


def codes(findings: tuple[Finding, ...]) -> list[FindingCode]:
    return [finding.code for finding in findings]


def test_a_switch_that_worked_gives_no_doubt() -> None:
    proof = check_switch(
        cell("on", "off"),
        rendered={"off": ["a"], "on": ["b"]},
        outputs={"off": wrote(*[0, 4] * 15, text="x"), "on": wrote(*[300, 0, 40] * 10, text="y")},
    )
    assert proof.findings == ()
    assert proof.invalid("on", "off") == ()
    assert [str(each) for each in proof.thinking] == [
        "off: thinking in 0 of 30 outputs, median 2 tokens",
        "on: thinking in 20 of 30 outputs, median 40 tokens",
    ]


def test_nothing_known_is_nothing_proven_and_nothing_refused() -> None:
    assert check_switch(cell("off", "on")) == Proof()
    assert check_switch(cell("off", "on"), outputs={"off": [], "on": []}) == Proof()


def test_two_modes_with_the_same_input_are_named_and_must_not_be_compared() -> None:
    proof = check_switch(cell("off", "low", "on"), rendered={"off": ["a", "b"], "low": ["a", "c"], "on": ["a", "b"]})
    assert [(finding.code, finding.detail) for finding in proof.findings] == [
        (FindingCode.SAME_PROMPT_IN_MODES, "off and on, 2 prompts")
    ]
    assert codes(proof.invalid("on", "off")) == codes(proof.invalid("off", "on")) == [FindingCode.SAME_PROMPT_IN_MODES]
    assert proof.invalid("on", "low") == proof.invalid("low", "off") == ()


def test_the_same_input_is_also_found_in_what_was_stored() -> None:

    def stored(*hashes: str | None) -> list[ModeOutput]:
        return [
            ModeOutput(prompt_id=f"p{index}", thinking_tokens=50, rendered=rendered)
            for index, rendered in enumerate(hashes)
        ]

    def same(off: list[ModeOutput], on: list[ModeOutput]) -> bool:
        proof = check_switch(cell("off", "on"), outputs={"off": off, "on": on})
        return FindingCode.SAME_PROMPT_IN_MODES in codes(proof.findings)

    assert same(stored("a", "b", "c"), stored("a", "b"))  # the third failed in one mode
    assert not same(stored("a", "b"), stored("a", "c"))
    assert not same(stored(None, None), stored(None, None))


def test_budgets_have_their_base_modes_input_and_that_is_right() -> None:
    same = {"budget:8": ["a"], "budget:16": ["a"], "on": ["a"]}
    assert check_switch(cell("off", *same), rendered={**same, "off": ["b"]}).findings == ()
    proof = check_switch(cell("off", *same), rendered={**same, "off": ["a"]})
    assert [finding.detail for finding in proof.findings] == [
        f"off and {mode}, 1 prompts" for mode in ("budget:8", "budget:16", "on")
    ]


def test_two_checkpoints_may_have_the_same_input_and_the_same_answers() -> None:
    pair = cell("off", "on", pair=THINKER)
    outputs = {"off": wrote(*[0] * 6, text="same"), "on": wrote(*[50] * 6, text="same")}
    assert check_switch(pair, rendered={"off": ["a"], "on": ["a"]}, outputs=outputs).findings == ()


def test_thinking_in_off_mode_is_counted_and_an_empty_block_is_not() -> None:
    outputs = {"off": wrote(0, EMPTY_BLOCK_TOKENS, EMPTY_BLOCK_TOKENS + 1, 340), "on": wrote(50, 50, 50, 50)}
    proof = check_switch(cell("off", "on"), outputs=outputs)
    (finding,) = proof.findings
    assert finding.code is FindingCode.THINKING_IN_OFF_MODE
    assert finding.detail == "2 of 4 queries in off, up to 340 tokens"
    assert proof.invalid("on", "off") == (finding,)


def test_a_short_thought_is_a_thought_and_a_long_empty_block_is_none() -> None:
    short = [ModeOutput(prompt_id=str(n), thinking_tokens=6, holds_text=True) for n in range(10)]
    empty = [ModeOutput(prompt_id=str(n), thinking_tokens=12, holds_text=False) for n in range(10)]
    assert check_switch(cell("off", "on"), outputs={"off": empty, "on": short}).findings == ()
    swapped = check_switch(cell("off", "on"), outputs={"off": short, "on": empty})
    assert codes(swapped.findings) == [FindingCode.THINKING_IN_OFF_MODE, FindingCode.NO_THINKING_IN_ON_MODE]


def test_one_relapse_in_twenty_is_said_and_does_not_spoil_the_comparison() -> None:
    once, twice = [340] + [0] * 19, [340, 340] + [0] * 18
    for thoughts, spoilt in ((once, False), (twice, True)):
        proof = check_switch(cell("off", "on"), outputs={"off": wrote(*thoughts), "on": wrote(*[50] * 20)})
        assert codes(proof.findings) == [FindingCode.THINKING_IN_OFF_MODE]
        assert bool(proof.invalid("on", "off")) is spoilt


@pytest.mark.parametrize(
    ("thoughts", "spoilt"),
    [([340], True), ([340] + [0] * 8, True), ([340] + [0] * 9, False), ([340] * 2 + [0] * 8, True)],
)
def test_one_of_ten_may_relapse_and_none_of_fewer(thoughts: list[int], *, spoilt: bool) -> None:
    proof = check_switch(cell("off", "on"), outputs={"off": wrote(*thoughts), "on": wrote(*[50] * len(thoughts))})
    assert codes(proof.findings) == [FindingCode.THINKING_IN_OFF_MODE]
    assert bool(proof.invalid("on", "off")) is spoilt


def test_off_that_was_cut_in_the_middle_of_a_thought_has_thought() -> None:
    proof = check_switch(cell("off", "on"), outputs={"off": wrote(96, 96, cut=True), "on": wrote(96, 96, cut=True)})
    assert codes(proof.invalid("on", "off")) == [FindingCode.THINKING_IN_OFF_MODE]


@pytest.mark.parametrize("mode", ["on", "medium", "high", "budget:512"])
def test_a_model_that_never_thinks_when_told_to_is_not_compared(mode: str) -> None:
    proof = check_switch(cell("off", mode), outputs={"off": wrote(0, 0), mode: wrote(0, 4)})
    assert codes(proof.invalid(mode, "off")) == [FindingCode.NO_THINKING_IN_ON_MODE]
    assert proof.findings[0].detail == f"2 of 2 queries in {mode}, at most 4 tokens of thinking"


def test_a_model_that_seldom_thinks_when_told_to_is_doubted() -> None:
    proof = check_switch(cell("off", "on"), outputs={"off": wrote(0, 0, 0), "on": wrote(0, 0, 90)})
    assert codes(proof.findings) == [FindingCode.NO_THINKING_IN_ON_MODE]
    assert proof.invalid("on", "off") == ()
    half = check_switch(cell("off", "on"), outputs={"on": wrote(0, 0, 90, 90)})
    assert half.findings == ()


def test_a_low_effort_may_do_without_thinking() -> None:
    assert check_switch(cell("low", "high"), outputs={"low": wrote(0, 0), "high": wrote(90, 90)}).findings == ()


def test_outputs_that_were_cut_before_any_thought_prove_nothing() -> None:
    assert check_switch(cell("off", "on"), outputs={"on": wrote(0, 0, 0, cut=True)}).findings == ()


def test_a_short_budget_that_was_held_is_thinking() -> None:
    proof = check_switch(cell("off", "budget:2"), outputs={"budget:2": wrote(4, 4, 4, forced=True)})
    assert proof.findings == ()
    assert [(each.n_thought, each.n_forced) for each in proof.thinking] == [(3, 3)]


def test_modes_that_write_the_same_word_for_word_are_not_compared() -> None:
    same = {"off": wrote(*[0] * 5, text="same"), "on": wrote(*[50] * 5, text="same")}
    proof = check_switch(cell("off", "on"), outputs=same)
    assert codes(proof.invalid("on", "off")) == [FindingCode.SAME_OUTPUT_IN_MODES]
    assert proof.findings[0].detail == "off and on, 5 prompts"
    few = {mode: outputs[:4] for mode, outputs in same.items()}
    assert check_switch(cell("off", "on"), outputs=few).findings == ()
    assert check_switch(cell("off", "on", caps={"off": 10}), outputs=same).findings == ()
    unknown = {"off": wrote(*[0] * 5), "on": wrote(*[50] * 5)}
    assert check_switch(cell("off", "on"), outputs=unknown).findings == ()
    one_differs = {**same, "on": [*same["on"][:4], *wrote(*[50] * 5, text="other")[4:]]}
    assert check_switch(cell("off", "on"), outputs=one_differs).findings == ()


def test_a_budget_above_everything_that_is_thought_changes_nothing() -> None:
    outputs = {mode: wrote(*[50] * 30, text="same") for mode in ("budget:4096", "on")}
    outputs["off"] = wrote(*[0] * 30, text="short")
    proof = check_switch(cell("off", "budget:4096", "on"), outputs=outputs)
    assert codes(proof.findings) == [FindingCode.SAME_OUTPUT_IN_MODES]
    assert proof.invalid("budget:4096", "on")
    assert proof.invalid("on", "off") == proof.invalid("budget:4096", "off") == ()


def test_a_budget_that_is_not_held_spoils_its_mode_alone() -> None:
    end = len("\n</think>\n\n")
    held, over = wrote(*[64 + end] * 20, forced=True), wrote(*[64 + end] * 18, 400, 500)
    outputs = {"off": wrote(*[0] * 20), "budget:64": held, "on": wrote(*[300] * 20)}
    budgets = cell("off", "budget:64", "on")
    assert check_switch(budgets, outputs=outputs).findings == ()
    proof = check_switch(budgets, outputs={**outputs, "budget:64": over})
    assert [(finding.code, finding.detail) for finding in proof.findings] == [
        (FindingCode.BUDGET_NOT_HELD, "2 of 20 queries in budget:64, up to 500 tokens")
    ]
    assert proof.invalid("budget:64", "off")
    assert proof.invalid("on", "budget:64")
    assert proof.invalid("on", "off") == ()
    once = check_switch(budgets, outputs={**outputs, "budget:64": [*held[:19], over[19]]})
    assert codes(once.findings) == [FindingCode.BUDGET_NOT_HELD]
    assert once.invalid("budget:64", "off") == ()


def test_efforts_whose_lengths_are_a_coin_toss_are_doubted() -> None:
    lengths = {"low": [100, 200] * 10, "high": [200, 100] * 10}
    proof = check_switch(cell("low", "high"), outputs={mode: wrote(*tokens) for mode, tokens in lengths.items()})
    (finding,) = proof.findings
    assert finding.code is FindingCode.EFFORT_NOT_SEEN
    assert finding.detail == "low median 150 tokens, high median 150 tokens, 20 prompts, p = 1"
    assert proof.invalid("high", "low") == ()
    few = {mode: wrote(*tokens[:19]) for mode, tokens in lengths.items()}
    assert check_switch(cell("low", "high"), outputs=few).findings == ()
    longer = {"low": wrote(*[100] * 20), "high": wrote(*[90] * 5, *[150] * 15)}
    assert check_switch(cell("low", "high"), outputs=longer).findings == ()


def test_thinking_switched_off_is_no_effort() -> None:
    outputs = {"off": wrote(*[0] * 30), "on": wrote(*[9] * 15, *[0] * 15)}
    assert FindingCode.EFFORT_NOT_SEEN not in codes(check_switch(cell("off", "on"), outputs=outputs).findings)


@pytest.mark.parametrize(
    ("n_less", "n_more", "p"), [(0, 0, 1), (3, 3, 1), (0, 5, 1 / 16), (6, 0, 1 / 32), (1, 7, 9 / 128)]
)
def test_the_sign_test(n_less: int, n_more: int, p: float) -> None:
    assert sign_test(n_less, n_more) == p


@given(n_less=st.integers(0, 400), n_more=st.integers(0, 400))
def test_the_sign_test_knows_no_sides_and_is_a_probability(n_less: int, n_more: int) -> None:
    p = sign_test(n_less, n_more)
    assert p == sign_test(n_more, n_less)
    assert 0 < p <= 1


def test_only_a_budget_is_a_budget() -> None:
    assert [budget_of(mode) for mode in ("budget:256", "off", "budget", "budget:x")] == [256, None, None, None]
