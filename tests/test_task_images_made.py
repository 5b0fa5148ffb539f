"""Images made of texts: phases, steps that were really run, and what is no such pipeline."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
from diffusers import PNDMScheduler

from harness.clock import SessionClock
from harness.engine.findings import failure
from harness.engine.source import ModelSource
from harness.engine.task.catalogue import options_of, task_named
from harness.engine.task.diffusing import open_pipeline
from harness.engine.task.engine import TaskEngine
from harness.engine.task.random_pipeline import write_pipeline
from harness.engine.task.runner import Place
from harness.errors import CellFailed, HarnessError, ModelUnavailable, OutOfMemory, UnusableInput, UsageError
from harness.records import FindingCode, Generation, Prompt

TASK = task_named("image-generation")
TEXT = Prompt(prompt_id="p1", text="A red bicycle leaning against a white wall.")
SIDE = 32


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion's parts with a few thousand parameters each."""
    folder = tmp_path_factory.mktemp("pipeline")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        write_pipeline(
            folder,
            channels=(4, 8),
            vae_channels=(4, 4, 4, 4),
            text_width=8,
            n_text_layers=1,
            n_heads=2,
            n_words=300,
            side_pixels=SIDE,
            distilled=False,
        )
    return folder


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    """One that may be spoilt."""
    return Path(shutil.copytree(pipeline, tmp_path / "copy"))


def engine_of(source: Path, *, dtype: str = "auto", trust: bool = False, **options: float) -> TaskEngine:
    return TaskEngine(
        task=TASK,
        options=options_of(TASK, options),
        source=str(source),
        revision="main",
        clock=SessionClock(),
        device="cpu",
        dtype=dtype,
        trust_remote_code=trust,
    )


@pytest.fixture(scope="module")
def engine(pipeline: Path) -> Iterator[TaskEngine]:
    loaded = engine_of(pipeline, steps=3)
    loaded.load()
    loaded.warnings()
    yield loaded
    loaded.close()


def runner_of(engine: TaskEngine) -> Any:
    assert engine._runner is not None
    return engine._runner


def made(engine: TaskEngine, prompt: Prompt = TEXT, seed: int = 0) -> Generation:
    return engine.generate(prompt, "default", 0, seed)


# ------------------------------------------------------------------------------------------ one image


def test_an_image_in_three_phases_that_touch(engine: TaskEngine) -> None:
    generation = made(engine)
    assert tuple(phase.name for phase in generation.phases) == TASK.phases
    assert all(before.time_end_s == after.time_start_s for before, after in pairwise(generation.phases))
    assert all(phase.time_end_s > phase.time_start_s for phase in generation.phases)
    n_tokens = len(runner_of(engine)._pipeline.tokenizer(TEXT.text)["input_ids"])
    assert generation.sizes == {"prompt_tokens": n_tokens, "denoising_steps": 3, "output_pixels": SIDE * SIDE}
    assert set(generation.sizes) == set(TASK.sizes)
    assert re.fullmatch(rf"sha256:[0-9a-f]{{64}} {SIDE}x{SIDE} RGB", generation.answer)
    assert generation.rendered_prompt == TEXT.text
    assert generation.findings == ()


def test_the_seed_decides_the_image_and_nothing_else_does(engine: TaskEngine) -> None:
    first, again, other = made(engine, seed=1), made(engine, seed=1), made(engine, seed=2)
    torch.rand(7)
    assert first.text == again.text == made(engine, seed=1).text != other.text
    assert first.text != made(engine, Prompt(prompt_id="p2", text="an owl"), seed=1).text


def test_the_phases_are_where_the_parts_run(engine: TaskEngine) -> None:
    """Instants noted by the parts themselves fall into the phases that are named after them."""
    runner = runner_of(engine)
    times: dict[str, float] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            times[name] = engine._clock.now_s()

        return hook

    parts = {"encode": runner._pipeline.text_encoder, "decode": runner._pipeline.vae.decoder}
    handles = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    handles.append(runner._denoiser.register_forward_hook(note("denoise")))
    try:
        generation = made(engine)
    finally:
        for handle in handles:
            handle.remove()
    for phase in generation.phases:
        assert phase.time_start_s <= times[phase.name] <= phase.time_end_s


