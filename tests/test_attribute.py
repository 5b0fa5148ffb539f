"""`harness attribute`: traces whose energy is known, shared among requests whose progress is known."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from harness.attributing import Wanted, attribute
from harness.attributing.load import in_flight, load_of, spread
from harness.cli.parser import run_verb
from harness.errors import ExitCode, UsageError
from harness.records import Boundary, Channel, CommandReport, FindingCode, Method
from harness.report.attributed import AttributionReport, show
from harness.request_log.rows import RequestRow
from harness.store.trace import open_trace
from harness.store.trace_reading import read_trace
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, constant, write_config
from tests.synthetic_power import (
    AVERAGED,
    COUNTER,
    ESTIMATE,
    GPU,
    PACKAGE,
    POWER,
    Power,
    counter,
    power_readings,
    tick_times,
)

ROOT = Path(__file__).parents[1]
MONO_S, UNIX_S = 5000.0, 1_780_000_000.0
"""CLOCK_MONOTONIC at the zero of a test's times, and how far Unix time is ahead of it."""
HEADER = b"device,quantity,method,time_before_monotonic_s,time_after_monotonic_s,time_unix_s,value\n"
BEGUN_S, ENDED_S, LAST_S = 2.0, 19.0, 20.0


def trace(
    path: Path,
    power: Power,
    channels: Sequence[Channel] = (COUNTER,),
    *,
    begun_s: float | None = BEGUN_S,
    described: bool = True,
    period_s: float = 0.1,
) -> Path:
    """What `harness meter` would have written."""
    file = open_trace(path)
    if described:
        file.describe(channels)
    rows = []
    for channel in channels:
        ticks = tick_times(0.0, LAST_S, period_s)
        if channel.quantity.value == "power_w":
            segment = power_readings(power, ticks[1:], channel.duration_window_s or 0.025)
        else:
            segment = counter(power, ticks, resolution_j=0.0)
        names = (channel.device, channel.quantity.value, channel.method.value)
        rows += [
            (*names, before_s + MONO_S, after_s + MONO_S, after_s + MONO_S + UNIX_S, value)
            for before_s, after_s, value in zip(segment.time_before_s, segment.time_after_s, segment.value, strict=True)
        ]
    for edge_s, edge in ((begun_s, 1.0), (ENDED_S, -1.0)):
        if edge_s is not None:
            rows.append(("command", "edge", "", edge_s + MONO_S, edge_s + MONO_S, edge_s + MONO_S + UNIX_S, edge))
    file.write(rows)
    file.close()
    return path


def vllm(path: Path, *requests: tuple[float, float, Sequence[float], int, int], **more: Any) -> Path:
    """A result of vllm bench serve of (start, ttft, itls, prompt, output)."""
    starts, ttfts, itls, prompts, outputs = (list(column) for column in zip(*requests, strict=True))
    document: dict[str, Any] = {
        "num_prompts": len(requests),
        "request_throughput": 1.0,
        "total_input_tokens": sum(prompts),
        "input_lens": prompts,
        "output_lens": outputs,
        "ttfts": ttfts,
        "itls": [list(each) for each in itls],
        "start_times": [MONO_S + start for start in starts],
        "generated_texts": [""] * len(requests),
        "errors": [""] * len(requests),
    }
    path.write_text(json.dumps({**document, **more}), encoding="utf-8")
    return path


def rows_of(wanted: Wanted) -> tuple[AttributionReport, list[dict[str, Any]]]:
    attributed = attribute(wanted)
    columns: Mapping[str, Any] = attributed.queries()
    lists = [column.tolist() if isinstance(column, np.ndarray) else list(column) for column in columns.values()]
    return attributed.report, [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def codes(report: AttributionReport) -> set[FindingCode]:
    return {finding.code for finding in report.findings}


# ------------------------------------------------------------------------------------ the sums are known


def test_constant_power_is_shared_as_the_tokens_are(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    # Both decode 1 s together: one at 10 tokens a second, one at 30.
    log = vllm(tmp_path / "b.json", (5.0, 0.1, [0.1] * 9, 0, 10), (5.0, 1 / 30, [1 / 30] * 29, 0, 30))
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1.0, 1.0)))
    assert [row["energy_gross_j"] for row in rows] == pytest.approx([25.0, 75.0], abs=0.1)
    assert [row["energy_shared_equal_j"] for row in rows] == pytest.approx([50.0, 50.0], abs=0.1)
    assert [row["duration_share_s"] for row in rows] == pytest.approx([0.25, 0.75], abs=1e-6)
    assert report.energy_drawn_j == pytest.approx(100.0, abs=0.1)
    assert report.boundary is Boundary.GPU_BOARD
    assert FindingCode.SHARED_BY_TOKENS in codes(report)


