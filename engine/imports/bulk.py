"""Many customers in few statements: one upsert of their columns, one each of consents, tags and who was touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select

from engine.cohort import facts
from engine.cohort.arms import bucket_of
from engine.cohort.profile import patched
from engine.imports.rows import Person
from engine.runtime.identity import known
from engine.runtime.profile import COLUMNS, Consented, Profile, Writer
from engine.store.local_time import ensure_zones
from engine.store.merges import facts_stay
from engine.store.scratch import insert_into
from engine.store.tables import customer

YEAR = "birth_year"


def write(connection: Connection, people: Sequence[Person], now: datetime, said_at: datetime) -> int:
    """Write these customers in the caller's transaction; how many of them are new.

    What a row doesn't say stays as it was. `said_at`: when consents were given that name no time of their own; an older
    word never undoes a newer one, so a file that is imported again brings nobody back who has opted out since."""
    facts_stay(connection)
    people = _as_known(connection, people)
    rows = [_row(person, now) for person in sorted(people, key=lambda person: person.external_id)]
    before = connection.scalar(_count())
    connection.execute(_upsert(connection), rows)
    ensure_zones(connection, {row["timezone"] for row in rows})
    writer = Writer(connection, now)
    ids = writer.customers(person.external_id for person in people)
    for person in people:
        consents = tuple(
            replace(said, state=_state(said), at=said.at or person.said_at or said_at, source="import")
            for said in person.profile.consents
        )
        writer.apply(ids[person.external_id], Profile(consents=consents, tags=person.profile.tags))
    writer.flush()
    return (connection.scalar(_count()) or 0) - (before or 0)


def _state(said: Consented) -> str:
    """A list that is imported was agreed to elsewhere: nobody on it is asked to confirm it once more."""
    return "on" if said.state == "pending" else said.state


def _as_known(connection: Connection, people: Sequence[Person]) -> list[Person]:
    """These people under the ids they have now: one that was merged away means the other."""
    found = known(connection, (person.external_id for person in people))
    rows = select(customer.c.id, customer.c.external_id).where(customer.c.id.in_(sorted(set(found.values()))))
    names = dict(connection.execute(rows).all())
    return [
        replace(person, external_id=names[found[person.external_id]]) if person.external_id in found else person
        for person in people
    ]


def _count() -> Any:
    return select(func.count()).select_from(customer)


def _row(person: Person, now: datetime) -> dict[str, Any]:
    profile = person.profile
    return {
        **dict.fromkeys(COLUMNS),
        **profile.columns,
        "external_id": person.external_id,
        "attributes": {name: value for name, value in profile.attributes.items() if value is not None},
        "bucket": bucket_of(person.external_id),
        "created_at": profile.created_at or now,
        "updated_at": now,
        "said_at": facts.said(
            [
                *(name for name, value in profile.columns.items() if value is not None),
                *([] if profile.created_at is None else [facts.CREATED]),
            ],
            [name for name, value in profile.attributes.items() if value is not None],
            now,
        ),
    }


def _upsert(connection: Connection) -> Any:
    add = insert_into(connection, customer)
    new = add.excluded
    values: dict[str, Any] = {name: func.coalesce(new[name], customer.c[name]) for name in sorted(COLUMNS - {YEAR})}
    # A birthday is one value in three columns: its year may be unknown.
    values[YEAR] = case((new.birth_month.is_not(None), new.birth_year), else_=customer.c.birth_year)
    values["updated_at"] = new.updated_at
    # A row that doesn't say since when carries the moment of the import.
    said = new.created_at != new.updated_at
    values[facts.CREATED] = case((said, new.created_at), else_=customer.c.created_at)
    for name in ("attributes", "said_at"):
        values[name] = patched(connection, customer.c[name], new[name])
    return add.on_conflict_do_update(index_elements=["external_id"], set_=values)
