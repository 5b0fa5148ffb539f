"""A column of numbers that grows at its end. Looking at it copies nothing, however long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray

FIRST_SIZE = 1024


class Column:
    """Numbers, appended one by one."""

    def __init__(self) -> None:
        self._values = np.empty(FIRST_SIZE)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def last(self) -> float:
        """The newest; there has to be one."""
        return float(self._values[self._n - 1])

    def append(self, value: float) -> None:
        """Add one at the end."""
        if self._n == len(self._values):
            # What was looked at before keeps the old memory.
            self._values = np.concatenate([self._values, np.empty(self._n)])
        self._values[self._n] = value
        self._n += 1

    def view(self) -> FloatArray:
        """All of them until now. It does not change with what is appended later."""
        return self._values[: self._n]
