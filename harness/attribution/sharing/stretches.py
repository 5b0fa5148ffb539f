"""How fast each query made progress, stretch by stretch.

A stretch is a part of a query's span in which its rate does not change. A query makes progress by the prompt tokens
that are computed until its first token, and by the output tokens of each chunk since the chunk before it.

Pure: arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from harness.attribution.sharing.load import Load

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray, TokenWeights

SHORTEST_S = 1e-12
"""No clock tells instants apart that are closer; a rate over less would be without bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """The span of each row, in touching stretches.

    `time_s` holds the bounds of the stretches of one row after those of another: row q's are `point_first[q]` up to
    `point_first[q + 1]`, one more than it has stretches. Stretch s of row q lies between points s + q and s + q + 1.
    """

    point_first: IntArray
    time_s: FloatArray
    rate: FloatArray
    """Of each stretch, in weighted tokens a second."""

    def __len__(self) -> int:
        return len(self.point_first) - 1

    @classmethod
    def by_chunk(cls, load: Load, weights: TokenWeights) -> Self:
        """As fine as the timelines say: a stretch per chunk, and one from the last chunk to the end."""
        owner, row = load.chunk_owner, np.arange(len(load))
        n_points = np.diff(load.chunk_first) + 2
        point_first = np.concatenate([[0], np.cumsum(n_points)])
        time_s = np.empty(int(point_first[-1]))
        time_s[point_first[:-1]] = load.time_start_s
        time_s[point_first[1:] - 1] = load.time_end_s
        chunk_point = np.arange(len(owner)) + 2 * owner + 1
        time_s[chunk_point] = load.time_chunk_s
        # The stretch that ends at a chunk; the last of each row ends with the row.
        tokens = np.zeros(len(time_s) - len(load))
        tokens[chunk_point - 1 - owner] = weights.output * load.n_chunk_tokens
        tokens[point_first[:-1] - row] += weights.prompt * load.n_prefilled_tokens
        return cls(point_first=point_first, time_s=time_s, rate=_rates(tokens, _lengths(point_first, time_s)))

    @classmethod
    def by_phase(cls, load: Load, weights: TokenWeights) -> Self:
        """Two a row: until its first token, and from there to its end."""
        point_first = 3 * np.arange(len(load) + 1)
        time_s = np.column_stack([load.time_start_s, load.time_prefilled_s, load.time_end_s]).ravel()
        tokens = np.zeros((len(load), 2))
        later = np.ones(len(load.time_chunk_s), dtype=np.int64)
        later[load.chunk_first[:-1][np.diff(load.chunk_first) > 0]] = 0
        np.add.at(tokens, (load.chunk_owner, later), weights.output * load.n_chunk_tokens)
        tokens[:, 0] += weights.prompt * load.n_prefilled_tokens
        return cls(point_first=point_first, time_s=time_s, rate=_rates(tokens.ravel(), _lengths(point_first, time_s)))

    @classmethod
    def equal(cls, load: Load) -> Self:
        """One a row, and nobody makes progress: all in flight are alike."""
        return cls(
            point_first=2 * np.arange(len(load) + 1),
            time_s=np.column_stack([load.time_start_s, load.time_end_s]).ravel(),
            rate=np.zeros(len(load)),
        )

    @property
    def owner(self) -> IntArray:
        """The row of each stretch."""
        return np.repeat(np.arange(len(self)), np.diff(self.point_first) - 1)

    @property
    def first(self) -> IntArray:
        """The first stretch of each row, and the number of all."""
        return self.point_first - np.arange(len(self.point_first))


def _lengths(point_first: IntArray, time_s: FloatArray) -> FloatArray:
    inner = np.ones(max(len(time_s) - 1, 0), dtype=np.bool_)
    inner[point_first[1:-1] - 1] = False
    return np.diff(time_s)[inner]


def _rates(tokens: FloatArray, duration_s: FloatArray) -> FloatArray:
    """What came in no time at all was given no energy, and has no rate."""
    at_least_s = np.maximum(duration_s, SHORTEST_S)
    return np.divide(tokens, at_least_s, out=np.zeros_like(tokens), where=duration_s > 0)
