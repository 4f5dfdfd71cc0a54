"""Events as a shop posts them, in the form the engine takes: JSON in, `Incoming` out, with everything that is wrong
told by place.

    {"event": "purchase", "customer": "amina", "time": "2026-03-01T09:30:00+03:00", "key": "order-17", "properties":
    {"total": 40}}

`customer` is the shop's id, or an object with `id` and what else is known: email, phone, first_name, consent, … Who
knows no id names an `anonymous_id`, an email or a phone instead; all that is named together is one from then on. `time`
is when it happened (default: now). `key` (or `id`) names the event: sent again, it counts once. Without one the content
names it, if it says when: the same customer, event, time and properties are the same event. With neither each sending
is an event of its own.

A fault keeps an event out. A warning doesn't: a property of another type than project.yaml says is kept as it was sent,
and no condition sees it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson

from engine.language.errors import did_you_mean
from engine.language.vocabulary import OWN_EVENTS
from engine.runtime.bounds import AHEAD, AN_ID, EARLIEST, NO_ID, TOO_EARLY, id_of, sent_by_nobody
from engine.runtime.door import Door, Problems, who_of
from engine.runtime.identity import Who
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile
from engine.web import pages
from engine.web.intake import SOURCE

MOST_EVENTS = 1_000
LARGEST_EVENT = 65_536
"""Bytes of one event's JSON."""

LONGEST_LINE = 2 * LARGEST_EVENT
"""Bytes of a line of a stream: there may be spaces in it."""

PART = 1_000
"""Lines of a stream that are taken together."""

DEEPEST = 16

KEYS = ("event", "customer", "time", "key", "id", "properties")
NAMES = ("id", "anonymous_id")
"""What names a customer and says nothing of them."""

NAME_PATTERN = "[a-z][a-z0-9_]{0,63}"
_NAME = re.compile(NAME_PATTERN)


class Unreadable(Exception):
    """The body as a whole can't be taken; the message says why."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one event: its place in the list, the path in it, what, and what to do."""

    index: int
    path: str
    message: str
    hint: str | None = None

    def plain(self, place: str = "index") -> dict[str, Any]:
        told: dict[str, Any] = {place: self.index, "path": self.path, "message": self.message}
        return told if self.hint is None else told | {"hint": self.hint}


@dataclass
class Posted:
    """What a body holds. `events`: those that can be taken, with their place in the list; `dated`: who of them say
    when; `named`: whose key is made of the request's; `last`: the last line of a part of a stream; `whos`: customers
    told by more than one name, who are to be introduced first, by the places of their events."""

    count: int
    events: list[tuple[int, Incoming]] = field(default_factory=list)
    dated: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)
    last: int = 0
    whos: dict[int, Who] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)


