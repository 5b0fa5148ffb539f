"""What one query contributes to the statistics: its energy in the headline boundary, its tokens, its score.

Knows the records. Must not know how means or intervals are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.records import Boundary, FindingCode, Method, PhaseReading, QueryRecord, Reading

PROMPT_TOKENS = "prompt_tokens"
THINKING_TOKENS = "thinking_tokens"
ANSWER_TOKENS = "answer_tokens"
OUTPUT_TOKENS = "output_tokens"
"""Units in `Output.sizes`. Output tokens are thinking and answer tokens where they are not counted apart."""
TOKENS = (PROMPT_TOKENS, THINKING_TOKENS, ANSWER_TOKENS, OUTPUT_TOKENS)

PARTS = {
    Boundary.GPU_BOARD: frozenset({Boundary.GPU_BOARD}),
    Boundary.HOST: frozenset({Boundary.HOST}),
    Boundary.GPU_BOARD_AND_HOST: frozenset({Boundary.GPU_BOARD, Boundary.HOST}),
    Boundary.NODE: frozenset({Boundary.NODE}),
}
"""The boundaries of the single devices that make up a boundary."""

CLOSURE = 1e-6
"""Phases count as the query's only where they add up to it within this fraction."""

REASONS_WITHOUT_ENERGY = (
    FindingCode.SENSOR_LOST,
    FindingCode.COUNTER_RESET,
    FindingCode.COUNTER_FROZEN,
    FindingCode.COUNTER_JUMPED,
    FindingCode.AVERAGED_POWER_ONLY,
    FindingCode.HOST_SHARED,
    FindingCode.NO_READINGS,
)
"""The first that is found is said; the last stands for all others."""

