"""NVML boards as sensors: the energy counter caught at its ticks, and instantaneous power.

The counter of a data-centre board moves about every 100 ms. Reading it at a query's edges would miss the last
part of a tick, so it is polled finely around the expected tick and only changes are passed on, each with the
two polls that bracket it. The period is learnt from the ticks themselves; nothing is assumed about the board.

Power is `NVML_FI_DEV_POWER_INSTANT` where the driver has it. `nvmlDeviceGetPowerUsage` is a mean over 1 s on
Ampere (except A100) and newer boards and is used only where nothing else exists, and says so by its window.
Sources: nvml.h (API 13); Yang et al., SC'24, doi 10.1109/SC41406.2024.00028, for periods and windows.

This is the only module of the stage that knows pynvml.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pynvml

from harness.errors import NoSensor
from harness.records import Boundary, Channel, Method, Quantity, Sample
from harness.units import J_PER_MJ, W_PER_MW

GAIN_HALF_WIDTH = 0.05
"""Relative, per board, systematic: mostly within 5 % over 70 boards, outliers from -41 to +11 % (Yang et al.)."""
POLL_FINE_S = 0.0005
POLL_SEARCH_S = 0.001
GUARD_S = 0.004
"""Polling turns fine this long before a tick is expected."""
APPROACH = 0.6
"""Share of the time to the expected tick that is slept at once."""
PERIOD_MARGIN = 1.5
"""Ticks may be this much further apart than the shortest of the last few."""
POWER_PERIOD_S = 0.02
FROZEN_AFTER_S = 5.0
"""A counter that has not moved for this long is given up: even an idle board moves it every tick."""
AMPERE, GA100_NAMES = 7, ("A100", "A800", "A30")


@dataclass(slots=True)
class _Board:
    """What is known of one board while it is polled."""

    uuid: str
    handle: Any
    counter_channel: int | None = None
    power_channel: int | None = None
    instant: bool = False
    value_mj: int = -1
    time_polled_s: float = 0.0
    time_ticked_s: float = field(default_factory=time.monotonic)
    periods_s: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    n_ticks: int = 0
    due_counter_s: float = field(default_factory=time.monotonic)
    due_power_s: float = field(default_factory=time.monotonic)


class NvmlSensor:
    """The boards named by UUID."""

    def __init__(self, uuids: Sequence[str]) -> None:
        """Open the boards and find out what each can be asked.

        Args:
            uuids: Full NVML UUIDs (`GPU-...`).

        Raises:
            NoSensor: The driver cannot be loaded, a board is unknown, or a board gives neither energy nor power.
        """
        channels: list[Channel] = []
        self._boards: list[_Board] = []
        try:
            pynvml.nvmlInit()
            for uuid in uuids:
                board = _Board(uuid, pynvml.nvmlDeviceGetHandleByUUID(uuid))
                self._open(board, channels)
                self._boards.append(board)
        except pynvml.NVMLError as error:
            raise NoSensor(
                f"NVML refused: {error}.",
                "`harness doctor` shows what the driver answers and how to mend it.",
            ) from error
        self._channels = tuple(channels)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing to tell."""
        return ()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """An energy channel and a power channel per board, as far as it has them."""
        return self._channels

    def next_poll_s(self, now_s: float) -> float:  # noqa: ARG002 - the boards' own schedules decide
        """The earliest due board."""
        return min(
            due_s
            for board in self._boards
            for due_s, channel in (
                (board.due_counter_s, board.counter_channel),
                (board.due_power_s, board.power_channel),
            )
            if channel is not None
        )

    def poll(self) -> Iterable[Sample]:
        """Read what is due.

        Raises:
            NoSensor: A board is lost, its counter is frozen or went backwards.
        """
        samples: list[Sample] = []
        now_s = time.monotonic()
        try:
            for board in self._boards:
                if board.counter_channel is not None and now_s >= board.due_counter_s:
                    self._poll_counter(board, board.counter_channel, samples)
                if board.power_channel is not None and now_s >= board.due_power_s:
                    self._poll_power(board, board.power_channel, samples)
        except pynvml.NVMLError as error:
            raise NoSensor(f"NVML stopped answering: {error}.", "Check `dmesg` for Xid messages.") from error
        return samples

    def close(self) -> None:
        """Release NVML. A driver that is already gone has nothing to release."""
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError_Uninitialized:
            return

    def _open(self, board: _Board, channels: list[Channel]) -> None:
        try:
            board.value_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(board.handle)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            pass
        else:
            board.counter_channel = len(channels)
            channels.append(_channel(board.uuid, Method.NVML_COUNTER, Quantity.ENERGY_J, None))
        window_s = self._power_window_s(board)
        if window_s is not None:
            board.power_channel = len(channels)
            channels.append(_channel(board.uuid, Method.NVML_POWER, Quantity.POWER_W, window_s))
        if board.counter_channel is None and board.power_channel is None:
            raise NoSensor(
                f"{board.uuid} gives neither energy nor power.",
                "vGPU guests and some laptops have no sensor; `--meter-gpus none` measures the host alone.",
            )

    def _power_window_s(self, board: _Board) -> float | None:
        """Seconds that the best power reading averages over; None: no power reading."""
        if _instant_power_w(board.handle) is not None:
            board.instant = True
            return 0.025
        try:
            pynvml.nvmlDeviceGetPowerUsage(board.handle)
            architecture = pynvml.nvmlDeviceGetArchitecture(board.handle)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return None
        name = str(pynvml.nvmlDeviceGetName(board.handle))
        averaged = architecture >= AMPERE and not any(part in name for part in GA100_NAMES)
        return 1.0 if averaged else 0.025

    def _poll_counter(self, board: _Board, channel: int, samples: list[Sample]) -> None:
        before_s = time.monotonic()
        value_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(board.handle)
        after_s = time.monotonic()
        if value_mj == board.value_mj or board.time_polled_s == 0.0:
            board.value_mj, board.time_polled_s = value_mj, before_s
            if after_s - board.time_ticked_s > FROZEN_AFTER_S:
                raise NoSensor(
                    f"The energy counter of {board.uuid} has not moved for {FROZEN_AFTER_S:.0f} s.",
                    "Reload the driver, or use another board.",
                )
        elif value_mj < board.value_mj:
            raise NoSensor(
                f"The energy counter of {board.uuid} went backwards.",
                "Enable persistence mode (`nvidia-smi -pm 1`) and resume the run.",
            )
        else:
            # After a stall of several ticks the value is that of the last one, which is less than a period ago.
            period_s = PERIOD_MARGIN * min(board.periods_s, default=math.inf)
            ticked_after_s = max(board.time_polled_s, before_s - period_s)
            samples.append(Sample(channel, ticked_after_s, after_s, value_mj * J_PER_MJ))
            self._learn_period(board, (ticked_after_s + after_s) / 2)
            board.value_mj, board.time_polled_s = value_mj, before_s
        board.due_counter_s = self._next_counter_poll_s(board, after_s)

    @staticmethod
    def _learn_period(board: _Board, ticked_s: float) -> None:
        """Remember the distance between the last two ticks; before the first there is nothing to measure from."""
        if board.n_ticks:
            board.periods_s.append(ticked_s - board.time_ticked_s)
        board.n_ticks += 1
        board.time_ticked_s = ticked_s

    @staticmethod
    def _next_counter_poll_s(board: _Board, now_s: float) -> float:
        if not board.periods_s:
            return now_s + POLL_SEARCH_S
        # The shortest of the last few: a missed tick must not double it, a late poll must not halve it for long.
        to_expected_s = board.time_ticked_s + min(board.periods_s) - now_s
        if to_expected_s > GUARD_S:
            # In shrinking steps: should one of them come late, the poll before it still brackets the tick.
            return now_s + min(to_expected_s - GUARD_S, APPROACH * to_expected_s)
        # Fine around the expected tick; a little coarser once it is well overdue.
        return now_s + (POLL_FINE_S if to_expected_s > -GUARD_S else POLL_SEARCH_S)

    @staticmethod
    def _poll_power(board: _Board, channel: int, samples: list[Sample]) -> None:
        before_s = time.monotonic()
        power_w = (
            _instant_power_w(board.handle) if board.instant else pynvml.nvmlDeviceGetPowerUsage(board.handle) * W_PER_MW
        )
        after_s = time.monotonic()
        board.due_power_s = after_s + POWER_PERIOD_S
        # Polled faster than its period, some boards answer 0 W; no powered board draws nothing.
        if power_w:
            samples.append(Sample(channel, before_s, after_s, power_w))


def _channel(uuid: str, method: Method, quantity: Quantity, window_s: float | None) -> Channel:
    return Channel(
        device=uuid,
        boundary=Boundary.GPU_BOARD,
        method=method,
        quantity=quantity,
        duration_window_s=window_s,
        gain_half_width=GAIN_HALF_WIDTH,
    )


def _instant_power_w(handle: Any) -> float | None:
    """Instantaneous power of the GPU scope in watts; None where the driver has no such field."""
    try:
        (value,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return None
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return float(value.value.uiVal) * W_PER_MW
