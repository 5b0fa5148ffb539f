"""Where the cells lie under some folders, and whether one has changed since it was last read. Opens no file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

DEPTH_MOST = 8
"""Of folders below the one that was named: runs in folders of folders."""
DURATION_STALE_S = 60.0
"""A summary that is older than its queries by more than this was not made from all of them. Copying a run may set both
times anew, in either order, but near each other."""
CELL, SUMMARY, QUERIES, SESSIONS, PAGE = "cell.yaml", "summary.json", "queries.jsonl", "sessions", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFolder:
    """One cell at one site: RUN/<cell>/<site>.

    `signature` changes with every file that a row is made of. `path`, `page`: relative to the index's folder.
    """

    folder: str
    path: str
    run: str
    page: str | None
    signature: str
    has_summary: bool
    has_queries: bool
    is_stale: bool
    """Queries were added after its summary was written."""


def cell_folders(roots: Iterable[Path], beside: Path) -> list[CellFolder]:
    """Every cell below some folders, each once, in the order of their paths.

    Args:
        roots: Folders of runs, runs, or folders of such folders.
        beside: The folder to which paths are relative.
    """
    found: dict[str, CellFolder] = {}
    base = os.path.realpath(beside)
    for root in roots:
        top = os.path.realpath(root)
        pages: set[str] = set()
        for folder, entries in _walk(top, pages):
            if folder not in found:
                found[folder] = _cell(folder, entries, top, base, pages)
    return sorted(found.values(), key=lambda each: each.path)


def newest_manifest(folder: str) -> str | None:
    """The manifest of the last session that has one."""
    try:
        with os.scandir(f"{folder}/{SESSIONS}") as listing:
            numbers = [entry.name for entry in listing if entry.name.isdigit()]
    except OSError:
        return None
    paths = (f"{folder}/{SESSIONS}/{name}/manifest.json" for name in sorted(numbers, key=int, reverse=True))
    return next((path for path in paths if os.path.exists(path)), None)  # noqa: PTH110 - no Path for each of them


def _walk(top: str, pages: set[str]) -> Iterator[tuple[str, dict[str, os.DirEntry[str]]]]:
    """Folders that hold a cell, each once, those least deep first. A link to a folder is followed.

    Args:
        top: A real path.
        pages: Gets the folders on the way that hold a page.
    """
    waiting, seen = deque([(top, 0)]), {top}
    while waiting:
        folder, depth = waiting.popleft()
        try:
            with os.scandir(folder) as listing:
                entries = {entry.name: entry for entry in listing}
        except OSError:  # a folder that may not be listed holds nothing for us
            continue
        if CELL in entries:
            yield folder, entries
            continue
        if PAGE in entries:
            pages.add(folder)
        if depth == DEPTH_MOST:
            continue
        for name, entry in entries.items():
            if not name.startswith(".") and entry.is_dir():
                inner = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if inner not in seen:
                    seen.add(inner)
                    waiting.append((inner, depth + 1))


def _cell(folder: str, entries: dict[str, os.DirEntry[str]], top: str, base: str, pages: set[str]) -> CellFolder:
    summary, queries, sessions = (_stat(entries.get(name)) for name in (SUMMARY, QUERIES, SESSIONS))
    run = folder.rsplit(os.sep, 2)[0]
    inside = run.startswith(top + os.sep)
    return CellFolder(
        folder=folder,
        path=legible(_relative(folder, base)),
        run=legible(run[len(top) + 1 :] if inside else run.rpartition(os.sep)[2]),
        page=legible(_relative(f"{run}{os.sep}{PAGE}", base)) if run in pages else None,
        signature=f"{_words(summary)}-{_words(queries)}-{_words(sessions)}",
        has_summary=summary is not None,
        has_queries=queries is not None and queries[1] > 0,
        is_stale=summary is not None and queries is not None and queries[0] > summary[0] + 1e9 * DURATION_STALE_S,
    )


def legible(path: str) -> str:
    """A path as text that can be written to a file, whatever bytes its names are made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _relative(path: str, base: str) -> str:
    return path[len(base) + 1 :] if path.startswith(base + os.sep) else os.path.relpath(path, base)


def _words(state: tuple[int, int, int] | None) -> str:
    return "" if state is None else ".".join(map(str, state))


def _stat(entry: os.DirEntry[str] | None) -> tuple[int, int, int] | None:
    """Time of the last change of content in nanoseconds, size, and the time that no copying program can set back."""
    if entry is None:
        return None
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ctime_ns
