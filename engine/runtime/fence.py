"""The fence around an old database: what it believes is still to be sent may have been sent long ago.

An engine at work writes down that it is, in the database and then in a file of its machine. A database that says less
than this machine remembers was put back: a restored backup, whose messages went out after it was taken. And where
nobody has been at work for long, one that starts can't know whether it is one, or just was switched off. In both cases
nothing is sent until a person has looked. Customers go on, to their next message at most.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Connection, exists, or_, select

from engine.runtime import pausing
from engine.store import marks
from engine.store.scratch import insert_ignore
from engine.store.tables import IN_JOURNEY, UNSETTLED, enrolment, mark
from engine.store.types import micros, moment

log = logging.getLogger("karibu.runtime")

OLD = timedelta(hours=1)
AT_WORK = "at-work"
"""The file of what a machine remembers."""
_ALIVE = "alive"
_IDENTITY = "database"
_MOST = 20
"""Databases that a machine remembers."""


@dataclass(frozen=True)
class Memory:
    """What this machine remembers: when an engine was last at work on which database. A file; None: nothing."""

    file: Path | None = None

    def last(self, database: str) -> datetime | None:
        at = self._read().get(database)
        return None if at is None else moment(at)

    def keep(self, database: str, at: datetime) -> None:
        """After the database has it: the file never says more than the database did."""
        if self.file is None:
            return
        rest = {name: then for name, then in self._read().items() if name != database}
        newest = sorted(rest, key=lambda name: rest[name])[-(_MOST - 1) :]
        said = {name: rest[name] for name in newest} | {database: micros(at)}
        fresh = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        try:
            fresh.write_text(json.dumps(said))
            fresh.replace(self.file)
        except OSError as error:  # it is one guard of two
            log.warning("when this engine was at work could not be written down: %s", type(error).__name__)

    def _read(self) -> Mapping[str, int]:
        try:
            said = json.loads(self.file.read_text()) if self.file is not None else {}
        except (OSError, ValueError):
            return {}
        return {name: at for name, at in said.items() if isinstance(at, int)} if isinstance(said, dict) else {}


def identity(connection: Connection) -> str:
    """What tells this database from others, and is the same in its backups."""
    mine = marks.kept(_IDENTITY)
    if (kept := connection.scalar(mine)) is None:
        connection.execute(insert_ignore(connection, mark).values(name=_IDENTITY, value={"id": token_hex(16)}))
        kept = connection.scalar(mine)
    assert kept is not None
    return str(kept["id"])


def alive(connection: Connection, now: datetime) -> datetime:
    """Write down that an engine is at work on this database: when one was last, which never goes back, though the
    clocks of two machines differ."""
    kept = _last(connection, locked=True)
    at = now if kept is None else max(kept, now)
    marks.put(connection, _ALIVE, {"at": micros(at)})
    return at


def fence(
    connection: Connection, now: datetime, remembered: datetime | None = None, *, starting: bool = True
) -> datetime | None:
    """Pause everything when the database says less than is `remembered`, or an engine that is `starting` finds that
    nobody was at work for long, and there may be something to send. Since when nobody was at work on it, if it did."""
    last = _last(connection)
    put_back = last is not None and remembered is not None and last < remembered
    if last is None or not (put_back or (starting and now - last > OLD)):
        return None
    at_stake = or_(exists().where(UNSETTLED), exists().where(enrolment.c.id.is_not(None), IN_JOURNEY))
    if not connection.scalar(select(at_stake)):
        return None
    why = (
        f"nobody was at work here since {last:%Y-%m-%d %H:%M} UTC; if this is a restored backup, look before you resume"
    )
    if put_back:
        why = (
            f"this is the database of {last:%Y-%m-%d %H:%M:%S} UTC, and this machine was at work on it until "
            f"{remembered:%Y-%m-%d %H:%M:%S}: what was sent in between may be sent again; look before you resume"
        )
    pausing.pause(connection, pausing.ALL, now, why)
    log.error("nothing is sent: %s", why)
    return last


def _last(connection: Connection, *, locked: bool = False) -> datetime | None:
    mine = marks.kept(_ALIVE)
    kept = connection.scalar(mine.with_for_update() if locked else mine)
    return None if kept is None else moment(kept["at"])