def test_a_ramp_is_shared_by_when_each_progressed(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power(((0.0, 0.0), (20.0, 200.0))))
    # 10 W a second more: from 4 s to 6 s it draws 100 J, 45 of them in the first second.
    log = vllm(tmp_path / "b.json", (4.0, 1.0, [1.0], 0, 2), (4.0, 1.0, [], 0, 1))
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1.0, 1.0)))
    assert rows[0]["energy_gross_j"] == pytest.approx(22.5 + 55.0, abs=0.1)
    assert rows[1]["energy_gross_j"] == pytest.approx(22.5, abs=0.1)
    assert report.energy_shares_j + report.energy_unattributed_j == pytest.approx(report.energy_drawn_j, rel=1e-12)


def test_shares_and_what_is_nobodys_are_what_was_drawn(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.steps(50.0, (4.0, 9.0, 300.0), (11.0, 15.0, 250.0)))
    rng = np.random.default_rng(0)
    requests = [
        (float(start), float(rng.uniform(0.05, 0.5)), rng.uniform(0.0, 0.05, 20).tolist(), int(rng.integers(500)), 21)
        for start in (*rng.uniform(4.0, 8.0, 60), *rng.uniform(11.0, 14.0, 40))
    ]
    log = vllm(tmp_path / "b.json", *requests)
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(0.2, 1.0)))
    assert report.energy_drawn_j is not None
    assert 50.0 < report.energy_unattributed_j < report.energy_shares_j / 5
    assert report.energy_shares_j + report.energy_unattributed_j == pytest.approx(report.energy_drawn_j, rel=1e-12)
    assert sum(row["energy_gross_j"] for row in rows) == pytest.approx(report.energy_shares_j, rel=1e-12)
    assert sum(row["energy_shared_equal_j"] for row in rows) == pytest.approx(report.energy_shares_j, rel=1e-9)
    for row in rows:
        assert row["energy_prefill_j"] + row["energy_decode_j"] == pytest.approx(row["energy_gross_j"], rel=1e-9)
    text = shown(report)
    assert "J + nobody's" in text
    assert "measured" not in " ".join(text.split()).replace("not measured one by one", "")


def test_a_lone_query_has_all_that_was_drawn_in_it(tmp_path: Path) -> None:
    power = Power.steps(50.0, (5.0, 7.0, 250.0))
    path = trace(tmp_path / "t.parquet", power)
    log = vllm(tmp_path / "b.json", (5.0, 0.4, [0.1] * 16, 100, 17))
    report, (row,) = rows_of(Wanted(trace=path, requests=log))
    assert row["energy_gross_j"] == pytest.approx(500.0, abs=1.0)
    assert abs(row["energy_gross_j"] - 500.0) <= row["energy_gross_half_width_j"] + 1e-6
    assert row["energy_net_j"] == pytest.approx(400.0, abs=5.0)
    assert row["alone"]
    assert report.weights.source == "equal"
    assert not codes(report) & {FindingCode.SHARED_BY_TOKENS, FindingCode.WEIGHTS_NOT_FITTED}
    assert report.energy_amortised_j == report.energy_drawn_j


