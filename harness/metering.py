"""`harness.Meter`: the energy of any stretch of Python, by name, with an uncertainty.

    with Meter() as meter:
        with meter.span("q1") as span:
            model.generate(...)
        reading = meter.read(span)

A span holds the whole board's energy from its start to its end, whoever caused it. It knows sensors only through
`wiring.metering`, and energies only through curves.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from harness.attribution.baseline import Baseline, baselines, with_net
from harness.attribution.exclusive import AVERAGING_TOO_LONG_S, SHORTEST_AVERAGED_S, read
from harness.attribution.host import HostLoad
from harness.attribution.total import total
from harness.clock import ClockOffsets, SessionClock, clock_offsets
from harness.environment.company import Company
from harness.environment.cpu_time import CpuTime
from harness.errors import EnvironmentFault, UsageError
from harness.meter.card.aliasing import aliased_starts
from harness.meter.meter import SessionMeter
from harness.meter.sampler_stats import late_findings
from harness.protocols import EnergyCurve
from harness.records import (
    Attribution,
    Board,
    Boundary,
    Channel,
    Edge,
    Finding,
    FindingCode,
    IntervalRecord,
    MeterReading,
    Method,
    Quantity,
    Reading,
    SamplerStats,
    Segment,
    SensorCard,
)
from harness.wiring.metering import Metered, metered

BASELINE_S = 1.0
TAIL_S = 0.5
READ_TIMEOUT_S = 30.0
COLLECT_PERIOD_S = 300.0
"""Raw readings wait in memory at most this long, about 1 MB a board. Making curves of them takes the interpreter away
from the work that is being measured, so that is left to `read`, whose caller waits anyway, unless nobody reads."""
STREAM_PERIOD_S = 1.0
"""The same, where somebody wants them as they come."""
WAIT_S = 0.03
QUIET_TICKS = 2
QUIET_LONGEST_S = 1.0
TICK_UNKNOWN_S = 0.1
FINAL_LONGEST_S = 3.0
"""So long at most the meter waits at its end for its last span to become final: half a second for most sensors, two
for one that averages."""
SETTLE_S = 0.5
"""Power lingers for up to 300 ms after work ends; the idle power is measured after that."""
IDLE_AVERAGED_S = SHORTEST_AVERAGED_S + 0.1
LOOK_PERIOD_S, LOOK_PERIOD_LONGEST_S = 5.0, 30.0
"""How often at most `read` looks who is on the boards, and how often at least the meter does."""

Sink = Callable[[Segment], None]


@dataclass(slots=True)
class _Idle:
    """A stretch in which the boards were idle; its baselines are known once the curves are final there."""

    time_start_s: float
    time_end_s: float
    known: dict[str, Baseline] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Span:
    """A stretch of time with a name. Made by `Meter.span` and `Meter.begin`, read by `Meter.read`.

    Times are seconds on the meter's clock, which begins with the meter; `time_end_s` is None until it has ended.
    """

    name: str
    time_start_s: float
    time_end_s: float | None = None
    overlaps: bool = False
    _meter: Meter | None = None
    _isolated: bool = False
    _runner: tuple[int, int | None] = (0, None)
    _idle: _Idle | None = None
    _host: HostLoad | None = None
    _offsets_start: ClockOffsets | None = None
    _offsets_end: ClockOffsets | None = None
    _others_at_end: bool = False

    @property
    def duration_s(self) -> float | None:
        """Length; None until it has ended."""
        return None if self.time_end_s is None else self.time_end_s - self.time_start_s


class Meter:
    """Meters GPUs, and the host on request, from `with` to its end, or from `start()` to `close()`.

    Every method may be called from any thread of the process that started it.
    """

    def __init__(
        self,
        gpus: str | int | Sequence[str | int] | None = None,
        *,
        host: bool = False,
        allow_estimate: bool = False,
        baseline_s: float = BASELINE_S,
        tail_s: float = TAIL_S,
        sink: Sink | None = None,
    ) -> None:
        """What to meter; nothing is started yet.

        Args:
            gpus: UUIDs (a unique beginning is enough), numbers in NVML's order, `all` or `none`. None: the boards
                that CUDA shows to this process.
            host: Meter CPU packages and memory by RAPL too. They stand in `per_device`, not in the GPU's sum.
            allow_estimate: Where nothing can be measured, take a hardware model's figure, which is named so.
            baseline_s: How long the idle power is measured at the start, in seconds; 0: not at all, and nothing
                above idle is known.
            tail_s: How long after a span its tail is looked at, in seconds; 0: not at all, and `read` waits less.
            sink: Called with the raw readings and edges as they are collected, about every second.
        """
        for name, value in (("baseline_s", baseline_s), ("tail_s", tail_s)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value} s.", "Give a number of seconds that is zero or more.")
        self._gpus = _gpus_text(gpus)
        self._host, self._allow_estimate = host, allow_estimate
        self._baseline_s, self._tail_s = baseline_s, tail_s
        self._sink = sink
        self._sink_error: Exception | None = None
        self._collected_s = 0.0
        self._in_collect = False
        self._clock = SessionClock()
        self._pid = os.getpid()
        self._plan: Metered | None = None
        self._session: SessionMeter | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._ready, self._closing, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._collecting = threading.RLock()
        self._registering = threading.RLock()  # a signal handler may begin a span while its thread begins one
        self._open: list[Span] = []
        self._starts_s = array("d")
        self._last_end_s: float | None = None
        self._idle: _Idle | None = None
        self._cpu_time: CpuTime | None = None
        self._stats: SamplerStats | None = None
        self._found_at_end: tuple[Finding, ...] = ()

    # ------------------------------------------------------------------------------------ start and end

    def start(self) -> None:
        """Begin to meter; return once every sensor has answered and the idle power was measured.

        Raises:
            NoSensor: Nothing that was asked for can be read.
            UnknownName: No such board.
            UsageError: It was started before.
        """
        if self._thread is not None:
            raise UsageError("This meter was started before.", "Make a new `Meter()`; they cost a second each.")
        self._pid = os.getpid()
        self._clock = SessionClock()
        self._plan = metered(self._gpus, host=self._host, allow_estimate=self._allow_estimate)
        self._session = SessionMeter(self._plan.recorder)
        # A kernel can tie a child to the thread that started it, and the caller's may end before the meter does.
        self._thread = threading.Thread(target=self._run, args=(self._session,), name="harness-meter", daemon=True)
        atexit.register(self.close)
        self._thread.start()
        try:
            self._ready.wait()
            if self._failure is not None:
                raise self._failure
            cpu_time = CpuTime()
            if any(channel.method is Method.RAPL for channel in self.channels) and cpu_time.is_readable:
                self._cpu_time = cpu_time
            if self._baseline_s:
                self._measure_idle(self._baseline_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the metering. Spans that ended before can still be read; open ones end here.

        Where the sensor has not seen past the last span yet, that is waited for: a few ticks, 3 s at most.
        """
        if self._thread is None or os.getpid() != self._pid:
            return
        for span in tuple(self._open):
            self._end(span)
        self._closing.set()
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # -------------------------------------------------------------------------------------------- spans

    @contextmanager
    def span(self, name: str = "", *, isolated: bool = False) -> Iterator[Span]:
        """A span around a `with` block; it ends with the block, also where the block raises.

        Args:
            name: Any; it is not looked at.
            isolated: Wait before the start and after the end until the sensor has seen at least two ticks of quiet,
                so that a lone short query is told by its own ticks. Costs a few tenths of a second.
        """
        span = self.begin(name, isolated=isolated)
        try:
            yield span
        finally:
            self.end(span)

    def begin(self, name: str = "", *, isolated: bool = False) -> Span:
        """Begin a span that `end` ends, for where a `with` block does not fit."""
        session = self._running("begin a span")
        if isolated:
            self._wait_quiet()
        offsets, runner = clock_offsets(), _runner()
        span = Span(name, 0.0, _meter=self, _isolated=isolated, _runner=runner, _offsets_start=offsets)
        if self._cpu_time is not None:
            span._host = HostLoad()
            span._host.note(self._clock.now_s(), self._cpu_time.read())
        with self._registering:
            self._open.append(span)  # first: what a signal handler begins and ends meanwhile lies inside of it
            span._idle = self._idle
            span.time_start_s = session.mark_now(self._clock.now_s, Edge.WORK_BEGINS)
            self._starts_s.append(span.time_start_s)
        return span

    def end(self, span: Span) -> None:
        """End a span that `begin` began.

        Raises:
            UsageError: It has ended before, or is another meter's.
        """
        self._own(span)
        if span.time_end_s is not None:
            if self._closed.is_set():
                return  # it ended with the meter
            raise UsageError(f"The span {span.name!r} has ended before.", "End each span once; `with` does it.")
        self._end(span)
        if span._isolated:
            self._wait_quiet()

    def _end(self, span: Span) -> None:
        assert self._session is not None
        with self._registering:
            if span not in self._open:
                return
            self._open.remove(span)
            span.time_end_s = self._last_end_s = self._session.mark_now(self._clock.now_s, Edge.WORK_ENDS)
            for other in tuple(self._open):
                # An earlier one that still runs holds this one.
                nested = other.time_start_s <= span.time_start_s and _inside(span._runner, other._runner)
                if not nested:
                    span.overlaps = other.overlaps = True
            span._others_at_end = bool(self._open)
        span._offsets_end = clock_offsets()
        if self._cpu_time is not None and span._host is not None:
            span._host.note(self._clock.now_s(), self._cpu_time.read())

    def measure_idle(self, duration_s: float = BASELINE_S) -> None:
        """Measure the idle power again, for the spans that begin afterwards; the caller keeps the boards idle.

        Worth it once a model is loaded: a board that holds one idles higher than an empty one. Half a second passes
        first, in which the power of earlier work dies away.

        Args:
            duration_s: How long, in seconds; a sensor that averages over 1 s gets 3 s.

        Raises:
            UsageError: A span is open, or was begun meanwhile: then the idle power known before still holds.
        """
        self._running("measure the idle power")
        next_step = "Measure the idle power between spans."
        for span in self._open[:1]:
            raise UsageError(f"The span {span.name!r} is open.", next_step)
        n_begun = len(self._starts_s)
        self._clock.sleep_until(self._clock.now_s() + SETTLE_S + self._averaged_s())
        if not self._measure_idle(duration_s, n_begun):
            raise UsageError("A span was begun while the idle power was measured.", next_step)

    def _measure_idle(self, duration_s: float, n_begun: int = 0) -> bool:
        """False: spans were begun in other threads, more than these, so the boards may not have been idle."""
        start_s = self._clock.now_s()
        self._clock.sleep_until(start_s + (max(duration_s, IDLE_AVERAGED_S) if self._averaged_s() else duration_s))
        with self._registering:
            if self._open or len(self._starts_s) != n_begun:
                return False
            self._idle = _Idle(start_s, self._clock.now_s())
        return True

    def _averaged_s(self) -> float:
        """Over how long the slowest sensor averages that cannot tell short stretches; 0: all of them can."""
        counted = {channel.device for channel in self.channels if channel.quantity is Quantity.ENERGY_J}
        windows = (
            channel.duration_window_s or 0.0
            for channel in self.channels
            if channel.quantity is Quantity.POWER_W and channel.device not in counted
        )
        return max((window_s for window_s in windows if window_s > AVERAGING_TOO_LONG_S), default=0.0)

    # ---------------------------------------------------------------------------------------- readings

    def read(
        self, span: Span, *, boundary: Boundary | str | None = None, timeout_s: float = READ_TIMEOUT_S
    ) -> MeterReading:
        """The energy of a span; waits until it is final, which takes a few ticks of the sensor and `tail_s`.

        Args:
            span: One that has ended.
            boundary: What the sum includes. None: the GPU boards, or the host where no GPU is metered.
            timeout_s: How long to wait for the sensor, in seconds; then the energy is null, with the reason.

        Raises:
            UsageError: The span has not ended, is another meter's, or nothing within the boundary is metered.
            EnvironmentFault: The process was forked from the one that started the meter.
        """
        session = self._started("read a span")
        self._own(span)
        if span.time_end_s is None:
            raise UsageError(
                f"The span {span.name!r} has not ended.",
                "Read it after its `with` block, or call `meter.end(span)` first.",
            )
        wanted = self._boundary(session, boundary)
        self._await_final(session, self._needed_s(span), time.monotonic() + timeout_s)
        with self._collecting:
            curves, lost = session.curves(), session.lost
        if self._company is not None and not self._closed.is_set():
            self._company.look(LOOK_PERIOD_S)
        idle = self._baselines(span._idle, curves)
        readings = [self._reading(curve, span, idle, lost) for curve in curves]
        start, end = span._offsets_start, span._offsets_end
        origin_s = self._clock.origin_monotonic_s
        assert start is not None
        return total(
            readings,
            wanted,
            time_start_unix_s=span.time_start_s + origin_s + start.unix_s,
            time_end_unix_s=span.time_end_s + origin_s + (end or start).unix_s,
            findings=(*_span_findings(span), *self.findings),
        )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded; empty before the start."""
        return () if self._session is None else self._session.channels

    @property
    def boards(self) -> tuple[Board, ...]:
        """The metered boards; empty before the start."""
        return () if self._plan is None else self._plan.boards

    @property
    def cards(self) -> tuple[SensorCard, ...]:
        """What is known of the boards' sensors; empty before the start."""
        return () if self._plan is None else self._plan.cards

    @property
    def driver(self) -> str | None:
        """The NVIDIA driver's version; None before the start, or without one."""
        return None if self._plan is None else self._plan.driver

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Doubts about everything that is metered here; some are known only once it has ended."""
        if self._plan is None:
            return ()
        known = [*self._plan.findings, *self._plan.recorder.notes(), *self._found_at_end]
        if self._company is not None and not self._closed.is_set():
            known += self._company.elsewhere()
        return tuple(known)

    @property
    def stats(self) -> SamplerStats | None:
        """What the sampler did and cost; None until it has ended."""
        return self._stats

    @property
    def origin_monotonic_s(self) -> float:
        """CLOCK_MONOTONIC at the zero of every `time_*_s` here."""
        return self._clock.origin_monotonic_s

    @property
    def sink_error(self) -> Exception | None:
        """What the sink raised; it was not called again afterwards."""
        return self._sink_error

    # ------------------------------------------------------------------------------------------ inside

    def _run(self, session: SessionMeter) -> None:
        """The meter's own thread: it starts the sampler, collects now and then, and stops it."""
        try:
            session.start(self._clock.origin_monotonic_s)
        except BaseException as error:  # noqa: BLE001 - raised again by `start`, in the caller's thread
            self._failure = error
            self._closed.set()
            self._ready.set()
            return
        self._ready.set()
        period_s = COLLECT_PERIOD_S if self._sink is None else STREAM_PERIOD_S
        look_s = self._clock.now_s() + 1.0
        try:
            while not self._closing.wait(max(0.0, min(self._collected_s + period_s, look_s) - self._clock.now_s())):
                now_s = self._clock.now_s()
                if now_s >= self._collected_s + period_s:
                    self._collect(session)
                if now_s >= look_s:
                    # A short program is seen, and a long one is hardly disturbed.
                    look_s = min(2.0 * now_s, now_s + LOOK_PERIOD_LONGEST_S)
                    if self._company is not None:
                        self._company.look()
            self._await_last(session)
        finally:
            with self._collecting:
                try:
                    self._stats, segment = session.stop()
                    self._pass_on(segment)
                    self._found_at_end = (*late_findings(self._stats), *self._company_at_end(), *self._aliased(session))
                finally:
                    self._closed.set()

    def _await_last(self, session: SessionMeter) -> None:
        """Let the last span become final, for those who read it afterwards."""
        if self._last_end_s is not None:
            self._await_final(session, self._last_end_s, time.monotonic() + FINAL_LONGEST_S)

    def _company_at_end(self) -> list[Finding]:
        return [] if self._company is None else self._company.at_end()

    def _aliased(self, session: SessionMeter) -> list[Finding]:
        """Whether spans began in step with the counter of a board that may be blind in between."""
        integrating = {card.uuid for card in self.cards if card.integrates}
        found = [
            aliased_starts(curve.channel.device, self._starts_s, curve.sample_time_s.tolist(), curve.duration_period_s)
            for curve in session.curves()
            if curve.channel.method is Method.NVML_COUNTER
            and curve.channel.device not in integrating
            and curve.duration_period_s is not None
        ]
        return [finding for finding in found if finding is not None]

    def _collect(self, session: SessionMeter) -> None:
        with self._collecting:
            if self._in_collect or self._closed.is_set():
                return  # a signal handler, in the midst of the same; or nothing more comes
            self._in_collect = True
            try:
                self._collected_s = self._clock.now_s()
                self._pass_on(session.collect())
            finally:
                self._in_collect = False

    def _pass_on(self, segment: Segment) -> None:
        if self._sink is None or self._sink_error is not None:
            return
        try:
            self._sink(segment)
        except Exception as error:  # noqa: BLE001 - the caller's own code; the metering goes on
            self._sink_error = error

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise EnvironmentFault(FindingCode.FORKED.sentence, FindingCode.FORKED.next_step)

    def _started(self, what: str) -> SessionMeter:
        self._check_process()
        if self._session is None or not self._ready.is_set() or self._failure is not None:
            raise UsageError(f"The meter was not started, so it cannot {what}.", "Use it as `with Meter() as meter:`.")
        return self._session

    def _running(self, what: str) -> SessionMeter:
        session = self._started(what)
        if self._closing.is_set():
            raise UsageError(f"The meter was closed, so it cannot {what}.", "Do it inside `with Meter() as meter:`.")
        return session

    def _own(self, span: Span) -> None:
        self._check_process()
        if span._meter is not self:
            raise UsageError(f"The span {span.name!r} is not one of this meter.", "Read it with the meter it is of.")

    def _boundary(self, session: SessionMeter, wanted: Boundary | str | None) -> Boundary:
        there = {channel.boundary for channel in session.channels}
        if wanted is None:
            return Boundary.GPU_BOARD if Boundary.GPU_BOARD in there else Boundary.HOST
        names = [boundary.value for boundary in Boundary]
        if wanted not in names:
            raise UsageError(f"There is no boundary {str(wanted)!r}.", f"Known: {', '.join(names)}.")
        boundary = Boundary(wanted)
        needed = {Boundary.GPU_BOARD, Boundary.HOST} if boundary is Boundary.GPU_BOARD_AND_HOST else {boundary}
        if not needed <= there:
            metered_now = ", ".join(sorted(there)) or "nothing"
            raise UsageError(
                f"The boundary {boundary.value} is not metered here.",
                f"Metered: {metered_now}. `Meter(host=True)` adds the host where RAPL can be read.",
            )
        return boundary

    def _await_final(self, session: SessionMeter, until_s: float, deadline_s: float) -> None:
        while True:
            with self._collecting:
                if self._closed.is_set() or session.lost or session.final_until_s >= until_s:
                    return
                self._collect(session)
                if session.final_until_s >= until_s:
                    return
            if time.monotonic() > deadline_s:
                return
            time.sleep(WAIT_S)

    def _needed_s(self, span: Span) -> float:
        assert span.time_end_s is not None
        return self._tail_until_s(span) or span.time_end_s

    def _tail_until_s(self, span: Span) -> float | None:
        """Until when a span's tail is its own; None: it has none that could be told apart."""
        if not self._tail_s or span._idle is None or span._others_at_end or span.time_end_s is None:
            return None
        until_s = span.time_end_s + self._tail_s
        place = bisect_right(self._starts_s, span.time_end_s)
        return min(until_s, self._starts_s[place]) if place < len(self._starts_s) else until_s

    def _baselines(self, idle: _Idle | None, curves: Sequence[EnergyCurve]) -> dict[str, Baseline]:
        if idle is None:
            return {}
        if not idle.known:
            readings = tuple(read(curve, idle.time_start_s, idle.time_end_s) for curve in curves)
            interval = IntervalRecord(
                session=0,
                name="idle_before",
                time_start_s=idle.time_start_s,
                time_end_s=idle.time_end_s,
                readings=readings,
            )
            known = baselines([interval])
            if len(known) < len(curves):
                return known  # one is not final yet, or never will be
            idle.known = known
        return idle.known

    def _reading(self, curve: EnergyCurve, span: Span, idle: dict[str, Baseline], lost: tuple[Finding, ...]) -> Reading:
        assert span.time_end_s is not None
        reading = read(curve, span.time_start_s, span.time_end_s, attribution=Attribution.WHOLE_BOARD)
        baseline = idle.get(curve.channel.device)
        findings = [*reading.findings, *curve.session_findings]
        if reading.energy_gross_j is None:
            findings += lost
        if curve.channel.method is Method.RAPL:
            findings += _host_findings(span)
        if baseline is None:
            findings.append(Finding(code=FindingCode.NO_IDLE_BASELINE, detail=self._why_no_idle(span)))
        tail_j = None if baseline is None else self._tail_j(curve, span, baseline)
        reading = reading.model_copy(update={"findings": tuple(findings), "energy_tail_j": tail_j})
        return with_net(reading, baseline)

    def _why_no_idle(self, span: Span) -> str:
        if span._idle is not None:
            return "the sensor could not tell the idle stretch"
        return "a span was begun meanwhile" if self._baseline_s else "none was wanted"

    def _tail_j(self, curve: EnergyCurve, span: Span, baseline: Baseline) -> float | None:
        until_s = self._tail_until_s(span)
        if until_s is None or span.time_end_s is None or until_s <= span.time_end_s:
            return None
        if curve.channel.method is Method.ESTIMATED:  # it knows nothing that lingers
            return None
        tail_j = read(curve, span.time_end_s, until_s).energy_gross_j
        return None if tail_j is None else tail_j - baseline.power_idle_w * (until_s - span.time_end_s)

    def _wait_quiet(self) -> None:
        """Let two ticks of the slowest sensor pass; what collecting takes is part of them."""
        if self._session is None or self._closing.is_set():
            return
        begun_s = self._clock.now_s()
        with self._collecting:
            self._collect(self._session)
            periods = [curve.duration_period_s for curve in self._session.curves()]
        slowest_s = max((period_s for period_s in periods if period_s is not None), default=TICK_UNKNOWN_S)
        self._clock.sleep_until(begun_s + min(QUIET_TICKS * slowest_s + self._averaged_s(), QUIET_LONGEST_S))

    @property
    def _company(self) -> Company | None:
        return None if self._plan is None else self._plan.company


