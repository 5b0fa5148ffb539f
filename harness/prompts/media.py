"""Images and sounds that a table names or holds: which file each is, and the sha256 of what is in it.

Nothing is decoded here. A file that is not there is refused before anything is measured; one that is there and cannot
be read as a picture or a sound is a matter of its own query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Literal

from harness.errors import UsageError
from harness.prompts.rows import Table, kind_of_value
from harness.records import Media

MediaKind = Literal["image", "audio"]

SUFFIXES: Mapping[MediaKind, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"),
}
"""By which a folder's files are told apart where nothing lists them."""
PLURALS: Mapping[MediaKind, str] = {"image": "images", "audio": "sounds"}


def media_kind(name: str) -> MediaKind | None:
    """What a file is by its name; None: neither an image nor a sound."""
    suffix = PurePath(name).suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def media_of(table: Table, column: str) -> list[Media]:
    """The image or the sound of every row: a path, or the Hub's {"bytes": ..., "path": ...}.

    Raises:
        UsageError: A row without one, or files that are not there or cannot be opened.
    """
    found: list[Media] = []
    missing: list[tuple[int, str]] = []
    for number, row in table.rows:
        name, content = _named(row.get(column), column, table.place(number))
        if content is not None:
            sha256 = hashlib.sha256(content).hexdigest()
            found.append(Media(name=name or table.place(number), sha256=sha256, content=content))
            continue
        file = _file(table.folder, name)
        if file is None:
            missing.append((number, name))
        else:
            found.append(_of_file(file, table.place(number)))
    if missing:
        number, name = missing[0]
        others = f" So it is in {len(missing):,} rows of {len(table.rows):,}." if len(missing) > 1 else ""
        folder = Path.cwd() if table.folder is None else table.folder
        where = folder.absolute() if isinstance(folder, Path) else folder  # `.` at a sentence's end would be `..`
        raise UsageError(
            f"{table.place(number)}: there is no file {name!r} in {where}.{others}",
            f"Put it there, or correct the column {column!r}: its paths begin at that folder.",
        )
    return found


def recorded_media(table: Table, column: str) -> list[Media]:
    """Of every row what a bundle keeps of an image or a sound: {"path": its name, "sha256": ...}.

    Raises:
        UsageError: A row that is something else.
    """
    found = []
    for number, row in table.rows:
        value = row.get(column)
        known = value if isinstance(value, Mapping) else {}
        name, sha256 = known.get("path"), known.get("sha256")
        if not isinstance(name, str) or not isinstance(sha256, str):
            raise UsageError(f"{table.place(number)}: no name and sha256 in {column!r}.", "Restore the file.")
        found.append(Media(name=name, sha256=sha256))
    return found


def _named(value: object, column: str, place: str) -> tuple[str, bytes | None]:
    """The path that a cell of a table holds, or the content."""
    if isinstance(value, Mapping):
        path, content = value.get("path"), value.get("bytes")
    elif isinstance(value, bytes):
        path, content = None, value
    else:
        path, content = value, None
    name = path.strip() if isinstance(path, str) else ""
    if isinstance(content, bytes) or name:
        return name, content if isinstance(content, bytes) else None
    raise UsageError(
        f"{place}: column {column!r} names no file: it is {kind_of_value(value)}.",
        "Write the file's path there, or remove the row.",
    )


def _file(folder: Traversable | None, name: str) -> Traversable | None:
    path = Path(name)
    file: Traversable = path if folder is None or path.is_absolute() else folder.joinpath(name)
    try:
        return file if file.is_file() else None
    except (OSError, ValueError):  # longer than a path can be, or with a null byte in it
        return None


def _of_file(file: Traversable, place: str) -> Media:
    try:
        if not isinstance(file, Path):  # inside a package that is not unpacked
            content = file.read_bytes()
            return Media(name=file.name, sha256=hashlib.sha256(content).hexdigest(), content=content)
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"{place}: {file} cannot be read: {error.strerror}.", "Check the file and its permissions."
        ) from error
    return Media(name=file.name, sha256=sha256, path=str(file.absolute()))
