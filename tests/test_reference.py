"""Published rows as they ship, the star rule, and what a run beside them is told. Every published row is read."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownName, UsageError
from harness.presets import preset
from harness.records import (
    Board,
    Boundary,
    Cell,
    EngineFacts,
    EngineOptions,
    Estimate,
    Method,
    ModeSummary,
    PairedCheckpoint,
    RunManifest,
    Sampling,
    Site,
    Summary,
)
from harness.reference.aies import TEXT_GENERATION, V1, aies_rows
from harness.reference.ceiling import ceilings
from harness.reference.conditions import AS_PUBLISHED, OWN_LIMIT, Conditions, conditions_of, contrast, sampling_words
from harness.reference.matching import TOLERANCE, Verdict, matches, outer_interval, verdict_of
from harness.reference.mlenergy import mlenergy_rows
from harness.reference.report import reference_report, table_named
from harness.reference.rows import PublishedRow, Quantity, Status, asset, head
from harness.reference.stars import class_of, cut_points, scale, star_rating, stars

GPU = "GPU-11111111-2222-3333-4444-555555555555"
ROWS = (*aies_rows(), *mlenergy_rows())
H100 = Board(
    uuid=GPU,
    name="NVIDIA H100 80GB HBM3",
    memory_bytes=85_520_809_984,
    power_limit_default_w=700.0,
    power_limit_w=700.0,
    mig=False,
)
V1_CLASS_A = {  # by the cuts published in February 2025: 1.313, 6.799, 12.284, 17.770, 23.255, 28.741
    5: "distilgpt2 gpt2 gpt2-medium gpt2-large openai-gpt phi-1 phi-1_5 OLMo-1B-hf opt-125m",
    4: "gpt2-xl phi-2 opt-2.7b SmolLM2-1.7B-Instruct SmolLM-1.7B SmolLM-135M SmolLM-360M gemma-2b",
    3: "OLMo-1.7-7B-hf falcon-7b Meta-Llama-3-8B Llama-2-7b-hf Meta-Llama-3.1-8B",
    2: "Starling-LM-7B-alpha xLAM-7b-r aya-23-8B Mistral-7B-v0.1 Ministral-8B-Instruct-2410 gemma-7b gemma-2-2b-it "
    "Yi-1.5-9B",
    1: "phi-4 Llama-2-13b-hf",
}


def manifest(board: Board | None = H100, *, executed: str = "float16", **changes: Any) -> RunManifest:
    boards = () if board is None else (board,)
    engine = EngineFacts(
        device_name="cpu" if board is None else board.name,
        device_uuids=tuple(each.uuid for each in boards),
        revision="0" * 40,
        n_parameters=8_000_000_000,
        bytes_per_parameter=2.0,
        executed_precision=executed,
        requested_precision=executed,
        layer_classes={},
        attention="sdpa",
        context_length=None,
        weights_format="safetensors",
        generation_config={},
    )
    site = Site(
        hostname_sha256="0" * 64,
        platform="Linux",
        cpu="one",
        n_cpu_cores=2,
        memory_bytes=1,
        boards=boards,
        driver="580.0",
        cuda="13.0",
        python="3.11",
        packages={"transformers": "5.23.0"},
    )
    known: dict[str, Any] = {
        "harness_version": "0",
        "run_id": "run",
        "cell_id": "cell",
        "session": 0,
        "started_utc": "2026-01-02T03:04:05Z",
        "origin_unix_s": 0.0,
        "origin_monotonic_s": 0.0,
        "command": (),
        "git_commit": None,
        "site": site,
        "engine": engine,
        "channels": (),
        "headline": Boundary.GPU_BOARD,
        "meter_gpus": "auto",
        "n_prompts": 50,
        "store_text": "hash",
        "tariff_per_kwh": None,
        "findings": (),
    }
    return RunManifest(**{**known, **changes})


def mode_of(name: str, n_prompts: int, energy_j: float) -> ModeSummary:
    """A mode whose queries all cost about `energy_j` joules, for 100 output tokens each."""

    def around(value: float) -> Estimate:
        return Estimate(value=value, low=0.97 * value, high=1.03 * value, half_width_reading=0.01 * value)

    unknown = Estimate(value=None)
    return ModeSummary(
        mode=name,
        n_queries=n_prompts,
        n_failed=0,
        n_without_energy=0,
        n_scored=0,
        n_correct=0,
        n_cut=0,
        accuracy=unknown,
        duration_s=unknown,
        prompt_tokens=None,
        thinking_tokens=unknown,
        answer_tokens=unknown,
        output_tokens=100.0,
        energy_j=around(energy_j),
        energy_net_j=unknown,
        energy_per_output_token_j=around(energy_j / 100),
        energy_per_correct_j=unknown,
        energy_wh_per_1000=around(energy_j / 3.6),
        duration_per_output_token_s=None,
        phases_j={},
        phases_s={},
        power_w=None,
    )


def run(
    source: str = "Qwen/Qwen3-8B",
    modes: tuple[str, ...] = ("off", "on"),
    *,
    n_prompts: int = 50,
    energy_j: float = 300.0,
    estimated: bool = False,
    **changes: Any,
) -> Summary:
    """A summary, with whatever is particular about its cell."""
    known: dict[str, Any] = {
        "model": source.rpartition("/")[2].lower(),
        "source": source,
        "revision": "0" * 40,
        "engine": EngineOptions(device="cuda"),
        "dtype": "bfloat16",
        "quantization": "none",
        "prompt_set": "everyday",
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": modes,
        "max_new_tokens": 8192,
        "seed": 1,
    }
    return Summary(
        run_id="run",
        cell=Cell(**{**known, **changes}),
        site_id="0123456789ab",
        headline=Boundary.GPU_BOARD,
        method=Method.ESTIMATED if estimated else Method.NVML_COUNTER,
        estimated=estimated,
        power_idle_w=Estimate(value=None),
        n_sessions=1,
        n_prompts_planned=n_prompts,
        tariff_per_kwh=None,
        modes=tuple(mode_of(mode, n_prompts, energy_j) for mode in modes),
        findings=(),
    )


def by_model(rows: tuple[PublishedRow, ...], **wanted: Any) -> dict[str, PublishedRow]:
    kept = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return {row.model: row for row in kept}


# ------------------------------------------------------------------------------------------ the tables


def test_every_published_row_ships() -> None:
    assert len(aies_rows()) == 62 + 21 + 11
    assert len(mlenergy_rows()) == 1858 + 24
    for row in ROWS:
        assert row.values
        assert all(math.isfinite(value) and value > 0 for value in row.values.values())
        assert row.model
        assert row.source
        assert row.sound or row.note, f"{row.model} is {row.status} and does not say why"


@pytest.mark.parametrize(
    "name", ["aies_text_generation", "aies_reasoning", "aies_other_tasks", "mlenergy_v3", "mlenergy_v2_chat"]
)
def test_each_table_says_where_it_is_from_and_under_what_licence(name: str) -> None:
    words = head(f"{name}.csv")
    assert "Source: " in words
    assert "licence" in words or "Apache-2.0" in words
    assert "202" in words
    assert not re.search(r"/work|/tmp|knowledge", words)


def test_no_table_lies_about_unread() -> None:
    """Each CSV in the package is read by a table."""
    shipped = {each.name for each in (files("harness") / "assets" / "reference").iterdir()}
    assert shipped == {
        "aies_text_generation.csv",
        "aies_reasoning.csv",
        "aies_other_tasks.csv",
        "mlenergy_v3.csv",
        "mlenergy_v2_chat.csv",
    }


def test_rows_that_must_not_be_believed_are_marked() -> None:
    reasoning = [
        (row.model, row.values[Quantity.WH_PER_1000], row.status) for row in aies_rows() if row.task == "reasoning"
    ]
    assert ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 308185.51, Status.SUPERSEDED) in reasoning
    assert ("tencent/Hunyuan-1.8B-Instruct", 12.5, Status.ARTEFACT) in reasoning
    assert ("Qwen/Qwen3-0.6B", 5889, Status.ARTEFACT) in reasoning
    assert ("Qwen/Qwen3-Next-80B-A3B-Thinking", 276.67, Status.ARTEFACT) in reasoning
    assert all(row.status is Status.SUPERSEDED for row in mlenergy_rows() if row.release == "v2")


def test_rows_called_repeated_stand_in_the_other_table() -> None:
    once = {row.model: row.values for row in aies_rows() if row.task == TEXT_GENERATION}
    repeated = [row for row in aies_rows() if row.status is Status.REPEATED]
    assert len(repeated) == 4
    assert all(once[row.model] == row.values for row in repeated)


def test_b200_rows_called_host_bound_are_those_slower_than_the_h100() -> None:
    """Problem solving on one B200 at batch 64 and below, where a token takes longer than on the H100 at that batch."""
    rows = [row for row in asset("mlenergy_v3.csv") if row["task"] == "gpqa"]
    on_h100: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["gpu"] == "H100":
            on_h100.setdefault((row["model"], row["batch_size"]), float(row["median_itl_ms"]))
    small = [r for r in rows if r["gpu"] == "B200" and r["n_gpus"] == "1" and int(r["batch_size"]) <= 64]
    slower = [float(row["median_itl_ms"]) > on_h100.get((row["model"], row["batch_size"]), math.inf) for row in small]
    assert [row["status"] == "doubtful" for row in small] == slower
    assert sum(slower) == sum("host-bound" in row["note"] for row in rows) == 24


@pytest.mark.parametrize(("gpu", "ratio"), [("B200", 25.2), ("H100 80GB HBM3", 23.1)])
def test_headline_ratio_of_ml_energy_follows_from_the_shipped_rows(gpu: str, ratio: float) -> None:
    """Mean over models of the cheapest configuration's joules per request: problem solving over chat."""
    means = {}
    for task in ("gpqa", "lm-arena-chat"):
        cheapest: dict[str, float] = {}
        for row in mlenergy_rows():
            if row.task == task and row.conditions.gpu == gpu:
                energy_j = row.values[Quantity.J_PER_QUERY]
                cheapest[row.model] = min(energy_j, cheapest.get(row.model, math.inf))
        means[task] = sum(cheapest.values()) / len(cheapest)
    assert means["gpqa"] / means["lm-arena-chat"] == pytest.approx(ratio, abs=0.05)


