"""A query that has its devices to itself: E(end) - E(start) on each device's curve, phases included.

Pure: it knows curves and instants, not where either came from.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.protocols import EnergyCurve
from harness.records import (
    Attribution,
    Finding,
    FindingCode,
    Method,
    Phase,
    PhaseReading,
    Quantity,
    Reading,
)

AVERAGING_TOO_LONG_S = 0.5
"""A sensor that averages over longer than this cannot resolve short intervals."""
SHORTEST_AVERAGED_S = 3.0
GAP_PERIODS = 5.0
RAPL_GAP_LONGEST_S = 30.0
"""Longer, and a RAPL counter may have wrapped more than once unseen: 65 kJ are 234 s at 280 W, or 33 s at 2 kW."""
SHORT_PERIODS = 2.0


def read(
    curve: EnergyCurve,
    time_start_s: float,
    time_end_s: float,
    phases: Sequence[Phase] = (),
    attribution: Attribution = Attribution.EXCLUSIVE,
) -> Reading:
    """The energy of one device between two instants.

    Args:
        curve: The device's curve.
        time_start_s: Start on the session clock.
        time_end_s: End on the session clock.
        phases: Touching parts of the interval, read one by one; they add up to it exactly.
        attribution: How the device was used meanwhile.

    Returns:
        A reading whose energy is null, with a finding, where the curve cannot answer.
    """
    findings = _findings(curve, time_start_s, time_end_s)
    known = not any(finding.code in _NULLS for finding in findings) and curve.is_known(time_start_s, time_end_s)
    covered = curve.covers(time_start_s, time_end_s)
    return Reading(
        device=curve.channel.device,
        boundary=curve.channel.boundary,
        method=curve.channel.method,
        attribution=attribution,
        time_start_s=time_start_s,
        time_end_s=time_end_s,
        energy_gross_j=curve.energy_j(time_start_s, time_end_s) if known else None,
        energy_gross_half_width_j=curve.half_width_j(time_start_s, time_end_s) if known else None,
        energy_blind_half_width_j=curve.blind_half_width_j(time_start_s, time_end_s) if known else None,
        n_samples=curve.n_samples(time_start_s, time_end_s),
        duration_gap_largest_s=curve.duration_gap_largest_s(time_start_s, time_end_s) if covered else None,
        phases=tuple(
            PhaseReading(
                name=phase.name,
                time_start_s=phase.time_start_s,
                time_end_s=phase.time_end_s,
                energy_gross_j=curve.energy_j(phase.time_start_s, phase.time_end_s) if resolved else None,
                energy_gross_half_width_j=(
                    curve.half_width_j(phase.time_start_s, phase.time_end_s) if resolved else None
                ),
            )
            for phase in phases
            for resolved in (known and not _is_averaged_away(curve, phase.time_end_s - phase.time_start_s),)
        ),
        findings=findings,
    )


_NULLS = {FindingCode.NO_READINGS, FindingCode.AVERAGED_POWER_ONLY}


def _findings(curve: EnergyCurve, time_start_s: float, time_end_s: float) -> tuple[Finding, ...]:
    if not curve.covers(time_start_s, time_end_s):
        return (Finding(code=FindingCode.NO_READINGS),)
    channel, duration_s, period_s = curve.channel, time_end_s - time_start_s, curve.duration_period_s
    if channel.method is Method.ESTIMATED:
        return (Finding(code=FindingCode.ESTIMATED_ENERGY),)
    findings = []
    if channel.method is Method.RAPL and curve.duration_gap_largest_s(time_start_s, time_end_s) > RAPL_GAP_LONGEST_S:
        detail = f"nothing was polled for over {RAPL_GAP_LONGEST_S:g} s: how often the counter wrapped is not known"
        findings.append(Finding(code=FindingCode.NO_READINGS, detail=detail))
    if _is_averaged_away(curve, duration_s):
        findings.append(Finding(code=FindingCode.AVERAGED_POWER_ONLY))
    if period_s is not None and duration_s < SHORT_PERIODS * period_s:
        findings.append(Finding(code=FindingCode.SHORTER_THAN_TWO_TICKS))
    if period_s is not None and curve.duration_gap_largest_s(time_start_s, time_end_s) > GAP_PERIODS * period_s:
        findings.append(Finding(code=FindingCode.READING_GAP))
    return (*findings, *curve.findings(time_start_s, time_end_s))


def _is_averaged_away(curve: EnergyCurve, duration_s: float) -> bool:
    """Whether a sensor that averages cannot resolve an interval of this length. An estimate claims no resolution."""
    channel = curve.channel
    return (
        channel.method is not Method.ESTIMATED
        and channel.quantity is Quantity.POWER_W
        and (channel.duration_window_s or 0.0) > AVERAGING_TOO_LONG_S
        and duration_s < SHORTEST_AVERAGED_S
    )