def read(body: bytes, door: Door, now: datetime, key: str | None = None, *, page: bool = False) -> Posted:
    """The events of a body: one object, or a list of them. `key`: of the request, for events that have none. `page`:
    they came with a browser key. Raises Unreadable."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the body is no JSON: {error}") from None
    items = data if isinstance(data, list) else [data]
    if not items:
        raise Unreadable("the list is empty")
    if len(items) > MOST_EVENTS:
        raise Unreadable(f"{len(items)} events in one request; at most {MOST_EVENTS}")
    # Of a body that is small and plain, nothing can be too large or not to be kept: most are, and needn't be looked at.
    plain = len(body) <= LARGEST_EVENT and b"\\u0000" not in body
    return read_items(items, door, now, key, page=page, plain=plain)


def read_items(
    items: Sequence[Any],
    door: Door,
    now: datetime,
    key: str | None = None,
    *,
    page: bool = False,
    plain: bool = False,
) -> Posted:
    """The same of objects that are read already. `plain`: they are small enough, and have no U+0000."""
    posted = Posted(len(items))
    for index, item in enumerate(items):
        _Reading(posted, index, door, now, key and f"{key}:{index}", page, plain, str(len(items))).read(item)
    return posted


class Lines:
    """Reads a stream of lines, an event each, as it comes; gives what can be taken in parts of PART lines, always the
    same ones of the same body. A line's number, from 1, is its place. `most`: lines."""

    def __init__(self, door: Door, now: Callable[[], datetime], key: str | None, most: int) -> None:
        self.number = 0
        self._door, self._now, self._key, self._most = door, now, key, most
        self._rest = bytearray()
        self._too_long = False
        self._part = Posted(0)

    def feed(self, piece: bytes) -> list[Posted]:
        """The parts that are full now. Raises Unreadable at the line after the last one allowed."""
        full: list[Posted] = []
        *ended, rest = piece.split(b"\n")
        for line in ended:
            self._line(bytes(self._rest) + line, full)
            self._rest.clear()
        if len(self._rest) + len(rest) > LONGEST_LINE:
            self._too_long = True  # what comes of it is dropped until its end
            self._rest.clear()
        else:
            self._rest += rest
        return full

    def end(self) -> list[Posted]:
        """The last part; its last line may lack an end."""
        full: list[Posted] = []
        if self._rest or self._too_long:
            self._line(bytes(self._rest), full)
        if self._part.count:
            full.append(self._done())
        return full

    def _line(self, line: bytes, full: list[Posted]) -> None:
        self.number += 1
        if self.number > self._most:
            raise Unreadable(f"a stream may have {self._most} lines; send the rest in another one")
        part, too_long = self._part, self._too_long or len(line) > LONGEST_LINE
        self._too_long = False
        key = self._key and f"{self._key}:{self.number - 1}"
        if too_long:
            part.count += 1
            part.faults.append(Fault(self.number, "", f"this line is longer than {LONGEST_LINE} bytes"))
        elif line.strip():
            part.count += 1
            try:
                item = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                part.faults.append(Fault(self.number, "", f"this line is no JSON: {error}", "an event on each line"))
            else:
                _Reading(part, self.number, self._door, self._now(), key).read(item)
        if self.number % PART == 0:
            full.append(self._done())

    def _done(self) -> Posted:
        done, self._part = self._part, Posted(0)
        done.last = self.number
        return done


