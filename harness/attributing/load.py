"""Rows of a log as the arrays that energy is shared by, and as instants at which power may step."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.attribution.sharing.load import Load
from harness.records import Edge, Timeline

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray
    from harness.request_log.rows import RequestRow

EDGES_MOST = 20_000
"""So many marked edges cost a minute; more, and the curve has none."""
FITTED_ROWS, FITTED_CHUNKS = 20_000, 1_000_000
"""The weights are fitted to the first so many."""


def load_of(rows: Sequence[RequestRow], shift_s: float) -> Load:
    """All rows, on the trace's clock.

    Where nothing is known of when output came but its first and its end, it came evenly in between; where its first is
    not known either, prompt and output alike took all of the request.
    """
    n_rows = len(rows)
    times, tokens = array("d"), array("d")
    n_chunks = np.zeros(n_rows, dtype=np.int64)
    for place, row in enumerate(rows):
        n_output, first_s = row.n_output_tokens or 0, row.time_first_token_s
        if row.times_chunk_s:
            n_own = len(row.times_chunk_s)
            times.extend(row.times_chunk_s)
            tokens.extend(spread(n_output or n_own, n_own))
        elif first_s is None and not n_output:
            continue
        elif first_s is None or n_output <= 1:  # without tokens it still says when the prompt was done
            n_own = 1
            times.append(row.time_end_s if first_s is None else first_s)
            tokens.append(n_output)
        else:
            n_own = 2
            times.append(first_s)
            times.append(row.time_end_s if row.time_last_token_s is None else row.time_last_token_s)
            tokens.append(1)
            tokens.append(n_output - 1)
        n_chunks[place] = n_own
    return Load.of_arrays(
        number=np.arange(n_rows, dtype=np.int64),
        time_start_s=np.fromiter((row.time_start_s for row in rows), np.float64, n_rows) + shift_s,
        time_end_s=np.fromiter((row.time_end_s for row in rows), np.float64, n_rows) + shift_s,
        n_prefilled_tokens=np.fromiter(
            (max((row.n_prompt_tokens or 0) - (row.n_cached_tokens or 0), 0) for row in rows), np.float64, n_rows
        ),
        n_chunks=n_chunks,
        time_chunk_s=np.frombuffer(times, dtype=np.float64) + shift_s if times else np.zeros(0),
        n_chunk_tokens=np.frombuffer(tokens, dtype=np.float64) if tokens else np.zeros(0),
    )


def spread(n_tokens: int, n_chunks: int) -> list[float]:
    """Tokens over chunks as evenly as whole numbers can, the first the fewest: a role often comes before any token."""
    if n_tokens == n_chunks:
        return [1.0] * n_chunks
    bounds = np.floor(np.arange(n_chunks + 1) * n_tokens / n_chunks)
    spreaded: list[float] = np.diff(bounds).tolist()
    return spreaded


def timelines_of(load: Load) -> tuple[list[Timeline], float]:
    """The first queries of a load as timelines, and until when these are all that there are."""
    order = np.argsort(load.time_start_s, kind="stable")
    chunks = np.cumsum(np.diff(load.chunk_first)[order])
    n_taken = min(len(order), FITTED_ROWS, int(np.searchsorted(chunks, FITTED_CHUNKS, side="right")) + 1)
    until_s = float(load.time_start_s[order[n_taken]]) if n_taken < len(order) else float(load.time_end_s.max())
    found = []
    for row in order[:n_taken].tolist():
        first, last = int(load.chunk_first[row]), int(load.chunk_first[row + 1])
        found.append(
            Timeline.model_construct(  # thousands, from arrays that were checked
                session=0,
                number=row,
                prompt_id="",
                mode="",
                time_sent_s=float(load.time_start_s[row]),
                time_start_s=float(load.time_start_s[row]),
                time_first_token_s=float(load.time_chunk_s[first]) if last > first else None,
                time_end_s=float(load.time_end_s[row]),
                n_prompt_tokens=int(load.n_prefilled_tokens[row]),
                time_chunk_s=tuple(load.time_chunk_s[first:last].tolist()),
                n_chunk_tokens=tuple(int(count) for count in load.n_chunk_tokens[first:last].tolist()),
            )
        )
    return found, until_s


def edges_of(load: Load, within_s: tuple[float, float]) -> tuple[FloatArray, IntArray]:
    """Instants and kinds of edges at which the boards begin to work or stop, and at which a lone query decodes.

    While others are in flight, the start or the end of one is no step that a sensor could see.
    """
    idle_start_s, idle_end_s = load.idle_s(within_s[0], within_s[1])
    times = [idle_end_s, idle_start_s]
    kinds = [
        np.full(len(idle_end_s), Edge.WORK_BEGINS, dtype=np.int64),
        np.full(len(idle_start_s), Edge.WORK_ENDS, dtype=np.int64),
    ]
    if in_flight(load)[1] <= 1:
        times.append(load.time_prefilled_s)
        kinds.append(np.full(len(load), Edge.PHASE, dtype=np.int64))
    time_s, kind = np.concatenate(times), np.concatenate(kinds)
    inside = (time_s > within_s[0]) & (time_s < within_s[1])
    time_s, kind = time_s[inside], kind[inside]
    if len(time_s) > EDGES_MOST:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    order = np.argsort(time_s, kind="stable")
    return time_s[order], kind[order]


def in_flight(load: Load) -> tuple[float, int]:
    """Queries in flight from the first start to the last end: on average, and at most."""
    span_s = float(load.time_end_s.max() - load.time_start_s.min())
    mean = float(np.sum(load.time_end_s - load.time_start_s)) / span_s if span_s > 0 else 0.0
    times_s = np.round(np.concatenate([load.time_end_s, load.time_start_s]), 6)  # sums of gaps are off by less
    steps = np.repeat(np.array([-1, 1]), len(load))
    lasting = np.tile(load.time_end_s > load.time_start_s, 2)
    order = np.argsort(times_s[lasting], kind="stable")  # what ends makes room for what begins at the same instant
    return mean, int(np.cumsum(steps[lasting][order]).max(initial=0))
