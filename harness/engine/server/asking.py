"""Small questions to a server, by hand: no proxy, no redirect, an answer of any kind, and an end in time."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.engine.server.address import Address

_ANSWER_BYTES = 8 << 20
_PIECE_BYTES = 1 << 16
_BODY_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` None: nobody answered, and `words` says why. `data` None: it is no JSON."""

    status: int | None
    data: Any = None
    words: str = ""
    program: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the answer; none where it was refused, or is no JSON object."""
        return self.data if self.ok and isinstance(self.data, dict) else {}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that sends us elsewhere is not the one that is measured."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


class Asking:
    """Asks one server."""

    def __init__(self, address: Address, key: str | None = None) -> None:
        """Ask nothing yet.

        Args:
            address: The server's.
            key: Its API key; sent, and never written.
        """
        self.address = address
        self._key = key

    def get(self, path: str, timeout_s: float = 10.0) -> Answer:
        """Ask for what is at `path`, which begins with a slash."""
        return self._ask(path, None, timeout_s)

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> Answer:
        """Send a request as JSON."""
        return self._ask(path, json.dumps(body).encode(), timeout_s)

    def _ask(self, path: str, body: bytes | None, timeout_s: float) -> Answer:
        request = urllib.request.Request(self.address.root + path, data=body, headers={"Accept": "application/json"})  # noqa: S310
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._key is not None:
            request.add_header("Authorization", f"Bearer {self._key}")
        answer = _sent(request, timeout_s)
        if self._key is not None and self._key in answer.words:
            return replace(answer, words=answer.words.replace(self._key, "***"))
        return answer


def _sent(request: urllib.request.Request, timeout_s: float) -> Answer:
    end_s = time.monotonic() + timeout_s
    try:
        with _opener.open(request, timeout=timeout_s) as response:
            return _answer(response, end_s)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error, end_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(None, words=_why(error))


def _answer(response: Any, end_s: float) -> Answer:
    pieces: list[bytes] = []
    n_bytes = 0
    while n_bytes < _ANSWER_BYTES and (piece := response.read1(_PIECE_BYTES)):
        if time.monotonic() > end_s:
            return Answer(None, words="it did not answer in time")
        pieces.append(piece)
        n_bytes += len(piece)
    text = b"".join(pieces).decode(errors="replace")
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    return Answer(response.status, data, " ".join(text.split())[:_BODY_CHARACTERS], response.headers.get("Server", ""))


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, Exception) else error
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted here: {cause.verify_message}"
    return str(cause) or type(cause).__name__
