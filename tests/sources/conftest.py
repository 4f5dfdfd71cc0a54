"""A shop with a source, its door open: real routes over a real database, without a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from engine.app import App
from engine.runtime.clock import VirtualClock
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, customer, event, kept_hook
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.site import Site
from tests.scenarios.shop import PROJECT
from tests.sources.samples import SECRET

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass
class Shop:
    """A client of its routes, and what lies in its database."""

    app: App
    client: TestClient
    intake: Intake

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        return self.client.post(path, content=body, headers=headers)

    def rows(self, *columns: Any) -> list[Any]:
        with self.app.database.read() as connection:
            return list(connection.execute(select(*columns)).all())

    def events(self) -> list[Any]:
        with self.app.database.read() as connection:
            rows = select(
                customer.c.external_id,
                event.c.name,
                event.c.source,
                event.c.key,
                event.c.occurred_at,
                event.c.properties,
            )
            rows = rows.join(customer, customer.c.id == event.c.customer_id).order_by(event.c.id)
            return list(connection.execute(rows).all())

    def consents(self) -> list[Any]:
        found = self.rows(consent.c.channel, consent.c.topic, consent.c.state, consent.c.at, consent.c.source)
        return sorted(found)

    def kept(self) -> list[Any]:
        return self.rows(kept_hook.c.source, kept_hook.c.topic, kept_hook.c.reason, kept_hook.c.body)


Open = Callable[..., Shop]


@pytest.fixture
def shop(database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """`shop({"shopify": {}})`: a project with these sources; their secrets are SECRET, if not said otherwise."""
    running: list[Shop] = []

    def begin(sources: dict[str, Any], **settings: str) -> Shop:
        for name in sources:
            monkeypatch.setenv(f"KARIBU_{name.upper().replace('-', '_')}_SECRET", SECRET)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        root = project({"workflows/project.yaml": PROJECT + f"sources: {json.dumps(sources)}\n"})
        app = App(Settings.of(root, home=root / ".karibu"), VirtualClock(NOW))
        app.__dict__["database"] = database
        intake = Intake(app.runtime, lambda *names: None)
        intake.start()
        site = Site(lambda: app, intake, dict, lambda: True)
        web = build(site)
        made = Shop(app, TestClient(web, raise_server_exceptions=False), intake)
        running.append(made)
        return made

    yield begin
    for one in running:
        one.intake.close()
        one.client.close()
