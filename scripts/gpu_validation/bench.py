"""What every experiment is given: the board, its recording, the clock, and its share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from harness.clock import SessionClock
from harness.meter.meter import with_marks
from harness.meter.recorder import SamplerProcess
from harness.records import Channel, Edge, Finding, SamplerStats, Segment, SensorCard

from .load import Work, wait_until
from .streams import Stream, Stretch, joined
from .verdicts import Claim, Judgement

SAMPLER_MODULE = "harness.meter.sampler"
DEFAULT_SIZES = (4096, 2048, 1024, 512)
PRODUCT_MOST_S = 0.0015
"""A product that takes longer ends a stretch of work too late; a smaller one is taken on slower boards."""


class Budget:
    """Seconds that may still be spent."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = duration_s
        self._end_s = time.monotonic() + duration_s

    @property
    def left_s(self) -> float:
        """May be negative."""
        return self._end_s - time.monotonic()


class Recording:
    """The sampler's readings of one board, taken out experiment by experiment; restarted once where it is lost."""

    def __init__(self, uuid: str, clock: SessionClock) -> None:
        self._uuid = uuid
        self._clock = clock
        self._sampler = SamplerProcess(nvml_uuids=(uuid,))
        self._parts: list[Segment] = []
        self.stats: list[SamplerStats] = []
        self.losses: list[Finding] = []

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded."""
        return self._sampler.channels

    def start(self) -> None:
        """Begin.

        Raises:
            NoSensor: The board gives no reading.
        """
        self._sampler.start(self._clock.origin_monotonic_s)

    def revive(self) -> None:
        """Start again where the sampler has stopped answering.

        Raises:
            NoSensor: It does not answer again either.
        """
        lost = self._sampler.lost()
        if lost:
            self.losses += lost
            self.stop()
            self._sampler = SamplerProcess(nvml_uuids=(self._uuid,))
            self.start()

    def begin(self) -> None:
        """Forget what was read so far: an experiment begins."""
        self._sampler.drain()
        self._parts = []

    def so_far(self) -> Stream:
        """The board's readings since `begin`."""
        self._parts.append(self._sampler.drain())
        return Stream.of(self.channels, joined(self._parts), self._uuid)

    def segment(self, schedule: Sequence[Stretch]) -> Segment:
        """All rows since `begin`, with the schedule's edges as marks."""
        self._parts.append(self._sampler.drain())
        times_s = [stretch.time_start_s for stretch in schedule] + [stretch.time_end_s for stretch in schedule]
        edges = [Edge.WORK_BEGINS] * len(schedule) + [Edge.WORK_ENDS] * len(schedule)
        return with_marks(joined(self._parts), times_s, edges)

    def stop(self) -> None:
        """End the sampler."""
        stats = self._sampler.stop()
        if stats is not None:
            self.stats.append(stats)


class Bench:
    """The board under test and the means to work it."""

    def __init__(
        self,
        *,
        device: str,
        uuid: str,
        budget: Budget,
        recording: Recording,
        clock: SessionClock,
        tiny: bool,
        say: Callable[[str], None],
    ) -> None:
        """Nothing is started.

        Args:
            device: `cuda:N`, or `cpu` for a rehearsal.
            uuid: The metered board.
            budget: Of the whole command.
            recording: Of that board, started.
            clock: The session's.
            tiny: Small matrices and models, for a rehearsal.
            say: Shows one line of progress.
        """
        self.device, self.uuid, self.budget, self.recording = device, uuid, budget, recording
        self.clock, self.tiny, self.say = clock, tiny, say
        self.schedule: list[Stretch] = []
        self.random = np.random.default_rng(20261124)
        self.card: SensorCard | None = None
        self._works: dict[int, Work] = {}

    def now_s(self) -> float:
        """On the session clock."""
        return self.clock.now_s()

    def wait_until_s(self, time_s: float) -> None:
        """Return at an instant of the session clock, within microseconds."""
        wait_until(time_s + self.clock.origin_monotonic_s)

    def pause(self, duration_s: float) -> None:
        """Nothing for a while."""
        time.sleep(duration_s)

    def busy_until_s(self, work: Work, time_s: float) -> int:
        """Products until an instant of the session clock; how many."""
        return work.busy_until(time_s + self.clock.origin_monotonic_s)

    def work(self, size: int | None = None) -> Work:
        """Products of a size, made once; by default one that fills the board."""
        if size is None and self.tiny:
            size = 96
        if size is None:
            size = next((each for each in DEFAULT_SIZES if self._made(each).per_product_s < PRODUCT_MOST_S), 512)
        return self._made(size)

    def _made(self, size: int) -> Work:
        if size not in self._works:
            self._works[size] = Work(self.device, size)
        return self._works[size]

    def did(self, name: str, time_start_s: float, time_end_s: float, /, **facts: float | str | None) -> None:
        """Note a stretch that has just ended."""
        self.schedule.append(Stretch(name=name, time_start_s=time_start_s, time_end_s=time_end_s, facts=facts))

    def forget_works(self) -> None:
        """Give the matrices' memory back before models are built."""
        self._works.clear()

    def samplers(self) -> list[psutil.Process]:
        """The sampler processes that this process started."""
        found = []
        for child in psutil.Process().children():
            try:
                if SAMPLER_MODULE in child.cmdline():
                    found.append(child)
            except psutil.Error:  # it ended meanwhile
                continue
        return found

    def meter(self) -> Any:
        """The public meter on the board under test, as a context."""
        from harness import Meter

        return Meter(gpus=[self.uuid])


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One experiment: what it claims, what it costs, what it does, how it is judged.

    `run` gets the bench and the seconds that it may take; `judge` gets the readings and the schedule.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    duration_nominal_s: float
    duration_least_s: float
    run: Callable[[Bench, float], None]
    judge: Callable[[Stream, Sequence[Stretch]], Judgement]
