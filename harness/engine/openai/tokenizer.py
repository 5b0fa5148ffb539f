"""The tokenizer that the user named for the served model. It counts where the server does not.

Knows tokenizers by name. Must not know streams.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFault, ModelUnavailable


class NamedTokenizer:
    """Counts tokens of texts."""

    def __init__(self, name: str) -> None:
        """Load it.

        Args:
            name: A directory, a `tokenizer.json`, or a name on the Hub.

        Raises:
            ModelUnavailable: There is none, or it cannot be read.
            EnvironmentFault: The package that reads it is missing.
        """
        self._tokenizer = _load(name)

    def count(self, text: str) -> int:
        """Tokens of a text, without those that a template or a tokenizer puts around it."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))


def _load(name: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EnvironmentFault(
            "A tokenizer was named, and the package that reads it is not installed.",
            "pip install tokenizers, or leave out `--tokenizer`.",
        ) from error
    path = Path(name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises nothing more particular
        raise ModelUnavailable(
            f"The tokenizer {name} cannot be read: {error}",
            "Name a directory with a tokenizer.json, or a repository on the Hub that has one.",
        ) from error
