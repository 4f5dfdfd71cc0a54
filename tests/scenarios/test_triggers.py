"""Every trigger, and who may enter, enter again or not, in small stories on both databases."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from textwrap import dedent

import pytest

from engine.language.registry import Registry
from engine.segments.membership import BEAT
from engine.store.database import Database
from tests.scenarios.shop import passes, write

ONE = "{id: amina, email: amina@shop.example, consent: [email/offers]}"
SEGMENTS = """\
lapsed: elapsed("purchase") > 90d
regulars: times("purchase", within=30d) >= 2
grown-up: age(customer.birthday) >= 18
slow: elapsed("purchase") > 2.5 * usual_gap("purchase")
trial-over: customer.trial < now - 7d
both: in_segment("lapsed") and customer.vip
"""


def _story(name: str, story: str, customer: str = ONE, start: str = "2026-03-02 09:00", before: str = "") -> str:
    lines = [f"- scenario: {name}", f"  start: {start}", f"  customer: {customer}"]
    lines += [f"  before: {before}"] * bool(before) + [f"  story: {story}"]
    return "\n".join(lines) + "\n"


def _enter(rule: str, steps: str = "[{send: email/a}]", rest: str = "") -> str:
    return f"enter: {rule}\n{rest}steps: {steps}\n"


STARTS, LAPSES = datetime(2026, 3, 2, 9, 0), datetime(2026, 3, 24, 12, 30)


def _look(moment: datetime) -> datetime:
    """The first look at everybody after a moment: the first one was at the start."""
    return STARTS + ((moment - STARTS) // BEAT + 1) * BEAT


SENT = "{sends: email/a}, {ends: finished}"
WAIT = "[{wait: 2d}, {exit: done}]"

# name: (journey, scenarios)
CASES: dict[str, tuple[str, str]] = {
    "an event whose where is true, applied to the counts first": (
        _enter('{event: purchase, where: event.total > 10 and times("purchase") == 2, again: always}'),
        _story(
            "the second large one",
            "[{event: purchase, with: {total: 20}}, {after: 1h, event: purchase, with: {total: 20}}, "
            f"{SENT}, {{after: 1h, event: purchase, with: {{total: 20}}}}]",
        )
        + _story("too small", "[{event: purchase, with: {total: 20}}, {event: purchase, with: {total: 10}}]"),
    ),
    "only the audience enters": (
        _enter("{event: signed_up, audience: customer.vip}"),
        _story("vip", f"[{{event: signed_up}}, {SENT}]", ONE.replace("consent", "vip: yes, consent"))
        + _story("not vip", "[{event: signed_up}]"),
    ),
    "grace: the audience may come true for a while": (
        _enter("{event: signed_up, audience: customer.vip, grace: 30m}"),
        _story("in time", f"[{{event: signed_up}}, {{after: 29m, updates: {{vip: yes}}}}, {SENT}]")
        + _story("too late", "[{event: signed_up}, {after: 31m, updates: {vip: yes}}]"),
    ),
    "grace: time may make the audience true": (
        _enter("{event: signed_up, audience: customer.created < now - 10m, grace: 30m}"),
        _story("ten minutes old", "[{event: signed_up}, {after: 10m, sends: email/a}, {ends: finished}]"),
    ),
    "a key makes two entries different, and a missing one none": (
        _enter("{event: cart, key: entry.cart_id, again: after exit}", WAIT),
        _story(
            "two carts",
            "[{event: cart, with: {cart_id: A}}, {after: 1d, event: cart, with: {cart_id: B}}, "
            "{after: 1h, event: cart, with: {cart_id: A}}, {after: 1h, event: cart, with: {total: 5}}, "
            "{after: 22h, ends: done}, {after: 1d, ends: done}]",
        ),
    ),
    "again never": (
        _enter("{event: signed_up}", WAIT),
        _story("once", "[{event: signed_up}, {after: 2d, ends: done}, {after: 1d, event: signed_up}]"),
    ),
    "again after exit": (
        _enter("{event: signed_up, again: after exit}", WAIT),
        _story(
            "twice",
            "[{event: signed_up}, {after: 1d, event: signed_up}, {after: 1d, ends: done}, {event: signed_up}, "
            "{after: 2d, ends: done}]",
        ),
    ),
    "again after some time since the last entry": (
        _enter("{event: signed_up, again: after 5d}", WAIT),
        _story(
            "five days",
            "[{event: signed_up}, {after: 2d, ends: done}, {after: 1d, event: signed_up}, "
            "{after: 2d, event: signed_up}, {after: 2d, ends: done}]",
        ),
    ),
    "again always: side by side": (
        _enter("{event: signed_up, again: always}", WAIT),
        _story(
            "two at once",
            "[{event: signed_up}, {after: 1d, event: signed_up}, {after: 1d, ends: done}, {after: 1d, ends: done}]",
        ),
    ),
    "again restart: anew": (
        _enter("{event: signed_up, again: restart}", WAIT),
        _story(
            "restarted",
            "[{event: signed_up}, {after: 1d, event: signed_up}, {ends: restarted}, {after: 2d, ends: done}]",
        ),
    ),
    "a limit skips who is too many": (
        _enter("{event: signed_up, again: always, limit: {at_most: 1, per: day, over: skip}}", "[{send: email/a}]"),
        _story(
            "one a day",
            f"[{{event: signed_up}}, {SENT}, {{after: 1h, event: signed_up}}, "
            f"{{after: 23h, event: signed_up}}, {SENT}]",
        ),
    ),
    "a limit lets who is too many wait for room": (
        _enter("{event: signed_up, again: always, limit: {at_most: 1, per: day, over: wait}}", "[{send: email/a}]"),
        _story(
            "tomorrow",
            f"[{{event: signed_up}}, {SENT}, {{after: 1h, event: signed_up}}, "
            "{at: 2026-03-03 00:00, sends: email/a}, {ends: finished}]",
        ),
    ),
    "joining a segment, to the minute": (
        _enter("{segment: lapsed, again: after 1d}"),
        _story(
            "ninety days on",
            "[{at: 2026-03-05 14:20, sends: email/a}, {ends: finished}]",
            before="[{at: 2025-12-05 14:20, event: purchase, with: {total: 5}}]",
        )
        + _story(
            "and again, after the next purchase",
            "[{event: purchase, with: {total: 5}}, {after: 90d, sends: email/a}, {ends: finished}, "
            "{after: 1d, event: purchase, with: {total: 5}}, {after: 90d, sends: email/a}, {ends: finished}]",
        )
        + _story(
            "who is in it at the start doesn't enter",
            "[{at: 2026-06-01 09:00, event: ping}]",
            before="[{at: 2025-10-05 14:20, event: purchase, with: {total: 5}}]",
        ),
    ),
    "members now: who is in it at the start enters": (
        _enter("{segment: lapsed, members: now}"),
        _story(
            "already in",
            f"[{SENT}]",
            before="[{at: 2025-10-05 14:20, event: purchase, with: {total: 5}}]",
        ),
    ),
    "joining by what one does": (
        _enter("{segment: regulars}"),
        _story(
            "the second within thirty days",
            "[{event: purchase, with: {total: 5}}, {after: 31d, event: purchase, with: {total: 5}}, "
            f"{{after: 29d, event: purchase, with: {{total: 5}}}}, {SENT}]",
        ),
    ),
    "joining by growing older, on one's own calendar": (
        _enter("{segment: grown-up}"),
        _story(
            "eighteen in Manila",
            "[{at: 2026-05-10 00:00, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "birthday: 2008-05-10, timezone: Asia/Manila, consent"),
        ),
    ),
    "joining at a stored moment": (
        _enter("{segment: trial-over}"),
        _story(
            "a week after",
            "[{at: 2026-03-08 12:30, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "trial: 2026-03-01T12:30:00+03:00, consent"),
        ),
    ),
    "joining by one's own rhythm, on the slower look at everybody": (
        _enter("{segment: slow}"),
        _story(
            "after 25 days of a rhythm of ten",
            f"[{{at: 2026-03-17 12:20, event: ping}}, {{at: {_look(LAPSES):%Y-%m-%d %H:%M}, sends: email/a}}, "
            "{ends: finished}]",
            before="[{at: 2026-01-28 12:30, event: purchase, with: {total: 5}}, "
            "{at: 2026-02-07 12:30, event: purchase, with: {total: 5}}, "
            "{at: 2026-02-17 12:30, event: purchase, with: {total: 5}}, "
            "{at: 2026-02-27 12:30, event: purchase, with: {total: 5}}]",
        ),
    ),
    "joining a segment of a segment": (
        _enter("{segment: both}"),
        _story(
            "when the inner one is joined",
            "[{at: 2026-03-05 14:20, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "vip: yes, consent"),
            before="[{at: 2025-12-05 14:20, event: purchase, with: {total: 5}}]",
        )
        + _story(
            "when the rest comes true",
            f"[{{at: 2026-03-07 10:00, updates: {{vip: yes}}}}, {SENT}]",
            before="[{at: 2025-12-05 14:20, event: purchase, with: {total: 5}}]",
        ),
    ),
    "a birthday, in the customer's own time zone, each year": (
        _enter('{date: customer.birthday, at: "09:00", again: after exit}'),
        _story(
            "two of them",
            "[{at: 2026-05-10 09:00, sends: email/a}, {ends: finished}, {at: 2027-05-10 09:00, sends: email/a}, "
            "{ends: finished}]",
            ONE.replace("consent", "birthday: 05-10, timezone: Asia/Manila, consent"),
        )
        + _story("none", "[{at: 2027-12-31 09:00, event: ping}]"),
    ),
    "a yearly date of which nothing more is said comes each year": (
        _enter("{date: customer.birthday}"),
        _story(
            "two of them",
            "[{at: 2026-05-10 09:00, sends: email/a}, {ends: finished}, {at: 2027-05-10 09:00, sends: email/a}, "
            "{ends: finished}]",
            ONE.replace("consent", "birthday: 05-10, consent"),
        ),
    ),
    "29 February": (
        _enter("{date: customer.birthday, leap_day: mar1}"),
        _story(
            "on the first of March",
            "[{at: 2027-03-01 09:00, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "birthday: 2000-02-29, consent"),
            start="2026-04-02 09:00",
        ),
    ),
    "a date that comes once, moved, and one that arrives late": (
        _enter("{date: customer.renewal, offset: -7d, at: '10:00', repeat: once, late: 3d, again: always}"),
        _story(
            "once a value",
            "[{at: 2026-03-13 10:00, sends: email/a}, {ends: finished}, "
            "{at: 2026-03-15 12:00, updates: {renewal: 2026-03-24}}, {at: 2026-03-17 10:00, sends: email/a}, {ends: finished}, {at: 2027-03-17 12:00, event: ping}]",
            ONE.replace("consent", "renewal: 2026-03-20, consent"),
        )
        + _story(
            "two days late",
            f"[{{at: 2026-03-15 12:00, updates: {{renewal: 2026-03-20}}}}, {SENT}]",
        )
        + _story(
            "too late",
            "[{at: 2026-03-17 12:00, updates: {renewal: 2026-03-20}}]",
        ),
    ),
    "a schedule of the brand's": (
        _enter('{schedule: "0 9 * * mon", audience: customer.vip, again: after 6d}'),
        _story(
            "mondays",
            "[{at: 2026-03-09 14:00, sends: email/a}, {ends: finished}, {at: 2026-03-16 14:00, sends: email/a}, "
            "{ends: finished}]",
            ONE.replace("consent", "vip: yes, timezone: Asia/Manila, consent"),
            start="2026-03-03 09:00",
        )
        + _story("not the audience", "[{at: 2026-03-20 09:00, event: ping}]"),
    ),
    "a schedule of the customer's, on the nights the clock changes": (
        _enter('{schedule: "30 2 * * *", zone: customer, again: always}', "[{send: email/a}]"),
        _story(
            "skipped",
            "[{at: 2026-03-28 02:30, sends: email/a}, {ends: finished}, {at: 2026-03-29 03:00, sends: email/a}, "
            "{ends: finished}, {at: 2026-03-30 02:30, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "timezone: Europe/Berlin, consent"),
            start="2026-03-28 00:00 Europe/Berlin",
        )
        + _story(
            "doubled",
            "[{at: 2026-10-24 02:30, sends: email/a}, {ends: finished}, {at: 2026-10-25 02:30, sends: email/a}, "
            "{ends: finished}, {at: 2026-10-26 02:30, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "timezone: Europe/Berlin, consent"),
            start="2026-10-24 00:00 Europe/Berlin",
        ),
    ),
    "one moment for all": (
        _enter("{at: 2026-12-24 09:00, zone: customer}"),
        _story(
            "in Manila",
            "[{at: 2026-12-24 09:00, sends: email/a}, {ends: finished}]",
            ONE.replace("consent", "timezone: Asia/Manila, consent"),
        ),
    ),
    "by hand, at the start": (
        _enter("{manual: true}", "[{wait: 1d}, {send: email/a}]"),
        _story("entered", "[{at: 2026-03-03 09:00, sends: email/a}, {ends: finished}]"),
    ),
    "an exit event ends a wait, and wins over it": (
        _enter(
            "{event: signed_up}",
            "[{wait_for: {event: purchase, within: 5d}, then: [{exit: bought}], else: [{exit: silent}]}]",
            "exit: [{event: purchase, where: event.total > 50}, {event: closed}]\n",
        ),
        _story("exits", "[{event: signed_up}, {after: 1h, event: purchase, with: {total: 60}}, {ends: exited}]")
        + _story("waited for", "[{event: signed_up}, {after: 1h, event: purchase, with: {total: 50}}, {ends: bought}]"),
    ),
    "exit when: as soon as the profile says so": (
        _enter("{event: signed_up}", WAIT, "exit: [{when: customer.vip}, {when: 'times(\"purchase\") > 1'}]\n"),
        _story("vip", "[{event: signed_up}, {after: 1h, updates: {vip: yes}}, {ends: exited}]")
        + _story(
            "two purchases",
            "[{event: signed_up}, {after: 1h, event: purchase, with: {total: 1}}, "
            "{after: 1h, event: purchase, with: {total: 1}}, {ends: exited}]",
        ),
    ),
    "a goal measures, once, also after the end, within its time": (
        _enter(
            "{event: signed_up}",
            "[{send: email/a}]",
            "goal: {event: purchase, within: 7d, where: event.total >= 10, value: event.total}\n",
        ),
        _story(
            "the first that counts",
            f"[{{event: signed_up}}, {SENT}, {{after: 1d, event: purchase, with: {{total: 5}}}}, "
            "{after: 1d, event: purchase, with: {total: 12.50}}, {reaches: goal, value: 12.5}, "
            "{after: 1d, event: purchase, with: {total: 50}}]",
        )
        + _story("too late", f"[{{event: signed_up}}, {SENT}, {{after: 8d, event: purchase, with: {{total: 50}}}}]"),
    ),
    "an entry that is restarted hands its goal over to the new one": (
        _enter(
            "{event: cart, key: entry.cart_id, again: restart}",
            "[{wait: 2d}, {exit: late}]",
            "goal: {event: purchase, within: 7d, value: event.total}\n",
        ),
        _story(
            "three changes and a purchase",
            "[{event: cart, with: {cart_id: A}}, {after: 1h, event: cart, with: {cart_id: A}}, {ends: restarted}, "
            "{after: 1h, event: cart, with: {cart_id: A}}, {ends: restarted}, "
            "{after: 1h, event: purchase, with: {total: 80}}, {reaches: goal, value: 80}, "
            "{at: 2026-03-04 11:00, ends: late}, {after: 1d, event: purchase, with: {total: 30}}]",
        )
        + _story(
            "another cart's goal is its own",
            "[{event: cart, with: {cart_id: A}}, {after: 1h, event: cart, with: {cart_id: B}}, "
            "{after: 1h, event: cart, with: {cart_id: B}}, {ends: restarted}, "
            "{after: 1h, event: purchase, with: {total: 80}}, {reaches: goal, value: 80}, {reaches: goal, value: 80}, "
            "{at: 2026-03-04 09:00, ends: late}, {after: 2h, ends: late}]",
        )
        + _story(
            "a purchase before the restart was the old one's",
            "[{event: cart, with: {cart_id: A}}, {after: 1h, event: purchase, with: {total: 80}}, "
            "{reaches: goal, value: 80}, {after: 1h, event: cart, with: {cart_id: A}}, {ends: restarted}, "
            "{after: 1h, event: purchase, with: {total: 30}}, {reaches: goal, value: 30}, "
            "{at: 2026-03-04 11:00, ends: late}]",
        ),
    ),
    "a goal may end the journey": (
        _enter("{event: signed_up}", WAIT, "goal: {event: purchase, within: 7d, on_reach: exit}\n"),
        _story(
            "ended",
            "[{event: signed_up}, {after: 1h, event: purchase, with: {total: 5}}, {reaches: goal}, {ends: goal}]",
        ),
    ),
    "a goal may lead to a step": (
        _enter(
            "{event: signed_up}",
            "[{wait: 2d}, {exit: late}, {send: email/b, id: thanks}]",
            "goal: {event: purchase, within: 7d, jump: thanks}\n",
        ),
        _story(
            "thanked",
            "[{event: signed_up}, {after: 1h, event: purchase, with: {total: 5}}, {reaches: goal}, {sends: email/b}, "
            "{ends: finished}]",
        ),
    ),
    "the held-out take no step, and reach goals": (
        _enter("{event: signed_up}", "[{send: email/a}]", "holdout: 10%\ngoal: {event: purchase, within: 7d}\n"),
        _story("not held out", f"[{{event: signed_up}}, {SENT}]")
        + _story(
            "held out",
            "[{event: signed_up}, {ends: held_out}, {after: 1d, event: purchase, with: {total: 5}}, {reaches: goal}]",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_who_enters_is_told(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    journey, scenarios = CASES[name]
    passes(write(tmp_path, journey, scenarios, {"workflows/segments.yaml": SEGMENTS}), registry, database)


def test_another_journey_is_started_and_stopped(tmp_path: Path, registry: Registry, database: Database) -> None:
    journey = """
    enter: {event: signed_up}
    steps:
      - start: other
      - wait: 1h
      - branch:
          - if: in_journey("other")
            then: [{send: email/a}]
      - stop: other
      - wait: 1h
      - branch:
          - if: not in_journey("other")
            then: [{exit: stopped}]
    """
    story = """
    - {event: signed_up}
    - {after: 1h, sends: email/a}
    - {after: 1h, ends: stopped}
    """
    other = """
    journey: other
    topic: offers
    enter: {manual: true}
    steps: [{wait: 30d}, {send: email/b}]
    """

    passes(write(tmp_path, journey, story, {"workflows/other.yaml": dedent(other)}), registry, database)
