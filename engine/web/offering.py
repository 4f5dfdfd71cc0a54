"""Events that a source said are offered to the journeys, until they are durable; what can't be taken is left.

What became of them is a plain value; each route tells it in its sender's words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.runtime.kept import Kept
from engine.web.accepting import accept
from engine.web.intake import Full, Intake, Request, Verdict
from engine.web.reading import MOST_EVENTS
from engine.web.saying import Asked, Heard, hear, to_keep
from engine.web.who import earlier
from triggers.sources.base import Said, Source

log = logging.getLogger("karibu.web")

MOST = 10_000
"""Events of one request."""


@dataclass(frozen=True)
class Taken:
    """What became of a request: events that are new, that had come before, and parts that are kept as no events."""

    accepted: int
    duplicates: int
    kept: int


class Refused(Enum):
    """Why nothing, or only a part, was taken: it holds too much; too many events wait; the database is away."""

    LARGE = "large"
    FULL = "full"
    AWAY = "away"


async def offer(
    intake: Intake, app: App, name: str, source: Source, said: Said, *, page: bool = False, asked: Asked | None = None
) -> tuple[Taken, list[Kept]] | Refused:
    """Take the events, until they are durable; what is left is for the caller to keep."""
    if len(said) > MOST:
        return Refused.LARGE
    try:
        heard = await run_in_threadpool(_hear, app, name, source, said, page, asked)
        verdicts: list[Verdict] = []
        for places in _parts(heard):
            start, part = places.start, [heard.events[place][0] for place in places]
            dated = frozenset(place - start for place in places if place in heard.dated)
            whos = {place - start: heard.whos[place] for place in places if place in heard.whos}
            verdicts += await accept(intake, Request(part, dated), whos, also_refused=True)
        left = list(heard.kept)
        for place, verdict in enumerate(verdicts):
            told = heard.events[place][1]
            if verdict == "conflict" and told.first:
                verdicts[place] = "duplicate"
            elif verdict == "conflict":
                left.append(replace(to_keep(told, "another event has this key", asked), key=""))
    except Full:
        return Refused.FULL
    except Exception as error:
        return away(name, error)
    return Taken(verdicts.count("accepted"), verdicts.count("duplicate"), len(left)), left


def _parts(heard: Heard) -> Iterator[range]:
    """The places of the events in parts: as many as one transaction takes. A part begins with whoever gets another id:
    all that came before has made them known by the old one."""
    start = 0
    for place in range(1, len(heard.events) + 1):
        renamed = place in heard.whos and heard.whos[place].former is not None
        if place == len(heard.events) or place - start == MOST_EVENTS or renamed:
            yield range(start, place)
            start = place


def away(name: str, error: Exception) -> Refused:
    """The database was away: what came is to be sent again."""
    log.error("a request of %s could not be taken: %s", name, type(error).__name__)
    return Refused.AWAY


def _hear(app: App, name: str, source: Source, said: Said, page: bool, asked: Asked | None) -> Heard:
    project = app.content.project
    wanted = source.options.consent
    topics = tuple(project.topics) if wanted is None else wanted
    with app.database.read() as connection:
        find = partial(earlier, connection, name)
        return hear(said, name, topics, app.door, app.clock.now(), find, page=page, asked=asked)
