from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import IntegrityError

from engine.store.database import Database
from engine.store.migrate import MigrationFailed, config, to_head
from engine.store.tables import customer, customer_tag, decision, enrolment, mark
from engine.store.types import micros
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from tests.conftest import Postgres

METADATA = customer.metadata
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)

Empty = Callable[[], Database]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Empty]:
    """Makes databases without any table, of each kind."""
    made: list[Database] = []
    urls: list[str] = []

    def make() -> Database:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / f'{len(made)}.db'}"
        else:
            server: Postgres = request.getfixturevalue("postgres")
            url = server.create(template="template0")
            urls.append(url)
        made.append(Database(url))
        return made[-1]

    yield make
    for database in made:
        database.dispose()
    for url in urls:
        request.getfixturevalue("postgres").drop(url)


def test_the_revisions_make_the_tables_that_the_code_has(empty: Empty) -> None:
    database = empty()
    database.migrate()
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": METADATA})
        assert compare_metadata(context, METADATA) == []


def test_what_alembic_does_not_compare_is_the_same_too(empty: Empty) -> None:
    migrated, created = empty(), empty()
    migrated.migrate()
    with created.write() as connection:
        METADATA.create_all(connection)
    with migrated.read() as one, created.read() as other:
        assert shape(one) == shape(other)


def shape(connection: Connection) -> dict[str, Any]:
    """Every table's columns, keys and indexes with their conditions, without the names of constraints."""
    look = inspect(connection)
    found: dict[str, Any] = {}
    for name in sorted(look.get_table_names()):
        if name == "alembic_version":
            continue
        found[name] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(name)},
            "key": look.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(tuple(u["column_names"]) for u in look.get_unique_constraints(name)),
            "references": sorted(
                (tuple(f["constrained_columns"]), f["referred_table"]) for f in look.get_foreign_keys(name)
            ),
        }
    if connection.dialect.name == "sqlite":
        sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        without = "SELECT name FROM pragma_table_list WHERE wr AND schema = 'main' ORDER BY name"
        found["without rowid"] = list(connection.execute(text(without)).scalars())
    else:
        sql = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
        collated = (
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2"
        )
        found["collations"] = [tuple(row) for row in connection.execute(text(collated))]
    found["indexes"] = {
        name: re.sub(r"\s+", " ", str(body).replace('"', "")) for name, body in connection.execute(text(sql))
    }
    return found


def test_migrating_again_changes_nothing(empty: Empty) -> None:
    database = empty()
    database.migrate()
    with database.read() as connection:
        before = shape(connection)
    database.migrate()
    with database.read() as connection:
        assert shape(connection) == before


def test_every_constraint_has_a_name_that_a_later_revision_can_use(empty: Empty) -> None:
    database = empty()
    database.migrate()
    with database.read() as connection:
        look = inspect(connection)
        for table in METADATA.tables:
            names = [look.get_pk_constraint(table)["name"]]
            names += [constraint["name"] for constraint in look.get_foreign_keys(table)]
            names += [constraint["name"] for constraint in look.get_unique_constraints(table)]
            assert all(name and name.startswith(("pk_", "fk_", "uq_")) for name in names), (table, names)


def at_0001(database: Database) -> None:
    """An older database with people on their way in it."""
    to_head(database, "0001")
    entered = micros(NOW)
    moved = micros(NOW + timedelta(hours=2))
    person = (
        "INSERT INTO customer (external_id, attributes, bucket, created_at, updated_at)"
        " VALUES ('{}', '{{}}', 7, {}, {})"
    )
    inside = (
        "INSERT INTO enrolment"
        " (journey, version_id, customer_id, key, cause, side_by_side, state, step, visit, entered_at)"
        " VALUES ('welcome', 1, {}, '', 'event:1', false, '{}', 'hello', {}, {})"
    )
    decided = (
        "INSERT INTO decision (enrolment_id, visit, kind, step, outcome, at) VALUES ({}, {}, '{}', 'hello', 'next', {})"
    )
    with database.write() as connection:
        for statement in (
            "INSERT INTO journey_version (journey, number, digest, source, state, published_at)"
            f" VALUES ('welcome', 1, 'd', 's', 'live', {entered})",
            *(person.format(name, entered, entered) for name in ("amina", "maria")),
            "INSERT INTO customer_tag (customer_id, tag) VALUES (1, 'vip')",
            inside.format(1, "waiting", 3, entered),
            inside.format(2, "ready", 1, entered),
            decided.format(1, 0, "enters", entered),
            decided.format(1, 1, "moves", entered + 60_000_000),
            decided.format(1, 2, "moves", moved),
            decided.format(1, 3, "stays", moved + 60_000_000),
            decided.format(2, 0, "enters", entered),
        ):
            connection.execute(text(statement))


