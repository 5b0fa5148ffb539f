"""A recorder that plays readings which exist already, on any clock. For replays and tests.

On a manual clock a whole session passes in virtual time: no process, no waiting. It keeps to the same contract as the
sampler process: a reading is known once its second poll is over, and a device that is lost gives nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import NoSensor
from harness.protocols import Clock
from harness.records import MARK_CHANNEL, Channel, Finding, FindingCode, SamplerStats, Segment


class ReplayRecorder:
    """Hands out recorded readings as the clock reaches them."""

    def __init__(
        self,
        clock: Clock,
        channels: Sequence[Channel],
        segments: Sequence[Segment],
        lost_at_s: Mapping[str, float] | None = None,
    ) -> None:
        """Take over the readings; edges marked among them are left out.

        Args:
            clock: The session's, which the readings' times are on.
            channels: What the readings' channel numbers point into.
            segments: The readings, in any order.
            lost_at_s: Device to the instant, in seconds, from which it stops answering.
        """
        joined = _joined(segments)
        order = np.argsort(joined.time_after_s, kind="stable")
        self._readings = _chosen(joined, order[joined.channel[order] != MARK_CHANNEL])
        self._clock = clock
        self._channels = tuple(channels)
        self._lost_at_s = dict(lost_at_s or {})
        for index, channel in enumerate(self._channels):
            end_s = self._lost_at_s.get(channel.device, np.inf)
            alive = (self._readings.channel != index) | (self._readings.time_after_s < end_s)
            self._readings = _chosen(self._readings, np.flatnonzero(alive))
        self._n_drained = 0
        self._started_s = 0.0
        self._stopped_s: float | None = None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded."""
        return self._channels

    def start(self, origin_monotonic_s: float) -> None:  # noqa: ARG002 - the readings are on the session clock already
        """Begin, and let the clock reach the first reading of the last channel to give one.

        Raises:
            NoSensor: A channel has no reading.
        """
        self._started_s = self._clock.now_s()
        for index, channel in enumerate(self._channels):
            if not channel.makes_energy:
                continue
            times_s = self._readings.time_after_s[self._readings.channel == index]
            if len(times_s) == 0:
                raise NoSensor(f"The recording holds no reading of {channel.device}.", "Choose another recording.")
            self._clock.sleep_until(float(times_s[0]))

    def drain(self) -> Segment:
        """Readings that have become known since the last call."""
        until_s = self._clock.now_s() if self._stopped_s is None else self._stopped_s
        n_known = max(int(np.searchsorted(self._readings.time_after_s, until_s, side="right")), self._n_drained)
        known = _chosen(self._readings, np.arange(self._n_drained, n_known))
        self._n_drained = n_known
        return known

    def lost(self) -> tuple[Finding, ...]:
        """The devices that have stopped answering by now."""
        return tuple(
            Finding(code=FindingCode.SENSOR_LOST, detail=f"{device}, as the recording was told to")
            for device, time_s in self._lost_at_s.items()
            if self._clock.now_s() >= time_s
        )

    def stop(self) -> SamplerStats:
        """End here; what is known by now can still be drained."""
        if self._stopped_s is None:
            self._stopped_s = self._clock.now_s()
        n_known = int(np.searchsorted(self._readings.time_after_s, self._stopped_s, side="right"))
        return SamplerStats(
            n_polls=n_known,
            n_samples=n_known,
            n_late=0,
            duration_cpu_s=0.0,
            duration_s=self._stopped_s - self._started_s,
        )


def _joined(segments: Sequence[Segment]) -> Segment:
    return Segment(
        channel=np.concatenate([np.zeros(0, dtype=np.int64), *(segment.channel for segment in segments)]),
        time_before_s=np.concatenate([np.zeros(0), *(segment.time_before_s for segment in segments)]),
        time_after_s=np.concatenate([np.zeros(0), *(segment.time_after_s for segment in segments)]),
        value=np.concatenate([np.zeros(0), *(segment.value for segment in segments)]),
    )


def _chosen(segment: Segment, rows: np.typing.NDArray[np.int64]) -> Segment:
    return Segment(
        channel=segment.channel[rows],
        time_before_s=segment.time_before_s[rows],
        time_after_s=segment.time_after_s[rows],
        value=segment.value[rows],
    )
