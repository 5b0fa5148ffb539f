"""Do files still hold what was taken down of them: by `bundle.json` of all, by `end.json` when their session ended?

A cell's own files grow with its sessions: of these a session took down so many bytes from their beginning. The hashes
name what was damaged, or edited by somebody who did not know of them; who does can make them right again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.bundle.contents import BUNDLE_NAME, bundle_sha256, files_of, read_bundle
from harness.errors import SchemaError
from harness.records import Bundle, FileHash
from harness.store.run_directory import CELL_FILES, SESSION_FILES, RunDirectory
from harness.verify.check import Check, Kind
from harness.verify.stored import BEYOND_READING, damaged

BLOCK_BYTES = 2**20
TEXT_FILES = ("queries.jsonl", "lengths.jsonl")
"""What is written anew where a bundle holds hashes instead of texts."""
NOT_TAKEN_DOWN = "no hashes were taken down when the session ended (an older version did not)"
KILLED = "the session has no end.json: it was killed, or the file is missing"
TEXTS_HASHED = "the bundle was made without texts, so these bytes are not the ones that the session took down"
APPENDED = "a session that was killed appended it, and nothing was taken down of it"

_check = partial(Check, kind=Kind.HASHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a run directory says of the bundle that it came out of."""

    bundle: Bundle
    sha256: str
    """Of its bundle.json."""


def origin_of(run: Path) -> tuple[Origin | None, Check | None]:
    """The bundle that a run directory came out of, and the check of its list: None where there is none."""
    try:
        bundle, sha256 = read_bundle(run), bundle_sha256(run)
    except SchemaError as error:
        return None, damaged(run, BUNDLE_NAME, error)
    return (None, None) if bundle is None or sha256 is None else (Origin(bundle=bundle, sha256=sha256), None)


def bundled(run: Path, bundle: Bundle) -> Iterator[Check]:
    """Every file of a bundle against its list, missing and added ones too."""
    listed = {file.path: file for file in bundle.files}
    there = set(files_of(run))
    for path in sorted(there | listed.keys()):
        again = _hashed(run / path)[0] if path in there else None
        yield _compared(path, BUNDLE_NAME, listed.get(path), again)


def taken_down(run: Path, directory: RunDirectory, bundle: Bundle | None) -> Iterator[Check]:
    """Every file of a cell against what its sessions took down when they ended."""
    cell = directory.path.relative_to(run).as_posix()
    without_texts = bundle is not None and bundle.texts == "hashed"
    numbers = directory.sessions()
    whole: dict[str, dict[int, FileHash]] = {name: {} for name in CELL_FILES}
    for number in numbers:
        where = f"{cell}/sessions/{number:02d}"
        try:
            end = directory.end(number)
        except BEYOND_READING:
            continue  # it is named where it is read as a record
        if end is None or not end.files:
            yield _check(where=where, figure="contents", why_not=KILLED if end is None else NOT_TAKEN_DOWN)
            continue
        yield from _of_session(directory.path, where, number, end.files)
        for name in CELL_FILES:
            if name in end.files:
                whole[name][number] = end.files[name]
    for name, by_session in whole.items():
        if by_session and without_texts and name in TEXT_FILES:
            yield _check(where=f"{cell}/{name}", figure="contents", why_not=TEXTS_HASHED)
        elif by_session:
            last_ended = numbers[-1] in by_session
            yield from _growing(directory.path / name, f"{cell}/{name}", by_session, last_ended=last_ended)


def _of_session(cell_path: Path, where: str, number: int, files: Mapping[str, FileHash]) -> Iterator[Check]:
    """The session's own files, which are whole when it ends."""
    folder = cell_path / "sessions" / f"{number:02d}"
    there = {path.name for path in folder.glob("power-*.parquet")}
    there |= {name for name in SESSION_FILES if (folder / name).exists()}
    for name in sorted(there | (files.keys() - set(CELL_FILES))):
        again = _hashed(folder / name)[0] if (folder / name).is_file() else None
        yield _compared(f"{where}/{name}", "end.json", files.get(name), again)


def _growing(file: Path, path: str, by_session: Mapping[int, FileHash], *, last_ended: bool) -> Iterator[Check]:
    """A file that sessions append to, each of which took down what it held then; the last one all of it."""
    lengths = sorted({known.n_bytes for known in by_session.values()})
    *found, whole = _hashed(file, (*lengths, None)) if file.exists() else [None] * (len(lengths) + 1)
    beginnings = dict(zip(lengths, found, strict=True))
    for number, known in by_session.items():
        again = whole if last_ended and number == max(by_session) else beginnings[known.n_bytes]
        yield _compared(path, f"end.json of session {number}", known, again)
    if not last_ended and whole is not None and whole.n_bytes > lengths[-1]:
        yield _check(where=path, figure=f"what follows byte {lengths[-1]:,}", why_not=APPENDED)


def _compared(path: str, by: str, known: FileHash | None, again: FileHash | None) -> Check:
    stored = "no such file" if known is None else _words(known)
    return _check(
        where=path, figure=f"contents by {by}", stored=stored, again="missing" if again is None else _words(again)
    )


def _words(known: FileHash) -> str:
    return f"{known.n_bytes:,} bytes with sha256 {known.sha256}"


def _hashed(file: Path, lengths: Sequence[int | None] = (None,)) -> list[FileHash]:
    """The hash of as many bytes from a file's beginning as each of the lengths says, in ascending order; None: all."""
    digest, n_read, found = hashlib.sha256(), 0, list[FileHash]()
    with file.open("rb") as content:
        for length in lengths:
            while block := content.read(BLOCK_BYTES if length is None else min(BLOCK_BYTES, length - n_read)):
                digest.update(block)
                n_read += len(block)
            found.append(FileHash(n_bytes=n_read, sha256=digest.hexdigest()))
    return found
