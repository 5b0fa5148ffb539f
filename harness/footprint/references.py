"""What a fleet's power is set beside. None of them is a measurement of the kind that this program makes."""

from __future__ import annotations

from harness.footprint.year import HOURS_PER_YEAR
from harness.records import Record

PLANT_GW = 1.0


class Reference(Record):
    """A power that people know, or its energy over a year; the other follows from a year of hours."""

    name: str
    power_mw: float
    energy_twh: float
    source: str


REFERENCES = (
    Reference(
        name="a 1 GW power plant",
        power_mw=1e3 * PLANT_GW,
        energy_twh=PLANT_GW * HOURS_PER_YEAR / 1e3,
        source="at full power all year, 8.76 TWh",
    ),
    Reference(
        name="Bitcoin",
        power_mw=176e6 / HOURS_PER_YEAR,
        energy_twh=176.0,
        source="176 TWh a year; A. de Vries-Gao, Joule, 2025",
    ),
    Reference(
        name="all AI",
        power_mw=23e3,
        energy_twh=201.0,
        source="could reach 23 GW, 201 TWh a year, by the end of 2025: an estimate from chip packaging capacity; "
        "A. de Vries-Gao, Joule, 2025",
    ),
)
