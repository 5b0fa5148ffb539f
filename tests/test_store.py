"""The run directory: what goes in comes out, whatever happens in between."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis.stored import query_columns
from harness.attribution.baseline import Baseline
from harness.attribution.filled import Idle, with_idle
from harness.errors import ExitCode, SchemaError, StorageFull, UsageError
from harness.records import (
    SCHEMA_VERSION,
    Attribution,
    Boundary,
    FileHash,
    Finding,
    FindingCode,
    IntervalColumns,
    IntervalRecord,
    Method,
    Output,
    PhaseReading,
    QueryRecord,
    Reading,
    Score,
    Segment,
    SessionEnd,
    slug,
)
from harness.results import load_results
from harness.store import segments
from harness.store.run_directory import RunDirectory, cells, in_turn, run_path, write_whole
from tests.synthetic_runs import cell
from tests.synthetic_tasks import task_queries, write_task_run

SITE_ID = "0123456789ab"


@pytest.fixture
def store(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", cell(), SITE_ID)


def query(prompt_id: str = "p1", mode: str = "off", session: int = 1, energy_j: float | None = 12.5) -> QueryRecord:
    reading = Reading(
        device="GPU-1",
        boundary=Boundary.GPU_BOARD,
        method=Method.NVML_COUNTER,
        attribution=Attribution.EXCLUSIVE,
        time_start_s=1.0,
        time_end_s=2.0,
        energy_gross_j=energy_j,
        energy_gross_half_width_j=None if energy_j is None else 0.1,
        n_samples=10,
        findings=() if energy_j is not None else (Finding(code=FindingCode.NO_READINGS),),
    )
    return QueryRecord(
        session=session,
        prompt_id=prompt_id,
        prompt_index=0,
        mode=mode,
        seed=1,
        time_start_s=1.0,
        time_end_s=2.0,
        output=None,
        score=None,
        readings=(reading,),
    )


# ---------------------------------------------------------------------------------------------- round trips

finite = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | finite
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
findings = st.lists(st.builds(Finding, code=st.sampled_from(FindingCode), detail=texts), max_size=2).map(tuple)
phase_readings = st.builds(
    PhaseReading,
    name=texts,
    time_start_s=finite,
    time_end_s=finite,
    energy_gross_j=maybe,
    energy_gross_half_width_j=maybe,
)
reading_records = st.builds(
    Reading,
    device=texts,
    boundary=st.sampled_from(Boundary),
    method=st.sampled_from(Method),
    attribution=st.sampled_from(Attribution),
    time_start_s=finite,
    time_end_s=finite,
    energy_gross_j=maybe,
    energy_gross_half_width_j=maybe,
    n_samples=st.integers(0, 10**6),
    duration_gap_largest_s=maybe,
    phases=st.lists(phase_readings, max_size=2).map(tuple),
    findings=findings,
)
outputs = st.builds(
    Output,
    sizes=st.dictionaries(texts, st.integers(0, 10**6), max_size=3),
    finish_reason=texts,
    rendered_prompt_sha256=texts,
    text=st.none() | texts,
    text_sha256=st.none() | texts,
)
query_records = st.builds(
    QueryRecord,
    schema_version=st.just(SCHEMA_VERSION),
    session=st.integers(1, 99),
    prompt_id=texts,
    prompt_index=st.integers(0, 10**6),
    mode=texts,
    seed=st.integers(0, 2**32 - 1),
    time_start_s=finite,
    time_end_s=finite,
    output=st.none() | outputs,
    score=st.none() | st.builds(Score, correct=st.booleans(), extracted=st.none() | texts),
    readings=st.lists(reading_records, max_size=2).map(tuple),
    findings=findings,
)
once_per_example = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@once_per_example
@given(records=st.lists(query_records, min_size=1, max_size=3))
def test_queries_come_back_bit_for_bit(store: RunDirectory, records: list[QueryRecord]) -> None:
    before = len(store.queries())
    for record in records:
        store.append_query(record)
    back = store.queries()[before:]
    assert back == records
    assert [record.model_dump_json() for record in back] == [record.model_dump_json() for record in records]  # -0.0 too


@once_per_example
@given(data=st.data(), n_rows=st.integers(1, 50))
def test_segments_come_back_bit_for_bit(store: RunDirectory, data: st.DataObject, n_rows: int) -> None:
    # Any 64 bits are a float, whatever they mean.
    bits = st.lists(st.integers(0, 2**64 - 1), min_size=n_rows, max_size=n_rows)
    columns = [np.array(data.draw(bits), dtype=np.uint64).view(np.float64) for _ in range(3)]
    channel = np.array(data.draw(st.lists(st.integers(-1, 9), min_size=n_rows, max_size=n_rows)), dtype=np.int64)
    segment = Segment(channel=channel, time_before_s=columns[0], time_after_s=columns[1], value=columns[2])
    number = store.begin_session()
    store.write_segment(number, segment)
    (back,) = store.segments(number)
    for name in segments.COLUMNS:
        assert getattr(back, name).dtype == getattr(segment, name).dtype
        assert getattr(back, name).tobytes() == getattr(segment, name).tobytes()


def test_segments_come_back_in_order_and_empty_ones_leave_no_file(store: RunDirectory) -> None:
    number = store.begin_session()
    for value in range(12):
        n_rows = 0 if value == 5 else 1
        store.write_segment(
            number,
            Segment(
                channel=np.zeros(n_rows, dtype=np.int64),
                time_before_s=np.zeros(n_rows),
                time_after_s=np.zeros(n_rows),
                value=np.full(n_rows, float(value)),
            ),
        )
    assert [segment.value[0] for segment in store.segments(number)] == [value for value in range(12) if value != 5]
    assert len(list(store.path.rglob("*.parquet"))) == 11
    assert list(store.path.rglob("*.partial")) == []


def test_the_rest_comes_back(store: RunDirectory) -> None:
    assert store.cell() == cell()
    assert store.site_id == SITE_ID
    number = store.begin_session()
    interval = IntervalRecord(session=number, name="load", time_start_s=0.0, time_end_s=0.1 + 0.2, readings=())
    store.append_interval(interval)
    end = SessionEnd(session=number, ended_utc="2030-01-01T00:00:00Z", status="finished", sampler=None, findings=())
    assert store.end(number) is None
    store.write_end(end)
    assert (store.intervals(number), store.manifest(number)) == ([interval], None)
    written = store.end(number)
    assert written is not None
    assert written.model_copy(update={"files": {}}) == end
    assert sorted(written.files) == ["cell.yaml", "intervals.jsonl"]
    lines = (store.path / "sessions" / "01" / "intervals.jsonl").read_bytes()
    taken = FileHash(n_bytes=len(lines), sha256=hashlib.sha256(lines).hexdigest())
    assert written.files["intervals.jsonl"] == taken
    assert [store.begin_session(), store.begin_session()] == [2, 3]
    assert store.sessions() == [1, 2, 3]


def test_opening_an_existing_cell_changes_nothing(store: RunDirectory, tmp_path: Path) -> None:
    store.append_query(query())
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    again = RunDirectory.create(tmp_path / "run", cell(), SITE_ID)
    assert again.queries() == store.queries()
    assert {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()} == before


# ------------------------------------------------------------------------------------------ torn and damaged


@pytest.mark.parametrize("n_torn", [1, 20, -1])
def test_a_torn_last_line_is_ignored_and_cut_off_before_the_next(store: RunDirectory, n_torn: int) -> None:
    store.append_query(query("p1"))
    path = store.path / "queries.jsonl"
    line = path.read_bytes()
    path.write_bytes(line + line[:n_torn])
    assert [each.prompt_id for each in store.queries()] == ["p1"]
    assert store.finished() == {("p1", "off")}
    assert path.read_bytes() != line  # reading mends nothing
    store.begin_session()
    assert path.read_bytes() == line
    store.append_query(query("p2"))
    assert [each.prompt_id for each in store.queries()] == ["p1", "p2"]


def test_a_damaged_line_in_the_middle_is_named(store: RunDirectory) -> None:
    for prompt_id in ("p1", "p2", "p3"):
        store.append_query(query(prompt_id))
    path = store.path / "queries.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40] + "\n" + lines[2])
    with pytest.raises(SchemaError, match=r"queries\.jsonl, line 2 is damaged"):
        store.queries()


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"much"', "[]"])
def test_a_number_that_is_none_is_refused(store: RunDirectory, value: str) -> None:
    store.append_query(query(energy_j=12.5))
    path = store.path / "queries.jsonl"
    path.write_text(path.read_text().replace("12.5", value))
    with pytest.raises(SchemaError, match="line 1"):
        store.queries()


def test_a_damaged_segment_is_named(store: RunDirectory) -> None:
    number = store.begin_session()
    one = Segment(
        channel=np.zeros(1, dtype=np.int64), time_before_s=np.ones(1), time_after_s=np.ones(1), value=np.ones(1)
    )
    store.write_segment(number, one)
    (path,) = store.path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SchemaError, match=r"power-0000\.parquet is damaged"):
        list(store.segments(number))


# ----------------------------------------------------------------------------------------- newer versions


def newer_json(path: Path) -> None:
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "schema_version": SCHEMA_VERSION + 1, "a_new_field": 1}) + "\n")


def newer_yaml(path: Path) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "schema_version": SCHEMA_VERSION + 1}))


@pytest.mark.parametrize("name", ["cell.yaml", "queries.jsonl", "intervals.jsonl", "end.json", "power-0000.parquet"])
def test_a_newer_schema_is_refused_by_name(store: RunDirectory, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = store.begin_session()
    store.append_query(query())
    store.append_interval(IntervalRecord(session=1, name="load", time_start_s=0.0, time_end_s=1.0, readings=()))
    store.write_end(SessionEnd(session=1, ended_utc="", status="finished", sampler=None, findings=()))
    with monkeypatch.context() as patched:
        if name.endswith("parquet"):
            patched.setattr(segments, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        one = np.ones(1)
        rows = Segment(channel=np.zeros(1, dtype=np.int64), time_before_s=one, time_after_s=one, value=one)
        store.write_segment(number, rows)
    (path,) = store.path.rglob(name)
    if name == "cell.yaml":
        newer_yaml(path)
    elif not name.endswith("parquet"):
        newer_json(path)
    readers: dict[str, Callable[[], object]] = {
        "cell.yaml": store.cell,
        "queries.jsonl": store.finished,
        "intervals.jsonl": lambda: store.intervals(number),
        "end.json": lambda: store.end(number),
        "power-0000.parquet": lambda: list(store.segments(number)),
    }
    with pytest.raises(SchemaError, match=rf"{name}.* schema version {SCHEMA_VERSION + 1}") as caught:
        readers.pop(name)()
    assert "pdate the harness" in caught.value.next_step
    for reader in readers.values():
        reader()  # the others are as good as before


# ------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../../../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\x00b",
        "модель/模型",
        "x" * 500,
        "-rf",
        "~root",
    ],
)
def test_no_model_name_leaves_the_run_directory(tmp_path: Path, name: str) -> None:
    measured = cell().model_copy(update={"model": name})
    store = RunDirectory.create(tmp_path / "run", measured, SITE_ID)
    assert store.path.resolve().parent.parent == (tmp_path / "run").resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(store.path.parent.name) < 100
    assert not store.path.parent.name.startswith(("-", ".", "~"))
    assert store.cell().model == name
    assert [found.path for found in cells(tmp_path / "run")] == [store.path]


@given(name=st.text())
def test_a_slug_is_one_harmless_name(name: str) -> None:
    found = slug(name)
    assert found == Path(found).name
    assert found not in ("", ".", "..")
    assert found.isascii()
    assert len(found) <= 60


def test_two_models_of_one_slug_have_two_directories(tmp_path: Path) -> None:
    ids = {cell(model=name).cell_id for name in ("a/b", "a-b", "a:b")}
    assert len(ids) == 3


def make_run(output_dir: Path, name: str) -> Path:
    store = RunDirectory.create(output_dir / name, cell(), SITE_ID)
    store.append_query(query())
    return output_dir / name


def test_a_run_is_named_by_path_by_id_or_as_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    old, new = (make_run(results, f"2026010{day}-120000-model") for day in (1, 2))
    make_run(results, "reference")  # not by its name the latest
    (results / "20270101-000000-empty").mkdir()
    assert run_path(old.name, results) == old.resolve()
    assert run_path(str(old), tmp_path / "elsewhere") == old.resolve()
    monkeypatch.chdir(results)
    assert run_path(old.name, tmp_path / "elsewhere") == old.resolve()
    assert run_path("latest", results).resolve() == new.resolve()
    for name in ("nothing", "../results", str(tmp_path), ""):
        with pytest.raises(UsageError, match=r"No run"):
            run_path(name, results)
    with pytest.raises(UsageError, match="There is no run") as caught:
        run_path("latest", tmp_path / "elsewhere")
    assert caught.value.next_step == "Make one: harness run"


def test_a_frame_of_a_task_has_its_sizes_and_scores(tmp_path: Path) -> None:
    sounds = task_queries("automatic-speech-recognition", 5, n_unusable=1)
    write_task_run(tmp_path, "automatic-speech-recognition", sounds, run_id="sounds")
    write_task_run(tmp_path, "object-detection", run_id="pictures")
    frame = load_results("sounds", output_dir=tmp_path)
    assert set(frame["task"]) == {"automatic-speech-recognition"}
    for row, query in enumerate(sounds[:4]):
        assert query.output is not None
        assert query.score is not None
        assert frame["audio_s"][row] == query.output.sizes["audio_s"]
        assert frame["output_tokens"][row] == query.output.sizes["output_tokens"]
        assert frame["score_word_errors"][row] == query.score.values["word_errors"]
    assert frame[["audio_s", "score_word_errors", "correct"]].isna().all(axis=1).tolist() == [False] * 4 + [True]
    both = load_results("sounds", "pictures", output_dir=tmp_path)
    assert not [name for name in both.columns if name.startswith(("score_matched", "score_objects"))]
    assert both["input_pixels"].isna().tolist() == [True] * 5 + [False] * 12


def test_a_frame_has_a_row_per_query_and_missing_where_unknown(tmp_path: Path) -> None:
    for name, energy_j in (("a", 12.5), ("b", None)):
        store = RunDirectory.create(tmp_path / name, cell(), SITE_ID)
        store.append_query(query("p1", "off", energy_j=energy_j))
        store.append_query(query("p1", "on", energy_j=3.0))
    frame = load_results("a", tmp_path / "b", output_dir=tmp_path)
    assert frame["run_id"].tolist() == ["a", "a", "b", "b"]
    assert frame["mode"].tolist() == ["off", "on", "off", "on"]
    assert frame["gpu_board_energy_gross_j"].fillna(-1.0).tolist() == [12.5, 3.0, -1.0, 3.0]
    assert frame["findings"].tolist() == ["", "", "no_readings", ""]


@pytest.mark.parametrize(
    ("code", "repeated"),
    [
        (FindingCode.NO_READINGS, True),
        (FindingCode.COUNTER_RESET, True),
        (FindingCode.COUNTER_FROZEN, True),
        (FindingCode.HOST_SHARED, False),
        (FindingCode.AVERAGED_POWER_ONLY, False),
    ],
)
def test_what_a_repeat_can_cure_is_repeated(store: RunDirectory, code: FindingCode, repeated: bool) -> None:
    known = query("known")
    (reading,) = query(energy_j=None).readings
    unknown = reading.model_copy(update={"findings": (Finding(code=code),)})
    store.append_query(known)
    store.append_query(query("doubted").model_copy(update={"readings": (*known.readings, unknown)}))
    assert store.finished() == ({("known", "off")} if repeated else {("known", "off"), ("doubted", "off")})


def test_an_estimate_has_no_tail() -> None:
    idle = Baseline(device="GPU-1", boundary=Boundary.GPU_BOARD, power_idle_w=5.0, half_width_w=None, drifted=False)
    after = IntervalColumns(
        time_start_s=np.array([2.0]), time_end_s=np.array([3.0]), readings=query_columns([query()]).readings
    )
    session = Idle(baselines={"GPU-1": idle}, by_load=(), gaps=after)
    (measured,) = query().readings
    for method, tail_j in ((Method.NVML_COUNTER, 12.5 - 5.0), (Method.ESTIMATED, np.nan)):
        own = query().model_copy(update={"readings": (measured.model_copy(update={"method": method}),)})
        filled = with_idle(query_columns([own]), {1: session}).readings
        np.testing.assert_array_equal(filled.energy_tail_j, [tail_j])
        assert filled.energy_net_j.tolist() == [12.5 - 5.0]


# ------------------------------------------------------------------------------- full disks, second processes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root can mount a small disk; a full one is simulated below")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, n_left: int) -> Path:
    """Fill the disk but for `n_left` bytes, in whole pages."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"\0" * (free - n_left))
    return ballast


