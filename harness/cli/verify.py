"""`harness verify RUN`: recompute every energy from the raw readings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

N_SHOWN = 20


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "verify",
        help="recompute a run's energies from its raw readings",
        description="Recompute every stored energy from the raw readings beside it, and name those that differ.",
        epilog="Exit status: 0 where all agree, 4 where one differs.",
    )
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="a path, a run id, or latest (default)")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Check, and say how many agree."""
    from harness.errors import ExitCode
    from harness.store.run_directory import run_path
    from harness.verify import verify

    run = run_path(options.run, Path(options.output_dir), measured=True)
    verification = verify(run)
    print(f"{verification.n_agree} of {verification.n_figures} figures agree with the raw readings of {run}.")
    for difference in verification.differences[:N_SHOWN]:
        print(
            f"  {difference.where}: {difference.figure} is stored as {difference.stored}, comes out as "
            f"{difference.recomputed}"
        )
    if len(verification.differences) > N_SHOWN:
        print(f"  and {len(verification.differences) - N_SHOWN} more")
    for sum_of in verification.not_checked:
        print(f"  not checked, because a part of it is null: {sum_of}")
    if verification.n_figures == 0:
        print("Nothing was measured in it.")
        return ExitCode.INVALID
    return ExitCode.INVALID if verification.differences else ExitCode.OK
