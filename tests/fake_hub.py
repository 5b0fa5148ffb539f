"""A Hub on the loopback: enough of its interface for the real client to download a model from it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "5e" * 20


class FakeHub(ThreadingHTTPServer):
    """Serves repositories, and takes down which files were fetched."""

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories = repositories
        self.fetched: list[str] = []
        self.claims_bytes: int | None = None
        """What every file says of its size instead of the truth."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """To `model_info`, to the listing of a tree, and to requests for files."""

    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            files = self.server.repositories.get("/".join(parts[2:4]))
            if files is None:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body=with_body)
            if parts[4:5] == ["tree"]:
                tree = [self._entry(name, content) for name, content in files.items()]
                return self._send(200, json.dumps(tree).encode(), {}, with_body=with_body)
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            info = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings}
            return self._send(200, json.dumps(info).encode(), {}, with_body=with_body)
        if parts[2:3] == ["resolve"]:
            name = "/".join(parts[4:])
            content = self.server.repositories["/".join(parts[:2])].get(name)
            if content is None:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body=with_body)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            if self.server.claims_bytes is not None:
                headers["X-Linked-Size"] = str(self.server.claims_bytes)
            if with_body:
                self.server.fetched.append(name)
            return self._send(200, content, headers, with_body=with_body)
        return self._send(404, b"", {}, with_body=with_body)

    def _entry(self, name: str, content: bytes) -> dict[str, object]:
        size = len(content) if self.server.claims_bytes is None else self.server.claims_bytes
        return {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(content).hexdigest()}

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def hub_of(**repositories: Mapping[str, bytes]) -> Iterator[FakeHub]:
    """A hub whose repositories are `org/NAME`, while the context is open."""
    with FakeHub({f"org/{name}": files for name, files in repositories.items()}) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