def test_gpt_oss_costs_the_same_per_token_at_every_effort() -> None:
    """The best anchor of that table: the energy is tokens times a constant."""
    found = [row for row in aies_rows() if row.model == "openai/gpt-oss-20b" and row.task == "reasoning"]
    per_token = [row.values[Quantity.J_PER_OUTPUT_TOKEN] for row in found]
    assert len(found) == 3
    assert max(per_token) / min(per_token) < 1.02
    for row in found:
        joules = row.values[Quantity.WH_PER_1000] * 3.6
        assert joules / (row.output_tokens or math.nan) == pytest.approx(
            row.values[Quantity.J_PER_OUTPUT_TOKEN], rel=0.005
        )


# ----------------------------------------------------------------------------------------- stars


def test_star_rule_gives_the_published_cut_points() -> None:
    values = scale("v1", "A")
    least, *_, most = cut_points(values)
    assert (least, most) == (1.313, 28.741)
    assert (most - least) / 5 == pytest.approx(5.486, abs=5e-4)
    assert [round(cut, 3) for cut in cut_points(values)] == [1.313, 6.799, 12.284, 17.77, 23.255, 28.741]


def test_star_rule_over_every_published_row_of_class_a() -> None:
    rows = by_model(aies_rows(), task=TEXT_GENERATION, release="v1", class_="A")
    found: dict[int, set[str]] = {}
    for model, row in rows.items():
        given_stars = stars(row.values[Quantity.WH_PER_1000], scale("v1", "A"))
        found.setdefault(given_stars, set()).add(model.rpartition("/")[2])
    assert sum(map(len, found.values())) == 32
    assert found == {count: set(names.split()) for count, names in V1_CLASS_A.items()}


