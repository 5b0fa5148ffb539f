"""The command line: its verbs, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import harness
from harness.errors import ExitCode, HarnessError

VERBS = (
    "run",
    "report",
    "compare",
    "gate",
    "leaderboard",
    "sweep",
    "project",
    "export",
    "verify",
    "meter",
    "attribute",
    "models",
    "tasks",
    "protocols",
    "doctor",
)


class Parser(argparse.ArgumentParser):
    """argparse that offers the nearest valid word, and ends with this program's exit code."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, what was probably meant, and where help is."""
        self.exit(ExitCode.USAGE, f"harness: {message}.{self._nearest(message)}\nSee `{self.prog} --help`.\n")

    def _nearest(self, message: str) -> str:
        words = re.findall(r"unrecognized arguments: (\S+)|invalid choice: '([^']+)'", message)
        for word in (part for pair in words for part in pair if part):
            known = self._options() if word.startswith("-") else VERBS
            near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
            if near:
                return f" Did you mean {near[0]!r}?"
        return ""

    def _options(self) -> list[str]:
        """The flags of this parser and of its verbs: argparse notices a wrong one only at the top."""
        own = [flag for action in self._actions for flag in action.option_strings]
        verbs = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        parsers = [parser for action in verbs for parser in action.choices.values()]
        return own + [flag for parser in parsers for action in parser._actions for flag in action.option_strings]


def build_parser() -> Parser:
    """The parser with every verb. Verbs import what they need when they run."""
    parser = Parser(
        prog="harness",
        description="Joules per query for open models: measured, bounded, traceable to a sensor.",
        epilog="Start with `harness run`: it measures the embedded model with thinking off and on.",
    )
    parser.add_argument("--version", action="version", version=f"harness {harness.__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for verb in VERBS:
        import_module(f"harness.cli.{verb}").add_parser(subparsers)
    return parser


def run_verb(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.main(options))
    except HarnessError as error:
        sys.stdout.flush()
        sys.stderr.write(f"\nharness: {_plain(str(error))}\n  → {_plain(error.next_step)}\n")
        return int(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\nharness: interrupted.\n")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has gone (`harness models | head`): nothing is wrong.
        sys.stderr.close()
        return int(ExitCode.OK)


MESSAGE_MOST = 4_000


def _plain(message: str) -> str:
    """A message as a terminal may have it: what it quotes may come from a file of somebody else's."""
    kept = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in message[:MESSAGE_MOST])
    return kept + ("..." if len(message) > MESSAGE_MOST else "")
