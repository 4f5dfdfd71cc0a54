"""Bring a database to the newest revision of the tables, with Alembic.

`python -m engine.store.migrate "what changes"` writes the next revision from the difference between the tables and the
newest one; read it before you commit it, and give new columns of filled tables their values.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from engine.store.failures import DatabaseError

if TYPE_CHECKING:
    from engine.store.database import Database

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x4B61726962750001  # PostgreSQL advisory lock: one engine migrates, the others wait and find it done


class MigrationFailed(DatabaseError):
    """The rows don't fit the newer tables. Nothing was changed."""


def config(connection: Connection) -> Config:
    """Alembic's configuration, without a file: the scripts lie beside this module, the connection is handed in."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def to_head(database: Database, revision: str = "head") -> None:
    """Upgrade to a revision in one transaction: all of it or nothing. Two processes at once are fine."""
    if database.dialect == "postgresql":
        with database.write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            command.upgrade(config(connection), revision)
        return
    with database.unreferenced() as connection:
        command.upgrade(config(connection), revision)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise MigrationFailed(
                f"{len(broken)} rows of {broken[0][0]} and others would point at rows that don't exist"
            )


def write_revision(message: str) -> None:
    """Write the next revision into the scripts' directory. For people who change the tables."""
    from engine.store.database import Database

    database = Database.memory()
    with database.write() as connection:
        command.revision(config(connection), message, autogenerate=True)


if __name__ == "__main__":
    write_revision(" ".join(sys.argv[1:]))
