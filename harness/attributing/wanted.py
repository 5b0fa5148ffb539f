"""What a user asks of `harness attribute`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The flags of `harness attribute`. `weights` None: fitted to the trace."""

    trace: Path
    requests: Path
    meter_json: Path | None = None
    columns: Mapping[str, str] | None = None
    clock_offset_s: float = 0.0
    weights: tuple[float, float] | None = None
