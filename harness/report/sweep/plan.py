"""The plan of a sweep for a terminal: what will be measured, in which order, what it will take, what is there already.

Plain lines, aligned here: a thousand of them are there at once, and rich is not even loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.numbers import UNKNOWN, digits, duration, energy

GAP = "  "
J_PER_WH = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Between which two values something is expected; both None: unknown. Seconds or joules."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One planned run: every repeat of it."""

    labels: tuple[str, ...]
    n_repeats: int
    n_finished: int
    duration_s: Forecast
    """Of one repeat."""
    energy_j: Forecast
    """Of the queries of one repeat."""
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSheet:
    """Everything that is said of a plan."""

    name: str
    axes: tuple[str, ...]
    lines: tuple[PlanLine, ...]
    """In the order of the first block."""
    n_repeats: int
    seed: int
    reference: str | None
    duration_left_s: Forecast
    """Of the cells that are not finished, one after the other."""
    energy_left_j: Forecast
    n_left_without_duration: int
    n_left_without_energy: int
    joules_are_estimates: bool
    """Whether some of the joules that the forecast rests on were an estimate themselves."""
    has_rough: bool
    on_gpus: bool


def plan_text(sheet: PlanSheet) -> str:
    """The plan, a line for each planned run, however many there are. No name's control character is in it."""
    return "".join(f"{_printable(line)}\n" for line in _lines(sheet))


def _lines(sheet: PlanSheet) -> list[str]:
    n_cells = sum(line.n_repeats for line in sheet.lines)
    n_finished = sum(line.n_finished for line in sheet.lines)
    repeats = f" × {sheet.n_repeats} repeats" if sheet.n_repeats > 1 else ""
    blocks = f"in {sheet.n_repeats} blocks, each in a random order of its own" if repeats else "in a random order"
    cells = f"{n_cells:,} cells{f' = {len(sheet.lines):,} runs' if repeats else ''}{repeats}"
    done = f"; {n_finished:,} finished" if n_finished else ""
    references = [f"Reference, first and last on every GPU: {sheet.reference}."] if sheet.reference else []
    head = [f"{sheet.name}: {cells}, {blocks} (seed {sheet.seed}){done}.", *references]
    return [*head, "", *_table(sheet), "", *_total(sheet, n_cells - n_finished)]


def _table(sheet: PlanSheet) -> list[str]:
    energy_heading = "energy (estimated)" if sheet.joules_are_estimates else "energy"
    heading = ("", *sheet.axes, "finished", "time each", f"{energy_heading} each", "from")
    rows = [
        (
            f"{place:,}",
            *line.labels,
            f"{line.n_finished} of {line.n_repeats}",
            _seconds(line.duration_s),
            _joules(line.energy_j),
            line.basis,
        )
        for place, line in enumerate(sheet.lines, start=1)
    ]
    return _aligned([heading, *rows])


def _total(sheet: PlanSheet, n_left: int) -> list[str]:
    if not n_left:
        return ["Everything is finished."]
    whose = "one GPU" if sheet.on_gpus else "this machine"
    if sheet.duration_left_s.low is None and sheet.energy_left_j.low is None:
        return [f"Left: {n_left:,} cells. What they take is not known before one of each is measured."]
    least = "at least " if sheet.n_left_without_duration else ""
    lines = [f"Left: {n_left:,} cells, {least}{_seconds(sheet.duration_left_s)} of {whose}{_gpu_hours(sheet)}."]
    if sheet.n_left_without_duration:
        lines.append(f"  Of {sheet.n_left_without_duration:,} of them the time is not known.")
    estimated = "estimated " if sheet.joules_are_estimates else ""
    least = "at least " if sheet.n_left_without_energy else ""
    lines.append(
        f"  Their queries: {least}{estimated}{_joules(sheet.energy_left_j)}{_watt_hours(sheet.energy_left_j)}."
    )
    if sheet.has_rough:
        lines.append("  Rough: likely ends, by weights and token caps; after the first block it is what was measured.")
    return lines


def _gpu_hours(sheet: PlanSheet) -> str:
    if not sheet.on_gpus or sheet.duration_left_s.low is None or sheet.duration_left_s.high is None:
        return ""
    if duration(sheet.duration_left_s.low).endswith(" h"):
        return ""
    hours = _between(digits(sheet.duration_left_s.low / 3600, 2), digits(sheet.duration_left_s.high / 3600, 2))
    return f" ({hours} GPU hours)"


def _watt_hours(joules: Forecast) -> str:
    if joules.low is None or joules.high is None:
        return ""
    return f" ({_between(digits(joules.low / J_PER_WH, 2), digits(joules.high / J_PER_WH, 2))} Wh)"


def _seconds(forecast: Forecast) -> str:
    if forecast.low is None or forecast.high is None:
        return UNKNOWN
    return _between(duration(forecast.low), duration(forecast.high))


def _joules(forecast: Forecast) -> str:
    if forecast.low is None or forecast.high is None:
        return UNKNOWN
    return _between(energy(forecast.low), energy(forecast.high))


def _between(low: str, high: str) -> str:
    """`1.2 to 3.4 h`; one figure where both are printed alike, one unit where both have it."""
    if low == high:
        return low
    value, _, unit = low.partition(" ")
    return f"{value} to {high}" if unit and high.endswith(f" {unit}") else f"{low} to {high}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other; the number of a line on the right, the rest on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [GAP.join((row[0].rjust(widths[0]), *map(str.ljust, row[1:], widths[1:]))).rstrip() for row in rows]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
