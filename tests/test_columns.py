"""Queries as columns: the same as the records, whatever is on disk, and fast enough not to be noticed."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness import publish
from harness.analysis.figures import Figures, as_figures, figures_in, paired
from harness.analysis.measured import devices_by_session, figures_of
from harness.analysis.stored import query_columns, rows_of
from harness.analysis.summary import failed
from harness.errors import SchemaError
from harness.records import (
    Boundary,
    Finding,
    FindingCode,
    IntervalRecord,
    Method,
    QueryColumns,
    QueryRecord,
    Reading,
    TextColumn,
)
from harness.report.page import render_page
from harness.results import StoredQueries, load_cell, load_run
from harness.store import columns as stored
from harness.store import lines, schemas
from harness.store.run_directory import RunDirectory
from tests.synthetic_runs import CPU, cell, query, reading, run_of_queries
from tests.synthetic_tasks import TASKS, task_queries, task_query

SITE_ID = "0123456789ab"
BOTH = Boundary.GPU_BOARD_AND_HOST


def mixed_queries(n_prompts: int = 30, seed: int = 5) -> list[QueryRecord]:
    """Two boards' worth of everything that can be missing or doubted."""
    rng = np.random.default_rng(seed)
    queries = []
    for one in run_of_queries(n_prompts, ("off", "on", "budget:64"), seed=seed):
        (board,) = one.readings
        host = reading(
            float(5 * rng.random()),
            device=CPU,
            boundary=Boundary.HOST,
            method=Method.RAPL,
            duration_s=one.duration_s,
            net=True,
            phases={"prefill": 0.3, "answer": 0.7},
        )
        second = reading(float(9 * rng.random()), device="GPU-2", duration_s=one.duration_s)
        nothing = {"energy_gross_j": None, "energy_gross_half_width_j": None, "phases": ()}
        lost = board.model_copy(
            update={**nothing, "findings": (Finding(code=FindingCode.SENSOR_LOST, detail="Xid 79"),)}
        )
        cut = one.output.model_copy(update={"finish_reason": "length", "thought": True}) if one.output else None
        changes: Sequence[dict[str, Any]] = (
            {},
            {"readings": (board, host)},
            {"readings": (board, host), "findings": (Finding(code=FindingCode.CUT_BY_CAP),), "output": cut},
            {"readings": (lost, host)},
            {"readings": (board.model_copy(update={"energy_net_j": None, "energy_tail_j": 3.5}), host)},
            {"readings": (board.model_copy(update={"phases": board.phases[:1]}), host)},
            {"readings": (board, host, second), "session": 2},
            {"output": None, "score": None, "findings": (Finding(code=FindingCode.OUT_OF_MEMORY, detail="40 GiB"),)},
            {"score": None, "findings": (Finding(code=FindingCode.BUDGET_REACHED),)},
            {"readings": ()},
        )
        queries.append(one.model_copy(update=changes[int(rng.integers(len(changes)))]))
    return queries


def texts(column: TextColumn) -> list[str | None]:
    return [None if code < 0 else column.names[code] for code in column.codes.tolist()]


def assert_same(one: object, other: object, where: str = "") -> None:
    """Two sets of columns, their text compared as text and their hashes by which are equal."""
    if isinstance(one, TextColumn):
        assert isinstance(other, TextColumn)
        assert texts(one) == texts(other), where
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            if field.name in ("rendered", "text"):
                codes = [np.unique(getattr(each, field.name), return_inverse=True)[1] for each in (one, other)]
                pairs = set(zip(*(each.tolist() for each in codes), strict=True))
                assert len(pairs) == len(set(codes[0].tolist())) == len(set(codes[1].tolist())), where
            elif field.name != "offset":
                assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, dict) and where.endswith(".lists"):
        assert isinstance(other, dict)
        for name in one.keys() | other.keys():
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        for name in one.keys() | other.keys():
            nothing = np.full(len(next(iter((*one.values(), *other.values())))), np.nan)
            assert_same(one.get(name, nothing), other.get(name, nothing), f"{where}.{name}")
    else:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), where)


def written(path: Path, queries: Sequence[QueryRecord]) -> RunDirectory:
    store = RunDirectory.create(path, cell(), SITE_ID)
    text = "".join(each.model_dump_json() + "\n" for each in queries)
    (store.path / "queries.jsonl").write_text(text, encoding="utf-8")
    return store


