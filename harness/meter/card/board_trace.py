"""One board's raw rows of a session as columns: ticks of its counter, readings of its power, marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.card.card import Changes
from harness.records import MARK_CHANNEL, Channel, Edge, Quantity, Segment

if TYPE_CHECKING:
    from harness.records import FloatArray


class BoardTrace:
    """One board's rows, as columns: ticks of the counter, power readings, marks."""

    def __init__(self, uuid: str, channels: Sequence[Channel], segments: Iterable[Segment]) -> None:
        counter, power = (
            next((i for i, c in enumerate(channels) if c.device == uuid and c.quantity is quantity), None)
            for quantity in (Quantity.ENERGY_J, Quantity.POWER_W)
        )
        kept = list(segments)
        before_s, after_s, energy_j = _in_order(kept, counter)
        self.tick_s = (before_s + after_s) / 2
        self.tick_bracket_s = after_s - before_s
        self.energy_j = energy_j
        self.tick_j = np.diff(energy_j)
        self.read_before_s, self.read_after_s, self.power_w = _in_order(kept, power, least=0.0)
        self.mark_s, _, edges = _in_order(kept, MARK_CHANNEL)
        self.edges = [Edge(int(edge)) for edge in edges]
        self.power_window_s = (channels[power].duration_window_s if power is not None else None) or 0.025

    @property
    def ticks(self) -> Changes:
        """The counter's ticks, from the second on."""
        return Changes(time_s=self.tick_s[1:], bracket_s=self.tick_bracket_s[1:], step=self.tick_j)

    @property
    def power_changes(self) -> Changes:
        """First showings of new power readings."""
        moved = np.flatnonzero(np.diff(self.power_w) != 0.0) + 1
        begin_s, end_s = self.read_before_s[moved - 1], self.read_after_s[moved]
        return Changes(
            time_s=(begin_s + end_s) / 2, bracket_s=end_s - begin_s, step=self.power_w[moved] - self.power_w[moved - 1]
        )


def _in_order(
    segments: Sequence[Segment], channel: int | None, least: float | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A channel's rows by time, values not above `least` left out; None: no such channel."""
    parts = [] if channel is None else [(segment, segment.channel == channel) for segment in segments]
    if not parts:
        return np.empty(0), np.empty(0), np.empty(0)
    before_s = np.concatenate([segment.time_before_s[rows] for segment, rows in parts])
    after_s = np.concatenate([segment.time_after_s[rows] for segment, rows in parts])
    value = np.concatenate([segment.value[rows] for segment, rows in parts])
    order = np.argsort(after_s, kind="stable")
    if least is not None:
        order = order[value[order] > least]
    return before_s[order], after_s[order], value[order]
