"""The work of the demo: history in, journeys published, eight weeks replayed on the virtual clock.

How far it has come stands in the table `mark`, written in the transaction of the work itself. So a demo that was killed
anywhere goes on where it stopped, and ends with the same decisions and the same files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.app import App
from engine.demo.data import END, START, Shop
from engine.demo.load import incoming, profiles
from engine.runs import JourneyRuns
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import BATCH, Incoming, ingest
from engine.store import marks
from engine.store.database import Database

HOUR = 15
"""When the replay looks at the clock, each day, in UTC: on the same day everywhere the customers live. What happened
since the last look is seen then, in the order in which it happened; a service that runs looks every second."""

IMPORTED, REPLAYED = "demo:imported", "demo:replayed"


class ReplayFailed(Exception):
    """A journey could not be moved at a look. Nothing is lost: the replay goes on there when it is run again."""


def done(database: Database, what: str) -> int:
    """How far a piece of the demo's work has come: events of the history, or looks of the replay."""
    with database.read() as connection:
        value = connection.scalar(marks.kept(what))
    return 0 if value is None else int(value["done"])


def looks() -> list[datetime]:
    """The moments of all looks, from the start (nothing has happened) to the end."""
    days = (START.replace(hour=0) + n * timedelta(days=1) for n in range((END - START).days + 1))
    between = [day.replace(hour=HOUR) for day in days]
    return [START, *(moment for moment in between if START < moment < END), END]


def import_history(app: App, shop: Shop, tell: Callable[[int], None]) -> None:
    """Take in the customers and baskets before the eight weeks: they count, and let nobody in. `tell` gets how many."""
    events = [event for _, event in incoming(shop.history, app.door, profiles(shop.known, app.door))]
    here = done(app.database, IMPORTED)
    for batch in _batches(events[here:]):
        here += len(batch)
        with app.database.write() as connection:
            ingest(connection, [], _worth(app), batch, app.clock.now(), live=False)
            _note(connection, IMPORTED, here)
        tell(here)


def replay(
    app: App,
    clock: VirtualClock,
    shop: Shop,
    runs: JourneyRuns,
    tell: Callable[[datetime], None],
    most: int | None = None,
) -> None:
    """Let the eight weeks happen, with one Prefect run a journey and day. `tell` gets the moment of each look; after
    `most` looks in all it is over."""
    events = list(incoming(shop.replay, app.door, profiles(shop.arriving, app.door)))
    moments = [at for at, _ in events]
    first = done(app.database, REPLAYED)
    zone = ZoneInfo(app.content.project.brand.timezone)
    day = None
    plan = looks()[: None if most is None else most + 1]
    for look in range(max(first, 1), len(plan)):
        now = plan[look]
        clock.advance_to(now)
        tell(now)
        if day != (day := now.astimezone(zone).date()):
            runs.end()
        if look > first:
            lower, upper = bisect_right(moments, plan[look - 1]), bisect_right(moments, now)
            _happen(app, [event for _, event in events[lower:upper]], look)
        failed = dict(app.runtime.tick().failed)
        names = {journey: f"{journey} {day}" for journey in sorted({work.journey for work in app.runtime.work()})}
        runs.begin(names)
        for journey, name in names.items():
            for why in runs.advance(journey, name).failed.values():
                failed[journey] = why
        if failed:
            # To go on would be to decide late: run again, the demo takes up this very look.
            raise ReplayFailed("; ".join(f"{journey}: {why}" for journey, why in failed.items()))
    runs.end()
    runs.settle()


def _happen(app: App, events: list[Incoming], look: int) -> None:
    """The events since the last look, and the note that they have happened, in one transaction."""
    programs = list(app.runtime.programs().values())
    with app.database.write() as connection:
        ingest(connection, programs, _worth(app), events, app.clock.now())
        _note(connection, REPLAYED, look)


def _worth(app: App) -> dict[str, str]:
    events = app.content.project.events
    return {name: event.value for name, event in events.items() if event.value is not None}


def _note(connection: Connection, what: str, count: int) -> None:
    marks.put(connection, what, {"done": count})


def _batches(events: list[Incoming]) -> Iterator[list[Incoming]]:
    for start in range(0, len(events), BATCH):
        yield events[start : start + BATCH]
