"""The meter of one session: a recorder, the marked edges, and a curve per device.

What the live curves are made of is exactly what `collect` hands out to be stored, so a curve rebuilt from disk is
the same curve.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from harness.meter.curve.builder import CurveBuilder
from harness.meter.curve.curve import Curve
from harness.protocols import Recorder
from harness.records import MARK_CHANNEL, Channel, Edge, Finding, Quantity, SamplerStats, Segment


class SessionMeter:
    """Energy of anything between two instants of one session."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._marks: list[tuple[float, Edge]] = []
        self._marking = threading.RLock()  # a signal handler may mark while its thread does
        self._builders: dict[str, CurveBuilder] = {}
        self._lost: tuple[Finding, ...] = ()
        self._stats: SamplerStats | None = None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded."""
        return self._recorder.channels

    @property
    def lost(self) -> tuple[Finding, ...]:
        """Why no more energy will come; empty while it does."""
        return self._lost

    def start(self, origin_monotonic_s: float) -> None:
        """Start recording.

        Raises:
            NoSensor: A sensor gave no reading.
        """
        self._recorder.start(origin_monotonic_s)
        self._builders = curve_builders(self._recorder.channels)

    def keep(self, devices: Collection[str]) -> None:
        """Attribute only these devices from now on; the others stay recorded, and nothing is read of them."""
        self._builders = {device: builder for device, builder in self._builders.items() if device in devices}

    def mark(self, *times_s: float, edge: Edge = Edge.UNKNOWN) -> None:
        """Name instants at which the power may have stepped."""
        with self._marking:
            self._marks += [(time_s, edge) for time_s in times_s]

    def mark_now(self, now_s: Callable[[], float], edge: Edge) -> float:
        """Name the present instant, from any thread, and return it.

        The clock is read while no collection can take the marks, so an edge is always known before the readings that
        make its tick final.
        """
        with self._marking:
            time_s = now_s()
            self._marks.append((time_s, edge))
        return time_s

    def collect(self) -> Segment:
        """Readings and marks since the last call; the curves now include them.

        Once a sensor is lost nothing more is recorded, of any device: what is known then is final, here as in the
        curves that are rebuilt from disk.
        """
        lost = () if self._lost else self._recorder.lost()
        if lost:
            self._stats = self._recorder.stop()
        drained = self._recorder.drain()
        with self._marking:
            marks, self._marks = self._marks, []
        segment = with_marks(drained, [time_s for time_s, _ in marks], [edge for _, edge in marks])
        for builder in self._builders.values():
            builder.extend(segment)
            if lost:
                builder.close()
        self._lost = self._lost or lost
        return segment

    def stop(self) -> tuple[SamplerStats | None, Segment]:
        """End the recording; the curves are closed with the last readings."""
        self._stats = self._recorder.stop() or self._stats
        segment = self.collect()
        for builder in self._builders.values():
            builder.close()
        return self._stats, segment

    @property
    def final_until_s(self) -> float:
        """Up to here every curve is final."""
        return min((builder.final_until_s for builder in self._builders.values()), default=-np.inf)

    def curves(self) -> tuple[Curve, ...]:
        """One per device, as far as it is final."""
        return tuple(builder.curve() for builder in self._builders.values())


def curve_builders(channels: Sequence[Channel]) -> dict[str, CurveBuilder]:
    """A builder per device: of its counter where it has one, else of its power; its other channels stand by."""
    builders = {}
    for device in dict.fromkeys(channel.device for channel in channels):
        own = {index: channel for index, channel in enumerate(channels) if channel.device == device}
        ranked = [
            index
            for quantity in (Quantity.ENERGY_J, Quantity.POWER_W)
            for index, channel in own.items()
            if channel.quantity is quantity
        ]
        if ranked:
            best = own.pop(ranked[0])
            builders[device] = CurveBuilder(best, ranked[0], own)
    return builders


def rebuilt(channels: Sequence[Channel], segments: Iterable[Segment], *, shaped: bool = True) -> tuple[Curve, ...]:
    """The curves of a finished or killed session, from its stored readings.

    Without `shaped` every tick is a straight line: enough to look at, and a hundred times faster.
    """
    builders = curve_builders(channels)
    for whole in segments:
        segment = whole if shaped else _without_marks(whole)
        for builder in builders.values():
            builder.extend(segment)
    for builder in builders.values():
        builder.close()
    return tuple(builder.curve() for builder in builders.values())


def with_marks(segment: Segment, marks_s: Sequence[float], edges: Sequence[Edge] = ()) -> Segment:
    """The same readings with marked edges appended; without `edges` nothing is known of them."""
    n_marks = len(marks_s)
    return Segment(
        channel=np.concatenate([segment.channel, np.full(n_marks, MARK_CHANNEL, dtype=np.int64)]),
        time_before_s=np.concatenate([segment.time_before_s, np.array(marks_s, dtype=np.float64)]),
        time_after_s=np.concatenate([segment.time_after_s, np.array(marks_s, dtype=np.float64)]),
        value=np.concatenate([segment.value, np.array(edges or [Edge.UNKNOWN] * n_marks, dtype=np.float64)]),
    )


def _without_marks(segment: Segment) -> Segment:
    kept = segment.channel != MARK_CHANNEL
    return Segment(
        channel=segment.channel[kept],
        time_before_s=segment.time_before_s[kept],
        time_after_s=segment.time_after_s[kept],
        value=segment.value[kept],
    )