def test_an_older_database_with_people_in_it_is_brought_up_to_date(empty: Empty) -> None:
    database, fresh = empty(), empty()
    at_0001(database)
    fresh.migrate()
    database.migrate()
    with database.write() as connection:
        rows = connection.execute(select(enrolment.c.customer_id, enrolment.c.state, enrolment.c.moved_at))
        assert sorted(tuple(row) for row in rows) == [
            (1, "waiting", NOW + timedelta(hours=2)),
            (2, "ready", NOW),
        ]
        assert len(connection.execute(select(decision)).all()) == 5
        connection.execute(mark.insert().values(name="demo", value={"week": 3}))
        assert connection.scalar(select(mark.c.value)) == {"week": 3}
    with database.read() as connection, fresh.read() as other:
        assert shape(connection) == shape(other)


def test_what_came_back_about_messages_is_kept(empty: Empty) -> None:
    database = empty()
    to_head(database, "0009")
    with database.write() as connection:
        for at in (1_000_000, 2_000_000):
            row = f"INSERT INTO message_event (message_id, kind, at, detail) VALUES (7, 'opened', {at}, NULL)"
            connection.execute(text(row))
    database.migrate()
    with database.read() as connection:
        rows = connection.execute(text("SELECT message_id, kind, key, at FROM message_event ORDER BY at"))
        assert [tuple(row) for row in rows] == [(7, "opened", str(at), at) for at in (1_000_000, 2_000_000)]


def test_who_was_known_before_telegram_was_has_no_chat_and_may_get_one(empty: Empty) -> None:
    database = empty()
    to_head(database, "0016")
    with database.write() as connection:
        row = (
            "INSERT INTO customer (external_id, phone, attributes, bucket, created_at, updated_at)"
            " VALUES ('amina', '+254712345678', '{}', 7, 1, 1)"
        )
        connection.execute(text(row))
    database.migrate()
    with database.write() as connection:
        columns = select(customer.c.phone, customer.c.telegram, customer.c.telegram_hash)
        assert [tuple(one) for one in connection.execute(columns)] == [("+254712345678", None, None)]
        connection.execute(customer.update().values(telegram="123456789", telegram_hash="h"))
        assert connection.scalar(select(customer.c.telegram)) == "123456789"


def test_an_upgraded_database_refuses_what_a_new_one_refuses(empty: Empty) -> None:
    database = empty()
    at_0001(database)
    database.migrate()
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(customer_tag.insert().values(customer_id=99, tag="vip"))
    with pytest.raises(IntegrityError), database.write() as connection:  # one live enrolment at a time
        again = select(*(c for c in enrolment.c if c.name not in ("id", "cause"))).where(enrolment.c.customer_id == 1)
        row = dict(connection.execute(again).mappings().one())
        connection.execute(enrolment.insert().values(row | {"cause": "event:2"}))


def test_a_failed_upgrade_changes_nothing(empty: Empty) -> None:
    database = empty()
    at_0001(database)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE mark (something INTEGER)"))  # in the way of the next revision
    with pytest.raises(Exception, match="mark"):
        database.migrate()
    with database.write() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
        assert "moved_at" not in {column["name"] for column in inspect(connection).get_columns("enrolment")}
        connection.execute(text("DROP TABLE mark"))
    database.migrate()


def test_an_upgrade_that_would_leave_rows_pointing_nowhere_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    at_0001(database)
    with database.unreferenced() as connection:
        connection.execute(text("DELETE FROM customer WHERE external_id = 'amina'"))
    with pytest.raises(MigrationFailed, match="customer_tag"):
        database.migrate()
    with database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"


def test_two_processes_may_migrate_at_once(empty: Empty) -> None:
    import threading

    first = empty()
    second = Database(first.url.render_as_string(hide_password=False))
    failed: list[BaseException] = []
    together = threading.Barrier(2)

    def run(database: Database) -> None:
        try:
            together.wait(PATIENCE)
            database.migrate()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(database,)) for database in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.dispose()
    assert failed == []
    with first.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_revisions_stand_in_one_line_and_say_what_they_do() -> None:
    with Database.memory().read() as connection:
        scripts = ScriptDirectory.from_config(config(connection))
    assert len(scripts.get_heads()) == 1
    revisions = list(scripts.walk_revisions())
    assert [revision.revision for revision in revisions] == [f"{n:04}" for n in range(len(revisions), 0, -1)]
    assert all(revision.doc for revision in revisions)
