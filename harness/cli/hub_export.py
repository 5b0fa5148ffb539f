"""What `harness export` writes for the Hugging Face Hub, and the flags that are about that alone."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.cli.export import Files, Request

READ_BY = {
    "dataset": ("eval-results", "hub"),
    "license": ("hub",),
    "bundle_sha256": ("eval-results", "hub"),
}
"""The formats that have a place for what a user states."""
NO_CARBON = "A row has no field for carbon, and `co2_eq_emissions` of a model card is of the model's training."
PATTERNS = {
    "dataset": (r"\w[\w.-]*/\w[\w.-]*", "as OWNER/NAME"),
    "license": (r"[a-z0-9][a-z0-9.-]*", "as the Hub spells it: apache-2.0, cc-by-4.0, other"),
    "bundle_sha256": (r"[0-9a-f]{64}", "as the 64 hexadecimal digits that `harness export --bundle` printed"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Announce them."""
    parser.add_argument("--dataset", metavar="OWNER/NAME", help="the data set's repository, for hub and eval-results")
    parser.add_argument("--license", metavar="ID", help="of the data set, for hub, as the Hub spells it: cc-by-4.0")
    parser.add_argument("--bundle-sha256", metavar="HEX", help="digest of the run's bundle, for hub and eval-results")


def stated(options: argparse.Namespace, name: str) -> str | None:
    """What the user says of the data set; None: nothing.

    Raises:
        UsageError: It cannot be meant.
    """
    from harness.errors import UsageError

    text: str | None = getattr(options, name)
    pattern, words = PATTERNS[name]
    if text is not None and re.fullmatch(pattern, text, re.ASCII) is None:
        raise UsageError(f"--{name.replace('_', '-')} {text!r} cannot be meant.", f"Give it {words}.")
    return text


def hub(request: Request) -> Files:
    """The data set: its card and its tables, with texts where they may be published."""
    from harness.bundle.contents import read_bundle
    from harness.bundle.withholding import reason
    from harness.report.exports.hub import hub_files
    from harness.report.exports.hub_card import Publication
    from harness.results import load_results
    from harness.store.run_directory import cells

    directories = cells(request.run)
    sessions = [directory.manifest(number) for directory in directories for number in directory.sessions()]
    withheld = reason(
        [directory.cell() for directory in directories],
        [manifest for manifest in sessions if manifest is not None],
        asked=request.hash_texts,
    )
    origin = read_bundle(request.run)
    publication = Publication(
        dataset=request.dataset,
        license=request.license,
        bundle_sha256=_digest(request),
        withheld=origin.texts_hashed_because if origin is not None and origin.texts == "hashed" else withheld,
    )
    return hub_files(load_results(request.run), request.cells, publication, request.mode)


def eval_results(request: Request) -> Files:
    """Rows of leaderboards. What has to be equal in a leaderboard is what this program's own wants to be."""
    from harness.errors import UsageError
    from harness.leaderboard.entry import entries
    from harness.leaderboard.ranking import stated
    from harness.report.exports.cell import first_of_repeats, modes_of
    from harness.report.exports.eval_results import Ranked, eval_result_files

    if request.dataset is None:
        raise UsageError("A row names the data set that has its leaderboard.", "Add --dataset OWNER/NAME.")
    ranked = []
    for mode in modes_of(first_of_repeats(request.cells), request.mode):
        rows = {row["mode"]: row for row in entries(mode.cell.summary, mode.cell.manifest)}
        conditions = stated(rows[mode.mode])
        ranked.append(Ranked(mode=mode, conditions=conditions))
    return eval_result_files(ranked, request.dataset, _digest(request))


def _digest(request: Request) -> str | None:
    """Of the run's bundle: as stated, of the bundle that the run came out of, or of the one that lies beside it."""
    from harness.bundle.contents import bundle_sha256

    if request.bundle_sha256 is not None:
        return request.bundle_sha256
    name = f"{request.run.name}.zip"
    beside = (_digest_of(path, request.run) for path in (request.run / name, request.run.parent / name))
    return bundle_sha256(request.run) or next((digest for digest in beside if digest is not None), None)


def _digest_of(bundle: Path, run: Path) -> str | None:
    """Of a bundle that holds everything that was measured in the run; None: there is none, or the run has grown since.

    Raises:
        SchemaError: It is damaged, or no bundle.
    """
    from harness.bundle.archive import opened
    from harness.bundle.contents import bundle_sha256, files_of, read_bundle

    if not bundle.is_file():
        return None
    with opened(str(bundle), bundle.parent) as taken_out:
        held = read_bundle(taken_out)
        measured = {path for path in files_of(run) if "/sessions/" in path}
        is_whole = held is not None and measured == {each.path for each in held.files if "/sessions/" in each.path}
        return bundle_sha256(taken_out) if is_whole else None
