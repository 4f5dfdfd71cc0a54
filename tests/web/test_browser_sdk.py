"""Segment's SDK for browsers, unchanged, in a page of the shop: its snippet, with the host said once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import eventually
from tests.web.conftest import Start
from tests.web.test_keys import made
from tests.web.test_real_sdks import events

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser]

# What Segment's snippet sets before its script loads: https://segment.com/docs/connections/sources/catalog/libraries/
# website/javascript/quickstart/; the options: …/javascript/custom-proxy/.
PAGE = """<!doctype html><title>Duka</title><script>
window.analytics = Object.assign([], {
  _writeKey: %(key)s, _cdn: location.origin,
  _loadOptions: {integrations: {"Segment.io": {apiHost: %(host)s, protocol: "http"}}},
});
</script><script src="/standalone.js"></script>"""


@dataclass
class Shop:
    """A shop's pages: `page` is the one at /, `root` what the SDK loads of itself."""

    address: str
    page: str = ""


@pytest.fixture
def shop(packages: Path) -> Iterator[Shop]:
    umd = packages / "@segment/analytics-next/dist/umd"

    class Pages(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(umd))

        def do_GET(self) -> None:
            if self.path == "/":
                self._say("text/html", served.page)
            elif self.path.endswith("/settings"):
                # What Segment's own server tells of the source with this key.
                key = self.path.split("/")[-2]
                self._say("application/json", json.dumps({"integrations": {"Segment.io": {"apiKey": key}}}))
            else:
                self.path = self.path.removeprefix("/analytics-next/bundles")
                super().do_GET()

        def _say(self, kind: str, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    served = Shop(f"http://127.0.0.1:{server.server_address[1]}/")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


VISIT = """async () => {
  await analytics.page("shop", "Home");
  await analytics.track("Product Viewed", {sku: "MUG-1"});
  const anonymous = analytics.user().anonymousId();
  await analytics.identify("amina", {email: "amina@shop.example", firstName: "Amina", tier: "gold"});
  await analytics.track("Order Completed", {order_id: "17", total: 49.9, products: [{sku: "MUG-1", quantity: 2}]});
  await analytics.group("g1", {plan: "pro"});
  return anonymous;
}"""


@pytest.mark.parametrize("rate", [None, 2], ids=["at once", "told to come again"])
def test_what_the_sdk_in_a_page_sends_is_in_the_journeys(
    start: Start, shop: Shop, browser: Browser, rate: int | None
) -> None:
    service = start()
    app = service.app()
    key = made(app.database, browser=True, rate=rate).text
    app.close()
    host = service.url.removeprefix("http://") + "/v1"
    shop.page = PAGE % {"key": json.dumps(key), "host": json.dumps(host)}
    page = browser.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda one: elsewhere.append(one.url) if "//127.0.0.1:" not in one.url else None)
    page.goto(shop.address)
    page.wait_for_function("window.analytics && window.analytics.initialized")
    anonymous = page.evaluate(VISIT)

    def came() -> set[str]:
        return {row.name for row in events(service)}

    wanted = {"page_viewed", "product_viewed", "customer_updated", "purchase", "group_joined"}
    eventually(lambda: came() >= wanted)
    page.close()
    assert not elsewhere
    amina = service.client().get("/v1/customers/amina").json()
    assert amina["anonymous_ids"] == [anonymous], "what she did before she signed in is hers"
    assert {name: one["count"] for name, one in amina["tallies"].items() if name in wanted} == dict.fromkeys(wanted, 1)
    assert (amina["profile"]["email"], amina["profile"]["first_name"], amina["profile"]["tier"]) == (
        "amina@shop.example",
        "Amina",
        "gold",
    )
    (bought,) = (one for one in amina["events"] if one["event"] == "purchase")
    assert bought["properties"]["total"] == 49.9 and bought["properties"]["items"] == [{"sku": "MUG-1", "qty": 2}]
    assert [one["journey"] for one in amina["journeys"]] == ["order"]
