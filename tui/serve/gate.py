"""Who may come in: the exact names of this server, pages of its own origin, and those who know the token.

The token is part of the path, of every path. A cookie would be sent to whatever else listens on the same host, at any
port, and on a shared machine that may be somebody else's; the page says `no-referrer`, so the link is told nobody.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)


def new_token() -> str:
    """A token of `TOKEN_BYTES` random bytes, in letters that stand in a path as they are."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or a name, is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names and addresses under which a browser may reach a server that listens at `host`; `more` are added."""
    names = {host.lower(), *(name.lower().strip("[]") for name in more)}
    if is_loopback(host):
        names |= {*LOOPBACK}
    elif host in ("0.0.0.0", "::"):
        import psutil

        addresses = [entry.address for each in psutil.net_if_addrs().values() for entry in each]
        names |= {socket.gethostname().lower(), *LOOPBACK, *(address.partition("%")[0] for address in addresses)}
    return frozenset(names)


@dataclass(frozen=True)
class Gate:
    """Lets requests in. `names` are hosts without ports: a tunnel ends at any port of the browser's machine, and
    another site that points its own name here (DNS rebinding) comes with that name."""

    token: str
    names: frozenset[str]

    def refusal(
        self, hosts: Sequence[str], origins: Sequence[str], path: str, *, need_origin: bool = False
    ) -> str | None:
        """Why a request is refused, in a line; None lets it in. Each is a header's values; `path` is the path asked."""
        if len(hosts) != 1 or (host := host_name(hosts[0])) is None or host not in self.names:
            return "this server is not known by that name; open the link as it was printed, or add --name NAME"
        ours = (f"http://{hosts[0].lower()}", f"https://{hosts[0].lower()}")
        if len(origins) > 1 or (need_origin and not origins) or any(origin.lower() not in ours for origin in origins):
            return "the request comes from another site; open the link as it was printed"
        given = path.removeprefix("/").partition("/")[0]
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return "the link has no token, or an old one; open the link that tinytui serve printed"
        return None


def host_name(header: str) -> str | None:
    """The name or address in a Host header, in lower case, without brackets and port; None where it is malformed."""
    found = _HOST.fullmatch(header.lower())
    return (found["six"] or found["name"]) if found else None
