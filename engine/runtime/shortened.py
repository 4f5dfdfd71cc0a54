"""Where the short links of messages lead (engine/rendering/short.py), kept before a message leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from engine.runtime.references import reference
from engine.store.scratch import insert_ignore
from engine.store.tables import message, short_link


def keep(connection: Connection, links: Iterable[tuple[int, Mapping[str, str]]]) -> None:
    """Keep where the links of these messages lead: (message's id, code → address)."""
    rows = [
        {"code": code, "message_id": message_id, "url": url}
        for message_id, codes in links
        for code, url in codes.items()
    ]
    if rows:
        connection.execute(insert_ignore(connection, short_link), rows)


def leads(connection: Connection, code: str) -> tuple[str, str] | None:
    """The message (its ref) that this code stands in, and where it leads; None for a code of no message."""
    of = select(message.c.enrolment_id, message.c.visit, message.c.route, short_link.c.url)
    row = connection.execute(
        of.join(message, message.c.id == short_link.c.message_id).where(short_link.c.code == code)
    ).one_or_none()
    return None if row is None else (reference(row.enrolment_id, row.visit, row.route), row.url)
