"""From the queries of one cell at one site to everything that a receipt, a page or a gate reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.analysis.comparison import Invalid, comparisons_of
from harness.analysis.energy_law import fit_law
from harness.analysis.estimates import gains_of
from harness.analysis.measured import (
    PARTS,
    devices_by_session,
    figures_of,
    headline_readings,
    is_estimated,
)
from harness.analysis.modes import summarise_mode
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
    QueryRecord,
    Summary,
)

FAILURES = {FindingCode.QUERY_FAILED, FindingCode.OUT_OF_MEMORY, FindingCode.PROMPT_TOO_LONG}


def summarise(
    cell: Cell,
    queries: Sequence[QueryRecord],
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
    in_order = sorted(queries, key=lambda query: query.prompt_index)
    readings = [reading for query in in_order for reading in headline_readings(query, headline)]
    methods = [reading.method for reading in sorted(readings, key=lambda each: each.boundary is Boundary.HOST)]
    methods += [channel.method for channel in channels if channel.boundary in PARTS[headline]]
    if not methods:
        raise InvalidMeasurement(
            f"Nothing was metered in the boundary {headline.value} ({len(queries)} queries).",
            "Choose another boundary, or see `harness doctor` for what this machine can measure.",
        )
    estimated = is_estimated(readings) or (not readings and methods[0] is Method.ESTIMATED)
    devices = devices_by_session(in_order, headline)
    answered = [figures_of(query, headline, devices[query.session]) for query in in_order if not failed(query)]
    names = list(dict.fromkeys((*cell.modes, *(query.mode for query in in_order))))
    asked = Counter(query.mode for query in in_order)
    gains = gains_of(channels)
    by_mode = {name: [query for query in answered if query.mode == name] for name in names}
    modes = tuple(summarise_mode(name, asked[name], by_mode[name], gains, estimated=estimated) for name in names)
    comparisons = comparisons_of(by_mode, gains, estimated=estimated, invalid=invalid)
    law = None if estimated else fit_law([query for name in names for query in by_mode[name]], gains)
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
        findings=gathered(findings, in_order, modes, comparisons),
    )


def failed(query: QueryRecord) -> bool:
    """Whether there is no answer to measure."""
    return query.output is None or any(finding.code in FAILURES for finding in query.findings)


def gathered(
    run_findings: Sequence[Finding],
    queries: Sequence[QueryRecord],
    modes: Sequence[ModeSummary],
    comparisons: Sequence[Comparison],
) -> tuple[Finding, ...]:
    """One finding per doubt: the run's as they are, the queries' with how many, the statistics' once."""
    kept = dict.fromkeys(run_findings)
    codes = {finding.code for finding in kept}
    broken = [finding for comparison in comparisons for finding in comparison.invalid if finding.code not in codes]
    kept |= dict.fromkeys(broken)
    codes |= {finding.code for finding in broken}
    counts: Counter[FindingCode] = Counter()
    details: dict[FindingCode, str] = {}
    for query in queries:
        own = (*query.findings, *(each for reading in query.readings for each in reading.findings))
        counts.update({finding.code for finding in own})
        for finding in own:
            details[finding.code] = details.get(finding.code) or finding.detail
    for code, count in counts.most_common():
        example = f"; for example: {details[code]}" if details[code] else ""
        kept[Finding(code=code, detail=f"{count} of {len(queries)} queries{example}")] = None
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
