"""Weights brought into the Hub's cache before anything is measured: on a login node, or ahead of a sweep.

Only the files that are loaded: one format of weights, not all that a repository holds, and of a diffusion pipeline the
folders of its parts. Must not know torch or transformers; the client is imported on first use.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine.hub import hub_fault, huggingface_hub, unreachable
from harness.engine.layout import PIPELINE_INDEX, parts
from harness.engine.revision import DEFAULT_REVISION
from harness.engine.source import locate
from harness.errors import StorageFull

NOT_LOADED = (
    *("*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.ot", "*.tflite", "*.mlmodel", "*.gguf", "*.pdf", "*.png"),
    *("*.jpg", "*.gif", "*.mp4", "original/*", "onnx/*", "openvino/*", "coreml/*", "metal/*", "consolidated*"),
)
"""Files of other frameworks, and pictures."""
SECOND_CHOICE = ("*.bin", "*.pt", "*.pth")
"""Weights that are loaded only where there are no safetensors."""
VARIANTS = ("*/*.*.safetensors", "*/*.*.bin", "*.ckpt")
"""Of a pipeline: the same weights once more in another precision (`unet/model.fp16.safetensors`), or in one file."""
ROOM = 1.05
"""A download needs its bytes and a little more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One model's files on this machine."""

    source: str
    revision: str
    """Commit."""
    path: Path
    n_bytes: int | None
    """Of all files that are loaded; None: the Hub does not say it of each."""
    n_bytes_downloaded: int | None
    """Of those that were not here before; None: some came, and the Hub does not say it of each."""


def fetch(source: str, revision: str = DEFAULT_REVISION) -> Fetched | None:
    """Download what is missing of a model; None: it lies on this machine already, in a place of its own.

    Args:
        source: Hub name, directory or GGUF file.
        revision: Branch, tag or commit.

    Raises:
        ModelUnavailable: Missing, gated, or neither reachable nor in the cache.
        UsageError: No such revision, or a name that is none.
        StorageFull: It would not fit onto the disk of the cache.
        EnvironmentFault: The Hub's client is not installed.
    """
    if source.startswith("embedded:") or locate(source).path is not None:
        return None
    hub = huggingface_hub()
    constants = importlib.import_module("huggingface_hub.constants")
    try:
        if constants.is_offline_mode():
            path = _whole_here(hub, source, revision)
            return Fetched(source=source, revision=path.name, path=path, n_bytes=_n_bytes(path), n_bytes_downloaded=0)
        listed = hub.snapshot_download(source, revision=revision, ignore_patterns=list(NOT_LOADED), dry_run=True)
        names = [str(file.filename) for file in listed]
        patterns = _patterns(names, _pipeline_parts(hub, source, revision) if PIPELINE_INDEX in names else ())
        wanted = hub.snapshot_download(source, revision=revision, **patterns, dry_run=True)
        missing = [file for file in wanted if file.will_download]
        n_known = sum(file.file_size for file in missing if file.file_size is not None)
        _refuse_without_room(Path(constants.HF_HUB_CACHE), n_known, source)
        # By its branch and not its commit: only then the cache notes what the branch is, for whoever is offline.
        path = Path(hub.snapshot_download(source, revision=revision, **patterns))
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        fault = hub_fault(error, source, revision)
        if fault is None:
            raise
        raise fault from error
    return Fetched(
        source=source,
        revision=path.name,
        path=path,
        n_bytes=_total(wanted),
        n_bytes_downloaded=_total(missing),
    )


def _whole_here(hub: Any, source: str, revision: str) -> Path:
    """The snapshot in the cache, with its weights in one format or the other.

    Raises:
        ModelUnavailable: It is not there, or only a part of it.
    """
    reason: Exception | None = None
    pipeline = _pipeline_parts(hub, source, revision)
    for suffix in (".safetensors", ".bin"):
        patterns = _patterns([f"{part}/weights{suffix}" for part in (pipeline or ("",))], pipeline)
        try:
            found = hub.snapshot_download(source, revision=revision, **patterns, local_files_only=True)
        except (OSError, ValueError) as error:  # nothing of it, or a file is missing
            reason = error
            continue
        if any(Path(found).glob(f"*/*{suffix}" if pipeline else f"*{suffix}")):
            return Path(found)
    raise unreachable(source, revision) from reason


def _pipeline_parts(hub: Any, source: str, revision: str) -> tuple[str, ...]:
    """The folders of a diffusion pipeline; none: it is no such thing, or is not here while there is no network."""
    try:
        return parts(Path(hub.hf_hub_download(source, PIPELINE_INDEX, revision=revision)).parent)
    except hub.errors.EntryNotFoundError:
        return ()


def _patterns(names: Iterable[str], pipeline: tuple[str, ...]) -> dict[str, list[str]]:
    """Keywords of the client's `snapshot_download`.

    Args:
        names: Of the repository's files.
        pipeline: The folders of a diffusion pipeline, each with weights of its own; empty for any other model.
    """
    safe = {name.rpartition("/")[0] for name in names if name.endswith(".safetensors")}
    if not pipeline:
        return {"ignore_patterns": [*NOT_LOADED, *(SECOND_CHOICE if safe else ())]}
    second = [f"{part}/{pattern}" for part in pipeline if part in safe for pattern in SECOND_CHOICE]
    return {
        "allow_patterns": ["*.json", "*.py", *(f"{part}/*" for part in pipeline)],
        "ignore_patterns": [*NOT_LOADED, *VARIANTS, *second],
    }


def gigabytes(n_bytes: int | None) -> str:
    """A size in words."""
    return "an unknown size" if n_bytes is None else f"{n_bytes / 1e9:,.2f} GB"


def _total(files: list[Any]) -> int | None:
    sizes = [file.file_size for file in files]
    return None if None in sizes else sum(sizes)


def _n_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _refuse_without_room(cache: Path, n_bytes: int, source: str) -> None:
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    n_free = shutil.disk_usage(there).free
    if n_bytes * ROOM > n_free:
        raise StorageFull(
            f"{source} needs {n_bytes / 1e9:,.1f} GB more, and {n_free / 1e9:,.1f} GB are free under {there}.",
            "Make room, or set HF_HOME to a larger disk.",
        )
