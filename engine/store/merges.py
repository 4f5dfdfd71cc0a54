"""While two customers become one, nobody else may write of either: two locks of PostgreSQL, held until the end of a
transaction.

Rows name customers by ids without a foreign key (docs/decisions/0003), so a row written beside a merge would name
somebody who is gone. Whoever takes facts in (events, profiles, feedback) holds the first lock, whoever lets people in
by the clock holds the second, both shared: they never wait for each other. A merge wants both for itself, the slow one
first, so that events wait for the merge and not for what the merge waits for. Moves hold neither: a merge locks the
enrolments they move.

SQLite has one writer, and needs none of this.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

FACTS = "karibu.facts"
LOOKS = "karibu.looks"

PATIENCE_MS = 250
"""How long a merge waits for a row. PostgreSQL looks for deadlocks after a second, so it is always the merge that gives
way, never a delivery that has just sent something."""


def facts_stay(connection: Connection) -> None:
    """Nobody is merged until this transaction ends. Before anything else is read or locked in it."""
    _hold(connection, "pg_advisory_xact_lock_shared", FACTS)


def looks_stay(connection: Connection) -> None:
    """The same for a transaction of the tick, or by hand, which may take long. Before `facts_stay`, where both are
    held."""
    _hold(connection, "pg_advisory_xact_lock_shared", LOOKS)


def alone(connection: Connection) -> None:
    """This transaction merges. It gives up with DatabaseBusy when it has waited too long for a row."""
    _hold(connection, "pg_advisory_xact_lock", LOOKS)
    _hold(connection, "pg_advisory_xact_lock", FACTS)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {PATIENCE_MS}")


def facts_are_in(connection: Connection) -> None:
    """Wait until everybody who is just taking facts in has committed, and keep nobody longer. Gives up with
    DatabaseBusy like a merge."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
    _hold(connection, "pg_advisory_xact_lock", FACTS)


def _hold(connection: Connection, function: str, name: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT {function}(hashtext(:name))"), {"name": name})
