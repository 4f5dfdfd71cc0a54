"""A campaign of personal mails, from the gate to the record of what the provider said, against the same mails rendered
and handed bare to the same kept connections.

    make bench-send
    make bench-send ARGS="--size 50000 --ways smtp,one,shared --database postgresql"

Each mail has some 3 KB of HTML, a loop over what was bought, branches and 20 values. Timed: the gate over the cohort,
the outbox, claims, loading, rendering, the gate again, dispatch, the answers, and the record with the customers' moves.
Not timed: making the customers, their purchases and their entries. The provider is a bare protocol in another process,
and says how many mails it took. `smtp`: a relay; `one`: SendGrid's API, a mail a request; `shared`: up to 1,000 mails a
request, of a campaign without branches.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.cohort import NOW, enter_all, places
from engine.builtins import registry
from engine.channels.base import Many, Outgoing, Sender
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.channels.smtp import Smtp, SmtpOptions
from engine.channels.smtp_line import Relay
from engine.language.content import load
from engine.rendering.links import Subscriptions
from engine.rendering.renderer import Renderer
from engine.runtime import letters
from engine.runtime.clock import Clock, SystemClock
from engine.runtime.post import Post
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.store.types import micros

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES, url: https://duka.example}
customer: {tier: text, city: text, points: number, favourite: text}
events:
  purchase:
    value: total
    properties: {total: money, order_id: text, items: [{sku: text, name: text, qty: number, price: money}]}
topics: {offers: {title: Offers}}
channels: {email: {provider: PROVIDER}}
"""
JOURNEY = """
journey: bench
topic: offers
enter: {event: purchase}
steps:
  - send: email/mail
"""
_FRAME = """---
subject: "{{ customer.first_name }}, your order {{ entry.order_id }}"
preheader: "{{ entry.total | money }} in {{ customer.city }}"
---
<mjml><mj-body>
<mj-section><mj-column>
<mj-text>Dear {{ customer.first_name }} {{ customer.last_name }} of {{ customer.city }},</mj-text>
<mj-text>BODY</mj-text>
<mj-text>You have {{ customer.points }} points, and {{ customer.favourite }} is what you like best. Your order
{{ entry.order_id }} of {{ entry.total | money }} is on its way to {{ customer.city }}, {{ customer.country }}. Write to
us at any time: we answer {{ customer.first_name }} first, because you are {{ customer.tier }} with us. Your number is
{{ customer.id }}, and we reach you at {{ customer.email }}.</mj-text>
<mj-button href="https://duka.example/orders/{{ entry.order_id }}">Look at {{ entry.order_id }}</mj-button>
<mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
_BRANCHES = """{% if customer.tier == "gold" %}Gold never waits: {{ customer.first_name }}, it leaves today.{% elif
customer.points > 50 %}With {{ customer.points }} points you are nearly gold.{% else %}Thank you.{% endif %}
{% for item in entry.items %}{{ item.qty }} x {{ item.name }} ({{ item.sku }}) at {{ item.price | money }}{%
if item.qty > 1 %}, together{% endif %}<br>{% endfor %}"""
_PLAIN = """Thank you. There is more where this came from: look around in {{ brand.name }}, and come again soon. What is
new this week is on the first page, and what you liked is where you left it."""
MAIL, SHARED = _FRAME.replace("BODY", _BRANCHES), _FRAME.replace("BODY", _PLAIN)


def write_project(root: Path, way: str) -> None:
    (root / "workflows").mkdir(parents=True)
    (root / "templates/email").mkdir(parents=True)
    (root / "workflows/project.yaml").write_text(PROJECT.replace("PROVIDER", "smtp" if way == "smtp" else "sendgrid"))
    (root / "workflows/bench.yaml").write_text(JOURNEY)
    (root / "templates/email/mail.mjml").write_text(SHARED if way == "shared" else MAIL)


def fill(database: Database, size: int) -> None:
    """Customers, consents and a purchase of each with three to five items, made by the database itself."""
    at, sqlite = micros(NOW), database.dialect == "sqlite"
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size})"
        if sqlite
        else f"WITH n AS (SELECT generate_series(1, {size}) AS i)"
    )
    cast = "" if sqlite else "::jsonb"
    attributes = (
        """'{"tier": "' || CASE i % 3 WHEN 0 THEN 'gold' ELSE 'basic' END || '", "city": "Mombasa ' || (i % 97) || """
        """'", "points": ' || (i % 100) || ', "favourite": "Coffee ' || (i % 11) || '"}'"""
    )
    item = """{"sku": "S%d", "name": "Coffee of hill %d", "qty": %d, "price": %d}"""
    items = [", ".join(item % (n, n, n % 3 + 1, 100 * n) for n in range(1, count + 1)) for count in (3, 4, 5)]
    properties = (
        """'{"total": ' || (100 + i % 20000) || ', "order_id": "D-' || i || '", "items": [' || CASE i % 3 """
        + "".join(f"WHEN {n} THEN '{text_}' " for n, text_ in enumerate(items))
        + "END || ']}'"
    )
    rows = {
        "customer (id, external_id, email, email_hash, first_name, last_name, country, attributes, bucket, created_at, "
        "updated_at)": "i, 'c' || i, 'c' || i || '@shop.example', 'h' || i, 'Amina', 'Otieno ' || (i % 50), 'KE', "
        f"({attributes}){cast}, i, {at}, {at}",
        "consent (customer_id, channel, topic, state, at, source)": f"i, 'email', 'offers', 'on', {at}, 'bench'",
        "event (id, source, key, customer_id, name, occurred_at, received_at, properties)": "i, 'bench', 'e' || i, i, "
        f"'purchase', {at}, {at}, ({properties}){cast}",
    }
    with database.write() as c:
        for into, values in rows.items():
            # Past SQLAlchemy's own reading of the text: JSON is full of colons.
            driver = c.connection.driver_connection
            assert driver is not None
            driver.execute(f"INSERT INTO {into} {numbers} SELECT {values} FROM n")
    if not sqlite:
        with database.write() as c:
            c.execute(text("ANALYZE"))


class Sink:
    """The provider in its process. Bare ports on this machine only."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-m", "bench.sink", kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self._line()

    def taken(self) -> int:
        """How many it has taken since it was asked before."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return self._line()

    def _line(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def provider(way: str) -> Iterator[tuple[Sink, Many]]:
    """A sink and the channel that sends to it."""
    sink = Sink("smtp" if way == "smtp" else "http")
    if way == "smtp":
        channel: Any = Smtp(Relay("127.0.0.1", sink.port, "none"), SmtpOptions())
    else:
        options = SendGridOptions(share=1000 if way == "shared" else 1)
        channel = SendGrid("SG.bench", f"http://127.0.0.1:{sink.port}", options)
    try:
        yield sink, channel
    finally:
        channel.close()
        sink.close()


def bare(runtime: Runtime, size: int) -> float:
    """Seconds to render every mail and hand it to the channel, with all values at hand before: no gate, no outbox, no
    claims, no record."""
    (program,) = runtime.programs().values()
    post, clock, seconds = runtime.post, runtime.clock, 0.0
    channel = post.channels["email"]
    assert isinstance(channel, Many)
    for low in range(1, size + 1, 1000):
        with runtime.database.read() as connection:
            ids = list(range(low, min(low + 1000, size + 1)))
            found = letters.load(connection, program, "send_1", ids, clock.now(), post.renderer)
        begun = time.perf_counter()
        wave: list[Outgoing] = [post.make(letter, clock.now()) for letter in found]
        channel.send_many(wave, lambda: True, lambda at, result: None)
        seconds += time.perf_counter() - begun
    return seconds


def run(kind: str, way: str, size: int, folder: Path, clock: Clock) -> dict[str, float]:
    """The figures of one way to send: the engine's, and bare."""
    root = folder / f"{kind}-{way}"
    write_project(root, way)
    content = load(root, registry())
    links = Subscriptions(["the key of a benchmark"], "https://duka.example")
    with places(kind, folder) as place, provider(way) as (sink, channel):
        post = Post(
            {"email": channel}, Renderer(root, content.project), Sender("Duka", "hello@duka.example"), links.link
        )
        database = Database(place(way, None))
        database.migrate()
        runtime = Runtime(database, content, registry(), clock, post)
        runtime.publish()
        fill(database, size)
        enter_all(runtime, size)
        forget_peak()
        begun, worked = time.perf_counter(), time.process_time()
        runtime.advance()
        seconds, worked = time.perf_counter() - begun, time.process_time() - worked
        peak = peak_mib()
        assert sink.taken() == size, "the provider took another number"
        with database.read() as connection:
            states = connection.execute(text("SELECT state, count(*) FROM message GROUP BY state")).all()
        assert [tuple(row) for row in states] == [("accepted", size)], states
        base = bare(runtime, size)
        assert sink.taken() == size
        database.dispose()
    return {
        "per_second": size / seconds,
        "bare_per_second": size / base,
        "ratio": base / seconds,
        "per_second_of_processor": size / worked,
        "rss_mib": peak,
    }


def forget_peak() -> None:
    """Have Linux count the most memory anew, from now on: the making of customers is none of sending."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most memory since."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=50_000)
    parser.add_argument("--ways", default="smtp,one,shared")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="sqlite")
    asked = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    figures: dict[str, dict[str, float]] = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        for way in asked.ways.split(","):
            with tempfile.TemporaryDirectory() as folder:
                one = run(kind, way, asked.size, Path(folder), SystemClock())
            figures[f"{kind}/{way}"] = {name: round(value, 2) for name, value in one.items()}
            print(
                f"{kind} {way:7} {one['per_second']:>8,.0f}/s, bare {one['bare_per_second']:>8,.0f}/s, "
                f"{one['ratio']:.2f} of it",
                flush=True,
            )
    ratio = min(one["ratio"] for one in figures.values())
    rss = max(one["rss_mib"] for one in figures.values())
    print(json.dumps({"bench": "send", "size": asked.size, "figures": figures, "ratio": ratio, "rss_mib": round(rss)}))


if __name__ == "__main__":
    main()
