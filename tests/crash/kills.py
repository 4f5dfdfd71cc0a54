"""kill -9 at every boundary: `python -m tests.crash.kills N [SEED]`, whose last line is one JSON object.

Engines take in purchases and send messages of three journeys, over SQLite and PostgreSQL, to a SendGrid in a process of
its own that is, every now and then, as bad as a provider can be; each is killed at a random statement, commit or
message. Its ledger, not our database, says what was sent.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.cohort.gate import CALL
from engine.store.database import Database
from engine.store.tables import customer, enrolment, message
from tests.channels.conftest import FakeSendGrid, fake_sendgrid
from tests.crash.ledger import judged, messages, sent
from tests.engine.shop import MAIL, PROJECT
from tests.guarded.server import answering, serving

SEED = 20261125
EACH, AGAIN = 3, 12
"""New customers a life, and how many of those before are told again though their events were taken."""
MODES = {"accept": 12, "accept-500": 2, "accept-reset": 2, "reset": 2, "500": 1, "429": 2, "hang": 1}
CALM, STRIDE = 12, 5
"""Lives without a death at the end, each half an hour after the other: in these everything comes to rest."""

JOURNEYS = {
    "hello": "topic: offers\nenter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 10m\n"
    "  - split:\n      - 50%: [{send: email/again}]\n      - 50%: [{tag: odd}, {send: email/again}]\n",
    "loop": "topic: offers\nenter: {event: purchase}\nsteps:\n  - id: ask\n    send: email/again\n  - wait: 20m\n"
    "  - branch: [{if: 'elapsed(\"purchase\") < 1h', then: [{goto: ask}]}]\n",
    "books": "enter: {event: purchase}\nsteps:\n"
    "  - call: {url: 'http://127.0.0.1:PORT/book/{{ customer.id }}', json: {n: '{{ customer.id }}'}, save: booked, "
    "answer: {id: text}}\n"
    "  - call: {url: 'http://127.0.0.1:PORT/read/{{ customer.id }}'}\n",
    "receipt": "topic: transactional\nenter: {event: shipped}\nsteps:\n  - send: email/receipt\n",
}


class Books:
    """A system that is asked, every now and then as bad as one can be: which customers it has written down, and read."""

    def __init__(self, seed: int) -> None:
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self.calm = False
        self.done: Counter[str] = Counter()

    def behave(self, connection: socket.socket, asked: bytes) -> None:
        if b" " not in asked:
            return  # whoever asks was killed before they had said what
        with self._lock:
            mode = "200" if self.calm else self._chance.choices(("200", "429", "500", "hang up"), (12, 2, 2, 2))[0]
            if mode != "429":
                self.done[asked.split(b" ")[1].decode()] += 1
        if mode != "hang up":
            answering(f"{mode} So", b'{"id": "x"}')(connection, asked)


@dataclass
class Outcome:
    """What came of a run, by the ledger and the database."""

    seed: int
    kills: int = 0
    lives: int = 0
    sent: int = 0
    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    recovery: list[float] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        messages = sum(n for state, n in self.states.items() if not state.startswith("call "))
        return {
            "bench": "crash",
            "kills": self.kills,
            "lives": self.lives,
            "sent": self.sent,
            "duplicates": len(self.duplicates),
            "lost": len(self.lost),
            "calls": {state.removeprefix("call "): n for state, n in self.states.items() if state.startswith("call ")},
            "in_doubt": self.states["in_doubt"],
            "in_doubt_percent": round(100 * self.states["in_doubt"] / max(messages, 1), 2),
            "recovery_s": round(statistics.median(self.recovery), 3) if self.recovery else None,
            "seed": self.seed,
        }


@contextmanager
def engines(root: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The process that lives are forked from."""
    command = [sys.executable, "-m", "tests.crash.engine", str(root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def to_tell(taken: int, events: int) -> range:
    """Whoever has events tells them until they are said to be taken, and some of them once more."""
    return range(max(0, taken - AGAIN), events)


def life(process: subprocess.Popen[str], run: int, events: range, death: int) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{run} {events.start} {events.stop} {death}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, f"an engine failed by itself in life {run}"
    told: dict[str, Any] = json.loads(line)
    return told


def kill(root: Path, url: str, kills: int, seed: int) -> Outcome:
    """Kill engines on one database until so many have died; then let them come to rest, and count."""
    chance = random.Random(seed)
    outcome = Outcome(seed)
    books = Books(seed)
    with fake_sendgrid(root) as provider, serving(books.behave) as server:
        write_project(root, server.port)
        environment = os.environ | {
            "KARIBU_INSIDE_ORIGINS": f"http://127.0.0.1:{server.port}",
            "KARIBU_DATABASE_URL": url,
            "KARIBU_SENDGRID_API_KEY": "SG.test",
            "KARIBU_SENDGRID_BASE_URL": provider.url,
        }
        database = Database(url)
        prepare(root, environment)
        with engines(root, environment) as process:
            events = taken = EACH
            typical = life(process, outcome.lives, range(events), 0)["boundaries"]
            while outcome.kills < kills:
                outcome.lives += 1
                events += EACH
                provider.mode(chance.choices(list(MODES), list(MODES.values()))[0])
                told = life(process, outcome.lives, to_tell(taken, events), chance.randint(1, typical))
                taken = events if told["taken"] else taken
                outcome.kills += told["died"]
                if not told["died"]:
                    typical = max(typical // 2, told["boundaries"])
            provider.mode("accept")
            books.calm = True
            for calm in range(1, CALM + 1):
                told = life(process, outcome.lives + calm * STRIDE, to_tell(taken, events), 0)
                outcome.recovery.append(told["recovery"])
        count(outcome, database, provider, events)
        count_calls(outcome, database, books)
        database.dispose()
    return outcome


def write_project(root: Path, port: int) -> None:
    files = {
        "workflows/project.yaml": PROJECT.replace("email: {provider: maildir}", "email: {provider: sendgrid}").replace(
            "currency: KES", "currency: KES, sender: {name: Duka, email: hello@duka.example}"
        )
    }
    files |= {
        f"workflows/{name}.yaml": f"journey: {name}\n{body}".replace("PORT", str(port))
        for name, body in JOURNEYS.items()
    }
    files |= {f"templates/email/{name}.mjml": MAIL for name in ("hello", "again")}
    files["templates/email/receipt.mjml"] = (
        MAIL.partition("<a ")[0] + "</mj-text>\n" + MAIL.partition("</mj-text>\n")[2]
    )
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body)


def prepare(root: Path, environment: dict[str, str]) -> None:
    """Publish."""
    subprocess.run(
        [sys.executable, "-m", "engine.cli", "-C", str(root), "publish"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def count(outcome: Outcome, database: Database, provider: FakeSendGrid, events: int) -> None:
    """Hold the ledger against what the journeys promise."""
    ledger = sent(provider.ledger.parent)
    outcome.sent = ledger.total()
    with database.read() as connection:
        inside = connection.execute(select(enrolment.c.id).where(enrolment.c.state != "ended")).all()
        entered = Counter(connection.scalars(select(enrolment.c.journey)))
        people = len(connection.execute(select(customer.c.id)).all())
    assert people == events and entered == dict.fromkeys(JOURNEYS, events), (people, entered)
    assert not inside, f"{len(inside)} are still inside"
    verdict = judged(messages(database), ledger)
    outcome.states += verdict.states
    outcome.duplicates += verdict.duplicates
    outcome.lost += verdict.lost


def count_calls(outcome: Outcome, database: Database, books: Books) -> None:
    """A question that writes is asked once at most, whatever happens; one that only reads, as often as it takes."""
    with database.read() as connection:
        calls = select(message.c.channel, message.c.state, customer.c.external_id).where(message.c.route == "call")
        rows = connection.execute(calls.join(customer, customer.c.id == message.c.customer_id)).all()
    assert rows
    for channel, state, name in rows:
        outcome.states[f"call {state}"] += 1
        writes = channel.startswith(CALL)
        path = f"/{'book' if writes else 'read'}/{name}"
        if writes and books.done[path] > 1:
            outcome.duplicates.append(path)
        if state in ("queued", "claimed", "dispatching") or (state == "accepted" and not books.done[path]):
            outcome.lost.append(path)
        if state == "refused" and writes and books.done[path]:
            outcome.lost.append(f"{path} was asked, and is recorded as refused")


def main(arguments: list[str]) -> None:
    from tests.conftest import running_postgres

    kills = int(arguments[0]) if arguments else 300
    seed = int(arguments[1]) if len(arguments) > 1 else SEED
    total = Outcome(seed)
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres:
        where = {"sqlite": f"sqlite:///{folder}/karibu.db", "postgresql": postgres.create()}
        for name, url in where.items():
            root = Path(folder) / name
            found = kill(root, url, kills // 2, seed)
            print(f"{name}: {json.dumps(found.plain())}", flush=True)
            total.kills += found.kills
            total.lives += found.lives
            total.sent += found.sent
            total.duplicates += found.duplicates
            total.lost += found.lost
            total.states += found.states
            total.recovery += found.recovery
    print(json.dumps(total.plain()))
    sys.exit(bool(total.duplicates or total.lost))


if __name__ == "__main__":
    main(sys.argv[1:])