def test_quintiles_would_give_other_stars() -> None:
    """The other reading of the documentation: a fifth of the models each."""
    values = sorted(scale("v1", "A"))
    differing = [value for rank, value in enumerate(values) if stars(value, values) != 5 - 5 * rank // len(values)]
    assert len(differing) >= 9


def test_one_outlier_sets_the_scale_of_the_second_release() -> None:
    least, first, *_, most = cut_points(scale("v2", "A"))
    assert (least, most) == (1.313, 81.82)
    assert first - least == pytest.approx(16.1, abs=0.01)
    assert first == pytest.approx(17.41, abs=0.01)


def test_published_stars_of_image_generation_fit_equal_widths() -> None:
    """Three stars were shown; the most was not, but one range of it gives all three."""
    rows = [row for row in aies_rows() if row.task == "image_generation"]
    shown = {row.values[Quantity.WH_PER_1000]: row.stars for row in rows if row.stars}
    assert set(shown.values()) == {5, 4, 2}
    values = [row.values[Quantity.WH_PER_1000] for row in rows]

    def fits(most: float) -> bool:
        return all(stars(value, [*values, most]) == count for value, count in shown.items())

    assert [most for most in range(1300, 2200, 100) if fits(most)] == [1500, 1600, 1700, 1800]


@given(st.lists(st.integers(1, 10_000), min_size=2, unique=True), st.integers(0, 10_001), st.integers(0, 10_001))
def test_less_energy_never_has_fewer_stars(values: list[int], one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= stars(high, values) <= stars(low, values) <= 5
    assert stars(min(values), values) == 5
    assert stars(max(values), values) == 1
    assert stars(min(values) - 1, values) == 5
    assert stars(max(values) + 1, values) == 1


def test_a_value_on_a_cut_has_the_better_stars() -> None:
    values = [0.0, 5.0]
    assert [stars(cut, values) for cut in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)] == [5, 5, 4, 3, 2, 1]
    assert [stars(math.nextafter(cut, 6.0), values) for cut in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)] == [5, 4, 3, 2, 1, 1]


