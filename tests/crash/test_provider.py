"""A provider as bad as one can be: marketing is sent once at most, a receipt once at least, and what nobody knows is
told. Its ledger says what was sent, not our database.

Every mode of the fake provider, and one that isn't there, over SendGrid and Twilio, for marketing and for receipts: a
storm of a few minutes, then it is well again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import func, select

from engine.app import App
from engine.fake.behaviour import MODES, Behaviour, change
from engine.fake.child import Running, running
from engine.runtime.clock import VirtualClock
from engine.runtime.delivery import ATTEMPTS
from engine.runtime.doubts import SILENT
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import UNSETTLED, enrolment, message
from engine.web.api import build
from engine.web.site import Site
from tests.crash.ledger import Verdict, judged, messages, sent
from tests.engine.shop import MAIL, PROJECT
from tests.patience import eventually
from tests.returns.test_fake_provider import Listener, listening
from tests.web.asking import ask

PEOPLE = 24
CLASSES = {"purchase": ("news", "offers"), "shipped": ("receipt", "transactional")}
AWAY = "away"
SURE = (AWAY, "429", "429-date", "400", "401")
"""The modes that leave no doubt."""
MUTE = ("hang", "slow")
"""The modes whose end is our patience. In the others it has to outlast a busy machine, or we make the doubt."""
HOOKS = {"in time": {"lost": 0}, "twice": {"lost": 0, "twice": 1}, "late": {"lost": 0}, "lost": {"lost": 1}}
"""What becomes of the provider's own word about a message."""

CHANNELS = "channels: {email: {provider: maildir}, sms: {provider: maildir}}\n"
PROVIDERS = "channels: {email: {provider: sendgrid, timeout: 60, share: 3}, sms: {provider: twilio, timeout: 60}}\n"
FILES = {
    "workflows/project.yaml": PROJECT.replace(CHANNELS, PROVIDERS).replace(
        "currency: KES", "currency: KES, sender: {name: Duka, email: hello@duka.example}"
    ),
    "templates/email/news.mjml": MAIL,
    "templates/email/receipt.mjml": MAIL.partition("<a ")[0] + "</mj-text>\n" + MAIL.partition("</mj-text>\n")[2],
    "templates/sms/news.txt": "Hello {{ customer.first_name }}. STOP ends this.",
    "templates/sms/receipt.txt": "Thank you, {{ customer.first_name }}",
} | {
    f"workflows/{name}-{channel}.yaml": f"journey: {name}-{channel}\ntopic: {topic}\nenter: {{event: {event}}}\n"
    f"steps:\n  - send: {channel}/{name}\n  - tag: told\n"
    for event, (name, topic) in CLASSES.items()
    for channel in ("email", "sms")
}


def person(n: int) -> Profile:
    phone = f"+2547123{n:05}"
    columns = {"first_name": f"C{n}", "email": f"c{n}@shop.example", "email_hash": f"mail-{n}"}
    consents = (Consented("email", "offers"), Consented("sms", "offers"))
    return Profile(columns=columns | {"phone": phone, "phone_hash": f"phone-{n}"}, consents=consents)


@dataclass
class Storm:
    """An engine and its provider, which comes and goes at one address."""

    app: App
    clock: VirtualClock
    listener: Listener
    provider: Running
    up: ExitStack = field(default_factory=ExitStack)

    def comes(self) -> None:
        self.up.enter_context(running(self.provider.directory, int(self.provider.url.rpartition(":")[2])))

    def goes(self) -> None:
        self.up.close()

    def behaves(self, **how: Any) -> None:
        change(self.provider.directory, **how)

    def passes(self, length: timedelta) -> None:
        self.clock.advance_to(self.clock.now() + length)
        self.app.runtime.recover()
        self.app.runtime.tick()
        self.app.runtime.advance()

    def breaks(self, mode: str) -> timedelta:
        """Two storms: people get news, and when all of that is settled, receipts; each time the provider is like that
        for some minutes, and an engine sends that hasn't learnt yet to leave it alone. How long the news took to settle
        when it was well again."""
        drained = timedelta()
        for event in CLASSES:
            drained = self.drains()
            self.anew()
            now = self.clock.now()
            who = [Incoming(f"c{n}", event, f"{event}-{n}", now, {}, person(n)) for n in range(PEOPLE)]
            self.app.runtime.ingest(who)
            self.behaves(mode=mode) if mode != AWAY else self.goes()
            for _ in range(3):
                self.passes(timedelta(minutes=1))
            self.comes() if mode == AWAY else self.behaves(mode="accept")
        return drained

    def anew(self) -> None:
        before, self.app = self.app, self.app.anew()
        self.app.runtime.renew(self.app.content, self.app.post)
        self.close(before)

    @staticmethod
    def close(app: App) -> None:
        for channel in app.channels.values():
            channel.close()

    def drains(self) -> timedelta:
        """Until everything is settled; how long that took."""
        begun = self.clock.now()
        while self._open():
            assert self.clock.now() - begun < timedelta(hours=12)
            self.passes(timedelta(minutes=1))
        return self.clock.now() - begun

    def rests(self) -> None:
        """Until every doubt that is to be repeated was, too."""
        self.drains()
        self.passes(SILENT)
        self.drains()

    def _open(self) -> int:
        with self.app.database.read() as connection:
            return connection.scalar(select(func.count()).where(UNSETTLED)) or 0

    def hear(self) -> None:
        """Let in what the provider has told, by the route that it calls."""
        web = build(Site(lambda: self.app, None, dict, lambda: True))  # type: ignore[arg-type]  # takes no events
        called, self.listener.called = self.listener.called, []
        for one in called:
            path, _, query = one.url.removeprefix(self.listener.url).partition("?")
            assert ask(web, "POST", path, one.headers, one.body, query=query).status == 200

    def told(self) -> Counter[str]:
        """How many webhooks have told of each message that was taken, by its id."""
        found: Counter[str] = Counter()
        for one in list(self.listener.called):
            if "ref" in (asked := parse_qs(urlsplit(one.url).query)):
                found.update(asked["ref"])
            else:
                found.update({event["karibu_ref"] for event in json.loads(one.body)})
        return found

    def attempts(self) -> int:
        with self.app.database.read() as connection:
            return connection.scalar(select(func.max(message.c.attempts))) or 0

    def inside(self) -> int:
        with self.app.database.read() as connection:
            return connection.scalar(select(func.count()).where(enrolment.c.state != "ended")) or 0


