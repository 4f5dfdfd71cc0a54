"""The guarded client: it resolves a name itself, looks at every address it gets, and connects to the very address it
has looked at.

No second look-up between the check and the connection, so a name that changes its answer (rebinding) gains nothing. No
redirect is followed, no proxy or netrc of the environment is used, and time and size are bounded. The operator may name
origins inside; nobody else can.

    Guarded(inside=origins("http://crm.internal:8080")).request("GET", "https://crm.example/customers/7")
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpcore2

from engine.guarded.addresses import is_outside
from engine.guarded.target import PORTS, Forbidden, Origin, Target, read

SECONDS = 15.0
"""A request may take so long in all, however slowly the other side answers."""
LARGEST = 64 * 1024
"""Bytes of an answer that are read."""

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port to the IP addresses behind it. Raises OSError."""


class NotSent(Exception):
    """Certainly nothing was asked: no connection, or a target that is forbidden (`for_good`)."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.for_good = for_good


class Unsure(Exception):
    """It may have been asked: no answer came after bytes had left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` by small names; `body` is None when it was too large, packed or broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def origins(text: str) -> frozenset[Origin]:
    """The origins of a setting: URLs without a path, with commas between. Raises ValueError."""
    found = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            target = read(part)
        except Forbidden as error:
            raise ValueError(f'"{part}" is no origin like http://crm.internal:8080: {error}') from None
        if target.path != "/":
            raise ValueError(f'"{part}" names more than an origin: leave out what follows the host and port')
        found.add(target.origin)
    return frozenset(found)


@dataclass(frozen=True)
class Guarded:
    """Safe to use from several threads. `inside`: origins that may be asked though they lie inside, or at another port,
    or without TLS; `trust`: whom to believe who a server is."""

    inside: frozenset[Origin] = frozenset()
    resolve: Resolve = addresses_of
    seconds: float = SECONDS
    largest: int = LARGEST
    trust: ssl.SSLContext | None = None

    def permitted(self, url: str) -> Target:
        """The target of a URL that may be asked, as far as its text shows. Raises Forbidden."""
        target = read(url)
        if target.origin in self.inside:
            return target
        if target.origin.scheme != "https":
            raise Forbidden("only https:// is asked")
        if target.origin.port != PORTS["https"]:
            raise Forbidden("only port 443 is asked")
        return target

    def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        """Ask once. Raises NotSent or Unsure."""
        try:
            target = self.permitted(url)
        except Forbidden as error:
            raise NotSent(str(error), for_good=True) from None
        door = _Door(self, target.origin)
        try:
            with httpcore2.ConnectionPool(
                ssl_context=self.trust or _trust(), max_connections=1, network_backend=door
            ) as pool:
                return self._ask(pool, method, target, headers, body)
        except NotSent:
            raise
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError) as error:
            fault = type(error).__name__
            if not door.sent:
                raise NotSent(f"unreachable: {fault}") from None
            raise Unsure(
                "timeout" if isinstance(error, httpcore2.TimeoutException) else f"connection: {fault}"
            ) from None

    def _ask(
        self,
        pool: httpcore2.ConnectionPool,
        method: str,
        target: Target,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> Answer:
        origin = target.origin
        url = httpcore2.URL(
            scheme=origin.scheme.encode(),
            host=origin.host.encode(),
            port=None if origin.port == PORTS[origin.scheme] else origin.port,
            target=target.path.encode(),
        )
        # A packed answer could unpack to any size.
        asked = [(b"Host", str(origin).partition("://")[2].encode()), (b"Accept-Encoding", b"identity")]
        asked += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
        patience = dict.fromkeys(("connect", "read", "write", "pool"), self.seconds)
        content = body if body is not None else (b"" if method in ("POST", "PUT", "PATCH") else None)
        with pool.stream(method, url, headers=asked, content=content, extensions={"timeout": patience}) as response:
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(response.status, told, self._body(response, told))

    def _body(self, response: httpcore2.Response, headers: Mapping[str, str]) -> bytes | None:
        if headers.get("content-encoding", "identity") != "identity":
            return None
        read = bytearray()
        try:
            for chunk in response.iter_stream():
                read += chunk
                if len(read) > self.largest:
                    return None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException):
            return None  # they have answered: what they said besides is lost
        return bytes(read)


_trusted: list[ssl.SSLContext] = []


def _trust() -> ssl.SSLContext:
    """The machine's certificates: read once, for it takes long."""
    if not _trusted:
        _trusted.append(ssl.create_default_context())
    return _trusted[0]


class _Door(httpcore2.NetworkBackend):
    """Connects one request: the only place where the client opens a socket."""

    def __init__(self, guard: Guarded, origin: Origin) -> None:
        self._guard = guard
        self._origin = origin
        self._plain = httpcore2.SyncBackend()
        self._until = monotonic() + guard.seconds
        self.sent = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        if (host, port) != (self._origin.host, self._origin.port):  # whatever the library made of the URL
            raise NotSent("this is not the host that was looked at", for_good=True)
        try:
            addresses = list(self._guard.resolve(host, port))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise NotSent("unreachable: the name is not known")
        if self._origin not in self._guard.inside and not all(map(is_outside, addresses)):
            raise NotSent("the host lies inside", for_good=True)
        failed: Exception | None = None
        for address in addresses:
            try:
                stream = self._plain.connect_tcp(address, port, self.left(), local_address, socket_options)
                return _Stream(stream, self)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.NetworkStream:
        raise NotSent("a socket of this machine is inside", for_good=True)

    def left(self) -> float:
        """Seconds left for the whole request. Raises ReadTimeout when there are none."""
        left = self._until - monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time is over")
        return left


class _Stream(httpcore2.NetworkStream):
    """A connection that is over when the request's time is, however often a byte comes."""

    def __init__(self, stream: httpcore2.NetworkStream, door: _Door) -> None:
        self._stream = stream
        self._door = door

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._door.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._door.left()
        self._door.sent = self._door.sent or bool(buffer)
        self._stream.write(buffer, left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._door.left()), self._door)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
