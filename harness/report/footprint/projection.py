"""A fleet, as tables with a column per mode: every step, the power, what it is set beside, what makes the interval."""

from __future__ import annotations

from collections.abc import Sequence

from harness.footprint.batch import ALICE, ML_ENERGY, SERVING, SOURCES
from harness.footprint.projection import QUERIES, Projection
from harness.footprint.references import REFERENCES
from harness.footprint.spread import Spread
from harness.footprint.steps import Step, assumptions
from harness.report.compared import Answer, listed
from harness.report.footprint.fleet import FleetReport
from harness.report.footprint.lead import BOARDS, ESTIMATED, estimate_of, figure_of, plain, ranged, step_words
from harness.report.numbers import Unit, digits, ends_of, percent, unit_for, value_of
from harness.report.page import Lead
from harness.report.table import Figure, Table, TableRow

NONE = Figure(value="–")


def projection_lead(report: FleetReport) -> Lead:
    """The report in tables, sentences and sources."""
    word = ", estimated" if report.modes[0].estimated else ""
    names = tuple(each.mode for each in report.modes)

    def table(caption: str, rows: Sequence[TableRow]) -> Table:
        return Table(caption=caption, modes=names, rows=tuple(rows))

    tables = (
        table(f"Every step{word}", _steps(report, word)),
        table(f"The fleet{word}", _fleet(report, word)),
        table(f"Beside others{word}", _beside(report, word)),
        table("What the interval is made of, % of the variance", _shares(report)),
    )
    return Lead(
        title=f"A fleet{word}: {count_words(Spread(value=report.spec.queries_per_day.value))} a day",
        answers=tuple(_answer(each, report, word) for each in report.modes),
        tables=tuple(each for each in tables if each.rows),
        notes=tuple(_notes(report)),
    )


def count_words(spread: Spread) -> str:
    """A number of queries as one would say it, with its range."""
    unit = _count_unit(spread)
    ends = ends_of(unit.estimate(estimate_of(spread)))
    return f"{plain(spread.times(1 / unit.size))}{f' ({ends})' if ends else ''}{unit.name} queries"


def power_words(power_mw: Spread) -> str:
    """A power in the unit that one would say it in, with its interval."""
    unit = _power_unit(power_mw.value)
    estimate = unit.estimate(estimate_of(power_mw))
    ends = ends_of(estimate)
    return f"{value_of(estimate)} {unit.name}{f' (95 %: {ends})' if ends else ''}"


def _power_unit(power_mw: float) -> Unit:
    return _unit(power_mw, (("W", 1e-6), ("kW", 1e-3), ("MW", 1.0), ("GW", 1e3)))


def _mass_unit(masses_t: Sequence[float]) -> Unit:
    """Of the smallest that is known; a thousandth of a tonne is a kilogram, and no "mt"."""
    return _unit(min(masses_t), (("kg", 1e-3), ("t", 1.0), ("Mt", 1e6)))


def _unit(value: float, sizes: Sequence[tuple[str, float]]) -> Unit:
    """The largest unit of which there is at least one; sizes ascend."""
    units = [Unit(name=name, size=size) for name, size in sizes]
    return next((unit for unit in reversed(units) if value >= unit.size), units[0])


def _count_unit(spread: Spread) -> Unit:
    sizes = ((1e12, " trillion"), (1e9, " billion"), (1e6, " million"))
    return next((Unit(name=name, size=size) for size, name in sizes if spread.value >= size), Unit(name="", size=1.0))


