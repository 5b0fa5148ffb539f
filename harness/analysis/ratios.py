"""Ratios of two modes' totals over the same prompts, as `Estimate`s.

Every function takes the queries of two modes over the same prompts in the same order: `above` and `under` the line.
"""

from __future__ import annotations

import numpy as np

from harness.analysis.bootstrap import (
    N_LEAST,
    RATIO,
    FloatArray,
    Interval,
    log_deviation,
    per_success_ratio_interval,
    product_interval,
    ratio_interval,
    smallest_detectable,
)
from harness.analysis.estimates import ONE_RUN, Gains, few_correct, log_sd, ratio_errors, total, unscored
from harness.analysis.figures import Figures
from harness.records import Estimate, Finding, FindingCode

PER_TOKEN = (1, -1, -1, 1)
"""Powers of joules and tokens above, joules and tokens under the line."""


def energy_ratio(above: Figures, under: Figures, gains: Gains) -> Estimate:
    """Total joules above over total joules under the line; None where a total is zero."""
    x_j, y_j = above.energy_j, under.energy_j
    if not x_j.sum() > 0 or not y_j.sum() > 0:
        return Estimate(value=None)
    return _of_joules(float(x_j.sum() / y_j.sum()), ratio_interval(x_j, y_j), above, under, gains)


def energy_per_token_ratio(above: Figures, under: Figures, gains: Gains) -> Estimate:
    """Joules per output token above over those under the line, each of totals; None where tokens are not known."""
    x_j, y_j = above.energy_j, under.energy_j
    counts = _output_tokens(above, under)
    if counts is None or not x_j.sum() > 0 or not y_j.sum() > 0:
        return Estimate(value=None)
    t, u = counts
    prompts = product_interval(np.column_stack((x_j, t, y_j, u)), PER_TOKEN)
    value = float((x_j.sum() / y_j.sum()) / (t.sum() / u.sum()))
    return _of_joules(value, prompts, above, under, gains)


def energy_per_correct_ratio(above: Figures, under: Figures, gains: Gains, *, modes: tuple[str, str]) -> Estimate:
    """Joules per right answer above over those under the line, over the prompts that are scored in both.

    Args:
        above: Every energy is known.
        under: The same prompts.
        gains: Of the devices.
        modes: Their names, for saying which has no right answer.
    """
    scored = above.scored & under.scored
    if not scored.any():
        return Estimate(value=None, findings=(unscored(above, under),))
    one_side, other_side = above.at(scored), under.at(scored)
    x_right, y_right = (side.correct.astype(np.float64) for side in (one_side, other_side))
    without = [name for name, right in zip(modes, (x_right, y_right), strict=True) if not right.any()]
    x_j, y_j = one_side.energy_j, other_side.energy_j
    if without:
        detail = "" if len(without) == len(modes) else f"mode {without[0]}"
        return Estimate(value=None, findings=(Finding(code=FindingCode.NOTHING_CORRECT, detail=detail),))
    if not x_j.sum() > 0 or not y_j.sum() > 0:
        return Estimate(value=None)
    value = float((x_j.sum() / y_j.sum()) * (y_right.sum() / x_right.sum()))
    prompts = per_success_ratio_interval((x_j, x_right), (y_j, y_right))
    ratio = _of_joules(value, prompts, one_side, other_side, gains)
    doubts = few_correct(int(x_right.sum()), int(y_right.sum()))
    return ratio.model_copy(update={"findings": (*doubts, *ratio.findings)})


def token_ratio(above: Figures, under: Figures) -> Estimate:
    """Total output tokens above over those under the line; None where a query's are not known."""
    counts = _output_tokens(above, under)
    return Estimate(value=None) if counts is None else _counted(*counts)


def duration_ratio(above: Figures, under: Figures) -> Estimate:
    """Total seconds above over total seconds under the line."""
    x_s, y_s = above.duration_s, under.duration_s
    return _counted(x_s, y_s) if y_s.sum() > 0 else Estimate(value=None)


def log_ratio_sd(above: Figures, under: Figures) -> float | None:
    """Standard deviation of the prompts' own log ratios of joules; None below two prompts or where one drew nothing."""
    x_j, y_j = above.energy_j, under.energy_j
    if len(x_j) < 2 or min(x_j.min(), y_j.min()) <= 0:
        return None
    return log_sd(x_j / y_j)


def detectable(above: Figures, under: Figures) -> float | None:
    """Relative difference of total joules that 80 % of studies of this size tell from none; None below five prompts."""
    x_j, y_j = above.energy_j, under.energy_j
    if len(x_j) < N_LEAST or not x_j.sum() > 0 or not y_j.sum() > 0:
        return None
    return smallest_detectable(log_deviation(np.column_stack((x_j, y_j)), RATIO))


def _output_tokens(above: Figures, under: Figures) -> tuple[FloatArray, FloatArray] | None:
    counts = (above.n_output_tokens, under.n_output_tokens)
    return counts if len(above) and all(side.sum() > 0 for side in counts) else None


def _of_joules(value: float, prompts: Interval, above: Figures, under: Figures, gains: Gains) -> Estimate:
    """A ratio that moves with its joules in proportion: tokens and right answers have no error of a sensor."""
    reading, gain = ratio_errors(total(above), total(under), gains)
    return Estimate(
        value=value,
        low=prompts.low,
        high=prompts.high,
        half_width_reading=None if reading is None else value * reading,
        half_width_gain=None if gain is None else value * gain,
        findings=(*prompts.findings, ONE_RUN),
    )


def _counted(x: FloatArray, y: FloatArray) -> Estimate:
    """A ratio of counts or seconds: exact but for prompts and repeats."""
    prompts = ratio_interval(x, y)
    return Estimate(
        value=float(x.sum() / y.sum()), low=prompts.low, high=prompts.high, findings=(*prompts.findings, ONE_RUN)
    )