@pytest.fixture
def mode() -> str:
    return "accept-reset"


@pytest.fixture
def storm(
    database: Database, project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> Iterator[Storm]:
    files = {
        path: text.replace("timeout: 60", "timeout: 0.5") if mode in MUTE else text for path, text in FILES.items()
    }
    directory, root = tmp_path / "provider", project(files)
    with ExitStack() as up, listening() as listener:
        provider = up.enter_context(running(directory))
        how = Behaviour(hook=f"{listener.url}/hooks/sendgrid/events", lost=1, opens=0, machines=0, pace=0)
        how.write(directory)
        environment: dict[str, str] = {}
        provider.settings(environment)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        clock = VirtualClock(datetime.now(UTC))  # signatures of webhooks are as old as the real clock says
        app = App(Settings.of(root, base_url=listener.url), clock)
        app.__dict__["database"] = database
        app.runtime.publish()
        made = Storm(app, clock, listener, provider, up)
        yield made
        made.close(made.app)
        made.goes()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [AWAY, *(mode for mode in MODES if mode != "accept")])
def test_a_storm_sends_no_marketing_twice_and_loses_no_receipt(storm: Storm, mode: str) -> None:
    began = time.monotonic()
    drained = storm.breaks(mode)
    storm.rests()
    ledger, rows = sent(storm.provider.directory), messages(storm.app.database)
    verdict = judged(rows, ledger, refuses=("provider: 400 subject", "bad_address") if mode == "400" else ())
    told = figures(mode, verdict, ledger.total())
    told |= {"most_attempts": storm.attempts(), "drained_min": drained / timedelta(minutes=1)}
    print(json.dumps(told | {"seconds": round(time.monotonic() - began, 1)}))
    assert verdict.duplicates == [] and verdict.lost == [] and storm.inside() == 0
    # Whose number is found wrong with the news gets no receipt there.
    assert len(rows) == (3 if mode == "400" else 4) * PEOPLE
    doubted = {(row.channel, row.topic) for row in rows.values() if row.doubts}
    assert len(doubted) == (0 if mode in SURE else 4), doubted
    assert storm.attempts() <= ATTEMPTS
    if mode in SURE and mode != "400":
        assert ledger.total() == len(rows) == verdict.states["accepted"]


@pytest.mark.slow
@pytest.mark.parametrize(("told", "how"), HOOKS.items(), ids=list(HOOKS))
def test_webhooks_that_are_lost_doubled_or_late_send_nothing_twice(
    storm: Storm, mode: str, told: str, how: dict[str, int]
) -> None:
    storm.behaves(**how)
    storm.breaks(mode)
    if told in ("in time", "twice"):
        heard = 2 if told == "twice" else 1
        refs = sent(storm.provider.directory)
        eventually(lambda: all(storm.told()[ref] >= heard for ref in refs))
        storm.hear()
    doubted = {ref for ref, row in messages(storm.app.database).items() if row.state == "in_doubt"}
    storm.rests()
    if told == "late":
        storm.hear()
    ledger, rows = sent(storm.provider.directory), messages(storm.app.database)
    verdict = judged(rows, ledger)
    repeated = sum(count > 1 for count in ledger.values())
    print(json.dumps(figures(f"webhooks {told}", verdict, ledger.total()) | {"repeated": repeated}))
    assert verdict.duplicates == [] and verdict.lost == [] and storm.inside() == 0
    assert len(rows) == 4 * PEOPLE
    # The provider's word ends a doubt, and in time it spares the repeat.
    assert bool(doubted) == bool(repeated) == (told in ("late", "lost"))
    assert bool(verdict.states["in_doubt"]) == (told == "lost")


def figures(mode: str, verdict: Verdict, sent: int) -> dict[str, Any]:
    messages = verdict.states.total()
    return {
        "promise": "a provider in doubt",
        "mode": mode,
        "messages": messages,
        "sent": sent,
        "duplicates": len(verdict.duplicates),
        "lost": len(verdict.lost),
        "unknown_percent": round(100 * verdict.states["in_doubt"] / messages, 2),
    }
