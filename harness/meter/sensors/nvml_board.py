"""One NVML board: when it is asked what, and what of its answers is passed on.

The energy counter is polled finely around its expected tick, and only its changes are passed on, each with the two
polls that bracket it. Power is read every 20 ms, every reading a row, and finely around the instant at which a new
value is expected; of those polls the last one with the old value and the first one with the new are rows.

Nothing is repaired here. A counter that falls is passed on as it is, a power that no board can draw is left out, and
both are said in the channel of sensor events, as is a call that was refused for a while. A board is given up when
neither its counter nor its power has answered for `RETRY_S`, or when its only source cannot be believed.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pynvml

from harness.errors import NoSensor
from harness.meter.sensors.rhythm import Rhythm
from harness.records import Boundary, Channel, Method, Quantity, Sample, SensorCard, SensorEvent
from harness.units import J_PER_MJ, W_PER_MW

GAIN_HALF_WIDTH = 0.05
"""Relative, per board, systematic: mostly within 5 % over 70 boards, outliers from -41 to +11 % (Yang et al.)."""
COUNTER_FINE_S, COUNTER_SEARCH_S, COUNTER_OVERDUE_S = 0.00045, 0.001, 0.004
POWER_FINE_S, POWER_SEARCH_S = 0.001, 0.002
POWER_SEARCH_DURATION_S, POWER_SEARCH_AGAIN_S = 1.5, 30.0
"""Power that stands still shows no rhythm, so it is searched for so long, and again so much later."""
REGULAR_S = 0.02
"""Between readings of everything that makes energy, whatever else is polled."""
CHASE_STRETCH_MOST = 2.0
"""Where polls must be further apart than this, changes of power are the first thing to do without."""
TEMPERATURE_S, CLOCK_EVENTS_S, BUSY_S = 1.0, 0.2, 1.0
PERCENT = 0.01
PERIOD_MARGIN = 1.5
"""Ticks may be this much further apart than their period."""
FROZEN_AFTER_S = 5.0
"""Even an idle board's counter moves at every tick."""
RETRY_S, RETRY_EVERY_S, RETRY_SELDOM_S = 2.0, 0.02, 0.5
IMPOSSIBLE_FACTOR, IMPOSSIBLE_LEAST_W, IMPOSSIBLE_W = 1.5, 100.0, 3000.0
"""A power above so many times the board's limit, or above the last one where it has no limit, is not believed."""
TELL_S = 1.0
"""Between two events of the same kind, where one could come with every poll."""
SHY_AFTER, SHY_PERIOD_S = 3, 0.11
"""So many zeros or refusals: the board does not like to be asked faster than its period, which is hardly longer."""
AMPERE, GA100_NAMES = 7, ("A100", "A800", "A30")
WINDOWS_S = {4: 0.01, 5: 0.01, 6: 0.1, 7: 0.1, 8: 0.1, 9: 0.025}
"""What an instantaneous reading averages over, in seconds, by NVML's architecture: Pascal, Volta, Turing, Ampere, Ada,
Hopper (Yang et al., SC'24, doi 10.1109/SC41406.2024.00028). Others are unknown until a load shows it."""
WINDOW_GA100_S, WINDOW_AVERAGED_S = 0.025, 1.0
REASON_POWER_CAP, REASON_THERMAL = 0x4, 0x20
"""NVML's clocks event reasons for which it also counts the time: software power cap, software thermal slowdown."""
LOST_CODES = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
FATAL_CODES = (pynvml.NVML_ERROR_UNINITIALIZED, *LOST_CODES)
"""These concern the board as a whole, and are the sensor's business."""
ABSENT_CODES = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
"""Board or driver do not know of it, which is nothing to speak of."""


class _Answer(NamedTuple):
    """What one call said; None: that it was not asked, or refused."""

    before_s: float
    after_s: float
    counter_mj: int | None
    power_mw: int | None
    counter_code: int = pynvml.NVML_SUCCESS
    power_code: int = pynvml.NVML_SUCCESS


