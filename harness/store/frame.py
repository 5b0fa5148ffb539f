"""Queries as a pandas frame."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from harness.records import Boundary, Cell, Method, QueryRecord


def frame(rows: Iterable[tuple[str, Cell, str, QueryRecord]]) -> pd.DataFrame:
    """One row per query of (run id, cell, site id, query).

    Energies are sums over the devices of a boundary, missing where one of them is unknown. Estimates stand in columns
    of their own (`host_energy_gross_estimated_j`). Columns carry their units.
    """
    return pd.DataFrame([_row(*row) for row in rows])


def _row(run_id: str, cell: Cell, site_id: str, query: QueryRecord) -> dict[str, object]:
    sizes = query.output.sizes if query.output else {}
    row: dict[str, object] = {
        "run_id": run_id,
        "cell_id": cell.cell_id,
        "site_id": site_id,
        "model": cell.model_of(query.mode),
        "mode": query.mode,
        "repeat": cell.repeat,
        "prompt_set": cell.prompt_set,
        "prompt_id": query.prompt_id,
        "session": query.session,
        "duration_s": query.duration_s,
        "finish_reason": query.output.finish_reason if query.output else None,
        "correct": query.score.correct if query.score else None,
        **sizes,
    }
    for boundary in (Boundary.GPU_BOARD, Boundary.HOST):
        readings = [reading for reading in query.readings if reading.boundary is boundary]
        if readings:
            row[f"{boundary}_method"] = readings[0].method.value
            unit = "estimated_j" if any(reading.method is Method.ESTIMATED for reading in readings) else "j"
            row[f"{boundary}_energy_gross_{unit}"] = _total([reading.energy_gross_j for reading in readings])
            row[f"{boundary}_energy_net_{unit}"] = _total([reading.energy_net_j for reading in readings])
            if unit == "j":
                half_widths = [reading.energy_gross_half_width_j for reading in readings]
                row[f"{boundary}_energy_gross_half_width_j"] = _quadrature(half_widths)
                row[f"{boundary}_energy_tail_j"] = _total([reading.energy_tail_j for reading in readings])
    findings = [*query.findings, *(finding for reading in query.readings for finding in reading.findings)]
    row["findings"] = ", ".join(sorted({finding.code.value for finding in findings}))
    return row


def _total(energies: list[float | None]) -> float | None:
    known = [energy for energy in energies if energy is not None]
    return sum(known) if len(known) == len(energies) else None


def _quadrature(half_widths: list[float | None]) -> float | None:
    """Of a sum of devices, which err independently."""
    known = [half_width for half_width in half_widths if half_width is not None]
    return math.hypot(*known) if len(known) == len(half_widths) else None
