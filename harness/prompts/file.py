"""Prompts from a user's file: JSONL, JSON, CSV, plain text (a prompt a line) or Parquet.

`FILE` or `FILE:COLUMN`. Text is UTF-8, with or without a byte order mark. The file's order carries no meaning, so
prompts are taken in a random order that the seed fixes. Images and sounds are named in a column, by paths that begin
at the file's own folder.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from harness.errors import UsageError
from harness.prompts.inputs import task_prompts
from harness.prompts.rows import Table, columns_of, prompts_of
from harness.prompts.sets import ordered
from harness.records import InputColumns, PromptSet


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file, the column with the prompts (None: found by its name), and the task (None: a text is continued)."""

    path: Path
    column: str | None = None
    inputs: InputColumns | None = None

    def load(self, seed: int | None) -> PromptSet:
        """The whole file in the order that `seed` gives it; None: as it is stored.

        Raises:
            UsageError: No such file or column, a file that cannot be read as what its name says, a row that is
                empty or not text, a file that a row names and is not there, or an empty set.
        """
        source = str(self.path) if self.column is None else f"{self.path}:{self.column}"
        if self.inputs is None:
            prompts = prompts_of(read_table(self.path), self.column)
        else:
            prompts = task_prompts(read_table(self.path, whole=True), self.inputs, self.column)
        return ordered(self.path.stem, source, prompts, seed)


def read_table(path: Path, *, whole: bool = False) -> Table:
    """The rows of a file, read as its suffix says.

    Args:
        path: The file.
        whole: Also columns of bytes, lists and structures, where a file has types.

    Raises:
        UsageError: It cannot be read, is of an unknown kind, or is damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path}: prompts are not read from {path.suffix or 'files without a suffix'}.",
            f"Known suffixes: {', '.join(READERS)}.",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error
    table = (
        reader(content, str(path)) if reader is not parquet_table else parquet_table(content, str(path), whole=whole)
    )
    return replace(table, folder=path.parent)


def jsonl_table(content: bytes, origin: str) -> Table:
    """One JSON object a line.

    Raises:
        UsageError: Not UTF-8, or a line that is not an object.
    """
    rows = []
    for number, line in _lines(content, origin):
        place = f"{origin}, line {number}"
        row = _parsed(line, place)
        if not isinstance(row, dict):
            raise UsageError(f"{place}: not a JSON object.", 'Write one object a line: {"text": "..."}.')
        rows.append((number, row))
    return Table(origin=origin, unit="line", rows=rows, columns=columns_of(row for _, row in rows))


def json_table(content: bytes, origin: str) -> Table:
    """A JSON list of objects.

    Raises:
        UsageError: Not UTF-8, not JSON, or not a list of objects.
    """
    step = 'Write a list of objects: [{"text": "..."}], or one object a line in a .jsonl file.'
    document = _parsed(_decoded(content, origin), origin)
    if not isinstance(document, list):
        raise UsageError(f"{origin}: the document is not a list.", step)
    rows = list(enumerate(document, start=1))
    for number, row in rows:
        if not isinstance(row, dict):
            raise UsageError(f"{origin}, item {number}: not an object.", step)
    return Table(origin=origin, unit="item", rows=rows, columns=columns_of(document))


def csv_table(content: bytes, origin: str) -> Table:
    """Comma-separated values with a header line.

    Raises:
        UsageError: Not UTF-8, not CSV, no or a doubtful header, or a row with more fields than the header.
    """
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses prompts over 128 KiB
    reader = csv.reader(io.StringIO(_decoded(content, origin), newline=""), strict=True)
    rows: list[tuple[int, Mapping[str, object]]] = []
    line = 1  # where the row starts: a quoted text may hold line breaks
    try:
        header = tuple(next(reader, []))
        if len(set(header)) < len(header) or not all(name.strip() for name in header):
            raise UsageError(
                f"{origin}, line 1: a column has no name or the name of another: {', '.join(header)}.",
                "Give every column its own name.",
            )
        line = reader.line_num + 1
        for fields in reader:
            if len(fields) > len(header):
                raise UsageError(
                    f"{origin}, line {line}: {len(fields)} fields, but the header has {len(header)}.",
                    'Put text that holds commas between double quotes: "a, b".',
                )
            if fields:  # an empty line holds no fields, a row with an empty text does
                rows.append((line, dict(zip(header, fields, strict=False))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{origin}, line {line}: not CSV: {error}.", "Check the double quotes in it.") from error
    finally:
        csv.field_size_limit(limit)
    return Table(origin=origin, unit="line", rows=rows, columns=header)


def text_table(content: bytes, origin: str) -> Table:
    """One prompt a line. A line in between that is empty is refused with its number.

    Raises:
        UsageError: Not UTF-8.
    """
    rows = [(number, {"text": line}) for number, line in _lines(content, origin)]
    return Table(origin=origin, unit="line", rows=rows, columns=("text",))


def parquet_table(content: bytes, origin: str, *, whole: bool = False) -> Table:
    """A Parquet file. Columns of lists and structures hold no prompts of text, and stay unread unless it is `whole`.

    Raises:
        UsageError: Not a Parquet file.
    """
    import pyarrow as pa  # here, because it takes longer to import than everything else in this stage
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        read = [field.name for field in file.schema_arrow if whole or not pa.types.is_nested(field.type)]
        found = file.read(columns=read).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{origin} is not a Parquet file that can be read: {error}.", "Write it again, or use JSONL."
        ) from error
    return Table(origin=origin, unit="row", rows=list(enumerate(found, start=1)), columns=tuple(read))


READERS: dict[str, Callable[[bytes, str], Table]] = {
    ".jsonl": jsonl_table,
    ".ndjson": jsonl_table,
    ".json": json_table,
    ".csv": csv_table,
    ".txt": text_table,
    ".parquet": parquet_table,
}


def _decoded(content: bytes, origin: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{origin}, line {line}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8.",
            "Save it as UTF-8, for example `iconv -f latin1 -t utf-8 FILE > NEW`.",
        ) from error


def _lines(content: bytes, origin: str) -> list[tuple[int, str]]:
    """Numbered lines without the empty ones at the end. Only newlines end a line: U+2028 may be part of a text."""
    lines = [line.removesuffix("\r") for line in _decoded(content, origin).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return list(enumerate(lines, start=1))


def _parsed(document: str, place: str) -> object:
    try:
        # Decimal keeps a reference as it was written: 0.50 stays 0.50.
        parsed: object = json.loads(document, parse_float=Decimal)
    except json.JSONDecodeError as error:
        if not document.strip():
            raise UsageError(f"{place}: empty.", "Remove the empty line, or write the prompt.") from error
        raise UsageError(f"{place}: not JSON: {error}.", "Correct it there.") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; an integer of thousands of digits
        raise UsageError(f"{place}: not JSON that can be read: {error}.", "Correct it there.") from error
    return parsed
