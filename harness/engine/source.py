"""What a model's name means: a repository on the Hub, a directory, or a GGUF file on this machine.

Knows paths and the form of Hub names. Must not know torch, transformers or the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelUnavailable, UsageError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_LONGEST_HUB_NAME = 96
"""Characters; the Hub's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model is. `path` is None for one on the Hub; `gguf_file` is set where the path is such a file."""

    name: str
    path: Path | None
    gguf_file: str | None = None

    @property
    def location(self) -> str:
        """What transformers is given as the model's name: a Hub name or a directory."""
        if self.path is None:
            return self.name
        return str(self.path.parent if self.gguf_file else self.path)


def locate(source: str) -> ModelSource:
    """Tell a Hub name from a directory and a GGUF file. What exists on this machine comes first.

    Raises:
        ModelUnavailable: It reads like a path, and nothing is there.
        UsageError: It is neither a path nor a possible name on the Hub, or a file of another kind.
    """
    path = Path(source).expanduser()
    if source and path.is_dir():  # an empty name would be the current directory
        return ModelSource(name=source, path=path)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise UsageError(
                f"{source} is a file, and not a .gguf one.",
                "Give the model's directory (the one with config.json), a .gguf file, or a name on the Hub.",
            )
        return ModelSource(name=source, path=path, gguf_file=path.name)
    if source.startswith(("/", "./", "../", "~")) or path.suffix.lower() == ".gguf":
        raise ModelUnavailable(
            f"There is no model at {source}: no such file or directory.",
            "Check the path; a relative one starts at the directory in which the command runs.",
        )
    if not _HUB_NAME.fullmatch(source) or ".." in source or len(source) > _LONGEST_HUB_NAME:
        raise UsageError(
            f"{source!r} is neither a path on this machine nor a possible name on the Hub.",
            "A Hub name looks like Qwen/Qwen3-0.6B; `harness models` lists the known ones.",
        )
    return ModelSource(name=source, path=None)
