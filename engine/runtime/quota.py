"""`limit:` how many a journey lets in in one period. The quota's row is locked before it is read, so the limit holds
across engines."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Table, func, literal, not_, select, update

from engine.cohort.program import Program
from engine.store.scratch import insert_ignore
from engine.store.tables import entry_quota


def period_of(now: datetime, per: str, zone: str) -> str:
    """The name of the hour, day, week (from Monday) or month that `now` lies in, in the brand's time zone."""
    local = now.astimezone(ZoneInfo(zone))
    if per == "hour":
        return local.strftime("%Y-%m-%dT%H%z")  # with the offset: the doubled autumn hour is two hours
    if per == "week":
        return (local.date() - timedelta(days=local.weekday())).strftime("week of %Y-%m-%d")
    return local.strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def apply(connection: Connection, program: Program, arriving: Table, now: datetime) -> None:
    """Give the verdict `limit` to those in `arriving` who would enter and for whom there is no room left."""
    limit = program.journey.enter.limit
    assert limit is not None
    period = period_of(now, limit.per, program.project.brand.timezone)
    mine = (entry_quota.c.journey == program.name) & (entry_quota.c.period == period)
    connection.execute(insert_ignore(connection, entry_quota).values(journey=program.name, period=period, used=0))
    used = connection.execute(select(entry_quota.c.used).where(mine).with_for_update()).scalar_one()
    enters = arriving.c.verdict == "enters"
    wanted = connection.execute(select(func.count()).select_from(arriving).where(enters)).scalar_one()
    room = max(limit.at_most - used, 0)
    if wanted > room:
        first = select(arriving.c.customer_id).where(enters).order_by(arriving.c.customer_id).limit(room)
        late = not_(arriving.c.customer_id.in_(first.scalar_subquery()))
        connection.execute(update(arriving).where(enters, late).values(verdict=literal("limit")))
    connection.execute(update(entry_quota).where(mine).values(used=used + min(wanted, room)))
