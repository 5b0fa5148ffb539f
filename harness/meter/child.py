"""How a process of our own is started: by a module's name, with nothing on its path that only lies around."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import harness


def command(module: str, *arguments: str) -> list[str]:
    """The command line. `-P`: a `json.py` in the working directory must not be imported in place of Python's own."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's, in which the package is also found if it was imported from a checkout that is not installed."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # An empty entry, as `PYTHONPATH=$PYTHONPATH:...` leaves one, is the working directory.
    search_path = os.pathsep.join([str(Path(harness.__file__).parents[1]), *filter(None, named)])
    return {**os.environ, "PYTHONPATH": search_path}
