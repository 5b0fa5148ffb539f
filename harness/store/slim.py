"""What is kept of JSON lines that Arrow has read: tables with the same nesting, without texts and their like."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.store.schemas import NUMBERS

if TYPE_CHECKING:
    from harness.records import IntArray

READING = (
    *("device", "boundary", "method", "time_start_s", "time_end_s", "energy_gross_j", "energy_gross_half_width_j"),
    *("phases", "findings", "power_idle_w", "energy_net_j", "energy_net_half_width_j", "energy_tail_j"),
    *("energy_shared_equal_j", "duration_share_s"),
)
"""What is kept of a reading."""


def slim_queries(table: pa.Table, starts: IntArray) -> pa.Table:
    """Of lines of `queries.jsonl`; `starts` is where each begins in the file."""
    output, score = chunk(table, "output"), chunk(table, "score")
    parts = fields_of(output)
    return _table(
        {
            "line": integers(starts),
            **{name: table[name] for name in ("session", "prompt_id", "prompt_index", "mode")},
            **{name: table[name] for name in ("time_start_s", "time_end_s")},
            "answered": output.is_valid(),
            **{name: parts[name] for name in ("finish_reason", "thought", "sizes")},
            "rendered": _hashes(parts["rendered_prompt_sha256"]),
            "text": _hashes(parts["text_sha256"]),
            "correct": fields_of(score)["correct"],
            **_grades(score),
            "readings": _slim_readings(chunk(table, "readings")),
            "findings": table["findings"],
        }
    )


def _grades(score: pa.StructArray) -> dict[str, pa.Array]:
    """Of scores that are more than right or wrong; nothing where none is."""
    own = fields_of(score)
    graded = pc.and_(score.is_valid(), own["correct"].is_null())
    columns = {"graded": graded} if graded.true_count else {}
    values = fields_of(own["values"])
    if not values:
        return columns
    arrays = [each.cast(NUMBERS) if pa.types.is_list(each.type) else each for each in values.values()]
    return {**columns, "values": pa.StructArray.from_arrays(arrays, list(values))}


def slim_intervals(table: pa.Table, starts: IntArray) -> pa.Table:
    """Of lines of `intervals.jsonl`; `starts` is where each begins in the file."""
    return _table(
        {
            "line": integers(starts),
            **{name: table[name] for name in ("name", "time_start_s", "time_end_s")},
            "readings": _slim_readings(chunk(table, "readings")),
        }
    )


def _table(columns: dict[str, Any]) -> pa.Table:
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def integers(numbers: IntArray) -> pa.Array:
    """Without `pa.array`, which imports pandas to see whether it is given some of it."""
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))])


def _slim_readings(readings: pa.ListArray) -> pa.ListArray:
    fields = fields_of(readings.values)
    return pa.ListArray.from_arrays(
        readings.offsets, pa.StructArray.from_arrays([fields[name] for name in READING], READING)
    )


def _hashes(texts: pa.StringArray) -> pa.Array:
    """63 bits of each text's SHA-256, which most texts here already are, in hexadecimal digits."""
    known = texts.drop_null()
    lengths = np.diff(np.frombuffer(known.buffers()[1], dtype=np.int32)[known.offset : known.offset + len(known) + 1])
    numbers = None
    if len(known) and (lengths == 64).all():
        data = np.frombuffer(known.buffers()[2], dtype=np.uint8)
        first = int(np.frombuffer(known.buffers()[1], dtype=np.int32)[known.offset])
        digits = HEX[data[first : first + 64 * len(known)].reshape(len(known), 64)[:, :16]]
        if (digits < 16).all():
            powers = np.uint64(16) ** np.arange(15, -1, -1, dtype=np.uint64)
            numbers = ((digits.astype(np.uint64) * powers).sum(axis=1) >> np.uint64(1)).astype(np.int64)
    if numbers is None:
        numbers = np.array([_hash(text) for text in known.to_pylist()], dtype=np.int64)
    full = np.full(len(texts), -1, dtype=np.int64)
    full[texts.is_valid().to_numpy(zero_copy_only=False)] = numbers
    return integers(full)


HEX = np.full(256, 16, dtype=np.uint8)
HEX[[ord(digit) for digit in "0123456789abcdef"]] = np.arange(16)


def _hash(text: str) -> int:
    is_sha256 = len(text.encode()) == 64 and all(digit in "0123456789abcdef" for digit in text[:16])
    return int((text if is_sha256 else hashlib.sha256(text.encode()).hexdigest())[:16], 16) >> 1


def chunk(table: pa.Table, name: str) -> Any:
    """A column in one piece."""
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def fields_of(structs: pa.StructArray) -> dict[str, pa.Array]:
    """The columns of structs by name; null where a struct is."""
    return dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
