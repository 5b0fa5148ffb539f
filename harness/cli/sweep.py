"""`harness sweep FILE.yaml`: many cells, each in a fresh process, on this machine or a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harness.sweep.planning.plan import Plan

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EXECUTORS = ("local", "ray", "slurm")
SHELLS = ("bash", "slurm")
EPILOG = """\
A sweep file names what all cells share (run), what is combined with what (vary) and what is left out (exclude), in the
keys of a run file; docs/sweep.md has all of it. What is finished is never measured again, whatever stopped the sweep.

examples:
  harness sweep sweep.yaml --plan                the cells, their order, hours and joules to expect; writes nothing
  harness sweep sweep.yaml                       measure them, one after the other, on this machine's GPU
  harness sweep sweep.yaml --gpus all            one cell on each GPU
  harness sweep --resume latest                  go on after Ctrl-C, a crash or a reboot
  harness sweep --resume latest sweep.yaml       the plan has changed: only the difference is measured
  harness sweep sweep.yaml --emit slurm          write a job array instead; bash: a script for one machine
  harness sweep --collect node1/ node2/          put together what several machines have measured
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "sweep",
        help="many models, settings and repeats, on one machine or a cluster",
        description="Measure every combination of a sweep file, each cell in a fresh process; survive what stops it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", default=None, type=Path, metavar="FILE.yaml", help="what is to be measured")
    parser.add_argument("--plan", action="store_true", help="show what would be measured, and write nothing")
    parser.add_argument("--resume", default=None, metavar="SWEEP", help="complete a sweep: a path, its id, or latest")
    parser.add_argument("--executor", choices=EXECUTORS, default="local", help="where cells run (default: local)")
    parser.add_argument(
        "--gpus", default=None, metavar="all|none|UUID,...", help="of this machine (default: the first)"
    )
    cluster = parser.add_argument_group("on a cluster")
    cluster.add_argument("--address", default=None, metavar="HOST:PORT|auto", help="of a Ray cluster")
    cluster.add_argument("--accelerator-type", default=None, metavar="H100", help="only nodes with such boards (Ray)")
    cluster.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="of the jobs: partition=gpu, account=me, ..."
    )
    cluster.add_argument("--pack", action="store_true", help="a cell on each GPU of a node, not on each node (marked)")
    parser.add_argument("--emit", choices=SHELLS, default=None, help="write scripts that measure it, and stop")
    parser.add_argument(
        "--collect", nargs="+", default=None, type=Path, metavar="DIR", help="bring runs together in one sweep's folder"
    )
    parser.add_argument("--output-dir", default=Path("results"), type=Path, metavar="DIR", help="default: results")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Plan, then show it, write scripts of it, or measure it."""
    from harness.errors import ExitCode, UsageError
    from harness.sweep.planning.checks import refuse_full, refuse_unknown

    if options.collect is not None:
        return _collect(options)
    if options.file is None and options.resume is None:
        raise UsageError("What is to be measured?", "Name a sweep file: harness sweep sweep.yaml, or --resume latest")
    placement = _placement(options)
    plan, sweep = _plan(options)
    refuse_unknown(plan)
    if options.plan:
        _show(options, plan, sweep)
        return int(ExitCode.OK)
    from harness.report.terminal import PatientConsole

    console = PatientConsole(highlight=False)
    refuse_full(options.output_dir if sweep is None else sweep)
    if options.emit is not None:
        return _emit(console, options, plan, sweep)
    from harness.sweep.launch import launch

    return int(
        launch(
            console,
            plan,
            sweep or _new_path(options, options.file.stem),
            executor=options.executor,
            gpus=options.gpus,
            placement=placement,
            is_resumed=sweep is not None,
        )
    )


def _placement(options: argparse.Namespace) -> dict[str, object]:
    """What an executor is told besides the plan, as its own keywords.

    Raises:
        UsageError: A flag of another executor.
    """
    from harness.errors import UsageError

    uses_slurm = options.executor == "slurm" or options.emit == "slurm"
    belongs = {
        "--gpus": (options.gpus, options.executor == "local", "--executor local"),
        "--address": (options.address, options.executor == "ray", "--executor ray"),
        "--accelerator-type": (options.accelerator_type, options.executor == "ray", "--executor ray"),
        "--slurm": (options.slurm, uses_slurm, "--executor slurm or --emit slurm"),
        "--pack": (options.pack, options.executor != "local", "--executor ray or slurm"),
    }
    for flag, (given, is_its_own, whose) in belongs.items():
        if given and not is_its_own:
            raise UsageError(f"{flag} belongs to {whose}.", f"Leave it out, or add {whose}.")
    if options.executor == "ray":
        asked = {"address": options.address, "accelerator_type": options.accelerator_type}
        return {**asked, "pack_nodes": options.pack}
    if options.executor == "slurm":
        return {"parameters": _sbatch_options(options), "pack_nodes": options.pack}
    return {}


def _sbatch_options(options: argparse.Namespace) -> dict[str, str]:
    from harness.sweep.planning.emit import sbatch_options

    return sbatch_options(options.slurm)


def _plan(options: argparse.Namespace) -> tuple[Plan, Path | None]:
    """The plan, and the directory of the sweep that is resumed; None: it is a new one."""
    from harness.sweep.planning.plan import plan_of
    from harness.sweep.planning.spec import load_sweep_spec

    if options.resume is None:
        spec = load_sweep_spec(options.file)
        return plan_of(spec.model_copy(update={"working_dir": str(Path.cwd())})), None
    from harness.sweep.directory import SweepDirectory

    directory = SweepDirectory.named(options.resume, options.output_dir)
    stored = load_sweep_spec(directory.plans()[-1])
    if stored.working_dir is None or not Path(stored.working_dir).is_dir():  # it was begun on another machine
        stored = stored.model_copy(update={"working_dir": str(Path.cwd())})
    if options.file is None:
        return plan_of(stored), directory.path
    # The same path must mean the same file as when the sweep was begun.
    asked = load_sweep_spec(options.file).model_copy(update={"working_dir": stored.working_dir})
    return plan_of(asked), directory.path


def _new_path(options: argparse.Namespace, name: str) -> Path:
    """Where a new sweep is going to lie."""
    from datetime import UTC, datetime

    from harness.records import slug

    output_dir: Path = options.output_dir
    return output_dir.resolve() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug(name)}"


def _finished(plan: Plan, sweep: Path | None) -> set[str]:
    if sweep is None:
        return set()
    from harness.sweep.directory import SweepDirectory

    return SweepDirectory(sweep).finished(plan.cells)


def _on_gpus(options: argparse.Namespace) -> bool:
    """Whether GPUs will do the work, as far as one can know before."""
    if options.executor != "local" or options.emit == "slurm":
        return True
    if options.gpus not in (None, "all"):
        from harness.sweep.executors.local import slots_of  # refuses what is not there

        return any(slots_of(options.gpus))
    from harness.environment.machine import visible_gpus

    return bool(visible_gpus())


def _show(options: argparse.Namespace, plan: Plan, sweep: Path | None) -> None:
    from harness.report.sweep.plan import plan_text
    from harness.sweep.planning.forecast import estimates_of, sheet_of

    on_gpus = _on_gpus(options)
    estimates = estimates_of(plan, options.output_dir, on_gpus=on_gpus, sweep=sweep)
    name = str(options.file) if sweep is None else sweep.name
    sheet = sheet_of(plan, estimates, _finished(plan, sweep), name=name, on_gpus=on_gpus)
    print(plan_text(sheet), end="")


def _emit(console: Console, options: argparse.Namespace, plan: Plan, sweep: Path | None) -> int:
    import shlex

    from harness.errors import ExitCode, UsageError
    from harness.sweep.directory import SweepDirectory
    from harness.sweep.planning.emit import emit
    from harness.sweep.planning.spec import frozen

    finished = _finished(plan, sweep)
    cells = [cell for cell in plan.cells if cell.key not in finished]
    if not cells:
        raise UsageError("Every cell of this sweep is finished.", "Change its file, or look: harness sweep --plan")
    if sweep is None:
        directory = SweepDirectory.create(_new_path(options, options.file.stem), frozen(plan.spec))
    else:
        directory = SweepDirectory(sweep)
        directory.freeze(frozen(plan.spec))
    script = emit(plan, cells, directory.path, options.emit, _sbatch_options(options))
    console.print(f"{len(cells):,} cells: {script}", soft_wrap=True, markup=False)
    start = "sbatch" if options.emit == "slurm" else "bash"
    console.print(f"Read it, then: {start} {shlex.quote(str(script))}", soft_wrap=True, markup=False)
    return int(ExitCode.OK)


def _collect(options: argparse.Namespace) -> int:
    """Into the sweep that `--resume` names, or a new folder."""
    from harness.errors import ExitCode, UsageError
    from harness.report.terminal import PatientConsole
    from harness.study import named, program
    from harness.sweep.collect import collect, write_frames
    from harness.sweep.directory import SweepDirectory

    if options.file is not None or options.plan or options.emit is not None:
        raise UsageError("--collect measures nothing.", "Leave out the sweep file, --plan and --emit.")
    if options.resume is None:
        target = _new_path(options, "collected")
    else:
        target = SweepDirectory.named(options.resume, options.output_dir).path
    console = PatientConsole(highlight=False)
    found = collect(options.collect, target, lambda line: console.print(line, soft_wrap=True, markup=False))
    counts = [f"{found.n_taken:,} cells of {len(found.runs):,} runs at {len(found.sites):,} sites"]
    counts += [f"{found.n_repeats:,} of them measured again at their site"] if found.n_repeats else []
    counts += [f"{found.n_completed:,} in place of an earlier copy"] if found.n_completed else []
    counts += [f"{found.n_copies:,} were there already"] if found.n_copies else []
    console.print(f"Collected in {target}: {'; '.join(counts)}.", soft_wrap=True, markup=False)
    frames = write_frames(target)
    if frames:
        console.print(f"A row per query, one file per run: {frames[0].parent}/*.parquet", soft_wrap=True, markup=False)
    console.print(f"Next: {program()} leaderboard {named(target)}", soft_wrap=True, markup=False)
    return int(ExitCode.OK)
