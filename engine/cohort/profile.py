"""What a step may change of its customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, select, update

from engine.cohort import facts
from engine.cohort.cohort import Cohort, entry_event, moving
from engine.segments.seen import json_object
from engine.store.scratch import insert_touched
from engine.store.tables import customer, enrolment
from engine.store.types import json_type

COLUMNS = ("first_name", "last_name", "locale", "country")
"""The customer.* names that are columns and that a journey may change. Identity and addresses come in through the API.
"""


def touch(cohort: Cohort, verdict: str) -> None:
    """Say that facts of these customers have changed: their segments and exits are looked at again."""
    who = select(moving.c.customer_id).where(moving.c.verdict == verdict).distinct()
    ordered = who.order_by(moving.c.customer_id)
    cohort.connection.execute(insert_touched(cohort.connection).from_select(["customer_id"], ordered))
    cohort.connection.execute(update(customer).where(customer.c.id.in_(who)).values(updated_at=cohort.now))


def patched(connection: Connection, known: ColumnElement[Any], patch: ColumnElement[Any]) -> ColumnElement[Any]:
    """A JSON object with the names of another written over it."""
    before = func.coalesce(known, literal({}, json_type()))
    postgres = connection.dialect.name == "postgresql"
    return before.op("||")(patch) if postgres else func.json_patch(before, patch)


def write(
    cohort: Cohort,
    verdict: str,
    columns: Mapping[str, ColumnElement[Any]],
    attributes: Mapping[str, ColumnElement[Any]],
) -> None:
    """Set columns and attributes (in their kept form) of these customers, as seen over customer, enrolment and entry.
    NULL clears.

    Should a customer stand here twice (two enrolments at once), the later enrolment's values stay."""
    last = func.max(moving.c.id).label("id")
    latest = select(last).where(moving.c.verdict == verdict).group_by(moving.c.customer_id).subquery("latest")
    seen = (
        select(
            customer.c.id,
            *(column.label(name) for name, column in columns.items()),
            json_object(attributes).label("patch"),
        )
        .select_from(
            latest.join(enrolment, enrolment.c.id == latest.c.id)
            .join(customer, customer.c.id == enrolment.c.customer_id)
            .outerjoin(entry_event, entry_event.c.id == enrolment.c.event_id)
        )
        .subquery("seen")
    )
    values: dict[str, Any] = {name: seen.c[name] for name in columns} | {"updated_at": cohort.now}
    if attributes:
        # Both drop what the patch sets to null, or keep a null, which is missing all the same.
        values["attributes"] = patched(cohort.connection, customer.c.attributes, seen.c.patch)
    spoken = literal(facts.said(columns, attributes, cohort.now), json_type())
    values["said_at"] = patched(cohort.connection, customer.c.said_at, spoken)
    cohort.connection.execute(update(customer).where(customer.c.id == seen.c.id).values(values))
    touch(cohort, verdict)
