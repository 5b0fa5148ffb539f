"""Where a server is: its URL in one spelling, found from its command, and on this machine or refused."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from harness.engine.server.argv import assignments, flag, kind_of, published_port
from harness.errors import UsageError

DEFAULT_PORTS = {"vllm": 8000, "transformers": 8000, "llama.cpp": 8080, "sglang": 30000, "ollama": 11434, "tgi": 3000}
_API = re.compile(r"/v1/?$")
_SCHEME_PORTS = {"http": 80, "https": 443}
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1", "": "127.0.0.1"}  # noqa: S104 - read, not bound
"""Where to ask a server that listens everywhere."""
_EXAMPLE = "It looks like http://127.0.0.1:8000/v1."


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server answers. `prefix` is the path before `/v1`, as behind a proxy; empty as a rule."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def root(self) -> str:
        """The URL without `/v1`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def base_url(self) -> str:
        """The URL with `/v1`, as clients of OpenAI's API want it."""
        return f"{self.root}/v1"

    def ips(self) -> frozenset[str]:
        """The addresses that the host's name stands for.

        Raises:
            UsageError: It stands for none.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UsageError(f"The host {self.host!r} has no address: {error.strerror or error}.", _EXAMPLE) from error
        return frozenset(str(entry[4][0]).partition("%")[0] for entry in found)


def parsed(base_url: str) -> Address:
    """A URL, with or without `/v1`, with or without `http://`.

    https is taken, with a certificate that this machine trusts. A UNIX socket is not: clients of OpenAI's API speak to
    a port.

    Raises:
        UsageError: It cannot be a server's, or holds credentials, a query or a fragment. They are not repeated.
    """
    url = base_url.strip() if "://" in base_url or base_url.startswith("unix:") else f"http://{base_url.strip()}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("The server's URL cannot be read.", _EXAMPLE) from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "The server's URL holds credentials, and it is kept with the results.",
            "Take them out; `export HARNESS_API_KEY=...` gives a key.",
        )
    if parts.query or parts.fragment:
        raise UsageError("The server's URL has a query or a fragment (`?`, `#`).", f"Take it out. {_EXAMPLE}")
    if parts.scheme not in _SCHEME_PORTS:
        raise UsageError(
            f"A server is asked by http or https, not by {parts.scheme}.", f"Let it listen on a port. {_EXAMPLE}"
        )
    if not host:
        raise UsageError("The server's URL has no host.", _EXAMPLE)
    prefix = _API.sub("", parts.path).rstrip("/")
    return Address(
        scheme=parts.scheme, host=_ANY.get(host, host), port=port or _SCHEME_PORTS[parts.scheme], prefix=prefix
    )


def of_command(command: Sequence[str]) -> Address:
    """Where a server that is started by this command will answer.

    Raises:
        UsageError: It will listen on a UNIX socket, or its port cannot be told from the command.
    """
    if flag(command, "--uds", "--unix-socket") is not None:
        raise UsageError("The server would listen on a UNIX socket.", "Let it listen on a port (`--port 8000`).")
    kind = kind_of(command)
    if kind == "ollama":
        return _of_ollama(command)
    published = published_port(command)
    written = flag(command, "--port", *(("-p",) if kind == "tgi" else ())) if published is None else str(published)
    port = int(written) if written is not None and written.isdecimal() else DEFAULT_PORTS.get(kind or "")
    if port is None or not 0 < port < 2**16:
        raise UsageError(
            "At which port the server will listen cannot be told from its command.",
            "Add `--port 8000` to it, or whatever its flag is, and name the URL with --base-url.",
        )
    host = flag(command, "--host", "--hostname") or ""
    if published is not None or "/" in host:
        host = ""
    tls = flag(command, "--ssl-certfile", "--ssl-cert-file") is not None
    return Address(scheme="https" if tls else "http", host=_ANY.get(host, host), port=port)


def _of_ollama(command: Sequence[str]) -> Address:
    """Ollama is told by a variable, which may stand in front of its command."""
    named = assignments(command)[0].get("OLLAMA_HOST") or os.environ.get("OLLAMA_HOST")
    address = parsed(named) if named else None
    if address is None:
        return Address(scheme="http", host="127.0.0.1", port=DEFAULT_PORTS["ollama"])
    has_port = re.search(r":\d+$", (named or "").rstrip("/")) is not None
    return Address(scheme=address.scheme, host=address.host, port=address.port if has_port else DEFAULT_PORTS["ollama"])


def local_or_refused(address: Address) -> None:
    """Refuse a server on another machine: its energy cannot be measured from here.

    Raises:
        UsageError: It is on another machine, or its host has no address.
    """
    elsewhere = sorted(ip for ip in address.ips() if not _is_ours(ip))
    if elsewhere:
        shown = f" ({elsewhere[0]})" if elsewhere[0] != address.host else ""
        raise UsageError(
            f"The server is not on this machine: {address.host}{shown} is no address of it, and energy is measured on "
            "the server's node.",
            "Run harness there, with --base-url http://127.0.0.1:PORT/v1. For a container on this machine, publish its "
            "port (`-p 8000:8000`), or let it share this one's network.",
        )


def _is_ours(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback or plain.is_unspecified:
        return True
    ours = (entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries)
    return str(plain) in ours
