"""NVML boards as sensors: the energy counter caught at its ticks, power, and how the board was meanwhile.

The counter of a data-centre board moves about every 100 ms. Reading it at a query's edges would miss the last
part of a tick, so its ticks are caught where they happen. The period is learnt from the ticks themselves; nothing is
assumed about the board.

Power is `NVML_FI_DEV_POWER_INSTANT` where the driver has it. `nvmlDeviceGetPowerUsage` is a mean over 1 s on
Ampere (except A100) and newer boards and is used only where nothing else exists, and says so by its window.
Sources: nvml.h (API 13); Yang et al., SC'24, doi 10.1109/SC41406.2024.00028, for periods and windows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import pynvml

from harness.errors import NoSensor
from harness.meter.sensors.nvml_board import LOST_CODES, RETRY_EVERY_S, RETRY_S, NvmlBoard
from harness.records import Channel, Sample, SensorCard

CPU_SHARE_MOST, CALL_SHARE_MOST = 0.022, 0.15
"""Of a core, per board, and of the time, per board: what the sampler may cost, and how long the driver may be kept
busy, before polls are put further apart."""
N_BOARDS_MOST = 4
"""More boards than this share the allowance of this many."""
ADJUST_PERIOD_S, STRETCH_MOST = 1.0, 64.0
SEARCH_S = 5.0
"""After opening, finding the ticks may cost more than following them."""


class NvmlSensor:
    """The boards named by UUID."""

    def __init__(self, uuids: Sequence[str], cards: Mapping[str, SensorCard] | None = None) -> None:
        """Open the boards and find out what each can be asked.

        Args:
            uuids: Full NVML UUIDs (`GPU-...`).
            cards: What is known of their sensors, by UUID.

        Raises:
            NoSensor: The driver cannot be loaded, a board is unknown, or a board gives neither energy nor power.
        """
        self._boards: list[NvmlBoard] = []
        n_channels = 0
        try:
            pynvml.nvmlInit()
            for uuid in uuids:
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                self._boards.append(NvmlBoard(uuid, handle, n_channels, (cards or {}).get(uuid)))
                n_channels += len(self._boards[-1].channels)
        except pynvml.NVMLError as error:
            raise NoSensor(
                f"NVML refused: {error}.",
                "`harness doctor` shows what the driver answers and how to mend it.",
            ) from error
        self._channels = tuple(channel for board in self._boards for channel in board.channels)
        self._lost: NoSensor | None = None
        self._closed_s: float | None = None
        self._due_s = self._adjusted_s = self._opened_s = time.monotonic()
        self._cpu_s, self._calls_s, self._stretch = time.process_time(), 0.0, 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the driver refused when the boards were opened."""
        return tuple(note for board in self._boards for note in board.notes)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Per board, as far as it has them: counter, power, temperature, clock events; and the sensor's events."""
        return self._channels

    @property
    def n_missed(self) -> int:
        """Ticks and regular polls that were slept through, and polls that the driver refused."""
        return sum(board.n_missed for board in self._boards)

    @property
    def n_regular(self) -> int:
        """Polls at the fixed pace, of the board that had most: boards are due together, and late together."""
        return max((board.n_regular for board in self._boards), default=0)

    def next_poll_s(self, now_s: float) -> float:  # noqa: ARG002 - the boards' own schedules decide
        """The earliest due board."""
        return self._due_s

    def poll(self) -> Iterable[Sample]:
        """Read what is due.

        Raises:
            NoSensor: A board is lost, or its only source cannot be believed.
        """
        if self._lost is not None:
            raise self._lost
        samples: list[Sample] = []
        now_s = time.monotonic()
        try:
            if self._closed_s is None or self._reopen(now_s, samples):
                self._poll_boards(now_s, samples)
        except NoSensor as error:
            self._lost = error  # told with the next poll: what the other boards said in the same breath is kept
        if self._lost is not None:
            self._due_s = now_s
        elif self._closed_s is not None:
            self._due_s = now_s + RETRY_EVERY_S
        else:
            self._due_s = min(board.due_s for board in self._boards)
        if now_s - self._adjusted_s >= ADJUST_PERIOD_S:
            self._adjust(now_s)
        return samples

    def close(self) -> None:
        """Release NVML. A driver that is already gone has nothing to release."""
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError_Uninitialized:
            return

    def _poll_boards(self, now_s: float, samples: list[Sample]) -> None:
        for board in self._boards:
            if now_s < board.due_s:
                continue
            try:
                board.poll(now_s, self._stretch, samples)
            except pynvml.NVMLError as error:
                if error.value in LOST_CODES:
                    raise NoSensor(
                        f"NVML stopped answering for {board.uuid}: {error}.", "Check `dmesg` for Xid messages."
                    ) from error
                self._closed_s = now_s  # somebody shut NVML down, for all boards
                return

    def _reopen(self, now_s: float, samples: list[Sample]) -> bool:
        """Start NVML again; False: it does not start yet.

        Raises:
            NoSensor: It does not start at all.
        """
        assert self._closed_s is not None
        try:
            pynvml.nvmlInit()
            handles = [pynvml.nvmlDeviceGetHandleByUUID(board.uuid) for board in self._boards]
        except pynvml.NVMLError as error:
            if now_s - self._closed_s > RETRY_S or error.value in LOST_CODES:
                raise NoSensor(
                    f"NVML was shut down and does not start again: {error}.", "Check `dmesg` for Xid messages."
                ) from error
            return False
        opened_s = time.monotonic()
        for board, handle in zip(self._boards, handles, strict=True):
            board.reopened(handle, board.time_good_s, opened_s, samples)
        self._closed_s = None
        return True

    def _adjust(self, now_s: float) -> None:
        """Put polls further apart where they cost too much on this machine, and closer again where they do not."""
        duration_s = now_s - self._adjusted_s
        cpu_s, calls_s = time.process_time(), sum(board.duration_calls_s for board in self._boards)
        n_boards = min(len(self._boards), N_BOARDS_MOST)
        cost = max(
            (cpu_s - self._cpu_s) / duration_s / (CPU_SHARE_MOST * n_boards),
            (calls_s - self._calls_s) / duration_s / (CALL_SHARE_MOST * n_boards),
        )
        self._adjusted_s, self._cpu_s, self._calls_s = now_s, cpu_s, calls_s
        if now_s - self._opened_s < SEARCH_S and any(board.searching for board in self._boards):
            return
        if cost > 1.0:
            self._stretch = min(STRETCH_MOST, self._stretch * min(cost, 2.0))
        elif cost < 0.6:
            self._stretch = max(1.0, self._stretch * max(0.8, cost / 0.6))
