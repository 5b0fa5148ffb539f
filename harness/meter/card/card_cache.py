"""Where sensor cards are kept between sessions: one small file per board and driver.

A cache is a convenience: a file that is missing, damaged or of another schema is looked past, and a directory that
cannot be written costs two seconds at the next start, not a measurement. What it says is believed, so it must lie where
nobody else can write.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from harness.records import SCHEMA_VERSION, SensorCard, slug


def cache_directory() -> Path | None:
    """`$XDG_CACHE_HOME/inference-energy-harness/sensors`; a relative value is ignored, as its standard demands.

    For a user without a home, as in some containers, a directory of their own among the temporary ones. None: somebody
    else has put something there.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        base = Path(tempfile.gettempdir()) / f"inference-energy-harness-{os.getuid()}"
        if not _is_private(base):
            return None
    return base / "inference-energy-harness" / "sensors"


def _is_private(path: Path) -> bool:
    """Whether this directory, made now if it is not there, is ours and nobody else may write into it."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def load_card(uuid: str, driver: str, directory: Path | None = None) -> SensorCard | None:
    """The card of this board under this driver; None where there is none that can be used."""
    directory = directory or cache_directory()
    if directory is None:
        return None
    try:
        text = _path(uuid, driver, directory).read_text(encoding="utf-8")
        card = SensorCard.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
    is_ours = (card.schema_version, card.uuid, card.driver) == (SCHEMA_VERSION, uuid, driver)
    return card if is_ours else None


def save_card(card: SensorCard, directory: Path | None = None) -> bool:
    """Keep a card, in one step; False where the directory cannot be written."""
    directory = directory or cache_directory()
    if directory is None:
        return False
    path = _path(card.uuid, card.driver, directory)
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(card.model_dump_json(indent=2) + "\n")
        Path(draft).replace(path)
    except OSError:
        if draft is not None:
            with suppress(OSError):
                Path(draft).unlink()
        return False
    return True


def _path(uuid: str, driver: str, directory: Path) -> Path:
    return directory / f"{slug(uuid)}_{slug(driver)}.json"
