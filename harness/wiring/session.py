"""From a job to one session: sensors, engine, store, and the manifest between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import harness
from harness.analysis.lengths import length_figures
from harness.analysis.sequential import looks
from harness.analysis.stopping import stopping_now
from harness.analysis.two_phase import law_prompts
from harness.clock import SessionClock, utc_now
from harness.config import ModelEntry, RunSpec
from harness.environment.census import NOT_THE_MODELS_ALONE, Census, scope_findings
from harness.environment.cpu_time import CpuTime
from harness.environment.machine import git_commit, site, visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.rapl import RaplZone, rapl_zones
from harness.environment.visibility import choose_boards, order_doubt
from harness.errors import InvalidMeasurement, NoSensor
from harness.meter.beside.cross_check import CodecarbonTracker
from harness.meter.meter import SessionMeter
from harness.meter.recorder import SamplerProcess
from harness.pipeline import Observer, Session, refuse_precision
from harness.protocols import Engine, Reasoning, Scorer
from harness.reasoning.proof import check_switch
from harness.records import (
    Attribution,
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    Finding,
    FindingCode,
    LengthRecord,
    Prompt,
    QueryRecord,
    RunManifest,
    Stopping,
)
from harness.schedule import Schedule
from harness.scoring.catalogue import scorer
from harness.scoring.own import is_own
from harness.store.run_directory import RunDirectory
from harness.wiring.cross_check import CrossCheckedObserver, cross_check
from harness.wiring.jobs import N_PILOT, Job, engine_class, source_of
from harness.wiring.sensor_cards import cards_of, doubts_of, learn

_census = Census()
"""Of this process: what it loads in one session is still its own in the next."""


def store_for(job: Job, run_path: Path) -> RunDirectory:
    """The cell's directory at this site."""
    return RunDirectory.create(run_path, job.cell, site(sampled_boards(job.spec, job.device)).site_id)


def has_sensor(job: Job) -> bool:
    """Whether anything here measures the cell's energy; otherwise it will be estimated.

    Raises:
        UnknownName: A board was named that is not there.
        NoSensor: Boards were asked for, and NVML lists none.
    """
    return bool(sampled_boards(job.spec, job.device)) or _rapl_measures(rapl_zones())


