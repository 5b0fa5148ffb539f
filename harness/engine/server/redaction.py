"""Secrets struck out of a stream of bytes, wherever they are cut in two by its pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

STRUCK_OUT = b"***"


class Redaction:
    """Give it a stream piece by piece; it gives back as much as is certain to be clean."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret.encode() for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets) or b"(?!)")
        self._held = b""

    def clean(self, piece: bytes, *, last: bool = False) -> bytes:
        """The stream so far without secrets, apart from an end that may be the beginning of one.

        Args:
            piece: What came next.
            last: Nothing comes after it.
        """
        data, out, done = self._held + piece, [], 0
        open_from = self._open_from(data, 0, last)
        for match in self._pattern.finditer(data):
            if match.start() >= open_from:
                break
            out += [data[done : match.start()], STRUCK_OUT]
            done = match.end()
            if done > open_from:
                open_from = self._open_from(data, done, last)
        self._held = data[open_from:]
        return b"".join([*out, data[done:open_from]])

    def _open_from(self, data: bytes, start: int, last: bool) -> int:
        """Where an end begins that a secret may go on from; the data's end: nowhere."""
        if not last and self._secrets:
            for position in range(max(start, len(data) - len(self._secrets[0]) + 1), len(data)):
                rest = data[position:]
                if any(len(rest) < len(secret) and secret.startswith(rest) for secret in self._secrets):
                    return position
        return len(data)