def test_weights_are_fitted_to_what_the_trace_shows(tmp_path: Path) -> None:
    """A board that draws 40 W, 5 mJ a prompt token and 0.5 J an output token."""
    rng = np.random.default_rng(3)
    requests = []
    steps: list[tuple[float, float, float]] = []
    for start in np.arange(3.0, 18.0, 0.25).tolist():
        n_prompt, n_output = int(rng.integers(10, 4000)), int(rng.integers(5, 60))
        first_s, itl_s = start + 0.2, 0.3 / n_output
        requests.append((start, 0.2, [itl_s] * (n_output - 1), n_prompt, n_output))
        steps.append((start, first_s, (0.005 * n_prompt + 0.5) / 0.2))
        steps.append((first_s, first_s + itl_s * (n_output - 1), 0.5 / itl_s))
    bounds = sorted({bound for begin, end, _ in steps for bound in (begin, end)})
    knots = [(0.0, 40.0)]
    for left, right in pairwise(bounds):
        middle = (left + right) / 2
        power_w = 40.0 + sum(watts for begin, end, watts in steps if begin <= middle < end)
        knots += [(left, 40.0), (left, power_w), (right, power_w), (right, 40.0)]
    path = trace(tmp_path / "t.parquet", Power(tuple(knots)), period_s=0.02)
    report, _ = rows_of(Wanted(trace=path, requests=vllm(tmp_path / "b.json", *requests)))
    assert report.weights.source == "fitted"
    assert report.weights.prompt / report.weights.output == pytest.approx(0.01, rel=0.1)
    given, _ = rows_of(Wanted(trace=path, requests=tmp_path / "b.json", weights=(3.0, 1.0)))
    assert (given.weights.source, given.weights.prompt) == ("given", 3.0)
    assert given.energy_shares_j == pytest.approx(report.energy_shares_j, rel=1e-9)
    assert given.rules[0].energy_p95_j != pytest.approx(report.rules[0].energy_p95_j, rel=1e-3)


# -------------------------------------------------------------------------------------------- traces


def test_a_csv_and_a_parquet_trace_give_the_same(tmp_path: Path) -> None:
    power = Power.steps(50.0, (4.0, 9.0, 300.0))
    log = vllm(tmp_path / "b.json", (4.0, 1.0, [0.1] * 9, 0, 10), (5.0, 1.0, [0.1] * 20, 50, 21))
    found = []
    for name in ("t.csv", "t.parquet"):
        report, rows = rows_of(Wanted(trace=trace(tmp_path / name, power), requests=log, weights=(1, 1)))
        found.append([row["energy_gross_j"] for row in rows])
        assert any("--meter-json" in note for note in report.notes) is (name == "t.csv")
    assert found[0] == pytest.approx(found[1], abs=0.01)


def test_channels_come_from_the_parquet_or_the_json_or_are_inferred(tmp_path: Path) -> None:
    channels = (COUNTER, POWER)
    for name in ("t.csv", "t.parquet"):
        trace(tmp_path / name, Power.constant(100.0), channels)
    assert read_trace(tmp_path / "t.parquet").channels == channels
    bare = read_trace(tmp_path / "t.csv")
    assert [channel.device for channel in bare.channels] == [GPU, GPU]
    assert bare.channels[1].duration_window_s is None
    told = read_trace(tmp_path / "t.csv", _meter_report(channels))
    assert told.channels == channels
    assert not told.notes
    trace(tmp_path / "old.parquet", Power.constant(100.0), channels, described=False)
    assert read_trace(tmp_path / "old.parquet").channels == bare.channels


def test_the_json_of_another_run_is_refused(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.csv", Power.constant(100.0))
    with pytest.raises(UsageError, match="none of the devices"):
        read_trace(path, _meter_report((COUNTER.model_copy(update={"device": "GPU-other"}),)))


def test_an_estimate_is_never_without_the_word(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0), (ESTIMATE,))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11), (5.5, 1.0, [0.1] * 10, 0, 11))
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1, 1)))
    assert "estimated, no sensor" in shown(report)
    assert FindingCode.ESTIMATED_ENERGY in codes(report)
    assert np.isnan(rows[0]["energy_gross_half_width_j"])
    assert report.energy_shares_j == pytest.approx(250.0, rel=0.02)


