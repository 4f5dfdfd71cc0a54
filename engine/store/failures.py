"""What can go wrong with the database that is neither Karibu's fault nor the content's, said so that a user can act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseError(Exception):
    """The database can't be used. The message says which one and why, and names no password."""


class AddressWrong(DatabaseError):
    """The address names no database that Karibu can speak to."""


class FileUnusable(DatabaseError):
    """The SQLite file can't be opened or written, or is no database."""


class ServerUnreachable(DatabaseError):
    """PostgreSQL doesn't answer, refuses the login, or closed the connection."""


class DatabaseFull(DatabaseError):
    """There is no room left to write; nothing of the transaction was kept."""


class DatabaseBusy(DatabaseError):
    """Another process held the database for too long. Trying again is safe."""


_SQLITE_FILE = ("unable to open", "readonly", "not a database", "malformed", "disk i/o", "access permission")
_LOCK_TIMEOUT = "55P03"


def diagnosis(error: Exception, address: URL) -> DatabaseError | None:
    """The DatabaseError behind a driver's error, or None when the statement is at fault.

    A deadlock (40P01) is none: `Database.written` does it again.
    """
    place = address.render_as_string(hide_password=True).replace("+psycopg", "")
    if isinstance(error, PoolTimeout):
        return DatabaseBusy(f"{place}: every connection is in use")
    if not isinstance(error, DBAPIError):
        return None
    said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    low = said.lower()
    if address.get_backend_name() == "sqlite":
        if "is full" in low:
            return DatabaseFull(f"{place}: the disk is full")
        if "is locked" in low:
            return DatabaseBusy(f"{place}: another process is writing and did not finish in time")
        if any(word in low for word in _SQLITE_FILE):
            return FileUnusable(f"{place}: {said}")
        return None
    state = getattr(error.orig, "sqlstate", None) or ""
    if state.startswith("53") and state != "53300":
        return DatabaseFull(f"{place}: {said}")
    if state == _LOCK_TIMEOUT:
        return DatabaseBusy(f"{place}: {said}")
    lost = error.connection_invalidated or state[:2] in ("08", "28", "57") or state in ("53300", "3D000")
    if lost or (not state and isinstance(error, OperationalError | InterfaceError)):
        return ServerUnreachable(f"{place}: {said}")
    return None


def writes_in_read(error: DBAPIError) -> bool:
    """Whether a statement wanted to write in a transaction that only reads."""
    return getattr(error.orig, "sqlstate", None) == "25006" or "readonly database" in str(error.orig)


@contextmanager
def explained(address: URL) -> Iterator[None]:
    """Turn a driver's error about the database itself into a DatabaseError; let every other error pass."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        known = diagnosis(error, address)
        if known is None:
            raise
        raise known from error


def deadlocked(error: BaseException) -> bool:
    """Whether two transactions waited for each other and PostgreSQL ended this one: it may simply be done again."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in ("40P01", "40001")
