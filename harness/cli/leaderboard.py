"""`harness leaderboard DIR...`: many runs in one table; only comparable rows share a ranking."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
Rows share a ranking if they answered the same queries in the same mode under the same protocol and on the same kind of
hardware; every other row says why it is in none. What was read is kept as columns beside the page
(leaderboard.parquet), so that the next time only new runs are read; delete it at will.

examples:
  harness leaderboard                            every run under results/
  harness leaderboard results/ lab/ --output all.html
  harness leaderboard results/ --csv rows.csv    every row with every figure
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "leaderboard",
        help="many runs in one table, ranked where they may be",
        description="Rank the models of many runs: comparable rows share a ranking, every other row says why not.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path("results")],
        metavar="DIR",
        help="folders of runs, or runs (default: results)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.html", help="the page (default: leaderboard.html in the first DIR)"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every row with every figure as CSV")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rankings, statements and rows as JSON")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Collect, rank, print, write."""
    from harness.errors import ExitCode, StorageFull, UsageError
    from harness.leaderboard import build, collect
    from harness.leaderboard.board import as_csv, as_json
    from harness.leaderboard.index import store
    from harness.leaderboard.view import view_of
    from harness.report.leaderboard.page import render_leaderboard
    from harness.report.leaderboard.text import markdown_of, print_leaderboard
    from harness.report.terminal import PatientConsole, shown
    from harness.store.run_directory import writing

    folders: list[Path] = options.folders
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.", "Name a folder of runs: harness leaderboard results/")
    page: Path = options.output or folders[0] / "leaderboard.html"
    if page.is_dir():
        raise UsageError(f"{page} is a folder.", "Name a file: --output leaderboard.html")
    index_file = page.with_suffix(".parquet")
    written = [path.resolve() for path in (page, index_file, options.csv, options.json) if path is not None]
    if len(set(written)) < len(written):
        raise UsageError(
            f"Two files would have one name: {', '.join(map(str, written))}.",
            "Name them apart; the index lies beside the page and ends in .parquet.",
        )
    index = collect(folders, index_file)
    if not index.n_cells:
        named = ", ".join(map(str, folders))
        raise UsageError(f"There is no run under {named}.", "Make one: harness run")
    board = build(index)
    view = view_of(board)
    console = PatientConsole(highlight=False)
    if options.markdown:
        print(markdown_of(view), end="")
    else:
        print_leaderboard(console, view)
    refusals = []
    for path, content in (
        (page, partial(render_leaderboard, view)),
        (options.csv, partial(as_csv, board)),
        (options.json, partial(as_json, board)),
    ):
        if path is None:
            continue
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, content())
        except StorageFull as error:
            refusals.append(str(error))  # what is said above can be read all the same
    store(index, index_file)
    if refusals:
        raise StorageFull(" ".join(refusals), "Name another place for it: --output, --csv, --json FILE")
    if not options.markdown:
        console.print()
        console.print("Page: ", shown(str(page), style="cyan"), sep="", soft_wrap=True)
    return int(ExitCode.OK)


def _replace(path: Path, text: str) -> None:
    """Write a file so that whoever opens it, or writes it too, finds it whole. Links, pipes, devices are written to."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        if unfinished.exists():
            unfinished.unlink()
