"""Public prompt sets by name: where their rows are and how a row becomes a prompt. The facts are in `hub.yaml`.

The rows come from the Hub, or from a copy of the set's file (`NAME=FILE`, for machines without a network). The
same rows in the same order give the same sha256 either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml

from harness.errors import UsageError
from harness.prompts.file import read_table
from harness.prompts.inputs import task_prompts
from harness.prompts.rows import Table, prompts_of, unknown_column
from harness.prompts.sets import ordered
from harness.records import InputColumns, Prompt, PromptSet, Record

LETTERS = "ABCDEFGHIJ"


class NamedSet(Record):
    """One entry of `hub.yaml`, whose head says what the fields mean."""

    repository: str
    split: str
    configuration: str | None = None
    text: str | None = None
    text_pair: str | None = None
    media: str | None = None
    media_kind: Literal["image", "audio"] | None = None
    reference: str | None = None
    wrong: tuple[str, ...] = ()
    prompt_id: str | None = None
    scorer: str | None = None
    suffix: str = ""
    gated: bool = False
    republish: bool = True

    @property
    def main_column(self) -> str | None:
        """Its images or sounds, else its texts."""
        return self.media or self.text

    @property
    def columns(self) -> InputColumns:
        """Its own columns, as those of a task that takes just these."""
        return InputColumns(
            text=(self.text,) if self.text is not None else (),
            text_pair=(self.text_pair,) if self.text_pair is not None else (),
            media=(self.media,) if self.media is not None else (),
            media_kind=self.media_kind,
            reference=(self.reference,) if self.reference is not None else (),
            scorer=self.scorer,
        )


@cache
def named_sets() -> Mapping[str, NamedSet]:
    """Every named set."""
    entries = yaml.safe_load((files("harness") / "assets" / "prompts" / "hub.yaml").read_text("utf-8"))
    return {name: NamedSet.model_validate(entry) for name, entry in entries.items()}


@dataclass(frozen=True, slots=True)
class NamedFileSource:
    """A named set, read from a copy of its file, for a task (None: a text is continued)."""

    name: str
    path: Path
    inputs: InputColumns | None = None

    def load(self, seed: int | None) -> PromptSet:
        """The whole set in the order that `seed` gives it; None: as it is stored.

        Raises:
            UsageError: No such file, a file without the set's columns, or an empty one.
        """
        table = read_table(self.path, whole=self.inputs is not None)
        prompts = named_prompts(named_sets()[self.name], table, self.inputs)
        return ordered(self.name, f"{self.name}={self.path}", prompts, seed)


def named_prompts(named: NamedSet, table: Table, inputs: InputColumns | None = None) -> list[Prompt]:
    """The rows of a named set as prompts, in stored order.

    Args:
        named: The set.
        table: Its rows.
        inputs: Of the task that it is for; None: a text is continued.

    Raises:
        UsageError: A column of the set is missing, or a row is empty or not text.
    """
    if not table.rows:
        return []
    for column in (named.text, named.text_pair, named.media, named.reference, named.prompt_id, *named.wrong):
        if column is not None and column not in table.columns:
            raise unknown_column(table, column)
    rows = [(number, _row(named, row, table.place(number))) for number, row in table.rows]
    made = replace(table, rows=rows, columns=tuple(rows[0][1]))
    return prompts_of(made, named.text) if inputs is None else task_prompts(made, named.columns)


def _row(named: NamedSet, row: Mapping[str, object], place: str) -> dict[str, object]:
    made: dict[str, object] = {column: row.get(column) for column in (named.text_pair, named.media) if column}
    if named.text is None:
        return made
    text = row.get(named.text)
    if named.prompt_id is not None:
        made["prompt_id"] = row.get(named.prompt_id)
    if named.reference is not None:
        made |= {"reference": row.get(named.reference), "scorer": named.scorer}
    if isinstance(text, str) and text.strip():  # anything else is refused later, by its row
        parts = [text.strip()]
        if named.wrong and named.reference is not None:
            options, made["reference"] = _lettered(row, named.reference, named.wrong, place)
            parts.append(options)
        text = "\n\n".join([*parts, named.suffix] if named.suffix else parts)
    return {**made, named.text: text}


def _lettered(row: Mapping[str, object], right: str, wrong: tuple[str, ...], place: str) -> tuple[str, str]:
    """The options under letters, and the right one's letter.

    They are sorted by a hash of question and option: no letter is preferred, and the order is the same
    on every machine, for every seed.
    """
    options: list[tuple[str, str]] = []
    for column in (right, *wrong):
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{place}: column {column!r} holds no option.", "Check the file against the original.")
        options.append((column, value.strip()))
    everything = "\n".join(text for _, text in options)
    options.sort(key=lambda option: hashlib.sha256(f"{everything}\n{option[0]}".encode()).digest())
    lines = [f"{letter}) {text}" for letter, (_, text) in zip(LETTERS, options, strict=False)]
    return "\n".join(lines), LETTERS[[column for column, _ in options].index(right)]
