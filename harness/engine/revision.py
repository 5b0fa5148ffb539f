"""Which exact version of a model is meant: a commit on the Hub, or the sha256 of files on this machine.

A cell is named by it before anything is loaded, so this module must not import torch or transformers. The
Hub's client is imported when a Hub model is first asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from harness.engine.hub import hub_fault, huggingface_hub, is_answer, unreachable
from harness.engine.layout import parts
from harness.engine.source import ModelSource, locate
from harness.errors import ModelUnavailable, UsageError

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20

_file_hashes: dict[tuple[str, int, int], str] = {}
"""(path, bytes, modified at, ns) -> sha256, so that a process reads each file once: naming a cell and loading
its model both ask. Nothing is kept on disk, where it could outlive what it describes."""


def resolve_revision(source: str, revision: str | None = None) -> str:
    """The commit (40 hex digits) of a Hub model, or the sha256 (64 hex digits) of local files.

    A commit is returned as it is, without asking anybody. A snapshot directory inside the Hub's own cache is
    known by its commit, without reading its files. Any other directory is read whole: about a second per
    gigabyte.

    Args:
        source: Hub name, directory or GGUF file.
        revision: Branch, tag, commit or an earlier answer; None: the main branch.

    Raises:
        UsageError: A local model is asked for at a revision that its files do not have; no such revision.
        ModelUnavailable: Missing, gated, or neither reachable nor in the local cache.
        EnvironmentFault: The Hub's client is not installed.
    """
    where = locate(source)
    if where.path is None:
        return _commit_on_hub(where.name, revision or DEFAULT_REVISION)
    found = _snapshot_commit(where) or _hash_of_files(where)
    if revision not in (None, DEFAULT_REVISION, found):
        changed = _SHA256.fullmatch(revision or "")
        raise UsageError(
            f"The files of {source} are at {found[:12]}…, not at {(revision or '')[:12]}…"
            if changed
            else f"{source} is on this machine and has no revision {revision!r}.",
            "The files were changed since: restore them, or start a new run."
            if changed
            else "Leave the revision out: the files' own sha256 is recorded.",
        )
    return found


def _commit_on_hub(name: str, revision: str) -> str:
    """The commit that `revision` names now, or named when it was last downloaded if there is no network."""
    if _COMMIT.fullmatch(revision):
        return revision
    hub = huggingface_hub()
    try:
        commit = hub.HfApi().model_info(name, revision=revision).sha
    except (OSError, hub.errors.HTTPError) as error:
        cached = _cached_commit(Path(hub.constants.HF_HUB_CACHE), name, revision)
        if is_answer(error) or cached is None:
            raise hub_fault(error, name, revision) or unreachable(name, revision) from error
        return cached
    if not commit:
        raise ModelUnavailable(
            f"The Hub names no commit for {name} at {revision}.", f"Pin one: `--model {name}@COMMIT`."
        )
    return str(commit)


def _cached_commit(cache: Path, name: str, revision: str) -> str | None:
    """What the Hub's cache noted when this revision was last downloaded; None: it never was."""
    folder = cache / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else ""
    return commit if (folder / "snapshots" / commit).is_dir() and _COMMIT.fullmatch(commit) else None


def _snapshot_commit(where: ModelSource) -> str | None:
    """The commit of a directory that is a snapshot in the Hub's cache, whose files are named by their hash."""
    path = (where.path or Path()).absolute()
    folder = path.parent if where.gguf_file else path
    is_snapshot = folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir()
    return folder.name if is_snapshot and _COMMIT.fullmatch(folder.name) else None


def _hash_of_files(where: ModelSource) -> str:
    """sha256 over the names and contents of a model's files."""
    root = where.path or Path()
    digest = hashlib.sha256()
    n_files = 0
    for path in [root] if where.gguf_file else _files(root):
        name = path.name if where.gguf_file else path.relative_to(root).as_posix()
        digest.update(f"{name}\0{_hash_of_file(path)}\n".encode())
        n_files += 1
    if n_files == 0:
        what = "holds none of the files that a model is loaded from" if any(root.iterdir()) else "is an empty directory"
        raise ModelUnavailable(f"{where.name} {what}.", "Download the model into it again.")
    return digest.hexdigest()


LOADED_SUFFIXES = {
    ".json",
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".model",
    ".txt",
    ".jinja",
    ".py",
    ".tiktoken",
    ".gguf",
}
"""What a model's directory is loaded from. Logs, results and checkpoints of a training are not the model."""


def _files(root: Path) -> Iterator[Path]:
    """The files at the top of `root` that a model can be loaded from, by name, then those of its parts' folders.

    Not hidden ones, and no folder that the model does not name.
    """
    for folder in (root, *(root / part for part in parts(root) if (root / part).is_dir())):
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.is_file() and path.suffix in LOADED_SUFFIXES and not path.name.startswith("."):
                yield path


def _hash_of_file(path: Path) -> str:
    status = path.stat()
    key = (str(path.absolute()), status.st_size, status.st_mtime_ns)
    if key not in _file_hashes:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        _file_hashes[key] = digest.hexdigest()
    return _file_hashes[key]
