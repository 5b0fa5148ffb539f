"""How a cell's process ended, in words: from its exit code and the last lines that it wrote.

A cell is tried again only for what may go better at another time or place. What is wrong with the cell itself (a usage
error, a model that does not fit, an invalid measurement) would go wrong again, and costs hours on many cells.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import ExitCode

TAIL_BYTES = 1 << 16
CHARACTERS_MOST = 600
STEP = "\n  → "
"""Between what happened and what to do about it, as every command writes it."""
OWN_FAULTS = {
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
}
"""Signals by which a program itself is at fault; all others come from outside."""
MAY_PASS = re.compile(
    r"""
      ^The\ server\ at\ .*\ is\ lost | ^The\ load\ generator | is\ not\ ready:\ it\ answers\ 503
    | ^Another\ process\ is\ measuring\ into | ^The\ sampler\ process\ did\ not\ start:\ it\ said\ nothing
    | ^The\ disk\ under | \ cannot\ be\ written:
    | busy\ or\ unavailable | GPU\ is\ lost | fallen\ off\ the\ bus | uncorrectable\ ECC | driver\ shows\ none
    | ^The\ Hub\ answered\ with\ status | the\ Hub\ cannot\ be\ reached
    """,
    re.VERBOSE | re.MULTILINE,
)
"""A server, a sampler or a board that was lost or busy, a node whose disk is full, a network that is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What becomes of an attempt."""

    status: Literal["finished", "failed", "lost", "interrupted"]
    error: str = ""
    next_step: str = ""
    may_pass: bool = False


def ending_of(exit_code: int, log: Path, run: Path) -> Ending:
    """What an exit code and a log tell.

    Args:
        exit_code: Of the process; negative: the signal that ended it.
        log: What it wrote.
        run: The run's directory, for the next step.
    """
    if exit_code == ExitCode.OK:
        return Ending(status="finished")
    if exit_code < 0 or exit_code > 128 + 2:
        return _by_signal(-exit_code if exit_code < 0 else exit_code - 128, log)
    if exit_code == ExitCode.INTERRUPTED:
        return Ending(
            status="interrupted",
            error="It was interrupted from outside.",
            next_step="Resume the sweep: exactly what is missing is measured.",
            may_pass=True,
        )
    error, next_step = last_error(log)
    if exit_code == ExitCode.INVALID and not next_step:
        error = "It was measured to its end, and some of its figures must not be used."
        next_step = f"See why: harness report {run}"
    may_pass = exit_code in (ExitCode.USAGE, ExitCode.ENVIRONMENT, ExitCode.CELLS_FAILED) and bool(
        MAY_PASS.search(error)
    )
    return Ending(
        status="failed",
        error=error or f"Its process ended with exit code {exit_code}, and said nothing.",
        next_step=next_step or f"See its log: {log}",
        may_pass=may_pass,
    )


def last_error(log: Path) -> tuple[str, str]:
    """The last error in a log and its next step; the last line, if no error of ours is there."""
    text = tail(log)
    before, found, after = text.rpartition(STEP)
    if found:
        starts = [match.end() for match in re.finditer(r"^(?:harness: |.*? failed: )", before, re.MULTILINE)]
        if starts:
            step, _, rest = after.partition("\n\n")
            if "Traceback (most recent call last)" not in rest:
                return _short(before[starts[-1] :]), _short(step)
    lines = [line for line in text.split("\n") if line.strip()]
    return (_short(lines[-1]) if lines else ""), ""


def tail(log: Path) -> str:
    """The end of a log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _by_signal(number: int, log: Path) -> Ending:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in OWN_FAULTS:
        said = last_error(log)[0]
        return Ending(
            status="failed",
            error=f"Its process crashed ({name}){': ' + said if said else '.'}",
            next_step=f"See its log: {log}",
        )
    return Ending(
        status="lost",
        error=f"Its process was killed from outside ({name}).",
        next_step="See `dmesg`: where memory was short, the kernel kills the largest process. Then resume the sweep.",
        may_pass=True,
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= CHARACTERS_MOST else f"{words[:CHARACTERS_MOST]}…"