def _meter_report(channels: tuple[Channel, ...]) -> CommandReport:
    return CommandReport(
        harness_version="0.1.0",
        command=("true",),
        started_utc="2026-06-01T00:00:00Z",
        duration_s=17.0,
        exit_status=0,
        signal=None,
        reading=None,
        boards=(),
        driver=None,
        channels=channels,
        sampler=None,
        findings=(),
    )


def test_several_devices_are_summed_and_the_host_stands_beside(tmp_path: Path) -> None:
    other = COUNTER.model_copy(update={"device": "GPU-other"})
    path = trace(tmp_path / "t.parquet", Power.constant(100.0), (COUNTER, other, PACKAGE))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11))
    report, (row,) = rows_of(Wanted(trace=path, requests=log))
    assert row["energy_gross_j"] == pytest.approx(400.0, abs=0.5)
    assert row[f"energy_gross_j:{PACKAGE.device}"] == pytest.approx(200.0, abs=0.5)
    assert len(report.devices) == 3
    assert report.power_idle_w == pytest.approx(200.0, abs=0.5)
    only_host, _ = rows_of(Wanted(trace=trace(tmp_path / "h.csv", Power.constant(9.0), (PACKAGE,)), requests=log))
    assert only_host.boundary is Boundary.HOST
    assert only_host.method is Method.RAPL


def test_a_sensor_that_averages_resolves_no_short_query(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0), (AVERAGED,))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 5, 0, 6), (5.0, 1.0, [0.5] * 8, 0, 9))
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1, 1)))
    assert np.isnan(rows[0]["energy_gross_j"])
    assert rows[1]["energy_gross_j"] > 300
    assert report.n_without_energy == 1
    assert FindingCode.AVERAGED_POWER_ONLY in codes(report)
    assert report.energy_shares_j == pytest.approx(500.0, rel=0.01)