@dataclass(slots=True)
class _Stream:
    """The counter or the power of a board: its channel, and how it has answered lately."""

    channel: int
    time_good_s: float
    """When the last good call began."""
    refused_s: float | None = None
    """Since when every call is refused; None: it answers."""
    told: bool = False
    n_skipped: int = 0
    """Answers in a row that say nothing."""
    retry_s: float = -math.inf

    def wanted(self, now_s: float) -> bool:
        return now_s >= self.retry_s


@dataclass(slots=True)
class _State:
    """One channel that says how the board was meanwhile, and when it is asked next."""

    channel: int
    read: Callable[[], float]
    period_s: float
    due_s: float


class NvmlBoard:
    """A board while it is polled."""

    def __init__(self, uuid: str, handle: Any, first_channel: int, card: SensorCard | None) -> None:
        """Find out what the board can be asked.

        Args:
            uuid: Its full NVML UUID.
            handle: NVML's handle of it.
            first_channel: The position of its first channel among those of the sensor.
            card: What is known of its sensor from before.

        Raises:
            NoSensor: It gives neither energy nor power.
            NVMLError: It does not answer.
        """
        self.uuid, self.handle, self._card = uuid, handle, card
        self.channels: list[Channel] = []
        self.n_missed = self.n_regular = 0
        self.duration_calls_s = 0.0
        self._numbers = itertools.count(first_channel)
        now_s = time.monotonic()
        self._refusals: list[str] = []
        self._value_mj, self._polled_s, self._ticked_s = -1, 0.0, now_s
        self._counter = self._open_counter(now_s)
        self._instant, self._averaged = False, False
        self._power_mw, self._power_polled_s = -1, 0.0
        self._power_pending: Sample | None = None
        self._power = self._open_power(now_s)
        if self._counter is None and self._power is None:
            said = f": {'; '.join(self._refusals)}" if self._refusals else ""
            raise NoSensor(
                f"{uuid} gives neither energy nor power{said}.",
                "vGPU guests and some laptops have no sensor; `--meter-gpus none` measures the host alone.",
            )
        self._one_call = self._can_ask_at_once()
        self._limit_mw = self._impossible_mw()
        self._open_state()
        self._counter_rhythm = Rhythm(
            fine_s=COUNTER_FINE_S,
            search_s=COUNTER_SEARCH_S,
            overdue_s=COUNTER_OVERDUE_S,
            period_s=card.duration_tick_s if card else None,
        )
        self._power_rhythm = Rhythm(
            fine_s=POWER_FINE_S,
            search_s=POWER_SEARCH_S,
            overdue_s=0.0,
            period_s=card.duration_power_period_s if card else None,
        )
        self._searched_s, self._n_shy = now_s, 0
        self._due_regular_s = self._due_counter_s = self._due_power_s = now_s
        self._frozen = False
        self._told_s: dict[SensorEvent, float] = {}
        self._latency_s = 0.0
        self.due_s = now_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What the driver refused when the board was opened, though it knows it; the board is read without."""
        return tuple(f"{self.uuid}: {refusal}" for refusal in self._refusals)

    # ------------------------------------------------------------------------------------ opening

    def _channel(self, quantity: Quantity, method: Method, window_s: float | None, period_s: float | None) -> int:
        makes_energy = quantity in (Quantity.ENERGY_J, Quantity.POWER_W)
        self.channels.append(
            Channel(
                device=self.uuid,
                boundary=Boundary.GPU_BOARD,
                method=method,
                quantity=quantity,
                duration_window_s=window_s,
                duration_period_s=period_s,
                gain_half_width=GAIN_HALF_WIDTH if makes_energy else None,
            )
        )
        return next(self._numbers)

    def _open_counter(self, now_s: float) -> _Stream | None:
        value_mj = self._opened("the energy counter", pynvml.nvmlDeviceGetTotalEnergyConsumption, self.handle)
        if value_mj is None:
            return None
        self._value_mj = int(value_mj)
        card = self._card
        part_time = card is not None and card.integrates is False
        channel = self._channel(
            Quantity.ENERGY_J,
            Method.NVML_COUNTER,
            card.duration_counter_window_s if card and part_time else None,
            card.duration_tick_s if card else None,
        )
        return _Stream(channel, now_s)

    def _open_power(self, now_s: float) -> _Stream | None:
        self._instant = self._opened("instantaneous power", self._power_field) is not None
        architecture = _optional(pynvml.nvmlDeviceGetArchitecture, self.handle) or 0
        name = str(_optional(pynvml.nvmlDeviceGetName, self.handle))
        is_ga100 = architecture == AMPERE and any(part in name for part in GA100_NAMES)
        window_s = WINDOW_GA100_S if is_ga100 else WINDOWS_S.get(architecture)
        if not self._instant:
            if self._opened("averaged power", pynvml.nvmlDeviceGetPowerUsage, self.handle) is None:
                return None
            if architecture >= AMPERE and not is_ga100:
                window_s = WINDOW_AVERAGED_S
        self._averaged = window_s == WINDOW_AVERAGED_S
        card = self._card
        if card is not None and card.duration_power_window_s is not None and not self._averaged:
            window_s = card.duration_power_window_s
        period_s = card.duration_power_period_s if card else None
        return _Stream(self._channel(Quantity.POWER_W, Method.NVML_POWER, window_s, period_s), now_s)

    def _opened(self, what: str, call: Callable[..., Any], *arguments: object) -> Any:
        """What a call says; None where the board does not have it, or the driver will not tell.

        Raises:
            NVMLError: One of `FATAL_CODES`.
        """
        try:
            return call(*arguments)
        except pynvml.NVMLError as error:
            if _code(error) not in ABSENT_CODES:
                self._refusals.append(f"{what} was refused ({error})")
            return None

    def _power_field(self) -> int:
        (field,) = pynvml.nvmlDeviceGetFieldValues(self.handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if field.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(field.nvmlReturn)
        return _value(field)

    def _open_state(self) -> None:
        """The channels that say how the board was meanwhile."""
        method = Method.NVML_POWER if self._counter is None else Method.NVML_COUNTER
        now_s = time.monotonic()
        self._states: list[_State] = []
        self._read_temperature: Callable[[Any, int], int] = pynvml.nvmlDeviceGetTemperatureV
        temperature_c = _optional(pynvml.nvmlDeviceGetTemperatureV, self.handle, pynvml.NVML_TEMPERATURE_GPU)
        if temperature_c is None:  # drivers before 570
            self._read_temperature = pynvml.nvmlDeviceGetTemperature
            temperature_c = _optional(pynvml.nvmlDeviceGetTemperature, self.handle, pynvml.NVML_TEMPERATURE_GPU)
        if temperature_c is not None:
            channel = self._channel(Quantity.TEMPERATURE_C, method, None, TEMPERATURE_S)
            self._states.append(_State(channel, self._temperature_c, TEMPERATURE_S, now_s))
        self._read_reasons: Callable[[Any], int] = pynvml.nvmlDeviceGetCurrentClocksEventReasons
        reasons = _optional(self._read_reasons, self.handle)
        if reasons is None:  # drivers before 535
            self._read_reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons
            reasons = _optional(self._read_reasons, self.handle)
        self._violations: dict[int, tuple[int, int]] = {}
        if reasons is not None:
            channel = self._channel(Quantity.CLOCK_EVENTS, method, None, CLOCK_EVENTS_S)
            self._states.append(_State(channel, self._clock_events, CLOCK_EVENTS_S, now_s))
            for policy, reason in (
                (pynvml.NVML_PERF_POLICY_POWER, REASON_POWER_CAP),
                (pynvml.NVML_PERF_POLICY_THERMAL, REASON_THERMAL),
            ):
                violation = _optional(pynvml.nvmlDeviceGetViolationStatus, self.handle, policy)
                if violation is not None:
                    self._violations[policy] = (reason, int(violation.violationTime))
        if _optional(pynvml.nvmlDeviceGetUtilizationRates, self.handle) is not None:  # not with MIG
            channel = self._channel(Quantity.BUSY_SHARE, method, None, BUSY_S)
            # Half a period after the temperature, so that no poll has to wait for both.
            self._states.append(_State(channel, self._busy_share, BUSY_S, now_s + BUSY_S / 2))
        self._events = self._channel(Quantity.SENSOR_EVENT, method, None, None)

    def _can_ask_at_once(self) -> bool:
        """Whether one call gives power and the same counter that its own call gives, and takes no longer than two."""
        if self._counter is None or not self._instant:
            return False
        alone_s, at_once_s = math.inf, math.inf
        same = False
        for _ in range(3):
            start_s = time.monotonic()
            earlier_mj = _optional(pynvml.nvmlDeviceGetTotalEnergyConsumption, self.handle)
            self._fields(pynvml.NVML_FI_DEV_POWER_INSTANT)
            middle_s = time.monotonic()
            both = self._fields(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION)
            end_s = time.monotonic()
            later_mj = _optional(pynvml.nvmlDeviceGetTotalEnergyConsumption, self.handle)
            if both is None or any(field.nvmlReturn != pynvml.NVML_SUCCESS for field in both):
                return False
            alone_s, at_once_s = min(alone_s, middle_s - start_s), min(at_once_s, end_s - middle_s)
            if earlier_mj == later_mj:  # no tick in between, so all three must agree
                same = _value(both[1]) == earlier_mj
                if not same:
                    return False
        return same and at_once_s <= 1.2 * alone_s + 5e-6

    def _impossible_mw(self) -> float:
        limits_mw = [
            limit_mw
            for call in (
                pynvml.nvmlDeviceGetPowerManagementLimit,
                pynvml.nvmlDeviceGetPowerManagementDefaultLimit,
            )
            if (limit_mw := _optional(call, self.handle))
        ]
        if not limits_mw:
            return IMPOSSIBLE_W / W_PER_MW
        return IMPOSSIBLE_FACTOR * float(max(*limits_mw, IMPOSSIBLE_LEAST_W / W_PER_MW))

    # ------------------------------------------------------------------------------------ polling

    def poll(self, now_s: float, stretch: float, samples: list[Sample]) -> None:
        """Ask what is due and add what it said to `samples`.

        Args:
            now_s: The present.
            stretch: Regular polls are so much further apart than they would be on a cheap driver. Ticks are still
                caught more finely than that, and a change of power is no longer waited for.
            samples: Where readings go.

        Raises:
            NoSensor: Nothing that this board says can be used any more.
            NVMLError: One of `FATAL_CODES`.
        """
        regular = now_s >= self._due_regular_s
        counter = self._counter if regular or now_s >= self._due_counter_s else None
        power = self._power if regular or now_s >= self._due_power_s else None
        if counter is not None and not counter.wanted(now_s):
            counter = None
        if power is not None and not power.wanted(now_s):
            power = None
        after_s = now_s
        for answer in self._ask(counter is not None, power is not None):
            after_s = answer.after_s
            self._latency_s += 0.1 * (answer.after_s - answer.before_s - self._latency_s)
            self.duration_calls_s += answer.after_s - answer.before_s
            if counter is not None and answer.counter_mj is not None:
                self._answered(counter, answer, samples)
                self._take_counter(counter.channel, answer.before_s, answer.after_s, answer.counter_mj, samples)
            elif counter is not None and answer.counter_code != pynvml.NVML_SUCCESS:
                self._refused(counter, answer.counter_code, answer.after_s, samples)
            if power is not None and answer.power_mw is not None:
                self._take_power(power, answer, regular=regular, samples=samples)
            elif power is not None and answer.power_code != pynvml.NVML_SUCCESS:
                if answer.power_code == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    self._skipped(power, answer.after_s, regular=regular)
                else:
                    self._refused(power, answer.power_code, answer.after_s, samples)
        if regular:
            self.n_regular += 1
            self._due_regular_s = self._next_regular_s(now_s, after_s, stretch)
            self._read_state(after_s, samples)
            self._look_for_standstill(after_s, samples)
            after_s = time.monotonic()
        self._schedule(after_s, stretch)

    def _next_regular_s(self, now_s: float, after_s: float, stretch: float) -> float:
        """On a fixed grid while in time; what was slept through is counted."""
        period_s = max(REGULAR_S * stretch, 2 * self._latency_s)
        late_s = now_s - self._due_regular_s
        if late_s < period_s:
            return max(self._due_regular_s + period_s, after_s + period_s / 2)
        self.n_missed += int(late_s / period_s)
        return after_s + period_s

    def _schedule(self, now_s: float, stretch: float) -> None:
        """A call that takes long is not followed by the next one at once."""
        rest_s = now_s + self._latency_s
        self._due_counter_s = self._due_power_s = math.inf
        if self._counter is not None and not self._frozen and self._counter.refused_s is None:
            self._due_counter_s = max(self._counter_rhythm.next_poll_s(now_s, math.sqrt(stretch)), rest_s)
        chased = self._power is not None and self._power.refused_s is None and stretch < CHASE_STRETCH_MOST
        if chased and self._power_is_chased(now_s):
            self._due_power_s = max(self._power_rhythm.next_poll_s(now_s, stretch), rest_s)
        self.due_s = min(self._due_regular_s, self._due_counter_s, self._due_power_s)

    def _power_is_chased(self, now_s: float) -> bool:
        if self._averaged or self._n_shy >= SHY_AFTER:
            return False
        if self._power_rhythm.learnt:
            return True
        searching_s = now_s - self._searched_s
        if searching_s > POWER_SEARCH_AGAIN_S:
            self._searched_s = now_s
        return searching_s < POWER_SEARCH_DURATION_S

    def _ask(self, counter: bool, power: bool) -> Iterable[_Answer]:
        if counter and power and self._one_call:
            yield self._both()
            return
        if counter:
            yield self._counter_alone()
        if power:
            yield self._power_alone()

    def _both(self) -> _Answer:
        before_s = time.monotonic()
        try:
            power, counter = pynvml.nvmlDeviceGetFieldValues(
                self.handle, [pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION]
            )
        except pynvml.NVMLError as error:
            code = _code(error)
            return _Answer(before_s, time.monotonic(), None, None, code, code)
        after_s = time.monotonic()
        counter_code, power_code = _passed(counter.nvmlReturn), _passed(power.nvmlReturn)
        return _Answer(
            before_s,
            after_s,
            _value(counter) if counter_code == pynvml.NVML_SUCCESS else None,
            _value(power) if power_code == pynvml.NVML_SUCCESS else None,
            counter_code,
            power_code,
        )

    def _counter_alone(self) -> _Answer:
        before_s = time.monotonic()
        try:
            value_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        except pynvml.NVMLError as error:
            return _Answer(before_s, time.monotonic(), None, None, counter_code=_code(error))
        return _Answer(before_s, time.monotonic(), value_mj, None)

    def _power_alone(self) -> _Answer:
        before_s = time.monotonic()
        try:
            if not self._instant:
                return _Answer(before_s, time.monotonic(), None, pynvml.nvmlDeviceGetPowerUsage(self.handle))
            (field,) = pynvml.nvmlDeviceGetFieldValues(self.handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        except pynvml.NVMLError as error:
            return _Answer(before_s, time.monotonic(), None, None, power_code=_code(error))
        after_s = time.monotonic()
        code = _passed(field.nvmlReturn)
        return _Answer(before_s, after_s, None, _value(field) if code == pynvml.NVML_SUCCESS else None, power_code=code)

    def _fields(self, *fields: int) -> Any:
        return _optional(pynvml.nvmlDeviceGetFieldValues, self.handle, list(fields))

    # ------------------------------------------------------------------------------------ answers

    def _take_counter(
        self, channel: int, before_s: float, after_s: float, value_mj: int, samples: list[Sample]
    ) -> None:
        if value_mj == self._value_mj or self._polled_s == 0.0:
            self._value_mj, self._polled_s = value_mj, before_s
            return
        polled_s = self._polled_s
        if value_mj < self._value_mj:
            if self._power is None:
                raise NoSensor(
                    f"The energy counter of {self.uuid} went backwards.",
                    "Enable persistence mode (`nvidia-smi -pm 1`) and resume the run.",
                )
            samples.append(Sample(channel, polled_s, after_s, value_mj * J_PER_MJ))
            self._tell(SensorEvent.COUNTER_BACKWARDS, polled_s, after_s, samples)
        else:
            # After a stall of several ticks the value is that of the last one, which is less than a period ago.
            if self._counter_rhythm.trusted:
                polled_s = max(polled_s, before_s - PERIOD_MARGIN * (self._counter_rhythm.period_s or math.inf))
            samples.append(Sample(channel, polled_s, after_s, value_mj * J_PER_MJ))
            if self._frozen:
                self._counter_rhythm.forget()
            else:
                self.n_missed += self._counter_rhythm.changed(polled_s, after_s) - 1
        self._frozen = False
        self._value_mj, self._polled_s, self._ticked_s = value_mj, before_s, after_s

    def _take_power(self, stream: _Stream, answer: _Answer, *, regular: bool, samples: list[Sample]) -> None:
        before_s, after_s, power_mw = answer.before_s, answer.after_s, answer.power_mw
        assert power_mw is not None
        if power_mw == 0 or power_mw > self._limit_mw:
            # Polled faster than its period, some boards answer 0 W; no powered board draws nothing.
            event = SensorEvent.POWER_ZERO if power_mw == 0 else SensorEvent.POWER_IMPOSSIBLE
            if now_and_then(self._told_s, event, after_s):
                self._tell(event, before_s, after_s, samples)
            self._skipped(stream, after_s, regular=regular)
            return
        self._answered(stream, answer, samples)
        sample = Sample(stream.channel, before_s, after_s, power_mw * W_PER_MW)
        if power_mw != self._power_mw:
            if self._power_pending is not None:
                samples.append(self._power_pending)
            if self._power_polled_s:
                self._power_rhythm.changed(self._power_polled_s, after_s)
            samples.append(sample)
            self._power_pending = None
        elif regular:
            samples.append(sample)
            self._power_pending = None
        else:
            self._power_pending = sample
        self._power_mw, self._power_polled_s = power_mw, before_s

    def _read_state(self, now_s: float, samples: list[Sample]) -> None:
        """Temperature and the like, unless a change of energy or power is expected just now."""
        for state in self._states:
            if now_s < state.due_s:
                continue
            if self._counter_rhythm.expects(now_s) and now_s < state.due_s + state.period_s / 2:
                continue
            before_s = time.monotonic()
            try:
                value: float | None = state.read()
            except pynvml.NVMLError as error:
                if _code(error) in FATAL_CODES:
                    raise
                value = None
            after_s = time.monotonic()
            self.duration_calls_s += after_s - before_s
            if value is not None:
                samples.append(Sample(state.channel, before_s, after_s, float(value)))
            state.due_s = after_s + state.period_s

    def _temperature_c(self) -> int:
        return int(self._read_temperature(self.handle, pynvml.NVML_TEMPERATURE_GPU))

    def _busy_share(self) -> float:
        return float(pynvml.nvmlDeviceGetUtilizationRates(self.handle).gpu) * PERCENT

    def _clock_events(self) -> int:
        mask = int(self._read_reasons(self.handle))
        # What began and ended between two polls still made its violation time advance.
        for policy, (reason, known_ns) in self._violations.items():
            violated_ns = int(pynvml.nvmlDeviceGetViolationStatus(self.handle, policy).violationTime)
            if violated_ns > known_ns:
                mask |= reason
            self._violations[policy] = (reason, violated_ns)
        return mask

    # ------------------------------------------------------------------------------------ what goes wrong

    def _look_for_standstill(self, now_s: float, samples: list[Sample]) -> None:
        stream = self._counter
        # Only what was asked and did not move stands still: a sampler that slept for long has seen nothing.
        if stream is None or self._frozen or self._polled_s - self._ticked_s <= FROZEN_AFTER_S:
            return
        if self._power is None:
            raise NoSensor(
                f"The energy counter of {self.uuid} has not moved for {FROZEN_AFTER_S:.0f} s.",
                "Reload the driver, or use another board.",
            )
        self._frozen = True
        self._tell(SensorEvent.COUNTER_FROZEN, self._ticked_s, now_s, samples)

    def _skipped(self, stream: _Stream, now_s: float, *, regular: bool) -> None:
        """Power was answered by nothing: zero, the impossible, or that it is not supported after all.

        Raises:
            NoSensor: There has been nothing else for long.
        """
        self.n_missed += 1
        stream.n_skipped += 1
        self._n_shy += not regular
        if stream.n_skipped >= SHY_AFTER:
            stream.retry_s = now_s + SHY_PERIOD_S
            if now_s - self.time_good_s > FROZEN_AFTER_S:
                raise NoSensor(
                    f"{self.uuid} has given no power that can be believed for {FROZEN_AFTER_S:.0f} s.",
                    "Update the driver, or use another board.",
                )

    def _answered(self, stream: _Stream, answer: _Answer, samples: list[Sample]) -> None:
        if stream.refused_s is not None:
            self._tell(SensorEvent.CALL_FAILED, stream.time_good_s, answer.after_s, samples)
            stream.refused_s, stream.told = None, False
            if stream is self._counter:
                self._ticked_s = answer.after_s
        stream.n_skipped = 0
        stream.time_good_s = answer.before_s

    def _refused(self, stream: _Stream, code: int, now_s: float, samples: list[Sample]) -> None:
        """A call came back with an error that may pass.

        Raises:
            NoSensor: Neither counter nor power has answered for `RETRY_S`.
        """
        self.n_missed += 1
        if stream.refused_s is None:
            stream.refused_s = now_s
        each_s = [each.refused_s for each in (self._counter, self._power) if each is not None]
        if all(refused_s is not None and now_s - refused_s > RETRY_S for refused_s in each_s):
            raise NoSensor(
                f"NVML stopped answering for {self.uuid}: {pynvml.NVMLError(code)}.", "Check `dmesg` for Xid messages."
            )
        given_up = now_s - stream.refused_s > RETRY_S
        if given_up and not stream.told:
            stream.told = True
            self._tell(SensorEvent.CALL_FAILED, stream.time_good_s, now_s, samples)
        stream.retry_s = now_s + (RETRY_SELDOM_S if given_up else RETRY_EVERY_S / 2)

    def reopened(self, handle: Any, before_s: float, now_s: float, samples: list[Sample]) -> None:
        """NVML was started anew; the board is asked through another handle from now on."""
        self.handle = handle
        self._tell(SensorEvent.REINITIALIZED, before_s, now_s, samples)
        self._due_regular_s = now_s
        self.due_s = now_s

    @property
    def time_good_s(self) -> float:
        """When energy or power was last asked for and given."""
        return max(stream.time_good_s for stream in (self._counter, self._power) if stream is not None)

    @property
    def searching(self) -> bool:
        """Whether the counter's tick is still looked for, which costs more than following it."""
        return self._counter is not None and not self._counter_rhythm.learnt

    def _tell(self, event: SensorEvent, before_s: float, after_s: float, samples: list[Sample]) -> None:
        samples.append(Sample(self._events, before_s, after_s, float(event)))


def now_and_then(told_s: dict[SensorEvent, float], event: SensorEvent, now_s: float) -> bool:
    """Whether an event was not told within `TELL_S`; it counts as told then."""
    if now_s - told_s.get(event, -math.inf) < TELL_S:
        return False
    told_s[event] = now_s
    return True


def _optional(call: Callable[..., Any], *arguments: object) -> Any:
    """What a call says; None where it says nothing, for whatever reason that does not concern the whole board."""
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        _code(error)
        return None


def _value(field: Any) -> int:
    """A field's value in the driver's unit, by the type that it says it has."""
    if field.valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
        return int(field.value.ullVal)
    if field.valueType == pynvml.NVML_VALUE_TYPE_DOUBLE:
        return int(field.value.dVal)
    return int(field.value.uiVal)


def _code(error: Any) -> int:
    """The error's number; raised again if it concerns the whole board."""
    if error.value in FATAL_CODES:
        raise error
    code: int = error.value
    return code


def _passed(code: int) -> int:
    """A field's return code; raised if it concerns the whole board."""
    if code in FATAL_CODES:
        raise pynvml.NVMLError(code)
    return code
