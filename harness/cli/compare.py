"""`harness compare RUN|BUNDLE...`: what thinking costs, why, what it buys; whether a repetition agrees."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
One run: its modes, and its variants, each over the first. Several: each cell over the first before it with the same
prompts, mode by mode. A run that repeats one before it (the same plan in another run or at another site, or a run
made with `harness run --from`) gets a verdict first, on a line of its own:

  Repetition: agrees within gain

It begins `Repetition: agrees`, `differs`, `undecided` (repeats would tell) or `not comparable`; --json has the figures.
Exit status: 0, whatever the verdict (it is no gate); 4 where a mode or a comparison is invalid (a switch that did
nothing).

examples:
  harness compare latest                        what thinking costs in the newest run
  harness compare 20260102-bf16 20260102-int8   two runs, prompt by prompt
  harness compare paper.zip latest              does the newest run agree with a bundle?
  harness compare latest --reference aies       beside what AI Energy Score published
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "compare",
        help="what thinking costs, why, what it buys; runs beside each other",
        description="What thinking costs per query, why, what it buys, and whether the difference is real.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run",
        nargs="*",
        default=["latest"],
        metavar="RUN|BUNDLE",
        help="a path, a run id, latest (default), or a bundle's file; the first is the base",
    )
    parser.add_argument("--reference", choices=("aies", "mlenergy"), help="beside the rows that they published")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.html", help="default: compare.html in the last RUN, or here for bundles"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and verdicts, too")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Load, compare, write the page, print."""
    from contextlib import ExitStack

    from harness.bundle.archive import is_bundle, opened

    with ExitStack() as stack:
        output_dir = Path(options.output_dir)
        runs: dict[Path, bool] = {}
        for name in options.run:
            runs.setdefault(stack.enter_context(opened(name, output_dir, measured=True)), is_bundle(name))
        own = [run for run, bundled in runs.items() if not bundled]
        page = options.output or (own[-1] if own else Path.cwd()) / "compare.html"
        return _compare(list(runs), page, options)


def _compare(runs: list[Path], page: Path, options: argparse.Namespace) -> int:
    from harness import comparing
    from harness.errors import UsageError
    from harness.publish import accounts
    from harness.report.markdown import render_leads
    from harness.report.study_terminal import print_leads
    from harness.report.terminal import PatientConsole, shown
    from harness.variants import leads_of, study_of

    study = study_of(runs[0], accounts(runs[0])) if len(runs) == 1 else None
    sides = comparing.sides_of(runs) if study is None else list(study.sides)
    matches = comparing.matches_of(sides) if study is None else list(study.matches)
    repetitions = comparing.repetitions_of(sides)
    who, modes, between = comparing.subject_leads(sides), comparing.mode_leads(sides), comparing.match_leads(matches)
    if options.reference is not None:
        between += comparing.reference_leads(sides, options.reference)
    alone = len(sides) == 1 and len(sides[0].cell.modes) == 1 and options.reference is None
    if alone and not sides[0].summary.faults:
        raise UsageError(
            f"{runs[0].name} is one cell in one mode: there is nothing to compare it with.",
            "Name another RUN, or measure with --mode off,on.",
        )
    above = [*comparing.repetition_leads(repetitions), *leads_of(study), *comparing.load_leads(sides)]
    leads = [*above, *who, *modes, *between]
    console = PatientConsole(highlight=False)
    if options.markdown:
        print(render_leads(leads))
    else:
        print_leads(console, leads)
    if options.json is not None:
        comparing.write_document(options.json, sides, matches, repetitions)
    comparing.write_page(page, sides, [*above, *who, *between])  # last: what is said can be read all the same
    if not options.markdown:
        console.print()
        console.print("Page: ", shown(str(page), style="cyan"), sep="", soft_wrap=True)
    return comparing.exit_code(sides, matches)