def test_without_an_idle_stretch_there_is_no_net_energy(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0), begun_s=0.2)
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11))
    report, (row,) = rows_of(Wanted(trace=path, requests=log))
    assert np.isnan(row["energy_net_j"])
    assert report.energy_net_mean_j is None
    (finding,) = (each for each in report.findings if each.code is FindingCode.NO_IDLE_BASELINE)
    assert "before its command" in finding.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html></html>\n", "is no trace"),
        (b"device,quantity\nGPU-1,energy_j\n", "`method`"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is no trace"),
        (HEADER + b"GPU-1,energy_j,nvml_counter,1.0,1.0,2.0,nan\n", "holds no reading"),
        (HEADER + b"GPU-1,energy_j,nvml_counter,one,1.0,2.0,5\n", "is no trace"),
        (HEADER + b"GPU-1,charm,nvml_counter,1.0,1.0,2.0,5\n", "not known here"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_trace(path)


def test_a_trace_whose_last_line_breaks_off_is_read_without_it(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.csv", Power.constant(100.0), begun_s=BEGUN_S)
    content = path.read_text().rpartition("command,edge,,")[0] + f"{GPU},energy_j,nvml_counter,5019.1,5019.1,17800"
    path.write_text(content)
    found = read_trace(path)
    assert found.time_last_s < LAST_S + 1
    assert any("breaks off" in note for note in found.notes)


def test_a_parquet_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="no whole Parquet"):
        read_trace(path)


# -------------------------------------------------------------------------------------------- clocks


def csv_log(path: Path, *rows: str, header: str = "id,start,first_token,end,prompt_tokens,output_tokens") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_unix_and_monotonic_logs_of_one_load_give_the_same(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.steps(50.0, (4.0, 9.0, 300.0)))
    found = []
    for zero_s, unit in ((MONO_S, 1), (MONO_S + UNIX_S, 1), (MONO_S, 1000), (MONO_S + UNIX_S, 1_000_000_000)):
        rows = [f"q,{(zero_s + 4) * unit!r},{(zero_s + 5) * unit!r},{(zero_s + 9) * unit!r},10,10"]
        log = csv_log(tmp_path / "log.csv", *rows)
        report, (row,) = rows_of(Wanted(trace=path, requests=log))
        found.append(row["energy_gross_j"])
        assert report.clock == ("monotonic" if zero_s == MONO_S else "unix")
    assert found == pytest.approx([1500.0] * 4, abs=1.0)


@pytest.mark.parametrize("moved_s", [-7200.0, 3600.0])
def test_a_log_of_another_time_is_refused_and_can_be_moved(tmp_path: Path, moved_s: float) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    log = vllm(tmp_path / "b.json", (5.0 + moved_s, 1.0, [0.1] * 10, 0, 11))
    with pytest.raises(
        UsageError, match="before the trace begins" if moved_s < 0 else "after the trace ends"
    ) as caught:
        rows_of(Wanted(trace=path, requests=log))
    assert "boot" in caught.value.next_step
    assert "--clock-offset" in caught.value.next_step
    _, (row,) = rows_of(Wanted(trace=path, requests=log, clock_offset_s=-moved_s))
    assert row["energy_gross_j"] == pytest.approx(200.0, abs=0.5)


def test_a_wall_clock_that_was_set_is_told_to_those_who_need_it(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.csv", Power.constant(100.0))
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for cells in lines[len(lines) // 2 :]:
        cells[5] = f"{float(cells[5]) + 1.0:.6f}"
    path.write_text("".join(f"{','.join(cells)}\n" for cells in lines))
    unix = csv_log(tmp_path / "log.csv", f"q,{MONO_S + UNIX_S + 5},,{MONO_S + UNIX_S + 7},10,10")
    monotonic = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11))
    assert FindingCode.CLOCK_STEP in codes(rows_of(Wanted(trace=path, requests=unix))[0])
    assert FindingCode.CLOCK_STEP not in codes(rows_of(Wanted(trace=path, requests=monotonic))[0])


def test_requests_that_reach_out_of_the_trace_have_no_energy(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11), (18.0, 1.0, [0.5] * 10, 0, 11))
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1, 1)))
    assert np.isnan(rows[1]["energy_gross_j"])
    assert rows[0]["energy_gross_j"] == pytest.approx(200.0, abs=0.5)
    (finding,) = (each for each in report.findings if each.code is FindingCode.NO_READINGS and "lie" in each.detail)
    assert finding.detail.startswith("1 of 2 requests lie outside of the trace, by up to 4.")
    assert any("another clock" in note for note in report.notes)
    assert report.energy_drawn_j is not None
    assert report.energy_shares_j + report.energy_unattributed_j == pytest.approx(report.energy_drawn_j, rel=1e-9)
    assert report.energy_amortised_j is None  # what the second drew is not in the numerator
    words = " ".join(shown(report).split())
    assert "amortised" not in words
    assert "Trace all of the load test" in words
    assert "Resume the run" not in words


