"""RUN, as a gate takes it: a run directory, and a model where it holds several.

Knows where runs lie. Must not know what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.store.run_directory import run_path

GATE_FILE = "gate.yaml"
"""Lies beside the runs of one gate measurement, whose repeats were measured in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRun:
    """A run directory, and the model that was named with it; None: the only one in it."""

    path: Path
    model: str | None = None

    @property
    def words(self) -> str:
        """As one would type it."""
        is_part = (self.path.parent / GATE_FILE).is_file()
        name = f"{self.path.parent.name}/{self.path.name}" if is_part else self.path.name
        return name if self.model is None else f"{name}:{self.model}"


def named_run(name: str, output_dir: Path) -> NamedRun:
    """RUN, or RUN:MODEL where it holds several.

    Args:
        name: A path, a run id, or latest; then a model's name after a colon.
        output_dir: Where run ids are looked up.

    Raises:
        UsageError: There is no such run.
    """
    try:
        return NamedRun(path=run_path(name, output_dir, measured=True).resolve())
    except UsageError:
        run, colon, model = name.partition(":")
        if not colon or not run or not model:
            raise
        return NamedRun(path=run_path(run, output_dir, measured=True).resolve(), model=model)
