"""`harness protocols`: the ways to measure, this program's and those of others."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "protocols",
        help="the measuring protocols, ours and others'",
        description="The measuring protocols that `harness run --protocol` takes; one in full where it is named.",
    )
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="one of them, in full")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print all of them, or one."""
    from harness.presets import preset, presets
    from harness.report.protocols import print_protocol, print_protocols
    from harness.report.terminal import PatientConsole

    console = PatientConsole(highlight=False)
    if options.name is None:
        print_protocols(console, presets().values())
    else:
        print_protocol(console, preset(options.name))
    return 0
