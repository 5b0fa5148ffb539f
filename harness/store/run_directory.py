"""One cell at one site on disk: append-only, flushed after each query, nothing ever rewritten.

    results/<run_id>/<cell_id>/<site_id>/
        cell.yaml  queries.jsonl  [queries.parquet]  [lengths.jsonl]
        sessions/NN/{manifest.json, intervals.jsonl, [intervals.parquet], end.json, power-NNNN.parquet}

A query's line is appended after the raw readings that it was computed from are on disk, so whatever a kill leaves
behind can be recomputed. A torn last line (the machine went down in the middle of a write) is ignored on reading
and cut off before the next append. Queries and intervals of large runs have columns beside them, which are derived
(`columns`).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import yaml

from harness.errors import SchemaError, StorageFull, UsageError
from harness.records import (
    SCHEMA_VERSION,
    BusyShares,
    Cell,
    CrossCheck,
    ExternalMeter,
    FileHash,
    FindingCode,
    IntervalColumns,
    IntervalRecord,
    LengthRecord,
    QueryColumns,
    QueryRecord,
    Record,
    RunManifest,
    Segment,
    SessionEnd,
    Timeline,
    TokenWeights,
)
from harness.store import columns, segments
from harness.store.lines import whole_bytes

if TYPE_CHECKING:
    from harness.records import BoolArray

RecordType = TypeVar("RecordType", bound=Record)

MEASURED_AGAIN = re.compile(r"([0-9a-f]{12})-[0-9]+")
CELL_FILES = ("cell.yaml", "queries.jsonl", "lengths.jsonl")
"""Of a cell; the latter two grow with its sessions."""
SESSION_FILES = ("manifest.json", "intervals.jsonl", "timelines.jsonl", "weights.json", "busy.json")
"""Of a session, whole when it ends; its raw readings besides."""


class RunDirectory:
    """Implements `RunStore` for one directory `<run>/<cell_id>/<site_id>`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next_segment: dict[int, int] = {}

    @classmethod
    def create(cls, run_path: Path, cell: Cell, site_id: str) -> RunDirectory:
        """Open the cell's directory at a site, making it if it is new.

        Raises:
            StorageFull: It cannot be written.
        """
        store = cls(run_path / cell.cell_id / site_id)
        with writing(store.path):
            store.path.mkdir(parents=True, exist_ok=True)
            if not (store.path / "cell.yaml").exists():
                fields = {"schema_version": SCHEMA_VERSION, **cell.model_dump(mode="json")}
                write_whole(store.path / "cell.yaml", yaml.safe_dump(fields, sort_keys=False))
        return store

    @property
    def site_id(self) -> str:
        """The hash of the site it was measured at.

        `<site_id>-2` beside `<site_id>` is the same cell at the same site, measured again in another directory.
        """
        again = MEASURED_AGAIN.fullmatch(self.path.name)
        return again[1] if again else self.path.name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out for as long as this one measures; a killed one leaves no lock behind.

        Raises:
            UsageError: Another process is at it.
        """
        import fcntl  # not on Windows, where nothing is measured but reports can be read

        with writing(self.path):
            lock = (self.path / ".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"Another process is measuring into {self.path}.", "Wait for it, or start a run of its own."
                ) from error
            yield

    def cell(self) -> Cell:
        """What is measured.

        Raises:
            SchemaError: Damaged, or written by a newer version.
        """
        path = self.path / "cell.yaml"
        try:
            fields = yaml.safe_load(path.read_text())
            check_version(fields.pop("schema_version"), path)
            return Cell.model_validate(fields)
        except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise SchemaError(f"{path} cannot be read: {error}", "Restore it from a copy of the run.") from error

    def queries(self) -> list[QueryRecord]:
        """Every query on disk, in the order in which they became final."""
        return read_lines(self.path / "queries.jsonl", QueryRecord)

    def query_columns(self) -> QueryColumns:
        """The same as columns, read without a look at each line by this program.

        Raises:
            SchemaError: Damaged, or written by a newer version.
        """
        return columns.read_queries(self.path / "queries.jsonl", self.queries)

    def queries_at(self, offsets: Iterable[int]) -> Iterator[QueryRecord]:
        """Some of the queries: those whose lines begin at these bytes, in this order."""
        yield from _lines_at(self.path / "queries.jsonl", offsets, QueryRecord)

    def finished(self) -> set[tuple[str, str]]:
        """(prompt_id, mode) of every query on disk, but for those that sensor or server missed: they are repeated."""
        queries = self.query_columns()
        kept = np.flatnonzero(~_were_missed(queries))
        pairs = zip(queries.prompt.codes[kept].tolist(), queries.mode.codes[kept].tolist(), strict=True)
        return {(queries.prompt.names[prompt], queries.mode.names[mode]) for prompt, mode in pairs}

    def sessions(self) -> list[int]:
        """Numbers of the sessions so far."""
        return sorted(int(path.name) for path in self.path.glob("sessions/[0-9]*") if path.name.isdigit())

    def manifest(self, session: int) -> RunManifest | None:
        """A session's manifest; None where it was killed before it had one."""
        path = self._session(session) / "manifest.json"
        return _read_json(path, RunManifest) if path.exists() else None

    def intervals(self, session: int) -> list[IntervalRecord]:
        """A session's stretches that are not queries."""
        return read_lines(self._session(session) / "intervals.jsonl", IntervalRecord)

    def gaps(self, session: int) -> tuple[IntervalColumns, list[IntervalRecord]]:
        """A session's gaps between queries as columns, and its other intervals in order.

        Raises:
            SchemaError: Damaged, or written by a newer version.
        """
        path = self._session(session) / "intervals.jsonl"
        gaps, others = columns.read_intervals(path, lambda: self.intervals(session))
        return gaps, list(_lines_at(path, others.tolist(), IntervalRecord))

    def end(self, session: int) -> SessionEnd | None:
        """How a session ended; None where it was killed or still runs."""
        path = self._session(session) / "end.json"
        return _read_json(path, SessionEnd) if path.exists() else None

    def begin_session(self) -> int:
        """Make room for the next session and return its number."""
        number = max(self.sessions(), default=0) + 1
        with writing(self.path):
            self._session(number).mkdir(parents=True)
            cut_torn_line(self.path / "queries.jsonl")
            cut_torn_line(self.path / "lengths.jsonl")
        return number

    def write_manifest(self, manifest: RunManifest) -> None:
        """Once per session, before its first query."""
        with writing(self.path):
            write_whole(self._session(manifest.session) / "manifest.json", manifest.model_dump_json(indent=1) + "\n")

    def write_segment(self, session: int, segment: Segment) -> None:
        """Close one file of raw readings. On return it is on disk."""
        if len(segment.channel) == 0:
            return
        number = self._next_segment.get(session)
        if number is None:  # counted once: a long session has thousands
            number = len(list(self._session(session).glob("power-*.parquet")))
        with writing(self.path):
            segments.write(self._session(session) / f"power-{number:04d}.parquet", segment)
        self._next_segment[session] = number + 1

    def segments(self, session: int) -> Iterator[Segment]:
        """The raw readings of a session, in order."""
        paths = self._session(session).glob("power-*.parquet")
        for path in sorted(paths, key=lambda path: int(path.stem.rpartition("-")[2])):
            yield segments.read(path)

    def append_query(self, *queries: QueryRecord) -> None:
        """Append final queries and flush them: all of them are on disk then, or none."""
        append_lines(self.path / "queries.jsonl", *queries)

    def lengths(self) -> list[LengthRecord]:
        """Every token count of a two-phase run on disk."""
        return read_lines(self.path / "lengths.jsonl", LengthRecord)

    def append_length(self, length: LengthRecord) -> None:
        """Append one token count and flush it."""
        append_lines(self.path / "lengths.jsonl", length)

    def timelines(self, session: int) -> list[Timeline]:
        """Of every query that a session under load has sent and that has ended."""
        return read_lines(self._session(session) / "timelines.jsonl", Timeline)

    def append_timelines(self, timelines: Sequence[Timeline]) -> None:
        """Append how queries of one session were served, and flush."""
        if timelines:
            append_lines(self._session(timelines[0].session) / "timelines.jsonl", *timelines)

    def server_log(self, session: int) -> Path:
        """Where what a server says goes, if the session starts one."""
        return self._session(session) / "server.log"

    def weights(self, session: int) -> TokenWeights | None:
        """What a session's energy was shared by; None: it was not shared by tokens."""
        path = self._session(session) / "weights.json"
        return _read_json(path, TokenWeights) if path.exists() else None

    def write_weights(self, weights: TokenWeights) -> None:
        """Once per session under load, before its first query."""
        with writing(self.path):
            write_whole(self._session(weights.session) / "weights.json", weights.model_dump_json(indent=1) + "\n")

    def append_interval(self, interval: IntervalRecord) -> None:
        """Append one final interval and flush it."""
        append_lines(self._session(interval.session) / "intervals.jsonl", interval)

    def write_end(self, end: SessionEnd) -> None:
        """Once, when a session ends in good order; what the files held then goes with it."""
        with writing(self.path):
            sealed = end.model_copy(update={"files": self._hashes(end.session)})
            write_whole(self._session(end.session) / "end.json", sealed.model_dump_json(indent=1) + "\n")

    def _hashes(self, session: int) -> dict[str, FileHash]:
        """Of the cell's files and of the session's own, as they are now."""
        own = self._session(session)
        paths = [*(self.path / name for name in CELL_FILES), *(own / name for name in SESSION_FILES)]
        paths += sorted(own.glob("power-*.parquet"))
        return {path.name: _hash(path) for path in paths if path.exists()}

    def write_external(self, external: ExternalMeter, log: bytes) -> None:
        """Add what an external meter says, and its log. An earlier log of the session stays; the newest counts."""
        directory = self._session(external.session)
        number = len(self._externals(external.session)) + 1
        stem = "external" if number == 1 else f"external-{number}"
        with writing(self.path):
            (directory / f"{stem}.csv").write_bytes(log)
            write_whole(directory / f"{stem}.json", external.model_dump_json(indent=1) + "\n")

    def external(self, session: int) -> ExternalMeter | None:
        """What the newest external log says of a session; None: there is none."""
        paths = self._externals(session)
        return _read_json(paths[-1], ExternalMeter) if paths else None

    def write_busy(self, busy: BusyShares) -> None:
        """Once per session whose boards said how busy they were, when it ends."""
        with writing(self.path):
            write_whole(self._session(busy.session) / "busy.json", busy.model_dump_json(indent=1) + "\n")

    def busy(self, session: int) -> BusyShares | None:
        """How busy the boards were in a session; None: unknown."""
        path = self._session(session) / "busy.json"
        return _read_json(path, BusyShares) if path.exists() else None

    def write_cross_check(self, check: CrossCheck) -> None:
        """Once per session that was cross-checked."""
        with writing(self.path):
            write_whole(self._session(check.session) / "cross_check.json", check.model_dump_json(indent=1) + "\n")

    def cross_check(self, session: int) -> CrossCheck | None:
        """What another program said of a session; None: it was not asked."""
        path = self._session(session) / "cross_check.json"
        return _read_json(path, CrossCheck) if path.exists() else None

    def _externals(self, session: int) -> list[Path]:
        found = self._session(session).glob("external*.json")
        return sorted(found, key=lambda path: int(path.stem.partition("-")[2] or 1))

    def _session(self, number: int) -> Path:
        return self.path / "sessions" / f"{number:02d}"


