"""Sums over many ranges of the same numbers at once.

Differences of running sums do it in two look-ups, but in floating point they lose what is small beside all that came
before it. Here the running sums are whole numbers, in as many words as the numbers need, so the differences are exact:
nothing cancels, however long the session.

Pure: it knows numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

WORD_BITS = 62
MOST_WORDS = 4
"""Two hold numbers that differ by a factor of 1e12 without any loss, and each one more as much again."""
FINEST = 960
"""A unit of the first word below 2 to the minus this is no longer a number; so small are no sums of anything here."""


@dataclass(frozen=True, slots=True)
class RangeSums:
    """Of some columns: running sums, rows x words, and the unit of each word."""

    columns: tuple[tuple[IntArray, tuple[float, ...]], ...]

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """Of finite numbers that are not negative: one column, or rows x columns."""
        return cls(tuple(_words(column) for column in (values.T if values.ndim > 1 else values[None])))

    def between(self, first: IntArray, last: IntArray) -> FloatArray:
        """Sums over rows first <= row < last: ranges x columns. A range without rows has the sum 0."""
        last = np.maximum(first, last)
        sums = np.zeros((len(self.columns), len(first)))
        for place, (running, units) in enumerate(self.columns):
            within = running.take(last, axis=0)
            within -= running.take(first, axis=0)
            for word in reversed(range(len(units))):
                sums[place] += within[:, word] * units[word]
        return sums.T


def _words(values: FloatArray) -> tuple[IntArray, tuple[float, ...]]:
    """The running sums of one column, from coarse to fine.

    The first word has room for the sum of all; what it leaves of each number is below 1 in its unit, so that the next
    one has room for as many as there are.
    """
    n_bits = min(WORD_BITS - 1 - math.frexp(float(values.sum()))[1], FINEST)
    unit, left = math.ldexp(1.0, -n_bits), values * math.ldexp(1.0, n_bits)
    words, units = [], []
    while True:
        whole = np.floor(left)
        words.append(whole.astype(np.int64))
        units.append(unit)
        left -= whole
        if len(words) == MOST_WORDS or not left.any():
            break
        finer = math.ldexp(1.0, WORD_BITS - len(values).bit_length())
        left *= finer
        unit /= finer
    running = np.zeros((len(values) + 1, len(words)), dtype=np.int64)
    for place, word in enumerate(words):
        np.cumsum(word, out=running[1:, place])
    return running, tuple(units)
