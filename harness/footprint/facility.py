"""From the server to the facility: power usage effectiveness, facility power over IT power (ISO/IEC 30134-2)."""

from __future__ import annotations

from harness.footprint.spread import Spread
from harness.footprint.steps import Step

FACILITY = "facility"


def facility(pue: Spread, *, has_server: bool) -> Step:
    """The step by PUE.

    Args:
        pue: At least 1.
        has_server: Whether the step before is the whole server; PUE is defined over all IT equipment.
    """
    return Step(
        name=FACILITY,
        factor=pue,
        measured=False,
        source="PUE, stated by the user",
        note="" if has_server else "over the sensor's boundary alone: no --server is given",
        at_least=1.0,
    )
