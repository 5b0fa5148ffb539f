"""A cell's results on their way: from the node that measured them into the sweep's directory, whole or not at all.

    on the node     <scratch>/<run_id>/{run.yaml, <cell_id>/<site_id>/...}  ->  one archive and its list of files
    at the driver   <sweep>/.partial/<name>/...  checked file by file, then renamed to
                    <sweep>/<run_id>/<cell_id>/<site_id>

Whoever carries an archive reads it piece by piece and writes it piece by piece; how the bytes travel is not known
here. Nothing looks for runs as deep as `.partial/<name>/` holds them, so what is on its way is in no report.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from harness.config import SPEC_NAME
from harness.errors import SchemaError
from harness.records import BundledFile, Record
from harness.store.lines import whole_bytes
from harness.store.run_directory import CELL_FILES, cells, writing

PIECE_BYTES = 4 * 2**20
"""What is held in memory of an archive, at either end and in between."""
PARTIAL, REPLACED = ".partial", "replaced"


class Parcel(Record):
    """What an archive holds, as the node that packed it says it; travels apart from it."""

    n_bytes: int
    files: tuple[BundledFile, ...]


def of_repeat(run: Path, repeat: int) -> list[Path]:
    """What a run directory holds that bears on one repeat: `run.yaml`, that repeat's files, and what its cells are.

    Of the other repeats `cell.yaml` alone, so that all are of one revision.
    """
    found = [run / SPEC_NAME] if (run / SPEC_NAME).is_file() else []
    for directory in cells(run):
        with suppress(SchemaError):  # damaged: it is measured again
            is_wanted = directory.cell().repeat == repeat
            found += _measured(directory.path) if is_wanted else [directory.path / CELL_FILES[0]]
    return found


def pack(run: Path, files: Sequence[Path], archive: Path) -> Parcel:
    """Write files of a run directory into one archive.

    Raises:
        StorageFull: It cannot be written.
    """
    listed = []
    with writing(archive.parent), tarfile.open(archive, "w") as tar:
        for path in files:
            name = path.relative_to(run).as_posix()
            with path.open("rb") as file:
                info = tar.gettarinfo(arcname=name, fileobj=file)
                hashing = _Hashing(file)
                tar.addfile(info, hashing)
            listed.append(BundledFile(path=name, n_bytes=info.size, sha256=hashing.hexdigest()))
    return Parcel(n_bytes=archive.stat().st_size, files=tuple(listed))


def copy(run: Path, files: Sequence[Path], into: Path) -> None:
    """Write files of a run directory into a new one, where both can be reached from one node.

    Raises:
        StorageFull: It cannot be written.
    """
    with writing(into):
        into.mkdir(parents=True)
        for path in files:
            target = into / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def pieces(archive: Path) -> Iterator[bytes]:
    """An archive from its beginning to its end, no more than `PIECE_BYTES` at a time."""
    with archive.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def unpack(archive: Path, parcel: Parcel, into: Path) -> None:
    """Write what an archive holds into a new directory, if it is what its list says.

    Raises:
        SchemaError: Cut short, altered, or with a name that leads elsewhere.
        StorageFull: It cannot be written.
    """
    wanted = {file.path: file for file in parcel.files}
    with writing(into):
        into.mkdir(parents=True)
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    expected = wanted.pop(member.name, None)
                    content = tar.extractfile(member) if member.isreg() else None
                    if expected is None or content is None or not _stays_inside(member.name):
                        raise _damaged(f"{member.name!r} was not sent")
                    target = into / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    hashing = _Hashing(content)
                    with target.open("xb") as file:
                        shutil.copyfileobj(hashing, file)
                    if (member.size, hashing.hexdigest()) != (expected.n_bytes, expected.sha256):
                        raise _damaged(f"{member.name} is not what was sent")
        except tarfile.TarError as error:
            raise _damaged(str(error)) from error
    if wanted:
        raise _damaged(f"{min(wanted)} is missing")


def install(arrived: Path, run: Path, staging: Path) -> list[Path]:
    """Rename the cells of a run directory that has arrived into their places.

    A cell that is there at the same site stays as it is, unless what has arrived continues it.

    Args:
        arrived: As `unpack` left it.
        run: Where they belong.
        staging: The directory for what is on its way. All three are on one file system.

    Returns:
        The cells' directories that are new or have grown.

    Raises:
        SchemaError: A cell that is there was measured apart from the one that has arrived; it stays as it is.
        StorageFull: It cannot be written.
    """
    new = []
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        spec = arrived / SPEC_NAME
        if spec.exists() and not (run / SPEC_NAME).exists():
            spec.rename(run / SPEC_NAME)
        for source in (directory.path for directory in cells(arrived)):
            place = run / source.relative_to(arrived)
            if place.exists():
                if _continues(place, source):
                    continue
                if not _continues(source, place):
                    raise SchemaError(
                        f"{place} was measured a second time, apart from the first; what arrived was not taken.",
                        "Move one of them out of the sweep where both are wanted, then resume it.",
                    )
                aside = staging / REPLACED / run.name / source.relative_to(arrived)
                aside.parent.mkdir(parents=True, exist_ok=True)
                place.rename(aside)
                source.rename(place)
                shutil.rmtree(aside)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                source.rename(place)
            new.append(place)
    return new


def recover(sweep: Path) -> None:
    """Put back what a killed driver had set aside, and drop what had not arrived in whole.

    Raises:
        StorageFull: It cannot be written.
    """
    staging = sweep / PARTIAL
    with writing(sweep):
        for aside in staging.glob(f"{REPLACED}/*/*/*"):
            place = sweep / aside.relative_to(staging / REPLACED)
            if not place.exists():
                aside.rename(place)
        shutil.rmtree(staging, ignore_errors=True)


def _continues(newer: Path, older: Path) -> bool:
    """Whether a cell's directory holds all that another one does: files only grow, and nothing is rewritten."""
    for path in _measured(older):
        other = newer / path.relative_to(older)
        n_bytes = whole_bytes(path) if path.suffix == ".jsonl" else path.stat().st_size
        if not other.is_file() or _beginning(other, n_bytes) != _beginning(path, n_bytes):
            return False
    return True


def _measured(directory: Path) -> list[Path]:
    """A cell's files but for what is derived from them."""
    own = [directory / name for name in CELL_FILES]
    sessions = (path for path in directory.glob("sessions/*/*") if path.name != "intervals.parquet")
    return [path for path in (*own, *sessions) if path.is_file()]


def _beginning(path: Path, n_bytes: int) -> tuple[int, str]:
    """How much of it there is, and its sha256."""
    digest, left = hashlib.sha256(), n_bytes
    with path.open("rb") as file:
        while piece := file.read(min(left, PIECE_BYTES)):
            digest.update(piece)
            left -= len(piece)
    return n_bytes - left, digest.hexdigest()


def _damaged(what: str) -> SchemaError:
    return SchemaError(f"Results were damaged on their way: {what}.", "The cell is measured again: resume the sweep.")


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


class _Hashing:
    """Passes on what is read from a file, and takes its sha256 meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, n_bytes: int = -1) -> bytes:
        piece = self._file.read(n_bytes)
        self._digest.update(piece)
        return piece

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
