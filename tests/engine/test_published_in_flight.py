"""A journey is published anew while customers stand at each of its steps: those inside go the way they began."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.content import load
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.promises import figures

HEAD = "journey: j\ntopic: offers\nenter: {event: purchase, again: always}\nexit: [{event: closed}]\n"
FIRST = """steps:
  - send: email/hello
    id: hello
  - wait: 2d
  - branch:
      - if: customer.vip
        then: [{tag: vip}, {wait: 1d}]
      - else:
          - wait_for: {event: shipped, within: 2d}
            then: [{send: email/again, id: shipped}]
            else: [{tag: quiet}]
  - wait: 1d
  - send: email/again
    id: last
"""
CHANGES = {
    "a step goes": FIRST.replace("  - wait: 1d\n  - send: email/again\n    id: last\n", ""),
    "a step comes first": FIRST.replace("steps:\n", "steps:\n  - wait: 5d\n"),
    "a step has another name": FIRST.replace("id: last", "id: final"),
    "all is another way": "steps: [{tag: new}, {wait: 1h}, {send: email/hello, id: hello}]\n",
}
DAYS, PER_DAY = 7, 6


def days(shop: Shop, published: str | None) -> None:
    """A week in which six customers enter each day; on the fourth the journey is published anew."""
    for day in range(DAYS):
        if published is not None and day == 4:
            path = shop.runtime.content.root / "workflows/j.yaml"
            path.write_text(HEAD + published)
            shop.runtime.renew(load(shop.runtime.content.root, shop.runtime.registry), shop.runtime.post)
            shop.runtime.publish()
        for n in range(PER_DAY):
            who = f"c{day}-{n}"
            shop.happens(who, "purchase")
            if n % 3 == 1:
                with shop.runtime.database.write() as connection:
                    attributes = '{"vip": true}'
                    connection.exec_driver_sql(
                        f"UPDATE customer SET attributes = '{attributes}' WHERE external_id = '{who}'"
                    )
        shop.settle()
        if day >= 3:
            for n in range(0, PER_DAY, 3):
                shop.happens(f"c{day - 3}-{n}", "shipped")
        shop.later(hours=12)
        shop.later(hours=12)
    for _ in range(20):
        shop.later(hours=12)


def ways(shop: Shop, before: int) -> dict[str, list[str]]:
    """What was decided of those who entered before that day."""
    return {f"c{day}-{n}": shop.decisions(f"c{day}-{n}") for day in range(before) for n in range(PER_DAY)}


@pytest.mark.parametrize("change", CHANGES)
def test_those_inside_go_the_way_they_began(change: str, database: Database, tmp_path: Path) -> None:
    undisturbed = Shop.of(tmp_path / "one", Database.memory(), {"j": HEAD.partition("topic: offers\n")[2] + FIRST})
    days(undisturbed, None)
    shop = Shop.of(tmp_path / "two", database, {"j": HEAD.partition("topic: offers\n")[2] + FIRST})
    days(shop, CHANGES[change])
    expected, found = ways(undisturbed, 4), ways(shop, 4)
    other = {who for who in expected if found[who] != expected[who]}
    stuck = shop.rows("SELECT count(*) FROM enrolment WHERE state <> 'ended'")
    figures(
        "a new version moves nobody who is inside an older one",
        change=change,
        in_flight=len(expected),
        gone_another_way=len(other),
        stuck=stuck[0][0],
    )
    assert not other and stuck == [(0,)]
    assert len({tuple(way) for way in expected.values()}) >= 3, "they stood at many places"
    numbers = shop.rows(
        "SELECT v.number, count(*) FROM enrolment e JOIN journey_version v ON v.id = e.version_id GROUP BY 1 ORDER BY 1"
    )
    assert numbers == [(1, 4 * PER_DAY), (2, 3 * PER_DAY)]
