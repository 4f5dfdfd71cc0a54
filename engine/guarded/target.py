"""Where a request goes, read from a URL so strictly that no two readers could differ about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal

PORTS = {"http": 80, "https": 443}

# No user, no backslash, no blank, nothing that is not ASCII: readers of URLs differ about what such a one names.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$-;=?-\[\]_a-z~|]*)?",
)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Forbidden(ValueError):
    """A URL that is not asked: its text says why, and quotes nothing of it."""


@dataclass(frozen=True)
class Origin:
    """A scheme, a host in small letters (an IPv6 address without its brackets) and a port."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True)
class Target:
    """An origin, and the path with the query that is asked of it."""

    origin: Origin
    path: str


def read(url: str) -> Target:
    """The target of a URL. Raises Forbidden."""
    if len(url) > 4_000:
        raise Forbidden("the URL is too long")
    found = _URL.fullmatch(url)
    if found is None:
        raise Forbidden("this is no plain http:// or https:// URL")
    scheme: Literal["http", "https"] = "https" if found["scheme"] == "https" else "http"
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise Forbidden("this is no port")
    path = found["path"] or "/"
    if any(part in (".", "..") for part in _undone(path.partition("?")[0]).split("/")):
        raise Forbidden("a path must not go up")
    return Target(Origin(scheme, _host(found["host"]), port), path)


def _host(text: str) -> str:
    try:
        if text.startswith("["):
            return str(IPv6Address(text[1:-1]))
        host = text.lower()
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return str(IPv4Address(host))  # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are none to it
    except AddressValueError:
        raise Forbidden("this is no address in its usual form") from None
    if not all(map(_LABEL.fullmatch, labels)):
        raise Forbidden("this is no host name")
    return host


def _undone(path: str) -> str:
    return re.sub("%2f", "/", re.sub("%5c", "/", re.sub("%2e", ".", path, flags=re.I), flags=re.I), flags=re.I)
