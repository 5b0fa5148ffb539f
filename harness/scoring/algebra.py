"""The child process: questions come in as lines of JSON, verdicts go out so. It alone knows the library.

The kernel's own timer ends it (SIGALRM, not handled): nothing that is computed, be it one huge power, can put that
off. Of the library's two ways to read a text only the LaTeX one is used, which executes nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

START_LIMIT_S = 120.0
"""To import sympy on a machine that is busy."""
MEMORY_MOST_BYTES = 4 << 30


def main(time_limit_s: float) -> None:
    """Answer until the questions end."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, START_LIMIT_S)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    logging.disable()
    with contextlib.suppress(OSError, ValueError):  # where the system does not know such a limit, time has to do
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST_BYTES, MEMORY_MOST_BYTES))
    import math_verify  # noqa: F401 - its time is not the first question's

    signal.setitimer(signal.ITIMER_REAL, 0.0)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, time_limit_s)
        try:
            reply = verdict(**json.loads(line))
        except (Exception, RecursionError) as error:  # noqa: BLE001 - sympy raises whatever it likes
            reply = {"error": f"{type(error).__name__}: {error}"[:200]}
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def verdict(reference: str, answer: str, *, is_expression: bool) -> dict[str, Any]:
    """Whether the answer equals the reference, and what was read as the answer."""
    from math_verify import verify

    wanted = _read(_boxed(reference))
    given = _read(_boxed(answer) if is_expression else answer)
    # Time is kept outside, and an error is to be seen; an inequality is the set that it describes.
    correct = verify(wanted, given, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True)
    return {"correct": bool(correct), "extracted": next((part for part in given if isinstance(part, str)), None)}


def _boxed(expression: str) -> str:
    return rf"\boxed{{{expression}}}"


def _read(text: str) -> list[Any]:
    """The expression in a text and its LaTeX; the latter alone where it cannot be parsed; empty where none is found."""
    from math_verify import LatexExtractionConfig, parse

    found: list[Any] = parse(
        text, [LatexExtractionConfig(boxed_match_priority=0)], parsing_timeout=None, raise_on_error=True
    )
    return found


if __name__ == "__main__":
    main(float(sys.argv[1]))
