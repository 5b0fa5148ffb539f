"""Run files, flags, overrides and the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.config import RunSpec, load_catalogue, load_run_spec
from harness.errors import UnknownName, UsageError
from harness.reasoning.switch import FamilyReasoning


def test_a_run_file_says_off_and_on_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("model: qwen3-8b\nmode: [off, on]\ntrust_remote_code: true\nengine: {attention: sdpa}\n")
    spec = load_run_spec(str(file), {"num_prompts": 7})
    assert (spec.model, spec.mode, spec.num_prompts) == (("qwen3-8b",), ("off", "on"), 7)
    assert spec.trust_remote_code is True
    assert spec.engine.attention == "sdpa"


def test_flags_win_over_the_file_and_overrides_over_both(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("seed: 1\nnum_prompts: 10\n")
    assert load_run_spec(str(file), {"seed": 2}, ("num-prompts=30",)).model_dump(include={"seed", "num_prompts"}) == {
        "seed": 2,
        "num_prompts": 30,
    }


@pytest.mark.parametrize(
    ("flags", "overrides", "nearest"),
    [({"num_promts": 5}, (), "num_prompts"), ({}, ("engine.atention=sdpa",), "attention")],
)
def test_an_unknown_key_is_refused_with_the_nearest(
    flags: dict[str, object], overrides: tuple[str, ...], nearest: str
) -> None:
    with pytest.raises(UnknownName) as refusal:
        load_run_spec(None, flags, overrides)
    assert f"Did you mean {nearest!r}?" in refusal.value.next_step


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"num_prompts": 0}, "num_prompts"),
        ({"tariff": -1.0}, "tariff"),
        ({"tariff": float("nan")}, "tariff"),
        ({"dtype": "float8"}, "dtype"),
        ({"store_text": "some"}, "store_text"),
        ({"seed": -1}, "seed"),
        *(({"weights": text}, "weights") for text in ("foo:bar", "0:0", "nan:1", "-1:1", "1:2:3", "inf:1", "", ":")),
        ({"serve": "vllm serve 'm"}, "serve"),
    ],
)
def test_a_value_that_cannot_be_meant_names_its_key(flags: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        load_run_spec(None, flags)


@pytest.mark.parametrize(("written", "share"), [("5%", 0.05), ("0.05", 0.05), (0.05, 0.05), ("2.5 %", 0.025)])
def test_a_half_width_is_written_in_per_cent_or_as_a_share(written: object, share: float) -> None:
    assert load_run_spec(None, {"until_ci": written}).until_ci == pytest.approx(share)


@pytest.mark.parametrize("written", ["5", "0", "100%", "-5%", "five%", "nan"])
def test_a_half_width_that_is_no_share_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match="until_ci"):
        load_run_spec(None, {"until_ci": written})


def test_budgets_are_modes_among_others(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("mode: [off, budget:256, on]\n")
    assert load_run_spec(str(file), {}).mode == ("off", "budget:256", "on")
    assert load_run_spec(None, {"mode": "budget:256, off"}).mode == ("budget:256", "off")


def test_a_protocol_is_known_by_its_name_with_or_without_its_revision() -> None:
    assert load_run_spec(None, {}).protocol == "paired"
    assert load_run_spec(None, {"protocol": "paired-1"}).protocol == "paired"
    assert load_run_spec(None, {"protocol": "aies-v2"}).protocol == "aies-v2"


@pytest.mark.parametrize(("name", "nearest"), [("aies-v3", "aies-v"), ("pared", "paired"), ("paired-2", "paired")])
def test_an_unknown_protocol_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match="protocol") as refusal:
        load_run_spec(None, {"protocol": name})
    assert f"Did you mean '{nearest}" in refusal.value.next_step


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"engine": "openai"}, "--engine openai needs a server"),
        ({"concurrency": "8"}, "--concurrency is a load on a server"),
        ({"batch_size": 8, "until_ci": "5%"}, "--until-ci looks between queries that run alone"),
        ({"two_phase": True, "until_ci": "5%"}, "--two-phase"),
        ({"protocol": "aies-v2", "two_phase": True}, "--two-phase: that would not be aies-v2 any more"),
        ({"protocol": "aies-v2", "until_ci": "5%"}, "--until-ci: that would not be aies-v2 any more"),
        ({"protocol": "aies-v2", "max_new_tokens": 100}, "--max-new-tokens: that would not be aies-v2 any more"),
        ({"protocol": "aies-v1", "mode": "off,on"}, "--mode: that would not be aies-v1 any more"),
        ({"protocol": "mlenergy-chat", "mode": "on"}, "--mode: that would not be mlenergy-chat any more"),
        ({"protocol": "aies-v1", "dtype": "bfloat16"}, "--dtype: that would not be aies-v1 any more"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        load_run_spec(None, flags)
    assert refusal.value.next_step


@pytest.mark.parametrize(
    "flags",
    [
        {"two_phase": True, "batch_size": 8},
        {"until_ci": "5%", "repeats": 3, "num_prompts": 200},
        {"protocol": "aies-v1", "mode": "default", "dtype": "float16", "num_prompts": 20},
        {"protocol": "aies-v2", "mode": "off,on", "dtype": "bfloat16"},
        {"protocol": "paired", "max_new_tokens": 100, "mode": "off,on"},
    ],
)
def test_what_goes_together_is_taken(flags: dict[str, object]) -> None:
    spec = load_run_spec(None, flags)
    assert RunSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UsageError):
        load_run_spec(str(file), {})


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="no `=`"):
        load_run_spec(None, {}, ("seed",))


def test_a_spec_survives_its_own_yaml_form() -> None:
    spec = RunSpec(model=("a", "b"), mode=("off", "on"), tariff=0.3)
    assert RunSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_every_catalogued_model_has_modes_and_the_embedded_one_comes_first() -> None:
    catalogue = load_catalogue()
    assert catalogue.models[0].name == "tiny-reasoner"
    assert len({entry.name for entry in catalogue.models}) == len(catalogue.models)
    for entry in catalogue.models:
        reasoning = FamilyReasoning(catalogue.mechanism(entry))
        assert reasoning.modes
        for mode in reasoning.modes:
            reasoning.switch(mode)


def test_a_model_is_found_by_name_id_and_pinned_revision() -> None:
    catalogue = load_catalogue()
    assert catalogue.entry("qwen3-8b") == catalogue.entry("Qwen/Qwen3-8B")
    pinned = catalogue.entry("qwen3-8b@0123456789abcdef0123456789abcdef01234567")
    assert (pinned.source, pinned.revision) == ("Qwen/Qwen3-8B", "0123456789abcdef0123456789abcdef01234567")
    assert catalogue.entry("someone/new-model").reasoning is None


def test_a_directory_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    entry = load_catalogue().entry(str(tmp_path / "my-model"))
    assert (entry.name, entry.source) == ("my-model", str(tmp_path / "my-model"))


@pytest.mark.parametrize("model", ["qwen3-8bb", "a/../b", "", "no such model"])
def test_an_unknown_model_is_refused(model: str) -> None:
    with pytest.raises(UsageError):
        load_catalogue().entry(model)


def test_an_unknown_mechanism_is_refused_by_name() -> None:
    catalogue = load_catalogue()
    with pytest.raises(UnknownName, match="qwen4"):
        catalogue.mechanism(catalogue.entry("someone/new-model"), "qwen4")


def test_the_other_half_of_a_pair_must_be_listed(tmp_path: Path) -> None:
    models = [{"name": "thinks", "source": "a/thinks", "pair": "answer"}, {"name": "answers", "source": "a/answers"}]
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"reasoning": {}, "models": models}))
    with pytest.raises(UnknownName, match="pair of thinks") as refusal:
        load_catalogue(str(file))
    assert "Did you mean 'answers'?" in refusal.value.next_step


def test_every_pair_of_the_catalogue_names_its_other_half_both_ways() -> None:
    catalogue = load_catalogue()
    paired = [entry for entry in catalogue.models if entry.pair is not None]
    assert paired
    for entry in paired:
        assert catalogue.entry(entry.pair or "").pair == entry.name


def test_weight_bytes_follow_precision() -> None:
    catalogue = load_catalogue()
    entry = catalogue.entry("qwen3-8b")
    assert entry.parameters is not None
    assert entry.weight_bytes == 2 * entry.parameters
    quantized = entry.model_copy(update={"quantization": "fp8"})
    assert quantized.weight_bytes == entry.parameters
    assert entry.model_copy(update={"parameters": None}).weight_bytes is None
