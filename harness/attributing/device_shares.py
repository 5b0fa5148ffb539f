"""One device of a trace: its curve, and what each request's share of it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.attributing.load import edges_of
from harness.attribution.baseline import Baseline, baselines
from harness.attribution.exclusive import AVERAGING_TOO_LONG_S, SHORT_PERIODS, SHORTEST_AVERAGED_S, read
from harness.attribution.sharing.shares import Shares, Split, shares_of
from harness.errors import UsageError
from harness.meter.meter import rebuilt, with_marks
from harness.records import Boundary, Edge, Finding, FindingCode, IntervalRecord, Method, Quantity

if TYPE_CHECKING:
    from harness.attribution.sharing.load import Load
    from harness.meter.curve.curve import Curve
    from harness.records import BoolArray, FloatArray
    from harness.store.trace_reading import Trace

IDLE_LEAST_S = 0.5
"""A shorter stretch before the command says nothing of idle power."""
IDLE_MOST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShares:
    """One device's shares; energies of rows that its curve does not know are NaN."""

    curve: Curve
    shares: Shares
    known: BoolArray
    baseline: Baseline | None
    findings: tuple[Finding, ...]

    @property
    def energy_j(self) -> FloatArray:
        """By tokens, gross."""
        return np.where(self.known, self.shares.energy_j, np.nan)

    @property
    def energy_net_j(self) -> FloatArray:
        """Above idle; NaN where no idle power is known."""
        idle_w = math.nan if self.baseline is None else self.baseline.power_idle_w
        return self.energy_j - idle_w * self.shares.duration_share_s

    @property
    def half_width_j(self) -> FloatArray:
        """Of `energy_j`, by sensor and clock."""
        return np.where(self.known, self.shares.half_width_j, np.nan)

    @property
    def net_half_width_j(self) -> FloatArray:
        """Of `energy_net_j`; the idle power's error is in it."""
        idle = None if self.baseline is None else self.baseline.half_width_w
        return np.hypot(self.half_width_j, (math.nan if idle is None else idle) * self.shares.duration_share_s)


def curves_of(trace: Trace, load: Load) -> tuple[Curve, ...]:
    """With an edge wherever the load begins to work, or stops: there power steps, and a tick alone cannot tell when."""
    times_s, kinds = edges_of(load, (trace.time_first_s, trace.time_last_s))
    segment = with_marks(trace.segment, times_s.tolist(), [Edge(kind) for kind in kinds.tolist()])
    curves = tuple(curve for curve in rebuilt(trace.channels, [segment]) if len(curve.time_s) > 1)
    if not curves:
        raise UsageError(
            "The trace holds no energy: fewer than two updates of any sensor.",
            "Measure a longer command, or see what the sensor answers with `harness doctor`.",
        )
    return curves


def boundary_of(curves: Sequence[Curve]) -> Boundary:
    """Whose energy is shared: the boards', and the host's where there is no board."""
    there = {curve.channel.boundary for curve in curves}
    return Boundary.GPU_BOARD if Boundary.GPU_BOARD in there else Boundary.HOST


def shared_device(curve: Curve, split: Split, trace: Trace) -> DeviceShares:
    """Share one curve, and find what there is to doubt of it."""
    load = split.load
    shares = shares_of(curve, split)
    duration_s = load.time_end_s - load.time_start_s
    known = (load.time_start_s >= curve.time_s[0]) & (load.time_end_s <= curve.time_s[-1])
    known &= duration_s > 0  # nothing takes no time: the log does not say how long it was
    for start_s, end_s in curve.holes:
        known &= ~((load.time_start_s < end_s) & (load.time_end_s > start_s))
    findings: list[Finding] = []
    channel = curve.channel
    if channel.method is not Method.ESTIMATED:
        averaged = channel.quantity is Quantity.POWER_W and (channel.duration_window_s or 0.0) > AVERAGING_TOO_LONG_S
        if averaged and (short := duration_s < SHORTEST_AVERAGED_S).any():
            known &= ~short
            findings.append(_counted(FindingCode.AVERAGED_POWER_ONLY, short))
        period_s = curve.duration_period_s
        if period_s is not None and (short := (duration_s < SHORT_PERIODS * period_s) & (duration_s > 0)).any():
            findings.append(_counted(FindingCode.SHORTER_THAN_TWO_TICKS, short))
    start_s, end_s = span_of(curve, load)
    whole = read(curve, start_s, end_s).findings if end_s > start_s else ()
    findings += [each for each in whole if each.code is not FindingCode.SHORTER_THAN_TWO_TICKS]
    findings += curve.session_findings
    baseline, why = _idle(curve, trace)
    if baseline is None:
        findings.append(Finding(code=FindingCode.NO_IDLE_BASELINE, detail=why))
    return DeviceShares(curve=curve, shares=shares, known=known, baseline=baseline, findings=tuple(findings))


def span_of(curve: Curve, load: Load) -> tuple[float, float]:
    """From the first start to the last end, as far as the curve reaches."""
    return (
        max(float(load.time_start_s.min()), float(curve.time_s[0])),
        min(float(load.time_end_s.max()), float(curve.time_s[-1])),
    )


def _idle(curve: Curve, trace: Trace) -> tuple[Baseline | None, str]:
    """The power before the command began, or why it is not known."""
    begun_s = trace.time_edge_s(Edge.WORK_BEGINS)
    if begun_s is None:
        return None, "the trace does not say when its command began"
    from_s = max(float(curve.time_s[0]), begun_s - IDLE_MOST_S)
    if begun_s - from_s < IDLE_LEAST_S:
        return None, f"the trace begins {max(begun_s - from_s, 0.0):.2g} s before its command"
    reading = read(curve, from_s, begun_s)
    interval = IntervalRecord(
        session=0, name="idle_before", time_start_s=from_s, time_end_s=begun_s, readings=(reading,)
    )
    found = baselines([interval]).get(curve.channel.device)
    return found, "" if found else "the sensor could not tell the idle stretch"


def _counted(code: FindingCode, rows: BoolArray) -> Finding:
    return Finding(code=code, detail=f"{int(np.sum(rows)):,} of {len(rows):,} requests")


def findings_of(devices: Sequence[DeviceShares]) -> list[Finding]:
    """Each device's, with its name where there are several."""
    if len(devices) == 1:
        return list(devices[0].findings)
    return [
        Finding(code=finding.code, detail=": ".join(filter(None, (device.curve.channel.device, finding.detail))))
        for device in devices
        for finding in device.findings
    ]
