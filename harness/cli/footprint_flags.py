"""The flags of the footprint, the same for every verb that has one; a YAML file has the same keys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from harness.errors import InvalidMeasurement
    from harness.footprint.spec import FootprintSpec, ProjectionSpec
    from harness.publish import Account
    from harness.report.page import Lead

KEYS = ("server", "pue", "grid", "wue", "grid_water", "tariff")
KEYS_OF_A_RUN = (*KEYS, "gpu_hour_price", "equivalents")


def add_flags(parser: argparse.ArgumentParser, *, of_a_fleet: bool = False) -> None:
    """What can be stated about servers, facilities, grids and prices; nothing is on by default.

    Args:
        parser: Of the verb.
        of_a_fleet: Without what says something of single queries only.
    """
    group = parser.add_argument_group(
        "footprint", "Numbers are 1.2, or 1.1..1.3 for a 95 % range. Nothing is assumed unless it is asked for."
    )
    group.add_argument("--server", metavar="NAME|X", help="boards to server: measured, mit, google, or a factor")
    group.add_argument("--pue", metavar="X", help="server to facility")
    group.add_argument(
        "--grid", metavar="G,...", help="carbon: FRA, USA/California, gcp:europe-west1, mine=30 (g CO2e per kWh)"
    )
    group.add_argument("--wue", metavar="X", help="water on site, litres per kWh of IT energy")
    group.add_argument("--grid-water", metavar="X", help="water where the power is made, litres per kWh")
    group.add_argument("--tariff", metavar="X", help="price of a kWh")
    if not of_a_fleet:
        group.add_argument("--gpu-hour-price", metavar="X", help="price of one board for an hour")
        group.add_argument("--equivalents", action="store_true", default=None, help="as seconds of a light bulb, ...")
    group.add_argument("--footprint", metavar="FILE.yaml", help="the same keys in a file; flags win over it")


def footprint_spec(options: argparse.Namespace) -> FootprintSpec:
    """What was stated of a run's footprint.

    Raises:
        UnknownName: A key of the file that does not exist.
        UsageError: A value that cannot be meant, or no such file.
    """
    from harness.config import validated
    from harness.footprint.spec import FootprintSpec

    fields, where = _fields(options, KEYS_OF_A_RUN)
    return validated(FootprintSpec, fields, where)


def projection_spec(options: argparse.Namespace, more: Mapping[str, Any]) -> ProjectionSpec:
    """What was stated of a fleet.

    Args:
        options: The command line.
        more: Fields that are no footprint's; None: not given.

    Raises:
        UnknownName: A key of the file that does not exist.
        UsageError: A value that is missing or cannot be meant, two that contradict each other, or no such file.
    """
    from harness.config import validated
    from harness.errors import UsageError
    from harness.footprint.spec import ProjectionSpec

    fields, where = _fields(options, KEYS)
    fields |= {key: value for key, value in more.items() if value is not None}
    if "queries_per_day" not in fields:
        raise UsageError("A fleet needs its queries per day.", "Add --queries-per-day 1e9, or 5e8..2e9 for a range.")
    if fields.get("as_batch_1") is True and fields.get("batch_factor") is not None:
        raise UsageError(
            "--as-batch-1 says that every query runs alone, --batch-factor that it does not.", "Leave one of them out."
        )
    return validated(ProjectionSpec, fields, where)


def footprints_of(
    by_run: Mapping[Path, Sequence[Account]], spec: FootprintSpec
) -> tuple[dict[Path, list[Lead | None]], InvalidMeasurement | None]:
    """The footprints of each run's cells, and why the last one that has none has none.

    Raises:
        UsageError: Something stated that cannot be had of this run.
        UnknownName: A grid that is in no table.
        EnvironmentFault: The grids' tables are not installed.
    """
    from harness.errors import InvalidMeasurement
    from harness.report.footprint.lead import footprint_lead
    from harness.report.footprint.subjects import Measured

    found: dict[Path, list[Lead | None]] = {}
    refusal = None
    for run, accounts in by_run.items():
        leads = found.setdefault(run, [])
        for account in accounts:
            manifest, lead = account.results.manifest, None
            if not spec.is_empty and manifest is not None:
                cell = Measured(summary=account.summary, columns=account.results.columns, manifest=manifest)
                try:
                    lead = footprint_lead(cell, spec)
                except InvalidMeasurement as error:
                    refusal = error  # of this cell; its receipt can be read all the same
            leads.append(lead)
    return found, refusal


def _fields(options: argparse.Namespace, keys: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """A file's keys with the flags over them, and what to call both in a message."""
    from pathlib import Path

    from harness.config import load_yaml

    fields: dict[str, Any] = {}
    if options.footprint is not None:
        fields = {str(key).replace("-", "_"): value for key, value in load_yaml(Path(options.footprint)).items()}
    fields |= {key: value for key in keys if (value := getattr(options, key)) is not None}
    return fields, options.footprint or "the command line"
