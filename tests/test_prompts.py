"""Every source of prompts keeps one contract; files and the Hub refuse what cannot be meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownName, UsageError
from harness.prompts.catalogue import names, parse
from harness.prompts.embedded import EmbeddedSource
from harness.prompts.file import READERS, FileSource
from harness.prompts.hub import HubAddress, HubSource
from harness.prompts.huggingface import Snapshot
from harness.prompts.named import NamedFileSource, named_sets
from harness.prompts.rows import Table, columns_of
from harness.prompts.sets import digest, shuffled
from harness.protocols import PromptSource
from harness.records import Prompt, PromptSet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS: list[dict[str, object]] = [
    {"id": f"p{number}", "question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(40)
]


PLAIN_SETS = ("chains", "everyday")
"""The embedded sets of text generation; those of other tasks are in test_task_prompts.py."""


class TableHub:
    """A Hub that holds one table; it remembers what it was asked for."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows
        self.asked: list[tuple[str | None, ...]] = []

    def resolve(self, repository: str, revision: str) -> Snapshot:
        self.asked.append((repository, revision))
        return Snapshot(repository=repository, commit=COMMIT)

    def read(
        self, snapshot: Snapshot, configuration: str | None, split: str | None, *, whole: bool = False
    ) -> tuple[str, Table]:
        self.asked.append((configuration, split))
        rows = list(enumerate(self.rows, start=1))
        return split or "test", Table(origin="stand-in", unit="row", rows=rows, columns=columns_of(self.rows))


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    """The same rows in whatever format the suffix says."""
    match path.suffix:
        case ".jsonl" | ".ndjson":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        case ".json":
            path.write_text(json.dumps(rows), "utf-8")
        case ".csv":
            lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
            path.write_text("\n".join(lines) + "\n", "utf-8")
        case ".txt":
            path.write_text("".join(f"{row['question']}\n" for row in rows), "utf-8")
        case ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def hub_source(tmp_path: Path) -> PromptSource:
    return HubSource(name="o/d", address=HubAddress.parse("hub:o/d"), hub=TableHub(ROWS))


def named_file(tmp_path: Path) -> PromptSource:
    return NamedFileSource("gsm8k", written(tmp_path / "copy.jsonl", ROWS))


def file_source(suffix: str) -> Callable[[Path], PromptSource]:
    return lambda tmp_path: FileSource(written(tmp_path / f"mine{suffix}", ROWS))


def embedded_source(name: str) -> Callable[[Path], PromptSource]:
    return lambda tmp_path: EmbeddedSource(name)


