"""The terminal itself: a console whose reader may leave, and text that shows as it stands."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text


class PatientConsole(Console):
    """A console whose reader may leave (`| head`): what is measured goes on, and the exit code stays what it is.

    Brackets are brackets: in a name or a path they are no markup, of which an unclosed one would be an error.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, **options})

    def on_broken_pipe(self) -> None:
        """Print nothing more, anywhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(text: str, **style: Any) -> Text:
    """Text as it stands: no markup is read in it, and no control character of a name reaches the terminal."""
    return Text("".join(char if char.isprintable() else " " for char in text), **style)
