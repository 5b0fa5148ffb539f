"""Puts concrete things behind the interfaces. The only place that names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import harness
from harness.clock import SessionClock, utc_now
from harness.config import ModelEntry, RunSpec, load_catalogue
from harness.environment.machine import git_commit, site, visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.rapl import rapl_zones
from harness.environment.visibility import choose_boards
from harness.errors import EnvironmentFault, InvalidMeasurement, NoSensor, UnknownName, UsageError
from harness.meter.meter import Meter
from harness.meter.recorder import SamplerProcess
from harness.pipeline import Observer, Plan, Session, refuse_precision
from harness.prompts.catalogue import parse
from harness.protocols import Engine, Reasoning, Scorer
from harness.reasoning.proof import check_switch
from harness.reasoning.switch import FamilyReasoning
from harness.records import (
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    EngineOptions,
    Finding,
    FindingCode,
    Prompt,
    PromptSet,
    RunManifest,
)
from harness.scoring.catalogue import scorer
from harness.store.run_directory import RunDirectory

N_PILOT = 5
EMBEDDED_SET, EVERYDAY_SET = "chains", "everyday"
CAPS = {EMBEDDED_SET: 128}
CAP = 2048
COUNTS = {EMBEDDED_SET: 100}
COUNT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell, and what it takes to measure it."""

    cell: Cell
    entry: ModelEntry
    reasoning: Reasoning
    prompt_set: PromptSet
    device: str
    spec: RunSpec

    @property
    def n_prompts(self) -> int:
        """How many prompts the run takes."""
        wanted = self.spec.num_prompts or COUNTS.get(self.prompt_set.name, COUNT)
        return min(wanted, len(self.prompt_set.prompts))


def jobs(spec: RunSpec, cells: Sequence[Cell] = ()) -> list[Job]:
    """What a spec asks for: one cell per model and repeat.

    Args:
        spec: The run.
        cells: Those of a run that is resumed; they are taken as they are instead of being worked out again.

    Raises:
        HarnessError: A model, mode, prompt set or device that does not exist or cannot be used here.
    """
    device = _device(spec.device)
    catalogue = load_catalogue(spec.models)
    if cells:
        by_name = {cell.model: catalogue.entry(_reference(cell)) for cell in cells}
        return [_job(spec, device, by_name[cell.model], cell) for cell in cells]
    found = []
    for name in spec.model:
        entry = catalogue.entry(name)
        mechanism = catalogue.mechanism(entry, spec.reasoning)
        reasoning = FamilyReasoning(mechanism)
        modes = _modes(spec, entry, reasoning)
        prompt_set = _prompt_set(spec, entry)
        source = _source(entry)
        for repeat in range(spec.repeats):
            cell = Cell(
                model=entry.name,
                source=entry.source,
                revision=_revision(source, entry),
                engine=EngineOptions(device=device.partition(":")[0], attention=spec.engine.attention),
                dtype=spec.dtype,
                quantization=spec.quantization,
                trust_remote_code=spec.trust_remote_code,
                prompt_set=prompt_set.name,
                prompt_set_sha256=prompt_set.sha256,
                protocol=spec.protocol,
                modes=modes,
                reasoning=mechanism,
                max_new_tokens=spec.max_new_tokens or CAPS.get(prompt_set.name, CAP),
                seed=spec.seed,
                repeat=repeat,
            )
            found.append(
                Job(cell=cell, entry=entry, reasoning=reasoning, prompt_set=prompt_set, device=device, spec=spec)
            )
    return found


def store_for(job: Job, run_path: Path) -> RunDirectory:
    """The cell's directory at this site."""
    return RunDirectory.create(run_path, job.cell, site(_sampled_boards(job.spec, job.device)).site_id)


def measure(job: Job, run_path: Path, observer: Observer, *, pilot_only: bool, command: Sequence[str]) -> str:
    """Run one session of a cell and return how it ended.

    Raises:
        HarnessError: See `Session.run`.
        KeyboardInterrupt: After what is final was written.
    """
    store = store_for(job, run_path)
    with store.locked():
        return _measure(job, store, run_path, observer, pilot_only=pilot_only, command=command)


