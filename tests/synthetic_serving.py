"""Runs under load with known joules, on disk by the store's own interface. No sensor, no server, no model.

The power of the board follows from how many queries are in flight, so that every energy can be worked out by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.records import (
    Attribution,
    Boundary,
    Cell,
    EngineFacts,
    EngineOptions,
    Finding,
    FindingCode,
    IntervalRecord,
    Method,
    Output,
    PhaseReading,
    QueryRecord,
    Reading,
    Score,
    Segment,
    ServerFacts,
    Service,
    Timeline,
    TokenWeights,
)
from harness.store.run_directory import RunDirectory
from tests.exportable import manifest
from tests.synthetic_runs import GPU, POWER_IDLE_W, cell, channel

POWER_ONE_W = 150.0
"""Watts of the first query in flight above idle, and of each further one a fifth of it."""
TICK_S = 0.05
SITE_ID = "0123456789ab"
WEIGHTS = (0.2, 1.0)


def power_w(n_in_flight: int) -> float:
    return POWER_IDLE_W + (POWER_ONE_W * (0.8 + 0.2 * n_in_flight) if n_in_flight else 0.0)


def timeline(
    number: int,
    sent_s: float,
    *,
    prompt_id: str | None = None,
    mode: str = "off",
    queued_s: float = 0.0,
    prefill_s: float = 0.3,
    chunk_s: float = 0.1,
    n_chunks: int = 10,
    tokens: int = 5,
    n_prompt: int | None = 100,
    n_cached: int | None = None,
    session: int = 1,
) -> Timeline:
    start_s = sent_s + queued_s
    chunks = [start_s + prefill_s + chunk_s * index for index in range(n_chunks)]
    return Timeline(
        session=session,
        number=number,
        prompt_id=prompt_id or f"everyday-{number:03d}",
        mode=mode,
        time_sent_s=sent_s,
        time_start_s=start_s,
        time_first_token_s=chunks[0] if chunks else None,
        time_end_s=chunks[-1] if chunks else start_s + prefill_s,
        n_prompt_tokens=n_prompt,
        n_cached_tokens=n_cached,
        time_chunk_s=tuple(chunks),
        n_chunk_tokens=(tokens,) * n_chunks,
    )


@dataclass(frozen=True)
class Shares:
    """Of each query, in the order of the timelines: by tokens, in the prefill, equally; and what is nobody's."""

    energy_j: np.ndarray
    prefill_j: np.ndarray
    equal_j: np.ndarray
    duration_s: np.ndarray


def shares_of(timelines: Sequence[Timeline], weights: tuple[float, float] = WEIGHTS) -> Shares:
    """The rule, instant by instant, in the simplest way."""
    corners = np.unique(
        np.concatenate([[each.time_start_s, each.time_end_s, *each.time_chunk_s] for each in timelines])
    )
    middle_s, lengths_s = (corners[1:] + corners[:-1]) / 2, np.diff(corners)
    rates = np.zeros((len(timelines), len(middle_s)))
    flying = np.zeros_like(rates, dtype=np.bool_)
    prefill = np.zeros_like(flying)
    for row, each in enumerate(timelines):
        flying[row] = (middle_s > each.time_start_s) & (middle_s < each.time_end_s)
        first_s = each.time_first_token_s
        if first_s is not None:
            prefill[row] = (middle_s > each.time_start_s) & (middle_s < first_s)
            n_new = (each.n_prompt_tokens or 0) - (each.n_cached_tokens or 0)
            rates[row, prefill[row]] += weights[0] * n_new / (first_s - each.time_start_s)
        last_s = each.time_start_s
        for time_s, n_tokens in zip(each.time_chunk_s, each.n_chunk_tokens, strict=True):
            rates[row, (middle_s > last_s) & (middle_s < time_s)] += weights[1] * n_tokens / (time_s - last_s)
            last_s = time_s
    n_flying = flying.sum(axis=0)
    drawn_j = np.array([power_w(int(n)) for n in n_flying]) * lengths_s
    equal = np.where(n_flying > 0, flying / np.maximum(n_flying, 1), 0.0)
    total = rates.sum(axis=0)
    by_rate = np.where(total > 0, rates / np.where(total > 0, total, 1.0), equal)
    return Shares(
        energy_j=by_rate @ drawn_j,
        prefill_j=(by_rate * prefill) @ drawn_j,
        equal_j=equal @ drawn_j,
        duration_s=by_rate @ lengths_s,
    )


