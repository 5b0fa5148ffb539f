"""Curves with straight ticks beside a session's readings: a long session need not be read again to be looked at.

They are derived: they say which state of the readings they were made from, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray

LAYOUT = 1
NAME = "straight.npz"
N_KNOTS_KEPT = 20_000
"""Curves of fewer knots together are made again in a second or two: nothing is put beside the readings."""

Columns = Mapping[str, "FloatArray"]


def state_of(session: Path) -> tuple[int, int]:
    """What tells one state of a session's readings from another: how many files, and how many bytes."""
    sizes = [path.stat().st_size for path in session.glob("power-*.parquet")]
    return len(sizes), sum(sizes)


def read(session: Path, state: tuple[int, int]) -> list[Columns] | None:
    """One mapping of columns per curve, in order; None where they are not there, or of another state."""
    try:
        with np.load(session / NAME, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head.get("layout") != LAYOUT or head.get("state") != list(state):
                return None
            return [{name: file[f"{place}.{name}"] for name in names} for place, names in enumerate(head["curves"])]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def keep(session: Path, state: tuple[int, int], curves: Sequence[Columns]) -> None:
    """Write them, unless they are few; where that is not possible nothing is lost but time."""
    if sum(len(curve["time_s"]) for curve in curves) < N_KNOTS_KEPT:
        return
    head = {"layout": LAYOUT, "state": list(state), "curves": [list(curve) for curve in curves]}
    arrays = {f"{place}.{name}": values for place, curve in enumerate(curves) for name, values in curve.items()}
    partial = session / f"{NAME}.{os.getpid()}.partial"
    with suppress(OSError):
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)
            partial.replace(session / NAME)
        finally:
            partial.unlink(missing_ok=True)
