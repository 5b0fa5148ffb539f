"""`harness tasks`: what can be run and measured beside text, and how."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "tasks",
        help="the tasks: their inputs, data sets, metrics and default models",
        description="The tasks that `harness run --task` takes; one in full where it is named.",
    )
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="one of them, in full")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print all of them, or one."""
    from harness.engine.task.catalogue import task_named, tasks
    from harness.report.console import PatientConsole
    from harness.report.tasks import print_task, print_tasks

    console = PatientConsole(highlight=False)
    if options.name is None:
        print_tasks(console, tasks().values())
    else:
        print_task(console, task_named(options.name))
    return 0
