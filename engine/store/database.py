"""The database: one class for SQLite and PostgreSQL, with the few settings each needs to keep its promises.

`read()` and `write()` give a SQLAlchemy Core connection in a transaction. A write commits at the end of its block and
rolls back on any error. SQLite has one writer at a time, so its writers take turns here, first come, first served, and
the transaction opens with BEGIN IMMEDIATE: a transaction that reads first and writes later would fail with "database is
locked" however long it is prepared to wait. PostgreSQL runs READ COMMITTED.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import orjson
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from engine.store.failures import AddressWrong, DatabaseError, deadlocked, explained, writes_in_read
from engine.store.turns import Turns

__all__ = ["Database", "DatabaseError"]

log = logging.getLogger("karibu.database")

BUSY_TIMEOUT_MS = 30_000  # for a writer in another process; threads of this one wait in turn
MAX_READERS = 16
CACHE_KIB = {"writer": 65_536, "reader": 8_192}
MMAP_BYTES = 256 * 1024 * 1024
TRIES = 5
"""How often `written` tries, at most: PostgreSQL takes a second to see a deadlock."""

T = TypeVar("T")


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


class Database:
    """A place where the tables live. `url` is `sqlite:///path`, `sqlite://` (in memory) or `postgresql://…`.

    Opens nothing until it is used; may be used from any number of threads. Raises DatabaseError, whose text is fit for
    a user, when the file or the server can't be used.
    """

    def __init__(self, url: str) -> None:
        self.url = _address(url)
        self.dialect: Literal["sqlite", "postgresql"] = (
            "sqlite" if self.url.get_backend_name() == "sqlite" else "postgresql"
        )
        self._memory = self.dialect == "sqlite" and self.url.database in (None, "", ":memory:")
        self._turns = Turns()
        self._mine = threading.local()
        if self.dialect == "postgresql":
            self._writer = self._reader = _postgresql(self.url)
        elif self._memory:
            self._writer = self._reader = _sqlite(self.url, "writer", poolclass=StaticPool)
        else:
            self._writer = _sqlite(self.url, "writer", poolclass=QueuePool, pool_size=1, max_overflow=1)
            self._reader = _sqlite(self.url, "reader", poolclass=QueuePool, pool_size=4, max_overflow=MAX_READERS - 4)

    @classmethod
    def memory(cls) -> Database:
        """An empty, migrated database in memory."""
        database = cls("sqlite://")
        database.migrate()
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; a write in it is a RuntimeError.

        On SQLite it sees one moment throughout. In memory there is one connection: a read waits for the write of
        another thread, and reads of one thread nest.
        """
        outer: Connection | None = getattr(self._mine, "reading", None)
        if self._memory and outer is not None:
            yield outer
            return
        if self._memory and getattr(self._mine, "writing", False):
            raise RuntimeError("a read inside a write of the same thread: use the write's own connection")
        with self._turn(self._memory), explained(self.url), self._reader.connect() as plain:
            connection = plain.execution_options(postgresql_readonly=True, karibu_begin="BEGIN")
            self._mine.reading = connection
            try:
                with connection.begin():
                    yield connection
            except DBAPIError as error:
                if writes_in_read(error):
                    raise RuntimeError("a write inside a read: use Database.write()") from error
                raise
            finally:
                self._mine.reading = outer

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block. One in another of the same thread is a RuntimeError."""
        if getattr(self._mine, "writing", False):
            raise RuntimeError("a write inside a write of the same thread: they would wait for each other")
        if self._memory and getattr(self._mine, "reading", None) is not None:
            raise RuntimeError("a write inside a read of the same thread: in memory there is one connection")
        with self._turn(self.dialect == "sqlite"), explained(self.url), self._writer.connect() as plain:
            connection = plain.execution_options(karibu_begin="BEGIN IMMEDIATE")
            self._mine.writing = True
            try:
                with connection.begin():
                    yield connection
            finally:
                self._mine.writing = False

    def written(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, when all that it wrote in its transaction is committed.

        It is called again, in a new transaction, when PostgreSQL ended the one before for a deadlock or because it
        could not be put in order with another: so it must leave nothing outside the database but what it returns, and
        let such an error pass. After `TRIES` in vain the error is raised."""
        for left in reversed(range(TRIES)):
            try:
                with self.write() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not left or not deadlocked(error):
                    raise
                log.info("two transactions waited for each other; this one is done again")
        raise AssertionError("unreachable")

    def migrate(self) -> None:
        """Bring the tables to the newest revision; creates them in an empty database."""
        from engine.store.migrate import to_head  # Alembic takes a while to import, and most commands don't migrate

        to_head(self)

    @contextmanager
    def unreferenced(self) -> Iterator[Connection]:
        """A write on SQLite that doesn't check foreign keys, for migrations: SQLite alters a table by building another,
        and dropping the old one would delete or refuse what points at it. The caller checks them before the end."""
        with self._turns, explained(self.url), self._writer.connect() as plain:
            driver = plain.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys = OFF")  # nothing inside a transaction, so it goes before BEGIN
            try:
                with plain.execution_options(karibu_begin="BEGIN IMMEDIATE") as connection, connection.begin():
                    yield connection
            finally:
                driver.execute("PRAGMA foreign_keys = ON")

    def dispose(self) -> None:
        """Close every idle connection. An in-memory database is gone afterwards."""
        self._writer.dispose()
        self._reader.dispose()

    def _turn(self, needed: bool) -> AbstractContextManager[object]:
        return self._turns if needed else nullcontext()


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise AddressWrong("the database address can't be read; use sqlite:///path or postgresql://…") from None
    if address.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return address.set(drivername="postgresql+psycopg")
    if address.drivername in ("sqlite", "sqlite+pysqlite"):
        return address.set(drivername="sqlite")
    raise AddressWrong(f"{address.drivername}:// is no database Karibu knows; use sqlite:///path or postgresql://…")


