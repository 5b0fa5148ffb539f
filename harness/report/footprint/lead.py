"""The footprint of a cell as tables with a column per mode, every assumption in words, and a chart of grids.

A figure of estimated joules carries the word, and no interval.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.footprint.energy import Carried
from harness.footprint.footprint import Footprint, GridCarbon, footprint
from harness.footprint.grids import Grid
from harness.footprint.spec import FootprintSpec
from harness.footprint.spread import Spread
from harness.footprint.steps import Step, assumptions
from harness.records import Boundary, Estimate
from harness.report.compared import listed
from harness.report.footprint.subjects import Measured, subjects_of
from harness.report.numbers import Unit, digits, ends_of, number, unit_for, value_of
from harness.report.page import Lead
from harness.report.panel import Bar, Bars, Panel, Scale, in_brackets
from harness.report.panel import Grid as TableGrid
from harness.report.table import Figure, Table, TableRow

N_QUERIES = 1000
"""One query costs too little to print."""
BOARDS = {
    Boundary.GPU_BOARD: "GPU boards",
    Boundary.HOST: "host",
    Boundary.GPU_BOARD_AND_HOST: "boards and host",
    Boundary.NODE: "machine",
}
NOT_IN_IT = (
    "Not in it: making and scrapping the hardware, training, networks and the reader's own device, "
    "machines that wait for queries (but for --server google)."
)
INTERVAL = (
    "Intervals, 95 %: every known part of the measurement and every stated range, taken as independent. "
    "A figure without a range is taken as exact."
)
ESTIMATED = "Estimated: no sensor measured these joules, so no figure has an interval."


def footprint_lead(measured: Measured, spec: FootprintSpec) -> Lead:
    """What a cell's joules are at a server, on a grid, on a bill.

    Raises:
        InvalidMeasurement: Its joules cannot be carried on.
        UsageError: Something stated cannot be had of this run.
        UnknownName: A grid that is in no table.
        EnvironmentFault: The grids' tables are not installed.
    """
    subjects, left_out = subjects_of(measured)
    found = footprint(subjects, spec)
    return Lead(
        title="Footprint, estimated" if found.estimated else "Footprint",
        tables=tuple(table for table in _tables(found) if table.rows),
        notes=(*left_out, *_notes(found)),
        panels=(_grid_panel(found),) if len(found.carbon) > 1 else (),
    )


def estimate_of(spread: Spread) -> Estimate:
    """As the printing of numbers takes it."""
    return Estimate(value=spread.value, low=spread.low, high=spread.high)


def figure_of(spread: Spread, unit: Unit, after: str = "") -> Figure:
    """A printed figure with its interval, in a unit; `after` follows the value."""
    estimate = unit.estimate(estimate_of(spread))
    return Figure(value=f"{value_of(estimate)}{after}", interval=ends_of(estimate))


def ranged(spread: Spread) -> str:
    """A stated figure with its range: `2.00 (1.58 to 2.53)`."""
    ends = ends_of(estimate_of(spread))
    return f"{plain(spread)} ({ends})" if ends else plain(spread)


def plain(spread: Spread) -> str:
    """A stated figure: as it was typed where it is exact, else as its range justifies."""
    return value_of(estimate_of(spread)) if not spread.is_exact else _typed(spread.value)


def step_words(step: Step) -> str:
    """One sentence: what it is, whether it was measured, where it comes from."""
    kind = "measured" if step.measured else "assumed"
    note = f" ({step.note})" if step.note else ""
    return f"{step.name} {step.sign} {ranged(step.factor)}, {kind}: {step.source}{note}."


def _typed(value: float) -> str:
    return (
        number(value, max(0, min(6, 6 - len(str(int(value)))))).rstrip("0").rstrip(".")
        if value < 1e6
        else digits(value)
    )


def _tables(found: Footprint) -> Sequence[Table]:
    word = ", estimated" if found.estimated else ""
    modes = tuple(mode.subject.mode for mode in found.modes)
    per_query = f"per 1,000 queries{word}"

    def table(caption: str, rows: Sequence[TableRow]) -> Table:
        return Table(caption=caption, modes=modes, rows=tuple(rows))

    return (
        _chain_table(found, word),
        table(f"Carbon, {_carbon_unit(found.carbon).name} CO2e {per_query}", _carbon_rows(found, word)),
        table(f"Money {per_query}", _money_rows(found, word)),
        table(f"Water {per_query}", _water_rows(found, word)),
        table(f"One query is as much as{word}", _equivalent_rows(found, word)),
    )


def _chain_table(found: Footprint, word: str) -> Table:
    """Joules per query at each boundary in turn."""
    energies = [[mode.after() for mode in found.modes]]
    labels = [f"{BOARDS[found.modes[0].subject.boundary]}, {'estimated' if found.estimated else 'measured'}"]
    taken: list[str] = []
    for name in found.boundary_steps:
        taken.append(name)
        energies.append([mode.after(*taken) for mode in found.modes])
        labels.append(_boundary_label(found.step(name), word))
    unit = unit_for([each.value for row in energies for each in row], "J")
    return Table(
        caption=f"From the sensor outwards, {unit.name} per query{word}",
        modes=tuple(mode.subject.mode for mode in found.modes),
        rows=tuple(
            TableRow(label=label, figures=tuple(figure_of(each, unit) for each in row))
            for label, row in zip(labels, energies, strict=True)
        ),
    )


def _boundary_label(steps: Sequence[Step], word: str) -> str:
    factors = list(dict.fromkeys(f"{step.sign} {plain(step.factor)}" for step in steps))
    first = steps[0]
    if first.measured:
        return f"{first.name}, measured"
    return f"{first.name}, assumed {factors[0]}{word}"


def _row(label: str, spreads: Sequence[Spread], unit: Unit, *, named: bool = True) -> TableRow:
    label = f"{label}, {unit.name}" if named and unit.name else label
    return TableRow(label=label, figures=tuple(figure_of(each, unit) for each in spreads))


def grid_label(grid: Grid) -> str:
    """`FRA (2023), 56 g/kWh`."""
    year = f" ({grid.year})" if grid.year else ""
    intensity = digits(grid.intensity.value) if grid.intensity.is_exact else plain(grid.intensity)
    return f"{grid.name}{year}, {intensity} g/kWh"


def _carbon_rows(found: Footprint, word: str) -> list[TableRow]:
    if not found.carbon:
        return []
    unit = _carbon_unit(found.carbon)
    return [
        _row(
            f"{grid_label(each.grid)}{word}",
            [one.times(N_QUERIES) for one in each.carbon_g],
            unit,
            named=False,
        )
        for each in found.carbon
    ]


def _carbon_unit(carbon: Sequence[GridCarbon]) -> Unit:
    """One for all grids: they are to be compared."""
    return unit_for([N_QUERIES * one.value for each in carbon for one in each.carbon_g], "g")


def _money_rows(found: Footprint, word: str) -> list[TableRow]:
    whole, rows = Unit(name="", size=1.0), []
    if found.electricity and found.spec.tariff is not None:
        label = f"electricity at {plain(found.spec.tariff)} per kWh{word}"
        rows.append(_row(label, [each.times(N_QUERIES) for each in found.electricity], whole))
    if found.rental and found.spec.gpu_hour_price is not None:
        n_boards = found.modes[0].subject.n_boards
        boards = "1 board" if n_boards == 1 else f"{n_boards} boards"
        label = f"{boards} at {plain(found.spec.gpu_hour_price)} per GPU-hour"
        rows.append(_row(label, [each.times(N_QUERIES) for each in found.rental], whole))
    return rows


def _water_rows(found: Footprint, word: str) -> list[TableRow]:
    rows = {
        "on site": [each.times(N_QUERIES) for each in found.water_on_site_l],
        "where the power is made": [each.times(N_QUERIES) for each in found.water_of_grid_l],
    }
    unit = unit_for([each.value for amounts in rows.values() for each in amounts], "l")
    return [_row(f"{name}{word}", amounts, unit) for name, amounts in rows.items() if amounts]


def _equivalent_rows(found: Footprint, word: str) -> list[TableRow]:
    rows = []
    for each in found.equivalents:
        one = each.equivalent
        unit = unit_for([amount.value for amount in each.amounts], one.unit) if one.unit else Unit(name="", size=1.0)
        rows.append(_row(f"{one.what}{word}", each.amounts, unit))
    return rows


def _notes(found: Footprint) -> list[str]:
    notes = [*found.notes, *(step_words(step) for step in _steps(found))]
    spec = found.spec
    if spec.pue is None and spec.server is None and (found.carbon or found.electricity or found.equivalents):
        notes.append(f"All of it is of the {_covers(found.modes)} alone: no --server and no --pue are given.")
    for each in found.carbon:
        place = f", {each.grid.place}" if each.grid.place else ""
        remark = f" ({each.grid.note})" if each.grid.note else ""
        notes.append(f"{each.grid.name}{place}, {ranged(each.grid.intensity)} g/kWh: {each.grid.source}{remark}.")
    if len(found.carbon) > 1:
        notes.append(
            "Grids are averages over a year, and the tables differ in method: countries by a plant's whole life, "
            "US states and Chinese provinces by what leaves the stack, cloud regions as their owner reckons."
        )
    if found.water_on_site_l and spec.wue is not None:
        wue = f"on-site water: WUE {ranged(spec.wue)} l per kWh of IT energy, stated by the user"
        notes.append(
            f"{wue}; IT energy here is of the {'server' if spec.server is not None else _covers(found.modes)}."
        )
    if found.water_of_grid_l and spec.grid_water is not None:
        notes.append(f"grid water: {ranged(spec.grid_water)} l per kWh, stated by the user.")
    if spec.tariff is not None:
        notes.append(f"electricity: {ranged(spec.tariff)} per kWh, stated by the user.")
    if spec.gpu_hour_price is not None:
        notes.append(f"GPU-hour: {ranged(spec.gpu_hour_price)} for one board, stated by the user.")
        notes.append("A GPU-hour's price holds its electricity: do not add the two. Query by query, one at a time.")
    notes += [f"{each.equivalent.what}: {each.equivalent.assumption}." for each in found.equivalents]
    unknown = list(dict.fromkeys(name for mode in found.modes for name in mode.subject.unknown))
    if found.estimated:
        notes.append(ESTIMATED)
    else:
        missing = f" Not known, so not in them: {listed(unknown)}." if unknown else ""
        notes.append(INTERVAL + missing)
    return [*notes, NOT_IN_IT]


def _steps(found: Footprint) -> list[Step]:
    """Every step once; one that was measured differs from mode to mode."""
    stated = assumptions(step for mode in found.modes for step in mode.steps)
    several = len(found.modes) > 1
    measured = [
        step.model_copy(update={"name": f"{step.name}, {mode.subject.mode}"}) if several else step
        for mode in found.modes
        for step in mode.steps
        if step.measured
    ]
    return [*measured, *stated]


def _covers(modes: Sequence[Carried]) -> str:
    return BOARDS[modes[0].subject.boundary]


def _grid_panel(found: Footprint) -> Panel:
    """The same energy under several grids."""
    word = ", estimated" if found.estimated else ""
    unit = _carbon_unit(found.carbon)
    amounts = [[unit.estimate(estimate_of(one.times(N_QUERIES))) for one in each.carbon_g] for each in found.carbon]
    most = max((one.high or one.value or 0.0 for row in amounts for one in row), default=0.0)
    scale = Scale(low=0.0, high=1.04 * most or 1.0)
    bars = [
        Bar(
            label=mode.subject.mode,
            figure=value_of(row[index]),
            interval=ends_of(row[index]),
            spans=(scale.span(0.0, row[index].value or 0.0, "phase whole"),),
            whisker=scale.whisker(row[index]),
            mode=index,
            heading=grid_label(each.grid) if index == 0 else "",
        )
        for each, row in zip(found.carbon, amounts, strict=True)
        for index, mode in enumerate(found.modes)
    ]
    least, largest = _extremes(found.carbon)
    times = f"{digits(largest.intensity.value / least.intensity.value)} × " if least.intensity.value else "more than "
    return Panel(
        name="grids",
        title="The same energy on several grids",
        caption=f"A kWh of {largest.name} emits {times}what one of {least.name} does.",
        bars=(Bars(bars=tuple(bars), axis=f"{unit.name} CO2e per 1,000 queries{word}", ticks=scale.ticks()),),
        grid=TableGrid(
            columns=("grid", "g CO2e per kWh", *(f"{mode.subject.mode}, {unit.name}{word}" for mode in found.modes)),
            rows=tuple(
                (
                    each.grid.name,
                    plain(each.grid.intensity),
                    *(in_brackets(value_of(one), ends_of(one)) for one in row),
                )
                for each, row in zip(found.carbon, amounts, strict=True)
            ),
            caption="In brackets: the 95 % interval." if not found.estimated else "",
        ),
        label="estimated" if found.estimated else "",
    )


def _extremes(carbon: Sequence[GridCarbon]) -> tuple[Grid, Grid]:
    ordered = sorted((each.grid for each in carbon), key=lambda grid: grid.intensity.value)
    return ordered[0], ordered[-1]
