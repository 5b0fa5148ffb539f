"""Which environment variables hold secrets, so that nothing which is written holds one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

KEY_NAMES = ("HARNESS_API_KEY", "OPENAI_API_KEY")
"""Where a server's API key is looked for, in this order."""
_SECRET_NAME = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|SECRET_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_SHORTEST = 4
"""Characters. What is shorter is a switch or a stand-in, and would be struck out of every other line."""


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret: HF_TOKEN, OPENAI_API_KEY and the like."""
    return _SECRET_NAME.search(name.upper()) is not None


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets in an environment, the longest first."""
    found = {value.strip() for name, value in environ.items() if is_secret_name(name)}
    found = {value for value in found if len(value) >= _SHORTEST}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def api_key(environ: Mapping[str, str]) -> str | None:
    """The key that a server is asked with; None: none is set.

    Without the end of a line that a file leaves behind it: no header takes that, and its refusal would quote the key.
    """
    return next((key for name in KEY_NAMES if (key := environ.get(name, "").strip())), None)
