"""Grams of CO2e per kWh by grid, from the tables that codecarbon ships. The one adapter of the footprint.

codecarbon is found but not imported: its import takes seconds and looks at the machine. Grids are named

    FRA, France                       a country by ISO 3166-1 alpha-3 code or name
    USA/California, USA/CA            a state or province: of the USA, Canada, China; bidding zones of SWE, NOR, FIN
    gcp:europe-west1                  a cloud provider's region
    mine=30, mine=20..45              a figure of your own, in g CO2e per kWh

The tables do not agree on a method: those of countries count a power plant's whole life, those of US states and Chinese
provinces what leaves the stack, the provider's its own accounting. A factor of one table over one of another says
little where both are small.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFault, UnknownName, UsageError
from harness.footprint.spread import Spread, read

G_PER_LB = 453.59237
LB_PER_MWH = G_PER_LB / 1000
"""A pound per MWh, in grams per kWh."""
INSTALL = "pip install 'inference-energy-harness[estimate]', or state a figure: --grid mine=30 (g CO2e per kWh)."
ZONES = {"SWE": "SE", "NOR": "NO", "FIN": "FI"}
"""Countries with bidding zones, and how the zones' names begin."""
FUELS = {"coal": "coal", "petroleum": "petroleum", "naturalGas": "natural_gas"}
"""Of a Canadian province's mix, those that codecarbon counts, and what its factors call them."""
SUFFIX = re.compile(r"\s+(autonomous region|municipality|province)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What a kWh of a grid emits. `name` is as the user typed it."""

    name: str
    place: str
    intensity: Spread
    """Grams of CO2e per kWh."""
    year: int | None
    source: str
    note: str = ""


def grids(names: Iterable[str]) -> tuple[Grid, ...]:
    """The grids of some names, in their order.

    Raises:
        UnknownName: Not in the tables; the nearest is offered.
        UsageError: A name that cannot be meant.
        EnvironmentFault: codecarbon, whose tables these are, is not installed or ships others.
    """
    tables: Tables | None = None
    found = []
    for name in dict.fromkeys(names):
        if "=" in name:
            found.append(_own(name))
            continue
        tables = tables or Tables(_folder())
        found.append(tables.grid(name))
    return tuple(found)


class Tables:
    """codecarbon's data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.package = f"codecarbon {version('codecarbon')}"
        except PackageNotFoundError:
            self.package = "codecarbon"

    def grid(self, name: str) -> Grid:
        """One grid.

        Raises:
            UnknownName: Not in the tables.
            EnvironmentFault: The tables are not what this program knows.
        """
        try:
            if ":" in name:
                return self._cloud(name)
            country, slash, region = name.partition("/")
            iso_code = self._iso_code(country)
            return self._region(name, iso_code, region) if slash else self._country(name, iso_code)
        except (OSError, csv.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EnvironmentFault(
                f"The tables of {self.package} are not as they were: {error!r}.",
                "Install codecarbon 3.3, or state a figure: --grid mine=30 (g CO2e per kWh).",
            ) from error

    def _json(self, *parts: str) -> dict[str, Any]:
        fields = json.loads(self.folder.joinpath("private_infra", *parts).read_text(encoding="utf-8"))
        return dict(fields)

    def _newest(self, file: str) -> tuple[dict[str, Any], int]:
        """A table that lies in a folder per year, and its year."""
        folders = sorted(path.parent.name for path in self.folder.glob(f"private_infra/[0-9]*/{file}"))
        if not folders:
            raise FileNotFoundError(file)
        return self._json(folders[-1], file), int(folders[-1])

    def _iso_code(self, country: str) -> str:
        table = self._json("global_energy_mix.json")
        by_name = {str(row["country_name"]).casefold(): code for code, row in table.items()}
        code = country.strip().upper()
        code = code if code in table else by_name.get(country.strip().casefold(), "")
        if not code:
            known = [*table, *(str(row["country_name"]) for row in table.values())]
            raise UnknownName(
                "grid", country, known, " Codes have three letters; a cloud region is written gcp:europe-west1."
            )
        return code

    def _country(self, name: str, iso_code: str) -> Grid:
        row = self._json("global_energy_mix.json")[iso_code]
        place, g_per_kwh = str(row["country_name"]), float(row["carbon_intensity"])
        if g_per_kwh <= 0:  # water power alone has 26 in the same tables
            raise UsageError(
                f"The tables of {self.package} have 0 g/kWh for {place}: over a plant's whole life nothing has.",
                f"State a figure: --grid {iso_code.lower()}=30 (g CO2e per kWh).",
            )
        return Grid(
            name=name,
            place=place,
            intensity=Spread(value=g_per_kwh),
            year=int(row["year"]),
            source=f"{self.package}, global_energy_mix.json",
        )

    def _region(self, name: str, iso_code: str, region: str) -> Grid:
        wanted = region.strip().casefold()
        if iso_code == "USA":
            return self._state(name, wanted)
        if iso_code == "CAN":
            return self._province(name, wanted)
        if iso_code == "CHN":
            return self._chinese_province(name, wanted)
        if iso_code in ZONES:
            return self._zone(name, iso_code, wanted)
        raise UnknownName(
            "grid", name, [iso_code], f" codecarbon's tables have regions of USA, CAN, CHN, {', '.join(ZONES)} only."
        )

    def _state(self, name: str, wanted: str) -> Grid:
        table, _ = self._newest("usa_emissions.json")
        source = table["_source"]
        states = {state: row for state, row in table.items() if not state.startswith("_")}
        by_code = {str(row["regionCode"]).casefold(): state for state, row in states.items()}
        state = by_code.get(wanted, wanted)
        self._check("state of the USA", wanted, state, states)
        return Grid(
            name=name,
            place=f"{state.title()}, United States",
            intensity=Spread(value=float(states[state]["emissions"]) * LB_PER_MWH),
            year=int(source["year"]),
            source=f"{self.package}, usa_emissions.json: {source['name']}",
            note="at the stack",
        )

    def _province(self, name: str, wanted: str) -> Grid:
        table, year = self._newest("canada_energy_mix.json")
        self._check("province of Canada", wanted, wanted, table)
        mix, factors = table[wanted], self._json("carbon_intensity_per_source.json")
        shares = {fuel: float(mix[fuel]) / float(mix["total"]) for fuel in FUELS}
        return Grid(
            name=name,
            place=f"{wanted.title()}, Canada",
            intensity=Spread(value=sum(share * float(factors[FUELS[fuel]]) for fuel, share in shares.items())),
            year=year,
            source=f"{self.package}, canada_energy_mix.json",
            note="coal, petroleum and gas of its mix, as codecarbon counts it",
        )

    def _chinese_province(self, name: str, wanted: str) -> Grid:
        table, _ = self._newest("china_provincial_emissions.json")
        wanted = SUFFIX.sub("", wanted)
        by_name = {str(each).casefold(): row for row in table["data"].values() for each in row["names"]}
        by_name |= {code.casefold(): row for code, row in table["data"].items()}
        self._check("province of China", wanted, wanted, by_name)
        row = by_name[wanted]
        return Grid(
            name=name,
            place=f"{row['description']}, China",
            intensity=Spread(value=float(row["emission_factor"])),
            year=int(row["year"]),
            source=f"{self.package}, china_provincial_emissions.json",
            note="CO2 only, at the stack",
        )

    def _zone(self, name: str, iso_code: str, wanted: str) -> Grid:
        table = self._json("nordic_emissions.json")["data"]
        zones = {zone.casefold(): row for zone, row in table.items() if zone.startswith(ZONES[iso_code])}
        self._check(f"bidding zone of {iso_code}", wanted, wanted, zones)
        row = zones[wanted]
        covered = row.get("coverage")
        return Grid(
            name=name,
            place=str(row["description"]),
            intensity=Spread(value=float(row["emission_factor"])),
            year=int(row["year"]),
            source=f"{self.package}, nordic_emissions.json",
            note=f"of the generation in it {covered}; what is not covered counts as 0" if covered else "",
        )

    def _cloud(self, name: str) -> Grid:
        provider, _, region = name.partition(":")
        with (self.folder / "cloud" / "impact.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = {(row["provider"], row["region"]): row for row in csv.DictReader(file)}
        key = (provider.strip().casefold(), region.strip().casefold())
        if key not in rows:
            providers = ", ".join(sorted({each for each, _ in rows}))
            known = [f"{each}:{place}" for each, place in rows]
            raise UnknownName("grid", name, known, f" codecarbon's tables have regions of {providers} only.")
        row = rows[key]
        return Grid(
            name=name,
            place=", ".join(part for part in (row["city"], row["country_name"]) if part),
            intensity=Spread(value=float(row["impact"])),
            year=None,
            source=f"{self.package}, impact.csv: {row['source']}",
            note="the provider's own figure",
        )

    @staticmethod
    def _check(kind: str, typed: str, wanted: str, known: Mapping[str, object]) -> None:
        if wanted not in known:
            raise UnknownName(kind, typed, known)


def _folder() -> Path:
    found = find_spec("codecarbon")
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise EnvironmentFault("Carbon by grid needs codecarbon's tables, and it is not installed.", INSTALL)
    return Path(next(iter(places))) / "data"


def _own(name: str) -> Grid:
    label, _, typed = name.partition("=")
    try:
        intensity = Spread.model_validate(read(typed))
    except ValueError as error:
        raise UsageError(
            f"--grid {name}: what stands behind `=` is no carbon intensity.",
            "Write grams of CO2e per kWh: --grid mine=30, or a 95 % range: --grid mine=20..45.",
        ) from error
    if not label.strip():
        raise UsageError(f"--grid {name} names no grid.", "Write --grid mine=30.")
    return Grid(name=label.strip(), place="", intensity=intensity, year=None, source="stated by the user")
