"""From a run directory to what people look at: summaries, the page, `summary.json`. All of it can be made again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.analysis.repeats import with_run_spread
from harness.analysis.summary import summarise
from harness.attribution.baseline import Baseline
from harness.errors import InvalidMeasurement
from harness.meter.meter import rebuilt
from harness.reasoning.proof import check_switch
from harness.records import Boundary, Estimate, Finding, FindingCode, Summary
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
        findings=(*results.findings, *_switch_findings(results)),
    )
    return summary.model_copy(
        update={
            "external": tuple(
                session.external.model_copy(update={"queries": ()}) for session in results.sessions if session.external
            ),
            "cross_checks": tuple(session.cross_check for session in results.sessions if session.cross_check),
        }
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


def _switch_findings(results: CellResults) -> tuple[Finding, ...]:
    """Whether thinking was really off where it was switched off, from the outputs."""
    thinking: dict[str, list[int]] = {}
    for query in results.queries:
        # An output that was cut may not have come to its thinking.
        if query.output is not None and query.output.finish_reason != "length":
            thinking.setdefault(query.mode, []).append(query.output.sizes.get("thinking_tokens", 0))
    return check_switch({}, thinking)


def _page_cell(account: Account) -> PageCell:
    results = account.results
    return PageCell(
        summary=account.summary,
        queries=results.queries,
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
