"""JSON lines in blocks, read by Arrow: every line is looked at, none by Python.

What Arrow reads must be exactly what the records would have taken. Where that is not certain (an unknown key, a number
that is none, a value that a record refuses or would convert) the block is refused as `NotPlain`: the records then read
the file line by line, and know what is wrong and where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from harness.records import SCHEMA_VERSION
from harness.store.schemas import COUNT, NUMBER, NUMBERS, ONE_OF, REQUIRED

BLOCK_BYTES = 32 * 2**20
PARSED_BYTES = 2 * 2**20
"""What one thread parses at a time."""
LINE_END = b"\n"


class NotPlain(Exception):
    """A block that only the records can judge."""


def whole_bytes(path: Path) -> int:
    """Length of a file up to its last line that was finished."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        while end > 0:
            begin = max(0, end - 2**16)
            file.seek(begin)
            found = file.read(end - begin).rfind(LINE_END)
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def blocks(path: Path, n_bytes: int, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Whole lines in pieces of about `block_bytes`, each with the place where it begins.

    Args:
        path: The file.
        n_bytes: Read so far, the end of a line.
        block_bytes: Of a piece, unless a line is longer.
    """
    with path.open("rb") as file:
        place = 0
        while place < n_bytes:
            block = file.read(min(block_bytes, n_bytes - place))
            if not block.endswith(LINE_END):
                block += file.readline()
            yield place, block
            place += len(block)


def line_starts(place: int, block: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each line of a block begins in its file."""
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord(LINE_END))
    return place + np.concatenate(([0], ends[:-1] + 1)).astype(np.int64)


def parsed(block: bytes, n_lines: int, schema: pa.Schema) -> pa.Table:
    """A block as a table.

    Args:
        block: Whole lines.
        n_lines: How many.
        schema: Of a line; further numbers may stand in `output.sizes`, and any in `score.values`.

    Raises:
        NotPlain: It is not certain that the records would read the same.
    """
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    try:
        try:
            table = pj.read_json(pa.BufferReader(block), pj.ReadOptions(block_size=PARSED_BYTES), options)
        except pa.ArrowInvalid:  # a line may be longer than what is parsed at a time
            table = pj.read_json(pa.BufferReader(block), pj.ReadOptions(block_size=len(block) + 1), options)
        table = table.combine_chunks()
        table.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise NotPlain(str(error)) from error
    if table.num_rows != n_lines:
        raise NotPlain("not one record per line")
    _check_types(table.schema, schema)
    if (pc.max(table["schema_version"]).as_py() or 0) > SCHEMA_VERSION:
        raise NotPlain("a newer version")
    for name in table.column_names:
        _check(name, table[name].combine_chunks() if table[name].num_chunks != 1 else table[name].chunk(0))
    kind = "query" if "mode" in table.column_names else "interval"
    _check_known(table, (*REQUIRED[""], *REQUIRED[kind]))
    if kind == "query":
        _check_scores(table["score"].combine_chunks(), block)
    return table


def _check_types(found: pa.Schema, wanted: pa.Schema) -> None:
    if found.names != wanted.names:
        raise NotPlain("unknown keys")
    for name in wanted.names:
        one, other = found.field(name).type, wanted.field(name).type
        if one != other and not (name in MAY_HAVE_MORE and _has_more(one, other, *MAY_HAVE_MORE[name])):
            raise NotPlain(f"{name} has other keys or types")


MAY_HAVE_MORE = {
    "output": ("sizes", (COUNT, NUMBER)),
    "score": ("values", (NUMBER, NUMBERS, pa.list_(pa.null()))),
}
"""Where keys may stand that no schema knows, and of which types; the last is of lists that are all empty."""


def _has_more(found: pa.DataType, wanted: pa.DataType, within: str, types: tuple[pa.DataType, ...]) -> bool:
    """Whether two types of a struct differ only in what a part of it has beside what is wanted."""
    own = {field.name: field.type for field in found}
    known = {field.name: field.type for field in wanted}
    parts, expected = ({field.name: field.type for field in each.pop(within)} for each in (own, known))
    others = [kind for name, kind in parts.items() if name not in expected]
    return own == known and parts.items() >= expected.items() and all(kind in types for kind in others)


def _check_scores(scores: pa.StructArray, block: bytes) -> None:
    """A key that is missing is null to Arrow: `correct` must be there, and what else is there must not be null.

    A block of answers that are all right or wrong, without further values, is not looked through.
    """
    correct, _, values = scores.filter(scores.is_valid()).flatten()
    if correct.null_count and len(_nulls("correct").findall(block)) != correct.null_count:
        raise NotPlain("score without correct")
    parts = dict(zip((field.name for field in values.type), values.flatten(), strict=True))
    missing = [name for name, each in {"values": values, **parts}.items() if each.null_count]
    if any(_nulls(name).search(block) for name in missing):
        raise NotPlain("null in a score")


def _nulls(key: str) -> re.Pattern[bytes]:
    """Where a key stands with null."""
    return re.compile(re.escape(json.dumps(key).encode()) + rb"\s*:\s*null")


def _check(name: str, array: pa.Array) -> None:
    """Every number is one, every name is known, and nothing is missing that a record must have."""
    if pa.types.is_struct(array.type):
        rows = array.filter(array.is_valid()) if array.null_count else array
        children = {field.name: rows.field(index) for index, field in enumerate(rows.type)}
        for child in REQUIRED.get(name, ()):
            if children[child].null_count:
                raise NotPlain(f"{name} without {child}")
        for child, values in children.items():
            _check(child, values)
    elif pa.types.is_list(array.type):
        values = array.flatten()
        if values.null_count:
            raise NotPlain(f"null among {name}")
        _check(name.removesuffix("s"), values)
    elif pa.types.is_floating(array.type):
        if pc.all(pc.is_finite(array)).as_py() is False:
            raise NotPlain(f"{name} is not finite")
    elif name in ONE_OF and not ONE_OF[name].issuperset(pc.unique(array).to_pylist()):
        raise NotPlain(f"unknown {name}")


def _check_known(table: pa.Table, names: tuple[str, ...]) -> None:
    missing = [name for name in names if table[name].null_count]
    if missing:
        raise NotPlain(f"without {missing[0]}")
