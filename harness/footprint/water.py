"""Water: what a site evaporates per kWh of its IT equipment (WUE, ISO/IEC 30134-9), and what making the power takes."""

from __future__ import annotations

from harness.footprint.spread import Spread, product
from harness.units import J_PER_KWH


def water_on_site_l(it_energy_j: Spread, wue_l_per_kwh: Spread) -> Spread:
    """Litres on site. WUE is per kWh of IT energy, so PUE has no part in it."""
    return product([it_energy_j.times(1 / J_PER_KWH), wue_l_per_kwh])


def water_of_grid_l(energy_j: Spread, l_per_kwh: Spread) -> Spread:
    """Litres where the power is made, per kWh that the facility takes from its grid."""
    return product([energy_j.times(1 / J_PER_KWH), l_per_kwh])
