"""Grids by name: small tables in codecarbon's shape, names that are in none, a package that is not there."""

from __future__ import annotations

import json
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.config import validated
from harness.errors import EnvironmentFault, UnknownName, UsageError
from harness.footprint import grids as grids_module
from harness.footprint.footprint import footprint
from harness.footprint.grids import grids
from harness.footprint.spec import FootprintSpec
from harness.footprint.spread import Z
from harness.footprint.subject import PROMPTS
from tests.test_footprint import lognormal, subject


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """codecarbon's tables in small, and the package where they would be."""
    data = tmp_path / "codecarbon" / "data"
    infra = data / "private_infra"
    (infra / "2016").mkdir(parents=True)
    (infra / "2023").mkdir()
    (data / "cloud").mkdir()
    countries = {
        "FRA": {"country_name": "France", "carbon_intensity": 56.0, "year": 2023},
        "USA": {"country_name": "United States", "carbon_intensity": 369.0, "year": 2023},
        "CAN": {"country_name": "Canada", "carbon_intensity": 170.0, "year": 2022},
        "CHN": {"country_name": "China", "carbon_intensity": 580.0, "year": 2022},
        "SWE": {"country_name": "Sweden", "carbon_intensity": 40.0, "year": 2022},
        "CAF": {"country_name": "Central African Republic", "carbon_intensity": 0.0, "year": 2022},
    }
    states = {
        "_source": {"name": "EPA", "year": 2023},
        "california": {"emissions": 1000.0, "regionCode": "CA"},
    }
    mix = {"quebec": {"coal": 10.0, "petroleum": 0.0, "naturalGas": 10.0, "hydro": 80.0, "total": 100.0}}
    per_source = {"coal": 1000, "petroleum": 800, "natural_gas": 700, "hydroelectricity": 26}
    provinces = {
        "data": {"CN-BJ": {"emission_factor": 555.0, "description": "Beijing", "year": 2023, "names": ["beijing"]}}
    }
    zone = {"emission_factor": 27.0, "description": "Stockholm", "year": 2025, "coverage": "94.58% (uncovered: Other)"}
    zones = {"data": {"SE3": zone}}
    for name, table in (
        ("global_energy_mix.json", countries),
        ("carbon_intensity_per_source.json", per_source),
        ("nordic_emissions.json", zones),
        ("2016/usa_emissions.json", {"_source": {"name": "old", "year": 2016}}),
        ("2023/usa_emissions.json", states),
        ("2023/canada_energy_mix.json", mix),
        ("2023/china_provincial_emissions.json", provinces),
    ):
        (infra / name).write_text(json.dumps(table))
    (data / "cloud" / "impact.csv").write_text(
        "\ufeffprovider,region,country_name,city,impact,source\ngcp,europe-west1,Belgium,St. Ghislain,122,https://g\n",
        encoding="utf-8",
    )
    spec = ModuleSpec("codecarbon", None, is_package=True)
    spec.submodule_search_locations = [str(data.parent)]
    monkeypatch.setattr(grids_module, "find_spec", lambda name: spec)
    return infra


@pytest.mark.parametrize(
    ("name", "g_per_kwh", "year"),
    [
        ("FRA", 56.0, 2023),
        ("fra", 56.0, 2023),
        ("France", 56.0, 2023),
        ("USA/California", 453.59237, 2023),
        ("united states/CA", 453.59237, 2023),
        ("CAN/Quebec", 170.0, 2023),
        ("CHN/Beijing Municipality", 555.0, 2023),
        ("CHN/CN-BJ", 555.0, 2023),
        ("SWE/SE3", 27.0, 2025),
        ("gcp:europe-west1", 122.0, None),
        ("GCP:Europe-West1", 122.0, None),
    ],
)
@pytest.mark.usefixtures("tables")
def test_a_grid_by_its_name(name: str, g_per_kwh: float, year: int | None) -> None:
    (grid,) = grids([name])
    assert grid.intensity.value == pytest.approx(g_per_kwh)
    assert grid.year == year
    assert grid.name == name
    assert "codecarbon" in grid.source


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Frnace", "France"),
        ("USA/Califronia", "california"),
        ("gcp:europe-west", "gcp:europe-west1"),
        ("aws:us-east-1", "gcp only"),
        ("FRA/Paris", "USA, CAN, CHN"),
        ("SWE/NO1", "se3"),
        ("FR", "three letters"),
        ("", "three letters"),
    ],
)
@pytest.mark.usefixtures("tables")
def test_an_unknown_grid_has_a_nearest_or_a_rule(name: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        grids([name])
    assert hint in caught.value.next_step


@pytest.mark.usefixtures("tables")
def test_a_grid_of_which_nothing_is_known_is_not_a_clean_one() -> None:
    with pytest.raises(UsageError, match=r"0 g/kWh for Central African Republic") as caught:
        grids(["CAF"])
    assert "--grid caf=30" in caught.value.next_step
    assert grids(["caf=0"])[0].intensity.value == 0.0  # who says so stands for it


@pytest.mark.usefixtures("tables")
def test_a_zone_says_how_much_of_it_is_counted() -> None:
    assert "94.58%" in grids(["SWE/SE3"])[0].note
    assert "counts as 0" in grids(["SWE/SE3"])[0].note


def test_without_codecarbon_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids_module, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="not installed") as caught:
        grids(["FRA"])
    assert "pip install 'inference-energy-harness[estimate]'" in caught.value.next_step
    (own,) = grids(["mine=20..45"])  # a figure of one's own needs no table
    assert own.intensity.value == pytest.approx(30.0)


def test_tables_that_changed_are_not_guessed_at(tables: Path) -> None:
    (tables / "global_energy_mix.json").write_text('{"FRA": {"country_name": "France", "intensity": 56}}')
    with pytest.raises(EnvironmentFault, match="not as they were"):
        grids(["FRA"])
    (tables.parent / "cloud" / "impact.csv").unlink()
    with pytest.raises(EnvironmentFault, match="not as they were"):
        grids(["gcp:europe-west1"])


@pytest.mark.parametrize("name", ["mine=", "mine=x", "=30", " =30", "mine=-3", "mine=45..20"])
def test_a_figure_of_ones_own_must_be_one(name: str) -> None:
    with pytest.raises(UsageError, match="--grid"):
        grids([name])


def test_the_installed_tables_can_be_read() -> None:
    if find_spec("codecarbon") is None:
        pytest.skip("codecarbon is not installed")
    names = ["FRA", "Germany", "USA/TX", "CAN/Ontario", "SWE/SE3", "gcp:us-central1"]
    found = grids(names)
    assert [grid.name for grid in found] == names
    assert all(1 < grid.intensity.value < 1500 for grid in found)


@pytest.mark.usefixtures("tables")
def test_the_same_energy_on_several_grids_differs_by_their_intensities_alone() -> None:
    parts = ((PROMPTS, lognormal(0.1)),)
    spec = validated(FootprintSpec, {"grid": "FRA,gcp:europe-west1,FRA"}, "here")
    found = footprint([subject(1e6, parts=parts), subject(2e6, mode="off", parts=parts)], spec)
    french, belgian = found.carbon
    assert belgian.carbon_g[0].value / french.carbon_g[0].value == pytest.approx(122 / 56)
    assert french.carbon_g[1].value == pytest.approx(2 * french.carbon_g[0].value)
    assert french.carbon_g[0].log_deviations == pytest.approx((0.1 * Z, 0.1 * Z))