def _measure(
    job: Job, store: RunDirectory, run_path: Path, observer: Observer, *, pilot_only: bool, command: Sequence[str]
) -> str:
    spec, clock = job.spec, SessionClock()
    scorers = _scorers(job.prompt_set.prompts[: job.n_prompts])
    boards = _sampled_boards(spec, job.device)
    zones = rapl_zones()
    rapl = bool(zones) and all(zone.readable for zone in zones)
    recorder = SamplerProcess(nvml_uuids=boards, rapl=rapl, estimate=not boards and not rapl)
    meter = Meter(recorder)
    engine = _engine(job, clock)
    number = store.begin_session()
    plan = Plan(
        cell=job.cell,
        prompts=job.prompt_set.prompts[: job.n_prompts],
        finished=store.finished(),
        n_pilot=N_PILOT,
        pilot_only=pilot_only,
        idle_duration_s=spec.idle_duration_s,
        n_warm_up=spec.warm_up_queries,
        store_text=spec.store_text,
    )
    session = Session(
        number=number,
        plan=plan,
        engine=engine,
        meter=meter,
        clock=clock,
        store=store,
        scorers=scorers,
        observer=observer,
    )
    findings = _board_doubts(boards)

    def check(facts: EngineFacts) -> None:
        findings.extend([*engine.warnings(), *recorder.notes()])
        findings.extend(_refused_or_noted(job, facts, engine))
        if spec.meter_gpus == "auto" and boards:
            known = _boards_known()
            holders = choose_boards("auto", known.boards(), facts.device_uuids, known.mig_parents())
            others = set(boards) - set(holders)
            meter.keep({channel.device for channel in meter.channels} - others)

    def announce(facts: EngineFacts, channels: tuple[Channel, ...]) -> None:
        gpu = any(channel.boundary is Boundary.GPU_BOARD for channel in channels)
        if gpu and job.entry.source.startswith("embedded:"):
            findings.append(Finding(code=FindingCode.TINY_MODEL_ON_GPU))
        store.write_manifest(
            RunManifest(
                harness_version=harness.__version__,
                run_id=run_path.name,
                cell_id=job.cell.cell_id,
                session=number,
                started_utc=utc_now(),
                origin_unix_s=clock.origin_unix_s,
                origin_monotonic_s=clock.origin_monotonic_s,
                command=tuple(command),
                git_commit=git_commit(Path(harness.__file__).parent),
                site=site(_sampled_boards(job.spec, job.device)),
                engine=facts,
                channels=channels,
                headline=Boundary.GPU_BOARD if gpu else Boundary.HOST,
                meter_gpus=spec.meter_gpus,
                n_prompts=job.n_prompts,
                store_text=spec.store_text,
                tariff_per_kwh=spec.tariff,
                findings=tuple(findings),
            )
        )

    return session.run(announce, check)


def _refused_or_noted(job: Job, facts: EngineFacts, engine: Engine) -> list[Finding]:
    """Doubts about the loaded model; those that make the measurement worthless are raised."""
    from harness.engine.precision import precision_finding

    findings = []
    precision = precision_finding(facts.requested_precision, facts.executed_precision)
    refuse_precision(precision, accepted=job.spec.accept_precision)
    if precision is not None:
        findings.append(precision)
    if facts.remote_code_commit is not None:
        findings.append(Finding(code=FindingCode.REMOTE_CODE, detail=facts.remote_code_commit))
    prompts = job.prompt_set.prompts[:N_PILOT]
    rendered = {mode: [engine.render(prompt, mode) for prompt in prompts] for mode in job.cell.modes}
    same = check_switch(rendered, {})
    if same:
        raise InvalidMeasurement(f"{same[0].code.sentence} ({same[0].detail})", same[0].code.next_step)
    return findings


def _job(spec: RunSpec, device: str, entry: ModelEntry, cell: Cell) -> Job:
    """The job of a cell that exists; refused where its prompts have changed."""
    prompt_set = _prompt_set(spec, entry)
    if prompt_set.sha256 != cell.prompt_set_sha256:
        raise UsageError(
            f"The prompt set {cell.prompt_set!r} is not the one that this run began with.",
            "Restore the file, or start a new run.",
        )
    if device.partition(":")[0] != cell.engine.device:
        raise UsageError(
            f"This run was measured on {cell.engine.device}, and here it would be {device}.",
            f"Add --device {cell.engine.device}, or start a new run.",
        )
    reasoning = FamilyReasoning(cell.reasoning)
    return Job(cell=cell, entry=entry, reasoning=reasoning, prompt_set=prompt_set, device=device, spec=spec)


def _reference(cell: Cell) -> str:
    return cell.source if cell.source.startswith(("embedded:", "/")) else f"{cell.source}@{cell.revision}"


