"""Looks at idle boards for two to five seconds: how their counters tick, how their power readings change.

First the counters alone, then the power readings: a slow power call in between would blur the ticks. It runs in the
caller's process, because nothing is measured meanwhile. What the polls mean is `card.py`'s to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pynvml

from harness.clock import utc_now
from harness.errors import NoSensor
from harness.meter.card.card import Polls, idle_findings
from harness.records import SensorCard
from harness.units import J_PER_MJ, W_PER_MW

COUNTER_POLL_S = 0.0004
COUNTER_LEAST_S, COUNTER_MOST_S = 1.0, 3.0
COUNTER_TICKS = 9
POWER_POLL_S = 0.002
POWER_STILL_S, POWER_MOST_S = 1.2, 2.5
"""Power that has not changed for so long is left alone; one that changes is watched up to the second number."""
POWER_CHANGES = 8
SHY_S = 0.11
"""A little more than the period of most boards' readings."""
BUSY_PERCENT = 10
"""A board that works more than this (a still screen needs a little) does not show its idle power."""
_UNION = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


@dataclass(slots=True)
class _Log:
    """Answers to one call, and how often they changed."""

    rows: list[tuple[float, float, float]] = field(default_factory=list)
    n_changes: int = 0
    _last: float | None = None
    _resume_s: float = 0.0

    def ask(self, call: Callable[[], float | None]) -> None:
        """Keep an answer with the instants around it.

        Some boards refuse a call that comes too early, or answer it with 0: they are left alone for a while.
        """
        before_s = time.monotonic()
        if before_s < self._resume_s:
            return
        value = call()
        after_s = time.monotonic()
        if not value:
            self._resume_s = after_s + SHY_S
            return
        self.rows.append((before_s, after_s, value))
        self.n_changes += self._last is not None and value != self._last
        self._last = value


@dataclass(slots=True)
class _Watched:
    """One board and what it answered."""

    uuid: str
    handle: Any
    counter: bool
    busy: bool
    read_power: Callable[[], float | None] | None = None
    instant: bool = False
    counter_log: _Log = field(default_factory=_Log)
    power_log: _Log = field(default_factory=_Log)

    def poll_counter(self) -> None:
        self.counter_log.ask(lambda: _energy_j(self.handle))

    def poll_power(self) -> None:
        if self.read_power is not None:
            self.power_log.ask(self.read_power)


def characterize(uuids: Sequence[str]) -> dict[str, SensorCard]:
    """The idle half of each board's card, by UUID; they are watched together.

    Args:
        uuids: Full NVML UUIDs. A board that does not answer is left out.

    Raises:
        NoSensor: The driver cannot be loaded.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoSensor(
            f"NVML refused: {error}.", "`harness doctor` shows what the driver answers and how to mend it."
        ) from error
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        boards = [board for uuid in uuids if (board := _watched(uuid)) is not None]
        started_utc = utc_now()
        _watch_counters([board for board in boards if board.counter])
        _watch_power([board for board in boards if board.read_power is not None])
        for board in boards:
            board.busy = board.busy or _is_busy(board.handle)
        return {board.uuid: _card(board, driver, started_utc) for board in boards}
    except pynvml.NVMLError as error:
        raise NoSensor(f"NVML stopped answering: {error}.", "Check `dmesg` for Xid messages.") from error
    finally:
        with suppress(pynvml.NVMLError_Uninitialized):  # somebody else has shut it down
            pynvml.nvmlShutdown()


def _watched(uuid: str) -> _Watched | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return None
    board = _Watched(uuid, handle, counter=_energy_j(handle) is not None, busy=_is_busy(handle))
    if _instant_w(handle):
        board.instant, board.read_power = True, lambda: _instant_w(handle)
    elif _usage_w(handle) is not None:
        board.read_power = lambda: _usage_w(handle)
    return board


def _watch_counters(boards: Sequence[_Watched]) -> None:
    begun_s = time.monotonic()
    while boards and (elapsed_s := time.monotonic() - begun_s) < COUNTER_MOST_S:
        for board in boards:
            board.poll_counter()
        if elapsed_s > COUNTER_LEAST_S and all(board.counter_log.n_changes > COUNTER_TICKS for board in boards):
            return
        time.sleep(COUNTER_POLL_S)


def _watch_power(boards: Sequence[_Watched]) -> None:
    begun_s = time.monotonic()
    while boards and (elapsed_s := time.monotonic() - begun_s) < POWER_MOST_S:
        for board in boards:
            board.poll_power()
        n_changes = [board.power_log.n_changes for board in boards]
        if elapsed_s > POWER_STILL_S and all(n == 0 or n > POWER_CHANGES for n in n_changes):
            return
        time.sleep(POWER_POLL_S)


def _card(board: _Watched, driver: str, started_utc: str) -> SensorCard:
    counter, power = Polls.of(board.counter_log.rows), Polls.of(board.power_log.rows)
    found = idle_findings(counter, power)
    return SensorCard(
        uuid=board.uuid,
        name=str(pynvml.nvmlDeviceGetName(board.handle)),
        driver=driver,
        idle_utc=started_utc,
        counter=board.counter,
        duration_tick_s=found.duration_tick_s,
        duration_tick_jitter_s=found.duration_tick_jitter_s,
        resolution_j=found.resolution_j,
        duration_counter_call_s=counter.duration_call_s,
        instant_power=board.instant,
        duration_power_call_s=power.duration_call_s,
        duration_power_period_s=found.duration_power_period_s,
        power_idle_w=None if board.busy else found.power_idle_w,
    )


def _energy_j(handle: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * J_PER_MJ
    except pynvml.NVMLError:
        return None


def _usage_w(handle: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetPowerUsage(handle)) * W_PER_MW
    except pynvml.NVMLError:
        return None


def _instant_w(handle: Any) -> float | None:
    """NVML field 186; None where this call or this field fails, which are two things to look at."""
    try:
        (answer,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
    except pynvml.NVMLError:
        return None
    if answer.nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return float(getattr(answer.value, _UNION.get(answer.valueType, "uiVal"))) * W_PER_MW


def _is_busy(handle: Any) -> bool:
    try:
        return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) > BUSY_PERCENT
    except pynvml.NVMLError:
        return False
