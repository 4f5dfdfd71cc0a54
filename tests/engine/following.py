"""An engine in a process of its own, on a clock that stands in a file: it does everything that is due at that moment,
says that it has, and waits until the clock moves on.

    python -m tests.engine.following ROOT DATABASE_URL NAME TIMES

At each moment it takes in what happened then (`happens/` holds it), in small transactions, looks at the clock and moves
whoever is due, each step TIMES times over. Killed and started again it begins the moment anew, as a shop that got no
answer sends again. Nothing of the outcome may tell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

from sqlalchemy import select, text

from engine.app import App
from engine.channels.base import Accepted, ChannelOptions, Outgoing, Result, Surroundings
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile
from engine.runtime.runtime import Runtime
from engine.settings import Settings
from engine.store.database import Database
from engine.store.failures import deadlocked
from engine.store.tables import customer
from tests.engine.shop import MAIL, PROJECT, person

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2028, 2, 26, 5, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENTS = [BEGIN + n * 7 * HOUR for n in range(16)]  # nearly five days, 29 February among them
ZONES = ("Africa/Nairobi", "Asia/Manila", "America/New_York", "Pacific/Kiritimati")
PEOPLE = 48
PIECE = 4
"""Events a transaction: small, so that there are many places to be killed at."""

FILES = {
    "workflows/project.yaml": PROJECT.replace("brand: {", "brand: {sender: {name: Duka, email: hello@duka.example}, "),
    "workflows/segments.yaml": 'quiet: elapsed("purchase") > 2d\nregulars: times("purchase") >= 2\n',
    "templates/email/hello.mjml": MAIL,
    "templates/email/again.mjml": MAIL,
    "workflows/welcome.yaml": """
journey: welcome
topic: offers
enter: {event: purchase, again: after exit}
exit: [{event: closed}]
goal: {event: purchase, within: 3d}
holdout: 10%
steps:
  - send: email/hello
    id: hello
  - split:
      - 50%: [{wait: 1d at 10:00}, {send: email/again, id: one}]
      - 50%: [{wait: 30m}, {tag: dealt}]
  - wait_for: {event: shipped, within: 1d}
    then: [{update: {customer.tier: gold}}]
    else: [{update: {customer.tier: silver}}]
""",
    "workflows/lapsed.yaml": """
journey: lapsed
topic: offers
enter: {segment: quiet, again: always}
exit: [{when: customer.tier == "gold"}]
steps: [{wait: 2h}, {send: email/again}]
""",
    "workflows/regulars.yaml": """
journey: regulars
topic: offers
enter: {segment: regulars}
steps: [{send: email/hello}]
""",
    "workflows/birthday.yaml": """
journey: birthday
topic: offers
enter: {date: customer.birthday, at: "09:00", leap_day: mar1}
steps: [{send: email/hello}]
""",
    "workflows/mornings.yaml": """
journey: mornings
topic: offers
enter: {schedule: "0 8 * * *", zone: customer, audience: 'customer.tier == "silver"', again: always, misfire: run}
steps: [{tag: morning}, {send: email/again}]
""",
}


class FileClock:
    """The moment that stands in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def now(self) -> datetime:
        return datetime.fromisoformat(self.file.read_text())

    def set(self, moment: datetime) -> None:
        put(self.file, moment.isoformat())


class Ledger:
    """A provider that takes everything and writes down each send, whoever it comes from, in one file."""

    carries: ClassVar[frozenset[str]] = frozenset({"email", "sms"})
    Options: ClassVar[type[ChannelOptions]] = ChannelOptions
    idempotent: ClassVar[bool] = False

    def __init__(self, file: Path) -> None:
        self.line = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        return cls(surroundings.mail / "ledger")

    def send(self, message: Outgoing) -> Result:
        os.write(self.line, f"{message.ref} {message.to}\n".encode())
        return Accepted("ledger")

    def close(self) -> None:
        os.close(self.line)


