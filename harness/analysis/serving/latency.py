"""Latencies of served queries, as their client saw them: TTFT, TPOT, ITL and end to end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.serving.flights import Flights
from harness.records import Latency

if TYPE_CHECKING:
    from harness.records import FloatArray

QUANTILES = (0.5, 0.9, 0.95, 0.99)


def first_token(flights: Flights) -> Latency | None:
    """TTFT: from the sending to the first token, queue included."""
    return latency_of(flights.time_first_token_s - flights.time_sent_s)


def end_to_end(flights: Flights) -> Latency | None:
    """From the sending to the end, queue included."""
    return latency_of(flights.time_end_s - flights.time_sent_s)


def per_output_token(flights: Flights) -> Latency | None:
    """TPOT: for each query, the mean time of its output tokens after the first chunk's."""
    firsts, afters = flights.chunk_first[:-1], flights.chunk_first[1:]
    several = np.flatnonzero(afters - firsts > 1)
    if not len(several):
        return None
    sums = np.concatenate(([0], np.cumsum(flights.n_chunk_tokens)))
    n_tokens = sums[afters[several]] - sums[firsts[several] + 1]
    spans_s = flights.time_chunk_s[afters[several] - 1] - flights.time_chunk_s[firsts[several]]
    known = n_tokens > 0
    return latency_of(spans_s[known] / n_tokens[known])


def between_tokens(flights: Flights) -> Latency | None:
    """ITL: the time between two chunks, divided by the tokens of the later one, once for each of these."""
    if len(flights.time_chunk_s) < 2:
        return None
    owner = np.repeat(np.arange(len(flights)), np.diff(flights.chunk_first))
    same = (owner[1:] == owner[:-1]) & (flights.n_chunk_tokens[1:] > 0)
    n_tokens = flights.n_chunk_tokens[1:][same]
    each_s = np.diff(flights.time_chunk_s)[same] / n_tokens
    return latency_of(each_s if (n_tokens == 1).all() else np.repeat(each_s, n_tokens))


def latency_of(durations_s: FloatArray) -> Latency | None:
    """Mean and quantiles of what is known; None where nothing is."""
    known = durations_s[~np.isnan(durations_s)]
    if not len(known):
        return None
    p50_s, p90_s, p95_s, p99_s = np.quantile(known, QUANTILES).tolist()
    return Latency(n=len(known), mean_s=float(known.mean()), p50_s=p50_s, p90_s=p90_s, p95_s=p95_s, p99_s=p99_s)
