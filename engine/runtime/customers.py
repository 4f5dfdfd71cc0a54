"""What is done to one customer from outside: who they are is told, two become one, their profile is set.

Each is a transaction of its own, apart from the events that come with it: merging must be alone, and taking events in
must not wait for it. All of it may be told again, and changes nothing the second time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, literal, or_, select

from engine.cohort.program import Program
from engine.runtime import matching
from engine.runtime.identity import ANONYMOUS, EMAIL, PHONE, Who, known, nameless
from engine.runtime.ingest import ingest, lock_live
from engine.runtime.merging import lead, merge
from engine.runtime.profile import Profile, Writer
from engine.store.apart import apart
from engine.store.database import Database
from engine.store.failures import DatabaseBusy
from engine.store.merges import alone, facts_stay
from engine.store.tables import consent, customer, customer_tag
from engine.store.types import id_type

log = logging.getLogger("karibu.customers")

TRIES = 20
"""A merge gives way to whoever moves or mails one of the two, and tries again."""


@dataclass
class Told:
    """What came of it: the customer's external id; whether they are new, or two became one; who has work now."""

    customer: str
    created: bool = False
    merged: int = 0
    wakes: set[int] = field(default_factory=set)


def strangers(connection: Connection, whos: Sequence[Who]) -> list[Who]:
    """Those of `whos` whose names don't lead to one customer yet and should, each once. In few lookups, however many
    they are."""
    told = [who for who in dict.fromkeys(whos) if who.several]
    found = known(connection, {name for who in told for name in (*who.names, who.former or who.name)})
    told = [who for who in told if None in (rows := _rows(who, found)) or len(rows) > 1]
    people = _people(connection, {found[name] for who in told for name in who.names if name in found})

    def strange(who: Who) -> bool:
        if who.former in found and found[who.former] != found.get(who.name):
            return True
        names = _theirs(who, found, people)
        mine = _meant(who, names, found, people)
        for name in names if who.external_id is None else names[1:]:
            theirs = found.get(name)
            deed = None if theirs is not None and theirs == mine else _deed(who, name, people.get(theirs))
            if deed == "merge" and who.page and mine is not None and theirs is not None:
                deed = None if vouched(connection, theirs) else deed
            if deed is not None:
                return True
        return False

    return [who for who in told if strange(who)]


def _rows(who: Who, found: Mapping[str, int]) -> set[int | None]:
    """Whom all these names lead to; None among them: one leads to nobody."""
    former = {who.former} & found.keys() if who.former else set()
    return {found.get(name) for name in (*who.names, *former)}


@dataclass(frozen=True)
class _Person:
    """A customer as far as who is who goes by it."""

    external_id: str
    email_hash: str | None

    @property
    def nameless(self) -> bool:
        return nameless(self.external_id)


Persons = Mapping[int | None, _Person]


def _people(connection: Connection, ids: Iterable[int]) -> dict[int | None, _Person]:
    rows = select(customer.c.id, customer.c.external_id, customer.c.email_hash)
    wanted = sorted(set(ids))
    found = connection.execute(rows.where(customer.c.id.in_(wanted))).all() if wanted else []
    return {row_id: _Person(called, mail) for row_id, called, mail in found}


def _theirs(who: Who, found: Mapping[str, int], people: Persons) -> Sequence[str]:
    """The names that are taken to be one person's. People share phones: one that leads to somebody with another e-mail
    address doesn't count."""
    phone = PHONE + (who.phone_hash or "")
    if phone not in found:
        return who.names
    others = [name for name in who.names if name != phone]
    told = {who.email_hash} if who.email_hash else {people[found[name]].email_hash for name in others if name in found}
    mails, theirs = told - {None}, people[found[phone]].email_hash
    return others if mails and theirs and theirs not in mails else who.names


def _meant(who: Who, names: Sequence[str], found: Mapping[str, int], people: Persons) -> int | None:
    """Who they are: the customer of their id; without one the surest of those with ids that the names lead to, else
    who was seen first. None: nobody yet."""
    if who.external_id is not None:
        return found.get(who.name)
    rows = [found[name] for name in names if name in found]
    return next((row for row in rows if not people[row].nameless), min(rows, default=None))


def _deed(who: Who, name: str, person: _Person | None) -> Literal["lead", "merge"] | None:
    """What makes this name theirs, that leads to nobody or to somebody else."""
    device = name.startswith(ANONYMOUS)
    if person is None:  # an address beside an id is found in the profile
        return "lead" if device or who.external_id is None else None
    if person.external_id.startswith((ANONYMOUS,) if who.page else (ANONYMOUS, EMAIL, PHONE)):
        return "merge"
    return "lead" if device and who.external_id is not None else None


def vouched(connection: Connection, row_id: int) -> bool:
    """Whether something is known of a customer without an id that only the shop can have told: a yes to a topic, a tag.
    A page may not give that to somebody else."""
    yes = select(consent.c.customer_id).where(consent.c.customer_id == row_id, consent.c.state == "on")
    tags = select(customer_tag.c.customer_id).where(customer_tag.c.customer_id == row_id)
    nobody = select(customer.c.id).where(customer.c.id == row_id, customer.c.external_id.startswith(ANONYMOUS))
    return connection.execute(nobody.where(or_(yes.exists(), tags.exists()))).first() is not None


