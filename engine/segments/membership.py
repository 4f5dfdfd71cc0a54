"""Who is in which segment: joins and leaves, brought up to date from one look to the next.

Nobody is judged again for nothing. The candidates are those whom time can have turned since the last look (`turning`)
and those whose facts changed (`touched`); they are judged by the segment's own SQL, and what changed is written in one
statement. The result equals judging everybody, at any moment; only a segment whose candidates can't be told
(`whole_because` says why) is judged whole on a slower beat, and exact then.

A look that finds little to do asks two statements of a segment, and their plans are kept: the candidates are a
parameter, not a table of which the database would have to be told how full it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    literal_column,
    not_,
    null,
    select,
    text,
    true,
    union,
    update,
)

from engine.language import tree
from engine.language.expression import Vocabulary
from engine.segments.definition import Segment, defined
from engine.segments.people import everybody, verdicts
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.turning import Anybody, Day, Member, Turning, day_begun, looks, moved, turnings, who
from engine.store import published
from engine.store.given import among, given, listed, packed
from engine.store.scratch import insert_into, insert_touched, scratch
from engine.store.tables import customer, segment_member, segment_state, touched
from engine.store.types import Instant, id_type, micros, text_type

log = logging.getLogger("karibu.segments")

BEAT = timedelta(days=1)
"""How often a segment is judged whole whose candidates can't be told."""

MANY = 8
"""From one candidate in so many customers on, judging everybody at once is less work,"""

FEW = 2000
"""but not while there are fewer than this of them."""


class Content(Protocol):
    """What is read of a project: its vocabulary, and its segments with a `when` each."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def segments(self) -> Any: ...


@dataclass
class Changes:
    """How many moved, by segment: joined (they may enter), filled in (they enter nothing), left.

    judged: how many candidates; None where everybody was judged.
    """

    joined: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    judged: dict[str, int | None] = field(default_factory=dict)


_scratch = MetaData()


def _customer() -> Column[int]:
    return Column("customer_id", id_type(), primary_key=True, autoincrement=False)


_temporary: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DELETE ROWS"}
changed = Table("segment_changed", _scratch, _customer(), Column("row", Text), **_temporary)
"""Whose facts changed, and (on PostgreSQL) which version of their row in `touched` said so."""

judged = Table(
    "segment_judged",
    _scratch,
    Column("customer_id", id_type(), primary_key=True, autoincrement=False),
    Column("inside", Boolean()),
    **_temporary,
)


def segments_of(content: Content) -> tuple[Segment, ...]:
    """The project's segments, those first that others use. Kept, for every tick asks."""
    conditions = tuple((name, segment.when) for name, segment in content.segments.items())
    return _defined(conditions, _Same(content.vocabulary))


@dataclass(frozen=True, eq=False)
class _Same:
    """This vocabulary and no other: it is too large to be compared."""

    vocabulary: Vocabulary

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.vocabulary is self.vocabulary

    def __hash__(self) -> int:
        return id(self.vocabulary)


@lru_cache(8)
def _defined(conditions: tuple[tuple[str, str], ...], same: _Same) -> tuple[Segment, ...]:
    return defined(dict(conditions), same.vocabulary)


@dataclass(frozen=True)
class Suspects:
    """Whom a whole look found on the wrong side, with the definition and the two moments it was a look between."""

    digest: str
    then: datetime
    now: datetime
    ids: tuple[int, ...]