def check_version(version: object, path: Path) -> None:
    """Refuse what a newer version of this program wrote.

    Raises:
        SchemaError: The version is newer, or not a number.
    """
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise SchemaError(
            f"{path} has schema version {version}; this program reads up to {SCHEMA_VERSION}.",
            "Update the harness: pip install --upgrade inference-energy-harness",
        )


def run_path(name: str, output_dir: Path, *, measured: bool = False) -> Path:
    """The directory that RUN names: a path, a run id under the output directory, or `latest`.

    Args:
        name: RUN.
        output_dir: Where run ids are looked up.
        measured: `latest` is the newest run with a query in it, not one that failed to start.

    Raises:
        UsageError: There is no such run.
    """
    if name == "latest":
        runs = sorted((path for path in output_dir.glob("*") if _is_run(path)), key=lambda path: path.name)
        runs = [path for path in runs if path.name[:8].isdigit()] or runs
        if measured:
            runs = [path for path in runs if any(path.glob("*/*/queries.jsonl"))] or runs
        if not runs:
            raise UsageError(f"There is no run in {output_dir}.", "Make one: harness run")
        return runs[-1]
    for path in (output_dir / name, Path(name)):
        if _is_run(path):
            return path.resolve()
    raise UsageError(f"No run {name!r} in {output_dir} or as a path.", f"Look into {output_dir}, or say `latest`.")


