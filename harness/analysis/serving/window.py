"""The steady state of one block of a load: where it stands at its full height, without its ramp and its drain.

- Closed loop (`concurrency`): from the instant at which the first `concurrency` queries that were sent have all had
  their first token (or have ended) to the instant at which fewer than `concurrency` are open for good. Open: from its
  sending to its end, so that a server that makes some of them wait changes nothing about the load.
- Open loop (`request_rate_per_second`): from the first end of a query to the last sending.
- Static batches: none. Every batch is ramp and drain: its rows begin together, and leave one by one.

ML.ENERGY's window (its benchmark, version 3) is the same idea with everything sent at once: from the B-th first token
to the end of query N - B - 1. Pure: instants in, instants out.
"""

from __future__ import annotations

import numpy as np

from harness.analysis.serving.flights import Flights, level
from harness.records import Cell

N_SERVICE_TIMES_LEAST = 3.0
"""A window must last for so many mean service times: with less, most of the queries that end in it began in the ramp.

Ten times the concurrency asked in one block give about nine."""


def steady_window(flights: Flights, cell: Cell) -> tuple[float, float] | None:
    """Where the load of a block is steady.

    Args:
        flights: The block's queries, failed ones included.
        cell: For its load.

    Returns:
        Start and end in seconds on the session clock; None where it is never steady, or for too short.
    """
    if not len(flights) or cell.batch_size > 1:
        return None
    found = _open_loop(flights) if cell.request_rate_per_second is not None else _closed_loop(flights, cell)
    if found is None:
        return None
    service_s = float((flights.time_end_s - flights.time_start_s).mean())
    return found if found[1] - found[0] >= N_SERVICE_TIMES_LEAST * service_s else None


def _closed_loop(flights: Flights, cell: Cell) -> tuple[float, float] | None:
    concurrency = cell.concurrency or 1
    if len(flights) < concurrency:
        return None
    first_s = flights.time_first_token_s[:concurrency]
    start_s = float(np.where(np.isnan(first_s), flights.time_end_s[:concurrency], first_s).max())
    instants_s, n_open = level(flights.time_sent_s, flights.time_end_s)
    full = np.flatnonzero(n_open >= concurrency)
    if not len(full):
        return None
    end_s = float(instants_s[min(int(full[-1]) + 1, len(instants_s) - 1)])
    return (start_s, end_s) if end_s > start_s else None


def _open_loop(flights: Flights) -> tuple[float, float] | None:
    start_s, end_s = float(flights.time_end_s.min()), float(flights.time_sent_s.max())
    return (start_s, end_s) if end_s > start_s else None
