"""A row as a customer or an event, through the same door as the API; or, in words, what is wrong with it.

A row is taken whole or not at all: half a purchase (without its total, say) would be counted, and nobody would notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

import orjson

from engine.language.errors import did_you_mean
from engine.language.types import Kind as TypeKind
from engine.language.types import Type
from engine.language.vocabulary import OWN_EVENTS
from engine.runtime.bounds import AHEAD, AN_ID, EARLIEST, NO_ID, TOO_EARLY, id_of, sent_by_nobody
from engine.runtime.door import Door, Problems
from engine.runtime.profile import Profile

ID = ("id", "customer", "customer_id", "external_id")
CUSTOMER = ("customer", "customer_id", "external_id", "user_id")
EVENT = ("event", "event_name")
AT = ("at", "occurred_at", "timestamp", "time", "date")
KEY = ("key", "id", "event_id", "order_id")
SOURCE = ("source",)
NESTED = ("with", "properties")
OURS = ("line", "reason")
"""What a file of rejected rows adds."""

TEXT_ONLY = frozenset({str})


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Made(Protocol[T_co]):
    """Makes an event of who, what, its key, when, its properties and whose key it is."""

    def __call__(
        self, who: str, name: str, key: str, at: datetime, properties: Mapping[str, Any], source: str, /
    ) -> T_co: ...


class Kind(StrEnum):
    CUSTOMERS = "customers"
    EVENTS = "events"


class NoKind(Exception):
    """The columns tell neither customers nor events."""


@dataclass(frozen=True)
class Layout:
    """Which column is what. Built once for each set of columns."""

    kind: Kind
    who: str | None
    event: str | None = None
    at: str | None = None
    key: str | None = None
    source: str | None = None
    nested: str | None = None
    rest: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Sequence[str], kind: Kind | None, named: Mapping[str, str], event: str | None) -> Layout:
        """`named`: columns that the caller named, by what they are; `event`: the event of every row. Raises NoKind."""

        def first(what: str, candidates: tuple[str, ...]) -> str | None:
            return named.get(what) or next((name for name in candidates if name in columns), None)

        if kind is None:
            kind = _kind(columns, named, event)
        if kind is Kind.CUSTOMERS:
            who = first("id", ID)
            return cls(kind, who, rest=tuple(c for c in columns if c not in (who, *OURS)))
        found = {
            "who": first("customer", CUSTOMER),
            "event": None if event else first("event", EVENT),
            "at": first("at", AT),
            "key": first("key", KEY),
            "source": first("source", SOURCE),
            "nested": first("with", NESTED),
        }
        taken = {name for what, name in found.items() if what != "key"} | {*OURS, "key", "id", "event_id"}
        return cls(kind, rest=tuple(c for c in columns if c not in taken), **found)


def _kind(columns: Sequence[str], named: Mapping[str, str], event: str | None) -> Kind:
    has = {*columns}
    somebody, moment = has & {*CUSTOMER} or "customer" in named, has & {*AT} or "at" in named
    if somebody and moment and (event or has & {*EVENT} or "event" in named):
        return Kind.EVENTS
    if event:
        raise NoKind("events need a column for the customer and one for the time")
    if has & {*ID} or "id" in named:
        if not moment:
            return Kind.CUSTOMERS
        raise NoKind("these may be customers or events")
    raise NoKind("no column says who")


@dataclass(frozen=True)
class Person:
    """A customer of a file."""

    external_id: str
    profile: Profile
    said_at: datetime | None


class Faulty(Exception):
    """What is wrong with a row."""


@dataclass(frozen=True)
class Rows:
    """Reads rows for one project. `zone`: of times that name none; `event`: of every row; `source`: of rows that name
    none."""

    door: Door
    zone: ZoneInfo
    now: datetime
    event: str | None = None
    source: str = "import"

    def events(self, layout: Layout, columns: Sequence[str], made: Made[T]) -> Callable[[Sequence[Any]], T]:
        """How rows of these columns are read as events, each given to `made`. What is returned raises Faulty.

        Where each column stands is looked up once and not a row, of which there are millions."""
        place = {name: n for n, name in enumerate(columns)}
        who_at, event_at, at_at, key_at, source_at, nested_at = (
            None if name is None else place.get(name)
            for name in (layout.who, layout.event, layout.at, layout.key, layout.source, layout.nested)
        )
        rest = [(name, place[name]) for name in layout.rest]
        fixed, known, when, latest = self.event, self.door.project.events, layout.at or "at", self.now + AHEAD
        types = self.door.vocabulary.events
        structured = {name: _structured(types[name].properties) for name in known}
        kept, ours = self.door.properties, self.source
        problems = Problems()

        def event(values: Sequence[Any]) -> T:
            who = None if who_at is None else named(values[who_at], layout.who)
            if who is None:
                raise Faulty(f"no customer ({layout.who or 'customer'})")
            name = fixed or (None if event_at is None else _text(values[event_at]))
            if name is None:
                raise Faulty(f"no event ({layout.event or 'event'})")
            if name not in known:
                raise Faulty(strange(name, known))
            given = {column: value for column, n in rest if (value := values[n]) is not None}
            if nested_at is not None and (inner := _json(values[nested_at])) is not None:
                if not isinstance(inner, Mapping):
                    raise Faulty(f"{layout.nested} holds no object")
                given |= inner
            at = self._moment(None if at_at is None else values[at_at], when, latest)
            of_json, shaped = structured[name], given
            if of_json or not TEXT_ONLY.issuperset(map(type, given.values())):
                shaped = {column: _shaped(value, column in of_json) for column, value in given.items()}
            properties = kept(name, shaped, problems)
            if problems.found:
                fault = _faulty(problems)
                problems.found = {}
                raise fault
            source = ours if source_at is None else named(values[source_at], layout.source) or ours
            key = None if key_at is None else named(values[key_at], layout.key)
            # Without a key of its own an event is named by all that the row says: the same row is the same event.
            key = f"{name}:{key}" if key else digest(who, name, at, given)
            return made(who, name, key, at, properties, source)

        return event

    def person(self, cells: Mapping[str, Any], layout: Layout) -> Person:
        """A customer. Raises Faulty."""
        who = self._who(cells, layout)
        given = {name: value for name in layout.rest if (value := cells.get(name)) is not None}
        said_at = self.moment(given.pop("consent_at"), "consent_at") if "consent_at" in given else None
        if "created" in given:
            given["created"] = self.moment(given["created"], "created")
            said_at = said_at or given["created"]
        for name in ("consent", "tags"):
            if isinstance(given.get(name), str):
                given[name] = _list(given[name])
        problems = Problems()
        types = self.door.vocabulary.attributes
        of_json = _structured(types)
        profile = self.door.profile({name: _shaped(value, name in of_json) for name, value in given.items()}, problems)
        if problems.found:
            raise _faulty(problems)
        return Person(who, profile, said_at)

    def moment(self, value: Any, name: str) -> datetime:
        """A time: with its zone, or in `zone`; a day is its first moment. Raises Faulty, also before 1970 and
        farther ahead than a day."""
        return self._moment(value, name, self.now + AHEAD)

    def _moment(self, value: Any, name: str, latest: datetime) -> datetime:
        if value is None:
            raise Faulty(f"no time ({name})")
        at = value
        if isinstance(value, str):
            try:
                at = datetime.fromisoformat(value)
            except ValueError:
                at = None
        elif isinstance(value, date) and not isinstance(value, datetime):
            at = datetime(value.year, value.month, value.day)  # noqa: DTZ001  its zone follows
        if not isinstance(at, datetime):
            raise Faulty(f'{name}: "{_shown(value)}" is no time; write it like 2026-12-24T18:00:00+03:00')
        at = at if at.tzinfo is not None else at.replace(tzinfo=self.zone)
        if at > latest:
            raise Faulty(f"{name}: {_shown(value)} lies in the future")
        if at < EARLIEST:
            raise Faulty(f"{name}: {_shown(value)}: {TOO_EARLY}")
        return at

    def _who(self, cells: Mapping[str, Any], layout: Layout) -> str:
        who = named(cells.get(layout.who), layout.who) if layout.who else None
        if who is None:
            raise Faulty(f"no customer ({layout.who or 'customer'})")
        return who


def digest(who: str, name: str, at: datetime, given: Mapping[str, Any]) -> str:
    said = orjson.dumps([who, name, at, given], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(said).hexdigest()[:32]


def named(value: Any, column: str | None) -> str | None:
    """What a cell names: a customer, an event's key, a source. Raises Faulty for what can't be an id."""
    text = _text(value)
    if text is None or id_of(text):
        return text
    raise Faulty(f"{column}: {NO_ID}; {AN_ID}")


def strange(event: str, known: Iterable[str]) -> str:
    """Why a row of an event that isn't among these isn't taken."""
    if event in OWN_EVENTS:
        return f"{sent_by_nobody(event)}; call yours otherwise"
    return f'unknown event "{_shown(event)}"' + _hint(did_you_mean(event, known))


def _shown(value: Any) -> str:
    return str(value)[:40]


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value.strip() or None
    if value is None or isinstance(value, bool | dict | list):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _list(text: str) -> list[str]:
    return [part for part in text.replace(",", " ").replace(";", " ").split() if part]


def _structured(types: Mapping[str, Type]) -> frozenset[str]:
    """The names whose type is a list or an object."""
    return frozenset(name for name, type_ in types.items() if type_.kind in (TypeKind.LIST, TypeKind.OBJECT))


def _shaped(value: Any, structured: bool) -> Any:
    """A cell in the shape its type wants: JSON in a cell for lists and objects, text for dates and times of Parquet."""
    if structured:
        return _json(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _faulty(problems: Problems) -> Faulty:
    return Faulty("; ".join(f"{name}: {message}" for name, message in problems.found.items()))


@lru_cache(maxsize=256)
def _hint(hint: str | None) -> str:
    return f" ({hint})" if hint else ""
