"""From a zip of unknown origin to a run directory: data and nothing else, inside its place, within bounds.

What the archive says of itself is checked and not believed: names must be on the list in `contents`, no two members
may share bytes, sizes are counted while they come out. Whatever is not so is refused with the member's name, and
nothing is left on disk.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from harness.bundle.bounds import MIB, check_bounds, refusal
from harness.bundle.contents import BUNDLE_NAME, NAME, bytes_most, is_folder, parsed
from harness.errors import HarnessError, SchemaError, StorageFull, UsageError
from harness.store.run_directory import run_path

MEMBERS_MOST = 50_000
ENTRY_BYTES_MOST = 512
"""Of a member in the archive's directory; names here are far shorter."""
BYTES_TOGETHER_MOST = 4096 * MIB
RATIO_MOST, BYTES_FREE = 30, 64 * MIB
"""So many times as large as the archive may it become, past what anybody has room for; runs become 4 to 15 times."""
END = struct.Struct("<4s4H2LH")
HEAD = struct.Struct("<4s5H3L2H")
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FOLDER_OF_DOS = 0x10
EMPTY_MOST = 2
"""Bytes of nothing, deflated."""


def is_bundle(name: str) -> bool:
    """Whether RUN|BUNDLE names a bundle: a file, and not a directory, a run id or `latest`."""
    path = Path(name)
    return path.is_file() or (path.suffix.lower() == ".zip" and not path.is_dir())


@contextmanager
def opened(name: str, output_dir: Path, *, measured: bool = False) -> Iterator[Path]:
    """The run directory that RUN|BUNDLE names; of a bundle a private one, which is gone afterwards.

    Args:
        name: A path, a run id under the output directory, `latest`, or a bundle's file.
        output_dir: Where run ids are looked up.
        measured: `latest` is the newest run with a query in it, not one that failed to start.

    Raises:
        UsageError: There is no such run or file.
        SchemaError: The file is no bundle, or holds what a bundle must not.
        StorageFull: There is no room for what it holds.
    """
    if not is_bundle(name):
        yield run_path(name, output_dir, measured=measured)
        return
    with tempfile.TemporaryDirectory(prefix="harness-bundle-") as folder:  # of this user alone
        run = extracted(Path(name), Path(folder).resolve())
        try:
            yield run
        except HarnessError as error:  # its folder is gone when this is read
            error.args = (str(error).replace(f"{run}/", f"{name}: ").replace(str(run), name),)
            raise
        except (
            ArithmeticError,
            MemoryError,
            np.linalg.LinAlgError,
        ) as error:  # records bound what a number is, and not what comes of it
            raise SchemaError(
                f"{name} holds a number that is of no run: {error or type(error).__name__}.",
                "Use nothing of this file; ask its author for it again.",
            ) from error


