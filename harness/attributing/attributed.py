"""A trace and a log become attributed energies: curves, shares of every device, and a report of them.

Order of work: read both, bring the log onto the trace's clock, build curves whose edges are where the load begins and
stops, share each curve's energy, sum over the boundary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import harness
from harness.attributing.clocks import on_trace
from harness.attributing.load import edges_of, in_flight, load_of, timelines_of
from harness.attribution.baseline import Baseline, baselines
from harness.attribution.exclusive import AVERAGING_TOO_LONG_S, SHORT_PERIODS, SHORTEST_AVERAGED_S, read
from harness.attribution.sharing.shares import Shares, Split, shares_of, unattributed_j
from harness.attribution.sharing.weights import fit_weights
from harness.attribution.total import BEST_FIRST
from harness.errors import UsageError
from harness.meter.meter import rebuilt, with_marks
from harness.records import (
    Boundary,
    Edge,
    Finding,
    FindingCode,
    IntervalRecord,
    Method,
    Quantity,
    TokenWeights,
)
from harness.report.attributed import AttributionReport, DeviceFigures, Percentiles, RuleFigures
from harness.request_log.reading import read_requests
from harness.store.trace_reading import Trace, read_report, read_trace
from harness.units import J_PER_WH

if TYPE_CHECKING:
    from harness.attribution.sharing.load import Load
    from harness.meter.curve.curve import Curve
    from harness.records import BoolArray, FloatArray
    from harness.request_log.rows import RequestLog
    from harness.store.attributed import Column

IDLE_LEAST_S = 0.5
"""A shorter stretch before the command says nothing of idle power."""
IDLE_MOST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The flags of `harness attribute`. `weights` None: fitted to the trace."""

    trace: Path
    requests: Path
    meter_json: Path | None = None
    columns: Mapping[str, str] | None = None
    clock_offset_s: float = 0.0
    weights: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """The report, and a row of every request."""

    report: AttributionReport
    table: _Table

    def queries(self) -> dict[str, Column]:
        """Columns of the requests, in the order of the log."""
        return self.table.columns()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """One device's shares; energies of rows that its curve does not know are NaN."""

    curve: Curve
    shares: Shares
    known: BoolArray
    baseline: Baseline | None
    findings: tuple[Finding, ...]

    @property
    def energy_j(self) -> FloatArray:
        return np.where(self.known, self.shares.energy_j, np.nan)

    @property
    def energy_net_j(self) -> FloatArray:
        idle_w = math.nan if self.baseline is None else self.baseline.power_idle_w
        return self.energy_j - idle_w * self.shares.duration_share_s

    @property
    def half_width_j(self) -> FloatArray:
        return np.where(self.known, self.shares.half_width_j, np.nan)

    @property
    def net_half_width_j(self) -> FloatArray:
        idle = None if self.baseline is None else self.baseline.half_width_w
        return np.hypot(self.half_width_j, (math.nan if idle is None else idle) * self.shares.duration_share_s)


def attribute(wanted: Wanted) -> Attributed:
    """Share the energy of a trace among the requests of a log.

    Raises:
        UsageError: A file that cannot be understood, or requests that do not lie in the trace.
    """
    meter_report = None if wanted.meter_json is None else read_report(wanted.meter_json)
    trace = read_trace(wanted.trace, meter_report)
    begins_s = trace.origin_monotonic_s + trace.time_first_s
    ends_s = trace.origin_monotonic_s + trace.time_last_s
    log = read_requests(wanted.requests, wanted.columns, (begins_s, ends_s))
    clock = on_trace(log, trace, wanted.clock_offset_s)
    load = load_of(log.rows, clock.shift_s)
    curves = _curves(trace, load)
    boundary = _boundary(curves)
    weights, doubts = _weights(wanted, log, load, [each for each in curves if each.channel.boundary is boundary])
    split = Split.of(load, weights)
    lone = split.lone()
    devices = [_device(curve, split, trace) for curve in curves]
    own = [device for device in devices if device.curve.channel.boundary is boundary]
    findings: list[Finding] = []
    if not lone.all():
        findings += [Finding(code=FindingCode.SHARED_BY_TOKENS), Finding(code=FindingCode.QUEUE_NOT_SEEN)]
    findings += doubts
    if meter_report is not None:
        findings += meter_report.findings
        findings += () if meter_report.reading is None else meter_report.reading.findings
    findings += [*clock.findings, *_device_findings(devices)]
    table = _Table(trace=trace, log=log, load=load, own=own, devices=devices, lone=lone)
    report = _report(wanted, table, weights, boundary)
    findings += table.findings()
    return Attributed(
        report=report.model_copy(
            update={
                "notes": (*trace.notes, *log.notes, *clock.notes),
                "findings": tuple(dict.fromkeys(findings)),
            }
        ),
        table=table,
    )


