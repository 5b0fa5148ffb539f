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
from harness.analysis.two_phase import law_prompts, two_phase
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
        findings=(*results.findings, *proof.findings, *_protocol_findings(results.cell)),
        # Whoever follows somebody else's protocol wants its figures, faults and all; they are named.
        invalid=proof.invalid if _is_ours(results.cell) else None,
    )
    stopping = _stopping(results, manifest)
    if stopping is not None:
        summary = with_stopping(summary, stopping)
    if results.cell.lengths_batch_size is not None:
        # The queries that were measured one by one were chosen for their lengths: no sample of the prompts.
        summary = summary.model_copy(
            update={
                "two_phase": _two_phase(results, manifest),
                "comparisons": (),
                "law": None,
                "findings": (
                    Finding(code=FindingCode.TWO_PHASE),
                    *(finding for finding in summary.findings if finding.code is not FindingCode.HEAVY_TAIL),
                ),
            }
        )
    return summary.model_copy(
        update={
            "external": tuple(
                session.external.model_copy(update={"queries": ()}) for session in results.sessions if session.external
            ),
            "cross_checks": tuple(session.cross_check for session in results.sessions if session.cross_check),
        }
    )


def _proof(results: CellResults) -> Proof:
    """Whether the modes did what they are called, from what was given to the model and what it wrote."""
    outputs: dict[str, list[ModeOutput]] = {}
    for query in results.queries:
        if query.output is not None:
            outputs.setdefault(query.mode, []).append(
                ModeOutput(
                    prompt_id=query.prompt_id,
                    thinking_tokens=query.output.sizes.get(THINKING_TOKENS, 0),
                    cut=query.output.finish_reason == "length",
                    forced=any(finding.code is FindingCode.BUDGET_REACHED for finding in query.findings),
                    rendered=query.output.rendered_prompt_sha256,
                    text=query.output.text_sha256,
                )
            )
    return check_switch(results.cell, outputs=outputs)


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
        chosen.held_out,
        gains_of(manifest.channels),
        modes=cell.modes,
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
