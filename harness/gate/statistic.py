"""A line's figure from the sides it is of: its log, and the parts of its interval.

Two sides that were asked the same prompts are paired prompt by prompt. Knows tables and parts. Must not know limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import RATIO
from harness.analysis.interval import Part, SystematicPart
from harness.analysis.measured import quadrature
from harness.analysis.prompts_part import prompts_part
from harness.gate.budget import Metric
from harness.gate.evidence import Side
from harness.gate.other_parts import gain_half_width, ratio_gain, reading_half_width, runs_part, session_part
from harness.gate.tables import Table, missing_of_pairs, table_of
from harness.units import J_PER_WH

FACTORS = {Metric.ENERGY_WH_PER_1000: 1000 / J_PER_WH}
"""From joules per query to the metric's unit."""
PER_QUERY = (Metric.ENERGY_PER_QUERY_J, Metric.ENERGY_WH_PER_1000, Metric.OUTPUT_TOKENS_PER_QUERY)
RATIO_OF_RATIOS = (1, -1, -1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A figure, or a ratio of two, with the parts of its interval; `value` is None where it does not exist."""

    value: float | None
    value_candidate: float | None
    value_reference: float | None
    n_queries: int
    n_missing: int
    share_missing: float
    n_runs: tuple[int, ...]
    parts: tuple[Part, ...]


def absolute(side: Side, metric: Metric, *, run_sd: float | None, session_sd: float | None, gain: bool) -> Statistic:
    """One side's figure, in the metric's unit.

    Args:
        side: The candidate.
        metric: Of the line.
        run_sd: Stated relative spread from run to run; None: measured from the repeats.
        session_sd: Stated relative spread from job to job.
        gain: Whether the board's gain is in it.
    """
    table, percentiles = table_of(side, metric), metric is Metric.ENERGY_PER_CORRECT_J
    value = table.value
    parts: list[Part] = []
    if value is not None:
        parts = [
            prompts_part(table.columns, RATIO, percentiles=percentiles, widening=side.inflation),
            runs_part([table.run_logs], run_sd),
        ]
        if metric.in_joules:
            parts.append(SystematicPart(name="sensor reading", half_width=reading_half_width(table)))
            if gain:
                parts.append(SystematicPart(name="board gain", half_width=gain_half_width(side)))
        if session_sd is not None:
            parts.append(session_part(session_sd, 1))
    scaled = None if value is None else value * FACTORS.get(metric, 1.0)
    return Statistic(
        value=scaled,
        value_candidate=scaled,
        value_reference=None,
        n_queries=len(table.prompt_ids),
        n_missing=table.n_missing,
        share_missing=table.share_missing,
        n_runs=(len(side.runs),),
        parts=tuple(parts),
    )


def relative(
    candidate: Side, reference: Side, metric: Metric, *, run_sd: float | None, session_sd: float | None
) -> Statistic:
    """The candidate's figure over the reference's.

    Args:
        candidate: Above the line.
        reference: Below it. Of another prompt set it is not paired.
        metric: Of the line.
        run_sd: Stated relative spread from run to run, of each side; None: measured from the repeats of both.
        session_sd: Stated relative spread from job to job; None: none is added.
    """
    above, below = table_of(candidate, metric), table_of(reference, metric)
    paired = candidate.prompt_set_sha256 == reference.prompt_set_sha256
    if paired:
        n_missing, share_missing = missing_of_pairs(above, below)
    else:
        n_missing = above.n_missing + below.n_missing
        share_missing = max(above.share_missing, below.share_missing)
    if paired and above.prompt_ids != below.prompt_ids:
        theirs = set(below.prompt_ids)
        common = [prompt_id for prompt_id in above.prompt_ids if prompt_id in theirs]
        above, below = above.at(common), below.at(common)
    values = (above.value, below.value)
    ratio, parts = None, []
    if values[0] is not None and values[1] is not None:
        ratio = values[0] / values[1]
        parts = _ratio_parts(above, below, metric, paired=paired)
        parts.append(runs_part([above.run_logs, below.run_logs], run_sd))
        if metric.in_joules:
            reading = quadrature((reading_half_width(above), reading_half_width(below)))
            parts.append(SystematicPart(name="sensor reading", half_width=reading))
            parts.append(ratio_gain(candidate, reference))
        if session_sd is not None:
            parts.append(session_part(session_sd, 2))
    factor = FACTORS.get(metric, 1.0)
    return Statistic(
        value=ratio,
        value_candidate=None if values[0] is None else values[0] * factor,
        value_reference=None if values[1] is None else values[1] * factor,
        n_queries=min(len(above.prompt_ids), len(below.prompt_ids)),
        n_missing=n_missing,
        share_missing=share_missing,
        n_runs=(len(candidate.runs), len(reference.runs)),
        parts=tuple(parts),
    )


def _ratio_parts(above: Table, below: Table, metric: Metric, *, paired: bool) -> list[Part]:
    """Over prompts: one part of pairs, or one of each side where their prompts differ."""
    percentiles = metric is Metric.ENERGY_PER_CORRECT_J
    if paired:
        columns = np.column_stack((above.columns, below.columns))
        powers: tuple[int, ...] = RATIO_OF_RATIOS
        if metric in PER_QUERY:  # what is below the line is the same number on both sides
            columns, powers = columns[:, [0, 2]], RATIO
        widening = max(above.side.inflation, below.side.inflation)
        note = "the same prompts on both sides"
        return [prompts_part(columns, powers, percentiles=percentiles, widening=widening, note=note)]
    note = "other prompts on the other side"
    turned = below.columns[:, ::-1]
    return [
        prompts_part(above.columns, RATIO, percentiles=percentiles, widening=above.side.inflation, note=note),
        prompts_part(turned, RATIO, percentiles=percentiles, widening=below.side.inflation, note=note),
    ]
