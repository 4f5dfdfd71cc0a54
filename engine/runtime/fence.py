"""The fence around an old database: what it believes is still to be sent may have been sent long ago.

An engine at work writes down that it is. One that starts on a database where nobody has been at work for long can't
know whether it is a restored backup, whose messages went out after it was taken, or just was switched off. So nothing
is sent until a person has looked. Customers go on, to their next message at most.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, or_, select

from engine.runtime import pausing
from engine.store import marks
from engine.store.tables import IN_JOURNEY, UNSETTLED, enrolment, mark
from engine.store.types import micros, moment

OLD = timedelta(hours=1)
_ALIVE = "alive"


def alive(connection: Connection, now: datetime) -> None:
    """Write down that an engine is at work on this database."""
    marks.put(connection, _ALIVE, {"at": micros(now)})


def fence(connection: Connection, now: datetime) -> datetime | None:
    """Pause everything when the database has had nobody at work for long and there may be something to send. When that
    was, if it did."""
    kept = connection.scalar(select(mark.c.value).where(mark.c.name == _ALIVE))
    if kept is None or now - (last := moment(kept["at"])) <= OLD:
        return None
    at_stake = or_(exists().where(UNSETTLED), exists().where(enrolment.c.id.is_not(None), IN_JOURNEY))
    if not connection.scalar(select(at_stake)):
        return None
    why = (
        f"nobody was at work here since {last:%Y-%m-%d %H:%M} UTC; if this is a restored backup, look before you resume"
    )
    pausing.pause(connection, pausing.ALL, now, why)
    return last
