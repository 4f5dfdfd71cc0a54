"""What can't be taken as an event is kept, and only so much of it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select

from engine.runtime.kept import LONGEST, Kept, counts, keep
from engine.store.database import Database
from engine.store.tables import kept_hook

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def bodies(database: Database, source: str) -> list[str]:
    with database.read() as connection:
        rows = select(kept_hook.c.body).where(kept_hook.c.source == source).order_by(kept_hook.c.id)
        return list(connection.execute(rows).scalars())


def test_the_oldest_fall_out_of_each_source(database: Database) -> None:
    for n in range(7):
        with database.write() as connection:
            keep(
                connection,
                "shopify",
                [Kept("t", "unknown topic", f"{n}a"), Kept("t", "unknown topic", f"{n}b")],
                NOW,
                5,
            )
            keep(connection, "other", [Kept("t", "unknown topic", "the same")], NOW, 5)
    assert bodies(database, "shopify") == ["4b", "5a", "5b", "6a", "6b"]
    assert bodies(database, "other") == ["the same"]
    with database.read() as connection:
        assert counts(connection) == {"other": 1, "shopify": 5}


def test_a_noisy_topic_costs_the_others_nothing(database: Database) -> None:
    with database.write() as connection:
        keep(connection, "s", [Kept("rare", "unknown topic", "r1"), Kept("seldom", "unknown topic", "s1")], NOW, 5)
        for n in range(9):
            keep(connection, "s", [Kept("noise", "unknown topic", f"n{n}")], NOW, 5)
        keep(connection, "s", [Kept("rare", "unknown topic", "r2")], NOW, 5)
    assert bodies(database, "s") == ["r1", "s1", "n7", "n8", "r2"]
    with database.write() as connection:
        keep(connection, "s", [Kept(f"t{n}", "unknown topic", f"t{n}") for n in range(5)], NOW, 5)
    assert bodies(database, "s") == [f"t{n}" for n in range(5)]


def test_a_long_body_is_cut_and_any_text_can_be_kept(database: Database) -> None:
    strange = Kept("a\0b", "r" * 500, "x\0\ud800" + "y" * LONGEST, "k" * 500)
    with database.write() as connection:
        keep(connection, "s", [strange, strange], NOW)
        keep(connection, "s", [], NOW)
    ((body),) = bodies(database, "s")
    assert len(body) == LONGEST and "\0" not in body
