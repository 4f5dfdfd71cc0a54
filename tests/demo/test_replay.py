"""The whole demo, without the page: what the engine decided is what the oracle says it must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from sqlalchemy import select

from engine import starter
from engine.app import App
from engine.demo.data import START, Shop, load
from engine.demo.replay import import_history, replay
from engine.demo.report import told
from engine.runs import JourneyRuns
from engine.runtime.clock import VirtualClock
from engine.settings import Settings
from engine.store.tables import customer, enrolment
from tests.demo import oracle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop() -> Shop:
    return load()


@pytest.fixture(scope="module")
def demo(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The demo after its eight weeks. Without a Prefect server the same steps move in the same order."""
    clock = VirtualClock(START)
    app = App(
        Settings.of(starter.root(), home=tmp_path_factory.mktemp("demo"), secret_key="of the tests, no secret"), clock
    )
    import_history(app, shop, lambda count: None)
    app.runtime.publish()
    with JourneyRuns(app.runtime) as runs:
        replay(app, clock, shop, runs, lambda now: None)
    yield app
    app.close()


def entries(app: App, journey: str) -> pl.DataFrame:
    """Customer and day (their own date) of every entry into a journey, in order."""
    joined = enrolment.join(customer, customer.c.id == enrolment.c.customer_id)
    rows = select(customer.c.external_id, customer.c.timezone, enrolment.c.entered_at).select_from(joined)
    with app.database.read() as connection:
        found = connection.execute(rows.where(enrolment.c.journey == journey)).all()
    days = [(id, at.astimezone(ZoneInfo(zone)).date()) for id, zone, at in found]
    return pl.DataFrame(days, schema={"customer": pl.String, "day": pl.Date}, orient="row").sort("customer", "day")


@pytest.mark.parametrize(
    ("journey", "must"),
    [("first-purchase", oracle.first_purchase), ("birthday", oracle.birthday), ("win-back", oracle.win_back)],
)
def test_entries_by_customer_and_day_are_the_oracles(
    demo: App, shop: Shop, journey: str, must: Callable[[Shop], pl.DataFrame]
) -> None:
    entered, expected = entries(demo, journey), must(shop)
    assert expected.height > 10
    surplus = entered.join(expected, on=["customer", "day"], how="anti")
    missing = expected.join(entered, on=["customer", "day"], how="anti")
    assert (surplus.rows(), missing.rows()) == ([], [])
    assert entered.height == expected.height


def test_every_message_that_was_sent_is_a_file(demo: App) -> None:
    sent = sum(one.sent for one in told(demo.database).values())
    files = [path for path in Path(demo.settings.mail).rglob("*") if path.suffix in (".eml", ".json")]
    assert len(files) == sent > 1_000
