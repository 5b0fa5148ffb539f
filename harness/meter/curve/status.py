"""How a board was while it was measured: throttling, its power limit, its temperature, its sensor's own troubles.

Pure: rows in, findings with the time they hold for out.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Edge, Finding, FindingCode, Quantity, SensorEvent

POWER_CAP = 0x4
SLOWED = 0x8 | 0x20 | 0x40 | 0x80
"""Hardware slowdown, software thermal, hardware thermal, power brake (nvml.h, clocks event reasons)."""
DRIFT_C = 10.0
EVENT_CODES = {
    SensorEvent.POWER_ZERO: FindingCode.POWER_ZERO,
    SensorEvent.POWER_IMPOSSIBLE: FindingCode.POWER_IMPOSSIBLE,
    SensorEvent.CALL_FAILED: FindingCode.CALL_FAILED,
    SensorEvent.REINITIALIZED: FindingCode.SENSOR_REINITIALIZED,
    SensorEvent.COUNTER_BACKWARDS: FindingCode.COUNTER_RESET,
    SensorEvent.COUNTER_FROZEN: FindingCode.COUNTER_FROZEN,
}


@dataclass(frozen=True, slots=True)
class Happening:
    """A finding, and the stretch of the session that it is about."""

    time_start_s: float
    time_end_s: float
    finding: Finding


class Status:
    """Collects what one device's other channels say."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._happenings: list[Happening] = []
        self._mask_s: float | None = None
        self._warmth: list[tuple[float, float]] = []
        self._worked_s: tuple[float, float] | None = None

    def take(self, quantity: Quantity, time_before_s: float, time_after_s: float, value: float) -> None:
        """One row."""
        if quantity is Quantity.CLOCK_EVENTS:
            self._events(time_after_s, int(value))
        elif quantity is Quantity.TEMPERATURE_C:
            self._warmth.append((time_after_s, value))
        elif quantity is Quantity.SENSOR_EVENT and int(value) in list(SensorEvent):
            code = EVENT_CODES.get(SensorEvent(int(value)))
            if code is not None:
                self._add(time_before_s, time_after_s, code)

    def happenings(self) -> tuple[Happening, ...]:
        """Everything until now that is about a stretch of the session."""
        return tuple(self._happenings)

    def take_edge(self, time_s: float, edge: Edge) -> None:
        """Where marked work begins and ends."""
        if edge in (Edge.WORK_BEGINS, Edge.WORK_ENDS):
            first_s, last_s = self._worked_s or (time_s, time_s)
            self._worked_s = min(first_s, time_s), max(last_s, time_s)

    def drift(self) -> tuple[Finding, ...]:
        """What is about the session as a whole: how much warmer or colder it became from the first work to the last."""
        if self._worked_s is None:
            return ()
        first_s, last_s = self._worked_s
        during_c = [value_c for time_s, value_c in self._warmth if first_s <= time_s <= last_s]
        if not during_c or max(during_c) - min(during_c) <= DRIFT_C:
            return ()
        detail = f"{self._device}: {min(during_c):.0f} to {max(during_c):.0f} °C"
        return (Finding(code=FindingCode.TEMPERATURE_DRIFT, detail=detail),)

    def _events(self, time_s: float, mask: int) -> None:
        """A mask holds for the time since the previous one."""
        since_s = time_s if self._mask_s is None else self._mask_s
        if mask & SLOWED:
            self._add(since_s, time_s, FindingCode.THROTTLED)
        if mask & POWER_CAP:
            self._add(since_s, time_s, FindingCode.POWER_CAPPED)
        self._mask_s = time_s

    def _add(self, start_s: float, end_s: float, code: FindingCode) -> None:
        """Stretches that touch and say the same are one."""
        for index in range(len(self._happenings) - 1, max(len(self._happenings) - 4, -1), -1):
            last = self._happenings[index]
            if last.finding.code is code and start_s <= last.time_end_s:
                self._happenings[index] = Happening(last.time_start_s, end_s, last.finding)
                return
        self._happenings.append(Happening(start_s, end_s, Finding(code=code)))
