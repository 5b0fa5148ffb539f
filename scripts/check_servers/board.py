"""A made-up board under a known load, and how to run the harness on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fake_nvml.library import (
    H100,
    Board,
    GpuProcess,
    Truth,
    build,
    constant,
    environment,
    square_wave,
    write_config,
)

PROJECT = Path(__file__).resolve().parents[2]
LOADS = {
    "steady": (constant(330.0),),
    "steps": (constant(90.0), square_wave(240.0, period_s=1.7, duty=0.4)),
}
"""Watts above idle. They know nothing of the queries, so that their steps fall anywhere."""
OTHER = replace(H100, uuid="GPU-11111111-0000-4000-8000-000000000002", pci_bus_id="00000000:3a:00.0")


@dataclass(slots=True)
class Boards:
    """The fake library with its boards, in one scratch directory."""

    scratch: Path
    load: str
    truth: Truth = field(init=False)
    _environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        library, config = build(self.scratch), self.scratch / "boards.conf"
        self.write()
        self.truth = Truth(library, config)
        self._environment = {**environment(library.parent, config), "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}

    def write(self, pids: Sequence[int] = (), *, n_boards: int = 1) -> None:
        """Describe the boards; the last one is where these processes run.

        Args:
            pids: Whom NVML lists on it.
            n_boards: One, or two.
        """
        boards: list[Board] = [replace(H100, load=LOADS[self.load])]
        if n_boards == 2:
            boards.append(replace(OTHER, load=LOADS[self.load]))
        boards[-1] = replace(boards[-1], processes=tuple(GpuProcess(pid, 4_000_000_000) for pid in pids))
        write_config(self.scratch / "boards.conf", boards)

    def command(self, *arguments: str) -> list[str]:
        """`harness ...`."""
        return [sys.executable, "-m", "harness", *arguments]

    @property
    def environment(self) -> Mapping[str, str]:
        """In which a process sees the boards."""
        return {**os.environ, **self._environment}

    def run(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """`harness ...` to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.scratch,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
