"""Queries a day and joules a query, as a mean power and as an energy over a year of 365 days."""

from __future__ import annotations

from harness.units import J_PER_TWH, S_PER_DAY, S_PER_H

DAYS_PER_YEAR = 365.0
HOURS_PER_YEAR = DAYS_PER_YEAR * S_PER_DAY / S_PER_H


def power_mw(energy_per_query_j: float, queries_per_day: float) -> float:
    """Mean power of a fleet in MW. Its peak is higher: people sleep."""
    return energy_per_query_j * queries_per_day / S_PER_DAY / 1e6


def energy_twh(energy_per_query_j: float, queries_per_day: float) -> float:
    """TWh of a fleet over a year."""
    return energy_per_query_j * queries_per_day * DAYS_PER_YEAR / J_PER_TWH
