"""Measuring protocols: what is shipped holds together, and `harness protocols` says it."""

from __future__ import annotations

import argparse

import pytest

from harness.cli import protocols
from harness.errors import UnknownName
from harness.presets import Preset, preset, presets
from harness.prompts.catalogue import names as prompt_sets
from harness.reasoning.switch import CANONICAL_ORDER, FamilyReasoning
from harness.records import ModeSwitch, ReasoningSpec

QWEN = ReasoningSpec(
    thinking_start="<think>",
    thinking_end="</think>",
    modes={
        "off": ModeSwitch(template={"enable_thinking": False}),
        "on": ModeSwitch(template={"enable_thinking": True}),
    },
)


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    parser = argparse.ArgumentParser()
    protocols.add_parser(parser.add_subparsers())
    options = parser.parse_args(["protocols", *arguments])
    assert options.main(options) == 0
    return capsys.readouterr().out


def test_our_own_protocol_comes_first_and_fixes_nothing_that_the_run_decides() -> None:
    own = next(iter(presets().values()))
    assert (own.protocol, own.is_published) == ("paired-1", False)
    assert (own.modes, own.max_new_tokens, own.caps, own.sampling, own.renderings) == (None, None, {}, None, {})
    assert (own.order, own.warm_up) == ("blocks", True)
    assert own.reasoning("Qwen/Qwen3-8B", QWEN) == QWEN
    assert own.reasoning("someone/model", None) is None


@pytest.mark.parametrize(
    "published", [each for each in presets().values() if each.is_published], ids=lambda it: it.name
)
def test_what_is_published_has_a_source_differences_and_a_cap_for_every_mode(published: Preset) -> None:
    assert published.source
    assert published.differences
    assert published.prompts is None or published.prompts in prompt_sets()
    modes = {mode for rendering in published.renderings.values() for mode in rendering} | set(published.modes or ())
    assert modes
    assert modes <= set(CANONICAL_ORDER) - {"budget"}
    assert all(published.cap(mode) for mode in modes)
    assert set(published.min_new_tokens) <= modes
    for rendering in published.renderings.values():
        assert all(FamilyReasoning(ReasoningSpec(modes=rendering)).switch(mode) for mode in rendering)


@pytest.mark.parametrize(
    ("source", "mode", "switch"),
    [
        ("Qwen/Qwen3-0.6B", "off", {"template": {"enable_thinking": True}}),
        ("Qwen/Qwen3-0.6B", "on", {"template": {"enable_thinking": True}}),
        ("HuggingFaceTB/SmolLM3-3B", "off", {"chat_template": False}),
        ("HuggingFaceTB/SmolLM3-3B", "on", {"chat_template": False, "prompt_prefix": "/think\n"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "off", {"chat_template": False, "prompt_prefix": "<think>"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "on", {}),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", "off", {"chat_template": False}),
        ("google/gemma-3-4b-pt", "default", {"chat_template": False}),
        ("zai-org/GLM-4.6", "default", {}),
        ("/somewhere/deepseek/granite-4.0-micro", "default", {}),
    ],
)
def test_aies_v2_gives_each_family_what_reached_it_there(source: str, mode: str, switch: dict[str, object]) -> None:
    spec = preset("aies-v2").reasoning(source, None)
    assert spec is not None
    assert spec.modes[mode] == ModeSwitch.model_validate(switch)


def test_aies_v2_knows_the_efforts_of_gpt_oss_and_calls_the_highest_off() -> None:
    spec = preset("aies-v2").reasoning("openai/gpt-oss-20b", None)
    assert spec is not None
    assert spec.modes["off"] == spec.modes["high"]
    texts = {effort: spec.modes[effort].prompt_prefix for effort in ("low", "medium", "high")}
    assert all(f"\nReasoning: {effort}\n" in text for effort, text in texts.items())
    assert {preset("aies-v2").cap(mode) for mode in ("low", "medium", "high")} == {8192}
    assert preset("aies-v2").cap("off") == 10


def test_somebody_elses_rendering_keeps_the_marks_and_leaves_no_room_for_budgets() -> None:
    spec = preset("aies-v2").reasoning("Qwen/Qwen3-8B", QWEN)
    assert spec is not None
    assert spec.thinking_end == "</think>"
    family = FamilyReasoning(spec)
    assert family.modes == ("off", "on")
    assert not family.takes_budgets


def test_a_protocol_is_found_by_name_and_by_its_present_revision_only() -> None:
    assert preset("aies-v1") is preset("aies-v1-1")
    with pytest.raises(UnknownName, match="aies-v1-7"):
        preset("aies-v1-7")


def test_the_list_names_every_protocol_with_its_cap(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(capsys, monkeypatch)
    assert all(name in said for name in presets())
    assert "32,768" in said


@pytest.mark.parametrize("name", list(presets()))
def test_one_in_full_says_what_it_fixes_what_it_lacks_and_where_that_was_read(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = " ".join(shown(capsys, monkeypatch, name).split())
    it = preset(name)
    assert said.startswith(f"{it.protocol}: {it.title}")
    assert all(" ".join(line.split()) in said for line in (*it.differences, *it.source))


def test_texts_in_a_rendering_are_shown_with_their_line_breaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = " ".join(shown(capsys, monkeypatch, "aies-v2").split())
    assert 'on: plain text, before the prompt "/think\\n"' in said
    assert "10 (off, default); 8,192 (on, low, medium, high)" in said


def test_an_unknown_protocol_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="'aies'"):
        shown(capsys, monkeypatch, "aies")
