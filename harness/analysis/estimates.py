"""Totals and ratios of queries' joules and seconds as `Estimate`s, the four parts of the interval kept apart.

- Prompts: `bootstrap`.
- Reading: the half-widths of a total's queries add up. What the curve assumes of an edge (how late work begins, how
  long power lingers) is wrong the same way for every query of a run, so it does not average out.
- Run to run: unknown within one repeat.
- Gain: systematic. It does not shrink with the number of queries, and cancels in a ratio on one board.

Estimated joules (`Method.ESTIMATED`) carry a value and nothing else: the error of the hardware model is not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import N_LEAST, FloatArray, Interval, column, mean_interval, ratio_interval
from harness.analysis.figures import Figures, Queries, as_figures
from harness.analysis.measured import REASONS_WITHOUT_ENERGY, QueryFigures, quadrature
from harness.records import Channel, Estimate, Finding, FindingCode, Method

Gains = Mapping[tuple[str, Method], float | None]
"""Relative 95 % half-width of each device's systematic gain; None: unknown."""

ONE_RUN = Finding(code=FindingCode.ONE_RUN)
ESTIMATED = Finding(code=FindingCode.ESTIMATED_ENERGY)

N_TRUSTED = 100
LOG_SD_TRUSTED = 0.68
"""Up to a log sd of 0.6 and from 100 prompts on, intervals over prompts hold 93 to 97 % (scripts/check_statistics.py).

The log sd is itself estimated: of two modes with a true 0.6 and 100 prompts one is above 0.68 in 6 % of studies, with
a true 0.7 in 84 %, with 0.75 in 98 %.
"""
N_CORRECT_TRUSTED = 10
"""Right answers below which an interval of joules per right answer is doubted.

In 2,000 simulated studies of 50 to 200 prompts with 5 expected right answers it held the truth in 93 to 94 %.
"""


def gains_of(channels: Sequence[Channel]) -> Gains:
    """The gains that the channels declare."""
    return {(channel.device, channel.method): channel.gain_half_width for channel in channels if channel.makes_energy}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTotal:
    """The joules of several queries, and what is uncertain about them."""

    energy_j: float
    half_width_reading_j: float | None
    by_device_j: Mapping[tuple[str, Method], float]

    def half_width_gain_j(self, gains: Gains) -> float | None:
        """Joules by which the devices' gains may have moved the total; devices err independently."""
        return _moved(self.by_device_j, gains)


def with_energy(queries: Sequence[QueryFigures]) -> list[QueryFigures]:
    """Those whose energy is known."""
    return [query for query in queries if query.energy_j is not None]


def total(queries: Queries) -> EnergyTotal:
    """Sum of queries whose energy is known."""
    figures = as_figures(queries)
    return EnergyTotal(
        energy_j=float(figures.energy_j.sum()),
        half_width_reading_j=added(figures.energy_half_width_j),
        by_device_j={
            device: float(np.nansum(joules))
            for device, joules in figures.by_device_j.items()
            if not np.isnan(joules).all()
        },
    )


def added(values: FloatArray) -> float | None:
    """A sum, as of half-widths whose errors may all be in the same direction; None if one of them is unknown."""
    summed = float(values.sum())
    return None if math.isnan(summed) else summed


def heavy_tail(*columns: Sequence[float] | FloatArray) -> tuple[Finding, ...]:
    """The doubt that an interval over these prompts may hold less than it says, where there is reason for it.

    Args:
        columns: Joules of the same prompts, one column per mode.
    """
    n = len(columns[0])
    if n < N_LEAST:
        return ()  # there is no interval
    widest = max(log_sd(values) for values in columns)
    if n >= N_TRUSTED and widest <= LOG_SD_TRUSTED:
        return ()
    return (Finding(code=FindingCode.HEAVY_TAIL, detail=f"{n} prompts, log sd of their joules {widest:.2f}"),)


def few_correct(*counts: int) -> tuple[Finding, ...]:
    """The doubt about joules per right answer where a mode has a few right answers only.

    Args:
        counts: Right answers of each mode, all above zero: without any there is no such value.
    """
    fewest = min(counts)
    if fewest >= N_CORRECT_TRUSTED:
        return ()
    return (Finding(code=FindingCode.FEW_CORRECT, detail=f"{fewest} right"),)


def log_sd(values: Sequence[float] | FloatArray) -> float:
    """Standard deviation of the natural logs of at least two numbers; infinite where one is not positive."""
    return float(np.log(values).std(ddof=1)) if np.min(values) > 0 else math.inf


def left_out(*sides: Figures) -> tuple[Finding, ...]:
    """Why some answered queries are not in the energies, each reason with its count.

    Args:
        sides: One mode's queries, or two modes' of the same prompts; reasons are in the order of the prompts.
    """
    why = np.column_stack([side.why_no_energy for side in sides]).ravel()
    reasons, first, counts = np.unique(why, return_index=True, return_counts=True)
    in_order = np.argsort(first)
    return tuple(
        Finding(
            code=REASONS_WITHOUT_ENERGY[reason],
            detail=f"{count} of {len(why)} answered queries have no energy and are in no mean of joules",
        )
        for reason, count in zip(reasons[in_order].tolist(), counts[in_order].tolist(), strict=True)
        if reason >= 0
    )


