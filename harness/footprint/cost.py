"""Money, in whatever currency the prices are in: electricity by the kWh, boards by the hour."""

from __future__ import annotations

from harness.footprint.spread import Spread, product
from harness.units import J_PER_KWH, S_PER_H


def electricity_cost(energy_j: Spread, tariff_per_kwh: Spread) -> Spread:
    """Price of some joules at a tariff per kWh."""
    return product([energy_j.times(1 / J_PER_KWH), tariff_per_kwh])


def rental_cost(duration_s: Spread, n_boards: int, price_per_gpu_hour: Spread) -> Spread:
    """Price of having boards for some seconds. It holds their electricity: the two are not to be added."""
    return product([duration_s.times(n_boards / S_PER_H), price_per_gpu_hour])
