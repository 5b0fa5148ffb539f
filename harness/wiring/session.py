"""From a job to one session: sensors, engine, store, and the manifest between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.analysis.lengths import length_figures
from harness.analysis.sequential import looks
from harness.analysis.stopping import stopping_now
from harness.analysis.two_phase import law_prompts
from harness.clock import SessionClock
from harness.config import SERVED, RunSpec, token_weights
from harness.environment.cpu_time import CpuTime
from harness.environment.machine import site, visible_gpus
from harness.environment.neighbours import announced_neighbours
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.rapl import RaplZone, rapl_zones
from harness.environment.visibility import choose_boards, order_doubt
from harness.errors import InvalidMeasurement, NoSensor, ServerLost
from harness.meter.beside.cross_check import CodecarbonTracker
from harness.meter.meter import SessionMeter
from harness.meter.recorder import SamplerProcess
from harness.pipeline.load import LoadSession
from harness.pipeline.observer import Observer
from harness.pipeline.output import refuse_precision
from harness.pipeline.session import Session
from harness.power_limit.limit import PowerLimit
from harness.protocols import Engine, LoadEngine, Scorer
from harness.reasoning.proof import check_switch
from harness.records import (
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    Finding,
    FindingCode,
    LengthRecord,
    Prompt,
    QueryRecord,
    Stopping,
)
from harness.schedule import Schedule
from harness.scoring.catalogue import scorer
from harness.scoring.own import is_own
from harness.store.run_directory import RunDirectory
from harness.wiring.cross_check import CrossCheckedObserver, cross_check
from harness.wiring.engines import engine_of, load_engine_of
from harness.wiring.jobs import N_PILOT, Job
from harness.wiring.sensor_cards import cards_of
from harness.wiring.serving import Servers, serving_of, with_its_end
from harness.wiring.watch import Watch


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


def measure(
    job: Job,
    run_path: Path,
    observer: Observer,
    *,
    pilot_only: bool,
    command: Sequence[str],
    servers: Servers | None = None,
) -> str:
    """Run one session of a cell and return how it ended.

    Args:
        job: The cell.
        run_path: The run's directory.
        observer: Told what is going on.
        pilot_only: Stop after the pilot prompts.
        command: What the user typed, for the manifest.
        servers: Kept over several cells; None: this cell's server, if it has one, ends with it.

    Raises:
        HarnessError: See `Session.run`.
        KeyboardInterrupt: After what is final was written.
    """
    store = store_for(job, run_path)
    with store.locked():
        return _measure(job, store, run_path, observer, servers, pilot_only=pilot_only, command=command)


def _measure(
    job: Job,
    store: RunDirectory,
    run_path: Path,
    observer: Observer,
    servers: Servers | None,
    *,
    pilot_only: bool,
    command: Sequence[str],
) -> str:
    spec, cell, clock = job.spec, job.cell, SessionClock()
    prompts = _prompts(job)
    schedule = Schedule(
        cell=cell,
        prompts=prompts,
        finished=store.finished(),
        n_pilot=N_PILOT,
        pilot_only=pilot_only,
        idle_duration_s=spec.idle_duration_s,
        n_warm_up=spec.warm_up_queries,
        store_text=spec.store_text,
        looks=() if spec.until_ci is None else looks(job.n_prompts),
    )
    if cell.lengths_batch_size is not None and _lengths_known(store, job):
        schedule = schedule.measuring(_chosen(store.lengths(), cell))
    if not schedule.n_queries():
        return "finished"
    if _settled(store, job, schedule.looks):
        return "settled"
    with chdir(spec.working_dir or "."):  # where a relative path of a scorer's file begins
        scorers = _scorers(prompts)
    boards, zones = sampled_boards(spec, job.device), rapl_zones()
    rapl = _rapl_measures(zones)
    here = site(boards)  # before a power limit is set: it must not look like another site
    if cell.lengths_batch_size is not None and not boards and not rapl:
        raise NoSensor(
            "--two-phase fits measured joules, and nothing here can be measured.",
            "Leave it out: without a sensor every prompt is timed. `harness doctor` shows what is missing.",
        )
    number = store.begin_session()
    with serving_of(job, store.server_log(number), observer, servers) as serving:
        if serving is not None:
            boards = serving.boards
        cards = cards_of(boards, lambda: observer.stage("sensor"))
        recorder = SamplerProcess(nvml_uuids=boards, cards=cards, rapl=rapl, estimate=not boards and not rapl)
        meter = SessionMeter(recorder)
        watch = Watch(
            job=job,
            store=store,
            session=number,
            meter=meter,
            clock=clock,
            run_id=run_path.name,
            command=command,
            boards=boards,
            site=here,
            cards=cards,
            limit=PowerLimit(cell.power_limit_w),
            pids=(lambda: ()) if serving is None else serving.pids,
        )
        if any(not zone.readable for zone in zones):
            watch.findings.append(Finding(code=FindingCode.HOST_NOT_READABLE))
        watch.findings += announced_neighbours(os.environ)
        if serving is not None:
            watch.findings += serving.findings
        cpu_time = CpuTime() if serving is None else CpuTime(served_by=serving.roots)
        watched = CrossCheckedObserver(observer)
        common: dict[str, Any] = {
            "number": number,
            "schedule": schedule,
            "meter": meter,
            "clock": clock,
            "store": store,
            "scorers": scorers,
            "observer": watched,
            "cpu_time": cpu_time.read if rapl and cpu_time.is_readable else None,
            "conclude": watch.conclude,
            "lengths": None if job.lengths is None else job.lengths.by_query,
        }
        session: Session | LoadSession
        engine: Engine | LoadEngine
        if serving is None and not cell.overlaps:
            engine = own = engine_of(job, clock)
            session = Session(engine=own, choose=lambda lengths: _chosen(lengths, cell), **common)
        else:
            engine = load = load_engine_of(job, clock, number, serving)
            session = LoadSession(
                engine=load, weights=None if spec.weights is None else token_weights(spec.weights), **common
            )
        watch.before_load()

        def check(facts: EngineFacts) -> None:
            watch.findings.extend([*engine.warnings(), *recorder.notes()])
            watch.findings.extend(_refused_or_noted(job, facts, engine))
            watch.loaded(facts)
            session.attribution = watch.attribution

        def announce(facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]) -> None:
            watch.announce(facts, channels)
            if spec.until_ci is not None and isinstance(session, Session):
                session.look = lambda: _stopping(store.queries(), job, watch.headline)
            if spec.cross_check is not None:
                watched.begin(CodecarbonTracker(sorted(watch.read_boards)))

        try:
            with watch.limit:
                status = session.run(announce, check)
        except ServerLost as error:
            raise with_its_end(error, serving) from error
        finally:
            other = watched.end()
        if other is not None:
            origin_s = clock.origin_monotonic_s
            store.write_cross_check(cross_check(other, meter.curves(), session=number, origin_monotonic_s=origin_s))
        return status


def _refused_or_noted(job: Job, facts: EngineFacts, engine: Engine | LoadEngine) -> list[Finding]:
    """Doubts about the loaded model; those that make the measurement worthless are raised."""
    from harness.engine.precision import precision_finding

    findings = []
    precision = precision_finding(facts.requested_precision, facts.executed_precision)
    refuse_precision(precision, accepted=job.spec.accept_precision)
    if precision is not None:
        findings.append(precision)
    if job.cell.task is not None:
        return findings  # it has one mode
    if job.spec.preset.is_published:
        return findings  # somebody else's protocol is followed, faults included
    prompts = job.prompt_set.prompts[:N_PILOT]
    ready = getattr(engine, "ready", lambda _mode: True)  # of a pair of checkpoints one is resident at a time
    resident = [mode for mode in job.cell.modes if ready(mode)]
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


def sampled_boards(spec: RunSpec, device: str) -> tuple[str, ...]:
    """Boards to poll from the start: for `auto` every one that may come to hold the model.

    Raises:
        UnknownName: A board was named that is not there.
        NoSensor: Boards were asked for, and NVML lists none.
    """
    if spec.meter_gpus == "auto":
        if not device.startswith(("cuda", SERVED)):
            return ()
        nvml = open_nvml()
        listed = nvml.boards() if isinstance(nvml, Nvml) else []
        if device == SERVED:
            return tuple(board.uuid for board in listed)  # the server will tell which are its
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