def energy_per(
    queries: Queries,
    denominators: Sequence[float] | FloatArray,
    gains: Gains,
    *,
    estimated: bool,
    interval: Callable[..., Interval] = ratio_interval,
    findings: tuple[Finding, ...] = (),
) -> Estimate:
    """Total joules over a total of something else: queries (ones), tokens, right answers.

    Args:
        queries: Their energy is known.
        denominators: One per query.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's.
        interval: Over prompts, from joules and denominators.
        findings: To add.

    Returns:
        Joules per unit of the denominator; None where there is nothing to divide by.
    """
    figures, amounts = as_figures(queries), column(denominators)
    summed, denominator = total(figures), float(amounts.sum())
    if not denominator > 0:
        return Estimate(value=None, findings=findings)
    value = summed.energy_j / denominator
    if estimated:
        return Estimate(value=value, findings=(ESTIMATED, *findings))
    prompts = interval(figures.energy_j, amounts)
    return Estimate(
        value=value,
        low=prompts.low,
        high=prompts.high,
        half_width_reading=divided(summed.half_width_reading_j, denominator),
        half_width_gain=divided(summed.half_width_gain_j(gains), denominator),
        findings=(*findings, *prompts.findings, ONE_RUN),
    )


def ratio_errors(numerator: EnergyTotal, denominator: EnergyTotal, gains: Gains) -> tuple[float | None, float | None]:
    """What sensor and gain may have moved a ratio of two totals by, relative to it.

    Returns:
        Half-width of the readings: of the two totals in quadrature. Half-width of the gain: a device's gain moves both
        totals, and what is left is the difference of its shares in them: nothing with one device. None: unknown.
    """
    reading = quadrature(
        None if each.half_width_reading_j is None else each.half_width_reading_j / each.energy_j
        for each in (numerator, denominator)
    )
    shares = {
        key: numerator.by_device_j.get(key, 0.0) / numerator.energy_j
        - denominator.by_device_j.get(key, 0.0) / denominator.energy_j
        for key in dict.fromkeys((*numerator.by_device_j, *denominator.by_device_j))
    }
    return reading, 0.0 if len(shares) == 1 else _moved(shares, gains)


def difference_errors_j(
    numerator: EnergyTotal, denominator: EnergyTotal, gains: Gains
) -> tuple[float | None, float | None]:
    """What sensor and gain may have moved a difference of two totals by.

    Returns:
        Joules, half-width of the readings: of the two totals in quadrature. Joules, half-width of the gain: it scales
        the difference on each device. None: unknown.
    """
    reading = quadrature((numerator.half_width_reading_j, denominator.half_width_reading_j))
    differences_j = {
        key: numerator.by_device_j.get(key, 0.0) - denominator.by_device_j.get(key, 0.0)
        for key in dict.fromkeys((*numerator.by_device_j, *denominator.by_device_j))
    }
    return reading, _moved(differences_j, gains)


def unscored(*sides: Figures) -> Finding:
    """Why nothing is known per right answer: the answers are graded, or none was judged at all."""
    return Finding(code=FindingCode.GRADED if any(side.graded.any() for side in sides) else FindingCode.NOTHING_SCORED)


def net_energy(figures: Figures, gains: Gains, *, estimated: bool) -> Estimate:
    """Mean joules above idle, signed.

    The idle power's error is common to all queries of a session: within a session and a device it adds up
    and does not shrink with their number; sessions and devices are independent.
    """
    known = figures.at(~np.isnan(figures.net_j))
    n = len(known)
    if not n:
        return Estimate(value=None, findings=(Finding(code=FindingCode.NO_IDLE_BASELINE),))
    value = float(known.net_j.sum()) / n
    if estimated:
        return Estimate(value=value, findings=(ESTIMATED,))
    sessions, session = np.unique(known.session, return_inverse=True)
    common = [
        half_width_j
        for half_widths_j in known.net_half_width_baseline_j.values()
        for half_width_j in np.bincount(session, weights=half_widths_j, minlength=len(sessions)).tolist()
    ]
    own = added(known.net_half_width_own_j)
    reading = None if own is None else quadrature((own, *common))
    gross = total(known)
    gain_j = gross.half_width_gain_j(gains)
    prompts = mean_interval(known.net_j)
    missing = len(figures) - n
    detail = f"{missing} of {len(figures)} queries have no net energy and are left out"
    findings = (Finding(code=FindingCode.NO_IDLE_BASELINE, detail=detail),) if missing else ()
    return Estimate(
        value=value,
        low=prompts.low,
        high=prompts.high,
        half_width_reading=divided(reading, n),
        # Gain multiplies gross and idle alike, so the net moves by the same fraction.
        half_width_gain=None if gain_j is None or gross.energy_j <= 0 else abs(value) * gain_j / gross.energy_j,
        findings=(*findings, *prompts.findings, ONE_RUN),
    )


def duration_per_query(figures: Figures) -> Estimate:
    """Mean seconds. The clock's own error is nanoseconds, so only prompts and repeats are uncertain."""
    if not len(figures):
        return Estimate(value=None, findings=(Finding(code=FindingCode.TOO_FEW_QUERIES),))
    prompts = ratio_interval(figures.duration_s, np.ones(len(figures)))
    return Estimate(
        value=float(figures.duration_s.mean()),
        low=prompts.low,
        high=prompts.high,
        findings=(*prompts.findings, ONE_RUN),
    )


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The same statistic in another unit."""
    parts = ("value", "low", "high", "half_width_reading", "half_width_runs", "half_width_gain")
    values = {name: getattr(estimate, name) for name in parts}
    changed = {name: None if value is None else value * factor for name, value in values.items()}
    return Estimate(**changed, findings=estimate.findings)


def divided(value: float | None, denominator: float) -> float | None:
    """A quotient that stays unknown where its numerator is."""
    return None if value is None else value / denominator


def _moved(amounts: Mapping[tuple[str, Method], float], gains: Gains) -> float | None:
    known = [(gains.get(device), amount) for device, amount in amounts.items()]
    return quadrature(None if gain is None else gain * amount for gain, amount in known)
