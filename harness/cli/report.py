"""`harness report RUN`: the receipt again, and the page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "report",
        help="the receipt and the page of a run",
        description="Print a run's receipt and write its page: one HTML file that needs no network.",
    )
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="a path, a run id, or latest (default)")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.add_argument("--external-meter", metavar="FILE.csv", help="join the log of a wall meter or BMC with the run")
    parser.add_argument("--markdown", action="store_true", help="print the receipt as Markdown instead")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Make everything that can be made again."""
    from harness import publish
    from harness.errors import StorageFull, UsageError
    from harness.report.markdown import render_markdown
    from harness.report.receipt import receipt_of
    from harness.report.terminal import PatientConsole, Place, print_receipt
    from harness.store.run_directory import run_path
    from harness.study import exit_code
    from harness.wall import apply

    run = run_path(options.run, Path(options.output_dir), measured=True)
    if options.external_meter is not None:
        apply(run, Path(options.external_meter))
    measured = publish.accounts(run)
    if not measured:
        raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {options.run}")
    console = PatientConsole(highlight=False)
    places, refusal = [], None
    try:
        places.append(Place(what="Page", path=str(publish.publish(run, measured))))
    except StorageFull as error:
        refusal = error  # the receipt can be read all the same
    for account in measured:
        if options.markdown:
            print(render_markdown(receipt_of(account.summary)))
        else:
            print_receipt(console, receipt_of(account.summary), places=places)
    if refusal is not None:
        raise StorageFull(f"The page was not written. {refusal}", "Copy the run to where it can be written.")
    return exit_code([account.summary for account in measured])
