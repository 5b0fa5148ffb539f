"""Everything that follows from a cell's joules and what a user states: a figure per mode for each thing asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.footprint.carbon import carbon_g
from harness.footprint.cost import electricity_cost, rental_cost
from harness.footprint.energy import Carried, carried
from harness.footprint.equivalents import EQUIVALENTS, Equivalent
from harness.footprint.facility import FACILITY
from harness.footprint.grids import Grid, grids
from harness.footprint.server import SERVER
from harness.footprint.spec import FootprintSpec
from harness.footprint.spread import Spread
from harness.footprint.steps import Step, of_name
from harness.footprint.subject import Subject
from harness.footprint.water import water_of_grid_l, water_on_site_l


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCarbon:
    """Grams of CO2e per query on one grid, by mode."""

    grid: Grid
    carbon_g: tuple[Spread, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """One equivalent, by mode, of one query."""

    equivalent: Equivalent
    amounts: tuple[Spread, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Of one cell: figures per query, one per mode in the order of `modes`. Empty: not asked for."""

    spec: FootprintSpec
    modes: tuple[Carried, ...]
    carbon: tuple[GridCarbon, ...]
    electricity: tuple[Spread, ...]
    rental: tuple[Spread, ...]
    water_on_site_l: tuple[Spread, ...]
    water_of_grid_l: tuple[Spread, ...]
    equivalents: tuple[Likeness, ...]
    notes: tuple[str, ...]

    @property
    def estimated(self) -> bool:
        """Whether no sensor was behind the joules."""
        return any(mode.subject.estimated for mode in self.modes)

    @property
    def boundary_steps(self) -> tuple[str, ...]:
        """The steps that were taken, in order: of server and facility."""
        names = (SERVER, FACILITY)
        return tuple(name for name in names if self.modes and of_name(self.modes[0].steps, name) is not None)

    def step(self, name: str) -> tuple[Step, ...]:
        """One step of every mode."""
        found = (of_name(mode.steps, name) for mode in self.modes)
        return tuple(step for step in found if step is not None)


def footprint(subjects: Sequence[Subject], spec: FootprintSpec) -> Footprint:
    """The footprint of a cell's modes.

    Raises:
        UsageError: Something that cannot be had of this run, such as a rent where no GPU was metered.
        UnknownName: A grid that is in no table.
        EnvironmentFault: The grids' tables are not installed.
    """
    if spec.gpu_hour_price is not None and not all(subject.n_boards for subject in subjects):
        raise UsageError(
            "--gpu-hour-price is of GPU boards, and none was metered in this run.", "Leave it out, or use --tariff."
        )
    modes, notes = carried(subjects, spec.server, spec.pue)

    def each(figure: Callable[[Carried], Spread]) -> tuple[Spread, ...]:
        return tuple(_known(mode, figure(mode)) for mode in modes)

    tariff, wue, grid_water = spec.tariff, spec.wue, spec.grid_water
    return Footprint(
        spec=spec,
        modes=modes,
        carbon=tuple(_on(grid, modes) for grid in grids(spec.grid)),
        electricity=() if tariff is None else each(lambda mode: electricity_cost(mode.energy, tariff)),
        rental=() if spec.gpu_hour_price is None else tuple(_rental(mode, spec.gpu_hour_price) for mode in modes),
        water_on_site_l=() if wue is None else each(lambda mode: water_on_site_l(mode.it_energy, wue)),
        water_of_grid_l=() if grid_water is None else each(lambda mode: water_of_grid_l(mode.energy, grid_water)),
        equivalents=tuple(
            Likeness(equivalent=one, amounts=tuple(one.of(mode.energy) for mode in modes)) for one in EQUIVALENTS
        )
        if spec.equivalents
        else (),
        notes=notes,
    )


def _on(grid: Grid, modes: Sequence[Carried]) -> GridCarbon:
    return GridCarbon(grid=grid, carbon_g=tuple(_known(mode, carbon_g(mode.energy, grid)) for mode in modes))


def _known(mode: Carried, figure: Spread) -> Spread:
    """Without a range where the joules are an estimate: what a hardware model errs by is not known."""
    return Spread(value=figure.value) if mode.subject.estimated else figure


def _rental(mode: Carried, price: Spread) -> Spread:
    """Of measured seconds, so it has a range where the joules have none."""
    duration = mode.subject.duration
    if duration is None:
        raise UsageError("The seconds per query are unknown.", "Leave --gpu-hour-price out.")
    return rental_cost(duration, mode.subject.n_boards, price)