@dataclass
class _Reading:
    """Reads one event. `among`: how many are in the request, where that is known."""

    posted: Posted
    index: int
    door: Door
    now: datetime
    request_key: str | None = None
    page: bool = False
    plain: bool = False
    among: str = ""
    who: Who | None = None

    def read(self, item: Any) -> None:
        before = len(self.posted.faults)
        if not isinstance(item, dict):
            self.fault("", "an event is an object", 'like {"event": "purchase", "customer": "amina"}')
            return
        if not self.plain and not self._can_be_kept(item):
            return
        if depth(item) > DEEPEST:
            self.fault("", f"this event is nested deeper than {DEEPEST}")
            return
        for name in item.keys() - set(KEYS):
            self.fault(name, f'an event has no "{name}"', did_you_mean(name, KEYS))
        name, (customer, profile) = self._name(item), self._customer(item)
        at, properties = self._time(item), self._properties(item, name)
        key = self._key(item, name, customer, at, properties)
        if len(self.posted.faults) > before:
            return
        source = SOURCE + pages.SOURCE if self.page else SOURCE
        incoming = Incoming(customer, name, key, at or self.now, properties, profile, source, self._said(item))
        self.posted.events.append((self.index, incoming))
        if self.who is not None:
            self.posted.whos[self.index] = self.who
        if at is not None:
            self.posted.dated.add(self.index)

    def _can_be_kept(self, item: Mapping[str, Any]) -> bool:
        try:
            raw = orjson.dumps(item)
        except TypeError:
            self.fault("", "a number beyond 64 bits can't be kept", "send it as a text")
            return False
        if len(raw) > LARGEST_EVENT:
            self.fault("", f"this event is larger than {LARGEST_EVENT} bytes")
        elif b"\\u0000" in raw:
            self.fault("", "the character U+0000 can't be kept", "leave it out")
        else:
            return True
        return False

    def _name(self, item: Mapping[str, Any]) -> str:
        name = item.get("event")
        if name is None:
            self.fault("event", "the event's name is missing", 'like "event": "purchase"')
        elif not isinstance(name, str) or not _NAME.fullmatch(name):
            self.fault("event", "this can't be an event's name", "small letters, digits and _, beginning with a letter")
        elif name in OWN_EVENTS:
            self.fault("event", sent_by_nobody(name), "call yours otherwise")
        else:
            events = self.door.project.events
            if name not in events:
                hint = did_you_mean(name, events)
                self.warning("event", f'project.yaml names no event "{name}": it is kept, and no journey sees it', hint)
            return name
        return ""

    def _customer(self, item: Mapping[str, Any]) -> tuple[str, Profile | None]:
        given = item.get("customer")
        if given is None:
            self.fault("customer", "whose event is it?", 'like "customer": "amina" or "customer": {"id": "amina"}')
            return "", None
        if not isinstance(given, dict):
            return self._id("customer", given), None
        for name in NAMES:
            if given.get(name) is not None:
                if not (text := self._id(f"customer.{name}", given[name])):
                    return "", None
                if text != given[name]:
                    given = {**given, name: text}
        problems = Problems()
        profile = self._profile(given, problems)
        who = who_of(given, profile)
        if self.page:
            who = pages.named(who)
            if profile is not None and who.names:
                profile = pages.told(profile, who, given, problems)
        for name, message in problems.found.items():
            self.warning(f"customer.{name}", message)
        if not who.names:
            self.fault("customer.id", "the customer's id is missing", "or anonymous_id, or a valid email or phone")
            return "", None
        if who.several:
            self.who = who
        return who.name, profile

    def _profile(self, given: Mapping[str, Any], problems: Problems) -> Profile | None:
        for name, kinds in (("consent", (list, dict)), ("tags", (list, str))):
            if given.get(name) is not None and not isinstance(given[name], kinds):
                self.fault(f"customer.{name}", f"{name} is a list of texts")
                return None
        told = {name: value for name, value in given.items() if name not in NAMES}
        return self.door.profile(told, problems) if told else None

    def _id(self, path: str, given: Any) -> str:
        if text := id_of(given):
            return text
        self.fault(path, NO_ID, AN_ID)
        return ""

    def _time(self, item: Mapping[str, Any]) -> datetime | None:
        given = item.get("time")
        if given is None:
            return None
        try:
            at = datetime.fromisoformat(given)
            if at.tzinfo is None:
                self.fault("time", "this time has no zone, so it names no moment", "like 2026-03-01T09:30:00+03:00")
            elif at > self.now + AHEAD:
                self.fault("time", "this lies in the future", "send an event when it has happened")
            elif at < EARLIEST:
                self.fault("time", TOO_EARLY)
            else:
                return at.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            self.fault("time", "this is no time", "write it like 2026-03-01T09:30:00+03:00")
        return None

    def _properties(self, item: Mapping[str, Any], name: str) -> dict[str, Any]:
        given = item.get("properties")
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.fault("properties", "the properties are an object", 'like "properties": {"total": 40}')
            return {}
        problems = Problems()
        kept = self.door.properties(name, given, problems)
        for one, message in problems.found.items():
            self.warning(f"properties.{one}", message)
        return kept

    def _key(
        self, item: Mapping[str, Any], name: str, customer: str, at: datetime | None, properties: Mapping[str, Any]
    ) -> str:
        given = [which for which in ("key", "id") if item.get(which) is not None]
        if len(given) == 2:
            self.fault("id", "key and id both name the event", "send one of them")
        if given:
            return self._id(given[0], item[given[0]])
        if self.request_key is not None:
            self.posted.named.add(self.index)
            return self.request_key
        if at is None:
            return f"once:{uuid4().hex}"
        said = orjson.dumps([customer, name, at, properties], option=orjson.OPT_SORT_KEYS)
        return f"content:{hashlib.sha256(said).hexdigest()[:40]}"

    def _said(self, item: Mapping[str, Any]) -> str | None:
        """What tells a word of the customer from another one with the same key, and so does a shorter request with the
        same key of its own; None where the content is the key."""
        named = self.index in self.posted.named
        if not named and item.get("key") is None and item.get("id") is None:
            return None
        given = item["customer"]
        told = {name: value for name, value in given.items() if name not in NAMES} if isinstance(given, dict) else None
        word = self.door.digest(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)) if told else ""
        return f"{self.among}:{word}" if named else word

    def fault(self, path: str, message: str, hint: str | None = None) -> None:
        self.posted.faults.append(Fault(self.index, path, message, hint))

    def warning(self, path: str, message: str, hint: str | None = None) -> None:
        self.posted.warnings.append(Fault(self.index, path, message, hint))


def depth(value: Any) -> int:
    """How deep lists and objects are nested; looks no deeper than it must."""
    level, deep = [value], 0
    while level and deep <= DEEPEST:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, _NESTED):
                inner += one.values() if isinstance(one, dict) else one
        level, deep = inner, deep + 1
    return deep


_NESTED = (dict, list)
