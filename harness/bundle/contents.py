"""What a bundle holds: which files of a run go into it, and `bundle.json`, which lists them with their hashes.

The names are an allow-list: nothing else goes in, and nothing else is taken out of a stranger's bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.errors import SchemaError
from harness.records import Bundle, BundledFile
from harness.store.run_directory import check_version

BUNDLE_NAME = "bundle.json"
PAGE_NAME = "report.html"
PROMPTS_NAME = "prompts.jsonl"
"""Beside `cell.yaml`: a user's own prompts, in stored order."""

MIB = 2**20
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,118}[A-Za-z0-9])?"
"""Of a run, a cell or a site: harmless as the name of a directory on every system, and in a terminal."""
CELL = rf"{NAME}/{NAME}"
SESSION = rf"{CELL}/sessions/[0-9]{{2,6}}"
BYTES_MOST = {
    r"bundle\.json": 32 * MIB,
    r"run\.yaml": MIB // 4,
    r"report\.html": 256 * MIB,
    rf"{CELL}/cell\.yaml": MIB // 4,
    rf"{CELL}/(?:queries|lengths)\.jsonl": 1024 * MIB,
    rf"{CELL}/prompts\.jsonl": 256 * MIB,
    rf"{CELL}/summary\.json": 64 * MIB,
    rf"{SESSION}/(?:manifest|end|weights|busy|cross_check)\.json": 16 * MIB,
    rf"{SESSION}/(?:intervals|timelines)\.jsonl": 1024 * MIB,
    rf"{SESSION}/power-[0-9]{{4,8}}\.parquet": 64 * MIB,
    rf"{SESSION}/external(?:-[0-9]{{1,4}})?\.json": 64 * MIB,
    rf"{SESSION}/external(?:-[0-9]{{1,4}})?\.csv": 64 * MIB,
}
"""The files of a bundle, and how large each may be."""
FOLDER = re.compile(rf"{NAME}/(?:{NAME}/(?:sessions/(?:[0-9]{{2,6}}/)?)?)?")
_BYTES_MOST = {re.compile(pattern): n_bytes for pattern, n_bytes in BYTES_MOST.items()}


def bytes_most(path: str) -> int | None:
    """How large the file with this path in a bundle may be; None: a bundle has no such file."""
    return next((most for pattern, most in _BYTES_MOST.items() if pattern.fullmatch(path)), None)


def is_folder(path: str) -> bool:
    """Whether a zip may name this folder of a bundle, as some programs do; nothing is made of it."""
    return FOLDER.fullmatch(path) is not None


def files_of(run: Path) -> list[str]:
    """The files of a run directory that belong into a bundle, but for `bundle.json`, sorted."""
    paths = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in paths if path != BUNDLE_NAME and bytes_most(path) is not None)


def bundle_of(run: Path, run_id: str, texts: Literal["stored", "hashed"], because: str) -> Bundle:
    """What a directory holds, ready to be bundled.

    Args:
        run: The directory.
        run_id: Of the run.
        texts: Whether texts of prompts and answers are in it.
        because: Why they are not.
    """
    return Bundle(
        harness_version=version("inference-energy-harness"),
        run_id=run_id,
        texts=texts,
        texts_hashed_because=because,
        files=tuple(_bundled(run, path) for path in files_of(run)),
    )


def _bundled(run: Path, path: str) -> BundledFile:
    with (run / path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return BundledFile(path=path, n_bytes=file.tell(), sha256=sha256)


def read_bundle(run: Path) -> Bundle | None:
    """What the bundle that a run directory came out of says of itself; None: it came out of none.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    path = run / BUNDLE_NAME
    return parsed(path.read_bytes(), path) if path.exists() else None


def parsed(content: bytes, path: Path) -> Bundle:
    """The content of a `bundle.json`; `path` is for messages.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    try:
        fields = json.loads(content)
        check_version(fields.get("schema_version"), path)
        return Bundle.model_validate(fields)
    except (ValueError, RecursionError, AttributeError, ValidationError) as error:
        raise SchemaError(f"{path} is damaged: {error}", "Ask for the bundle again.") from error


def bundle_sha256(run: Path) -> str | None:
    """The digest that stands for everything in the bundle that a run directory came out of; None: out of none."""
    path = run / BUNDLE_NAME
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
