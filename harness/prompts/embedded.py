"""The sets that ship with the package: `chains` for the embedded model, `everyday` for real ones, one for each task.

    NAME.jsonl              texts
    NAME/metadata.jsonl     images or sounds, named in it, beside it

They are stored in a stratified nested order: kinds and levels alternate so that the first n prompts are a fair
sample of all, for every n. They are therefore taken in that order whatever the seed; shuffling them would make a
small sample less fair, not more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable

from harness.errors import UnknownName
from harness.prompts.file import jsonl_table
from harness.prompts.inputs import task_prompts
from harness.prompts.media import MediaKind, media_kind
from harness.prompts.rows import Table, prompts_of
from harness.prompts.sets import ordered
from harness.records import InputColumns, PromptSet

SUFFIX = ".jsonl"
LIST = "metadata.jsonl"


def names() -> tuple[str, ...]:
    """The embedded sets."""
    return tuple(sorted(item.name.removesuffix(SUFFIX) for item in _folder().iterdir() if _is_set(item)))


def kind_in(name: str) -> MediaKind | None:
    """What an embedded set holds; None: texts alone."""
    folder = _folder() / name
    if not folder.is_dir():
        return None
    return next((kind for item in folder.iterdir() if (kind := media_kind(item.name)) is not None), None)


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """One embedded set, by name, for a task (None: a text is continued)."""

    name: str
    inputs: InputColumns | None = None

    def load(self, seed: int | None) -> PromptSet:  # noqa: ARG002 - the stored order is the nested one
        """The whole set in its stored order. The seed has no influence.

        Raises:
            UnknownName: There is no such set.
            UsageError: It has not what the task takes, or the package's copy is damaged.
        """
        if self.name not in names():
            raise UnknownName("embedded prompt set", self.name, names())
        table = self._table()
        prompts = prompts_of(table) if self.inputs is None else task_prompts(table, self.inputs)
        return ordered(self.name, f"embedded:{self.name}", prompts, seed=None)

    def _table(self) -> Table:
        folder = _folder() / self.name
        if not folder.is_dir():
            file = self.name + SUFFIX
            return jsonl_table((_folder() / file).read_bytes(), f"embedded {file}")
        table = jsonl_table((folder / LIST).read_bytes(), f"embedded {self.name}/{LIST}")
        return replace(table, folder=folder)


def _folder() -> Traversable:
    return files("harness") / "assets" / "prompts"


def _is_set(item: Traversable) -> bool:
    return (item.name.endswith(SUFFIX) and item.is_file()) or (item.is_dir() and (item / LIST).is_file())
