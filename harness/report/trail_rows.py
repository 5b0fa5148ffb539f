"""A query's readings as printed rows: what the sensor showed, how it changed, and where the query lies among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import PhaseReading
from harness.report.numbers import digits, energy, number
from harness.report.trail import Caught, Trail

COUNTER = ("caught at, s", "±, ms", "counter, J", "change, J", "mean, W")
WATTS = ("read at, s", "±, ms", "W")
WATTS_ESTIMATED = ("at, s", "±, ms", "W (estimated)")
MS_PER_S = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailTable:
    """Rows of cells; one with a single cell is a line of words across the table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    says: str
    """What these readings alone say of the query."""


def trail_table(trail: Trail, phases: Sequence[PhaseReading] = (), *, shared: bool = False) -> TrailTable:
    """The readings to show, with the query's edges among them.

    Args:
        trail: The readings.
        phases: Of the query on this device; where one begins is shown.
        shared: Whether others were in flight too, so that the readings are of all of them.
    """
    first, last = trail.shown()
    readings = [*_rows(trail, first), *_rows(trail, last)]
    hidden = trail.readings[len(first) : len(trail.readings) - len(last)] if last else ()
    if hidden:
        readings.append((hidden[0].time_s, (_skipped(trail, hidden, first[-1], last[0]),)))
    edges = [(trail.time_start_s, (f"the query begins at {_seconds(trail.time_start_s)} s",))]
    edges += [
        (phase.time_start_s, (f"{phase.name} from {_seconds(phase.time_start_s)} s",))
        for phase in phases[1:]
        if phase.time_end_s > phase.time_start_s
    ]
    edges.append((trail.time_end_s, (f"the query ends at {_seconds(trail.time_end_s)} s",)))
    columns = COUNTER if trail.counts else WATTS_ESTIMATED if trail.estimated else WATTS
    return TrailTable(
        columns=columns,
        rows=tuple(row for _, row in sorted([*readings, *edges], key=lambda each: each[0])),
        says=_says(trail, shared=shared),
    )


def _rows(trail: Trail, readings: Sequence[Caught]) -> list[tuple[float, tuple[str, ...]]]:
    found = []
    for position, each in enumerate(readings):
        half_ms = (each.time_after_s - each.time_before_s) / 2 * MS_PER_S
        cells = [_seconds(each.time_s), digits(half_ms, 2)]
        if trail.counts:
            cells += [f"{each.value:,.3f}", *_change(readings[position - 1] if position else None, each)]
        else:
            cells.append(digits(each.value, 4))
        found.append((each.time_s, tuple(cells)))
    return found


def _change(before: Caught | None, each: Caught) -> tuple[str, str]:
    if before is None or each.time_s <= before.time_s:
        return "", ""
    change_j = each.value - before.value
    return digits(change_j, 4), digits(change_j / (each.time_s - before.time_s))


def _skipped(trail: Trail, hidden: Sequence[Caught], before: Caught, after: Caught) -> str:
    duration_s = after.time_s - before.time_s
    text = f"… {len(hidden):,} further readings in {digits(duration_s)} s"
    if trail.counts and duration_s > 0:
        change_j = after.value - before.value
        return f"{text}: {energy(change_j)}, {digits(change_j / duration_s)} W on average"
    watts = [each.value for each in hidden]
    return f"{text}, {digits(min(watts))} to {digits(max(watts))} W"


def _says(trail: Trail, *, shared: bool) -> str:
    if trail.estimated:
        return "There is no sensor: the joules are these watts, of a hardware model, times the seconds (estimated)."
    bounds = trail.bounds_j
    if bounds is None and trail.counts:
        return "The counter's readings do not enclose this query, or it fell meanwhile: see the findings."
    if bounds is None and shared:
        return "What all queries in flight drew is these watts over time; between two readings nothing is known."
    if bounds is None:
        return "The energy is these watts over time; between two readings nothing is known."
    least, most = bounds
    inside = "No tick lies wholly inside" if not least else f"The ticks wholly inside make {energy(least)}"
    if shared:
        return f"{inside}, those that touch it {energy(most)}: what all queries in flight drew meanwhile lies between."
    return f"{inside}, those that touch it {energy(most)}: the energy lies between."


def _seconds(time_s: float) -> str:
    return number(time_s, 4)
