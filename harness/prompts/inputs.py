"""From a table's rows to the inputs of a task: its text, the second text, its image or sound, and the reference.

Which columns these are is the task's to say. A row is refused where it cannot be read at all; what the model could not
work with, such as an empty text or a damaged picture, is left to its own query, which fails with its reason.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from harness.errors import UsageError
from harness.prompts.media import PLURALS, media_kind, media_of
from harness.prompts.rows import (
    Table,
    first_column,
    ids_of,
    is_encodable,
    kind_of_value,
    labels_of,
    scorer_of,
    unknown_column,
)
from harness.records import InputColumns, Media, Prompt

ReadMedia = Callable[[Table, str], Sequence[Media]]


def taken(inputs: InputColumns | None) -> str:
    """What a task takes, in words: `an image`."""
    if inputs is None:
        return "a text"
    kinds = {"image": "an image", "audio": "a sound", None: "a file"}
    texts = ["two texts"] if inputs.text and inputs.text_pair else ["a text"] if inputs.text else []
    return " and ".join([*([kinds[inputs.media_kind]] if inputs.media else []), *texts])


def task_prompts(
    table: Table, inputs: InputColumns, main_column: str | None = None, *, media: ReadMedia = media_of
) -> list[Prompt]:
    """One prompt per row, in stored order. Without an id column, ids are positions: 00001, 00002.

    Args:
        table: The rows.
        inputs: The task's columns.
        main_column: That of the images or sounds, of a task without them that of the texts; None: the task's.
        media: How a row's image or sound is found.

    Raises:
        UsageError: A column that the task needs is missing; a text that is none; a file that is not there, or of
            the other kind; an id that stands twice; a scorer that has nothing to compare with.
    """
    if not table.rows:
        return []
    media_column = _column(table, inputs, inputs.media, main_column) if inputs.media else None
    text_column = _column(table, inputs, inputs.text, None if inputs.media else main_column) if inputs.text else None
    pair_column = _column(table, inputs, inputs.text_pair) if inputs.text_pair else None
    used = {media_column, text_column, pair_column}
    references = (first_column(table, [name.casefold()]) for name in inputs.reference)
    reference_column = next((column for column in references if column is not None and column not in used), None)
    scorer_column = first_column(table, ["scorer"])
    files = [None] * len(table.rows) if media_column is None else media(table, media_column)
    _refuse_other_kind(table, inputs, files)
    prompts = []
    for (number, row), prompt_id, file in zip(table.rows, ids_of(table), files, strict=True):
        place = table.place(number)
        reference = None if reference_column is None else _reference(row.get(reference_column), reference_column, place)
        if scorer_column is not None:
            scorer = scorer_of(row, scorer_column, reference, place)
        else:
            scorer = None if reference is None else inputs.scorer
        kind, level = labels_of(row)
        prompts.append(
            Prompt(
                prompt_id=prompt_id,
                text="" if text_column is None else _text(row.get(text_column), text_column, place),
                text_pair=None if pair_column is None else _text(row.get(pair_column), pair_column, place),
                media=file,
                reference=reference,
                scorer=scorer,
                kind=kind,
                level=level,
            )
        )
    return prompts


def _column(table: Table, inputs: InputColumns, names: Sequence[str], named: str | None = None) -> str:
    """The column that was named, else the first of the task's that exists, in whatever case it is written."""
    if named is not None:
        if named not in table.columns:
            raise unknown_column(table, named)
        return named
    found = first_column(table, (name.casefold() for name in names))
    if found is not None:
        return found
    near = [close for column in table.columns for close in difflib.get_close_matches(column.casefold(), names, n=1)]
    hint = f"Is one of them misspelt for {near[0]!r}? " if near else ""
    if names is inputs.text_pair:
        step = f"Rename the column with the second text to {names[0]!r}."
    else:
        step = "Name the column: `--prompts SOURCE:COLUMN`."
        if names is inputs.media:
            step = f"{step} It holds the files' paths; a folder of {_plural(inputs)} does without."
    raise UsageError(
        f"{table.origin} has none of the columns {', '.join(names)}, and this task takes {taken(inputs)}.",
        f"{hint}{step} Its columns: {', '.join(table.columns)}.",
    )


def _refuse_other_kind(table: Table, inputs: InputColumns, files: Iterable[Media | None]) -> None:
    """Refuse a set of sounds for a task that takes images, and the other way round."""
    kinds = {media_kind(file.name) for file in files if file is not None}
    if len(kinds) == 1 and not kinds & {None, inputs.media_kind}:
        (kind,) = kinds
        raise UsageError(
            f"{table.origin} names {PLURALS[kind] if kind else 'files'}, and this task takes {taken(inputs)}.",
            "Choose a task that takes them (`harness tasks`), or another set.",
        )


def _plural(inputs: InputColumns) -> str:
    return "files" if inputs.media_kind is None else PLURALS[inputs.media_kind]


def _text(value: object, column: str, place: str) -> str:
    """A text as it stands; an empty one is its query's to refuse."""
    if value is None:
        return ""
    step = f"Remove the row, or put a text into {column!r}."
    if not isinstance(value, str):
        raise UsageError(f"{place}: column {column!r} holds {kind_of_value(value)}, not text.", step)
    if not is_encodable(value):
        raise UsageError(f"{place}: column {column!r} holds half a surrogate pair, which is not text.", step)
    return value


def _reference(value: object, column: str, place: str) -> str | None:
    """A text or a number as it is written; lists and objects as the one JSON text that all formats agree on.

    An empty cell is no reference: a question that has no answer is written as an empty list.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        text = str(value)
    else:
        text = _canonical(value, column, place)
    if not is_encodable(text):
        raise UsageError(f"{place}: the reference holds half a surrogate pair, which is not text.", "Correct it.")
    return text or None


def _canonical(value: object, column: str, place: str) -> str:
    try:
        plain = _plain(value)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{place}: the reference in {column!r} cannot be written as JSON: {error}.",
            "Make it text, numbers, or lists and objects of them.",
        ) from error


def _plain(value: object) -> object:
    """With numbers in one form: a file of JSON says 2 or 2.50 where a table of floats says 2.0 or 2.5."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return int(value) if value == int(value) else float(value)
    return value
