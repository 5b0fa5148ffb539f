"""From a run directory to what people look at: summaries, the page, `summary.json`. All of it can be made again."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from harness.analysis.estimates import gains_of
from harness.analysis.figures import figures_in, headline_rows, is_estimated_in, own_finding
from harness.analysis.lengths import length_figures
from harness.analysis.measured import THINKING_TOKENS
from harness.analysis.repeats import with_run_spread
from harness.analysis.stopping import stopping_now, with_stopping
from harness.analysis.summary import summarise
from harness.analysis.two_phase import law_prompts, refused, two_phase
from harness.attribution.baseline import Baseline
from harness.errors import InvalidMeasurement
from harness.meter.meter import rebuilt
from harness.presets import PAIRED
from harness.reasoning.outputs import ModeOutput, ModeOutputs
from harness.reasoning.proof import Proof, check_switch
from harness.records import (
    Boundary,
    Cell,
    Estimate,
    Finding,
    FindingCode,
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
from harness.report.trace import Trace
from harness.report.trail import Trail, trails
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
    number: int = 1
    """Which cell of its run, as `harness report RUN --explain NUMBER:NAME` counts them."""


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
    spread = [
        (account.results, summary)
        for group in repeats.values()
        for account, summary in zip(group, with_run_spread([each.summary for each in group]), strict=True)
    ]
    return [
        Account(results=results, summary=summary, number=number)
        for number, (results, summary) in enumerate(spread, start=1)
    ]


def publish(run: Path, measured: Sequence[Account], footprints: Sequence[Lead | None] = ()) -> Path:
    """Write `summary.json` beside each cell and the page of the run, and return the page's path.

    Args:
        run: Where they go.
        measured: The run's cells.
        footprints: Of each cell, where they were asked for.

    Raises:
        StorageFull: They cannot be written; nothing that was measured is touched.
    """
    page = run / "report.html"
    with writing(run):
        for account in measured:
            path = account.results.directory.path / "summary.json"
            path.write_text(account.summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
        leads = footprints or [None] * len(measured)
        shown = [_page_cell(account, lead) for account, lead in zip(measured, leads, strict=True)]
        page.write_text(render_page(shown), encoding="utf-8")
    return page


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
        page.write_text(render_page(shown, title=title), encoding="utf-8")


def _summary(run: Path, results: CellResults) -> Summary:
    manifest = results.manifest
    if manifest is None:
        raise InvalidMeasurement("No session of this cell has a manifest.", "Resume the run.")
    proof = _proof(results)
    summary = summarise(
        results.cell,
        results.columns,
        run_id=run.name,
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
                    thinking_tokens=answer.output.sizes.get(THINKING_TOKENS, 0),
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


def _page_cell(account: Account, footprint: Lead | None = None) -> PageCell:
    results = account.results
    shown = shown_on_page(results)
    return PageCell(
        summary=account.summary,
        queries=shown.queries,
        n_queries=shown.n_queries,
        lengths=results.lengths,
        traces=_traces(results),
        intervals=[interval for session in results.sessions for interval in session.stretches],
        facts=(*shown.facts, *facts_of(account.summary, results.manifest, results.sampler)),
        command=command_of(results.manifest) or shlex.join(["harness", "run"]),
        trails_of=partial(_trails, results),
        number=account.number,
        footprint=footprint,
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


def _traces(results: CellResults) -> list[Trace]:
    traces = []
    for session in results.sessions:
        if session.manifest is None:
            continue
        segments = islice(results.directory.segments(session.number), N_SEGMENTS_DRAWN)
        for curve in rebuilt(session.manifest.channels, segments, shaped=False):
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
