"""What a provider's ledger says, held against what is promised of every message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Row, select

from engine.fake.ledger import taken
from engine.language.vocabulary import TRANSACTIONAL
from engine.runtime.references import reference
from engine.store.database import Database
from engine.store.tables import message

CALM = ("accepted", "in_doubt", "refused", "stopped")


def sent(directory: Path) -> Counter[str]:
    """How often the fake provider has taken each message, by its id."""
    mails = (person for mail in taken(directory, "sendgrid") for person in mail["personalizations"])
    backs = (urlsplit(form["StatusCallback"]).query for form in taken(directory, "twilio"))
    refs = [person["custom_args"]["karibu_ref"] for person in mails]
    return Counter(refs + [parse_qs(back)["ref"][0] for back in backs])


def messages(database: Database) -> dict[str, Row[Any]]:
    """Every message there is, but for the questions of calls, by its id."""
    with database.read() as connection:
        rows = connection.execute(select(message).where(message.c.route != "call")).all()
    return {reference(row.enrolment_id, row.visit, row.route): row for row in rows}


@dataclass
class Verdict:
    """`duplicates`: what went out more often than is promised. `lost`: what didn't, and nobody is told. `states`: how
    messages ended."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)


def judged(rows: dict[str, Row[Any]], ledger: Counter[str], *, refuses: Iterable[str] = ()) -> Verdict:
    """Marketing goes out once at most; what is transactional once at least, and twice only after a doubt. What is
    recorded as accepted was sent, and what is recorded as refused wasn't. `refuses`: the reasons for which the provider
    refuses a message for good."""
    assert set(ledger) <= set(rows), "the provider got what was never queued"
    verdict = Verdict()
    for ref, row in rows.items():
        verdict.states[row.state] += 1
        transactional = row.topic == TRANSACTIONAL
        told = row.state == "refused" and row.reason in refuses
        if ledger[ref] > 1 + (transactional and row.doubts > 0):
            verdict.duplicates.append(ref)
        if row.state == "accepted" and not ledger[ref]:
            verdict.lost.append(f"{ref} is recorded as accepted, and was not sent")
        if row.state == "refused" and ledger[ref]:
            verdict.lost.append(f"{ref} was sent, and is recorded as refused")
        if row.state not in CALM or (transactional and not ledger[ref] and not told):
            verdict.lost.append(f"{ref} is {row.state} ({row.reason}), and was not sent")
    return verdict
