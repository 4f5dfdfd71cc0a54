"""How often something was published: the mark by which an engine knows whether the files it has read are the newest.

What a journey speaks of (segments, the project, templates) stands in files, and may be new where no version is.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from engine.store import marks

PUBLISHED = "published"
_TIMES = marks.kept(PUBLISHED)  # made once: it is asked for with each batch of events


def times(connection: Connection) -> int:
    """How often something was published until now."""
    value = connection.scalar(_TIMES)
    return 0 if value is None else int(value["times"])


def count(connection: Connection) -> int:
    """Count one more, which tells every running engine to read the files anew. One publish at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(text("hashtext('karibu.publish')"))))
    more = times(connection) + 1
    marks.put(connection, PUBLISHED, {"times": more})
    return more