def cells(run: Path) -> list[RunDirectory]:
    """Every cell of a run at every site."""
    return [RunDirectory(path.parent) for path in sorted(run.glob("*/*/cell.yaml"))]


LASTING = {FindingCode.HOST_SHARED, FindingCode.AVERAGED_POWER_ONLY}
"""Where energy is null for one of these, it would be null again: the site is like that, and not one moment of it."""


RETRIED = {
    FindingCode.SERVER_REFUSED,
    FindingCode.SERVER_LOST,
    FindingCode.STREAM_CUT,
    FindingCode.TIMED_OUT,
    FindingCode.RATE_LIMITED,
}
"""What a server did to a query that it need not do again."""


def _were_missed(queries: QueryColumns) -> BoolArray:
    """Of which a device's energy is unknown through what a repeat can cure: a lost sensor, a hole in its counter."""
    findings, readings = queries.findings, queries.readings
    lasting = np.array([name in {code.value for code in LASTING} for name in findings.code.names], dtype=np.bool_)
    unknown = np.isnan(readings.energy_gross_j)
    of_readings = np.flatnonzero(findings.reading >= 0)
    unknown[findings.reading[of_readings][lasting[findings.code.codes[of_readings]]]] = False
    missed = np.zeros(len(queries), dtype=np.bool_)
    missed[readings.owner[unknown]] = True
    retried = np.array([name in RETRIED for name in findings.code.names], dtype=np.bool_)
    of_queries = np.flatnonzero(findings.reading < 0)
    again = of_queries[retried[findings.code.codes[of_queries]]]
    missed[findings.owner[again]] |= ~queries.answered[findings.owner[again]]
    return missed


