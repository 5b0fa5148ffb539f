"""What `vllm bench serve --save-result --save-detailed` writes: one JSON object with a list a quantity.

Known from vLLM 0.6 (`benchmark_serving.py`) to 0.32: `start_times` (of `time.perf_counter`, which is CLOCK_MONOTONIC on
Linux), `ttfts` and `itls` in seconds, `input_lens`, `output_lens`, `errors`. A request that failed has no output, and
the log does not say when it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from harness.errors import UsageError
from harness.request_log.rows import BadRow, RequestLog, RequestRow, State, checked, count, left_out, number, quoted

KIND = "vllm bench serve"
NEEDED = ("start_times", "ttfts", "itls", "input_lens", "output_lens")
SUMMARY = ("request_throughput", "total_input_tokens", "num_prompts")
"""Such a file holds at least two of these, detailed or not."""


def looks_like(document: object) -> bool:
    """Whether a JSON document is one of these, detailed or not."""
    if not isinstance(document, dict):
        return False
    return "start_times" in document or "ttfts" in document or sum(name in document for name in SUMMARY) > 1


def read_vllm(documents: Sequence[Mapping[str, Any]], name: str) -> RequestLog:
    """Read one result, or several that were appended to one file.

    Raises:
        UsageError: Without its details, or lists that do not fit each other.
    """
    rows: list[RequestRow] = []
    bad: list[str] = []
    n_unended = 0
    for place, document in enumerate(documents):
        group = "" if len(documents) == 1 else str(place)
        columns = _columns(document, name)
        errors = _optional(document, "errors") or [""] * len(columns[0])
        latencies = _optional(document, "latencies") or [None] * len(columns[0])
        if len(errors) != len(columns[0]) or len(latencies) != len(columns[0]):
            raise _unequal(name, {"start_times": len(columns[0]), "errors": len(errors), "latencies": len(latencies)})
        for number_, values in enumerate(zip(*columns, errors, latencies, strict=True)):
            try:
                row, ended = _row(str(number_), group, *values)
            except BadRow as error:
                bad.append(f"request {number_}: {error}")
                continue
            n_unended += not ended
            rows.append(row)
    notes = left_out(bad, "requests")
    if n_unended:
        unended = (
            f"The log does not say when failed requests ended ({n_unended:,} of them): each is taken to end with "
            "the last output that came, so what they drew without any is in the shares of others."
        )
        notes = (*notes, unended)
    return RequestLog(kind=KIND, clock="monotonic", rows=rows, notes=notes)


def _columns(document: Mapping[str, Any], name: str) -> list[list[Any]]:
    missing = [column for column in NEEDED if not isinstance(document.get(column), list)]
    if missing:
        raise UsageError(
            f"{name} is a result of `vllm bench serve` without {', '.join(f'`{column}`' for column in missing)}: "
            "nothing in it says when each request ran.",
            "Run the load test again with --save-result --save-detailed. "
            "A result of another program with these names needs `start_times` too (time.perf_counter seconds).",
        )
    lengths = {column: len(document[column]) for column in NEEDED}
    if len(set(lengths.values())) > 1:
        raise _unequal(name, lengths)
    return [document[column] for column in NEEDED]


def _optional(document: Mapping[str, Any], column: str) -> list[Any]:
    found = document.get(column)
    return found if isinstance(found, list) else []


def _unequal(name: str, lengths: Mapping[str, int]) -> UsageError:
    listed = ", ".join(f"{length:,} `{column}`" for column, length in lengths.items())
    return UsageError(f"The lists of {name} are of unequal length: {listed}.", "Use the file as vLLM wrote it.")


def _row(
    request_id: str,
    group: str,
    start: Any,
    ttft: Any,
    itls: Any,
    n_prompt: Any,
    n_output: Any,
    error: Any,
    latency: Any,
) -> tuple[RequestRow, bool]:
    """The row, and whether the log says when it ended."""
    start_s = number(start, "start_times")
    first_s = start_s + number(ttft, "ttfts") if ttft else None
    if not isinstance(itls, list):
        raise BadRow(f"`itls` is {quoted(itls)}, which is no list")
    n_prompt_tokens, n_output_tokens = count(n_prompt, "input_lens"), count(n_output, "output_lens")
    failed = bool(error) or first_s is None
    chunks: tuple[float, ...] | None = None
    end_s = start_s
    if first_s is not None:
        if any(gap < 0 for gap in (number(gap, "itls") for gap in itls)):
            raise BadRow("a chunk comes before the one before it")
        chunks = tuple(accumulate(itls, initial=first_s))
        end_s = chunks[-1]
    if latency:
        end_s = max(end_s, start_s + number(latency, "latencies"))
    if failed and not n_output_tokens:
        n_output_tokens = len(chunks) if chunks else 0  # what came before it failed, as near as the log has it
    checked(
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
    )
    state: State = "failed" if failed else "ok"
    row = RequestRow(
        request_id=request_id,
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
        times_chunk_s=chunks,
        state=state,
        error=_last_line(error) if failed else "",
        group=group,
    )
    return row, not failed or bool(latency)


def _last_line(error: object) -> str:
    """Whole tracebacks are stored; their last line is what happened."""
    lines = str(error or "no output").strip().splitlines()
    return lines[-1].strip() if lines else "no output"
