"""Stand-ins with random weights, made once and kept in the user's cache: real shapes where there is no download."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from harness.engine.chatter import Chatter
from harness.engine.checkpoint import without_progress_bars
from harness.engine.source import locate
from harness.engine.task.description import Task
from harness.errors import StorageFull, UsageError

RECIPE = "random-weights-1"
"""A stand-in's revision: what its shape is made by. Its weights are whatever the installed torch draws for seed 0."""
SEED = 0


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/inference-energy-harness/stand-ins`; a relative value is ignored, as its standard demands."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "inference-energy-harness" / "stand-ins"


def stand_in_path(task: Task, cache: Path | None = None) -> Path:
    """Where a task's stand-in lies; it is made if it is not there.

    Args:
        task: One that has a stand-in.
        cache: The folder of all; None: the user's.

    Raises:
        UsageError: The task has none.
        StorageFull: It cannot be written.
    """
    if task.stand_in is None:
        raise UsageError(f"There is no stand-in for {task.name}.", f"Name a model, such as --model {task.model}.")
    folder = cache or cache_directory()
    path = folder / f"{task.stand_in.name}-{RECIPE}-{_versions()}"
    if path.is_dir():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        try:
            quiet = without_progress_bars(locate(str(making)))
            with torch.random.fork_rng(devices=[]), Chatter().listening(), quiet:
                torch.manual_seed(SEED)
                task.stand_in.write(making)
            making.chmod(0o755)
            making.rename(path)
        except OSError:
            if not path.is_dir():  # otherwise another process was faster
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise StorageFull(
            f"The stand-in for {task.name} cannot be written to {folder}: {error.strerror}.",
            "Make room, or set XDG_CACHE_HOME to another disk.",
        ) from error
    return path


def _versions() -> str:
    """Of the libraries that write it: another version may write another layout."""
    found = []
    for name in ("torch", "transformers", "diffusers"):
        try:
            found.append(version(name).partition("+")[0])
        except PackageNotFoundError:
            continue
    return "-".join(found)