def _modes(spec: RunSpec, entry: ModelEntry, reasoning: Reasoning) -> tuple[str, ...]:
    """The modes asked for, or off and on where the model has both, or all that it has."""
    if spec.mode is None:
        return ("off", "on") if {"off", "on"} <= set(reasoning.modes) else reasoning.modes
    for mode in spec.mode:
        if mode not in reasoning.modes:
            family = "" if entry.reasoning else " If its family is known, name it: --reasoning qwen3."
            raise UnknownName("mode", mode, reasoning.modes, f" These are the modes of {entry.name}.{family}")
    return tuple(dict.fromkeys(spec.mode))


def _prompt_set(spec: RunSpec, entry: ModelEntry) -> PromptSet:
    return parse(spec.prompts or entry.prompts or EVERYDAY_SET).load(spec.seed)


def _scorers(prompts: Sequence[Prompt]) -> dict[str, Scorer]:
    return {name: scorer(name) for name in {prompt.scorer for prompt in prompts} if name is not None}


def _source(entry: ModelEntry) -> str:
    """Where the engine finds the weights: a Hub id or a path."""
    kind, _, name = entry.source.partition(":")
    if kind == "embedded":
        return str(resources.files("harness") / "assets" / name)
    return entry.source


def _revision(source: str, entry: ModelEntry) -> str:
    from harness.engine.revision import resolve_revision

    return resolve_revision(source, entry.revision)


def _engine(job: Job, clock: SessionClock) -> Engine:
    transformers_engine = _engine_class()
    return transformers_engine(
        source=_source(job.entry),
        revision=job.cell.revision,
        reasoning=job.reasoning,
        clock=clock,
        device=job.device,
        dtype=job.cell.dtype,
        quantization=job.cell.quantization,
        attention=job.cell.engine.attention,
        trust_remote_code=job.cell.trust_remote_code,
        n_threads=job.spec.engine.n_threads,
    )


def _engine_class() -> Callable[..., Engine]:
    try:
        from harness.engine.transformers import TransformersEngine
    except ImportError as error:
        raise EnvironmentFault(
            f"The transformers engine needs {error.name}, which is not installed.",
            f"{sys.executable} -m pip install 'inference-energy-harness[transformers]'",
        ) from error
    return TransformersEngine


def _device(requested: str) -> str:
    nvml = open_nvml()
    n_gpus = nvml.n_boards if isinstance(nvml, Nvml) else None
    if n_gpus and os.environ.get("CUDA_VISIBLE_DEVICES") is not None and not visible_gpus():
        n_gpus = 0  # hidden on purpose
    _engine_class()
    from harness.engine.device import resolve_device

    return resolve_device(requested, n_gpus, nvml.driver if isinstance(nvml, Nvml) else None)


def _sampled_boards(spec: RunSpec, device: str) -> tuple[str, ...]:
    """Boards to poll from the start: for `auto` every one that may come to hold the model."""
    if spec.meter_gpus == "auto":
        return tuple(board.uuid for board in visible_gpus()) if device.startswith("cuda") else ()
    if spec.meter_gpus == "none":
        return ()
    nvml = open_nvml()
    boards = choose_boards(spec.meter_gpus, nvml.boards() if isinstance(nvml, Nvml) else [], ())
    if not boards:
        reason = "NVML lists no GPU" if isinstance(nvml, Nvml) else nvml.what
        raise NoSensor(f"--meter-gpus {spec.meter_gpus}: {reason}", "Leave the flag out, or see `harness doctor`.")
    return boards


def _board_doubts(uuids: Sequence[str]) -> list[Finding]:
    """What makes a board's energy more than the model's, looked at before the model is loaded."""
    if not uuids:
        return []
    nvml = _boards_known()
    states = nvml.states()
    findings = []
    for board in nvml.boards():
        if board.uuid not in uuids:
            continue
        processes = states[board.uuid].processes or ()
        foreign = [f"{process.name or 'process'} {process.pid}" for process in processes if process.kind == "compute"]
        if foreign:
            findings.append(Finding(code=FindingCode.OTHER_PROCESSES, detail=f"{board.uuid}: {', '.join(foreign)}"))
        if board.mig:
            findings.append(Finding(code=FindingCode.MIG_PARENT, detail=board.uuid))
    return findings


def _boards_known() -> Nvml:
    nvml = open_nvml()
    assert isinstance(nvml, Nvml)  # its boards are being sampled
    return nvml