def drawn_j(timelines: Sequence[Timeline], start_s: float, end_s: float) -> float:
    """What the board draws between two instants."""
    corners = np.unique(
        np.clip(
            np.concatenate([[start_s, end_s], *([each.time_start_s, each.time_end_s] for each in timelines)]),
            start_s,
            end_s,
        )
    )
    middle_s = (corners[1:] + corners[:-1]) / 2
    n = sum(((middle_s > each.time_start_s) & (middle_s < each.time_end_s)).astype(int) for each in timelines)
    return float(np.diff(corners) @ np.array([power_w(int(each)) for each in np.atleast_1d(n)]))


def readings_of(timelines: Sequence[Timeline], end_s: float) -> Segment:
    """The counter, caught within a millisecond at each of its ticks."""
    ticks = np.arange(0.0, end_s, TICK_S)
    events = np.unique(np.concatenate([ticks, *([each.time_start_s, each.time_end_s] for each in timelines)]))
    middle_s = (events[1:] + events[:-1]) / 2
    starts = np.sort([each.time_start_s for each in timelines])
    ends = np.sort([each.time_end_s for each in timelines])
    n = np.searchsorted(starts, middle_s) - np.searchsorted(ends, middle_s)
    energy_j = np.concatenate(([0.0], np.cumsum(np.diff(events) * np.array([power_w(int(each)) for each in n]))))
    return Segment(
        channel=np.zeros(len(ticks), dtype=np.int64),
        time_before_s=ticks - 0.0005,
        time_after_s=ticks + 0.0005,
        value=1000.0 + np.interp(ticks, events, energy_j),
    )


def closed_loop(
    concurrency: int, n: int, *, start_s: float = 0.0, seed: int = 1, first: int = 0, mode: str = "off", **changes: Any
) -> list[Timeline]:
    """So many queries always open: the next is sent when one has ended. Answers differ in length."""
    rng = np.random.default_rng(seed)
    free_s = [start_s] * concurrency
    found = []
    for index in range(n):
        slot = int(np.argmin(free_s))
        chunks = int(rng.integers(5, 25)) * (3 if mode == "on" else 1)
        changes = {**changes, "prefill_s": 0.2 + 0.02 * int(rng.integers(0, 11))}
        one = timeline(
            first + index, free_s[slot], prompt_id=f"everyday-{index:03d}", mode=mode, n_chunks=chunks, **changes
        )
        free_s[slot] = one.time_end_s
        found.append(one)
    return found


def open_loop(
    rate: float, n: int, *, start_s: float = 0.0, seed: int = 1, first: int = 0, mode: str = "off"
) -> list[Timeline]:
    """Queries that arrive at random."""
    rng = np.random.default_rng(seed)
    sent_s = start_s + np.cumsum(rng.exponential(1 / rate, n)) - 1 / rate
    sent_s = np.maximum(sent_s, start_s)
    return [
        timeline(
            first + index,
            float(time_s),
            prompt_id=f"everyday-{index:03d}",
            mode=mode,
            n_chunks=int(rng.integers(5, 25)) * (3 if mode == "on" else 1),
        )
        for index, time_s in enumerate(sent_s)
    ]


def load_cell(concurrency: int | None = 4, rate: float | None = None, **changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "engine": EngineOptions(name="openai", device="served"),
        "dtype": "unknown",
        "concurrency": concurrency,
        "request_rate_per_second": rate,
        **changes,
    }
    return cell().model_copy(update=fields)


