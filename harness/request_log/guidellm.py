"""GuideLLM's JSON report: benchmarks, each with its requests by how they ended.

Known from GuideLLM 0.2 and 0.3 (`start_time`, `first_token_time`, `last_token_time`, `end_time`) and from 0.4 to 0.7
(`info.timings`); all Unix seconds. Of the output it says when the first and the last token came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.errors import UsageError
from harness.request_log.rows import BadRow, RequestLog, RequestRow, State, checked, count, left_out, number

KIND = "GuideLLM"
LISTS = ("successful", "incomplete", "errored")
SHORTEST_EDGE_S = 0.001
EVENTS = {
    "start": ("request_start", "resolve_start", "start_time"),
    "first": ("first_token_iteration", "first_iteration", "first_token_time"),
    "last": ("last_token_iteration", "last_iteration", "last_token_time"),
    "end": ("request_end", "resolve_end", "end_time"),
}


def looks_like(document: object) -> bool:
    """Whether a JSON document is one of these."""
    return isinstance(document, dict) and isinstance(document.get("benchmarks"), list)


def read_guidellm(document: Mapping[str, Any], name: str) -> RequestLog:
    """Read the requests of every benchmark of a report.

    Raises:
        UsageError: It lists no requests.
    """
    rows: list[RequestRow] = []
    bad: list[str] = []
    notes: list[str] = []
    benchmarks = [benchmark for benchmark in document["benchmarks"] if isinstance(benchmark, dict)]
    for place, benchmark in enumerate(benchmarks):
        group = _strategy(benchmark, place)
        n_listed = 0
        for kind, number_, request in _requests(benchmark):
            n_listed += 1
            try:
                rows.append(_row(request, group, kind))
            except BadRow as error:
                bad.append(f"benchmark {place}, {kind} request {number_}: {error}")
        n_made = _n_made(benchmark)
        if n_made is not None and n_made > n_listed:
            notes.append(
                f"Benchmark {place} ({group}) made {n_made:,} requests and lists {n_listed:,}: what the others drew is "
                "in the shares of those listed. Let GuideLLM write all of them (no sampling of requests)."
            )
        if _has_edges(benchmark):
            notes.append(
                f"Benchmark {place} ({group}) had a warm-up or cool-down, whose requests are not listed: shares near "
                "its ends hold some of theirs."
            )
    if not rows:
        seen = f" The first that was left out, {bad[0]}." if bad else ""
        raise UsageError(
            f"{name} lists no request that can be used.{seen}",
            "Let GuideLLM write its full JSON report (its requests included), and give that.",
        )
    return RequestLog(
        kind=KIND,
        clock="unix",
        rows=rows,
        streams=any(row.time_first_token_s is not None for row in rows),
        notes=(*left_out(bad, "requests"), *notes),
    )


def _requests(benchmark: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    requests = benchmark.get("requests")
    if isinstance(requests, list):
        requests = {"successful": requests}
    if isinstance(requests, dict):
        for kind in LISTS:
            listed = requests.get(kind)
            for number_, request in enumerate(listed if isinstance(listed, list) else ()):
                yield kind, number_, request


def _row(request: Any, group: str, kind: str) -> RequestRow:
    if not isinstance(request, dict):
        raise BadRow("it is no object")
    info = request.get("info") or request.get("scheduler_info") or {}
    timings = info.get("timings") if isinstance(info, dict) else None
    sources = [each for each in (timings, request) if isinstance(each, dict)]
    start_s, end_s = _event(sources, "start"), _event(sources, "end")
    if start_s is None or end_s is None:
        raise BadRow("it says not when it started and ended (`info.timings`, or `start_time` and `end_time`)")
    first_s, last_s = _event(sources, "first"), _event(sources, "last")
    n_prompt_tokens = _tokens(request, "prompt_tokens", "input_metrics")
    n_output_tokens = _tokens(request, "output_tokens", "output_metrics")
    error = request.get("error") or (info.get("error") if isinstance(info, dict) else None)
    checked(
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
    )
    state: State = "ok" if kind == "successful" else "failed"
    return RequestRow(
        request_id=str(request.get("request_id") or ""),
        time_start_s=start_s,
        time_first_token_s=first_s,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt_tokens,
        n_output_tokens=n_output_tokens,
        time_last_token_s=None if last_s is None else min(last_s, end_s),
        n_cached_tokens=count(request.get("cached_tokens"), "cached_tokens"),
        state=state,
        error="" if state == "ok" else str(error or kind),
        group=group,
    )


def _event(sources: Sequence[Mapping[str, Any]], event: str) -> float | None:
    for source in sources:
        for name in EVENTS[event]:
            if source.get(name) is not None:
                return number(source[name], name)
    return None


def _tokens(request: Mapping[str, Any], name: str, metrics: str) -> int | None:
    if request.get(name) is not None:
        return count(request[name], name)
    found = request.get(metrics)
    if isinstance(found, dict):
        return count(found.get("total_tokens", found.get("text_tokens")), name)
    return None


def _strategy(benchmark: Mapping[str, Any], place: int) -> str:
    """The name of what was asked of the server, such as `concurrent@16`."""
    config = benchmark.get("config") or benchmark.get("args") or {}
    strategy = config.get("strategy") if isinstance(config, dict) else None
    if not isinstance(strategy, dict):
        return str(place)
    rate = next((strategy[key] for key in ("streams", "max_concurrency", "rate") if strategy.get(key)), None)
    kind = str(strategy.get("type_", place))
    return f"{kind}@{rate:g}" if isinstance(rate, float) else f"{kind}@{rate}" if isinstance(rate, int) else kind


def _n_made(benchmark: Mapping[str, Any]) -> int | None:
    for holder, name in (("metrics", "request_totals"), ("run_stats", "requests_made")):
        found = benchmark.get(holder)
        totals = found.get(name) if isinstance(found, dict) else None
        if isinstance(totals, dict) and isinstance(totals.get("total"), int):
            return int(totals["total"])
    return None


def _has_edges(benchmark: Mapping[str, Any]) -> bool:
    durations = (benchmark.get(name) for name in ("warmup_duration", "cooldown_duration"))
    return any(isinstance(each, (int, float)) and each > SHORTEST_EDGE_S for each in durations)
