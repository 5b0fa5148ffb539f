"""How large the pages of a Parquet file are once they are unpacked, by the head of each.

A reader unpacks a page by what its own head says, of which the metadata at the file's end need know nothing. So the
heads are looked at before anything is unpacked.

Source: `PageHeader` in parquet.thrift (github.com/apache/parquet-format), in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator

UNPACKED, PACKED = 2, 3
"""Numbers of the fields that hold a page's size in bytes."""
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY = range(1, 9)
STRUCT = 12
LEVELS_MOST = 4


def unpacked_sizes(content: bytes, start: int, end: int) -> Iterator[int]:
    """Bytes of each page of a column, unpacked.

    Args:
        content: The whole file.
        start: Where the column's first page begins.
        end: Where its last one ends.

    Raises:
        ValueError: There is something else than pages.
        IndexError: They go on behind the file's end.
    """
    place = start
    while place < end:
        sizes, place = _struct(content, place, 0)
        if len(sizes) < 2 or min(sizes.values()) < 0:
            raise ValueError("a page without a size")
        yield sizes[UNPACKED]
        place += sizes[PACKED]


def _struct(content: bytes, place: int, level: int) -> tuple[dict[int, int], int]:
    """The two sizes in a structure, where they are numbers, and where it ends."""
    if level > LEVELS_MOST:
        raise ValueError("a head with too many levels")
    sizes: dict[int, int] = {}
    number = 0
    while (head := content[place]) != 0:
        place += 1
        kind, step = head & 0x0F, head >> 4
        if step:
            number += step
        else:
            number, place = _integer(content, place)
        if kind == STRUCT:
            _, place = _struct(content, place, level + 1)
        elif kind in (I16, I32, I64):
            value, place = _integer(content, place)
            if kind == I32 and number in (UNPACKED, PACKED):
                sizes[number] = value
        elif kind == BINARY:
            length, place = _varint(content, place)
            place += length
        elif kind in (TRUE, FALSE, BYTE, DOUBLE):
            place += {BYTE: 1, DOUBLE: 8}.get(kind, 0)
        else:
            raise ValueError("a head with a list")
    return sizes, place + 1


def _integer(content: bytes, place: int) -> tuple[int, int]:
    value, place = _varint(content, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (content[place] & 0x7F) << shift
        place += 1
        if content[place - 1] < 0x80:
            return value, place
    raise ValueError("a number without an end")