def _answer(mode: Projection, report: FleetReport, word: str) -> Answer:
    plant = REFERENCES[0]
    share = digits(mode.power_mw.value / plant.power_mw, 2)
    energy = estimate_of(mode.energy_twh)
    ends = f" (95 %: {ends_of(energy)})" if ends_of(energy) else ""
    text = (
        f"{power_words(mode.power_mw)} on average{word}, {value_of(energy)} TWh a year{ends}{word}: "
        f"{share} of {plant.name}."
    )
    if report.task is not None and report.is_alone and report.spec.batch_factor is None:
        text += " As if every query ran alone (batch 1); what a busy server saves is published of text generation only."
    elif report.is_alone and report.spec.batch_factor is None:
        least, most = (power_words(Spread(value=mode.power_mw.value / factor)) for factor in (ALICE, ML_ENERGY[0]))
        text += (
            f" As if every query ran alone (batch 1); by published factors a busy server needs 1/{ALICE:.0f} to "
            f"1/{ML_ENERGY[0]:g} of it, {least} to {most}{word}."
        )
    elif mode.power_alone_mw is not None and report.spec.batch_factor is not None:
        text += (
            f" With a busy server's factor of {plain(report.spec.batch_factor)}; {_as_measured(report)}, "
            f"{power_words(mode.power_alone_mw)}{word}."
        )
    return Answer(question=mode.mode, text=text)


def _as_measured(report: FleetReport) -> str:
    """What the undivided power is of."""
    return "as measured, every query alone (batch 1)" if report.is_alone else "as measured"


def _steps(report: FleetReport, word: str) -> list[TableRow]:
    modes = report.modes
    unit = unit_for([each.energy_per_query_j.value for each in modes], "J")
    rows = [
        TableRow(
            label=f"{unit.name} per query, {BOARDS[report.boundary]}{word}",
            figures=tuple(figure_of(each.energy_per_query_j, unit) for each in modes),
        )
    ]
    for index, step in enumerate(modes[0].steps):
        if step.name == QUERIES:
            continue
        label = f"{step.sign} {step.name}, {'measured' if step.measured else 'assumed'}"
        rows.append(TableRow(label=label, figures=tuple(_factor(each.steps[index]) for each in modes)))
    if len(rows) > 1:
        unit = unit_for([each.energy_per_query_carried_j.value for each in modes], "J")
        label = f"= {unit.name} per query{word}"
        rows.append(
            TableRow(label=label, figures=tuple(figure_of(each.energy_per_query_carried_j, unit) for each in modes))
        )
    asked = next(step for step in modes[0].steps if step.name == QUERIES)
    unit = _count_unit(asked.factor)
    figure = Figure(
        value=plain(asked.factor.times(1 / unit.size)), interval=ends_of(unit.estimate(estimate_of(asked.factor)))
    )
    rows.append(TableRow(label=f"×{unit.name} {QUERIES}, assumed", figures=tuple(figure for _ in modes)))
    return rows


def _factor(step: Step) -> Figure:
    return Figure(value=plain(step.factor), interval=ends_of(estimate_of(step.factor)))


def _fleet(report: FleetReport, word: str) -> list[TableRow]:
    modes = report.modes
    megawatts, terawatt_hours = Unit(name="MW", size=1.0), Unit(name="TWh", size=1.0)
    rows = [
        TableRow(label=f"MW on average{word}", figures=tuple(figure_of(each.power_mw, megawatts) for each in modes)),
        TableRow(
            label=f"TWh a year{word}", figures=tuple(figure_of(each.energy_twh, terawatt_hours) for each in modes)
        ),
    ]
    alone = [each.power_alone_mw for each in modes if each.power_alone_mw is not None]
    if alone:
        rows.append(
            TableRow(
                label=f"MW {_as_measured(report)}{word}", figures=tuple(figure_of(each, megawatts) for each in alone)
            )
        )
    elif report.is_alone and report.task is None:
        for factor in (ML_ENERGY[0], ALICE):
            figures = tuple(Figure(value=digits(each.power_mw.value / factor)) for each in modes)
            rows.append(TableRow(label=f"MW if a busy server needs 1/{factor:.0f}{word}", figures=figures))
    for carbon in report.carbon:
        unit = _mass_unit([each.value for each in carbon.carbon_t])
        rows.append(
            TableRow(
                label=f"{unit.name} CO2e a year, {carbon.grid}{word}",
                figures=tuple(figure_of(each, unit) for each in carbon.carbon_t),
            )
        )
    megalitres = Unit(name="million l", size=1e6)
    for where, amounts in (("on site", report.water_on_site_l), ("of the grid", report.water_of_grid_l)):
        if amounts:
            figures = tuple(figure_of(each, megalitres) for each in amounts)
            rows.append(TableRow(label=f"million l of water a year, {where}{word}", figures=figures))
    if report.electricity_per_year:
        unit = Unit(name="million", size=1e6)
        rows.append(
            TableRow(
                label=f"million a year for electricity{word}",
                figures=tuple(figure_of(each, unit) for each in report.electricity_per_year),
            )
        )
    return rows


