"""An access log as CSV: a column each of start, first token, end, prompt and output tokens, under names of many kinds.

Times are Unix or monotonic, in seconds, ms, us or ns, or ISO 8601; durations may stand in for the end or the start.
A name may say its unit (`start_ms`, `time_start_unix_s`); otherwise the size of the numbers does.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.errors import UnknownName, UsageError
from harness.request_log.rows import BadRow, ClockKind, RequestLog, RequestRow, State, checked, left_out, quoted

KIND = "access log (CSV)"
ROLES: dict[str, tuple[str, ...]] = {
    "start": ("start", "started", "begin", "sent", "send", "arrival", "arrived", "received"),
    "first": ("first token", "first chunk", "first byte", "token first", "first"),
    "end": ("end", "ended", "finish", "finished", "completed", "done"),
    "ttft": ("ttft", "to first token", "time to first token", "duration first token"),
    "duration": ("duration", "latency", "elapsed", "request latency", "total", "e2e", "e2el"),
    "prompt": ("prompt tokens", "input tokens", "n prompt tokens", "n input tokens", "prompt len", "input len", "isl"),
    "output": (
        *("output tokens", "completion tokens", "generated tokens", "n output tokens", "n completion tokens"),
        *("output len", "osl", "tokens out"),
    ),
    "cached": ("cached tokens", "n cached tokens"),
    "id": ("id", "request id", "req id", "uid"),
    "status": ("status", "status code", "http status", "code"),
    "error": ("error", "exception"),
}
"""Words of a column's name, without those for a unit or a clock. They are also the names of `--columns`."""
TIMES, DURATIONS, COUNTS = ("start", "first", "end"), ("ttft", "duration"), ("prompt", "output", "cached")
NOTHING = ("", "-", "null", "none", "None", "NULL")
"""Cells that say nothing."""
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millis", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "micros", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), 1e-9),
}
_CLOCKS: dict[str, ClockKind] = {"unix": "unix", "epoch": "unix", "monotonic": "monotonic", "mono": "monotonic"}
_IDLE_WORDS = {"time", "at", "timestamp", "ts", "utc", "request", "iso", "date"}
"""Words that may stand in a name and say nothing, where the name says what it is without them."""
UNIX_S = (5e8, 5e9)
"""1985 to 2128. A monotonic clock reaches that after 15 years."""
_OF_THE_TRACE = "Give the log of the requests that the trace was made with."
_ADVICE = "Name the columns: --columns start=NAME,first=NAME,end=NAME,prompt=NAME,output=NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    place: int
    name: str
    unit_s: float | None
    clock: ClockKind | None


def read_access_log(
    text: str,
    name: str,
    columns: Mapping[str, str] | None = None,
    within_monotonic_s: tuple[float, float] | None = None,
) -> RequestLog:
    """Read the text of a log.

    Args:
        text: CSV with a header, separated by commas, semicolons or tabs; quoted as RFC 4180 has it.
        name: Of the file, for messages.
        columns: Names of columns by role, for those whose names do not say it.
        within_monotonic_s: What the trace covers; tells monotonic seconds from milliseconds where no name does.

    Raises:
        UsageError: No header that says when requests start and end, or no row that can be used.
    """
    separator = _separator(text)
    # `strict` finds quotes that never end, which would make one field of the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = next((row for row in reader if any(cell.strip() for cell in row)), None)
        if header is None:
            raise UsageError(f"{name} is empty.", _OF_THE_TRACE)
        found = _columns(header, columns or {}, name)
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: {error}.", "Mend the quotes of that line.") from error
    _check_roles(found, header, name)
    if not rows:
        raise UsageError(f"{name} holds a header and no request.", _OF_THE_TRACE)
    reading = _Reading(found, rows, separator, name, within_monotonic_s)
    good, bad = reading.requests()
    if not good:
        seen = f" The first: {bad[0]}." if bad else ""
        raise UsageError(f"{name} has no request that can be used.{seen}", _ADVICE)
    return RequestLog(
        kind=KIND,
        clock=reading.clock,
        rows=good,
        streams="first" in found or "ttft" in found,
        notes=(*left_out(bad), *reading.notes, *_coarse(good, name)),
    )


def _coarse(rows: Sequence[RequestRow], name: str) -> tuple[str, ...]:
    if not all(row.time_start_s.is_integer() and row.time_end_s.is_integer() for row in rows):
        return ()
    return (f"The times of {name} are whole seconds: shares are rougher than their half-widths say. Log milliseconds.",)


