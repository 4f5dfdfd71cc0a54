"""The tracking API from another page, in a real browser: what its rules let through arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from engine.store.tables import event
from tests.patience import eventually
from tests.web.conftest import Start
from tests.web.test_keys import made

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SEND = """async ([url, key]) => {
  const call = (id) => JSON.stringify({writeKey: key, anonymousId: "a", event: "Ping", messageId: id});
  const post = (path, options) => fetch(url + path, {method: "POST", ...options}).then(r => r.json());
  const plain = await post("/v1/t", {body: call("plain"), headers: {"Content-Type": "text/plain"}});
  const asked = await post("/v1/track", {
    body: call("asked"), headers: {"Content-Type": "application/json", "Authorization": "Basic " + btoa(key + ":")}
  });
  const beacon = navigator.sendBeacon(url + "/v1/t", call("beacon"));
  let wrong = "readable";
  try { await post("/v1/t", {body: "{}"}); } catch (error) { wrong = "hidden"; }
  let status = "reached";
  try { await fetch(url + "/v1/status"); } catch (error) { status = "hidden"; }
  return {plain, asked, beacon, wrong, status};
}"""


def test_a_page_of_the_shop_may_write_and_read_nothing_else(
    start: Start, browser: Browser, page_of_the_shop: str
) -> None:
    service = start()
    app = service.app()
    key = made(app.database, browser=True).text
    page = browser.new_page()
    page.goto(page_of_the_shop)
    said = page.evaluate(SEND, [service.url, key])
    assert said == {
        "plain": {"success": True},
        "asked": {"success": True},
        "beacon": True,
        "wrong": "hidden",
        "status": "hidden",
    }

    def keys() -> set[str]:
        with app.database.read() as connection:
            return set(connection.execute(select(event.c.key)).scalars())

    eventually(lambda: keys() == {"plain", "asked", "beacon"})
    app.close()
    page.close()
