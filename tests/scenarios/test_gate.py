"""Caps and quiet hours, in small stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import PROJECT, passes, write

NIGHT = 'quiet_hours: {from: "21:00", to: "08:00"}\n'
THREE = "enter: {event: ping, again: always}\nsteps: [{send: email/a}, {wait: 1h}, {send: email/b}]\n"
ONCE = "enter: {event: ping, again: always}\nsteps: [{send: email/a}]\n"
TIMES = "- {%s, event: ping, with: {n: 1}}\n"

# name: (what project.yaml says besides, the journey without its head, one story of Amina's, or scenarios)
CASES: dict[str, tuple[str, str, str]] = {
    "a cap that rolls skips the message too many, and has room again when the first is so long ago": (
        "caps: [{topic: offers, at_most: 2, per: 7d}]\n",
        ONCE,
        """
        - {event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {after: 3d, event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {after: 3d, event: ping}
        - {skips: email/a, reason: capped}
        - {ends: finished}
        - {at: 2026-03-09 09:00, event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {at: 2026-03-12 08:59, event: ping}
        - {skips: email/a, reason: capped}
        - {ends: finished}
        """,
    ),
    "0 lets nothing through": (
        "caps: [{topic: offers, at_most: 0, per: 7d}]\n",
        ONCE,
        """
        - {event: ping}
        - {skips: email/a, reason: capped}
        - {ends: finished}
        """,
    ),
    "transactional messages are exempt of caps and of quiet hours": (
        NIGHT + "caps: [{at_most: 0, per: 7d}]\n",
        "topic: transactional\nenter: {event: ping}\nsteps: [{send: email/order}]\n",
        """
        - {at: 2026-03-02 23:00, event: ping}
        - {sends: email/order}
        - {ends: finished}
        """,
    ),
    "a calendar day is the customer's": (
        "caps: [{channel: email, at_most: 1, per: calendar day}]\n",
        ONCE,
        """
        - scenario: tokyo
          start: 2026-03-02 23:00 Asia/Tokyo
          customer: {id: amina, email: amina@shop.example, consent: [email/offers], timezone: Asia/Tokyo}
          story:
            - {event: ping}
            - {sends: email/a}
            - {ends: finished}
            - {after: 59m, event: ping}
            - {skips: email/a, reason: capped}
            - {ends: finished}
            - {after: 1m, event: ping}
            - {sends: email/a}
            - {ends: finished}
        """,
    ),
    "a calendar week begins on Monday, and a month on the first": (
        "caps: [{at_most: 1, per: calendar week}, {at_most: 3, per: calendar month}]\n",
        ONCE,
        """
        - {at: 2026-03-08 23:59, event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {after: 1m, event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {at: 2026-03-16 00:00, event: ping}
        - {sends: email/a}
        - {ends: finished}
        - {at: 2026-03-31 23:59, event: ping}
        - {skips: email/a, reason: capped}
        - {ends: finished}
        - {after: 1m, event: ping}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "a cap may defer, as often as it takes": (
        "caps: [{journey: j, at_most: 1, per: 3d, when_capped: defer 24h}]\n",
        "enter: {event: ping, again: always}\nsteps: [{send: email/a}, {send: email/b, id: second}]\n",
        """
        - {event: ping}
        - {sends: email/a}
        - {waits: second, reason: capped}
        - {after: 3d, sends: email/b}
        - {ends: finished}
        """,
    ),
    "a cap may end the journey": (
        "caps: [{topic: offers, at_most: 1, per: 3d, when_capped: exit}]\n",
        "enter: {event: ping}\nsteps: [{send: email/a}, {wait: 1h}, {send: email/b}, {send: email/c}]\n",
        """
        - {event: ping}
        - {sends: email/a}
        - {after: 1h, skips: email/b, reason: capped}
        - {ends: not_sent}
        """,
    ),
    "all caps hold, and the first that is full says what happens": (
        """caps:
  - {channel: sms, at_most: 0, per: 1d, when_capped: exit}
  - {topic: offers, channel: email, at_most: 1, per: 1d}
  - {at_most: 1, per: 2d, when_capped: exit}
""",
        THREE,
        """
        - {event: ping}
        - {sends: email/a}
        - {after: 1h, skips: email/b, reason: capped}
        - {ends: finished}
        """,
    ),
    "what is not sent takes no slot, and what is skipped for another reason neither": (
        "caps: [{topic: offers, at_most: 1, per: 3d}]\n",
        """
        enter: {event: ping}
        steps:
          - send: email/a
            when: customer.vip
          - send: sms/a
          - send: email/b
        """,
        """
        - {event: ping}
        - {skips: email/a, reason: when}
        - {skips: sms/a, reason: no_consent}
        - {sends: email/b}
        - {ends: finished}
        """,
    ),
    "what comes in quiet hours is held until they end": (
        NIGHT,
        THREE,
        """
        - {at: 2026-03-02 21:00, event: ping}
        - {waits: send_1, reason: quiet_hours}
        - {at: 2026-03-03 08:00, sends: email/a}
        - {after: 1h, sends: email/b}
        - {ends: finished}
        - {at: 2026-03-03 20:59, event: ping}
        - {sends: email/a}
        - {at: 2026-03-04 08:00, sends: email/b}
        - {ends: finished}
        """,
    ),
    "quiet hours within one day, skipped": (
        'quiet_hours: {from: "12:00", to: "14:00", on_violation: skip}\n',
        THREE,
        """
        - {at: 2026-03-02 13:59, event: ping}
        - {skips: email/a, reason: quiet_hours}
        - {after: 1h, sends: email/b}
        - {ends: finished}
        """,
    ),
    "an exit counts while a message is held": (
        NIGHT,
        "enter: {event: ping}\nexit: [{event: closed}]\nsteps: [{send: email/a}]\n",
        """
        - {at: 2026-03-02 23:00, event: ping}
        - {after: 1h, event: closed}
        - {ends: exited}
        """,
    ),
    "consent that ends in the night counts in the morning": (
        NIGHT,
        ONCE,
        """
        - {at: 2026-03-02 23:00, event: ping}
        - {after: 1h, opts_out: email/offers}
        - {at: 2026-03-03 08:00, skips: email/a, reason: no_consent}
        - {ends: finished}
        """,
    ),
    "the same message held twice goes once": (
        NIGHT,
        ONCE,
        """
        - {at: 2026-03-02 23:00, event: ping}
        - {after: 1h, event: ping}
        - {at: 2026-03-03 08:00, sends: email/a}
        - {ends: finished}
        - {skips: email/a, reason: duplicate}
        - {ends: finished}
        """,
    ),
    "what is held about two orders goes for each": (
        NIGHT,
        "enter: {event: ping, key: entry.n, again: always}\nsteps: [{send: email/a}]\n",
        """
        - {at: 2026-03-02 23:00, event: ping, with: {n: 1}}
        - {after: 1h, event: ping, with: {n: 2}}
        - {at: 2026-03-03 08:00, sends: email/a}
        - {ends: finished}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "a held message takes its slot when it goes": (
        NIGHT + "caps: [{topic: offers, at_most: 1, per: calendar day}]\n",
        ONCE,
        """
        - {at: 2026-03-02 23:00, event: ping}
        - {at: 2026-03-03 08:00, sends: email/a}
        - {ends: finished}
        - {at: 2026-03-03 20:00, event: ping}
        - {skips: email/a, reason: capped}
        - {ends: finished}
        """,
    ),
    "an unknown zone has the brand's quiet hours, a known one its own": (
        NIGHT,
        ONCE,
        """
        - scenario: nowhere
          start: 2026-03-02 22:00
          customer: {id: amina, email: amina@shop.example, consent: [email/offers]}
          story:
            - {event: ping}
            - {at: 2026-03-03 08:00, sends: email/a}
            - {ends: finished}
        - scenario: berlin, where the clocks go forward in that night
          start: 2026-03-28 23:00 Europe/Berlin
          customer: {id: amina, email: amina@shop.example, consent: [email/offers], timezone: Europe/Berlin}
          story:
            - {event: ping}
            - {at: 2026-03-29 08:00, sends: email/a}
            - {ends: finished}
        """,
    ),
    "the fallback is capped by its own channel": (
        "caps: [{channel: sms, at_most: 0, per: 1d}, {channel: email, at_most: 1, per: 1d}]\n",
        "enter: {event: ping}\nsteps: [{send: sms/a, fallback: email/a}, {send: sms/a, fallback: email/b}]\n",
        """
        - {event: ping}
        - {sends: email/a}
        - {skips: sms/a, reason: capped}
        - {ends: finished}
        """,
    ),
    "the fallback is decided on arrival: who can't be reached any more when the hold is over gets neither": (
        NIGHT,
        "enter: {event: ping}\nsteps: [{send: sms/a, fallback: email/a}]\n",
        """
        - scenario: no more texts
          start: 2026-03-02 22:00
          customer: {id: amina, email: amina@shop.example, phone: "+254712345678", consent: [email/offers, sms/offers]}
          story:
            - {event: ping}
            - {after: 1h, opts_out: sms/offers}
            - {at: 2026-03-03 08:00, skips: sms/a, reason: no_consent}
            - {ends: finished}
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gate_does_what_its_story_tells(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    gate, journey, story = CASES[name]
    more = {"workflows/project.yaml": PROJECT + gate}
    passes(write(tmp_path, journey, story, more), registry, database)
