"""Request logs of every kind that is known, in small ones made by hand after the public formats, and what is refused.

The shapes are those of vLLM 0.6 to 0.32, AIPerf 0.1 to 0.12, GuideLLM 0.3 and 0.7; the numbers are made up.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnknownName, UsageError
from harness.request_log.access_log import parse_columns
from harness.request_log.reading import parse_requests, read_requests
from harness.request_log.rows import RequestLog

VLLM: dict[str, Any] = {
    "date": "20260601-120000",
    "endpoint_type": "openai",
    "backend": "openai",
    "label": None,
    "model_id": "Qwen/Qwen3-0.6B",
    "tokenizer_id": "Qwen/Qwen3-0.6B",
    "num_prompts": 3,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 2,
    "duration": 3.2,
    "completed": 2,
    "failed": 1,
    "total_input_tokens": 40,
    "total_output_tokens": 7,
    "request_throughput": 0.6,
    "request_goodput": None,
    "output_throughput": 2.2,
    "total_token_throughput": 14.7,
    "input_lens": [30, 10, 20],
    "output_lens": [4, 3, 0],
    "ttfts": [0.5, 0.25, 0.0],
    "itls": [[0.1, 0.1, 0.1], [0.2, 0.3], []],
    "start_times": [812.5, 813.0, 813.5],
    "generated_texts": ["a b c d", "a b c", ""],
    "errors": ["", "", "Traceback (most recent call last):\n  ...\nTimeoutError\n"],
    "mean_ttft_ms": 375.0,
}
AIPERF_OK: dict[str, Any] = {
    "metadata": {
        "session_num": 0,
        "x_request_id": "7609a2e7",
        "x_correlation_id": "32ee4f33",
        "conversation_id": "77aa5b0e",
        "turn_index": 0,
        "request_start_ns": 1_780_000_000_500_000_000,
        "request_ack_ns": 1_780_000_000_510_000_000,
        "request_end_ns": 1_780_000_001_500_000_000,
        "worker_id": "worker_1",
        "record_processor_id": "record_processor_1",
        "benchmark_phase": "profiling",
        "was_cancelled": False,
        "cancellation_time_ns": None,
    },
    "metrics": {
        "input_sequence_length": {"value": 550, "unit": "tokens"},
        "time_to_first_token": {"value": 255.5, "unit": "ms"},
        "request_latency": {"value": 1000.0, "unit": "ms"},
        "output_token_count": {"value": 4, "unit": "tokens"},
        "output_sequence_length": {"value": 5, "unit": "tokens"},
        "inter_chunk_latency": {"value": [100.0, 50.0], "unit": "ms"},
    },
    "error": None,
}
AIPERF_FAILED: dict[str, Any] = {
    "metadata": {
        "session_num": 1,
        "request_start_ns": 1_780_000_001_000_000_000,
        "request_ack_ns": None,
        "request_end_ns": 1_780_000_001_250_000_000,
        "worker_id": "worker_1",
        "record_processor_id": "record_processor_1",
        "benchmark_phase": "profiling",
        "was_cancelled": True,
        "cancellation_time_ns": 1_780_000_001_250_000_000,
    },
    "metrics": {"error_isl": {"value": 550, "unit": "tokens"}},
    "error": {"code": 499, "type": "RequestCancellationError", "message": "cancelled after 0.250 seconds"},
}
UNIX_S = 1_780_000_000.0


def guidellm_7(**timings: float | None) -> dict[str, Any]:
    return {
        "type_": "generative_request_stats",
        "request_id": "req-1",
        "request_args": None,
        "output": "text",
        "info": {
            "request_id": "req-1",
            "status": "completed",
            "timings": {
                "targeted_start": UNIX_S,
                "resolve_start": UNIX_S + 0.01,
                "request_start": UNIX_S + 0.02,
                "first_request_iteration": UNIX_S + 0.4,
                "first_token_iteration": UNIX_S + 0.5,
                "last_token_iteration": UNIX_S + 1.5,
                "token_iterations": 10,
                "request_end": UNIX_S + 1.6,
                "resolve_end": UNIX_S + 1.7,
                **timings,
            },
            "error": None,
        },
        "input_metrics": {"text_tokens": 64, "cached_tokens": 16},
        "output_metrics": {"text_tokens": 11},
        "prompt_tokens": 64,
        "cached_tokens": 16,
        "output_tokens": 11,
        "request_latency": 1.58,
    }


GUIDELLM_7: dict[str, Any] = {
    "metadata": {"version": 2, "guidellm_version": "0.7.3"},
    "config": {},
    "benchmarks": [
        {
            "type_": "generative_benchmark",
            "config": {"strategy": {"type_": "concurrent", "streams": 16}},
            "metrics": {"request_totals": {"successful": 1, "incomplete": 1, "errored": 1, "total": 3}},
            "requests": {
                "successful": [guidellm_7()],
                "incomplete": [guidellm_7(request_start=None, last_token_iteration=None, request_end=None)],
                "errored": [],
                "total": None,
            },
            "warmup_duration": 2.0,
        }
    ],
}
GUIDELLM_3: dict[str, Any] = {
    "benchmarks": [
        {
            "args": {"strategy": {"type_": "constant", "rate": 2.5}},
            "run_stats": {"requests_made": {"successful": 1, "incomplete": 0, "errored": 1, "total": 2}},
            "requests": {
                "successful": [
                    {
                        "type_": "generative_text_response",
                        "request_id": "a",
                        "request_type": "text_completions",
                        "prompt_tokens": 12,
                        "output_tokens": 8,
                        "start_time": UNIX_S,
                        "end_time": UNIX_S + 2,
                        "first_token_time": UNIX_S + 0.5,
                        "last_token_time": UNIX_S + 1.9,
                    }
                ],
                "incomplete": [],
                "errored": [
                    {
                        "type_": "generative_text_error",
                        "request_id": "b",
                        "error": "503",
                        "prompt_tokens": 12,
                        "output_tokens": 0,
                        "start_time": UNIX_S,
                        "end_time": UNIX_S + 0.1,
                        "first_token_time": None,
                        "last_token_time": None,
                    }
                ],
            },
        }
    ]
}


def parsed(document: object, **more: Any) -> RequestLog:
    text = document if isinstance(document, str) else json.dumps(document)
    return parse_requests(text, "log", **more)


# ----------------------------------------------------------------------------------------------- vLLM


def test_vllm() -> None:
    log = parsed(VLLM)
    assert (log.kind, log.clock, log.streams) == ("vllm bench serve", "monotonic", True)
    first, second, failed = log.rows
    assert (first.time_start_s, first.time_first_token_s) == (812.5, 813.0)
    assert first.time_end_s == pytest.approx(813.3)
    assert first.times_chunk_s == pytest.approx((813.0, 813.1, 813.2, 813.3))
    assert (first.n_prompt_tokens, first.n_output_tokens, first.state) == (30, 4, "ok")
    assert second.time_end_s == pytest.approx(813.75)
    assert (failed.state, failed.error, failed.time_end_s, failed.n_output_tokens) == (
        "failed",
        "TimeoutError",
        813.5,
        0,
    )
    assert failed.time_first_token_s is None
    assert any("when failed requests ended (1 of" in note for note in log.notes)


def test_vllm_says_the_end_of_a_failed_request_in_later_versions() -> None:
    log = parsed({**VLLM, "latencies": [0.8, 0.75, 2.0], "queue_times": [0.0, 0.0, 0.1]})
    assert log.rows[2].time_end_s == 815.5
    assert not log.notes


def test_vllm_results_that_were_appended_are_read_one_by_one() -> None:
    log = parsed(f"{json.dumps(VLLM)}\n{json.dumps(VLLM)}\n")
    assert [row.group for row in log.rows] == ["0"] * 3 + ["1"] * 3


def test_vllm_without_its_details_is_refused_with_the_next_step() -> None:
    kept = {key: value for key, value in VLLM.items() if not isinstance(value, list)}
    with pytest.raises(UsageError, match="`start_times`") as caught:
        parsed(kept)
    assert "--save-detailed" in caught.value.next_step
    with pytest.raises(UsageError, match="without `start_times`: ") as caught:
        parsed({key: value for key, value in VLLM.items() if key != "start_times"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ttfts": [0.5, 0.25]}, "unequal length"),
        ({"errors": [""]}, "unequal length"),
        ({"start_times": [float("nan")] * 3}, "holds no request"),
        ({"errors": True, "latencies": 3, "ttfts": ["a"] * 3}, "holds no request"),
        ({"itls": [0.1, 0.1, 0.1]}, "holds no request"),
        ({"start_times": [10**400] * 3}, "holds no request"),
        ({"start_times": []}, "unequal length"),
    ],
)
def test_vllm_lists_that_cannot_be_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps({**VLLM, **change}))
    with pytest.raises(UsageError, match=words):
        read_requests(path)


def test_vllm_rows_that_cannot_be_are_left_out_and_named() -> None:
    log = parsed({**VLLM, "ttfts": [0.5, float("inf"), 0.0], "itls": [[0.1, -0.1, 0.1], [], []]})
    assert [row.request_id for row in log.rows] == ["2"]
    assert "2 requests were left out" in log.notes[0]
    assert "request 0: a chunk comes before" in log.notes[0]
    assert "request 1: `ttfts` is inf" in log.notes[0]


# --------------------------------------------------------------------------------------------- AIPerf


def test_aiperf() -> None:
    log = parsed(f"{json.dumps(AIPERF_OK)}\n{json.dumps(AIPERF_FAILED)}\n")
    assert (log.kind, log.clock) == ("AIPerf", "unix")
    first, failed = log.rows
    assert first.time_start_s == pytest.approx(UNIX_S + 0.5, abs=1e-6)
    assert first.time_first_token_s == pytest.approx(UNIX_S + 0.7555, abs=1e-6)
    assert first.times_chunk_s == pytest.approx((UNIX_S + 0.7555, UNIX_S + 0.8555, UNIX_S + 0.9055), abs=1e-6)
    assert (first.request_id, first.n_prompt_tokens, first.n_output_tokens) == ("7609a2e7", 550, 5)
    assert (failed.state, failed.request_id, failed.n_prompt_tokens, failed.n_output_tokens) == (
        "failed",
        "1",
        550,
        None,
    )
    assert failed.error.startswith("499 RequestCancellationError")


def test_aiperf_of_the_first_releases_and_without_streaming() -> None:
    metrics = {"ttft": {"value": 0.25, "unit": "s"}, "output_token_count": {"value": 4, "unit": "tokens"}}
    (row,) = parsed({**AIPERF_OK, "metrics": metrics}).rows
    assert row.time_first_token_s == pytest.approx(UNIX_S + 0.75, abs=1e-6)
    assert (row.n_prompt_tokens, row.n_output_tokens, row.times_chunk_s) == (None, 4, None)
    log = parsed({**AIPERF_OK, "metrics": {"output_token_count": {"value": 4, "unit": "tokens"}}})
    assert not log.streams


def test_aiperf_warm_ups_are_told_apart() -> None:
    warm_up = {**AIPERF_OK, "metadata": {**AIPERF_OK["metadata"], "benchmark_phase": "warmup"}}
    assert [row.state for row in parsed(f"{json.dumps(AIPERF_OK)}\n{json.dumps(warm_up)}").rows] == ["ok", "warm_up"]


def test_aiperf_lines_that_cannot_be_used_are_named() -> None:
    odd = {**AIPERF_OK, "metrics": {"time_to_first_token": {"value": 1, "unit": "fortnights"}}}
    endless = {**AIPERF_OK, "metadata": {"request_start_ns": 5}}
    text = "\n".join([json.dumps(AIPERF_OK), json.dumps(odd), json.dumps(endless), json.dumps(AIPERF_OK)[:200]])
    log = parsed(text)
    assert len(log.rows) == 1
    for words in (
        "line 2: `time_to_first_token` is in 'fortnights'",
        "line 3: `request_end_ns`",
        "line 4 is not whole",
    ):
        assert words in log.notes[0]
    with pytest.raises(UsageError, match="no record that can be used"):
        parsed(json.dumps(endless))


def test_a_summary_of_aiperf_is_refused() -> None:
    with pytest.raises(UsageError, match="no request in it") as caught:
        parsed({"request_throughput": {"avg": 1}, "request_latency": {"avg": 3}, "input_config": {}})
    assert "profile_export.jsonl" in caught.value.next_step
    with pytest.raises(UsageError, match="raw export"):
        parsed({"metadata": {}, "start_perf_ns": 1, "payload": {}, "responses": []})


def test_aiperf_of_the_latest_releases_leaves_out_what_is_default() -> None:
    metadata = {key: AIPERF_OK["metadata"][key] for key in ("session_num", "request_start_ns", "request_end_ns")}
    (row,) = parsed({"metadata": metadata, "metrics": AIPERF_OK["metrics"]}).rows
    assert (row.state, row.request_id) == ("ok", "0")


# ------------------------------------------------------------------------------------------- GuideLLM


def test_guidellm_7() -> None:
    log = parsed(GUIDELLM_7)
    assert (log.kind, log.clock) == ("GuideLLM", "unix")
    first, cut = log.rows
    assert (first.time_start_s, first.time_end_s) == (UNIX_S + 0.02, UNIX_S + 1.6)
    assert (first.time_first_token_s, first.time_last_token_s) == (UNIX_S + 0.5, UNIX_S + 1.5)
    assert (first.n_prompt_tokens, first.n_cached_tokens, first.n_output_tokens) == (64, 16, 11)
    assert (first.state, first.group) == ("ok", "concurrent@16")
    assert (cut.state, cut.error) == ("failed", "incomplete")
    assert (cut.time_start_s, cut.time_end_s) == (UNIX_S + 0.01, UNIX_S + 1.7)
    assert any("made 3 requests and lists 2" in note for note in log.notes)
    assert any("warm-up or cool-down" in note for note in log.notes)


def test_guidellm_3() -> None:
    log = parsed(GUIDELLM_3)
    first, failed = log.rows
    assert (first.time_start_s, first.time_first_token_s, first.time_end_s) == (UNIX_S, UNIX_S + 0.5, UNIX_S + 2)
    assert (first.n_prompt_tokens, first.n_output_tokens, first.group) == (12, 8, "constant@2.5")
    assert (failed.state, failed.error, failed.time_first_token_s) == ("failed", "503", None)
    assert not log.notes


@pytest.mark.parametrize(
    "document",
    [
        {"benchmarks": []},
        {"benchmarks": [{"requests": {"successful": [{"x": 1}]}}]},
        {"benchmarks": [{"requests": {"successful": True}, "warmup_duration": "long"}]},
    ],
)
def test_guidellm_without_requests_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no request that can be used"):
        parsed(document)


# -------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    "header",
    [
        "request_id,start,first_token,end,prompt_tokens,output_tokens",
        "id;Start Time;First Token Time;End Time;Input Tokens;Completion Tokens",
        "id\tstart_unix_s\tfirst_token_unix_s\tend_unix_s\tn_prompt_tokens\tn_output_tokens",
        "requestId,startTime,firstTokenTime,endTime,promptTokens,generatedTokens",
        "id,sent_at,first_chunk_at,finished_at,isl,osl",
    ],
)
def test_csv_headers_of_many_kinds(header: str) -> None:
    separator = max(",;\t", key=header.count)
    cells = separator.join(["q1", f"{UNIX_S:.3f}", f"{UNIX_S + 1:.3f}", f"{UNIX_S + 3:.3f}", "10", "20"])
    log = parsed(f"\ufeff{header}\r\n{cells}\r\n".removeprefix("\ufeff"))
    (row,) = log.rows
    assert (row.request_id, row.time_start_s, row.time_first_token_s) == ("q1", UNIX_S, UNIX_S + 1)
    assert (row.time_end_s, row.n_prompt_tokens, row.n_output_tokens, log.clock) == (UNIX_S + 3, 10, 20, "unix")


def test_csv_columns_can_be_named() -> None:
    text = "a,b,c,d\n1,5.0,6.0,x\n"
    log = parsed(text, columns=parse_columns("start=b,end=c"))
    assert (log.rows[0].time_start_s, log.rows[0].time_end_s) == (5.0, 6.0)
    with pytest.raises(UnknownName, match="column of log"):
        parsed(text, columns={"start": "B", "end": "c"})
    with pytest.raises(UsageError, match="names no column"):
        parse_columns("start")
    with pytest.raises(UnknownName, match="role"):
        parse_columns("starts=b")


def test_csv_durations_stand_in_for_an_end_or_a_start() -> None:
    (row,) = parsed("end_unix_ms,latency_ms,ttft_ms,status\n1780000002500,2500,500,200\n").rows
    assert (row.time_start_s, row.time_first_token_s, row.time_end_s) == (UNIX_S, UNIX_S + 0.5, UNIX_S + 2.5)
    assert row.state == "ok"
    log = parsed("start,duration\n1780000000500,2500\n")
    assert log.rows[0].time_end_s == UNIX_S + 3.0
    assert any("in the unit of the times, 0.001 s" in note for note in log.notes)


def test_csv_times_in_iso() -> None:
    text = "start,end,output_tokens\n2026-05-28T20:26:40Z,2026-05-28T22:26:42+02:00,5\n"
    (row,) = parsed(text).rows
    assert (row.time_start_s, row.time_end_s) == (UNIX_S, UNIX_S + 2)
    log = parsed(text.replace("Z", "").replace("22:26:42+02:00", "20:26:42"))
    assert log.rows[0].time_start_s == UNIX_S
    assert any("no time zone" in note for note in log.notes)


def test_csv_units_of_a_monotonic_clock_are_told_by_the_trace() -> None:
    text = "start,end\n5000500,5001500\n"
    assert parsed(text, within_monotonic_s=(4990.0, 5100.0)).rows[0].time_start_s == 5000.5
    assert parsed(text).rows[0].time_start_s == 5000500.0
    assert parsed("start_ms,end_ms\n5000500,5001500\n").rows[0].time_end_s == 5001.5


def test_csv_times_in_whole_seconds_are_called_coarse() -> None:
    coarse = parse_requests("start,end\n1780000000,1780000004\n1780000001,1780000003\n", "log.csv")
    assert any("whole seconds" in note for note in coarse.notes)
    fine = parse_requests("start,end\n1780000000,1780000004.5\n1780000001,1780000003\n", "log.csv")
    assert not any("whole seconds" in note for note in fine.notes)


def test_csv_failures_and_quotes() -> None:
    text = (
        "id,start,end,status,error\n"
        '"a,b",1.0,2.0,200,\n'
        "c,1.0,2.0,503,\n"
        'd,1.0,2.0,,"line one\nsays ""no"""\n'
        "e,1.0,2.0,error,\n"
        "f,1.0,2.0,ok,none\n"
    )
    rows = parsed(text).rows
    assert [row.request_id for row in rows] == ["a,b", "c", "d", "e", "f"]
    assert [row.error for row in rows] == ["", "status 503", 'line one\nsays "no"', "status error", ""]


