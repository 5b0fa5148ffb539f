"""Which processes listen on a port of this machine, as far as this user may see them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import psutil

PORT_FORWARDERS = frozenset(
    {"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "conmon", "socat", "haproxy"}
    | {"nginx", "caddy", "envoy", "traefik"}
)
"""Names of programs that listen for another one, which is on this machine as a rule."""
TUNNELS = frozenset({"ssh", "sshd", "autossh", "kubectl", "cloudflared"})
"""Names of programs that listen for one on another machine."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who listens on a port. `hidden`: somebody does whose process is not visible, as it is another user's."""

    pids: frozenset[int]
    names: frozenset[str]
    hidden: bool

    @property
    def is_the_server(self) -> bool:
        """Whether the visible processes are the server itself, and all of it."""
        return bool(self.pids) and not self.hidden and not self.names & PORT_FORWARDERS


def listeners(addresses: frozenset[str], port: int) -> Listeners:
    """Who listens on one of these addresses, or on all addresses, at a port.

    A container's port may be passed on by the kernel: then nobody is seen to listen, and `hidden` is True.
    """
    pids: set[int] = set()
    hidden = False
    found = False
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
            continue
        if not _is_one_of(connection.laddr.ip, addresses):
            continue
        found = True
        if connection.pid is None:
            hidden = True
        else:
            pids.add(connection.pid)
    return Listeners(frozenset(pids), frozenset(filter(None, map(_name, pids))), hidden or not found)


def _is_one_of(listening: str, addresses: frozenset[str]) -> bool:
    address = ipaddress.ip_address(listening.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain.is_unspecified or str(plain) in addresses


def _name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
