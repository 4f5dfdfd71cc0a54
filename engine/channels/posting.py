"""HTTP requests to a provider: kept connections, so many at once, and a sure word on what never left.

The law of this file: only what failed before a connection stood has certainly not been sent. Everything after that and
without an answer is in doubt, and nothing is ever posted a second time here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp

from engine.channels.base import Fresh, InDoubt, Refused, Result
from engine.channels.wire import Wire

SOON = timedelta(seconds=30)
MENDED = timedelta(minutes=10)
"""So long somebody may need to set a key right."""
_LONGEST_WAIT = timedelta(hours=24)
_CONNECT = 5.0
_LARGEST_ANSWER = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: where, with which body and with which headers besides those of every request."""

    url: str = field(repr=False)  # Telegram's holds a secret
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Reply = Answer | Refused | InDoubt


class Poster:
    """Posts requests for whatever thread asks, at most `at_once` at a time, and waits `timeout` seconds for each."""

    def __init__(self, headers: Mapping[str, str], *, timeout: float, at_once: int) -> None:
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, _CONNECT))
        self._at_once = at_once
        self._wire = Wire()
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(at_once)

    def post(self, request: Request) -> Reply:
        """The answer to one request, or what came instead of it."""
        return self._wire.run(self._post(request))

    def post_all(
        self, requests: Sequence[Callable[[], Request]], fresh: Fresh, answered: Callable[[int, Reply], None]
    ) -> None:
        """Post these, each made when its turn comes, and hand on what was answered to which. Those whose turn comes too
        late are not posted."""
        self._wire.run(self._post_all(requests, fresh, answered))

    def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            self._wire.run(self._session.close())
            self._session = None
        self._wire.close()

    async def _post_all(
        self, requests: Sequence[Callable[[], Request]], fresh: Fresh, answered: Callable[[int, Reply], None]
    ) -> None:
        turns = iter(range(len(requests)))

        async def work() -> None:
            for turn in turns:
                async with self._slots:
                    if not fresh():
                        return
                    answered(turn, await self._send(requests[turn]()))

        await asyncio.gather(*(work() for _ in range(min(self._at_once, len(requests)))))

    async def _post(self, request: Request) -> Reply:
        async with self._slots:
            return await self._send(request)

    async def _send(self, request: Request) -> Reply:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers=self._headers,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
            )
        try:
            async with self._session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, await _body(response.content))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Refused("unreachable", retry_after=SOON)
        except aiohttp.InvalidURL:
            return Refused("bad_address")
        except TimeoutError:
            return InDoubt("timeout")
        except (aiohttp.ClientError, OSError) as error:
            return InDoubt(f"connection: {type(error).__name__}")


async def _body(content: aiohttp.StreamReader) -> bytes:
    """All of an answer, in however many pieces it comes, up to the largest that is read."""
    body = b""
    while len(body) < _LARGEST_ANSWER and (piece := await content.read(_LARGEST_ANSWER - len(body))):
        body += piece
    return body


def judged(answer: Answer, now: datetime, accepted: Callable[[Answer], Result], why: Callable[[Answer], str]) -> Result:
    """A provider's answer in our words: 2xx is accepted, 429 and 4xx certainly nothing sent, 5xx nobody knows.

    `accepted` makes the result of a 2xx; `why` says what they object to without quoting an address."""
    status = answer.status
    if 200 <= status < 300:
        return accepted(answer)
    if status == 429:
        return Refused("rate_limited", retry_after=asked_to_wait(answer.headers, now))
    if status in (401, 403):
        # The key is wrong, not the message: it may go once somebody has mended that.
        return Refused(f"provider_key: {status}", retry_after=MENDED)
    if 300 <= status < 500:
        return Refused(f"provider: {status} {why(answer)}".strip())
    return InDoubt(f"provider: {status}")


def asked_to_wait(headers: Mapping[str, str], now: datetime) -> timedelta:
    """How long they ask us to wait: Retry-After as seconds or a date, else X-RateLimit-Reset (a Unix time)."""
    said = headers.get("retry-after", "").strip()
    wait = SOON
    if said.isdigit() and len(said) < 9:
        wait = timedelta(seconds=int(said))
    elif said:
        try:
            wait = parsedate_to_datetime(said).astimezone(UTC) - now
        except ValueError:
            wait = SOON
    elif (reset := headers.get("x-ratelimit-reset", "")).isdigit() and len(reset) < 12:
        wait = datetime.fromtimestamp(int(reset), UTC) - now
    return min(max(wait, timedelta(seconds=1)), _LONGEST_WAIT)
