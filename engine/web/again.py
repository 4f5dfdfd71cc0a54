"""Webhooks that are kept are run again, once the mapping knows them: the same reading, the same durable door.

The database decides, as when they came: an event has the key that what was signed gives it, so whoever runs one twice,
or at the same time from two places, or had the shop send it again meanwhile, counts it once. What is left of none is
kept no longer, after its events are on the disk; a crash between the two leaves it to be run again, and it counts once.

They go one after the other, as they came: a refund finds whom it is of by the order before it. One that came before
its order is run by itself when the order is taken: right after it, as are those that wait for what it tells in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.runtime import kept
from engine.runtime.kept import Hook, Kept
from engine.web.intake import Intake
from engine.web.offering import Refused, Taken, offer
from engine.web.saying import Asked, Noted
from triggers.sources.base import Said, Told

Became = Literal["taken", "before", "nothing", "kept", "gone", "refused"]


@dataclass(frozen=True)
class Again:
    """What became of one that was run again.

    `became`: taken (as `accepted` events), before (its events had come before), nothing (it tells none), kept (still,
    for this `reason`), gone (it is kept no longer: another replay took it), refused (the database was away: as it
    was)."""

    id: int
    became: Became
    accepted: int = 0
    reason: str | None = None


def replay(app: App, ids: Iterable[int]) -> Iterator[Again]:
    """Run these again, in this order, and after each those that have waited for it."""
    intake = Intake(app.runtime, lambda *names: None)  # a service that is up finds by itself who has entered
    intake.start()
    ran: set[int] = set()
    try:
        with asyncio.Runner() as runner:
            for number in ids:
                if number not in ran:
                    for one in runner.run(_all(intake, app, [number])):
                        ran.add(one.id)
                        yield one
    finally:
        intake.close()
        app.sightings.write(app.database, app.clock.now())


async def late(intake: Intake, app: App, source: str, said: Said, left: Sequence[Kept]) -> list[Again]:
    """Run those of a source that have waited for what was said just now, or for whom it is of of what is kept of it:
    that may have come while it was being kept. Raises what the database does."""
    return await _all(intake, app, await run_in_threadpool(_ripe, app, source, said, left))


async def _all(intake: Intake, app: App, numbers: Sequence[int]) -> list[Again]:
    """Run these, and those that have waited for them; no more once the database is away. One that is kept and waits is
    run once more if what it waits for has come meanwhile."""
    ran: dict[int, Again] = {}
    coming = list(numbers)
    while coming:
        number = coming.pop(0)
        if number in ran and ran[number].became != "kept":
            continue
        ran[number], more = await _one(intake, app, number)
        coming += more
        if ran[number].became == "refused":
            break
    return list(ran.values())


async def _one(intake: Intake, app: App, number: int) -> tuple[Again, list[int]]:
    """What became of it, and those that have waited for it."""
    hook = await run_in_threadpool(_kept, app, number)
    if hook is None:
        return Again(number, "gone"), []
    opened = app.sources.get(hook.source)
    if opened is None:
        return Again(number, "kept", reason="project.yaml names no such source"), []
    if hook.reading is None:
        return Again(number, "kept", reason="it is not kept as it came, so it can't be read again"), []
    payload, headers = orjson.loads(hook.body), Noted(hook.reading.headers)
    read = opened.source.again if hook.reading.part else opened.source.read
    said = read(headers, payload)
    asked = Asked(payload, headers, hook.received_at)
    offered = await offer(intake, app, hook.source, opened.source, said, asked=asked)
    if isinstance(offered, Refused):
        return Again(number, "refused"), []
    taken, left = offered
    await run_in_threadpool(_settle, app, number, left)
    more = await run_in_threadpool(_ripe, app, hook.source, said, left)
    return Again(number, _became(taken), taken.accepted, left[0].reason if left else None), more


def _kept(app: App, number: int) -> Hook | None:
    with app.database.read() as connection:
        return kept.one(connection, number)


def _settle(app: App, number: int, left: Sequence[Kept]) -> None:
    waits = [key for one in left for key in one.waits]
    with app.database.write() as connection:
        kept.settle(connection, number, left[0].reason if left else None, waits)


def _ripe(app: App, source: str, said: Said, left: Sequence[Kept]) -> list[int]:
    keys = [one.key for one in said if isinstance(one, Told)] + [key for one in left for key in one.waits]
    with app.database.read() as connection:
        return kept.ripe(connection, source, keys)


def _became(taken: Taken) -> Became:
    if taken.kept:
        return "kept"
    if taken.accepted:
        return "taken"
    return "before" if taken.duplicates else "nothing"
