"""The user's own scorer: `FILE.py:FUNCTION`, a function of an answer and its reference.

    def right(answer: str, reference: str) -> bool | None: ...

The answer comes without its thinking; a prompt without a reference has the reference "". True or False is the
verdict; None: it cannot say, and the answer counts as not scored. The file is executed by itself, as Python code with
all of this process's rights, and exactly what was hashed is executed.
"""

from __future__ import annotations

import hashlib
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from types import FrameType, ModuleType
from typing import Self

from harness.errors import ScoringFailed, UsageError
from harness.records import Score

MODULE = "harness_own_scorer"
LONGEST_S = 30.0
"""For one answer."""
SIGNATURE = "def right(answer: str, reference: str) -> bool | None"


def is_own(name: str) -> bool:
    """Whether a scorer's name has the form `FILE.py:FUNCTION`."""
    path, colon, function = name.rpartition(":")
    return bool(colon) and path.endswith(".py") and function.isidentifier()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScorer:
    """A loaded function. `identity` is its name and the beginning of its file's sha256."""

    identity: str
    function: Callable[[str, str], object]

    @classmethod
    def load(cls, name: str) -> Self:
        """Execute the file and take the function.

        Raises:
            UsageError: The file cannot be read or executed, or has no function that takes an answer and a reference.
        """
        path, _, function_name = name.rpartition(":")
        module, digest = _executed(path)
        function = getattr(module, function_name, None)
        if not callable(function):
            functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise UsageError(
                f"{path} has no function {function_name!r}.", f"It has: {', '.join(functions) or 'no function at all'}."
            )
        try:
            inspect.signature(function).bind("", "")
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{name} cannot be called with an answer and a reference: {error}.", f"Write it as `{SIGNATURE}`."
            ) from error
        return cls(identity=f"{path.rpartition('/')[2]}:{function_name} sha256:{digest[:12]}", function=function)

    def score(self, answer: str, reference: str) -> Score:
        """Ask the function.

        Raises:
            ScoringFailed: It raised an error, took longer than `LONGEST_S`, or returned None.
            UsageError: It returned something else than True, False or None.
        """
        label = self.identity.partition(" ")[0]
        try:
            with _limited():
                verdict = self.function(answer, reference)
        except (Exception, SystemExit) as error:  # whatever is wrong, it is so for this answer alone
            raise ScoringFailed(f"{label}: {_one_line(error)}", "Correct it; no other answer is affected.") from error
        if verdict is None:
            raise ScoringFailed(f"{label} cannot say.", "Nothing: the answer counts as not scored.")
        if not isinstance(verdict, bool):
            raise UsageError(
                f"{label} returned {type(verdict).__name__}, not True, False or None.",
                f"Write it as `{SIGNATURE}`; `bool(...)` makes a verdict of a number.",
            )
        return Score(correct=verdict, extracted=None)


@contextmanager
def _limited() -> Iterator[None]:
    """Interrupts what takes too long, where signals can be had: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {LONGEST_S:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _executed(path: str) -> tuple[ModuleType, str]:
    """The module that a file makes, and the file's sha256. Not by `import`: cached bytecode may be of another text."""
    loader = SourceFileLoader(MODULE, path)
    try:
        source = loader.get_data(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path of the scorer.") from error
    module = ModuleType(MODULE)
    module.__file__ = path
    sys.modules[MODULE] = module  # dataclasses look their module up there
    try:
        exec(loader.source_to_code(source, path), vars(module))  # noqa: S102 - the user asks for it by name
    except Exception as error:
        raise UsageError(
            f"{path} cannot be executed: {_one_line(error)}.",
            "Correct it; modules beside it are not found, so the file has to be complete.",
        ) from error
    return module, hashlib.sha256(source).hexdigest()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
