"""Which weights a server serves, where their files are on this machine. Reads headers, and hashes files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine.precision import plain_word, quantization_word
from harness.engine.revision import resolve_revision
from harness.engine.source import ModelSource, locate
from harness.errors import HarnessError

_HEADER_BYTES_MOST = 1 << 28
_STORED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Storage types of safetensors in which a number is a parameter."""
_PIN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWeights:
    """What the files say. None: there are none here, or they do not say."""

    revision: str | None = None
    precision: str | None = None
    n_parameters: int | None = None
    context_length: int | None = None
    weights_format: str | None = None


def weights_of(weights_dir: str | None, root: str | None, cwd: Path | None, *, same_machine: bool) -> ServedWeights:
    """Read what a server serves.

    Args:
        weights_dir: Where the user says that the weights are.
        root: Where the server says so; it may be a Hub name.
        cwd: Where the server's relative paths begin.
        same_machine: The server sees the same files: it was started here, and in no container.

    Raises:
        ModelUnavailable: The user's directory is not there.
        UsageError: It is no model's.
    """
    if weights_dir is not None:
        where = locate(str(Path(weights_dir).expanduser().absolute()))
        return _read(where)
    if root is None:
        return ServedWeights()
    path = (cwd or Path()) / Path(root).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".gguf"):
        try:
            return _read(locate(str(path)))
        except (HarnessError, OSError):  # no model after all, or not readable by this user
            return ServedWeights()
    return _in_cache(root) if same_machine else ServedWeights()


def _in_cache(name: str) -> ServedWeights:
    """A model of the Hub, as the server that has just loaded it left it in the cache of this user."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return ServedWeights()
    repository, _, revision = name.partition("@")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    commit = revision
    if not _PIN.fullmatch(revision):
        try:
            commit = (folder / "refs" / (revision or "main")).read_text().strip()
        except OSError:
            return ServedWeights()
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        return ServedWeights()
    return _read(locate(str(snapshot)))


def _read(where: ModelSource) -> ServedWeights:
    path = where.path or Path()
    revision = resolve_revision(str(path))
    if where.gguf_file is not None:
        return ServedWeights(revision=revision, weights_format="gguf")
    config = _json(path / "config.json")
    declared = config.get("quantization_config")
    quantization = declared if isinstance(declared, dict) else None
    elements = _elements(path)
    plain = bool(elements) and quantization is None and set(elements) <= set(_STORED)
    return ServedWeights(
        revision=revision,
        precision=_dtype(config) if quantization is None else quantization_word(quantization),
        n_parameters=sum(elements.values()) if plain else None,
        context_length=_positions(config),
        weights_format="safetensors" if elements else None,
    )


def _dtype(config: Mapping[str, Any]) -> str | None:
    for part in _parts(config):
        for key in ("dtype", "torch_dtype"):
            if isinstance(part.get(key), str):
                return plain_word(part[key])
    return None


def _positions(config: Mapping[str, Any]) -> int | None:
    lengths = (part.get("max_position_embeddings") for part in _parts(config))
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def _parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    text = config.get("text_config")  # of models that see or hear, too
    return (config, text) if isinstance(text, dict) else (config,)


def _elements(directory: Path) -> dict[str, int]:
    """Numbers by storage type, from the headers of a directory's safetensors; a tensor that is in two files once."""
    shapes: dict[str, tuple[str, int]] = {}
    # Some repositories hold the weights a second time under another name.
    paths = sorted(directory.glob("model*.safetensors")) or sorted(directory.glob("*.safetensors"))
    for path in paths:
        for name, entry in _header(path).items():
            if isinstance(entry, dict) and "shape" in entry:
                shapes[name] = (str(entry.get("dtype")), math.prod(entry["shape"]))
    found: dict[str, int] = {}
    for stored, n in shapes.values():
        found[stored] = found.get(stored, 0) + n
    return found


def _header(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(n_bytes)) if n_bytes < _HEADER_BYTES_MOST else {}
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
