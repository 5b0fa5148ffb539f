"""`harness doctor`: what this machine can measure, and what to do about what is missing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ExitCode

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine can measure, and what to do about what is missing",
        description="What this machine can measure, and what to do about what is missing.",
        epilog="Exit status: 0 where at least one sensor can be read, 3 where energy could only be estimated.",
    )
    parser.add_argument(
        "--sensor",
        action="store_true",
        help="look at each GPU's sensor for a few seconds, and say what is known of it",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("results"), help="where runs would be written (default: results)"
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Examine, show, and say by the exit code whether a sensor exists."""
    if options.sensor:
        return _sensors(as_json=options.json)
    from harness.environment.examination import examine

    diagnosis = examine(options.output_dir)
    if options.json:
        print(diagnosis.model_dump_json(indent=2))
    else:
        from rich.console import Console

        from harness.report.diagnosis import show

        show(diagnosis, Console(highlight=False))
    return ExitCode.OK if diagnosis.measurable else ExitCode.ENVIRONMENT


def _sensors(*, as_json: bool) -> int:
    """Show every board's sensor card.

    Raises:
        NoSensor: There is no board.
    """
    from harness.meter.card.card import card_findings
    from harness.records import SCHEMA_VERSION
    from harness.report.sensor import account_of, show_sensors
    from harness.wiring.sensor_cards import looked_at_again

    accounts = [account_of(card, card_findings(card)) for card in looked_at_again().values()]
    if as_json:
        sensors = [account.model_dump(mode="json") for account in accounts]
        print(json.dumps({"schema_version": SCHEMA_VERSION, "sensors": sensors}, indent=2))
    else:
        from rich.console import Console

        show_sensors(accounts, Console(highlight=False))
    measurable = any(account.card.counter or account.card.duration_power_call_s is not None for account in accounts)
    return ExitCode.OK if measurable else ExitCode.ENVIRONMENT
