"""The Hub's grammar, its named sets and its faults; the real `datasets` on a local directory with the Hub's layout.

The Hub itself is not asked here: a local server answers for it. Needs the extra `hub`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness.errors import EnvironmentFault, HarnessError, ModelUnavailable, UsageError
from harness.prompts.hub import HubAddress, HubSource
from harness.prompts.huggingface import HuggingFace, Snapshot
from harness.prompts.named import NamedFileSource, named_sets
from harness.records import InputColumns, Media, Prompt
from harness.scoring.catalogue import SCORERS
from tests.test_prompts import COMMIT, TableHub

pytest.importorskip("datasets")


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("hub:squad", ("squad", "main", None, None, None)),
        ("hub:o/d@abc", ("o/d", "abc", None, None, None)),
        ("hub:o/d@refs/pr/1:text", ("o/d", "refs/pr/1", "text", None, None)),
        ("hub:o/d::train", ("o/d", "main", None, "train", None)),
        ("hub:o/d@v1:my column:test:main", ("o/d", "v1", "my column", "test", "main")),
    ],
)
def test_an_address_has_up_to_five_parts(spec: str, parts: tuple[str | None, ...]) -> None:
    address = HubAddress.parse(spec)
    found = (address.repository, address.revision, address.column, address.split, address.configuration)
    assert found == parts


@pytest.mark.parametrize("spec", ["hub:", "hub:@x", "hub:o/d@", "hub:a/b/c", "hub:../d", "hub:./d", "hub:/d", "o/d"])
def test_an_address_outside_the_grammar_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="not a data set"):
        HubAddress.parse(spec)


def test_the_commit_and_the_split_that_were_read_are_in_the_source() -> None:
    hub = TableHub([{"text": "a"}])
    found = HubSource(name="o/d", address=HubAddress.parse("hub:o/d@v1"), hub=hub).load(0)
    assert found.source == f"hub:o/d@{COMMIT}::test"
    assert hub.asked == [("o/d", "v1"), (None, None)]


def load_named(name: str, rows: list[dict[str, object]]) -> tuple[Prompt, ...]:
    return HubSource.of_named(name, named_sets()[name], hub=TableHub(rows)).load(0).prompts


def test_named_sets_name_scorers_that_exist() -> None:
    assert {named.scorer for named in named_sets().values()} - {None} <= set(SCORERS)


def test_gsm8k_takes_the_answer_after_its_mark() -> None:
    (prompt,) = load_named("gsm8k", [{"question": "How many?", "answer": "6 * <<6*7=42>>7\n#### 1,042"}])
    assert prompt == Prompt(prompt_id="00001", text="How many?", reference="1,042", scorer="numeric")


def test_math500_asks_for_a_box() -> None:
    row: dict[str, object] = {
        "unique_id": "test/algebra/1.json",
        "problem": "Half?",
        "solution": "long",
        "answer": r"\frac{1}{2}",
    }
    (prompt,) = load_named("math500", [row])
    assert (prompt.prompt_id, prompt.reference, prompt.scorer) == ("test/algebra/1.json", r"\frac{1}{2}", "math")
    assert prompt.text == "Half?\n\nPut the final answer into \\boxed{}."


def gpqa_row(number: int) -> dict[str, object]:
    wrong = {f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)}
    return {"Record ID": f"r{number}", "Question": f"Which, {number}?", "Correct Answer": f"right {number}", **wrong}


def test_gpqa_letters_its_options_without_preferring_one() -> None:
    prompts = load_named("gpqa-diamond", [gpqa_row(number) for number in range(200)])
    for prompt in prompts:
        assert prompt.scorer == "choice"
        right = f"right {prompt.prompt_id.removeprefix('r')}"
        assert f"{prompt.reference}) {right}" in prompt.text.splitlines()
    counts = [sum(prompt.reference == letter for prompt in prompts) for letter in "ABCD"]
    assert sum(counts) == 200
    assert min(counts) >= 30  # 50 each are expected, with a standard deviation of 6


def test_gpqa_without_an_option_is_refused() -> None:
    with pytest.raises(UsageError, match="row 2: column 'Incorrect Answer 2' holds no option"):
        load_named("gpqa-diamond", [gpqa_row(1), {**gpqa_row(2), "Incorrect Answer 2": ""}])


def test_aies_prompts_have_no_reference() -> None:
    (prompt,) = load_named("aies-text-generation", [{"text": "Once upon"}])
    assert (prompt.text, prompt.reference, prompt.scorer) == ("Once upon", None, None)


def test_a_named_set_without_its_column_is_refused() -> None:
    with pytest.raises(UsageError, match="no column 'question'"):
        load_named("gsm8k", [{"questions": "a", "answer": "#### 1"}])


def test_a_copy_of_the_file_is_the_same_set(tmp_path: Path) -> None:
    rows = [gpqa_row(number) for number in range(9)]
    path = tmp_path / "gpqa.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    copy = NamedFileSource("gpqa-diamond", path).load(5)
    fetched = HubSource.of_named("gpqa-diamond", named_sets()["gpqa-diamond"], hub=TableHub(rows)).load(5)
    assert (copy.sha256, copy.prompts, copy.name) == (fetched.sha256, fetched.prompts, fetched.name)


# --------------------------------------------------------------------------------- the libraries themselves

README = """---
configs:
- config_name: main
  default: true
  data_files: [{split: train, path: train.jsonl}, {split: test, path: test.jsonl}]
