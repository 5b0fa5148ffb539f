"""A user's folder of images or sounds: with a table that lists them, or as it is.

photos/metadata.csv, photos/metadata.jsonl      lists them; or the only CSV or JSONL file there
photos/                                         else all of them by name, without references
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.prompts.file import read_table
from harness.prompts.inputs import task_prompts
from harness.prompts.media import PLURALS, SUFFIXES, media_kind
from harness.prompts.rows import Table
from harness.prompts.sets import ordered
from harness.records import InputColumns, PromptSet

LISTS = ("metadata.csv", "metadata.jsonl")
LIST_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class FolderSource:
    """One folder, the task whose inputs are in it, and the column that names them (None: the task's)."""

    path: Path
    inputs: InputColumns
    column: str | None = None

    def load(self, seed: int | None) -> PromptSet:
        """Everything in it in the order that `seed` gives it; None: as it is listed, or by name.

        Raises:
            UsageError: Nothing in it that the task takes, several tables, or a table that cannot be read, without
                the task's columns or with files that are not there.
        """
        source = str(self.path) if self.column is None else f"{self.path}:{self.column}"
        listed = self._list()
        table = self._unlisted() if listed is None else read_table(listed, whole=True)
        return ordered(self.path.resolve().name, source, task_prompts(table, self.inputs, self.column), seed)

    def _list(self) -> Path | None:
        for name in LISTS:
            if (self.path / name).is_file():
                return self.path / name
        found = [file for file in self._files() if file.suffix.lower() in LIST_SUFFIXES]
        if len(found) > 1:
            raise UsageError(
                f"{self.path} holds several tables: {', '.join(file.name for file in found)}.",
                f"Name the one to be read, or call it {LISTS[0]}.",
            )
        return found[0] if found else None

    def _unlisted(self) -> Table:
        column = self.inputs.media[0]
        names = [file.name for file in self._files() if media_kind(file.name) == self.inputs.media_kind]
        if not names and self.inputs.media_kind is not None:
            suffixes = ", ".join(SUFFIXES[self.inputs.media_kind])
            inner = self._folders()
            step = f"Name the folder that they are in (such as {inner[0]}), put" if inner else "Put"
            raise UsageError(
                f"{self.path} holds no {PLURALS[self.inputs.media_kind]} ({suffixes}), and no table that lists some.",
                f"{step} them there, or a {LISTS[0]} whose column {column} names them.",
            )
        rows = [(number, {"prompt_id": name, column: name}) for number, name in enumerate(names, start=1)]
        columns = ("prompt_id", column)
        return Table(origin=str(self.path), unit="file", rows=rows, columns=columns, folder=self.path)

    def _files(self) -> list[Path]:
        return [file for file in self._shown() if file.is_file()]

    def _folders(self) -> list[Path]:
        return [folder for folder in self._shown() if folder.is_dir()]

    def _shown(self) -> list[Path]:
        """By name; hidden ones are some program's own."""
        try:
            found = sorted(self.path.iterdir())
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}.", "Check its permissions.") from error
        return [each for each in found if not each.name.startswith(".")]
