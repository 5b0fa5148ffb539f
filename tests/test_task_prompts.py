"""The inputs of tasks: second texts, images and sounds, from files, folders, the package and the Hub."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.bundle.packing import pack
from harness.bundle.withholding import withheld
from harness.config import RunSpec
from harness.engine.task.catalogue import ORDER, inputs_of, tasks
from harness.errors import UnknownName, UsageError
from harness.prompts import embedded
from harness.prompts.bundled import read_prompts, write_prompts
from harness.prompts.catalogue import parse
from harness.prompts.embedded import EmbeddedSource
from harness.prompts.file import FileSource
from harness.prompts.folder import FolderSource
from harness.prompts.named import NamedFileSource, named_sets
from harness.prompts.sets import digest, shuffled
from harness.records import Finding, FindingCode, InputColumns, Media, Prompt, PromptSet, QueryRecord
from harness.repeat import plan_of
from harness.scoring.catalogue import scorer
from harness.store.run_directory import RunDirectory, cells
from harness.verify.check import Check
from harness.verify.prompts import AtHand, prompts_of
from harness.verify.stored import StoredCell, read_cell
from harness.wiring.jobs import jobs_of

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
PAIRS = InputColumns(
    text=("question",), text_pair=("context", "passage"), reference=("answers", "answer"), scorer="extractive"
)
IMAGES = InputColumns(media=("file_name", "image"), media_kind="image", reference=("label", "objects"), scorer="label")
SOUNDS = InputColumns(media=("file_name", "audio"), media_kind="audio", reference=("text",), scorer="words")
TEXTS = InputColumns(text=("text", "sentence"), reference=("label",), scorer="label")
Row = Mapping[str, object]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def jsonl(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three images, one of them damaged: what is in them is not looked at here."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "c.PNG"):
        (folder / name).write_bytes(f"pixels of {name}".encode())
    return folder


def said(error: pytest.ExceptionInfo[UsageError]) -> str:
    return f"{error.value} {error.value.next_step}"


# ------------------------------------------------------------------------------------------------- the digest


def test_a_second_text_and_a_file_are_in_the_digest_and_where_they_lie_is_not() -> None:
    prompts = [
        Prompt(prompt_id="1", text="q", text_pair="c", reference="[]", scorer="extractive"),
        Prompt(prompt_id="2", text="", media=Media(name="a.png", sha256="ab", path="/somewhere/a.png")),
        Prompt(prompt_id="3", text="plain"),
    ]
    rows = '[["1","q","[]","extractive","c",null],["2","",null,null,null,"ab"],["3","plain",null,null]]'
    assert digest(prompts) == sha256(rows.encode())
    moved = replace(prompts[1], media=Media(name="b.png", sha256="ab", content=b"x"))
    assert digest([prompts[0], moved, prompts[2]]) == digest(prompts)


@pytest.mark.parametrize("name", ["chains", "everyday"])
def test_sets_of_text_keep_their_digest(name: str) -> None:
    known = {
        "chains": "853713b0f20ac4ca6526fb0238e1538ada3f2b3a570cb1cab2e23034bd8bb7f3",
        "everyday": "b1a1fa4e853274e60a4a2ee7fb0f61855eee6e1b9810266044a0e5ac2b0d0143",
    }
    assert parse(name).load(0).sha256 == known[name]


# ------------------------------------------------------------------------------------------------- columns


def test_the_first_of_the_tasks_columns_is_read_in_any_case(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        {"Passage": "P", "QUESTION": "Q?", "answer": "x", "kind": "short", "level": 2, "id": "one"},
        {"Passage": "P", "QUESTION": "R?", "answer": None, "id": "two"},
    )
    one, two = parse(str(path), PAIRS).load(None).prompts
    assert one == Prompt(
        prompt_id="one", text="Q?", text_pair="P", reference="x", scorer="extractive", kind="short", level=2
    )
    assert (two.reference, two.scorer) == (None, None)


def test_a_rows_own_scorer_wins(tmp_path: Path) -> None:
    rows = ({"text": "a", "label": "3", "scorer": "numeric"}, {"text": "b", "label": "4", "scorer": ""})
    prompts = parse(str(jsonl(tmp_path / "a.jsonl", *rows)), TEXTS).load(None).prompts
    assert [prompt.scorer for prompt in prompts] == ["numeric", None]


def test_an_empty_text_is_its_querys_to_refuse(tmp_path: Path) -> None:
    rows = ({"text": ""}, {"text": None}, {"other": 1})
    path = jsonl(tmp_path / "a.jsonl", *rows)
    assert [prompt.text for prompt in parse(str(path), TEXTS).load(None).prompts] == ["", "", ""]
    with pytest.raises(UsageError, match="'text' is empty"):
        parse(str(path)).load(None)


def test_the_main_column_can_be_named(photos: Path) -> None:
    path = jsonl(photos / "list.jsonl", {"picture": "b.png", "file_name": "gone.png", "words": "w", "text": "t"})
    (image,) = parse(f"{path}:picture", IMAGES).load(None).prompts
    assert image.media is not None
    assert image.media.name == "b.png"
    assert parse(f"{path}:words", TEXTS).load(None).prompts[0].text == "w"
    with pytest.raises(UsageError, match="no column 'pictures'") as error:
        parse(f"{path}:pictures", IMAGES).load(None)
    assert "Did you mean 'picture'?" in said(error)


ANSWERS: dict[str, Any] = {"text": ["Paris", "in Paris"], "answer_start": [3, 0]}
BOXES: dict[str, Any] = {"bbox": [[1.0, 2.5, 3.0, 4.0]], "category": ["cat"]}


def test_lists_and_objects_are_one_text_in_every_format(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [
        {"question": "Q?", "context": "P", "answers": ANSWERS},
        {"question": "R?", "context": "P", "answers": None},
    ]
    inputs = replace(PAIRS, reference=("answers", "boxes"))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    paths = [jsonl(tmp_path / "a.jsonl", *rows), tmp_path / "a.json", tmp_path / "a.parquet"]
    sets = [FileSource(path, inputs=inputs).load(None) for path in paths]
    assert len({found.sha256 for found in sets}) == 1
    assert sets[0].prompts[0].reference == '{"answer_start":[3,0],"text":["Paris","in Paris"]}'
    boxes = [{"question": "Q?", "context": "P", "boxes": BOXES}]
    pq.write_table(pa.Table.from_pylist(boxes), tmp_path / "b.parquet")
    written = (tmp_path / "b.jsonl", tmp_path / "b.parquet")
    written[0].write_text(json.dumps(boxes[0]).replace("1.0", "1").replace("2.5", "2.50"))
    assert [FileSource(path, inputs=inputs).load(None).prompts[0].reference for path in written] == [
        '{"bbox":[[1,2.5,3,4]],"category":["cat"]}'
    ] * 2


def test_squads_own_column_is_judged_by_any_of_its_answers(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [ANSWERS, {"text": []}]
    rows = [{"question": "Q?", "context": "P", "answers": answers} for answers in asked]
    prompts = FileSource(jsonl(tmp_path / "a.jsonl", *rows), inputs=PAIRS).load(None).prompts
    judge = scorer(PAIRS.scorer or "")
    answered, unanswerable = [prompt.reference or "" for prompt in prompts]
    assert [judge.score(said, answered).correct for said in ("in Paris", "Paris", "Rome", "")] == [
        True,
        True,
        False,
        False,
    ]
    assert [judge.score(said, unanswerable).correct for said in ("", "Rome")] == [True, False]


def test_a_question_without_an_answer_has_a_reference(tmp_path: Path) -> None:
    row = {"question": "Q?", "context": "P", "answers": []}
    (prompt,) = FileSource(jsonl(tmp_path / "a.jsonl", row), inputs=PAIRS).load(None).prompts
    assert (prompt.reference, prompt.scorer) == ("[]", "extractive")


BAD_ROWS: list[tuple[InputColumns, list[Row], list[str]]] = [
    (TEXTS, [{"text": "a"}, {"text": 7}], ["line 2", "holds a number"]),
    (TEXTS, [{"text": "\ud800"}], ["line 1", "surrogate"]),
    (TEXTS, [{"text": "a", "label": ["\ud800"]}], ["line 1", "surrogate"]),
    (TEXTS, [{"text": "a", "label": [float("nan")]}], ["line 1", "JSON"]),
    (TEXTS, [{"text": "a", "id": "x"}, {"text": "b", "id": "x"}], ["line 2", "'x' was used before, in line 1"]),
    (TEXTS, [{"texts": "a"}], ["none of the columns text, sentence", "takes a text", "misspelt for 'text'", "texts."]),
    (PAIRS, [{"question": "a"}], ["none of the columns context, passage", "two texts", "Rename", "question."]),
    (
        IMAGES,
        [{"text": "a"}],
        ["none of the columns file_name, image", "takes an image", "a folder of images", "text."],
    ),
    (SOUNDS, [{"text": "a"}], ["takes a sound", "a folder of sounds"]),
    (IMAGES, [{"file_name": None}], ["line 1", "names no file: it is missing"]),
    (IMAGES, [{"file_name": 3}], ["line 1", "a number"]),
    (IMAGES, [{"file_name": {"bytes": None, "path": None}}], ["line 1", "an object"]),
    (IMAGES, [{"file_name": "gone.png"}], ["line 1: there is no file 'gone.png' in"]),
    (IMAGES, [{"file_name": "a.png"}, {"file_name": "b\0"}, {"file_name": "x" * 5000}], ["'a.png'", "3 rows of 3"]),
    (IMAGES, [{"file_name": "sub"}], ["there is no file 'sub'"]),
    (IMAGES, [{"file_name": "one.wav"}], ["names sounds, and this task takes an image", "harness tasks"]),
]


@pytest.mark.parametrize(("inputs", "rows", "parts"), BAD_ROWS)
def test_rows_that_cannot_be_meant_are_refused(
    tmp_path: Path, inputs: InputColumns, rows: list[Row], parts: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError) as error:
        FileSource(jsonl(tmp_path / "mine.jsonl", *rows), inputs=inputs).load(0)
    for part in parts:
        assert part in said(error)


def test_a_file_of_plain_lines_is_no_list_of_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a red house\n")
    with pytest.raises(UsageError, match=r"notes.txt has none of the columns file_name, image") as error:
        parse(str(tmp_path / "notes.txt"), IMAGES).load(0)
    assert "Its columns: text." in said(error)


# ------------------------------------------------------------------------------------------------- files


def test_a_path_begins_at_the_file_that_names_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    absolute = photos / "a.jpg"
    path = photos.parent / "list.csv"
    path.write_text(f"file_name,label\nphotos/b.png,cat\n{absolute},dog\n")
    monkeypatch.chdir(photos)
    one, two = parse("../list.csv", IMAGES).load(None).prompts
    monkeypatch.chdir(elsewhere)
    assert one.media is not None
    assert two.media is not None
    assert (one.media.name, one.media.sha256) == ("b.png", sha256(b"pixels of b.png"))
    assert Path(one.media.path or "").read_bytes() == b"pixels of b.png"  # also from another folder
    assert Path(two.media.path or "").samefile(absolute)
    assert (one.text, one.reference, one.scorer) == ("", "cat", "label")


def test_where_a_missing_file_was_looked_for_is_said_in_full(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "list.csv").write_text("file_name\ngone.png\n")
    monkeypatch.chdir(photos)
    with pytest.raises(UsageError, match=r"there is no file 'gone.png'") as error:
        parse("list.csv", IMAGES).load(0)
    assert f" in {photos.absolute()}. " in said(error)


def test_another_content_is_another_set(photos: Path) -> None:
    before = parse(str(photos), IMAGES).load(0)
    (photos / "b.png").write_bytes(b"other pixels")
    after = parse(str(photos), IMAGES).load(0)
    assert before.sha256 != after.sha256
    assert [prompt.prompt_id for prompt in before.prompts] == [prompt.prompt_id for prompt in after.prompts]


def test_a_file_that_may_not_be_read_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UsageError, match=r"a.jpg cannot be read: Permission denied"):
        FolderSource(photos, IMAGES).load(0)


def test_what_the_hub_writes_into_parquet_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "beside.png").write_bytes(b"beside")
    rows = [
        {"image": {"bytes": b"inside", "path": "x.png"}, "label": "cat"},
        {"image": {"bytes": b"nameless", "path": None}, "label": "dog"},
        {"image": {"bytes": None, "path": "beside.png"}, "label": "cow"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    media = [prompt.media for prompt in parse(str(tmp_path / "a.parquet"), IMAGES).load(None).prompts]
    path = tmp_path / "a.parquet"
    assert media == [
        Media(name="x.png", sha256=sha256(b"inside"), content=b"inside"),
        Media(name=f"{path}, row 2", sha256=sha256(b"nameless"), content=b"nameless"),
        Media(name="beside.png", sha256=sha256(b"beside"), path=str(tmp_path / "beside.png")),
    ]
    pq.write_table(pa.table({"image": [b"bare"]}), path)
    (prompt,) = parse(str(path), IMAGES).load(None).prompts
    assert prompt.media is not None
    assert prompt.media.content == b"bare"


# ------------------------------------------------------------------------------------------------- folders


def test_a_bare_folder_is_all_its_images_by_name(photos: Path) -> None:
    for name in ("read.me", "sound.wav", ".hidden.png"):
        (photos / name).write_bytes(b"x")
    (photos / "sub.png").mkdir()
    found = parse(f"{photos}/", IMAGES).load(None)
    assert found.name == "photos"
    assert [prompt.prompt_id for prompt in found.prompts] == ["a.jpg", "b.png", "c.PNG"]
    assert {(prompt.text, prompt.reference, prompt.scorer) for prompt in found.prompts} == {("", None, None)}
    assert parse(str(photos), IMAGES).load(7).prompts == shuffled(found.prompts, 7)
    assert [prompt.prompt_id for prompt in parse(str(photos), SOUNDS).load(0).prompts] == ["sound.wav"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "birds.csv"])
def test_a_folder_is_what_its_table_lists(photos: Path, name: str) -> None:
    if name.endswith(".csv"):
        (photos / name).write_text("image,label\nb.png,cat\n")
    else:
        jsonl(photos / name, {"file_name": "b.png", "label": "cat"})
    if name.startswith("metadata"):
        (photos / "other.csv").write_text("a\n1\n")
    found = parse(str(photos), IMAGES).load(0)
    assert [(prompt.prompt_id, prompt.reference, prompt.scorer) for prompt in found.prompts] == [
        ("00001", "cat", "label")
    ]
    listed = parse(str(photos / name), IMAGES).load(0)
    assert (listed.sha256, listed.prompts) == (found.sha256, found.prompts)


def test_a_folder_that_cannot_be_meant_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no sounds") as error:
        parse(str(photos), SOUNDS).load(0)
    assert "metadata.csv whose column file_name names them" in said(error)
    (photos / "one.csv").write_text("file_name\nb.png\n")
    (photos / "two.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"several tables: one.csv, two.jsonl"):
        parse(str(photos), IMAGES).load(0)
    with pytest.raises(UsageError, match="is one file"):
        parse(str(photos / "b.png"), IMAGES)
    for inputs in (None, TEXTS):
        with pytest.raises(UsageError, match="is not a file"):
            parse(str(photos), inputs)
    outer = tmp_path / "outer"
    (outer / "cats").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no images") as error:
        parse(str(outer), IMAGES).load(0)
    assert str(outer / "cats") in said(error)


# ------------------------------------------------------------------------------------------------- the package


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """As `harness/assets/prompts` is laid out."""
    folder = tmp_path / "assets"
    jsonl(folder / "pairs.jsonl", {"question": "Q?", "context": "P", "answers": ["x"]})
    jsonl(folder / "drawings" / "metadata.jsonl", {"file_name": "2.png", "label": "b"}, {"file_name": "1.png"})
    for name in ("1.png", "2.png"):
        (folder / "drawings" / name).write_bytes(name.encode())
    (folder / "no-set").mkdir()
    return folder


def test_an_embedded_folder_is_read_from_files_or_from_an_archive(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_folder", lambda: assets)
    assert embedded.names() == ("drawings", "pairs")
    unpacked = EmbeddedSource("drawings", IMAGES).load(7)
    assert [prompt.media and prompt.media.path for prompt in unpacked.prompts] == [
        str(assets / "drawings" / name) for name in ("2.png", "1.png")
    ]  # in stored order, whatever the seed
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        for path in assets.rglob("*"):
            archive.write(path, path.relative_to(assets.parent))
    inside = zipfile.Path(tmp_path / "package.zip", "assets/")
    monkeypatch.setattr(embedded, "_folder", lambda: inside)
    packed = EmbeddedSource("drawings", IMAGES).load(7)
    assert packed.sha256 == unpacked.sha256
    assert [prompt.media and prompt.media.content for prompt in packed.prompts] == [b"2.png", b"1.png"]


@pytest.mark.parametrize(
    ("spec", "inputs", "parts"),
    [
        ("drawn", None, ["drawn holds images", "text generation takes a text", "chains, "]),
        ("drawn", TEXTS, ["drawn holds images", "this task takes a text"]),
        ("spoken", IMAGES, ["spoken holds sounds", "takes an image", "drawn"]),
        ("everyday", IMAGES, ["everyday holds texts", "takes an image"]),
        ("aies-speech", TEXTS, ["aies-speech holds sounds", "takes a text"]),
        ("aies-speech@v1", IMAGES, ["aies-speech holds sounds", "takes an image"]),
        ("aies-speech=pyproject.toml", None, ["aies-speech holds sounds"]),
        ("aies-sentence-similarity", TEXTS, ["holds pairs of texts", "takes a text"]),
        ("gsm8k", PAIRS, ["gsm8k holds texts", "takes two texts"]),
    ],
)
def test_a_named_set_of_something_else_is_refused(spec: str, inputs: InputColumns | None, parts: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        parse(spec, inputs)
    for part in parts:
        assert part in said(error)


def test_a_mistyped_name_is_answered_with_sets_that_fit() -> None:
    for inputs, near, others in ((TEXTS, "remarks", "drawn"), (IMAGES, "drawn", "remarks"), (None, "chains", "spoken")):
        with pytest.raises(UnknownName) as error:
            parse(f"{near}x", inputs)
        assert f"Did you mean '{near}'?" in error.value.next_step
        assert others not in error.value.next_step
        assert ("./FOLDER" in error.value.next_step) == (inputs is IMAGES)


# ------------------------------------------------------------------------------------------------- AI Energy Score


PUBLISHED: dict[str, Row] = {
    "aies-summarization": {"text": "a"},
    "aies-question-answering": {"question": "a", "context": "b"},
    "aies-text-classification": {"text": "a"},
    "aies-sentence-similarity": {"sentence1": "a", "sentence2": "b"},
    "aies-image-classification": {"image": {"bytes": b"p", "path": "a.jpg"}},
    "aies-object-detection": {"image": {"bytes": b"p", "path": "a.jpg"}},
    "aies-image-captioning": {"image": {"bytes": b"p", "path": None}},
    "aies-speech": {"audio": {"bytes": b"s", "path": "a.flac"}},
    "aies-image-generation": {"prompt": "a"},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_copy_of_a_published_set_fits_its_task(name: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    task = next(task for task in tasks().values() if task.published == name)
    pq.write_table(pa.Table.from_pylist([PUBLISHED[name]]), tmp_path / "copy.parquet")
    source = parse(f"{name}={tmp_path / 'copy.parquet'}", task.inputs)
    (prompt,) = source.load(0).prompts
    assert (prompt.reference, prompt.scorer) == (None, None)
    texts = [value for value in PUBLISHED[name].values() if isinstance(value, str)]
    assert [text for text in (prompt.text, prompt.text_pair) if text] == texts
    assert (prompt.media is None) == bool(texts)


def test_every_task_of_ai_energy_score_has_a_published_set_that_fits() -> None:
    for name in ORDER:
        published = tasks()[name].published
        assert published is not None
        assert published in named_sets()
        parse(published, inputs_of(name))


def test_a_copy_without_the_sets_column_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "copy.jsonl", {"sound": "a.wav"})
    with pytest.raises(UsageError, match="no column 'audio'"):
        NamedFileSource("aies-speech", path, SOUNDS).load(0)


# ------------------------------------------------------------------------------------------------- bundles


def read_again(prompts: PromptSet, inputs: InputColumns, folder: Path) -> list[Prompt]:
    write_prompts(folder / "prompts.jsonl", prompts.prompts, inputs)
    return read_prompts(folder / "prompts.jsonl", inputs)


def test_a_bundle_keeps_texts_and_hashes_and_no_file(photos: Path, tmp_path: Path) -> None:
    jsonl(photos / "metadata.jsonl", {"file_name": "b.png", "objects": BOXES}, {"file_name": "a.jpg", "objects": None})
    stored = parse(str(photos), IMAGES).load(None)
    again = read_again(stored, IMAGES, tmp_path)
    assert digest(again) == stored.sha256
    assert [prompt.media for prompt in again] == [
        Media(name="b.png", sha256=sha256(b"pixels of b.png")),
        Media(name="a.jpg", sha256=sha256(b"pixels of a.jpg")),
    ]
    assert b"pixels" not in (tmp_path / "prompts.jsonl").read_bytes()
    rows = ({"question": "Q?", "context": "P", "answers": ANSWERS}, {"question": "", "context": "P", "answers": None})
    pairs = FileSource(jsonl(tmp_path / "pairs.jsonl", *rows), inputs=PAIRS).load(None)
    assert tuple(read_again(pairs, PAIRS, tmp_path)) == pairs.prompts
    # The file that came along is a set of its own as well.
    assert parse(str(tmp_path / "prompts.jsonl"), PAIRS).load(None).sha256 == pairs.sha256


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of a run, had it been one of a task over a user's own inputs."""

    def made(task: str, spec: str) -> Path:
        run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
        found = parse(spec, inputs_of(task)).load(None)
        fields = yaml.safe_load((run / "run.yaml").read_text())
        fields |= {"task": task, "prompts": spec, "model": ["random"], "working_dir": str(Path.cwd())}
        (run / "run.yaml").write_text(yaml.safe_dump(fields))
        (path,) = run.glob("*/*/cell.yaml")
        cell = yaml.safe_load(path.read_text())
        changed: dict[str, Any] = {
            "task": task,
            "prompt_set": found.name,
            "prompt_set_sha256": found.sha256,
            "modes": ["default"],
        }
        changed |= {"source": f"random:{task}", "revision": "random-weights-1", "reasoning": None}
        path.write_text(yaml.safe_dump({**cell, **changed}, sort_keys=False))
        return run

    return made