PHASE_ORDER = ("prefill", "thinking", "answer", "forward", "encode", "denoise", "decode")
"""Of text generation, then of the other tasks: forward; encode, decode; encode, denoise, decode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnergy:
    """One device's joules in one query, gross, and what gain error belongs to them."""

    device: str
    method: Method
    energy_j: float
    half_width_j: float | None
    phases: tuple[PhaseReading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetEnergy:
    """Joules above idle, and the two parts of their half-width that behave differently in a mean.

    `half_width_baseline_j` is by device: the idle power's error is common to all queries of a session.
    """

    energy_j: float
    half_width_own_j: float | None
    half_width_baseline_j: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFigures:
    """An answered query as numbers. `energy_j` is None where any device's energy is unknown."""

    prompt_id: str
    mode: str
    session: int
    duration_s: float
    devices: tuple[DeviceEnergy, ...]
    energy_j: float | None
    energy_half_width_j: float | None
    net: NetEnergy | None
    energy_tail_j: float | None
    phases_j: Mapping[str, float] | None
    phases_s: Mapping[str, float]
    n_prompt_tokens: int | None
    n_thinking_tokens: int | None
    n_answer_tokens: int | None
    n_output_tokens: int | None
    correct: bool | None
    cut: bool
    why_no_energy: FindingCode | None
    forced: bool = False
    graded: bool = False
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Tokens aside."""
    values: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    """Of its score."""


def is_estimated(readings: Iterable[Reading]) -> bool:
    """Whether any of these joules was computed from a hardware model instead of a sensor."""
    return any(reading.method is Method.ESTIMATED for reading in readings)


def headline_readings(query: QueryRecord, headline: Boundary) -> tuple[Reading, ...]:
    """The readings that make up the headline: those of the boundary itself, else those of its parts."""
    whole = tuple(reading for reading in query.readings if reading.boundary is headline)
    return whole or tuple(reading for reading in query.readings if reading.boundary in PARTS[headline])


def devices_by_session(queries: Sequence[QueryRecord], headline: Boundary) -> dict[int, frozenset[str]]:
    """The headline's devices in each session; a query that lacks one of them has no known energy."""
    devices: dict[int, set[str]] = {}
    for query in queries:
        known = devices.setdefault(query.session, set())
        known.update(reading.device for reading in headline_readings(query, headline))
    return {session: frozenset(names) for session, names in devices.items()}


def figures_of(query: QueryRecord, headline: Boundary, devices: frozenset[str]) -> QueryFigures:
    """One answered query as numbers.

    Args:
        query: A query that did not fail.
        headline: The boundary whose devices are summed.
        devices: Every device that the session metered in that boundary.

    Returns:
        Joules and seconds; errors of different devices are independent and combine in quadrature.
    """
    assert query.output is not None, "a failed query has no figures"
    readings = headline_readings(query, headline)
    count, score = query.output.n_tokens, query.score
    n_thinking, n_answer = count(THINKING_TOKENS), count(ANSWER_TOKENS)
    n_output = count(OUTPUT_TOKENS)
    if n_output is None and (n_thinking is not None or n_answer is not None):
        n_output = (n_thinking or 0) + (n_answer or 0)
    known = tuple(
        DeviceEnergy(
            device=reading.device,
            method=reading.method,
            energy_j=reading.energy_gross_j,
            half_width_j=reading.energy_gross_half_width_j,
            phases=reading.phases,
        )
        for reading in readings
        if reading.energy_gross_j is not None
    )
    complete = (
        len(known) == len(readings)
        and {reading.device for reading in readings} == devices
        and _covers(readings, headline)
    )
    energy_j = math.fsum(device.energy_j for device in known) if complete else None
    return QueryFigures(
        prompt_id=query.prompt_id,
        mode=query.mode,
        session=query.session,
        duration_s=query.duration_s,
        devices=known if complete else (),
        energy_j=energy_j,
        energy_half_width_j=quadrature(device.half_width_j for device in known) if complete else None,
        net=_net(readings) if complete else None,
        energy_tail_j=_sum([reading.energy_tail_j for reading in readings]) if complete else None,
        phases_j=_phases_j(readings, energy_j),
        phases_s=_phases_s(readings),
        n_prompt_tokens=count(PROMPT_TOKENS),
        n_thinking_tokens=n_thinking,
        n_answer_tokens=n_answer,
        n_output_tokens=n_output,
        correct=None if score is None else score.correct,
        cut=query.output.finish_reason == "length"
        or any(finding.code is FindingCode.CUT_BY_CAP for finding in query.findings),
        why_no_energy=None if complete else _why(query, readings),
        forced=any(finding.code is FindingCode.BUDGET_REACHED for finding in query.findings),
        graded=score is not None and score.correct is None,
        sizes={name: float(size) for name, size in query.output.sizes.items() if name not in TOKENS},
        values={} if score is None else score.values,
    )


def in_phase(query: QueryFigures, name: str) -> QueryFigures:
    """The query with the joules of one of its phases only; a query without this phase spent nothing in it.

    Args:
        query: Its phases' joules are known.
        name: Of the phase.
    """
    assert query.phases_j is not None, "only a query whose phases are known is divided"
    devices = tuple(_device_in_phase(device, name) for device in query.devices)
    return replace(
        query,
        energy_j=query.phases_j.get(name, 0.0),
        energy_half_width_j=quadrature(device.half_width_j for device in devices),
        devices=devices,
    )


def phase_names(phases: Iterable[Mapping[str, object]]) -> list[str]:
    """The phases that occur, in the order in which a query goes through them."""
    seen = {name for each in phases for name in each}
    return [*(name for name in PHASE_ORDER if name in seen), *sorted(seen - set(PHASE_ORDER))]


def quadrature(half_widths: Iterable[float | None]) -> float | None:
    """Half-width of a sum of independent errors; unknown where one of them is."""
    squares = 0.0
    for half_width in half_widths:
        if half_width is None:
            return None
        squares += half_width**2
    return math.sqrt(squares)


def _device_in_phase(device: DeviceEnergy, name: str) -> DeviceEnergy:
    own = [phase for phase in device.phases if phase.name == name]
    half_widths_j = [phase.energy_gross_half_width_j for phase in own]
    known_j = [half_width_j for half_width_j in half_widths_j if half_width_j is not None]
    return DeviceEnergy(
        device=device.device,
        method=device.method,
        energy_j=math.fsum(phase.energy_gross_j or 0.0 for phase in own),
        half_width_j=math.fsum(known_j) if len(known_j) == len(own) else None,
    )


def _sum(energies: Sequence[float | None]) -> float | None:
    known = [energy_j for energy_j in energies if energy_j is not None]
    return math.fsum(known) if len(known) == len(energies) else None


def _covers(readings: Sequence[Reading], headline: Boundary) -> bool:
    """Whether every part of the boundary has a device: a board alone is not board and host."""
    seen = {reading.boundary for reading in readings}
    return headline in seen or PARTS[headline] <= seen


def _net(readings: Sequence[Reading]) -> NetEnergy | None:
    own: list[float | None] = []
    total_j, baseline_j = 0.0, {}
    for reading in readings:
        if reading.energy_net_j is None:
            return None
        total_j += reading.energy_net_j
        gross, net = reading.energy_gross_half_width_j, reading.energy_net_half_width_j
        known = gross is not None and net is not None
        own.append(gross if known else None)
        if gross is not None and net is not None:
            # The reading's net half-width is gross and baseline in quadrature; what is not gross is baseline.
            baseline_j[reading.device] = math.sqrt(max(net**2 - gross**2, 0.0))
    return NetEnergy(energy_j=total_j, half_width_own_j=quadrature(own), half_width_baseline_j=baseline_j)


def _phases_j(readings: Sequence[Reading], energy_j: float | None) -> dict[str, float] | None:
    phases: dict[str, float] = {}
    for reading in readings:
        for phase in reading.phases:
            if phase.energy_gross_j is None:
                return None
            phases[phase.name] = phases.get(phase.name, 0.0) + phase.energy_gross_j
    if energy_j is None or not phases:
        return None
    closes = math.isclose(math.fsum(phases.values()), energy_j, rel_tol=CLOSURE, abs_tol=1e-9)
    return phases if closes else None


def _phases_s(readings: Sequence[Reading]) -> dict[str, float]:
    """Seconds of each phase; the devices of a query share its phases, so the first that has any speaks."""
    for reading in readings:
        if reading.phases:
            seconds: dict[str, float] = {}
            for phase in reading.phases:  # one may come again: a long sound is encoded window by window
                seconds[phase.name] = seconds.get(phase.name, 0.0) + (phase.time_end_s - phase.time_start_s)
            return seconds
    return {}


def _why(query: QueryRecord, readings: Sequence[Reading]) -> FindingCode:
    codes = [finding.code for reading in readings for finding in reading.findings]
    codes += [finding.code for finding in query.findings]
    return next((code for code in REASONS_WITHOUT_ENERGY if code in codes), FindingCode.NO_READINGS)
