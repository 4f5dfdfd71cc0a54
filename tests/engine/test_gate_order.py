"""Of several reasons at once the one that comes first in the gate's order is recorded, on arrival and when a message goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from engine.runtime.advance import StepReport, move_step
from engine.runtime.delivery import Delivery
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.tables import cap_slot, consent, coupon, customer, hush, message, suppression
from tests.engine.shop import Shop
from tests.rewards.giving import REWARDS, giving

ORDER = (
    "left_journey",
    "hushed",
    "no_consent",
    "no_address",
    "bad_address",
    "suppressed",
    "when",
    "capped",
    "quiet_hours",
    "no_coupon",
)
"""The contract's, without what can't be at once with another: the language's, shared with docs/language.md."""

STEPS = "  - coupon: back\n  - send: email/code\n    id: tells\n    when: customer.tier != 'none'\n"
CAP = "topic offers per 1w"
LATER = timedelta(days=7)
MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""When the quiet hours of a customer in London end."""


def pair(name: str) -> tuple[str, ...]:
    return tuple(name.split("-"))


def names(reasons: tuple[str, ...]) -> list[str]:
    """A customer for each pair of these reasons, and for each alone."""
    return [*("-".join(two) for two in combinations(reasons, 2)), *reasons]


def first(name: str) -> str:
    return min(pair(name), key=ORDER.index)


def afflict(connection: Connection, who: int, reason: str, now: datetime) -> None:
    """Make this reason not to send true of a customer of whom none was."""
    them = customer.c.id == who
    match reason:
        case "hushed":
            connection.execute(insert(hush).values(customer_id=who, topic="offers", until=now + LATER))
        case "no_consent":
            connection.execute(update(consent).where(consent.c.customer_id == who).values(state="off"))
        case "no_address":
            connection.execute(update(customer).where(them).values(email=None))
        case "bad_address":
            connection.execute(update(customer).where(them).values(email_hash=None))
        case "suppressed":
            hashed = connection.scalar(select(customer.c.email_hash).where(them)) or f"none of {who}"
            connection.execute(update(customer).where(them).values(email_hash=hashed))
            row = {"channel": "email", "address_hash": hashed, "reason": "complaint", "at": now}
            connection.execute(insert(suppression).values(row))
        case "when":
            connection.execute(update(customer).where(them).values(attributes={"tier": "none"}))
        case "capped":
            connection.execute(delete(cap_slot).where(cap_slot.c.customer_id == who))
            another = {"enrolment_id": 999_999, "visit": 1, "taken_at": now, "until": now + LATER}
            connection.execute(insert(cap_slot).values(customer_id=who, cap=CAP, n=0, **another))
        case "quiet_hours":
            ensure_zones(connection, ["Europe/London"])
            connection.execute(update(customer).where(them).values(timezone="Europe/London"))
        case "no_coupon":
            connection.execute(update(coupon).where(coupon.c.customer_id == who).values(expires_at=now))


def afflicted(shop: Shop, people: list[str]) -> None:
    for name in people:
        reasons = sorted(pair(name), key=ORDER.index, reverse=True)  # `bad_address` after `suppressed`, which needs it
        if "left_journey" in reasons:
            shop.happens(name, "closed")
            reasons.remove("left_journey")
        with shop.runtime.database.write() as connection:
            who = connection.execute(select(customer.c.id).where(customer.c.external_id == name)).scalar_one()
            for reason in reasons:
                afflict(connection, who, reason, shop.clock.now())


def at_the_step(tmp_path: Path, database: Database, people: list[str], gate: str) -> tuple[Shop, Callable[[], object]]:
    """These people have come to the step that sends, with their codes; and what moves them onto it."""
    shop = giving(tmp_path, database, STEPS, files=gated(gate))
    for name in people:
        shop.happens(name, "purchase")
    (program,) = shop.runtime.programs().values()
    shop.runtime.move(program.version_id, "coupon_1", "p")
    return shop, lambda: move_step(database, program, "tells", shop.clock.now(), "q")


def gated(gate: str) -> dict[str, str]:
    return {"workflows/project.yaml": REWARDS + gate}


def caps(what: str = "skip") -> str:
    return f"caps: [{{topic: offers, at_most: 1, per: 7d, when_capped: {what}}}]\n"


def night(what: str = "defer") -> str:
    return f'quiet_hours: {{from: "21:00", to: "08:00", spread: 1m, on_violation: {what}}}\n'


def sending(shop: Shop) -> Delivery:
    (program,) = shop.runtime.programs().values()
    return Delivery(shop.runtime.database, program, "tells", shop.clock, shop.runtime.post, "r", StepReport("tells"))


def recorded(shop: Shop) -> dict[str, str]:
    """The reason of each customer's message."""
    rows = "SELECT c.external_id, m.reason FROM message m JOIN customer c ON c.id = m.customer_id"
    return dict(shop.rows(rows))


def decided(shop: Shop) -> dict[str, str]:
    """The reason of each customer's decision at the step."""
    rows = shop.rows(
        "SELECT c.external_id, d.reason FROM decision d JOIN enrolment e ON e.id = d.enrolment_id "
        "JOIN customer c ON c.id = e.customer_id WHERE d.step = 'tells'"
    )
    return dict(rows)


