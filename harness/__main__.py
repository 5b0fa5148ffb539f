"""`python -m harness`, the same as the `harness` command."""

from __future__ import annotations

import sys

from harness.cli.parser import run_verb


def main() -> None:
    """Parse the command line, run its verb, and leave with its exit code."""
    sys.exit(run_verb(sys.argv[1:]))


if __name__ == "__main__":
    main()
