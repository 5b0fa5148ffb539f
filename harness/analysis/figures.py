"""What answered queries contribute to the statistics, as columns: one row per query, as `QueryFigures` is for one.

Knows `QueryColumns` and `QueryFigures`. Must not know how means or intervals are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from harness.analysis.measured import (
    ANSWER_TOKENS,
    CLOSURE,
    OUTPUT_TOKENS,
    PARTS,
    PROMPT_TOKENS,
    REASONS_WITHOUT_ENERGY,
    THINKING_TOKENS,
    TOKENS,
    DeviceEnergy,
    QueryFigures,
    in_phase,
    phase_names,
)
from harness.analysis.stored import integers, lists_at, lists_of, numbers, text_column, texts_at, values_of
from harness.records import Boundary, FindingCode, ListColumn, Method, QueryColumns, TextColumn

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray, IntArray

FAILURES = {
    FindingCode.QUERY_FAILED,
    FindingCode.OUT_OF_MEMORY,
    FindingCode.PROMPT_TOO_LONG,
    FindingCode.INPUT_UNUSABLE,
}

Device = tuple[str, Method]
Column = TypeVar("Column", "IntArray", "BoolArray")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnergy:
    """One phase's joules in each query, what the sensor leaves open of them, and by device. 0 without the phase."""

    energy_j: FloatArray
    half_width_j: FloatArray
    by_device_j: Mapping[Device, FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Answered queries as numbers, each field as in `QueryFigures`. Unknown is NaN, or the code -1."""

    prompt: TextColumn
    mode: TextColumn
    session: IntArray
    duration_s: FloatArray
    energy_j: FloatArray
    energy_half_width_j: FloatArray
    by_device_j: Mapping[Device, FloatArray]
    """Unknown where the device is not in the query's energy."""
    net_j: FloatArray
    net_half_width_own_j: FloatArray
    net_half_width_baseline_j: Mapping[str, FloatArray]
    """By device; 0 where it is unknown, as it then is in `net_half_width_own_j`."""
    energy_tail_j: FloatArray
    phases_known: BoolArray
    """Whether the joules of the phases are known and add up to the query's."""
    phases_j: Mapping[str, PhaseEnergy]
    has_phase: Mapping[str, BoolArray]
    phases_s: Mapping[str, FloatArray]
    """NaN where a query has no such phase."""
    n_prompt_tokens: FloatArray
    n_thinking_tokens: FloatArray
    n_answer_tokens: FloatArray
    n_output_tokens: FloatArray
    sizes: Mapping[str, FloatArray]
    """Tokens aside."""
    correct: IntArray
    """1 or 0."""
    graded: BoolArray
    """Which have a score that is neither right nor wrong."""
    values: Mapping[str, FloatArray]
    lists: Mapping[str, ListColumn]
    """Of their scores."""
    cut: BoolArray
    forced: BoolArray
    why_no_energy: IntArray
    """Place in `REASONS_WITHOUT_ENERGY`."""

    def __len__(self) -> int:
        """How many queries."""
        return len(self.session)

    @property
    def measured(self) -> BoolArray:
        """Whose energy is known."""
        return ~np.isnan(self.energy_j)

    @property
    def scored(self) -> BoolArray:
        """Which are right or wrong."""
        return self.correct >= 0

    def at(self, rows: IntArray | BoolArray) -> Figures:
        """Some of the queries: places, or which."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        if len(places) == len(self) and bool((places == np.arange(len(self))).all()):
            return self
        return Figures(
            prompt=texts_at(self.prompt, places),
            mode=texts_at(self.mode, places),
            by_device_j={device: energy_j[places] for device, energy_j in self.by_device_j.items()},
            net_half_width_baseline_j={name: each[places] for name, each in self.net_half_width_baseline_j.items()},
            phases_j={
                name: PhaseEnergy(
                    energy_j=phase.energy_j[places],
                    half_width_j=phase.half_width_j[places],
                    by_device_j={device: energy_j[places] for device, energy_j in phase.by_device_j.items()},
                )
                for name, phase in self.phases_j.items()
            },
            has_phase={name: each[places] for name, each in self.has_phase.items()},
            phases_s={name: each[places] for name, each in self.phases_s.items()},
            sizes={name: each[places] for name, each in self.sizes.items()},
            values={name: each[places] for name, each in self.values.items()},
            lists={name: lists_at(each, places) for name, each in self.lists.items()},
            **{name: getattr(self, name)[places] for name in PLAIN},
        )

    def in_mode(self, mode: str) -> Figures:
        """Those of one mode."""
        return self.at(self.mode.codes == self.mode.names.index(mode)) if mode in self.mode.names else self.at(NOWHERE)

    def in_phase(self, name: str) -> Figures:
        """The queries with the joules of one of their phases only; one without this phase spent nothing in it."""
        phase = self.phases_j.get(name)
        if phase is None:
            nothing = np.zeros(len(self))
            by_device_j = {device: 0.0 * energy_j for device, energy_j in self.by_device_j.items()}
            return replace(self, energy_j=nothing, energy_half_width_j=nothing, by_device_j=by_device_j)
        return replace(
            self,
            energy_j=phase.energy_j,
            energy_half_width_j=phase.half_width_j,
            by_device_j=phase.by_device_j,
        )

    def phase_names(self) -> list[str]:
        """The phases that any of the queries has joules in, in the order in which a query goes through them."""
        return phase_names([{name: True for name, has in self.has_phase.items() if has.any()}])

    def renamed(self, devices: Mapping[str, str]) -> Figures:
        """The same with other names for its devices."""
        return replace(
            self,
            by_device_j=_renamed(self.by_device_j, devices),
            phases_j={
                name: replace(phase, by_device_j=_renamed(phase.by_device_j, devices))
                for name, phase in self.phases_j.items()
            },
            net_half_width_baseline_j={
                devices.get(name, name): each for name, each in self.net_half_width_baseline_j.items()
            },
        )


Queries = Figures | Sequence[QueryFigures]
"""What statistics take: columns, or the few queries that somebody has made one by one."""

NOWHERE = np.zeros(0, dtype=np.int64)
PLAIN = (
    *("session", "duration_s", "energy_j", "energy_half_width_j", "net_j", "net_half_width_own_j", "energy_tail_j"),
    *("phases_known", "n_prompt_tokens", "n_thinking_tokens", "n_answer_tokens", "n_output_tokens"),
    *("correct", "graded", "cut", "forced", "why_no_energy"),
)


def as_figures(queries: Queries) -> Figures:
    """The queries as columns; what is in columns already stays as it is."""
    if isinstance(queries, Figures):
        return queries
    known = [each.phases_j is not None for each in queries]
    names = phase_names([each.phases_j for each in queries if each.phases_j is not None])
    nets = [each.net for each in queries]
    baselines = dict.fromkeys(name for net in nets if net is not None for name in net.half_width_baseline_j)
    of_time = phase_names([each.phases_s for each in queries])
    sizes = dict.fromkeys(name for each in queries for name in each.sizes)
    return Figures(
        prompt=text_column(each.prompt_id for each in queries),
        mode=text_column(each.mode for each in queries),
        session=integers(each.session for each in queries),
        duration_s=numbers(each.duration_s for each in queries),
        energy_j=numbers(each.energy_j for each in queries),
        energy_half_width_j=numbers(each.energy_half_width_j for each in queries),
        by_device_j=_by_device([each.devices for each in queries]),
        net_j=numbers(None if net is None else net.energy_j for net in nets),
        net_half_width_own_j=numbers(None if net is None else net.half_width_own_j for net in nets),
        net_half_width_baseline_j={
            name: numbers(0.0 if net is None else net.half_width_baseline_j.get(name, 0.0) for net in nets)
            for name in baselines
        },
        energy_tail_j=numbers(each.energy_tail_j for each in queries),
        phases_known=np.array(known, dtype=np.bool_),
        phases_j={name: _phase_energy(queries, name) for name in names},
        has_phase={
            name: np.array([each.phases_j is not None and name in each.phases_j for each in queries], dtype=np.bool_)
            for name in names
        },
        phases_s={name: numbers(each.phases_s.get(name) for each in queries) for name in of_time},
        n_prompt_tokens=numbers(each.n_prompt_tokens for each in queries),
        n_thinking_tokens=numbers(each.n_thinking_tokens for each in queries),
        n_answer_tokens=numbers(each.n_answer_tokens for each in queries),
        n_output_tokens=numbers(each.n_output_tokens for each in queries),
        sizes={name: numbers(each.sizes.get(name) for each in queries) for name in sizes},
        correct=integers(-1 if each.correct is None else int(each.correct) for each in queries),
        graded=np.array([each.graded for each in queries], dtype=np.bool_),
        values=values_of(each.values for each in queries),
        lists=lists_of(each.values for each in queries),
        cut=np.array([each.cut for each in queries], dtype=np.bool_),
        forced=np.array([each.forced for each in queries], dtype=np.bool_),
        why_no_energy=integers(
            -1 if each.why_no_energy is None else REASONS_WITHOUT_ENERGY.index(each.why_no_energy) for each in queries
        ),
    )


def paired(above: Queries, below: Queries) -> tuple[Figures, Figures]:
    """The prompts that are in both, in the order of the first, in each of them."""
    one, other = as_figures(above), as_figures(below)
    codes = _codes_in(one.prompt, other.prompt)
    place = np.full(len(other.prompt.names) + 1, -1, dtype=np.int64)  # the last place is that of no code
    place[other.prompt.codes] = np.arange(len(other))
    place[-1] = -1
    partner = place[codes]
    shared = partner >= 0
    return one.at(shared), other.at(partner[shared])


def failed_rows(columns: QueryColumns) -> BoolArray:
    """Which queries have no answer to measure."""
    return ~columns.answered | own_finding(columns, *FAILURES)


def own_finding(columns: QueryColumns, *codes: FindingCode) -> BoolArray:
    """Which queries have one of these doubts of their own, not of a reading."""
    wanted = np.array([name in {code.value for code in codes} for name in columns.findings.code.names], dtype=np.bool_)
    rows = (columns.findings.reading < 0) & _looked_up(wanted, columns.findings.code.codes)
    found = np.zeros(len(columns), dtype=np.bool_)
    found[columns.findings.owner[rows]] = True
    return found


def headline_rows(columns: QueryColumns, headline: Boundary) -> IntArray:
    """The readings that make up the headline of each query: those of the boundary itself, else those of its parts."""
    names = columns.readings.boundary.names
    is_whole = np.array([name == headline.value for name in names], dtype=np.bool_)
    parts = {part.value for part in PARTS[headline]}
    is_part = np.array([name in parts for name in names], dtype=np.bool_)
    whole = _looked_up(is_whole, columns.readings.boundary.codes)
    part = _looked_up(is_part, columns.readings.boundary.codes)
    has_whole = np.zeros(len(columns), dtype=np.bool_)
    has_whole[columns.readings.owner[whole]] = True
    return np.flatnonzero(np.where(has_whole[columns.readings.owner], whole, part))


def is_estimated_in(columns: QueryColumns, rows: IntArray) -> bool:
    """Whether any of these readings was computed from a hardware model instead of a sensor."""
    names = [columns.readings.method.names[code] for code in np.unique(columns.readings.method.codes[rows])]
    return Method.ESTIMATED.value in names


def figures_in(columns: QueryColumns, headline: Boundary) -> Figures:
    """The answered queries as numbers, in the order of their prompts; each as `measured.figures_of` has it.

    Args:
        columns: Every query of one cell at one site: they show which devices a session metered.
        headline: The boundary whose devices are summed.
    """
    n = len(columns)
    kept = headline_rows(columns, headline)
    readings = columns.readings
    owner, device = readings.owner[kept], readings.device.codes[kept]
    complete = _complete(columns, headline, kept)
    energy_j = np.where(complete, _sums(owner, readings.energy_gross_j[kept], n), np.nan)
    gross_j, net_half_j = readings.energy_gross_half_width_j[kept], readings.energy_net_half_width_j[kept]
    baseline_j = np.sqrt(np.maximum(net_half_j**2 - gross_j**2, 0.0))
    net_j = np.where(complete, _sums(owner, readings.energy_net_j[kept], n), np.nan)
    own_j = np.sqrt(_sums(owner, np.where(np.isnan(baseline_j), np.nan, gross_j**2), n))
    baselines = {}
    for code in _occurring(device):
        rows = device == code
        of_device = np.zeros(n)
        of_device[owner[rows]] = np.nan_to_num(baseline_j[rows])
        baselines[readings.device.names[code]] = np.where(np.isnan(net_j), 0.0, of_device)
    by_device_j = {}
    for key, rows in _devices(columns, kept).items():
        by_device_j[key] = np.full(n, np.nan)
        by_device_j[key][owner[rows]] = _sums(owner[rows], readings.energy_gross_j[kept][rows], n)[owner[rows]]
        by_device_j[key][~complete] = np.nan
    phases_j, has_phase, phases_known = _phases_j(columns, kept, energy_j, by_device_j)
    sizes = {name: columns.sizes.get(name, np.full(n, np.nan)) for name in TOKENS}
    thinking, answer, output = (sizes[name] for name in (THINKING_TOKENS, ANSWER_TOKENS, OUTPUT_TOKENS))
    either = ~(np.isnan(thinking) & np.isnan(answer))
    output = np.where(np.isnan(output) & either, np.nan_to_num(thinking) + np.nan_to_num(answer), output)
    length = columns.finish_reason.names.index("length") if "length" in columns.finish_reason.names else -2
    figures = Figures(
        prompt=columns.prompt,
        mode=columns.mode,
        session=columns.session,
        duration_s=columns.time_end_s - columns.time_start_s,
        energy_j=energy_j,
        energy_half_width_j=np.where(complete, np.sqrt(_sums(owner, gross_j**2, n)), np.nan),
        by_device_j=by_device_j,
        net_j=net_j,
        net_half_width_own_j=np.where(np.isnan(net_j), np.nan, own_j),
        net_half_width_baseline_j=baselines,
        energy_tail_j=np.where(complete, _sums(owner, readings.energy_tail_j[kept], n), np.nan),
        phases_known=phases_known,
        phases_j=phases_j,
        has_phase=has_phase,
        phases_s=_phases_s(columns, kept),
        n_prompt_tokens=sizes[PROMPT_TOKENS],
        n_thinking_tokens=thinking,
        n_answer_tokens=answer,
        n_output_tokens=output,
        sizes={name: each for name, each in columns.sizes.items() if name not in TOKENS},
        correct=columns.correct,
        graded=columns.graded,
        values=columns.values,
        lists=columns.lists,
        cut=(columns.finish_reason.codes == length) | own_finding(columns, FindingCode.CUT_BY_CAP),
        forced=own_finding(columns, FindingCode.BUDGET_REACHED),
        why_no_energy=np.where(complete, -1, _why(columns, kept)),
    )
    in_order = np.argsort(columns.prompt_index, kind="stable")
    return figures.at(in_order[~failed_rows(columns)[in_order]])


def _complete(columns: QueryColumns, headline: Boundary, kept: IntArray) -> BoolArray:
    """Whether a query's energy is known: of each device that its session metered, and each part of the boundary."""
    n, readings = len(columns), columns.readings
    owner, device = readings.owner[kept], readings.device.codes[kept]
    _, session = np.unique(columns.session, return_inverse=True)
    n_devices = max(len(readings.device.names), 1)
    of_session = np.zeros((int(session.max(initial=0)) + 1, n_devices), dtype=np.bool_)
    of_session[session[owner], device] = True
    of_query = np.zeros((n, n_devices), dtype=np.bool_)
    of_query[owner, device] = True
    has_all = of_query.sum(axis=1) == of_session.sum(axis=1)[session]
    unknown = np.zeros(n, dtype=np.bool_)
    unknown[owner[np.isnan(readings.energy_gross_j[kept])]] = True
    return np.asarray(has_all & ~unknown & _covers(columns, headline, kept), dtype=np.bool_)


def _covers(columns: QueryColumns, headline: Boundary, kept: IntArray) -> BoolArray:
    seen = {}
    for part in {headline, *PARTS[headline]}:
        seen[part] = np.zeros(len(columns), dtype=np.bool_)
        if part.value in columns.readings.boundary.names:
            code = columns.readings.boundary.names.index(part.value)
            seen[part][columns.readings.owner[kept[columns.readings.boundary.codes[kept] == code]]] = True
    parts = np.all([seen[part] for part in PARTS[headline]], axis=0)
    return np.asarray(seen[headline] | parts, dtype=np.bool_)


def _devices(columns: QueryColumns, kept: IntArray) -> dict[Device, IntArray]:
    """Places among the kept readings, by device and method."""
    readings = columns.readings
    n_methods = max(len(readings.method.names), 1)
    keys = readings.device.codes[kept] * n_methods + readings.method.codes[kept]
    return {
        (readings.device.names[key // n_methods], Method(readings.method.names[key % n_methods])): np.flatnonzero(
            keys == key
        )
        for key in _occurring(keys)
    }


def _phases_j(
    columns: QueryColumns, kept: IntArray, energy_j: FloatArray, of_devices_j: Mapping[Device, FloatArray]
) -> tuple[dict[str, PhaseEnergy], dict[str, BoolArray], BoolArray]:
    """The phases' joules, which queries have which, and of which queries they add up."""
    n, phases = len(columns), columns.phases
    place = np.full(len(columns.readings.owner), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[phases.reading] >= 0)
    reading = place[phases.reading[rows]]
    owner, name = columns.readings.owner[kept][reading], phases.name.codes[rows]
    joules, half_widths_j = phases.energy_gross_j[rows], phases.energy_gross_half_width_j[rows]
    has_any = np.zeros(n, dtype=np.bool_)
    has_any[owner] = True
    sums_j = _sums(owner, joules, n)
    with np.errstate(invalid="ignore"):
        largest = np.maximum(np.abs(sums_j), np.abs(energy_j))
        known = has_any & (np.abs(sums_j - energy_j) <= np.maximum(CLOSURE * largest, 1e-9))
    device_of = np.zeros(len(kept), dtype=np.int64)
    devices = _devices(columns, kept)
    for index, places in enumerate(devices.values()):
        device_of[places] = index
    energies, has = {}, {}
    for code in _occurring(name):
        own = name == code
        by_device_j, squares = {}, np.zeros(n)
        for index, device in enumerate(devices):
            at_device = own & (device_of[reading] == index)
            is_in = known & ~np.isnan(of_devices_j[device])
            by_device_j[device] = np.where(is_in, np.nan_to_num(_sums(owner[at_device], joules[at_device], n)), np.nan)
            squares += _sums(owner[at_device], half_widths_j[at_device], n) ** 2
        text = phases.name.names[code]
        has[text] = np.zeros(n, dtype=np.bool_)
        has[text][owner[own]] = True
        has[text] &= known
        energies[text] = PhaseEnergy(
            energy_j=np.where(known, np.nan_to_num(_sums(owner[own], joules[own], n)), np.nan),
            half_width_j=np.sqrt(squares),
            by_device_j=by_device_j,
        )
    return energies, has, known


def _phases_s(columns: QueryColumns, kept: IntArray) -> dict[str, FloatArray]:
    """Seconds of each phase, of the first reading that has any."""
    n, phases = len(columns), columns.phases
    is_kept = np.zeros(len(columns.readings.owner), dtype=np.bool_)
    is_kept[kept] = True
    rows = np.flatnonzero(is_kept[phases.reading])
    owner = columns.readings.owner[phases.reading[rows]]
    first = np.full(n, -1, dtype=np.int64)
    first[owner[::-1]] = phases.reading[rows][::-1]
    rows = rows[phases.reading[rows] == first[owner]]
    owner = columns.readings.owner[phases.reading[rows]]
    lengths_s = phases.time_end_s[rows] - phases.time_start_s[rows]
    seconds = {}
    for code in _occurring(phases.name.codes[rows]):
        own = phases.name.codes[rows] == code
        is_there = np.bincount(owner[own], minlength=n) > 0
        # One may come again: a long sound is encoded window by window.
        column = np.where(is_there, _sums(owner[own], lengths_s[own], n), np.nan)
        seconds[phases.name.names[code]] = column
    return seconds


def _why(columns: QueryColumns, kept: IntArray) -> IntArray:
    """The place of the first reason that a query, or a reading of its headline, gives for having no energy."""
    findings = columns.findings
    is_kept = np.zeros(len(columns.readings.owner) + 1, dtype=np.bool_)
    is_kept[kept] = True
    is_kept[-1] = True  # a query's own findings have the reading -1
    place = {reason.value: index for index, reason in enumerate(REASONS_WITHOUT_ENERGY)}
    ranks = np.array([place.get(name, len(place)) for name in findings.code.names], dtype=np.int64)
    rows = np.flatnonzero(is_kept[findings.reading])
    rank = ranks[findings.code.codes[rows]] if len(rows) else NOWHERE
    why = np.full(len(columns), len(REASONS_WITHOUT_ENERGY) - 1, dtype=np.int64)
    for code in range(len(REASONS_WITHOUT_ENERGY) - 2, -1, -1):
        why[findings.owner[rows[rank == code]]] = code
    return why


def _phase_energy(queries: Sequence[QueryFigures], name: str) -> PhaseEnergy:
    divided = [None if each.phases_j is None else in_phase(each, name) for each in queries]
    return PhaseEnergy(
        energy_j=numbers(None if each is None else each.energy_j for each in divided),
        half_width_j=numbers(None if each is None else each.energy_half_width_j for each in divided),
        by_device_j=_by_device([() if each is None else each.devices for each in divided]),
    )


def _by_device(queries: Sequence[Sequence[DeviceEnergy]]) -> dict[Device, FloatArray]:
    by_device_j: dict[Device, FloatArray] = {}
    for row, devices in enumerate(queries):
        for device in devices:
            key = (device.device, device.method)
            of_device_j = by_device_j.setdefault(key, np.full(len(queries), np.nan))
            of_device_j[row] = np.nan_to_num(of_device_j[row]) + device.energy_j
    return by_device_j


def _codes_in(column: TextColumn, other: TextColumn) -> IntArray:
    """The column's codes as those of the other column's names; -1: not among them."""
    if column.names is other.names:
        return column.codes
    place = {name: code for code, name in enumerate(other.names)}
    codes = np.array([place.get(name, -1) for name in column.names], dtype=np.int64)
    return _looked_up(codes, column.codes, missing=-1)


def _looked_up(table: Column, codes: IntArray, missing: int = 0) -> Column:
    """`table[codes]`, also where there is nothing in the table."""
    return table[codes] if len(table) else np.full(len(codes), missing, dtype=table.dtype)


def _occurring(codes: IntArray) -> list[int]:
    """Each code that occurs, in order; codes are places in a few names."""
    return [int(code) for code in np.flatnonzero(np.bincount(codes))]


def _sums(owner: IntArray, values: FloatArray, n: int) -> FloatArray:
    """Sum of each owner's values; unknown where one of them is."""
    sums: FloatArray = np.bincount(owner, weights=values, minlength=n).astype(np.float64, copy=False)
    return sums


def _renamed(by_device_j: Mapping[Device, FloatArray], names: Mapping[str, str]) -> dict[Device, FloatArray]:
    return {(names.get(device, device), method): each for (device, method), each in by_device_j.items()}
