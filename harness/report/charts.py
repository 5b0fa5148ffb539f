"""The data behind the page's two charts, as plain values for its script. Nothing here is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.measured import QueryFigures
from harness.records import IntervalRecord, Method, Summary
from harness.report.trace import SessionPower, Trace, thinned
from harness.report.wording import METHOD, joules_label

N_BINS_MOST = 6000
"""Of all sessions together; about 130 kB of page."""
N_BINS_LEAST = 200
N_QUERIES_MOST = 4000
"""Marked in a chart. Beyond it the page would grow past a megabyte."""
LOG_FROM = 30.0
"""Axes turn logarithmic where the largest value is so many times the smallest."""

Json = dict[str, object]


def power_charts(
    traces: Sequence[Trace],
    queries: Sequence[tuple[QueryFigures, float]],
    intervals: Sequence[IntervalRecord],
    modes: Sequence[str],
) -> list[Json]:
    """One chart of power over time per session.

    Args:
        traces: Power of every device.
        queries: Answered queries, each with its start in seconds on its session's clock.
        intervals: Load, warm-up and idle, to shade; gaps are not.
        modes: In the order of their colours.

    Returns:
        Seconds, watts and joules, rounded to what can be seen.
    """
    n_sessions = max(1, len({trace.session for trace in traces}))
    sessions = thinned(traces, max(N_BINS_LEAST, N_BINS_MOST // n_sessions))
    return [_power_chart(session, queries, intervals, modes) for session in sessions]


def scatter_chart(summary: Summary, queries: Sequence[tuple[QueryFigures, float]], modes: Sequence[str]) -> Json | None:
    """Joules against output tokens, a point per query; None where nothing has both."""
    points = [
        [each.n_output_tokens, _rounded(each.energy_j, 3), modes.index(each.mode), each.prompt_id]
        for each, _ in queries
        if each.n_output_tokens and each.energy_j
    ]
    if not points:
        return None
    shown = points[:N_QUERIES_MOST]
    slopes = [
        None if mode.energy_per_output_token_j.value is None else mode.energy_per_output_token_j.value
        for mode in summary.modes
    ]
    return {
        "points": sorted(shown, key=lambda point: float(str(point[0]))),
        "modes": list(modes),
        "slopes": slopes,
        "unit": joules_label(summary),
        "log": [_is_wide([float(str(point[axis])) for point in shown]) for axis in (0, 1)],
        "left_out": len(points) - len(shown),
    }


def _power_chart(
    power: SessionPower,
    queries: Sequence[tuple[QueryFigures, float]],
    intervals: Sequence[IntervalRecord],
    modes: Sequence[str],
) -> Json:
    own = [(query, start_s) for query, start_s in queries if query.session == power.session]
    bin_s = power.duration_bin_s
    return {
        "session": power.session,
        "t": [round(float(edge), 3) for edge in power.time_s],
        "devices": [_device(*pair) for pair in zip(power.devices, power.methods, strict=True)],
        "w": [[None if np.isnan(w) else round(float(w), 1) for w in row] for row in power.power_w],
        "bin_s": None if bin_s is None else float(f"{bin_s:.2g}"),
        "modes": list(modes),
        "intervals": [
            [each.name.replace("_", " "), round(each.time_start_s, 2), round(each.time_end_s, 2)]
            for each in intervals
            if each.session == power.session and each.name != "gap"
        ],
        "queries": [
            [
                round(start_s, 3),
                round(start_s + query.duration_s, 3),
                modes.index(query.mode),
                query.prompt_id,
                _rounded(query.energy_j, 2),
                query.n_output_tokens,
            ]
            for query, start_s in own[:N_QUERIES_MOST]
        ],
        "left_out": max(0, len(own) - N_QUERIES_MOST),
        "estimated": Method.ESTIMATED in power.methods,
    }


def _device(device: str, method: Method) -> str:
    short = device if len(device) <= 20 else f"{device[:12]}…"
    return f"{short}, {METHOD[method]}"


def _rounded(value: float | None, n_decimals: int) -> float | None:
    """To the figures that a tooltip shows; tiny energies keep three digits."""
    if value is None:
        return None
    return round(value, n_decimals) if value >= 1 else float(f"{value:.3g}")


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > LOG_FROM