@pytest.mark.parametrize(("release", "class_"), [(release, class_) for release in ("v1", "v2") for class_ in "ABC"])
def test_no_published_value_lies_on_a_cut(release: str, class_: str) -> None:
    """So which side a cut belongs to decides none of their stars."""
    values = scale(release, class_)
    inner = cut_points(values)[1:-1]
    assert min(abs(value / cut - 1) for value in values for cut in inner) > 1e-4


def test_no_scale_without_two_values() -> None:
    for values in ([], [3.0], [3.0, 3.0]):
        with pytest.raises(UsageError):
            stars(3.0, values)


OURS_V1 = replace(
    V1, model="meta-llama/Llama-3.2-3B", gpu="H100 80GB HBM3", number_of_gpus=1, power_limit=OWN_LIMIT, mode="default"
)
TEN_WH = Estimate(value=10.0, low=9.0, high=11.0, half_width_reading=0.1, half_width_gain=0.5)


def test_a_run_on_the_protocol_and_the_board_gets_stars() -> None:
    rating = star_rating(OURS_V1, TEN_WH, "v1", n_parameters=3_000_000_000)
    assert (rating.stars, rating.class_, rating.n_models) == (4, "A", 32)
    assert (rating.least, rating.most, rating.moves_scale) == (1.313, 28.741, False)
    assert rating.width == pytest.approx(5.486, abs=5e-4)
    assert "indicative" in rating.sentence
    assert "not their label" in rating.sentence


OFF_THE_RULE = [
    ("gpu", "H200 141GB"),
    ("gpu", "H100 NVL 94GB"),
    ("gpu", "H100 80GB HBM3, a MIG slice"),
    ("gpu", "none"),
    ("gpu", None),
    ("number_of_gpus", 2),
    ("power_limit", "450 W"),
    ("protocol", "paired"),
    ("protocol", "aies-v2"),
    ("precision", "bfloat16"),
    ("mode", "on"),
    ("token_cap", 8192),
    ("sampling", "T 0.7, top_p 0.9, top_k 50"),
    ("prompts", "everyday"),
    ("number_of_prompts", 10),
    ("batch_size", 8),
    ("energy", "estimated"),
    ("boundary", "gpu_board+host"),
]


@pytest.mark.parametrize(("condition", "value"), OFF_THE_RULE)
def test_stars_are_refused_off_the_board_or_the_protocol(condition: str, value: Any) -> None:
    changed: dict[str, Any] = {condition: value}
    rating = star_rating(replace(OURS_V1, **changed), TEN_WH, "v1", n_parameters=3_000_000_000)
    assert rating.stars is None
    assert rating.refused[0].startswith(condition.replace("_", " ").replace("gpu", "GPU"))
    assert rating.sentence.startswith("No stars: ")


def test_stars_are_refused_without_energy_or_class() -> None:
    assert star_rating(OURS_V1, Estimate(value=None), "v1", n_parameters=1).refused == ("the run has no energy",)
    assert star_rating(OURS_V1, TEN_WH, "v1").refused == ("its class is not known",)


@pytest.mark.parametrize(("value", "expected"), [(0.5, 5), (40.0, 1)])
def test_a_value_outside_the_scale_is_said_to_move_it(value: float, expected: int) -> None:
    rating = star_rating(OURS_V1, Estimate(value=value), "v1", n_parameters=1)
    assert (rating.stars, rating.moves_scale) == (expected, True)
    assert "would move the scale" in rating.sentence


def test_an_interval_over_a_cut_gives_a_range_of_stars() -> None:
    rating = star_rating(OURS_V1, TEN_WH.model_copy(update={"low": 5.0, "high": 12.5}), "v1", n_parameters=1)
    assert (rating.stars_fewest, rating.stars, rating.stars_most) == (3, 4, 5)
    assert "3 to 5 over our interval" in rating.sentence


def test_classes_are_as_listed_or_by_parameters() -> None:
    assert class_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 32_000_000_000) == "C"
    assert [class_of("new/model", n * 10**9) for n in (20, 21, 66, 67)] == ["A", "B", "B", "C"]
    assert class_of("new/model", None) is None


# ------------------------------------------------------------------------------- conditions and rows


