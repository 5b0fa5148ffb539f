"""One mode of one cell: means over its queries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.analysis.bootstrap import column, per_success_interval, ratio_interval, wilson_interval
from harness.analysis.estimates import (
    Gains,
    divided,
    duration_per_query,
    energies_j,
    energy_per,
    few_correct,
    heavy_tail,
    left_out,
    net_energy,
    scaled,
    with_energy,
)
from harness.analysis.measured import QueryFigures, phase_names
from harness.records import Estimate, Finding, FindingCode, ModeSummary
from harness.units import J_PER_WH

QUERIES_PER_WH_FIGURE = 1000


def summarise_mode(
    mode: str, n_queries: int, figures: Sequence[QueryFigures], gains: Gains, *, estimated: bool
) -> ModeSummary:
    """Means, totals and ratios of one mode.

    Args:
        mode: Its name.
        n_queries: Everything that was asked in this mode, failed queries included.
        figures: The queries that were answered.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's.

    Returns:
        Tokens and seconds are over all answered queries, joules over those whose energy is known.
    """
    measured = with_energy(figures)
    missing = left_out(figures)
    ones = [1.0] * len(measured)
    tail = () if estimated or not measured else heavy_tail(energies_j(measured))
    per_query = energy_per(measured, ones, gains, estimated=estimated, findings=(*missing, *tail))
    output_tokens = _total_tokens(figures)
    duration_s = math.fsum(query.duration_s for query in figures)
    duration_measured_s = math.fsum(query.duration_s for query in measured)
    scored = [query for query in figures if query.correct is not None]
    return ModeSummary(
        mode=mode,
        n_queries=n_queries,
        n_failed=n_queries - len(figures),
        n_without_energy=len(figures) - len(measured),
        n_scored=len(scored),
        n_correct=sum(query.correct is True for query in scored),
        n_cut=sum(query.cut for query in figures),
        n_cut_scored=sum(query.cut for query in scored),
        n_cut_correct=sum(query.cut and query.correct is True for query in scored),
        n_forced=sum(query.forced for query in figures),
        accuracy=_accuracy(scored),
        duration_s=duration_per_query(figures),
        prompt_tokens=_mean([query.n_prompt_tokens for query in figures]),
        thinking_tokens=_tokens([query.n_thinking_tokens for query in figures]),
        answer_tokens=_tokens([query.n_answer_tokens for query in figures]),
        output_tokens=_mean([query.n_output_tokens for query in figures]),
        energy_j=per_query,
        energy_net_j=net_energy(measured, gains, estimated=estimated),
        energy_tail_j=_mean_tail_j(measured),
        energy_per_output_token_j=_per_token(measured, gains, estimated, missing),
        energy_per_correct_j=energy_per_correct(figures, gains, estimated=estimated),
        energy_wh_per_1000=scaled(per_query, QUERIES_PER_WH_FIGURE / J_PER_WH),
        duration_per_output_token_s=duration_s / output_tokens if output_tokens else None,
        phases_j=_phases_j(measured),
        phases_s=_phases_s(figures),
        power_w=math.fsum(energies_j(measured)) / duration_measured_s if duration_measured_s > 0 else None,
    )


def energy_per_correct(figures: Sequence[QueryFigures], gains: Gains, *, estimated: bool) -> Estimate:
    """All joules of the scored queries, wrong and cut answers included, over the number of right answers.

    Queries whose prompt has no reference can be neither right nor wrong; their joules buy no right answer and
    are not in it. A resample draws whole prompts, joules and score together. With fewer than ten right answers that
    is doubted, and where nothing is right there is no value, and `low` is what a right answer costs at least.
    """
    scored = [query for query in figures if query.correct is not None]
    if not scored:
        return Estimate(value=None, findings=(Finding(code=FindingCode.NOTHING_SCORED),))
    measured = with_energy(scored)
    findings = left_out(scored)
    correct = [float(query.correct is True) for query in measured]
    if not any(correct):
        nothing = Finding(code=FindingCode.NOTHING_CORRECT)
        if estimated or not measured:
            return Estimate(value=None, findings=(*findings, nothing))
        least = per_success_interval(column(energies_j(measured)), column(correct))
        return Estimate(value=None, low=least.low, findings=tuple(dict.fromkeys((*findings, nothing, *least.findings))))
    return energy_per(
        measured,
        correct,
        gains,
        estimated=estimated,
        interval=per_success_interval,
        findings=(*findings, *few_correct(int(sum(correct)))),
    )


def _mean_tail_j(measured: Sequence[QueryFigures]) -> float | None:
    """Over the queries whose tail is known: the last one of a session has none."""
    known = [query.energy_tail_j for query in measured if query.energy_tail_j is not None]
    return math.fsum(known) / len(known) if known else None


def _accuracy(scored: Sequence[QueryFigures]) -> Estimate:
    if not scored:
        return Estimate(value=None, findings=(Finding(code=FindingCode.NOTHING_SCORED),))
    n_correct = sum(query.correct is True for query in scored)
    interval = wilson_interval(n_correct, len(scored))
    return Estimate(value=n_correct / len(scored), low=interval.low, high=interval.high, findings=interval.findings)


def _per_token(
    measured: Sequence[QueryFigures], gains: Gains, estimated: bool, findings: tuple[Finding, ...]
) -> Estimate:
    tokens = [query.n_output_tokens for query in measured]
    known = [float(count) for count in tokens if count is not None]
    if len(known) != len(measured):
        return Estimate(value=None, findings=findings)
    return energy_per(measured, known, gains, estimated=estimated, findings=findings)


def _tokens(counts: Sequence[int | None]) -> Estimate:
    """Mean count with its interval over prompts; counts that never vary have none."""
    known = [float(count) for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return Estimate(value=None)
    mean = math.fsum(known) / len(known)
    if min(known) == max(known):
        return Estimate(value=mean)
    interval = ratio_interval(column(known), np.ones(len(known)))  # no count is below zero
    return Estimate(value=mean, low=interval.low, high=interval.high, findings=interval.findings)


def _mean(counts: Sequence[int | None]) -> float | None:
    """Mean count; unknown unless every query was counted."""
    known = [count for count in counts if count is not None]
    return float(np.mean(known)) if known and len(known) == len(counts) else None


def _total_tokens(figures: Sequence[QueryFigures]) -> int | None:
    mean = _mean([query.n_output_tokens for query in figures])
    return None if mean is None else sum(query.n_output_tokens or 0 for query in figures)


def _phases_j(measured: Sequence[QueryFigures]) -> dict[str, float]:
    """Mean joules per phase; empty unless every query's phases are known, so that they add up to the mean."""
    phases = [query.phases_j for query in measured]
    known = [each for each in phases if each is not None]
    if not known or len(known) != len(phases):
        return {}
    return {
        name: value
        for name in phase_names(known)
        # A query without this phase spent nothing in it: that zero is known.
        if (value := divided(math.fsum(each.get(name, 0.0) for each in known), len(known))) is not None
    }


def _phases_s(figures: Sequence[QueryFigures]) -> dict[str, float]:
    known = [query.phases_s for query in figures]
    if not known or not all(known):
        return {}
    return {name: math.fsum(each.get(name, 0.0) for each in known) / len(known) for name in phase_names(known)}