def _span_findings(span: Span) -> list[Finding]:
    findings = []
    if span.overlaps:
        findings.append(Finding(code=FindingCode.SPANS_OVERLAP))
    if span._offsets_start is not None and span._offsets_end is not None:
        step_s = span._offsets_start.stepped_by_s(span._offsets_end)
        if step_s is not None:
            findings.append(Finding(code=FindingCode.CLOCK_STEP, detail=f"by {step_s:+.3f} s"))
    return findings


def _host_findings(span: Span) -> list[Finding]:
    """Whether others used the host. Its energy stays: a span holds what everybody drew, and says so."""
    assert span.time_end_s is not None
    others = None if span._host is None else span._host.n_cores_others(span.time_start_s, span.time_end_s)
    if others is None:
        return []
    return [Finding(code=FindingCode.HOST_SHARED, detail=f"other processes kept {others:.2f} cores busy")]


def _runner() -> tuple[int, int | None]:
    """What runs the caller's code: a thread, and in it an asyncio task."""
    asyncio = sys.modules.get("asyncio")
    task = None
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop runs in this thread
            task = None
    return threading.get_ident(), None if task is None else id(task)


def _inside(inner: tuple[int, int | None], outer: tuple[int, int | None]) -> bool:
    """Whether a span of one runner can be a part of the work that a span of another stands for."""
    return inner == outer or (inner[0] == outer[0] and outer[1] is None)


def _gpus_text(gpus: str | int | Sequence[str | int] | None) -> str | None:
    """The names as `--meter-gpus` writes them."""
    if gpus is None:
        return None
    if isinstance(gpus, (str, int)):
        return str(gpus)
    return ",".join(str(gpu) for gpu in gpus) or "none"
