"""`harness export RUN`: a run's figures in the files of somebody else's tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "export",
        help="a run's figures in the files of other tools",
        description="Write a run's figures as AI Energy Score's tools do: GPU_ENERGY_WH.txt, GPU_ENERGY_SUMMARY.json "
        "and master_results.csv. What is not known stays empty.",
    )
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="a path, a run id, or latest (default)")
    parser.add_argument("--format", choices=("aies",), default="aies", help="aies: AI Energy Score (default)")
    parser.add_argument("--output-dir", metavar="DIR", help="where to write (default: export-aies in the run)")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Write the files, and say where."""
    from harness import publish
    from harness.errors import ExitCode, UsageError
    from harness.report.aies_export import ExportCell, aies_files
    from harness.store.run_directory import run_path, writing

    run = run_path(options.run, Path("results"), measured=True)
    cells = [
        ExportCell(summary=account.summary, queries=account.results.queries, manifest=account.results.manifest)
        for account in publish.accounts(run)
        if account.results.manifest is not None
    ]
    if not cells:
        raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {options.run}")
    files = aies_files(cells)
    folder = run / "export-aies" if options.output_dir is None else Path(options.output_dir)
    table = folder / "master_results.csv"
    if options.output_dir is not None and table.exists():
        raise UsageError(f"{table} exists, and may hold somebody else's results.", "Name another --output-dir.")
    with writing(folder):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    print(table)
    return int(ExitCode.OK)