def put(file: Path, said: str) -> None:
    """Whoever reads the file sees all of it or what was there before."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    draft.write_text(said)
    draft.replace(file)


def prepare(root: Path, url: str, seed: int) -> None:
    """Write the project and what happens at each moment; publish, with everybody known."""
    for name, body in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body)
    (root / "happens").mkdir()
    chance = Random(seed)
    for n in range(len(MOMENTS)):
        some = [(who, chance.choice(["purchase", "purchase", "shipped", "closed"])) for who in range(PEOPLE)]
        (root / f"happens/{n}.json").write_text(json.dumps([one for one in some if chance.random() < 0.25]))
    FileClock(root / "clock").set(BEGIN - HOUR)
    app = opened(root, url)
    app.runtime.ingest([known(who) for who in range(PEOPLE)], live=False)
    app.runtime.publish()
    app.close()


def known(who: int) -> Incoming:
    """Told of before anything happens: everybody has a birthday in these days."""
    born = (BEGIN + timedelta(days=who % 5)).date()
    columns: dict[str, Any] = dict(person(f"c{who}").columns)
    columns |= {"timezone": ZONES[who % 4], "birth_month": born.month, "birth_day": born.day, "birth_year": 1990}
    profile = Profile(columns=columns, consents=person(f"c{who}").consents)
    return Incoming(f"c{who}", "told", f"told-{who}", BEGIN - HOUR, {}, profile)


def opened(root: Path, url: str, *, ledger: bool = False) -> App:
    app = App(Settings.of(root, database_url=url), FileClock(root / "clock"))
    if ledger:
        app.__dict__["channels"] = {"email": Ledger(root / "ledger")}
    return app


def moment(runtime: Runtime, root: Path, n: int, times: int) -> None:
    """Everything that is due at this moment, whatever of it has been done already."""
    now = runtime.clock.now()
    happened = json.loads((root / f"happens/{n}.json").read_text())
    incoming = [
        Incoming(f"c{who}", what, f"{n}-{who}", now, {"total": 100} if what == "purchase" else {})
        for who, what in happened
    ]
    for first in range(0, len(incoming), PIECE):
        for _ in range(times):
            runtime.ingest(incoming[first : first + PIECE])
    while True:
        looks = [runtime.tick() for _ in range(times)]
        if any(look.failed for look in looks):
            continue  # the next look does it; whoever moved before would be seen by it otherwise than on a quiet day
        if not moved(runtime, times) and not any(look.entered for look in looks):
            return


def moved(runtime: Runtime, times: int) -> bool:
    """One pass of everything that is due; whether anything was."""
    work = runtime.work()
    for one in work:
        for step in one.graph.nodes:
            for _ in range(times):
                runtime.move(one.version_id, step, f"{os.getpid()}")
    return bool(work)


def follow(root: Path, url: str, name: str, times: int) -> None:
    """Follow the clock until it says that it is over."""
    app = opened(root, url, ledger=times > 1)
    app.runtime.recover(alone=times == 1)
    while (n := place(app.clock.now())) < len(MOMENTS):
        if n < 0 or has_done(root, name, n):
            time.sleep(0.01)
            continue
        try:
            app.runtime.recover(alone=times == 1)
            moment(app.runtime, root, n, times)
        except Exception as error:
            if not deadlocked(error):
                raise
            print("deadlock", flush=True)  # the database chose this one; it begins the moment anew
            continue
        put(root / f"done-{name}", str(n))
    app.close()


def place(at: datetime) -> int:
    """Which of the moments this is: -1 before the first, beyond the last when it is over."""
    return sum(1 for one in MOMENTS if one <= at) - 1 if at <= MOMENTS[-1] else len(MOMENTS)


@dataclass(frozen=True)
class Outcome:
    """What can be seen of a run at its end, without the ids that it happened to give. Everything with its moment."""

    rows: Mapping[str, list[tuple[Any, ...]]]

    @classmethod
    def of(cls, database: Database) -> Outcome:
        asked = {
            "entries": "SELECT e.journey, c.external_id, e.key, e.entered_at, e.state, e.step, e.visit, e.due_at, "
            "e.outcome FROM enrolment e JOIN customer c ON c.id = e.customer_id",
            "decisions": "SELECT e.journey, c.external_id, e.entered_at, d.visit, d.kind, d.step, d.outcome, "
            "CASE WHEN d.kind = 'enters' AND d.reason LIKE 'event:%' THEN 'event' ELSE d.reason END, d.at "
            "FROM decision d JOIN enrolment e ON e.id = d.enrolment_id JOIN customer c ON c.id = e.customer_id",
            "messages": "SELECT e.journey, c.external_id, e.entered_at, m.visit, m.route, m.step, m.state, m.reason "
            "FROM message m JOIN enrolment e ON e.id = m.enrolment_id JOIN customer c ON c.id = e.customer_id",
            "refusals": "SELECT r.journey, c.external_id, r.reason, r.at FROM refusal r "
            "JOIN customer c ON c.id = r.customer_id",
            "members": "SELECT m.segment, c.external_id, m.joined_at, m.left_at, m.joins FROM segment_member m "
            "JOIN customer c ON c.id = m.customer_id",
            "goals": "SELECT e.journey, c.external_id, e.entered_at, g.at FROM goal_reached g "
            "JOIN enrolment e ON e.id = g.enrolment_id JOIN customer c ON c.id = e.customer_id",
            "tallies": "SELECT c.external_id, t.name, t.count, t.total FROM tally t "
            "JOIN customer c ON c.id = t.customer_id",
            "tags": "SELECT c.external_id, t.tag FROM customer_tag t JOIN customer c ON c.id = t.customer_id",
        }
        with database.read() as connection:
            found = {name: connection.execute(text(statement)).all() for name, statement in asked.items()}
            tier = customer.c.attributes["tier"].as_string()
            found["profiles"] = connection.execute(select(customer.c.external_id, tier)).all()
        return cls({name: sorted(tuple(map(str, row)) for row in rows) for name, rows in found.items()})

    @property
    def size(self) -> dict[str, int]:
        return {name: len(rows) for name, rows in self.rows.items()}

    def differs(self, other: Outcome) -> dict[str, tuple[list[Any], list[Any]]]:
        """By name, what only this one and what only the other has, each as often as it has it more."""
        found = {}
        for name, rows in self.rows.items():
            mine, theirs = Counter(rows), Counter(other.rows[name])
            if mine != theirs:
                found[name] = (sorted((mine - theirs).elements()), sorted((theirs - mine).elements()))
        return found


def undisturbed(root: Path, url: str, seed: int) -> Outcome:
    """The outcome of one engine that nothing happens to, in this process."""
    prepare(root, url, seed)
    app = opened(root, url)
    for n, now in enumerate(MOMENTS):
        FileClock(root / "clock").set(now)
        moment(app.runtime, root, n, 1)
    outcome = Outcome.of(app.database)
    app.close()
    return outcome


def start(root: Path, url: str, name: str, times: int = 1) -> subprocess.Popen[bytes]:
    """An engine that follows the clock of this project; what it says goes to `NAME.log`."""
    command = [sys.executable, "-m", "tests.engine.following", str(root), url, name, str(times)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (root / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def has_done(root: Path, name: str, n: int) -> bool:
    """Whether that engine has done everything of this moment."""
    done = root / f"done-{name}"
    return done.exists() and int(done.read_text()) >= n


if __name__ == "__main__":
    follow(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