def test_csv_lines_that_cannot_be_used_are_named() -> None:
    text = "start,first_token,end,output_tokens\n" + "\n".join(
        [
            "1.0,1.5,2.0,5",
            "nan,1.5,2.0,5",
            "3.0,2.5,4.0,5",
            "5.0,5.5,4.0,5",
            "1.0,1.5,2.0,1.5",
            "1.0,1.5",
            "",
            "x,1,2,3",
        ]
    )
    log = parsed(text)
    assert len(log.rows) == 1
    for words in (
        "6 lines were left out",
        "line 3: 'nan' is no finite number",
        "line 4: its first token does not lie",
        "line 5: it ends 1 s before",
        "line 6: 1.5 is no whole number",
        "line 7: it has too few columns (2)",
        "and 1 more",
    ):
        assert words in log.notes[0], words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("<!DOCTYPE html><html>", "HTML"),
        ("benchmarks:\n- requests: []\n", "YAML"),
        ("{}", "not known here"),
        ("[1, 2]", "not known here"),
        ('{"start_times": [1, 2', "breaks off"),
        ('{"start_times": ["a', "breaks off"),
        ('{"a" 1}', "is broken at line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("when,what\n1,2\n", "no column of `start` and `end`"),
        ("start,begin,end\n1,2,3\n", "2 columns that could be its start"),
        ("start,end\n", "a header and no request"),
        ("start,end\na,b\n", "no request that can be used"),
        ('start,end\n"1,2\n3,4\n', "line"),
    ],
)
def test_what_is_no_log_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parsed(text)
    assert caught.value.next_step


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_requests(tmp_path / "no.json")
    (tmp_path / "b.json").write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(UsageError, match="no text"):
        read_requests(tmp_path / "b.json")


def test_many_rows_take_little_time_each() -> None:
    n_rows = 20_000
    lines = [f"{place},{UNIX_S + place:.6f},{UNIX_S + place + 1:.6f},10,20" for place in range(n_rows)]
    text = "\n".join(["id,start,end,prompt_tokens,output_tokens", *lines])
    began_s = time.process_time()
    assert len(parsed(text).rows) == n_rows
    assert (time.process_time() - began_s) / n_rows < 200e-6
