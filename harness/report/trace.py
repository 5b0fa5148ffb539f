"""Power over time, thinned for a page without losing energy.

Power here is the slope of the energy curve: constant between the curve's corners. A thinned point is the mean over
its bin, energy over time, so that the area under the line stays the measured energy; short peaks get lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.records import Method

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One device's power in one session.

    `time_s` holds the n + 1 corners of the energy curve on the session clock, increasing; `power_w` the n mean powers
    between them.
    """

    session: int
    device: str
    method: Method
    time_s: FloatArray
    power_w: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPower:
    """All devices of a session on one grid, ready to draw. NaN where a device was not read.

    `time_s` holds the n + 1 edges of the bins, `power_w` one row of n means per device.
    """

    session: int
    devices: tuple[str, ...]
    methods: tuple[Method, ...]
    time_s: FloatArray
    power_w: FloatArray
    n_corners: int

    @property
    def duration_bin_s(self) -> float | None:
        """Length of a bin; None where every corner of the curve is shown."""
        n_bins = len(self.time_s) - 1
        return float(self.time_s[-1] - self.time_s[0]) / n_bins if n_bins < self.n_corners - 1 else None


def thinned(traces: Sequence[Trace], n_bins_most: int) -> list[SessionPower]:
    """Traces by session, each on a grid of at most `n_bins_most` bins.

    Args:
        traces: Any sessions and devices; those without a positive stretch of time are left out.
        n_bins_most: Bins per session.

    Returns:
        One per session, in order. One device with few corners keeps its own.
    """
    by_session: dict[int, list[Trace]] = {}
    for trace in traces:
        if len(trace.time_s) > 1 and trace.time_s[-1] > trace.time_s[0]:
            by_session.setdefault(trace.session, []).append(trace)
    return [_on_one_grid(session, own, n_bins_most) for session, own in sorted(by_session.items())]


def _on_one_grid(session: int, traces: Sequence[Trace], n_bins_most: int) -> SessionPower:
    corners = np.unique(np.concatenate([trace.time_s for trace in traces]))
    many = len(corners) - 1 > n_bins_most
    edges = np.linspace(corners[0], corners[-1], n_bins_most + 1) if many else corners
    return SessionPower(
        session=session,
        devices=tuple(trace.device for trace in traces),
        methods=tuple(trace.method for trace in traces),
        time_s=edges,
        power_w=np.array([_mean_power_w(trace, edges) for trace in traces]),
        n_corners=len(corners),
    )


def _mean_power_w(trace: Trace, edges_s: FloatArray) -> FloatArray:
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(trace.time_s) * trace.power_w)))
    drawn_j = np.diff(np.interp(edges_s, trace.time_s, energy_j))
    # The first and last bin of a device may be covered in part: there the mean is over what was read.
    covered_s = np.diff(np.clip(edges_s, trace.time_s[0], trace.time_s[-1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        power_w: FloatArray = np.where(covered_s > 0, drawn_j / covered_s, np.nan)
    return power_w
