"""A small shop for tests of the engine: a project, customers, and a channel that writes down what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

from sqlalchemy import text

from engine.builtins import registry
from engine.channels.base import Accepted, ChannelOptions, Outgoing, Result, Sender, Surroundings
from engine.language.content import load
from engine.language.registry import Registry
from engine.rendering.renderer import Renderer
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming, Receipt
from engine.runtime.post import Post
from engine.runtime.profile import Consented, Profile
from engine.runtime.runtime import Runtime
from engine.store.database import Database

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)  # a Monday, 09:00 in Nairobi

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES}
customer: {tier: text, vip: boolean, renewal: date, score: number, trial: instant}
events:
  purchase: {value: total, properties: {total: money, order_id: text}}
  shipped: {properties: {order_id: text}}
  closed: {}
topics: {offers: {title: Offers}, news: {title: News}}
channels: {email: {provider: maildir}, sms: {provider: maildir}}
team: {shop: team@duka.example}
"""
MAIL = """---
subject: Hello {{ customer.first_name }}
---
<mjml><mj-body><mj-section><mj-column><mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


class Sink:
    """A channel that keeps what it is sent, by message id, and answers as told."""

    carries: ClassVar[frozenset[str]] = frozenset({"email", "sms", "push"})
    Options: ClassVar[type[ChannelOptions]] = ChannelOptions
    idempotent: ClassVar[bool] = False

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.answers: dict[str, Result] = {}
        self._lock = Lock()

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        return cls()

    def send(self, message: Outgoing) -> Result:
        with self._lock:
            self.sent.append(message)
        return self.answers.get(message.to, Accepted("sink"))

    def close(self) -> None:
        """Nothing is held open."""

    def to(self, address: str) -> list[str]:
        return [message.ref for message in self.sent if message.to == address]


@dataclass
class Shop:
    """A runtime over a database, with the verbs of a test."""

    runtime: Runtime
    clock: VirtualClock
    sink: Sink
    keys: int = field(default=0)

    @classmethod
    def of(
        cls,
        root: Path,
        database: Database,
        journeys: Mapping[str, str],
        *,
        publish: bool = True,
        words: Registry | None = None,
        gate: str = "",
        more: Mapping[str, str] | None = None,
    ) -> Shop:
        """`gate`: what project.yaml says of caps and quiet hours."""
        files = {
            "workflows/project.yaml": PROJECT + gate,
            "templates/email/hello.mjml": MAIL,
            "templates/email/again.mjml": MAIL,
        }
        files |= {"templates/sms/hello.txt": "Hello {{ customer.first_name }}"}
        files |= {
            f"workflows/{name}.yaml": f"journey: {name}\ntopic: offers\n{body}" for name, body in journeys.items()
        }
        for name, body in (files | dict(more or {})).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(body)
        clock, sink = VirtualClock(START), Sink()
        words = words or registry()
        content = load(root, words)
        post = Post(
            {"email": sink, "sms": sink},
            Renderer(root, content.project),
            Sender("Duka", "hello@duka.example"),
            lambda subscription: f"https://duka.example/u/{subscription.customer}",
            content.project.team,
        )
        shop = cls(Runtime(database, content, words, clock, post), clock, sink)
        if publish:
            shop.runtime.publish()
        return shop

    def beside(self, database: Database) -> Shop:
        """Another engine on the same database, with the same clock and sink."""
        first = self.runtime
        return Shop(
            Runtime(database, first.content, first.registry, self.clock, first.post), self.clock, self.sink, 10_000
        )

    def happens(
        self, customer: str, event: str, /, *, at: datetime | None = None, key: str | None = None, **properties: Any
    ) -> Receipt:
        """An event of a customer who may be mailed about offers."""
        self.keys += 1
        return self.runtime.ingest(
            [
                Incoming(
                    customer,
                    event,
                    key or f"k{self.keys}",
                    at or self.clock.now(),
                    properties,
                    person(customer),
                )
            ]
        )

    def later(self, **length: float) -> None:
        """Time passes, and the engine does what is due."""
        self.clock.advance_to(self.clock.now() + timedelta(**length))
        self.settle()

    def settle(self) -> None:
        self.runtime.tick()
        self.runtime.advance()
        self.runtime.tick()
        self.runtime.advance()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.runtime.database.read() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def decisions(self, customer: str) -> list[str]:
        """What was decided of a customer, as `step outcome reason`, in order."""
        rows = self.rows(
            "SELECT d.step, d.outcome, d.reason FROM decision d JOIN enrolment e ON e.id = d.enrolment_id JOIN customer c "
            f"ON c.id = e.customer_id WHERE c.external_id = '{customer}' ORDER BY e.id, d.visit, d.kind DESC"
        )
        return [" ".join(str(part) for part in row if part is not None) for row in rows]


def person(name: str) -> Profile:
    """A customer with an address and consent to offers."""
    columns = {
        "first_name": name.title(),
        "email": f"{name}@shop.example",
        "email_hash": f"hash-{name}",
        "country": "KE",
    }
    return Profile(columns=columns, consents=(Consented("email", "offers"),))
