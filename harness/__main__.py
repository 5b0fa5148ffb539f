"""`python -m harness`, the same as the `harness` command."""

from __future__ import annotations

import signal
import sys

from harness.cli.parser import run_verb


def main() -> None:
    """Parse the command line, run its verb, and leave with its exit code."""
    # A scheduler's SIGTERM is a person's Ctrl-C: what is final is written, and the run can be resumed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_verb(sys.argv[1:]))


if __name__ == "__main__":
    main()
