"""From the queries of one cell at one site to everything that a receipt, a page or a gate reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.comparison import Invalid, comparisons_of
from harness.analysis.energy_law import fit_law
from harness.analysis.estimates import gains_of
from harness.analysis.figures import FAILURES, figures_in, headline_rows, is_estimated_in
from harness.analysis.measured import PARTS
from harness.analysis.modes import summarise_mode
from harness.analysis.stored import query_columns
from harness.errors import InvalidMeasurement
from harness.records import (
    Boundary,
    Cell,
    Channel,
    Comparison,
    Estimate,
    Finding,
    FindingCode,
    Method,
    ModeSummary,
    QueryColumns,
    QueryRecord,
    Summary,
)


def summarise(
    cell: Cell,
    queries: QueryColumns | Sequence[QueryRecord],
    *,
    run_id: str,
    site_id: str,
    headline: Boundary,
    channels: Sequence[Channel],
    tariff_per_kwh: float | None,
    n_prompts_planned: int,
    power_idle_w: Estimate,
    n_sessions: int,
    findings: Sequence[Finding],
    invalid: Invalid | None = None,
) -> Summary:
    """Means, intervals and the comparisons of a cell's modes.

    Args:
        cell: What was measured.
        queries: Every query of the cell at the site, all sessions, net energies filled where known.
        run_id: Of the run.
        site_id: Of the site.
        headline: The boundary of the energies.
        channels: Of the sessions; their gains are the systematic part of every interval.
        tariff_per_kwh: Price, any currency.
        n_prompts_planned: How many prompts the run was asked for.
        power_idle_w: Watts of the headline boundary with the model loaded and idle.
        n_sessions: Process starts that the queries come from.
        findings: Of the run and its sessions.
        invalid: Why two modes, numerator first, are no comparison: their switch did nothing.

    Returns:
        Gross energies in the headline boundary. Failed queries and queries without energy are counted
        apart and are in no mean of joules.

    Raises:
        InvalidMeasurement: Neither a query nor a channel says how energy was found in this boundary.
    """
    columns = query_columns(queries)
    methods = [*_methods(columns, headline), *(each.method for each in channels if each.boundary in PARTS[headline])]
    if not methods:
        raise InvalidMeasurement(
            f"Nothing was metered in the boundary {headline.value} ({len(queries)} queries).",
            "Choose another boundary, or see `harness doctor` for what this machine can measure.",
        )
    readings = headline_rows(columns, headline)
    estimated = is_estimated_in(columns, readings) or (not len(readings) and methods[0] is Method.ESTIMATED)
    figures, gains = figures_in(columns, headline), gains_of(channels)
    in_order = columns.mode.codes[np.argsort(columns.prompt_index, kind="stable")]
    first = in_order[np.sort(np.unique(in_order, return_index=True)[1])].tolist()
    names = list(dict.fromkeys((*cell.modes, *(columns.mode.names[code] for code in first))))
    asked = dict(zip(columns.mode.names, np.bincount(in_order, minlength=len(columns.mode.names)), strict=True))
    of_task = cell.task is not None  # tokens do not say what its queries cost
    law = None if estimated or of_task else fit_law(figures, gains, modes=names)
    by_mode = {name: figures.in_mode(name) for name in names}
    del figures  # of a large run, hundreds of megabytes
    modes = tuple(
        summarise_mode(name, int(asked.get(name, 0)), by_mode[name], gains, estimated=estimated, of_task=of_task)
        for name in names
    )
    comparisons = comparisons_of(by_mode, gains, estimated=estimated, invalid=invalid)
    return Summary(
        run_id=run_id,
        cell=cell,
        site_id=site_id,
        headline=headline,
        method=Method.ESTIMATED if estimated else methods[0],
        estimated=estimated,
        power_idle_w=power_idle_w,
        n_sessions=n_sessions,
        n_prompts_planned=n_prompts_planned,
        tariff_per_kwh=tariff_per_kwh,
        modes=modes,
        comparisons=comparisons,
        law=None if law is None else law.record,
        findings=gathered(findings, columns, modes, comparisons),
    )


def failed(query: QueryRecord) -> bool:
    """Whether there is no answer to measure."""
    return query.output is None or any(finding.code in FAILURES for finding in query.findings)


def gathered(
    run_findings: Sequence[Finding],
    queries: QueryColumns,
    modes: Sequence[ModeSummary],
    comparisons: Sequence[Comparison],
) -> tuple[Finding, ...]:
    """One finding per doubt: the run's as they are, the queries' with how many, the statistics' once."""
    kept = dict.fromkeys(run_findings)
    codes = {finding.code for finding in kept}
    broken = [finding for comparison in comparisons for finding in comparison.invalid if finding.code not in codes]
    kept |= dict.fromkeys(broken)
    codes |= {finding.code for finding in broken}
    for code, count, example in _doubts_of(queries):
        detail = f"{count} of {len(queries)} queries{example and f'; for example: {example}'}"
        kept[Finding(code=code, detail=detail)] = None
        codes.add(code)
    doubted: dict[FindingCode, list[str]] = {}
    for mode in modes:
        for name in type(mode).model_fields:
            value = getattr(mode, name)
            for finding in value.findings if isinstance(value, Estimate) else ():
                where = doubted.setdefault(finding.code, [])
                where.extend([mode.mode] if mode.mode not in where else [])
    for comparison in comparisons:
        for finding in comparison.energy.findings:
            doubted.setdefault(finding.code, [])
    for code, where in doubted.items():
        if code not in codes:
            detail = f"mode {', '.join(where)}" if 0 < len(where) < len(modes) else ""
            kept[Finding(code=code, detail=detail)] = None
    return tuple(kept)


def _doubts_of(queries: QueryColumns) -> list[tuple[FindingCode, int, str]]:
    """Each doubt with the number of queries that have it and a detail, the most frequent first."""
    findings = queries.findings
    rank = np.empty(len(queries), dtype=np.int64)
    rank[np.argsort(queries.prompt_index, kind="stable")] = np.arange(len(queries))
    in_order = np.argsort(rank[findings.owner], kind="stable")
    owner, code = findings.owner[in_order], findings.code.codes[in_order]
    is_said = np.array([bool(name) for name in findings.detail.names], dtype=np.bool_)
    detail = findings.detail.codes[in_order]
    doubts, code_of = [], {known.value: known for known in FindingCode}
    for each in code[np.sort(np.unique(code, return_index=True)[1])].tolist():
        own = code == each
        said = detail[own][is_said[detail[own]]]
        example = findings.detail.names[said[0]] if len(said) else ""
        doubts.append((code_of[findings.code.names[each]], len(np.unique(owner[own])), example))
    return sorted(doubts, key=lambda doubt: -doubt[1])


def _methods(columns: QueryColumns, headline: Boundary) -> list[Method]:
    """By which the headline's readings were found, those of a board before those of the host."""
    rows, readings = headline_rows(columns, headline), columns.readings
    rank = np.empty(len(columns), dtype=np.int64)
    rank[np.argsort(columns.prompt_index, kind="stable")] = np.arange(len(columns))
    is_host = np.array([name == Boundary.HOST.value for name in readings.boundary.names], dtype=np.bool_)
    if not len(rows):
        return []
    first = rows[np.lexsort((rank[readings.owner[rows]], is_host[readings.boundary.codes[rows]]))[0]]
    return [Method(readings.method.names[readings.method.codes[first]])]
