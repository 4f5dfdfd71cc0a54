"""A page of another origin, in a real browser, with keys of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from engine.runtime import keys
from engine.store.tables import customer
from tests.web.conftest import KEY, Start
from tests.web.test_keys import made

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SEND = """async ([method, url, headers, body]) => {
  try {
    const answer = await fetch(url, {method, headers, body});
    return [answer.status, await answer.text()];
  } catch (error) { return [0, error.name]; }
}"""


def test_a_page_may_send_with_a_browser_key_and_read_answers_to_no_other(
    start: Start, page_of_the_shop: str, browser: Browser
) -> None:
    service = start()
    app = service.app()
    public, secret, reader = made(app.database, browser=True), made(app.database), made(app.database, "read")
    page = browser.new_page()
    page.goto(page_of_the_shop)

    def send(who: str, headers: dict[str, str]) -> tuple[int, str]:
        body = f'{{"event": "signed_up", "customer": "{who}"}}'
        return _sent(page, "POST", f"{service.url}/v1/events", headers, body)

    json = {"Content-Type": "application/json"}
    assert send("amina", json | {"Authorization": f"Bearer {public.text}"}) == (202, '{"accepted":1,"duplicates":0}')
    assert send("baraka", json | {"X-API-Key": public.text})[0] == 202
    assert _sent(page, "POST", f"{service.url}/v1/events", {"X-API-Key": public.text}, "{nonsense")[0] == 400
    for text in (secret.text, reader.text, KEY, keys.mint().text):
        assert send("chanda", json | {"X-API-Key": text}) == (0, "TypeError"), "the page could read the answer"
    for text in (public.text, reader.text, KEY):
        status = _sent(page, "GET", f"{service.url}/v1/status", {"X-API-Key": text}, None)
        assert status == (0, "TypeError"), "the page could read who is in which journey"
    page.close()
    with app.database.read() as connection:
        known = set(connection.scalars(select(customer.c.external_id)))
    assert known >= {"amina", "baraka"}
    app.close()


def _sent(page: Page, method: str, url: str, headers: dict[str, str], body: str | None) -> tuple[int, str]:
    status, text = page.evaluate(SEND, [method, url, headers, body])
    return status, text
