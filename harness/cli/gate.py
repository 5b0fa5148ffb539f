"""`harness gate`: is a model within its energy budget, as far as the measurement can tell."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from harness.gate.budget import Budget, Difference, ReferenceKind
    from harness.gate.verdict import Verdict
    from harness.gating import Evidence

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DIFFERENCES = ("gpu", "driver", "protocol", "prompts")
SHARED_KEYS = ("num_prompts", "device", "meter_gpus", "output_dir")
"""Keys of a run file that have a flag here, for both sides."""
STANDARD_OUTPUT = "-"
EPILOG = """\
A line passes if the upper end of its interval is at or below the limit, fails if the lower end is above it, and is
inconclusive otherwise. Exit status: 0 pass; 1 fail; 6 inconclusive (or what the budget makes of it); 4 invalid, where a
line has no figure that may be judged; 2 and 3 where no verdict was reached.

examples:
  harness gate --budget budget.yaml --measure new.yaml old.yaml     both models in turn, three times, on one board
  harness gate --budget budget.yaml --measure new.yaml old.yaml --until-decided --max-gpu-minutes 30
  harness gate --budget budget.yaml --candidate RUN --reference RUN --explain
  harness gate --budget budget.yaml --candidate RUN --markdown gate.md --junit gate.xml
  harness gate --power --candidate RUN --reference RUN              how many queries show how small a difference
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "gate",
        help="is a model within its energy budget: pass, fail or inconclusive",
        description="Hold a run, or two models measured in turn, against a budget of joules and tokens.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--budget", type=Path, metavar="FILE.yaml", help="limits, a line each (docs/gate.md)")
    stored = parser.add_argument_group("what was measured", "RUN is a path, a run id or latest; RUN:MODEL of several.")
    stored.add_argument("--candidate", metavar="RUN", help="what is judged (default: latest)")
    stored.add_argument("--reference", metavar="RUN", help="the last release, for relative lines")
    stored.add_argument("--golden", metavar="RUN", help="a pinned reference beside it (default: the budget's)")
    now = parser.add_argument_group("measure it now")
    now.add_argument(
        "--measure",
        nargs="*",
        metavar="FILE.yaml",
        help="run files of candidate and reference, measured in turn in one job",
    )
    now.add_argument("--repeats", type=int, metavar="R", help="of both sides (default: 3); one shows no spread")
    now.add_argument("--until-decided", action="store_true", help="look again after 4, 6, 8 and 12 repeats")
    now.add_argument("--max-gpu-minutes", type=float, metavar="M", help="begin no further repeat after M minutes")
    now.add_argument("--resume", metavar="GATE", help="complete a gate that was stopped: a path, an id or latest")
    now.add_argument("--num-prompts", type=int, metavar="N", help="of both sides, over what the run files say")
    now.add_argument("--device", metavar="D", help="likewise: auto, cpu, cuda, cuda:N")
    now.add_argument("--meter-gpus", metavar="auto|all|none|UUID|INDEX,...", help="likewise")
    now.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of a run file, of both")
    how = parser.add_argument_group("how it is judged")
    how.add_argument(
        "--allow", action="append", default=[], metavar=",".join(DIFFERENCES), help="let the two sides differ in it"
    )
    how.add_argument("--power", action="store_true", help="print how many queries show how small a difference")
    out = parser.add_argument_group("what is said")
    out.add_argument("--explain", action="store_true", help="every line in plain words, and what its interval is of")
    out.add_argument(
        "--markdown", nargs="?", const=STANDARD_OUTPUT, metavar="FILE", help="for a comment; without FILE, print it"
    )
    out.add_argument("--junit", type=Path, metavar="FILE.xml", help="a test case per line")
    out.add_argument("--json", type=Path, metavar="FILE", help="the verdict with every figure")
    out.add_argument("--output-dir", metavar="DIR", help="where run ids are looked up (default: results)")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Measure where that is asked for, judge, print, write."""
    from harness.report.terminal import PatientConsole

    allow = _allowed(options.allow)
    _can_be_meant(options)
    on_error = options.markdown == STANDARD_OUTPUT  # whatever else is told then stands beside the Markdown
    console = PatientConsole(highlight=False, stderr=on_error)
    return _measured(options, allow, console) if options.measure is not None else _stored(options, allow, console)


def _stored(options: argparse.Namespace, allow: tuple[Difference, ...], console: Console) -> int:
    """Judge runs that exist."""
    from datetime import UTC, datetime

    from harness import gating
    from harness.errors import ExitCode, UsageError
    from harness.gate.budget import ReferenceKind

    output_dir = Path(options.output_dir or "results")
    if options.budget is None and not options.power:
        raise UsageError("A gate needs a budget.", "Name one: --budget FILE.yaml (docs/gate.md has an example).")
    budget = None if options.budget is None else gating.load_budget(options.budget)
    named = {}
    if options.reference is not None:
        named[ReferenceKind.RELEASE] = gating.named_run(options.reference, output_dir)
    if options.golden is not None:
        named[ReferenceKind.GOLDEN] = gating.named_run(options.golden, output_dir)
    elif budget is not None and (pinned := gating.golden_of(budget, options.budget)) is not None:
        named[ReferenceKind.GOLDEN] = pinned
    candidate, references = gating.evidence_of(gating.named_run(options.candidate or "latest", output_dir), named)
    if options.power:
        _show_power(candidate, references, budget, console)
    if budget is None:
        return int(ExitCode.OK)
    budget = budget.model_copy(update={"allow": tuple(dict.fromkeys((*budget.allow, *allow)))})
    verdict = gating.verdict_of(budget, candidate, references, today=datetime.now(UTC).date())
    return _said(options, budget, options.budget, candidate, references, verdict, console)


def _measured(options: argparse.Namespace, allow: tuple[Difference, ...], console: Console) -> int:
    """Measure both sides in turn, then judge."""
    from harness import gate_measurement
    from harness.errors import UsageError

    flags = {key: value for key in SHARED_KEYS if (value := getattr(options, key)) is not None}
    budget_file = None if options.budget is None else str(options.budget)
    if options.resume is not None:
        output_dir = Path(options.output_dir or "results")
        gate = gate_measurement.resume(options.resume, output_dir, budget_file=budget_file, console=console)
    else:
        if budget_file is None:
            raise UsageError("A gate needs a budget.", "Name one: --budget FILE.yaml (docs/gate.md has an example).")
        gate = gate_measurement.begin(
            tuple(options.measure),
            budget_file,
            flags,
            tuple(options.set),
            repeats=options.repeats,
            until_decided=options.until_decided,
            max_gpu_minutes=options.max_gpu_minutes,
            allow=allow,
            golden=options.golden,
            console=console,
        )
    found = gate.run()
    file = options.budget or Path(gate.plan.budget_file)  # so that a resumed gate keeps its name and its comment
    code = _said(options, found.budget, file, found.candidate, found.references, found.verdict, console)
    if options.markdown != STANDARD_OUTPUT:
        console.print(f"Measured: {found.path}", soft_wrap=True, markup=False)
    return code


def _said(
    options: argparse.Namespace,
    budget: Budget,
    budget_file: Path,
    candidate: Evidence,
    references: Mapping[ReferenceKind, Evidence],
    verdict: Verdict,
    console: Console,
) -> int:
    """Print the verdict, write it to where it was asked for, and return its exit code."""
    from harness.gating.outputs import Outputs, tell_github, write_outputs
    from harness.report.gate.markdown import render_gate
    from harness.report.gate.rows import OVER
    from harness.report.gate.sheet import gate_sheet, next_step
    from harness.report.gate.terminal import print_gate
    from harness.study import named

    base = next(iter(references.values()), None)
    step = next_step(
        verdict,
        candidate=named(candidate.run.path),
        reference=None if base is None else named(base.run.path),
        budget=str(budget_file),
    )
    sheet = gate_sheet(
        verdict,
        name=budget.name or budget_file.stem,
        inconclusive=budget.inconclusive,
        next_step=step,
        findings={
            "candidate": candidate.doubts,
            **{OVER[kind].removeprefix("the "): each.doubts for kind, each in references.items()},
        },
    )
    on_screen = options.markdown == STANDARD_OUTPUT
    if on_screen:
        print(render_gate(sheet), end="")
    else:
        print_gate(console, sheet, explain=options.explain)
    tell_github(sheet, budget_file, os.environ)
    markdown = None if options.markdown is None or on_screen else Path(options.markdown)
    write_outputs(sheet, Outputs(markdown=markdown, junit=options.junit, json=options.json))
    return int(verdict.exit_code)


def _show_power(
    candidate: Evidence, references: Mapping[ReferenceKind, Evidence], budget: Budget | None, console: Console
) -> None:
    """Print what a gate over these runs can see, mode by mode."""
    from harness.gate.budget import ReferenceKind
    from harness.gating import power_tables
    from harness.report.gate.power import print_power

    tables = power_tables(
        candidate,
        references.get(ReferenceKind.RELEASE),
        alpha=0.05 if budget is None else budget.alpha,
        run_sd=None if budget is None else budget.run_sd,
    )
    print_power(console, tables)


def _allowed(given: list[str]) -> tuple[Difference, ...]:
    """`--allow gpu,driver` and `--allow gpu --allow driver` are the same."""
    from harness.errors import UnknownName

    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    for name in names:
        if name not in DIFFERENCES:
            raise UnknownName("difference", name, DIFFERENCES)
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]  # each was looked up


def _can_be_meant(options: argparse.Namespace) -> None:
    """Refuse flags that contradict each other.

    Raises:
        UsageError: What is measured and what was measured are both named, or a flag has nothing to act on.
    """
    from harness.errors import UsageError

    measures = options.measure is not None or options.resume is not None
    stored = [f"--{name}" for name in ("candidate", "reference") if getattr(options, name) is not None]
    if measures and (stored or options.power):
        other = stored[0] if stored else "--power"
        raise UsageError(f"--measure measures both sides, and {other} is of runs that exist.", "Leave one of them out.")
    if options.measure and options.resume is not None:
        raise UsageError("--resume completes a gate with the run files it began with.", "Leave them out.")
    if options.measure is not None and options.resume is None and len(options.measure) != 2:
        raise UsageError(
            f"--measure takes two run files, and {len(options.measure)} are named.",
            "Write --measure CANDIDATE.yaml REFERENCE.yaml",
        )
    if options.resume is not None:
        options.measure = options.measure or []
    asked: dict[str, Any] = {name: getattr(options, name) for name in ("repeats", "max_gpu_minutes", *SHARED_KEYS[:3])}
    asked |= {"until_decided": options.until_decided or None, "set": options.set or None}
    given = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value is not None]
    if given and not measures:
        raise UsageError(f"{given[0]} is of a gate that measures.", "Add --measure CANDIDATE.yaml REFERENCE.yaml")
    given += [f"--{name}" for name in ("allow", "golden") if getattr(options, name)]
    if given and options.resume is not None:
        raise UsageError(f"{given[0]} was fixed when the gate began.", "Leave it out, or begin another gate.")