def refresh(
    connection: Connection,
    content: Content,
    now: datetime,
    *,
    full: bool = False,
    suspects: Mapping[str, Suspects] | None = None,
    begun: bool = False,
    as_of: int | None = None,
) -> Changes:
    """Bring every segment up to `now`, in the transaction of the connection.

    full: judge everybody. suspects: what `survey.prepare` found of those who are due to be judged whole. begun: `begin`
    has been called, by who looks at the same customers for something else first. as_of: `published.times` of when the
    content was read: when something was published since, nothing is done. The content may be that of before, and who
    joins while a segment is filled for it, and filled back, would enter nothing.

    A join is written with `joined_at` now and one more `joins`; the first filling of a segment, or of a new definition,
    leaves `joins` as it was. A look at an earlier moment than the last changes nothing.
    """
    segments = segments_of(content)
    if not begun:
        begin(connection)
    states = {row.segment: row for row in connection.execute(select(segment_state))}
    changes = Changes()
    if as_of not in (None, published.times(connection)):
        return changes
    if any(state.seen_at > now for state in states.values()):
        log.warning("segments were last looked at after this moment: the clock went back")
        return changes
    for table in (judged, moved):
        scratch(connection, table)
    _take_touched(connection)
    zone = content.vocabulary.timezone
    look = _Look.of(connection, now, zone)
    known = {name: found for name, found in (suspects or {}).items() if _still(found, states.get(name), now)}
    whole = [s for s in segments if (full or due_whole(s, states.get(s.name), now)) and s.name not in known]
    keep_gaps(connection, {name: shop_gap(connection, name) for name in stale(connection, rhythms(whole), now)}, now)
    written: list[tuple[Segment, datetime]] = []
    for segment in segments:
        state = states.get(segment.name)
        filling = state is None or state.digest != segment.digest
        everyone = segment in whole
        if not everyone:
            assert state is not None and not filling  # or everybody would be judged
            ids = look.candidates(segment, state.seen_at, known[segment.name].ids if segment.name in known else ())
            everyone = ids is None
        changes.judged[segment.name] = None if everyone else len(ids or ())
        if everyone:
            connection.execute(_NO_JUDGED)
            _judge_everybody(connection, segment, now, zone)
            joined, left = _counted(connection)
            if joined or left:
                _write(connection, segment, now, filling)
        else:
            turned = look.turned(segment, ids or ())
            joined = sum(inside for _, inside in turned)
            left = len(turned) - joined
            if turned:
                _write_few(connection, segment, now, turned)
        (changes.filled if filling else changes.joined)[segment.name] = joined
        changes.left[segment.name] = left
        partly = state is not None and not everyone and segment.name not in known
        written.append((segment, state.full_at if state is not None and partly else now))
    _write_states(connection, now, written)
    _forget(connection, [segment.name for segment in segments], now)
    return changes


def just_moved(segment: str) -> Select[Any]:
    """The ids of those who have joined or left a segment in the `refresh` of this transaction."""
    return select(moved.c.customer_id).where(moved.c.segment == segment)


def whole_because(segment: Segment) -> str | None:
    """Why a segment is judged whole on the slower beat; None when its candidates can be told."""
    reasons = {turning.why for turning in turnings(segment.typed) if isinstance(turning, Anybody)}
    return ", ".join(sorted(reasons)) or None


def due_whole(segment: Segment, state: Any, now: datetime) -> bool:
    """Whether everybody is to be judged now. `state`: its row of segment_state, or None."""
    if state is None or state.digest != segment.digest:
        return True
    return now - state.full_at >= BEAT and whole_because(segment) is not None


def rhythms(segments: Sequence[Segment]) -> set[str]:
    """The events whose usual gap these segments ask for."""
    return {node.event for s in segments for node in tree.walk(s.typed) if isinstance(node, tree.UsualGap)}