def refuse() -> list[QueryRecord]:
    raise AssertionError("the lines were read one by one")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files too have columns beside them."""
    monkeypatch.setattr(stored, "KEPT_FROM_BYTES", 1)


# ---------------------------------------------------------------------------------------------- the same as records


def test_lines_become_what_their_records_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [
        *mixed_queries(),
        query(99, "off", 1e-300, prompt_id='a "quoted" — ☃ \\ prompt', text="\u2028</script>"),
        query(99, "neu", -0.0, prompt_id=""),
    ]
    store = written(tmp_path / "run", queries)
    path = store.path / "queries.jsonl"
    assert_same(stored.read_queries(path, refuse), query_columns(queries))
    monkeypatch.setattr(lines, "BLOCK_BYTES", 4000)
    monkeypatch.setattr(lines.blocks, "__defaults__", (4000,))
    monkeypatch.setattr(lines, "PARSED_BYTES", 700)  # shorter than a line
    assert_same(stored.read_queries(path, refuse), query_columns(queries))
    offsets = stored.read_queries(path, refuse).offset.tolist()
    assert [each.prompt_id for each in store.queries_at(offsets[-2:])] == [each.prompt_id for each in queries[-2:]]


def test_the_schema_has_every_field_of_the_records() -> None:
    assert schemas.query().names == list(QueryRecord.model_fields)
    assert schemas.INTERVAL.names == list(IntervalRecord.model_fields)
    assert [field.name for field in schemas.READING] == list(Reading.model_fields)
    for name in ("output", "score"):
        (kind,) = (each for each in QueryRecord.model_fields[name].annotation.__args__ if each is not type(None))  # type: ignore[union-attr]
        assert [field.name for field in schemas.query().field(name).type] == list(kind.model_fields)


def test_other_counts_are_kept_also_where_only_a_later_block_has_them(tmp_path: Path, kept: None) -> None:
    first = query(0, "off", 5.0)
    assert first.output is not None
    sizes = {**first.output.sizes, "images": 3}
    other = first.model_copy(update={"prompt_id": "b", "output": first.output.model_copy(update={"sizes": sizes})})
    store = written(tmp_path / "run", [first, other])
    path = store.path / "queries.jsonl"
    assert_same(stored.read_queries(path, refuse), query_columns([first, other]))
    one_line = len(path.read_bytes().splitlines()[0])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines.blocks, "__defaults__", (one_line,))
        os.utime(path)  # newer than what was kept
        found = stored.read_queries(path, refuse)
    np.testing.assert_array_equal(found.sizes["images"], [np.nan, 3.0])


@pytest.mark.parametrize("task", TASKS)
def test_runs_of_tasks_are_read_as_fast_and_as_the_records(tmp_path: Path, kept: None, task: str) -> None:
    queries = task_queries(task, 9, n_unusable=1)
    sound = task_query(task, 9, 5.0, sizes={"audio_s": 3.0}, values={"f1": 0.25, "confidence": (), "objects": (1.0,)})
    queries = [*queries, sound, task_query(task, 10, 6.0, sizes={"audio_s": 2.5}, correct=True)]
    store = written(tmp_path / "run", queries)
    path = store.path / "queries.jsonl"
    wanted = query_columns(queries)
    assert_same(stored.read_queries(path, refuse), wanted)
    assert path.with_suffix(".parquet").exists()
    assert_same(stored.read_queries(path, refuse), wanted)  # from Parquet
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines.blocks, "__defaults__", (3000,))
        patched.setattr(lines, "PARSED_BYTES", 2500)  # blocks and pieces that do not have all keys, or empty lists only
        os.utime(path)
        assert_same(stored.read_queries(path, refuse), wanted)
    with path.open("ab") as file:  # `session` is a text, so that the records read all lines
        file.write(query(11, "on", 2.0).model_dump_json().replace('"session":0', '"session":"0"').encode() + b"\n")
    rows = np.arange(len(queries))
    assert_same(rows_of(store.query_columns(), rows), wanted)
    order = np.random.default_rng(3).permutation(len(queries))
    assert_same(rows_of(wanted, order), query_columns([queries[row] for row in order.tolist()]))


def test_answers_that_are_right_or_wrong_are_kept_as_before(tmp_path: Path, kept: None) -> None:
    store = written(tmp_path / "run", run_of_queries(3))
    path = store.path / "queries.jsonl"
    stored.read_queries(path, refuse)
    assert not {"graded", "values"} & set(pq.read_schema(path.with_suffix(".parquet")).names)


def test_one_value_is_a_number_or_a_list(tmp_path: Path) -> None:
    both = [
        task_query("summarization", 0, 1.0, sizes={}, values={"f1": 1.0}),
        task_query("summarization", 1, 1.0, sizes={}, values={"f1": (1.0,)}),
    ]
    with pytest.raises(SchemaError, match="one number in some lines and a list in others"):
        written(tmp_path / "run", both).query_columns()


def test_some_rows_are_what_some_records_are() -> None:
    queries = mixed_queries()
    rows = np.random.default_rng(3).permutation(len(queries))[:40]
    assert_same(rows_of(query_columns(queries), rows), query_columns([queries[row] for row in rows.tolist()]))


@pytest.mark.parametrize("headline", [Boundary.GPU_BOARD, Boundary.HOST, BOTH])
@pytest.mark.parametrize("seed", range(4))
def test_figures_of_many_are_the_figures_of_each(headline: Boundary, seed: int) -> None:
    queries = mixed_queries(seed=seed)
    devices = devices_by_session(queries, headline)
    ordered = sorted(queries, key=lambda each: each.prompt_index)
    one_by_one = as_figures([figures_of(each, headline, devices[each.session]) for each in ordered if not failed(each)])
    at_once = figures_in(query_columns(queries), headline)
    assert len(at_once) == len(one_by_one) > 50
    assert_figures(at_once, one_by_one)


def assert_figures(one: Figures, other: Figures) -> None:
    assert (texts(one.prompt), texts(one.mode)) == (texts(other.prompt), texts(other.mode))
    for field in dataclasses.fields(Figures):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, err_msg=field.name)
    missing = {"by_device_j": np.nan, "net_half_width_baseline_j": 0.0, "phases_s": np.nan, "has_phase": False}
    for name, nothing in missing.items():
        mine, theirs = getattr(one, name), getattr(other, name)
        for key in mine.keys() | theirs.keys():
            absent = np.full(len(one), nothing)
            np.testing.assert_allclose(
                mine.get(key, absent), theirs.get(key, absent), rtol=1e-12, err_msg=f"{name} {key}"
            )
    assert one.phase_names() == other.phase_names()
    for phase in one.phase_names():
        mine, theirs = one.in_phase(phase), other.in_phase(phase)
        known = one.phases_known
        np.testing.assert_allclose(mine.energy_j[known], theirs.energy_j[known], rtol=1e-12)
        np.testing.assert_allclose(mine.energy_half_width_j[known], theirs.energy_half_width_j[known], rtol=1e-12)
        for device, energy_j in theirs.by_device_j.items():
            np.testing.assert_allclose(mine.by_device_j[device][known], energy_j[known], rtol=1e-12)


def test_prompts_are_paired_by_name_whatever_their_order() -> None:
    queries = run_of_queries(20)
    figures = figures_in(query_columns(queries), Boundary.GPU_BOARD)
    other = figures_in(query_columns(queries[::-3]), Boundary.GPU_BOARD)
    above, below = paired(figures.in_mode("on"), other.in_mode("off"))
    assert texts(above.prompt) == texts(below.prompt)
    assert len(above) == len(other.in_mode("off")) > 5
    assert (len(paired(figures, [])[0]), len(paired([], figures)[1])) == (0, 0)


# -------------------------------------------------------------------------------------- what only records can judge


def broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    fields = json.loads(query(1, "on", 7.0, correct=True).model_dump_json())
    change(fields)
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b'{"schema_version":1}',
        b'{"schema_version":1',
        b"\xff\xfe",
        broken(lambda fields: fields.update(energy_j=3)),
        broken(lambda fields: fields.update(session=None)),
        broken(lambda fields: fields.update(mode=7)),
        broken(lambda fields: fields.update(time_end_s=math.nan)),
        broken(lambda fields: fields.update(time_end_s=math.inf)),
        broken(lambda fields: fields.update(readings=None)),
        broken(lambda fields: fields["readings"].append(None)),
        broken(lambda fields: fields["readings"][0].update(device=None)),
        broken(lambda fields: fields["readings"][0].update(boundary="moon")),
        broken(lambda fields: fields["readings"][0].update(method="guess")),
        broken(lambda fields: fields["readings"][0].update(energy_gross_j=math.nan)),
        broken(lambda fields: fields["readings"][0].update(phases=[{"name": "answer"}])),
        broken(lambda fields: fields.update(findings=[{"code": "bored", "detail": ""}])),
        broken(lambda fields: fields["output"].update(sizes=None)),
        broken(lambda fields: fields["output"].update(sizes={"prompt_tokens": "many"})),
        broken(lambda fields: fields["score"].pop("correct")),
        broken(lambda fields: fields["score"].update(correct="perhaps")),
        broken(lambda fields: fields["score"].update(values=None)),
        broken(lambda fields: fields["score"].update(values={"f1": None})),
        broken(lambda fields: fields["score"].update(values={"f1": math.nan})),
        broken(lambda fields: fields["score"].update(values={"f1": "good"})),
        broken(lambda fields: fields["score"].update(values={"confidence": [0.5, None]})),
        broken(lambda fields: fields["score"].update(values={"confidence": [math.inf]})),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, line: bytes) -> None:
    store = written(tmp_path / "run", [query(0, "off", 5.0)])
    with (store.path / "queries.jsonl").open("ab") as file:
        file.write(line + b"\n" + query(2, "off", 5.0).model_dump_json().encode() + b"\n")
    with pytest.raises(SchemaError, match="line 2 is damaged"):
        store.query_columns()


def test_what_records_would_convert_is_left_to_them(tmp_path: Path) -> None:
    store = written(tmp_path / "run", [query(0, "off", 5.0)])
    with (store.path / "queries.jsonl").open("ab") as file:
        file.write(broken(lambda fields: fields.update(session="3", prompt_index=4.0)) + b"\n")
    assert store.query_columns().session.tolist() == [0, 3]
    assert store.query_columns().prompt_index.tolist() == [0, 4]
    assert len(list(store.queries_at(store.query_columns().offset.tolist()))) == 2


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    store = written(tmp_path / "run", [query(0, "off", 5.0).model_copy(update={"schema_version": 99})])
    with pytest.raises(SchemaError, match="schema version 99"):
        store.query_columns()


def test_a_torn_line_is_ignored_and_an_empty_file_has_no_queries(tmp_path: Path) -> None:
    store = written(tmp_path / "run", [query(0, "off", 5.0)])
    path = store.path / "queries.jsonl"
    with path.open("ab") as file:
        file.write(b'{"schema_version":1,"sess')
    assert len(store.query_columns()) == 1
    path.write_bytes(b'{"schema_version":1,"sess')
    assert len(store.query_columns()) == 0
    path.unlink()
    assert len(store.query_columns()) == 0
    assert len(figures_in(store.query_columns(), Boundary.GPU_BOARD)) == 0


# ------------------------------------------------------------------------------------- columns beside the lines


def test_columns_are_put_beside_the_lines_and_read_from_there(
    tmp_path: Path, kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mixed_queries()
    store = written(tmp_path / "run", queries)
    store.query_columns()
    assert [path.name for path in store.path.glob("*.parquet*")] == ["queries.parquet"]
    monkeypatch.setattr(stored, "parsed", lambda *_: pytest.fail("the lines were read again"))
    assert_same(store.query_columns(), query_columns(queries))


@pytest.mark.parametrize("what", ["another line", "another end", "older columns", "damaged columns", "another layout"])
def test_columns_of_another_state_are_made_again(
    tmp_path: Path, kept: None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mixed_queries(6)
    store = written(tmp_path / "run", queries)
    path, beside = store.path / "queries.jsonl", store.path / "queries.parquet"
    store.query_columns()
    before = beside.stat().st_mtime_ns
    if what == "another line":
        store.append_query(query(77, "off", 3.0))
        queries = [*queries, query(77, "off", 3.0)]
    elif what == "another end":
        text = path.read_text()
        place = text.rindex('"prompt_index":') + len('"prompt_index":')
        path.write_text(text[:place] + "7" + text[place + 1 :])
        queries = [*queries[:-1], queries[-1].model_copy(update={"prompt_index": 7})]
    elif what == "older columns":
        os.utime(path, ns=(before + 10**9, before + 10**9))
    elif what == "damaged columns":
        beside.write_bytes(beside.read_bytes()[:-100])
    else:
        monkeypatch.setattr(stored, "LAYOUT", "0")
    os.utime(beside, ns=(before + 1, before + 1)) if what == "another end" else None
    assert_same(store.query_columns(), query_columns(queries))
    assert pq.read_metadata(beside).num_rows == len(queries)


def test_where_nothing_can_be_written_columns_are_in_memory(
    tmp_path: Path, kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mixed_queries(6)
    store = written(tmp_path / "run", queries)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Read-only file system")

    monkeypatch.setattr(pq, "ParquetWriter", refused)
    assert_same(store.query_columns(), query_columns(queries))
    assert list(store.path.glob("*.parquet*")) == []


def test_small_runs_have_nothing_beside_their_lines(tmp_path: Path) -> None:
    store = written(tmp_path / "run", mixed_queries(6))
    store.query_columns()
    assert sorted(path.name for path in store.path.iterdir()) == ["cell.yaml", "queries.jsonl"]


def test_gaps_and_the_other_intervals_are_kept_apart(tmp_path: Path, kept: None) -> None:
    store = RunDirectory.create(tmp_path / "run", cell(), SITE_ID)
    session = store.begin_session()
    names = ["load", "idle_before", "gap", "gap", "idle_after"]
    intervals = [
        IntervalRecord(
            session=session,
            name=name,
            time_start_s=float(place),
            time_end_s=place + 1.0,
            readings=(reading(10.0 * place, time_start_s=float(place)),),
        )
        for place, name in enumerate(names)
    ]
    for interval in intervals:
        store.append_interval(interval)
    for _ in range(2):  # from the lines, and from the columns beside them
        gaps, others = store.gaps(session)
        assert gaps.time_start_s.tolist() == [2.0, 3.0]
        assert gaps.readings.energy_gross_j.tolist() == [20.0, 30.0]
        assert others == [each for each in intervals if each.name != "gap"]
    assert store.gaps(session + 1)[1] == []


# ---------------------------------------------------------------------------------------- records when asked for


def test_records_are_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = mixed_queries()
    results = load_cell(written(tmp_path / "run", queries))
    asked: list[int] = []
    read = RunDirectory.queries_at

    def counted(self: RunDirectory, offsets: list[int]) -> Any:
        asked.extend(offsets)
        return read(self, offsets)

    monkeypatch.setattr(RunDirectory, "queries_at", counted)
    assert len(results.queries) == len(queries)
    assert asked == []
    assert results.queries[3] == queries[3]
    assert results.queries[-2:] == queries[-2:]
    assert results.queries_at([5, 1]) == [queries[5], queries[1]]
    assert len(asked) == 5
    assert list(results.queries) == list(results.queries) == queries
    assert len(asked) == 5 + len(queries)  # a small run's are kept
    monkeypatch.setattr("harness.results.KEPT_MOST", 10)
    large = StoredQueries(results.directory, results.columns)
    assert list(large) == list(large) == queries
    assert len(asked) == 5 + 3 * len(queries)  # a large run's are not


def test_only_the_newest_session_of_a_repeated_query_counts(tmp_path: Path) -> None:
    first, second = query(0, "off", 5.0), query(1, "off", 6.0)
    again = first.model_copy(update={"session": 2})
    results = load_cell(written(tmp_path / "run", [first, second, again]))
    assert list(results.queries) == [second, again]
    assert results.columns.session.tolist() == [0, 2]


def test_the_page_of_a_large_run_shows_some_of_its_queries_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (golden,) = (Path(__file__).parent / "golden").glob("schema-1")
    whole = publish.accounts(golden)
    monkeypatch.setattr(publish, "N_ON_PAGE", 5)
    monkeypatch.setattr(publish, "N_PROMPTS_FIRST", 2)
    monkeypatch.setattr(publish, "N_PROMPTS_DRAWN", 1)
    page = publish._page_cell(whole[0])
    assert page.n_queries == len(whole[0].results.queries) == 12
    assert len(page.queries) == 6
    assert page.facts[0].title == "This page"
    assert "All figures are of 12 queries" in page.facts[0].facts[0].text
    again = publish._page_cell(publish.accounts(golden)[0])
    assert list(again.queries) == list(page.queries)
    assert "All queries (12, the first 6 listed)" in render_page([page])


def test_columns_hold_the_net_energies_that_records_get(tmp_path: Path) -> None:
    (golden,) = (Path(__file__).parent / "golden").glob("schema-1")
    (results,) = load_run(golden)
    readings = [reading for each in results.queries for reading in each.readings]
    assert all(each.energy_net_j is not None for each in readings)
    for name in ("power_idle_w", "energy_net_j", "energy_net_half_width_j", "energy_tail_j"):
        own = [np.nan if getattr(each, name) is None else getattr(each, name) for each in readings]
        np.testing.assert_array_equal(getattr(results.columns.readings, name), own)
    assert isinstance(results.columns, QueryColumns)
