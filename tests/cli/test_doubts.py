"""A message in doubt at the command line: what it means, and what each way to settle it does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.app import App
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from tests.channels.conftest import fake
from tests.cli.session import karibu
from tests.engine.shop import MAIL, PROJECT, person

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
MEANS = (("sent", "counts as sent"), ("not-sent", "counts as refused"), ("again", "is sent once more"))


def test_it_says_what_in_doubt_means_and_what_settles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "workflows/project.yaml": PROJECT.replace("email: {provider: maildir}", "email: {provider: smtp}").replace(
            "currency: KES", "currency: KES, sender: {name: Duka, email: hello@duka.example}"
        ),
        "workflows/hi.yaml": "journey: hi\ntopic: offers\nenter: {event: purchase}\nsteps: [{send: email/hello}]\n",
        "templates/email/hello.mjml": MAIL,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    clock = VirtualClock(NOW)
    with fake("fake_smtp", tmp_path) as relay:
        relay.mode("take-reset")
        for name, value in {"HOST": "127.0.0.1", "PORT": str(relay.port), "SECURITY": "none"}.items():
            monkeypatch.setenv(f"KARIBU_SMTP_{name}", value)
        assert karibu("-C", str(tmp_path), "publish", clock=clock).code == 0
        app = App.of(tmp_path, clock)
        app.runtime.ingest(
            [Incoming(name, "purchase", name, NOW, {}, person(name)) for name in ("amina", "juma", "zawadi")]
        )
        app.runtime.advance()
        app.close()
    listed = karibu("-C", str(tmp_path), "messages", "--in-doubt", clock=clock).out
    assert "3 messages in doubt: handed to the provider, and nobody knows whether it went out" in listed
    assert "karibu resolve MESSAGE not-sent --why TEXT  it didn't: it counts as refused" in listed
    refs = [line.split()[0] for line in listed.splitlines()[1:4]]
    blank = karibu("-C", str(tmp_path), "resolve", refs[0], "sent", "--why", " ", clock=clock)
    assert blank.code == 2 and "--why is empty" in blank.err, blank
    for ref, (outcome, told) in zip(refs, MEANS, strict=True):
        said = karibu("-C", str(tmp_path), "resolve", ref, outcome, "--why", "their page", clock=clock)
        assert (said.code, told in said.out) == (0, True), said
    told = karibu("-C", str(tmp_path), "explain", "juma", clock=clock).out
    assert "somebody decided of email/hello: it was not sent, because their page" in told
    assert "No message is in doubt." in karibu("-C", str(tmp_path), "messages", "--in-doubt", clock=clock).out
