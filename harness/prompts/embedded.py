"""The sets that ship with the package: `chains` for the embedded model, `everyday` for real ones.

They are stored in a stratified nested order: kinds and levels alternate so that the first n prompts are a fair
sample of all, for every n. They are therefore taken in that order whatever the seed; shuffling them would make a
small sample less fair, not more.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from harness.errors import UnknownName
from harness.prompts.file import jsonl_table
from harness.prompts.rows import prompts_of
from harness.prompts.sets import ordered
from harness.records import PromptSet

SUFFIX = ".jsonl"


def names() -> tuple[str, ...]:
    """The embedded sets."""
    return tuple(sorted(item.name.removesuffix(SUFFIX) for item in _folder().iterdir() if _is_set(item)))


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """One embedded set, by name."""

    name: str

    def load(self, seed: int | None) -> PromptSet:  # noqa: ARG002 - the stored order is the nested one
        """The whole set in its stored order. The seed has no influence.

        Raises:
            UnknownName: There is no such set.
            UsageError: The package's copy is damaged.
        """
        if self.name not in names():
            raise UnknownName("embedded prompt set", self.name, names())
        file = self.name + SUFFIX
        table = jsonl_table((_folder() / file).read_bytes(), f"embedded {file}")
        return ordered(self.name, f"embedded:{self.name}", prompts_of(table), seed=None)


def _folder() -> Traversable:
    return files("harness") / "assets" / "prompts"


def _is_set(item: Traversable) -> bool:
    return item.name.endswith(SUFFIX) and item.is_file()
