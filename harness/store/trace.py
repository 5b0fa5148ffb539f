"""Raw readings as a table that anybody can read: one row a reading, monotonic and Unix time side by side.

CSV is written and flushed as readings come, so a kill leaves what was there. Parquet gets its index at the end and
needs one in good order; it holds what is known of the channels too, which a CSV has no place for.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from harness.clock import clock_offsets
from harness.records import MARK_CHANNEL, Channel, Segment

COLUMNS = (
    "device",
    "quantity",
    "method",
    "time_before_monotonic_s",
    "time_after_monotonic_s",
    "time_unix_s",
    "value",
)
MARK = ("command", "edge", "")
"""Device, quantity and method of a marked edge. Its value is 1 where the command begins and -1 where it ends."""

CHANNELS_KEY = b"harness.channels"
"""Of a Parquet file's own metadata: the channels as JSON, in the order of their numbers."""

Row = tuple[str, str, str, float, float, float, float]


class TraceFile(Protocol):
    """A table that grows."""

    def describe(self, channels: Sequence[Channel]) -> None:
        """Say what is recorded; counts before the first rows."""
        ...

    def write(self, rows: list[Row]) -> None:
        """Add rows."""
        ...

    def close(self) -> None:
        """Finish it."""
        ...


def open_trace(path: Path) -> TraceFile:
    """A new table; Parquet where the name ends in `.parquet`, CSV otherwise.

    Raises:
        OSError: It cannot be written.
    """
    return _ParquetTrace(path) if path.suffix == ".parquet" else _CsvTrace(path)


def rows(segment: Segment, channels: Sequence[Channel], origin_monotonic_s: float) -> Iterator[Row]:
    """A segment's rows in its own order.

    Args:
        segment: Times on the session clock.
        channels: What it was recorded from.
        origin_monotonic_s: CLOCK_MONOTONIC at the session clock's zero.
    """
    unix_s = clock_offsets().unix_s
    names = [(channel.device, channel.quantity.value, channel.method.value) for channel in channels]
    columns = (segment.channel, segment.time_before_s, segment.time_after_s, segment.value)
    for channel, before_s, after_s, value in zip(*(column.tolist() for column in columns), strict=True):
        after_monotonic_s = after_s + origin_monotonic_s
        yield (
            *(MARK if channel == MARK_CHANNEL else names[channel]),
            before_s + origin_monotonic_s,
            after_monotonic_s,
            after_monotonic_s + unix_s,
            value,
        )


class _CsvTrace:
    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._file.flush()

    def describe(self, channels: Sequence[Channel]) -> None:
        """There is no place for it."""

    def write(self, rows: list[Row]) -> None:
        self._writer.writerows((*row[:3], *(f"{number:.6f}" for number in row[3:])) for row in rows)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _ParquetTrace:
    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._pa: Any = pa
        self._file: IO[bytes] = path.open("wb")
        self._channels: tuple[Channel, ...] = ()
        self._writer: Any = None

    def describe(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)

    def write(self, rows: list[Row]) -> None:
        if rows:
            columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
            writer = self._opened()
            writer.write_table(self._pa.table(columns, schema=self._schema()))

    def close(self) -> None:
        if not self._file.closed:
            self._opened().close()
            self._file.close()

    def _schema(self) -> Any:
        fields = [(name, self._pa.string() if index < 3 else self._pa.float64()) for index, name in enumerate(COLUMNS)]
        known = json.dumps([channel.model_dump(mode="json") for channel in self._channels])
        return self._pa.schema(fields, metadata={CHANNELS_KEY: known} if self._channels else None)

    def _opened(self) -> Any:
        """The writer, which has to know the channels when it is made."""
        if self._writer is None:
            import pyarrow.parquet as pq

            self._writer = pq.ParquetWriter(self._file, self._schema(), compression="zstd")
        return self._writer