def _rapl_measures(zones: Sequence[RaplZone]) -> bool:
    """Whether the host's counters can be read, all of them, and count."""
    return any(zone.moving for zone in zones) and all(zone.readable for zone in zones)


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
    prompts = _prompts(job)
    schedule = Schedule(
        cell=job.cell,
        prompts=prompts,
        finished=store.finished(),
        n_pilot=N_PILOT,
        pilot_only=pilot_only,
        idle_duration_s=spec.idle_duration_s,
        n_warm_up=spec.warm_up_queries,
        store_text=spec.store_text,
        looks=() if spec.until_ci is None else looks(job.n_prompts),
    )
    if job.cell.lengths_batch_size is not None and _lengths_known(store, job):
        schedule = schedule.measuring(_chosen(store.lengths(), job.cell))
    if not schedule.n_queries():
        return "finished"
    if _settled(store, job, schedule.looks):
        return "settled"
    with chdir(spec.working_dir or "."):  # where a relative path of a scorer's file begins
        scorers = _scorers(prompts)
    boards = sampled_boards(spec, job.device)
    zones = rapl_zones()
    rapl = _rapl_measures(zones)
    cpu_time = CpuTime()
    if job.cell.lengths_batch_size is not None and not boards and not rapl:
        raise NoSensor(
            "--two-phase fits measured joules, and nothing here can be measured.",
            "Leave it out: without a sensor every prompt is timed. `harness doctor` shows what is missing.",
        )
    cards = cards_of(boards, lambda: observer.stage("sensor"))
    recorder = SamplerProcess(nvml_uuids=boards, cards=cards, rapl=rapl, estimate=not boards and not rapl)
    meter = SessionMeter(recorder)
    engine = _engine(job, clock)
    number = store.begin_session()
    watched = CrossCheckedObserver(observer)
    session = Session(
        number=number,
        schedule=schedule,
        engine=engine,
        meter=meter,
        clock=clock,
        store=store,
        scorers=scorers,
        observer=watched,
        cpu_time=cpu_time.read if rapl and cpu_time.is_readable else None,
        choose=lambda lengths: _chosen(lengths, job.cell),
    )
    read_boards = set(boards)
    if boards:
        _census.before_load(_boards_known().states())

    def conclude() -> list[Finding]:
        learnt = learn(cards, meter.channels, store.segments(number), read_boards)
        return [*learnt, *(_census.at_end(_boards_known().states()) if boards else ())]

    session.conclude = conclude
    findings: list[Finding] = []
    if any(not zone.readable for zone in zones):
        findings.append(Finding(code=FindingCode.HOST_NOT_READABLE))

    def check(facts: EngineFacts) -> None:
        findings.extend([*engine.warnings(), *recorder.notes()])
        findings.extend(_refused_or_noted(job, facts, engine))
        if boards:
            known = _boards_known()
            holders = choose_boards("auto", known.boards(), facts.device_uuids, known.mig_parents())
            others = set(boards) - set(holders)
            states = known.states()
            metered = holders if spec.meter_gpus == "auto" else boards
            findings.extend(scope_findings([board for board in known.boards() if board.uuid in metered], states))
            findings.extend(_census.after_load(states, metered, holders))
            if spec.meter_gpus == "auto":
                meter.keep({channel.device for channel in meter.channels} - others)
                read_boards.difference_update(others)
            elif set(boards) != set(holders):
                held = ", ".join(holders) or "no board"
                detail = f"metered: {', '.join(boards)}; holding the model: {held}"
                findings.append(Finding(code=FindingCode.OTHER_BOARDS_METERED, detail=detail))
        if any(finding.code in NOT_THE_MODELS_ALONE for finding in findings):
            session.attribution = Attribution.WHOLE_BOARD

    def announce(facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]) -> None:
        gpu = any(channel.boundary is Boundary.GPU_BOARD for channel in channels)
        headline = Boundary.GPU_BOARD if gpu else Boundary.HOST
        if spec.until_ci is not None:
            session.look = lambda: _stopping(store.queries(), job, headline)
        if gpu and job.entry.source.startswith("embedded:"):
            findings.append(Finding(code=FindingCode.TINY_MODEL_ON_GPU))
        findings.extend(doubts_of(cards, read_boards))
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
                site=site(sampled_boards(job.spec, job.device)),
                engine=facts[0],
                engine_of_pair=facts[1] if len(facts) > 1 else None,
                channels=channels,
                headline=headline,
                meter_gpus=spec.meter_gpus,
                n_prompts=job.n_prompts,
                until_ci=spec.until_ci,
                store_text=spec.store_text,
                tariff_per_kwh=spec.tariff,
                sensor_cards=tuple(cards.values()),
                findings=tuple(findings),
            )
        )
        if spec.cross_check is not None:
            watched.begin(CodecarbonTracker(sorted(read_boards)))

    try:
        status = session.run(announce, check)
    finally:
        other = watched.end()
    if other is not None:
        origin_s = clock.origin_monotonic_s
        store.write_cross_check(cross_check(other, meter.curves(), session=number, origin_monotonic_s=origin_s))
    return status


def _refused_or_noted(job: Job, facts: EngineFacts, engine: Engine) -> list[Finding]:
    """Doubts about the loaded model; those that make the measurement worthless are raised."""
    from harness.engine.precision import precision_finding

    findings = []
    precision = precision_finding(facts.requested_precision, facts.executed_precision)
    refuse_precision(precision, accepted=job.spec.accept_precision)
    if precision is not None:
        findings.append(precision)
    if job.spec.preset.is_published:
        return findings  # somebody else's protocol is followed, faults included
    prompts = job.prompt_set.prompts[:N_PILOT]
    resident = [mode for mode in job.cell.modes if engine.ready(mode)]
    rendered = {mode: [engine.render(prompt, mode) for prompt in prompts] for mode in resident}
    for fault in check_switch(job.cell, rendered=rendered).findings:
        raise InvalidMeasurement(f"{fault.code.sentence} ({fault.detail})", fault.code.next_step)
    return findings


def _prompts(job: Job) -> tuple[Prompt, ...]:
    """The run's prompts, with the scorer that the user named for all of them."""
    prompts = job.prompt_set.prompts[: job.n_prompts]
    name = job.spec.scorer
    if name is None:
        return prompts
    # The user's own may judge an answer by itself; the others need a reference.
    return tuple(
        replace(prompt, scorer=name) if prompt.reference is not None or is_own(name) else prompt for prompt in prompts
    )


