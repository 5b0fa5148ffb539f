"""Work for the board: matrix products in a CUDA stream, counted and timed. Knows torch."""

from __future__ import annotations

import time
from typing import Any

import torch

PIECE_S = 0.001
"""Work is handed out in pieces about this long, so that a stretch ends within so much of its time."""
SPIN_S = 0.002
"""The last part of a wait is spun: a sleep may wake up a millisecond late."""


def wait_until(time_s: float) -> None:
    """Return at an instant of CLOCK_MONOTONIC, within microseconds."""
    while (left_s := time_s - time.monotonic()) > 0:
        if left_s > SPIN_S:
            time.sleep(left_s - SPIN_S)


class Work:
    """Products of two random square matrices of one size."""

    def __init__(self, device: str, size: int) -> None:
        """Make the matrices and time a piece.

        Args:
            device: `cuda:N` or `cpu`.
            size: Rows and columns.
        """
        self.size = size
        self._cuda = device.startswith("cuda")
        self._device = device
        # Every tensor core since Volta takes half precision. Random values: zeros would draw less.
        dtype = torch.float16 if self._cuda else torch.float32
        self._left = torch.randn(size, size, device=device, dtype=dtype)
        self._right = torch.randn(size, size, device=device, dtype=dtype)
        self._out = torch.empty(size, size, device=device, dtype=dtype)
        self.n_in_piece, self.per_product_s = 1, 0.0
        self._calibrate()

    def synchronize(self) -> None:
        """Wait for everything that was queued."""
        if self._cuda:
            torch.cuda.synchronize(self._device)

    def products(self, n: int) -> None:
        """Exactly `n` products; returns when they are done."""
        for _ in range(n):
            torch.matmul(self._left, self._right, out=self._out)
        self.synchronize()

    def busy_until(self, time_s: float) -> int:
        """Products until an instant of CLOCK_MONOTONIC; returns how many, when they are done.

        One piece is always queued behind the one that runs, so that the board does not wait for Python.
        """
        n_products = 0
        previous: Any = None
        while time.monotonic() < time_s:
            for _ in range(self.n_in_piece):
                torch.matmul(self._left, self._right, out=self._out)
            n_products += self.n_in_piece
            if self._cuda:
                event = torch.cuda.Event()
                event.record()
                if previous is not None:
                    previous.synchronize()
                previous = event
        self.synchronize()
        return n_products

    def duration_product_s(self, duration_s: float) -> float:
        """Seconds per product, measured over about `duration_s` of work."""
        started_s = time.monotonic()
        n_products = self.busy_until(started_s + duration_s)
        return (time.monotonic() - started_s) / n_products

    def _calibrate(self) -> None:
        self.products(3)  # libraries load and choose their kernels at the first ones
        self.per_product_s = self.duration_product_s(0.02)
        self.n_in_piece = max(1, round(PIECE_S / self.per_product_s))


class Launches:
    """Many small kernels in a row, as in decoding: what a disturbed processor would slow down first."""

    def __init__(self, device: str, duration_s: float) -> None:
        """Find out how many take `duration_s`.

        Args:
            device: `cuda:N` or `cpu`.
            duration_s: Of one batch.
        """
        self._cuda = device.startswith("cuda")
        self._device = device
        self._vector = torch.randn(64, 64, device=device)
        self._n = 1
        self.batch()
        while (taken_s := min(self.batch() for _ in range(2))) < duration_s / 4:
            self._n *= 2
        self._n = max(1, round(self._n * duration_s / taken_s))

    def batch(self) -> float:
        """Run the batch; seconds that it took."""
        started_s = time.perf_counter()
        for _ in range(self._n):
            self._vector.clamp_(-1.0, 1.0)
        if self._cuda:
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - started_s
