"""What `--prompts` may say, and the source that it means.

    chains, everyday                    sets that ship with the package
    gsm8k, gsm8k@REVISION, ...          sets of the Hub by name (hub.yaml)
    gsm8k=FILE                          a named set, from a copy of its file
    hub:ID@REVISION:COLUMN:...          any data set of the Hub (hub.py)
    FILE, FILE:COLUMN                   a file of your own (file.py)

A name wins over a file of the same name; write `./chains` for the file.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from harness.errors import UnknownName, UsageError
from harness.prompts.embedded import EmbeddedSource
from harness.prompts.embedded import names as embedded_names
from harness.prompts.file import READERS, FileSource
from harness.prompts.hub import PREFIX, HubAddress, HubSource
from harness.prompts.named import NamedFileSource, named_sets
from harness.protocols import PromptSource

ELSEWHERE = f" Or a file (FILE or FILE:COLUMN; {', '.join(READERS)}), or {PREFIX}ID@REVISION:COLUMN."


def names() -> tuple[str, ...]:
    """Every set that has a name: the embedded ones first."""
    return (*embedded_names(), *named_sets())


def parse(spec: str) -> PromptSource:
    """The source that `spec` means. Nothing is read but whether a file exists.

    Raises:
        UsageError: A file that is not there, or a Hub address that does not follow the grammar.
        UnknownName: Neither a set's name nor a file.
    """
    if spec in embedded_names():
        return EmbeddedSource(spec)
    if spec.startswith(PREFIX):
        address = HubAddress.parse(spec)
        return HubSource(name=address.repository, address=address)
    name, at, revision = spec.partition("@")
    if name in named_sets() and bool(at) == bool(revision):
        return HubSource.of_named(name, named_sets()[name], revision or "main")
    name, equals, copy = spec.partition("=")
    if equals and name in named_sets():
        return NamedFileSource(name, _existing(copy))
    return _file(spec)


def named_in(spec: str) -> str:
    """`SET` of `SET=FILE`; anything else as it is."""
    name, equals, _ = spec.partition("=")
    return name if equals and name in named_sets() else spec


def is_of_a_file(spec: str) -> bool:
    """Whether a set is its user's own file, so that nobody else has it. Nothing is looked up."""
    name = named_in(spec)
    return not (name in embedded_names() or name.startswith(PREFIX) or name.partition("@")[0] in named_sets())


def _file(spec: str) -> FileSource:
    """`FILE` where such a file exists, else `FILE:COLUMN`: a path may hold a colon itself."""
    if _exists(spec):
        return FileSource(_existing(spec))
    path, colon, column = spec.rpartition(":")
    if colon and column and _exists(path):
        return FileSource(_existing(path), column)
    if "/" in spec or Path(spec.partition(":")[0]).suffix.lower() in READERS:
        return FileSource(_existing(path if colon and path else spec))
    raise UnknownName("prompt set", spec, names(), ELSEWHERE)


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # longer than a path can be, or with a null byte in it
        return False


def _existing(path: str) -> Path:
    file = Path(path)
    if not _exists(path):
        raise UsageError(f"There is no prompt file {path!r}.", f"Check the path.{_nearest(file)}")
    if not file.is_file():
        raise UsageError(f"{path!r} is not a file.", "Name one of the files in it.")
    return file


def _nearest(file: Path) -> str:
    try:
        beside = [item.name for item in file.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(file.name, beside, n=1)
    return f" Did you mean {str(file.parent / near[0])!r}?" if near else ""
