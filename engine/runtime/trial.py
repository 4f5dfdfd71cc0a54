"""A test message: what a customer would get, to an address of the shop's own, marked as a test and counted nowhere.

No enrolment, no decision, no cap, no goal and no segment knows of it. It is a row of its own, committed before
anything leaves the house, and its id at the provider names no message: what comes back about it is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, exists, insert, select, update

from engine.channels.base import Accepted, Outgoing, Refused, Result
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.values import Rendered
from engine.runtime.door import Door, Problems
from engine.runtime.post import Post
from engine.runtime.preview import Preview
from engine.store.database import Database
from engine.store.tables import suppression, trial

MARK = "[Test] "


class NotSent(Exception):
    """A test message that may not go: what is wrong, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Told:
    """One test message, as it is kept."""

    ref: str
    template: str
    journey: str | None
    step: str | None
    channel: str
    to: str
    state: str
    reason: str | None
    at: datetime


def send(
    database: Database, door: Door, post: Post, template: str, shown: Preview, topic: str | None, to: str, now: datetime
) -> Told:
    """Send what was previewed to this address, whoever's it is. NotSent when it may not go."""
    channel = template.partition("/")[0]
    if channel not in post.channels:
        raise NotSent(f"the project has no channel {channel}", "write one into workflows/project.yaml under channels")
    address, hashed = _address(door, channel, to)
    row = {
        "at": now,
        "template": template,
        "journey": shown.journey,
        "step": shown.step,
        "channel": channel,
        "sent_to": masked(address),
        "state": "dispatching",
    }

    def leave(connection: Connection) -> int:
        if connection.scalar(
            select(exists().where(suppression.c.channel == channel, suppression.c.address_hash == hashed))
        ):
            raise NotSent(
                "nothing may be sent to this address: it is suppressed",
                "it bounced, complained or unsubscribed; name another one",
            )
        made = connection.scalar(insert(trial).values(row).returning(trial.c.id))
        assert made is not None
        return int(made)

    number = database.written(leave)
    transactional = topic == TRANSACTIONAL
    result = post.send(
        Outgoing(
            ref=_ref(number),
            channel=channel,
            to=address,
            content=marked(shown.rendered),
            sender=post.sender,
            at=now,
            topic=topic or "test",
            transactional=transactional,
            unsubscribe_url=None if transactional else shown.unsubscribe,
            labels={"test": "yes"},
        ),
        now,
    )
    state, reason, provider_id = _became(result)
    with database.write() as connection:
        settle = update(trial).where(trial.c.id == number)
        connection.execute(settle.values(state=state, reason=reason, provider_id=provider_id))
    return Told(_ref(number), template, shown.journey, shown.step, channel, masked(address), state, reason, now)


def latest(connection: Connection, limit: int) -> list[Told]:
    """The newest test messages, at most `limit`."""
    rows = connection.execute(select(trial).order_by(trial.c.id.desc()).limit(limit))
    return [
        Told(_ref(row.id), row.template, row.journey, row.step, row.channel, row.sent_to, row.state, row.reason, row.at)
        for row in rows
    ]


def marked(rendered: Rendered) -> Rendered:
    """The message with the mark where its reader looks first."""
    if rendered.channel == "email":
        return replace(rendered, subject=MARK + rendered.subject)
    if rendered.title:
        return replace(rendered, title=MARK + rendered.title)
    return replace(rendered, text=MARK + rendered.text)


def _ref(number: int) -> str:
    return f"test-{number}"


def _became(result: Result) -> tuple[str, str | None, str | None]:
    if isinstance(result, Accepted):
        return "accepted", None, result.provider_id
    return ("refused" if isinstance(result, Refused) else "in_doubt"), result.reason, None


def _address(door: Door, channel: str, to: str) -> tuple[str, str]:
    """The address as the channel takes it, and its keyed hash. NotSent for what is none."""
    name = {"email": "email", "push": "push_token", "telegram": "telegram"}.get(channel, "phone")
    problems = Problems()
    columns = door.profile({name: to}, problems).columns
    if problems.found:
        raise NotSent(f"{to}: {problems.found[name]}", f"--to takes where {channel} messages go")
    return str(columns[name]), str(columns[{"push_token": "push_hash"}.get(name, f"{name}_hash")])


def masked(address: str) -> str:
    """Enough of an address for its owner to know it: `a…@shop.example`, `…5678`."""
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}…@{domain}" if at else f"…{address[-4:]}"
