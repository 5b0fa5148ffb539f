"""One mode of one cell: means over its queries."""

from __future__ import annotations

import numpy as np

from harness.analysis.bootstrap import FloatArray, per_success_interval, ratio_interval, wilson_interval
from harness.analysis.estimates import (
    Gains,
    added,
    duration_per_query,
    energy_per,
    few_correct,
    heavy_tail,
    left_out,
    net_energy,
    scaled,
    unscored,
)
from harness.analysis.figures import Figures, Queries, as_figures
from harness.analysis.measured import phase_names
from harness.analysis.quality import quality_of
from harness.analysis.size_law import size_laws
from harness.records import Estimate, Finding, FindingCode, ModeSummary
from harness.units import J_PER_WH

QUERIES_PER_WH_FIGURE = 1000


def summarise_mode(
    mode: str, n_queries: int, queries: Queries, gains: Gains, *, estimated: bool, of_task: bool = False
) -> ModeSummary:
    """Means, totals and ratios of one mode.

    Args:
        mode: Its name.
        n_queries: Everything that was asked in this mode, failed queries included.
        queries: Those that were answered.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's.
        of_task: Whether this is a task other than text generation: it has qualities and laws of its sizes.

    Returns:
        Tokens and seconds are over all answered queries, joules over those whose energy is known.
    """
    figures = as_figures(queries)
    measured = figures.at(figures.measured)
    missing = left_out(figures)
    tail = () if estimated or not len(measured) else heavy_tail(measured.energy_j)
    ones = np.ones(len(measured))
    per_query = energy_per(measured, ones, gains, estimated=estimated, findings=(*missing, *tail))
    output_tokens = added(figures.n_output_tokens) if len(figures) else None
    duration_measured_s = float(measured.duration_s.sum())
    scored = figures.at(figures.scored)
    return ModeSummary(
        mode=mode,
        n_queries=n_queries,
        n_failed=n_queries - len(figures),
        n_without_energy=len(figures) - len(measured),
        n_scored=int((figures.scored | figures.graded).sum()),
        n_correct=int(scored.correct.sum()),
        n_cut=int(figures.cut.sum()),
        n_cut_scored=int(scored.cut.sum()),
        n_cut_correct=int((scored.cut & (scored.correct == 1)).sum()),
        n_forced=int(figures.forced.sum()),
        accuracy=_accuracy(figures, scored),
        duration_s=duration_per_query(figures),
        prompt_tokens=_mean(figures.n_prompt_tokens),
        thinking_tokens=_tokens(figures.n_thinking_tokens),
        answer_tokens=_tokens(figures.n_answer_tokens),
        output_tokens=_mean(figures.n_output_tokens),
        energy_j=per_query,
        energy_net_j=net_energy(measured, gains, estimated=estimated),
        energy_tail_j=_mean_tail_j(measured),
        energy_per_output_token_j=_per_token(measured, gains, estimated, missing),
        energy_per_correct_j=energy_per_correct(figures, gains, estimated=estimated),
        energy_wh_per_1000=scaled(per_query, QUERIES_PER_WH_FIGURE / J_PER_WH),
        duration_per_output_token_s=float(figures.duration_s.sum()) / output_tokens if output_tokens else None,
        phases_j=_phases_j(measured),
        phases_s=_phases_s(figures),
        power_w=float(measured.energy_j.sum()) / duration_measured_s if duration_measured_s > 0 else None,
        quality=quality_of(figures) if of_task else (),
        sizes=_sizes(figures) if of_task else {},
        size_laws=size_laws(figures, gains, estimated=estimated) if of_task else (),
    )


def _sizes(figures: Figures) -> dict[str, float]:
    """The mean of each size that is no token and that every query has."""
    means = {name: _mean(sizes) for name, sizes in figures.sizes.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def energy_per_correct(figures: Figures, gains: Gains, *, estimated: bool) -> Estimate:
    """All joules of the scored queries, wrong and cut answers included, over the number of right answers.

    Queries whose prompt has no reference can be neither right nor wrong; their joules buy no right answer and
    are not in it. A resample draws whole prompts, joules and score together. With fewer than ten right answers that
    is doubted, and where nothing is right there is no value, and `low` is what a right answer costs at least.
    """
    scored = figures.at(figures.scored)
    if not len(scored):
        return Estimate(value=None, findings=(unscored(figures),))
    measured = scored.at(scored.measured)
    findings = left_out(scored)
    correct = measured.correct.astype(np.float64)
    if not correct.any():
        nothing = Finding(code=FindingCode.NOTHING_CORRECT)
        if estimated or not len(measured):
            return Estimate(value=None, findings=(*findings, nothing))
        least = per_success_interval(measured.energy_j, correct)
        return Estimate(value=None, low=least.low, findings=tuple(dict.fromkeys((*findings, nothing, *least.findings))))
    return energy_per(
        measured,
        correct,
        gains,
        estimated=estimated,
        interval=per_success_interval,
        findings=(*findings, *few_correct(int(correct.sum()))),
    )


def _mean_tail_j(measured: Figures) -> float | None:
    """Over the queries whose tail is known: the last one of a session has none."""
    known_j = measured.energy_tail_j[~np.isnan(measured.energy_tail_j)]
    return float(known_j.mean()) if len(known_j) else None


def _accuracy(figures: Figures, scored: Figures) -> Estimate:
    if not len(scored):
        return Estimate(value=None, findings=(unscored(figures),))
    n_correct = int(scored.correct.sum())
    interval = wilson_interval(n_correct, len(scored))
    return Estimate(value=n_correct / len(scored), low=interval.low, high=interval.high, findings=interval.findings)


def _per_token(measured: Figures, gains: Gains, estimated: bool, findings: tuple[Finding, ...]) -> Estimate:
    if np.isnan(measured.n_output_tokens).any():
        return Estimate(value=None, findings=findings)
    return energy_per(measured, measured.n_output_tokens, gains, estimated=estimated, findings=findings)


def _tokens(counts: FloatArray) -> Estimate:
    """Mean count with its interval over prompts; counts that never vary have none."""
    mean = _mean(counts)
    if mean is None or counts.min() == counts.max():
        return Estimate(value=mean)
    interval = ratio_interval(counts, np.ones(len(counts)))  # no count is below zero
    return Estimate(value=mean, low=interval.low, high=interval.high, findings=interval.findings)


def _mean(counts: FloatArray) -> float | None:
    """Mean count; unknown unless every query was counted."""
    return float(counts.mean()) if len(counts) and not np.isnan(counts).any() else None


def _phases_j(measured: Figures) -> dict[str, float]:
    """Mean joules per phase; empty unless every query's phases are known, so that they add up to the mean.

    A query without a phase spent nothing in it: that zero is known.
    """
    if not len(measured) or not measured.phases_known.all():
        return {}
    return {name: float(measured.phases_j[name].energy_j.mean()) for name in measured.phase_names()}


def _phases_s(figures: Figures) -> dict[str, float]:
    """Mean seconds per phase; empty unless every query has some."""
    has = {name: ~np.isnan(seconds) for name, seconds in figures.phases_s.items()}
    if not len(figures) or not has or not np.logical_or.reduce(list(has.values())).all():
        return {}
    occurring = phase_names([{name: True for name, each in has.items() if each.any()}])
    return {name: float(np.nansum(figures.phases_s[name])) / len(figures) for name in occurring}
