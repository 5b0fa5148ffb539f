"""A child process that compares expressions, kept between answers, and what is asked of it.

sympy may compute for hours or take all memory, over what a model wrote. So it computes in a process of its own, which
the kernel ends when a question has taken too long; the next question starts a new one. It begins with the first
question, ends with this object, and never outlives its parent by more than the time limit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from dataclasses import asdict, dataclass

from harness.errors import ScoringFailed

TIME_LIMIT_S = 5.0
"""A comparison takes milliseconds; the longest of those that are not hopeless a few tenths of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does the answer equal the reference? `is_expression`: it is one, and not a text that holds some."""

    reference: str
    answer: str
    is_expression: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, and the expression that was chosen in a text."""

    correct: bool
    extracted: str | None


class AlgebraProcess:
    """One child at a time, at most; none before the first question."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[str] | None = None
        self._finalizer: weakref.finalize[..., AlgebraProcess] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process number; None: there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, question: Question) -> Verdict:
        """Wait for the verdict.

        Raises:
            ScoringFailed: The library raised an error, took too long, or ended.
        """
        said = repr(question.answer[:80])
        try:
            process = self._process or self._started()
            line = _exchanged(process, json.dumps(asdict(question)))
        except BaseException:  # an interrupt too: the reply that is still to come must not be the next question's
            self.close()
            raise
        if not line:
            status = process.wait()
            self.close()
            why = f"took longer than {self._time_limit_s:g} s" if status == -signal.SIGALRM else f"ended it ({status})"
            raise ScoringFailed(f"Comparing {said} {why}.", "It counts as not scored; no other answer is affected.")
        reply = json.loads(line)
        if "error" in reply:
            raise ScoringFailed(f"Comparing {said}: {reply['error']}.", "It counts as not scored.")
        return Verdict(correct=reply["correct"], extracted=reply["extracted"])

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._finalizer is not None:
            self._finalizer()
        self._process = None

    def _started(self) -> subprocess.Popen[str]:
        # `-P` and no empty entries: a `json.py` that lies in the working directory is not Python's own.
        search_path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.scoring.algebra", str(self._time_limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search_path},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the parent
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        return self._process


def _exchanged(process: subprocess.Popen[str], request: str) -> str:
    """The reply; empty: the child has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
