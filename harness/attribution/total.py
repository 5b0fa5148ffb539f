"""Several devices over one interval, as one energy.

Boards err independently of each other, so the half-width of their sum is the root of the sum of squares. What one
device does not know, the sum does not know.

Pure: readings in, a reading out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from harness.records import Boundary, Finding, MeterReading, Method, Reading

BEST_FIRST = (
    Method.NVML_COUNTER,
    Method.RAPL,
    Method.NVML_POWER,
    Method.EXTERNAL_METER,
    Method.REPLAYED,
    Method.ESTIMATED,
)
"""A sum is found by the worst method of its parts."""


def parts_of(readings: Iterable[Reading], boundary: Boundary) -> tuple[Reading, ...]:
    """The devices that a boundary includes."""
    within = {Boundary.GPU_BOARD, Boundary.HOST} if boundary is Boundary.GPU_BOARD_AND_HOST else {boundary}
    return tuple(reading for reading in readings if reading.boundary in within)


def total(
    readings: Sequence[Reading],
    boundary: Boundary,
    *,
    time_start_unix_s: float,
    time_end_unix_s: float,
    findings: Sequence[Finding] = (),
) -> MeterReading:
    """One reading over a boundary.

    Args:
        readings: Every metered device over the same interval; at least one lies within the boundary.
        boundary: What the sum includes. Devices outside of it appear in `per_device` only.
        time_start_unix_s: The interval's start in wall time.
        time_end_unix_s: The interval's end in wall time.
        findings: Doubts about the interval as a whole.
    """
    parts = parts_of(readings, boundary)
    gaps = [part.duration_gap_largest_s for part in parts]
    blind = [part.energy_blind_half_width_j for part in parts if part.energy_blind_half_width_j is not None]
    return MeterReading(
        device="+".join(part.device for part in parts),
        boundary=boundary,
        method=max((part.method for part in parts), key=BEST_FIRST.index),
        attribution=parts[0].attribution,
        time_start_s=parts[0].time_start_s,
        time_end_s=parts[0].time_end_s,
        time_start_unix_s=time_start_unix_s,
        time_end_unix_s=time_end_unix_s,
        energy_gross_j=_sum(part.energy_gross_j for part in parts),
        energy_gross_half_width_j=_root(part.energy_gross_half_width_j for part in parts),
        energy_blind_half_width_j=math.hypot(*blind) if blind else None,
        energy_net_j=_sum(part.energy_net_j for part in parts),
        energy_net_half_width_j=_root(part.energy_net_half_width_j for part in parts),
        power_idle_w=_sum(part.power_idle_w for part in parts),
        energy_tail_j=_sum(part.energy_tail_j for part in parts),
        energy_shared_equal_j=_sum(part.energy_shared_equal_j for part in parts),
        duration_share_s=parts[0].duration_share_s,
        n_samples=sum(part.n_samples for part in parts),
        duration_gap_largest_s=max((gap for gap in gaps if gap is not None), default=None),
        findings=tuple(dict.fromkeys([*findings, *_findings(parts)])),
        per_device=tuple(readings),
    )


def _findings(parts: Sequence[Reading]) -> list[Finding]:
    """The devices' own, with the device named where there are several."""
    if len(parts) == 1:
        return list(parts[0].findings)
    return [
        Finding(code=finding.code, detail=": ".join(filter(None, (part.device, finding.detail))))
        for part in parts
        for finding in part.findings
    ]


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _root(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else math.hypot(*(value for value in known if value is not None))
