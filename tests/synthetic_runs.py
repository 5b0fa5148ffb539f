"""Queries, summaries and traces with known joules, for the tests of analysis and report. No sensor, no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.analysis.comparison import Invalid
from harness.analysis.summary import summarise
from harness.records import (
    Attribution,
    Boundary,
    Cell,
    Channel,
    EngineOptions,
    Estimate,
    Finding,
    IntervalRecord,
    Method,
    Output,
    PhaseReading,
    Quantity,
    QueryRecord,
    Reading,
    Score,
    Summary,
)
from harness.report.facts import facts_of
from harness.report.page import PageCell
from harness.report.trace import Trace

GPU = "GPU-11111111-2222-3333-4444-555555555555"
CPU = "cpu-package-0"
POWER_W = 400.0
POWER_IDLE_W = 70.0
GAIN = 0.05


def channel(
    device: str = GPU, method: Method = Method.NVML_COUNTER, boundary: Boundary = Boundary.GPU_BOARD
) -> Channel:
    return Channel(device=device, boundary=boundary, method=method, quantity=Quantity.ENERGY_J, gain_half_width=GAIN)


def cell(modes: Sequence[str] = ("off", "on"), model: str = "Qwen/Qwen3-8B") -> Cell:
    return Cell(
        model=model,
        source="hub",
        revision="b968826d9c46dd6066d109eabc6255188de91218",
        engine=EngineOptions(device="cuda"),
        dtype="bfloat16",
        quantization="none",
        prompt_set="everyday",
        prompt_set_sha256="0" * 64,
        protocol="paired-1",
        modes=tuple(modes),
        max_new_tokens=8192,
        seed=1,
    )


def reading(
    energy_j: float | None,
    *,
    phases: dict[str, float] | None = None,
    time_start_s: float = 0.0,
    duration_s: float = 1.0,
    half_width_j: float | None = None,
    device: str = GPU,
    boundary: Boundary = Boundary.GPU_BOARD,
    method: Method = Method.NVML_COUNTER,
    net: bool = False,
    findings: Sequence[Finding] = (),
) -> Reading:
    """A reading whose phases take time in proportion to `phases`, fractions that add up to 1."""
    time_s, spans = time_start_s, []
    for name, fraction in (phases or {}).items():
        spans.append(
            PhaseReading(
                name=name,
                time_start_s=time_s,
                time_end_s=time_s + fraction * duration_s,
                energy_gross_j=None if energy_j is None else fraction * energy_j,
                energy_gross_half_width_j=None if energy_j is None else 0.5,
            )
        )
        time_s += fraction * duration_s
    half_width_j = half_width_j if half_width_j is not None or energy_j is None else 0.01 * energy_j
    known = net and energy_j is not None and half_width_j is not None
    return Reading(
        device=device,
        boundary=boundary,
        method=method,
        attribution=Attribution.EXCLUSIVE,
        time_start_s=time_start_s,
        time_end_s=time_start_s + duration_s,
        energy_gross_j=energy_j,
        energy_gross_half_width_j=half_width_j,
        n_samples=20,
        phases=tuple(spans),
        findings=tuple(findings),
        power_idle_w=POWER_IDLE_W if known else None,
        energy_net_j=(energy_j or 0.0) - POWER_IDLE_W * duration_s if known else None,
        energy_net_half_width_j=((half_width_j or 0.0) ** 2 + duration_s**2) ** 0.5 if known else None,
    )


def query(
    index: int,
    mode: str,
    energy_j: float | None,
    *,
    thinking_tokens: int = 0,
    answer_tokens: int = 100,
    correct: bool | None = None,
    time_start_s: float = 0.0,
    duration_s: float = 1.0,
    readings: Sequence[Reading] | None = None,
    findings: Sequence[Finding] = (),
    failed: bool = False,
    text: str | None = None,
    finish_reason: str = "stop",
    method: Method = Method.NVML_COUNTER,
    prompt_id: str | None = None,
) -> QueryRecord:
    sizes = {"prompt_tokens": 50, "thinking_tokens": thinking_tokens, "answer_tokens": answer_tokens}
    one = reading(energy_j, duration_s=duration_s, time_start_s=time_start_s, method=method)
    return QueryRecord(
        session=0,
        prompt_id=prompt_id or f"everyday-{index:03d}",
        prompt_index=index,
        mode=mode,
        seed=index,
        time_start_s=time_start_s,
        time_end_s=time_start_s + duration_s,
        output=None
        if failed
        else Output(sizes=sizes, finish_reason=finish_reason, rendered_prompt_sha256="0" * 64, text=text),
        score=None if correct is None or failed else Score(correct=correct, extracted="42"),
        readings=tuple(readings) if readings is not None else (one,),
        findings=tuple(findings),
    )


def run_of_queries(
    n_prompts: int = 50,
    modes: Sequence[str] = ("off", "on"),
    *,
    seed: int = 7,
    method: Method = Method.NVML_COUNTER,
    boundary: Boundary = Boundary.GPU_BOARD,
    power_w: float = POWER_W,
    net: bool = True,
) -> list[QueryRecord]:
    """A plausible run: `off` answers shortly, other modes think first; modes alternate, with gaps."""
    rng = np.random.default_rng(seed)
    time_s, queries = 12.0, []
    for index in range(n_prompts):
        answer = int(rng.lognormal(5.0, 0.4)) + 5
        hardness = rng.lognormal(0.0, 0.5)
        for position, mode in enumerate(modes):
            thinking = 0 if mode == "off" else int(700 * position * hardness * rng.lognormal(0.0, 0.3))
            weights = {"prefill": 0.1, "thinking": thinking * 0.02, "answer": answer * 0.02}
            duration_s = sum(weights.values())
            energy_j = duration_s * power_w * rng.lognormal(0.0, 0.02)
            phases = {name: each / duration_s for name, each in weights.items() if each}
            one = reading(
                energy_j,
                phases=phases,
                time_start_s=time_s,
                duration_s=duration_s,
                boundary=boundary,
                method=method,
                net=net,
            )
            queries.append(
                query(
                    index,
                    mode,
                    energy_j,
                    thinking_tokens=thinking,
                    answer_tokens=answer,
                    correct=bool(rng.random() < (0.6 if mode == "off" else 0.92)),
                    time_start_s=time_s,
                    duration_s=duration_s,
                    readings=[one],
                    text=f"The answer to question {index} is 42.",
                )
            )
            time_s += duration_s + 0.4
    return queries


def summary_of(
    queries: Sequence[QueryRecord],
    modes: Sequence[str] = ("off", "on"),
    *,
    headline: Boundary = Boundary.GPU_BOARD,
    channels: Sequence[Channel] | None = None,
    tariff_per_kwh: float | None = 0.3,
    findings: Sequence[Finding] = (),
    model: str = "Qwen/Qwen3-8B",
    invalid: Invalid | None = None,
) -> Summary:
    return summarise(
        cell(modes, model),
        queries,
        run_id="2026-01-02T03-04-05-run",
        site_id="0123456789ab",
        headline=headline,
        channels=(channel(),) if channels is None else channels,
        tariff_per_kwh=tariff_per_kwh,
        n_prompts_planned=len({each.prompt_id for each in queries}),
        power_idle_w=Estimate(value=POWER_IDLE_W, half_width_reading=1.0),
        n_sessions=1,
        findings=findings,
        invalid=invalid,
    )


def estimated_summary(n_prompts: int = 50, modes: Sequence[str] = ("off", "on")) -> Summary:
    """A run without a sensor: the hardware model's 45 W times the time."""
    queries = run_of_queries(n_prompts, modes, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    only = channel("codecarbon-host-model", Method.ESTIMATED, Boundary.HOST)
    return summary_of(queries, modes, headline=Boundary.HOST, channels=(only,))


def manifest_like_intervals(queries: Sequence[QueryRecord]) -> list[IntervalRecord]:
    """Load, warm-up and idle around the queries of session 0."""
    end_s = max(each.time_end_s for each in queries)
    spans = [
        ("load", 0.5, 4.0),
        ("warm_up", 4.0, 6.0),
        ("idle_before", 6.0, 12.0),
        ("idle_after", end_s, end_s + 6),
    ]
    return [
        IntervalRecord(session=0, name=name, time_start_s=start_s, time_end_s=stop_s, readings=())
        for name, start_s, stop_s in spans
    ]


def trace_of(
    queries: Sequence[QueryRecord],
    *,
    period_s: float = 0.1,
    seed: int = 3,
    method: Method = Method.NVML_COUNTER,
) -> Trace:
    """The board's power in session 0: idle between queries, some noise in them."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(0.0, max(each.time_end_s for each in queries) + 6.0, period_s)
    middle_s = (time_s[:-1] + time_s[1:]) / 2
    power_w = np.full(len(middle_s), POWER_IDLE_W)
    for each in queries:
        power_w[(middle_s >= each.time_start_s) & (middle_s < each.time_end_s)] = POWER_W
    power_w[(middle_s > 0.5) & (middle_s < 6.0)] = 160.0
    power_w *= rng.normal(1.0, 0.02, len(power_w))
    return Trace(session=0, device=GPU, method=method, time_s=time_s, power_w=power_w)


def page_cell(queries: Sequence[QueryRecord], summary: Summary, **changes: Any) -> PageCell:
    return PageCell(
        summary=summary,
        queries=queries,
        traces=(trace_of(queries, method=summary.method),),
        intervals=manifest_like_intervals(queries),
        facts=facts_of(summary, None),
        **changes,
    )