def server_engine(**changes: Any) -> EngineFacts:
    """What a server says of itself: little."""
    fields: dict[str, Any] = {
        "device_name": "NVIDIA H100 80GB HBM3",
        "device_uuids": (GPU,),
        "revision": "b968826d9c46dd6066d109eabc6255188de91218",
        "n_parameters": None,
        "bytes_per_parameter": None,
        "executed_precision": None,
        "requested_precision": None,
        "layer_classes": {},
        "attention": None,
        "context_length": 40960,
        "weights_format": None,
        "generation_config": {},
        "server": ServerFacts(
            kind="vllm",
            version="0.11.1",
            model="Qwen/Qwen3-8B",
            base_url="http://127.0.0.1:8000/v1",
            boards_by="processes",
        ),
        **changes,
    }
    return EngineFacts(**fields)


def reading_of(
    one: Timeline, share_j: float | None, prefill_j: float, equal_j: float, duration_share_s: float, *, shared: bool
) -> Reading:
    first_s = one.time_first_token_s
    phases = () if first_s is None else (("prefill", one.time_start_s, first_s), ("answer", first_s, one.time_end_s))
    joules = {"prefill": prefill_j, "answer": None if share_j is None else share_j - prefill_j}
    return Reading(
        device=GPU,
        boundary=Boundary.GPU_BOARD,
        method=Method.NVML_COUNTER,
        attribution=Attribution.SHARED_TOKENS if shared else Attribution.EXCLUSIVE,
        time_start_s=one.time_start_s,
        time_end_s=one.time_end_s,
        energy_gross_j=share_j,
        energy_gross_half_width_j=None if share_j is None else 1.0,
        n_samples=int((one.time_end_s - one.time_start_s) / TICK_S),
        duration_gap_largest_s=0.02,
        phases=tuple(
            PhaseReading(
                name=name,
                time_start_s=start_s,
                time_end_s=end_s,
                energy_gross_j=None if share_j is None else joules[name],
                energy_gross_half_width_j=None if share_j is None else 0.5,
            )
            for name, start_s, end_s in phases
        ),
        energy_shared_equal_j=equal_j if shared else None,
        duration_share_s=duration_share_s if shared else None,
    )


def query_of(one: Timeline, reading: Reading, *, failed: FindingCode | None = None) -> QueryRecord:
    n_thinking = one.n_output_tokens * 2 // 3 if one.mode == "on" else 0
    sizes = {
        "prompt_tokens": one.n_prompt_tokens or 0,
        "thinking_tokens": n_thinking,
        "answer_tokens": one.n_output_tokens - n_thinking,
    }
    first_s = one.time_first_token_s
    n_later = one.n_output_tokens - (one.n_chunk_tokens[0] if one.n_chunk_tokens else 0)
    return QueryRecord(
        session=one.session,
        prompt_id=one.prompt_id,
        prompt_index=int(one.prompt_id.rpartition("-")[2]),
        mode=one.mode,
        seed=one.number,
        time_start_s=one.time_start_s,
        time_end_s=one.time_end_s,
        output=None
        if failed
        else Output(
            sizes=sizes,
            finish_reason="stop",
            rendered_prompt_sha256=f"{one.mode}-{one.prompt_id}",
            thought=n_thinking > 0,
            text=f"The answer to {one.prompt_id} is 42.",
            text_sha256=f"text-{one.mode}-{one.prompt_id}",
        ),
        score=None if failed else Score(correct=one.number % 3 != 0, extracted="42"),
        readings=(reading,),
        findings=(Finding(code=failed, detail="HTTP 429"),) if failed else (),
        service=Service(
            number=one.number,
            time_sent_s=one.time_sent_s,
            duration_first_token_s=None if first_s is None else first_s - one.time_sent_s,
            duration_per_output_token_s=(one.time_end_s - first_s) / n_later
            if first_s is not None and n_later
            else None,
            n_chunks=len(one.time_chunk_s),
            n_cached_tokens=one.n_cached_tokens,
            status=429 if failed else 200,
        ),
    )


