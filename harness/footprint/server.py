"""From what the sensor covers to the whole server: measured where it was, otherwise a multiplier that somebody stated.

What was measured in the run goes before what somebody published about other machines; a user's own number goes before
both. Published shares:

- MIT Technology Review ("How we did the math", May 2025) found in the literature that GPUs take about half of a
  server's power, and doubled them. No range is published.
- Google (arXiv 2508.15734, August 2025): of a median Gemini text prompt's 0.24 Wh the accelerators take 58 %, their
  hosts' CPUs and memory 25 %, machines kept idle in reserve 10 %, the facility's overhead 8 %. The whole is 1 / 0.58 of
  the accelerators and holds the facility at a PUE of 1.09, so the part below the facility is 1 / (0.58 × 1.09) = 1.58;
  with `--pue 1.09` the chain ends at 1 / 0.58 again. It is of TPUs, and holds the reserve.

Both are points. As a range for either this program takes the distance between the two, a factor of 1.26, to both
sides: one published figure says how far another may be off. Whoever knows the machine better states a number or range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import UsageError
from harness.footprint.spread import Spread
from harness.footprint.steps import Step
from harness.footprint.subject import GAIN, READING, Subject
from harness.records import Boundary

GOOGLE_SHARE, GOOGLE_PUE = 0.58, 1.09
MIT = 2.0
GOOGLE = 1 / (GOOGLE_SHARE * GOOGLE_PUE)
DISTANCE = MIT / GOOGLE
"""A factor: how far the two published multipliers lie apart."""

SERVER = "server"
MEASURED_HOST_NOTE = "what fans, drives, network cards and the power supply draw is not in it"
METER_NOTE = "the wall meter's own accuracy is not in the interval"


class Published(StrEnum):
    """A multiplier by its name."""

    MEASURED = "measured"
    MIT = "mit"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplier:
    """A published multiplier from accelerators to their server."""

    factor: float
    source: str
    note: str


MULTIPLIERS = {
    Published.MIT: Multiplier(
        factor=MIT,
        source="MIT Technology Review, May 2025: GPUs take about half of a server's power",
        note="no range is published; this one is the distance to Google's",
    ),
    Published.GOOGLE: Multiplier(
        factor=GOOGLE,
        source="Google, arXiv 2508.15734: accelerators take 58 % of a prompt's energy, at a PUE of 1.09",
        note="1 / (0.58 × 1.09): the facility is taken out, idle reserve machines stay in; of TPUs; "
        "no range is published; this one is the distance to MIT Technology Review's",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The step to the server, a mode each, with the subjects as they are to be used with it."""

    subjects: tuple[Subject, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def server(subjects: Sequence[Subject], choice: Published | Spread) -> Server:
    """How the modes of a cell get from the sensor's boundary to their server.

    Args:
        subjects: Of one cell; all modes take the same way.
        choice: A published multiplier, `measured`, or the user's own number.

    Raises:
        UsageError: `measured` and nothing was; or a multiplier of GPU energy on the energy of a host.
    """
    found = _measured(subjects)
    if isinstance(choice, Spread):
        notes = []
        if found is not None:
            notes = [f"The {found.steps[0].source} was measured in this run: --server measured uses it."]
        return Server(subjects=tuple(subjects), steps=tuple(_own(choice) for _ in subjects), notes=tuple(notes))
    if found is not None:
        replaced = choice is not Published.MEASURED
        note = f"--server {choice.value} is not used: this run measured the server ({found.steps[0].source})."
        return Server(subjects=found.subjects, steps=found.steps, notes=(note,) if replaced else ())
    if choice is Published.MEASURED:
        raise UsageError(
            "Neither the wall nor the host was measured in this run, so its server is unknown.",
            "Join a wall meter's log (--external-meter), make RAPL readable (`harness doctor`), "
            "or state a multiplier: --server mit, google, 1.8 or 1.5..2.2.",
        )
    if any(subject.boundary is not Boundary.GPU_BOARD for subject in subjects):
        raise UsageError(
            f"--server {choice.value} multiplies GPU energy, and this run's is of the host.",
            "State a number for this machine: --server 1.3, or --server 1.2..1.5.",
        )
    return Server(subjects=tuple(subjects), steps=tuple(_published(choice) for _ in subjects))


def _measured(subjects: Sequence[Subject]) -> Server | None:
    """The wall where every mode has it, else the host where every mode has it."""
    if any(subject.estimated for subject in subjects) or not subjects:
        return None
    if all(subject.node_per_board is not None for subject in subjects):
        # The wall saw the same queries, so what the boards' sensor errs by is not in the product any more.
        return Server(
            subjects=tuple(subject.without(READING, GAIN) for subject in subjects),
            steps=tuple(
                Step(
                    name=SERVER,
                    factor=subject.node_per_board,
                    measured=True,
                    source=subject.node_source,
                    note=METER_NOTE,
                )
                for subject in subjects
                if subject.node_per_board is not None
            ),
        )
    if all(subject.host_per_board is not None or subject.boundary is not Boundary.GPU_BOARD for subject in subjects):
        steps, eased = [], []
        for subject in subjects:
            beside = subject.host_per_board
            inside = beside is None
            factor = Spread(value=1.0) if beside is None else _and_host(beside)
            # The boards' sensor errs by its share of the sum; what the host's does is in the factor.
            eased.append(subject.eased(1 / factor.value, READING, GAIN))
            steps.append(
                Step(
                    name=SERVER,
                    factor=factor,
                    measured=True,
                    source="host (RAPL), which the joules above hold" if inside else "host beside the boards (RAPL)",
                    note=MEASURED_HOST_NOTE,
                )
            )
        return Server(subjects=tuple(eased), steps=tuple(steps))
    return None


def _and_host(beside: Spread) -> Spread:
    """Boards and host per joule of the boards."""
    if beside.low is None or beside.high is None:
        return Spread(value=1 + beside.value)
    return Spread(value=1 + beside.value, low=1 + beside.low, high=1 + beside.high)


def _published(choice: Published) -> Step:
    multiplier = MULTIPLIERS[choice]
    return Step(
        name=SERVER,
        factor=Spread(value=multiplier.factor, low=multiplier.factor / DISTANCE, high=multiplier.factor * DISTANCE),
        measured=False,
        source=multiplier.source,
        note=multiplier.note,
        at_least=1.0,
    )


def _own(factor: Spread) -> Step:
    return Step(name=SERVER, factor=factor, measured=False, source="stated by the user", at_least=1.0)