def _lengths_known(store: RunDirectory, job: Job) -> bool:
    return len(store.lengths()) >= job.n_prompts * len(job.cell.modes)


def _chosen(lengths: Sequence[LengthRecord], cell: Cell) -> frozenset[str]:
    """The prompts of a two-phase run that are measured one by one: for the law, and to check it."""
    chosen = law_prompts(length_figures(lengths), modes=cell.modes, seed=cell.seed)
    return frozenset(chosen.fitted) | frozenset(chosen.held_out)


def _settled(store: RunDirectory, job: Job, looks_at: tuple[int, ...]) -> bool:
    """Whether what is on disk is enough already. Only asked of a run that stops by itself."""
    queries = store.queries()
    manifests = [manifest for number in store.sessions() if (manifest := store.manifest(number))]
    if not looks_at or not queries or not manifests:
        return False
    return _stopping(queries, job, manifests[-1].headline).settled


def _stopping(queries: Sequence[QueryRecord], job: Job, headline: Boundary) -> Stopping:
    target = job.spec.until_ci
    assert target is not None  # only asked of a run that stops by itself
    return stopping_now(queries, modes=job.cell.modes, headline=headline, target=target, n_most=job.n_prompts)


def _scorers(prompts: Sequence[Prompt]) -> dict[str, Scorer]:
    return {name: scorer(name) for name in {prompt.scorer for prompt in prompts} if name is not None}


def _engine(job: Job, clock: SessionClock) -> Engine:
    own = _checkpoint(job, clock, job.entry, job.cell.revision, job.reasoning)
    pair = job.cell.pair
    if pair is None or job.pair_entry is None or job.pair_reasoning is None:
        return own
    from harness.engine.paired import PairedEngine

    other = _checkpoint(job, clock, job.pair_entry, pair.revision, job.pair_reasoning)
    return PairedEngine(own, other, pair.modes)


def _checkpoint(job: Job, clock: SessionClock, entry: ModelEntry, revision: str, reasoning: Reasoning) -> Engine:
    transformers_engine = engine_class()
    return transformers_engine(
        source=source_of(entry),
        revision=revision,
        reasoning=reasoning,
        clock=clock,
        device=job.device,
        dtype=job.cell.dtype,
        quantization=job.cell.quantization,
        attention=job.cell.engine.attention,
        trust_remote_code=job.cell.trust_remote_code,
        n_threads=_n_threads(job),
        sampling=job.cell.sampling,
        min_new_tokens=job.cell.min_new_tokens,
    )


def _n_threads(job: Job) -> int | None:
    """Threads of the model on a CPU: one core is left to the sampler and the interpreter.

    Without it they and the model's threads wait for each other at every layer, and a small model runs ten times
    slower for it. On a GPU torch decides.
    """
    if job.cell.engine.n_threads is not None or job.device != "cpu":
        return job.cell.engine.n_threads
    return max(1, len(os.sched_getaffinity(0)) - 1)


def sampled_boards(spec: RunSpec, device: str) -> tuple[str, ...]:
    """Boards to poll from the start: for `auto` every one that may come to hold the model.

    Raises:
        UnknownName: A board was named that is not there.
        NoSensor: Boards were asked for, and NVML lists none.
    """
    if spec.meter_gpus == "auto":
        if not device.startswith("cuda"):
            return ()
        nvml = open_nvml()
        listed = nvml.boards() if isinstance(nvml, Nvml) else []
        # Not `device_order_doubt`: a site must not change its name because torch has started meanwhile.
        if order_doubt(os.environ, [board.name for board in listed]) is not None:
            return tuple(board.uuid for board in listed)  # the loaded model will tell which it is
        return tuple(board.uuid for board in visible_gpus())
    if spec.meter_gpus == "none":
        return ()
    nvml = open_nvml()
    boards = choose_boards(spec.meter_gpus, nvml.boards() if isinstance(nvml, Nvml) else [], ())
    if not boards:
        reason = "NVML lists no GPU" if isinstance(nvml, Nvml) else nvml.what
        raise NoSensor(f"--meter-gpus {spec.meter_gpus}: {reason}", "Leave the flag out, or see `harness doctor`.")
    return boards


def _boards_known() -> Nvml:
    nvml = open_nvml()
    assert isinstance(nvml, Nvml)  # its boards are being sampled
    return nvml
