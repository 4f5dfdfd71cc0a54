"""A journey that was stopped goes on as the version it was, unless its file says something else."""

from __future__ import annotations

from pathlib import Path

from engine.language.content import load
from engine.runtime import versions
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from tests.engine.shop import Shop

FIRST = "enter: {event: purchase, again: always}\nsteps:\n  - wait: 1d\n  - tag: a\n"
VERSIONS = "SELECT number, state FROM journey_version ORDER BY number"


def rewritten(shop: Shop, root: Path, body: str) -> None:
    (root / "workflows/hi.yaml").write_text("journey: hi\ntopic: offers\n" + body)
    shop.runtime.renew(load(root, shop.runtime.registry), shop.runtime.post)


def stop(runtime: Runtime) -> None:
    with runtime.database.write() as connection:
        versions.stop(connection, "hi")


def test_what_was_stopped_and_did_not_change_is_the_same_version_again(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"hi": FIRST})
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    stop(shop.runtime)
    shop.later(days=2)
    assert shop.rows("SELECT count(*) FROM customer_tag") == [(0,)]  # she stands still

    (published,) = shop.runtime.publish()
    assert (published.number, published.changed, published.resumed, published.in_flight) == (1, False, True, 1)
    assert shop.rows(VERSIONS) == [(1, "live")]
    shop.settle()
    assert shop.rows("SELECT tag FROM customer_tag") == [("a",)]
    shop.happens("baraka", "purchase", total=1)
    assert shop.rows("SELECT count(*) FROM enrolment") == [(2,)]

    (again,) = shop.runtime.publish()
    assert (again.number, again.changed, again.resumed) == (1, False, False)


def test_those_inside_older_versions_go_on_with_theirs(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"hi": FIRST})
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    rewritten(shop, tmp_path, FIRST.replace("tag: a", "tag: b"))
    shop.runtime.publish()
    shop.happens("baraka", "purchase", total=1)
    shop.settle()
    stop(shop.runtime)
    assert shop.rows(VERSIONS) == [(1, "stopped"), (2, "stopped")]
    shop.runtime.publish()
    assert shop.rows(VERSIONS) == [(1, "retired"), (2, "live")]
    shop.later(days=2)
    assert shop.rows("SELECT tag FROM customer_tag ORDER BY tag") == [("a",), ("b",)]


def test_what_was_stopped_and_says_something_else_is_a_new_version(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"hi": FIRST})
    rewritten(shop, tmp_path, FIRST.replace("tag: a", "tag: b"))
    stop(shop.runtime)
    (published,) = shop.runtime.publish()
    assert (published.number, published.changed, published.resumed) == (2, True, False)
    assert shop.rows(VERSIONS) == [(1, "retired"), (2, "live")]


def test_an_older_text_is_a_new_version_and_not_the_old_one_again(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"hi": FIRST})
    rewritten(shop, tmp_path, FIRST.replace("tag: a", "tag: b"))
    shop.runtime.publish()
    rewritten(shop, tmp_path, FIRST)
    stop(shop.runtime)
    (published,) = shop.runtime.publish()
    assert (published.number, published.changed) == (3, True)


def test_who_joined_while_it_was_stopped_enters_with_members_now_and_nobody_twice(
    tmp_path: Path, database: Database
) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/segments.yaml").write_text('buyers: did("purchase")\n')
    shop = Shop.of(
        tmp_path, database, {"hi": "enter: {segment: buyers, members: now, again: always}\nsteps:\n  - wait: 9d\n"}
    )
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    stop(shop.runtime)
    shop.happens("baraka", "purchase", total=1)
    shop.settle()
    assert shop.rows("SELECT count(*) FROM enrolment") == [(1,)]
    shop.runtime.publish()
    shop.settle()
    assert shop.rows("SELECT count(*), count(DISTINCT customer_id) FROM enrolment") == [(2, 2)]