- config_name: odd
  data_files: [{split: first, path: train.jsonl}, {split: second, path: test.jsonl}]
---
"""


class LocalCopy(HuggingFace):
    """The real client, with an answer of its own to `resolve`."""

    def resolve(self, repository: str, revision: str) -> Snapshot:
        assert self.cache_dir is not None
        return Snapshot(repository=repository, commit=COMMIT, directory=self.cache_dir.parent / "data")


@pytest.fixture
def local(tmp_path: Path) -> LocalCopy:
    data = tmp_path / "data"
    data.mkdir()
    (data / "README.md").write_text(README, "utf-8")
    for split in ("train", "test"):
        row = {"question": f"{split}?", "answer": "#### 5", "tags": ["x"]}
        (data / f"{split}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return LocalCopy(cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("spec", "text", "source"),
    [
        ("hub:o/d", "test?", f"hub:o/d@{COMMIT}::test"),
        ("hub:o/d::train", "train?", f"hub:o/d@{COMMIT}::train"),
        ("hub:o/d:question:second:odd", "test?", f"hub:o/d@{COMMIT}:question:second:odd"),
    ],
)
def test_datasets_reads_split_and_configuration(local: LocalCopy, spec: str, text: str, source: str) -> None:
    found = HubSource(name="o/d", address=HubAddress.parse(spec), hub=local).load(0)
    assert [(prompt.text, prompt.reference) for prompt in found.prompts] == [(text, "5")]
    assert found.source == source


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("hub:o/d::dev", "dev"),
        ("hub:o/d:::none", "none"),
        ("hub:o/d:::odd", "splits first, second"),
        ("hub:o/d:questoin", "no column 'questoin'"),
        ("hub:o/d:tags", "no column 'tags'"),
    ],
)
def test_what_a_data_set_does_not_have_is_refused(local: LocalCopy, spec: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        HubSource(name="o/d", address=HubAddress.parse(spec), hub=local).load(0)


def test_a_class_label_is_its_name(local: LocalCopy) -> None:
    assert local.cache_dir is not None
    data = local.cache_dir.parent / "data"
    names = "{class_label: {names: {'0': bad, '1': good}}}"
    features = f"[{{name: text, dtype: string}}, {{name: label, dtype: {names}}}]"
    splits = "[{name: test, num_bytes: 1, num_examples: 1}]"
    (data / "README.md").write_text(f"---\ndataset_info: {{features: {features}, splits: {splits}}}\n---\n", "utf-8")
    (data / "train.jsonl").unlink()
    (data / "test.jsonl").write_text('{"text": "a", "label": 1}\n', "utf-8")
    found = HubSource(name="o/d", address=HubAddress.parse("hub:o/d"), hub=local).load(0)
    assert [prompt.reference for prompt in found.prompts] == ["good"]


def test_a_class_that_is_kept_secret_is_no_reference(local: LocalCopy) -> None:
    assert local.cache_dir is not None
    data = local.cache_dir.parent / "data"
    features = "[{name: text, dtype: string}, {name: label, dtype: {class_label: {names: {'0': bad, '1': good}}}}]"
    splits = "[{name: test, num_bytes: 1, num_examples: 2}]"
    (data / "README.md").write_text(f"---\ndataset_info: {{features: {features}, splits: {splits}}}\n---\n", "utf-8")
    (data / "train.jsonl").unlink()
    (data / "test.jsonl").write_text('{"text": "a", "label": -1}\n{"text": "b", "label": 0}\n', "utf-8")
    found = HubSource(name="o/d", address=HubAddress.parse("hub:o/d"), hub=local).load(None)
    assert [prompt.reference for prompt in found.prompts] == [None, "bad"]


@pytest.fixture
def media(local: LocalCopy) -> LocalCopy:
    """A data set of images and sounds as `push_to_hub` lays it out; no byte in it can be decoded."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert local.cache_dir is not None
    data = local.cache_dir.parent / "data"
    for file in data.iterdir():
        file.unlink()
    (data / "beside.png").write_bytes(b"a file beside")
    classes = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "audio": datasets.Audio(sampling_rate=16_000),
            "label": classes,
            "objects": {"bbox": datasets.List(datasets.List(datasets.Value("float32"))), "category": [classes]},
            "text": datasets.Value("string"),
        }
    )
    rows = [
        {
            "image": {"bytes": b"no picture", "path": "1.png"},
            "audio": {"bytes": b"no sound", "path": "1.wav"},
            "label": 1,
            "objects": {"bbox": [[1.0, 2.0, 3.0, 4.5]], "category": [0]},
            "text": "one",
        },
        {
            "image": {"bytes": None, "path": "beside.png"},
            "audio": {"bytes": b"", "path": None},
            "label": -1,
            "objects": {"bbox": [], "category": []},
            "text": "two",
        },
    ]
    (data / "data").mkdir()
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    pq.write_table(table, data / "data" / "test-00000-of-00001.parquet")
    return local


