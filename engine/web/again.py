"""Webhooks that are kept are run again, once the mapping knows them: the same reading, the same durable door.

The database decides, as when they came: an event has the key that what was signed gives it, so whoever runs one twice,
or at the same time from two places, or had the shop send it again meanwhile, counts it once. What is left of none is
kept no longer, after its events are on the disk; a crash between the two leaves it to be run again, and it counts once.

They go one after the other, as they came: a refund finds whom it is of by the order before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from engine.app import App
from engine.runtime import kept
from engine.web.intake import Intake
from engine.web.saying import Asked, Noted
from engine.web.taking import Refused, Taken, offer

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
    """Run these again, in this order."""
    intake = Intake(app.runtime, lambda *names: None)  # a service that is up finds by itself who has entered
    intake.start()
    try:
        with asyncio.Runner() as runner:
            for number in ids:
                yield runner.run(_one(app, intake, number))
    finally:
        intake.close()
        app.sightings.write(app.database, app.clock.now())


async def _one(app: App, intake: Intake, number: int) -> Again:
    with app.database.read() as connection:
        hook = kept.one(connection, number)
    if hook is None:
        return Again(number, "gone")
    opened = app.sources.get(hook.source)
    if opened is None:
        return Again(number, "kept", reason="project.yaml names no such source")
    if hook.reading is None:
        return Again(number, "kept", reason="it is not kept as it came, so it can't be read again")
    payload, headers = orjson.loads(hook.body), Noted(hook.reading.headers)
    read = opened.source.again if hook.reading.part else opened.source.read
    offered = await offer(
        intake, app, hook.source, opened.source, read(headers, payload), asked=Asked(payload, headers, hook.received_at)
    )
    if isinstance(offered, Refused):
        return Again(number, "refused")
    taken, left = offered
    reason = left[0].reason if left else None
    with app.database.write() as connection:
        kept.settle(connection, number, reason)
    return Again(number, _became(taken), taken.accepted, reason)


def _became(taken: Taken) -> Became:
    if taken.kept:
        return "kept"
    if taken.accepted:
        return "taken"
    return "before" if taken.duplicates else "nothing"
