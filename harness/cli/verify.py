"""`harness verify RUN|BUNDLE`: is what a run says what its files bear out?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.verify import Verification

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

N_SHOWN = 20
N_CHARACTERS_SHOWN = 160

WORDS = {
    "hashes": "files that hold what was taken down of them",
    "schema": "files that can be read",
    "identity": "parts that belong together",
    "prompts": "prompts and texts that belong to their hashes",
    "energies": "energies, times and sums out of the raw readings",
    "scores": "answers judged again",
    "summaries": "figures of summary.json out of the queries",
    "page": "lines of the page, rendered again",
}
BEYOND = (
    "No check can show that the readings themselves were not made up, with everything after them. "
    "Repeat the run for that."
)

EPILOG = """\
Nothing from the bundle is executed. No GPU and no torch are needed.
Exit status: 0 where all agree, 4 where one differs, 2 where a bundle is refused.

examples:
  harness verify                      the newest run
  harness verify run.zip              a bundle that somebody sent (harness export RUN --bundle run.zip)
  harness verify run.zip --json -     the same for a pipeline
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "verify",
        help="check a run or a bundle: hashes, and every figure from its raw readings",
        description="Check hashes, compute every figure again from the raw readings, and name what differs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run",
        nargs="?",
        default="latest",
        metavar="RUN|BUNDLE.zip",
        help="a path, a run id, latest (default), or a bundle",
    )
    parser.add_argument("--json", metavar="FILE", help="write what was found there as JSON; -: print only that")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="where run ids are looked up")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Check, and say how many agree."""
    from harness.bundle.archive import opened
    from harness.errors import ExitCode
    from harness.store.run_directory import writing
    from harness.verify import Kind, verify

    with opened(options.run, Path(options.output_dir), measured=True) as run:
        verification, name = verify(run), run.name
    if options.json is not None:
        text = json.dumps(_fields(verification, name), indent=1) + "\n"
        if options.json == "-":
            print(text, end="")
        else:
            with writing(Path(options.json).parent, "--json"):
                Path(options.json).write_text(text, encoding="utf-8")
    if options.json != "-":
        for line in _lines(verification, name):
            print(printable(line))
    if verification.n_differences or Kind.ENERGIES not in verification.kinds:
        return ExitCode.INVALID
    return ExitCode.OK


def _lines(verification: Verification, name: str) -> Iterator[str]:
    """What the terminal shows."""
    yield f"{name}: {verification.n_agree:,} of {verification.n_figures:,} agree."
    if verification.origin is not None:
        yield f"  bundle {verification.origin.sha256} (sha256 of its bundle.json)"
    width = max((len(f"{tally.n_figures:,}") for tally in verification.kinds.values()), default=0)
    for kind, tally in verification.kinds.items():
        counts = f"{tally.n_agree:>{width},} of {tally.n_figures:>{width},}"
        yield f"  {kind.value:<9}  {counts}  {WORDS[kind.value]}"
    if "energies" not in verification.kinds:
        yield "Nothing was measured in it."
    if verification.differences:
        yield "Differs:"
    for difference in verification.differences[:N_SHOWN]:
        yield (
            f"  {difference.kind.value}: {difference.where}: {difference.figure} is stored as "
            f"{_short(difference.stored)}, comes out as {_short(difference.recomputed)}"
        )
    if verification.n_differences > N_SHOWN:
        yield f"  and {verification.n_differences - N_SHOWN:,} more (--json FILE names them)"
    if verification.unchecked or verification.not_checked:
        yield "Could not be checked:"
    for unchecked in verification.unchecked:
        what = f"{unchecked.n_figures:,} figures, such as " if unchecked.n_figures > 1 else ""
        yield f"  {unchecked.kind.value}: {what}{_short(unchecked.example)}: {_short(unchecked.why)}"
    for sum_of in verification.not_checked[:N_SHOWN]:
        yield f"  energies: {sum_of}: a part of it is null"
    if len(verification.not_checked) > N_SHOWN:
        yield f"  and {len(verification.not_checked) - N_SHOWN:,} more sums with a null in them"
    yield BEYOND


def _fields(verification: Verification, name: str) -> dict[str, object]:
    """What `--json` holds."""
    return {
        "run": name,
        "bundle_sha256": None if verification.origin is None else verification.origin.sha256,
        "n_figures": verification.n_figures,
        "n_agree": verification.n_agree,
        "kinds": {
            kind.value: {"n_figures": tally.n_figures, "n_agree": tally.n_agree}
            for kind, tally in verification.kinds.items()
        },
        "differences": [
            {
                "kind": each.kind.value,
                "where": each.where,
                "figure": each.figure,
                "stored": each.stored,
                "recomputed": each.recomputed,
            }
            for each in verification.differences
        ],
        "unchecked": [
            {"kind": each.kind.value, "why": each.why, "n_figures": each.n_figures, "example": each.example}
            for each in verification.unchecked
        ],
        "not_checked": list(verification.not_checked),
    }


def printable(text: str) -> str:
    """Text from somebody else's files, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _short(figure: object) -> str:
    words = str(figure)
    return words if len(words) <= N_CHARACTERS_SHOWN else f"{words[:N_CHARACTERS_SHOWN]}..."
