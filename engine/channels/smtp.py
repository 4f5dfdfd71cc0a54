"""Mail through a relay of yours that speaks SMTP: Postfix, a provider's submission port. Signing (DKIM) is the relay's.

Connections are kept. A 4xx and anything before the content has left is a no for now, a 5xx a no for good, which ends
the address if there is nobody at it; a silence after the content is in doubt. The Message-ID is ours and carries the
message's id, so that a bounce can be told apart.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field

from engine.channels import mime
from engine.channels.base import (
    Accepted,
    ChannelOptions,
    ConfigurationError,
    Fresh,
    InDoubt,
    Limits,
    Outgoing,
    Refused,
    Result,
    Settle,
    Surroundings,
    alone,
    is_here,
)
from engine.channels.dsn import GONE
from engine.channels.smtp_line import Envelope, Line, Lost, Relay, Said, Unwilling
from engine.channels.wire import Wire
from engine.language.registry import channel

Security = Literal["starttls", "tls", "none"]
_SOON = timedelta(seconds=30)
_LATER = timedelta(minutes=10)
_CONNECT = 10.0
_QUICK, _PROMPT = 0.05, 0.5
"""Seconds that a relay takes for an envelope: under the first the next envelope leaves with the content before it; over
the second the gate's word on the mail may have grown old."""
_HELD = 20.0
"""So many seconds a relay that has taken an envelope is let wait for its content, while the gate is asked once more."""
_KEY = frozenset({530, 534, 535, 538})


class SmtpOptions(ChannelOptions):
    """What project.yaml may say beside `provider: smtp`."""

    connections: int = Field(default=8, ge=1, le=100, description="How many are kept open.")
    timeout: float = Field(default=30, gt=0, le=120, description="Seconds to wait for each mail.")
    bounces: str = Field(
        default="",
        pattern=r"^([^@<>\s]+@[^@<>\s]+)?$",
        description="The address that undeliverable mail comes back to. Default: the sender's.",
    )


