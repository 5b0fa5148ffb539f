"""The log of an external meter: a wall meter, a rack's outlet, a BMC. A CSV file becomes mean powers over stretches.

It knows columns, units and clocks of logs. It must not know sessions: the log's clock may be wrong by minutes, and its
hours by a time zone; `alignment.py` finds out.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError
from harness.meter.beside.stretches import Stretches
from harness.units import J_PER_KWH, J_PER_WH

if TYPE_CHECKING:
    from harness.records import FloatArray

N_READINGS_FEWEST = 10
HOLE_PERIODS = 5.0
"""A log that was silent for longer than so many of its periods says nothing of the time between."""
QUOTED_MOST = 60
"""Characters of a log in a message."""
_TIME = {"time", "timestamp", "datetime", "date", "unix", "epoch", "ts"}
_POWER = {"w": 1.0, "watt": 1.0, "watts": 1.0, "kw": 1000.0, "kilowatts": 1000.0}
_ENERGY = {
    **dict.fromkeys(("j", "joule", "joules"), 1.0),
    **dict.fromkeys(("kj", "kilojoules"), 1000.0),
    **dict.fromkeys(("wh", "watthours"), J_PER_WH),
    **dict.fromkeys(("kwh", "kilowatthours"), J_PER_KWH),
}
_OTHER = {
    *("factor", "apparent", "reactive", "va", "var", "limit", "cap", "min", "minimum", "max", "maximum"),
    *("average", "avg", "mean", "peak", "cost", "price"),
}
"""Words of columns beside the one that is looked for."""
_ADVICE = "Keep one column of time (ISO 8601 or Unix) and one of power (W) or cumulative energy (Wh, kWh, J)."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalLog:
    """Powers over stretches in order, which touch unless the log was silent.

    The stretches are in Unix seconds of the log's own clock where `has_zone`; otherwise they are what it showed, as if
    that were UTC.
    """

    name: str
    sha256: str
    column: str
    has_zone: bool
    n_readings: int
    stretches: Stretches
    notes: tuple[str, ...]


def read_log(path: Path) -> ExternalLog:
    """Read a log.

    Raises:
        UsageError: No such file, columns that cannot be told, or too few readings.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return parse_log(text, path.name, hashlib.sha256(content).hexdigest())


def parse_log(text: str, name: str, sha256: str) -> ExternalLog:
    """Read the text of a log.

    Args:
        text: CSV with a header, separated by commas, semicolons or tabs.
        name: Of the file, for messages.
        sha256: Of the file.

    Raises:
        UsageError: Columns that cannot be told, or too few readings.
    """
    first, header, separator, lines = _table(text, name)
    times_at, value_at, factor, is_energy = _columns(header, name)
    rows: list[tuple[float, float]] = []
    bad: list[str] = []
    n_zoned = 0
    for number, line in enumerate(lines, start=first):
        if not line.strip(separator + ' \t"'):
            continue
        try:
            (row,) = csv.reader([line], delimiter=separator)  # one by one: a stray quote spoils no other line
            time_s, has_zone = _instant(" ".join(row[at].strip() for at in times_at))
            value = _number(row[value_at], separator) * factor
            if value < 0:
                raise ValueError(f"{_short(row[value_at])} is negative")
            if rows and time_s <= rows[-1][0]:
                raise ValueError("its time is not after the one before")
        except IndexError:
            bad.append(f"line {number}: it has {len(row)} of {len(header)} columns")
            continue
        except (ValueError, csv.Error) as error:
            bad.append(f"line {number}: {error}")
            continue
        n_zoned += has_zone
        rows.append((time_s, value))
    if len(rows) < N_READINGS_FEWEST:
        seen = f" The first that was left out, {bad[0]}." if bad else ""
        raise UsageError(f"{name} has {len(rows)} readings that can be used.{seen}", _ADVICE)
    if n_zoned not in (0, len(rows)):
        raise UsageError(f"{name} has times with and without a time zone.", "Give every time a zone, or none.")
    notes = [f"{len(bad)} lines were left out: {_some(bad)}"] if bad else []
    times, values = (np.array(column) for column in zip(*rows, strict=True))
    period_s = float(np.median(np.diff(times)))
    if is_energy:
        starts, ends, powers = _from_energy(times, values, notes)
    else:
        starts, ends, powers = _from_power(times, values, period_s)
    return ExternalLog(
        name=name,
        sha256=sha256,
        column=header[value_at].strip(),
        has_zone=n_zoned > 0,
        n_readings=len(rows),
        stretches=Stretches(
            time_start_s=starts,
            time_end_s=ends,
            power_w=powers,
            duration_period_s=period_s,
            time_read_s=None if is_energy else times,
        ),
        notes=tuple(notes),
    )


