"""A trace and a log become attributed energies: curves, shares of every device, and a report of them.

Order of work: read both, bring the log onto the trace's clock, build curves whose edges are where the load begins and
stops, share each curve's energy, sum over the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.attributing.clocks import on_trace
from harness.attributing.device_shares import boundary_of, curves_of, findings_of, shared_device
from harness.attributing.load import load_of
from harness.attributing.request_table import RequestTable
from harness.attributing.summary import report_of
from harness.attributing.wanted import Wanted
from harness.attributing.weights import weights_of
from harness.attribution.sharing.shares import Split
from harness.records import Finding, FindingCode
from harness.report.attributed import AttributionReport
from harness.request_log.reading import read_requests
from harness.store.trace_reading import read_report, read_trace

if TYPE_CHECKING:
    from harness.store.attributed import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """The report, and a row of every request."""

    report: AttributionReport
    table: RequestTable

    def queries(self) -> dict[str, Column]:
        """Columns of the requests, in the order of the log."""
        return self.table.columns()


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
    curves = curves_of(trace, load)
    boundary = boundary_of(curves)
    shared = [curve for curve in curves if curve.channel.boundary is boundary]
    weights, doubts = weights_of(wanted.weights, log, load, shared)
    split = Split.of(load, weights)
    lone = split.lone()
    devices = [shared_device(curve, split, trace) for curve in curves]
    own = [device for device in devices if device.curve.channel.boundary is boundary]
    findings: list[Finding] = []
    if not lone.all():
        findings += [Finding(code=FindingCode.SHARED_BY_TOKENS), Finding(code=FindingCode.QUEUE_NOT_SEEN)]
    findings += doubts
    if meter_report is not None:
        findings += meter_report.findings
        findings += () if meter_report.reading is None else meter_report.reading.findings
    findings += [*clock.findings, *findings_of(devices)]
    table = RequestTable(trace=trace, log=log, load=load, own=own, devices=devices, lone=lone)
    report = report_of(wanted, table, weights, boundary)
    findings += table.findings()
    return Attributed(
        report=report.model_copy(
            update={
                "notes": (*trace.notes, *log.notes, *clock.notes, *table.notes()),
                "findings": tuple(dict.fromkeys(findings)),
            }
        ),
        table=table,
    )
