"""Run folders with what a leaderboard reads of them: summaries and manifests made of records, with chosen joules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.records import (
    Board,
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    EngineOptions,
    Estimate,
    Finding,
    FindingCode,
    Method,
    ModeSummary,
    Quantity,
    RunManifest,
    Site,
    Summary,
)
from harness.units import J_PER_WH

ONE_RUN = Finding(code=FindingCode.ONE_RUN)
GAIN = 0.05
READING = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A kind of board."""

    name: str
    memory_gib: int
    power_w: float


H100 = Card(name="NVIDIA H100 80GB HBM3", memory_gib=80, power_w=700.0)
A100 = Card(name="NVIDIA A100-SXM4-80GB", memory_gib=80, power_w=400.0)
L4 = Card(name="NVIDIA L4", memory_gib=24, power_w=72.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: a model in its modes on one board. `energy_j` has a number per repeat for each mode."""

    run_id: str
    model: str = "Qwen/Qwen3-8B"
    energy_j: Mapping[str, Sequence[float]]
    accuracy: Mapping[str, float] = field(default_factory=dict)
    card: Card = H100
    uuid: str = "GPU-11111111-0000-4000-8000-000000000001"
    n_boards: int = 1
    driver: str = "570.133.20"
    started_utc: str = "2026-11-01T10:00:00Z"
    engine_version: str = "5.23.0"
    n_parameters: int = 8_000_000_000
    executed: str = "bfloat16"
    n_queries: int = 200
    n_planned: int | None = None
    n_failed: int = 0
    prompts_relative: float = 0.03
    """Half-width of the interval over prompts, relative."""
    tokens: float = 350.0
    estimated: bool = False
    findings: Sequence[Finding] = ()
    faults: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    power_limit_w: float | None = None
    gain: float | None = GAIN
    cell: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the cell."""


def estimate(value: float, relative: float, run: Run) -> Estimate:
    if run.estimated:
        return Estimate(value=value)
    return Estimate(
        value=value,
        low=value * (1 - relative),
        high=value * (1 + relative),
        half_width_reading=READING * value,
        half_width_gain=None if run.gain is None else run.gain * value,
        findings=(ONE_RUN,),
    )


def mode_summary(run: Run, mode: str, energy_j: float) -> ModeSummary:
    share, n = run.accuracy.get(mode), run.n_queries - run.n_failed
    right = 0 if share is None else round(share * n)
    plain = Estimate(value=None)
    accuracy = (
        plain
        if share is None
        else Estimate(value=right / n, low=max(0.0, right / n - 0.06), high=min(1.0, right / n + 0.06))
    )
    return ModeSummary(
        mode=mode,
        n_queries=run.n_queries,
        n_failed=run.n_failed,
        n_without_energy=0,
        n_scored=0 if share is None else n,
        n_correct=right,
        n_cut=0,
        accuracy=accuracy,
        duration_s=Estimate(value=energy_j / 400.0),
        prompt_tokens=60.0,
        thinking_tokens=Estimate(value=0.0),
        answer_tokens=Estimate(value=run.tokens),
        output_tokens=run.tokens,
        energy_j=estimate(energy_j, run.prompts_relative, run),
        energy_net_j=plain,
        energy_per_output_token_j=estimate(energy_j / run.tokens, run.prompts_relative, run),
        energy_per_correct_j=estimate(energy_j * n / right, 2 * run.prompts_relative, run) if right else plain,
        energy_wh_per_1000=estimate(energy_j * 1000 / J_PER_WH, run.prompts_relative, run),
        duration_per_output_token_s=energy_j / 400.0 / run.tokens,
        phases_j={},
        phases_s={},
        power_w=400.0,
        invalid=tuple(run.faults.get(mode, ())),
    )


def cell_of(run: Run, repeat: int = 0) -> Cell:
    fields: dict[str, Any] = {
        "model": run.model,
        "source": run.model,
        "revision": "b968826d9c46dd6066d109eabc6255188de91218",
        "engine": EngineOptions(device="cuda"),
        "dtype": "auto",
        "quantization": "none",
        "prompt_set": "everyday",
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": tuple(run.energy_j),
        "max_new_tokens": 8192,
        "seed": 0,
        "repeat": repeat,
        "power_limit_w": run.power_limit_w,
    }
    return Cell(**{**fields, **run.cell})


def site_of(run: Run) -> Site:
    uuids = uuids_of(run)
    boards = tuple(
        Board(
            uuid=uuid,
            name=run.card.name,
            memory_bytes=run.card.memory_gib * 2**30,
            power_limit_default_w=run.card.power_w,
            power_limit_w=run.card.power_w,
            mig=False,
        )
        for uuid in uuids
    )
    return Site(
        hostname_sha256="0" * 64,
        platform="Linux",
        cpu="AMD EPYC 9654",
        n_cpu_cores=96,
        memory_bytes=2**40,
        boards=() if run.estimated else boards,
        driver=None if run.estimated else run.driver,
        cuda="12.8",
        python="3.11.7",
        packages={"transformers": run.engine_version, "torch": "2.13.0"},
    )


def uuids_of(run: Run) -> list[str]:
    return [run.uuid if index == 0 else f"{run.uuid[:-2]}{index:02d}" for index in range(run.n_boards)]


@cache
def precision(executed: str) -> EngineFacts:
    return EngineFacts(
        device_name="board",
        device_uuids=(),
        revision="b968826d9c46dd6066d109eabc6255188de91218",
        n_parameters=1,
        bytes_per_parameter=2.0,
        executed_precision=executed,
        requested_precision=executed,
        layer_classes={"Linear": 252},
        attention="sdpa",
        context_length=40960,
        weights_format="safetensors",
        generation_config={"do_sample": True},
    )


def manifest_of(run: Run, cell: Cell, site: Site) -> RunManifest:
    boundary, method = (Boundary.HOST, Method.ESTIMATED) if run.estimated else (Boundary.GPU_BOARD, Method.NVML_COUNTER)
    devices = ["cpu"] if run.estimated else uuids_of(run)
    facts = precision(run.executed).model_copy(
        update={"device_uuids": () if run.estimated else tuple(devices), "n_parameters": run.n_parameters}
    )
    return RunManifest(
        harness_version="0.1.0",
        run_id=run.run_id,
        cell_id=cell.cell_id,
        session=1,
        started_utc=run.started_utc,
        origin_unix_s=0.0,
        origin_monotonic_s=0.0,
        command=("harness", "run", "--model", run.model),
        git_commit=None,
        site=site,
        engine=facts,
        channels=tuple(
            Channel(
                device=device, boundary=boundary, method=method, quantity=Quantity.ENERGY_J, gain_half_width=run.gain
            )
            for device in devices
        ),
        headline=boundary,
        meter_gpus="auto",
        n_prompts=run.n_planned or run.n_queries,
        store_text="hash",
        tariff_per_kwh=None,
        findings=(),
    )


def summary_of(run: Run, cell: Cell, site_id: str) -> Summary:
    return Summary(
        run_id=run.run_id,
        cell=cell,
        site_id=site_id,
        headline=Boundary.HOST if run.estimated else Boundary.GPU_BOARD,
        method=Method.ESTIMATED if run.estimated else Method.NVML_COUNTER,
        estimated=run.estimated,
        power_idle_w=Estimate(value=None),
        n_sessions=1,
        n_prompts_planned=run.n_planned or run.n_queries,
        tariff_per_kwh=None,
        modes=tuple(mode_summary(run, mode, values[cell.repeat]) for mode, values in run.energy_j.items()),
        findings=tuple(run.findings),
    )


def write_run(results: Path, run: Run) -> Path:
    """The run's folder; each repeat is a cell of it."""
    site = site_of(run)
    site_id = site.site_id
    for repeat in range(len(next(iter(run.energy_j.values())))):
        cell = cell_of(run, repeat)
        folder = results / run.run_id / cell.cell_id / site_id
        session = folder / "sessions" / "01"
        session.mkdir(parents=True)
        fields = {"schema_version": 1, **cell.model_dump(mode="json")}
        (folder / "cell.yaml").write_text(json.dumps(fields))  # JSON is YAML
        (folder / "queries.jsonl").write_text("")
        (folder / "summary.json").write_text(summary_of(run, cell, site_id).model_dump_json(indent=1) + "\n")
        (session / "manifest.json").write_text(manifest_of(run, cell, site).model_dump_json(indent=1) + "\n")
    return results / run.run_id
