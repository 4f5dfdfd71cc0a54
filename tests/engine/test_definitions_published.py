"""A segment is filled for a new definition once, by who has read the files that were published; in the meantime an
engine that hasn't leaves it alone."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from engine.builtins import registry
from engine.language.content import load
from engine.language.errors import ContentError
from engine.runtime import runtime
from engine.runtime.runtime import Runtime
from engine.segments import survey
from engine.store import published
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.engine.test_interleavings import becomes_a_vip

LIKED = "liked: {{title: Liked, when: '{}'}}\n"
JOURNEYS = {"hi": "enter: {segment: liked}\nsteps:\n  - wait: 30d\n"}
INSIDE = "SELECT c.external_id FROM enrolment e JOIN customer c ON c.id = e.customer_id ORDER BY 1"


def opened(root: Path, database: Database) -> Shop:
    (root / "workflows").mkdir(parents=True)
    (root / "workflows/segments.yaml").write_text(LIKED.format("customer.vip"))
    return Shop.of(root, database, JOURNEYS)


def mended(shop: Shop, files: Path, root: Path, when: str) -> Runtime:
    """An engine that has read these files with another definition."""
    copytree(files, root)
    (root / "workflows/segments.yaml").write_text(LIKED.format(when))
    first = shop.runtime
    return Runtime(first.database, load(root, registry()), first.registry, shop.clock, first.post)


def test_who_joins_while_an_engine_has_not_read_the_newest_files_enters_when_it_has(
    database: Database, tmp_path: Path
) -> None:
    shop = opened(tmp_path / "old", database)
    for name in ("amina", "baraka"):
        shop.happens(name, "purchase", total=5)
    becomes_a_vip(shop, "amina")
    shop.settle()
    assert shop.rows(INSIDE) == [("amina",)]
    publisher = mended(shop, tmp_path / "old", tmp_path / "new", 'customer.vip or customer.tier == "gold"')
    publisher.publish()
    shop.later(seconds=1)
    becomes_a_vip(shop, "baraka")
    shop.later(seconds=1)
    assert shop.rows(INSIDE) == [("amina",)]
    shop.runtime.renew(publisher.content, publisher.post)
    shop.later(seconds=1)
    assert shop.rows(INSIDE) == [("amina",), ("baraka",)]


def test_an_engine_with_the_old_files_lets_be_what_a_publish_is_filling(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(tmp_path / "old", database)
    shop.happens("amina", "purchase", total=5)
    shop.settle()
    publisher = mended(shop, tmp_path / "old", tmp_path / "new", "customer.vip or customer.score > 2")
    definition = "SELECT digest FROM segment_state"
    looks = []

    def watched(*given: Any, **more: Any) -> Any:
        suspects = survey.prepare(*given, **more)
        filled = shop.rows(definition)
        shop.runtime.tick()
        assert shop.rows(definition) == filled
        looks.append(1)
        return suspects

    monkeypatch.setattr(runtime, "prepare", watched)
    publisher.publish()
    assert looks == [1]


def test_exits_are_looked_at_by_an_engine_that_has_not_read_the_newest_files(
    database: Database, tmp_path: Path
) -> None:
    leaves = {"hi": "enter: {event: purchase}\nexit: [{when: customer.vip}]\nsteps:\n  - wait: 30d\n"}
    shop = Shop.of(tmp_path / "old", database, leaves)
    shop.happens("amina", "purchase", total=5)
    shop.settle()
    database.written(published.count)
    becomes_a_vip(shop, "amina")
    shop.later(seconds=1)
    assert shop.rows("SELECT outcome FROM enrolment") == [("exited",)]


def test_a_publish_that_is_refused_tells_no_engine_to_read_the_files(database: Database, tmp_path: Path) -> None:
    body = "enter: {event: purchase}\nsteps:\n  - wait: 1d\n  - branch: [{if: customer.vip, then: [{exit: done}]}]\n"
    shop = Shop.of(tmp_path, database, {"hi": body})
    shop.happens("amina", "purchase", total=5)
    shop.settle()
    project = tmp_path / "workflows/project.yaml"
    project.write_text(project.read_text().replace("vip: boolean, ", ""))
    (tmp_path / "workflows/hi.yaml").write_text("journey: hi\nenter: {event: purchase}\nsteps: [{wait: 2d}]\n")
    with database.read() as connection:
        before = published.times(connection)
    shop.runtime.renew(load(tmp_path, registry()), shop.runtime.post)
    with pytest.raises(ContentError):
        shop.runtime.publish()
    with database.read() as connection:
        assert published.times(connection) == before
