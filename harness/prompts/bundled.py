"""A user's own prompts as a bundle has them: a row each, under the task's own names of columns.

Images and sounds are never in it. Their names and the sha256 of what they hold are, so that whoever has the bundle can
recompute the set's digest and judge the answers again, and whoever has the files can see that they are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.prompts.file import read_table
from harness.prompts.inputs import task_prompts
from harness.prompts.media import recorded_media
from harness.prompts.rows import prompts_of
from harness.records import InputColumns, Prompt

TEXT_INPUTS = InputColumns(text=("text",), reference=("reference",))


def write_prompts(path: Path, prompts: Sequence[Prompt], inputs: InputColumns | None) -> None:
    """Write a set in the order in which its prompts are given.

    Args:
        path: A new `.jsonl` file.
        prompts: The set, in stored order.
        inputs: Of the task; None: a text is continued.
    """
    rows = (_row(prompt, inputs or TEXT_INPUTS) for prompt in prompts)
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def read_prompts(path: Path, inputs: InputColumns | None) -> list[Prompt]:
    """What `write_prompts` has written; of images and sounds the name and the sha256.

    Raises:
        UsageError: It cannot be read as that.
    """
    table = read_table(path)
    return prompts_of(table) if inputs is None else task_prompts(table, inputs, media=recorded_media)


def _row(prompt: Prompt, inputs: InputColumns) -> dict[str, object]:
    row: dict[str, object] = {"prompt_id": prompt.prompt_id}
    if prompt.media is not None:
        row[inputs.media[0]] = {"path": prompt.media.name, "sha256": prompt.media.sha256}
    if inputs.text:
        row[inputs.text[0]] = prompt.text
    if inputs.text_pair:
        row[inputs.text_pair[0]] = prompt.text_pair
    if inputs.reference:
        row[inputs.reference[0]] = prompt.reference
    return {**row, "scorer": prompt.scorer, "kind": prompt.kind, "level": prompt.level}
