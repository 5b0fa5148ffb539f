"""What `harness doctor` knows: facts, a check per fact, a verdict per boundary. Records only."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from harness.environment.nvml import BoardState
from harness.environment.rapl import RaplZone
from harness.records import SCHEMA_VERSION, Board, Boundary, Method, Record, Site


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"


class Check(Record):
    """One thing that was looked at."""

    subject: str = Field(description="machine, software, host, or GPU and its number")
    name: str
    status: Status
    what: str
    next_step: str | None = None


class Verdict(Record):
    """Whether one boundary's energy can be measured here. `method` is None where it cannot even be estimated."""

    boundary: Boundary
    method: Method | None
    sentence: str
    next_step: str | None = None

    @property
    def measured(self) -> bool:
        """Whether a sensor gives it."""
        return self.method not in (None, Method.ESTIMATED)


class GpuFacts(Record):
    """One board: what it is, what it shows now, and how often its energy counter moves."""

    board: Board
    state: BoardState
    duration_tick_s: float | None = Field(description="None: no energy counter, or it stands still")


class TorchProbe(Record):
    """What a torch in a process of its own found when it used the GPU."""

    cuda_build: str | None = Field(description="the CUDA that torch was built with; None: a build for CPUs")
    n_devices: int
    error: str | None = Field(description="None: it computed on the GPU")


class Diagnosis(Record):
    """Everything that `harness doctor` says."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    site: Site
    gpus: tuple[GpuFacts, ...]
    rapl: tuple[RaplZone, ...]
    torch: TorchProbe | None = Field(description="None: no torch, or no GPU to use")
    checks: tuple[Check, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def measurable(self) -> bool:
        """Whether any boundary has a sensor."""
        return any(verdict.measured for verdict in self.verdicts)
