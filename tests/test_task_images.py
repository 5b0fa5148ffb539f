"""Pictures: classified, searched for objects, described; the drawn set; and how answers are judged."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from harness.analysis.average_precision import Pictures, average_precision
from harness.clock import SessionClock
from harness.engine.revision import resolve_revision
from harness.engine.task.description import Task
from harness.engine.task.engine import TaskEngine
from harness.engine.task.media import image_of
from harness.engine.task.pictures import n_pixels
from harness.engine.task.stand_in import RECIPE, stand_in_path
from harness.engine.tasks.image_captioning import REQUEST, write_captioner
from harness.engine.tasks.image_captioning import TASK as CAPTIONING
from harness.engine.tasks.image_classification import TASK as CLASSIFICATION
from harness.engine.tasks.image_classification import write_classifier
from harness.engine.tasks.object_detection import TASK as DETECTION
from harness.engine.tasks.object_detection import write_detector
from harness.errors import ScoringFailed, UnusableInput, UsageError
from harness.objects import MOST, PictureObject, answer_of, category_number, read_answer, read_reference
from harness.prompts.catalogue import parse
from harness.records import FindingCode, Media, Prompt, Score
from harness.scoring.catalogue import scorer
from harness.scoring.detections import THRESHOLDS
from tests.tiny_model import make_tokenizer, save_tiny_model

ROOT = Path(__file__).resolve().parents[1]
DRAWN = ROOT / "harness" / "assets" / "prompts" / "drawn"
ROWS = [json.loads(line) for line in (DRAWN / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**SMALL, "image_size": 32, "patch_size": 16}
CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}<|assistant|>"
)


def write_blip(folder: Path) -> None:
    tokenizer = make_tokenizer(None)
    text = {**SMALL, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "sep_token_id": tokenizer.eos_token_id}
    config = transformers.BlipConfig(text_config={**text, **ends}, vision_config={**VISION, "initializer_range": 0.5})
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    look = BlipImageProcessorPil(size={"height": 32, "width": 32})
    transformers.BlipProcessor(look, tokenizer).save_pretrained(folder)


def write_llava(folder: Path) -> None:
    """A language model with a chat template that can see."""
    tokenizer = make_tokenizer(CHAT)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = transformers.LlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "projection_dim": 16},
        text_config={**SMALL, **ends, "model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(**ends)
    model.save_pretrained(folder)
    transformers.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def write_vit_gpt2(folder: Path) -> None:
    """Two models as one, saved without a processor of both."""
    tokenizer = make_tokenizer(None)
    decoder = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64, is_decoder=True,
        add_cross_attention=True, bos_token_id=1, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    parts = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VISION), decoder
    )
    parts.decoder_start_token_id, parts.pad_token_id, parts.eos_token_id = 1, 0, tokenizer.eos_token_id
    transformers.VisionEncoderDecoderModel(config=parts).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "classifier": partial(write_classifier, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    "detector": partial(write_detector, shortest_edge=64, image_size=[64, 96], **SMALL),
    "git": partial(write_captioner, vision=VISION, vocab_size=200, max_position_embeddings=64, **SMALL),
    "blip": write_blip,
    "llava": write_llava,
    "vit-gpt2": write_vit_gpt2,
    "text": save_tiny_model,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model with random weights by its name, made when it is first asked for."""
    made: dict[str, Path] = {}

    def path(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            torch.manual_seed(0)
            WRITERS[name](made[name])
        return made[name]

    return path


@pytest.fixture(scope="module")
def engine(checkpoint: Callable[[str], Path]) -> Iterator[Callable[..., TaskEngine]]:
    """A loaded model for a task; each is loaded once."""
    loaded: dict[tuple[str, str, str], TaskEngine] = {}

    def of(task: Task, name: str, dtype: str = "auto") -> TaskEngine:
        key = (task.name, name, dtype)
        if key not in loaded:
            source = str(checkpoint(name))
            loaded[key] = TaskEngine(
                task=task, options={}, source=source, revision=resolve_revision(source), clock=SessionClock(),
                device="cpu", dtype=dtype,
            )  # fmt: skip
            loaded[key].load()
        return loaded[key]

    yield of
    for one in loaded.values():
        one.close()


def query(row: dict[str, Any] | Path, reference: str | None = None, scored: str | None = None) -> Prompt:
    """One picture: of the drawn set, or a file."""
    path = row if isinstance(row, Path) else DRAWN / row["file_name"]
    return Prompt(prompt_id=path.stem, text="", media=picture(path), reference=reference, scorer=scored)


def picture(path: Path) -> Media:
    return Media(name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), path=str(path))


