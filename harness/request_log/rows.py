"""What every reader gives: one row a request, on the log's own clock.

Rows are plain dataclasses and no pydantic models: a log may have a million of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "warm_up"]
"""A warm-up is in flight like any other, and none of those that are asked about."""
ClockKind = Literal["monotonic", "unix"]

SHOWN_MOST = 5
QUOTED_MOST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request, in seconds of the log's clock. What the log does not say is None.

    `times_chunk_s` are the instants at which output came, the first of them the first token's; where they are unknown,
    `time_last_token_s` may be known. `error` is empty where it was answered; `group` is the part of the log that it
    belongs to, such as one rate of a sweep.
    """

    request_id: str
    time_start_s: float
    time_first_token_s: float | None
    time_end_s: float
    n_prompt_tokens: int | None
    n_output_tokens: int | None
    time_last_token_s: float | None = None
    times_chunk_s: Sequence[float] | None = None
    n_cached_tokens: int | None = None
    state: State = "ok"
    error: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """A log that was read.

    `notes` are doubts about it, in sentences. `streams` is False where nothing is known of when output came.
    """

    kind: str
    clock: ClockKind
    rows: Sequence[RequestRow]
    streams: bool = True
    notes: tuple[str, ...] = ()


class BadRow(ValueError):
    """A row that cannot be used; the message says why."""


def checked(
    *,
    time_start_s: float,
    time_first_token_s: float | None,
    time_end_s: float,
    n_prompt_tokens: int | None,
    n_output_tokens: int | None,
) -> None:
    """Refuse a row that cannot have happened.

    Raises:
        BadRow: A time that is no number, an end before its start, a first token outside of the request, or a negative
            number of tokens.
    """
    if not (math.isfinite(time_start_s) and math.isfinite(time_end_s)):
        raise BadRow("its start or its end is no finite number")
    if time_end_s < time_start_s:
        raise BadRow(f"it ends {time_start_s - time_end_s:.6g} s before it starts")
    if time_first_token_s is not None and not time_start_s <= time_first_token_s <= time_end_s:
        raise BadRow("its first token does not lie between its start and its end")
    if (n_prompt_tokens or 0) < 0 or (n_output_tokens or 0) < 0:
        raise BadRow(f"it has {n_prompt_tokens} prompt and {n_output_tokens} output tokens")


def number(value: object, name: str) -> float:
    """A finite number, or `BadRow` with its name."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRow(f"`{name}` is {quoted(value)}, which is no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise BadRow(f"`{name}` is {quoted(value)}, which is no finite number")
    return found


def count(value: object, name: str) -> int | None:
    """A whole number, None where there is none; otherwise `BadRow`."""
    if value is None:
        return None
    found = number(value, name)
    if found != int(found):
        raise BadRow(f"`{name}` is {found:g}, which is no whole number")
    return int(found)


def quoted(value: object) -> str:
    """Short enough for a message, whatever was taken for a log."""
    text = repr(value)
    return text if len(text) <= QUOTED_MOST else f"{text[: QUOTED_MOST - 3]}..."


def left_out(bad: Sequence[str], what: str = "lines") -> tuple[str, ...]:
    """A note on rows that could not be used; empty where there are none."""
    if not bad:
        return ()
    more = f"; and {len(bad) - SHOWN_MOST:,} more" if len(bad) > SHOWN_MOST else ""
    seen = "; ".join(bad[:SHOWN_MOST])
    return (f"{len(bad):,} {what} were left out, and what they drew is in the shares of others: {seen}{more}.",)
