"""Runs to export, with known joules: on an H100 by AI Energy Score's protocol, or with whatever is particular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.records import (
    Board,
    Boundary,
    EngineFacts,
    IntervalRecord,
    QueryRecord,
    RunManifest,
    Sampling,
    Site,
    Summary,
)
from harness.report.exports.cell import ExportCell, ExportMode, modes_of
from tests.synthetic_runs import GPU, POWER_IDLE_W, channel, query, reading, run_of_queries, summary_of

CREATED = "2026-11-29T17:00:00Z"
H100 = Board(
    uuid=GPU,
    name="NVIDIA H100 80GB HBM3",
    memory_bytes=80 * 2**30,
    power_limit_default_w=700.0,
    power_limit_w=700.0,
    mig=False,
)
IDLE = tuple(
    IntervalRecord(
        session=0,
        name=name,
        time_start_s=start_s,
        time_end_s=start_s + 6.0,
        readings=(reading(POWER_IDLE_W * 6.0, time_start_s=start_s, duration_s=6.0),),
    )
    for name, start_s in (("idle_before", 6.0), ("idle_after", 900.0))
)


def manifest(board: Board = H100, *, executed: str = "float16", **changes: Any) -> RunManifest:
    """Of a session on one board."""
    engine = EngineFacts(
        device_name=board.name,
        device_uuids=(board.uuid,),
        revision="0" * 40,
        n_parameters=8_000_000_000,
        bytes_per_parameter=2.0,
        executed_precision=executed,
        requested_precision=executed,
        layer_classes={},
        attention="sdpa",
        context_length=None,
        weights_format="safetensors",
        generation_config={},
    )
    site = Site(
        hostname_sha256="0" * 64,
        platform="Linux-6.8.0-x86_64",
        cpu="Intel Xeon Platinum 8480C",
        n_cpu_cores=56,
        memory_bytes=512 * 2**30,
        boards=(board,),
        driver="580.82",
        cuda="13.0",
        python="3.11.9",
        packages={"transformers": "5.23.0"},
    )
    known: dict[str, Any] = {
        "harness_version": "0.1.0",
        "run_id": "2026-01-02T03-04-05-run",
        "cell_id": "cell",
        "session": 0,
        "started_utc": "2026-11-02T03:04:05Z",
        "origin_unix_s": 0.0,
        "origin_monotonic_s": 0.0,
        "command": ("harness", "run"),
        "git_commit": None,
        "site": site,
        "engine": engine,
        "channels": (channel(),),
        "headline": Boundary.GPU_BOARD,
        "meter_gpus": "auto",
        "n_prompts": 50,
        "store_text": "hash",
        "tariff_per_kwh": None,
        "findings": (),
    }
    return RunManifest(**{**known, **changes})


def changed(summary: Summary, **changes: Any) -> Summary:
    """With other fields of its cell."""
    return summary.model_copy(update={"cell": summary.cell.model_copy(update=changes)})


def exportable(queries: Sequence[QueryRecord] | None = None, **changes: Any) -> ExportCell:
    """A cell of Qwen/Qwen3-8B with thinking off and on; `changes` are of its cell."""
    queries = run_of_queries(20) if queries is None else queries
    modes = tuple(dict.fromkeys(each.mode for each in queries))
    known = {"source": "Qwen/Qwen3-8B", **changes}
    return ExportCell(
        summary=changed(summary_of(queries, modes), **known), queries=queries, manifest=manifest(), idle=IDLE
    )


def on_their_terms(n_prompts: int = 1000, wh_per_1000: float = 17.4, **changes: Any) -> ExportMode:
    """What AI Energy Score rates: 10 forced tokens for each of 1,000 prompts, float16, greedy, on one whole H100."""
    joules = 3.6 * wh_per_1000
    queries = [
        query(index, "off", joules * (1 + 0.1 * (index % 5 - 2)), answer_tokens=10, duration_s=0.3)
        for index in range(n_prompts)
    ]
    known: dict[str, Any] = {
        "dtype": "float16",
        "protocol": "aies-v1-1",
        "max_new_tokens": 10,
        "min_new_tokens": {"off": 10},
        "sampling": Sampling(do_sample=False),
        "prompt_set": "aies-text-generation",
        **changes,
    }
    (mode,) = modes_of([exportable(queries, **known)])
    return mode
