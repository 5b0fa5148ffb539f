"""From a run directory to what people look at: summaries, the page, `summary.json`. All of it can be made again."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.analysis.estimates import gains_of
from harness.analysis.lengths import length_figures
from harness.analysis.measured import (
    THINKING_TOKENS,
    devices_by_session,
    figures_of,
    headline_readings,
    is_estimated,
)
from harness.analysis.repeats import with_run_spread
from harness.analysis.stopping import stopping_now, with_stopping
from harness.analysis.summary import failed, summarise
from harness.analysis.two_phase import law_prompts, refused, two_phase
from harness.attribution.baseline import Baseline
from harness.errors import InvalidMeasurement
from harness.meter.meter import rebuilt
from harness.presets import PAIRED
from harness.reasoning.proof import ModeOutput, Proof, check_switch
from harness.records import (
    Boundary,
    Cell,
    Estimate,
    Finding,
    FindingCode,
    LengthRecord,
    ModeFault,
    ModeSummary,
    QueryRecord,
    RunManifest,
    Stopping,
    Summary,
    TwoPhase,
)
from harness.report.facts import command_of, facts_of
from harness.report.page import PageCell, render_page
from harness.report.trace import Trace
from harness.results import CellResults, load_run
from harness.store.run_directory import writing

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


def accounts(run: Path) -> list[Account]:
    """Every cell of a run that has measured anything.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    measured = [
        Account(results=results, summary=_summary(run, results))
        for results in load_run(run)
        if results.queries and results.manifest is not None
    ]
    repeats: dict[object, list[Account]] = {}
    for account in sorted(measured, key=lambda each: each.summary.cell.repeat):
        cell = account.summary.cell.model_copy(update={"repeat": 0})
        repeats.setdefault((cell.cell_id, account.summary.site_id), []).append(account)
    return [
        Account(results=account.results, summary=summary)
        for group in repeats.values()
        for account, summary in zip(group, with_run_spread([each.summary for each in group]), strict=True)
    ]


def publish(run: Path, measured: Sequence[Account]) -> Path:
    """Write `summary.json` beside each cell and the page of the run, and return the page's path.

    Raises:
        StorageFull: They cannot be written; nothing that was measured is touched.
    """
    page = run / "report.html"
    with writing(run):
        for account in measured:
            path = account.results.directory.path / "summary.json"
            path.write_text(account.summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
        page.write_text(render_page([_page_cell(account) for account in measured]), encoding="utf-8")
    return page


def _summary(run: Path, results: CellResults) -> Summary:
    manifest = results.manifest
    if manifest is None:
        raise InvalidMeasurement("No session of this cell has a manifest.", "Resume the run.")
    proof = _proof(results)
    summary = summarise(
        results.cell,
        results.queries,
        run_id=run.name,
        site_id=results.site_id,
        headline=manifest.headline,
        channels=manifest.channels,
        tariff_per_kwh=manifest.tariff_per_kwh,
        n_prompts_planned=manifest.n_prompts,
        power_idle_w=_idle_power(results, manifest.headline),
        n_sessions=len({query.session for query in results.queries}),
        findings=(
            *results.findings,
            *proof.findings,
            *_protocol_findings(results.cell),
            *_length_findings(results.lengths),
        ),
        invalid=proof.invalid,
    )
    modes = tuple(mode.model_copy(update={"invalid": proof.invalid(mode.mode, mode.mode)}) for mode in summary.modes)
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
    proofs = [_proof_of(results.cell, answers) for answers in (results.lengths, results.queries) if answers]
    return Proof(
        faults=tuple(dict.fromkeys(fault for proof in proofs for fault in proof.faults)),
        doubts=tuple(dict.fromkeys(doubt for proof in proofs for doubt in proof.doubts)),
        thinking=proofs[0].thinking if proofs else (),
    )


def _proof_of(cell: Cell, answers: Sequence[QueryRecord | LengthRecord]) -> Proof:
    outputs: dict[str, list[ModeOutput]] = {}
    for answer in answers:
        if answer.output is not None:
            outputs.setdefault(answer.mode, []).append(
                ModeOutput(
                    prompt_id=answer.prompt_id,
                    thinking_tokens=answer.output.sizes.get(THINKING_TOKENS, 0),
                    holds_text=answer.output.thought,
                    cut=answer.output.finish_reason == "length",
                    forced=any(finding.code is FindingCode.BUDGET_REACHED for finding in answer.findings),
                    rendered=answer.output.rendered_prompt_sha256,
                    text=answer.output.text_sha256,
                )
            )
    return check_switch(cell, outputs=outputs)


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
        results.queries,
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
    devices = devices_by_session(results.queries, manifest.headline)
    answered = [query for query in results.queries if not failed(query)]
    failures = Counter(length.mode for length in results.lengths if length.output is None)
    intervals = [interval for session in results.sessions for interval in session.intervals]
    return two_phase(
        lengths,
        [figures_of(query, manifest.headline, devices[query.session]) for query in answered],
        chosen,
        gains_of(manifest.channels),
        modes=cell.modes,
        asked={(query.prompt_id, query.mode) for query in results.queries},
        n_failed={mode: failures[mode] for mode in cell.modes},
        batch_size=cell.lengths_batch_size,
        duration_batched_s=math.fsum(
            interval.time_end_s - interval.time_start_s for interval in intervals if interval.name == "lengths"
        ),
        duration_measured_s=math.fsum(query.duration_s for query in results.queries),
        estimated=is_estimated(
            reading for query in results.queries for reading in headline_readings(query, manifest.headline)
        ),
    )


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


def _page_cell(account: Account) -> PageCell:
    results = account.results
    return PageCell(
        summary=account.summary,
        queries=results.queries,
        lengths=results.lengths,
        traces=_traces(results),
        intervals=[interval for session in results.sessions for interval in session.intervals],
        facts=facts_of(account.summary, results.manifest, results.sampler),
        command=command_of(results.manifest) or shlex.join(["harness", "run"]),
    )


def _traces(results: CellResults) -> list[Trace]:
    traces = []
    for session in results.sessions:
        if session.manifest is None:
            continue
        for curve in rebuilt(session.manifest.channels, results.directory.segments(session.number), shaped=False):
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
