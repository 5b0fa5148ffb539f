"""The load of one session over time, ready to draw beside the power: how many were in flight, in which blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.serving.flights import EDGE_S
from harness.records import QueryRecord, ServingSummary, TokenWeights
from harness.report.panel import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Flying:
    """Queries in flight in one session: `n_in_flight[i]` of them from `time_s[i]` to the next instant.

    `blocks` are spans of one mode each, in seconds on the session clock.
    """

    session: int
    time_s: FloatArray
    n_in_flight: IntArray
    blocks: tuple[tuple[float, float, str], ...]
    starts_s: FloatArray
    """Of all queries, sorted."""
    ends_s: FloatArray
    """Of all queries, sorted."""
    weights: TokenWeights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """With whom a query shared: how many others were in flight at any time of it, and how many it was one of."""

    n_others: int
    n_mean: float
    n_most: int
    weights: TokenWeights | None


def company_of(flying: Sequence[Flying], query: QueryRecord) -> Company | None:
    """Of a query whose session's load is known."""
    own = next((each for each in flying if each.session == query.session and len(each.time_s)), None)
    if own is None or query.time_end_s <= query.time_start_s:
        return None
    start_s, end_s = query.time_start_s, query.time_end_s
    n_begun = int(np.searchsorted(own.starts_s, end_s - EDGE_S))
    n_gone = int(np.searchsorted(own.ends_s, start_s + EDGE_S))
    gathered = _gathered(own)
    drawn = np.interp([start_s, end_s], own.time_s, gathered)
    first = max(0, int(np.searchsorted(own.time_s, start_s + EDGE_S, side="right")) - 1)
    last = int(np.searchsorted(own.time_s, end_s - EDGE_S))
    return Company(
        n_others=max(0, n_begun - n_gone - 1),
        n_mean=float(drawn[1] - drawn[0]) / (end_s - start_s),
        n_most=int(own.n_in_flight[first : max(last, first + 1)].max()),
        weights=own.weights,
    )


def _gathered(flying: Flying) -> FloatArray:
    """Queries in flight, times seconds, from the first instant to each."""
    return np.concatenate(([0.0], np.cumsum(np.diff(flying.time_s) * flying.n_in_flight[:-1])))


def flying_chart(flying: Flying, serving: Sequence[ServingSummary], edges_s: FloatArray, modes: Sequence[str]) -> Json:
    """What the power chart of a session needs to show its load.

    Args:
        flying: Of the session.
        serving: For the steady windows.
        edges_s: Of the chart's bins.
        modes: In the order of their colours.
    """
    mean = np.diff(np.interp(edges_s, flying.time_s, _gathered(flying))) / np.diff(edges_s)
    steady = [
        (window.time_start_s, window.time_end_s, each.mode)
        for each in serving
        for window in each.windows
        if window.session == flying.session
    ]
    return {
        "flying": [round(float(n), 2) for n in mean],
        "blocks": _spans(flying.blocks, modes),
        "steady": _spans(steady, modes),
    }


def _spans(spans: Sequence[tuple[float, float, str]], modes: Sequence[str]) -> list[list[float]]:
    return [[round(start_s, 3), round(end_s, 3), modes.index(mode)] for start_s, end_s, mode in spans if mode in modes]
