"""What the sensor itself said around a query: its readings as they were caught, before any curve is made of them.

Knows channels, readings and instants; not where they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import Channel, Method, Quantity, QueryRecord, Segment

MARGIN_S = 6.0
"""Readings so far outside of a query are kept: a counter that stood still for longer is known to be frozen."""
N_BEYOND = 2
"""Readings shown on either side of a query."""
N_SHOWN = 16
"""Readings of a query that are shown one by one; the middle ones of a longer one are summed up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """One reading. It was first seen at `time_after_s`, and not yet at `time_before_s`."""

    time_before_s: float
    time_after_s: float
    value: float

    @property
    def time_s(self) -> float:
        """About when the sensor's value changed."""
        return (self.time_before_s + self.time_after_s) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """One device's readings around and inside one query, in order. Values are joules or watts, by `channel`."""

    channel: Channel
    time_start_s: float
    time_end_s: float
    readings: tuple[Caught, ...]

    @property
    def counts(self) -> bool:
        """Whether the sensor counts joules; otherwise it shows watts."""
        return self.channel.quantity is Quantity.ENERGY_J

    @property
    def estimated(self) -> bool:
        """Whether there is no sensor, and the watts are a hardware model's."""
        return self.channel.method is Method.ESTIMATED

    @property
    def bounds_j(self) -> tuple[float, float] | None:
        """What the counter alone says of the query: at least its ticks inside, at most all that touch it.

        A tick that may lie on either side of an edge counts as the side that is the safe one. None where the sensor
        shows watts, where a reading is missing on a side, or where the counter fell.
        """
        values = [each.value for each in self.readings]
        before = [each for each in self.readings if each.time_after_s <= self.time_start_s]
        after = [each for each in self.readings if each.time_before_s >= self.time_end_s]
        if not self.counts or not before or not after or any(np.diff(values) < 0):
            return None
        inside = [
            each
            for each in self.readings
            if each.time_before_s >= self.time_start_s and each.time_after_s <= self.time_end_s
        ]
        least = inside[-1].value - inside[0].value if inside else 0.0
        return least, after[0].value - before[-1].value

    def shown(self, n_most: int = N_SHOWN) -> tuple[tuple[Caught, ...], tuple[Caught, ...]]:
        """The readings to show, in two parts; what lies between the parts is summed up and not shown.

        Returns:
            All of them and nothing, where they are few.
        """
        if len(self.readings) <= n_most:
            return self.readings, ()
        half = n_most // 2
        return self.readings[:half], self.readings[-half:]


def trails(
    channels: Sequence[Channel], segments: Iterable[Segment], queries: Sequence[QueryRecord]
) -> Mapping[tuple[str, str], tuple[Trail, ...]]:
    """The readings around each of these queries, of every device that its energy is of.

    Args:
        channels: Of the session.
        segments: Its raw readings, in order.
        queries: Of this session.

    Returns:
        By (prompt_id, mode); of each device the channel that its energy was made of.
    """
    made_of = _made_of(channels)
    rows = {index: _rows(found) for index, found in _near(segments, set(made_of.values()), queries).items()}
    found: dict[tuple[str, str], tuple[Trail, ...]] = {}
    for query in queries:
        own = []
        for device in dict.fromkeys(reading.device for reading in query.readings):
            index = made_of.get(device)
            if index is not None and index in rows:
                own.append(_trail(channels[index], rows[index], query))
        found[query.prompt_id, query.mode] = tuple(own)
    return found


def _made_of(channels: Sequence[Channel]) -> dict[str, int]:
    """The channel of each device that its energy is made of: its counter, else its power."""
    best: dict[str, int] = {}
    for quantity in (Quantity.ENERGY_J, Quantity.POWER_W):
        for index, channel in enumerate(channels):
            if channel.quantity is quantity:
                best.setdefault(channel.device, index)
    return best


def _near(
    segments: Iterable[Segment], wanted: set[int], queries: Sequence[QueryRecord]
) -> dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Columns (before, after, value) by channel, without what is far from every query."""
    starts_s = np.sort([query.time_start_s for query in queries]) - MARGIN_S
    ends_s = np.sort([query.time_end_s for query in queries]) + MARGIN_S
    found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for segment in segments:
        # Between its start and its end: more queries have begun than have ended.
        near = np.searchsorted(starts_s, segment.time_after_s) > np.searchsorted(ends_s, segment.time_before_s)
        for index in wanted:
            own = near & (segment.channel == index)
            if own.any():
                columns = segment.time_before_s[own], segment.time_after_s[own], segment.value[own]
                found.setdefault(index, []).append(columns)
    return found


def _rows(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before_s, after_s, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return before_s, after_s, values


def _trail(channel: Channel, rows: tuple[np.ndarray, np.ndarray, np.ndarray], query: QueryRecord) -> Trail:
    before_s, after_s, values = rows
    times_s = (before_s + after_s) / 2
    first = max(int(np.searchsorted(times_s, query.time_start_s, side="right")) - N_BEYOND, 0)
    last = int(np.searchsorted(times_s, query.time_end_s, side="left")) + N_BEYOND
    columns = (column[first:last].tolist() for column in (before_s, after_s, values))
    return Trail(
        channel=channel,
        time_start_s=query.time_start_s,
        time_end_s=query.time_end_s,
        readings=tuple(
            Caught(time_before_s=before, time_after_s=after, value=value)
            for before, after, value in zip(*columns, strict=True)
        ),
    )