def test_a_request_without_duration_has_no_energy_and_that_is_said(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    log = csv_log(tmp_path / "log.csv", f"a,{MONO_S + 5},,{MONO_S + 5},10,10", f"b,{MONO_S + 5},,{MONO_S + 7},10,10")
    report, rows = rows_of(Wanted(trace=path, requests=log))
    assert np.isnan(rows[0]["energy_gross_j"])
    assert rows[1]["energy_gross_j"] == pytest.approx(200.0, abs=0.5)
    assert report.n_without_energy == 1
    assert any(note.startswith("1 answered requests end when they start") for note in report.notes)


# ------------------------------------------------------------------------------------ failures, and words


def test_failed_requests_are_kept_apart_and_keep_their_share(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    requests = ((5.0, 1.0, [0.1] * 10, 0, 11), (5.0, 1.0, [0.1] * 10, 0, 0))
    log = vllm(tmp_path / "b.json", *requests, errors=["", "Traceback\n  ...\nTimeoutError: too long\n"])
    report, rows = rows_of(Wanted(trace=path, requests=log, weights=(1, 1)))
    assert (report.n_answered, report.n_failed) == (1, 1)
    assert rows[1]["error"] == "TimeoutError: too long"
    assert report.energy_failed_j == pytest.approx(100.0, abs=0.5)
    assert report.energy_answered_j == pytest.approx(100.0, abs=0.5)
    assert report.rules[0].energy_mean_j == pytest.approx(100.0, abs=0.5)
    assert report.energy_amortised_j == pytest.approx(200.0, abs=0.5)
    assert "1 answered, 1 failed (100" in shown(report)


def test_where_all_failed_the_figures_are_unknown_and_the_exit_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    log = vllm(tmp_path / "b.json", (5.0, 0.0, [], 10, 0), (6.0, 0.0, [], 10, 0), errors=["refused", "refused"])
    code = run_verb(["attribute", "--trace", str(path), "--requests", str(log), "--json", str(tmp_path / "s.json")])
    assert code == ExitCode.INVALID
    out, err = capsys.readouterr()
    assert "No request was answered" in err
    assert "unknown" in out
    summary = AttributionReport.model_validate_json((tmp_path / "s.json").read_text())
    assert summary.n_failed == 2
    assert summary.energy_amortised_j is None
    assert summary.end_to_end is None


def test_the_command_line_writes_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    rows = [
        f'"a ""quoted"", id",{MONO_S + 5},{MONO_S + 5.5},{MONO_S + 7},10,20',
        f'"two\nlines",{MONO_S + 6},,{MONO_S + 8},,5',
    ]
    log = csv_log(tmp_path / "log.csv", *rows)
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"q.{ending}"
        arguments = ["attribute", "--trace", str(path), "--requests", str(log), "--output", str(out)]
        assert run_verb(arguments) == ExitCode.OK
    with (tmp_path / "q.csv").open(newline="") as file:
        from_csv = list(csv.DictReader(file))
    from_json = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    from_parquet = pq.read_table(tmp_path / "q.parquet").to_pylist()
    assert [row["request_id"] for row in from_csv] == ['a "quoted", id', "two\nlines"]
    assert from_json == from_parquet
    assert from_json[1]["n_prompt_tokens"] is None
    assert from_json[1]["energy_prefill_j"] is None
    assert float(from_csv[0]["energy_gross_j"]) == from_json[0]["energy_gross_j"]
    assert {row["attribution"] for row in from_csv} == {"shared_tokens"}
    assert "nobody's" in capsys.readouterr().out


def test_flags_that_cannot_be_meant_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trace(tmp_path / "t.parquet", Power.constant(100.0))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11))
    common = ["attribute", "--trace", str(path), "--requests", str(log)]
    for more, words in (
        (["--output", "q.txt"], ".parquet"),
        (["--weights", "x"], "such as 0.05:1"),
        (["--weights", "nan:1"], "such as 0.05:1"),
        (["--weights", "0:0"], "such as 0.05:1"),
        (["--clock-offset", "nan"], "number of seconds"),
        (["--columns", "start=a"], "Leave --columns out"),
        (["--columns", "prompts=a"], "Did you mean"),
        (["--meter-json", str(log)], "harness meter --json"),
        (["--json", str(tmp_path / "no" / "s.json")], "--json"),
    ):
        assert run_verb([*common, *more]) in (ExitCode.USAGE, ExitCode.ENVIRONMENT), more
        assert words in capsys.readouterr().err, more


