"""Brings a log's times onto the trace's clock, and refuses a log of another time or another machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError
from harness.records import Edge, Finding, FindingCode

if TYPE_CHECKING:
    from harness.records import FloatArray
    from harness.request_log.rows import RequestLog
    from harness.store.trace_reading import Trace

STEP_S = 0.05
"""A wall clock that moved by more against the monotonic one was set, or the machine slept."""
LATE_S = 0.05
"""A request that lies further than this outside of the metered command was timed by another clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTrace:
    """What is added to a time of the log to have it on the trace's clock, and what there is to doubt."""

    shift_s: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def on_trace(log: RequestLog, trace: Trace, clock_offset_s: float) -> OnTrace:
    """Find the shift.

    Args:
        log: Its rows are on a monotonic or a Unix clock.
        trace: It has both.
        clock_offset_s: What the user adds to the log's times.

    Raises:
        UsageError: No request lies in the trace.
    """
    shift_s = clock_offset_s - trace.origin_monotonic_s
    findings: list[Finding] = []
    if log.clock == "unix":
        shift_s -= trace.offset_unix_s
        if trace.offset_unix_range_s > STEP_S:
            findings.append(Finding(code=FindingCode.CLOCK_STEP, detail=f"by {trace.offset_unix_range_s:.3f} s"))
    starts_s = np.fromiter((row.time_start_s for row in log.rows), np.float64, len(log.rows)) + shift_s
    ends_s = np.fromiter((row.time_end_s for row in log.rows), np.float64, len(log.rows)) + shift_s
    first_s, last_s = trace.time_first_s, trace.time_last_s
    if not np.any((ends_s >= first_s) & (starts_s <= last_s)):
        raise _elsewhere(log, trace, starts_s, ends_s)
    before_s, after_s = first_s - starts_s, ends_s - last_s
    outside = (before_s > 0) | (after_s > 0)
    if outside.any():
        most_s = float(np.max(np.maximum(before_s, after_s)))
        detail = (
            f"{int(np.sum(outside)):,} of {len(outside):,} requests lie outside of the trace, by up to {most_s:.3g} s"
        )
        findings.append(Finding(code=FindingCode.NO_READINGS, detail=detail))
    return OnTrace(shift_s=shift_s, findings=tuple(findings), notes=_outside_command(trace, starts_s, ends_s))


def _outside_command(trace: Trace, starts_s: FloatArray, ends_s: FloatArray) -> tuple[str, ...]:
    begun_s, ended_s = trace.time_edge_s(Edge.WORK_BEGINS), trace.time_edge_s(Edge.WORK_ENDS)
    late_s = np.zeros(len(starts_s))
    if begun_s is not None:
        late_s = np.maximum(late_s, begun_s - starts_s)
    if ended_s is not None:
        late_s = np.maximum(late_s, ends_s - ended_s)
    n_outside = int(np.sum(late_s > LATE_S))
    if not n_outside:
        return ()
    note = (
        f"Some requests ran before the metered command began or after it ended ({n_outside:,}, by up to "
        f"{float(late_s.max()):.3g} s). If that cannot be, the log was timed by another clock: `--clock-offset S` adds "
        "S seconds to its times."
    )
    return (note,)


def _elsewhere(log: RequestLog, trace: Trace, starts_s: FloatArray, ends_s: FloatArray) -> UsageError:
    early = float(ends_s.max()) < trace.time_first_s
    apart_s = trace.time_first_s - float(ends_s.max()) if early else float(starts_s.min()) - trace.time_last_s
    where = "before the trace begins" if early else "after the trace ends"
    zero_s = trace.origin_monotonic_s + (trace.offset_unix_s if log.clock == "unix" else 0.0)
    shown = _utc if log.clock == "unix" else _monotonic
    spans = (
        f"requests {shown(zero_s + float(starts_s.min()))} to {shown(zero_s + float(ends_s.max()))}, "
        f"trace {shown(zero_s + trace.time_first_s)} to {shown(zero_s + trace.time_last_s)}"
    )
    why = (
        "Give the log and the trace of one run; if the log's clock or time zone was another, `--clock-offset S` adds S "
        "seconds to its times."
        if log.clock == "unix"
        else "The monotonic clock begins anew with every boot: the log is of another boot, another machine or another "
        "run. Give the log of the run that was traced; `--clock-offset S` adds S seconds to its times."
    )
    return UsageError(f"All requests lie {where}, {apart_s:,.3f} s away ({spans}).", why)


def _utc(unix_s: float) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{unix_s:,.3f} s"


def _monotonic(time_s: float) -> str:
    return f"{time_s:,.3f} s since boot"