def _beside(report: FleetReport, word: str) -> list[TableRow]:
    rows = []
    for reference in REFERENCES:
        unit = Unit(name="%", size=reference.power_mw / 100)
        rows.append(
            TableRow(
                label=f"% of {reference.name}{word}",
                figures=tuple(figure_of(each.power_mw, unit) for each in report.modes),
            )
        )
    return rows


def _shares(report: FleetReport) -> list[TableRow]:
    names = dict.fromkeys(share.name for mode in report.modes for share in mode.shares)
    by_mode = [{share.name: share.share for share in mode.shares} for mode in report.modes]
    return [
        TableRow(
            label=name,
            figures=tuple(Figure(value=percent(own[name])) if name in own else NONE for own in by_mode),
        )
        for name in names
    ]


def _notes(report: FleetReport) -> list[str]:
    modes = report.modes
    notes = [f"{report.model}: {report.energy_source} (run {report.run_id}).", *report.notes]
    several = len(modes) > 1
    for mode in modes:
        for step in mode.steps:
            if step.measured:
                named = step.model_copy(update={"name": f"{step.name}, {mode.mode}"}) if several else step
                notes.append(step_words(named))
    steps = assumptions(step for mode in modes for step in mode.steps)
    notes += [step_words(step) for step in steps if step.name != QUERIES]
    notes.append(f"{QUERIES}: {count_words(report.spec.queries_per_day)}, assumed: stated by the user.")
    taken = {step.name for mode in modes for step in mode.steps}
    if report.is_alone and report.task is None:
        notes += [f"Busy server: {source}" for source in SOURCES]
    if SERVING not in taken and report.is_alone:
        notes.append("Assumed by --as-batch-1: every query of the fleet runs alone on its boards.")
    for each in report.carbon:
        ends = ends_of(estimate_of(each.intensity_g_per_kwh))
        notes.append(f"{each.grid}{f' ({ends})' if ends else ''}: {each.source}.")
    for name, stated in (("WUE", report.spec.wue), ("water of the grid", report.spec.grid_water)):
        if stated is not None:
            notes.append(f"{name}: {ranged(stated)} l per kWh, assumed: stated by the user.")
    if report.spec.tariff is not None:
        notes.append(f"tariff: {ranged(report.spec.tariff)} per kWh, assumed: stated by the user.")
    unused = [key for key in ("gpu_hour_price", "equivalents") if getattr(report.spec, key)]
    if unused:
        notes.append(f"Not used for a fleet: {listed(unused)}.")
    notes += [f"{reference.name}: {reference.source}." for reference in REFERENCES]
    unknown = list(dict.fromkeys(name for mode in modes for name in mode.unknown))
    if modes[0].estimated:
        notes.append(ESTIMATED)
    else:
        missing = f" Not known, so not in it: {listed(unknown)}." if unknown else ""
        notes.append(
            f"Interval: the central 95 % of {report.spec.draws:,} draws (seed {report.spec.seed}) of every part and "
            f"every range, log-normal and independent; what has no range is taken as exact.{missing}"
        )
        if any((report.carbon, report.spec.wue, report.spec.grid_water, report.spec.tariff)):
            notes.append(
                "Carbon, water and money: the energy's interval with the range of what it is multiplied by, in "
                "quadrature on the log scale."
            )
    notes.append(
        "Assumed throughout: the fleet's queries are like these prompts, answered by this model on such boards; "
        "a year is 365 such days; power is the year's mean, not its peak."
    )
    notes.append(
        "Not in it: training, networks, readers' devices, making the hardware, machines that wait (but for "
        "--server google)."
    )
    return notes
