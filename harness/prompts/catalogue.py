"""What `--prompts` may say, and the source that it means.

    chains, everyday                    sets that ship with the package
    gsm8k, gsm8k@REVISION, ...          sets of the Hub by name (hub.yaml)
    gsm8k=FILE                          a named set, from a copy of its file
    hub:ID@REVISION:COLUMN:...          any data set of the Hub (hub.py)
    FILE, FILE:COLUMN                   a file of your own (file.py)
    FOLDER, FOLDER:COLUMN               a folder of images or sounds, for a task that takes them (folder.py)

A name wins over a file of the same name; write `./chains` for the file.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from harness.errors import UnknownName, UsageError
from harness.prompts.embedded import EmbeddedSource, kind_in
from harness.prompts.embedded import names as embedded_names
from harness.prompts.file import READERS, FileSource
from harness.prompts.folder import FolderSource
from harness.prompts.hub import PREFIX, HubAddress, HubSource
from harness.prompts.inputs import taken
from harness.prompts.media import PLURALS, MediaKind, media_kind
from harness.prompts.named import NamedFileSource, named_sets
from harness.protocols import PromptSource
from harness.records import InputColumns

ELSEWHERE = f" Or a file (FILE or FILE:COLUMN; {', '.join(READERS)}), or {PREFIX}ID@REVISION:COLUMN."


def names() -> tuple[str, ...]:
    """Every set that has a name: the embedded ones first."""
    return (*embedded_names(), *named_sets())


def parse(spec: str, inputs: InputColumns | None = None) -> PromptSource:
    """The source that `spec` means. Nothing is read but whether a file exists.

    Args:
        spec: As the module says.
        inputs: What the task takes; None: a text that is continued.

    Raises:
        UsageError: A file that is not there, a Hub address that does not follow the grammar, or a set of something
            else than the task takes.
        UnknownName: Neither a set's name nor a file.
    """
    if spec in embedded_names():
        _refuse_misfit(spec, inputs)
        return EmbeddedSource(spec, inputs)
    if spec.startswith(PREFIX):
        address = HubAddress.parse(spec)
        return HubSource(name=address.repository, address=address, inputs=inputs)
    name, at, revision = spec.partition("@")
    if name in named_sets() and bool(at) == bool(revision):
        _refuse_misfit(name, inputs)
        return HubSource.of_named(name, named_sets()[name], revision or "main", inputs=inputs)
    name, equals, copy = spec.partition("=")
    if equals and name in named_sets():
        _refuse_misfit(name, inputs)
        return NamedFileSource(name, _existing(copy), inputs)
    return _own(spec, inputs)


def named_in(spec: str) -> str:
    """`SET` of `SET=FILE`; anything else as it is."""
    name, equals, _ = spec.partition("=")
    return name if equals and name in named_sets() else spec


def is_of_a_file(spec: str) -> bool:
    """Whether a set is its user's own file, so that nobody else has it. Nothing is looked up."""
    name = named_in(spec)
    return not (name in embedded_names() or name.startswith(PREFIX) or name.partition("@")[0] in named_sets())


def _fitting(inputs: InputColumns | None) -> tuple[str, ...]:
    """The sets with a name that hold what a task takes: images, sounds, or texts alone."""
    wanted = None if inputs is None else inputs.media_kind
    return tuple(name for name in names() if _kind(name) == wanted)


def _kind(name: str) -> MediaKind | None:
    return named_sets()[name].media_kind if name in named_sets() else kind_in(name)


def _refuse_misfit(name: str, inputs: InputColumns | None) -> None:
    """Refuse a set with a name that holds something else than the task takes.

    Raises:
        UsageError: It does.
    """
    kind, named = _kind(name), named_sets().get(name)
    wanted = None if inputs is None else inputs.media_kind
    is_pair = named is not None and named.text_pair is not None
    takes_pairs = inputs is not None and bool(inputs.text_pair)
    if kind == wanted and (named is None or is_pair == takes_pairs):
        return
    holds = PLURALS[kind] if kind is not None else "pairs of texts" if is_pair else "texts"
    whose = "text generation" if inputs is None else "this task"
    raise UsageError(
        f"The prompt set {name} holds {holds}, and {whose} takes {taken(inputs)}.",
        f"Name a task that takes them (`harness tasks`), or another set: {', '.join(_fitting(inputs))}.",
    )


def _own(spec: str, inputs: InputColumns | None) -> PromptSource:
    """`FILE` where such a file exists, else `FILE:COLUMN`: a path may hold a colon itself."""
    if _exists(spec):
        return _of_path(spec, None, inputs)
    path, colon, column = spec.rpartition(":")
    if colon and column and _exists(path):
        return _of_path(path, column, inputs)
    if "/" in spec or Path(spec.partition(":")[0]).suffix.lower() in READERS:
        return FileSource(_existing(path if colon and path else spec))
    folder = "" if inputs is None or not inputs.media else " Or a folder of them (./FOLDER)."
    raise UnknownName("prompt set", spec, _fitting(inputs), folder + ELSEWHERE)


def _of_path(path: str, column: str | None, inputs: InputColumns | None) -> PromptSource:
    if inputs is not None and inputs.media:
        if Path(path).is_dir():
            return FolderSource(Path(path), inputs, column)
        if media_kind(path) is not None:
            raise UsageError(
                f"{path!r} is one file, and prompts are a set of them.", "Name the folder that it is in, or a table."
            )
    return FileSource(_existing(path), column, inputs)


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