MODES = [("skip", "skip"), ("skip", "defer"), ("defer 1h", "defer"), ("exit", "skip")]


@pytest.mark.parametrize(("capped", "quiet"), MODES)
def test_on_arrival_the_first_reason_in_the_order_is_recorded(
    database: Database, tmp_path: Path, capped: str, quiet: str
) -> None:
    people = names(tuple(reason for reason in ORDER if reason not in ("left_journey", "no_coupon")))
    shop, move = at_the_step(tmp_path, database, people, caps(capped) + night(quiet))
    afflicted(shop, people)
    move()
    assert decided(shop) == {name: first(name) for name in people}


@pytest.mark.parametrize(("capped", "quiet"), MODES)
def test_when_a_message_goes_the_first_reason_in_the_order_is_recorded(
    database: Database, tmp_path: Path, capped: str, quiet: str
) -> None:
    people = names(ORDER)
    shop, move = at_the_step(tmp_path, database, people, caps(capped) + night(quiet))
    move()
    afflicted(shop, people)
    going, _ = sending(shop).claim()
    assert going == []
    assert recorded(shop) == {name: first(name) for name in people}
    assert shop.rows("SELECT 1 FROM cap_slot WHERE until > 0 AND enrolment_id <> 999999") == []


@pytest.mark.parametrize("quiet", ["skip", "defer"])
def test_what_comes_while_messages_are_rendered_is_recorded_in_the_same_order(
    database: Database, tmp_path: Path, quiet: str
) -> None:
    people = names(tuple(reason for reason in ORDER if reason != "capped"))  # it has its slot by then
    shop, move = at_the_step(tmp_path, database, people, caps() + night(quiet))
    move()
    delivery = sending(shop)
    going, _ = delivery.claim()
    assert len(going) == len(people)
    afflicted(shop, people)
    delivery.dispatch(going)
    assert shop.sink.sent == []
    assert recorded(shop) == {name: first(name) for name in people}
    assert shop.rows("SELECT 1 FROM cap_slot WHERE until > 0") == []


@pytest.mark.parametrize("arrives", [True, False], ids=["on arrival", "when it goes"])
@pytest.mark.parametrize(
    ("capped", "quiet", "due"),
    [
        ("defer 1h", "defer", "when it is quiet no more"),
        ("defer 24h", "defer", "when the cap says"),
        ("defer 1h", "skip", "when the cap says"),
    ],
)
def test_what_a_cap_and_quiet_hours_keep_back_is_due_when_both_let_it_go(
    database: Database, tmp_path: Path, arrives: bool, capped: str, quiet: str, due: str
) -> None:
    shop, move = at_the_step(tmp_path, database, ["capped-quiet_hours"], caps(capped) + night(quiet))
    if not arrives:
        move()
    afflicted(shop, ["capped-quiet_hours"])
    if arrives:
        move()
    else:
        sending(shop).claim()
    (row,) = shop.rows("SELECT state, reason, due_at FROM message")
    assert tuple(row)[:2] == ("queued", "capped")
    with database.read() as connection:
        then = connection.scalar(select(message.c.due_at))
    assert then is not None
    if due == "when the cap says":
        assert then == shop.clock.now() + timedelta(hours=24 if "24" in capped else 1)
    else:
        assert MORNING <= then < MORNING + timedelta(minutes=1)


def test_a_message_without_a_good_code_takes_no_slot_from_one_that_can_go(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, STEPS, files=gated(caps() + night()))
    shop.clock.advance_to(datetime(2026, 3, 2, 20, 0, tzinfo=UTC))
    for _ in range(2):
        shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows("SELECT state, reason FROM message") == [("queued", "quiet_hours")] * 2
    with database.write() as connection:  # the first one's code
        oldest = select(coupon.c.id).order_by(coupon.c.id).limit(1).scalar_subquery()
        connection.execute(update(coupon).where(coupon.c.id == oldest).values(expires_at=shop.clock.now()))
    shop.clock.advance_to(datetime(2026, 3, 3, 5, 1, tzinfo=UTC))
    shop.settle()
    rows = "SELECT state, reason FROM message ORDER BY enrolment_id"
    assert shop.rows(rows) == [("stopped", "no_coupon"), ("accepted", None)]
    assert shop.rows("SELECT enrolment_id FROM cap_slot WHERE until > 0") == [(2,)]


def test_at_night_a_message_looks_for_room_and_takes_none_from_another_journey(
    database: Database, tmp_path: Path
) -> None:
    """Its own slot comes back, too, for whoever may go now."""
    shop, move = at_the_step(tmp_path, database, ["quiet_hours"], caps() + night())
    move()
    assert len(shop.rows("SELECT 1 FROM cap_slot WHERE until > 0")) == 1
    afflicted(shop, ["quiet_hours"])
    for _ in range(2):
        sending(shop).claim()
        assert shop.rows("SELECT state, reason FROM message") == [("queued", "quiet_hours")]
        assert shop.rows("SELECT 1 FROM cap_slot WHERE until > 0") == []
