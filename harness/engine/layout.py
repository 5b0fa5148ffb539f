"""Which folders of a model's directory are loaded with it: a pipeline's parts, a sentence model's modules.

Knows files that name folders. Must not know torch or the libraries that load them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PIPELINE_INDEX = "model_index.json"
"""Of a diffusion pipeline: its parts by name, each with the class that loads it, or null."""
SENTENCE_MODULES = "modules.json"
"""Of a sentence-transformers model: its modules in order, each with its folder, which is empty for the directory."""


def parts(root: Path) -> tuple[str, ...]:
    """Names of folders of `root` that hold a part of the model; none: it lies in `root` alone."""
    index = _read(root / PIPELINE_INDEX)
    if isinstance(index, dict):
        named = [name for name, found in index.items() if isinstance(found, list) and found and found[0]]
        return tuple(sorted(name for name in named if _is_folder_name(name)))
    modules = _read(root / SENTENCE_MODULES)
    if isinstance(modules, list):
        folders = {str(module.get("path") or "") for module in modules if isinstance(module, dict)}
        return tuple(sorted(name for name in folders if _is_folder_name(name)))
    return ()


def _is_folder_name(name: str) -> bool:
    """A pipeline's own settings begin with `_`; nothing outside of the directory is a part of it."""
    return bool(name) and name[0] not in "_." and not {"/", "\\"} & set(name)


def _read(path: Path) -> Any:
    """What a JSON file holds; None where there is none that can be read: whoever loads the model will say so."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
