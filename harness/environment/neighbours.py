"""Boards of this machine that other measurements may use at the same time, as whoever started this one says.

A look at the driver sees a neighbour only while it is busy; a scheduler that fills several boards knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import Finding, FindingCode

VARIABLE = "HARNESS_NEIGHBOURS"
"""UUIDs, separated by commas."""


def announced_neighbours(environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """What to say of a session that was not alone on its machine; empty where nobody has announced company."""
    uuids = [uuid for part in environ.get(VARIABLE, "").split(",") if (uuid := part.strip())]
    if not uuids:
        return ()
    return (Finding(code=FindingCode.NEIGHBOURS_SHARE, detail=f"other cells of the sweep on {', '.join(uuids)}"),)