@dataclass(frozen=True)
class People:
    """The customers of one engine. `worth`: each event's value property."""

    database: Database
    programs: Sequence[Program]
    worth: Mapping[str, str]
    now: datetime

    def introduce(self, who: Who) -> Told:
        """Somebody is known by all these names from now on: what the anonymous id or the address did is theirs.

        Only customers without an id of the shop's are merged, but for one who has the `former` id. Beside an id, an
        anonymous id that belongs to another customer of the shop (they share a device) leads here from now on; an
        address of theirs stays theirs.

        A page, that is anybody, merges only who has no name but an anonymous id, by that id. Somebody known gets of
        them what they did, and facts that nobody has told; nobody `vouched` for is merged into somebody known."""

        def write(connection: Connection) -> Told:
            told = Told(who.name)
            if who.former and (before := known(connection, [who.former]).get(who.former)):
                told = self._known(connection, who.name)
                self._one(connection, known(connection, [who.name])[who.name], before, told)
            found = known(connection, who.names)
            people = _people(connection, found.values())
            names = _theirs(who, found, people)
            mine = _meant(who, names, found, people)
            if mine is None:
                told = self._known(connection, who.name)
                mine = known(connection, [who.name])[who.name]
            for name in names:
                theirs = known(connection, [name]).get(name)
                if theirs == mine:
                    continue
                deed = _deed(who, name, people.get(theirs))
                stranger = who.page and not told.created
                if deed == "lead":
                    lead(connection, name, mine, self.now)
                elif deed == "merge" and theirs is not None and not (stranger and vouched(connection, theirs)):
                    self._merge(connection, mine, theirs, told, page=stranger)
            told.customer = _external_id(connection, mine)
            return told

        return self._alone(write)

    def merge(self, loser: str, winner: str) -> Told:
        """`loser` turns out to be `winner`. One that nobody has heard of becomes another name of the winner; a customer
        with an id of the shop's stays when the other has none."""

        def write(connection: Connection) -> Told:
            told = self._known(connection, winner)
            found = known(connection, [winner, loser])
            mine, theirs = found[winner], found.get(loser)
            if theirs is None:
                lead(connection, loser, mine, self.now)
            else:
                mine = self._one(connection, mine, theirs, told)
            told.customer = _external_id(connection, mine)
            return told

        with self.database.read() as connection:
            found = known(connection, [winner, loser])
            if winner in found and found[winner] == found.get(loser):  # the usual repetition disturbs nobody
                return Told(_external_id(connection, found[winner]))
        return self._alone(write)

    def describe(self, name: str, profile: Profile) -> Told:
        """Set a customer's profile. Exits are judged at once, segments and doors at the next tick."""

        def write(connection: Connection) -> Told:
            facts_stay(connection)
            told = self._known(connection, name, profile.created_at)
            row_id = known(connection, [name])[name]
            told.customer = _external_id(connection, row_id)
            inside = lock_live(connection, [row_id])
            writer = Writer(connection, self.now)
            writer.apply(row_id, profile)
            writer.flush()
            people = select(literal(row_id, id_type()).label("customer_id")).subquery("people")
            for program in self.programs:
                if program.version_id not in inside or not program.exits_when:
                    continue
                with apart(connection) as tried:
                    matching.exit_when(connection, program, people, self.now)
                if tried.error is not None:  # they are touched: the next tick looks again
                    fault = type(tried.error).__name__
                    log.error("journey %s could not judge its exits: %s", program.name, fault)
            return told

        return self.database.written(write)

    def _known(self, connection: Connection, name: str, created: datetime | None = None) -> Told:
        """The customer of this name, made where nobody has heard of them."""
        fresh = name not in known(connection, [name])
        if fresh:
            Writer(connection, self.now).customers([name], {} if created is None else {name: created})
        return Told(name, created=fresh)

    def _one(self, connection: Connection, mine: int, theirs: int, told: Told) -> int:
        """Whoever of the two stays, when they are one: `mine`, if not only the other has an id of the shop's."""
        if theirs == mine:
            return mine
        if nameless(_external_id(connection, mine)) and not nameless(_external_id(connection, theirs)):
            mine, theirs = theirs, mine
        self._merge(connection, mine, theirs, told)
        return mine

    def _merge(self, connection: Connection, winner: int, loser: int, told: Told, *, page: bool = False) -> None:
        event, wakes = merge(connection, self.programs, winner, loser, self.now, page=page)
        receipt = ingest(connection, self.programs, self.worth, [event], self.now)
        told.merged += 1
        told.wakes |= wakes | receipt.wakes

    def _alone(self, write: Callable[[Connection], Told]) -> Told:
        def locked(connection: Connection) -> Told:
            alone(connection)
            return write(connection)

        for attempt in range(TRIES):
            try:
                return self.database.written(locked)
            except DatabaseBusy:
                if attempt == TRIES - 1 or self.database.dialect == "sqlite":
                    raise
        raise AssertionError("unreachable")


def _external_id(connection: Connection, row_id: int) -> str:
    found = connection.execute(select(customer.c.external_id).where(customer.c.id == row_id)).scalar_one()
    return str(found)