def test_a_narrow_terminal_still_reads(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.csv", Power.constant(100.0), (COUNTER, PACKAGE))
    log = vllm(tmp_path / "b.json", (5.0, 1.0, [0.1] * 10, 0, 11), (5.0, 1.0, [0.1] * 10, 0, 11))
    report = attribute(Wanted(trace=path, requests=log)).report
    assert max(map(len, shown(report, width=60).splitlines())) <= 60


def shown(report: AttributionReport, width: int = 100) -> str:
    console = Console(width=width, record=True, highlight=False, file=(Path("/dev/null")).open("w"))  # noqa: SIM115
    show(report, console)
    console.file.close()
    return console.export_text()


# ------------------------------------------------------------------------------------------ the load


def row(start_s: float, end_s: float, **more: Any) -> RequestRow:
    fields: dict[str, Any] = {
        "request_id": "",
        "time_start_s": start_s,
        "time_first_token_s": None,
        "time_end_s": end_s,
        "n_prompt_tokens": None,
        "n_output_tokens": None,
    }
    return RequestRow(**{**fields, **more})


def test_what_a_log_does_not_say_is_spread_evenly() -> None:
    load = load_of(
        [
            row(1.0, 3.0),
            row(1.0, 3.0, n_output_tokens=8),
            row(1.0, 3.0, time_first_token_s=2.0, n_output_tokens=8),
            row(1.0, 3.0, time_first_token_s=2.0, time_last_token_s=2.5, n_output_tokens=8),
            row(1.0, 3.0, time_first_token_s=2.0),
            row(1.0, 3.0, time_first_token_s=1.5, times_chunk_s=(1.5, 2.0), n_output_tokens=8, n_prompt_tokens=9),
            row(1.0, 3.0, n_prompt_tokens=9, n_cached_tokens=4),
        ],
        10.0,
    )
    assert np.diff(load.chunk_first).tolist() == [0, 1, 2, 2, 1, 2, 0]
    assert load.time_chunk_s.tolist() == [13.0, 12.0, 13.0, 12.0, 12.5, 12.0, 11.5, 12.0]
    assert load.n_chunk_tokens.tolist() == [8, 1, 7, 1, 7, 0, 4, 4]
    assert load.time_prefilled_s.tolist() == [13.0, 13.0, 12.0, 12.0, 12.0, 11.5, 13.0]
    assert load.n_prefilled_tokens.tolist() == [0, 0, 0, 0, 0, 9, 5]


def test_a_chunk_too_many_is_the_first_one() -> None:
    """Chat streams begin with a role that holds no token."""
    assert spread(3, 4) == [0.0, 1.0, 1.0, 1.0]
    assert spread(10, 3) == [3.0, 3.0, 4.0]
    assert sum(spread(1000, 17)) == 1000


def test_what_ends_makes_room_for_what_begins() -> None:
    assert in_flight(load_of([row(0.0, 1.0), row(1.0, 2.0), row(1.5, 1.5)], 0.0)) == (1.0, 1)
    assert in_flight(load_of([row(0.0, 1.0), row(0.5, 2.0)], 0.0)) == (1.25, 2)


# ------------------------------------------------------------------------------------------ end to end


def test_a_metered_load_test_is_attributed(tmp_path: Path, fake_nvml: Path) -> None:
    """A command that draws what the fake board draws, and logs requests as vLLM does."""
    config = tmp_path / "boards.conf"
    write_config(config, [replace(H100, load=(constant(130.0),))])
    environ = {
        **fake.environment(fake_nvml.parent, config),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    program = (
        "import json, time\n"
        "s = time.perf_counter(); time.sleep(1.0); e = time.perf_counter() - s\n"
        "json.dump({'start_times': [s, s + e / 2], 'ttfts': [e / 4, e / 4], 'itls': [[e / 4] * 3, [e / 4]],"
        " 'input_lens': [10, 10], 'output_lens': [4, 2], 'errors': ['', '']}, open('b.json', 'w'))\n"
    )
    harness = [sys.executable, "-W", "error", "-m", "harness"]
    files = ["--trace", "t.parquet", "--json", "m.json"]
    began_s = time.monotonic()
    metered = [*harness, "meter", *files, "--", sys.executable, "-c", program]
    subprocess.run(metered, env=environ, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        [*harness, "attribute", *files[:2], "--meter-json", "m.json", "--requests", "b.json", "--json", "s.json"],
        env={**environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert time.monotonic() - began_s < 120
    summary = AttributionReport.model_validate_json((tmp_path / "s.json").read_text())
    power_w = H100.idle_w + 130.0
    assert summary.energy_drawn_j == pytest.approx(power_w * summary.duration_s, rel=0.02)
    assert summary.power_idle_w == pytest.approx(power_w, rel=0.02)
    assert summary.n_answered == 2
    assert summary.notes == ()  # the channels are in the Parquet
    assert read_trace(tmp_path / "t.parquet").channels[0].gain_half_width is not None
    assert summary.energy_shares_j + summary.energy_unattributed_j == pytest.approx(
        summary.energy_drawn_j or 0, rel=1e-9
    )
    assert "nobody's" in done.stdout