def bundled(run: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of the run's bundle, and what is said of it; the bundle is opened as well."""
    file = run.parent / "bundle.zip"
    made = pack(run, file, lambda staged: (staged / "report.html").write_text("page"), hash_texts=False)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(run.parent / "opened")
        return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}, made.notes


def checked(run: Path) -> tuple[list[Check], AtHand]:
    """What verifying says of a run's prompts."""
    (directory,) = cells(run)
    stored = exhausted(read_cell(run, directory), [])
    assert isinstance(stored, StoredCell)
    checks: list[Check] = []
    at_hand = exhausted(prompts_of(stored), checks)
    assert isinstance(at_hand, AtHand)
    return checks, at_hand


def exhausted(generator: Any, into: list[Check]) -> object:
    while True:
        try:
            into.append(next(generator))
        except StopIteration as end:
            return end.value


def test_a_bundle_of_images_is_verified_without_them(photos: Path, run_of: Callable[[str, str], Path]) -> None:
    run = run_of("image-classification", f"{photos}/")
    files, notes = bundled(run)
    assert not any(b"pixels" in content for content in files.values())
    assert any("names and hashes are in it" in note for note in notes)
    assert yaml.safe_load(files["run.yaml"])["prompts"] == "photos"
    shutil.rmtree(photos)
    opened = run.parent / "opened"
    checks, at_hand = checked(opened)
    assert [(check.figure, check.agrees) for check in checks] == [("digest of the set", True)]
    assert set(at_hand.prompts) == {"a.jpg", "b.png", "c.PNG"}
    with pytest.raises(UsageError, match="'photos', and a bundle holds no images or sounds") as error:
        plan_of(opened, {}, keep=run.parent)
    assert "--prompts FOLDER" in said(error)


