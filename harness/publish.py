"""From a run directory to what people look at: summaries, the page, `summary.json`. All of it can be made again."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.busy import busy_by_mode, host_bound
from harness.analysis.estimates import gains_of, scaled
from harness.analysis.figures import figures_in, headline_rows, is_estimated_in, own_finding
from harness.analysis.lengths import length_figures
from harness.analysis.measured import PARTS, THINKING_TOKENS
from harness.analysis.modes import QUERIES_PER_WH_FIGURE
from harness.analysis.repeats import with_run_spread
from harness.analysis.serving.flights import Flights
from harness.analysis.serving.serving import Block, SessionLoad, is_under_load, mode_of, serving_summaries
from harness.analysis.stopping import stopping_now, with_stopping
from harness.analysis.summary import summarise
from harness.analysis.two_phase import law_prompts, refused, two_phase
from harness.attribution.baseline import Baseline
from harness.errors import InvalidMeasurement
from harness.meter.curve.curve import Curve
from harness.meter.meter import rebuilt
from harness.presets import PAIRED
from harness.reasoning.outputs import ModeOutput, ModeOutputs
from harness.reasoning.proof import Proof, check_switch
from harness.records import (
    Boundary,
    Cell,
    Channel,
    Estimate,
    Finding,
    FindingCode,
    IntervalRecord,
    LengthRecord,
    ModeFault,
    ModeSummary,
    QueryColumns,
    QueryRecord,
    RunManifest,
    Stopping,
    Summary,
    TwoPhase,
)
from harness.report.facts import Fact, FactGroup, command_of, facts_of
from harness.report.page import Lead, PageCell, render_page
from harness.report.serving.flying import Flying
from harness.report.serving.loads import load_of, loads_leads
from harness.report.trace import Trace
from harness.report.trail import Trail, trails
from harness.results import CellResults, load_run
from harness.store import straight
from harness.store.run_directory import RunDirectory, write_whole, writing
from harness.units import J_PER_WH

if TYPE_CHECKING:
    from harness.records import FloatArray

OF_A_SAMPLE = {
    FindingCode.HEAVY_TAIL,
    FindingCode.FEW_CORRECT,
    FindingCode.NOTHING_CORRECT,
    FindingCode.DRAWS_WITHOUT_CORRECT,
    FindingCode.TOO_FEW_QUERIES,
}
"""Doubts about prompts as a sample of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One cell at one site: what is on disk, and what it says."""

    results: CellResults
    summary: Summary
    number: int = 1
    """Which cell of its run, as `harness report RUN --explain NUMBER:NAME` counts them."""
    loads: Sequence[SessionLoad] = ()
    """Of a cell under load: what its sessions did."""


def accounts(run: Path, run_id: str | None = None) -> list[Account]:
    """Every cell of a run that has measured anything.

    Args:
        run: Its directory.
        run_id: What it is called, where its directory has another name.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    run_id = run_id or run.name
    measured = [
        _account(run_id, results) for results in load_run(run) if results.queries and results.manifest is not None
    ]
    repeats: dict[object, list[Account]] = {}
    for account in sorted(measured, key=lambda each: (each.summary.cell.repeat, load_of(each.summary.cell))):
        cell = account.summary.cell.model_copy(update={"repeat": 0})
        repeats.setdefault((cell.cell_id, account.summary.site_id), []).append(account)
    spread = [
        (account, summary)
        for group in repeats.values()
        for account, summary in zip(group, with_run_spread([each.summary for each in group]), strict=True)
    ]
    return [
        replace(account, summary=summary, number=number) for number, (account, summary) in enumerate(spread, start=1)
    ]


def _account(run_id: str, results: CellResults) -> Account:
    summary = _summary(run_id, results)
    if not is_under_load(results.cell):
        return Account(results=results, summary=summary)
    loads = _session_loads(results, summary.headline)
    return Account(results=results, summary=_served(summary, results, loads), loads=loads)


