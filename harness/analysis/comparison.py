"""Two modes over the same prompts: what thinking costs, split into more tokens and dearer tokens.

    E_on / E_off = (T_on / T_off) x ((E_on / T_on) / (E_off / T_off))

All three are ratios of totals over the same pairs of queries, so the logs add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.bootstrap import column, ratio_interval
from harness.analysis.estimates import ESTIMATED, ONE_RUN, Gains, energies_j, left_out, total
from harness.analysis.measured import QueryFigures, quadrature
from harness.records import Comparison, Estimate

EFFORT = {"off": 0, "minimal": 1, "low": 2, "medium": 3, "high": 4, "on": 5}
"""How much a mode thinks, for choosing which stands above the line."""


def compared_modes(modes: Sequence[str]) -> tuple[str, str] | None:
    """Which mode stands over which: the most thinking over `off`, otherwise the first two as they come.

    Returns:
        (numerator, denominator); None with fewer than two modes.
    """
    if len(modes) < 2:
        return None
    if "off" in modes:
        others = [mode for mode in modes if mode != "off"]
        return max(others, key=lambda mode: EFFORT.get(mode, 0)), "off"
    first, second = modes[:2]
    if first in EFFORT and second in EFFORT and EFFORT[second] > EFFORT[first]:
        return second, first
    return first, second


def compare(
    numerator: Sequence[QueryFigures],
    denominator: Sequence[QueryFigures],
    gains: Gains,
    *,
    modes: tuple[str, str],
    estimated: bool,
) -> Comparison:
    """The ratio of two modes over the prompts that were answered, with known energy, in both.

    Args:
        numerator: Answered queries of the mode above the line.
        denominator: Answered queries of the mode below it.
        gains: Of the devices.
        modes: Their names, numerator first.
        estimated: Whether the joules are a hardware model's; then only seconds are compared.
    """
    below = {query.prompt_id: query for query in denominator}
    answered = [(query, below[query.prompt_id]) for query in numerator if query.prompt_id in below]
    known = [pair for pair in answered if all(query.energy_j is not None for query in pair)]
    pairs = known or answered
    above, under = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    tokens_above, tokens_under = _tokens(above), _tokens(under)
    energy = _energy_ratio(above, under, gains, estimated)
    duration = _duration_ratio(above, under)
    tokens = tokens_above / tokens_under if tokens_above and tokens_under else None
    missing = left_out([query for pair in answered for query in pair])
    return Comparison(
        numerator=modes[0],
        denominator=modes[1],
        n_pairs=len(pairs),
        energy=energy.model_copy(update={"findings": (*missing, *energy.findings)}),
        duration=duration,
        tokens=Estimate(value=tokens),
        energy_per_token=Estimate(value=_quotient(energy.value, tokens)),
        duration_per_token=_quotient(duration.value, tokens),
        difference_j=Estimate(value=None),
        energy_per_correct=Estimate(value=None),
    )


def _energy_ratio(
    above: Sequence[QueryFigures], under: Sequence[QueryFigures], gains: Gains, estimated: bool
) -> Estimate:
    if estimated:
        return Estimate(value=None, findings=(ESTIMATED,))
    x, y = total(above), total(under)
    x_j, y_j = energies_j(above), energies_j(under)
    if len(x_j) != len(above) or x.energy_j <= 0 or y.energy_j <= 0:
        return Estimate(value=None)
    ratio = x.energy_j / y.energy_j
    prompts = ratio_interval(column(x_j), column(y_j))
    relative = quadrature(
        None if half_width_j is None else half_width_j / energy_j
        for half_width_j, energy_j in (
            (x.half_width_reading_j, x.energy_j),
            (y.half_width_reading_j, y.energy_j),
        )
    )
    # A device's gain moves both totals; what is left is the difference of its shares in them: nothing with
    # one device.
    shares = [
        (gains.get(key), x.by_device_j.get(key, 0.0) / x.energy_j - y.by_device_j.get(key, 0.0) / y.energy_j)
        for key in dict.fromkeys((*x.by_device_j, *y.by_device_j))
    ]
    if len(shares) == 1:
        gain: float | None = 0.0
    else:
        gain = quadrature(None if each is None else each * share for each, share in shares)
    return Estimate(
        value=ratio,
        low=prompts.low,
        high=prompts.high,
        half_width_reading=None if relative is None else ratio * relative,
        half_width_gain=None if gain is None else ratio * gain,
        findings=(*prompts.findings, ONE_RUN),
    )


def _duration_ratio(above: Sequence[QueryFigures], under: Sequence[QueryFigures]) -> Estimate:
    x_s, y_s = column([query.duration_s for query in above]), column([query.duration_s for query in under])
    if not above or y_s.sum() <= 0:
        return Estimate(value=None)
    prompts = ratio_interval(x_s, y_s)
    value = float(x_s.sum() / y_s.sum())
    return Estimate(value=value, low=prompts.low, high=prompts.high, findings=(*prompts.findings, ONE_RUN))


def _tokens(figures: Sequence[QueryFigures]) -> float | None:
    counts = [query.n_output_tokens for query in figures]
    known = [count for count in counts if count is not None]
    return math.fsum(known) if len(known) == len(counts) else None


def _quotient(value: float | None, tokens: float | None) -> float | None:
    return value / tokens if value is not None and tokens else None