def _table(text: str, name: str) -> tuple[int, list[str], str, list[str]]:
    """(number of the first line below the header, header, separator, lines below it)."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            separator = max(",;\t", key=line.count)
            try:
                (header,) = csv.reader([line], delimiter=separator)
            except csv.Error as error:
                raise UsageError(f"{name}, line {number + 1} is no header: {error}.", _ADVICE) from error
            return number + 2, header, separator, lines[number + 1 :]
    raise UsageError(f"{name} is empty.", _ADVICE)


def _columns(header: Sequence[str], name: str) -> tuple[list[int], int, float, bool]:
    """(columns of time, column of the value, factor to watts or joules, whether it is energy)."""
    listed = ", ".join(repr(_short(column)) for column in header)
    words = [_words(column) for column in header]
    times = [at for at, each in enumerate(words) if _TIME & set(each) and not _units(each, _POWER | _ENERGY)]
    if len(times) == 2 and sorted(words[at] for at in times) == [["date"], ["time"]]:
        times.sort(key=lambda at: words[at])
    elif len(times) != 1:
        what = "no column of time" if not times else f"{len(times)} columns of time"
        raise UsageError(f"{name} has {what} among {listed}.", _ADVICE)
    own = [at for at in range(len(header)) if at not in times and not _OTHER & set(words[at])]
    powers = [at for at in own if _units(words[at], _POWER) or words[at] == ["power"]]
    energies = [at for at in own if _units(words[at], _ENERGY) and at not in powers]
    chosen = powers or energies
    if len(chosen) != 1:
        what = "no column of power or energy" if not chosen else f"{len(chosen)} columns that it could be"
        raise UsageError(f"{name} has {what} among {listed}.", _ADVICE)
    units = _units(words[chosen[0]], _POWER if powers else _ENERGY) or [1.0]
    return times, chosen[0], units[0], not powers


def _words(column: str) -> list[str]:
    return re.findall(r"[a-z]+", column.lower())


def _short(text: str) -> str:
    """Short enough for a message, whatever was taken for a log."""
    text = text.strip()
    return text if len(text) <= QUOTED_MOST else text[: QUOTED_MOST - 3] + "..."


def _units(words: Sequence[str], units: dict[str, float]) -> list[float]:
    return [units[word] for word in words if word in units]


def _number(text: str, separator: str) -> float:
    """Raises ValueError for anything but a finite number. A decimal comma is one where commas do not separate."""
    plain = text.strip() if separator == "," else text.strip().replace(",", ".")
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"{_short(text)!r} is no number") from None
    if not np.isfinite(value):
        raise ValueError(f"{_short(text)!r} is no number")
    return value


def _instant(text: str) -> tuple[float, bool]:
    """(seconds, whether the zone is known). Unix times may be in s, ms, us or ns."""
    try:
        unix = float(text)
    except ValueError:
        pass
    else:
        for factor in (1.0, 1e-3, 1e-6, 1e-9):
            if 5e8 < unix * factor < 5e9:  # 1985 to 2128
                return unix * factor, True
        raise ValueError(f"{_short(text)!r} is no Unix time")
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{_short(text)!r} is neither ISO 8601 nor Unix time") from None
    if when.tzinfo is None:
        return when.replace(tzinfo=UTC).timestamp(), False
    return when.timestamp(), True


def _from_power(times: FloatArray, values: FloatArray, period_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A reading stands for the time around it, half-way to its neighbours, and not far into a silence."""
    gaps = np.diff(times)
    reach = np.where(gaps > HOLE_PERIODS * period_s, period_s / 2, gaps / 2)
    before, after = np.concatenate([[period_s / 2], reach]), np.concatenate([reach, [period_s / 2]])
    return times - before, times + after, values


def _from_energy(times: FloatArray, values: FloatArray, notes: list[str]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean power between two readings; where the meter was set back nothing is known."""
    kept = np.diff(values) >= 0
    if not kept.all():
        notes.append(
            f"the energy fell {int(np.sum(~kept))} times: the meter was set back, and the time around is unknown"
        )
    return times[:-1][kept], times[1:][kept], (np.diff(values) / np.diff(times))[kept]


def _some(bad: Sequence[str]) -> str:
    return "; ".join(_shown(bad)) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")


def _shown(bad: Sequence[str]) -> Iterator[str]:
    yield from bad[:5]
