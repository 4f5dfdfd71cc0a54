"""A small shop on a real database, with a step that can be made to fail, and Prefect's API as its page sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
from pydantic import Field
from sqlalchemy import select

from engine import builtins
from engine.channels.base import Sender
from engine.channels.maildir import Maildir
from engine.cohort.cohort import Cohort
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.content import load
from engine.language.graph import Node
from engine.language.registry import Registry, step
from engine.rendering.renderer import Renderer
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Door, Problems
from engine.runtime.ingest import Incoming
from engine.runtime.post import Post
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.store.tables import customer, decision, enrolment
from tests.patience import PATIENCE, eventually

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
CANARY = "canary@shop.example"

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES,
  sender: {name: Duka, email: hello@shop.example}}
events: {signed_up: {}, ordered: {}}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
WELCOME = """
journey: welcome
topic: offers
enter: {event: signed_up}
steps:
  - send: email/hello
    id: hello
  - tag: greeted
  - branch:
      - if: customer.country == "KE"
        then:
          - tag: kenyan
            id: here
      - else:
          - tag: abroad
            id: there
  - wait: 2d
    id: pause
  - tag: welcomed
    id: done
"""
FRAIL = """
journey: frail
topic: offers
enter: {event: ordered}
steps:
  - tag: early
    id: first
  - stumble: here
    id: weak
  - tag: late
    id: last
"""
MAIL = """---
subject: Hello {{ customer.first_name }}
---
<mjml><mj-body><mj-section><mj-column><mj-text>Hello. {{ brand.address }}
<a href="{{ links.unsubscribe }}">Leave</a></mj-text></mj-column></mj-section></mj-body></mjml>
"""
FILES = {
    "workflows/project.yaml": PROJECT,
    "workflows/welcome.yaml": WELCOME,
    "workflows/frail.yaml": FRAIL,
    "templates/email/hello.mjml": MAIL,
}


class Stumbled(Exception):
    """Says what no error may say to Prefect."""


@step("stumble")
class Stumble(Step):
    """Fails while it is told to."""

    stumble: str = Field(description="Where.")

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        if BROKEN:
            raise Stumbled(f"{CANARY} stumbled")
        cohort.move({DONE: node.next})


BROKEN: set[str] = set()
"""Not empty: every stumble fails."""


def registry() -> Registry:
    """The built-in words, and `stumble`."""
    own = builtins.registry()
    return Registry.of(*own.steps.values(), *own.triggers.values(), *own.channels.values(), Stumble)


@dataclass
class Shop:
    """A runtime over a project, and what a test does to it and asks of it."""

    runtime: Runtime
    clock: VirtualClock
    door: Door
    mail: Path
    _n: int = field(default=0)

    @classmethod
    def open(cls, database: Database, root: Path) -> Shop:
        words = registry()
        content = load(root, words)
        clock = VirtualClock(START)
        post = Post(
            {"email": Maildir(root / "mail", fsync=False)},
            Renderer(root, content.project),
            Sender("Duka", "hello@shop.example"),
            lambda *_: "https://shop.example/u",
        )
        runtime = Runtime(database, content, words, clock, post)
        runtime.publish()
        return cls(runtime, clock, Door(content.project, content.vocabulary, "secret"), root / "mail")

    def happens(self, event: str, count: int = 1, country: str = "KE") -> None:
        """New customers do this."""
        batch = []
        for _ in range(count):
            self._n += 1
            told = {"email": CANARY, "first_name": "Canary", "country": country, "consent": ["email/offers"]}
            profile = self.door.profile(told, Problems())
            batch.append(Incoming(f"c{self._n}", event, f"k{self._n}", self.clock.now(), {}, profile))
        self.runtime.ingest(batch)

    def mails(self) -> int:
        return len(list((self.mail / "email").glob("*.eml")))

    def standing(self, journey: str) -> dict[str | None, int]:
        """How many stand at each step of a journey; those who left it under None."""
        with self.runtime.database.read() as connection:
            rows = connection.execute(
                select(enrolment.c.step, enrolment.c.state).where(enrolment.c.journey == journey)
            ).all()
        found: dict[str | None, int] = {}
        for step_id, state in rows:
            where = None if state == "ended" else step_id
            found[where] = found.get(where, 0) + 1
        return found

    def decisions(self) -> list[tuple[Any, ...]]:
        """Every decision, without ids and times."""
        with self.runtime.database.read() as connection:
            rows = connection.execute(
                select(
                    customer.c.external_id, enrolment.c.journey, decision.c.visit, decision.c.step, decision.c.outcome
                )
                .join(enrolment, enrolment.c.id == decision.c.enrolment_id)
                .join(customer, customer.c.id == enrolment.c.customer_id)
            ).all()
        return sorted(tuple(row) for row in rows)


def ask(api_url: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """What Prefect's page would be told. Like any client of it, asks again after a 503: on SQLite two of its own
    transactions have met."""
    data = orjson.dumps(body or {})
    request = Request(f"{api_url}/{path}", data=data, headers={"Content-Type": "application/json"}, method="POST")

    def answered() -> tuple[Any] | None:
        try:
            with urlopen(request, timeout=PATIENCE) as answer:
                return (orjson.loads(answer.read()),)
        except HTTPError as error:
            if error.code != 503:
                raise
            return None

    found = eventually(answered, every=0.25)
    assert found is not None
    return found[0]


Open = Callable[..., Shop]
