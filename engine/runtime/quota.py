"""`limit:` how many a journey lets in in one period. Whoever wants to let somebody in holds the quota's row before they
judge whom, until their transaction ends, so the limit holds across engines; who got in is counted afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Table, func, literal, not_, select, update

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


def room(connection: Connection, program: Program, now: datetime) -> int:
    """How many more the journey's limit lets in now. Only reads; somebody else may take the room before `hold`."""
    used = connection.scalar(select(entry_quota.c.used).where(_mine(program, now)))
    return max(_at_most(program) - (used or 0), 0)


def hold(connection: Connection, program: Program, now: datetime) -> int:
    """The same, and nobody else lets anybody in until this transaction ends.

    Before anybody is judged: then whoever was let in meanwhile is seen to be in the journey, and takes up no room a
    second time."""
    period = _period(program, now)
    connection.execute(insert_ignore(connection, entry_quota).values(journey=program.name, period=period, used=0))
    used = connection.scalar(select(entry_quota.c.used).where(_mine(program, now)).with_for_update())
    return max(_at_most(program) - (used or 0), 0)


def apply(connection: Connection, arriving: Table, left: int) -> None:
    """Give the verdict `limit` to those in `arriving` who would enter and for whom there is no room left."""
    enters = arriving.c.verdict == "enters"
    wanted = connection.execute(select(func.count()).select_from(arriving).where(enters)).scalar_one()
    if wanted > left:
        first = select(arriving.c.customer_id).where(enters).order_by(arriving.c.customer_id).limit(left)
        late = not_(arriving.c.customer_id.in_(first.scalar_subquery()))
        connection.execute(update(arriving).where(enters, late).values(verdict=literal("limit")))


def count(connection: Connection, program: Program, now: datetime, entered: int) -> None:
    """So many have got in."""
    if entered:
        row = update(entry_quota).where(_mine(program, now))
        connection.execute(row.values(used=entry_quota.c.used + entered))


def _at_most(program: Program) -> int:
    limit = program.journey.enter.limit
    assert limit is not None
    return limit.at_most


def _period(program: Program, now: datetime) -> str:
    limit = program.journey.enter.limit
    assert limit is not None
    return period_of(now, limit.per, program.project.brand.timezone)


def _mine(program: Program, now: datetime) -> ColumnElement[bool]:
    return (entry_quota.c.journey == program.name) & (entry_quota.c.period == _period(program, now))
