"""The addresses of one server: a base URL with or without `/v1`, and small questions beside the load."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from harness.environment.secrets import api_key
from harness.errors import UsageError

ASK_TIMEOUT_S = 30.0


class ServerAddress:
    """Where a server is. The parent asks it for health and for templates, one question at a time."""

    def __init__(self, base_url: str) -> None:
        """Take a base URL apart.

        Raises:
            UsageError: It is no URL of a server.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{base_url!r} is no server's URL.", "Give one like http://127.0.0.1:8000/v1.")
        self._parts = parts
        path = parts.path.rstrip("/")
        self._root = path.removesuffix("/v1")
        self.api = f"{parts.scheme}://{parts.netloc}{self._root}/v1"
        """Base of the OpenAI interface."""
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any] | None:
        """Status and JSON (None: it is none) of one small question; None: the server cannot be reached.

        Args:
            method: GET or POST.
            path: From the server's root, with a leading slash.
            body: Sent as JSON.
        """
        for _ in range(2):  # a connection that lay idle may have been closed
            try:
                return self._ask(method, path, body)
            except (OSError, http.client.HTTPException):
                self.close()
        return None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        if self._connection is None:
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            assert self._parts.hostname is not None
            self._connection = kind(self._parts.hostname, self._parts.port, timeout=ASK_TIMEOUT_S)
        headers = {"Content-Type": "application/json"}
        key = api_key(os.environ)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        sent = None if body is None else json.dumps(body).encode()
        self._connection.request(method, f"{self._root}{path}", sent, headers)
        response = self._connection.getresponse()
        answer = response.read()
        try:
            return response.status, json.loads(answer)
        except ValueError:
            return response.status, None