def test_conditions_of_a_run_on_a_board() -> None:
    summary = run(dtype="auto", protocol="aies-v2-1", caps={"on": 8192, "off": 10}, min_new_tokens={"off": 10})
    own = conditions_of(summary, manifest(executed="bfloat16"), "off")
    assert own == Conditions(
        model="Qwen/Qwen3-8B",
        gpu="H100 80GB HBM3",
        number_of_gpus=1,
        power_limit=OWN_LIMIT,
        engine="transformers",
        engine_version="5.23.0",
        precision=f"bfloat16, {AS_PUBLISHED}",
        batch_size=1,
        protocol="aies-v2",
        mode="off",
        token_cap=10,
        fewest_tokens=10,
        sampling="the model's own",
        prompts="everyday",
        number_of_prompts=50,
    )


def test_without_a_manifest_the_board_is_unknown_and_on_a_cpu_there_is_none() -> None:
    summary = run()
    assert conditions_of(summary, None, "off").gpu is None
    assert conditions_of(summary, None, "off").number_of_gpus is None
    on_cpu = conditions_of(summary, manifest(None), "off")
    assert (on_cpu.gpu, on_cpu.number_of_gpus, on_cpu.power_limit) == ("none", 0, None)


@pytest.mark.parametrize(
    ("changes", "gpu", "limit"),
    [
        ({"name": "NVIDIA H100 PCIe"}, "H100 PCIe 80GB", OWN_LIMIT),
        ({"name": "NVIDIA H100 NVL", "memory_bytes": 100_485_038_080}, "H100 NVL 94GB", OWN_LIMIT),
        ({"mig": True}, "H100 80GB HBM3, a MIG slice", OWN_LIMIT),
        ({"power_limit_w": 450.0}, "H100 80GB HBM3", "450 W"),
        ({"power_limit_w": None}, "H100 80GB HBM3", None),
    ],
)
def test_boards_are_told_apart(changes: dict[str, Any], gpu: str, limit: str | None) -> None:
    own = conditions_of(run(), manifest(H100.model_copy(update=changes)), "off")
    assert (own.gpu, own.power_limit) == (gpu, limit)


def test_precision_is_what_was_executed() -> None:
    told = manifest(executed="bfloat16")
    assert conditions_of(run(dtype="bfloat16"), told, "off").precision == "bfloat16"
    assert conditions_of(run(dtype="bfloat16"), None, "off").precision == "bfloat16"
    assert conditions_of(run(dtype="auto"), None, "off").precision is None
    fallen_back = told.model_copy(update={"engine": told.engine.model_copy(update={"requested_precision": "fp8"})})
    assert conditions_of(run(dtype="auto"), fallen_back, "off").precision == "bfloat16", "not as published"


def test_only_the_boards_that_hold_the_model_count() -> None:
    alone = manifest()
    beside = H100.model_copy(update={"uuid": "GPU-2", "name": "NVIDIA L4", "memory_bytes": 24 * 2**30})
    both = alone.model_copy(update={"site": alone.site.model_copy(update={"boards": (beside, H100)})})
    assert conditions_of(run(), both, "off") == conditions_of(run(), alone, "off")
    holding = alone.engine.model_copy(update={"device_uuids": (beside.uuid, H100.uuid)})
    spread = conditions_of(run(), both.model_copy(update={"engine": holding}), "off")
    assert (spread.number_of_gpus, spread.gpu) == (2, "H100 80GB HBM3 and L4 24GB")


def test_the_second_checkpoint_of_a_pair_is_the_model_of_its_modes() -> None:
    pair = PairedCheckpoint(model="thinker", source="Qwen/Qwen3-30B-A3B-Thinking-2507", revision="0", modes=("on",))
    summary = run("Qwen/Qwen3-30B-A3B-Instruct-2507", pair=pair)
    assert conditions_of(summary, manifest(), "off").model == "Qwen/Qwen3-30B-A3B-Instruct-2507"
    thinking = conditions_of(summary, manifest(), "on")
    assert thinking.model == "Qwen/Qwen3-30B-A3B-Thinking-2507"
    assert thinking.gpu is None, "where the second checkpoint lay is not known before it was loaded"


def test_a_two_phase_run_and_an_estimated_one_are_not_called_measured() -> None:
    assert conditions_of(run(lengths_batch_size=16), None, "off").energy == "two-phase"
    assert conditions_of(run(estimated=True), None, "off").energy == "estimated"


def test_sampling_is_spelled_one_way() -> None:
    assert sampling_words(None) == sampling_words(Sampling()) == "the model's own"
    assert sampling_words(Sampling(do_sample=False)) == "greedy"
    asked = Sampling(temperature=0.7, top_p=0.9, top_k=50)
    assert sampling_words(asked) == sampling_words(asked.model_copy(update={"do_sample": True}))


