"""Names what an interpreter lacks of this project's requirements, ready for `pip install`.

Runs in the user's own interpreter, so it needs nothing beside the standard library.

    python scripts/missing_requirements.py pyproject.toml [EXTRA ...]
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path


def missing(requirements: list[str]) -> list[str]:
    """Those that are absent or older than their lower bound."""
    return [requirement for requirement in requirements if not _satisfied(requirement)]


def _satisfied(requirement: str) -> bool:
    name, _, bound = requirement.partition(">=")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(version) >= _numbers(bound)


def _numbers(version: str) -> list[int]:
    """The release, as numbers without trailing zeros: 2.13.0+cpu is [2, 13]."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in sys.argv[2:]:
        wanted += project["optional-dependencies"][extra]
    print(shlex.join(missing(wanted)))
