"""How much of the time of its queries a GPU was busy, so that a slow host is not blamed on the GPU.

A board says for its last sampling period (1/6 to 1 s) in which share of it a kernel ran; it is asked once a second, and
what it says is taken to hold since it was asked before. Queries that are shorter than that are told apart only as
far as modes come in blocks, so this is a figure of a mode and never of a query.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.records import (
    BusyShare,
    BusyShares,
    Channel,
    Finding,
    FindingCode,
    Quantity,
    QueryColumns,
    Segment,
)

if TYPE_CHECKING:
    from harness.records import FloatArray

IDLE_BELOW = 0.5
"""A GPU that is busy for less of the time waits more than it works."""


def busy_shares(
    session: int,
    channels: Sequence[Channel],
    segments: Sequence[Segment],
    queries: QueryColumns,
    devices: Collection[str],
) -> BusyShares | None:
    """How busy the boards were while the queries of each mode ran.

    Args:
        session: Whose raw readings these are.
        channels: Of the session, by their numbers in the segments.
        segments: All of its raw readings.
        queries: Of the cell; those of other sessions are left out.
        devices: The boards whose energy is the queries'.

    Returns:
        None where no board said anything while a query ran.
    """
    numbers = [
        number
        for number, channel in enumerate(channels)
        if channel.quantity is Quantity.BUSY_SHARE and channel.device in devices
    ]
    curves = [curve for curve in (_busy_until(number, segments) for number in numbers) if len(curve[0]) > 1]
    modes = []
    for code, mode in enumerate(queries.mode.names):
        own = (queries.session == session) & (queries.mode.codes == code)
        spans = _merged(queries.time_start_s[own], queries.time_end_s[own])
        seen = [found for curve in curves if (found := _while(curve, spans))[0] > 0]
        if seen:
            durations_s, shares = zip(*seen, strict=True)
            modes.append(BusyShare(mode=mode, duration_s=min(durations_s), share=math.fsum(shares) / len(shares)))
    return BusyShares(session=session, modes=tuple(modes)) if modes else None


def busy_by_mode(sessions: Sequence[BusyShares]) -> dict[str, float]:
    """Over several sessions, each with the weight of its time."""
    by_mode: dict[str, list[BusyShare]] = {}
    for session in sessions:
        for each in session.modes:
            by_mode.setdefault(each.mode, []).append(each)
    return {
        mode: math.fsum(each.share * each.duration_s for each in shares) / math.fsum(each.duration_s for each in shares)
        for mode, shares in by_mode.items()
    }


def host_bound(busy: Mapping[str, float]) -> tuple[Finding, ...]:
    """The doubt about modes in which the GPU waited more than it worked."""
    waiting = {mode: share for mode, share in busy.items() if share < IDLE_BELOW}
    if not waiting:
        return ()
    detail = "; ".join(f"mode {mode}: busy {100 * share:.0f} % of the time" for mode, share in waiting.items())
    return (Finding(code=FindingCode.HOST_BOUND, detail=detail),)


def _busy_until(number: int, segments: Sequence[Segment]) -> tuple[FloatArray, FloatArray]:
    """When the board was asked, and for how long it had been busy until then, by what it says of each stretch."""
    asked = [(segment, segment.channel == number) for segment in segments]
    times_s = np.concatenate([segment.time_after_s[rows] for segment, rows in asked] or [np.zeros(0)])
    shares = np.concatenate([segment.value[rows] for segment, rows in asked] or [np.zeros(0)])
    order = np.argsort(times_s, kind="stable")
    times_s, shares = times_s[order], shares[order]
    return times_s, np.concatenate([np.zeros(1), np.cumsum(np.diff(times_s) * shares[1:])])[: len(times_s)]


def _while(curve: tuple[FloatArray, FloatArray], spans: tuple[FloatArray, FloatArray]) -> tuple[float, float]:
    """Seconds of the spans that the board was asked about, and the share of them in which it was busy."""
    times_s, busy_s = curve
    starts_s, ends_s = (np.clip(each, times_s[0], times_s[-1]) for each in spans)
    duration_s = float((ends_s - starts_s).sum())
    if duration_s <= 0:
        return 0.0, 0.0
    busy = float((np.interp(ends_s, times_s, busy_s) - np.interp(starts_s, times_s, busy_s)).sum())
    return duration_s, min(max(busy / duration_s, 0.0), 1.0)


def _merged(starts_s: FloatArray, ends_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The spans as stretches that do not overlap: queries that are in flight together are one."""
    if not len(starts_s):
        return starts_s, ends_s
    order = np.argsort(starts_s, kind="stable")
    starts_s, reach_s = starts_s[order], np.maximum.accumulate(ends_s[order])
    first = np.concatenate([[True], starts_s[1:] > reach_s[:-1]])
    last = np.concatenate([first[1:], [True]])
    return starts_s[first], reach_s[last]
