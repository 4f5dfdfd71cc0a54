"""One connection to a mail relay: it is opened, greeted, secured and logged in, and carries mail after mail.

Who says what follows RFC 5321; envelopes leave in one piece where the relay takes that (RFC 2920), and the next
envelope leaves with the content of the mail before it. The law of this file: until the dot at the end of a mail's
content may have left, the mail has certainly not been sent; from then on only the relay's answer says so.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64encode
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

_LONGEST_REPLY = 65_536
_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True, slots=True)
class Relay:
    """Where a relay is and how one gets in. `security`: starttls, tls or none."""

    host: str
    port: int
    security: str
    username: str = ""
    password: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Relay({self.host!r}, {self.port}, {self.security!r})"


class Envelope(NamedTuple):
    """Who a mail is from and for, as the relay is told."""

    sender: str
    to: str


class Said(NamedTuple):
    """A reply of the relay: its code and its lines; of a refused envelope also the command that it answers."""

    code: int
    lines: tuple[bytes, ...]
    command: str = ""

    @property
    def enhanced(self) -> str:
        """The enhanced code (RFC 3463), or nothing."""
        found = _ENHANCED.match(self.lines[0]) if self.lines else None
        return found[0].decode() if found else ""

    @property
    def status(self) -> str:
        """The code, with the enhanced one; never their words, which may quote an address."""
        return f"{self.code} {self.enhanced}".rstrip()


class Lost(Exception):
    """The connection is gone, or what came over it is no SMTP."""


class Unwilling(Exception):
    """The relay doesn't let us in; `said` is what it answered."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.status)
        self.said = said


class Line(asyncio.Protocol):
    """A connection that is open. Only one coroutine may use it at a time."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._said: deque[Said] = deque()
        self._waits: asyncio.Future[None] | None = None
        self.lost = False
        self.carried = 0
        self.pipelining = False
        self.largest = 0

    @classmethod
    async def opened(cls, relay: Relay, name: str) -> Line:
        """A line that is ready for mail. Raises OSError, Lost and Unwilling; `name` is who we say we are."""
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context(cafile=relay.ca_file or None) if relay.security != "none" else None
        direct = context if relay.security == "tls" else None
        _, line = await loop.create_connection(cls, relay.host, relay.port, ssl=direct)
        try:
            _wanted(await line.reply(), 220)
            words = await line._hello(name)
            if relay.security == "starttls":
                assert context is not None
                _wanted(await line._ask(b"STARTTLS\r\n"), 220)
                await line._secure(context, relay.host)
                words = await line._hello(name)
            if relay.username:
                await line._log_in(relay, words.get(b"AUTH", b""))
        except BaseException:
            line.abort()
            raise
        line.pipelining = b"PIPELINING" in words
        size = words.get(b"SIZE", b"")
        line.largest = int(size) if size.isdigit() and len(size) < 16 else 0
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for text in whole:
            line = text.rstrip(b"\r")
            self._lines.append(line[4:])
            if line[3:4] == b"-" and len(self._lines) < 200:
                continue
            code = line[:3]
            if not code.isdigit():
                self.abort()
                break
            self._said.append(Said(int(code), tuple(self._lines)))
            self._lines.clear()
        if len(self._rest) > _LONGEST_REPLY:
            self.abort()
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def has_room(self, content: bytes) -> bool:
        """Whether the relay takes a mail of this size."""
        return not self.largest or len(content) <= self.largest

    def takes_along(self, content: bytes) -> bool:
        """Whether the envelope of this mail may leave with the content of the one before."""
        return self.pipelining and self.has_room(content)

    def write(self, data: bytes) -> None:
        """Send bytes. Raises Lost."""
        if self.lost or self._transport.is_closing():
            raise Lost
        self._transport.write(data)

    async def reply(self) -> Said:
        """The next reply. Raises Lost."""
        while not self._said:
            if self.lost:
                raise Lost
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits
        return self._said.popleft()

    def offer(self, envelope: Envelope) -> bytes:
        """The commands that begin a mail; all of it when the relay takes them in one piece, else the first."""
        self._left = [
            f"MAIL FROM:<{envelope.sender}>\r\n".encode("ascii"),
            f"RCPT TO:<{envelope.to}>\r\n".encode("ascii"),
            b"DATA\r\n",
        ]
        if not self.pipelining:
            return self._left.pop(0)
        whole, self._left = b"".join(self._left), []
        return whole

    async def taken(self) -> Said | None:
        """None when the relay waits for the content of the mail that was offered, else its refusal; then the line is
        ready for another. Raises Lost."""
        refusal: Said | None = None
        for command, wanted in (("MAIL", 250), ("RCPT", 250), ("DATA", 354)):
            said = await self.reply()
            if said.code // 10 != wanted // 10:
                refusal = refusal or said._replace(command=command)
                if not self.pipelining or said.code == 421:
                    break
            elif self._left:
                self.write(self._left.pop(0))
            if wanted == 354 and said.code == 354 and refusal is not None:
                await self._ask(b".\r\n")  # it takes content for nobody: there is none
        if refusal is not None and refusal.code != 421:
            await self._ask(b"RSET\r\n")
        return refusal

    async def _ask(self, command: bytes) -> Said:
        self.write(command)
        return await self.reply()

    async def _hello(self, name: str) -> dict[bytes, bytes]:
        """What the relay can do: keyword → parameters."""
        said = _wanted(await self._ask(f"EHLO {name}\r\n".encode("ascii")), 250)
        words = (line.upper().partition(b" ") for line in said.lines[1:])
        return {word: rest for word, _, rest in words}

    async def _secure(self, context: ssl.SSLContext, host: str) -> None:
        if self._rest or self._said:
            raise Lost  # somebody put words in before the line was secure
        transport = await asyncio.get_running_loop().start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=10
        )
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def _log_in(self, relay: Relay, ways: bytes) -> None:
        user, password = relay.username.encode(), relay.password.encode()
        if b"PLAIN" in ways.split() or b"LOGIN" not in ways.split():
            said = await self._ask(b"AUTH PLAIN " + b64encode(b"\0" + user + b"\0" + password) + b"\r\n")
        else:
            said = await self._ask(b"AUTH LOGIN\r\n")
            for word in (user, password):
                if said.code == 334:
                    said = await self._ask(b64encode(word) + b"\r\n")
        _wanted(said, 235)

    def abort(self) -> None:
        """Cut the line: what was begun on it is not finished."""
        self.lost = True
        self._transport.abort()

    async def quit(self) -> None:
        """Say goodbye; nobody minds if they don't answer."""
        with suppress(Lost, TimeoutError):
            async with asyncio.timeout(1):
                await self._ask(b"QUIT\r\n")
        self._transport.close()


def _wanted(said: Said, code: int) -> Said:
    if said.code != code:
        raise Unwilling(said)
    return said
