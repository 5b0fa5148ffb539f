"""Carbon of an energy on a grid: its kWh times what one of them emits there, on average over a year.

An average, not what one more query makes a power plant do; operation only, nothing of building the hardware.
"""

from __future__ import annotations

from harness.footprint.grids import Grid
from harness.footprint.spread import Spread, product
from harness.units import J_PER_KWH


def carbon_g(energy_j: Spread, grid: Grid) -> Spread:
    """Grams of CO2e of some joules at the socket of a grid."""
    return product([energy_j.times(1 / J_PER_KWH), grid.intensity])
