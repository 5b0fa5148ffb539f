"""A mode's joules at the boundaries they were carried to: the sensor's, the IT equipment's, the facility's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.footprint.facility import FACILITY, facility
from harness.footprint.server import SERVER, Published, server
from harness.footprint.spread import Spread
from harness.footprint.steps import Step, chain
from harness.footprint.subject import Subject, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One mode with the steps that its joules have been carried over."""

    subject: Subject
    steps: tuple[Step, ...]

    def after(self, *names: str) -> Spread:
        """Joules per query after the steps of these names; of an estimate without a range: none is known."""
        taken = [step for step in self.steps if step.name in names]
        whole = joined(self.subject.energy_j, [part for _, part in self.subject.parts])
        carried = chain([Step(name="", factor=whole, measured=True, source=""), *taken])
        return Spread(value=carried.value) if self.subject.estimated else carried

    @property
    def it_energy(self) -> Spread:
        """Joules per query of the IT equipment, as far as it is known: what WUE is per."""
        return self.after(SERVER)

    @property
    def energy(self) -> Spread:
        """Joules per query at the widest boundary: what is paid for, and what a grid delivers."""
        return self.after(SERVER, FACILITY)


def carried(
    subjects: Sequence[Subject], choice: Published | Spread | None, pue: Spread | None
) -> tuple[tuple[Carried, ...], tuple[str, ...]]:
    """The modes of a cell, carried as far as the user says.

    Args:
        subjects: The modes.
        choice: How to get to the server; None: not at all.
        pue: Facility over IT; None: not at all.

    Returns:
        The modes, and what is to be said of the choice.

    Raises:
        UsageError: The choice cannot be had.
    """
    chosen = None if choice is None else server(subjects, choice)
    subjects = subjects if chosen is None else chosen.subjects
    to_server = [() for _ in subjects] if chosen is None else [(step,) for step in chosen.steps]
    to_facility = () if pue is None else (facility(pue, has_server=chosen is not None),)
    modes = tuple(
        Carried(subject=subject, steps=(*steps, *to_facility))
        for subject, steps in zip(subjects, to_server, strict=True)
    )
    return modes, () if chosen is None else chosen.notes