def parse_columns(text: str | None) -> dict[str, str]:
    """What `--columns` says: `start=NAME,end=NAME,...`.

    Raises:
        UsageError: Not of that form.
        UnknownName: No such role.
    """
    chosen: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        role, equals, column = part.partition("=")
        if not equals or not column.strip():
            raise UsageError(f"--columns has {part.strip()!r}, which names no column.", _ADVICE)
        if role.strip() not in ROLES:
            raise UnknownName("role in --columns", role.strip(), ROLES)
        chosen[role.strip()] = column.strip()
    return chosen


class _Reading:
    """How the cells of one log are read: its clock and its units, and each column at once, for the sake of speed."""

    def __init__(
        self,
        found: Mapping[str, _Column],
        rows: Sequence[tuple[int, list[str]]],
        separator: str,
        name: str,
        within_s: tuple[float, float] | None,
    ) -> None:
        self._found, self._separator = found, separator
        self.notes: list[str] = []
        n_needed = max(column.place for column in found.values()) + 1
        self._wrong: dict[int, str] = {}
        self._short = [(line, f"it has too few columns ({len(row)})") for line, row in rows if len(row) < n_needed]
        whole = [(line, row) for line, row in rows if len(row) >= n_needed]
        self._lines = [line for line, _ in whole]
        self._cells = {role: [row[column.place].strip() for _, row in whole] for role, column in found.items()}
        times = [role for role in TIMES if role in found]
        sample = self._sample(self._cells[times[0]])
        self._is_iso = isinstance(sample, datetime)
        self.clock: ClockKind = "unix"
        unit_s = 1.0
        if isinstance(sample, float):
            self.clock, unit_s = _clock_of(sample, found[times[0]], within_s)
        elif sample is not None and sample.tzinfo is None:
            self.notes.append(
                f"The times of {name} have no time zone and are taken as UTC; `--clock-offset` moves them."
            )
        self._unit_s = {role: found[role].unit_s or unit_s for role in (*TIMES, *DURATIONS) if role in found}
        for role in DURATIONS:
            if role in found and found[role].unit_s is None and unit_s != 1.0:
                self.notes.append(f"Column {quoted(found[role].name)} is read in the unit of the times, {unit_s:g} s.")

    def requests(self) -> tuple[list[RequestRow], list[str]]:
        """The rows that can be used, and what is wrong with the others."""
        values = [self._times(role) for role in TIMES]
        values += [self._numbers(role, self._unit_s.get(role, 1.0)) for role in DURATIONS]
        counts = [self._counts(role) for role in COUNTS]
        texts = [self._cells.get(role) or [""] * len(self._lines) for role in ("id", "status", "error")]
        good: list[RequestRow] = []
        for place, cells in enumerate(zip(*values, *counts, *texts, strict=True)):
            if place in self._wrong:
                continue
            try:
                good.append(_row(len(good), *cells))
            except BadRow as error:
                self._wrong[place] = str(error)
        bad = self._short + [(self._lines[place], why) for place, why in self._wrong.items()]
        return good, [f"line {line}: {why}" for line, why in sorted(bad)]

    def _sample(self, cells: Sequence[str]) -> float | datetime | None:
        """The first cell of a column that can be read, which says how all are."""
        for cell in cells:
            for read in (self._number, _moment):
                try:
                    return read(cell)
                except BadRow:
                    continue
        return None

    def _times(self, role: str) -> list[float | None]:
        if not self._is_iso:
            return self._numbers(role, self._unit_s.get(role, 1.0))
        return self._each(role, _unix_s)

    def _numbers(self, role: str, unit: float = 1.0) -> list[float | None]:
        if role in self._cells and self._separator == ",":
            try:
                values = [float(cell) * unit for cell in self._cells[role]]
            except ValueError:
                pass  # an empty cell, or a bad one: each by itself
            else:
                if all(map(math.isfinite, values)):
                    return list(values)
        return self._each(role, lambda text: self._number(text) * unit)

    def _counts(self, role: str) -> list[int | None]:
        values = self._numbers(role)
        found = [None if value is None else int(value) for value in values]
        if found != values:
            for place, (whole, value) in enumerate(zip(found, values, strict=True)):
                if whole != value:
                    self._wrong.setdefault(place, f"{value:g} is no whole number of tokens")
        return found

    def _each(self, role: str, read: Callable[[str], float]) -> list[float | None]:
        if role not in self._cells:
            return [None] * len(self._lines)
        found: list[float | None] = []
        for place, cell in enumerate(self._cells[role]):
            try:
                found.append(None if cell in NOTHING else read(cell))
            except BadRow as error:
                found.append(None)
                self._wrong.setdefault(place, str(error))
        return found

    def _number(self, text: str) -> float:
        """A decimal comma is one where commas do not separate."""
        try:
            value = float(text if self._separator == "," else text.replace(",", "."))
        except ValueError:
            raise BadRow(f"{quoted(text)} is no number") from None
        if not math.isfinite(value):
            raise BadRow(f"{quoted(text)} is no finite number")
        return value


