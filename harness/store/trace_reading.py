"""Reads a trace of `harness meter` back: its rows become what the meter recorded, on a clock that begins with them.

What a CSV does not hold of its channels is given beside it, or inferred from their names and said to be so. Columns
beyond the known ones are left alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from harness.errors import UsageError
from harness.records import MARK_CHANNEL, Boundary, Channel, CommandReport, Edge, Method, Quantity, Segment
from harness.store.trace import CHANNELS_KEY, COLUMNS, MARK

if TYPE_CHECKING:
    import numpy.typing as npt

_GIVE = "Give what `harness meter --trace FILE.csv -- COMMAND` wrote (or FILE.parquet)."
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one `harness meter --trace` recorded.

    `segment` is on the trace's own clock, whose zero is CLOCK_MONOTONIC `origin_monotonic_s`; `offset_unix_s` is what
    Unix time was ahead of CLOCK_MONOTONIC, the median of all rows, and `offset_unix_range_s` how far it moved.
    `notes` are doubts, in sentences.
    """

    channels: tuple[Channel, ...]
    segment: Segment
    origin_monotonic_s: float
    offset_unix_s: float
    offset_unix_range_s: float
    notes: tuple[str, ...] = ()

    @property
    def time_first_s(self) -> float:
        """The first reading."""
        return float(self.segment.time_after_s.min())

    @property
    def time_last_s(self) -> float:
        """The last reading."""
        return float(self.segment.time_after_s.max())

    def time_edge_s(self, edge: Edge) -> float | None:
        """When the command began or ended; None: the trace does not say, as where it was killed."""
        found = (self.segment.channel == MARK_CHANNEL) & (self.segment.value == edge)
        times = self.segment.time_after_s[found]
        return float(times[0]) if len(times) else None


def read_trace(path: Path, report: CommandReport | None = None) -> Trace:
    """Read a trace.

    Args:
        path: CSV, or Parquet where its name ends in `.parquet`.
        report: Of the same `harness meter --json`; it knows the channels better than a CSV.

    Raises:
        UsageError: No such file, not a trace, or no readings in it.
    """
    table, described, notes = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    keys, codes = _keys(table)
    numbers = [np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in COLUMNS[3:]]
    good = np.all(np.isfinite(numbers), axis=0)
    if not good.all():
        notes.append(f"{int(np.sum(~good)):,} rows of {path.name} hold no finite number and were left out.")
        codes, numbers = codes[good], [column[good] for column in numbers]
    before_s, after_s, unix_s, value = numbers
    if not len(codes) or all(key == MARK for key in keys):
        raise UsageError(f"{path.name} holds no reading.", "Measure again: the command was too short, or no sensor.")
    origin_s = float(np.floor(after_s.min()))
    ahead_s = unix_s - after_s
    known = described or (report.channels if report is not None else ())
    if known and not described and not any(_key(channel) in keys for channel in known):
        raise UsageError(
            f"The JSON of the meter names none of the devices of {path.name}.",
            "Give the --json of the `harness meter` that wrote this trace, or leave --meter-json out.",
        )
    channels, places, doubts = _channels([key for key in keys if key != MARK], known)
    index = np.array([MARK_CHANNEL if key == MARK else places[key] for key in keys], dtype=np.int64)
    if report is not None and not described:
        channels = tuple(_by_card(channel, report) for channel in channels)
    return Trace(
        channels=channels,
        segment=Segment(
            channel=index[codes], time_before_s=before_s - origin_s, time_after_s=after_s - origin_s, value=value
        ),
        origin_monotonic_s=origin_s,
        offset_unix_s=float(np.median(ahead_s)),
        offset_unix_range_s=float(np.ptp(ahead_s)),
        notes=(*notes, *doubts),
    )


def read_report(path: Path) -> CommandReport:
    """What `harness meter --json` wrote.

    Raises:
        UsageError: No such file, or another one.
    """
    try:
        return CommandReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"])) or "the file"
        raise UsageError(
            f"{path.name} is not what `harness meter --json` writes: {what['msg']} ({where}).",
            "Give the file of --json of the same `harness meter`, or leave --meter-json out.",
        ) from error


