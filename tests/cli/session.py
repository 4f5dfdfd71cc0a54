"""Sessions at the command line as text: what is typed, and what is said. `python -m tests.cli.session FILE…` writes them anew.

    $ at 2026-03-01T06:30:00Z         the clock stands there from now on
    $ write orders.csv                what follows, after "| ", is written into the file
    $ append workflows/project.yaml   the same, at the end of the file
    $ remove orders.csv               the file is gone
    $ karibu import orders.csv        the command line, in this process; what it says to standard error follows "! "
    $ event amina purchase {"total": 3}    an event comes in, and the engine goes on until nothing is due
    $ hook shopify orders/paid {…}    a webhook comes in, signed or with the secret, under this topic
    $ tick                            the engine looks at its clock and goes on until nothing is due
    $ clicks amina hello              they click in the message of this step

A command that leaves with another exit code than 0 ends with [2]. Seconds are told as "0.0 s".
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import io
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from starlette.testclient import TestClient

from engine.app import App
from engine.cli import main
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.feedback import Feedback
from engine.runtime.ingest import Incoming
from engine.runtime.references import reference
from engine.store.tables import customer, message
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.site import Site

SECRET = "a-sample-secret"


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it left."""

    out: str
    err: str
    code: int


def karibu(*arguments: str, clock: VirtualClock | None = None) -> Ran:
    """Run one command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments), clock)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
    return Ran(out.getvalue(), err.getvalue(), code)


class Session:
    """Plays a session in the current directory."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
        self.events = 0

    def play(self, text: str) -> str:
        """The same text with what is said now."""
        said = []
        for typed, written in steps(text):
            said.append(f"$ {typed}\n" + "".join(f"| {line}\n" for line in written) + self._do(typed, written))
        return "\n".join(said)

    def _do(self, typed: str, written: list[str]) -> str:
        word, _, rest = typed.partition(" ")
        if word == "at":
            self.now = datetime.fromisoformat(rest)
        elif word == "write":
            Path(rest).parent.mkdir(parents=True, exist_ok=True)
            Path(rest).write_text("".join(line + "\n" for line in written), encoding="utf-8")
        elif word == "append":
            with Path(rest).open("a", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in written))
        elif word == "hook":
            self._hook(*rest.split(" ", 2))
        elif word == "remove":
            Path(rest).unlink()
        elif word == "karibu":
            return told(karibu(*words(rest), clock=VirtualClock(self.now)))
        else:
            self._engine(word, rest)
        return ""

    def _hook(self, source: str, topic: str, body: str) -> None:
        signature = base64.b64encode(hmac.digest(SECRET.encode(), body.encode(), "sha256")).decode()
        headers = {"X-Shopify-Topic": topic, "X-Shopify-Hmac-SHA256": signature}
        headers |= {"X-Topic": topic, "Authorization": f"Bearer {SECRET}"}
        os.environ[f"KARIBU_{source.upper()}_SECRET"] = SECRET
        app = App.of(Path("."), VirtualClock(self.now))
        intake = Intake(app.runtime, lambda *names: None)
        intake.start()
        try:
            with TestClient(build(Site(lambda: app, intake, dict, lambda: True))) as client:
                taken = client.post(f"/hooks/{source}", content=body.encode(), headers=headers)
            assert taken.status_code == 202, taken.text
        finally:
            intake.close()
            app.close()
            del os.environ[f"KARIBU_{source.upper()}_SECRET"]

    def _engine(self, word: str, rest: str) -> None:
        app = App.of(Path("."), VirtualClock(self.now))
        try:
            if word == "event":
                who, name, *more = rest.split(" ", 2)
                self.events += 1
                properties = app.door.properties(name, json.loads(more[0]) if more else {}, Problems())
                app.runtime.ingest([Incoming(who, name, f"e{self.events}", self.now, properties)])
            elif word == "clicks":
                who, step = rest.split(" ")
                with app.database.read() as connection:
                    sent = connection.execute(
                        select(message.c.enrolment_id, message.c.visit, message.c.route)
                        .join(customer, customer.c.id == message.c.customer_id)
                        .where(customer.c.external_id == who, message.c.step == step)
                    ).one()
                app.runtime.hear([Feedback(reference(*sent), "clicked", self.now)])
            else:
                assert word == "tick", word
                app.runtime.tick()
            app.runtime.advance()
        finally:
            app.close()


def steps(text: str) -> list[tuple[str, list[str]]]:
    """What is typed, with what is written into files."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("| ") or line == "|":
            found[-1][1].append(line[2:])
    return found


def words(text: str) -> list[str]:
    """The words of a command; what stands in quotes is one."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', text)]


def told(ran: Ran) -> str:
    err = "".join(f"! {line}".rstrip() + "\n" for line in ran.err.splitlines())
    out = ran.out if not ran.out or ran.out.endswith("\n") else ran.out + "\n"
    said = out + err + (f"[{ran.code}]\n" if ran.code else "")
    return re.sub(r"\d+\.\d s\b", "0.0 s", said)


def write(files: list[str]) -> None:
    for name in files:
        file = Path(name).resolve()
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            try:
                file.write_text(Session().play(file.read_text(encoding="utf-8")), encoding="utf-8")
            finally:
                os.chdir(before)


if __name__ == "__main__":
    os.environ.update(NO_COLOR="1", COLUMNS="100", TERM="dumb")
    write(sys.argv[1:])
