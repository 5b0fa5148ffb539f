"""Why a query has no answer, in the words of the server where it said any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.engine.openai.stream import Stream, words_of_error
from harness.records import Finding, FindingCode

_CODES = {
    "refused": FindingCode.SERVER_REFUSED,
    "timeout": FindingCode.TIMED_OUT,
    "cut": FindingCode.STREAM_CUT,
}
STOPPED = "it was given up, because the load was stopped"
TOO_MANY = 429
OF_THE_QUERY = {400, 413, 422}
"""Refusals that the same query gets again."""


def fault_of(event: Mapping[str, Any], stream: Stream) -> Finding | None:
    """Why the query of an `ended` event failed; None: it is answered."""
    fault, status = event["fault"], event["status"]
    if fault is not None:
        return _of_transport(fault["kind"], fault["words"], status)
    if not event["data"]:
        kind, head = event["content_type"] or "no content type", words_of_error(event["head"] or "nothing")
        return Finding(
            code=FindingCode.SERVER_REFUSED, detail=f"HTTP {status} with {kind} in place of a stream of events: {head}"
        )
    if stream.error is not None:
        return Finding(code=FindingCode.STREAM_CUT, detail=stream.error)
    if not stream.complete:
        return Finding(code=FindingCode.STREAM_CUT, detail="it ended without a reason and without [DONE]")
    if not stream.chunks:
        return Finding(code=FindingCode.STREAM_CUT, detail="it ended in good order and held no token")
    return None


def _of_transport(kind: str, words: str, status: int | None) -> Finding:
    if kind == "stopped":
        return Finding(code=FindingCode.SERVER_LOST, detail=STOPPED)
    if kind != "status":
        return Finding(code=_CODES[kind], detail=words_of_error(words))
    said = words_of_error(words) if words.strip() else "it said nothing"
    code = FindingCode.RATE_LIMITED if status == TOO_MANY else FindingCode.SERVER_REFUSED
    if status in OF_THE_QUERY:
        code = FindingCode.PROMPT_TOO_LONG if "context" in said else FindingCode.QUERY_FAILED
    return Finding(code=code, detail=f"HTTP {status}: {said}")