@channel("smtp")
class Smtp:
    """Hands mails to a relay over connections that are kept open."""

    carries: ClassVar[frozenset[str]] = frozenset({"email"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(at_once=8, size=25_000_000)
    Options: ClassVar[type[ChannelOptions]] = SmtpOptions

    def __init__(self, relay: Relay, options: SmtpOptions) -> None:
        self._relay = relay
        self.options = options
        self._wire = Wire()
        self.free: list[Line] = []
        self._waiting: dict[tuple[str, Envelope], tuple[float, Line]] = {}
        self.slots = asyncio.Semaphore(options.connections)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, SmtpOptions)
        setting = surroundings.setting
        host, security = setting("smtp_host"), setting("smtp_security") or "starttls"
        if not host:
            raise ConfigurationError("SMTP needs a relay: set KARIBU_SMTP_HOST")
        if security not in get_args(Security):
            raise ConfigurationError("KARIBU_SMTP_SECURITY is starttls, tls or none")
        username, password = setting("smtp_username") or "", surroundings.secret("smtp_password") or ""
        if username and security == "none" and not is_here(host):
            raise ConfigurationError("a password must not cross the net in the clear: set KARIBU_SMTP_SECURITY")
        port = int(setting("smtp_port") or (465 if security == "tls" else 587))
        return cls(Relay(host, port, security, username, password, setting("smtp_ca_file") or ""), options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        self._wire.run(_Wave(self, messages, fresh, settle).carried())

    def close(self) -> None:
        if self._wire.running():
            self._wire.run(self._leave())
        self._wire.close()

    async def _leave(self) -> None:
        free, self.free = self.free, []
        self._let_go(older_than=0)
        await asyncio.gather(*(line.quit() for line in free), asyncio.sleep(0))  # what was cut needs a turn to close

    def keep(self, ref: str, envelope: Envelope, line: Line) -> None:
        """The relay has taken this envelope, so slowly that the gate must be asked again: the line waits for that."""
        self._waiting[ref, envelope] = (asyncio.get_running_loop().time(), line)

    def taken(self, ref: str, envelope: Envelope) -> Line | None:
        """The line on which the relay waits for the content of this very mail."""
        self._let_go(older_than=_HELD)
        _, line = self._waiting.pop((ref, envelope), (0, None))
        return None if line is None or line.lost else line

    def _let_go(self, older_than: float) -> None:
        now = asyncio.get_running_loop().time()
        for key, (since, line) in list(self._waiting.items()):
            if now - since >= older_than:
                del self._waiting[key]
                line.abort()

    async def line(self, name: str) -> Line:
        while self.free:
            line = self.free.pop()
            if not line.lost:
                return line
        return await Line.opened(self._relay, name)


class _Wave:
    """Mails that leave side by side, each line taking the next one when it is free."""

    def __init__(self, smtp: Smtp, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        self._smtp = smtp
        self._messages = messages
        self._fresh = fresh
        self._turns = deque(range(len(messages)))
        self._settle = settle
        self._data: dict[int, bytes] = {}

    async def carried(self) -> None:
        """Send them all, or as many as begin in time."""
        lines = min(self._smtp.options.connections, len(self._messages))
        await asyncio.gather(*(self._carry() for _ in range(lines)))

    async def _carry(self) -> None:
        """One line's part of the wave."""
        async with self._smtp.slots:
            while (turn := self._next()) is not None:
                message = self._messages[turn]
                waiting = self._smtp.taken(message.ref, self._envelope(turn))
                try:
                    async with asyncio.timeout(min(self._smtp.options.timeout, _CONNECT)):
                        line = waiting or await self._smtp.line(_domain(message))
                except (OSError, Lost, TimeoutError):  # ssl's errors are OSErrors
                    self._settle(turn, Refused("unreachable", retry_after=_SOON))
                    continue
                except Unwilling as error:
                    self._settle(turn, _no(error.said, at_the_door=True))
                    continue
                if await self._over(line, turn, taken=waiting is not None):
                    self._smtp.free.append(line)

    async def _over(self, line: Line, turn: int, *, taken: bool) -> bool:
        """Mail after mail over one line, while there are some and it holds. `taken`: the relay has taken the envelope
        of the first, and waits for its content. Whether the line is free for others afterwards."""
        clock = asyncio.get_running_loop().time
        following: int | None = turn
        offered: float | None = None  # when the envelope of `following` left
        while following is not None:
            turn, following, left = following, None, False
            if offered is None and not taken and not self._fresh():
                return True
            if not line.has_room(self._data[turn]):
                self._settle(turn, Refused("too_large"))
                if taken:  # it was smaller when its envelope left
                    line.abort()
                    return False
                following = self._next()
                continue
            try:
                async with asyncio.timeout(self._smtp.options.timeout):
                    if offered is None and not taken:
                        offered = clock()
                        line.write(line.offer(self._envelope(turn)))
                    refusal = None if taken else await line.taken()
                    took = _QUICK if offered is None else clock() - offered
                    offered, taken = None, False
                    if refusal is not None:
                        if refusal.code == 421 and line.carried:
                            raise Lost  # it has carried its share: another line takes this one
                        self._settle(turn, _no(refusal))
                        if refusal.code == 421:
                            line.abort()
                            return False
                        following = self._next()
                        continue
                    if took > _PROMPT and not self._fresh():
                        self._smtp.keep(self._messages[turn].ref, self._envelope(turn), line)
                        return False
                    content = self._content(turn)
                    following, more = self._next(), b""
                    if (
                        following is not None
                        and line.pipelining
                        and line.has_room(self._data[following])
                        and took < _QUICK
                    ):
                        offered, more = clock(), line.offer(self._envelope(following))
                    line.write(b"".join((content, b".\r\n", more)))  # raises before it writes
                    left = True
                    self._settle(turn, self._settled(await line.reply(), turn))
                    line.carried += 1
            except Lost:
                self._broken(turn, following, left, line, InDoubt("connection"))
                return False
            except TimeoutError:
                self._broken(turn, following, left, line, InDoubt("timeout"))
                return False
        return not line.lost

    def _broken(self, turn: int, following: int | None, left: bool, line: Line, doubt: InDoubt) -> None:
        """The line broke while `turn` was on it, and after `following` was offered."""
        if following is not None:
            self._turns.appendleft(following)
        if left:
            self._settle(turn, doubt)
        elif line.carried and doubt.reason == "connection":
            self._turns.appendleft(turn)  # a line that was kept too long: nothing has left on it
        else:
            self._settle(turn, Refused("unreachable", retry_after=_SOON))
        line.abort()

    def _next(self) -> int | None:
        """Whose turn it is: a mail that is one, or None when nothing is to leave any more."""
        while self._turns and self._fresh():
            turn = self._turns.popleft()
            try:
                data = self._data.get(turn) or mime.build(self._messages[turn])
                mime.check_address(self._messages[turn].to)
            except ValueError as error:
                self._settle(turn, Refused(f"content: {error}"))
                continue
            if len(data) > Smtp.limits.size:
                self._settle(turn, Refused("too_large"))
                continue
            self._data[turn] = data
            return turn
        return None

    def _content(self, turn: int) -> bytes:
        data = self._data.pop(turn)
        # A line that begins with a dot would end the mail (RFC 5321, 4.5.2); base64 has none.
        return data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data

    def _envelope(self, turn: int) -> Envelope:
        message = self._messages[turn]
        sender = self._smtp.options.bounces or message.sender.email
        return Envelope(mime.check_address(sender), mime.check_address(message.to))

    def _settled(self, said: Said, turn: int) -> Result:
        message = self._messages[turn]
        return Accepted(f"{message.ref}@{_domain(message)}") if said.code // 100 == 2 else _no(said)


def _domain(message: Outgoing) -> str:
    return mime.check_address(message.sender.email).rpartition("@")[2]


def _no(said: Said, *, at_the_door: bool = False) -> Refused:
    """A relay's no in our words. Who isn't let in may come again: that is no fault of the mail."""
    if said.code in _KEY:
        return Refused(f"provider_key: {said.status}", retry_after=_LATER)
    if at_the_door or said.code < 500:
        return Refused(f"provider: {said.status}", retry_after=_LATER if said.code >= 500 else _SOON)
    return Refused(f"provider: {said.status}", ends="bounced" if _nobody(said) else None)


def _nobody(said: Said) -> bool:
    """Whether the recipient's address takes no mail, now or later: only what is said to RCPT, with a code that says so.

    A 550 without such a code may be about us: a list that we are on, a relay that isn't for us. So may 5.1.0, which
    Postfix says to RCPT when it doesn't know the sender: a wrong sender must not end the address of every customer."""
    return (
        said.command == "RCPT"
        and said.code // 100 == 5
        and said.enhanced != "5.1.0"
        and GONE.fullmatch(said.enhanced) is not None
    )