def test_texts_of_a_task_come_along(run_of: Callable[[str, str], Path], tmp_path: Path) -> None:
    path = jsonl(tmp_path / "mine.jsonl", {"question": "Q?", "context": "P", "answers": ANSWERS})
    run = run_of("question-answering", str(path))
    bundled(run)
    opened = run.parent / "opened"
    plan = plan_of(opened, {}, keep=tmp_path)
    assert plan.spec.task == "question-answering"
    assert plan.cells[0].source == "random:question-answering"
    found = parse(plan.spec.prompts or "", inputs_of(plan.spec.task)).load(0)
    assert found.sha256 == plan.cells[0].prompt_set_sha256


def test_the_set_that_ships_is_verified_with_its_files(run_of: Callable[[str, str], Path]) -> None:
    run = run_of("image-classification", "drawn")
    checks, at_hand = checked(run)
    assert [(check.figure, check.agrees) for check in checks] == [("prompt_set_sha256", True)]
    assert all(prompt.media is not None for prompt in at_hand.prompts.values())


def test_a_task_of_another_version_is_no_crash(run_of: Callable[[str, str], Path]) -> None:
    run = run_of("image-classification", "drawn")
    (path,) = run.glob("*/*/cell.yaml")
    path.write_text(path.read_text().replace("task: image-classification", "task: reading-minds"))
    checks, at_hand = checked(run)
    assert checks == []
    assert "does not know the task reading-minds" in at_hand.why_not


def test_a_file_that_has_changed_is_told_of_and_not_resumed(
    photos: Path, run_of: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    run = run_of("image-classification", "photos")
    (photos / "b.png").write_bytes(b"other pixels")
    (cell,) = [RunDirectory(path.parent).cell() for path in run.glob("*/*/cell.yaml")]
    spec = RunSpec(task="image-classification", model=("random",), prompts="photos", device="cpu")
    with pytest.raises(UsageError, match="is not the one that this run began with"):
        jobs_of(spec, [cell])
    monkeypatch.chdir("/")  # the run knows where its relative paths begin
    _, notes = bundled(run)
    assert any("their file has changed since" in note for note in notes)


@pytest.mark.parametrize("code", [FindingCode.INPUT_UNUSABLE, FindingCode.LABEL_UNKNOWN])
def test_what_quotes_an_input_is_withheld(code: FindingCode) -> None:
    line = next(GOLDEN.glob("*/*/queries.jsonl")).read_text().splitlines()[0]
    record = QueryRecord.model_validate_json(line)
    quoting = record.model_copy(update={"findings": (Finding(code=code, detail="00001: secret"),)})
    assert "secret" not in withheld(quoting).model_dump_json()
