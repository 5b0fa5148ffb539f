"""Do a run's parts belong together? Directory names are hashes of what is in them, and everything names its owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from harness.records import LengthRecord, QueryRecord, RunManifest
from harness.store.run_directory import LASTING, MEASURED_AGAIN, RETRIED
from harness.verify.check import Check, Kind
from harness.verify.stored import StoredCell, StoredSession, called

_check = partial(Check, kind=Kind.IDENTITY)


def identity(stored: StoredCell) -> Iterator[Check]:
    """Of one cell at one site: its directory, its sessions, its queries."""
    cell_name, place = stored.path.split("/")
    site_name = again[1] if (again := MEASURED_AGAIN.fullmatch(place)) else place
    yield _check(
        where=f"{stored.path}/cell.yaml",
        figure="hash, which names its directory",
        stored=cell_name,
        again=stored.cell.cell_id,
    )
    for session in stored.sessions:
        if session.manifest is not None:
            yield from _manifest(stored.session_path(session.number), session.manifest, session, cell_name, site_name)
    manifests = {session.number for session in stored.sessions if session.manifest is not None}
    with_intervals = {session.number for session in stored.sessions if session.intervals}
    for kind, records in (("queries", stored.queries), ("lengths", stored.lengths)):
        for number, n in Counter(record.session for record in records).items():
            where = stored.session_path(number)
            for name, known in (("manifest.json", manifests), ("intervals.jsonl", with_intervals)):
                figure = f"{name}, of {n} {kind}"
                yield _check(where=where, figure=figure, stored="there", again="there" if number in known else None)
    for session in stored.sessions:
        where = f"{stored.session_path(session.number)}/intervals.jsonl"
        owners = {interval.session for interval in session.intervals} | {session.number}
        yield _check(where=where, figure="sessions named", stored=_numbers(owners), again=_numbers({session.number}))
        yield from _numbered(stored, session.number)
    yield from _once(f"{stored.path}/queries.jsonl", stored.queries)
    yield from _once(f"{stored.path}/lengths.jsonl", stored.lengths)
    yield from _in_every_mode(stored)


def _manifest(
    where: str, manifest: RunManifest, session: StoredSession, cell_name: str, site_name: str
) -> Iterator[Check]:
    where = f"{where}/manifest.json"
    yield _check(where=where, figure="cell_id", stored=manifest.cell_id, again=cell_name)
    yield _check(
        where=where, figure="hash of its site, which names its directory", stored=site_name, again=manifest.site.site_id
    )
    yield _check(where=where, figure="session", stored=manifest.session, again=session.number)
    if session.end is not None:
        yield _check(where=where, figure="session of its end.json", stored=session.end.session, again=session.number)


def _numbered(stored: StoredCell, session: int) -> Iterator[Check]:
    """Whether the files of raw readings are all there, by their numbers."""
    folder = stored.directory.path / "sessions" / f"{session:02d}"
    numbers = {path.stem.rpartition("-")[2] for path in folder.glob("power-*.parquet")}
    wanted = {f"{number:04d}" for number in range(len(numbers))}
    for number in sorted(wanted | numbers):
        yield _check(
            where=f"{stored.session_path(session)}/power-{number}.parquet",
            figure="file, of those numbered from 0 on",
            stored="there" if number in numbers else "missing",
            again="there" if number in wanted else "one too many",
        )


def _once(where: str, records: Sequence[QueryRecord] | Sequence[LengthRecord]) -> Iterator[Check]:
    """Each prompt once in each mode, but for what a lost sensor or a server missed: a later session asked it again."""
    seen: dict[tuple[str, str], QueryRecord | LengthRecord] = {}
    for record in records:
        before = seen.get((record.prompt_id, record.mode))
        again = "once" if before is None or _was_missed(before, record) else "more than once"
        yield _check(where=where, figure=f"{called(record)}, in it", stored=again, again="once")
        seen[record.prompt_id, record.mode] = record


def _was_missed(before: QueryRecord | LengthRecord, record: QueryRecord | LengthRecord) -> bool:
    if not isinstance(before, QueryRecord) or before.session >= record.session:
        return False
    unknown = [reading for reading in before.readings if reading.energy_gross_j is None]
    lost = any(not LASTING.intersection(finding.code for finding in reading.findings) for reading in unknown)
    return lost or (before.output is None and any(finding.code in RETRIED for finding in before.findings))


def _in_every_mode(stored: StoredCell) -> Iterator[Check]:
    """Whether a finished cell asked every prompt, up to its last one, in every mode."""
    ends = [session.end for session in stored.sessions]
    if not ends or ends[-1] is None or ends[-1].status != "finished" or stored.cell.lengths_batch_size is not None:
        return
    asked = {(query.prompt_index, query.mode) for query in stored.queries}
    n_prompts = max((index for index, _ in asked), default=-1) + 1
    for index in range(min(n_prompts, len(stored.queries))):
        for mode in stored.cell.modes:
            yield _check(
                where=f"{stored.path}/queries.jsonl",
                figure=f"prompt {index} in mode {mode}, of a run that finished",
                stored="there" if (index, mode) in asked else "missing",
                again="there",
            )


def _numbers(sessions: set[int]) -> str:
    return ", ".join(map(str, sorted(sessions)))
