"""Every error that this program raises on purpose, with the exit code that it ends in.

    HarnessError                  2
    ├── UsageError                2   a flag, file or value that cannot be meant
    │   ├── UnknownName           2   a name with a nearest valid one
    │   ├── UnusableInput         2   a query's input that is not what its task takes
    │   └── SchemaError           2   a run written by a newer version, or damaged
    ├── EnvironmentFault          3   this machine, driver, package or network
    │   ├── NoSensor              3   nothing here can be read
    │   ├── ModelUnavailable      3   missing, gated, or not reachable
    │   └── StorageFull           3   results could not be written
    ├── InvalidMeasurement        4   it ran, and the number must not be used
    ├── ScoringFailed             4   a scorer that cannot say whether an answer is right
    └── CellFailed                5   one cell failed, others may stand
        ├── OutOfMemory           5   the model does not fit
        └── ServerLost            5   the server that answered is gone, or fails too often

A message holds what happened, the value with its unit, and (`next_step`) what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a pipeline sees."""

    OK = 0
    GATE_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    INVALID = 4
    CELLS_FAILED = 5
    INCONCLUSIVE = 6
    INTERRUPTED = 130


class HarnessError(Exception):
    """The root. Carries the next step apart from the message, so that a terminal can set it apart."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class UsageError(HarnessError):
    """A flag, file or value that cannot be meant."""


LISTED_MOST = 25
"""More valid names than this are not listed; the nearest are."""


class UnknownName(UsageError):
    """A name that is not among the valid ones; the nearest is offered."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], elsewhere: str = "") -> None:
        choices = sorted(valid)
        near = difflib.get_close_matches(name, choices, n=1)
        step = f"Did you mean {near[0]!r}? " if near else ""
        if len(choices) > LISTED_MOST:
            choices = difflib.get_close_matches(name, choices, n=5, cutoff=0.3)
            listed = f"Among those known: {', '.join(choices)}, ..." if choices else ""
        else:
            listed = f"Known: {', '.join(choices)}."
        super().__init__(f"Unknown {kind} {name!r}.", f"{step}{listed}{elsewhere}".strip())


class UnusableInput(UsageError):
    """A query's input is not what its task takes: a text as image, silence as speech, nothing at all."""


class SchemaError(UsageError):
    """A run directory of a newer schema, or one that cannot be read."""


class EnvironmentFault(HarnessError):
    """This machine, its driver, its packages or its network."""

    exit_code = ExitCode.ENVIRONMENT


class NoSensor(EnvironmentFault):
    """Nothing on this machine can be read."""


class ModelUnavailable(EnvironmentFault):
    """A model or data set that is missing, gated or not reachable."""


class StorageFull(EnvironmentFault):
    """Results could not be written."""


class InvalidMeasurement(HarnessError):
    """It ran, and the number must not be used."""

    exit_code = ExitCode.INVALID


class ScoringFailed(HarnessError):
    """A scorer raised an error, or took too long, on one answer."""

    exit_code = ExitCode.INVALID


class CellFailed(HarnessError):
    """One cell failed; the others may stand."""

    exit_code = ExitCode.CELLS_FAILED


class OutOfMemory(CellFailed):
    """The model, or its context, does not fit into the device's memory."""


class ServerLost(CellFailed):
    """The server ended, stopped answering, or failed more queries than the run allows."""