def parse_weights(text: str | None) -> tuple[float, float] | None:
    """What `--weights P:O` says.

    Raises:
        UsageError: Not of that form.
    """
    if text is None:
        return None
    parts = text.split(":")
    try:
        prompt, output = (float(part) for part in parts)
        if not (math.isfinite(prompt) and math.isfinite(output) and min(prompt, output) >= 0 and prompt + output > 0):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--weights is {text!r}, and not two weights.", "Write --weights PROMPT:OUTPUT, such as --weights 0.2:1."
        ) from None
    return prompt, output


# ------------------------------------------------------------------------------------------------ curves


def _curves(trace: Trace, load: Load) -> tuple[Curve, ...]:
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


def _boundary(curves: Sequence[Curve]) -> Boundary:
    there = {curve.channel.boundary for curve in curves}
    return Boundary.GPU_BOARD if Boundary.GPU_BOARD in there else Boundary.HOST


def _device(curve: Curve, split: Split, trace: Trace) -> _Device:
    load = split.load
    shares = shares_of(curve, split)
    known = (load.time_start_s >= curve.time_s[0]) & (load.time_end_s <= curve.time_s[-1])
    for start_s, end_s in curve.holes:
        known &= ~((load.time_start_s < end_s) & (load.time_end_s > start_s))
    findings: list[Finding] = []
    duration_s = load.time_end_s - load.time_start_s
    channel = curve.channel
    if channel.method is not Method.ESTIMATED:
        averaged = channel.quantity is Quantity.POWER_W and (channel.duration_window_s or 0.0) > AVERAGING_TOO_LONG_S
        if averaged and (short := duration_s < SHORTEST_AVERAGED_S).any():
            known &= ~short
            findings.append(_counted(FindingCode.AVERAGED_POWER_ONLY, short))
        period_s = curve.duration_period_s
        if period_s is not None and (short := (duration_s < SHORT_PERIODS * period_s) & (duration_s > 0)).any():
            findings.append(_counted(FindingCode.SHORTER_THAN_TWO_TICKS, short))
    start_s, end_s = _span(curve, load)
    whole = read(curve, start_s, end_s).findings if end_s > start_s else ()
    findings += [each for each in whole if each.code is not FindingCode.SHORTER_THAN_TWO_TICKS]
    findings += curve.session_findings
    baseline, why = _idle(curve, trace)
    if baseline is None:
        findings.append(Finding(code=FindingCode.NO_IDLE_BASELINE, detail=why))
    return _Device(curve=curve, shares=shares, known=known, baseline=baseline, findings=tuple(findings))


def _span(curve: Curve, load: Load) -> tuple[float, float]:
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


def _device_findings(devices: Sequence[_Device]) -> list[Finding]:
    """Each device's, with its name where there are several."""
    if len(devices) == 1:
        return list(devices[0].findings)
    return [
        Finding(code=finding.code, detail=": ".join(filter(None, (device.curve.channel.device, finding.detail))))
        for device in devices
        for finding in device.findings
    ]


# ----------------------------------------------------------------------------------------------- weights


