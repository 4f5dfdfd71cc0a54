"""A published version keeps its text; the words in it are the project's. What happens when they are taken away."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from engine.language.content import Content, load
from engine.language.errors import ContentError
from engine.runtime import versions
from engine.runtime.outlived import outlived
from engine.runtime.status import status
from engine.store.database import Database
from engine.store.tables import journey_version
from tests.engine.shop import PROJECT, Shop

JOURNEYS = {
    "gold": 'enter: {event: purchase}\nsteps: [{wait: 1d}, {branch: [{if: customer.tier == "gold", then: [{tag: a}]}]}]\n',
    "plain": "enter: {event: shipped}\nsteps: [{wait: 1d}, {tag: b}]\n",
}


def without_tier(shop: Shop, root: Path) -> Content:
    """The project after somebody took `tier` away, and with it what asks for it."""
    (root / "workflows/project.yaml").write_text(PROJECT.replace("tier: text, ", ""))
    (root / "workflows/gold.yaml").write_text(
        "journey: gold\ntopic: offers\nenter: {event: purchase}\nsteps: [{tag: a}]\n"
    )
    content = load(root, shop.runtime.registry)
    shop.runtime.renew(content, shop.runtime.post)
    return content


def test_a_word_that_customers_inside_still_need_is_not_taken_away_silently(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.happens("amina", "purchase", total=100)
    shop.settle()
    content = without_tier(shop, tmp_path)
    with pytest.raises(ContentError) as told:
        shop.runtime.publish()
    assert str(told.value).splitlines()[0] == (
        'workflows/gold.yaml@1:4:45 steps[1].branch[0].if: unknown name "customer.tier"'
    )
    with database.read() as connection:
        live = {row.journey: row.number for row in connection.execute(select(journey_version))}
        stood = {
            one.journey: one.stuck
            for one in status(connection, content, shop.runtime.registry, shop.clock.now()).journeys
        }
    assert live == {"gold": 1, "plain": 1}  # nothing was published
    assert list(stood["gold"]) == [1] and "customer.tier" in stood["gold"][1]
    assert stood["plain"] == {}


def test_nobody_inside_and_a_stopped_journey_keep_nobody_from_publishing(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    without_tier(shop, tmp_path)
    assert [(one.journey, one.number) for one in shop.runtime.publish()] == [("gold", 2), ("plain", 1)]
    with database.read() as connection:
        assert outlived(connection, shop.runtime.content, shop.runtime.registry) == {}


def test_a_stopped_journey_with_customers_inside_waits(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.happens("amina", "purchase", total=100)
    with database.write() as connection:
        versions.stop(connection, "gold")
    content = without_tier(shop, tmp_path)
    with database.read() as connection:
        assert outlived(connection, content, shop.runtime.registry) == {}


def test_a_publish_that_changes_no_journey_is_told_to_the_other_engines(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    with database.read() as connection:
        before = versions.fingerprint(connection)
        assert versions.fingerprint(connection) == before
    assert not any(one.changed for one in shop.runtime.publish())
    with database.read() as connection:
        assert versions.fingerprint(connection) != before


def test_a_version_that_cannot_be_read_any_more_stands_still_and_costs_the_others_nothing(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.happens("amina", "purchase", total=100)
    shop.settle()
    with database.write() as connection:  # as it would read when the plug-in of its step is no longer installed
        gold = journey_version.c.journey == "gold"
        source = func.replace(journey_version.c.source, "steps: [", "steps: [{dance: slowly}, ")
        connection.execute(update(journey_version).where(gold).values(source=source))
    after = shop.beside(database)
    after.happens("baraka", "shipped", order_id="1")
    after.later(days=2)
    assert "tag" in " ".join(after.decisions("baraka")) and "gold can't be read any more" in caplog.text
    with database.read() as connection:
        journeys = status(connection, after.runtime.content, after.runtime.registry, after.clock.now()).journeys
    gold_status = next(one for one in journeys if one.journey == "gold")
    assert gold_status.inside == 1 and 'unknown step "dance"' in gold_status.stuck[1]