@pytest.mark.parametrize("status", list(Status))
def test_every_row_matches_itself_and_only_sound_ones_get_a_verdict(status: Status) -> None:
    """A run under exactly a row's conditions, with its figures, finds the row."""
    rows = [row for row in ROWS if row.status is status]
    assert rows
    for row in rows:
        estimates = {quantity: Estimate(value=value, low=value, high=value) for quantity, value in row.values.items()}
        itself = matches(row.conditions, estimates, [row])
        assert [match.differences for match in itself] == ([] if status is Status.REPEATED else [()]), row
        assert all(match.matches == row.sound for match in itself)
        assert all((match.verdict is Verdict.WITHIN) == row.sound for match in itself)
        assert all(row.sound or row.note in match.sentence for match in itself)


STATED = [field.name for field in fields(Conditions) if getattr(replace(OURS_V1, engine_version="1"), field.name)]


@given(st.sampled_from(STATED))
def test_one_changed_condition_is_the_one_that_is_named(name: str) -> None:
    theirs = replace(OURS_V1, engine_version="1")
    other: dict[str, Any] = {name: "something else"}
    nothing: dict[str, Any] = {name: None}
    ours = replace(theirs, **other)
    found = contrast(ours, theirs)
    assert [each.condition for each in found.differences] == [name.replace("_", " ").replace("gpu", "GPU")]
    assert contrast(theirs, theirs).differences == ()
    assert "unknown" in str(contrast(replace(theirs, **nothing), theirs).differences[0])
    assert contrast(ours, replace(theirs, **nothing)).differences == ()


# ----------------------------------------------------------------------------------------- verdicts


def test_interval_holds_all_four_parts() -> None:
    estimate = Estimate(value=100.0, low=97.0, high=104.0, half_width_reading=4.0, half_width_runs=12.0)
    assert outer_interval(estimate) == pytest.approx((87.0, 100 + math.hypot(4, 4, 12)))
    assert outer_interval(estimate.model_copy(update={"half_width_gain": 84.0}))[0] == pytest.approx(100 - 85.0)  # type: ignore[index]
    assert outer_interval(Estimate(value=1.0)) is None
    assert outer_interval(Estimate(value=None)) is None


def test_verdicts_at_their_ends() -> None:
    assert verdict_of((90.0, 110.0), 121.0 * (1 - 1e-12), 0.1) is Verdict.WITHIN
    assert verdict_of((90.0, 110.0), 121.1, 0.1) is Verdict.BELOW
    assert verdict_of((99.0, 110.0), 90.0 * (1 + 1e-12), 0.1) is Verdict.WITHIN
    assert verdict_of((99.0, 110.0), 89.9, 0.1) is Verdict.ABOVE


@given(st.floats(1, 100), st.floats(1, 2), st.floats(0.1, 1000), st.floats(0, 0.5), st.integers(-10, 10))
def test_a_verdict_knows_no_unit(low: float, spread: float, theirs: float, tolerance: float, power: int) -> None:
    unit = 2.0**power
    said = verdict_of((low, low * spread), theirs, tolerance)
    assert verdict_of((low * unit, low * spread * unit), theirs * unit, tolerance) is said
    wider = verdict_of((low, low * spread), theirs, tolerance + 0.2)
    assert wider in (said, Verdict.WITHIN)


def published(model: str, batch_size: int, task: str = "lm-arena-chat") -> PublishedRow:
    rows = [row for row in mlenergy_rows() if row.model == model and row.task == task]
    return next(r for r in rows if r.conditions.batch_size == batch_size and r.conditions.gpu == "H100 80GB HBM3")


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, Verdict.WITHIN), (1.15, Verdict.WITHIN), (1.3, Verdict.ABOVE), (0.75, Verdict.BELOW)]
)
def test_a_run_that_serves_as_they_did_is_held_against_their_row(factor: float, verdict: Verdict) -> None:
    row = published("Qwen/Qwen3-8B", 64)
    ours = replace(row.conditions, mode="off")
    estimates = {
        quantity: Estimate(value=factor * value, low=0.95 * factor * value, high=1.05 * factor * value)
        for quantity, value in row.values.items()
    }
    nearest, *others = matches(ours, estimates, mlenergy_rows())
    assert nearest.row is row
    assert nearest.verdict is verdict
    assert {each.verdict for each in nearest.figures} == {verdict}
    assert all(each.ratio == pytest.approx(factor) for each in nearest.figures)
    assert others
    assert all(match.verdict is Verdict.NOT_COMPARABLE for match in others)
    assert all(match.differences for match in others)


