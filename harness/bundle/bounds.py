"""What a file of a bundle may ask of its reader: so much memory, so many levels, and nothing by reference.

Checked once, when a stranger's files lie on disk and before anything reads them. What is within these bounds is read by
the same code as one's own runs, which names what is damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from harness.bundle.pages import unpacked_sizes
from harness.errors import SchemaError
from harness.store.segments import COLUMNS

MIB = 2**20
LINE_BYTES_MOST = 16 * MIB
"""Of a line of JSON, or of a whole document: a query with a million tokens has less."""
DEPTH_MOST = 40
"""Levels of a JSON or YAML document; no record here has ten."""
ROWS_MOST, ROWS_TOGETHER_MOST = 1_000_000, 20_000_000
"""Readings of one file, and of all of a bundle: a day of ten boards, twenty readings a second each."""
SEGMENT_BYTES_MOST = 64 * MIB
"""Of one file of readings, unpacked."""
PAGES_MOST, ROWS_OF_A_PAGE = 3, 1_000
"""A column may have so many pages, and one for so many readings; writers put twenty times as many on one."""

SCALAR_MOST = 64
"""Characters of a number or a date in YAML, whose reader takes time that grows with their square."""

_NUMBERS = ("int64", "double")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""Where a character beyond the first 65,536 is escaped, and perhaps one half of it alone; no file here escapes any."""
_STEPS = np.zeros(256, dtype=np.int64)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


def refusal(member: str, why: str) -> SchemaError:
    """The error for a member of a bundle, whose name is written in plain characters."""
    name = ascii(member)[1:-1]
    name = name if len(name) <= 200 else f"{name[:120]}...{name[-60:]}"
    return SchemaError(f"Refused, because {name} {why}.", "Use nothing of this file; ask its author for it again.")


def check_bounds(run: Path) -> None:
    """Check every file of an extracted bundle.

    Args:
        run: Where it lies.

    Raises:
        SchemaError: One asks for more than a run's file does; it is named.
    """
    n_rows = 0
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        member = path.relative_to(run).as_posix()
        if path.suffix == ".yaml":
            _check_yaml(path.read_bytes(), member)
        elif path.suffix == ".json":
            _check_json(path.read_bytes(), member)
        elif path.suffix == ".jsonl":
            for number, line in enumerate(_lines(path, member), start=1):
                _check_json(line, f"{member}, line {number:,},")
        elif path.suffix == ".parquet":
            n_rows += _rows(path, member)
            if n_rows > ROWS_TOGETHER_MOST:
                raise refusal(member, f"brings the readings to {n_rows:,}; {ROWS_TOGETHER_MOST:,} are the most")


def _lines(path: Path, member: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(LINE_BYTES_MOST + 1)
            if not line:
                return
            if len(line) > LINE_BYTES_MOST:
                raise refusal(f"{member}, line {number:,},", f"is longer than {LINE_BYTES_MOST // MIB} MiB")
            yield line


def _check_json(document: bytes, member: str) -> None:
    """Bounded in depth, and its texts can be written again: half a character is none in any file."""
    _check_depth(document, member)
    if _HALF_CHARACTER.search(document):
        try:
            json.dumps(json.loads(document), ensure_ascii=False).encode()
        except ValueError as error:
            raise refusal(member, "holds a text that is none") from error


def _check_depth(document: bytes, member: str) -> None:
    """Readers go down a level by calling themselves, and some have no end of that but their stack's."""
    if document.count(b"[") + document.count(b"{") <= DEPTH_MOST:
        return
    bare, depth = np.frombuffer(_STRING.sub(b"", document), dtype=np.uint8), 0
    for start in range(0, len(bare), MIB):
        depths = depth + np.cumsum(_STEPS[bare[start : start + MIB]])
        if depths.max() > DEPTH_MOST:
            raise refusal(member, f"is nested more than {DEPTH_MOST} levels deep")
        depth = int(depths[-1])


def _check_yaml(document: bytes, member: str) -> None:
    """A name for a part of the document lets a few lines stand for gigabytes; a tag asks for an object of a kind.

    Then it is read once: numbers, dates and keys may be none although they look like some.
    """
    depth = 0
    try:
        for event in yaml.parse(document, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise refusal(member, "holds an anchor or an alias, which no run's file does")
            if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
                raise refusal(member, "holds a tag, which no run's file does")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_MOST:
                raise refusal(member, f"is nested more than {DEPTH_MOST} levels deep")
            if isinstance(event, yaml.ScalarEvent):
                event.value.encode()
                if len(event.value) > SCALAR_MOST and event.implicit[0] and _is_number(event.value):
                    raise refusal(member, f"holds a number of {len(event.value):,} characters")
        fields = yaml.safe_load(document)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise refusal(member, f"is not YAML: {type(error).__name__}") from error
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise refusal(member, "holds no keys with values")


def _is_number(text: str) -> bool:
    """Or a date: whatever YAML does not take for a text."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    return any(pattern.match(text) for _, pattern in resolvers)


def _rows(path: Path, member: str) -> int:
    """How many readings a file holds, as its own metadata has it; what that claims is checked before any is read."""
    content = path.read_bytes()
    if int.from_bytes(content[-8:-4], "little") > MIB:
        raise refusal(member, "has more metadata than readings need")
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            metadata, schema = file.metadata, file.schema_arrow
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            n_rows: int = max(metadata.num_rows, sum(group.num_rows for group in groups))
            columns = [group.column(index) for group in groups for index in range(group.num_columns)]
            n_bytes = sum(column.total_uncompressed_size for column in columns)
            n_values = max((column.num_values for column in columns), default=0)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise refusal(member, f"is not Parquet that can be read: {type(error).__name__}") from error
    if schema.names != list(COLUMNS) or any(str(kind) not in _NUMBERS for kind in schema.types):
        raise refusal(member, "has other columns than readings have")
    if max(n_rows, n_values) > ROWS_MOST or min(n_rows, n_bytes, *(group.num_rows for group in groups)) < 0:
        raise refusal(member, f"claims {max(n_rows, n_values):,} readings; {ROWS_MOST:,} are the most")
    if n_bytes > SEGMENT_BYTES_MOST:
        raise refusal(member, f"claims {n_bytes:,} bytes of readings; {SEGMENT_BYTES_MOST:,} are the most")
    _check_pages(content, columns, member)
    return n_rows


def _check_pages(content: bytes, columns: Sequence[Any], member: str) -> None:
    n_left = SEGMENT_BYTES_MOST
    try:
        for column in columns:
            start = column.data_page_offset
            if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
                start = column.dictionary_page_offset
            n_pages_left = PAGES_MOST + column.num_values // ROWS_OF_A_PAGE
            for n_bytes in unpacked_sizes(content, start, start + column.total_compressed_size):
                n_left -= n_bytes
                n_pages_left -= 1
                if n_left < 0 or n_pages_left < 0:
                    raise refusal(member, "has more, or larger, pages than its readings need")
    except (ValueError, IndexError) as error:
        raise refusal(member, f"is not Parquet that can be read: {error}") from error