def _hash(path: Path) -> FileHash:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileHash(n_bytes=file.tell(), sha256=sha256)


def _is_run(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*/*/cell.yaml"))


def _read_json(path: Path, kind: type[RecordType]) -> RecordType:
    try:
        fields = json.loads(path.read_text())
        check_version(fields.get("schema_version"), path)
        return kind.model_validate(fields)
    except (ValueError, AttributeError) as error:
        raise SchemaError(f"{path} is damaged: {error}", "Restore it from a copy of the run.") from error


def read_lines(path: Path, kind: type[RecordType]) -> list[RecordType]:
    """Every record of a file of JSON lines; a torn last line is none, and neither is a file that is not there.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    if not path.exists():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    del torn  # what follows the last newline was never finished
    return [_record(line, kind, path, f"line {number}") for number, line in enumerate(lines, start=1)]


def _lines_at(path: Path, offsets: Iterable[int], kind: type[RecordType]) -> Iterator[RecordType]:
    with path.open("rb") if path.exists() else nullcontext(io.BytesIO()) as file:
        for offset in offsets:
            file.seek(offset)
            yield _record(file.readline(), kind, path, f"the line at byte {offset:,}")


def _record(line: bytes, kind: type[RecordType], path: Path, where: str) -> RecordType:
    try:
        fields = json.loads(line)
        check_version(fields.get("schema_version"), path)
        return kind.model_validate(fields)
    except (ValueError, AttributeError) as error:
        raise SchemaError(f"{path}, {where} is damaged: {error}", "Restore it from a copy of the run.") from error


def append_lines(path: Path, *records: Record) -> None:
    """Append records as JSON lines and flush them: all of them are on disk then, or none.

    Raises:
        StorageFull: They cannot be written.
    """
    lines = (record.model_dump_json(exclude_defaults=False, exclude_none=False) + "\n" for record in records)
    line = "".join(lines)
    with writing(path), path.open("ab", buffering=0) as file:
        whole = file.tell()
        try:
            written = file.write(line.encode())
            if written < len(line.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except (OSError, KeyboardInterrupt):
            file.truncate(whole)  # a later line must not follow a torn one, nor the same line be written again
            raise


def write_whole(path: Path, text: str) -> None:
    """Write a whole file so that it is either there or not, whoever else writes it at the same moment."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cut_torn_line(path: Path) -> None:
    """Take away what follows a file's last line end: a line that was never finished."""
    if not path.exists():
        return
    whole = whole_bytes(path)
    if whole < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def in_turn(run: Path) -> Iterator[None]:
    """Wait until no other process makes anew what can be made of a run; a killed one leaves no lock behind.

    Repeats of a sweep end on several boards at once, and what an earlier look at the run says must not come last.

    Raises:
        StorageFull: The directory cannot be written.
    """
    import fcntl  # not on Windows, where nothing is measured but reports can be read

    with writing(run):
        lock = (run / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(path: Path, option: str = "--output-dir") -> Iterator[None]:
    """Turns what the file system refuses under `path` into our own error; `option` is what names the path.

    Raises:
        StorageFull: Full, read-only, or not there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"The disk under {path} is full.", "Make room, then resume: harness run --resume latest"
            ) from error
        raise StorageFull(f"{path} cannot be written: {error.strerror}.", f"Choose another {option}.") from error
