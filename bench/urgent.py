"""How long a receipt takes while a million marketing messages are in the queue, in `karibu up`.

    make bench-urgent                                                a million queued, SQLite and PostgreSQL
    make bench-urgent ARGS="--queued 50000 --database sqlite --seconds 20"

Everybody stands at the send of a campaign, their message queued, and the service works it off into files as fast as it
can. Meanwhile purchases come at even times, each of a customer of their own, and a transactional journey sends each a
receipt. Timed: from the 202 of an event until another connection sees that its message was accepted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from bench.flow import KEY, MAIL, PROJECT, at
from bench.join import service, tell
from bench.shop import fill
from engine.store.database import Database
from engine.store.tables import customer, journey_version, message

CAMPAIGN = """
journey: campaign
topic: offers
enter: {event: visit}
steps:
  - send: email/news
    id: tells
"""
RECEIPT = """
journey: receipt
topic: transactional
enter: {event: purchase, again: always}
steps:
  - send: email/receipt
"""
FILES = {
    "workflows/project.yaml": PROJECT.replace("events: {", "events: {visit: {}, "),
    "workflows/campaign.yaml": CAMPAIGN,
    "workflows/receipt.yaml": RECEIPT,
    "templates/email/news.mjml": MAIL.replace("{{ entry.total | money }}", "nothing yet"),
    "templates/email/receipt.mjml": MAIL.replace('<a href="{{ links.unsubscribe }}">Leave</a>', ""),
}

_QUEUE = (
    """UPDATE customer SET email = 'c' || id || '@shop.example', email_hash = 'h' || id, first_name = 'Amina'""",
    """INSERT INTO consent (customer_id, channel, topic, state, at, source)
SELECT id, 'email', 'offers', 'on', {now}, 'bench' FROM customer""",
    """INSERT INTO enrolment (id, journey, version_id, customer_id, key, cause, side_by_side, state, step,
    visit, entered_at, moved_at)
SELECT id, 'campaign', {version}, id, '', 'event:' || id, {false}, 'standing', 'tells', 1, {now}, {now}
FROM customer""",
    """INSERT INTO message (id, enrolment_id, visit, route, customer_id, version_id, step, channel, template, topic,
    state, queued_at, due_at, fence, attempts)
SELECT id, id, 1, 'primary', id, {version}, 'tells', 'email', 'email/news', 'offers', 'queued', {now}, {now}, 0, 0
FROM customer""",
)


def queue_up(database: Database) -> None:
    """Have a message of the campaign wait for everybody."""
    with database.write() as c:
        mine = journey_version.c.journey == "campaign"
        version = c.execute(select(journey_version.c.id).where(mine)).scalar_one()
        false = "0" if database.dialect == "sqlite" else "false"
        for statement in _QUEUE:
            c.execute(text(statement.format(now=round(time.time() * 1e6), version=version, false=false)))
    with database.write() as c:
        c.exec_driver_sql("ANALYZE")


class Buyers(threading.Thread):
    """Buys at even times, whatever the answers take. `answered`: when each purchase was accepted."""

    def __init__(self, port: int, seconds: float, rate: float) -> None:
        super().__init__(daemon=True)
        self.port, self.size, self.rate = port, int(seconds * rate), rate
        self.answered: dict[str, float] = {}

    def run(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        begun = time.monotonic()
        for n in range(self.size):
            time.sleep(max(0.0, begun + n / self.rate - time.monotonic()))
            who = {"id": f"buyer{n}", "email": f"buyer{n}@shop.example", "first_name": "Amina"}
            body: dict[str, Any] = {"event": "purchase", "customer": who, "key": f"b{n}", "properties": {"total": 40}}
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            line.request("POST", "/v1/events", json.dumps(body), headers)
            answer = line.getresponse()
            answer.read()
            assert answer.status == 202, answer.status
            self.answered[f"buyer{n}"] = time.time()


def measured(address: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    database = Database(address)
    database.migrate()
    fill(database, options.queued, options.queued // 10)
    with service(folder / "project", FILES, address, lambda: queue_up(database)) as port:
        time.sleep(10)  # the service imports and compiles at first; that is not what is measured
        buyers = Buyers(port, options.seconds, options.rate)
        buyers.start()
        seen: dict[str, float] = {}
        who = select(customer.c.external_id).join(message, message.c.customer_id == customer.c.id)
        accepted = who.where(message.c.template == "email/receipt", message.c.state == "accepted")
        accepted = accepted.where(message.c.id > options.queued)
        end = time.time() + options.seconds + 120
        while len(seen) < buyers.size and time.time() < end:
            with database.read() as connection:
                found = list(connection.scalars(accepted))
            now = time.time()
            seen = {**dict.fromkeys(found, now), **seen}
            time.sleep(0.01)
        with database.read() as connection:
            sent = select(message.c.id).where(message.c.template == "email/news", message.c.state == "accepted")
            news = len(list(connection.scalars(sent.limit(options.queued))))
    database.dispose()
    assert len(seen) == buyers.size, f"{buyers.size - len(seen)} receipts never came"
    took = sorted((seen[name] - when) * 1000 for name, when in buyers.answered.items())
    figures = {"p50_ms": at(took, 0.5), "p99_ms": at(took, 0.99), "max_ms": round(took[-1], 1)}
    return figures | {"receipts": len(took), "campaign_sent_meanwhile": news}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=5, help="purchases a second")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    options = parser.parse_args()
    print(f"{options.queued:,} are queued", flush=True)
    tell("urgent", measured, options)


if __name__ == "__main__":
    main()