def _parquet(path: Path) -> tuple[Any, tuple[Channel, ...], list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", _GIVE) from error
    except pa.ArrowInvalid as error:
        raise UsageError(
            f"{path.name} is no whole Parquet file.", "A kill leaves Parquet without its index: trace to CSV then."
        ) from error
    _check_columns(table.column_names, path)
    text = (table.schema.metadata or {}).get(CHANNELS_KEY)
    if text is None:
        return table, (), []
    try:
        return table, tuple(Channel.model_validate(each) for each in json.loads(text)), []
    except (ValueError, ValidationError):
        return table, (), [f"What {path.name} says of its channels cannot be read."]


def _csv(path: Path) -> tuple[Any, tuple[Channel, ...], list[str]]:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if not content.strip():
        raise UsageError(f"{path.name} is empty.", _GIVE)
    notes, whole = [], content.rfind(b"\n") + 1
    if whole < len(content):
        notes.append(f"The last line of {path.name} breaks off: the meter was killed, and the line was left out.")
    skipped: list[int] = []
    header = content.partition(b"\n")[0].decode("utf-8-sig", "replace")
    _check_columns([name.strip().strip('"') for name in header.split(",")], path)

    def skip(_: Any) -> str:
        skipped.append(1)
        return "skip"

    types = {name: pa.string() if place < 3 else pa.float64() for place, name in enumerate(COLUMNS)}
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(content[:whole]),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=skip),
            convert_options=arrow_csv.ConvertOptions(column_types=types, include_columns=list(COLUMNS)),
        )
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path.name} is no trace: {str(error).splitlines()[0]}.", _GIVE) from error
    if skipped:
        notes.append(f"{len(skipped):,} lines of {path.name} have another number of columns and were left out.")
    return table, (), notes


def _check_columns(names: Sequence[str], path: Path) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise UsageError(f"{path.name} is no trace: it lacks {', '.join(f'`{name}`' for name in missing)}.", _GIVE)


def _keys(table: Any) -> tuple[list[Key], npt.NDArray[np.int64]]:
    """The device, quantity and method of the rows, each once in order of appearance, and each row's place in them."""
    places: list[npt.NDArray[np.int64]] = []
    names: list[list[str]] = []
    for column in COLUMNS[:3]:
        encoded = table.column(column).combine_chunks().dictionary_encode()
        places.append(np.asarray(encoded.indices.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64))
        names.append([each or "" for each in encoded.dictionary.to_pylist()] or [""])
    packed = (places[0] * len(names[1]) + places[1]) * len(names[2]) + places[2]
    kinds, first, codes = np.unique(packed, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    keys = [
        (
            names[0][int(kinds[kind]) // len(names[2]) // len(names[1])],
            names[1][int(kinds[kind]) // len(names[2]) % len(names[1])],
            names[2][int(kinds[kind]) % len(names[2])],
        )
        for kind in order
    ]
    return keys, rank[codes.reshape(-1)]


def _channels(keys: Sequence[Key], known: Sequence[Channel]) -> tuple[tuple[Channel, ...], dict[Key, int], list[str]]:
    """The channels of the rows, their numbers, and what had to be inferred."""
    by_key = {_key(each): each for each in known}
    channels, places, inferred = list(known), {}, []
    numbers = {key: number for number, key in enumerate(by_key)}
    for key in keys:
        if key in numbers:
            places[key] = numbers[key]
            continue
        places[key] = len(channels)
        channels.append(_inferred(key))
        if channels[-1].makes_energy:
            inferred.append(channels[-1])
    if not inferred:
        return tuple(channels), places, []
    what = "does not say what its sensors average over, nor how far they can be off"
    if any(each.quantity is Quantity.POWER_W for each in inferred):
        what += "; power is taken as if each reading were of its instant"
    remedy = "`--meter-json FILE` of the same `harness meter --json FILE` does; so does a .parquet trace"
    return tuple(channels), places, [f"The trace {what}. {remedy}."]


def _key(channel: Channel) -> Key:
    return channel.device, channel.quantity.value, channel.method.value


def _inferred(key: Key) -> Channel:
    device, quantity, method = key
    try:
        return Channel(
            device=device,
            boundary=Boundary.GPU_BOARD if device.startswith(("GPU-", "MIG-")) else Boundary.HOST,
            method=Method(method),
            quantity=Quantity(quantity),
        )
    except ValueError as error:
        what = f"The trace has rows of {device!r}, {quantity!r}, {method!r}: not known here."
        raise UsageError(what, _GIVE) from error


def _by_card(channel: Channel, report: CommandReport) -> Channel:
    """A window that the run itself did not know and a card does."""
    card = next((each for each in report.sensor_cards if each.uuid == channel.device), None)
    if card is None or channel.duration_window_s is not None or channel.quantity is not Quantity.POWER_W:
        return channel
    return channel.model_copy(update={"duration_window_s": card.duration_power_window_s})
