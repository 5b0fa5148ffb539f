"""Where nothing can be measured: codecarbon's offline hardware model, polled at a fixed period.

CPU power is the processor's TDP scaled by the load since the previous poll, memory a constant per module. It is
an estimate, and everything made of it says so. Only this module and `codecarbon_child.py` know codecarbon.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable

from harness.errors import NoSensor
from harness.records import Boundary, Channel, Method, Quantity, Sample

PERIOD_S = 0.5


class EstimateSensor:
    """The host's power as codecarbon's model has it."""

    def __init__(self) -> None:
        """Ask the model what machine this is.

        Raises:
            NoSensor: codecarbon is not installed.
        """
        try:
            from codecarbon.core.cpu import TDP
            from codecarbon.external.hardware import CPU, MODE_CPU_LOAD
            from codecarbon.external.logger import logger
            from codecarbon.external.ram import RAM
        except ImportError as error:
            raise NoSensor(
                "No sensor can be read, and codecarbon, which could estimate, is not installed.",
                "pip install 'inference-energy-harness[estimate]'",
            ) from error
        notes: list[str] = []
        logger.handlers = [_Notes(notes)]
        thermal_design = TDP()
        self._parts = (
            CPU.from_utils(tempfile.gettempdir(), MODE_CPU_LOAD, thermal_design.model, thermal_design.tdp),
            RAM(tracking_mode="machine"),
        )
        for part in self._parts:
            part.start()
        self._notes = tuple(notes)
        self._due_s = time.monotonic() + PERIOD_S

    @property
    def notes(self) -> tuple[str, ...]:
        """What codecarbon warned of, such as a processor that it does not know."""
        return self._notes

    @property
    def channels(self) -> tuple[Channel, ...]:
        """One power channel."""
        return (
            Channel(
                device="codecarbon-host-model",
                boundary=Boundary.HOST,
                method=Method.ESTIMATED,
                quantity=Quantity.POWER_W,
                duration_period_s=PERIOD_S,
                duration_window_s=PERIOD_S,
            ),
        )

    def next_poll_s(self, now_s: float) -> float:  # noqa: ARG002 - a fixed period
        """A fixed period after the last poll."""
        return self._due_s

    def poll(self) -> Iterable[Sample]:
        """The model's power since the previous poll, in watts."""
        self._due_s += PERIOD_S
        before_s = time.monotonic()
        power_w = sum(part.total_power().W for part in self._parts)
        return [Sample(0, before_s, time.monotonic(), float(power_w))]

    def close(self) -> None:
        """Nothing is held."""


class _Notes(logging.Handler):
    """Keeps what codecarbon warns of, instead of printing it."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        self._notes.append(record.getMessage())