# -- the drawn set


def test_the_drawn_set_is_small_pictures_with_a_label_a_sentence_and_boxes_inside() -> None:
    assert len(ROWS) == 24
    assert sum(path.stat().st_size for path in DRAWN.iterdir()) < 600_000
    assert {path.name for path in DRAWN.glob("*.png")} == {row["file_name"] for row in ROWS}
    assert sum(2 <= len(row["objects"]["category"]) <= 4 for row in ROWS) >= 6
    for row in ROWS:
        with Image.open(DRAWN / row["file_name"]) as image:
            width, height = image.size
        assert 224 <= width <= 640
        assert row["label"]
        assert row["caption"].endswith(".")
        for x, y, w, h in row["objects"]["bbox"]:
            assert x >= 0
            assert y >= 0
            assert w > 20
            assert h > 20
            assert x + w <= width
            assert y + h <= height
        assert len(row["objects"]["bbox"]) == len(row["objects"]["category"])


def test_the_script_draws_the_set_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    runpy.run_path(str(ROOT / "scripts" / "make_drawn.py"))["main"](tmp_path)
    assert (tmp_path / "metadata.jsonl").read_bytes() == (DRAWN / "metadata.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in DRAWN.iterdir()}


@pytest.mark.parametrize("task", [CLASSIFICATION, DETECTION, CAPTIONING], ids=lambda task: task.name)
def test_each_task_finds_its_columns_in_the_drawn_set(task: Task) -> None:
    prompts = parse("drawn", task.inputs).load(None).prompts
    assert len(prompts) == 24
    assert all(prompt.media is not None and prompt.scorer == task.inputs.scorer for prompt in prompts)
    wanted: Any = ROWS[2][task.inputs.reference[0]]
    found = prompts[2].reference or ""
    assert (found if isinstance(wanted, str) else json.loads(found)) == wanted


# -- classification


def test_a_class_is_the_one_that_plain_transformers_finds(
    engine: Callable[..., TaskEngine], checkpoint: Callable[[str], Path]
) -> None:
    made = engine(CLASSIFICATION, "classifier").generate(query(ROWS[0], ROWS[0]["label"]), "default", 0, 1)
    model = transformers.AutoModelForImageClassification.from_pretrained(checkpoint("classifier")).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint("classifier"))
    with Image.open(DRAWN / ROWS[0]["file_name"]) as image, torch.inference_mode():
        logits = model(**processor(images=image.convert("RGB"), return_tensors="pt")).logits
    assert made.answer == model.config.id2label[int(logits.argmax())]
    assert [phase.name for phase in made.phases] == ["forward"]
    assert made.sizes == {"input_pixels": 224 * 224}
    assert made.comparable
    assert made.rendered_prompt.endswith("1x3x224x224")


def test_a_label_that_the_model_does_not_know_is_not_compared(engine: Callable[..., TaskEngine]) -> None:
    classifier = engine(CLASSIFICATION, "classifier")
    made = classifier.generate(query(ROWS[0], "a quokka"), "default", 0, 1)
    assert not made.comparable
    assert [finding.code for finding in made.findings] == [FindingCode.LABEL_UNKNOWN]
    assert "a quokka" in made.findings[0].detail
    assert classifier.generate(query(ROWS[0]), "default", 0, 1).findings == ()  # nothing to compare with


def test_the_stand_in_knows_every_label_of_the_drawn_set(checkpoint: Callable[[str], Path]) -> None:
    labels = transformers.AutoConfig.from_pretrained(checkpoint("classifier")).id2label
    assert len(labels) == 1000
    assert {row["label"] for row in ROWS} <= set(labels.values())
    categories = transformers.AutoConfig.from_pretrained(checkpoint("detector")).id2label
    assert len(categories) == 91
    assert {category for row in ROWS for category in row["objects"]["category"]} <= set(categories.values())