def _weights(
    wanted: Wanted, log: RequestLog, load: Load, curves: Sequence[Curve]
) -> tuple[TokenWeights, tuple[Finding, ...]]:
    if wanted.weights is not None:
        return TokenWeights(session=0, prompt=wanted.weights[0], output=wanted.weights[1], source="given"), ()
    equal = TokenWeights(session=0, prompt=1.0, output=1.0, source="equal")
    if in_flight(load)[1] <= 1:
        return equal, ()  # nothing is shared, so nothing weighs
    if not load.n_prefilled_tokens.any() or not load.n_chunk_tokens.any():
        which = "prompt" if load.n_chunk_tokens.any() else "output"
        return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=f"the log has no {which} tokens"),)
    if not log.streams:
        detail = "the log does not say when the first tokens came"
        return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=detail),)
    timelines, until_s = timelines_of(load)
    start_s = max(float(load.time_start_s.min()), *(float(curve.time_s[0]) for curve in curves))
    end_s = min(until_s, *(float(curve.time_s[-1]) for curve in curves))
    fitted = fit_weights(curves, timelines, start_s, end_s, session=0) if end_s > start_s else None
    if fitted is not None:
        return fitted, ()
    detail = "this trace does not tell: too short, or its prompts and outputs come in step"
    return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=detail),)


# ------------------------------------------------------------------------------------------------ report


