"""A cell's modes as a fleet: everything that `harness project` says, as a record for a file.

Sums of a year follow from the fleet's energy; how they are worded is `projection`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import InvalidMeasurement, UsageError
from harness.footprint.batch import ALICE
from harness.footprint.carbon import carbon_g
from harness.footprint.cost import electricity_cost
from harness.footprint.energy import carried
from harness.footprint.grids import Grid, grids
from harness.footprint.projection import Projection, project
from harness.footprint.spec import ProjectionSpec
from harness.footprint.spread import Spread
from harness.footprint.water import water_of_grid_l, water_on_site_l
from harness.records import SCHEMA_VERSION, Boundary, Record
from harness.report.footprint.lead import grid_label
from harness.report.footprint.subjects import Measured, pooled, subjects_of
from harness.report.wording import energy_source, subject
from harness.units import J_PER_TWH

G_PER_T = 1e6


class GridYear(Record):
    """A fleet's carbon over a year on one grid."""

    grid: str
    intensity_g_per_kwh: Spread
    year: int | None
    source: str
    carbon_t: tuple[Spread, ...]


class FleetReport(Record):
    """Everything that `harness project` says of one cell, for a file. Figures are by mode, in the order of `modes`."""

    run_id: str
    model: str
    boundary: Boundary
    energy_source: str
    is_alone: bool
    """Whether each query was measured alone on its boards (batch 1), whatever is made of it here."""
    task: str | None = None
    """None: text generation, of which alone it is published what a busy server saves."""
    spec: ProjectionSpec
    modes: tuple[Projection, ...]
    carbon: tuple[GridYear, ...]
    electricity_per_year: tuple[Spread, ...]
    water_on_site_l: tuple[Spread, ...]
    water_of_grid_l: tuple[Spread, ...]
    notes: tuple[str, ...]


class FleetFile(Record):
    """What `harness project --json` writes."""

    schema_version: int = SCHEMA_VERSION
    projections: tuple[FleetReport, ...]


def fleet_report(repeats: Sequence[Measured], spec: ProjectionSpec) -> FleetReport:
    """A cell's modes as a fleet.

    Args:
        repeats: The cell, or its repeats: their mean is projected.
        spec: What was stated.

    Raises:
        UsageError: Queries that ran alone, and nothing said of what a busy server would make of them; or something
            stated that cannot be had of this run.
        InvalidMeasurement: Its joules cannot be carried on.
        UnknownName: A mode that it does not have, or a grid that is in no table.
        EnvironmentFault: The grids' tables are not installed.
    """
    summary = repeats[0].summary
    found = [subjects_of(each, spec.mode) for each in repeats]
    subjects, left_out = pooled([own for own, _ in found]), tuple(dict.fromkeys(why for _, own in found for why in own))
    n_repeats = len(repeats)
    if not subjects:
        raise InvalidMeasurement(
            f"{summary.run_id}: no mode of it is sound in all of its {n_repeats} repeats. {' '.join(left_out)}",
            "`harness report` has the findings and what to do about them.",
        )
    alone = any(each.is_alone for each in subjects)
    if alone and not spec.as_batch_1 and spec.batch_factor is None:
        cost = (
            f"which can cost {ALICE:.0f} times what it costs"
            if summary.cell.task is None
            else "which may cost more than"
        )
        raise UsageError(
            f"{summary.run_id} asked one query at a time (batch 1), {cost} on a busy server, so it is no fleet's.",
            "Add --as-batch-1 to project it all the same, or --batch-factor 10..50 to divide by a factor that you "
            "stand for.",
        )
    modes, notes = carried(subjects, spec.server, spec.pue)
    projected = tuple(
        project(mode, spec.queries_per_day, batch_factor=spec.batch_factor, draws=spec.draws, seed=spec.seed)
        for mode in modes
    )
    mean = (f"The joules are the mean of {n_repeats} repeats.",) if n_repeats > 1 else ()
    return FleetReport(
        run_id=summary.run_id,
        model=subject(summary),
        boundary=summary.headline,
        energy_source=energy_source(summary),
        is_alone=alone,
        task=summary.cell.task,
        spec=spec,
        modes=projected,
        carbon=tuple(_on(grid, projected) for grid in grids(spec.grid)),
        electricity_per_year=_each(
            projected, spec.tariff, lambda each, tariff: electricity_cost(_year_j(each), tariff)
        ),
        water_on_site_l=_each(projected, spec.wue, lambda each, wue: water_on_site_l(_it_year_j(each), wue)),
        water_of_grid_l=_each(projected, spec.grid_water, lambda each, l_kwh: water_of_grid_l(_year_j(each), l_kwh)),
        notes=(*left_out, *notes, *mean),
    )


def _on(grid: Grid, modes: Sequence[Projection]) -> GridYear:
    return GridYear(
        grid=grid_label(grid),
        intensity_g_per_kwh=grid.intensity,
        year=grid.year,
        source=grid.source + (f" ({grid.note})" if grid.note else ""),
        carbon_t=tuple(_known(each, carbon_g(_year_j(each), grid).times(1 / G_PER_T)) for each in modes),
    )


def _each(
    modes: Sequence[Projection], stated: Spread | None, figure: Callable[[Projection, Spread], Spread]
) -> tuple[Spread, ...]:
    return () if stated is None else tuple(_known(each, figure(each, stated)) for each in modes)


def _year_j(mode: Projection) -> Spread:
    return mode.energy_twh.times(J_PER_TWH)


def _it_year_j(mode: Projection) -> Spread:
    return mode.energy_it_twh.times(J_PER_TWH)


def _known(mode: Projection, figure: Spread) -> Spread:
    return Spread(value=figure.value) if mode.estimated else figure