def publish(
    run: Path,
    measured: Sequence[Account],
    footprints: Sequence[Lead | None] = (),
    above: Sequence[Lead] = (),
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write `summary.json` beside each cell and the page of the run, and return the page's path.

    Args:
        run: Where they go.
        measured: The run's cells.
        footprints: Of each cell, where they were asked for.
        above: What the page says before its first cell.
        names: Of the variants that cells are, by cell id.

    Raises:
        StorageFull: They cannot be written; nothing that was measured is touched.
    """
    page = run / "report.html"
    with writing(run):
        for account in measured:
            path = account.results.directory.path / "summary.json"
            write_whole(path, account.summary.model_dump_json(indent=1) + "\n")
        write_whole(page, page_of(measured, footprints, above, names))
    return page


def page_of(
    measured: Sequence[Account],
    footprints: Sequence[Lead | None] = (),
    above: Sequence[Lead] = (),
    names: Mapping[str, str] | None = None,
) -> str:
    """The page of a run; arguments as for `publish`."""
    leads = footprints or [None] * len(measured)
    shown = [
        _page_cell(account, lead, (names or {}).get(account.summary.cell.cell_id, ""))
        for account, lead in zip(measured, leads, strict=True)
    ]
    return render_page(shown, leads=(*above, *loads_leads([account.summary for account in measured])))


def publish_together(page: Path, measured: Sequence[Account], footprints: Sequence[Lead | None] = ()) -> None:
    """Write one page of several runs' cells.

    Args:
        page: Where it goes.
        measured: The cells.
        footprints: Of each cell, where they were asked for.

    Raises:
        StorageFull: It cannot be written.
    """
    title = f"{len(measured)} cells of {len({account.summary.run_id for account in measured})} runs"
    leads = footprints or [None] * len(measured)
    shown = [_page_cell(account, lead) for account, lead in zip(measured, leads, strict=True)]
    with writing(page.parent):
        loads = loads_leads([account.summary for account in measured])
        page.write_text(render_page(shown, title=title, leads=loads), encoding="utf-8")


def _summary(run_id: str, results: CellResults) -> Summary:
    manifest = results.manifest
    if manifest is None:
        raise InvalidMeasurement("No session of this cell has a manifest.", "Resume the run.")
    proof = _proof(results)
    busy = busy_by_mode([session.busy for session in results.sessions if session.busy is not None])
    summary = summarise(
        results.cell,
        results.columns,
        run_id=run_id,
        site_id=results.site_id,
        headline=manifest.headline,
        channels=manifest.channels,
        tariff_per_kwh=manifest.tariff_per_kwh,
        n_prompts_planned=manifest.n_prompts,
        power_idle_w=_idle_power(results, manifest.headline),
        n_sessions=len(np.unique(results.columns.session)),
        findings=(
            *results.findings,
            *proof.findings,
            *_protocol_findings(results.cell),
            *_length_findings(results.lengths),
            *host_bound(busy),
        ),
        invalid=proof.invalid,
    )
    modes = tuple(
        mode.model_copy(update={"invalid": proof.invalid(mode.mode, mode.mode), "gpu_busy_share": busy.get(mode.mode)})
        for mode in summary.modes
    )
    faults = tuple(ModeFault(modes=tuple(sorted(fault.modes)), finding=fault.finding) for fault in proof.faults)
    summary = summary.model_copy(update={"modes": modes, "faults": faults})
    stopping = _stopping(results, manifest)
    if stopping is not None:
        summary = with_stopping(summary, stopping)
    if results.cell.lengths_batch_size is not None:
        summary = _two_phased(summary, _two_phase(results, manifest), proof)
    return summary.model_copy(
        update={
            "external": tuple(
                session.external.model_copy(update={"queries": ()}) for session in results.sessions if session.external
            ),
            "cross_checks": tuple(session.cross_check for session in results.sessions if session.cross_check),
        }
    )


def _served(summary: Summary, results: CellResults, loads: Sequence[SessionLoad]) -> Summary:
    """The summary of a cell under load.

    Where queries ran together there is no energy law: their shares follow from their tokens, so that a law would find
    the weights of the rule again.
    """
    channels = [channel for session in results.sessions if session.manifest for channel in session.manifest.channels]
    serving = serving_summaries(
        results.cell,
        results.columns,
        loads,
        headline=summary.headline,
        gains=gains_of(channels),
        estimated=summary.estimated,
        modes=[mode.mode for mode in summary.modes],
    )
    known = {finding.code for finding in summary.findings}
    found = dict.fromkeys(finding for each in serving for finding in each.findings if finding.code not in known)
    changes: dict[str, object] = {"serving": serving, "findings": (*found, *summary.findings)}
    if results.cell.overlaps:
        of_all = {each.mode: each.energy_all_j for each in serving}
        changes |= {"law": None, "modes": tuple(_of_shares(mode, of_all.get(mode.mode)) for mode in summary.modes)}
    return summary.model_copy(update=changes)


def _of_shares(mode: ModeSummary, energy_j: Estimate | None) -> ModeSummary:
    """A mode whose queries ran together: their seconds overlap, and errors that move joules among them cancel."""
    shares: dict[str, object] = {"power_w": None}
    if energy_j is not None and energy_j.value is not None:
        shares |= {"energy_j": energy_j, "energy_wh_per_1000": scaled(energy_j, QUERIES_PER_WH_FIGURE / J_PER_WH)}
    return mode.model_copy(update=shares)


def _session_loads(results: CellResults, headline: Boundary) -> list[SessionLoad]:
    """What each session under load did. Its curves are made again, with straight ticks: a window is many of them."""
    loads = []
    for session in results.sessions:
        blocks = [_block(each, headline) for each in session.stretches if each.name == "serving"]
        if not blocks or session.manifest is None:
            continue
        curves = straight_curves(results.directory, session.number, session.manifest.channels, whole=True)
        loads.append(
            SessionLoad(
                number=session.number,
                flights=Flights.of(results.directory.timelines(session.number)),
                blocks=blocks,
                curves=[curve for curve in curves if curve.channel.boundary in PARTS[headline] and len(curve.time_s)],
                weights=results.directory.weights(session.number),
            )
        )
    return loads


KNOTS = ("time_s", "energy_total_j", "half_width_at_j", "variance_total_j2", "variance_blind_j2")
"""What is kept of a straight curve."""


def straight_curves(
    directory: RunDirectory, session: int, channels: Sequence[Channel], *, whole: bool
) -> tuple[Curve, ...]:
    """The curves of a session's devices with straight ticks: for stretches of many ticks, and to look at.

    Kept in memory for the few sessions that were asked for last, and of a long session beside its readings.

    Args:
        directory: Of the cell at its site.
        session: Its number.
        channels: Of the session.
        whole: All of it, however long; otherwise of a very long one its beginning.
    """
    folder = directory.path / "sessions" / f"{session:02d}"
    state = straight.state_of(folder)
    n_most = None if whole or state[0] <= N_SEGMENTS_DRAWN else N_SEGMENTS_DRAWN
    newest_ns = max((path.stat().st_mtime_ns for path in folder.glob("power-*.parquet")), default=0)
    return _straight(folder, state, newest_ns, tuple(channels), n_most)


@lru_cache(maxsize=4)
def _straight(
    folder: Path,
    state: tuple[int, int],
    newest_ns: int,  # noqa: ARG001 - of the cache's key: what was changed in place is read again
    channels: tuple[Channel, ...],
    n_most: int | None,
) -> tuple[Curve, ...]:
    found = straight.read(folder, state) if n_most is None else None
    devices = {channel.device for channel in channels if channel.makes_energy}
    if found is not None and len(found) == len(devices):
        return tuple(_curve(columns, channels) for columns in found)
    segments = RunDirectory(folder.parent.parent).segments(int(folder.name))
    curves = rebuilt(channels, islice(segments, n_most), shaped=False)
    if n_most is None:
        straight.keep(folder, state, [_columns(curve, channels) for curve in curves])
    return curves


def _columns(curve: Curve, channels: Sequence[Channel]) -> dict[str, FloatArray]:
    columns = {name: getattr(curve, name) for name in KNOTS}
    columns["holes"] = np.array(curve.holes, dtype=np.float64).reshape(-1, 2)
    columns["channel"] = np.array([channels.index(curve.channel)], dtype=np.float64)
    return columns


def _curve(columns: straight.Columns, channels: Sequence[Channel]) -> Curve:
    return Curve(
        channel=channels[int(columns["channel"][0])],
        sample_time_s=np.zeros(0),
        duration_period_s=None,
        holes=tuple((start_s, end_s) for start_s, end_s in columns["holes"].tolist()),
        time_s=columns["time_s"],
        energy_total_j=columns["energy_total_j"],
        half_width_at_j=columns["half_width_at_j"],
        variance_total_j2=columns["variance_total_j2"],
        variance_blind_j2=columns["variance_blind_j2"],
    )


def _block(interval: IntervalRecord, headline: Boundary) -> Block:
    own = [reading.energy_gross_j for reading in interval.readings if reading.boundary in PARTS[headline]]
    known = [energy_j for energy_j in own if energy_j is not None]
    return Block(
        time_start_s=interval.time_start_s,
        time_end_s=interval.time_end_s,
        energy_j=math.fsum(known) if own and len(known) == len(own) else None,
    )


def _two_phased(summary: Summary, two_phase: TwoPhase | None, proof: Proof) -> Summary:
    """The summary of a two-phase run: the queries that were measured one by one are no sample of the prompts."""
    label = Finding(code=FindingCode.TWO_PHASE)
    if two_phase is not None:
        compared = {two_phase.numerator, two_phase.denominator} - {None} or {mode.mode for mode in two_phase.modes}
        faults = [fault.finding for fault in proof.faults if fault.modes & compared]
        two_phase = refused(two_phase, faults) if faults else two_phase
    # Of the chosen queries these say nothing; what the two phases have to say of all prompts stands in their place.
    doubts = dict.fromkeys(finding for finding in summary.findings if finding.code not in OF_A_SAMPLE)
    if two_phase is not None:
        estimates = (two_phase.energy, *(each.energy_per_correct_j for each in two_phase.modes))
        own = (finding for estimate in estimates for finding in estimate.findings)
        known = {finding.code for finding in doubts}
        doubts |= dict.fromkeys(finding for finding in own if finding.code not in known)
    return summary.model_copy(
        update={
            "two_phase": two_phase,
            "modes": tuple(_no_sample(mode, label) for mode in summary.modes),
            "comparisons": (),
            "law": None,
            "findings": tuple(dict.fromkeys((label, *doubts))),
        }
    )


def _no_sample(mode: ModeSummary, label: Finding) -> ModeSummary:
    """The figures of queries that were chosen for their lengths: without intervals over prompts, and labelled."""
    estimates = {name: value for name in type(mode).model_fields if isinstance(value := getattr(mode, name), Estimate)}
    return mode.model_copy(
        update={
            name: estimate.model_copy(update={"low": None, "high": None, "findings": (label, *estimate.findings)})
            for name, estimate in estimates.items()
        }
    )


def _length_findings(lengths: Sequence[LengthRecord]) -> tuple[Finding, ...]:
    """What happened while tokens were counted, each with how often."""
    counts = Counter(finding.code for length in lengths for finding in length.findings)
    details = {finding.code: finding.detail for length in lengths for finding in length.findings}
    return tuple(
        Finding(
            code=code,
            detail=f"{count} of {len(lengths)} counted answers{details[code] and f'; for example: {details[code]}'}",
        )
        for code, count in counts.most_common()
    )


def _proof(results: CellResults) -> Proof:
    """Whether the modes did what they are called, from what was given to the model and what it wrote.

    Nothing is held against somebody else's protocol: whoever follows it wants its figures, faults and all.
    """
    if not _is_ours(results.cell):
        return Proof()
    # Of a two-phase run, the answers to all prompts; and those measured one by one, which share their seeds.
    outputs: list[Mapping[str, Sequence[ModeOutput] | ModeOutputs]] = [
        _outputs_of_lengths(results.lengths),
        _outputs_of_queries(results.columns),
    ]
    proofs = [check_switch(results.cell, outputs=each) for each in outputs if each]
    return Proof(
        faults=tuple(dict.fromkeys(fault for proof in proofs for fault in proof.faults)),
        doubts=tuple(dict.fromkeys(doubt for proof in proofs for doubt in proof.doubts)),
        thinking=proofs[0].thinking if proofs else (),
    )


def _outputs_of_lengths(lengths: Sequence[LengthRecord]) -> dict[str, list[ModeOutput]]:
    outputs: dict[str, list[ModeOutput]] = {}
    for answer in lengths:
        if answer.output is not None:
            outputs.setdefault(answer.mode, []).append(
                ModeOutput(
                    prompt_id=answer.prompt_id,
                    thinking_tokens=answer.output.n_tokens(THINKING_TOKENS) or 0,
                    holds_text=answer.output.thought,
                    cut=answer.output.finish_reason == "length",
                    forced=any(finding.code is FindingCode.BUDGET_REACHED for finding in answer.findings),
                    rendered=answer.output.rendered_prompt_sha256,
                    text=answer.output.text_sha256,
                )
            )
    return outputs


def _outputs_of_queries(queries: QueryColumns) -> dict[str, ModeOutputs]:
    names = list(queries.finish_reason.names)
    everything = ModeOutputs(
        prompt=queries.prompt.codes,
        thinking_tokens=np.nan_to_num(queries.sizes.get(THINKING_TOKENS, np.zeros(len(queries)))).astype(np.int64),
        holds_text=queries.thought,
        cut=queries.finish_reason.codes == (names.index("length") if "length" in names else -2),
        forced=own_finding(queries, FindingCode.BUDGET_REACHED),
        rendered=queries.rendered,
        text=queries.text,
    )
    rows = {mode: queries.answered & (queries.mode.codes == code) for code, mode in enumerate(queries.mode.names)}
    return {mode: everything.at(each) for mode, each in rows.items() if each.any()}


def _is_ours(cell: Cell) -> bool:
    return cell.protocol.startswith(f"{PAIRED}-")


def _protocol_findings(cell: Cell) -> tuple[Finding, ...]:
    findings = []
    if not _is_ours(cell):
        findings.append(Finding(code=FindingCode.OTHERS_PROTOCOL, detail=cell.protocol))
    caps = {mode: cell.cap(mode) for mode in cell.modes}
    if len(set(caps.values())) > 1:
        detail = ", ".join(f"{mode} {cap:,} tokens" for mode, cap in caps.items())
        findings.append(Finding(code=FindingCode.UNEQUAL_CAPS, detail=detail))
    return tuple(findings)


def _stopping(results: CellResults, manifest: RunManifest) -> Stopping | None:
    if manifest.until_ci is None:
        return None
    return stopping_now(
        results.columns,
        modes=results.cell.modes,
        headline=manifest.headline,
        target=manifest.until_ci,
        n_most=manifest.n_prompts,
    )


def _two_phase(results: CellResults, manifest: RunManifest) -> TwoPhase | None:
    """The figures of a two-phase run; None until its queries are there."""
    cell = results.cell
    lengths = length_figures(results.lengths)
    if cell.lengths_batch_size is None or not lengths:
        return None
    chosen = law_prompts(lengths, modes=cell.modes, seed=cell.seed)
    failures = Counter(length.mode for length in results.lengths if length.output is None)
    intervals = [interval for session in results.sessions for interval in session.stretches]
    queries = results.columns
    return two_phase(
        lengths,
        figures_in(queries, manifest.headline),
        chosen,
        gains_of(manifest.channels),
        modes=cell.modes,
        asked=_asked(queries),
        n_failed={mode: failures[mode] for mode in cell.modes},
        batch_size=cell.lengths_batch_size,
        duration_batched_s=math.fsum(
            interval.time_end_s - interval.time_start_s for interval in intervals if interval.name == "lengths"
        ),
        duration_measured_s=float((queries.time_end_s - queries.time_start_s).sum()),
        estimated=is_estimated_in(queries, headline_rows(queries, manifest.headline)),
    )


def _asked(queries: QueryColumns) -> set[tuple[str, str]]:
    """Prompt and mode of each query."""
    codes = zip(queries.prompt.codes.tolist(), queries.mode.codes.tolist(), strict=True)
    return {(queries.prompt.names[prompt], queries.mode.names[mode]) for prompt, mode in codes}


def _idle_power(results: CellResults, headline: Boundary) -> Estimate:
    """Watts of the newest session that was idle at all, summed over the boundary's devices."""
    parts = [Boundary.GPU_BOARD, Boundary.HOST] if headline is Boundary.GPU_BOARD_AND_HOST else [headline]
    for session in reversed(results.sessions):
        idle = [baseline for baseline in session.baselines.values() if baseline.boundary in parts]
        if idle:
            return Estimate(
                value=sum(baseline.power_idle_w for baseline in idle), half_width_reading=_half_width_w(idle)
            )
    return Estimate(value=None, findings=(Finding(code=FindingCode.NO_IDLE_BASELINE),))


def _half_width_w(idle: Sequence[Baseline]) -> float | None:
    widths = [baseline.half_width_w for baseline in idle if baseline.half_width_w is not None]
    return float(np.hypot.reduce(widths)) if len(widths) == len(idle) else None


N_ON_PAGE = 10_000
"""Queries up to which the page holds them all; a page of more is slow to make, to load and to look at."""
N_PROMPTS_FIRST, N_PROMPTS_DRAWN = 500, 1_500
"""Of a larger run the page holds the first prompts, for its list, and others drawn at random, for its charts."""
SEED_ON_PAGE = 20261129
N_SEGMENTS_DRAWN = 5_000
"""Files of raw readings, two seconds or more each, up to which a session's power is drawn."""


def _page_cell(account: Account, footprint: Lead | None = None, label: str = "") -> PageCell:
    results = account.results
    shown = shown_on_page(results)
    return PageCell(
        summary=account.summary,
        queries=shown.queries,
        n_queries=shown.n_queries,
        lengths=results.lengths,
        traces=_traces(results),
        flying=[flying_of(load) for load in account.loads],
        intervals=[interval for session in results.sessions for interval in session.stretches],
        facts=(*shown.facts, *facts_of(account.summary, results.manifest, results.sampler)),
        command=command_of(results.manifest) or shlex.join(["harness", "run"]),
        trails_of=partial(_trails, results),
        number=account.number,
        footprint=footprint,
        label=label,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The queries of a cell that a page lists and draws. `n_queries` is None where they are all."""

    queries: Sequence[QueryRecord]
    n_queries: int | None = None
    facts: tuple[FactGroup, ...] = ()
    """Says so where they are not all."""


def shown_on_page(results: CellResults) -> Shown:
    """All queries of a cell, or of a large one some of them: whole prompts, the same ones each time."""
    n_queries = len(results.columns)
    if n_queries <= N_ON_PAGE:
        return Shown(queries=results.queries)
    queries = results.queries_at(_rows_on_page(results.columns))
    text = (
        f"All figures are of {n_queries:,} queries. List and charts show {len(queries):,} of them: "
        f"the first {N_PROMPTS_FIRST:,} prompts, and {N_PROMPTS_DRAWN:,} at random. All are in queries.jsonl."
    )
    facts = (FactGroup(title="This page", facts=(Fact(label="Queries", text=text),)),)
    return Shown(queries=queries, n_queries=n_queries, facts=facts)


def _rows_on_page(queries: QueryColumns) -> list[int]:
    """Whole prompts of a large run: the first ones, and some of the others at random, the same ones each time."""
    in_order = queries.prompt.codes[np.argsort(queries.prompt_index, kind="stable")]
    codes, places = np.unique(in_order, return_index=True)
    prompts = codes[np.argsort(places)]
    others = np.random.default_rng(SEED_ON_PAGE).permutation(prompts[N_PROMPTS_FIRST:])[:N_PROMPTS_DRAWN]
    shown = np.zeros(len(queries.prompt.names), dtype=np.bool_)
    shown[prompts[:N_PROMPTS_FIRST]] = True
    shown[others] = True
    rows: list[int] = np.flatnonzero(shown[queries.prompt.codes]).tolist()
    return rows


def _trails(results: CellResults, queries: Sequence[QueryRecord]) -> dict[tuple[str, str], tuple[Trail, ...]]:
    """The sensor's readings around some queries, by (prompt_id, mode)."""
    found: dict[tuple[str, str], tuple[Trail, ...]] = {}
    for session in results.sessions:
        own = [query for query in queries if query.session == session.number]
        if own and session.manifest is not None:
            found |= trails(session.manifest.channels, results.directory.segments(session.number), own)
    return found


def flying_of(load: SessionLoad) -> Flying:
    """How many of a session's queries were in flight when."""
    time_s, n_in_flight = load.flights.steps()
    blocks = []
    for each in load.blocks:
        flights = load.flights.within(each.time_start_s, each.time_end_s)
        if (mode := mode_of(flights)) is not None:
            blocks.append((each.time_start_s, each.time_end_s, mode))
    return Flying(
        session=load.number,
        time_s=time_s,
        n_in_flight=n_in_flight,
        blocks=tuple(blocks),
        starts_s=np.sort(load.flights.time_start_s),
        ends_s=np.sort(load.flights.time_end_s),
        weights=load.weights,
    )


def _traces(results: CellResults) -> list[Trace]:
    traces = []
    for session in results.sessions:
        if session.manifest is None:
            continue
        is_whole = is_under_load(results.cell)
        for curve in straight_curves(results.directory, session.number, session.manifest.channels, whole=is_whole):
            lengths_s = np.diff(curve.time_s)
            if len(lengths_s) == 0:
                continue
            traces.append(
                Trace(
                    session=session.number,
                    device=curve.channel.device,
                    method=curve.channel.method,
                    time_s=curve.time_s,
                    power_w=np.diff(curve.energy_total_j) / lengths_s,
                )
            )
    return traces