@pytest.mark.parametrize("has_callback", [True, False])
def test_steps_are_counted_and_not_believed(
    engine: TaskEngine, monkeypatch: pytest.MonkeyPatch, has_callback: bool
) -> None:
    """This scheduler runs the denoiser once more than it is asked to."""
    runner = runner_of(engine)
    monkeypatch.setattr(runner, "_has_callback", has_callback)
    assert made(engine).sizes["denoising_steps"] == 3
    scheduler = PNDMScheduler.from_config(runner._pipeline.scheduler.config, skip_prk_steps=True)
    monkeypatch.setattr(runner._pipeline, "scheduler", scheduler)
    assert made(engine).sizes["denoising_steps"] == 4
    assert tuple(phase.name for phase in made(engine).phases) == TASK.phases


def test_guidance_is_a_larger_batch_and_not_more_steps(engine: TaskEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, batches = runner_of(engine), []
    handle = runner._denoiser.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    try:
        assert made(engine).sizes["denoising_steps"] == 3
        monkeypatch.setitem(runner._settings, "guidance_scale", 1.0)
        assert made(engine).sizes["denoising_steps"] == 3
    finally:
        handle.remove()
    assert batches == [2, 2, 2, 1, 1, 1]


def test_a_pipeline_that_stops_early_is_not_measured(engine: TaskEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(runner_of(engine)._pipeline), "num_timesteps", 5)
    with pytest.raises(CellFailed, match=r"after 3 denoising step"):
        made(engine)


# ------------------------------------------------------------------------------------------- inputs


def test_nothing_to_draw(engine: TaskEngine) -> None:
    with pytest.raises(UnusableInput, match="p2 is empty") as caught:
        made(engine, Prompt(prompt_id="p2", text=" \n"))
    assert failure(caught.value).code is FindingCode.INPUT_UNUSABLE
    assert made(engine).answer


def test_a_text_that_is_cut_says_so(engine: TaskEngine) -> None:
    generation = made(engine, Prompt(prompt_id="p2", text="a red bicycle " * 60))
    assert generation.sizes["prompt_tokens"] == 77
    assert [finding.code for finding in generation.findings] == [FindingCode.INPUT_TRUNCATED]
    assert generation.findings[0].detail.startswith("77 of ")


# ------------------------------------------------------------------------------------------- facts


def test_facts_are_of_all_parts_together(pipeline: Path) -> None:
    engine = engine_of(pipeline, steps=2, width=48, height=16)
    facts = engine.load()
    parts = [part for part in runner_of(engine)._pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert len(parts) == 3
    assert facts.n_parameters == sum(weight.numel() for part in parts for weight in part.parameters()) + 77
    assert {"Conv2d", "Linear"} <= set(facts.layer_classes)  # 77: positions of the text encoder, a buffer
    assert set(facts.libraries) == {"diffusers"}
    assert (facts.weights_format, facts.executed_precision, facts.requested_precision) == (
        "safetensors",
        "float32",
        "float32",
    )
    assert facts.attention == "AttnProcessor2_0+sdpa"
    assert facts.generation_config == {
        "pipeline": "StableDiffusionPipeline",
        "scheduler": "DDIMScheduler",
        "num_inference_steps": 2,
        "width": 48,
        "height": 16,
        "guidance_scale": 7.5,
        "safety_checker": False,
    }
    generation = made(engine)
    assert (generation.sizes["output_pixels"], generation.answer[-9:]) == (768, "48x16 RGB")
    engine.close()


def test_the_checkpoints_own_precision(copy: Path) -> None:
    for path in copy.glob("*/*.safetensors"):
        save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path, metadata={"format": "pt"})
    for dtype, expected in (("auto", "bfloat16"), ("float32", "float32")):
        engine = engine_of(copy, steps=1, dtype=dtype)
        facts = engine.load()
        assert (facts.requested_precision, facts.executed_precision) == (expected, expected)
        assert made(engine).sizes["denoising_steps"] == 1


def test_a_model_of_few_steps_is_run_as_its_card_says(pipeline: Path) -> None:
    def settings(**options: float) -> dict[str, Any]:
        source = ModelSource(name="stabilityai/sd-turbo", path=pipeline)
        place = Place(source=source, revision="main", device="cpu", options=options_of(TASK, options))
        return open_pipeline(place)[2]

    assert settings() == {"num_inference_steps": 1, "guidance_scale": 0.0}
    assert settings(steps=4) == {"num_inference_steps": 4, "guidance_scale": 0.0}


# -------------------------------------------------------------------------------- what cannot be used


def no_index(folder: Path) -> None:
    (folder / "model_index.json").rename(folder / "config.json")


def other_task(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionUpscalePipeline"}))


def no_denoiser(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": [None, None]}))


def own_code(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline", "Mine"]}))
    (folder / "pipeline.py").write_text("raise SystemExit('executed')")


def pickled(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def quantized(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {"quant_method": "x"}}))


def with_a_hole(part: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (path,) = (folder / part).glob("*.safetensors")
        weights = load_file(path)
        weights.pop(sorted(weights)[-1])
        save_file(weights, path, metadata={"format": "pt"})

    return spoil


def damaged(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (no_index, UsageError, "has no model_index.json"),
        (other_task, UsageError, "makes no images of texts"),
        (no_denoiser, UsageError, "no denoiser by the name of transformer or unet"),
        (own_code, UsageError, "code from its own repository"),
        (pickled, UsageError, "no safetensors weights"),
        (quantized, UsageError, "is quantized"),
        (with_a_hole("unet"), ModelUnavailable, "lacks weights"),
        (with_a_hole("text_encoder"), ModelUnavailable, "lacks weights"),
        (damaged, ModelUnavailable, "damaged or incomplete"),
    ],
)
def test_what_is_no_such_pipeline(copy: Path, spoil: Any, kind: type[HarnessError], said: str) -> None:
    spoil(copy)
    with pytest.raises(kind, match=said) as caught:
        engine_of(copy).load()
    assert type(caught.value) is kind


def test_pickles_where_they_are_allowed(copy: Path) -> None:
    pickled(copy)
    engine = engine_of(copy, trust=True, steps=1)
    assert engine.load().weights_format == "pickle"
    assert FindingCode.PICKLED_WEIGHTS in {finding.code for finding in engine.warnings()}


@pytest.mark.parametrize("options", [{"width": 64}, {"width": 20, "height": 16}])
def test_a_size_that_cannot_be_made(pipeline: Path, options: dict[str, float]) -> None:
    source = ModelSource(name="org/pipeline", path=pipeline)
    with pytest.raises(UsageError, match="cannot be made") as caught:
        open_pipeline(Place(source=source, revision="main", device="cpu", options=options_of(TASK, options)))
    assert "multiples of 8" in caught.value.next_step


# ------------------------------------------------------------------------------------------ mishaps


def hooks_of(engine: TaskEngine) -> int:
    denoiser = runner_of(engine)._denoiser
    return len(denoiser._forward_pre_hooks) + len(denoiser._forward_hooks)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemory),
        (RuntimeError("Sizes of tensors must match"), CellFailed),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_goes_wrong_inside_leaves_the_engine_usable(
    engine: TaskEngine, monkeypatch: pytest.MonkeyPatch, raised: BaseException, expected: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    before = made(engine).text
    with monkeypatch.context() as patch:
        patch.setattr(runner_of(engine)._denoiser, "forward", fail)
        with pytest.raises(expected) as caught:
            made(engine)
        assert type(caught.value) is expected
    assert hooks_of(engine) == 0
    assert made(engine).text == before


def test_an_image_of_no_numbers_is_a_failed_query(engine: TaskEngine) -> None:
    handle = runner_of(engine)._pipeline.vae.decoder.register_forward_hook(lambda *found: found[-1] * torch.nan)
    try:
        with pytest.raises(CellFailed, match="no numbers") as caught:
            made(engine)
    finally:
        handle.remove()
    assert "--dtype" in caught.value.next_step


def test_what_diffusers_says_is_a_finding_and_the_terminal_stays_ours(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = engine_of(copy, steps=1)
    engine.load()
    assert engine.warnings() == ()
    said = "xFormers is not available, falling back to PyTorch"
    handle = runner_of(engine)._denoiser.register_forward_pre_hook(
        lambda *_: logging.getLogger("diffusers.models").warning(said)
    )
    made(engine)
    handle.remove()
    assert [(finding.code, finding.detail) for finding in engine.warnings()] == [(FindingCode.LIBRARY_WARNING, said)]
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------- stand-in, prompts


@pytest.mark.slow
def test_the_stand_in_is_small_enough_for_a_cpu(tmp_path: Path) -> None:
    assert TASK.stand_in is not None
    TASK.stand_in.write(tmp_path)
    engine = engine_of(tmp_path)
    assert 30e6 < (engine.load().n_parameters or 0) < 35e6
    assert made(engine).sizes["denoising_steps"] == 4  # its own number, without guidance by a second run
    assert made(engine).sizes["output_pixels"] == 128 * 128


def test_the_scenes_are_of_many_lengths() -> None:
    path = Path(__file__).parents[1] / "harness" / "assets" / "prompts" / "scenes.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt_id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows) == 24
    lengths = sorted(len(row["prompt"].split()) for row in rows)
    assert lengths[0] == 1
    assert lengths[12] <= 15
    assert lengths[-1] > 40
