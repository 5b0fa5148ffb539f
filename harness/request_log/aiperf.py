"""AIPerf's `profile_export.jsonl`: one JSON object a request, `{"metadata", "metrics", "error"}`.

Known from AIPerf 0.1 to 0.12: `request_start_ns` and `request_end_ns` are Unix nanoseconds; metrics are
`{"value", "unit"}`. The time to the first token was called `ttft` in the first releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from harness.errors import UsageError
from harness.request_log.rows import BadRow, RequestLog, RequestRow, State, checked, count, left_out, number, quoted

KIND = "AIPerf"
FIRST_TOKEN = ("time_to_first_token", "ttft")
OUTPUT = ("output_sequence_length", "output_token_count")
"""The first counts reasoning too."""
PROMPT = ("input_sequence_length", "error_isl")
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9}


def looks_like(document: object) -> bool:
    """Whether one line's object is one of these."""
    return isinstance(document, dict) and isinstance(document.get("metadata"), dict) and "metrics" in document


def read_aiperf(lines: Iterable[str], name: str) -> RequestLog:
    """Read the records.

    Raises:
        UsageError: No line that can be used.
    """
    rows: list[RequestRow] = []
    bad: list[str] = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line)))
        except json.JSONDecodeError:
            bad.append(f"line {place} is not whole")
        except BadRow as error:
            bad.append(f"line {place}: {error}")
    if not rows:
        seen = f" The first: {bad[0]}." if bad else ""
        raise UsageError(f"{name} has no record that can be used.{seen}", "Give AIPerf's profile_export.jsonl.")
    notes = left_out(bad)
    streams = any(row.time_first_token_s is not None for row in rows)
    return RequestLog(kind=KIND, clock="unix", rows=rows, streams=streams, notes=notes)


def _row(record: object) -> RequestRow:
    if not isinstance(record, dict):
        raise BadRow(f"{quoted(record)} is no record")
    metadata, metrics = record.get("metadata"), record.get("metrics")
    if not isinstance(metadata, dict) or not isinstance(metrics, dict):
        raise BadRow("`metadata` or `metrics` is missing")
    for needed in ("request_start_ns", "request_end_ns"):
        if metadata.get(needed) is None:
            raise BadRow(f"`{needed}` is missing")
    start_s = number(metadata["request_start_ns"], "request_start_ns") * 1e-9
    end_s = number(metadata["request_end_ns"], "request_end_ns") * 1e-9
    to_first_s = _duration_s(metrics, FIRST_TOKEN)
    first_s = None if to_first_s is None else min(start_s + to_first_s, end_s)
    error = record.get("error")
    failed = error is not None or bool(metadata.get("was_cancelled"))
    n_output_tokens = _tokens(metrics, OUTPUT)
    checked(
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=_tokens(metrics, PROMPT),
        n_output_tokens=n_output_tokens,
    )
    warm_up = metadata.get("benchmark_phase") == "warmup"
    state: State = "warm_up" if warm_up else "failed" if failed else "ok"
    return RequestRow(
        request_id=_identity(metadata),
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=_tokens(metrics, PROMPT),
        n_output_tokens=n_output_tokens,
        times_chunk_s=None if first_s is None else _chunks_s(metrics, first_s, end_s),
        state=state,
        error=_words(error) if failed else "",
    )


def _identity(metadata: Mapping[str, Any]) -> str:
    for name in ("x_request_id", "session_num"):
        if metadata.get(name) is not None:
            return str(metadata[name])
    return ""


def _metric(metrics: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, str, str] | None:
    """(value, unit, name) of the first that is there."""
    for name in names:
        found = metrics.get(name)
        if isinstance(found, dict) and found.get("value") is not None:
            return found["value"], str(found.get("unit", "")), name
    return None


def _duration_s(metrics: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    found = _metric(metrics, names)
    return None if found is None else number(found[0], found[2]) * _seconds(found[1], found[2])


def _seconds(unit: str, name: str) -> float:
    if unit not in SECONDS:
        raise BadRow(f"`{name}` is in {quoted(unit)}, which is no unit of time that is known here")
    return SECONDS[unit]


def _tokens(metrics: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = _metric(metrics, names)
    return None if found is None else count(found[0], found[2])


def _chunks_s(metrics: Mapping[str, Any], first_s: float, end_s: float) -> tuple[float, ...] | None:
    """Where the record lists the distances of its chunks; None: it does not."""
    found = _metric(metrics, ("inter_chunk_latency",))
    if found is None or not isinstance(found[0], list):
        return None
    unit_s = _seconds(found[1], found[2])
    gaps = [number(gap, found[2]) * unit_s for gap in found[0]]
    if any(gap < 0 for gap in gaps):
        raise BadRow("a chunk comes before the one before it")
    return tuple(min(time_s, end_s) for time_s in accumulate(gaps, initial=first_s))


def _words(error: object) -> str:
    if isinstance(error, dict):
        parts = (error.get("code"), error.get("type"), error.get("message"))
        return " ".join(str(part) for part in parts if part is not None) or "failed"
    return "cancelled" if error is None else str(error)
