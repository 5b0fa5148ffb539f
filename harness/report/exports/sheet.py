"""CSV that a spreadsheet may open: text that would be a formula there is made harmless, and can be restored.

A cell that begins with `=`, `+`, `-`, `@`, their wide forms, a tab or a line break may be executed or change the table
when a spreadsheet opens it, and names of models and prompts come from elsewhere. Such text gets an apostrophe in
front; so does text that already begins with one, so that taking one apostrophe away restores every cell. Numbers are no
text and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

GUARD = "'"
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", GUARD)
DANGEROUS_START = f"^[{''.join(DANGEROUS).replace('-', '')}-]"
"""The same as a regular expression; a dash in a class stands last."""


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"{GUARD}{text}" if text.startswith(DANGEROUS) else text


def restored(text: str) -> str:
    """What `harmless` was given."""
    return text.removeprefix(GUARD)


def csv_of_rows(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same columns as CSV; None is an empty cell."""
    import pyarrow

    return _csv_of(pyarrow.Table.from_pylist(list(rows)))


def csv_of_frame(frame: pd.DataFrame) -> str:
    """A frame as CSV, column by column: a million queries take seconds. Missing is an empty cell."""
    import pyarrow

    return _csv_of(pyarrow.Table.from_pandas(frame, preserve_index=False))


def _csv_of(table: Any) -> str:
    """A pyarrow table as CSV."""
    import pyarrow
    from pyarrow import compute, csv

    columns = []
    for column in table.columns:
        if pyarrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pyarrow.types.is_null(column.type):
            column = column.cast(pyarrow.string())
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            guard, nothing = (pyarrow.scalar(text, column.type) for text in (GUARD, ""))
            guarded = compute.binary_join_element_wise(guard, column, nothing)
            column = compute.if_else(compute.match_substring_regex(column, DANGEROUS_START), guarded, column)
        columns.append(column)
    sink = pyarrow.BufferOutputStream()
    names = [harmless(name) for name in table.column_names]
    csv.write_csv(pyarrow.table(columns, names=names), sink, csv.WriteOptions(quoting_style="needed"))
    written: bytes = sink.getvalue().to_pybytes()
    return written.decode()