def _row(
    place: int,
    start_s: float | None,
    first_s: float | None,
    end_s: float | None,
    to_first_s: float | None,
    duration_s: float | None,
    n_prompt_tokens: int | None,
    n_output_tokens: int | None,
    n_cached_tokens: int | None,
    request_id: str,
    status: str,
    said: str,
) -> RequestRow:
    if duration_s is not None:
        if start_s is None and end_s is not None:
            start_s = end_s - duration_s
        elif end_s is None and start_s is not None:
            end_s = start_s + duration_s
    if start_s is None or end_s is None:
        raise BadRow("it says not when it started and ended")
    if first_s is None and to_first_s is not None:
        first_s = start_s + to_first_s
    checked(
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
    )
    error = _error(status, said) if status or said else ""
    state: State = "failed" if error else "ok"
    return RequestRow(
        request_id=request_id or str(place),
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
        n_cached_tokens=n_cached_tokens,
        state=state,
        error=error,
    )


def _error(status: str, said: str) -> str:
    """What went wrong, by a column of errors or of HTTP's status; empty: nothing."""
    if said and said.lower() not in ("0", "false", "no", *NOTHING):
        return said
    if status.isdigit():
        return f"status {status}" if int(status) >= 400 or 0 < int(status) < 200 else ""
    failed = status.lower() in ("error", "errored", "failed", "false", "cancelled", "timeout")
    return f"status {status}" if failed else ""


def _separator(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=first.count)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return re.findall(r"[a-z0-9]+", spaced.lower())


def _columns(header: Sequence[str], chosen: Mapping[str, str], name: str) -> dict[str, _Column]:
    plain = [cell.strip() for cell in header]
    found: dict[str, _Column] = {}
    for role, column in chosen.items():
        if column not in plain:
            raise UnknownName(f"column of {name}", column, plain)
        found[role] = _column(plain.index(column), column)
    taken = {column.place for column in found.values()}
    for role, synonyms in ROLES.items():
        if role in found:
            continue
        places = [place for place, cell in enumerate(plain) if place not in taken and _is(cell, synonyms)]
        if len(places) > 1:
            listed = ", ".join(quoted(plain[place]) for place in places)
            raise UsageError(f"{name} has {len(places)} columns that could be its {role}: {listed}.", _ADVICE)
        if places:
            found[role] = _column(places[0], plain[places[0]])
            taken.add(places[0])
    return found


def _is(cell: str, synonyms: Sequence[str]) -> bool:
    words = _words(cell)
    if " ".join(words) in synonyms:
        return True
    kept = [word for word in words if word not in _UNITS and word not in _CLOCKS]
    if " ".join(kept) in synonyms:
        return True
    return " ".join(word for word in kept if word not in _IDLE_WORDS) in synonyms


def _column(place: int, name: str) -> _Column:
    words = _words(name)
    unit_s = next((_UNITS[word] for word in reversed(words) if word in _UNITS), None)
    clock = next((_CLOCKS[word] for word in words if word in _CLOCKS), None)
    return _Column(place=place, name=name, unit_s=unit_s, clock=clock)


def _check_roles(found: Mapping[str, _Column], header: Sequence[str], name: str) -> None:
    n_known = sum(role in found for role in ("start", "end", "duration"))
    if n_known < 2 or not ("start" in found or "end" in found):
        missing = " and ".join(f"`{role}`" for role in ("start", "end") if role not in found)
        listed = ", ".join(quoted(cell.strip()) for cell in header)
        raise UsageError(f"{name} has no column of {missing} among {listed}.", _ADVICE)


def _clock_of(sample: float, column: _Column, within_s: tuple[float, float] | None) -> tuple[ClockKind, float]:
    """(clock, seconds of one unit) of a column of numbers, by its name, else by their size."""
    if column.unit_s is not None:
        unix = UNIX_S[0] < sample * column.unit_s < UNIX_S[1]
        return column.clock or ("unix" if unix else "monotonic"), column.unit_s
    scales = (1.0, 1e-3, 1e-6, 1e-9)
    if column.clock != "monotonic":
        for scale in scales:
            if UNIX_S[0] < sample * scale < UNIX_S[1] and not _lies(sample, within_s):
                return "unix", scale
    for scale in scales:
        if _lies(sample * scale, within_s):
            return "monotonic", scale
    return column.clock or "monotonic", 1.0


def _lies(time_s: float, within_s: tuple[float, float] | None) -> bool:
    return within_s is not None and within_s[0] - 1.0 <= time_s <= within_s[1] + 1.0


def _unix_s(text: str) -> float:
    moment = _moment(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadRow(f"{quoted(text)} is neither a number nor an ISO 8601 time") from None