def test_pictures_are_given_in_the_model_s_precision(engine: Callable[..., TaskEngine]) -> None:
    assert engine(CLASSIFICATION, "classifier", "bfloat16").generate(query(ROWS[0]), "default", 0, 1).answer


# -- detection


def test_boxes_are_in_the_picture_s_own_pixels_and_the_surest_come_first(
    engine: Callable[..., TaskEngine], checkpoint: Callable[[str], Path]
) -> None:
    made = engine(DETECTION, "detector").generate(query(ROWS[2], json.dumps(ROWS[2]["objects"])), "default", 0, 1)
    model = transformers.AutoModelForObjectDetection.from_pretrained(checkpoint("detector")).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint("detector"))
    with Image.open(DRAWN / ROWS[2]["file_name"]) as image, torch.inference_mode():
        width, height = image.size
        encoded = processor(images=image.convert("RGB"), return_tensors="pt")
        raw = model(pixel_values=encoded["pixel_values"])
    found = json.loads(made.answer)
    assert len(found) == MOST
    scores = raw.logits[0].softmax(-1)[:, :-1].max(-1).values  # the last class is "nothing"
    order = scores.argsort(descending=True, stable=True)
    assert [row["score"] for row in found] == pytest.approx(scores[order].tolist(), rel=1e-6)
    x, y, w, h = raw.pred_boxes[0, int(order[0])].tolist()
    box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    assert found[0]["box"] == pytest.approx(box, abs=0.006)
    assert found[0]["label"] in model.config.id2label.values()
    assert made.sizes == {"input_pixels": encoded["pixel_values"].shape[-2] * encoded["pixel_values"].shape[-1]}
    assert [phase.name for phase in made.phases] == ["forward"]
    assert made.comparable


@pytest.mark.parametrize(
    ("categories", "comparable"), [(["quokka", "clock"], True), (["quokka", "wombat"], False), ([], True)]
)
def test_one_known_category_is_enough(
    engine: Callable[..., TaskEngine], categories: list[str], comparable: bool
) -> None:
    reference = json.dumps({"bbox": [[1, 2, 30, 40]] * len(categories), "category": categories})
    made = engine(DETECTION, "detector").generate(query(ROWS[0], reference), "default", 0, 1)
    assert made.comparable is comparable
    assert [finding.code for finding in made.findings] == [FindingCode.LABEL_UNKNOWN] * (not comparable)


def test_a_reference_that_cannot_be_read_costs_the_score_and_not_the_query(engine: Callable[..., TaskEngine]) -> None:
    made = engine(DETECTION, "detector").generate(query(ROWS[0], "a clock"), "default", 0, 1)
    assert made.comparable
    with pytest.raises(ScoringFailed, match="lists no objects"):
        scorer("detections").score(made.answer, "a clock")


# -- captioning


@pytest.mark.parametrize("name", ["git", "blip", "vit-gpt2"])
def test_a_caption_is_the_one_that_plain_transformers_writes(
    engine: Callable[..., TaskEngine], checkpoint: Callable[[str], Path], name: str
) -> None:
    made = engine(CAPTIONING, name).generate(query(ROWS[0]), "default", 6, 1)
    model = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint(name)).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint(name))
    with Image.open(DRAWN / ROWS[0]["file_name"]) as image, torch.inference_mode():
        pixels = processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        ids = model.generate(pixel_values=pixels, do_sample=False, num_beams=1, max_new_tokens=6)[0].tolist()
    written = ids[1:]  # after the mark that begins every answer
    words = transformers.AutoTokenizer.from_pretrained(checkpoint(name)).decode(written, skip_special_tokens=True)
    assert made.answer == words.strip()
    assert made.sizes == {"input_pixels": 1024, "output_tokens": len(written), "answer_tokens": len(written)}
    assert made.finish_reason == ("length" if len(written) == 6 else "stop")
    assert [phase.name for phase in made.phases] == ["encode", "decode"]


def test_a_model_with_a_chat_template_is_asked(engine: Callable[..., TaskEngine]) -> None:
    made = engine(CAPTIONING, "llava").generate(query(ROWS[0]), "default", 5, 1)
    assert REQUEST in made.rendered_prompt
    n_text = len(make_tokenizer(None)(REQUEST)["input_ids"])
    assert made.sizes["prompt_tokens"] == 4 + n_text + 1  # patches, the request, the mark of an answer
    assert made.sizes["output_tokens"] == 5
    assert REQUEST not in made.answer
    assert [phase.name for phase in made.phases] == ["encode", "decode"]


