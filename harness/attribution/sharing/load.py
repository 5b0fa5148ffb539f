"""Who was in flight when, and whose tokens came when: many timelines as arrays.

Pure: timelines in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray, Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Queries of one session, one row each, and their chunks of output tokens.

    The chunks of row q are those from `chunk_first[q]` up to `chunk_first[q + 1]`, in order of time, within its span
    and at instants that differ: what came at one instant is one chunk.
    """

    number: IntArray
    time_start_s: FloatArray
    time_end_s: FloatArray
    time_prefilled_s: FloatArray
    """Until then the prompt was worked on; where no token came, until the end."""
    n_prefilled_tokens: FloatArray
    """Prompt tokens that were computed; 0 where the prompt's length is not known."""
    chunk_first: IntArray
    time_chunk_s: FloatArray
    n_chunk_tokens: FloatArray

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def of(cls, timelines: Sequence[Timeline]) -> Self:
        """Of timelines in any order; a row keeps its place."""
        return cls.of_arrays(
            number=np.array([each.number for each in timelines], dtype=np.int64),
            time_start_s=np.array([each.time_start_s for each in timelines], dtype=np.float64),
            time_end_s=np.array([each.time_end_s for each in timelines], dtype=np.float64),
            n_prefilled_tokens=np.array([_n_prefilled(each) for each in timelines], dtype=np.float64),
            n_chunks=np.array([len(each.time_chunk_s) for each in timelines], dtype=np.int64),
            time_chunk_s=np.array(list(chain.from_iterable(each.time_chunk_s for each in timelines)), dtype=np.float64),
            n_chunk_tokens=np.array(
                list(chain.from_iterable(each.n_chunk_tokens for each in timelines)), dtype=np.float64
            ),
        )

    @classmethod
    def of_arrays(
        cls,
        *,
        number: IntArray,
        time_start_s: FloatArray,
        time_end_s: FloatArray,
        n_prefilled_tokens: FloatArray,
        n_chunks: IntArray,
        time_chunk_s: FloatArray,
        n_chunk_tokens: FloatArray,
    ) -> Self:
        """Of what is in arrays already.

        Args:
            number: Of each query.
            time_start_s: When its service began.
            time_end_s: When it ended; before its beginning counts as at it.
            n_prefilled_tokens: Prompt tokens that were computed.
            n_chunks: Of each query.
            time_chunk_s: Those of all queries, one after the other.
            n_chunk_tokens: The tokens of each.
        """
        end_s = np.maximum(time_end_s, time_start_s)
        owner = np.repeat(np.arange(len(number)), n_chunks)
        times_s = np.clip(_in_order(time_chunk_s, owner), time_start_s[owner], end_s[owner])
        begins = np.ones(len(times_s), dtype=np.bool_)
        begins[1:] = (owner[1:] != owner[:-1]) | (times_s[1:] != times_s[:-1])
        firsts = np.flatnonzero(begins)
        tokens = np.add.reduceat(n_chunk_tokens, firsts) if len(firsts) else n_chunk_tokens
        first_of = np.searchsorted(owner[firsts], np.arange(len(number) + 1))
        has_chunk = np.diff(first_of) > 0
        prefilled_s = end_s.copy()
        prefilled_s[has_chunk] = times_s[firsts][first_of[:-1][has_chunk]]
        return cls(
            number=number,
            time_start_s=time_start_s,
            time_end_s=end_s,
            time_prefilled_s=prefilled_s,
            n_prefilled_tokens=n_prefilled_tokens,
            chunk_first=first_of,
            time_chunk_s=times_s[firsts],
            n_chunk_tokens=tokens,
        )

    @property
    def chunk_owner(self) -> IntArray:
        """The row of each chunk."""
        return np.repeat(np.arange(len(self)), np.diff(self.chunk_first))

    def idle_s(self, time_start_s: float, time_end_s: float) -> tuple[FloatArray, FloatArray]:
        """Starts and ends of the stretches of an interval in which nobody was in flight."""
        order = np.argsort(self.time_start_s, kind="stable")
        begins_s = np.append(np.clip(self.time_start_s[order], time_start_s, time_end_s), time_end_s)
        busy_s = np.clip(self.time_end_s[order], time_start_s, time_end_s)
        until_s = np.maximum.accumulate(np.concatenate([[time_start_s], busy_s]))
        idle: BoolArray = begins_s > until_s
        return until_s[idle], begins_s[idle]


def _n_prefilled(timeline: Timeline) -> int:
    if timeline.n_prompt_tokens is None:
        return 0
    return max(timeline.n_prompt_tokens - (timeline.n_cached_tokens or 0), 0)


def _in_order(times_s: FloatArray, owner: IntArray) -> FloatArray:
    """Times that never decrease within an owner: what seems to come before its predecessor came with it."""
    backwards = np.flatnonzero((times_s[1:] < times_s[:-1]) & (owner[1:] == owner[:-1]))
    if not len(backwards):
        return times_s
    ordered = times_s.copy()
    for row in np.unique(owner[backwards]):
        first, last = np.searchsorted(owner, [row, row + 1])
        ordered[first:last] = np.maximum.accumulate(times_s[first:last])
    return ordered