def _one_at_a_time(connection: Connection) -> None:
    """Two engines that look at the same time would each miss what the other takes. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(text("hashtext('karibu.segments')"))))


def begin(connection: Connection) -> None:
    """Read `touched` into `changed`. All that this transaction looks at of them it looks at after this: whoever is
    touched once more meanwhile stays in `touched`."""
    _one_at_a_time(connection)
    scratch(connection, changed)
    row = _VERSION if connection.dialect.name == "postgresql" else null()
    connection.execute(insert(changed).from_select(list(changed.c), select(touched.c.customer_id, row)))


def again(connection: Connection) -> None:
    """Whoever was looked at is to be looked at once more: something could not be done for them."""
    rows = select(changed.c.customer_id).where(true()).order_by(changed.c.customer_id)
    connection.execute(insert_touched(connection).from_select(["customer_id"], rows))


def _take_touched(connection: Connection) -> None:
    """Take those of `changed` out of `touched`. Whom an open transaction is just touching, or another has touched since
    `begin`, stays for the next look, and out of this one."""
    if connection.dialect.name != "postgresql":
        connection.execute(delete(touched))
        return
    same = and_(touched.c.customer_id == changed.c.customer_id, _VERSION == changed.c.row)
    # Without SKIP LOCKED this and the door would wait for each other.
    free = select(touched.c.customer_id).join(changed, same).with_for_update(of=touched, skip_locked=True)
    gone = delete(touched).where(touched.c.customer_id.in_(free)).returning(touched.c.customer_id).cte("gone")
    connection.execute(delete(changed).where(changed.c.customer_id.not_in(select(gone.c.customer_id))))


_VERSION = literal_column("touched.ctid::text", Text)
"""Changes with every write of a row of `touched`, and each touch is one (`insert_touched`)."""


def _still(found: Suspects, state: Any, now: datetime) -> bool:
    """Whether nobody else has looked since."""
    return state is not None and (state.digest, state.seen_at, now) == (found.digest, found.then, found.now)


def _judge_everybody(connection: Connection, segment: Segment, now: datetime, zone: str) -> None:
    """Puts those who join into `judged`, and those who leave."""
    inside = everybody(segment.typed, now, zone).add_columns(true())
    connection.execute(insert(judged).from_select(["customer_id", "inside"], inside))
    m = segment_member.c
    member = and_(m.segment == segment.name, m.left_at.is_(None))
    out = select(m.customer_id, false()).where(member, not_(exists().where(judged.c.customer_id == m.customer_id)))
    connection.execute(insert(judged).from_select(["customer_id", "inside"], out))
    stay = select(m.customer_id).where(member)
    connection.execute(delete(judged).where(judged.c.inside, judged.c.customer_id.in_(stay)))


@dataclass(frozen=True)
class _Look:
    """One look: whose facts have changed (None: of so many that judging everybody is less work), and from how many
    candidates on that is so."""

    connection: Connection
    now: datetime
    zone: str
    facts: frozenset[int] | None
    most: int
    days: dict[datetime, Select[Any] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: Connection, now: datetime, zone: str) -> _Look:
        """The look of those in `changed`."""
        most = max(FEW, (connection.scalar(select(func.max(customer.c.id))) or 0) // MANY)
        facts = connection.scalars(_CHANGED, {"most": most + 1}).all()
        return cls(connection, now, zone, None if len(facts) > most else frozenset(facts), most)

    def candidates(self, segment: Segment, then: datetime, suspects: Sequence[int]) -> frozenset[int] | None:
        """Who may have joined or left since `then`; None when they are so many that everybody is to be judged."""
        if self.facts is None:
            return None
        turned = frozenset(turning for turning in turnings(segment.typed) if not isinstance(turning, Anybody))
        if self.now == then:  # time turns nobody
            turned = frozenset(turning for turning in turned if isinstance(turning, Member))
        day = self._day(then) if Day() in turned else None
        named = _turned(turned, self.connection.dialect) if day is None else _any(turned, self.connection.dialect, day)
        found = self.facts.union(suspects)
        if named is not None:
            moments = looks(turned, then, self.now) | {"most": self.most + 1}
            found |= frozenset(self.connection.scalars(named, moments))
        return found if len(found) <= self.most else None

    def turned(self, segment: Segment, ids: Iterable[int]) -> list[tuple[int, bool]]:
        """Those of these customers who join, or (False) leave, in order."""
        if not ids:
            return []
        dialect = self.connection.dialect.name
        asked = {"at": micros(self.now), "of": segment.name, "ids": listed(dialect, sorted(ids))}
        rows = self.connection.execute(_sides_of(segment.typed, self.zone, dialect), asked)
        return sorted((id_, bool(inside)) for id_, inside, member in rows if bool(inside) != bool(member))

    def _day(self, then: datetime) -> Select[Any] | None:
        if then not in self.days:
            self.days[then] = day_begun(then, self.now, self.zone, self.connection)
        return self.days[then]


_CHANGED = select(changed.c.customer_id).limit(bindparam("most", type_=Integer))


def _any(turned: frozenset[Turning], dialect: Dialect, *more: Select[Any]) -> Any:
    """Whom any of these may have turned, and `more`; None when nothing is asked."""
    named = [*(some for turning in turned if (some := who(turning, dialect)) is not None), *more]
    if not named:
        return None
    anybody = union(*named).subquery("turned") if len(named) > 1 else named[0].distinct().subquery("turned")
    return select(*anybody.c).limit(bindparam("most", type_=Integer))


_turned = lru_cache(128)(_any)
"""Kept: to make these statements costs more than to run them."""


@lru_cache(128)
def _sides_of(typed: tree.Typed, zone: str, dialect: str) -> Any:
    """Of the customers `ids`, at a moment (`at`): whether each is inside now, and whether they are a member yet."""
    m = segment_member.c
    # A seek for each: joined, PostgreSQL may read all members for the sake of a few.
    mine = select(m.left_at.is_(None)).where(m.segment == _OF, m.customer_id == customer.c.id)
    member = func.coalesce(mine.scalar_subquery(), false())
    return verdicts(typed, zone, among(dialect, customer.c.id, "ids")).add_columns(member)


_OF = bindparam("of", type_=text_type())
"""The segment."""


_NO_JUDGED = delete(judged)
_COUNTED = select(judged.c.inside, func.count().label("n")).group_by(judged.c.inside)


def _counted(connection: Connection) -> tuple[int, int]:
    """How many of `judged` join, and how many leave."""
    counts: dict[bool, int] = {row.inside: row.n for row in connection.execute(_COUNTED)}
    return counts.get(True, 0), counts.get(False, 0)


def _write(connection: Connection, segment: Segment, now: datetime, filling: bool) -> None:
    """Those of `judged` join and leave; and into `moved`, for the segments and journeys that go by it."""
    connection.execute(_turn(connection.dialect.name), _turning(segment, now, filling))
    connection.execute(_MOVED, {"of": segment.name})


def _write_few(connection: Connection, segment: Segment, now: datetime, turned: Sequence[tuple[int, bool]]) -> None:
    """The same for so few that they were named."""
    turn, move = _few(connection.dialect.name)
    rows = packed(turned)
    connection.execute(turn, _turning(segment, now, False) | rows)
    connection.execute(move, {"of": segment.name} | rows)


def write_sides(connection: Connection, segment: Segment, now: datetime, sides: Select[Any], filling: bool) -> None:
    """Write that these customers (rows of their id, and whether they are inside) join and leave, where that isn't
    so."""
    connection.execute(_sides(connection.dialect.name, sides), _turning(segment, now, filling))


def _turning(segment: Segment, now: datetime, filling: bool) -> dict[str, Any]:
    return {"of": segment.name, "moment": now, "once": 0 if filling else 1}


def _sides(dialect: str, sides: Select[Any]) -> Any:
    """One upsert for both: an UPDATE of a few leads PostgreSQL through all members."""
    side = sides.subquery("side")
    customer_id, inside = side.c
    at, joins = bindparam("moment", type_=Instant()), bindparam("once", type_=Integer)
    left_at = case((inside, null()), else_=at)
    rows = select(_OF, customer_id, at, left_at, joins).where(true())
    columns = ["segment", "customer_id", "joined_at", "left_at", "joins"]
    add = insert_into(dialect, segment_member).from_select(columns, rows.order_by(customer_id))
    m, new = segment_member.c, add.excluded
    leaves = new.left_at.is_not(None)
    return add.on_conflict_do_update(
        index_elements=["segment", "customer_id"],
        set_={
            "joined_at": case((leaves, m.joined_at), else_=new.joined_at),
            "left_at": new.left_at,
            "joins": m.joins + case((leaves, 0), else_=new.joins),
        },
        where=m.left_at.is_(None) == leaves,
    )


@cache
def _turn(dialect: str) -> Any:
    return _sides(dialect, select(judged))


@cache
def _few(dialect: str) -> tuple[Any, Any]:
    rows = given(dialect, customer_id=id_type(), inside=Boolean())
    of = select(_OF, rows.c.customer_id).where(true())
    return _sides(dialect, select(*rows.c)), insert(moved).from_select(["segment", "customer_id"], of)


_MOVED = insert(moved).from_select(["segment", "customer_id"], select(_OF, judged.c.customer_id))


def write_state(connection: Connection, segment: Segment, now: datetime, full_at: datetime) -> None:
    """Write that the members of the segment are those of `now`."""
    _write_states(connection, now, [(segment, full_at)])


def _write_states(connection: Connection, now: datetime, segments: Iterable[tuple[Segment, datetime]]) -> None:
    rows = [(segment.name, segment.digest, micros(now), micros(full_at)) for segment, full_at in segments]
    connection.execute(_states(connection.dialect.name), packed(rows))


@cache
def _states(dialect: str) -> Any:
    rows = given(dialect, segment=text_type(), digest=text_type(), seen_at=BigInteger(), full_at=BigInteger())
    add = insert_into(dialect, segment_state).from_select([*rows.c.keys()], select(*rows.c).where(true()))
    new = {name: add.excluded[name] for name in ("digest", "seen_at", "full_at")}
    return add.on_conflict_do_update(index_elements=["segment"], set_=new)


def _forget(connection: Connection, names: Sequence[str], now: datetime) -> None:
    """Everybody leaves a segment that is no longer defined; defined again, it is filled anew."""
    removed = list(connection.scalars(select(segment_state.c.segment).where(segment_state.c.segment.not_in(names))))
    if removed:
        m = segment_member.c
        left = update(segment_member).where(m.segment.in_(removed), m.left_at.is_(None)).values(left_at=now)
        connection.execute(left)
        connection.execute(delete(segment_state).where(segment_state.c.segment.in_(removed)))