def test_one_figure_outside_decides() -> None:
    row = published("Qwen/Qwen3-8B", 64)
    estimates = {quantity: Estimate(value=v, low=v, high=v) for quantity, v in row.values.items()}
    estimates[Quantity.J_PER_QUERY] = Estimate(value=1e4, low=1e4, high=1e4)
    found = matches(row.conditions, estimates, [row])[0]
    assert found.verdict is Verdict.ABOVE
    assert "above in J per query" in found.sentence


def test_without_an_interval_there_is_no_verdict() -> None:
    row = published("Qwen/Qwen3-8B", 64)
    found = matches(row.conditions, {quantity: Estimate(value=v) for quantity, v in row.values.items()}, [row])[0]
    assert found.matches
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "too few queries" in found.sentence


def test_a_family_named_without_owner_is_shown_and_never_matches() -> None:
    ours = replace(published("meta-llama/Llama-3.1-8B-Instruct", 64).conditions)
    old = [match for match in matches(ours, {}, mlenergy_rows()) if match.row.release == "v2"]
    assert len(old) == 9
    assert all("model" in {each.condition for each in match.differences} for match in old)


# ----------------------------------------------------------------------------------------- the ceiling


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("Qwen/Qwen3-8B", 3.55),
        ("meta-llama/Llama-3.1-8B-Instruct", 3.64),
        ("Qwen/Qwen3-14B", 5.65),
    ],
)
def test_a_token_alone_costs_at_most_a_step_of_eight(model: str, limit: float) -> None:
    row = published(model, 8)
    ours = replace(row.conditions, engine="transformers", batch_size=1)
    below, above = limit - 1, limit * (1 + TOLERANCE) + 0.1
    held = {each.row.task: each for each in ceilings(ours, Estimate(value=below), mlenergy_rows())}
    assert held["lm-arena-chat"].limit == pytest.approx(limit, abs=0.005)
    assert held["lm-arena-chat"].held
    broken = {each.row.task: each for each in ceilings(ours, Estimate(value=above), mlenergy_rows())}
    assert not broken["lm-arena-chat"].held
    assert "leave the board waiting" in broken["lm-arena-chat"].sentence


def test_the_ceiling_is_of_one_board_one_precision_and_batch_one() -> None:
    ours = replace(published("Qwen/Qwen3-8B", 8).conditions, batch_size=1)
    two = Estimate(value=2.0)
    assert len(ceilings(ours, two, mlenergy_rows())) == 2, "chat and problem solving"
    assert not ceilings(replace(ours, gpu="H200 141GB"), two, mlenergy_rows())
    assert not ceilings(replace(ours, gpu=None), two, mlenergy_rows())
    assert not ceilings(replace(ours, precision="fp8"), two, mlenergy_rows())
    assert not ceilings(replace(ours, batch_size=2), two, mlenergy_rows())
    assert not ceilings(replace(ours, energy="estimated"), two, mlenergy_rows())
    assert not ceilings(ours, Estimate(value=None), mlenergy_rows())


# ----------------------------------------------------------------------------------------- the report


def test_report_of_a_run_that_nobody_published() -> None:
    report = reference_report(run("somebody/else"), manifest(), "mlenergy")
    assert not any(mode.matches for mode in report.modes)
    assert [mode.mode for mode in report.modes] == ["off", "on"]
    assert all(mode.matches == mode.others == () for mode in report.modes)
    assert all("No matching row" in mode.sentence for mode in report.modes)
    assert all(mode.rating is None for mode in report.modes)


def test_report_names_every_difference_of_the_nearest_row() -> None:
    report = reference_report(run("Qwen/Qwen3-8B"), manifest(executed="bfloat16"), "mlenergy")
    off, on = report.modes
    nearest = off.others[0]
    assert (nearest.row.task, nearest.row.conditions.gpu, nearest.row.conditions.batch_size) == (
        "lm-arena-chat",
        "H100 80GB HBM3",
        8,
    )
    named = {each.condition for each in nearest.differences}
    assert named == {
        "engine",
        "engine version",
        "batch size",
        "protocol",
        "token cap",
        "sampling",
        "prompts",
        "number of prompts",
    }
    assert all(name in off.sentence for name in named)
    assert on.others[0].row.task == "gpqa"
    assert {each.row.task for each in off.ceilings} == {"gpqa", "lm-arena-chat"}


def aies_run(energy_j: float = 62.0, *, estimated: bool = False) -> Summary:
    """`--protocol aies-v1` on a model of their table."""
    return run(
        "meta-llama/Meta-Llama-3-8B",
        ("default",),
        n_prompts=1000,
        energy_j=energy_j,
        estimated=estimated,
        **of_preset("aies-v1"),
    )