def test_a_caption_that_ends_by_itself_says_so(
    engine: Callable[..., TaskEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = engine(CAPTIONING, "git")
    free = captioner.generate(query(ROWS[0]), "default", 6, 1)
    runner: Any = captioner._runner
    first = int(runner._processor.tokenizer.convert_tokens_to_ids(free.answer.split()[0]))
    monkeypatch.setattr(runner._model.generation_config, "eos_token_id", first)
    made = captioner.generate(query(ROWS[0]), "default", 6, 1)
    assert (made.sizes["output_tokens"], made.finish_reason) == (1, "stop")


def test_pixels_are_those_of_all_tiles_and_patches() -> None:
    tiles = {"pixel_values": torch.zeros(1, 5, 3, 32, 48)}
    assert n_pixels(tiles, None) == 5 * 32 * 48
    processor = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=16 * 28 * 28)
    patches = processor(images=Image.new("RGB", (200, 100)), return_tensors="pt")
    _, rows, columns = patches["image_grid_thw"][0].tolist()
    assert n_pixels(patches, processor) == rows * 14 * columns * 14 <= 16 * 28 * 28


# -- what is no picture, and what is no model for it


def wrong_files(folder: Path) -> dict[str, Path]:
    whole = (DRAWN / ROWS[0]["file_name"]).read_bytes()
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    contents = {
        "text.png": b"not a picture\n",
        "cut.png": whole[: len(whole) // 2],
        "corrupt.png": whole[:1500] + bytes(400) + whole[1900:],
        "empty.png": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in (*contents, "pixel.png")}


@pytest.mark.parametrize(
    ("task", "model"), [(CLASSIFICATION, "classifier"), (DETECTION, "detector"), (CAPTIONING, "git")],
    ids=["classification", "detection", "captioning"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_and_the_next_is_answered(
    engine: Callable[..., TaskEngine], tmp_path: Path, task: Task, model: str
) -> None:
    loaded = engine(task, model)
    said = {
        "text.png": "no picture that can be read: it holds text",
        "cut.png": "damaged picture",
        "corrupt.png": "damaged picture",
        "empty.png": "an empty file",
        "pixel.png": "1 x 1 pixels: nothing can be seen",
    }
    for name, path in wrong_files(tmp_path).items():
        with pytest.raises(UnusableInput, match=said[name]):
            loaded.generate(query(path), "default", 2, 1)
    with pytest.raises(UnusableInput, match="names no file"):
        loaded.generate(Prompt(prompt_id="nothing", text=""), "default", 2, 1)
    assert loaded.generate(query(ROWS[0]), "default", 2, 1).sizes["input_pixels"] > 0


@pytest.mark.parametrize("shades", [np.uint8, np.uint16], ids=["8 bits", "16 bits"])
def test_grey_of_16_bits_is_as_bright_as_of_8(tmp_path: Path, shades: type[np.integer[Any]]) -> None:
    ramp = np.linspace(0, np.iinfo(shades).max, 256).astype(shades)
    Image.fromarray(np.tile(ramp, (8, 1))).save(tmp_path / "grey.png")
    seen = np.asarray(image_of(picture(tmp_path / "grey.png")))
    assert np.abs(seen[0, :, 0] - np.arange(256.0)).max() <= 1


@pytest.mark.parametrize("numbers", [np.int32, np.float32])
def test_grey_that_ends_nowhere_is_refused(tmp_path: Path, numbers: type[np.number[Any]]) -> None:
    Image.fromarray(np.ones((8, 8), numbers)).save(tmp_path / "grey.tif")
    with pytest.raises(UnusableInput, match="which of them is white"):
        image_of(picture(tmp_path / "grey.tif"))


@pytest.mark.parametrize("task", [CLASSIFICATION, DETECTION, CAPTIONING], ids=lambda task: task.name)
def test_a_text_model_is_refused(engine: Callable[..., TaskEngine], task: Task) -> None:
    with pytest.raises(UsageError, match=f"is a qwen3 model, which {task.loads} cannot load"):
        engine(task, "text")


def test_a_diffusion_pipeline_is_told_its_task(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    task = TaskEngine(
        task=CLASSIFICATION, options={}, source=str(tmp_path), revision="main", clock=SessionClock(), device="cpu"
    )
    with pytest.raises(UsageError, match="is a diffusion pipeline") as raised:
        task.load()
    assert "--task image-generation" in raised.value.next_step


def test_a_detector_is_no_classifier(engine: Callable[..., TaskEngine]) -> None:
    with pytest.raises(UsageError, match="yolos model, which AutoModelForImageClassification cannot load"):
        engine(CLASSIFICATION, "detector")


# -- how answers are judged


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [("tabby, tabby cat", "Tabby_cat", True), ("orange", "orange", True), ("orange", "lemon", False)],
)
def test_a_label_is_right_by_any_of_its_names(answer: str, reference: str, right: bool) -> None:
    assert scorer("label").score(answer, reference) == Score(correct=right, extracted=answer)


def test_references_are_columns_or_a_list_of_objects() -> None:
    wanted = (PictureObject(label="cup", box=(1, 2, 3, 4)), PictureObject(label="mouse", box=(5, 6, 7, 8)))
    boxes = [[1, 2, 3, 4], [5, 6, 7, 8]]
    for column in ("category", "categories", "label", "labels"):
        assert read_reference(json.dumps({"bbox": boxes, column: ["cup", "mouse"], "area": [12, 56]})) == wanted
    rows = [{"box": box, "label": label} for box, label in zip(boxes, ("cup", "mouse"), strict=True)]
    assert read_reference(json.dumps(rows)) == wanted
    assert read_reference("[]") == read_reference('{"bbox": [], "category": []}') == ()


@pytest.mark.parametrize(
    "reference",
    [
        "a cup",
        "3",
        '{"category": ["cup"]}',
        '{"bbox": [[1, 2, 3]], "category": ["cup"]}',
        '{"bbox": [[1, 2, 3, -4]], "category": ["cup"]}',
        '{"bbox": [[1, 2, 3, 4]], "category": ["cup", "mouse"]}',
        '{"bbox": [[1, 2, 3, NaN]], "category": ["cup"]}',
    ],
)
def test_a_reference_without_boxes_is_told(reference: str) -> None:
    with pytest.raises(ScoringFailed, match="lists no objects") as caught:
        scorer("detections").score("[]", reference)
    assert "[x, y, width, height]" in caught.value.next_step


def test_an_answer_that_lists_nothing_is_told() -> None:
    with pytest.raises(ScoringFailed, match="no list of detections"):
        scorer("detections").score("a cup", "[]")


def test_one_category_has_one_number_everywhere() -> None:
    assert category_number("tv") == category_number(" TV") == category_number("tv, television")
    assert category_number("traffic_light") == category_number("Traffic  light") != category_number("tv")
    assert float(category_number("tv")).is_integer()


def test_hits_are_counted_per_overlap(capfd: pytest.CaptureFixture[str]) -> None:
    reference = json.dumps({"bbox": [[0, 0, 100, 100], [200, 0, 50, 50]], "category": ["cup", "mouse"]})
    found = [
        PictureObject(label="mouse", box=(200, 0, 50, 50), score=0.5),
        PictureObject(label="cup", box=(0, 0, 100, 73), score=0.9),
        PictureObject(label="cup", box=(0, 0, 100, 100), score=0.8),  # the cup is taken, where 73 % are enough
        PictureObject(label="orange", box=(0, 0, 100, 100), score=0.7),
    ]
    score = scorer("detections").score(answer_of(found), reference)
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert score.correct is None
    assert score.extracted == "2 of 2 objects"
    assert score.values["confidence"] == (0.9, 0.8, 0.7, 0.5)
    for threshold in THRESHOLDS:
        cup = (1.0, 0.0) if threshold <= 70 else (0.0, 1.0)
        assert score.values[f"matched_{threshold}"] == (*cup, 0.0, 1.0)
    assert score.values["objects"] == (float(category_number("cup")), float(category_number("mouse")))


def test_an_answer_keeps_the_surest() -> None:
    many = [PictureObject(label="cup", box=(0, 0, 1, 1), score=place / 200) for place in range(150)]
    kept = read_answer(answer_of(many))
    assert len(kept) == MOST
    assert (kept[0].score, kept[-1].score) == (149 / 200, 50 / 200)


def random_pictures(seed: int) -> list[tuple[list[PictureObject], list[PictureObject]]]:
    """Objects and detections of 43 pictures: near hits, misses, ties, and pictures without either."""
    rng = np.random.default_rng(seed)
    labels, pictures = ["cup", "mouse", "tv", "dog"], []
    for _ in range(40):
        sides = rng.uniform((0, 0, 10, 10), (200, 200, 150, 150), (int(rng.integers(0, 6)), 4)).tolist()
        objects = [PictureObject(label=labels[rng.integers(0, 3)], box=(x, y, w, h)) for x, y, w, h in sides]
        found = [
            PictureObject(
                label=thing.label if rng.random() < 0.8 else labels[rng.integers(0, 4)],
                box=(round(x + dx, 2), round(y + dy, 2), round(max(w + dw, 1), 2), round(max(h + dh, 1), 2)),
                score=round(float(rng.random()), 1),  # eleven values: many ties
            )
            for thing in objects
            for x, y, w, h in [thing.box] * int(rng.integers(0, 4))
            for dx, dy, dw, dh in [rng.normal(0, 6, 4).tolist()]
        ]
        strays = rng.integers(0, 3)
        found += [PictureObject(label="dog", box=(0.0, 0.0, 50.0, 50.0), score=0.5) for _ in range(strays)]
        pictures.append((objects, found))
    lone = PictureObject(label="cup", box=(10.0, 10.0, 40.0, 40.0), score=0.5)
    return [*pictures, ([lone], []), ([], [lone]), ([], [])]


def coco_map(pictures: list[tuple[list[PictureObject], list[PictureObject]]]) -> tuple[float, float]:
    """The library's own figures over the whole set: at the ten thresholds, and at the first."""
    names = sorted({thing.label for objects, found in pictures for thing in (*objects, *found)})
    truth: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for number, (objects, found) in enumerate(pictures, start=1):
        for rows, things in ((truth, objects), (answers, sorted(found, key=lambda thing: -thing.score))):
            for thing in things:
                row = {"image_id": number, "category_id": names.index(thing.label) + 1, "bbox": list(thing.box)}
                area = {"area": thing.box[2] * thing.box[3], "iscrowd": 0}
                rows.append({**row, **area, "id": len(rows) + 1, "score": thing.score})
    images = [{"id": number} for number in range(1, len(pictures) + 1)]
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    known = COCO({"images": images, "categories": categories, "annotations": truth})
    evaluation = COCOeval_faster(known, known.loadRes(answers), "bbox", print_function=lambda *_: None)
    evaluation.run()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def together(scores: list[Score]) -> Pictures:
    def column(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        lists = [np.atleast_1d(np.asarray(score.values[name], dtype=float)) for score in scores]
        return np.concatenate(lists), np.repeat(np.arange(len(lists)), [len(one) for one in lists])

    categories, owners = column("category")
    objects, object_owners = column("objects")
    return Pictures(
        n=len(scores),
        detection_picture=owners,
        confidence=column("confidence")[0],
        detection_category=categories,
        hits=np.array([column(f"matched_{threshold}")[0] > 0 for threshold in THRESHOLDS]),
        object_picture=object_owners,
        object_category=objects,
    )


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_out_of_the_scores_is_the_library_s_own(seed: int) -> None:
    pictures = random_pictures(seed)
    judge = scorer("detections")
    scores = [
        judge.score(
            answer_of(found),
            json.dumps({"bbox": [thing.box for thing in objects], "category": [thing.label for thing in objects]}),
        )
        for objects, found in pictures
    ]
    whole = average_precision(together(scores), np.ones((1, len(scores)), dtype=np.int64))[0]
    expected = coco_map(pictures)
    assert 0.05 < expected[0] < 0.95
    assert (whole.mean(), whole[0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "n_parameters"),
    [(CLASSIFICATION, 25_557_032), (DETECTION, 6_488_736), (CAPTIONING, 176_619_066)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_stand_ins_have_the_real_shape(tmp_path: Path, task: Task, n_parameters: int) -> None:
    path = stand_in_path(task, tmp_path)
    model = getattr(transformers, task.loads).from_pretrained(path)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters
    assert transformers.AutoImageProcessor.from_pretrained(path)
    assert RECIPE in path.name
