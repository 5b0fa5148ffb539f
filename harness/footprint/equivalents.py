"""The same joules as something a person can feel. Each rests on an assumed power or energy, printed with it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.footprint.spread import Spread
from harness.units import J_PER_WH


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """A thing that uses `size_j` joules per `unit`. Of a unit that may be very small, its thousandth is printed."""

    what: str
    unit: str
    size_j: float
    assumption: str

    def of(self, energy_j: Spread) -> Spread:
        """How much of it some joules are."""
        return energy_j.times(1 / self.size_j)


MICROWAVE_W = 6706 / 8
E_BIKE_J_PER_M = 6706 / (400 * 0.3048)
TELEVISION_W = 100.0
BULB_W = 10.0
PHONE_WH = 4.0 * 3.85

EQUIVALENTS = (
    Equivalent(
        what="LED bulb",
        unit="s",
        size_j=BULB_W,
        assumption="10 W, a bulb of about 800 lumens; our assumption",
    ),
    Equivalent(
        what="microwave oven",
        unit="s",
        size_j=MICROWAVE_W,
        assumption="840 W: MIT Technology Review, May 2025, gives 8 seconds for 6,706 J",
    ),
    Equivalent(
        what="television",
        unit="s",
        size_j=TELEVISION_W,
        assumption="100 W: Google, August 2025, gives less than 9 seconds for 0.24 Wh",
    ),
    Equivalent(
        what="e-bike ride",
        unit="m",
        size_j=E_BIKE_J_PER_M,
        assumption="55 J per metre: MIT Technology Review, May 2025, gives 400 feet for 6,706 J",
    ),
    Equivalent(
        what="phone battery, % of a charge",
        unit="",
        size_j=PHONE_WH * J_PER_WH / 100,
        assumption="15.4 Wh: a battery of 4,000 mAh at 3.85 V, the charger's loss left out; our assumption",
    ),
)
