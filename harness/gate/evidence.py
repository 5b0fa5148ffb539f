"""What a gate is shown: the figures of one cell in one mode, repeat by repeat, as arrays.

Knows numbers and the conditions they were measured under. Must not know run directories or how they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from harness.records import Boundary, Finding

FloatArray = npt.NDArray[np.float64]


class SideKind(StrEnum):
    """Which part a run has in a gate."""

    CANDIDATE = "candidate"
    RELEASE = "release"
    GOLDEN = "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """One repeat: its answered queries, one entry per prompt in every array. NaN: not known of this query.

    `by_device_j` are the joules of all its queries by device, and `gains` the devices' relative 95 % half-widths;
    None: unknown. A device's name is the same in two runs only where it is the same device: a board's UUID is, a
    host's part must be given its machine's name. `n_failed` were asked, or were to be, and have no answer.
    """

    run: str
    repeat: int
    prompt_ids: tuple[str, ...]
    energy_j: FloatArray
    output_tokens: FloatArray | None = None
    correct: FloatArray | None = field(default=None)
    half_width_reading_j: FloatArray | None = None
    by_device_j: Mapping[str, float]
    gains: Mapping[str, float | None]
    n_failed: int = 0

    def __post_init__(self) -> None:
        """Arrays of one length, each prompt once.

        Raises:
            ValueError: They are not; a mistake of the caller's.
        """
        n = len(self.prompt_ids)
        if len(set(self.prompt_ids)) != n:
            raise ValueError(f"{self.run}: a prompt is in it twice")
        for name in ("energy_j", "output_tokens", "correct", "half_width_reading_j"):
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise ValueError(f"{self.run}: {name} has the shape {values.shape}, for {n} prompts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One cell in one mode at one site, with all its repeats.

    `words` names it in sentences (model, run). `inflation` widens the interval over prompts of a run that could stop
    early. `interleaved_with` names the side whose repeats were measured in turn with these, in one job; None: none.
    `shared` is the load under which queries were in flight together, so that their joules are shares; empty: they are
    measured one by one. `invalid` says why its figures are not what they are called, whatever the metric.
    `boards_unmetered` held the model and were not read: its joules are not all of them.
    """

    kind: SideKind
    words: str
    model: str
    mode: str
    prompt_set: str
    prompt_set_sha256: str
    boards: tuple[str, ...]
    driver: str | None
    protocol: str
    site_id: str
    boundary: Boundary
    estimated: bool
    replayed: bool
    runs: tuple[RunFigures, ...]
    invalid: tuple[Finding, ...] = ()
    boards_unmetered: tuple[str, ...] = ()
    interleaved_with: str | None = None
    inflation: float = 1.0
    shared: str = ""
    task: str | None = None
    """None: text generation, with or without thinking."""