def extracted(bundle: Path, folder: Path) -> Path:
    """Take a bundle out into an empty folder.

    Args:
        bundle: Its file.
        folder: Empty. What is in it after an error is not to be used.

    Returns:
        The run's directory in it, named as the run.

    Raises:
        UsageError: There is no such file, or it cannot be read.
        SchemaError: It is no bundle, or holds what a bundle must not.
        StorageFull: There is no room for what it holds.
    """
    try:
        file = bundle.open("rb")
    except OSError as error:
        raise UsageError(
            f"{bundle} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    with file:
        members = _members(bundle, file)
        if BUNDLE_NAME not in members:
            raise _no_bundle(bundle, f"it holds no {BUNDLE_NAME}")
        run = folder / _run_id(file, members[BUNDLE_NAME])
        n_left = min(BYTES_TOGETHER_MOST, RATIO_MOST * file.seek(0, io.SEEK_END) + BYTES_FREE)
        with in_scratch(folder):
            for member in members.values():
                n_left -= _extract(file, member, run, n_left)
    check_bounds(run)
    return run


@contextmanager
def in_scratch(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses under a temporary folder into our own error.

    Raises:
        StorageFull: Full, or not to be written.
    """
    try:
        yield
    except OSError as error:
        raise StorageFull(
            f"{folder} cannot be used: {error.strerror}.", "Make room there, or set TMPDIR to another folder."
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One file of the archive: where its bytes lie, and what is said of what comes out of them."""

    name: str
    start: int
    n_packed: int
    n_bytes: int
    crc32: int
    is_deflated: bool


def _members(bundle: Path, file: BinaryIO) -> dict[str, _Member]:
    """The archive's files by name, none of them opened yet."""
    directory_start, n_members = _checked_end(bundle, file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise _no_bundle(bundle, f"its directory is damaged ({error})") from error
    if len(infos) != n_members:
        raise _no_bundle(bundle, f"it says that it has {n_members:,} members, and has {len(infos):,}")
    if any(info.filename.endswith(f"/{BUNDLE_NAME}") for info in infos):
        raise _no_bundle(bundle, "it has a bundle in a folder; zip what is in that folder, without it")
    members: dict[str, _Member] = {}
    names: set[str] = set()
    following = directory_start
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if is_folder(info.filename) and info.file_size == 0 and info.compress_size <= EMPTY_MOST:
            continue  # of a bundle that was unzipped and zipped again
        _check_kind(info)
        if info.filename.casefold() in names:
            raise refusal(info.filename, "is there twice")
        names.add(info.filename.casefold())
        members[info.filename] = _located(file, info, following)
        following = info.header_offset
    return {name: members[name] for name in sorted(members)}


def _checked_end(bundle: Path, file: BinaryIO) -> tuple[int, int]:
    """Where the archive's directory starts, and how many members it has: to be known before memory goes into it."""
    n_bytes = file.seek(0, io.SEEK_END)
    file.seek(max(0, n_bytes - END.size - 20))
    tail = file.read()
    end = END.unpack(tail[-END.size :]) if len(tail) >= END.size else (b"",)
    if end[0] != b"PK\5\6":
        raise _no_bundle(bundle, "it does not end as a zip does; it may be cut off")
    _, disk, disk_of_directory, n_here, n_members, n_directory, start, n_comment = end
    if disk or disk_of_directory or n_here != n_members or n_comment or tail.startswith(b"PK\6\7"):
        raise _no_bundle(bundle, "it is in parts, of the large kind or commented")
    if start + n_directory + END.size != n_bytes:
        raise _no_bundle(bundle, "its directory does not lie where it says")
    if n_members > MEMBERS_MOST:
        raise _no_bundle(bundle, f"it has {n_members:,} members; {MEMBERS_MOST:,} are the most")
    if n_directory > ENTRY_BYTES_MOST * n_members:
        raise _no_bundle(bundle, f"its directory is too large ({n_directory:,} bytes) for {n_members:,} members")
    return start, n_members


def _check_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.orig_filename != info.filename or bytes_most(info.filename) is None:
        raise refusal(info.orig_filename, "is not a file of a run")
    if kind not in (0, stat.S_IFREG) or info.external_attr & FOLDER_OF_DOS:
        raise refusal(info.filename, "is no plain file but a link, a folder or a device")
    if info.flag_bits & ENCRYPTED:
        raise refusal(info.filename, "is encrypted")
    if info.compress_type not in COMPRESSIONS:
        raise refusal(info.filename, f"is compressed in a way (number {info.compress_type}) that is not read here")


def _located(file: BinaryIO, info: zipfile.ZipInfo, following: int) -> _Member:
    """Where a member's bytes lie, by its own head; `following` is where the next thing in the archive starts."""
    file.seek(info.header_offset)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(b"PK\3\4"):
        raise refusal(info.filename, "does not lie where the archive says")
    _, _, flags, compression, _, _, _, _, _, n_name, n_extra = HEAD.unpack(head)
    name = file.read(n_name)
    start = info.header_offset + HEAD.size + n_name + n_extra
    if name != info.filename.encode() or compression != info.compress_type or flags & ENCRYPTED:
        raise refusal(info.filename, "is described in two ways")
    if start + info.compress_size > following:
        raise refusal(info.filename, "overlaps with what follows it")
    return _Member(
        name=info.filename,
        start=start,
        n_packed=info.compress_size,
        n_bytes=info.file_size,
        crc32=info.CRC,
        is_deflated=compression == zipfile.ZIP_DEFLATED,
    )


def _run_id(file: BinaryIO, member: _Member) -> str:
    """What the run is called, by `bundle.json`."""
    content = b"".join(_content(file, member, bytes_most(member.name) or 0))
    run_id = parsed(content, Path(BUNDLE_NAME)).run_id
    if re.fullmatch(NAME, run_id) is None:
        raise refusal(BUNDLE_NAME, f"calls the run {run_id!a:.100}, which is no run's name")
    return run_id


def _extract(file: BinaryIO, member: _Member, run: Path, n_left: int) -> int:
    """Write one member where it belongs, and return how many bytes it had."""
    path, n_bytes = run / member.name, 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = path.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise refusal(member.name, "has the place of another") from error
    most = min(bytes_most(member.name) or 0, n_left)
    with out:
        for piece in _content(file, member, most):
            n_bytes += out.write(piece)
    return n_bytes


def _content(file: BinaryIO, member: _Member, most: int) -> Iterator[bytes]:
    """What a member holds, in pieces, as long as it is what was said of it and not more than `most` bytes."""
    crc32, n_bytes = 0, 0
    for piece in _inflated(file, member) if member.is_deflated else _pieces(file, member):
        n_bytes += len(piece)
        if n_bytes > most:
            raise refusal(
                member.name, f"has more than {most:,} bytes, or brings all of them to more than they may have"
            )
        if n_bytes > member.n_bytes:
            raise refusal(member.name, f"has more than the {member.n_bytes:,} bytes that it says")
        crc32 = zlib.crc32(piece, crc32)
        yield piece
    if n_bytes != member.n_bytes or crc32 != member.crc32:
        raise refusal(member.name, "is damaged: it is not as long as it says, or its checksum is another")


def _pieces(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    file.seek(member.start)
    n_left = member.n_packed
    while n_left > 0:
        piece = file.read(min(n_left, MIB))
        if not piece:
            return
        n_left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, member: _Member) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _pieces(file, member):
            while packed and not stream.eof:
                yield stream.decompress(packed, MIB)
                packed = stream.unconsumed_tail
            if stream.unused_data:
                raise refusal(member.name, "goes on after its end")
        while not stream.eof:
            piece = stream.decompress(b"", MIB)
            if not piece:
                return  # cut off, which its length shows
            yield piece
    except zlib.error as error:
        raise refusal(member.name, f"is damaged: {error}") from error


def _no_bundle(bundle: Path, why: str) -> SchemaError:
    return SchemaError(
        f"{ascii(str(bundle))[1:-1]} is not a bundle: {why}.",
        "A bundle is made by: harness export RUN --bundle FILE.zip",
    )
