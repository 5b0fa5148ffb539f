"""Where sensor cards are kept between sessions: one small file per board and driver.

A cache is a convenience: a file that is missing, damaged or of another schema is looked past, and a directory that
cannot be written costs two seconds at the next start, not a measurement.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from harness.records import SCHEMA_VERSION, SensorCard, slug


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/inference-energy-harness/sensors`; a relative value is ignored, as its standard demands."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in some containers
        base = Path(tempfile.gettempdir())
    return base / "inference-energy-harness" / "sensors"


def load_card(uuid: str, driver: str, directory: Path | None = None) -> SensorCard | None:
    """The card of this board under this driver; None where there is none that can be used."""
    try:
        text = _path(uuid, driver, directory).read_text(encoding="utf-8")
        card = SensorCard.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
    is_ours = (card.schema_version, card.uuid, card.driver) == (SCHEMA_VERSION, uuid, driver)
    return card if is_ours else None


def save_card(card: SensorCard, directory: Path | None = None) -> bool:
    """Keep a card, in one step; False where the directory cannot be written."""
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


def _path(uuid: str, driver: str, directory: Path | None) -> Path:
    return (directory or cache_directory()) / f"{slug(uuid)}_{slug(driver)}.json"
