"""`harness project RUN --queries-per-day N`: from joules per query to a fleet's MW and TWh a year."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.footprint_flags import add_flags

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
A run asks one query at a time. On a busy server a query costs a fraction of
that, so nothing is projected unless you say which you mean: --as-batch-1, or a
factor of your own (--batch-factor).

examples:
  harness project latest --queries-per-day 1e9 --as-batch-1
  harness project latest --queries-per-day 5e8..2e9 --batch-factor 10..50 \\
      --server mit --pue 1.1..1.3
  harness project latest --queries-per-day 1e9 --mode on --as-batch-1 \\
      --grid FRA,USA/California --json fleet.json
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "project",
        help="a fleet's MW and TWh a year from a run's joules per query",
        description="From a run's joules per query to a fleet's MW and TWh a year, every assumption printed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="a path, a run id, or latest (default)")
    parser.add_argument("--queries-per-day", metavar="X", help="of the fleet: 1e9, or 5e8..2e9 for a 95 %% range")
    parser.add_argument("--mode", metavar="off,on,...", help="only these (default: all)")
    parser.add_argument("--as-batch-1", action="store_true", default=None, help="as if every query ran alone")
    parser.add_argument("--batch-factor", metavar="X", help="divide by what a busy server saves: 10..50")
    parser.add_argument("--draws", type=int, metavar="N", help="of the Monte Carlo (default: 200,000)")
    parser.add_argument("--seed", type=int, metavar="S", help="of its random numbers (default: 0)")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything in a file as well")
    add_flags(parser, of_a_fleet=True)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Read the run, project each of its cells, print, write."""
    from harness import publish
    from harness.cli.footprint_flags import projection_spec
    from harness.errors import ExitCode, InvalidMeasurement, UsageError
    from harness.report.footprint.fleet import FleetFile, FleetReport, fleet_report
    from harness.report.footprint.projection import projection_lead
    from harness.report.footprint.subjects import Measured, repeats_of
    from harness.report.markdown import render_leads
    from harness.report.study_terminal import print_leads
    from harness.report.terminal import PatientConsole
    from harness.store.run_directory import run_path, writing

    own = ("queries_per_day", "mode", "as_batch_1", "batch_factor", "draws", "seed")
    spec = projection_spec(options, {key: getattr(options, key) for key in own})
    run = run_path(options.run, Path(options.output_dir), measured=True)
    measured = [
        Measured(summary=account.summary, columns=account.results.columns, manifest=account.results.manifest)
        for account in publish.accounts(run)
        if account.results.manifest is not None
    ]
    if not measured:
        raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {options.run}")
    reports: list[FleetReport] = []
    refusal = None
    for repeats in repeats_of(measured):
        try:
            reports.append(fleet_report(repeats, spec))
        except InvalidMeasurement as error:
            refusal = error  # of this cell; the others can be projected all the same
    leads = [projection_lead(report) for report in reports]
    if options.markdown:
        print(render_leads(leads), end="")
    else:
        print_leads(PatientConsole(highlight=False), leads)
    if options.json is not None and reports:
        with writing(options.json, "--json"):
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(FleetFile(projections=tuple(reports)).model_dump_json(indent=1) + "\n", "utf-8")
    if refusal is not None:
        raise refusal
    return int(ExitCode.OK)