@dataclass(frozen=True, kw_only=True)  # no slots: what is asked for more than once is kept
class _Table:
    """Everything of every request, in the order of the log."""

    trace: Trace
    log: RequestLog
    load: Load
    own: Sequence[_Device]
    """Those of the boundary."""
    devices: Sequence[_Device]
    lone: BoolArray

    @cached_property
    def energy_j(self) -> FloatArray:
        total: FloatArray = np.sum([device.energy_j for device in self.own], axis=0)
        return total

    @cached_property
    def energy_equal_j(self) -> FloatArray:
        total: FloatArray = np.sum(
            [np.where(device.known, device.shares.energy_equal_j, np.nan) for device in self.own], axis=0
        )
        return total

    @cached_property
    def energy_net_j(self) -> FloatArray:
        total: FloatArray = np.sum([device.energy_net_j for device in self.own], axis=0)
        return total

    @cached_property
    def half_width_j(self) -> FloatArray:
        return _root([device.half_width_j for device in self.own])

    @cached_property
    def net_half_width_j(self) -> FloatArray:
        return _root([device.net_half_width_j for device in self.own])

    @cached_property
    def duration_first_token_s(self) -> FloatArray:
        """NaN where the log does not say when the first token came."""
        known = np.fromiter((row.time_first_token_s is not None for row in self.log.rows), np.bool_, len(self.load))
        return np.where(known, self.load.time_prefilled_s - self.load.time_start_s, np.nan)

    @cached_property
    def phases_j(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Energy and half-width of each phase; NaN where the log does not say when the one became the other."""
        load, rows = self.load, np.arange(len(self.load))
        known = np.all([device.known for device in self.own], axis=0) & ~np.isnan(self.duration_first_token_s)
        found = {}
        for name, start_s, end_s in (
            ("prefill", load.time_start_s, load.time_prefilled_s),
            ("decode", load.time_prefilled_s, load.time_end_s),
        ):
            parts = [device.shares.between(rows, start_s, end_s) for device in self.own]
            energy_j: FloatArray = np.sum([part[0] for part in parts], axis=0)
            half_width_j = _root([part[1] for part in parts])
            found[name] = np.where(known, energy_j, np.nan), np.where(known, half_width_j, np.nan)
        return found

    @cached_property
    def states(self) -> dict[str, BoolArray]:
        """Which rows ended how."""
        names = [row.state for row in self.log.rows]
        return {
            state: np.fromiter((name == state for name in names), np.bool_, len(names))
            for state in ("ok", "failed", "warm_up")
        }

    @cached_property
    def n_prompt_tokens(self) -> FloatArray:
        return _counts(row.n_prompt_tokens for row in self.log.rows)

    @cached_property
    def n_output_tokens(self) -> FloatArray:
        return _counts(row.n_output_tokens for row in self.log.rows)

    def findings(self) -> list[Finding]:
        """What the requests leave open that no device does."""
        if np.isnan(self.n_output_tokens[self.states["ok"]]).any():
            return [Finding(code=FindingCode.NO_USAGE, detail="of some requests the log has no output tokens")]
        return []

    def columns(self) -> dict[str, Column]:
        """One row a request. Every energy is a share: `attribution` says by which rule."""
        rows, load = self.log.rows, self.load
        zero_s = self.trace.origin_monotonic_s
        prefill_j, prefill_half_width_j = self.phases_j["prefill"]
        decode_j, decode_half_width_j = self.phases_j["decode"]
        found: dict[str, Column] = {
            "request_id": [row.request_id for row in rows],
            "group": [row.group for row in rows],
            "state": [row.state for row in rows],
            "error": [row.error for row in rows],
            "time_start_unix_s": load.time_start_s + zero_s + self.trace.offset_unix_s,
            "time_start_monotonic_s": load.time_start_s + zero_s,
            "duration_s": load.time_end_s - load.time_start_s,
            "duration_first_token_s": self.duration_first_token_s,
            "n_prompt_tokens": _whole(self.n_prompt_tokens),
            "n_output_tokens": _whole(self.n_output_tokens),
            "attribution": ["shared_tokens"] * len(rows),
            "alone": self.lone,
            "energy_gross_j": self.energy_j,
            "energy_gross_half_width_j": self.half_width_j,
            "energy_shared_equal_j": self.energy_equal_j,
            "energy_net_j": self.energy_net_j,
            "energy_net_half_width_j": self.net_half_width_j,
            "energy_prefill_j": prefill_j,
            "energy_prefill_half_width_j": prefill_half_width_j,
            "energy_decode_j": decode_j,
            "energy_decode_half_width_j": decode_half_width_j,
            "duration_share_s": self.own[0].shares.duration_share_s,
        }
        if len(self.devices) > 1:
            for device in self.devices:
                found[f"energy_gross_j:{device.curve.channel.device}"] = device.energy_j
        return found


def _report(wanted: Wanted, table: _Table, weights: TokenWeights, boundary: Boundary) -> AttributionReport:
    load, own = table.load, table.own
    answered = table.states["ok"]
    energy_j = table.energy_j
    counted = answered & ~np.isnan(energy_j)
    n_counted = int(np.sum(counted))
    figures = [_figures(device, load) for device in table.devices]
    of_boundary = [each for each in figures if each.boundary is boundary]
    drawn = [each.energy_drawn_j for each in of_boundary]
    drawn_j = None if None in drawn else math.fsum(each for each in drawn if each is not None)
    widths = [each.energy_drawn_half_width_j for each in of_boundary]
    spans = [_span(device.curve, load) for device in own]
    start_s, end_s = max(span[0] for span in spans), min(span[1] for span in spans)
    zero_unix_s = table.trace.origin_monotonic_s + table.trace.offset_unix_s
    mean, most = in_flight(load)
    raw_j = np.sum([device.shares.energy_j for device in own], axis=0)
    baseline = [device.baseline for device in own]
    return AttributionReport(
        harness_version=harness.__version__,
        trace=wanted.trace.name,
        requests=wanted.requests.name,
        log=table.log.kind,
        clock=table.log.clock,
        clock_offset_s=wanted.clock_offset_s,
        n_queries=len(load),
        n_answered=int(np.sum(answered)),
        n_failed=int(np.sum(table.states["failed"])),
        n_warm_up=int(np.sum(table.states["warm_up"])),
        n_without_energy=int(np.sum(answered)) - n_counted,
        n_in_flight_mean=mean,
        n_in_flight_most=most,
        n_prompt_tokens=_sum(table.n_prompt_tokens[answered]),
        n_output_tokens=_sum(table.n_output_tokens[answered]),
        time_start_unix_s=start_s + zero_unix_s,
        time_end_unix_s=end_s + zero_unix_s,
        duration_s=end_s - start_s,
        boundary=boundary,
        method=max((device.curve.channel.method for device in own), key=BEST_FIRST.index),
        weights=weights,
        energy_drawn_j=drawn_j,
        energy_drawn_half_width_j=None
        if None in widths
        else math.hypot(*(each for each in widths if each is not None)),
        energy_shares_j=math.fsum(each.energy_shares_j for each in of_boundary),
        energy_unattributed_j=math.fsum(each.energy_unattributed_j for each in of_boundary),
        energy_answered_j=math.fsum(raw_j[answered]),
        energy_failed_j=math.fsum(raw_j[table.states["failed"]]),
        energy_warm_up_j=math.fsum(raw_j[table.states["warm_up"]]),
        energy_half_width_median_j=_median(table.half_width_j[counted]),
        energy_prefill_mean_j=_mean(table.phases_j["prefill"][0][counted]),
        energy_decode_mean_j=_mean(table.phases_j["decode"][0][counted]),
        energy_net_mean_j=_mean(table.energy_net_j[counted]),
        energy_net_mean_half_width_j=_mean(table.net_half_width_j[counted]),
        energy_amortised_j=None if drawn_j is None or not answered.any() else drawn_j / int(np.sum(answered)),
        power_idle_w=None
        if None in baseline
        else math.fsum(each.power_idle_w for each in baseline if each is not None),
        rules=(
            _rule("shared_tokens", energy_j, counted, table),
            _rule("shared_equal", table.energy_equal_j, counted, table),
        ),
        first_token=_percentiles(table.duration_first_token_s[answered]),
        end_to_end=_percentiles((load.time_end_s - load.time_start_s)[answered]),
        devices=tuple(figures),
    )


def _figures(device: _Device, load: Load) -> DeviceFigures:
    curve = device.curve
    start_s, end_s = _span(curve, load)
    whole = read(curve, start_s, end_s) if end_s > start_s else None
    return DeviceFigures(
        device=curve.channel.device,
        boundary=curve.channel.boundary,
        method=curve.channel.method,
        energy_drawn_j=None if whole is None else whole.energy_gross_j,
        energy_drawn_half_width_j=None if whole is None else whole.energy_gross_half_width_j,
        energy_shares_j=math.fsum(device.shares.energy_j),
        energy_unattributed_j=unattributed_j(curve, load, start_s, end_s) if end_s > start_s else 0.0,
        power_idle_w=None if device.baseline is None else device.baseline.power_idle_w,
    )


def _rule(rule: str, energy_j: FloatArray, counted: BoolArray, table: _Table) -> RuleFigures:
    own_j, tokens = energy_j[counted], table.n_output_tokens[counted]
    mean_j = _mean(own_j)
    n_tokens = _sum(tokens)
    return RuleFigures.model_validate(
        {
            "rule": rule,
            "energy_mean_j": mean_j,
            "energy_median_j": _median(own_j),
            "energy_p95_j": float(np.percentile(own_j, 95)) if len(own_j) else None,
            "energy_wh_per_1000": None if mean_j is None else mean_j * 1000 / J_PER_WH,
            "energy_per_output_token_j": math.fsum(own_j) / n_tokens if n_tokens else None,
        }
    )


def _percentiles(durations_s: FloatArray) -> Percentiles | None:
    known_s = durations_s[~np.isnan(durations_s)]
    if not len(known_s):
        return None
    median_s, p95_s, p99_s = np.percentile(known_s, [50, 95, 99]).tolist()
    return Percentiles(median_s=median_s, p95_s=p95_s, p99_s=p99_s)


def _counts(counts: Iterable[int | None]) -> FloatArray:
    return np.array([math.nan if count is None else count for count in counts], dtype=np.float64)


def _root(columns: Sequence[FloatArray]) -> FloatArray:
    root: FloatArray = np.sqrt(np.sum(np.square(columns), axis=0))
    return root


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return math.fsum(known) / len(known) if len(known) else None


def _median(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _sum(counts: FloatArray) -> int | None:
    """None where one of them is not known."""
    return None if not len(counts) or np.isnan(counts).any() else int(counts.sum())


def _whole(counts: FloatArray) -> list[int | None]:
    return [None if math.isnan(count) else int(count) for count in counts.tolist()]