PREPARED = 512
"""Statements that a connection to PostgreSQL keeps parsed, as many as one to SQLite. A look at the segments takes many
in turn: with fewer places (psycopg has 100) each is gone before it comes again, and parsed anew."""

POSTGRESQL = {
    "TimeZone": "UTC",
    # JIT costs a compilation for each of our wide statements and wins nothing on them.
    "jit": "off",
    # A plan kept from run to run knows no values: the customers whose trial ended "between then and now" may be any
    # number, so from its tenth run on the statement read all of them, whose plan until then was a seek.
    "plan_cache_mode": "force_custom_plan",
}
"""Settings of a connection."""


def _postgresql(address: URL) -> Engine:
    engine = create_engine(
        address,
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # errors are logged, and parameters are people
        json_serializer=_json_text,
        json_deserializer=orjson.loads,
        pool_size=8,
        max_overflow=24,
        pool_pre_ping=True,  # a restarted server costs a reconnect, not a failed step
        pool_use_lifo=True,
        connect_args={"connect_timeout": 10, "application_name": "karibu", "keepalives_idle": 30},
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, record: Any) -> None:
        connection.prepared_max = PREPARED
        before = connection.autocommit
        connection.autocommit = True
        each = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in POSTGRESQL.items())
        connection.execute(f"SELECT {each}")
        connection.autocommit = before

    @event.listens_for(engine, "handle_error")
    def without_values(context: ExceptionContext) -> None:
        # PostgreSQL adds the row that failed to its message; messages are logged, and rows are people.
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None and error.args and isinstance(error.args[0], str):
                error.args = (error.args[0].split("\nDETAIL:")[0], *error.args[1:])

    return engine


def _sqlite(address: URL, role: Literal["writer", "reader"], **pool: Any) -> Engine:
    engine = create_engine(
        address,
        hide_parameters=True,  # errors are logged, and parameters are people
        json_serializer=_json_text,
        json_deserializer=orjson.loads,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000, "cached_statements": 512},
        **pool,
    )
    memory = pool["poolclass"] is StaticPool

    @event.listens_for(engine, "connect")
    def settings(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver opens no transaction of its own; "begin" below does
        pragmas = [
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "synchronous = FULL",  # an event that was answered 202 survives the plug
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"cache_size = -{CACHE_KIB[role]}",
            f"mmap_size = {MMAP_BYTES}",
            "wal_autocheckpoint = 4000",
            "journal_size_limit = 67108864",
        ]
        if role == "reader" and not memory:
            pragmas.append("query_only = ON")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()
        _write_ahead(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        how = connection.get_execution_options().get("karibu_begin", "BEGIN")
        if memory:
            connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if 'IMMEDIATE' in how else 'ON'}")
        connection.exec_driver_sql(how)

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Put the file in WAL mode. Two processes that do it to a new file at once would wait for each other, so SQLite
    tells one of them "locked" at once, whatever its busy_timeout: that one looks again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
