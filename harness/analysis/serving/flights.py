"""The timelines of one session as columns: when each query was sent, served and done, and when its tokens came.

Knows the records. Must not know energies.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.stored import numbers, text_column
from harness.records import TextColumn, Timeline

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Flights:
    """Queries of one session, one row each, in the order in which they were sent; chunks of tokens one row each.

    Unknown is NaN. The chunks of query i are rows `chunk_first[i]` to `chunk_first[i + 1]`.
    """

    number: IntArray
    prompt: TextColumn
    mode: TextColumn
    time_sent_s: FloatArray
    time_start_s: FloatArray
    time_first_token_s: FloatArray
    time_end_s: FloatArray
    n_prompt_tokens: FloatArray
    n_cached_tokens: FloatArray
    chunk_first: IntArray
    time_chunk_s: FloatArray
    n_chunk_tokens: IntArray

    def __len__(self) -> int:
        """How many queries."""
        return len(self.number)

    @classmethod
    def of(cls, timelines: Iterable[Timeline]) -> Flights:
        """Timelines in any order; each is looked at once, so that they need not all be in memory."""
        numbers_of: list[int] = []
        texts: list[tuple[str, str]] = []
        times: list[tuple[float | None, ...]] = []
        times_s, tokens, lengths = array("d"), array("q"), array("q")
        for each in timelines:
            numbers_of.append(each.number)
            texts.append((each.prompt_id, each.mode))
            times.append(
                (
                    *(each.time_sent_s, each.time_start_s, each.time_first_token_s, each.time_end_s),
                    *(each.n_prompt_tokens, each.n_cached_tokens),
                )
            )
            times_s.extend(each.time_chunk_s)
            tokens.extend(each.n_chunk_tokens)
            lengths.append(len(each.time_chunk_s))
        columns = [numbers(row[place] for row in times) for place in range(6)]
        first = np.concatenate(([0], np.cumsum(np.array(lengths, dtype=np.int64))))
        found = cls(
            number=np.array(numbers_of, dtype=np.int64),
            prompt=text_column(prompt for prompt, _ in texts),
            mode=text_column(mode for _, mode in texts),
            time_sent_s=columns[0],
            time_start_s=columns[1],
            time_first_token_s=columns[2],
            time_end_s=columns[3],
            n_prompt_tokens=columns[4],
            n_cached_tokens=columns[5],
            chunk_first=first.astype(np.int64),
            time_chunk_s=np.frombuffer(times_s, dtype=np.float64) if len(times_s) else np.zeros(0),
            n_chunk_tokens=np.frombuffer(tokens, dtype=np.int64) if len(tokens) else np.zeros(0, dtype=np.int64),
        )
        return found.at(np.argsort(found.time_sent_s, kind="stable"))

    def at(self, rows: IntArray | BoolArray) -> Flights:
        """Some of the queries with their chunks: places, or which."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        lengths = np.diff(self.chunk_first)[places]
        first = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        chunks = (
            np.arange(first[-1]) - np.repeat(first[:-1], lengths) + np.repeat(self.chunk_first[:-1][places], lengths)
        )
        return Flights(
            number=self.number[places],
            prompt=TextColumn(codes=self.prompt.codes[places], names=self.prompt.names),
            mode=TextColumn(codes=self.mode.codes[places], names=self.mode.names),
            time_sent_s=self.time_sent_s[places],
            time_start_s=self.time_start_s[places],
            time_first_token_s=self.time_first_token_s[places],
            time_end_s=self.time_end_s[places],
            n_prompt_tokens=self.n_prompt_tokens[places],
            n_cached_tokens=self.n_cached_tokens[places],
            chunk_first=first,
            time_chunk_s=self.time_chunk_s[chunks],
            n_chunk_tokens=self.n_chunk_tokens[chunks],
        )

    def within(self, time_start_s: float, time_end_s: float) -> Flights:
        """Those that were sent and ended between two instants: the queries of a block."""
        return self.at(
            (self.time_sent_s >= time_start_s - BLOCK_EDGE_S) & (self.time_end_s <= time_end_s + BLOCK_EDGE_S)
        )

    def n_tokens_between(self, time_start_s: float, time_end_s: float) -> int:
        """Output tokens that came in (start, end], whosever they were."""
        inside = (self.time_chunk_s > time_start_s) & (self.time_chunk_s <= time_end_s)
        return int(self.n_chunk_tokens[inside].sum())

    def mean_in_flight(self, time_start_s: float, time_end_s: float) -> float:
        """Mean number of queries in service between two instants."""
        starts_s = np.clip(self.time_start_s, time_start_s, time_end_s)
        ends_s = np.clip(self.time_end_s, time_start_s, time_end_s)
        return float((ends_s - starts_s).sum()) / (time_end_s - time_start_s)

    def steps(self) -> tuple[FloatArray, IntArray]:
        """Instants at which the number in service changes, and the number from each to the next."""
        return level(self.time_start_s, self.time_end_s)


EDGE_S = 1e-6
"""Instants that are equal may differ by rounding."""
BLOCK_EDGE_S = 0.01
"""A block's edges may be as far from its queries' as two looks at the clock; blocks are further apart."""


def level(starts_s: FloatArray, ends_s: FloatArray) -> tuple[FloatArray, IntArray]:
    """Instants at which the number of open spans changes, in order, and the number from each to the next."""
    times_s = np.concatenate((starts_s, ends_s))
    change = np.concatenate((np.ones(len(starts_s), dtype=np.int64), np.full(len(ends_s), -1, dtype=np.int64)))
    order = np.argsort(times_s, kind="stable")
    instants_s, first = np.unique(times_s[order], return_index=True)
    sums = np.concatenate(([0], np.cumsum(change[order])))
    after = np.append(first[1:], len(order))
    return instants_s, sums[after]
