"""`harness doctor`: what this machine can measure, and what to do about what is missing."""

from __future__ import annotations

import argparse
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
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("results"), help="where runs would be written (default: results)"
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Examine, show, and say by the exit code whether a sensor exists."""
    from harness.environment.examination import examine

    diagnosis = examine(options.output_dir)
    if options.json:
        print(diagnosis.model_dump_json(indent=2))
    else:
        from rich.console import Console

        from harness.report.diagnosis import show

        show(diagnosis, Console(highlight=False))
    return ExitCode.OK if diagnosis.measurable else ExitCode.ENVIRONMENT
