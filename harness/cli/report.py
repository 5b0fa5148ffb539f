"""`harness report RUN...`: the receipt again, the page, and what stands behind a figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.footprint_flags import add_flags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.publish import Account

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
examples:
  harness report                              the newest run
  harness report RUN RUN                      several runs on one page
  harness report RUN --explain                every figure that can be explained
  harness report RUN --explain on.energy_j    its formula, its interval, its queries
  harness report RUN --explain on/PROMPT_ID   one query, down to the sensor's readings
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "report",
        help="the receipt and the page of a run",
        description="Print a run's receipt and write its page: one HTML file that needs no network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", nargs="*", default=["latest"], metavar="RUN", help="a path, a run id, latest (default), or a bundle"
    )
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.html", help="page of several runs (default: reports.html in the last RUN)"
    )
    parser.add_argument(
        "--explain", nargs="?", const="", metavar="FIGURE", help="print what stands behind a figure; alone: list them"
    )
    parser.add_argument("--external-meter", metavar="FILE.csv", help="join the log of a wall meter or BMC with the run")
    parser.add_argument("--markdown", action="store_true", help="print the receipt as Markdown instead")
    add_flags(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Make everything that can be made again; of a bundle nothing but the page beside it."""
    from contextlib import ExitStack

    from harness.bundle.archive import is_bundle, opened
    from harness.errors import UsageError

    bundles = [name for name in options.run if is_bundle(name)]
    if bundles and options.external_meter is not None:
        raise UsageError(f"{bundles[0]} is a bundle, and nothing is joined with one.", "Join the log with the run.")
    with ExitStack() as stack:
        runs = {
            stack.enter_context(opened(name, Path(options.output_dir), measured=True)): Path(name)
            if name in bundles
            else None
            for name in options.run
        }
        return _report(options, runs)


def _report(options: argparse.Namespace, bundle_of: Mapping[Path, Path | None]) -> int:
    """The same of runs, each with the bundle that it came out of."""
    from harness import publish
    from harness.cli.footprint_flags import footprint_spec, footprints_of
    from harness.errors import StorageFull, UsageError
    from harness.report.markdown import render_leads, render_markdown
    from harness.report.receipt import receipt_of
    from harness.report.serving.loads import loads_leads
    from harness.report.study_terminal import print_leads
    from harness.report.terminal import PatientConsole, Place, print_receipt
    from harness.study import exit_code
    from harness.variants import in_order, names_of, variant_leads
    from harness.wall import apply

    runs = list(bundle_of)
    if options.external_meter is not None:
        if len(runs) > 1:
            raise UsageError(
                f"One log is of one run, and {len(runs)} are named.", "Name the run that it was logged in."
            )
        apply(runs[0], Path(options.external_meter))
    by_run = {run: in_order(run, publish.accounts(run)) for run in runs}
    measured = [account for accounts in by_run.values() for account in accounts]
    if not measured:
        raise UsageError(f"{runs[0]} holds no finished query.", f"Resume it: harness run --resume {options.run[0]}")
    if options.explain is not None:
        return _explain(options, measured)
    footprints, not_carried = footprints_of(by_run, footprint_spec(options))
    leads = [lead for of_run in footprints.values() for lead in of_run]
    above = {run: variant_leads(run, accounts) for run, accounts in by_run.items()}
    console = PatientConsole(highlight=False)
    pages: list[Path] = []
    refusal = None
    try:
        is_together = len(runs) > 1 or options.output is not None
        for run, accounts in by_run.items():
            if accounts and (bundle_of[run] is None or not is_together):
                page = publish.publish(run, accounts, footprints[run], above[run], names_of(run))
                pages.append(_beside(bundle_of[run], page))
        if is_together:
            bundle = bundle_of[runs[-1]]
            pages = [options.output or (runs[-1] if bundle is None else bundle.parent) / "reports.html"]
            publish.publish_together(pages[0], measured, leads)
    except StorageFull as error:
        refusal = error  # the receipt can be read all the same
    places = [Place(what="Page", path=str(page)) for page in pages[-1:]]
    for account, footprint in zip(measured, leads, strict=True):
        receipt = receipt_of(account.summary, account.results.queries)
        if options.markdown:
            print(render_markdown(receipt))
            if footprint is not None:
                print(render_leads([footprint]))
        else:
            print_receipt(console, receipt, places=places)
            print_leads(console, [footprint] if footprint else [])
    for leads_of_run in above.values():
        if options.markdown and leads_of_run:
            print(render_leads(leads_of_run))
        else:
            print_leads(console, leads_of_run)
    loads = loads_leads([account.summary for account in measured])
    if options.markdown and loads:
        print(render_leads(loads))
    else:
        print_leads(console, loads)
    if refusal is not None:
        step = "Copy the run to where it can be written." if bundle_of[runs[-1]] is None else refusal.next_step
        raise StorageFull(f"The page was not written. {refusal}", step)
    if not_carried is not None:
        raise not_carried
    return exit_code([account.summary for account in measured])


def _beside(bundle: Path | None, page: Path) -> Path:
    """Where a run's page can be found afterwards: a bundle's own folder is gone then."""
    import shutil

    from harness.store.run_directory import writing

    if bundle is None:
        return page
    with writing(bundle.parent, "place for its page with --output FILE.html"):
        return Path(shutil.copyfile(page, bundle.with_name(f"{bundle.stem}.report.html")))


def _explain(options: argparse.Namespace, measured: Sequence[Account]) -> int:
    """Print what stands behind one figure; without a name, the names that there are."""
    from harness import explaining
    from harness.errors import ExitCode
    from harness.report.explanation.query import QueryAccount
    from harness.report.explanation.terminal import command_to, print_explanation, print_names, print_next, print_query
    from harness.report.terminal import PatientConsole

    console = PatientConsole(highlight=False)
    where = options.output_dir
    if not options.explain:
        for names in explaining.names_of(measured):
            print_names(console, names.figures, cell=names.cell, n_queries=names.n_queries, query=names.query)
        return int(ExitCode.OK)
    found = explaining.explained(measured, options.explain)
    steps = [(what, command_to("report", options.run, name, output_dir=where)) for what, name in found.steps]
    if isinstance(found.subject, QueryAccount):
        print_query(console, found.subject, cell=found.cell)
        again = "recompute these joules" if len(options.run) == 1 else "recompute a run's joules"
        steps += [(again, command_to("verify", [run], output_dir=where)) for run in options.run]
    else:
        print_explanation(console, found.subject, cell=found.cell)
    print_next(console, steps)
    return int(ExitCode.OK)