IMAGES = InputColumns(
    media=("file_name", "image"), media_kind="image", reference=("objects", "label"), scorer="detections"
)
SOUNDS = InputColumns(media=("audio",), media_kind="audio", reference=("text",), scorer="words")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_images_are_taken_as_they_are_stored(media: LocalCopy) -> None:
    found = HubSource(name="o/d", address=HubAddress.parse("hub:o/d"), inputs=IMAGES, hub=media).load(None)
    one, two = found.prompts
    assert media.cache_dir is not None
    beside = media.cache_dir.parent / "data" / "beside.png"
    assert one.media == Media(name="1.png", sha256=sha256(b"no picture"), content=b"no picture")
    assert two.media == Media(name="beside.png", sha256=sha256(b"a file beside"), path=str(beside))
    assert (one.reference, two.reference) == (
        '{"bbox":[[1,2,3,4.5]],"category":["cat"]}',
        '{"bbox":[],"category":[]}',
    )
    assert {prompt.scorer for prompt in found.prompts} == {"detections"}


def test_sounds_are_taken_as_they_are_stored(media: LocalCopy) -> None:
    source = HubSource(name="o/d", address=HubAddress.parse("hub:o/d:audio:test"), inputs=SOUNDS, hub=media)
    one, two = source.load(None).prompts
    assert one.media == Media(name="1.wav", sha256=sha256(b"no sound"), content=b"no sound")
    assert two.media == Media(name="Hub data set o/d (test), row 2", sha256=sha256(b""), content=b"")
    assert [prompt.reference for prompt in (one, two)] == ["one", "two"]
    assert source.load(None).source == f"hub:o/d@{COMMIT}:audio:test"


def test_a_published_set_of_images_is_read_with_its_task(media: LocalCopy) -> None:
    named = named_sets()["aies-object-detection"].model_copy(update={"split": "test"})
    source = HubSource.of_named("aies-object-detection", named, hub=media, inputs=IMAGES)
    assert [prompt.reference for prompt in source.load(0).prompts] == [None, None]
    assert source.load(0).source == f"hub:AIEnergyScore/object_detection@{COMMIT}:image:test"


def test_without_a_task_that_takes_them_they_stay_unread(media: LocalCopy) -> None:
    with pytest.raises(UsageError, match="no column 'image'"):
        HubSource(name="o/d", address=HubAddress.parse("hub:o/d:image"), hub=media).load(0)


def test_an_empty_copy_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ModelUnavailable, match="could not be read"):
        HubSource(name="o/d", address=HubAddress.parse("hub:o/d"), hub=LocalCopy(cache_dir=tmp_path / "cache")).load(0)


class Answers(BaseHTTPRequestHandler):
    """The Hub's answers to `dataset_info`, by the data set's name."""

    def do_GET(self) -> None:
        errors = {"gated": (403, "GatedRepo"), "unknown": (401, "RepoNotFound"), "tagless": (404, "RevisionNotFound")}
        status, code = errors.get(self.path.split("/")[4], (200, ""))
        body = json.dumps({"id": "o/d", "sha": COMMIT} if status == 200 else {"error": code}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_revision_becomes_a_commit(endpoint: str) -> None:
    found = HuggingFace(endpoint=endpoint).resolve("o/d", "main")
    assert found == Snapshot(repository="o/d", commit=COMMIT)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("gated", ModelUnavailable, "datasets/o/gated, then run `hf auth login`"),
        ("unknown", ModelUnavailable, "Check the spelling"),
        ("tagless", UsageError, "no revision 'v9'"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(endpoint: str, name: str, kind: type[HarnessError], said: str) -> None:
    with pytest.raises(kind) as caught:
        HuggingFace(endpoint=endpoint).resolve(f"o/{name}", "v9")
    assert said in f"{caught.value} {caught.value.next_step}"


NOWHERE = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


def test_without_a_network_the_cache_is_asked(tmp_path: Path) -> None:
    cached = tmp_path / "datasets--o--d"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT, "utf-8")
    found = HuggingFace(endpoint=NOWHERE, cache_dir=tmp_path).resolve("o/d", "main")
    assert found == Snapshot(repository="o/d", commit=COMMIT, directory=cached / "snapshots" / COMMIT)


def test_without_network_and_cache_the_next_step_is_a_download(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        HuggingFace(endpoint=NOWHERE, cache_dir=tmp_path).resolve("o/d", "v1")
    assert "hf download --repo-type dataset o/d --revision v1" in caught.value.next_step


def test_without_the_extra_the_next_step_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentFault, match="`datasets`") as caught:
        HuggingFace().resolve("o/d", "main")
    assert "[hub]" in caught.value.next_step