def of_preset(name: str) -> dict[str, Any]:
    """What a preset fixes of a cell."""
    found = preset(name)
    return {
        "protocol": found.protocol,
        "dtype": found.dtype,
        "max_new_tokens": found.max_new_tokens or 8192,
        "caps": found.caps,
        "min_new_tokens": found.min_new_tokens,
        "sampling": found.sampling,
        "prompt_set": found.prompts or "own",
        "order": found.order,
    }


@pytest.mark.parametrize(
    ("name", "source", "mode", "executed", "task"),
    [
        ("aies-v1", "microsoft/phi-2", "default", "float16", "text_generation"),
        ("aies-v2", "HuggingFaceTB/SmolLM3-3B", "off", "bfloat16", "text_generation"),
        ("aies-v2", "swiss-ai/Apertus-8B-Instruct-2509", "default", "bfloat16", "text_generation"),
        ("aies-v2", "HuggingFaceTB/SmolLM3-3B", "on", "bfloat16", "reasoning"),
        ("aies-v2", "openai/gpt-oss-20b", "low", "mxfp4", "reasoning"),
    ],
)
def test_a_run_by_their_preset_matches_their_row(name: str, source: str, mode: str, executed: str, task: str) -> None:
    n_prompts = preset(name).num_prompts or 0
    summary = run(source, (mode,), n_prompts=n_prompts, **of_preset(name))
    (found,) = reference_report(summary, manifest(executed=executed), "aies").modes
    assert [match.row.task for match in found.matches][:1] == [task]


@pytest.mark.parametrize(("name", "mode"), [("mlenergy-chat", "off"), ("mlenergy-gpqa", "on")])
def test_a_run_by_the_other_preset_differs_in_engine_and_batch(name: str, mode: str) -> None:
    summary = run(modes=(mode,), n_prompts=preset(name).num_prompts or 1024, **of_preset(name))
    (found,) = reference_report(summary, manifest(executed="bfloat16"), "mlenergy").modes
    named = {each.condition for each in found.others[0].differences}
    assert named - {"prompts"} == {"engine", "engine version", "batch size"}
    assert ("prompts" in named) == (name == "mlenergy-chat")


def test_report_of_their_protocol_on_their_board() -> None:
    """17.333 Wh per 1,000 queries are 62.4 J each."""
    report = reference_report(aies_run(), manifest(), "aies")
    (mode,) = report.modes
    assert any(mode.matches for mode in report.modes)
    assert [match.row.values[Quantity.WH_PER_1000] for match in mode.matches] == [17.333]
    assert mode.matches[0].verdict is Verdict.WITHIN
    assert mode.rating is not None
    assert mode.rating.stars == 3
    assert mode.rating.release == "v1"


def test_report_off_the_h100_has_neither_match_nor_stars() -> None:
    h200 = H100.model_copy(update={"name": "NVIDIA H200", "memory_bytes": 150_754_820_096})
    (mode,) = reference_report(aies_run(), manifest(h200), "aies").modes
    assert not mode.matches
    assert [each.condition for each in mode.others[0].differences] == ["GPU"]
    assert mode.rating is not None
    assert mode.rating.refused == ("GPU is H200 140GB, theirs H100 80GB",)


def test_an_estimated_run_is_never_held_against_a_measured_row() -> None:
    (mode,) = reference_report(aies_run(estimated=True), manifest(), "aies").modes
    assert not mode.matches
    assert not mode.others[0].figures, "an estimate and a measurement never stand in one column"
    assert str(mode.others[0].differences[0]) == "energy: estimated, theirs measured"


def test_reasoning_gets_no_stars_and_says_why() -> None:
    summary = run("openai/gpt-oss-20b", ("low", "high"), protocol="aies-v2-1", prompt_set="aies-text-generation")
    for mode in reference_report(summary, manifest(executed="mxfp4"), "aies").modes:
        assert mode.rating is not None
        assert mode.rating.stars is None
        assert any("task of its own" in reason for reason in mode.rating.refused)
        assert mode.others[0].row.conditions.mode == mode.mode


def test_unknown_table_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="mlperf"):
        table_named("mlperf")


def test_the_documented_star_table_is_the_rule_over_the_rows() -> None:
    text = (Path(__file__).parents[1] / "docs" / "reference-tables.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| (\S+/\S+) \| ([\d.]+) \| (\d) \| (\d) \|$", text, re.MULTILINE)
    rows = by_model(aies_rows(), task=TEXT_GENERATION, release="v1", class_="A")
    expected = {
        (model, f"{value:g}", str(stars(value, scale("v1", "A"))), str(stars(value, scale("v2", "A"))))
        for model, value in ((model, row.values[Quantity.WH_PER_1000]) for model, row in rows.items())
    }
    assert set(printed) == expected
    assert len(printed) == 32
