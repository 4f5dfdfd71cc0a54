"""A message with a code as its customer would get it: with the code they hold, or with a made one that is told."""

from __future__ import annotations

from pathlib import Path

from engine.runtime.explain import find
from engine.runtime.preview import Preview, place_of, preview
from engine.store.database import Database
from tests.engine.shop import MAIL, Shop
from tests.rewards.giving import giving, told

GIVE = "  - coupon: back\n  - send: email/code\n    id: tells\n"


def shown(shop: Shop, who: str | None, step: str = "tells", template: str = "email/code") -> Preview:
    content, now = shop.runtime.content, shop.clock.now()
    place = place_of(content, "j", step)
    assert place is not None
    with shop.runtime.database.read() as connection:
        row = None if who is None else find(connection, who)
        return preview(connection, content, shop.runtime.post.renderer, template, place, row, None, now)


def test_a_customer_who_holds_a_code_is_shown_it(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE)
    for name in ("amina", "baraka"):
        shop.happens(name, "purchase")
    shop.settle()
    for name in ("amina", "baraka"):
        one = shown(shop, name)
        (code,) = told(shop)[f"{name}@shop.example"]
        assert f"code {code}!" in str(one.rendered.text) and one.made == ()


def test_whoever_holds_none_that_is_good_is_shown_a_made_one_which_is_told(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - wait: 1d\n" + GIVE)
    shop.happens("amina", "purchase")
    shop.settle()
    assert "code YOUR-CODE!" in str(shown(shop, "amina").rendered.text)
    assert shown(shop, "amina").made == ("coupon (a code)",)
    assert "coupon (a code)" in shown(shop, None).made
    shop.later(days=1)
    assert shown(shop, "amina").made == ()
    shop.later(days=31)  # it has expired
    assert shown(shop, "amina").made == ("coupon (a code)",)


def test_a_code_that_another_journey_gave_is_shown_where_it_is_their_one_code_ever(
    database: Database, tmp_path: Path
) -> None:
    once = GIVE.replace("back\n", "back\n    scope: customer\n")
    other = "enter: {event: shipped}\nsteps:\n" + once
    shop = giving(tmp_path, database, "  - wait: 1d\n" + once, {"other": other})
    shop.happens("amina", "shipped")
    shop.settle()
    (code,) = told(shop)["amina@shop.example"]
    assert f"code {code}!" in str(shown(shop, "amina").rendered.text)
    shop = giving(tmp_path / "entry", database, "  - wait: 1d\n" + GIVE, {"other": other})
    assert "code YOUR-CODE!" in str(shown(shop, "amina").rendered.text)


def test_what_earlier_steps_would_have_heard_and_what_an_item_would_be_are_told_as_made(
    database: Database, tmp_path: Path
) -> None:
    says = "{{ got.order_id }} {{ brand.address }}"
    mail = MAIL.replace("{{ brand.address }}", says)
    steps = "  - wait_for: {event: shipped, within: 2d}\n    id: got\n    then:\n      - {send: email/got, id: tells}\n"
    steps += "      - {send: email/hello, id: none}\n      - {send: email/with, id: filled, with: {n: '{{ got.order_id }}'}}\n"
    filled = MAIL.replace("{{ brand.address }}", "{{ with.n }} {{ brand.address }}")
    files = {"templates/email/got.mjml": mail, "templates/email/with.mjml": filled}
    shop = giving(tmp_path, database, steps, files=files)
    shop.happens("amina", "purchase")
    assert shown(shop, "amina", template="email/got").made == ("got (shipped)",)
    assert shown(shop, "amina", "filled", "email/with").made[0] == "got (shipped)"
    assert shown(shop, "amina", "none", "email/hello").made == ()