def test_a_full_disk_loses_nothing_and_tears_nothing(small_disk: Path) -> None:
    store = RunDirectory.create(small_disk / "run", cell(), SITE_ID)
    number = store.begin_session()
    ballast = fill(small_disk, 8192)
    n_written = 0
    with pytest.raises(StorageFull, match="is full") as caught:  # noqa: PT012 - it happens at some line
        for index in range(1000):
            store.append_query(query(f"p{index}"))
            n_written += 1
    assert caught.value.exit_code is ExitCode.ENVIRONMENT
    assert "--resume" in caught.value.next_step
    assert n_written > 3
    big = np.random.default_rng(0).uniform(size=5000)
    rows = Segment(channel=np.zeros(5000, dtype=np.int64), time_before_s=big, time_after_s=big, value=big)
    with pytest.raises(StorageFull):
        store.write_segment(number, rows)
    assert list(store.segments(number)) == []
    ballast.unlink()
    store.append_query(query("after"))  # in the same session: no line follows a torn one
    assert [each.prompt_id for each in store.queries()] == [*(f"p{index}" for index in range(n_written)), "after"]
    store.write_segment(number, rows)
    assert next(store.segments(number)).value.tobytes() == big.tobytes()


def test_an_interrupted_append_has_written_nothing(store: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is interrupted writes what is left once more, and nothing is to be there twice."""
    store.append_query(query("p1"))

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.append_query(query("p2"), query("p3"))
    store.append_query(query("p2"), query("p3"))
    assert [each.prompt_id for each in store.queries()] == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "cannot be written")]
)
def test_whatever_cannot_be_written_is_storage_full(
    store: RunDirectory, number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.begin_session()
    store.append_query(query("p1"))

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    one = np.ones(1)
    rows = Segment(channel=np.zeros(1, dtype=np.int64), time_before_s=one, time_after_s=one, value=one)
    end = SessionEnd(session=session, ended_utc="", status="finished", sampler=None, findings=())
    interval = IntervalRecord(session=session, name="load", time_start_s=0.0, time_end_s=1.0, readings=())
    writes: list[Callable[[], None]] = [
        lambda: store.append_query(query("p2")),
        lambda: store.append_interval(interval),
        lambda: store.write_segment(session, rows),
        lambda: store.write_end(end),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        for write in writes:
            with pytest.raises(StorageFull, match=words):
                write()
    assert [each.prompt_id for each in store.queries()] == ["p1"]
    assert store.intervals(session) == []
    assert list(store.segments(session)) == []
    assert store.end(session) is None


def test_a_directory_that_cannot_be_made_is_storage_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageFull, match="Permission denied") as caught:
        RunDirectory.create(tmp_path / "run", cell(), SITE_ID)
    assert "--output-dir" in caught.value.next_step


HOLDER = """
import sys
from pathlib import Path
from harness.store.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone_even_if_killed(store: RunDirectory) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="Another process is measuring"), store.locked():
            pass
        holder.kill()
    with store.locked():
        pass


def test_what_is_made_of_a_run_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with in_turn(tmp_path):
            entered.set()

    thread = threading.Thread(target=other)
    with in_turn(tmp_path):
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(60)
    thread.join()


def test_files_written_by_several_at_once_are_whole_and_leave_nothing_behind(tmp_path: Path) -> None:
    texts = [str(number) * 200_000 for number in range(4)] * 10
    path = tmp_path / "page"
    with ThreadPoolExecutor(4) as threads:
        for written in [threads.submit(write_whole, path, text) for text in texts]:
            written.result()
            assert path.read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["page"]