def write_run(
    run: Path,
    measured: Cell,
    blocks: Sequence[Sequence[Timeline]],
    *,
    failed: dict[int, FindingCode] | None = None,
    source: str = "fitted",
    engine: EngineFacts | None = None,
) -> RunDirectory:
    """One session: idle, the blocks, idle. Every query's joules follow from the rule."""
    store = RunDirectory.create(run, measured, SITE_ID)
    session = store.begin_session()
    failed = failed or {}
    every = [one for block in blocks for one in block]
    end_s = max(one.time_end_s for one in every)
    shared = measured.overlaps
    store.write_manifest(
        manifest(
            run_id=run.name,
            cell_id=measured.cell_id,
            session=session,
            engine=engine or server_engine(),
            channels=(channel(),),
            n_prompts=len({one.prompt_id for one in every}),
            store_text="full",
        )
    )
    store.write_segment(session, readings_of(every, end_s + 8.0))
    if shared:
        store.write_weights(
            TokenWeights(
                session=session,
                prompt=WEIGHTS[0],
                output=WEIGHTS[1],
                source=source,
                ratio_half_width=0.03,
                n_windows=40,
            )
        )
    start_s = min(one.time_sent_s for one in every)
    spans = [("load", 0.2, 1.0), ("idle_before", 1.0, start_s - 0.5), ("idle_after", end_s + 1.0, end_s + 7.0)]
    spans += [
        ("serving", min(each.time_sent_s for each in block), max(each.time_end_s for each in block)) for block in blocks
    ]
    for name, begin_s, stop_s in sorted(spans, key=lambda span: span[1]):
        whole = Reading(
            device=GPU,
            boundary=Boundary.GPU_BOARD,
            method=Method.NVML_COUNTER,
            attribution=Attribution.EXCLUSIVE,
            time_start_s=begin_s,
            time_end_s=stop_s,
            energy_gross_j=drawn_j(every, begin_s, stop_s),
            energy_gross_half_width_j=1.0,
            n_samples=100,
        )
        store.append_interval(
            IntervalRecord(session=session, name=name, time_start_s=begin_s, time_end_s=stop_s, readings=(whole,))
        )
    store.append_timelines(sorted(every, key=lambda one: one.time_end_s))
    shares = shares_of(every)
    for row, one in sorted(enumerate(every), key=lambda pair: pair[1].time_end_s):
        reading = reading_of(
            one,
            float(shares.energy_j[row]),
            float(shares.prefill_j[row]),
            float(shares.equal_j[row]),
            float(shares.duration_s[row]),
            shared=shared,
        )
        store.append_query(query_of(one, reading, failed=failed.get(one.number)))
    return store


def paired_blocks(concurrency: int, n: int, **changes: Any) -> list[list[Timeline]]:
    """Off and on, then on and off, a half of the prompts each."""
    blocks: list[list[Timeline]] = []
    time_s, number = 8.0, 0
    for half, mode in ((0, "off"), (0, "on"), (1, "on"), (1, "off")):
        block = closed_loop(
            concurrency,
            n // 2,
            start_s=time_s,
            seed=half + (7 if mode == "on" else 3),
            first=number,
            mode=mode,
            **changes,
        )
        block = [
            one.model_copy(update={"prompt_id": f"everyday-{int(one.prompt_id[-3:]) + half * (n // 2):03d}"})
            for one in block
        ]
        blocks.append(block)
        number += len(block)
        time_s = max(one.time_end_s for one in block) + 1.5
    return blocks


def paired_run(run: Path, concurrency: int = 8, n: int = 100, **changes: Any) -> RunDirectory:
    """Two modes under one load."""
    return write_run(run, load_cell(concurrency), paired_blocks(concurrency, n), **changes)