SOURCES: dict[str, Callable[[Path], PromptSource]] = {
    **{name: embedded_source(name) for name in PLAIN_SETS},
    **{f"file{suffix}": file_source(suffix) for suffix in READERS},
    "named file": named_file,
    "hub": hub_source,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> PromptSource:
    return SOURCES[request.param](tmp_path)


class TestContract:
    """What a run, its resumption and its extension rely on."""

    def test_not_empty_and_every_prompt_is_text(self, source: PromptSource) -> None:
        prompts = source.load(0).prompts
        assert prompts
        assert all(prompt.text.strip() for prompt in prompts)

    def test_ids_are_unique(self, source: PromptSource) -> None:
        ids = [prompt.prompt_id for prompt in source.load(0).prompts]
        assert len(set(ids)) == len(ids)

    def test_the_same_seed_gives_the_same_set(self, source: PromptSource) -> None:
        assert source.load(7) == source.load(7)

    def test_the_seed_changes_the_order_at_most(self, source: PromptSource) -> None:
        """So the hash names the set, and any first n of an order lie within any longer first m."""
        one, other = source.load(1), source.load(2)
        assert (one.name, one.source, one.sha256) == (other.name, other.source, other.sha256)
        assert set(one.prompts) == set(other.prompts)
        assert len(one.prompts) == len(other.prompts)

    def test_without_a_seed_the_order_is_the_stored_one(self, source: PromptSource) -> None:
        stored = source.load(None)
        assert stored.sha256 == source.load(1).sha256 == digest(stored.prompts)

    def test_what_is_scored_has_a_reference(self, source: PromptSource) -> None:
        assert all(prompt.reference for prompt in source.load(0).prompts if prompt.scorer)


@pytest.mark.parametrize("name", PLAIN_SETS)
def test_embedded_sets_keep_their_stored_order(name: str) -> None:
    one, other = EmbeddedSource(name).load(1), EmbeddedSource(name).load(2)
    assert one == other
    assert one.sha256 == digest(one.prompts)


def test_the_package_ships_the_sets_that_the_documents_name() -> None:
    assert {"chains", "everyday", "gsm8k", "math500", "gpqa-diamond", "aies-text-generation"} <= set(names())


def test_the_same_rows_are_the_same_set_in_every_format(tmp_path: Path) -> None:
    sets = [SOURCES[f"file{suffix}"](tmp_path).load(3) for suffix in READERS if suffix != ".txt"]
    sets.append(hub_source(tmp_path).load(3))
    assert len({found.sha256 for found in sets}) == 1
    assert len({found.prompts for found in sets}) == 1


def test_the_order_and_the_hash_stay_what_they_were() -> None:
    """Runs on disk name a set by its hash and are extended in its order: neither may ever change."""
    stored = [Prompt(prompt_id=str(n), text=f"é{n}", reference=str(n), scorer="numeric") for n in range(8)]
    assert [prompt.prompt_id for prompt in shuffled(stored, 0)] == ["1", "4", "6", "7", "0", "3", "5", "2"]
    assert digest(stored) == "cae347558a1fa166593db997d7e6ece223aa87fc016039494913b511b20a2cff"


@given(st.lists(st.text(min_size=1), unique=True, max_size=20), st.integers(0, 2**32), st.text(min_size=1))
def test_a_row_more_leaves_the_others_in_their_order(ids: list[str], seed: int, added: str) -> None:
    stored = [Prompt(prompt_id=prompt_id, text="x") for prompt_id in ids if prompt_id != added]
    longer = shuffled([*stored, Prompt(prompt_id=added, text="x")], seed)
    assert tuple(prompt for prompt in longer if prompt.prompt_id != added) == shuffled(stored, seed)


def load(path: Path, content: bytes | str, column: str | None = None) -> PromptSet:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FileSource(path, column).load(0)


GOOD = [  # file, content, column, then of the first prompt: text, reference, scorer
    ("a.jsonl", '{"text": "a"}', None, "a", None, None),
    ("a.jsonl", '\ufeff{"prompt": "a", "target": 3}\r\n\n', None, "a", "3", "numeric"),
    ("a.jsonl", '{"text": "a\u2028b", "answer": 0.50}', None, "a\u2028b", "0.50", "numeric"),
    ("a.jsonl", '{"text": "a", "answer": "C"}', None, "a", "C", "choice"),
    ("a.jsonl", '{"text": "a", "answer": "Paris"}', None, "a", "Paris", None),
    ("a.jsonl", '{"text": "a", "answer": "Paris", "scorer": "exact"}', None, "a", "Paris", "exact"),
    ("a.jsonl", '{"text": "a", "answer": "\\\\frac{1}{2}", "scorer": "math"}', None, "a", r"\frac{1}{2}", "math"),
    ("a.jsonl", '{"text": "a", "answer": "\\\\{1, 2", "scorer": "math"}', None, "a", r"\{1, 2", "math"),
    ("a.jsonl", '{"text": "a", "answer": "3", "scorer": null}', None, "a", "3", None),
    ("a.jsonl", '{"text": "a", "answer": "so 6 * 7 = 42\\n#### 42"}', None, "a", "42", "numeric"),
    ("a.jsonl", '{"text": "a", "answer": ["3"], "solution": "4"}', None, "a", "4", "numeric"),
    ("a.jsonl", '{"text": "a", "other": "b"}', "other", "b", None, None),
    ("a.jsonl", '{"Question": "a", "Answer": "1,234"}', None, "a", "1,234", "numeric"),
    ("a.json", '[{"instruction": "a", "input": "b"}]', None, "a", None, None),
    ("a.csv", 'text,label\n"a, ""b""\nc",$5.00\n', None, 'a, "b"\nc', "$5.00", "numeric"),
    ("a.csv", "text,answer\r\na,\r\n", None, "a", None, None),
    ("a.csv", f"text\n{'x' * 200_000}\n", None, "x" * 200_000, None, None),
    ("a.txt", "a, b\n\n", None, "a, b", None, None),
]


@pytest.mark.parametrize(("name", "content", "column", "text", "reference", "scorer"), GOOD)
def test_files_are_read(
    tmp_path: Path, name: str, content: str, column: str | None, text: str, reference: str | None, scorer: str | None
) -> None:
    (prompt,) = load(tmp_path / name, content, column).prompts
    assert (prompt.text, prompt.reference, prompt.scorer) == (text, reference, scorer)


BAD = [  # file, content, column, then parts of the message and the next step
    ("a.jsonl", "", None, ["no prompts"]),
    ("a.txt", "\n\n", None, ["no prompts"]),
    ("a.csv", "text\n", None, ["no prompts"]),
    ("a.json", "[]", None, ["no prompts"]),
    ("a.jsonl", '{"text": "a"}\n{"text": " "}', None, ["line 2", "'text' is empty"]),
    ("a.jsonl", '{"text": "a"}\n\n{"text": "b"}', None, ["line 2: empty"]),
    ("a.jsonl", '{"text": "a"}\n{"text": 7}', None, ["line 2", "holds a number"]),
    ("a.jsonl", '{"text": "a"}\n{"txt": "b"}', None, ["line 2", "missing"]),
    ("a.jsonl", '{"text": "\\ud800"}', None, ["line 1", "surrogate"]),
    ("a.jsonl", "[1]", None, ["line 1", "not a JSON object"]),
    ("a.jsonl", '{"text": "a"', None, ["line 1", "not JSON"]),
    ("a.jsonl", "[" * 200_000, None, ["line 1", "not JSON"]),
    ("a.jsonl", '{"text": "a", "id": 1}\n{"text": "b", "id": 1}', None, ["line 2", "'1'", "in line 1"]),
    ("a.jsonl", '{"text": "a", "id": null}', None, ["line 1", "the id in 'id' is missing"]),
    ("a.jsonl", '{"text": "a", "answer": NaN}', None, ["line 1", "nan"]),
    ("a.jsonl", '{"text": "a", "answer": "1"}\n{"text": "b", "answer": {}}', None, ["line 2", "an object"]),
    ("a.jsonl", '{"text": "a", "scorer": "exact"}', None, ["line 1", "no reference"]),
    ("a.jsonl", '{"text": "a", "answer": "x", "scorer": "numeric"}', None, ["line 1", "not one number"]),
    ("a.jsonl", '{"text": "a", "answer": "K", "scorer": "choice"}', None, ["line 1", "from A to J"]),
    ("a.jsonl", '{"text": "a", "answer": "\\\\frac{1", "scorer": "math"}', None, ["line 1", "braces are closed"]),
    ("a.jsonl", '{"text": "a", "answer": "}1{", "scorer": "math"}', None, ["line 1", "braces are closed"]),
    ("a.jsonl", '{"text": "a", "answer": "1", "scorer": "x.py:f"}', None, ["line 1", "--scorer x.py:f"]),
    ("a.jsonl", '{"promt": "a", "n": 1}', None, ["none of the columns", "'prompt'", "promt, n"]),
    ("a.jsonl", '{"query": "a", "n": 1}', "qery", ["no column 'qery'", "'query'"]),
    ("a.json", '{"data": []}', None, ["not a list"]),
    ("a.json", '[{"text": "a"}, "b"]', None, ["item 2", "not an object"]),
    ("a.csv", "text,text\na,b\n", None, ["line 1", "name of another"]),
    ("a.csv", "text\na,b\n", None, ["line 2", "2 fields"]),
    ("a.csv", 'text\n"a"b\n', None, ["line 2", "not CSV"]),
    ("a.csv", 'text\n"a\nb"\n"c\nd', None, ["line 4", "not CSV"]),
    ("a.csv", "text,answer,n\na,1,2\nb\n,3\n", None, ["line 4", "is empty"]),
    ("a.csv", "text,answer\n,1\n", None, ["line 2", "is empty"]),
    ("a.txt", "a\n\nb\n", None, ["line 2", "is empty"]),
    ("a.txt", b"a\nb\xff\n", None, ["line 2", "0xff", "UTF-8"]),
    ("a.parquet", "text", None, ["not a Parquet file"]),
    ("a.xlsx", "text", None, [".xlsx", ".jsonl"]),
    ("a", "text", None, ["without a suffix"]),
]


@pytest.mark.parametrize(("name", "content", "column", "parts"), BAD)
def test_files_that_cannot_be_meant_are_refused(
    tmp_path: Path, name: str, content: bytes | str, column: str | None, parts: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path / name, content, column)
    said = f"{caught.value} {caught.value.next_step}"
    assert name in said
    for part in parts:
        assert part in said


def test_a_spec_is_a_name_an_address_or_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a:b.jsonl", ROWS)
    assert parse("chains") == EmbeddedSource("chains")
    assert parse(str(path)) == FileSource(path)
    assert parse(f"{path}:question") == FileSource(path, "question")
    assert parse(f"{tmp_path}/../{tmp_path.name}/a:b.jsonl").load(0).prompts
    assert parse(f"gsm8k={path}") == NamedFileSource("gsm8k", path)
    assert parse("gsm8k@abc") == HubSource.of_named("gsm8k", named_sets()["gsm8k"], "abc")
    assert parse("hub:o/d@v1:text") == HubSource(name="o/d", address=HubAddress.parse("hub:o/d@v1:text"))


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("../nothing.jsonl", "There is no prompt file '../nothing.jsonl'"),
        ("../chains", "There is no prompt file"),
        ("nothing.csv:text", "There is no prompt file 'nothing.csv'"),
        ("gsm8k=nothing.csv", "There is no prompt file"),
        ("tests", "is not a file"),
        ("hub:", "not a data set of the Hub"),
        ("hub:../../etc/passwd", "not a data set of the Hub"),
        ("x" * 5000, "Unknown prompt set"),
        ("a\0b", "Unknown prompt set"),
        ("", "Unknown prompt set"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(spec: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse(spec)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        parse("gsm8")
    assert "Did you mean 'gsm8k'?" in caught.value.next_step
    assert "hub:ID" in caught.value.next_step
