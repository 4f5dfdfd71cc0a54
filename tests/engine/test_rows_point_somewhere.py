"""Tables written in sets have no foreign keys (docs/decisions/0003), so this counts what a foreign key would have refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Table, exists, func, not_, select
from sqlmodel import SQLModel

from engine.runtime.identity import Who
from engine.store.database import Database
from engine.store.tables import POINTS_TO
from tests.engine.shop import Shop

JOURNEYS = {
    "hello": """enter: {event: purchase, again: always}
exit: [{event: closed}]
goal: {event: purchase, within: 30d, value: event.total}
steps:
  - send: email/hello
    id: hello
  - start: other
  - wait_for: {event: shipped, within: 2d}
    then: [{tag: happy}]
    else: [{update: {customer.tier: slow}}]
""",
    "other": "enter: {manual: true}\nsteps:\n  - hush: {topic: news, for: 1d}\n  - send: email/again\n  - wait: 1d\n",
}


def pointers() -> list[tuple[Table, str, str]]:
    """(table, column, the table it points to) of every pointer without a foreign key."""
    tables = SQLModel.metadata.tables.values()
    return [(table, column.name, column.info[POINTS_TO]) for table in tables for column in table.c if column.info]


def test_every_row_that_names_another_names_one_that_is_there(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    for name in ("amina", "baraka", "chidi"):
        shop.happens(name, "purchase", total=4000)
    shop.settle()
    shop.happens("amina", "shipped")
    shop.happens("baraka", "closed")
    shop.happens("chidi", "purchase", total=900)
    shop.later(days=3)
    for name in ("anonymous:x", "asha"):
        shop.happens(name, "purchase", total=100)
    shop.settle()
    people = shop.runtime.people()
    assert people.introduce(Who("amina", "x")).merged == people.merge("asha", "amina").merged == 1
    assert people.merge("amina", "baraka").merged == 1
    shop.happens("asha", "shipped")
    shop.later(days=3)
    checked = 0
    with database.read() as connection:
        for table, column, target in pointers():
            there = SQLModel.metadata.tables[target].alias()
            pointer = table.c[column]
            nowhere = pointer.is_not(None) & not_(exists().where(there.c.id == pointer))
            count = select(func.count()).select_from(table)
            assert connection.scalar(count.where(nowhere)) == 0, f"{table.name}.{column} names no {target}"
            checked += connection.scalar(count) or 0
    assert len(pointers()) > 15 and checked > 50
